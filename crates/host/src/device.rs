//! Network devices: what the host knows of an interface (`struct net_device`).

use std::collections::{BTreeMap, VecDeque};

use transect_config::{BridgePortState, TcStatistics};
use transect_packet::MacAddress;

use crate::link::Attached;
use crate::packet::{LINK_HEADER, Packet};
use crate::qdisc::Qdisc;
use crate::socket::SocketId;

/// An interface of one host: its index less one, so that `lo` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

impl DeviceId {
    /// The loopback device, which every host has.
    pub const LOOPBACK: DeviceId = DeviceId(0);

    /// `ifindex`.
    pub fn index(self) -> u32 {
        self.0.saturating_add(1)
    }
}

/// What kind of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `lo`: what is sent comes back through the backlog.
    Loopback,
    /// An Ethernet device whose frames leave the host (a veth end, a card).
    Ethernet,
    /// A device without a link layer (`tun`).
    Tun,
    /// A bridge: its ports are the devices whose link has it as `master`.
    Bridge,
}

/// Offload features, as `ethtool -k` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a feature of its own"
)]
pub struct Features {
    /// tx-checksumming: the device (or the peer of a veth) finishes checksums.
    pub tx_checksum: bool,
    /// rx-checksumming: what it verified needs no second look.
    pub rx_checksum: bool,
    /// scatter-gather and tcp-segmentation-offload: takes packets larger than the MTU.
    pub tso: bool,
    /// generic-segmentation-offload: the stack makes such packets and splits them just before the driver.
    pub gso: bool,
    /// generic-receive-offload.
    pub gro: bool,
}

impl Features {
    /// A veth's: everything that spares work is on, GRO aside (which needs NAPI there).
    pub const VETH: Features = Features {
        tx_checksum: true,
        rx_checksum: true,
        tso: true,
        gso: true,
        gro: false,
    };
    /// What the device really offers of it: segmentation needs checksums (`netdev_fix_features`).
    pub(crate) fn settled(mut self) -> Self {
        self.tso &= self.tx_checksum;
        self
    }

    /// Nothing is left to the device.
    pub const NONE: Features = Features {
        tx_checksum: false,
        rx_checksum: false,
        tso: false,
        gso: false,
        gro: false,
    };
}

/// A device's statistics (`struct rtnl_link_stats64`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of uapi/linux/if_link.h")]
pub struct LinkStatistics {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
    pub tx_carrier_errors: u64,
    pub rx_nohandler: u64,
    pub rx_otherhost_dropped: u64,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
    /// As `ip -d link` names the kind (`veth`, `bridge`, `tun`); nothing for `lo` and for a card.
    pub(crate) info_kind: Option<String>,
    pub(crate) mac: MacAddress,
    /// Bytes behind the link header.
    pub(crate) mtu: u32,
    /// IFF_UP.
    pub(crate) up: bool,
    /// The other end is there.
    pub(crate) carrier: bool,
    pub(crate) promiscuous: bool,
    pub(crate) features: Features,
    pub(crate) statistics: LinkStatistics,
    /// `txqueuelen`, packets.
    pub(crate) queue_length: u32,
    /// The queueing discipline at the root.
    pub(crate) qdisc: Qdisc,
    /// What the clsact qdisc counts, where there is one: both directions together.
    pub(crate) clsact: Option<TcStatistics>,
    /// Destination ports that a program at clsact drops, with what each has dropped: ingress, egress (the lab's `tc_drops`).
    pub(crate) tc_drops: [BTreeMap<u16, u64>; 2],
    /// The XDP program.
    pub(crate) xdp: Option<Attached>,
    /// Whether captures see its frames.
    pub(crate) tapped: bool,
    /// The transmit ring; nothing where there is none (veth).
    pub(crate) ring: Option<Ring>,
    /// The MTU of the device at the other end, where the world has told it.
    pub(crate) peer_mtu: Option<u32>,
    /// The bridge that it is a port of.
    pub(crate) master: Option<DeviceId>,
    /// What the spanning tree says of it as a port.
    pub(crate) port_state: BridgePortState,
    /// What else a bridge does with it as a port.
    pub(crate) port_flags: PortFlags,
    /// Segments that GRO holds until the batch ends.
    pub(crate) held: Vec<Packet>,
}

