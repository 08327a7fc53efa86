//! Sockets, as `ss` shows them.

mod end;
mod netstat;
mod proc;
mod ss;
mod tcp_info;

use std::net::IpAddr;

pub use ss::timer_text;
use transect_path::named_enum;

use crate::parse::Parsed;
use crate::prefix::IpVersion;

/// Reads a list of sockets: `ss` in its usual flag combinations (one line or two for each socket, with or without header),
/// `netstat -an`, or /proc/net/{tcp,udp,raw}{,6}. Sockets of other families (unix, netlink, vsock) are left out.
pub fn read_sockets(text: &str) -> Parsed<Vec<Socket>> {
    let head = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("");
    if head.contains("local_address") && head.contains("rem_address")
        || head.contains("remote_address")
    {
        proc::read(text, None)
    } else if head.starts_with("Active ") || head.starts_with("Proto ") {
        netstat::read(text)
    } else {
        ss::read(text)
    }
}

/// Reads /proc/net/tcp, udp, udplite, icmp or raw (and the same with 6), which does not name its own protocol.
pub fn read_proc_sockets(text: &str, protocol: SocketProtocol) -> Parsed<Vec<Socket>> {
    proc::read(text, Some(protocol))
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Socket {
    /// Protocol.
    pub protocol: SocketProtocol,
    /// Family; None where the text does not show it (a packet socket, `*` for both).
    pub version: Option<IpVersion>,
    /// State; None where the text leaves it out (`ss state established`).
    pub state: Option<SocketState>,
    /// The local end.
    pub local: SocketAddress,
    /// The other end.
    pub peer: SocketAddress,
    /// The device it is bound to (SO_BINDTODEVICE, `%lo`), or an IPv6 scope.
    pub interface: Option<String>,
    /// Receive queue: bytes not yet read. LISTEN: connections waiting to be accepted.
    pub recv_queue: u64,
    /// Send queue: bytes not yet acknowledged. LISTEN: how many connections may wait (`ss`; netstat and /proc show 0).
    pub send_queue: u64,
    /// The timer that runs.
    pub timer: Option<SocketTimer>,
    /// User id of the owner.
    pub uid: Option<u32>,
    /// Inode; 0 for one not (or no longer) owned by a process.
    pub inode: Option<u64>,
    /// The processes that hold it, as the tool prints them: `users:(("nginx",pid=7,fd=6))` or `7/nginx`.
    pub process: Option<String>,
    /// IPV6_V6ONLY; None where not shown.
    pub v6only: Option<bool>,
    /// Firewall mark of the socket (`fwmark:`).
    pub mark: Option<u32>,
    /// Memory (`ss -m`).
    pub memory: Option<SocketMemory>,
    /// Packets that the socket itself dropped, where known without `memory` (/proc/net/udp's last column).
    pub drops: Option<u64>,
    /// TCP details (`ss -i`).
    pub tcp: Option<Box<TcpInfo>>,
}

impl Socket {
    /// Accepts connections.
    pub fn is_listening(&self) -> bool {
        self.state == Some(SocketState::Listen)
    }

    /// Packets that this socket dropped, from `skmem`'s `d` or /proc/net/udp.
    pub fn dropped(&self) -> Option<u64> {
        self.memory
            .as_ref()
            .map(|memory| memory.drops)
            .or(self.drops)
    }

    /// Whether a packet from `peer` to `local` (address, port) that arrived on `device` could be for this socket, by
    /// addresses, ports and device alone (the test of `__inet_lookup_listener`, `compute_score`). `device` None: not known,
    /// taken as fitting.
    pub fn accepts(&self, local: (IpAddr, u16), peer: (IpAddr, u16), device: Option<&str>) -> bool {
        let family = match self.version {
            None => true,
            Some(version) if version == IpVersion::of(local.0) => true,
            // A dual-stack socket on `::` takes IPv4 as well.
            Some(IpVersion::V6) => self.local.is_wildcard() && self.v6only == Some(false),
            Some(IpVersion::V4) => false,
        };
        family
            && self.local.port == Some(local.1)
            && (self.local.is_wildcard() || self.local.address == Some(local.0))
            && (self.peer.is_wildcard() || self.peer.address == Some(peer.0))
            && self.peer.port.is_none_or(|port| port == peer.1)
            && match (&self.interface, device) {
                (Some(own), Some(device)) => own == device,
                _ => true,
            }
    }
}

/// One end of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SocketAddress {
    /// Address; None: `*`, any of both families. `0.0.0.0` and `::` are kept as such.
    pub address: Option<IpAddr>,
    /// Port (raw sockets: protocol number); None: `*`.
    pub port: Option<u16>,
    /// Name of the port, where the text has a name that is not in the small list of well-known ones.
    pub port_name: Option<String>,
}

