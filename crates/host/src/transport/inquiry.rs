//! What programs ask of sockets other than TCP's (`datagram_poll`, `sk_getsockopt`, MSG_PEEK).

use super::Transport;
use crate::error_queue::QueuedError;
use crate::inquiry::{OptionName, OptionValue, Readiness};
use crate::socket::{Errno, SocketId};
use crate::stack::Stack;

impl Transport {
    /// `datagram_poll`.
    pub(crate) fn readiness(&mut self, id: SocketId) -> Option<Readiness> {
        let socket = self.sockets.get_mut(&id)?;
        // `sock_writeable`: half of the buffer is free.
        let writable = socket.sent < u64::from(socket.send_buffer / 2);
        socket.wants_room |= !writable;
        Some(Readiness {
            readable: !socket.queue.is_empty(),
            writable,
            failed: socket.error.is_some() || !socket.error_queue.is_empty(),
            ..Readiness::default()
        })
    }

    /// The next message of the error queue.
    pub(crate) fn take_queued_error(&mut self, id: SocketId) -> Option<QueuedError> {
        let socket = self.sockets.get_mut(&id)?;
        let mut taken = socket.error_queue.take(&mut socket.error)?;
        taken.destination = taken.destination.map(|to| socket.shown(to));
        taken.offender = taken.offender.map(|from| socket.shown(from));
        Some(taken)
    }

    /// `getsockopt(2)`.
    pub(crate) fn option(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        name: OptionName,
    ) -> Result<OptionValue, Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        Ok(match name {
            OptionName::ReceiveBuffer => socket.receive_buffer.into(),
            OptionName::SendBuffer => socket.send_buffer.into(),
            OptionName::ReuseAddress => socket.reuse.into(),
            OptionName::Mark => socket.mark.into(),
            OptionName::Priority => socket.priority.into(),
            OptionName::Ttl => match socket.ttl {
                Some(ttl) => u32::from(ttl).into(),
                None => u32::from(stack.ip_settings().ttl).into(),
            },
            OptionName::Tos => u32::from(socket.tos).into(),
            OptionName::MinTtl => u32::from(socket.min_ttl).into(),
            OptionName::MtuDiscover => u32::from(socket.discover).into(),
            OptionName::Mtu => {
                let peer = socket.peer.ok_or(Errno::Enotconn)?;
                let route = socket.route_to(stack, peer.address);
                route.map_err(|_| Errno::Enotconn)?.mtu.into()
            }
            OptionName::ReceiveErrors => socket.receive_errors.into(),
            OptionName::V6Only => socket.v6_only.into(),
            OptionName::Broadcast => socket.broadcast.into(),
            OptionName::KeepAlive | OptionName::Listens => false.into(),
            OptionName::Linger => OptionValue::Linger(None),
            _ => return Err(Errno::Enoprotoopt),
        })
    }

    /// MSG_PEEK: the next datagram stays.
    pub(crate) fn peek(&mut self, id: SocketId, buffer: &mut [u8]) -> Result<usize, Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        let datagram = socket.queue.front().ok_or(Errno::Eagain)?;
        let bytes = datagram
            .packet
            .network()
            .get(datagram.start..)
            .unwrap_or_default();
        for (place, byte) in buffer.iter_mut().zip(bytes) {
            *place = *byte;
        }
        Ok(bytes.len().min(buffer.len()))
    }

    /// `connect(2)` with AF_UNSPEC (`__udp_disconnect`).
    pub(crate) fn disconnect(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        socket.peer = None;
        if !socket.bound {
            socket.local = socket.version.unspecified();
        }
        Ok(())
    }
}
