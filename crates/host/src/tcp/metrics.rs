//! What former connections to a destination found out (net/ipv4/tcp_metrics.c; `ip tcp_metrics show`): round trip, deviation,
//! window, threshold, reordering. A new connection takes its first time-out from there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::clock::Context;
use super::connection::Connection;
use super::fast_open::{Cookie, FastOpenOption};
use super::recovery::CaState;
use super::sender::Sender;
use crate::stack::Stack;

/// `TCP_METRICS_TIMEOUT`: what is older means nothing, in seconds.
const LIFETIME_SECONDS: u64 = 60 * 60;
/// The most destinations that are remembered; the kernel's table is of this order.
const MOST: usize = 65_536;

/// What is known of one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    /// Eight times the round trip, in microseconds; 0: unknown (`TCP_METRIC_RTT`).
    pub(super) rtt_us: u32,
    /// Four times the deviation, in microseconds (`TCP_METRIC_RTTVAR`).
    pub(super) rttvar_us: u32,
    /// `TCP_METRIC_SSTHRESH`, in segments; 0: unknown.
    pub(super) ssthresh: u32,
    /// `TCP_METRIC_CWND`, in segments.
    pub(super) cwnd: u32,
    /// `TCP_METRIC_REORDERING`, in segments; 0: unknown.
    pub(super) reordering: u32,
    /// When it was written last, in ticks.
    stamp: u64,
    /// What fast open knows (`tcpm_fastopen`), which does not grow old.
    fast_open: FastOpenCache,
}

/// What is known of a destination's fast open (`struct tcp_fastopen_metrics`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FastOpenCache {
    /// The largest segment that it announced; 0: unknown.
    pub(super) mss: u16,
    pub(super) cookie: Option<Cookie>,
    /// The cookie came in the option's old form.
    pub(super) experimental: bool,
    /// 1: the next wish takes the option's old form; 2: that was in vain.
    pub(super) try_experimental: u8,
    /// SYNs with data that got lost, in a row.
    syn_loss: u16,
}

/// The host's memory of destinations, by both addresses (`tcp_metrics_hash`).
#[derive(Debug, Default)]
pub(crate) struct MetricsTable {
    entries: BTreeMap<(IpAddr, IpAddr), Metrics>,
    by_age: BTreeSet<(u64, (IpAddr, IpAddr))>,
}

impl MetricsTable {
    /// What is known (`tcp_get_metrics`), if it is not too old. `now`: in ticks.
    fn get(&self, ends: (IpAddr, IpAddr), now: u64, hz: u64) -> Option<Metrics> {
        let metrics = self.entries.get(&ends)?;
        let old = now.saturating_sub(metrics.stamp) > LIFETIME_SECONDS * hz;
        (!old).then_some(*metrics)
    }

