//! Receiving 7 for a bridge's ports, and the bridge's own frames (net/bridge): learn, forward, flood.
//!
//! Bridge netfilter (`br_netfilter`) is not here: a bridged frame meets no IP hook.

use std::collections::BTreeMap;

use transect_config::BridgePortState;
use transect_packet::{MacAddress, PacketType};
use transect_path::Point;

use super::input::{destination, source};
use crate::device::{DeviceId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::Stack;

/// How long an address is remembered (`ageing_time`).
const AGEING: std::time::Duration = std::time::Duration::from_secs(300);
/// A bridge remembers no more addresses than this, all together.
const MOST_ADDRESSES: usize = 1 << 16;

/// Who is behind which port, and since which tick (`net_bridge_fdb_entry`).
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    learned: BTreeMap<(DeviceId, MacAddress), (DeviceId, u64)>,
}

/// The last digit of an address that no bridge forwards (`is_link_local_ether_addr`; IEEE 802.1D section 7.12.6).
fn link_local(address: MacAddress) -> Option<u8> {
    match address.0 {
        [0x01, 0x80, 0xc2, 0, 0, last @ 0..=15] => Some(last),
        _ => None,
    }
}

/// What a bridge does with a frame.
enum Way {
    Local,
    Port(DeviceId),
    Flood,
}

impl Stack {
    /// `br_handle_frame`: the frame came in at a port. What the bridge takes itself comes back as its own.
    pub(super) fn bridge_input(
        &mut self,
        bridge: DeviceId,
        port: DeviceId,
        mut packet: Packet,
    ) -> Option<Packet> {
        let state = self.link.device(port).map(|device| device.port_state)?;
        let from = source(&packet);
        if from.is_group() || from == MacAddress::default() {
            self.drop_packet(packet, Point::LinkInput, DropReason::MacInvalidSource);
            return None;
        }
        if !matches!(
            state,
            BridgePortState::Forwarding | BridgePortState::Learning
        ) {
            self.drop_packet(packet, Point::LinkInput, DropReason::BridgeIngressStpState);
            return None;
        }
        let to = destination(&packet);
        match link_local(to) {
            // Pause frames never leave the link.
            Some(1) => {
                self.drop_packet(packet, Point::LinkInput, DropReason::MacIeeeMacControl);
                return None;
            }
            // Spanning tree frames are flooded while no spanning tree runs here.
            Some(0) | None => {}
            // Others are for the port's own host, where nobody wants IP from them.
            Some(_) => {
                if let Some(packet) = self.link_input(port, packet) {
                    self.drop_packet(packet, Point::LinkInput, DropReason::NotSpecified);
                }
                return None;
            }
        }
        self.learn_address(bridge, from, port);
        if state == BridgePortState::Learning {
            self.drop_packet(packet, Point::LinkInput, DropReason::BridgeIngressStpState);
            return None;
        }
        let promiscuous = self
            .link
            .device(bridge)
            .is_some_and(|device| device.promiscuous);
        let way = self.way(bridge, to);
        let local = promiscuous || to.is_group() || matches!(way, Way::Local);
        let up = local.then(|| packet.clone());
        self.leave(&mut packet, Point::LinkInput);
        match way {
            Way::Local => {}
            Way::Port(out) => self.bridge_forward(Some(port), out, packet),
            Way::Flood => self.flood(bridge, Some(port), packet),
        }
        up.and_then(|packet| self.pass_up(bridge, packet))
    }

    /// `br_pass_frame_up`.
    fn pass_up(&mut self, bridge: DeviceId, mut packet: Packet) -> Option<Packet> {
        let to = destination(&packet);
        let device = self.link.device_mut(bridge)?;
        if !device.up {
            self.drop_packet(packet, Point::LinkInput, DropReason::NotSpecified);
            return None;
        }
        let statistics = &mut device.statistics;
        statistics.rx_packets = statistics.rx_packets.wrapping_add(1);
        statistics.rx_bytes = statistics.rx_bytes.wrapping_add(packet.len() as u64);
        if to.is_group() && to != MacAddress::BROADCAST {
            statistics.multicast = statistics.multicast.wrapping_add(1);
        }
        if to == device.mac
            || packet.packet_type == PacketType::OtherHost && self.is_own(bridge, to)
        {
            packet.packet_type = PacketType::Host;
        }
        packet.in_device = Some(bridge);
        self.leave(&mut packet, Point::LinkInput);
        Some(packet)
    }

    /// `br_dev_xmit`: the bridge's host sends by it.
    pub(super) fn bridge_xmit(
        &mut self,
        bridge: DeviceId,
        mut packet: Packet,
    ) -> Result<(), Errno> {
        if let Some(device) = self.link.device_mut(bridge) {
            let statistics = &mut device.statistics;
            statistics.tx_packets = statistics.tx_packets.wrapping_add(1);
            statistics.tx_bytes = statistics.tx_bytes.wrapping_add(packet.data.len() as u64);
        }
        self.leave(&mut packet, Point::DriverOut);
        let to = destination(&packet);
        match self.way(bridge, to) {
            Way::Local => self.drop_packet(packet, Point::DriverOut, DropReason::NotSpecified),
            Way::Port(out) => self.bridge_forward(None, out, packet),
            Way::Flood => self.flood(bridge, None, packet),
        }
        Ok(())
    }

    /// Where a frame with this destination goes.
    fn way(&self, bridge: DeviceId, to: MacAddress) -> Way {
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
    fn learn_address(&mut self, bridge: DeviceId, address: MacAddress, port: DeviceId) {
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

    /// To every port but the one it came from (`br_flood`).
    fn flood(&mut self, bridge: DeviceId, from: Option<DeviceId>, packet: Packet) {
        let ports: Vec<DeviceId> = (0u32..)
            .zip(&self.link.devices)
            .filter(|(_, device)| {
                device.master == Some(bridge) && device.kind == DeviceKind::Ethernet
            })
            .map(|(number, _)| DeviceId(number))
            .filter(|port| Some(*port) != from)
            .collect();
        let Some((last, others)) = ports.split_last() else {
            // Nowhere to go: it is consumed.
            self.release(&packet);
            return;
        };
        for port in others {
            let mut copy = packet.clone();
            copy.owner = None;
            self.bridge_forward(from, *port, copy);
        }
        self.bridge_forward(from, *last, packet);
    }

    /// `br_forward`, `br_dev_queue_push_xmit`.
    fn bridge_forward(&mut self, from: Option<DeviceId>, out: DeviceId, packet: Packet) {
        let deliverable = from != Some(out)
            && self.link.device(out).is_some_and(|device| {
                device.port_state == BridgePortState::Forwarding && device.is_running()
            });
        if !deliverable {
            // `should_deliver` says no: as if the port were not there.
            self.release(&packet);
            return;
        }
        if !self
            .link
            .device(out)
            .is_some_and(|device| device.fits(&packet))
        {
            self.drop_packet(packet, Point::TcEgress, DropReason::NotSpecified);
            return;
        }
        // What becomes of it there nobody here is told.
        let _ = self.transmit(out, packet);
    }
}
