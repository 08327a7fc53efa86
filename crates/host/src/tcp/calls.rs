//! System calls on TCP sockets (net/ipv4/af_inet.c, net/ipv4/tcp.c): what a program may ask, and what it is told. Opening a
//! connection, closing a socket and its options stand in files of their own.

mod close;
mod connect;
mod options;

use std::net::IpAddr;

use transect_config::{IpVersion, SocketState};

use super::clock::Context;
use super::connection::Connection;
use super::fast_open::{EVERY_LISTENER, Queue, SERVER};
use super::socket_options::{SharedOptions, SocketOptions};
use super::table::{Entry, Holder, unmapped, unspecified};
use super::{Idle, Listener, Socket, Tcp};
use crate::host::Host;
use crate::inquiry::SendFlags;
use crate::socket::{Errno, Shutdown, SocketAddress, SocketId};
use crate::stack::Stack;
use crate::timer::TimerQueue;
use transect_path::Timestamp;

impl Tcp {
    /// `socket(2)`; `id` is [`Stack::new_socket`]'s.
    pub(crate) fn open(&mut self, stack: &mut Stack, id: SocketId, version: IpVersion) {
        let options = SharedOptions::new(stack.settings.number("net.ipv6.bindv6only") != 0);
        let idle = Idle {
            version,
            options,
            local: SocketAddress::new(unspecified(version), 0),
        };
        self.sockets.insert(id, Socket::Idle(Box::new(idle)));
    }

    /// Whether a socket is one of these.
    pub(crate) fn owns(&self, id: SocketId) -> bool {
        self.sockets.contains_key(&id)
    }

    /// `bind(2)` (`inet_bind`, `inet_csk_get_port`).
    pub(crate) fn bind(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        address: SocketAddress,
    ) -> Result<(), Errno> {
        let idle = match self.sockets.get_mut(&id) {
            Some(Socket::Idle(idle)) if idle.local.port == 0 => idle,
            Some(_) => return Err(Errno::Einval),
            None => return Err(Errno::Ebadf),
        };
        let host = bound_address(idle.version, address.address)?;
        let nonlocal = stack.settings.number("net.ipv4.ip_nonlocal_bind") != 0;
        if !host.is_unspecified() && !nonlocal && !stack.is_local(host) {
            return Err(Errno::Eaddrnotavail);
        }
        if address.port == 0 && idle.options.bind_address_no_port {
            idle.local = SocketAddress::new(host, 0);
            return Ok(());
        }
        self.take_port(stack, id, SocketAddress::new(host, address.port))
    }

    /// The port of a socket that has none, chosen where it is 0 (`inet_csk_get_port`).
    fn take_port(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        address: SocketAddress,
    ) -> Result<(), Errno> {
        let Tcp { sockets, table, .. } = self;
        let Some(Socket::Idle(idle)) = sockets.get_mut(&id) else {
            return Err(Errno::Einval);
        };
        let host = address.address;
        let wanted = holder(id, host, &idle.options);
        let port = if address.port == 0 {
            let range = idle.options.port_range;
            table.open_port(&stack.settings, &mut stack.random, range, &wanted)?
        } else if table.is_free(address.port, &wanted) {
            address.port
        } else {
            return Err(Errno::Eaddrinuse);
        };
        table.hold(port, wanted);
        idle.local = SocketAddress::new(host, port);
        if idle.options.port_locked != (address.port != 0) {
            idle.options.port_locked = address.port != 0;
        }
        Ok(())
    }

    /// `listen(2)` (`inet_csk_listen_start`).
    pub(crate) fn listen(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        backlog: u32,
    ) -> Result<(), Errno> {
        let most = stack.settings.tcp.somaxconn;
        let backlog = backlog.min(most);
        match self.sockets.get_mut(&id) {
            Some(Socket::Listener(listener)) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Some(Socket::Idle(idle)) if idle.local.port == 0 => {
                // Whatever IP_BIND_ADDRESS_NO_PORT says.
                let any = SocketAddress::new(idle.local.address, 0);
                self.take_port(stack, id, any)?;
            }
            Some(Socket::Idle(_)) => {}
            Some(Socket::Connection(_)) => return Err(Errno::Einval),
            None => return Err(Errno::Ebadf),
        }
        let Some(Socket::Idle(idle)) = self.sockets.get_mut(&id) else {
            return Err(Errno::Einval);
        };
        let every = EVERY_LISTENER | SERVER;
        if stack.settings.tcp.fastopen & every == every && idle.options.fast_open_queue() == 0 {
            idle.options.fast_open_mut().queue = backlog;
            stack.need_fast_open_key();
        }
        let mut wanted = holder(id, idle.local.address, &idle.options);
        wanted.listens = true;
        if !self.table.is_free(idle.local.port, &wanted) {
            return Err(Errno::Eaddrinuse);
        }
        let listener = Listener {
            id,
            version: idle.version,
            options: idle.options.clone(),
            inherited: None,
            local: idle.local,
            backlog,
            accept: std::collections::VecDeque::new(),
            requests: std::collections::BTreeMap::new(),
            timers: TimerQueue::default(),
            young: 0,
            drops: 0,
            overflowed: None,
            error: None,
            fast_open: Queue::default(),
        };
        self.table.listen(
            id,
            listener.local,
            listener.options.v6_only,
            listener.options.device,
        );
        self.sockets
            .insert(id, Socket::Listener(Box::new(listener)));
        Ok(())
    }

