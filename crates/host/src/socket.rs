//! Sockets as programs see them: identifiers, options, errors, events.

use std::net::IpAddr;

use transect_path::named_enum;

use crate::settings::FastOpenKey;

/// A socket of one host. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// An address and a port, as `bind` and `connect` take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketAddress {
    /// The address; unspecified (`0.0.0.0`, `::`) for any.
    pub address: IpAddr,
    /// The port; 0 for any.
    pub port: u16,
}

impl SocketAddress {
    /// From its parts.
    pub fn new(address: impl Into<IpAddr>, port: u16) -> Self {
        SocketAddress {
            address: address.into(),
            port,
        }
    }
}

/// What kind of socket to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// `SOCK_STREAM`.
    Tcp,
    /// `SOCK_DGRAM`.
    Udp,
    /// `SOCK_DGRAM`, `IPPROTO_ICMP`: ping.
    Icmp,
    /// `SOCK_RAW` of one protocol; `header_included` is `IPPROTO_RAW` or `IP_HDRINCL`.
    Raw {
        /// The IP protocol.
        protocol: u8,
        /// The program writes the IP header itself.
        header_included: bool,
    },
    /// `AF_PACKET`.
    Packet {
        /// `PACKET_QDISC_BYPASS`.
        bypass: bool,
    },
}

named_enum! {
    /// Errors of system calls, under their names (errno(3)).
    pub enum Errno {
        /// Operation not permitted: a rule refused it.
        Eperm => "EPERM",
        /// Bad file descriptor: no such socket.
        Ebadf => "EBADF",
        /// Nothing there yet, or no room yet.
        Eagain => "EAGAIN",
        /// Permission denied: a prohibit route, or broadcast without SO_BROADCAST.
        Eacces => "EACCES",
        /// Invalid argument, or wrong state.
        Einval => "EINVAL",
        /// Broken pipe.
        Epipe => "EPIPE",
        /// Not a socket of this kind.
        Eopnotsupp => "EOPNOTSUPP",
        /// Not this family.
        Eafnosupport => "EAFNOSUPPORT",
        /// The address is in use.
        Eaddrinuse => "EADDRINUSE",
        /// The address is not this host's, or no port is free.
        Eaddrnotavail => "EADDRNOTAVAIL",
        /// The network is down.
        Enetdown => "ENETDOWN",
        /// Network unreachable.
        Enetunreach => "ENETUNREACH",
        /// Connection aborted.
        Econnaborted => "ECONNABORTED",
        /// Connection reset by the peer.
        Econnreset => "ECONNRESET",
        /// No buffer space.
        Enobufs => "ENOBUFS",
        /// Already connected.
        Eisconn => "EISCONN",
        /// Not connected.
        Enotconn => "ENOTCONN",
        /// Timed out.
        Etimedout => "ETIMEDOUT",
        /// Refused.
        Econnrefused => "ECONNREFUSED",
        /// Host unreachable.
        Ehostunreach => "EHOSTUNREACH",
        /// The host is down, a router says.
        Ehostdown => "EHOSTDOWN",
        /// The host is cut off, a router says.
        Enonet => "ENONET",
        /// A datagram without a destination.
        Edestaddrreq => "EDESTADDRREQ",
        /// No such device.
        Enodev => "ENODEV",
        /// No such device or address.
        Enxio => "ENXIO",
        /// In progress, or not yet.
        Ealready => "EALREADY",
        /// The handshake goes on in the background.
        Einprogress => "EINPROGRESS",
        /// Message too long.
        Emsgsize => "EMSGSIZE",
        /// Protocol error.
        Eproto => "EPROTO",
        /// Protocol not available (an ICMP error says so).
        Enoprotoopt => "ENOPROTOOPT",
    }
}

