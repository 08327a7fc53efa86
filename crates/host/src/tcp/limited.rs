//! What a sender waited for (`tcp_chrono_*`, RFC 4898): `busy`, `rwnd_limited` and `sndbuf_limited` of `ss`.

use std::time::Duration;

use transect_path::Timestamp;

/// What limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    /// Nothing but the network: there is something to send.
    Busy,
    /// The peer's window.
    Window,
    /// The send buffer.
    SendBuffer,
}

/// How long each limit held, the sharper one counting where two did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chronograph {
    running: Option<(Limit, Timestamp)>,
    /// Nanoseconds.
    spent: [u64; 3],
}

impl Chronograph {
    /// A limit begins, unless a sharper one holds (`tcp_chrono_start`).
    pub(super) fn start(&mut self, now: Timestamp, limit: Limit) {
        if self.running.is_none_or(|(old, _)| limit > old) {
            self.switch(now, Some(limit));
        }
    }

    /// A limit ends; `busy`: there still is something to send (`tcp_chrono_stop`).
    pub(super) fn end(&mut self, now: Timestamp, limit: Limit, busy: bool) {
        if !busy {
            self.switch(now, None);
        } else if self.running.is_some_and(|(old, _)| old == limit) && limit != Limit::Busy {
            self.switch(now, Some(Limit::Busy));
        }
    }

    /// Everything was thrown away.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    fn switch(&mut self, now: Timestamp, to: Option<Limit>) {
        if let Some((limit, since)) = self.running {
            let passed = now.0.saturating_sub(since.0);
            if let Some(spent) = self.spent.get_mut(limit as usize) {
                *spent = spent.saturating_add(passed);
            }
        }
        self.running = to.map(|limit| (limit, now));
    }

    /// Busy in all, limited by the window, limited by the send buffer (`tcp_get_info_chrono_stats`).
    pub(super) fn totals(&self, now: Timestamp) -> [Duration; 3] {
        let mut done = *self;
        done.switch(now, None);
        let [busy, window, buffer] = done.spent.map(Duration::from_nanos);
        [busy + window + buffer, window, buffer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(milliseconds * 1_000_000)
    }

    #[test]
    fn the_sharper_limit_counts() {
        let mut chronograph = Chronograph::default();
        chronograph.start(at(0), Limit::Busy);
        chronograph.start(at(10), Limit::Window);
        chronograph.start(at(20), Limit::Busy);
        chronograph.end(at(40), Limit::Window, true);
        chronograph.end(at(45), Limit::Busy, false);
        let [busy, window, buffer] = chronograph.totals(at(1000));
        assert_eq!(busy, Duration::from_millis(45));
        assert_eq!(window, Duration::from_millis(30));
        assert_eq!(buffer, Duration::ZERO);
    }
}
