//! TCP as Linux does it (RFC 9293 and its companions), IPv4 and IPv6.

use crate::socket::SocketId;
use crate::stack::Stack;

/// Every TCP socket of a host: connections, listeners with their queues, what remains in TIME_WAIT.
#[derive(Debug, Default)]
pub(crate) struct Tcp {}

impl Tcp {
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
