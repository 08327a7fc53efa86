//! Sending 8: the neighbour table and its state machine (net/core/neighbour.c), for ARP and neighbour discovery alike.
//!
//! Times are ticks, as the kernel's are jiffies; deadlines go through the timer wheel.

mod arp;
mod discovery;
mod entry;
mod table;

use std::net::IpAddr;

use transect_config::NeighborState;
use transect_packet::MacAddress;
use transect_path::Point;

use crate::device::{DeviceId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::{Stack, TimerOwner};
pub(crate) use discovery::solicited_node;
use entry::{Entry, Fired, Times, Update};
pub(super) use table::Neighbors;

/// Tick 0 of the host, for the neighbour table: entries are made with times that lie before it.
const CLOCK_START: u64 = 1 << 40;

impl Stack {
    /// `ip_finish_output2`, `neigh_output`: writes the link header, once it is known, and sends.
    pub(super) fn resolve(
        &mut self,
        id: DeviceId,
        next_hop: IpAddr,
        packet: Packet,
    ) -> Result<(), Errno> {
        let Some(device) = self.link.device(id) else {
            self.drop_packet(packet, Point::Neighbor, DropReason::NeighCreatefail);
            return Err(Errno::Enobufs);
        };
        match device.kind {
            DeviceKind::Loopback | DeviceKind::Tun => {
                return self.send_resolved(id, MacAddress::default(), packet);
            }
            DeviceKind::Ethernet | DeviceKind::Bridge => {}
        }
        if let Some(number) = self.link.neighbors.find_again(id, next_hop) {
            return self.output(number, packet);
        }
        if let Some(mac) = self.group_address(id, next_hop) {
            return self.send_resolved(id, mac, packet);
        }
        match self.create_neighbor(id, next_hop) {
            Some(number) => self.output(number, packet),
            None => {
                self.drop_packet(packet, Point::Neighbor, DropReason::NeighCreatefail);
                Err(Errno::Enobufs)
            }
        }
    }

    /// `neigh_connected_output`, `neigh_resolve_output`.
    #[inline]
    fn output(&mut self, number: u32, packet: Packet) -> Result<(), Errno> {
        let known = self.link.neighbors.get(number);
        let Some((device, mac)) = known.and_then(Entry::connected) else {
            return self.output_unconfirmed(number, packet);
        };
        self.send_resolved(device, mac, packet)
    }

    /// `__neigh_event_send`: the entry may need to be asked for, or to be asked again.
    fn output_unconfirmed(&mut self, number: u32, packet: Packet) -> Result<(), Errno> {
        let times = self.neighbor_times(number);
        let now = self.neighbor_clock();
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            self.drop_packet(packet, Point::Neighbor, DropReason::NeighDead);
            return Ok(());
        };
        entry.used = now;
        let mut ask = false;
        match entry.state {
            NeighborState::None | NeighborState::Failed => {
                if times.multicast_probes == 0 {
                    entry.state = NeighborState::Failed;
                    self.drop_packet(packet, Point::Neighbor, DropReason::NeighFailed);
                    return Ok(());
                }
                entry.probes = times.unicast_probes;
                entry.enter(NeighborState::Incomplete, now);
                let expires = now.saturating_add(times.retransmit());
                self.set_neighbor_timer(number, Some(expires));
                ask = true;
            }
            NeighborState::Stale => {
                entry.enter(NeighborState::Delay, now);
                let expires = now.saturating_add(times.delay_first_probe);
                self.set_neighbor_timer(number, Some(expires));
            }
            _ => {}
        }
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            return Ok(());
        };
        let result = if entry.state == NeighborState::Incomplete {
            let crowded_out = entry.wait(packet, times.queue_bytes);
            let family = entry.address.is_ipv6();
            for packet in crowded_out {
                self.link.neighbors.statistics(family).unres_discards += 1;
                self.drop_packet(packet, Point::Neighbor, DropReason::NeighQueuefull);
            }
            Ok(())
        } else {
            let (device, mac) = (entry.device, entry.mac);
            self.send_resolved(device, mac, packet)
        };
        if ask {
            self.probe(number);
        }
        result
    }

    /// Writes the link header and goes on to `tc_egress` (`dev_hard_header`, `dev_queue_xmit`).
    fn send_resolved(
        &mut self,
        id: DeviceId,
        mac: MacAddress,
        mut packet: Packet,
    ) -> Result<(), Errno> {
        let own = self
            .link
            .device(id)
            .map_or_else(MacAddress::default, |device| device.mac);
        write_header(&mut packet, mac, own);
        self.leave(&mut packet, Point::Neighbor);
        self.transmit(id, packet)
    }

    /// The MAC address of what is no single neighbour: broadcast and multicast (`arp_mc_map`, `ndisc_mc_map`).
    fn group_address(&self, id: DeviceId, address: IpAddr) -> Option<MacAddress> {
        match address {
            IpAddr::V4(v4) if v4.is_multicast() => {
                let [_, b, c, d] = v4.octets();
                Some(MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V4(v4) => {
                let name = self.device_name(id);
                let own = self.config.addresses.iter().flatten();
                let is_broadcast = v4.is_broadcast()
                    || own
                        .filter(|own| own.device == name)
                        .any(|own| own.broadcast == Some(address));
                is_broadcast.then_some(MacAddress::BROADCAST)
            }
            IpAddr::V6(v6) if v6.is_multicast() => {
                let [.., a, b, c, d] = v6.octets();
                Some(MacAddress([0x33, 0x33, a, b, c, d]))
            }
            IpAddr::V6(_) => None,
        }
    }

    /// `neigh_probe`: asks, on behalf of the newest packet that waits.
    fn probe(&mut self, number: u32) {
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            return;
        };
        let (device, address, probes) = (entry.device, entry.address, entry.probes);
        let known = entry.is_valid().then_some(entry.mac);
        let asker = entry.newest().and_then(|packet| packet.ip(|ip| ip.source));
        entry.probes = entry.probes.saturating_add(1);
        let times = self.neighbor_times(number);
        let unicast = if probes < times.unicast_probes {
            known
        } else {
            None
        };
        let statistics = self.link.neighbors.statistics(address.is_ipv6());
        match unicast {
            Some(_) => statistics.ucast_probes += 1,
            None => statistics.mcast_probes += 1,
        }
        match address {
            IpAddr::V4(target) => self.arp_solicit(device, target, asker, unicast),
            IpAddr::V6(target) => self.ndisc_solicit(device, target, asker, unicast),
        }
    }

    /// A deadline of address resolution (`neigh_timer_handler`).
    pub(crate) fn handle_neighbor_timer(&mut self, number: u32) {
        let times = self.neighbor_times(number);
        let now = self.neighbor_clock();
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            return;
        };
        match entry.fire(now, &times) {
            Fired::Rest => {}
            Fired::Wait(expires) => self.set_neighbor_timer(number, Some(expires)),
            Fired::Probe(expires) => {
                self.set_neighbor_timer(number, Some(expires));
                self.probe(number);
            }
            Fired::Failed => self.invalidate(number),
        }
    }

    /// `neigh_invalidate`: whoever waits is told.
    fn invalidate(&mut self, number: u32) {
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            return;
        };
        let (family, waiting) = (entry.address.is_ipv6(), entry.take_waiting());
        self.link.neighbors.statistics(family).res_failed += 1;
        for packet in waiting {
            self.neighbor_failed(packet);
        }
    }

    /// What an answer, a question or an administrator says of a neighbour (`__neigh_update`).
    fn update_neighbor(&mut self, number: u32, mac: Option<MacAddress>, update: Update) {
        let times = self.neighbor_times(number);
        let now = self.neighbor_clock();
        let Some(entry) = self.link.neighbors.get_mut(number) else {
            return;
        };
        let before = entry.state;
        if !entry.update(mac, update, now, &times) {
            return;
        }
        let after = entry.state;
        if before != after {
            let expires = match after {
                NeighborState::Reachable => Some(now.saturating_add(times.reachable)),
                NeighborState::Delay | NeighborState::Probe | NeighborState::Incomplete => {
                    Some(now)
                }
                _ => None,
            };
            self.set_neighbor_timer(number, expires);
        }
        let waiting = match self.link.neighbors.get_mut(number) {
            Some(entry) if entry.is_valid() => entry.take_waiting(),
            _ => return,
        };
        for packet in waiting {
            // Its sender was told long ago that it went well.
            let _ = self.output(number, packet);
        }
    }

    /// A transport saw progress: the neighbour is alive (`sk_dst_confirm`, `neigh_confirm`).
    pub(crate) fn confirm_neighbor(&mut self, device: DeviceId, next_hop: IpAddr) {
        let now = self.neighbor_clock();
        if let Some(number) = self.link.neighbors.find(device, next_hop)
            && let Some(entry) = self.link.neighbors.get_mut(number)
        {
            entry.confirmed = now;
        }
    }

    /// The tick, from a start at which everything can lie in the past.
    pub(super) fn neighbor_clock(&self) -> u64 {
        self.ticks.at(self.now).saturating_add(CLOCK_START)
    }

    fn set_neighbor_timer(&mut self, number: u32, expires: Option<u64>) {
        let deadline = expires.map(|expires| {
            self.ticks
                .wheel(self.now, expires.saturating_sub(CLOCK_START))
        });
        self.timers.set(TimerOwner::Neighbor(number), deadline);
    }

    /// The entry's settings (`struct neigh_parms`), in ticks.
    fn neighbor_times(&mut self, number: u32) -> Times {
        let Some(entry) = self.link.neighbors.get(number) else {
            return Times::default();
        };
        let (device, v6) = (entry.device, entry.address.is_ipv6());
        let now = self.neighbor_clock();
        let reachable = self.reachable_time(device, v6, now);
        let read = |name: &str| self.neighbor_setting(device, v6, name);
        let milliseconds = |name: &str| {
            let length = std::time::Duration::from_millis(read(name));
            self.ticks.of(length)
        };
        let seconds = |name: &str| self.ticks.of(std::time::Duration::from_secs(read(name)));
        Times {
            reachable,
            base_reachable: milliseconds("base_reachable_time_ms"),
            delay_first_probe: seconds("delay_first_probe_time"),
            retransmit: milliseconds("retrans_time_ms"),
            least: u64::from(self.ticks.hz()) / 100,
            lock: milliseconds_of_hundredths(self.ticks, read("locktime")),
            unicast_probes: u32::try_from(read("ucast_solicit")).unwrap_or(u32::MAX),
            multicast_probes: u32::try_from(read("mcast_solicit")).unwrap_or(u32::MAX),
            multicast_reprobes: u32::try_from(read("mcast_resolicit")).unwrap_or(u32::MAX),
            queue_bytes: read("unres_qlen_bytes"),
        }
    }

    fn neighbor_setting(&self, device: DeviceId, v6: bool, name: &str) -> u64 {
        let family = if v6 { "ipv6" } else { "ipv4" };
        let device = self.device_name(device).replace('.', "/");
        let value = self
            .settings
            .number(&format!("net.{family}.neigh.{device}.{name}"));
        u64::try_from(value).unwrap_or(0)
    }

    /// `neigh_rand_reach_time`: half to one and a half of the base, drawn anew after 300 s.
    fn reachable_time(&mut self, device: DeviceId, v6: bool, now: u64) -> u64 {
        let again = self.ticks.of(std::time::Duration::from_secs(300));
        if let Some((time, drawn)) = self.link.neighbors.reachable_time(device, v6)
            && now.saturating_sub(drawn) <= again
        {
            return time;
        }
        let base = self.neighbor_setting(device, v6, "base_reachable_time_ms");
        let base = self.ticks.of(std::time::Duration::from_millis(base));
        let time = match base {
            0 => 0,
            base => self.random.u64(0..base).saturating_add(base / 2),
        };
        self.link
            .neighbors
            .set_reachable_time(device, v6, time, now);
        time
    }

    /// `__neigh_create`; nothing where the table is full of entries that are in use.
    fn create_neighbor(&mut self, device: DeviceId, address: IpAddr) -> Option<u32> {
        let now = self.neighbor_clock();
        let five_seconds = self.ticks.of(std::time::Duration::from_secs(5));
        let removed = self
            .link
            .neighbors
            .make_room(address.is_ipv6(), now, five_seconds);
        for number in removed {
            self.timers.set(TimerOwner::Neighbor(number), None);
        }
        let number = self.link.neighbors.create(device, address, now)?;
        let base = self.neighbor_times(number).base_reachable;
        if let Some(entry) = self.link.neighbors.get_mut(number) {
            entry.confirmed = now.saturating_sub(base.saturating_mul(2));
        }
        Some(number)
    }

    /// The entries of a device that went down (`neigh_carrier_down`): all but those set by hand.
    pub(super) fn forget_neighbors(&mut self, device: DeviceId) {
        for number in self.link.neighbors.of_device(device) {
            self.remove_neighbor(number);
        }
    }

    fn remove_neighbor(&mut self, number: u32) {
        self.timers.set(TimerOwner::Neighbor(number), None);
        let waiting = self.link.neighbors.remove(number);
        for packet in waiting {
            self.drop_packet(packet, Point::Neighbor, DropReason::NotSpecified);
        }
    }

    /// Entries set by hand (`ip neighbor replace … nud permanent`): these, and no others.
    pub(super) fn set_static_neighbors(&mut self, entries: &[(DeviceId, IpAddr, MacAddress)]) {
        for number in self.link.neighbors.permanent() {
            let keep = self.link.neighbors.get(number).is_some_and(|entry| {
                entries.iter().any(|(device, address, _)| {
                    (*device, *address) == (entry.device, entry.address)
                })
            });
            if !keep {
                self.remove_neighbor(number);
            }
        }
        for (device, address, mac) in entries {
            let number = self.link.neighbors.find(*device, *address);
            let number = number.or_else(|| self.create_neighbor(*device, *address));
            if let Some(number) = number {
                self.update_neighbor(number, Some(*mac), Update::by_hand());
            }
        }
    }
}

/// A setting in hundredths of a second (USER_HZ), as `locktime` is.
fn milliseconds_of_hundredths(ticks: crate::timer::Ticks, hundredths: u64) -> u64 {
    ticks.of(std::time::Duration::from_millis(
        hundredths.saturating_mul(10),
    ))
}

/// Writes an Ethernet header.
pub(super) fn write_header(packet: &mut Packet, destination: MacAddress, source: MacAddress) {
    let ethertype = packet.ethertype.to_be_bytes();
    if let Some([d @ .., _, _, _, _, _, _, _, _]) = packet.data.first_chunk_mut::<14>() {
        *d = destination.0;
    }
    if let Some([_, _, _, _, _, _, s @ .., _, _]) = packet.data.first_chunk_mut::<14>() {
        *s = source.0;
    }
    if let Some([.., high, low]) = packet.data.first_chunk_mut::<14>() {
        [*high, *low] = ethertype;
    }
}
