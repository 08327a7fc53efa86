//! Receiving 4: generic receive offload (net/core/gro.c, `tcp_gro_receive`): segments of one connection that follow each other
//! in one batch become one packet, which stands for several.

use crate::device::DeviceId;
use crate::ip::bytes::{finish_ipv4_header, put, u32_at};
use crate::link::offload::{Layout, checksum_holds, make_partial};
use crate::packet::{Packet, Segmentation};
use crate::stack::Stack;
use transect_packet::TcpFlags;

/// Connections held at once (MAX_GRO_SKBS).
const MOST_HELD: usize = 8;
/// What a merged packet may hold, headers included (`gro_max_size`; an IPv4 length must fit into 16 bits).
const MOST_BYTES: usize = 65535;
/// TCP's protocol number.
const TCP: u8 = 6;

impl Stack {
    /// Merges a segment into one that is held, holds it, or lets it go on; it has entered `backlog`.
    pub(super) fn gro_receive(&mut self, id: DeviceId, packet: Packet) {
        let layout = Layout::of(&packet).filter(|layout| {
            layout.protocol == TCP && packet.packet_type == transect_packet::PacketType::Host
        });
        let Some(device) = self.link.device_mut(id) else {
            return;
        };
        let Some(layout) = layout else {
            self.link.backlog.push_back(packet);
            return;
        };
        let mergeable = packet.segmentation.is_none() && checksum_holds(&packet, layout);
        let mut packet = packet;
        let same = device
            .held
            .iter()
            .position(|held| same_flow(held, &packet, layout));
        if let Some(index) = same {
            let mut held = device.held.remove(index);
            if mergeable && can_follow(&held, &packet, layout) {
                let ended = merge(&mut held, &packet, layout);
                if ended {
                    self.link.backlog.push_back(complete(held));
                } else {
                    device.held.insert(index, held);
                }
                return;
            }
            self.link.backlog.push_back(complete(held));
        }
        let flags = flags_of(&packet, layout);
        let last = flags
            & (TcpFlags::URG | TcpFlags::PSH | TcpFlags::RST | TcpFlags::SYN | TcpFlags::FIN)
            != 0;
        if last || !mergeable || layout.end == layout.payload {
            self.link.backlog.push_back(packet);
            return;
        }
        // A link layer's padding is no payload.
        packet
            .data
            .truncate(crate::packet::LINK_HEADER + layout.end);
        self.link.holding = true;
        let Some(device) = self.link.device_mut(id) else {
            return;
        };
        if device.held.len() >= MOST_HELD {
            let oldest = device.held.remove(0);
            device.held.push(packet);
            self.link.backlog.push_back(complete(oldest));
        } else {
            device.held.push(packet);
        }
    }

    /// The batch is over: what is held goes on (`gro_flush`).
    #[inline]
    pub(super) fn gro_flush(&mut self) {
        if std::mem::take(&mut self.link.holding) {
            self.gro_flush_held();
        }
    }

    fn gro_flush_held(&mut self) {
        for device in &mut self.link.devices {
            if device.held.is_empty() {
                continue;
            }
            self.link
                .backlog
                .extend(device.held.drain(..).map(complete));
        }
    }
}

fn flags_of(packet: &Packet, layout: Layout) -> u8 {
    packet
        .network()
        .get(layout.transport + 13)
        .copied()
        .unwrap_or(0)
}

fn word_at(packet: &Packet, at: usize) -> u32 {
    u32_at(packet.network(), at)
}

fn part(packet: &Packet, range: std::ops::Range<usize>) -> &[u8] {
    packet.network().get(range).unwrap_or_default()
}

/// Addresses and ports agree.
fn same_flow(held: &Packet, packet: &Packet, layout: Layout) -> bool {
    let addresses = if layout.v6 { 8..40 } else { 12..20 };
    let ports = layout.transport..layout.transport + 4;
    held.ethertype == packet.ethertype
        && part(held, addresses.clone()) == part(packet, addresses)
        && part(held, ports.clone()) == part(packet, ports)
}

