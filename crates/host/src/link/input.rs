//! Receiving 4 to 7: the backlog, the tap, tc ingress, and what the link header says (`enqueue_to_backlog`,
//! `__netif_receive_skb_core`).

use transect_packet::{FrameDirection, MacAddress, PacketType};
use transect_path::Point;

use crate::device::{Device, DeviceId, DeviceKind, Gate};
use crate::drop_reason::DropReason;
use crate::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet};
use crate::stack::Stack;

/// EtherTypes of VLAN tags (802.1Q, 802.1ad).
const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];

/// EtherTypes below this are lengths (802.3).
const LEAST_ETHERTYPE: u16 = 0x0600;

/// What [`ethertype`] says of 802.3 frames (ETH_P_802_2).
const ETHERTYPE_802_2: u16 = 4;

impl Stack {
    /// Puts a packet into the backlog (`enqueue_to_backlog`); false where there is no room.
    pub(super) fn enqueue_backlog(&mut self, id: DeviceId, mut packet: Packet) -> bool {
        self.enter(&mut packet, Point::Backlog);
        let length = self.link.backlog.len();
        // An empty backlog has room whatever the setting says.
        if length > 0 && length as i64 > self.settings.max_backlog {
            self.link.softnet.dropped = self.link.softnet.dropped.wrapping_add(1);
            if let Some(device) = self.link.device_mut(id) {
                device.statistics.rx_dropped = device.statistics.rx_dropped.wrapping_add(1);
            }
            self.drop_packet(packet, Point::Backlog, DropReason::CpuBacklog);
            return false;
        }
        self.link.backlog.push_back(packet);
        true
    }

    /// Receiving 4 to 7: the next packet for the IP layer.
    pub(crate) fn next_received(&mut self) -> Option<Packet> {
        self.gro_flush();
        while let Some(mut packet) = self.link.backlog.pop_front() {
            self.leave(&mut packet, Point::Backlog);
            if let Some(packet) = self.receive(packet) {
                return Some(packet);
            }
        }
        None
    }

    /// `__netif_receive_skb_core`. A bridge may hand its port's packet up as its own, which then begins anew here.
    fn receive(&mut self, packet: Packet) -> Option<Packet> {
        let mut next = Some(packet);
        while let Some(packet) = next.take() {
            self.link.softnet.processed = self.link.softnet.processed.wrapping_add(1);
            let id = packet.in_device.unwrap_or(DeviceId::LOOPBACK);
            let mut packet = self.run_generic_xdp(id, packet)?;
            self.enter(&mut packet, Point::TapIn);
            self.tap(id, &packet, FrameDirection::In);
            self.leave(&mut packet, Point::TapIn);
            if VLAN_TAGS.contains(&packet.ethertype) {
                untag(&mut packet);
            }
            self.enter(&mut packet, Point::TcIngress);
            let packet = self.run_tc(id, packet, Gate::Ingress)?;
            let mut packet = self.run_device_hook(id, false, packet)?;
            self.cross(&mut packet, Point::TcIngress, Point::LinkInput);
            let master = self.link.device(id).and_then(|device| device.master);
            match master {
                Some(bridge) => next = self.bridge_input(bridge, id, packet),
                None => return self.link_input(id, packet),
            }
        }
        None
    }

    /// By EtherType: IP goes up, ARP is answered here, anything else dies, and the device counts it.
    pub(super) fn link_input(&mut self, id: DeviceId, mut packet: Packet) -> Option<Packet> {
        match packet.ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => {
                if packet.packet_type == PacketType::OtherHost {
                    // `ip_rcv_core`, `ip6_rcv_core`.
                    if let Some(device) = self.link.device_mut(id) {
                        let count = &mut device.statistics.rx_otherhost_dropped;
                        *count = count.wrapping_add(1);
                    }
                    self.drop_packet(packet, Point::LinkInput, DropReason::Otherhost);
                    return None;
                }
                self.leave(&mut packet, Point::LinkInput);
                Some(packet)
            }
            ETHERTYPE_ARP => {
                self.leave(&mut packet, Point::LinkInput);
                self.arp_input(id, &packet);
                None
            }
            ETHERTYPE_802_2 => {
                // Taken by LLC, which knows nobody it is for (`llc_rcv`, `stp_pdu_rcv`): the device does not count it.
                self.drop_packet(packet, Point::LinkInput, DropReason::NotSpecified);
                None
            }
            _ => {
                let device = self.link.device_mut(id)?;
                if device.tapped {
                    // A packet socket has taken it: nobody misses it.
                    return None;
                }
                device.statistics.rx_dropped = device.statistics.rx_dropped.wrapping_add(1);
                self.drop_packet(packet, Point::LinkInput, DropReason::UnhandledProto);
                None
            }
        }
    }
}

/// The EtherType of a frame (`eth_type_trans`).
pub(super) fn ethertype(packet: &Packet) -> u16 {
    match packet.data.get(12..14) {
        Some(&[high, low]) => match u16::from_be_bytes([high, low]) {
            number if number >= LEAST_ETHERTYPE => number,
            _ => ETHERTYPE_802_2,
        },
        _ => 0,
    }
}

/// The MAC address that a frame is for.
pub(super) fn destination(packet: &Packet) -> MacAddress {
    mac_at(packet, 0)
}

/// The MAC address that a frame is from.
pub(super) fn source(packet: &Packet) -> MacAddress {
    mac_at(packet, 6)
}

fn mac_at(packet: &Packet, at: usize) -> MacAddress {
    let bytes = packet.data.get(at..at + 6).unwrap_or_default();
    MacAddress(bytes.try_into().unwrap_or_default())
}

/// For whom a frame is (`eth_type_trans`, `eth_skb_pkt_type`).
pub(super) fn packet_type(device: &Device, packet: &Packet) -> PacketType {
    let destination = destination(packet);
    if device.kind == DeviceKind::Loopback || destination == device.mac {
        PacketType::Host
    } else if destination == MacAddress::BROADCAST {
        PacketType::Broadcast
    } else if destination.is_group() {
        PacketType::Multicast
    } else {
        PacketType::OtherHost
    }
}

/// Takes a VLAN tag off (`skb_vlan_untag`). There are no VLAN devices: a tag with an identifier makes it somebody else's; one
/// without says nothing but a priority.
fn untag(packet: &mut Packet) {
    let tag = match packet.data.get(14..16) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => return,
    };
    packet.data.drain(12..16);
    packet.ethertype = ethertype(packet);
    if tag & 0x0fff != 0 {
        packet.packet_type = PacketType::OtherHost;
    }
}