impl SocketAddress {
    /// `*`, `0.0.0.0` or `::`.
    pub fn is_wildcard(&self) -> bool {
        self.address.is_none_or(|address| address.is_unspecified())
    }
}

named_enum! {
    /// A socket's protocol, as ss's Netid column names it.
    #[derive(Default)]
    pub enum SocketProtocol {
        /// TCP.
        #[default]
        Tcp => "tcp",
        /// UDP.
        Udp => "udp",
        /// UDP-Lite.
        UdpLite => "udplite",
        /// Raw IP (ss writes `???` for protocols it does not know).
        Raw => "raw",
        /// ICMP datagram ("ping") sockets.
        Icmp => "icmp",
        /// ICMPv6 datagram sockets.
        Icmp6 => "icmp6",
        /// AF_PACKET, raw.
        PacketRaw => "p_raw",
        /// AF_PACKET, datagram.
        PacketDgram => "p_dgr",
        /// Multipath TCP.
        Mptcp => "mptcp",
        /// DCCP.
        Dccp => "dccp",
        /// SCTP.
        Sctp => "sctp",
    }
}

named_enum! {
    /// A socket's state, as ss names it (RFC 9293 section 3.3.2).
    pub enum SocketState {
        /// SYN sent, no answer yet.
        SynSent => "SYN-SENT",
        /// SYN received and answered, the handshake's last ACK missing.
        SynRecv => "SYN-RECV",
        /// Established; UDP: connected.
        Established => "ESTAB",
        /// Own FIN sent, not acknowledged.
        FinWait1 => "FIN-WAIT-1",
        /// Own FIN acknowledged, the other end's missing.
        FinWait2 => "FIN-WAIT-2",
        /// Closed by both, kept for late packets.
        TimeWait => "TIME-WAIT",
        /// The other end has closed, the application has not.
        CloseWait => "CLOSE-WAIT",
        /// Closed by both, last ACK missing.
        LastAck => "LAST-ACK",
        /// Waits for connections.
        Listen => "LISTEN",
        /// Both closed at once.
        Closing => "CLOSING",
        /// Not connected.
        Unconnected => "UNCONN",
    }
}

/// A timer of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketTimer {
    /// What it is for.
    pub kind: TimerKind,
    /// Milliseconds until it fires.
    pub remaining_ms: u64,
    /// Retransmissions (for `persist`: probes) so far.
    pub retransmits: u32,
}

named_enum! {
    /// What a socket's timer is for, as ss names it.
    pub enum TimerKind {
        /// Retransmission, loss probe, reordering.
        On => "on",
        /// Keepalive, or a listener's or FIN_WAIT_2's timer.
        Keepalive => "keepalive",
        /// TIME_WAIT's end.
        TimeWait => "timewait",
        /// Zero-window probe.
        Persist => "persist",
        /// None of these (`unknown`).
        Unknown => "unknown",
    }
}

/// A socket's memory (SK_MEMINFO_*), bytes except `drops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketMemory {
    /// `r`: held by received packets.
    pub rmem: u64,
    /// `rb`: the receive buffer's size.
    pub rcvbuf: u64,
    /// `t`: held by packets on their way out.
    pub wmem: u64,
    /// `tb`: the send buffer's size.
    pub sndbuf: u64,
    /// `f`: reserved, not used.
    pub fwd: u64,
    /// `w`: queued to be sent.
    pub wqueued: u64,
    /// `o`: options and filters.
    pub opt: u64,
    /// `bl`: backlog while the owner held the lock.
    pub backlog: u64,
    /// `d`: packets dropped by the socket.
    pub drops: u64,
}