/// What a bridge does with a port (`BR_*` flags), under the names of `bridge link set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct PortFlags {
    /// Addresses are learned from what comes in.
    pub learning: bool,
    /// Frames to stations that nobody knows leave by it.
    pub flood: bool,
    /// Frames to groups leave by it (`mcast_flood`).
    pub multicast_flood: bool,
    /// Frames to everybody leave by it (`bcast_flood`).
    pub broadcast_flood: bool,
    /// Frames may leave by the port by which they came.
    pub hairpin: bool,
    /// No frame goes from it to another isolated port.
    pub isolated: bool,
}

impl Default for PortFlags {
    fn default() -> Self {
        PortFlags {
            learning: true,
            flood: true,
            multicast_flood: true,
            broadcast_flood: true,
            hairpin: false,
            isolated: false,
        }
    }
}

/// On which side of the host a filter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// On the way in.
    Ingress,
    /// On the way out.
    Egress,
}

/// A transmit ring: packets that the device has not reported as sent.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Slots that are free.
    pub(crate) free: u32,
    /// Whose send buffer pays for those in it, and how much, in order.
    pub(crate) in_flight: VecDeque<Option<(SocketId, usize)>>,
}

impl Device {
    /// A device that is up and has its carrier, with the defaults of its kind.
    pub(crate) fn new(name: &str, kind: DeviceKind, mac: MacAddress, mtu: u32) -> Self {
        Device {
            name: name.to_owned(),
            kind,
            info_kind: None,
            mac,
            mtu,
            up: true,
            carrier: true,
            promiscuous: false,
            features: Features::NONE,
            statistics: LinkStatistics::default(),
            queue_length: match kind {
                DeviceKind::Tun => 500,
                _ => 1000,
            },
            qdisc: Qdisc::default(),
            clsact: None,
            tc_drops: [BTreeMap::new(), BTreeMap::new()],
            xdp: None,
            tapped: false,
            ring: None,
            peer_mtu: None,
            master: None,
            port_state: BridgePortState::Forwarding,
            port_flags: PortFlags::default(),
            held: Vec::new(),
        }
    }

    /// Bytes of the link header (`dev->hard_header_len`).
    pub(crate) fn header_length(&self) -> usize {
        match self.kind {
            DeviceKind::Tun => 0,
            DeviceKind::Loopback | DeviceKind::Ethernet | DeviceKind::Bridge => LINK_HEADER,
        }
    }

    /// The ports that a program at clsact drops on one side.
    pub(crate) fn tc_drops_at(&self, gate: Gate) -> &BTreeMap<u16, u64> {
        let [ingress, egress] = &self.tc_drops;
        match gate {
            Gate::Ingress => ingress,
            Gate::Egress => egress,
        }
    }

    /// Likewise, to be counted in.
    pub(crate) fn tc_drops_at_mut(&mut self, gate: Gate) -> &mut BTreeMap<u16, u64> {
        let [ingress, egress] = &mut self.tc_drops;
        match gate {
            Gate::Ingress => ingress,
            Gate::Egress => egress,
        }
    }

    /// Administratively up, and with a carrier: packets can leave (`netif_running`, `netif_carrier_ok`).
    pub(crate) fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    /// The packet's bytes as this device counts them and shows them to taps: with its link header.
    pub(crate) fn frame<'a>(&self, packet: &'a Packet) -> &'a [u8] {
        let skipped = LINK_HEADER.saturating_sub(self.header_length());
        packet.data.get(skipped..).unwrap_or_default()
    }

    /// Whether a frame of that many bytes fits (`__is_skb_forwardable`): a VLAN tag more than the MTU is granted, and
    /// packets that stand for several are not measured.
    pub(crate) fn fits(&self, packet: &Packet) -> bool {
        fits(
            self.mtu,
            self.header_length(),
            self.frame(packet).len(),
            packet,
        )
    }

    /// Likewise, for the device at the other end.
    pub(crate) fn fits_peer(&self, packet: &Packet) -> bool {
        self.peer_mtu
            .is_none_or(|mtu| fits(mtu, self.header_length(), self.frame(packet).len(), packet))
    }
}

/// VLAN_HLEN: what a frame may be longer than MTU and header.
const VLAN_HEADER: usize = 4;

fn fits(mtu: u32, header: usize, length: usize, packet: &Packet) -> bool {
    packet.segmentation.is_some() || length <= (mtu as usize).saturating_add(header + VLAN_HEADER)
}
