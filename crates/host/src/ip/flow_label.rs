//! IPv6 flow labels (RFC 6437; `ip6_make_flowlabel`): routers that choose among equal paths by hash shall see one value for a
//! flow, and another one when the sender looks for another path.

use std::num::NonZeroU32;

use crate::ip::Outgoing;
use crate::ip::bytes::u16_at;
use crate::socket::SocketAddress;
use crate::stack::Stack;
use transect_config::IpVersion;
use transect_packet::protocol;

/// The 20 bits of the header's first word (`IPV6_FLOWLABEL_MASK`).
pub(crate) const MASK: u32 = 0x000f_ffff;
/// Says that nobody keeps state for this label (`IPV6_FLOWLABEL_STATELESS_FLAG`).
const STATELESS: u32 = 0x0008_0000;

/// From what a packet's label is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowHash {
    /// No label: neighbour discovery and group reports (`ip6_nd_hdr`, `ip6_mc_hdr`).
    None,
    /// Addresses, protocol and ports (`skb_get_hash_flowi6`).
    Flow,
    /// What the socket has drawn for itself (`sk_txhash`).
    Socket(NonZeroU32),
}

impl FlowHash {
    /// That of a socket, where it has one.
    pub(crate) fn of(socket: Option<NonZeroU32>) -> Self {
        socket.map_or(FlowHash::Flow, FlowHash::Socket)
    }
}

impl Stack {
    /// A new hash for a socket whose packets are of this family (`sk_set_txhash`, `net_tx_rndhash`); IPv4 has no place for it.
    pub(crate) fn draw_flow_hash(&mut self, version: IpVersion) -> Option<NonZeroU32> {
        match version {
            IpVersion::V4 => None,
            IpVersion::V6 => NonZeroU32::new(self.random.u32(1..)),
        }
    }

    /// The label of a packet.
    pub(super) fn flow_label(&mut self, out: &Outgoing<'_>) -> u32 {
        let settings = self.known_ip_settings();
        let stateless = settings.flow_labels_stateless;
        // 0: never; 2: where a socket asks for it (IPV6_AUTOFLOWLABEL), which none does; 1 and 3: always.
        if !matches!(settings.auto_flow_labels, 1 | 3) {
            return 0;
        }
        let hash = match out.flow_hash {
            FlowHash::None => return 0,
            FlowHash::Socket(hash) => hash.get(),
            FlowHash::Flow => self.hash_flow(out),
        };
        // So that the wire does not tell the hash itself.
        let label = hash.rotate_left(16) & MASK;
        if stateless { label | STATELESS } else { label }
    }

    fn hash_flow(&mut self, out: &Outgoing<'_>) -> u32 {
        let random = &mut self.random;
        let key = *self
            .ip
            .flow_key
            .get_or_insert_with(|| (random.u64(..), random.u64(..)));
        let port = |at| match out.protocol {
            protocol::TCP | protocol::UDP => u16_at(out.header, at),
            _ => 0,
        };
        let source = SocketAddress::new(out.source, port(0));
        let destination = SocketAddress::new(out.destination, port(2));
        crate::tcp::hash_ends(key, source, destination, u64::from(out.protocol)) as u32
    }
}

/// The label of a packet as it stands in its header; 0 over IPv4.
pub(crate) fn label_of(network: &[u8]) -> u32 {
    match network.first().map(|first| first >> 4) {
        Some(6) => crate::ip::bytes::u32_at(network, 0) & MASK,
        _ => 0,
    }
}
