//! Steps in time, and what can be done in one.

use serde::{Deserialize, Serialize};

use super::{Span, When};

/// One step. Steps run in the order of the file, each when the one before it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The host in whose namespace it is done; may be left out where the action needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A pause before it that is part of the scenario (never a wait for something to become ready).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Whether the next step starts at once; the steps' end waits for it.
    #[serde(default)]
    pub background: bool,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Action,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run a command to its end.
    Run(Run),
    /// Listen for TCP connections until the experiment ends.
    TcpListen(TcpListen),
    /// Listen for datagrams until the experiment ends.
    UdpListen(UdpListen),
    /// Open a TCP connection and keep it under a name.
    Connect(Connect),
    /// Send on an open connection.
    Send(SendData),
    /// Receive from an open connection.
    Receive(Receive),
    /// Close an open connection.
    Close(Close),
    /// TCP connections one after another: connect, send, receive as much back, close.
    Exchange(Exchange),
    /// Send datagrams through a UDP socket.
    Datagrams(Datagrams),
    /// Send packets that this program builds itself, past the sockets.
    Inject(Inject),
    /// Wait for something to happen.
    Wait(Wait),
    /// End a program or a listener.
    Stop(Stop),
}

/// Run a command to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command: words as a shell splits them, but without a shell.
    pub command: String,
    /// How it must end.
    #[serde(default)]
    pub status: Status,
    /// When it is ended by force, and the experiment fails; default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// How a command must end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// With 0.
    #[default]
    Success,
    /// With anything but 0.
    Failure,
    /// In any way.
    Any,
}

/// Listen for TCP connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpListen {
    /// The name by which `stop` knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port.
    pub port: u16,
    /// The address; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The length of the accept queue, as `listen()` takes it; default 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u16>,
    /// What becomes of connections.
    #[serde(default)]
    pub service: TcpService,
    /// `SO_RCVBUF` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<u32>,
    /// A filter on the socket (`SO_ATTACH_FILTER`); default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<SocketFilter>,
}

/// A filter on a listener's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFilter {
    /// Throws everything away.
    DropAll,
}

/// What a TCP listener does with connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpService {
    /// Send back what comes, close when the peer does.
    #[default]
    Echo,
    /// Read the first bytes that come, answer with a line, close.
    AnswerAndClose,
    /// Read everything, never answer.
    ReadOnly,
    /// Accept, and read nothing.
    Unread,
    /// Leave connections in the accept queue.
    NeverAccept,
}

/// Listen for datagrams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpListen {
    /// The name by which `stop` knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port.
    pub port: u16,
    /// What becomes of datagrams.
    #[serde(default)]
    pub service: UdpService,
    /// `SO_RCVBUF` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<u32>,
    /// A filter on the socket (`SO_ATTACH_FILTER`); default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<SocketFilter>,
}

/// What a UDP listener does with datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UdpService {
    /// Send each back.
    #[default]
    Echo,
    /// Read them, never answer.
    ReadOnly,
    /// Read nothing.
    Unread,
}

/// Open a TCP connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// The name by which later steps know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `address:port`, IPv6 in brackets.
    pub to: String,
    /// How many connections to open, one after another; default 1. Further ones are kept open without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How long to try; default 4s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How it must end.
    #[serde(default)]
    pub end: ConnectEnd,
}

/// How a connection attempt must end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectEnd {
    /// Connected.
    #[default]
    Connected,
    /// Nothing within the time.
    Timeout,
    /// ECONNREFUSED.
    Refused,
    /// ENETUNREACH or EHOSTUNREACH.
    Unreachable,
    /// EPERM or EACCES.
    Forbidden,
    /// In any way.
    Any,
}

/// Send on an open connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendData {
    /// The connection.
    pub name: String,
    /// The text to send; `\r\n` as TOML writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Or so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long to try; default 4s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How it must end.
    #[serde(default)]
    pub end: SendEnd,
}

