//! Fragments of what does not fit (`ip_do_fragment`, RFC 791 section 3.2; `ip6_fragment`, RFC 8200 section 4.5).

use transect_config::IpVersion;
use transect_path::Point;

use crate::counters::IpCounter;
use crate::drop_reason::DropReason;
use crate::hooks::{BridgePostRouting, HookKind, Passed, PostRouting};
use crate::ip::bytes::{
    FRAGMENT_HEADER, IPV6_HEADER, NEXT_FRAGMENT, ipv4_header_length, put, u16_at,
};
use crate::ip::output::set_length;
use crate::packet::{LINK_HEADER, Packet};
use crate::socket::Errno;
use crate::stack::Stack;

/// Where the fragments' headers end, and how they say what they are.
struct Layout {
    /// Bytes of header that every fragment repeats, without IPv6's fragment header.
    header: usize,
    /// Payload bytes of each fragment but the last.
    step: usize,
}

impl Stack {
    /// Cuts a packet into fragments that fit its MTU, and sends each.
    #[inline(never)]
    pub(super) fn fragment(
        &mut self,
        passed: Passed<PostRouting>,
        version: IpVersion,
    ) -> Result<(), Errno> {
        let fragments = match self.cut(passed, version) {
            Ok(fragments) => fragments,
            Err(packet) => {
                self.count_ip(version, IpCounter::FragFails);
                self.drop_packet(packet, Point::IpFinish, DropReason::PktTooBig);
                return Err(Errno::Emsgsize);
            }
        };
        for fragment in fragments {
            if let Err(errno) = self.ip_transmit(fragment) {
                self.count_ip(version, IpCounter::FragFails);
                return Err(errno);
            }
            self.count_ip(version, IpCounter::FragCreates);
        }
        self.count_ip(version, IpCounter::FragOKs);
        Ok(())
    }

    /// What a bridge's PRE_ROUTING put together goes on in fragments, each with the frame's own header
    /// (`br_nf_ip_fragment`). Those that it was put together from fitted; where they would not, it dies.
    pub(crate) fn fragment_bridged(
        &mut self,
        mut passed: Passed<BridgePostRouting>,
        mtu: u32,
    ) -> Vec<Passed<BridgePostRouting>> {
        let Some(version) = passed.packet().version() else {
            return vec![passed];
        };
        let packet = passed.packet_mut();
        packet.mtu = mtu;
        let header: Vec<u8> = packet.frame().iter().take(LINK_HEADER).copied().collect();
        match self.cut(passed, version) {
            Ok(mut fragments) => {
                for fragment in &mut fragments {
                    put(&mut fragment.packet_mut().data, 0, &header);
                    self.count_ip(version, IpCounter::FragCreates);
                }
                self.count_ip(version, IpCounter::FragOKs);
                fragments
            }
            Err(packet) => {
                self.count_ip(version, IpCounter::FragFails);
                self.drop_packet(packet, Point::PostRouting, DropReason::PktTooBig);
                Vec::new()
            }
        }
    }

    /// The fragments of a packet, or the packet where its MTU has no room for any.
    fn cut<H: HookKind>(
        &mut self,
        mut passed: Passed<H>,
        version: IpVersion,
    ) -> Result<Vec<Passed<H>>, Packet> {
        // Fragments cannot be finished one by one.
        crate::link::finish_checksum(passed.packet_mut());
        let Some(layout) = layout(passed.packet(), version) else {
            return Err(passed.into_packet());
        };
        let identification = self.random.u32(..);
        Ok(passed.cut(|packet| {
            let pieces = match version {
                IpVersion::V4 => cut_ipv4(&packet, &layout),
                IpVersion::V6 => cut_ipv6(&packet, &layout, identification),
            };
            self.release(&packet);
            pieces
        }))
    }
}

