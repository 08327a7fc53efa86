//! Segment sizes and the path MTU (`tcp_sync_mss`, `tcp_current_mss`, `tcp_v4_mtu_reduced`, `tcp_mtu_probing`; RFC 4821).

use super::clock::{Clock, Context};
use super::connection::Connection;
use super::recovery::CaState;
use super::sender::{MtuProbe, ProbeEnd};
use crate::counters::TcpExtCounter;
use crate::ip::Route;
use crate::settings::TcpSettings;
use crate::stack::Stack;

/// Bytes of the timestamps option, padded (`TCPOLEN_TSTAMP_ALIGNED`).
pub(super) const TIMESTAMPS: u32 = 12;

/// Only a window of so many segments has room for a probe.
const LEAST_WINDOW: u32 = 11;

/// What is known of the path MTU (`icsk_pmtu_cookie`, `icsk_mtup`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PathMtu {
    /// For which the segment size was computed, in bytes.
    pub(super) cookie: u32,
    /// Probing is on: `search_low` limits the segments.
    enabled: bool,
    /// The largest packet that is known to pass.
    search_low: u32,
    /// The smallest that is thought not to.
    search_high: u32,
    /// When probing began, or began anew, in ticks (`probe_timestamp`).
    began: u64,
}

/// What became of a look at whether to probe (`tcp_mtu_probe`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probing {
    /// No probe now; sending goes on as usual.
    No,
    /// There shall be one: nothing is sent until there is room for it.
    Waits,
    /// One was sent.
    Sent,
}

/// The segment size that a route announces (`dst_metric_advmss`: `ipv4_default_advmss`, `ip6_default_advmss`).
pub(super) fn route_advmss(route: &Route, v6: bool) -> u32 {
    if route.metrics.advmss != 0 {
        route.metrics.advmss
    } else if v6 {
        let mss = route.mtu.saturating_sub(60).max(1220);
        if mss > 65_535 - 20 { 65_535 } else { mss }
    } else {
        route.mtu.saturating_sub(40).clamp(256, 65_535 - 40)
    }
}

impl Connection {
    /// What is announced to the peer (`tcp_advertise_mss`, `tcp_mss_clamp`).
    pub(super) fn advertised_mss(&self, route: &Route) -> u32 {
        let mss = route_advmss(route, self.network_header() == 40);
        match self.options.max_segment {
            Some(own) => mss.min(u32::from(own)),
            None => mss,
        }
    }

    /// Payload of a packet of a size, without the options of every segment (`__tcp_mtu_to_mss`).
    pub(super) fn base_mss(&self, settings: &TcpSettings, mtu: u32) -> u32 {
        mtu.saturating_sub(self.network_header() + 20)
            .min(self.mss_clamp)
            .max(settings.min_snd_mss)
    }

    /// Payload of a packet of a size (`tcp_mtu_to_mss`).
    fn mtu_to_mss(&self, settings: &TcpSettings, mtu: u32) -> u32 {
        self.base_mss(settings, mtu)
            .saturating_sub(self.header_length() - 20)
            .max(1)
    }

    /// The packet that carries a payload (`tcp_mss_to_mtu`).
    fn mss_to_mtu(&self, mss: u32) -> u32 {
        mss.saturating_add(self.header_length() + self.network_header())
    }

    /// Begins (`tcp_mtup_init`).
    pub(super) fn init_path_mtu(&mut self, clock: &Clock, settings: &TcpSettings) {
        self.path_mtu.enabled = settings.mtu_probing > 1;
        self.path_mtu.search_high = self.mss_clamp.saturating_add(20 + self.network_header());
        self.path_mtu.search_low = self.mss_to_mtu(settings.base_mss);
        if self.path_mtu.enabled {
            self.path_mtu.began = clock.jiffies();
        }
    }

