//! TCP as Linux does it (RFC 9293 and its companions), IPv4 and IPv6.

mod ack;
mod clock;
mod congestion;
mod cubic;
mod icmp;
mod loss_probe;
mod new_reno;
mod options;
mod rack;
mod rate;
mod receive_buffer;
mod recovery;
mod retransmit;
mod rtt;
mod sack;
mod scoreboard;
mod segment;
mod send_buffer;
mod sender;
#[cfg(test)]
mod testing;
mod undo;

pub(crate) use icmp::IcmpError;

use transect_config::IpVersion;

use crate::ip::Received;
use crate::packet::Packet;
use crate::socket::{Errno, Shutdown, SocketAddress, SocketId, SocketOption};
use crate::stack::Stack;

/// Every TCP socket of a host: connections, listeners with their queues, what remains in TIME_WAIT.
#[derive(Debug, Default)]
pub(crate) struct Tcp {}

/// What comes from below.
impl Tcp {
    /// Receiving 13 to 16: a segment for this host, behind LOCAL_IN and the raw sockets (`tcp_v4_rcv`, `tcp_v6_rcv`). The
    /// network header stands in the packet as it came; IP checked its length.
    pub(crate) fn input(&mut self, _stack: &mut Stack, _received: &Received, _packet: Packet) {}

    /// An ICMP error about a segment that this host sent (`tcp_v4_err`, `tcp_v6_err`).
    pub(crate) fn handle_icmp(&mut self, _stack: &mut Stack, _error: &IcmpError<'_>) {}

    /// A deadline of a connection, or of a listener's handshakes.
    pub(crate) fn handle_timer(&mut self, _stack: &mut Stack, _socket: SocketId) {}

    /// The end of a TIME_WAIT.
    pub(crate) fn handle_time_wait_timer(&mut self, _stack: &mut Stack, _number: u64) {}

    /// Packets of a socket left the host or died: its send buffer has room again. False: no TCP socket.
    pub(crate) fn handle_freed(
        &mut self,
        _stack: &mut Stack,
        _socket: SocketId,
        _bytes: usize,
    ) -> bool {
        false
    }
}

/// The system calls. An unknown socket is EBADF.
impl Tcp {
    /// `socket(2)`; `id` is [`Stack::new_socket`]'s.
    pub(crate) fn open(&mut self, _stack: &mut Stack, _id: SocketId, _version: IpVersion) {}

    /// Whether a socket is one of these.
    pub(crate) fn owns(&self, _id: SocketId) -> bool {
        false
    }

    /// `bind(2)`.
    pub(crate) fn bind(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _address: SocketAddress,
    ) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `listen(2)`.
    pub(crate) fn listen(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _backlog: u32,
    ) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `connect(2)`, non-blocking: EINPROGRESS where the SYN is on its way; then `Writable` or `Failed` tells.
    pub(crate) fn connect(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _peer: SocketAddress,
    ) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `accept(2)`.
    pub(crate) fn accept(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
    ) -> Result<(SocketId, SocketAddress), Errno> {
        Err(Errno::Ebadf)
    }

    /// `read(2)`: how many bytes were copied; 0 at the end. EAGAIN where there is nothing yet.
    pub(crate) fn read(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        Err(Errno::Ebadf)
    }

    /// `write(2)`: how many bytes found room. EAGAIN where none did.
    pub(crate) fn write(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _bytes: &[u8],
    ) -> Result<usize, Errno> {
        Err(Errno::Ebadf)
    }

    /// `shutdown(2)`.
    pub(crate) fn shutdown(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _how: Shutdown,
    ) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `close(2)`: the socket is gone for the program; the connection closes by itself.
    pub(crate) fn close(&mut self, _stack: &mut Stack, _id: SocketId) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `setsockopt(2)`.
    pub(crate) fn set_option(
        &mut self,
        _stack: &mut Stack,
        _id: SocketId,
        _option: &SocketOption,
    ) -> Result<(), Errno> {
        Err(Errno::Ebadf)
    }

    /// `SO_ERROR`, taken.
    pub(crate) fn take_error(&mut self, _id: SocketId) -> Result<Option<Errno>, Errno> {
        Err(Errno::Ebadf)
    }

    /// `getsockname(2)`.
    pub(crate) fn local_address(&self, _id: SocketId) -> Result<SocketAddress, Errno> {
        Err(Errno::Ebadf)
    }

    /// `getpeername(2)`.
    pub(crate) fn peer_address(&self, _id: SocketId) -> Result<SocketAddress, Errno> {
        Err(Errno::Ebadf)
    }

    /// One line for each socket, as `ss -H -O -n -e -m -i -o -t -a` prints them.
    pub(crate) fn render(&self, _stack: &Stack) -> Vec<String> {
        Vec::new()
    }
}
