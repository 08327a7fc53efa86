//! What a connection knows about what it sends (the output half of `struct tcp_sock`).
//!
//! The connection drives it: it transmits segments and says so ([`Sender::stamp`], [`Sender::sent`]), hands in acknowledgements
//! ([`Sender::classify`], then [`Sender::acknowledge`]), asks what to retransmit ([`Sender::begin_retransmit`],
//! [`Sender::next_retransmit`], [`Sender::walked`], [`Sender::end_retransmit`]), and calls when the timer fires that stands in
//! [`Sender::timer`]. The mechanisms live in files of their own: `ack`, `sack`, `rack`, `loss_probe`, `recovery`, `undo`,
//! `retransmit`, `rtt`, `rate`, and the congestion control.

use transect_packet::SequenceNumber;

use super::clock::{Clock, Context, Timer};
use super::congestion::{self, Algorithm, ApplicationLimited, Congestion, Flight};
use super::cubic::Cubic;
use super::rack::Rack;
use super::rate::DeliveryRate;
use super::recovery::{CaState, Recovery};
use super::rtt::{RttEstimator, rto_max};
use super::sack::SackCache;
use super::scoreboard::Scoreboard;
use super::segment::{Segment, distance};
use crate::counters::TcpExtCounter;

pub(crate) use super::ack::{Ack, AckKind};

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

