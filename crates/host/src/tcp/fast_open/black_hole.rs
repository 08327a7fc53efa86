//! Paths that swallow SYNs with data: fast open ceases for the whole host, for an hour and longer each time
//! (`tcp_fastopen_active_disable` and its like; `net.ipv4.tcp_fastopen_blackhole_timeout_sec`, 0: never).

use transect_config::SocketState;

use super::super::connection::Connection;
use super::FastOpen;
use crate::counters::TcpExtCounter;
use crate::stack::Stack;

/// The time doubles so often at most.
const MOST_DOUBLINGS: u32 = 6;

/// Whether and since when (`tfo_active_disable_times`, `tfo_active_disable_stamp`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BlackHole {
    times: u32,
    /// In ticks.
    since: u64,
}

impl Stack {
    /// No SYN carries data for a while (`tcp_fastopen_active_disable`).
    fn disable_active_fast_open(&mut self) {
        if self.settings.tcp.fastopen_blackhole_timeout.is_zero() {
            return;
        }
        self.black_hole.since = self.ticks.at(self.now);
        self.black_hole.times = self.black_hole.times.saturating_add(1);
        self.counters
            .tcp_ext
            .count(TcpExtCounter::TCPFastOpenBlackhole);
    }

    /// Whether that time goes on; nothing where there was no such time (`tcp_fastopen_active_should_disable`).
    pub(super) fn fast_open_rests(&self) -> Option<bool> {
        let timeout = self.settings.tcp.fastopen_blackhole_timeout;
        if timeout.is_zero() || self.black_hole.times == 0 {
            return None;
        }
        let doublings = (self.black_hole.times - 1).min(MOST_DOUBLINGS);
        let ticks = self.ticks.of(timeout).saturating_mul(1 << doublings);
        let until = self.black_hole.since.saturating_add(ticks);
        Some(self.ticks.at(self.now) < until)
    }
}

impl Connection {
    /// A time-out: the third in a row, or the one that ends the connection (`tcp_fastopen_active_detect_blackhole`).
    pub(in crate::tcp) fn detect_black_hole(&mut self, stack: &mut Stack, expired: bool) {
        let timeouts = self.sender.retransmits;
        let concerns = self
            .fast_open
            .as_deref()
            .is_some_and(|fast| fast.syn_option || fast.syn_data || fast.syn_data_acked);
        if concerns && (timeouts == 2 || timeouts < 2 && expired) {
            stack.disable_active_fast_open();
        }
    }

    fn began_fast(&self) -> Option<&FastOpen> {
        self.fast_open.as_deref().filter(|fast| fast.syn_option)
    }

    /// A reset that is out of order, before anything came (`tcp_validate_incoming`).
    pub(in crate::tcp) fn suspect_reset(&mut self, stack: &mut Stack) {
        if self.began_fast().is_some()
            && self.data_segs_in == 0
            && self.state == SocketState::Established
        {
            stack.disable_active_fast_open();
        }
    }

    /// The connection goes: nothing but a FIN came, out of order, or else all was well (`tcp_fastopen_active_disable_ofo_check`).
    pub(in crate::tcp) fn judge_fast_open(&mut self, stack: &mut Stack) {
        let Some(fast) = self.began_fast() else {
            return;
        };
        if self.data_segs_in == 0 {
            if self.receive.holds_only_a_fin() {
                stack.disable_active_fast_open();
            }
        } else if fast.checks && !self.local.address.is_loopback() {
            stack.black_hole.times = 0;
        }
    }
}
