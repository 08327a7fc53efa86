//! What the receive buffer may cost, and what is done when it is full (`tcp_try_rmem_schedule`, `tcp_prune_queue`,
//! `tcp_collapse`).

use super::super::clock::Context;
use super::super::segment::distance;
use super::{Arrived, Chunk, ReceiveBuffer};
use crate::counters::TcpExtCounter;

/// What collapsing fills an `sk_buff` with, and what that costs (`tcp_collapse`: one page), in bytes.
const COLLAPSED: (u32, u32) = (3776, 4352);

impl ReceiveBuffer {
    /// Whether the buffer takes a segment (`tcp_can_ingest`): by its payload, not by what it costs.
    pub(in super::super) fn can_ingest(&self, length: u32) -> bool {
        self.rmem_alloc.saturating_add(length) <= self.rcvbuf
    }

    /// Makes room for a segment (`tcp_try_rmem_schedule`, `tcp_prune_queue`). False: there is none.
    pub(in super::super) fn schedule_memory(
        &mut self,
        context: &mut Context<'_>,
        arrived: &Arrived<'_>,
    ) -> bool {
        let length = arrived.length();
        if self.can_ingest(length) {
            return true;
        }
        context.counters.tcp_ext.count(TcpExtCounter::PruneCalled);
        self.clamp_window(context);
        if self.can_ingest(length) {
            return true;
        }
        self.collapse(context);
        if self.can_ingest(length) {
            return true;
        }
        self.prune_out_of_order(context, arrived);
        if self.can_ingest(length) {
            return true;
        }
        context.counters.tcp_ext.count(TcpExtCounter::RcvPruned);
        false
    }

    /// The buffer is full: it grows to what it holds, or the window shrinks (`tcp_clamp_window`).
    fn clamp_window(&mut self, context: &Context<'_>) {
        self.clear_quick = true;
        let largest = context.settings.rmem[2];
        if self.rcvbuf < largest && !self.locked {
            self.rcvbuf = self.rmem_alloc.min(largest);
        }
        if self.rmem_alloc > self.rcvbuf {
            self.rcv_ssthresh = self.window_clamp.min(2 * self.advmss);
        }
    }

    /// Moves the payload of small segments together (`tcp_collapse`): they cost less then.
    fn collapse(&mut self, context: &mut Context<'_>) {
        let Some(first) = self.chunks.front() else {
            return;
        };
        let length = distance(self.copied_seq, self.rcv_nxt);
        let cost: u32 = self.chunks.iter().map(|chunk| chunk.truesize).sum();
        let (payload, each) = COLLAPSED;
        let collapsed = length.div_ceil(payload).saturating_mul(each);
        if collapsed >= cost || self.chunks.len() < 2 || first.fin {
            return;
        }
        let fin = self.chunks.back().is_some_and(|chunk| chunk.fin);
        let gone = self.chunks.len() as u64;
        context
            .counters
            .tcp_ext
            .add(TcpExtCounter::TCPRcvCollapsed, gone);
        self.rmem_alloc = self.rmem_alloc.saturating_sub(cost - collapsed);
        let mut end_seq = self.copied_seq;
        self.chunks.clear();
        while end_seq.is_before(self.rcv_nxt) {
            let left = distance(end_seq, self.rcv_nxt);
            end_seq = end_seq + left.min(payload);
            self.chunks.push_back(Chunk {
                end_seq,
                truesize: each,
                room: 0,
                fragments: 1,
                fin: fin && left <= payload,
                shared: None,
            });
        }
    }
}
