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
}

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
        0
    }

    /// The handshake is done (`tcp_init_buffer_space`, `tcp_initialize_rcv_mss`).
    pub(crate) fn establish(&mut self, context: &Context<'_>, mss: u32, advmss: u32) {}

    /// The window now advertised, what of it is left (`tcp_receive_window`).
    pub(crate) fn receive_window(&self) -> u32 {
        0
    }

    /// The header's window field for a segment that goes out now (`tcp_select_window`); remembers it. Counts TCP…ZeroWindowAdv.
    pub(crate) fn select_window(&mut self, context: &mut Context<'_>) -> u16 {
        0
    }

    /// The window that could be advertised, without doing so (`__tcp_select_window`).
    pub(crate) fn free_window(&self, context: &Context<'_>) -> u32 {
        0
    }

    /// A segment with payload or FIN in the window (`tcp_data_queue`; trimmed here). Counts TCPOFOQueue, TCPOFOMerge, TCPRcvCoalesce,
    /// DelayedACKLost, TCPDSACK…Sent, TCPZeroWindowDrop, TCPRcvQDrop, RcvPruned, OfoPruned, PruneCalled, TCPRcvCollapsed.
    pub(crate) fn queue(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) -> Queued {
        Queued::default()
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
        0
    }

    /// Reads (`tcp_recvmsg`): how many bytes. The caller then thinks of a window update (`tcp_cleanup_rbuf`).
    pub(crate) fn read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> usize {
        0
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
}
