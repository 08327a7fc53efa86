//! What a bridge has learned: who is behind which port (net/bridge/br_fdb.c).

use std::collections::BTreeMap;

use transect_packet::MacAddress;

use crate::device::DeviceId;
use crate::stack::Stack;

/// How long an address is remembered (`ageing_time`).
const AGEING: std::time::Duration = std::time::Duration::from_secs(300);
/// A bridge remembers no more addresses than this, all together.
const MOST_ADDRESSES: usize = 1 << 16;

/// Who is behind which port, and since which tick (`net_bridge_fdb_entry`).
#[derive(Debug, Default)]
pub(in crate::link) struct Forwarding {
    learned: BTreeMap<(DeviceId, MacAddress), (DeviceId, u64)>,
}

impl Forwarding {
    /// Forgets who is behind a port (`br_fdb_delete_by_port`).
    pub(in crate::link) fn forget_port(&mut self, port: DeviceId) {
        self.learned.retain(|_, (behind, _)| *behind != port);
    }
}

/// What a bridge does with a frame.
pub(super) enum Way {
    /// It is the bridge's own.
    Local,
    /// Its station is known.
    Port(DeviceId),
    /// To every port.
    Flood,
}

impl Stack {
    /// Where a frame with this destination goes (`br_fdb_find_rcu`).
    pub(super) fn way(&self, bridge: DeviceId, to: MacAddress) -> Way {
        if to.is_group() {
            return Way::Flood;
        }
        if self.is_own(bridge, to) {
            return Way::Local;
        }
        let now = self.ticks.at(self.now);
        match self.link.forwarding.learned.get(&(bridge, to)) {
            Some((port, since)) if now.saturating_sub(*since) <= self.ticks.of(AGEING) => {
                Way::Port(*port)
            }
            _ => Way::Flood,
        }
    }

    /// The bridge's own address, or one of its ports'.
    fn is_own(&self, bridge: DeviceId, address: MacAddress) -> bool {
        let is_bridge = self
            .link
            .device(bridge)
            .is_some_and(|device| device.mac == address);
        is_bridge
            || self
                .link
                .devices
                .iter()
                .any(|device| device.master == Some(bridge) && device.mac == address)
    }

    /// `br_fdb_update`.
    pub(super) fn learn_address(&mut self, bridge: DeviceId, address: MacAddress, port: DeviceId) {
        if self.is_own(bridge, address) {
            return;
        }
        let now = self.ticks.at(self.now);
        let most_age = self.ticks.of(AGEING);
        let learned = &mut self.link.forwarding.learned;
        if learned.len() >= MOST_ADDRESSES && !learned.contains_key(&(bridge, address)) {
            learned.retain(|_, (_, since)| now.saturating_sub(*since) <= most_age);
            if learned.len() >= MOST_ADDRESSES {
                return;
            }
        }
        learned.insert((bridge, address), (port, now));
    }
}
