//! ICMP errors about segments (`tcp_v4_err`, `tcp_v6_err`; RFC 5927).

use std::net::IpAddr;

use crate::device::DeviceId;

/// An ICMP error that quotes a segment of this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IcmpError<'a> {
    /// Who says so.
    pub(crate) reporter: IpAddr,
    /// The quoted packet's source: an address of this host (translated back where NAT is at work).
    pub(crate) source: IpAddr,
    /// The quoted packet's destination. Its family tells ICMP from ICMPv6.
    pub(crate) destination: IpAddr,
    /// The quoted packet from its transport header on: at least 8 bytes.
    pub(crate) transport: &'a [u8],
    /// ICMP's type.
    pub(crate) kind: u8,
    /// ICMP's code.
    pub(crate) code: u8,
    /// The next hop's MTU (fragmentation needed, packet too big), in bytes; 0 where the message tells none.
    pub(crate) mtu: u32,
    /// Where the message came in.
    pub(crate) device: Option<DeviceId>,
}

impl IcmpError<'_> {
    /// Which ICMP it is.
    pub(crate) fn version(&self) -> transect_config::IpVersion {
        crate::ip::version_of(self.destination)
    }
}