/// A path MTU probe in flight (`icsk_mtup.probe_size`, `mtu_probe`; RFC 4821).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MtuProbe {
    /// The packet's size with IP's header, in bytes.
    pub(crate) size: u32,
    /// The first sequence number.
    pub(crate) start: SequenceNumber,
    /// Behind the last one.
    pub(crate) end: SequenceNumber,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeEnd {
    /// Packets of this size pass (`tcp_mtup_probe_success`).
    Passed(u32),
    /// It was lost, and what was sent behind it arrived (`tcp_mtup_probe_failed`): to be sent again in pieces.
    Lost(u32),
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
    /// What is in flight.
    pub(crate) queue: Scoreboard,
    /// What cutting segments in flight cost the send buffer beyond what it was told (each cut makes one more `sk_buff`), in bytes;
    /// told with the next acknowledgement.
    pub(crate) queue_cost: i64,
    /// Round trips and the time-out.
    pub(crate) rtt: RttEstimator,
    /// RACK (RFC 8985).
    pub(super) rack: Rack,
    /// Loss recovery's state.
    pub(crate) recovery: Recovery,
    /// The congestion window.
    pub(crate) congestion: Congestion,
    /// What moves it.
    pub(super) algorithm: Box<dyn Algorithm>,
    /// How fast segments are delivered.
    pub(crate) delivery: DeliveryRate,
    pub(super) sack_cache: SackCache,
    /// The transmission timer.
    pub(crate) timer: TransmitTimer,
    /// Time-outs in a row without progress (`icsk_retransmits`).
    pub(crate) retransmits: u8,
    /// Doublings in force (`icsk_backoff`).
    pub(crate) backoff: u8,
    /// The timer is that of a SYN-ACK which fast open made a connection of (`fastopen_rsk`).
    pub(crate) handshake_pending: bool,
    /// Unanswered window probes or keepalives (`icsk_probes_out`).
    pub(crate) probes_out: u8,
    /// Since when probes go unanswered, in ticks (`icsk_probes_tstamp`); 0: none.
    pub(crate) probes_stamp: u64,
    /// The tail loss probe's mark (`tlp_high_seq`); nothing: none is out.
    pub(crate) tlp_high_seq: Option<SequenceNumber>,
    /// That probe was a retransmission (`tlp_retrans`).
    pub(super) tlp_retrans: bool,
    /// The segment at hand is that probe: it does not count as retransmitted.
    pub(super) probing: Option<SequenceNumber>,
    /// The path MTU probe that is in flight.
    pub(crate) mtu_probe: Option<MtuProbe>,
    /// When this recovery's first retransmission was sent, in milliseconds (`retrans_stamp`); 0: none.
    pub(crate) retrans_stamp: u32,
    /// When the last acknowledgement came, in ticks (`rcv_tstamp`).
    pub(crate) rcv_stamp: u64,
    /// When data was sent last, in ticks (`lsndtime`).
    pub(crate) lsndtime: u64,
    /// When anything was sent last, in microseconds (`tcp_wstamp_ns`).
    pub(super) wstamp_us: u64,
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
    /// Segments with payload sent (`data_segs_out`).
    pub(crate) data_segs_out: u32,
    /// Retransmissions ever (`total_retrans`).
    pub(crate) total_retrans: u32,
    /// Time-outs ever (`total_rto`).
    pub(crate) total_rto: u16,
    /// Segments that DSACK blocks reported (`dsack_dups`).
    pub(crate) dsack_dups: u32,
    /// Paces nothing, but sizes super-packets (`sk_pacing_rate`), in bytes per second.
    pub(crate) pacing_rate: u64,
    /// The largest super-packet of the route's device (`sk_gso_max_size`), in bytes.
    pub(crate) gso_max_size: u32,
}

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
            queue: Scoreboard::default(),
            queue_cost: 0,
            rtt: RttEstimator::new(context),
            rack: Rack::default(),
            recovery: Recovery::new(context),
            congestion: Congestion::default(),
            algorithm: congestion::algorithm(&context.settings.congestion_control)
                .unwrap_or_else(|| Box::new(Cubic::default())),
            delivery: DeliveryRate::default(),
            sack_cache: [None; 4],
            timer: TransmitTimer::default(),
            retransmits: 0,
            backoff: 0,
            handshake_pending: false,
            probes_out: 0,
            probes_stamp: 0,
            tlp_high_seq: None,
            tlp_retrans: false,
            probing: None,
            mtu_probe: None,
            retrans_stamp: 0,
            rcv_stamp: context.clock.jiffies(),
            lsndtime: context.clock.jiffies(),
            wstamp_us: 0,
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
            gso_max_size: 65_536,
        }
    }

    /// Another algorithm (`TCP_CONGESTION`). False: there is none of this name.
    pub(crate) fn set_algorithm(&mut self, context: &mut Context<'_>, name: &str) -> bool {
        let Some(algorithm) = congestion::algorithm(name) else {
            return false;
        };
        self.algorithm = algorithm;
        let flight = self.flight();
        self.algorithm.init(context, &flight);
        true
    }

    /// The algorithm's name, as `ss` shows it.
    pub(crate) fn algorithm_name(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The handshake is done: the time-out's fallback and the initial congestion window, which is one segment where more than one
    /// SYN or SYN-ACK was lost (`tcp_init_transfer`).
    pub(crate) fn establish(&mut self, context: &mut Context<'_>) {
        self.rtt.establish(&context.clock);
        self.congestion.snd_ssthresh = congestion::INFINITE_SSTHRESH;
        let lossy = self.total_retrans > 1 && self.recovery.undo_marker.is_some();
        let initial = self.congestion.initial.min(self.congestion.snd_cwnd_clamp);
        self.congestion.set_window(if lossy { 1 } else { initial });
        self.congestion.snd_cwnd_stamp = context.clock.jiffies();
        self.recovery.prior_ssthresh = 0;
        let flight = self.flight();
        self.algorithm.init(context, &flight);
        self.update_pacing_rate(context);
    }

    /// What an algorithm may know.
    pub(super) fn flight(&self) -> Flight {
        Flight {
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            pacing_rate: self.pacing_rate,
            gso_max_size: self.gso_max_size,
            lsndtime: self.lsndtime,
        }
    }

    /// The end of the peer's window (`tcp_wnd_end`).
    pub(crate) fn wnd_end(&self) -> SequenceNumber {
        self.snd_una + self.snd_wnd
    }

    /// Segments believed in flight (`tcp_packets_in_flight`).
    pub(crate) fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    /// How far segments may be out of order without being lost, in segments (`tp->reordering`).
    pub(crate) fn reordering(&self) -> u32 {
        self.recovery.reordering
    }

    /// How many segments the congestion window allows now (`tcp_cwnd_test`): at most half of it at once; 0: none.
    pub(crate) fn cwnd_quota(&self) -> u32 {
        let (window, in_flight) = (self.congestion.snd_cwnd, self.in_flight());
        (window >> 1).max(1).min(window.saturating_sub(in_flight))
    }

    /// How many segments one super-packet shall stand for (`tcp_tso_segs`, `tcp_tso_autosize`), with what the device takes in
    /// bytes and segments.
    pub(crate) fn tso_segments(
        &self,
        context: &Context<'_>,
        mss: u32,
        gso_max_size: u32,
        gso_max_segs: u32,
    ) -> u32 {
        /// `sk_pacing_shift`: about a millisecond's worth.
        const PACING_SHIFT: u32 = 10;
        let largest = u64::from(gso_max_size);
        let mut bytes = self.pacing_rate >> PACING_SHIFT;
        // Short round trips take larger packets.
        let shift = self
            .rtt
            .min_us()
            .checked_shr(context.settings.tso_rtt_log)
            .unwrap_or(0);
        if shift < u32::BITS {
            bytes = bytes.saturating_add(largest >> shift);
        }
        let segments = bytes.min(largest) / u64::from(mss.max(1));
        u32::try_from(segments)
            .unwrap_or(u32::MAX)
            .max(context.settings.min_tso_segs)
            .min(gso_max_segs)
            .max(1)
    }

    /// Whether a segment had better wait for the next acknowledgement, since it could be larger then (`tcp_tso_should_defer`).
    /// `last`: nothing else waits behind it.
    pub(crate) fn should_defer(
        &self,
        context: &Context<'_>,
        segment: &Segment,
        max_segments: u32,
        last: bool,
    ) -> Deferred {
        let send_now = Deferred::default();
        let now = context.clock.us();
        if self.recovery.state >= CaState::Recovery || now.saturating_sub(self.wstamp_us) > 1000 {
            return send_now;
        }
        let mss = self.mss_cache;
        let room = self.congestion.snd_cwnd.saturating_sub(self.in_flight());
        let peer_window = distance(segment.seq, self.wnd_end());
        let congestion_window = room.saturating_mul(mss);
        let limit = peer_window.min(congestion_window);
        if limit >= max_segments.saturating_mul(mss) || (!last && limit >= segment.len()) {
            return send_now;
        }
        let whole = self
            .snd_wnd
            .min(self.congestion.snd_cwnd.saturating_mul(mss));
        let enough = match context.settings.tso_win_divisor {
            0 => limit > 3 * mss,
            divisor => limit >= whole / divisor,
        };
        let Some(head) = self.queue.head().filter(|_| !enough) else {
            return send_now;
        };
        let srtt_us = u64::from(self.rtt.srtt_us >> 3);
        let expected = (head.sent_us + srtt_us).saturating_sub(now);
        if expected > (srtt_us >> 1).min(1000) {
            return send_now;
        }
        let by_congestion = congestion_window < peer_window;
        if by_congestion && congestion_window <= segment.len() {
            return Deferred {
                defer: true,
                cwnd_limited: true,
                rwnd_limited: false,
            };
        }
        if !by_congestion && peer_window <= segment.len() {
            return Deferred {
                defer: true,
                cwnd_limited: false,
                rwnd_limited: true,
            };
        }
        Deferred {
            defer: segment.flags & transect_packet::TcpFlags::FIN == 0,
            ..send_now
        }
    }

    /// A segment is about to be handed to IP, for the first time or again: its time is noted, and where it has payload the
    /// sums move (`__tcp_transmit_skb` before the call, `tcp_event_data_sent`). Retransmissions are stamped by
    /// [`Sender::prepare_retransmit`] and its like already.
    pub(crate) fn stamp(&mut self, context: &Context<'_>, segment: &mut Segment) {
        let now = context.clock.us();
        self.wstamp_us = now;
        segment.sent_us = now;
        let length = segment.len();
        if length == 0 {
            return;
        }
        if self.in_flight() == 0 {
            let flight = self.flight();
            self.algorithm.start_sending(context, &flight);
        }
        self.lsndtime = context.clock.jiffies();
        self.data_segs_out = self
            .data_segs_out
            .wrapping_add(u32::from(segment.pcount.max(1)));
        self.bytes_sent = self.bytes_sent.wrapping_add(u64::from(length));
    }

    /// A new segment was handed to IP and is in flight now (`tcp_event_new_data_sent`, `tcp_rate_skb_sent`); sets the timer. Counts
    /// TCPOrigDataSent. Not for SYNs: [`Sender::sent_syn`].
    pub(crate) fn sent(&mut self, context: &mut Context<'_>, mut segment: Segment) {
        let idle = self.queue.packets_out == 0;
        let pcount = u32::from(segment.pcount.max(1));
        segment.pcount = segment.pcount.max(1);
        self.delivery
            .sent(&mut segment, self.queue.packets_out, self.delivered);
        self.snd_nxt = segment.end_seq;
        self.queue.push(segment);
        if self.recovery.in_reduction() {
            self.recovery.prr_out = self.recovery.prr_out.saturating_add(pcount);
        }
        if idle || self.timer.pending == Some(Pending::LossProbe) {
            self.rearm_rto(context);
        }
        context
            .counters
            .tcp_ext
            .add(TcpExtCounter::TCPOrigDataSent, u64::from(pcount));
    }

    /// The SYN is in the queue, whether it could leave or not (`tcp_connect`): sets the timer.
    pub(crate) fn sent_syn(&mut self, context: &mut Context<'_>, mut segment: Segment) {
        segment.pcount = 1;
        self.delivery
            .sent(&mut segment, self.queue.packets_out, self.delivered);
        self.snd_nxt = segment.end_seq;
        self.queue.push(segment);
        let rto = self.rtt.rto;
        self.reset_timer(context, Pending::Retransmit, rto);
    }

    /// … with data, which stands behind it by itself (`tcp_send_syn_data`).
    pub(crate) fn sent_syn_data(&mut self, mut segment: Segment) {
        segment.pcount = 1;
        self.delivery
            .sent(&mut segment, self.queue.packets_out, self.delivered);
        self.snd_nxt = segment.end_seq;
        self.queue.push(segment);
    }

    /// After a round of sending: was the congestion window the limit (`tcp_cwnd_validate`)? `no_space`: the program waits for
    /// room in the send buffer.
    pub(crate) fn validate_cwnd(
        &mut self,
        context: &mut Context<'_>,
        is_cwnd_limited: bool,
        no_space: bool,
    ) {
        let limited = context
            .settings
            .slow_start_after_idle
            .then_some(ApplicationLimited {
                rto: self.rtt.rto,
                may_shrink: self.recovery.state == CaState::Open && !no_space,
            });
        self.congestion.validate(
            (self.snd_una, self.snd_nxt),
            self.queue.packets_out,
            is_cwnd_limited,
            context.clock.jiffies(),
            limited,
        );
    }

    /// Before sending after a pause (`tcp_slow_start_after_idle_check`).
    pub(crate) fn slow_start_after_idle(&mut self, context: &mut Context<'_>) {
        if !context.settings.slow_start_after_idle || self.queue.packets_out > 0 {
            return;
        }
        let now = context.clock.jiffies();
        let idle = now.saturating_sub(self.lsndtime);
        if idle > self.rtt.rto {
            let in_reduction = self.recovery.in_reduction();
            self.congestion
                .restart(idle, self.rtt.rto, in_reduction, now);
        }
    }

    /// The program writes: whether what the samples of the delivery rate say is the network's doing (`tcp_rate_check_app_limited`).
    /// `not_sent`: bytes that wait; `below`: something lies in the host's own queues.
    pub(crate) fn check_application_limited(&mut self, not_sent: u32, below: bool) {
        if not_sent < self.mss_cache
            && !below
            && self.in_flight() < self.congestion.snd_cwnd
            && self.queue.lost_out <= self.queue.retrans_out
        {
            self.delivery
                .limit_by_application(self.delivered, self.in_flight());
        }
    }

    /// Twice the rate in slow start, 1.2 times afterwards (`tcp_update_pacing_rate`).
    pub(crate) fn update_pacing_rate(&mut self, context: &Context<'_>) {
        let settings = context.settings;
        let congestion = &self.congestion;
        let ratio = if congestion.snd_cwnd < congestion.snd_ssthresh / 2 {
            settings.pacing_ss_ratio
        } else {
            settings.pacing_ca_ratio
        };
        let segments = u128::from(congestion.snd_cwnd.max(self.queue.packets_out));
        let rate = u128::from(self.mss_cache) * 80_000 * u128::from(ratio) * segments
            / u128::from(self.rtt.srtt_us.max(1));
        self.pacing_rate = u64::try_from(rate).unwrap_or(u64::MAX);
    }

    /// Sets the timer to a number of ticks from now (`tcp_reset_xmit_timer`), at most the largest time-out.
    pub(crate) fn reset_timer(&mut self, context: &Context<'_>, pending: Pending, ticks: u64) {
        self.set_timer(context, pending, ticks, rto_max(context));
    }

    /// … or another bound (`inet_csk_reset_xmit_timer`).
    pub(super) fn set_timer(
        &mut self,
        context: &Context<'_>,
        pending: Pending,
        ticks: u64,
        most: u64,
    ) {
        let clock = &context.clock;
        let expires = clock.jiffies().saturating_add(ticks.min(most));
        self.timer.pending = Some(pending);
        self.timer.timer.set(clock, expires);
    }

    /// Clears the timer (`inet_csk_clear_xmit_timer`).
    pub(crate) fn clear_timer(&mut self) {
        self.timer.pending = None;
    }

    /// Sets the retransmission timer from what is in flight, or clears it (`tcp_rearm_rto`).
    pub(crate) fn rearm_rto(&mut self, context: &mut Context<'_>) {
        if self.handshake_pending {
            return;
        }
        if self.queue.packets_out == 0 {
            // Whatever it waited for, a loss probe as well.
            self.clear_timer();
            return;
        }
        let mut ticks = self.rtt.rto;
        if matches!(
            self.timer.pending,
            Some(Pending::Reordering | Pending::LossProbe)
        ) {
            let left = self.rto_left_us(&context.clock).max(1);
            ticks = context.clock.jiffies_of_us(left.unsigned_abs());
        }
        self.reset_timer(context, Pending::Retransmit, ticks);
    }

    /// How long the oldest segment's time-out is away, in microseconds (`tcp_rto_delta_us`).
    pub(super) fn rto_left_us(&self, clock: &Clock) -> i64 {
        let rto = i64::try_from(clock.us_of_jiffies(self.rtt.rto)).unwrap_or(i64::MAX);
        match self.queue.head() {
            None => rto,
            Some(head) => {
                let passed = clock.us().saturating_sub(head.sent_us);
                rto.saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX))
            }
        }
    }

    /// Forgets everything that is in flight (`tcp_write_queue_purge`).
    pub(crate) fn purge(&mut self) {
        self.queue.clear();
        self.queue_cost = 0;
        self.backoff = 0;
    }
}