/// A socket option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_RCVBUF` in bytes, as the program gives it (the kernel doubles it).
    ReceiveBuffer(u32),
    /// `SO_SNDBUF`, likewise.
    SendBuffer(u32),
    /// `SO_REUSEADDR`.
    ReuseAddress(bool),
    /// `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `SO_LINGER`: nothing, or the time.
    Linger(Option<std::time::Duration>),
    /// `SO_BINDTODEVICE`; the empty name takes it back.
    BindToDevice(String),
    /// `SO_MARK`.
    Mark(u32),
    /// `SO_PRIORITY`.
    Priority(u32),
    /// `SO_ATTACH_FILTER` with a program that accepts (true) or drops (false) everything.
    Filter(bool),
    /// `IP_TTL`, `IPV6_UNICAST_HOPS`.
    Ttl(u8),
    /// `IP_TOS`, `IPV6_TCLASS`.
    Tos(u8),
    /// `IP_MINTTL`.
    MinTtl(u8),
    /// `IP_MTU_DISCOVER`: 0 dont, 1 want, 2 do, 3 probe.
    MtuDiscover(u8),
    /// `IP_RECVERR`, `IPV6_RECVERR`: what ICMP tells is an error at once, for unconnected sockets, too.
    ReceiveErrors(bool),
    /// `IP_LOCAL_PORT_RANGE`: ports that are chosen lie between these, as far as they lie in the host's range; 0: no such limit.
    LocalPortRange(u16, u16),
    /// `IP_BIND_ADDRESS_NO_PORT`: bind(2) to port 0 leaves the port to connect(2).
    BindAddressNoPort(bool),
    /// `SO_TIMESTAMPING`: `SOF_TIMESTAMPING_*`, of those that ask for times of transmissions by TCP.
    Timestamping(u32),
    /// `SO_RCVLOWAT` in bytes: how much must be there for the socket to be readable.
    ReceiveLowWatermark(u32),
    /// `SO_OOBINLINE`: urgent data stays in the stream.
    UrgentInline(bool),
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `TCP_CORK`.
    Cork(bool),
    /// `TCP_MAXSEG`.
    MaxSegment(u16),
    /// `TCP_KEEPIDLE`, seconds.
    KeepIdle(u32),
    /// `TCP_KEEPINTVL`, seconds.
    KeepInterval(u32),
    /// `TCP_KEEPCNT`.
    KeepCount(u32),
    /// `TCP_SYNCNT`.
    SynCount(u32),
    /// `TCP_LINGER2`, seconds; negative: no FIN_WAIT_2 at all.
    Linger2(i32),
    /// `TCP_DEFER_ACCEPT`, seconds.
    DeferAccept(u32),
    /// `TCP_WINDOW_CLAMP`.
    WindowClamp(u32),
    /// `TCP_QUICKACK`.
    QuickAck(bool),
    /// `TCP_CONGESTION`.
    Congestion(String),
    /// `TCP_USER_TIMEOUT`, milliseconds.
    UserTimeout(u32),
    /// `TCP_NOTSENT_LOWAT`.
    NotSentLowWatermark(u32),
    /// `TCP_FASTOPEN`: how many connections a listener makes by SYNs alone.
    FastOpen(u32),
    /// `TCP_FASTOPEN_CONNECT`: connect(2) waits for data to go with the SYN, where a cookie is known.
    FastOpenConnect(bool),
    /// `TCP_FASTOPEN_NO_COOKIE`: no cookies, on either side.
    FastOpenNoCookie(bool),
    /// `TCP_FASTOPEN_KEY`: a listener's own keys, the one for new cookies first.
    FastOpenKeys(Vec<FastOpenKey>),
    /// `IPV6_V6ONLY`.
    V6Only(bool),
    /// `SO_BROADCAST`.
    Broadcast(bool),
}

/// What `shutdown` closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// Something that a program waiting in `poll(2)` would be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There is something to read, or the end, or an error.
    Readable(SocketId),
    /// There is room to write, or the connection is up.
    Writable(SocketId),
    /// A connection can be accepted.
    Acceptable(SocketId),
    /// An error stands in `SO_ERROR`, or the connection is gone.
    Failed(SocketId),
}