/// TCP details (`struct tcp_info`), by ss's names. Zero values that ss leaves out are None. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TcpInfo {
    /// Congestion control (`cubic`, `bbr`).
    pub congestion: Option<String>,
    /// Timestamps agreed (`ts`).
    pub timestamps: bool,
    /// SACK agreed (`sack`).
    pub sack: bool,
    /// ECN agreed (`ecn`).
    pub ecn: bool,
    /// Window scales, sending and receiving.
    pub window_scale: Option<(u8, u8)>,
    /// Retransmission time-out.
    pub rto: Option<f64>,
    /// Doublings of the time-out.
    pub backoff: Option<u32>,
    /// Smoothed round-trip time.
    pub rtt: Option<f64>,
    /// Its variation.
    pub rtt_variation: Option<f64>,
    /// Delayed-ACK time-out.
    pub ato: Option<f64>,
    /// Least round-trip time.
    pub minrtt: Option<f64>,
    /// Receiver's round-trip estimate.
    pub rcv_rtt: Option<f64>,
    /// Segment size, sending.
    pub mss: Option<u32>,
    /// Path MTU.
    pub pmtu: Option<u32>,
    /// Segment size guessed of the peer.
    pub rcvmss: Option<u32>,
    /// Segment size announced.
    pub advmss: Option<u32>,
    /// Congestion window, segments.
    pub cwnd: Option<u32>,
    /// Slow start threshold.
    pub ssthresh: Option<u32>,
    /// Payload bytes sent, with retransmissions.
    pub bytes_sent: Option<u64>,
    /// Payload bytes sent again.
    pub bytes_retrans: Option<u64>,
    /// Payload bytes acknowledged (SYN and FIN count).
    pub bytes_acked: Option<u64>,
    /// Payload bytes received in order.
    pub bytes_received: Option<u64>,
    /// Segments sent.
    pub segs_out: Option<u64>,
    /// Segments received.
    pub segs_in: Option<u64>,
    /// Segments with payload sent.
    pub data_segs_out: Option<u64>,
    /// Segments with payload received.
    pub data_segs_in: Option<u64>,
    /// Since payload was last sent.
    pub lastsnd: Option<u64>,
    /// Since payload was last received.
    pub lastrcv: Option<u64>,
    /// Since an ACK was last received.
    pub lastack: Option<u64>,
    /// Segments delivered to the peer.
    pub delivered: Option<u64>,
    /// Segments out and not acknowledged. LISTEN: connections waiting.
    pub unacked: Option<u32>,
    /// Retransmitted segments now out.
    pub retrans_out: Option<u32>,
    /// Retransmissions in all.
    pub retrans_total: Option<u32>,
    /// Segments thought lost.
    pub lost: Option<u32>,
    /// Segments selectively acknowledged.
    pub sacked: Option<u32>,
    /// Duplicate SACKs seen.
    pub dsack_dups: Option<u32>,
    /// Reordering seen.
    pub reordering: Option<u32>,
    /// Time spent with something to send.
    pub busy: Option<u64>,
    /// Of that, limited by the peer's window.
    pub rwnd_limited: Option<u64>,
    /// Of that, limited by the send buffer.
    pub sndbuf_limited: Option<u64>,
    /// Bytes in the send buffer not yet sent.
    pub notsent: Option<u64>,
    /// Receive buffer tuning: space.
    pub rcv_space: Option<u64>,
    /// Receive window limit.
    pub rcv_ssthresh: Option<u64>,
    /// The peer's window.
    pub snd_wnd: Option<u64>,
    /// The own window as announced.
    pub rcv_wnd: Option<u64>,
    /// Segments received out of order.
    pub rcv_ooopack: Option<u64>,
    /// Sending was limited by the application (`app_limited`).
    pub app_limited: bool,
}
