//! Connection tracking entries, as `conntrack -L` and /proc/net/nf_conntrack show them.

use std::net::IpAddr;

use crate::prefix::IpVersion;

/// One tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// Network layer, by the addresses.
    pub version: IpVersion,
    /// IP protocol number.
    pub protocol: u8,
    /// Seconds until it expires; None for one that does not say.
    pub timeout: Option<u64>,
    /// Protocol state: `SYN_SENT`, `ESTABLISHED`, …; None for protocols without.
    pub state: Option<String>,
    /// As the first packet went.
    pub original: ConntrackTuple,
    /// As the answers come; differs from the reversed original where addresses are translated.
    pub reply: Option<ConntrackTuple>,
    /// `UNREPLIED`, `ASSURED`, `OFFLOAD`, ….
    pub flags: Vec<String>,
    /// Connection mark.
    pub mark: Option<u32>,
    /// Zone.
    pub zone: Option<u16>,
    /// References.
    pub uses: Option<u32>,
}

/// One direction of a tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// ICMP echo identifier.
    pub icmp_id: Option<u16>,
    /// Packets seen (with nf_conntrack_acct).
    pub packets: Option<u64>,
    /// Bytes seen.
    pub bytes: Option<u64>,
}

impl ConntrackEntry {
    /// Whether the flag is set (`UNREPLIED`, `ASSURED`).
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// The source is rewritten: answers do not go to the original source.
    pub fn is_source_translated(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| {
            reply.destination != self.original.source
                || reply.destination_port != self.original.source_port
        })
    }

    /// The destination is rewritten: answers do not come from the original destination.
    pub fn is_destination_translated(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| {
            reply.source != self.original.destination
                || reply.source_port != self.original.destination_port
        })
    }
}
