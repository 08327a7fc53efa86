//! What a rule looks at in a packet.

use serde::{Deserialize, Serialize};

use super::Element;

/// A test that a packet passes or fails.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Match {
    /// Whether the packets that fail the test are meant.
    pub negated: bool,
    /// The test.
    pub test: Test,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Test {
    /// The packet's values of `key` are one of the elements.
    In {
        /// What is looked at; several parts are a concatenation, and match together.
        key: Vec<Key>,
        /// What it is compared with.
        elements: Elements,
    },
    /// The source port or the destination port is one of the elements (`multiport --ports`).
    EitherPort(Vec<Element>),
    /// The route back to the source exists and leaves by the input interface (`rpfilter`, `fib saddr . iif oif exists`).
    ReversePath {
        /// Any route back is enough.
        loose: bool,
    },
    /// Something that the reader does not know, or that no dump can tell (rate limits, `recent`, `owner`, `statistic`).
    Unknown {
        /// In the program's words.
        text: String,
    },
}

/// A part of a key: a field of the packet, or some bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The field.
    pub field: Field,
    /// The bits to compare; none: the whole field.
    pub mask: Option<u32>,
}

/// What elements a key is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Elements {
    /// They stand in the rule.
    Inline(Vec<Element>),
    /// They stand in the table's set of this name.
    Named(String),
}

/// A field of a packet, or something that the kernel knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// 4 or 6 (`meta nfproto`, as an IP version).
    IpVersion,
    /// The transport protocol's number, behind all extension headers.
    Protocol,
    /// Source port.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// Name of the interface by which it came; the empty name where there is none.
    InInterface,
    /// Name of the interface by which it leaves; the empty name where there is none.
    OutInterface,
    /// The TCP flags, as in byte 13 of the header.
    TcpFlags,
    /// ICMP type.
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// ICMPv6 type.
    Icmp6Type,
    /// ICMPv6 code.
    Icmp6Code,
    /// Connection tracking state, a bit of [`super::CtStates`].
    CtState,
    /// The packet's mark.
    Mark,
    /// The connection's mark.
    ConnectionMark,
    /// What kind of address the source is here ([`super::AddressKind`]).
    SourceKind,
    /// What kind of address the destination is here.
    DestinationKind,
    /// Length from the IP header on, in bytes.
    Length,
    /// TTL or hop limit.
    Ttl,
    /// Fragment offset, in units of 8 bytes; not 0: no transport header in it.
    FragmentOffset,
    /// DSCP.
    Dscp,
    /// Source MAC address.
    SourceMac,
    /// Destination MAC address.
    DestinationMac,
    /// For whom the frame is ([`super::PacketKind`]).
    PacketType,
    /// EtherType.
    EtherType,
    /// Never known: an expression that the reader does not know, inside of a concatenation.
    Unknown,
}

impl Key {
    /// The whole of a field.
    pub const fn whole(field: Field) -> Self {
        Key { field, mask: None }
    }
}

impl Match {
    /// A test that the packet has to pass.
    pub fn new(test: Test) -> Self {
        Match {
            negated: false,
            test,
        }
    }

    /// A comparison of one field with some values; the packet has to equal one, or none when `negated`.
    pub fn field(
        field: Field,
        values: impl IntoIterator<Item = super::Value>,
        negated: bool,
    ) -> Self {
        Match {
            negated,
            test: Test::In {
                key: vec![Key::whole(field)],
                elements: Elements::Inline(values.into_iter().map(|value| vec![value]).collect()),
            },
        }
    }

    /// A test that the reader does not know.
    pub fn unknown(text: impl Into<String>) -> Self {
        Match::new(Test::Unknown { text: text.into() })
    }
}