impl SendData {
    /// How many bytes are sent, and the bytes that are sent again and again until so many are; None for a plan that names no
    /// data, or two kinds of it.
    pub(crate) fn payload(&self) -> Option<(u64, Vec<u8>)> {
        match (&self.text, self.bytes) {
            (Some(text), None) => Some((text.len() as u64, text.clone().into_bytes())),
            (None, Some(bytes)) => Some((bytes, vec![b'x'; 16 * 1024])),
            _ => None,
        }
    }
}

/// How sending must end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendEnd {
    /// The kernel took all of it.
    #[default]
    Taken,
    /// The kernel did not take all of it within the time.
    Blocked,
    /// In any way.
    Any,
}

/// Receive from an open connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receive {
    /// The connection.
    pub name: String,
    /// Wait for so many bytes; left out: until the peer closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long to wait; default 4s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How it must end.
    #[serde(default)]
    pub end: ReceiveEnd,
}

/// How receiving must end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiveEnd {
    /// All the bytes came, or the peer closed where no number was given.
    #[default]
    Complete,
    /// Not within the time.
    Timeout,
    /// ECONNRESET.
    Reset,
    /// In any way.
    Any,
}

/// Close an open connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// The connection.
    pub name: String,
}

/// TCP connections one after another to an echo service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `address:port`, IPv6 in brackets.
    pub to: String,
    /// How many connections; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Bytes to send and to receive on each; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// A pause between two; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How long each connection may take; default 20s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// Send datagrams through a UDP socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Datagrams {
    /// `address:port`, IPv6 in brackets.
    pub to: String,
    /// How many; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Payload of each in bytes; default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// A pause between two; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How many answers must come; left out: they are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<u32>,
    /// How long to wait for the answers; default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many `sendto` must be refused with EPERM; left out: none may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u32>,
}

/// Send packets that this program builds itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// Through which socket.
    #[serde(default)]
    pub via: Via,
    /// What is inside of the IP packet.
    pub segment: Segment,
    /// `address:port`, IPv6 in brackets.
    pub to: String,
    /// The source address; default the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first source port; default 40000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Whether each packet has a source port of its own, counting up.
    #[serde(default)]
    pub distinct_ports: bool,
    /// How many; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Payload of a datagram in bytes; default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u16>,
    /// A pause between two; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Whether the transport checksum is wrong.
    #[serde(default)]
    pub bad_checksum: bool,
    /// For `packet`: the interface through which to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// For `packet`: the MAC address to which to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_mac: Option<String>,
    /// How many the socket must refuse with EPERM; left out: none may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u32>,
}

/// Through which socket an injected packet is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A raw IP socket (`IPPROTO_RAW`): joins the path at `route_output`.
    #[default]
    Raw,
    /// An `AF_PACKET` socket, as libpcap injects: joins at `tc_egress`.
    Packet,
    /// An `AF_PACKET` socket with `PACKET_QDISC_BYPASS`: from `tc_egress` past the qdisc and the tap.
    PacketBypass,
}

/// What is inside of an injected IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    /// A TCP SYN.
    Syn,
    /// A UDP datagram.
    Datagram,
}

/// Wait until something has happened; when it does not within the time, the experiment fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// For what.
    #[serde(rename = "for")]
    pub what: WaitFor,
    /// How long at most; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// For what a step can wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WaitFor {
    /// A program's log contains a text.
    Log {
        /// The program.
        program: String,
        /// The file in its folder.
        file: String,
        /// The text.
        contains: String,
    },
    /// A TCP socket with this port, local or remote, is in a state on the step's host.
    Socket(SocketState),
    /// No TCP socket with this port is left on the step's host, listening ones aside.
    NoSocket {
        /// The port.
        port: u16,
    },
    /// A counter of the step's host (`TcpExtTCPAbortOnTimeout`) has reached a value; namespaces start at 0.
    Counter(Counter),
}

/// A TCP socket's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketState {
    /// The local or remote port.
    pub port: u16,
    /// The state as `ss` names it (`syn-recv`, `fin-wait-1`).
    pub state: String,
    /// How many such sockets; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// A counter's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Its name, as `nstat` prints it.
    pub name: String,
    /// The value that it must reach.
    pub at_least: u64,
}

/// End a program or a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Its name.
    pub name: String,
}
