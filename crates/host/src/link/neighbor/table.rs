//! The table: entries by device and address, with the limits of garbage collection.

use std::collections::BTreeMap;
use std::net::IpAddr;

use transect_config::{HostConfig, NeighborState};
use transect_packet::MacAddress;

use super::entry::Entry;
use crate::device::{Device, DeviceId};
use crate::packet::Packet;

/// From that many entries on, a new one first looks for old ones to remove (`gc_thresh2`).
const CROWDED: usize = 512;
/// No more entries than that (`gc_thresh3`).
const FULL: usize = 1024;

/// What `/proc/net/stat/arp_cache` and `ndisc_cache` count (`struct neigh_statistics`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::link) struct NeighborStatistics {
    pub(in crate::link) allocs: u64,
    pub(in crate::link) destroys: u64,
    pub(in crate::link) lookups: u64,
    pub(in crate::link) hits: u64,
    pub(in crate::link) res_failed: u64,
    pub(in crate::link) rcv_probes_mcast: u64,
    pub(in crate::link) rcv_probes_ucast: u64,
    pub(in crate::link) forced_gc_runs: u64,
    pub(in crate::link) unres_discards: u64,
    pub(in crate::link) table_fulls: u64,
    pub(in crate::link) mcast_probes: u64,
    pub(in crate::link) ucast_probes: u64,
}

/// Every neighbour, of both families.
#[derive(Debug, Default)]
pub(in crate::link) struct Neighbors {
    by_address: BTreeMap<(DeviceId, IpAddr), u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// The entry that was asked for last: packets come in rows.
    last: u32,
    /// IPv4, IPv6.
    statistics: [NeighborStatistics; 2],
    /// The reachable time of each device and family, and when it was drawn.
    reachable: BTreeMap<(DeviceId, bool), (u64, u64)>,
}

impl Neighbors {
    #[inline]
    pub(super) fn find(&self, device: DeviceId, address: IpAddr) -> Option<u32> {
        self.by_address.get(&(device, address)).copied()
    }

