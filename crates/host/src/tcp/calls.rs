//! System calls on TCP sockets (net/ipv4/af_inet.c, net/ipv4/tcp.c): what a program may ask, and what it is told.

use std::net::IpAddr;
use std::time::Duration;

use transect_config::{IpVersion, SocketState};
use transect_packet::SequenceNumber;

use super::clock::Context;
use super::connection::{Connection, Fate};
use super::socket_options::{SocketOptions, seconds_to_retransmissions};
use super::table::{Ends, Entry, Holder, unmapped, unspecified};
use super::transmit::Nagle;
use super::{Idle, Listener, Socket, Tcp};
use crate::counters::IpCounter;
use crate::device::DeviceId;
use crate::host::Host;
use crate::ip::{Route, RouteKey, version_of};
use crate::socket::{Errno, Shutdown, SocketAddress, SocketId, SocketOption};
use crate::stack::Stack;
use crate::timer::TimerQueue;
use transect_path::Timestamp;

/// `SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`.
const LEAST_RECEIVE_BUFFER: u32 = 2304;
const LEAST_SEND_BUFFER: u32 = 4608;

impl Tcp {
    /// `socket(2)`; `id` is [`Stack::new_socket`]'s.
    pub(crate) fn open(&mut self, stack: &mut Stack, id: SocketId, version: IpVersion) {
        let options = SocketOptions {
            v6_only: stack.settings.number("net.ipv6.bindv6only") != 0,
            ..SocketOptions::default()
        };
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
        let Tcp { sockets, table, .. } = self;
        let idle = match sockets.get_mut(&id) {
            Some(Socket::Idle(idle)) if idle.local.port == 0 => idle,
            Some(_) => return Err(Errno::Einval),
            None => return Err(Errno::Ebadf),
        };
        let host = bound_address(idle.version, address.address)?;
        let nonlocal = stack.settings.number("net.ipv4.ip_nonlocal_bind") != 0;
        if !host.is_unspecified() && !nonlocal && !stack.is_local(host) {
            return Err(Errno::Eaddrnotavail);
        }
        let wanted = holder(id, host, &idle.options);
        let port = if address.port == 0 {
            table.open_port(&stack.settings, &mut stack.random, &wanted)?
        } else if table.is_free(address.port, &wanted) {
            address.port
        } else {
            return Err(Errno::Eaddrinuse);
        };
        table.hold(port, wanted);
        idle.local = SocketAddress::new(host, port);
        idle.options.port_locked = address.port != 0;
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
                let any = SocketAddress::new(idle.local.address, 0);
                self.bind(stack, id, any)?;
            }
            Some(Socket::Idle(_)) => {}
            Some(Socket::Connection(_)) => return Err(Errno::Einval),
            None => return Err(Errno::Ebadf),
        }
        let Some(Socket::Idle(idle)) = self.sockets.get(&id) else {
            return Err(Errno::Einval);
        };
        let mut wanted = holder(id, idle.local.address, &idle.options);
        wanted.listens = true;
        if !self.table.is_free(idle.local.port, &wanted) {
            return Err(Errno::Eaddrinuse);
        }
        let listener = Listener {
            id,
            version: idle.version,
            options: idle.options.clone(),
            local: idle.local,
            backlog,
            accept: std::collections::VecDeque::new(),
            requests: std::collections::BTreeMap::new(),
            timers: TimerQueue::default(),
            young: 0,
            drops: 0,
            overflowed: None,
            error: None,
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

    /// `connect(2)`, non-blocking: EINPROGRESS where the SYN is on its way; then `Writable` or `Failed` tells. Called again it says how
    /// far it got: EALREADY, success once, EISCONN, or the error.
    pub(crate) fn connect(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        peer: SocketAddress,
    ) -> Result<(), Errno> {
        match self.sockets.get_mut(&id) {
            None => return Err(Errno::Ebadf),
            Some(Socket::Listener(_)) => return Err(Errno::Eisconn),
            Some(Socket::Idle(_)) => {}
            Some(Socket::Connection(_)) => return self.connect_again(id),
        }
        let Some(Socket::Idle(idle)) = self.sockets.get(&id) else {
            return Err(Errno::Ebadf);
        };
        let (options, bound, version) = (idle.options.clone(), idle.local, idle.version);
        let address = bound_address(version, peer.address)?;
        let route = route_to(stack, &options, bound, address)?;
        let local = if bound.address.is_unspecified() {
            route.source
        } else {
            bound.address
        };
        let peer = SocketAddress::new(route.destination, peer.port);
        let (ends, taken) = self.choose_ends(stack, id, &options, bound, (local, peer))?;
        let secrets = self.secrets(stack);
        let mut iss = secrets.sequence(ends.local, ends.peer, stack.now);
        let mut recent = None;
        if let Some(number) = taken
            && let Some(remainder) = self.remainders.get(&number)
        {
            // The old connection's numbers are left behind (tcp_twsk_unique).
            iss = remainder.snd_nxt.0.wrapping_add(65_535 + 2).max(1);
            recent = Some(remainder.timestamps);
            self.kill_remainder(stack, number);
        }
        let mut connection = Connection::new(
            stack,
            id,
            version,
            options,
            (ends.local, ends.peer),
            SequenceNumber(iss),
        );
        connection.timestamps.offset =
            secrets.timestamp_offset(ends.local.address, ends.peer.address);
        if let Some(recent) = recent {
            connection.timestamps.recent = recent.recent;
            connection.timestamps.recent_stamp = recent.recent_stamp;
        }
        connection.connecting = true;
        self.table.insert(ends, Entry::Connection(id));
        connection.connect(stack, route);
        self.sockets
            .insert(id, Socket::Connection(Box::new(connection)));
        self.settle(stack, id);
        Err(Errno::Einprogress)
    }

    /// `connect(2)` on a socket that has a connection already.
    fn connect_again(&mut self, id: SocketId) -> Result<(), Errno> {
        let connection = self.connection_mut(id)?;
        if !connection.connecting {
            return Err(Errno::Eisconn);
        }
        match connection.state {
            SocketState::SynSent | SocketState::SynRecv => Err(Errno::Ealready),
            SocketState::Unconnected => {
                let error = connection.error.take().unwrap_or(Errno::Econnaborted);
                let idle = Idle {
                    version: connection.version,
                    local: if connection.options.port_locked {
                        connection.local
                    } else {
                        SocketAddress::new(unspecified(connection.version), 0)
                    },
                    options: connection.options.clone(),
                };
                self.sockets.insert(id, Socket::Idle(Box::new(idle)));
                Err(error)
            }
            _ => {
                connection.connecting = false;
                Ok(())
            }
        }
    }

    /// The ends of a connection to be opened (`inet_hash_connect`), and the remainder that they are taken from.
    fn choose_ends(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        options: &SocketOptions,
        bound: SocketAddress,
        (local, peer): (IpAddr, SocketAddress),
    ) -> Result<(Ends, Option<u64>), Errno> {
        let secrets = self.secrets(stack);
        let Tcp {
            table, remainders, ..
        } = self;
        let stack_ref: &Stack = stack;
        let may_take = |number: u64| {
            remainders
                .get(&number)
                .is_some_and(|remainder| remainder.may_be_taken(stack_ref))
        };
        if bound.port != 0 {
            let ends = Ends {
                local: SocketAddress::new(local, bound.port),
                peer,
            };
            let taken = table
                .check_ends(&ends, may_take)
                .ok_or(Errno::Eaddrnotavail)?;
            // The holder's address is known now.
            table.update_holder(bound.port, id, |holder| holder.address = local);
            return Ok((ends, taken));
        }
        let mut random = stack_ref.random.clone();
        let (port, taken) = table.connect_port(
            &stack_ref.settings,
            &secrets,
            &mut random,
            (local, peer),
            may_take,
        )?;
        stack.random = random;
        let mut holder = holder(id, local, options);
        holder.bound = false;
        table.hold(port, holder);
        let ends = Ends {
            local: SocketAddress::new(local, port),
            peer,
        };
        Ok((ends, taken))
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
        let copied = connection.receive.read(&mut Context::of(stack), buffer);
        if copied > 0 {
            connection.clean_up_receive(stack, copied);
            self.settle(stack, id);
            return Ok(copied);
        }
        if connection.fin_received || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        if connection.shut_read {
            return Ok(0);
        }
        if connection.state == SocketState::Unconnected {
            return Err(Errno::Enotconn);
        }
        connection.clean_up_receive(stack, 0);
        self.settle(stack, id);
        Err(Errno::Eagain)
    }

    /// `write(2)`: how many bytes found room. EAGAIN where none did.
    pub(crate) fn write(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let connection = match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => connection,
            Some(_) => return Err(Errno::Epipe),
            None => return Err(Errno::Ebadf),
        };
        match connection.state {
            SocketState::Established | SocketState::CloseWait => {}
            SocketState::SynSent | SocketState::SynRecv => return Err(Errno::Eagain),
            _ => return Err(connection.error.take().unwrap_or(Errno::Epipe)),
        }
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        if connection.shut_write {
            return Err(Errno::Epipe);
        }
        let taken = connection.take_bytes(stack, bytes);
        self.settle(stack, id);
        if taken == 0 && !bytes.is_empty() {
            return Err(Errno::Eagain);
        }
        Ok(taken)
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

    /// `close(2)`: the socket is gone for the program; the connection closes by itself.
    pub(crate) fn close(&mut self, stack: &mut Stack, id: SocketId) -> Result<(), Errno> {
        match self.sockets.get_mut(&id) {
            None => return Err(Errno::Ebadf),
            Some(Socket::Listener(_)) => {
                self.stop_listening(stack, id);
                self.close_idle(id);
            }
            Some(Socket::Idle(_)) => self.close_idle(id),
            Some(Socket::Connection(connection)) => {
                connection.close(stack);
                self.orphans += 1;
                let over = self.connection_mut(id)?.fate != Fate::Stays;
                self.settle(stack, id);
                if !over {
                    self.limit_orphans(stack, id);
                }
            }
        }
        Ok(())
    }

    /// Too many orphans: the new one goes at once (`tcp_check_oom` in `__tcp_close`).
    fn limit_orphans(&mut self, stack: &mut Stack, id: SocketId) {
        if self.orphans <= stack.settings.tcp.max_orphans as usize {
            return;
        }
        if let Ok(connection) = self.connection_mut(id) {
            connection.set_state(stack, SocketState::Unconnected);
            connection.send_active_reset(stack);
            connection.count(stack, crate::counters::TcpExtCounter::TCPAbortOnMemory);
            connection.purge_output();
            self.settle(stack, id);
        }
    }

    fn close_idle(&mut self, id: SocketId) {
        if let Some(Socket::Idle(idle)) = self.sockets.remove(&id)
            && idle.local.port != 0
        {
            self.table.release(idle.local.port, Entry::Connection(id));
        }
    }

    /// A listener ends (`inet_csk_listen_stop`): who waits to be accepted is reset, handshakes are forgotten.
    fn stop_listening(&mut self, stack: &mut Stack, id: SocketId) {
        let Some(Socket::Listener(listener)) = self.sockets.remove(&id) else {
            return;
        };
        self.table.unlisten(id, listener.local.port);
        stack.timers.set(crate::stack::TimerOwner::Tcp(id), None);
        for (number, request) in &listener.requests {
            self.table
                .remove(&request.ends, Entry::Request(id, *number));
        }
        for child in &listener.accept {
            if let Ok(connection) = self.connection_mut(*child) {
                connection.disconnect(stack);
                connection.orphan = true;
                connection.fate = Fate::Done;
                self.orphans += 1;
                self.settle(stack, *child);
            }
        }
        let idle = Idle {
            version: listener.version,
            options: listener.options,
            local: listener.local,
        };
        self.sockets.insert(id, Socket::Idle(Box::new(idle)));
    }

    /// `setsockopt(2)`.
    pub(crate) fn set_option(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        option: &SocketOption,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        let (options, port) = match socket {
            Socket::Idle(idle) => (&mut idle.options, idle.local.port),
            Socket::Listener(listener) => (&mut listener.options, listener.local.port),
            Socket::Connection(connection) => (&mut connection.options, connection.local.port),
        };
        change(options, stack, option)?;
        let (reuse, device) = (options.reuse_address, options.device);
        if port != 0 {
            self.table.update_holder(port, id, |holder| {
                holder.reuse = reuse;
                holder.device = device;
            });
        }
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) {
            connection.option_changed(stack, option);
            self.settle(stack, id);
        }
        Ok(())
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

/// The route of a connection to be opened (`ip_route_connect`). To "any" means to this host.
fn route_to(
    stack: &mut Stack,
    options: &SocketOptions,
    bound: SocketAddress,
    destination: IpAddr,
) -> Result<Route, Errno> {
    let destination = match destination {
        IpAddr::V4(address) if address.is_unspecified() && bound.address.is_unspecified() => {
            std::net::Ipv4Addr::LOCALHOST.into()
        }
        IpAddr::V6(address) if address.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => destination,
    };
    let key = RouteKey {
        destination,
        source: Some(bound.address).filter(|address| {
            !address.is_unspecified() && address.is_ipv4() == destination.is_ipv4()
        }),
        device: options.device,
        mark: options.mark,
        tos: options.tos,
    };
    let route = match stack.route(&key) {
        Ok(route) => route,
        Err(errno) => {
            if errno == Errno::Enetunreach {
                stack.count_ip(version_of(destination), IpCounter::OutNoRoutes);
            }
            return Err(errno);
        }
    };
    if route.group {
        return Err(Errno::Enetunreach);
    }
    Ok(route)
}

/// Sets one option (`sk_setsockopt`, `do_ip_setsockopt`, `do_tcp_setsockopt`).
fn change(options: &mut SocketOptions, stack: &Stack, option: &SocketOption) -> Result<(), Errno> {
    let settings = &stack.settings.tcp;
    match option {
        SocketOption::ReceiveBuffer(bytes) => {
            let bytes = (*bytes).min(settings.rmem_max).saturating_mul(2);
            options.receive_buffer = Some(bytes.max(LEAST_RECEIVE_BUFFER));
        }
        SocketOption::SendBuffer(bytes) => {
            let bytes = (*bytes).min(settings.wmem_max).saturating_mul(2);
            options.send_buffer = Some(bytes.max(LEAST_SEND_BUFFER));
        }
        SocketOption::ReuseAddress(on) => options.reuse_address = *on,
        SocketOption::KeepAlive(on) => options.keep_alive = *on,
        SocketOption::Linger(time) => options.linger = *time,
        SocketOption::BindToDevice(name) => {
            options.device = if name.is_empty() {
                None
            } else {
                Some(device_named(stack, name)?)
            };
        }
        SocketOption::Mark(mark) => options.mark = *mark,
        SocketOption::Priority(priority) => options.priority = *priority,
        SocketOption::Filter(accepts) => options.filter = Some(*accepts),
        SocketOption::Ttl(ttl) if *ttl > 0 => options.ttl = Some(*ttl),
        SocketOption::Tos(tos) => {
            // The ECN bits are the protocol's own.
            options.tos = tos & !3;
            options.priority = priority_of_tos(*tos);
        }
        SocketOption::MinTtl(ttl) => options.min_ttl = *ttl,
        SocketOption::MtuDiscover(mode) if *mode <= 5 => options.mtu_discover = *mode,
        SocketOption::NoDelay(on) => options.no_delay = *on,
        SocketOption::Cork(on) => options.cork = *on,
        SocketOption::MaxSegment(0) => options.max_segment = None,
        SocketOption::MaxSegment(mss) if (88..=32_767).contains(mss) => {
            options.max_segment = Some(*mss);
        }
        SocketOption::KeepIdle(seconds @ 1..=32_767) => {
            options.keep_idle = Some(Duration::from_secs(u64::from(*seconds)));
        }
        SocketOption::KeepInterval(seconds @ 1..=32_767) => {
            options.keep_interval = Some(Duration::from_secs(u64::from(*seconds)));
        }
        SocketOption::KeepCount(count @ 1..=127) => options.keep_count = Some(*count),
        SocketOption::SynCount(count @ 1..=127) => options.syn_count = Some(*count),
        SocketOption::Linger2(seconds) => {
            // More than two minutes (TCP_FIN_TIMEOUT_MAX) are two minutes.
            options.linger2 = if *seconds < 0 {
                -1
            } else {
                (*seconds).min(120)
            };
        }
        SocketOption::DeferAccept(seconds) => {
            options.defer_accept = seconds_to_retransmissions(*seconds, settings.rto_max);
        }
        SocketOption::WindowClamp(0) => options.window_clamp = 0,
        SocketOption::WindowClamp(bytes) => {
            options.window_clamp = (*bytes).max(LEAST_RECEIVE_BUFFER / 2);
        }
        SocketOption::QuickAck(_) => {}
        SocketOption::Congestion(name) => options.congestion = Some(name.clone()),
        SocketOption::UserTimeout(milliseconds) => options.user_timeout = *milliseconds,
        SocketOption::NotSentLowWatermark(bytes) => options.notsent_lowat = Some(*bytes),
        SocketOption::V6Only(on) => options.v6_only = *on,
        SocketOption::Broadcast(_) => {}
        _ => return Err(Errno::Einval),
    }
    Ok(())
}

/// `rt_tos2priority` (`ip_tos2prio`).
fn priority_of_tos(tos: u8) -> u32 {
    // TC_PRIO_*: 0 best effort, 2 bulk, 6 interactive, 4 interactive bulk.
    match tos >> 3 & 3 {
        1 => 2,
        2 => 6,
        3 => 4,
        _ => 0,
    }
}

fn device_named(stack: &Stack, name: &str) -> Result<DeviceId, Errno> {
    stack
        .link
        .devices
        .iter()
        .position(|device| device.name == name)
        .and_then(|index| u32::try_from(index).ok())
        .map(DeviceId)
        .ok_or(Errno::Enodev)
}

impl Connection {
    /// What an option means for a connection that is there already.
    fn option_changed(&mut self, stack: &mut Stack, option: &SocketOption) {
        match option {
            SocketOption::NoDelay(true) | SocketOption::Cork(false) => {
                let mss = self.current_mss(stack);
                if self.send_buffer.head().is_some() {
                    let nagle = if *option == SocketOption::NoDelay(true) {
                        Nagle::Off
                    } else {
                        self.nagle()
                    };
                    self.push_pending(stack, mss, nagle);
                }
            }
            SocketOption::QuickAck(on) => self.set_quick_ack(stack, *on),
            SocketOption::KeepAlive(on) => self.switch_keepalive(stack, *on),
            SocketOption::KeepIdle(_) if self.options.keep_alive => {
                self.keepalive.cancel();
                self.switch_keepalive(stack, true);
            }
            SocketOption::ReceiveBuffer(_) => {
                self.receive.locked = true;
                self.receive.rcvbuf = self.options.receive_buffer.unwrap_or(self.receive.rcvbuf);
            }
            SocketOption::SendBuffer(_) => {
                self.send_buffer.locked = true;
                self.send_buffer.sndbuf =
                    self.options.send_buffer.unwrap_or(self.send_buffer.sndbuf);
                self.check_space(stack);
            }
            SocketOption::WindowClamp(bytes) if *bytes > 0 => {
                self.receive.window_clamp = self.options.window_clamp;
                self.receive.rcv_ssthresh =
                    self.receive.rcv_ssthresh.min(self.options.window_clamp);
            }
            SocketOption::Mark(_) | SocketOption::Tos(_) | SocketOption::BindToDevice(_) => {
                self.route = None;
            }
            SocketOption::Congestion(name) => {
                self.sender.set_algorithm(&mut Context::of(stack), name);
            }
            _ => {}
        }
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

    /// `getsockopt(TCP_INFO)`; nothing where there is no such TCP socket.
    pub fn tcp_info(&self, id: SocketId) -> Option<super::TcpInfo> {
        self.tcp.info(&self.stack, id)
    }
}
