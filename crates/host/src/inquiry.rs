//! What programs ask of a socket beside reading and writing: poll(2), getsockopt(2), ioctl(2), a look ahead, and flags of send(2).

use std::time::Duration;

use transect_path::Timestamp;

use crate::host::Host;
use crate::settings::FastOpenKey;
use crate::socket::{Errno, SocketId};

/// What poll(2) says of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of poll(2)")]
pub struct Readiness {
    /// POLLIN and POLLRDNORM.
    pub readable: bool,
    /// POLLPRI: an urgent byte can be read.
    pub urgent: bool,
    /// POLLOUT and POLLWRNORM.
    pub writable: bool,
    /// POLLRDHUP: the peer, or shutdown(2), has ended what can be read.
    pub read_ended: bool,
    /// POLLHUP: both directions have ended.
    pub hung_up: bool,
    /// POLLERR: an error waits.
    pub failed: bool,
}

/// Bytes that wait in a TCP socket, as ioctl(2) tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueuedBytes {
    /// SIOCINQ: received and not read.
    pub unread: u32,
    /// TCP_CM_INQ: the same, whatever is urgent, and one more behind the peer's FIN (`tcp_inq_hint`).
    pub hint: u32,
    /// SIOCOUTQ: written and not acknowledged.
    pub unacknowledged: u32,
    /// SIOCOUTQNSD: written and not sent.
    pub unsent: u32,
    /// SIOCATMARK: what is read next stands behind the urgent mark.
    pub at_mark: bool,
}

/// An option that getsockopt(2) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of SocketOption")]
pub enum OptionName {
    ReceiveBuffer,
    SendBuffer,
    ReuseAddress,
    KeepAlive,
    Linger,
    Mark,
    Priority,
    Ttl,
    Tos,
    MinTtl,
    MtuDiscover,
    /// `IP_MTU`, `IPV6_MTU`: what the route to the peer takes.
    Mtu,
    ReceiveErrors,
    Timestamping,
    LocalPortRange,
    BindAddressNoPort,
    ReceiveLowWatermark,
    UrgentInline,
    NoDelay,
    Cork,
    MaxSegment,
    KeepIdle,
    KeepInterval,
    KeepCount,
    SynCount,
    Linger2,
    DeferAccept,
    WindowClamp,
    QuickAck,
    Congestion,
    UserTimeout,
    NotSentLowWatermark,
    FastOpen,
    FastOpenConnect,
    FastOpenNoCookie,
    FastOpenKeys,
    V6Only,
    Broadcast,
    /// `SO_ACCEPTCONN`: whether it listens.
    Listens,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// A number, or 0 and 1.
    Number(i64),
    /// Of `SO_LINGER`.
    Linger(Option<Duration>),
    /// Of `TCP_CONGESTION`.
    Text(String),
    /// Of `TCP_FASTOPEN_KEY`.
    Keys(Vec<FastOpenKey>),
}

impl From<bool> for OptionValue {
    fn from(on: bool) -> Self {
        OptionValue::Number(on.into())
    }
}

impl From<u32> for OptionValue {
    fn from(number: u32) -> Self {
        OptionValue::Number(number.into())
    }
}

/// Flags of send(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendFlags {
    /// `MSG_MORE`: as with TCP_CORK, for this call.
    pub more: bool,
    /// The caller sleeps until there is room, or a connection.
    pub waits: bool,
    /// `MSG_EOR`: what is written later does not share a segment with this.
    pub end_of_record: bool,
    /// `MSG_OOB`: the last byte is urgent.
    pub urgent: bool,
}

impl Host {
    /// What poll(2) says now; nothing where there is no such socket. Who is told that there is no room hears of it later.
    pub fn readiness(&mut self, socket: SocketId) -> Option<Readiness> {
        if self.tcp.owns(socket) {
            self.tcp.readiness(&self.stack, socket)
        } else {
            self.transport.readiness(socket)
        }
    }

    /// What waits in a TCP socket.
    ///
    /// # Errors
    /// EINVAL for a listener, ENOTCONN and EBADF for what is no TCP connection.
    pub fn queued(&self, socket: SocketId) -> Result<QueuedBytes, Errno> {
        self.tcp.queued(socket)
    }

    /// `getsockopt(2)`.
    ///
    /// # Errors
    /// EBADF, ENOPROTOOPT for an option that this kind does not have, ENOTCONN for the MTU of a socket without a route.
    pub fn option(&mut self, socket: SocketId, name: OptionName) -> Result<OptionValue, Errno> {
        if self.tcp.owns(socket) {
            self.tcp.option(&mut self.stack, socket, name)
        } else {
            self.transport.option(&mut self.stack, socket, name)
        }
    }

    /// `recv(2)` with MSG_PEEK: what could be read stays.
    ///
    /// # Errors
    /// Those of [`Host::read`].
    pub fn peek(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        self.begin(now);
        if self.tcp.owns(socket) {
            self.tcp.peek(socket, buffer)
        } else {
            self.transport.peek(socket, buffer)
        }
    }

    /// `send(2)` on a TCP socket with flags.
    ///
    /// # Errors
    /// Those of [`Host::write`].
    pub fn send(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        self.begin(now);
        let result = self.tcp.send(&mut self.stack, socket, bytes, flags);
        self.run();
        result
    }

    /// `connect(2)` with AF_UNSPEC: the socket is as new, but for its options.
    ///
    /// # Errors
    /// EBADF.
    pub fn disconnect(&mut self, now: Timestamp, socket: SocketId) -> Result<(), Errno> {
        self.begin(now);
        let result = if self.tcp.owns(socket) {
            self.tcp.disconnect(&mut self.stack, socket)
        } else {
            self.transport.disconnect(socket)
        };
        self.run();
        result
    }

    /// Whether a TCP socket's handshake goes on, or has ended and connect(2) has not been told.
    pub fn is_connecting(&self, socket: SocketId) -> bool {
        self.tcp.is_connecting(socket)
    }

    /// Whether a TCP socket's SYN waits for the first write (TCP_FASTOPEN_CONNECT).
    pub fn is_deferred(&self, socket: SocketId) -> bool {
        self.tcp.is_deferred(socket)
    }

    /// Whether a TCP socket is in SYN-SENT or SYN-RECV.
    pub fn is_opening(&self, socket: SocketId) -> bool {
        self.tcp.is_opening(socket)
    }

    /// Whether a TCP socket that was closed with SO_LINGER still has to wait (`sk_stream_closing`).
    pub fn is_closing(&self, socket: SocketId) -> bool {
        self.tcp.is_closing(socket)
    }
}