fn layout(packet: &Packet, version: IpVersion) -> Option<Layout> {
    let network = packet.network();
    let (header, extra) = match version {
        IpVersion::V4 => (ipv4_header_length(network), 0),
        IpVersion::V6 => (unfragmentable(network), FRAGMENT_HEADER),
    };
    // Fragments as large as those that it came in.
    let mtu = match packet.largest_fragment {
        0 => packet.mtu as usize,
        largest => {
            let least = match version {
                IpVersion::V4 => 0,
                IpVersion::V6 => 1280,
            };
            usize::from(largest).max(least).min(packet.mtu as usize)
        }
    };
    let step = mtu.checked_sub(header + extra)? & !7;
    (step >= 8 && header <= network.len()).then_some(Layout { header, step })
}

/// Length of what every IPv6 fragment repeats: the header, hop-by-hop options, routing header (`ip6_find_1stfragopt`).
fn unfragmentable(network: &[u8]) -> usize {
    let mut next = network.get(6).copied().unwrap_or_default();
    let mut offset = IPV6_HEADER;
    while matches!(next, 0 | 43) {
        let Some([following, units]) = network.get(offset..offset + 2) else {
            break;
        };
        next = *following;
        offset += (usize::from(*units) + 1) * 8;
    }
    offset
}

fn piece(packet: &Packet, data: Vec<u8>) -> Packet {
    let mut piece = packet.clone_without_data();
    piece.data = data;
    piece.owner = None;
    piece.segmentation = None;
    piece.largest_fragment = 0;
    piece
}

fn cut_ipv4(packet: &Packet, layout: &Layout) -> Vec<Packet> {
    let network = packet.network();
    let (header, payload) = network.split_at(layout.header);
    let field = u16_at(network, 6);
    let first_offset = usize::from(field & 0x1fff) * 8;
    let last_more = field & 0x2000;
    let mut pieces = Vec::with_capacity(payload.len().div_ceil(layout.step));
    let mut offset = 0;
    for chunk in payload.chunks(layout.step) {
        let mut data = Vec::with_capacity(LINK_HEADER + header.len() + chunk.len());
        data.resize(LINK_HEADER, 0);
        data.extend_from_slice(header);
        data.extend_from_slice(chunk);
        let is_last = offset + chunk.len() >= payload.len();
        let more = if is_last { last_more } else { 0x2000 };
        let place = ((first_offset + offset) / 8) as u16 & 0x1fff;
        let own = data.get_mut(LINK_HEADER..).unwrap_or_default();
        // "Don't fragment" stays where the sender allowed this host alone to fragment.
        put(own, 6, &((field & 0x4000) | more | place).to_be_bytes());
        if offset > 0 {
            blank_options(own, header.len());
        }
        set_length(own);
        pieces.push(piece(packet, data));
        offset += chunk.len();
    }
    pieces
}

/// Options that are not to be copied into later fragments become no-operations (`ip_options_fragment`).
fn blank_options(network: &mut [u8], header: usize) {
    let mut at = 20;
    while at < header {
        match network.get(at).copied() {
            None | Some(0) => return,
            Some(1) => at += 1,
            Some(kind) => {
                let length = usize::from(network.get(at + 1).copied().unwrap_or_default());
                if length < 2 || at + length > header {
                    return;
                }
                if kind & 0x80 == 0
                    && let Some(option) = network.get_mut(at..at + length)
                {
                    option.fill(1);
                }
                at += length;
            }
        }
    }
}

fn cut_ipv6(packet: &Packet, layout: &Layout, identification: u32) -> Vec<Packet> {
    let network = packet.network();
    let (header, payload) = network.split_at(layout.header);
    let next_at = next_header_at(header);
    let next = header.get(next_at).copied().unwrap_or_default();
    let mut pieces = Vec::with_capacity(payload.len().div_ceil(layout.step));
    let mut offset = 0;
    for chunk in payload.chunks(layout.step) {
        let mut data =
            Vec::with_capacity(LINK_HEADER + header.len() + FRAGMENT_HEADER + chunk.len());
        data.resize(LINK_HEADER, 0);
        data.extend_from_slice(header);
        let more = offset + chunk.len() < payload.len();
        let place = offset as u16 & 0xfff8 | u16::from(more);
        data.extend_from_slice(&[next, 0]);
        data.extend_from_slice(&place.to_be_bytes());
        data.extend_from_slice(&identification.to_be_bytes());
        data.extend_from_slice(chunk);
        let own = data.get_mut(LINK_HEADER..).unwrap_or_default();
        put(own, next_at, &[NEXT_FRAGMENT]);
        set_length(own);
        pieces.push(piece(packet, data));
        offset += chunk.len();
    }
    pieces
}

