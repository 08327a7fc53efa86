//! Multicast listener reports (net/ipv6/mcast.c, MLDv2, RFC 3810): what a host says of the groups that it listens to.
//!
//! The groups are those that every node joins by itself: all nodes (never reported), all routers where it forwards, and the
//! solicited-node group of each address. Programs join none in the model; for the same reason there is no IGMP: IPv4's only
//! group of every host, 224.0.0.1, is never reported (`igmp_group_added`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::counters::{Icmp6Counter, IpCounter};
use crate::device::{DeviceId, DeviceKind};
use crate::ip::bytes::{fold, ones_sum, pseudo_header, put};
use crate::ip::{Outgoing, Route, version_of};
use crate::packet::ChecksumState;
use crate::stack::{Stack, TimerOwner};

/// ff02::16, all routers that understand MLDv2 (RFC 3810 section 5.2.14).
const MLD2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// ff02::2
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// ff05::2
const SITE_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);
/// `ICMPV6_MLD2_REPORT`.
const REPORT: u8 = 143;
/// `MLD2_CHANGE_TO_EXCLUDE`: with no sources, "from all".
const CHANGE_TO_EXCLUDE: u8 = 4;
/// The next header of a hop-by-hop options header is what it stands before: here ICMPv6.
const ICMPV6: u8 = 58;
/// Hop-by-hop options: router alert (RFC 2711), and two bytes of padding.
const OPTIONS: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];
/// Records that fit into one report at the smallest MTU (`mld_newpack`).
const RECORDS: usize = 60;

/// The groups of all devices.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    devices: BTreeMap<DeviceId, DeviceGroups>,
}

/// Those of one (`struct inet6_dev`).
#[derive(Debug, Default)]
struct DeviceGroups {
    /// In the order in which they were joined, each with how often its change is still to be told (`mca_crcount`).
    joined: Vec<(Ipv6Addr, u8)>,
    /// Reports of changes that are still to come (`mc_ifc_count`).
    changes: u8,
    /// Reports of everything that are still to come (`mc_dad_count`).
    initial: u8,
}

impl Stack {
    /// Joins a group (`ipv6_dev_mc_inc`, `igmp6_group_added`); it is told as often as `mld_qrv` says.
    pub(super) fn join_group(&mut self, device: DeviceId, group: Ipv6Addr) {
        if !self.reports_groups(device) {
            return;
        }
        let times = self.mld_robustness();
        let of_device = self.ip.groups.devices.entry(device).or_default();
        if of_device.joined.iter().any(|(known, _)| *known == group) {
            return;
        }
        of_device.joined.push((group, times));
        of_device.changes = times;
        self.report_changes_later(device, Duration::ZERO);
    }

    /// Leaves one (`igmp6_leave_group`). The model does not tell it: only an address that goes away does that.
    pub(super) fn leave_group(&mut self, device: DeviceId, group: Ipv6Addr) {
        if let Some(of_device) = self.ip.groups.devices.get_mut(&device) {
            of_device.joined.retain(|(known, _)| *known != group);
        }
    }

    /// Leaves all, of a device that goes down (`ipv6_mc_down`).
    pub(super) fn leave_all_groups(&mut self, device: DeviceId) {
        self.ip.groups.devices.remove(&device);
    }

    /// Forwarding was switched on or off (`dev_forward_change`).
    pub(super) fn join_routers(&mut self, device: DeviceId, forwarding: bool, site: bool) {
        let groups = [(ALL_ROUTERS, true), (SITE_ROUTERS, site)];
        for (group, wanted) in groups {
            match forwarding {
                true if wanted => self.join_group(device, group),
                true => {}
                false => self.leave_group(device, group),
            }
        }
    }

    /// The first link-local address is usable: what was said without one is said again (`ipv6_mc_dad_complete`).
    pub(super) fn report_all(&mut self, device: DeviceId) {
        let times = self.mld_robustness();
        if let Some(of_device) = self.ip.groups.devices.get_mut(&device) {
            of_device.initial = times;
            self.report_initially(device);
        }
    }

    /// `mld_ifc_work`.
    pub(crate) fn handle_group_timer(&mut self, device: DeviceId) {
        let Some(of_device) = self.ip.groups.devices.get_mut(&device) else {
            return;
        };
        let mut told = Vec::new();
        for (group, times) in of_device.joined.iter_mut().filter(|(_, times)| *times > 0) {
            *times -= 1;
            told.push(*group);
        }
        of_device.changes = of_device.changes.saturating_sub(1);
        let more = of_device.changes > 0;
        self.send_reports(device, &told);
        if more {
            let interval = self.report_interval(device);
            self.report_changes_later(device, interval);
        }
    }

    /// `mld_dad_work`, `mld_send_initial_cr`.
    pub(crate) fn report_initially(&mut self, device: DeviceId) {
        let Some(of_device) = self.ip.groups.devices.get_mut(&device) else {
            return;
        };
        let all: Vec<Ipv6Addr> = of_device.joined.iter().map(|(group, _)| *group).collect();
        of_device.initial = of_device.initial.saturating_sub(1);
        let more = of_device.initial > 0;
        self.send_reports(device, &all);
        if more {
            let at = self.within(self.report_interval(device));
            self.timers
                .set(TimerOwner::InitialReports(device), Some(at));
        }
    }