    /// Likewise, for a packet.
    #[inline]
    pub(super) fn find_again(&mut self, device: DeviceId, address: IpAddr) -> Option<u32> {
        let last = self.get(self.last);
        if last.is_some_and(|entry| entry.device == device && entry.address == address) {
            return Some(self.last);
        }
        let found = self.find(device, address)?;
        self.last = found;
        Some(found)
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn statistics(&mut self, v6: bool) -> &mut NeighborStatistics {
        let [v4, six] = &mut self.statistics;
        if v6 { six } else { v4 }
    }

    /// The statistics of one family, and how many entries it has.
    pub(in crate::link) fn counted(&self, v6: bool) -> (NeighborStatistics, usize) {
        let [v4, six] = self.statistics;
        (if v6 { six } else { v4 }, self.count(v6))
    }

    fn count(&self, v6: bool) -> usize {
        self.by_address
            .keys()
            .filter(|(_, address)| address.is_ipv6() == v6)
            .count()
    }

    /// A new entry, unless there are too many.
    pub(super) fn create(&mut self, device: DeviceId, address: IpAddr, now: u64) -> Option<u32> {
        let v6 = address.is_ipv6();
        if self.by_address.len() >= FULL && self.count(v6) >= FULL {
            self.statistics(v6).table_fulls += 1;
            return None;
        }
        let entry = Some(Entry::new(device, address, now));
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.entries.get_mut(number as usize) {
                    *slot = entry;
                }
                number
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).ok()?
            }
        };
        self.by_address.insert((device, address), number);
        self.statistics(v6).allocs += 1;
        Some(number)
    }

    /// Removes an entry; what waited for it comes back.
    pub(super) fn remove(&mut self, number: u32) -> Vec<Packet> {
        let slot = self.entries.get_mut(number as usize);
        let Some(mut entry) = slot.and_then(Option::take) else {
            return Vec::new();
        };
        self.by_address.remove(&(entry.device, entry.address));
        self.free.push(number);
        self.statistics(entry.address.is_ipv6()).destroys += 1;
        entry.take_waiting()
    }

    /// `neigh_forced_gc`: where it is crowded, those go that failed, or have not changed for a while and are not asked for.
    /// Returns their numbers; nothing waited for them.
    pub(super) fn make_room(&mut self, v6: bool, now: u64, a_while: u64) -> Vec<u32> {
        if self.by_address.len() < CROWDED {
            return Vec::new();
        }
        let entries = self.count(v6);
        let most = entries.saturating_sub(CROWDED);
        if entries < CROWDED {
            return Vec::new();
        }
        self.statistics(v6).forced_gc_runs += 1;
        let old: Vec<u32> = self
            .by_address
            .iter()
            .filter(|((_, address), _)| address.is_ipv6() == v6)
            .filter_map(|(_, number)| {
                let entry = self.get(*number)?;
                let old = now.saturating_sub(entry.updated) > a_while;
                let kept = match entry.state {
                    NeighborState::Failed => false,
                    NeighborState::Permanent | NeighborState::Incomplete => true,
                    _ => !old,
                };
                (!kept && entry.newest().is_none()).then_some(*number)
            })
            .take(most.max(1))
            .collect();
        for number in &old {
            self.remove(*number);
        }
        old
    }

    /// The entries of a device that were not set by hand.
    pub(super) fn of_device(&self, device: DeviceId) -> Vec<u32> {
        self.select(|entry| entry.device == device && entry.state != NeighborState::Permanent)
    }

    /// The entries that were set by hand.
    pub(super) fn permanent(&self) -> Vec<u32> {
        self.select(|entry| entry.state == NeighborState::Permanent)
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u32> {
        let numbers = self.by_address.values().copied();
        numbers
            .filter(|number| self.get(*number).is_some_and(&wanted))
            .collect()
    }

    pub(super) fn reachable_time(&self, device: DeviceId, v6: bool) -> Option<(u64, u64)> {
        self.reachable.get(&(device, v6)).copied()
    }

    pub(super) fn set_reachable_time(&mut self, device: DeviceId, v6: bool, time: u64, now: u64) {
        self.reachable.insert((device, v6), (time, now));
    }

    /// What the configuration knows of neighbours when the host begins: those set by hand, and others whose MAC address it
    /// has, as not lately confirmed.
    pub(in crate::link) fn learn_config(&mut self, config: &HostConfig, devices: &[Device]) {
        for neighbor in config.neighbors.iter().flatten().filter(|one| !one.proxy) {
            let Some(mac) = neighbor.mac else { continue };
            let index = devices
                .iter()
                .position(|device| device.name == neighbor.device);
            let Some(device) = index.and_then(|index| u32::try_from(index).ok()) else {
                continue;
            };
            let device = DeviceId(device);
            let number = match self.find(device, neighbor.address) {
                Some(number) => Some(number),
                None => self.create(device, neighbor.address, 0),
            };
            if let Some(entry) = number.and_then(|number| self.get_mut(number)) {
                entry.mac = MacAddress(mac);
                entry.router = neighbor.router;
                let by_hand =
                    neighbor.is(NeighborState::Permanent) || neighbor.is(NeighborState::Noarp);
                entry.state = if by_hand {
                    NeighborState::Permanent
                } else {
                    NeighborState::Stale
                };
            }
        }
    }

    /// The entries as `ip neighbor` would show them, by device and address.
    pub(in crate::link) fn shown(&self) -> impl Iterator<Item = Shown> + '_ {
        self.by_address.values().filter_map(|number| {
            let entry = self.get(*number)?;
            Some(Shown {
                device: entry.device,
                address: entry.address,
                mac: entry.is_valid().then_some(entry.mac),
                state: entry.state,
                router: entry.router,
                probes: entry.probes,
                times: [entry.used, entry.confirmed, entry.updated],
            })
        })
    }
}

/// One entry as `ip -s neighbor` shows it.
#[derive(Debug, Clone, Copy)]
pub(in crate::link) struct Shown {
    pub(in crate::link) device: DeviceId,
    pub(in crate::link) address: IpAddr,
    pub(in crate::link) mac: Option<MacAddress>,
    pub(in crate::link) state: NeighborState,
    pub(in crate::link) router: bool,
    pub(in crate::link) probes: u32,
    /// Ticks at which it was used, confirmed, changed.
    pub(in crate::link) times: [u64; 3],
}
