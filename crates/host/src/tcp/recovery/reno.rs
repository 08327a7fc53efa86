//! Duplicate ACKs in the place of SACK (RFC 6582; `tcp_add_reno_sack`, `tcp_remove_reno_sacks`).

use super::super::clock::Context;
use super::super::sender::Sender;
use crate::counters::TcpExtCounter;

impl Sender {
    /// Duplicate ACKs stand for arrived segments where there is no SACK (`tcp_add_reno_sack`).
    pub(super) fn add_reno_sack(&mut self, context: &mut Context<'_>, duplicates: u32, ece: bool) {
        if duplicates == 0 {
            return;
        }
        let before = self.queue.sacked_out;
        self.queue.sacked_out = before.saturating_add(duplicates);
        self.check_reno_reordering(context, 0);
        let delivered = self.queue.sacked_out.saturating_sub(before);
        self.deliver(delivered, ece);
    }

    /// Acknowledged segments use duplicates up (`tcp_remove_reno_sacks`).
    pub(in super::super) fn remove_reno_sacks(
        &mut self,
        context: &mut Context<'_>,
        acked: u32,
        ece: bool,
    ) {
        if acked > 0 {
            self.deliver(acked.saturating_sub(self.queue.sacked_out).max(1), ece);
            self.queue.sacked_out = self.queue.sacked_out.saturating_sub(acked - 1);
        }
        self.check_reno_reordering(context, acked);
    }

    /// More duplicates than segments: something was reordered (`tcp_check_reno_reordering`).
    pub(super) fn check_reno_reordering(&mut self, context: &mut Context<'_>, more: u32) {
        if self.limit_reno_sacked() {
            self.recovery.reordering = self
                .queue
                .packets_out
                .saturating_add(more)
                .min(context.settings.max_reordering);
            self.recovery.reord_seen = self.recovery.reord_seen.saturating_add(1);
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPRenoReorder);
        }
    }

    /// `tcp_limit_reno_sacked`.
    pub(super) fn limit_reno_sacked(&mut self) -> bool {
        let queue = &mut self.queue;
        let holes = queue.lost_out.max(1).min(queue.packets_out);
        let most = queue.packets_out.saturating_sub(holes);
        let limited = queue.sacked_out > most;
        if limited {
            queue.sacked_out = most;
        }
        limited
    }
}
