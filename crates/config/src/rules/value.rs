//! The values with which rules compare packets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use transect_path::named_enum;

/// One value of a set, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// Anything (nft's `*`).
    Any,
    /// A number.
    Number(u64),
    /// Numbers, both ends included.
    Numbers(u64, u64),
    /// Addresses, both ends included; a prefix is one of these.
    Addresses(IpAddr, IpAddr),
    /// An interface's name.
    Name(String),
    /// Names that begin so (`eth+` of iptables, `eth*` of nft).
    NamePrefix(String),
    /// A MAC address.
    Mac([u8; 6]),
    /// Something that the reader does not know.
    Unknown(String),
}

/// An element of a set: one value for each part of the key.
pub type Element = Vec<Value>;

impl Value {
    /// One address.
    pub fn address(address: IpAddr) -> Self {
        Value::Addresses(address, address)
    }

    /// The addresses of a prefix; none when `length` is longer than the address. Host bits are ignored.
    pub fn prefix(address: IpAddr, length: u8) -> Option<Self> {
        Some(match address {
            IpAddr::V4(address) => {
                let host = host_bits(32, length)? as u32;
                let bits = u32::from(address);
                Value::Addresses(
                    IpAddr::V4((bits & !host).into()),
                    IpAddr::V4((bits | host).into()),
                )
            }
            IpAddr::V6(address) => {
                let host = host_bits(128, length)?;
                let bits = u128::from(address);
                Value::Addresses(
                    IpAddr::V6((bits & !host).into()),
                    IpAddr::V6((bits | host).into()),
                )
            }
        })
    }
}

/// The bits of an address of `width` bits behind the first `length`.
fn host_bits(width: u8, length: u8) -> Option<u128> {
    let host = width.checked_sub(length)?;
    Some(match host {
        128 => u128::MAX,
        _ => (1u128 << host) - 1,
    })
}

/// A set of connection tracking states, one bit each, as nft numbers them (`NF_CT_STATE_BIT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CtStates(pub u8);

impl CtStates {
    /// No state.
    pub const NONE: CtStates = CtStates(0);
    /// Connection tracking could make no sense of the packet.
    pub const INVALID: CtStates = CtStates(1);
    /// Of a connection that has seen packets both ways.
    pub const ESTABLISHED: CtStates = CtStates(2);
    /// Belongs to another connection: an ICMP error, a helper's expectation.
    pub const RELATED: CtStates = CtStates(4);
    /// Of a connection that has not yet been answered.
    pub const NEW: CtStates = CtStates(8);
    /// Taken out of connection tracking.
    pub const UNTRACKED: CtStates = CtStates(64);
    /// Every state: not known.
    pub const ALL: CtStates = CtStates(1 | 2 | 4 | 8 | 64);

    /// The states of both.
    pub const fn union(self, other: CtStates) -> CtStates {
        CtStates(self.0 | other.0)
    }

    /// The states that both have.
    pub const fn intersection(self, other: CtStates) -> CtStates {
        CtStates(self.0 & other.0)
    }

    /// Whether every state of `other` is in here.
    pub const fn contains(self, other: CtStates) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no state is in here.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The state of this name, in either program's spelling.
    pub fn from_name(name: &str) -> Option<CtStates> {
        Some(match name.to_ascii_lowercase().as_str() {
            "invalid" => CtStates::INVALID,
            "established" => CtStates::ESTABLISHED,
            "related" => CtStates::RELATED,
            "new" => CtStates::NEW,
            "untracked" => CtStates::UNTRACKED,
            _ => return None,
        })
    }
}

/// TCP flags, as in byte 13 of the header (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// SYN.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// RST.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// PSH.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// ACK.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// URG.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECE.
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// CWR.
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// The flag, or group of flags, of this name, in either program's spelling.
    pub fn from_name(name: &str) -> Option<TcpFlags> {
        Some(match name.to_ascii_lowercase().as_str() {
            "fin" => TcpFlags::FIN,
            "syn" => TcpFlags::SYN,
            "rst" => TcpFlags::RST,
            "psh" => TcpFlags::PSH,
            "ack" => TcpFlags::ACK,
            "urg" => TcpFlags::URG,
            "ece" | "ecn" => TcpFlags::ECE,
            "cwr" => TcpFlags::CWR,
            "none" => TcpFlags(0),
            "all" => TcpFlags(0x3f),
            _ => return None,
        })
    }
}

named_enum! {
    /// What kind of address one is on a host (`RTN_*`), as `addrtype` and `fib … type` know it.
    pub enum AddressKind {
        /// Another host's.
        Unicast => "unicast",
        /// One of this host's.
        Local => "local",
        /// A broadcast address.
        Broadcast => "broadcast",
        /// An anycast address of this host.
        Anycast => "anycast",
        /// A multicast group.
        Multicast => "multicast",
        /// A blackhole route matches it.
        Blackhole => "blackhole",
        /// An unreachable route matches it.
        Unreachable => "unreachable",
        /// A prohibit route matches it.
        Prohibit => "prohibit",
    }
}

impl AddressKind {
    /// The kernel's number (`RTN_UNICAST` is 1).
    pub fn number(self) -> u64 {
        match self {
            AddressKind::Unicast => 1,
            AddressKind::Local => 2,
            AddressKind::Broadcast => 3,
            AddressKind::Anycast => 4,
            AddressKind::Multicast => 5,
            AddressKind::Blackhole => 6,
            AddressKind::Unreachable => 7,
            AddressKind::Prohibit => 8,
        }
    }
}

named_enum! {
    /// For whom a frame is (`PACKET_*`).
    pub enum PacketKind {
        /// For this host (nft: `host`).
        Host => "unicast",
        /// For everybody on the link.
        Broadcast => "broadcast",
        /// For a group.
        Multicast => "multicast",
        /// For somebody else.
        Other => "other",
    }
}

impl PacketKind {
    /// The kernel's number.
    pub fn number(self) -> u64 {
        self as u64
    }
}
