//! What a connection knows about what it sends (the output half of `struct tcp_sock`), and how an acknowledgement changes it
//! (`tcp_ack` in net/ipv4/tcp_input.c).
//!
//! The connection drives it: it transmits segments and says so ([`Sender::sent`]), hands in acknowledgements
//! ([`Sender::classify`], then [`Sender::acknowledge`]), asks what to retransmit ([`Sender::begin_retransmit`],
//! [`Sender::next_retransmit`], [`Sender::retransmitted`], [`Sender::end_retransmit`]), and calls when the timer fires that
//! stands in [`Sender::timer`]. The mechanisms live in files of their own: `scoreboard`, `sack`, `rack`, `loss_probe`, `recovery`, `rtt`, `congestion`.

use transect_packet::{SackBlock, SequenceNumber};

use super::clock::{Context, Timer};
use super::congestion::Congestion;
use super::rack::Rack;
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::scoreboard::Scoreboard;
use super::segment::Segment;

/// What the transmission timer waits for (`icsk_pending`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// `ICSK_TIME_RETRANS`: the retransmission time-out.
    Retransmit,
    /// `ICSK_TIME_PROBE0`: the next zero-window probe.
    ZeroWindowProbe,
    /// `ICSK_TIME_LOSS_PROBE`: a tail loss probe (RFC 8985 section 7).
    LossProbe,
    /// `ICSK_TIME_REO_TIMEOUT`: RACK's reordering window ends.
    Reordering,
}

/// The transmission timer (`icsk_retransmit_timer`). Cleared, it stays on the wheel and fires into nothing, as in the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TransmitTimer {
    /// What it waits for; nothing: it was cleared.
    pub(crate) pending: Option<Pending>,
    /// Its place on the wheel.
    pub(crate) timer: Timer,
}

/// Where an acknowledgement number lies (the first checks of `tcp_ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// Within `snd_una ..= snd_nxt`.
    Valid,
    /// Older than what is acknowledged already: only its SACKs are looked at.
    Old,
    /// Older than any window that there was (RFC 5961 section 5): a challenge ACK, drop reason TCP_TOO_OLD_ACK.
    TooOld,
    /// For what was never sent: drop reason TCP_ACK_UNSENT_DATA.
    Unsent,
}

/// An acknowledgement as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack<'a> {
    /// The segment's sequence number.
    pub(crate) seq: SequenceNumber,
    /// Behind its last one.
    pub(crate) end_seq: SequenceNumber,
    /// The acknowledgement number.
    pub(crate) ack: SequenceNumber,
    /// The window, scaled.
    pub(crate) window: u32,
    /// Its SACK blocks (only where SACK was agreed on).
    pub(crate) sacks: &'a [SackBlock],
    /// The timestamp that it echoes, without the connection's offset, in milliseconds (`rcv_tsecr`); nothing where it carries none or it is 0.
    pub(crate) echo: Option<u32>,
    /// ECE is set on a connection that does ECN, and the segment carries no SYN (`tcp_ecn_rcv_ecn_echo`).
    pub(crate) ece: bool,
    /// It did not take the fast path (`FLAG_SLOWPATH`).
    pub(crate) slow_path: bool,
    /// How many segments GRO or the backlog made one of (`gso_segs`), at least 1.
    pub(crate) segments: u16,
}

/// What there is to send after an acknowledgement (`REXMIT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Rexmit {
    /// What the windows allow, as after every segment.
    #[default]
    None,
    /// Lost segments: the retransmission walk.
    Lost,
    /// New data first (F-RTO, RFC 5682): if none could be sent, then lost ones.
    New,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AckOutcome {
    /// Sequence numbers that are acknowledged now and were not before.
    pub(crate) acked: u32,
    /// The SYN is among them (`FLAG_SYN_ACKED`).
    pub(crate) syn_acked: bool,
    /// Data is among them (`FLAG_DATA_ACKED`).
    pub(crate) data_acked: bool,
    /// The send window changed or moved (`FLAG_WIN_UPDATE`).
    pub(crate) window_updated: bool,
    /// The largest window ever seen grew: `tcp_sync_mss`.
    pub(crate) max_window_grew: bool,
    /// What to send now (`tcp_xmit_recovery`).
    pub(crate) rexmit: Rexmit,
    /// Bytes of the send buffer (with overhead) that are free again.
    pub(crate) freed: u32,
    /// The segment acknowledges progress or new SACKs: the neighbour is confirmed (`sk_dst_confirm`).
    pub(crate) confirms_neighbor: bool,
    /// Nothing was in flight: the window probes' timer is looked at anew (`tcp_ack_probe`).
    pub(crate) probe_window: bool,
}

