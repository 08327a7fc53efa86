//! What arrived and the program has not read, in order and out of order (`sk_receive_queue`, `out_of_order_queue`,
//! `tcp_data_queue` in net/ipv4/tcp_input.c), and the window that it leaves (`receive_window`).

use transect_packet::{SackBlock, SequenceNumber};

use super::clock::Context;
use crate::drop_reason::DropReason;

/// A segment's payload as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    /// The first sequence number.
    pub(crate) seq: SequenceNumber,
    /// The payload.
    pub(crate) payload: &'a [u8],
    /// FIN is set.
    pub(crate) fin: bool,
    /// PSH is set.
    pub(crate) psh: bool,
    /// What the packet costs in the buffer (`truesize`), in bytes.
    pub(crate) truesize: u32,
    /// Payload bytes of each wire segment where GRO merged several, else 0 (`gso_size`).
    pub(crate) gso_size: u16,
    /// The timestamp that it echoes, in milliseconds; nothing where there is none (`rcv_tsecr`).
    pub(crate) echo: Option<u32>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Queued {
    /// It was dropped, for this reason.
    pub(crate) dropped: Option<DropReason>,
    /// Bytes that came in order: `tcp_event_data_recv` (the caller's delayed-ACK estimate). 0: none.
    pub(crate) received: u32,
    /// Everything up to and including the FIN is in order now: `tcp_fin`.
    pub(crate) fin: bool,
    /// An ACK is scheduled (`inet_csk_schedule_ack`).
    pub(crate) schedule_ack: bool,
    /// It shall go at once (`ICSK_ACK_NOW`).
    pub(crate) ack_now: bool,
    /// `tcp_enter_quickack_mode(TCP_MAX_QUICKACKS)`.
    pub(crate) quick_ack: bool,
    /// There is something new to read (`tcp_data_ready`).
    pub(crate) readable: bool,
    /// No memory for it (`ICSK_ACK_NOMEM`).
    pub(crate) no_memory: bool,
    /// It was kept out of order.
    pub(crate) out_of_order: bool,
}

/// The input half of a connection.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    /// The next sequence number expected.
    pub(crate) rcv_nxt: SequenceNumber,
    /// The next one that the program reads (`copied_seq`).
    pub(crate) copied_seq: SequenceNumber,
    /// `rcv_nxt` when the window was advertised last.
    pub(crate) rcv_wup: SequenceNumber,
    /// The window advertised then.
    pub(crate) rcv_wnd: u32,
    /// The largest window to advertise now (`rcv_ssthresh`).
    pub(crate) rcv_ssthresh: u32,
    /// … and ever (`window_clamp`).
    pub(crate) window_clamp: u32,
    /// Our window scale (`rcv_wscale`).
    pub(crate) rcv_wscale: u8,
    /// The limit (`sk_rcvbuf`).
    pub(crate) rcvbuf: u32,
    /// The program fixed it (`SOCK_RCVBUF_LOCK`).
    pub(crate) locked: bool,
    /// What everything in it costs (`sk_rmem_alloc`).
    pub(crate) rmem_alloc: u32,
    /// The peer's segment size as it seems (`icsk_ack.rcv_mss`).
    pub(crate) rcv_mss: u32,
    /// SACK was agreed on.
    pub(crate) sack: bool,
    /// Bytes received in order (`bytes_received`).
    pub(crate) bytes_received: u64,
    bytes: std::collections::VecDeque<u8>,
}

// Stands in until the real one lands: what comes in order, and a window from the room that is left.
#[expect(unused_variables, reason = "signatures first")]
impl ReceiveBuffer {
    /// The window of our SYN or SYN-ACK, unscaled as it stands there, with the scale to offer (`tcp_select_initial_window`).
    /// `mss` is the one that we advertise. Sets the clamp, the scale, `rcv_wnd`, `rcv_ssthresh`.
    pub(crate) fn select_initial_window(
        &mut self,
        context: &Context<'_>,
        mss: u32,
        wscale_ok: bool,
        syn_ack: bool,
    ) -> u32 {
        let space = (self.rcvbuf / 2).min(65_535);
        self.rcv_wnd = space - space % mss.max(1);
        self.rcv_wscale = if wscale_ok { 10 } else { 0 };
        if self.window_clamp == 0 {
            self.window_clamp = 65_535 << self.rcv_wscale;
        }
        self.rcv_ssthresh = self.rcv_wnd;
        self.rcv_wnd
    }

    /// The handshake is done (`tcp_init_buffer_space`, `tcp_initialize_rcv_mss`).
    pub(crate) fn establish(&mut self, context: &Context<'_>, mss: u32, advmss: u32) {
        self.rcv_mss = 536.min(mss).min(advmss);
    }