    /// `mld_ifc_start_work`.
    fn report_changes_later(&mut self, device: DeviceId, interval: Duration) {
        let at = self.within(interval);
        self.timers.set(TimerOwner::Groups(device), Some(at));
    }

    /// A moment within that time, drawn at random, and two ticks.
    fn within(&mut self, interval: Duration) -> transect_path::Timestamp {
        let ticks = self.random.u64(0..self.ticks.of(interval).max(1));
        let now = self.now;
        self.ticks.wheel(now, self.ticks.at(now) + ticks + 2)
    }

    /// `unsolicited_report_interval`.
    fn report_interval(&self, device: DeviceId) -> Duration {
        let milliseconds = self.ipv6_setting(device, "mldv2_unsolicited_report_interval");
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
    }

    fn mld_robustness(&self) -> u8 {
        let times = self.config.sysctls.number("net.ipv6.mld_qrv").unwrap_or(2);
        u8::try_from(times.clamp(1, 255)).unwrap_or(2)
    }

    /// Groups are told on links that have others.
    fn reports_groups(&self, device: DeviceId) -> bool {
        let device = self.link.device(device);
        device
            .is_some_and(|device| matches!(device.kind, DeviceKind::Ethernet | DeviceKind::Bridge))
    }

    /// The groups joined last come first, as in the kernel's list.
    fn send_reports(&mut self, device: DeviceId, groups: &[Ipv6Addr]) {
        let newest: Vec<Ipv6Addr> = groups.iter().rev().copied().collect();
        for part in newest.chunks(RECORDS) {
            self.send_report(device, part);
        }
    }

    /// `mld_sendpack`.
    fn send_report(&mut self, device: DeviceId, groups: &[Ipv6Addr]) {
        let source = self
            .usable_link_local(device)
            .unwrap_or(Ipv6Addr::UNSPECIFIED);
        let mut message = vec![REPORT, 0, 0, 0, 0, 0];
        message.extend((groups.len() as u16).to_be_bytes());
        for group in groups {
            message.extend([CHANGE_TO_EXCLUDE, 0, 0, 0]);
            message.extend(group.octets());
        }
        let pseudo = pseudo_header(source.into(), MLD2_ROUTERS.into(), ICMPV6, message.len());
        let checksum = !fold(ones_sum(pseudo, &message));
        put(&mut message, 2, &checksum.to_be_bytes());
        let sent = self.send_to_link(&ToLink {
            device,
            source,
            destination: MLD2_ROUTERS,
            hop_limit: 1,
            protocol: 0,
            header: &OPTIONS,
            payload: &message,
        });
        if sent {
            self.count_icmp6_out(REPORT, Icmp6Counter::OutMLDv2Reports);
        } else {
            self.count_ip(version_of(MLD2_ROUTERS.into()), IpCounter::OutDiscards);
        }
    }

    /// A message of ICMPv6 has left.
    pub(crate) fn count_icmp6_out(&mut self, kind: u8, counter: Icmp6Counter) {
        self.counters.icmp6.count(counter);
        self.counters.icmp6.count(Icmp6Counter::OutMsgs);
        let [_, sent] = &mut self.counters.icmp6_types;
        let sent = sent.entry(kind).or_default();
        *sent = sent.wrapping_add(1);
    }

    /// Sends a message of ICMPv6 by a device, whatever the routes say; whether it left the host, or waits for its neighbour.
    /// What dies in a device without a queue did not (`noop_enqueue` says congestion, which others take for success).
    pub(crate) fn send_to_link(&mut self, message: &ToLink<'_>) -> bool {
        let device = message.device;
        let destination = IpAddr::V6(message.destination);
        let route = Route {
            device,
            next_hop: destination,
            source: IpAddr::V6(message.source),
            destination,
            mtu: self.link.device(device).map_or(1280, |device| device.mtu),
            mtu_locked: false,
            metrics: transect_config::RouteMetrics::default(),
            local: false,
            group: destination.is_multicast(),
            generation: 0,
            expires: None,
        };
        let out = Outgoing {
            source: IpAddr::V6(message.source),
            destination,
            protocol: message.protocol,
            ttl: Some(message.hop_limit),
            tos: 0,
            flow_hash: crate::ip::FlowHash::None,
            identification: None,
            dont_fragment: true,
            may_fragment: false,
            mark: 0,
            priority: 0,
            header: message.header,
            payload: [message.payload, &[]],
            checksum: ChecksumState::None,
            segmentation: None,
            owner: None,
            route: &route,
        };
        self.congested = false;
        let sent = self.ip_output(&out);
        sent.is_ok() && !std::mem::take(&mut self.congested)
    }
}

/// A message for whoever is on the link.
#[derive(Debug)]
pub(crate) struct ToLink<'a> {
    pub(crate) device: DeviceId,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
    /// The next header.
    pub(crate) protocol: u8,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}
