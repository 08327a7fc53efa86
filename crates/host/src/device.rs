//! Network devices: what the host knows of an interface (`struct net_device`).

use std::collections::BTreeMap;

use transect_packet::MacAddress;

use crate::qdisc::Qdisc;

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
    /// The queueing discipline at the root.
    pub(crate) qdisc: Qdisc,
    /// Destination ports that a program at clsact drops: ingress, egress (the lab's `tc_drops`).
    pub(crate) tc_drops: [BTreeMap<u16, u64>; 2],
    /// An XDP program that drops what goes to these ports.
    pub(crate) xdp_drops: BTreeMap<u16, u64>,
    /// Whether captures see its frames.
    pub(crate) tapped: bool,
    /// Slots of the transmit ring that are free; nothing where there is no ring (veth).
    pub(crate) ring: Option<u32>,
}
