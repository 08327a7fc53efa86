//! The retransmission queue (`tcp_rtx_queue`): what is in flight, what of it the peer reported, what is believed lost.

use std::collections::VecDeque;

use super::segment::Segment;

/// Segments in flight, with the counts of their marks (`packets_out`, `sacked_out`, `lost_out`, `retrans_out`).
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    pub(super) segments: VecDeque<Segment>,
    /// Wire segments that were sent and are not acknowledged.
    pub(crate) packets_out: u32,
    /// … that the peer reported, or duplicate ACKs stand for.
    pub(crate) sacked_out: u32,
    /// … that are believed lost.
    pub(crate) lost_out: u32,
    /// … whose retransmission is on the way.
    pub(crate) retrans_out: u32,
    /// Segments ever marked lost (`lost`).
    pub(crate) lost: u32,
}
