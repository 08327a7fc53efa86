//! The IP layer, both families: from the transports down to the next hop, and from the link layer up to the transports.

use std::net::IpAddr;

use transect_config::IpVersion;

use crate::device::DeviceId;
use crate::host::Host;
use crate::packet::{ChecksumState, Packet, Segmentation};
use crate::socket::{Errno, SocketId};
use crate::stack::Stack;

/// What the IP layer keeps.
#[derive(Debug, Default)]
pub(crate) struct Ip {}

impl Ip {
    /// Forgets every route that was looked up: the configuration changed.
    pub(crate) fn forget_routes(&mut self) {}
}

/// Where packets to a destination go (`struct dst_entry`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// By which device.
    pub(crate) device: DeviceId,
    /// To which next hop; the destination itself where it is on the link.
    pub(crate) next_hop: IpAddr,
    /// From which address, where the sender has not chosen one.
    pub(crate) source: IpAddr,
    /// Path MTU in bytes: the route's, the device's, or what ICMP said.
    pub(crate) mtu: u32,
    /// To this host itself.
    pub(crate) local: bool,
    /// To a broadcast or multicast address.
    pub(crate) group: bool,
}

/// What to look up for something that this host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RouteKey {
    /// Where to.
    pub(crate) destination: IpAddr,
    /// From where, where it is chosen already.
    pub(crate) source: Option<IpAddr>,
    /// SO_BINDTODEVICE.
    pub(crate) device: Option<DeviceId>,
    /// SO_MARK.
    pub(crate) mark: u32,
    /// IP_TOS.
    pub(crate) tos: u8,
}

/// A transport's packet on its way into the IP layer: everything but the IP header.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing<'a> {
    /// From where.
    pub(crate) source: IpAddr,
    /// Where to.
    pub(crate) destination: IpAddr,
    /// The transport's number.
    pub(crate) protocol: u8,
    /// TTL or hop limit; nothing for the default.
    pub(crate) ttl: Option<u8>,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// Set "don't fragment" (IPv4; IPv6 never fragments on the way).
    pub(crate) dont_fragment: bool,
    /// May be fragmented by this host where it does not fit.
    pub(crate) may_fragment: bool,
    /// `SO_MARK`.
    pub(crate) mark: u32,
    /// `SO_PRIORITY`.
    pub(crate) priority: u32,
    /// The transport header.
    pub(crate) header: &'a [u8],
    /// What follows it, in up to two pieces (a ring buffer's halves).
    pub(crate) payload: [&'a [u8]; 2],
    /// How the checksum in the header is to be taken.
    pub(crate) checksum: ChecksumState,
    /// More than one segment.
    pub(crate) segmentation: Option<Segmentation>,
    /// Whose send buffer pays for it.
    pub(crate) owner: Option<SocketId>,
    /// The route, as [`Stack::route`] gave it.
    pub(crate) route: &'a Route,
}

impl Stack {
    /// Sending 4: the route for something that this host sends (`ip_route_output_flow`, `ip6_dst_lookup_flow`). Counts
    /// nothing: the caller knows whether IpOutNoRoutes is due.
    pub(crate) fn route(&mut self, _key: &RouteKey) -> Result<Route, Errno> {
        Err(Errno::Enetunreach)
    }

    /// Sending 4 to 7 and on: builds the header, passes the hooks, fragments, and hands on. An error is what the hooks or the
    /// queue said (EPERM, ENOBUFS).
    pub(crate) fn ip_output(&mut self, _out: &Outgoing<'_>) -> Result<(), Errno> {
        Err(Errno::Enetunreach)
    }

    /// The path MTU to a destination became smaller, an ICMP error says (`ip_rt_update_pmtu`).
    pub(crate) fn update_path_mtu(&mut self, _key: &RouteKey, _mtu: u32) {}

    /// An unfinished packet of fragments has waited too long.
    pub(crate) fn handle_reassembly_timer(&mut self, _queue: u32) {}
}

impl Host {
    /// Receiving 8 to 12, then to the transports; or forwarded.
    pub(crate) fn ip_input(&mut self, _packet: Packet) {}
}

/// The family of an address.
pub(crate) const fn version_of(address: IpAddr) -> IpVersion {
    match address {
        IpAddr::V4(_) => IpVersion::V4,
        IpAddr::V6(_) => IpVersion::V6,
    }
}