    /// Computes the segment size for a path MTU (`tcp_sync_mss`).
    pub(super) fn sync_mss(&mut self, settings: &TcpSettings, mtu: u32) {
        self.path_mtu.search_high = self.path_mtu.search_high.min(mtu);
        let mut mss = self.mtu_to_mss(settings, mtu);
        mss = self.bound_to_half_window(mss);
        self.path_mtu.cookie = mtu;
        if self.path_mtu.enabled {
            mss = mss.min(self.mtu_to_mss(settings, self.path_mtu.search_low));
        }
        self.sender.mss_cache = mss;
    }

    /// No more than half of the largest window that the peer ever had (`tcp_bound_to_half_wnd`).
    pub(super) fn bound_to_half_window(&self, size: u32) -> u32 {
        let largest = self.sender.max_window;
        let cutoff = if largest > super::connection::MSS_DEFAULT {
            largest / 2
        } else {
            largest
        };
        if cutoff > 0 && size > cutoff {
            cutoff.max(68 - self.header_length())
        } else {
            size
        }
    }

    /// The segment size now: the route may have changed, and SACK blocks take room (`tcp_current_mss`).
    pub(super) fn current_mss(&mut self, stack: &mut Stack) -> u32 {
        // The route as it was when the last segment went: a new one is looked for when the next one goes (`__sk_dst_get`).
        if let Some(route) = self.route
            && route.mtu != self.path_mtu.cookie
        {
            self.sync_mss(&stack.settings.tcp, route.mtu);
        }
        let blocks = self.sack_blocks().1;
        let sacks = if blocks > 0 { 4 + 8 * blocks as u32 } else { 0 };
        self.sender.mss_cache.saturating_sub(sacks).max(1)
    }

    /// The path MTU shrank (`tcp_v4_mtu_reduced`, `tcp_v6_mtu_reduced`).
    pub(super) fn mtu_reduced(&mut self, stack: &mut Stack, mtu: u32) {
        use transect_config::SocketState;
        if matches!(self.state, SocketState::Unconnected) {
            return;
        }
        let key = self.route_key();
        stack.update_path_mtu(&key, mtu);
        self.route = None;
        let Ok(route) = self.route(stack) else {
            return;
        };
        // The packet was not allowed to be fragmented, and the path is narrower now.
        // Neither off nor the device's own (`ip_sk_accept_pmtu`).
        if matches!(self.options.mtu_discover, 1..=3) && self.path_mtu.cookie > route.mtu {
            self.sync_mss(&stack.settings.tcp, route.mtu);
            self.simple_retransmit(stack);
        }
    }

    /// A black hole is suspected (`tcp_mtu_probing`): smaller segments from now on.
    pub(super) fn suspect_black_hole(&mut self, stack: &mut Stack) {
        let settings = &stack.settings.tcp;
        if settings.mtu_probing == 0 {
            return;
        }
        if self.path_mtu.enabled {
            let mss = self.mtu_to_mss(settings, self.path_mtu.search_low) / 2;
            let mss = mss
                .min(settings.base_mss)
                .max(settings.mtu_probe_floor)
                .max(settings.min_snd_mss);
            self.path_mtu.search_low = self.mss_to_mtu(mss);
        } else {
            self.path_mtu.enabled = true;
            self.path_mtu.began = Self::clock(stack).jiffies();
        }
        let cookie = self.path_mtu.cookie;
        let settings = stack.settings.tcp.clone();
        self.sync_mss(&settings, cookie);
    }

