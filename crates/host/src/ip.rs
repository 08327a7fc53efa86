//! The IP layer, both families: from the transports down to the next hop, and from the link layer up to the transports.
//!
//! Out: [`Stack::route`] (`route`), [`Stack::ip_output`] (`output`, `fragment`). In: [`Host::ip_input`](crate::Host)
//! (`input`, `forward`, `reassembly`, `deliver`).

mod autoconf;
pub(crate) mod bytes;
mod deliver;
pub(crate) mod flow_label;
mod forward;
mod fragment;
mod group;
mod input;
mod options;
mod output;
mod reassembly;
mod render;
mod route;
mod settings;

use std::net::IpAddr;

use transect_config::IpVersion;

use crate::device::DeviceId;
use crate::packet::{ChecksumState, Segmentation};
use crate::socket::SocketId;

pub(crate) use flow_label::FlowHash;
pub(crate) use group::ToLink;
pub(crate) use reassembly::User;
pub(crate) use route::{Route, RouteKey};

/// What the IP layer keeps.
#[derive(Debug, Default)]
pub(crate) struct Ip {
    routes: route::Routes,
    reassembly: reassembly::Reassembly,
    settings: Option<settings::IpSettings>,
    /// Broadcasts that this host hears itself.
    looped: std::collections::VecDeque<crate::packet::Packet>,
    /// This host's broadcast addresses, once they were asked for.
    broadcasts: Option<Vec<std::net::Ipv4Addr>>,
    /// What /proc/net/stat/rt_cache shows.
    statistics: render::RouteStatistics,
    /// Multicast groups.
    groups: group::Groups,
    /// Addresses and routers that are being looked for.
    autoconf: autoconf::Autoconf,
    /// What flows without a socket's own hash are hashed with, once it was needed (`hashrnd`).
    flow_key: Option<(u64, u64)>,
    /// Limits on ICMP messages.
    pub(crate) icmp: crate::transport::icmp::Limits,
}

impl Ip {
    /// Forgets every route that was looked up: the configuration changed.
    pub(crate) fn forget_routes(&mut self) {
        self.routes.forget();
        self.settings = None;
        self.broadcasts = None;
    }

    /// Whether there is any.
    #[inline]
    pub(crate) fn has_looped(&self) -> bool {
        !self.looped.is_empty()
    }

    /// The next copy of what this host sent to itself among others.
    pub(crate) fn next_looped(&mut self) -> Option<crate::packet::Packet> {
        self.looped.pop_front()
    }
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
    /// IPv6's flow label.
    pub(crate) flow_hash: FlowHash,
    /// IPv4's identification, where the sender counts it (connected sockets); nothing: 0 for what may never be
    /// fragmented, else a number of the host's choice (`ip_select_ident_segs`).
    pub(crate) identification: Option<u16>,
    /// Set "don't fragment" (IPv4; IPv6 never fragments on the way).
    pub(crate) dont_fragment: bool,
    /// May be fragmented by this host where it does not fit (`skb->ignore_df`).
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
    /// The route, as [`Stack::route`](crate::stack::Stack) gave it.
    pub(crate) route: &'a Route,
}

/// What a transport is told of a packet that was delivered to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// From where.
    pub(crate) source: IpAddr,
    /// Where to.
    pub(crate) destination: IpAddr,
    /// The transport's number.
    pub(crate) protocol: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// Where the transport header begins, counted from the network header.
    pub(crate) offset: usize,
    /// Where it came in.
    pub(crate) device: DeviceId,
    /// To a broadcast or multicast address.
    pub(crate) group: bool,
}

impl Received {
    /// The family.
    pub(crate) fn version(&self) -> IpVersion {
        version_of(self.destination)
    }
}

/// The family of an address.
pub(crate) const fn version_of(address: IpAddr) -> IpVersion {
    match address {
        IpAddr::V4(_) => IpVersion::V4,
        IpAddr::V6(_) => IpVersion::V6,
    }
}

#[cfg(test)]
mod tests;