/// Why a segment cannot be retransmitted now (`__tcp_retransmit_skb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetransmitError {
    /// `-EAGAIN`: outside of a window that shrank.
    OutsideWindow,
    /// There is no such segment.
    Absent,
}

/// A walk over the retransmission queue (`tcp_xmit_retransmit_queue`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetransmitWalk {
    pub(super) at: Option<SequenceNumber>,
    pub(super) max_segments: u32,
    pub(super) hole: bool,
    pub(super) rearm: bool,
}

/// The output half of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    /// The first sequence number that is not acknowledged.
    pub(crate) snd_una: SequenceNumber,
    /// The next one to be sent.
    pub(crate) snd_nxt: SequenceNumber,
    /// The sequence number of the segment that moved the window last.
    pub(crate) snd_wl1: SequenceNumber,
    /// The peer's window, scaled, in bytes.
    pub(crate) snd_wnd: u32,
    /// The largest one that there ever was.
    pub(crate) max_window: u32,
    /// Payload bytes per segment now (`mss_cache`).
    pub(crate) mss_cache: u32,
    /// SACK was agreed on.
    pub(crate) sack: bool,
    /// Timestamps were agreed on.
    pub(crate) timestamps: bool,
    /// What is in flight.
    pub(crate) queue: Scoreboard,
    /// Round trips and the time-out.
    pub(crate) rtt: RttEstimator,
    /// RACK (RFC 8985).
    pub(crate) rack: Rack,
    /// Loss recovery's state.
    pub(crate) recovery: Recovery,
    /// The congestion window.
    pub(crate) congestion: Congestion,
    /// The transmission timer.
    pub(crate) timer: TransmitTimer,
    /// Time-outs in a row without progress (`icsk_retransmits`).
    pub(crate) retransmits: u8,
    /// Doublings in force (`icsk_backoff`).
    pub(crate) backoff: u8,
    /// Unanswered window probes or keepalives (`icsk_probes_out`).
    pub(crate) probes_out: u8,
    /// Since when probes go unanswered, in ticks (`icsk_probes_tstamp`); 0: none.
    pub(crate) probes_stamp: u64,
    /// The tail loss probe's mark (`tlp_high_seq`); nothing: none is out.
    pub(crate) tlp_high_seq: Option<SequenceNumber>,
    /// That probe was a retransmission (`tlp_retrans`).
    pub(crate) tlp_retrans: bool,
    /// When the last acknowledgement came, in ticks (`rcv_tstamp`).
    pub(crate) rcv_stamp: u64,
    /// When data was sent last, in ticks (`lsndtime`).
    pub(crate) lsndtime: u64,
    /// Segments that arrived at the peer (`delivered`).
    pub(crate) delivered: u32,
    /// … with CE marks reported (`delivered_ce`).
    pub(crate) delivered_ce: u32,
    /// Payload bytes acknowledged (`bytes_acked`).
    pub(crate) bytes_acked: u64,
    /// Payload bytes sent, retransmissions too (`bytes_sent`).
    pub(crate) bytes_sent: u64,
    /// Payload bytes sent again (`bytes_retrans`).
    pub(crate) bytes_retrans: u64,
    /// Segments sent (`data_segs_out`).
    pub(crate) data_segs_out: u32,
    /// Retransmissions ever (`total_retrans`).
    pub(crate) total_retrans: u32,
    /// Time-outs ever (`total_rto`).
    pub(crate) total_rto: u16,
    /// DSACK blocks received (`dsack_dups`).
    pub(crate) dsack_dups: u32,
    /// Paces nothing, but sizes super-packets (`sk_pacing_rate`), in bytes per second.
    pub(crate) pacing_rate: u64,
}