    /// Sends a probe for a larger path MTU, if it is time for one: halfway between what passes and what is thought not to
    /// (`tcp_mtu_probe`).
    pub(super) fn probe_mtu(&mut self, stack: &mut Stack) -> Probing {
        let waits = self.path_mtu.enabled
            && self.sender.mtu_probe.is_none()
            && self.sender.recovery.state == CaState::Open
            && self.sender.congestion.snd_cwnd >= LEAST_WINDOW
            && self.sack_blocks().1 == 0;
        if !waits {
            return Probing::No;
        }
        let mss = self.current_mss(stack);
        let settings = &stack.settings.tcp;
        let (low, high) = (self.path_mtu.search_low, self.path_mtu.search_high);
        let size = self.mtu_to_mss(
            settings,
            (low / 2).saturating_add(high / 2 + (low & high & 1)),
        );
        let interval = high.saturating_sub(low);
        if size > self.mtu_to_mss(settings, high) || interval < settings.probe_threshold.max(1) {
            self.check_reprobe(stack, mss);
            return Probing::No;
        }
        let needed = size
            .saturating_add((self.sender.reordering() + 1).saturating_mul(self.sender.mss_cache));
        let next = self.sender.snd_nxt;
        if self.send_buffer.not_sent(next) < needed || self.sender.snd_wnd < needed {
            return Probing::No;
        }
        if self.sender.wnd_end().is_before(next + needed) {
            return Probing::Waits;
        }
        let in_flight = self.sender.in_flight();
        if in_flight + 2 > self.sender.congestion.snd_cwnd {
            return if in_flight == 0 {
                Probing::No
            } else {
                Probing::Waits
            };
        }
        self.send_mtu_probe(stack, size, mss)
    }

    fn send_mtu_probe(&mut self, stack: &mut Stack, size: u32, mss: u32) -> Probing {
        let Some(mut segment) = self.send_buffer.take_probe(size, mss) else {
            return Probing::No;
        };
        self.sender.stamp(&Context::of(stack), &mut segment);
        if self.transmit(stack, &segment).is_err() {
            self.send_buffer.put_back(segment);
            return Probing::No;
        }
        // It stands for two packets, one of which may be lost.
        let window = self.sender.congestion.snd_cwnd.saturating_sub(1);
        self.sender.congestion.set_window(window);
        self.sender.mtu_probe = Some(MtuProbe {
            size: self.mss_to_mtu(segment.len()),
            start: segment.seq,
            end: segment.end_seq,
        });
        self.sender.sent(&mut Context::of(stack), segment);
        self.check_space(stack);
        Probing::Sent
    }

    /// The search has come to its end; after a while it begins anew, since paths change (`tcp_mtu_check_reprobe`).
    fn check_reprobe(&mut self, stack: &Stack, mss: u32) {
        let clock = Self::clock(stack);
        let settings = &stack.settings.tcp;
        let passed = clock.jiffies().saturating_sub(self.path_mtu.began);
        if passed >= clock.jiffies_of(settings.probe_interval) {
            self.sender.mtu_probe = None;
            self.path_mtu.search_high = self.mss_clamp.saturating_add(20 + self.network_header());
            self.path_mtu.search_low = self.mss_to_mtu(mss);
            self.path_mtu.began = clock.jiffies();
        }
    }

    /// A probe arrived, or was lost alone.
    pub(super) fn mtu_probe_ended(&mut self, stack: &mut Stack, end: ProbeEnd) {
        match end {
            ProbeEnd::Passed(size) => {
                self.path_mtu.search_low = size;
                let cookie = self.path_mtu.cookie;
                self.sync_mss(&stack.settings.tcp, cookie);
                self.count(stack, TcpExtCounter::TCPMTUPSuccess);
            }
            ProbeEnd::Lost(size) => {
                self.path_mtu.search_high = size.saturating_sub(1);
                self.count(stack, TcpExtCounter::TCPMTUPFail);
                self.simple_retransmit(stack);
            }
        }
    }

    /// What does not fit any more is sent again in smaller pieces (`tcp_simple_retransmit`).
    fn simple_retransmit(&mut self, stack: &mut Stack) {
        if self.has_syn_data_in_flight() {
            // The SYN and its data were one packet.
            self.sender.lose_everything(&mut Context::of(stack));
            return self.retransmit_lost(stack);
        }
        let mss = self.current_mss(stack);
        if self.sender.simple_retransmit(&mut Context::of(stack), mss) {
            self.retransmit_lost(stack);
        }
    }
}