    /// The window now advertised, what of it is left (`tcp_receive_window`).
    pub(crate) fn receive_window(&self) -> u32 {
        (self.rcv_wup + self.rcv_wnd)
            .offset_from(self.rcv_nxt)
            .max(0)
            .unsigned_abs()
    }

    /// The header's window field for a segment that goes out now (`tcp_select_window`); remembers it. Counts TCP…ZeroWindowAdv.
    pub(crate) fn select_window(&mut self, context: &mut Context<'_>) -> u16 {
        let new = self.free_window(context).max(self.receive_window());
        self.rcv_wnd = new;
        self.rcv_wup = self.rcv_nxt;
        u16::try_from(new >> self.rcv_wscale).unwrap_or(u16::MAX)
    }

    /// The window that could be advertised, without doing so (`__tcp_select_window`).
    pub(crate) fn free_window(&self, context: &Context<'_>) -> u32 {
        let used = self.readable() as u32;
        let free = (self.rcvbuf / 2).saturating_sub(used);
        if free < self.rcv_mss { 0 } else { free }
    }

    /// A segment with payload or FIN in the window (`tcp_data_queue`; trimmed here). Counts TCPOFOQueue, TCPOFOMerge, TCPRcvCoalesce,
    /// DelayedACKLost, TCPDSACK…Sent, TCPZeroWindowDrop, TCPRcvQDrop, RcvPruned, OfoPruned, PruneCalled, TCPRcvCollapsed.
    pub(crate) fn queue(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) -> Queued {
        let skip = self.rcv_nxt.offset_from(arrived.seq);
        let mut queued = Queued {
            schedule_ack: true,
            ..Queued::default()
        };
        if skip < 0 {
            queued.ack_now = true;
            queued.dropped = Some(DropReason::TcpOfoDrop);
            return queued;
        }
        let fresh = arrived
            .payload
            .get(skip.unsigned_abs() as usize..)
            .unwrap_or_default();
        if skip > 0 && fresh.is_empty() && !arrived.fin {
            queued.ack_now = true;
            queued.dropped = Some(DropReason::TcpOldData);
            return queued;
        }
        self.bytes.extend(fresh);
        self.rcv_nxt = self.rcv_nxt + fresh.len() as u32;
        self.bytes_received += fresh.len() as u64;
        queued.received = fresh.len() as u32;
        queued.readable = !fresh.is_empty();
        if arrived.fin && arrived.seq + arrived.payload.len() as u32 == self.rcv_nxt {
            self.rcv_nxt = self.rcv_nxt + 1;
            queued.fin = true;
        }
        queued
    }

    /// A segment before the window: its DSACK (`tcp_dsack_set`, `tcp_send_dupack`).
    pub(crate) fn note_duplicate(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        end_seq: SequenceNumber,
    ) {
    }

    /// Bytes that a program can read.
    pub(crate) fn readable(&self) -> usize {
        self.bytes.len()
    }

    /// Reads (`tcp_recvmsg`): how many bytes. The caller then thinks of a window update (`tcp_cleanup_rbuf`).
    pub(crate) fn read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> usize {
        let mut count = 0;
        for (place, byte) in into.iter_mut().zip(self.bytes.iter()) {
            *place = *byte;
            count += 1;
        }
        self.bytes.drain(..count);
        self.copied_seq = self.copied_seq + count as u32;
        count
    }

    /// The SACK blocks for the next segment, at most `room` of them, the duplicate's first (`tcp_established_options`).
    pub(crate) fn sack_blocks(&self, room: usize) -> ([SackBlock; 4], usize) {
        ([SackBlock::default(); 4], 0)
    }

    /// An ACK went out: the duplicate has been told (`tcp_established_options`, `rx_opt.dsack = 0`).
    pub(crate) fn acknowledged(&mut self) {}

    /// Whether anything lies out of order.
    pub(crate) fn has_gap(&self) -> bool {
        false
    }

    /// The receiver's estimate of the round trip, in microseconds; 0: none.
    pub(crate) fn rcv_rtt_us(&self) -> u64 {
        0
    }

    /// Throws away what was not read; whether there was any.
    pub(crate) fn purge(&mut self) -> bool {
        let unread = !self.bytes.is_empty();
        self.bytes.clear();
        unread
    }

    /// What the last reads took in a round trip (`rcvq_space.space`).
    pub(crate) fn rcv_space(&self) -> u32 {
        14_480
    }

    /// Segments that came out of order (`rcv_ooopack`).
    pub(crate) fn out_of_order_packets(&self) -> u32 {
        0
    }

    /// Whether a packet of that cost fits without more ado.
    pub(crate) fn has_room(&self, truesize: u32) -> bool {
        true
    }

    /// Behind the last byte that came out of order.
    pub(crate) fn rightmost_sack(&self) -> Option<SequenceNumber> {
        None
    }
}