    /// Remembers; where there is no room, the oldest is forgotten (`TCP_METRICS_RECLAIM_DEPTH`). O(log n).
    fn set(&mut self, ends: (IpAddr, IpAddr), metrics: Metrics) {
        if let Some(old) = self.entries.insert(ends, metrics) {
            self.by_age.remove(&(old.stamp, ends));
        }
        self.by_age.insert((metrics.stamp, ends));
        if self.entries.len() > MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

impl MetricsTable {
    /// Forgets everything (`tcp_metrics_flush_all`).
    pub(crate) fn forget(&mut self) {
        *self = MetricsTable::default();
    }
}

impl Stack {
    /// What is known of fast open (`tcp_fastopen_cache_get`).
    pub(super) fn fast_open_cache(&self, ends: (IpAddr, IpAddr)) -> FastOpenCache {
        let known = self.tcp_metrics.entries.get(&ends);
        known.map(|known| known.fast_open).unwrap_or_default()
    }

    /// What a SYN-ACK tells (`tcp_fastopen_cache_set`).
    pub(super) fn store_fast_open(
        &mut self,
        ends: (IpAddr, IpAddr),
        mss: u16,
        answer: Option<FastOpenOption>,
        syn_lost: bool,
        try_experimental: u8,
    ) {
        let known = self.tcp_metrics.entries.get(&ends).copied();
        let mut metrics = known.unwrap_or(Metrics {
            stamp: self.ticks.at(self.now),
            ..Metrics::default()
        });
        let cache = &mut metrics.fast_open;
        if mss > 0 {
            cache.mss = mss;
        }
        match answer {
            Some(FastOpenOption {
                cookie: Some(cookie),
                experimental,
            }) => {
                cache.cookie = Some(cookie);
                cache.experimental = experimental;
            }
            _ if try_experimental > cache.try_experimental && cache.cookie.is_none() => {
                cache.try_experimental = try_experimental;
            }
            _ => {}
        }
        cache.syn_loss = match syn_lost {
            true => cache.syn_loss.saturating_add(1),
            false => 0,
        };
        self.tcp_metrics.set(ends, metrics);
    }

    fn metrics(&self, ends: (IpAddr, IpAddr)) -> Option<Metrics> {
        let now = self.ticks.at(self.now);
        self.tcp_metrics.get(ends, now, u64::from(self.ticks.hz()))
    }

    /// A connection with this peer got an answer before (`tcp_peer_is_proven`).
    pub(super) fn is_proven(&self, local: IpAddr, peer: IpAddr) -> bool {
        self.metrics((local, peer))
            .is_some_and(|metrics| metrics.rtt_us > 0)
    }
}

impl Connection {
    /// The connection begins with what is known (`tcp_init_metrics`); its threshold, reordering and time-out are set.
    pub(super) fn recall_metrics(&mut self, stack: &mut Stack) {
        let known = stack.metrics((self.local.address, self.peer.address));
        let Some(mut metrics) = known else { return };
        if stack
            .settings
            .number("net.ipv4.tcp_no_ssthresh_metrics_save")
            != 0
        {
            metrics.ssthresh = 0;
        }
        self.sender.recall(&Context::of(stack), &metrics);
    }

    /// The connection ends (`tcp_update_metrics`).
    pub(super) fn save_metrics(&mut self, stack: &mut Stack) {
        if stack.settings.number("net.ipv4.tcp_no_metrics_save") != 0 || self.route.is_none() {
            return;
        }
        let saves_threshold = stack
            .settings
            .number("net.ipv4.tcp_no_ssthresh_metrics_save")
            == 0;
        let ends = (self.local.address, self.peer.address);
        let old = stack.metrics(ends);
        if self.sender.backoff > 0 || self.sender.rtt.srtt_us == 0 {
            // Nothing came back in time: what was known is doubtful.
            if let Some(mut metrics) = old {
                metrics.rtt_us = 0;
                stack.tcp_metrics.set(ends, metrics);
            }
            return;
        }
        let mut metrics = old.unwrap_or_default();
        metrics.fast_open = stack.fast_open_cache(ends);
        self.sender
            .remember(&mut metrics, saves_threshold, stack.settings.tcp.reordering);
        metrics.stamp = stack.ticks.at(stack.now);
        stack.tcp_metrics.set(ends, metrics);
    }
}

impl Sender {
    fn recall(&mut self, context: &Context<'_>, metrics: &Metrics) {
        if metrics.ssthresh > 0 {
            self.congestion.snd_ssthresh = metrics.ssthresh.min(self.congestion.snd_cwnd_clamp);
        }
        if metrics.reordering > 0 {
            self.recovery.reordering = metrics.reordering;
        }
        if metrics.rtt_us > self.rtt.srtt_us {
            // The handshake's packets are small: what larger ones took counts more.
            let clock = &context.clock;
            let ticks = u64::from(metrics.rtt_us) / (8 * clock.us_of_jiffies(1).max(1));
            let least = clock.jiffies_of(context.settings.rto_min);
            self.rtt.rto = ticks + least.max(2 * ticks);
        }
    }

    fn remember(&self, metrics: &mut Metrics, saves_threshold: bool, usual_reordering: u32) {
        let (srtt, mdev) = (self.rtt.srtt_us, self.rtt.mdev_us);
        // A longer round trip counts at once, a shorter one slowly.
        let shorter = i64::from(metrics.rtt_us) - i64::from(srtt);
        metrics.rtt_us = if shorter <= 0 {
            srtt
        } else {
            metrics
                .rtt_us
                .saturating_sub(u32::try_from(shorter >> 3).unwrap_or(0))
        };
        let deviation = u32::try_from(shorter.unsigned_abs() >> 1)
            .unwrap_or(u32::MAX)
            .max(mdev);
        metrics.rttvar_us = if deviation >= metrics.rttvar_us {
            deviation
        } else {
            metrics.rttvar_us - ((metrics.rttvar_us - deviation) >> 2)
        };
        let (window, threshold) = (self.congestion.snd_cwnd, self.congestion.snd_ssthresh);
        if threshold >= super::congestion::INFINITE_SSTHRESH {
            // Slow start never ended.
            if saves_threshold && metrics.ssthresh > 0 && window >> 1 > metrics.ssthresh {
                metrics.ssthresh = window >> 1;
            }
            metrics.cwnd = metrics.cwnd.max(window);
        } else if window >= threshold && self.recovery.state == CaState::Open {
            if saves_threshold {
                metrics.ssthresh = (window >> 1).max(threshold);
            }
            metrics.cwnd = metrics.cwnd.midpoint(window);
        } else {
            metrics.cwnd = metrics.cwnd.midpoint(threshold);
            if saves_threshold && metrics.ssthresh > 0 && threshold > metrics.ssthresh {
                metrics.ssthresh = threshold;
            }
            let reordering = self.recovery.reordering;
            if metrics.reordering < reordering && reordering != usual_reordering {
                metrics.reordering = reordering;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ENDS: (IpAddr, IpAddr) = (
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    );

    #[test]
    fn what_is_an_hour_old_means_nothing() {
        let mut table = MetricsTable::default();
        let metrics = Metrics {
            rtt_us: 8000,
            stamp: 1000,
            ..Metrics::default()
        };
        table.set(ENDS, metrics);
        assert_eq!(table.get(ENDS, 1000 + 3600 * 250, 250), Some(metrics));
        assert_eq!(table.get(ENDS, 1001 + 3600 * 250, 250), None);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut table = MetricsTable::default();
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from(number));
        for number in 0..70_000 {
            let metrics = Metrics {
                rtt_us: 1,
                stamp: u64::from(number),
                ..Metrics::default()
            };
            table.set((ENDS.0, address(number)), metrics);
        }
        assert_eq!((table.entries.len(), table.by_age.len()), (MOST, MOST));
        assert_eq!(table.get((ENDS.0, address(4463)), 70_000, 250), None);
        assert!(table.get((ENDS.0, address(4464)), 70_000, 250).is_some());
    }
}
