//! Packets as scripts write them: in the script's own sequence space.

/// Who sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `<`: the remote side; the packet is injected.
    In,
    /// `>`: the host under test; the packet is expected.
    Out,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub direction: Direction,
    /// What is said of its IP header.
    pub ip: IpInfo,
    /// `1111 > 80`: the ports, where they are said.
    pub ports: Option<Ports>,
    /// What is in it.
    pub body: Body,
}

/// Source and destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// What is said of an IP header; nothing of it is looked at where it is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IpInfo {
    /// ECN, or the whole byte.
    pub tos: Option<TypeOfService>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// IPv6's flow label, 20 bits.
    pub flow_label: Option<u32>,
}

impl IpInfo {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == IpInfo::default()
    }
}

/// The type-of-service byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeOfService {
    /// Its lowest two bits alone.
    Ecn(Ecn),
    /// `tos 0x10`: all of it.
    Byte(u8),
}

/// What may be said of the ECN bits (RFC 3168, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// `noecn`
    None,
    /// `ect0`
    Ect0,
    /// `ect1`
    Ect1,
    /// `ect01`: either of both.
    Ect01,
    /// `ce`
    Ce,
}

/// What is in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Segment),
    /// `udp (1000)`: a datagram with so many bytes.
    Udp(u16),
    /// An ICMP or ICMPv6 message.
    Icmp(Icmp),
}

/// TCP's flags (RFC 9293 section 3.1, RFC 9768 section 3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// `F`
    pub const FIN: Flags = Flags(0x001);
    /// `S`
    pub const SYN: Flags = Flags(0x002);
    /// `R`
    pub const RST: Flags = Flags(0x004);
    /// `P`
    pub const PSH: Flags = Flags(0x008);
    /// `.`
    pub const ACK: Flags = Flags(0x010);
    /// `U`
    pub const URG: Flags = Flags(0x020);
    /// `E`
    pub const ECE: Flags = Flags(0x040);
    /// `W`
    pub const CWR: Flags = Flags(0x080);
    /// `A`
    pub const AE: Flags = Flags(0x100);

    /// In the order in which scripts write them.
    pub(crate) const LETTERS: [(char, Flags); 9] = [
        ('F', Flags::FIN),
        ('S', Flags::SYN),
        ('R', Flags::RST),
        ('E', Flags::ECE),
        ('W', Flags::CWR),
        ('A', Flags::AE),
        ('P', Flags::PSH),
        ('U', Flags::URG),
        ('.', Flags::ACK),
    ];

    /// Whether all of these are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These but those.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its flags.
    pub flags: Flags,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Bytes of payload.
    pub length: u16,
    /// `ack N`.
    pub ack: Option<u32>,
    /// `win N`, as it stands in the header.
    pub window: Option<u16>,
    /// `urg N`.
    pub urgent: Option<u16>,
    /// Its options.
    pub options: OptionList,
}

impl Segment {
    /// The sequence number behind the payload.
    pub fn end(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.length))
    }
}

/// The options of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionList {
    /// `<...>`: whatever they are.
    Any,
    /// Exactly these, in this order.
    These(Vec<TcpOption>),
}

/// One TCP option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpOption {
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `mss N`
    Mss(u16),
    /// `wscale N`
    WindowScale(u8),
    /// `sackOK`
    SackPermitted,
    /// `sack a:b c:d`
    Sack(Vec<SackBlock>),
    /// `TS val N ecr N`
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The other's clock, sent back.
        echo: u32,
    },
    /// `FO cookie` (RFC 7413), the cookie in hexadecimal; empty to ask for one.
    FastOpen(Vec<u8>),
    /// `FOEXP cookie`: the same under the experimental kind 254 with the magic number 0xF989.
    FastOpenExperimental(Vec<u8>),
    /// `md5 digest` (RFC 2385), in hexadecimal; `md5` alone stands for any digest, and is sent as zeros.
    Md5(Option<[u8; 16]>),
    /// `ECN e0b N ceb N e1b N` (RFC 9768 section 3.2.3): the counters in the order in which they are written.
    AccEcn(Vec<(AccEcn, u32)>),
    /// `opt KIND hex`: any other kind, with its data. (Not in the language of others: packets that have such an option are
    /// shown so.)
    Other(u8, Vec<u8>),
}

/// A counter of the AccECN option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccEcn {
    /// `e0b`: bytes that came with ECT(0).
    Ect0,
    /// `ceb`: with CE.
    Ce,
    /// `e1b`: with ECT(1).
    Ect1,
}

/// A block of a SACK option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SackBlock {
    /// Its first byte.
    pub left: u32,
    /// The byte behind it.
    pub right: u32,
}

/// An ICMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp {
    /// The type's name, or its number.
    pub kind: String,
    /// The code's name, or its number.
    pub code: Option<String>,
    /// `mtu N`.
    pub mtu: Option<u32>,
    /// `id N`, of an echo message.
    pub id: Option<u16>,
    /// What the message quotes.
    pub echoed: Option<Echoed>,
}

/// What an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echoed {
    /// `[1:1461(1460)]`
    Tcp {
        /// Its first byte.
        sequence: u32,
        /// Bytes of payload.
        length: u16,
    },
    /// `[udp (1000)]`
    Udp(u16),
}
