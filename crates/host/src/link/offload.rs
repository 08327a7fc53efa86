//! What a device leaves to the stack, just before the tap (`validate_xmit_skb`): packets that stand for several are cut
//! (`tcp_gso_segment`), checksums finished (`skb_checksum_help`). So a capture of such a device shows what is on the wire.

use transect_packet::{Network, TcpFlags, Transport};
use transect_path::Point;

use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::ip::bytes::{
    IPV4_HEADER, finish_ipv4_header, fold, ipv4_header_length, ones_sum, put, u16_at, u32_at,
};
use crate::packet::{ChecksumState, ETHERTYPE_IPV4, LINK_HEADER, Packet};
use crate::spare;
use crate::stack::Stack;

/// Where a TCP or UDP packet's parts are, counted from the network header on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) v6: bool,
    pub(super) protocol: u8,
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Where its payload starts.
    pub(super) payload: usize,
    /// Where the IP packet ends.
    pub(super) end: usize,
    /// Where the checksum is.
    pub(super) checksum: usize,
}

impl Layout {
    /// Reads the headers; nothing where they are damaged, of another protocol, or a fragment's.
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        Self::of_plain(packet).or_else(|| Self::of_any(packet))
    }

    /// TCP over IPv4, whole and in order, as nearly every packet is that asks.
    #[inline]
    fn of_plain(packet: &Packet) -> Option<Self> {
        let network = packet.network();
        let transport = ipv4_header_length(network);
        let end = usize::from(u16_at(network, 2));
        let first = *network.first()?;
        let whole = u16_at(network, 6) & 0x3fff == 0 && end <= network.len();
        if packet.ethertype != ETHERTYPE_IPV4
            || first >> 4 != 4
            || transport < IPV4_HEADER
            || !whole
            || *network.get(9)? != TCP
        {
            return None;
        }
        let header = usize::from(*network.get(transport + 12)? >> 4) * 4;
        let payload = transport + header;
        (header >= 20 && payload <= end).then_some(Layout {
            v6: false,
            protocol: TCP,
            transport,
            payload,
            end,
            checksum: transport + 16,
        })
    }

    /// Whatever else there is.
    fn of_any(packet: &Packet) -> Option<Self> {
        let dissection = packet.dissect();
        let Network::Ip(ip) = &dissection.network else {
            return None;
        };
        if ip.fragment.is_some() {
            return None;
        }
        let transport = usize::from(ip.transport_offset);
        let end = (ip.total_length as usize).min(packet.len());
        let (header, checksum) = match &ip.transport {
            Transport::Tcp(_) => {
                let offset = packet.network().get(transport + 12)? >> 4;
                (usize::from(offset) * 4, 16)
            }
            Transport::Udp(_) => (8, 6),
            Transport::Icmp(_) if ip.source.is_ipv6() => (8, 2),
            _ => return None,
        };
        let payload = transport.checked_add(header)?;
        (payload <= end).then_some(Layout {
            v6: ip.source.is_ipv6(),
            protocol: ip.protocol,
            transport,
            payload,
            end,
            checksum: transport + checksum,
        })
    }

    /// The pseudo header's sum for a transport of that many bytes (RFC 9293 section 3.1, RFC 8200 section 8.1).
    fn pseudo_header(&self, network: &[u8], length: usize) -> u32 {
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let sum = ones_sum(
            u32::from(self.protocol),
            network.get(addresses).unwrap_or_default(),
        );
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        sum + (length >> 16) + (length & 0xffff)
    }
}

impl Stack {
    /// Bytes on the wire (`qdisc_pkt_len_init`): the headers once for each segment.
    pub(super) fn wire_length(&self, id: DeviceId, packet: &Packet) -> u64 {
        let header = self
            .link
            .device(id)
            .map_or(LINK_HEADER, |device| device.header_length());
        let length = (packet.len() as u64).saturating_add(header as u64);
        match packet.segmentation {
            None => length,
            Some(cut) => {
                let headers = Layout::of(packet).map_or(0, |layout| layout.payload + header);
                let more = u64::from(cut.segments.saturating_sub(1));
                length.saturating_add(more.saturating_mul(headers as u64))
            }
        }
    }

    /// Bytes of the longest segment with its headers (`skb_gso_mac_seglen`).
    pub(super) fn longest_segment(&self, id: DeviceId, packet: &Packet) -> u64 {
        let Some(cut) = packet.segmentation else {
            return self.wire_length(id, packet);
        };
        let header = self
            .link
            .device(id)
            .map_or(LINK_HEADER, |device| device.header_length());
        let headers = Layout::of(packet).map_or(0, |layout| layout.payload + header);
        u64::from(cut.size).saturating_add(headers as u64)
    }

    /// Whether the device takes it as it is not.
    #[inline]
    pub(super) fn needs_validation(&self, id: DeviceId, packet: &Packet) -> bool {
        if packet.segmentation.is_none() && packet.checksum != ChecksumState::Partial {
            return false;
        }
        let features = self.device_features(id);
        packet.segmentation.is_some() && !features.tso
            || packet.checksum == ChecksumState::Partial && !features.tx_checksum
    }

    /// The packet as the device takes it: several, or none where it cannot be cut.
    pub(super) fn validate(&mut self, id: DeviceId, packet: Packet) -> Vec<Packet> {
        let features = self.device_features(id);
        let mut packets = if packet.segmentation.is_some() && !features.tso {
            self.segment(id, packet)
        } else {
            vec![packet]
        };
        if !features.tx_checksum {
            packets.iter_mut().for_each(finish_checksum);
        }
        packets
    }

