//! Everything above IP that is not TCP: UDP, ICMP, raw and packet sockets.

use crate::socket::SocketId;
use crate::stack::Stack;

/// Sockets other than TCP's.
#[derive(Debug, Default)]
pub(crate) struct Transport {}

impl Transport {
    /// Packets of a socket left the host or died: its send buffer has room again.
    pub(crate) fn handle_freed(&mut self, _stack: &mut Stack, _socket: SocketId, _bytes: usize) {}
}