    /// `accept(2)`.
    pub(crate) fn accept(
        &mut self,
        _stack: &mut Stack,
        id: SocketId,
    ) -> Result<(SocketId, SocketAddress), Errno> {
        let listener = match self.sockets.get_mut(&id) {
            Some(Socket::Listener(listener)) => listener,
            Some(_) => return Err(Errno::Einval),
            None => return Err(Errno::Ebadf),
        };
        let child = listener.accept.pop_front().ok_or(Errno::Eagain)?;
        let connection = self.connection_mut(child)?;
        connection.parent = None;
        connection.accepted = true;
        connection.receive.owned = true;
        Ok((child, connection.peer))
    }

    /// `read(2)`: how many bytes were copied; 0 at the end. EAGAIN where there is nothing yet.
    pub(crate) fn read(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let connection = self.connection_mut(id)?;
        if connection.steps_over_mark() && connection.receive.readable() > 0 {
            connection.skip_urgent(stack);
        }
        let room = buffer
            .len()
            .min(connection.before_mark().unwrap_or(usize::MAX));
        let room = buffer.get_mut(..room).unwrap_or_default();
        let copied = connection.receive.read(&mut Context::of(stack), room);
        connection.pass_mark();
        if copied > 0 {
            connection.clean_up_receive(stack, copied);
            self.settle(stack, id);
            return Ok(copied);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let nothing = connection.nothing_to_read();
        if nothing == Err(Errno::Eagain) {
            connection.clean_up_receive(stack, 0);
            self.settle(stack, id);
        }
        nothing
    }

    /// `splice(2)` from a socket (`tcp_splice_read`): stops at urgent data, and then finds nothing.
    pub(crate) fn splice(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        buffer: &mut [u8],
        waits: bool,
    ) -> Result<usize, Errno> {
        let connection = self.connection_mut(id)?;
        let most = match connection.before_mark() {
            Some(ahead) => ahead,
            None if connection.is_at_mark() => 0,
            None => usize::MAX,
        };
        let most = buffer.len().min(most);
        let room = buffer.get_mut(..most).unwrap_or_default();
        let copied = connection.receive.read(&mut Context::of(stack), room);
        if copied > 0 {
            connection.clean_up_receive(stack, copied);
            self.settle(stack, id);
            return Ok(copied);
        }
        match connection.nothing_to_read() {
            // Nothing more will come of waiting.
            Err(Errno::Eagain) if waits && connection.receive.readable() > 0 => Ok(0),
            nothing => nothing,
        }
    }

    /// `write(2)`: how many bytes found room. EAGAIN where none did.
    pub(crate) fn write(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        self.send(stack, id, bytes, SendFlags::default())
    }

    /// `shutdown(2)`.
    pub(crate) fn shutdown(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        how: Shutdown,
    ) -> Result<(), Errno> {
        if let Some(Socket::Listener(_)) = self.sockets.get(&id) {
            // Reading is shut: the listener stops, and becomes an unconnected socket.
            if how != Shutdown::Write {
                self.stop_listening(stack, id);
            }
            return Ok(());
        }
        let result = self.connection_mut(id)?.shut_down(stack, how);
        self.settle(stack, id);
        result
    }

    /// `SO_ERROR`, taken.
    pub(crate) fn take_error(&mut self, id: SocketId) -> Result<Option<Errno>, Errno> {
        match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => {
                Ok(connection.error.take().or(connection.soft_error.take()))
            }
            Some(Socket::Listener(listener)) => Ok(listener.error.take()),
            Some(Socket::Idle(_)) => Ok(None),
            None => Err(Errno::Ebadf),
        }
    }

    /// `getsockname(2)`.
    pub(crate) fn local_address(&self, id: SocketId) -> Result<SocketAddress, Errno> {
        match self.sockets.get(&id) {
            Some(Socket::Idle(idle)) => Ok(idle.local),
            Some(Socket::Listener(listener)) => Ok(listener.local),
            Some(Socket::Connection(connection)) => Ok(connection.local),
            None => Err(Errno::Ebadf),
        }
    }