#[expect(unused_variables, reason = "signatures first")]
impl Sender {
    /// A connection that has sent nothing yet (`tcp_init_sock`, `tcp_connect_init`).
    pub(crate) fn new(context: &Context<'_>, iss: SequenceNumber) -> Self {
        Sender {
            snd_una: iss,
            snd_nxt: iss,
            snd_wl1: SequenceNumber(0),
            snd_wnd: 0,
            max_window: 0,
            mss_cache: 536,
            sack: false,
            timestamps: false,
            queue: Scoreboard::default(),
            rtt: RttEstimator::new(context),
            rack: Rack::default(),
            recovery: Recovery::new(context),
            congestion: Congestion::new(&context.settings.congestion_control),
            timer: TransmitTimer::default(),
            retransmits: 0,
            backoff: 0,
            probes_out: 0,
            probes_stamp: 0,
            tlp_high_seq: None,
            tlp_retrans: false,
            rcv_stamp: context.clock.jiffies(),
            lsndtime: context.clock.jiffies(),
            delivered: 0,
            delivered_ce: 0,
            bytes_acked: 0,
            bytes_sent: 0,
            bytes_retrans: 0,
            data_segs_out: 0,
            total_retrans: 0,
            total_rto: 0,
            dsack_dups: 0,
            pacing_rate: u64::MAX,
        }
    }

