//! Receiving 11f: TTL, MTU, FORWARD (`ip_forward`, `ip6_forward`).

use transect_config::IpVersion;
use transect_packet::PacketType;
use transect_path::Point;

use crate::counters::IpCounter;
use crate::drop_reason::DropReason;
use crate::hooks::{Forward, Passed, PreRouting};
use crate::ip::bytes::{ipv6_at, put, u16_at};
use crate::ip::output::network_length;
use crate::packet::Packet;
use crate::stack::Stack;
use crate::transport::icmp;

impl Stack {
    /// Sends on what is not for this host: device, next hop and MTU are decided.
    pub(super) fn forward(&mut self, passed: Passed<PreRouting>) {
        let packet = passed.into_packet();
        let version = packet.version().unwrap_or(IpVersion::V4);
        if packet.packet_type != PacketType::Host {
            self.die_forwarding(packet, DropReason::NotSpecified);
            return;
        }
        let forwarded = match version {
            IpVersion::V4 => self.forward_ipv4(packet),
            IpVersion::V6 => self.forward_ipv6(packet),
        };
        let Some(packet) = forwarded else {
            return;
        };
        if let Ok(passed) = self.run_hook::<Forward>(packet) {
            // The sender is another host: it learns of no error here.
            let _ = self.post_routing(passed);
        }
    }

    fn forward_ipv4(&mut self, mut packet: Packet) -> Option<Packet> {
        if packet.network().get(8).is_none_or(|ttl| *ttl <= 1) {
            self.counters.ip4.count(IpCounter::InHdrErrors);
            self.icmp_error(&packet, icmp::TIME_EXCEEDED, icmp::TTL_EXCEEDED, 0);
            self.die_forwarding(packet, DropReason::IpInhdr);
            return None;
        }
        self.counters.ip4.count(IpCounter::ForwDatagrams);
        let mtu = self.forward_mtu(&packet);
        let too_long = network_length(&packet) > mtu as usize && !packet.ignore_df
            || u32::from(packet.largest_fragment) > mtu;
        if too_long && u16_at(packet.network(), 6) & 0x4000 != 0 {
            self.counters.ip4.count(IpCounter::FragFails);
            self.icmp_too_big(&packet, mtu);
            self.die_forwarding(packet, DropReason::PktTooBig);
            return None;
        }
        packet.copied = true;
        decrease_ttl(packet.network_mut());
        Some(packet)
    }

    fn forward_ipv6(&mut self, mut packet: Packet) -> Option<Packet> {
        if packet.network().get(7).is_none_or(|hops| *hops <= 1) {
            self.icmp_error(&packet, icmp::V6_TIME_EXCEEDED, icmp::TTL_EXCEEDED, 0);
            self.counters.ip6.count(IpCounter::InHdrErrors);
            self.die_forwarding(packet, DropReason::IpInhdr);
            return None;
        }
        let source = ipv6_at(packet.network(), 8);
        if packet.in_device != packet.out_device
            && (source.is_unspecified() || source.is_unicast_link_local())
        {
            if source.is_unicast_link_local() {
                self.icmp_error(
                    &packet,
                    icmp::V6_DESTINATION_UNREACHABLE,
                    icmp::V6_NOT_NEIGHBOR,
                    0,
                );
            }
            self.counters.ip6.count(IpCounter::InAddrErrors);
            self.die_forwarding(packet, DropReason::IpInaddrerrors);
            return None;
        }
        self.counters.ip6.count(IpCounter::ForwDatagrams);
        let mtu = packet.mtu.max(1280);
        let too_long = match packet.largest_fragment {
            0 => network_length(&packet) > mtu as usize,
            largest => u32::from(largest) > mtu,
        };
        if too_long {
            self.icmp_too_big(&packet, mtu);
            self.counters.ip6.count(IpCounter::InTooBigErrors);
            self.counters.ip6.count(IpCounter::FragFails);
            self.die_forwarding(packet, DropReason::PktTooBig);
            return None;
        }
        packet.copied = true;
        let network = packet.network_mut();
        let hops = network.get(7).copied().unwrap_or(1);
        put(network, 7, &[hops.wrapping_sub(1)]);
        Some(packet)
    }

    /// It dies at the point before its hook runs, which would have entered it.
    fn die_forwarding(&mut self, mut packet: Packet, reason: DropReason) {
        self.enter(&mut packet, Point::Forward);
        self.drop_packet(packet, Point::Forward, reason);
    }

    /// The MTU that forwarded packets are measured by (`ip_dst_mtu_maybe_forward`): the path MTU only where
    /// `ip_forward_use_pmtu` says so.
    fn forward_mtu(&mut self, packet: &Packet) -> u32 {
        if !self.ip_settings().forward_use_pmtu {
            return packet.mtu;
        }
        let (_, destination) = crate::ip::bytes::addresses(packet.network());
        let known = self.path_mtu(destination).unwrap_or(u32::MAX);
        packet.mtu.min(known)
    }
}

/// `ip_decrease_ttl`: the checksum follows without a look at the rest (RFC 1141).
fn decrease_ttl(network: &mut [u8]) {
    let ttl = network.get(8).copied().unwrap_or(1);
    put(network, 8, &[ttl.wrapping_sub(1)]);
    let sum = u32::from(u16_at(network, 10)) + 0x0100;
    let sum = (sum as u16).wrapping_add(u16::from(sum >= 0xffff));
    put(network, 10, &sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::bytes::{finish_ipv4_header, fold, ones_sum};

    #[test]
    fn the_checksum_follows_the_ttl_whatever_it_was() {
        for identification in 0..=u16::MAX {
            let mut header = [
                0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ];
            put(&mut header, 4, &identification.to_be_bytes());
            finish_ipv4_header(&mut header);
            decrease_ttl(&mut header);
            assert_eq!(header[8], 63);
            assert_eq!(fold(ones_sum(0, &header)), 0xffff, "{identification}");
        }
    }
}