    /// `getpeername(2)`.
    pub(crate) fn peer_address(&self, id: SocketId) -> Result<SocketAddress, Errno> {
        match self.sockets.get(&id) {
            Some(Socket::Connection(connection))
                if connection.is_synchronized() || connection.state == SocketState::SynRecv =>
            {
                Ok(connection.peer)
            }
            Some(_) => Err(Errno::Enotconn),
            None => Err(Errno::Ebadf),
        }
    }
}

impl Connection {
    /// What a read says that found nothing: 0 at the end, the error, or EAGAIN (`tcp_recvmsg_locked`).
    fn nothing_to_read(&mut self) -> Result<usize, Errno> {
        if self.fin_received {
            return Ok(0);
        }
        match self.error.take() {
            Some(error) => Err(error),
            None if self.shut_read => Ok(0),
            None if self.state == SocketState::Unconnected => Err(Errno::Enotconn),
            None => Err(Errno::Eagain),
        }
    }
}

/// An address as a socket of a family takes it: IPv4 inside of IPv6 becomes IPv4.
fn bound_address(version: IpVersion, address: IpAddr) -> Result<IpAddr, Errno> {
    match (version, address) {
        (IpVersion::V4, IpAddr::V6(_)) => Err(Errno::Eafnosupport),
        (IpVersion::V6, IpAddr::V4(_)) if !address.is_unspecified() => Err(Errno::Einval),
        _ => Ok(unmapped(address)),
    }
}

/// A socket's claim on a port.
fn holder(id: SocketId, address: IpAddr, options: &SocketOptions) -> Holder {
    Holder {
        owner: Entry::Connection(id),
        address,
        v6_only: options.v6_only,
        device: options.device,
        reuse: options.reuse_address,
        listens: false,
        bound: true,
    }
}

/// The calls of stream sockets.
impl Host {
    /// `listen(2)`.
    ///
    /// # Errors
    /// EBADF, EADDRINUSE, EINVAL, as listen(2).
    pub fn listen(&mut self, now: Timestamp, id: SocketId, backlog: u32) -> Result<(), Errno> {
        self.begin(now);
        self.tcp.listen(&mut self.stack, id, backlog)
    }

    /// `accept(2)`: the new socket and who is at its other end.
    ///
    /// # Errors
    /// EAGAIN while nobody waits; EBADF, EINVAL.
    pub fn accept(
        &mut self,
        now: Timestamp,
        id: SocketId,
    ) -> Result<(SocketId, SocketAddress), Errno> {
        self.begin(now);
        self.tcp.accept(&mut self.stack, id)
    }

    /// `read(2)`: how many bytes were copied; 0 at the end.
    ///
    /// # Errors
    /// EAGAIN while there is nothing; what the connection died of.
    pub fn read(
        &mut self,
        now: Timestamp,
        id: SocketId,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        self.begin(now);
        let result = self.tcp.read(&mut self.stack, id, buffer);
        self.run();
        result
    }

    /// `splice(2)` from a TCP socket; `waits`: it would sleep where there is nothing. It stops at urgent data, which it neither
    /// takes nor steps over.
    ///
    /// # Errors
    /// Those of [`Host::read`].
    pub fn splice(
        &mut self,
        now: Timestamp,
        id: SocketId,
        buffer: &mut [u8],
        waits: bool,
    ) -> Result<usize, Errno> {
        self.begin(now);
        let result = self.tcp.splice(&mut self.stack, id, buffer, waits);
        self.run();
        result
    }

    /// `write(2)`: how many bytes found room.
    ///
    /// # Errors
    /// EAGAIN while there is no room; EPIPE behind shutdown(2); what the connection died of.
    pub fn write(&mut self, now: Timestamp, id: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        self.begin(now);
        let result = self.tcp.write(&mut self.stack, id, bytes);
        self.run();
        result
    }

    /// `shutdown(2)`.
    ///
    /// # Errors
    /// ENOTCONN, EBADF.
    pub fn shutdown(&mut self, now: Timestamp, id: SocketId, how: Shutdown) -> Result<(), Errno> {
        self.begin(now);
        let result = self.tcp.shutdown(&mut self.stack, id, how);
        self.run();
        result
    }

    /// `getsockopt(SO_MEMINFO)`; nothing where there is no such TCP connection.
    pub fn tcp_memory(&self, id: SocketId) -> Option<super::SocketMemory> {
        self.tcp.memory(id)
    }

    /// `getsockopt(TCP_INFO)`; nothing where there is no such TCP socket.
    pub fn tcp_info(&self, id: SocketId) -> Option<super::TcpInfo> {
        self.tcp.info(&self.stack, id)
    }
}