/// What else must agree for a segment to become part of the one before (`inet_gro_receive`, `ipv6_gro_receive`,
/// `tcp_gro_receive`).
fn can_follow(held: &Packet, packet: &Packet, layout: Layout) -> bool {
    let same_ip = if layout.v6 {
        part(held, 0..4) == part(packet, 0..4) && part(held, 6..8) == part(packet, 6..8)
    } else {
        // Version and length, TOS; DF; TTL and protocol.
        part(held, 0..2) == part(packet, 0..2)
            && part(held, 8..10) == part(packet, 8..10)
            && part(held, 6..8) == part(packet, 6..8)
            && follows_in_identification(held, packet)
    };
    let at = layout.transport;
    let payload = layout.end - layout.payload;
    let held_payload = held.len().saturating_sub(layout.payload);
    let size = held
        .segmentation
        .map_or(held_payload, |cut| usize::from(cut.size));
    let flags = flags_of(packet, layout);
    let differing = flags_of(held, layout) ^ flags;
    same_ip
        // Acknowledgement; header length; options.
        && part(held, at + 8..at + 12) == part(packet, at + 8..at + 12)
        && part(held, at + 12..at + 13) == part(packet, at + 12..at + 13)
        && part(held, at + 20..layout.payload) == part(packet, at + 20..layout.payload)
        && flags & TcpFlags::CWR == 0
        && differing & !(TcpFlags::CWR | TcpFlags::FIN | TcpFlags::PSH) == 0
        && payload > 0
        && payload <= size
        && held.len() + payload <= MOST_BYTES
        && word_at(held, at + 4).wrapping_add(u32::try_from(held_payload).unwrap_or(u32::MAX))
            == word_at(packet, at + 4)
}

/// IPv4 identifications count up by one, or stay the same under "don't fragment".
fn follows_in_identification(held: &Packet, packet: &Packet) -> bool {
    let of = |packet: &Packet| word_at(packet, 4) >> 16;
    let merged = held.segmentation.map_or(1, |cut| u32::from(cut.segments));
    let dont_fragment = part(packet, 6..7)
        .first()
        .is_some_and(|byte| byte & 0x40 != 0);
    of(packet) == of(held).wrapping_add(merged) & 0xffff || dont_fragment && of(packet) == of(held)
}

/// Appends; true where nothing may follow.
fn merge(held: &mut Packet, packet: &Packet, layout: Layout) -> bool {
    let payload = part(packet, layout.payload..layout.end);
    let held_payload = held.len().saturating_sub(layout.payload);
    let size = held
        .segmentation
        .map_or(held_payload, |cut| usize::from(cut.size));
    let segments = held.segmentation.map_or(1, |cut| cut.segments);
    held.data.extend_from_slice(payload);
    held.segmentation = Some(Segmentation {
        size: u16::try_from(size).unwrap_or(u16::MAX),
        segments: segments.saturating_add(1),
    });
    let flags = flags_of(packet, layout);
    if let Some(own) = held.network_mut().get_mut(layout.transport + 13) {
        *own |= flags & (TcpFlags::FIN | TcpFlags::PSH);
    }
    // What is not a full segment was the last one, and so is one that wants to be delivered.
    payload.len() < size || flags & (TcpFlags::URG | TcpFlags::PSH | TcpFlags::FIN) != 0
}

/// Brings lengths and sums up to date (`inet_gro_complete`, `tcp_gro_complete`).
fn complete(mut packet: Packet) -> Packet {
    if packet.segmentation.is_none() {
        return packet;
    }
    let length = packet.len();
    let v6 = packet.version() == Some(transect_config::IpVersion::V6);
    let network = packet.network_mut();
    let (at, value) = if v6 {
        (4, length.saturating_sub(40))
    } else {
        (2, length)
    };
    put(
        network,
        at,
        &u16::try_from(value).unwrap_or(0).to_be_bytes(),
    );
    if !v6 {
        finish_ipv4_header(network);
    }
    if let Some(layout) = Layout::of(&packet) {
        make_partial(&mut packet, layout);
    }
    packet
}