    /// The handshake is done: the initial congestion window (`tcp_init_transfer`).
    pub(crate) fn establish(&mut self, context: &mut Context<'_>) {}

    /// The end of the peer's window (`tcp_wnd_end`).
    pub(crate) fn wnd_end(&self) -> SequenceNumber {
        self.snd_una + self.snd_wnd
    }

    /// Segments believed in flight (`tcp_packets_in_flight`).
    pub(crate) fn in_flight(&self) -> u32 {
        0
    }

    /// How many segments the congestion window allows now (`tcp_cwnd_test`): at most half of it at once, at least one; 0: none.
    pub(crate) fn cwnd_quota(&self) -> u32 {
        0
    }

    /// How many segments one super-packet shall stand for (`tcp_tso_segs`), with what the device takes in bytes and segments.
    pub(crate) fn tso_segments(
        &self,
        context: &Context<'_>,
        mss: u32,
        gso_max_size: u32,
        gso_max_segs: u32,
    ) -> u32 {
        1
    }

    /// Whether a segment of less than the quota had better wait for the next acknowledgement (`tcp_tso_should_defer`). `is_cwnd_limited`,
    /// `is_rwnd_limited` say by what.
    pub(crate) fn should_defer(
        &self,
        context: &Context<'_>,
        segment: &Segment,
        max_segments: u32,
    ) -> Deferred {
        Deferred::default()
    }

    /// A segment is about to be handed to IP for the first time or again: its time is noted (`tcp_transmit_skb` before the call).
    /// To be called for `segment` before [`Sender::sent`] or for the queue's own by [`Sender::retransmitted`], which does it itself.
    pub(crate) fn stamp(&mut self, context: &Context<'_>, segment: &mut Segment) {}

    /// A new segment was handed to IP and is in flight now (`tcp_event_new_data_sent`, `tcp_update_skb_after_send`); sets the
    /// timer. Counts TCPOrigDataSent. Not for SYNs: [`Sender::sent_syn`].
    pub(crate) fn sent(&mut self, context: &mut Context<'_>, segment: Segment) {}

    /// The SYN, or the SYN-ACK of a simultaneous open, is queued (`tcp_connect_queue_skb` and what `tcp_connect` does behind the transmission:
    /// the timer).
    pub(crate) fn sent_syn(&mut self, context: &mut Context<'_>, segment: Segment) {}

    /// After a round of sending: was the congestion window the limit (`tcp_cwnd_validate`)? `nothing_left`: the write queue ran empty
    /// with the send buffer full or not (`SOCK_NOSPACE`).
    pub(crate) fn validate_cwnd(
        &mut self,
        context: &mut Context<'_>,
        is_cwnd_limited: bool,
        write_queue_empty: bool,
        no_space: bool,
    ) {
    }

    /// Before sending after a pause (`tcp_slow_start_after_idle_check`).
    pub(crate) fn slow_start_after_idle(&mut self, context: &mut Context<'_>) {}

    /// Where an acknowledgement number lies; to be asked first.
    pub(crate) fn classify(&self, ack: SequenceNumber) -> AckKind {
        AckKind::Valid
    }

    /// Takes in an acknowledgement (`tcp_ack` behind its first checks), of kind [`AckKind::Valid`] or [`AckKind::Old`]. Counts
    /// TCPHPAcks, TCPPureAcks and everything of loss recovery.
    pub(crate) fn acknowledge(&mut self, context: &mut Context<'_>, ack: &Ack<'_>) -> AckOutcome {
        AckOutcome::default()
    }

    /// Begins a walk over lost segments (`tcp_xmit_retransmit_queue`); nothing where nothing is in flight.
    pub(crate) fn begin_retransmit(&mut self, max_segments: u32) -> Option<RetransmitWalk> {
        None
    }

    /// The next segment to be retransmitted, cut to size, if any. Transmit it, then say how it went.
    pub(crate) fn next_retransmit(
        &mut self,
        context: &mut Context<'_>,
        walk: &mut RetransmitWalk,
    ) -> Option<Segment> {
        None
    }

    /// How the transmission went. False: the walk ends.
    pub(crate) fn walked(
        &mut self,
        context: &mut Context<'_>,
        walk: &mut RetransmitWalk,
        segment: &Segment,
        sent: bool,
    ) -> bool {
        false
    }

    /// Ends a walk: the timer.
    pub(crate) fn end_retransmit(&mut self, context: &mut Context<'_>, walk: RetransmitWalk) {}

    /// One segment, by its sequence number, cut to `segments` of the present MSS and to the window, for retransmission (first half of
    /// `__tcp_retransmit_skb`; counts RetransSegs, TCPSynRetrans).
    ///
    /// # Errors
    /// It lies outside of a window that shrank, or does not exist.
    pub(crate) fn prepare_retransmit(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        segments: u32,
    ) -> Result<Segment, RetransmitError> {
        Err(RetransmitError::Absent)
    }

    /// What became of it (second half of `__tcp_retransmit_skb` and `tcp_retransmit_skb`; counts TCPRetransFail).
    pub(crate) fn retransmitted(
        &mut self,
        context: &mut Context<'_>,
        segment: &Segment,
        sent: bool,
    ) {
    }

    /// The retransmission time-out has come: everything is lost unless F-RTO shows otherwise (`tcp_retransmit_timer`: the
    /// failure counters by state, `tcp_enter_loss`, `tcp_update_rto_stats`). TCPTimeouts is counted; the caller has checked
    /// `tcp_write_timeout` before. Then retransmit the head, and [`Sender::back_off`].
    pub(crate) fn enter_loss(&mut self, context: &mut Context<'_>) {}

    /// Doubles the time-out and sets the timer (`out_reset_timer`). `thin`: linear time-outs are allowed; `syn_sent`: the state.
    pub(crate) fn back_off(
        &mut self,
        context: &mut Context<'_>,
        syn_sent: bool,
        user_timeout_left: Option<u64>,
    ) {
    }

    /// Sets the timer to a number of ticks from now (`tcp_reset_xmit_timer`), at most the largest time-out.
    pub(crate) fn reset_timer(&mut self, context: &Context<'_>, pending: Pending, ticks: u64) {}

    /// Clears the timer (`inet_csk_clear_xmit_timer`).
    pub(crate) fn clear_timer(&mut self) {
        self.timer.pending = None;
    }

    /// Sets the retransmission timer from what is in flight, or clears it (`tcp_rearm_rto`).
    pub(crate) fn rearm_rto(&mut self, context: &mut Context<'_>) {}

    /// Sets the tail loss probe's timer where one is due (`tcp_schedule_loss_probe`). False: none is.
    pub(crate) fn schedule_loss_probe(
        &mut self,
        context: &mut Context<'_>,
        advancing_rto: bool,
        unsent: bool,
    ) -> bool {
        false
    }

    /// The reordering window ended (`tcp_rack_reo_timeout`). True: walk over the lost segments.
    pub(crate) fn reordering_timeout(&mut self, context: &mut Context<'_>) -> bool {
        false
    }
}

/// What [`Sender::should_defer`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deferred {
    /// Wait.
    pub(crate) defer: bool,
    /// The congestion window is the limit.
    pub(crate) cwnd_limited: bool,
    /// The peer's window is the limit.
    pub(crate) rwnd_limited: bool,
}