/// Where the unfragmentable part says what follows it.
fn next_header_at(header: &[u8]) -> usize {
    let (mut at, mut offset) = (6, IPV6_HEADER);
    while offset < header.len() {
        at = offset;
        let units = header.get(offset + 1).copied().unwrap_or_default();
        offset += (usize::from(units) + 1) * 8;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::bytes::{fold, ones_sum};
    use transect_path::Timestamp;

    fn ipv4(payload: usize, mtu: u32) -> Packet {
        let mut bytes = vec![
            0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        bytes.extend((0..payload).map(|at| at as u8));
        set_length(&mut bytes);
        let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp::MIN);
        packet.mtu = mtu;
        packet
    }

    #[test]
    fn ipv4_fragments_cover_the_payload_in_units_of_eight() {
        let packet = ipv4(3000, 1500);
        let layout = layout(&packet, IpVersion::V4).unwrap();
        let pieces = cut_ipv4(&packet, &layout);
        let seen: Vec<(usize, u16)> = pieces
            .iter()
            .map(|piece| (piece.len(), u16_at(piece.network(), 6)))
            .collect();
        assert_eq!(
            seen,
            [(1500, 0x2000), (1500, 0x2000 | 185), (60, 370)],
            "as `ping -s 2992` sends them"
        );
        for piece in &pieces {
            assert_eq!(fold(ones_sum(0, &piece.network()[..20])), 0xffff);
            assert_eq!(u16_at(piece.network(), 4), 0x1234);
        }
        let payload: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.network()[20..].to_vec())
            .collect();
        assert_eq!(payload, packet.network()[20..]);
    }

    #[test]
    fn a_fragment_of_a_fragment_keeps_its_place() {
        let mut packet = ipv4(1480, 600);
        put(packet.network_mut(), 6, &(0x2000u16 | 185).to_be_bytes());
        let layout = layout(&packet, IpVersion::V4).unwrap();
        let fields: Vec<u16> = cut_ipv4(&packet, &layout)
            .iter()
            .map(|piece| u16_at(piece.network(), 6))
            .collect();
        assert_eq!(fields, [0x2000 | 185, 0x2000 | 257, 0x2000 | 329]);
    }

    #[test]
    fn ipv6_fragments_carry_the_fragment_header() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
        bytes.resize(40, 0);
        bytes.extend(std::iter::repeat_n(7, 2000));
        set_length(&mut bytes);
        let mut packet = Packet::outgoing(IpVersion::V6, &bytes, Timestamp::MIN);
        packet.mtu = 1500;
        let layout = layout(&packet, IpVersion::V6).unwrap();
        let pieces = cut_ipv6(&packet, &layout, 0xdead_beef);
        assert_eq!(pieces.len(), 2);
        let first = pieces[0].network();
        assert_eq!(first.len(), 1496);
        assert_eq!(first[6], NEXT_FRAGMENT);
        assert_eq!(first[40..48], [17, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]);
        let second = pieces[1].network();
        assert_eq!(u16_at(second, 42), 1448);
        assert_eq!(second.len(), 48 + 2000 - 1448);
    }

    #[test]
    fn an_mtu_without_room_for_eight_bytes_fails() {
        assert!(layout(&ipv4(100, 27), IpVersion::V4).is_none());
        assert!(layout(&ipv4(100, 28), IpVersion::V4).is_some());
    }
}
