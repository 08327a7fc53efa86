//! Addresses of the host, as `ip address` shows them.

mod json;
mod text;

use std::net::IpAddr;

use crate::parse::Parsed;
use crate::prefix::{IpVersion, Prefix};

/// Reads `ip [-j] [-s] [-d] [-o] address show`; as JSON or as text.
pub fn read_addresses(text: &str) -> Parsed<Vec<Address>> {
    if crate::json::is_json(text) {
        json::read(text)
    } else {
        text::read(text)
    }
}

/// One address on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the device; 0 where the text has none.
    pub index: u32,
    /// Name of the device.
    pub device: String,
    /// The host's own address.
    pub local: IpAddr,
    /// Length of the prefix it brings along.
    pub prefix_length: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Broadcast address (IPv4).
    pub broadcast: Option<IpAddr>,
    /// `global`, `link`, `host`, `site`, or a number.
    pub scope: String,
    /// Flags as printed: `secondary`, `deprecated`, `tentative`, `dadfailed`, `temporary`, `nodad`, `noprefixroute`, ….
    pub flags: Vec<String>,
    /// Label (IPv4).
    pub label: Option<String>,
}

impl Address {
    /// The family.
    pub fn version(&self) -> IpVersion {
        IpVersion::of(self.local)
    }

    /// The subnet it stands for; of a point-to-point address, the peer's.
    pub fn prefix(&self) -> Prefix {
        Prefix::new(self.peer.unwrap_or(self.local), self.prefix_length)
    }

    /// Whether the flag is set.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Whether the host answers to it: an IPv6 address still under duplicate address detection, or one that failed
    /// it, is not yet the host's own (RFC 4862 section 5.4).
    pub fn is_usable(&self) -> bool {
        !self.has_flag("dadfailed") && (!self.has_flag("tentative") || self.has_flag("optimistic"))
    }
}