    /// Cuts a packet into its segments (`tcp_gso_segment`). Whoever pays for the whole pays for the last one; the rest is
    /// given back.
    pub(super) fn segment(&mut self, id: DeviceId, packet: Packet) -> Vec<Packet> {
        let layout = Layout::of(&packet).filter(|layout| layout.protocol == TCP);
        let (Some(layout), Some(cut)) = (layout, packet.segmentation) else {
            if let Some(device) = self.link.device_mut(id) {
                device.statistics.tx_dropped = device.statistics.tx_dropped.wrapping_add(1);
            }
            self.drop_packet(packet, Point::Qdisc, DropReason::SkbGsoSeg);
            return Vec::new();
        };
        let (owner, charge) = (packet.owner, packet.data.len());
        let mut segments = segments_of(packet, layout, usize::from(cut.size.max(1)));
        if let (Some(owner), Some(last)) = (owner, segments.last_mut()) {
            last.owner = Some(owner);
            let given_back = charge.saturating_sub(last.data.len());
            if given_back > 0 {
                self.freed.push((owner, given_back));
            }
        }
        segments
    }
}

/// TCP's protocol number.
const TCP: u8 = 6;

fn segments_of(mut packet: Packet, layout: Layout, size: usize) -> Vec<Packet> {
    packet.owner = None;
    packet.segmentation = None;
    let whole = std::mem::take(&mut packet.data);
    let headers = whole
        .get(..LINK_HEADER + layout.payload)
        .unwrap_or_default();
    let payload = whole
        .get(LINK_HEADER + layout.payload..LINK_HEADER + layout.end)
        .unwrap_or_default();
    let count = payload.len().div_ceil(size).max(1);
    let partial = packet.checksum == ChecksumState::Partial;
    let segments = (0..count)
        .map(|number| {
            let from = number * size;
            let part = payload
                .get(from..payload.len().min(from + size))
                .unwrap_or_default();
            let mut data = spare::bytes(headers.len() + part.len());
            data.extend_from_slice(headers);
            data.extend_from_slice(part);
            let mut segment = packet.clone();
            segment.data = data;
            segment.checksum = ChecksumState::Partial;
            fix_headers(
                segment.network_mut(),
                layout,
                number,
                from,
                number + 1 == count,
            );
            if !partial {
                finish_checksum(&mut segment);
            }
            segment
        })
        .collect();
    spare::give_back(whole);
    segments
}

/// What differs between the segments: length, identification, sequence number, flags, and the sums.
fn fix_headers(network: &mut [u8], layout: Layout, number: usize, from: usize, last: bool) {
    let length = network.len();
    if layout.v6 {
        let payload = u16::try_from(length.saturating_sub(40)).unwrap_or(0);
        put(network, 4, &payload.to_be_bytes());
    } else {
        let total = u16::try_from(length).unwrap_or(0);
        put(network, 2, &total.to_be_bytes());
        let number = u16::try_from(number & 0xffff).unwrap_or(0);
        let identification = u16_at(network, 4).wrapping_add(number);
        put(network, 4, &identification.to_be_bytes());
        finish_ipv4_header(network);
    }
    let at = layout.transport;
    let skipped = u32::try_from(from).unwrap_or(0);
    let sequence = u32_at(network, at + 4).wrapping_add(skipped);
    put(network, at + 4, &sequence.to_be_bytes());
    if let Some(flags) = network.get_mut(at + 13) {
        if !last {
            *flags &= !(TcpFlags::FIN | TcpFlags::PSH);
        }
        if number > 0 {
            *flags &= !TcpFlags::CWR;
        }
    }
    let sum = layout.pseudo_header(network, length.saturating_sub(at));
    put(network, layout.checksum, &fold(sum).to_be_bytes());
}

/// Finishes a transport's checksum, where that was left to the device (`skb_checksum_help`). The field holds the pseudo
/// header's sum, which is computed anew: addresses may have been translated since.
pub(crate) fn finish_checksum(packet: &mut Packet) {
    if packet.checksum != ChecksumState::Partial {
        return;
    }
    packet.checksum = ChecksumState::None;
    let Some(layout) = Layout::of(packet) else {
        return;
    };
    let network = packet.network_mut();
    let length = layout.end.saturating_sub(layout.transport);
    put(network, layout.checksum, &[0, 0]);
    let pseudo = layout.pseudo_header(network, length);
    let sum = ones_sum(
        pseudo,
        network
            .get(layout.transport..layout.end)
            .unwrap_or_default(),
    );
    let checksum = match !fold(sum) {
        // For UDP 0 means that there is none (RFC 768).
        0 => 0xffff,
        checksum => checksum,
    };
    put(network, layout.checksum, &checksum.to_be_bytes());
}

/// Whether a transport's checksum holds, or is known to; for GRO, which merges nothing that is damaged.
pub(super) fn checksum_holds(packet: &Packet, layout: Layout) -> bool {
    if packet.checksum != ChecksumState::None {
        return true;
    }
    let network = packet.network();
    let length = layout.end.saturating_sub(layout.transport);
    let pseudo = layout.pseudo_header(network, length);
    let sum = ones_sum(
        pseudo,
        network
            .get(layout.transport..layout.end)
            .unwrap_or_default(),
    );
    fold(sum) == 0xffff
}

/// Writes the pseudo header's sum into the field and leaves the rest to a device (CHECKSUM_PARTIAL).
pub(super) fn make_partial(packet: &mut Packet, layout: Layout) {
    packet.checksum = ChecksumState::Partial;
    let network = packet.network_mut();
    let length = layout.end.saturating_sub(layout.transport);
    let sum = fold(layout.pseudo_header(network, length));
    put(network, layout.checksum, &sum.to_be_bytes());
}
