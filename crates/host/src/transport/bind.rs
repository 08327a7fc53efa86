//! Addresses of sockets: bind, connect, ephemeral ports (`inet_bind`, `udp_lib_get_port`, `__ip4_datagram_connect`,
//! `ip6_datagram_connect`).

use std::net::IpAddr;

use crate::counters::IpCounter;
use crate::ip::{Route, RouteKey, version_of};
use crate::socket::{Errno, SocketAddress, SocketId, SocketKind};
use crate::stack::Stack;
use crate::transport::{Socket, Transport, canonical};

impl Transport {
    /// `bind(2)`.
    pub(crate) fn bind(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        address: SocketAddress,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        if matches!(socket.kind, SocketKind::Packet { .. }) {
            return Err(Errno::Eafnosupport);
        }
        if socket.port != 0 || socket.bound {
            return Err(Errno::Einval);
        }
        let asked = canonical(address);
        let any = asked.address.is_unspecified();
        if !any && !socket.speaks(version_of(asked.address))
            || any
                && address.address.is_ipv6() != (socket.version == transect_config::IpVersion::V6)
        {
            return Err(Errno::Eafnosupport);
        }
        let usable = any
            || stack.is_local(asked.address)
            || asked.address.is_multicast()
            || stack.is_broadcast(asked.address)
            || stack.ip_settings().nonlocal_bind;
        if !usable {
            return Err(Errno::Eaddrnotavail);
        }
        let local = if any {
            socket.version.unspecified()
        } else {
            asked.address
        };
        let port = match socket.kind {
            SocketKind::Raw { .. } => 0,
            _ if asked.port == 0 => self.free_port(stack, id, local).ok_or(Errno::Eaddrinuse)?,
            _ if self.conflicts(id, local, asked.port) => return Err(Errno::Eaddrinuse),
            _ => asked.port,
        };
        self.take(id, local, port);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.bound = !any;
        }
        Ok(())
    }

    fn take(&mut self, id: SocketId, local: IpAddr, port: u16) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        socket.local = local;
        socket.route = None;
        if port != 0 {
            socket.port = port;
            let protocol = socket.protocol();
            self.list(protocol, port, id);
        }
    }

    /// Whether another socket holds the port so that this one cannot have it (`inet_rcv_saddr_equal`).
    fn conflicts(&self, id: SocketId, local: IpAddr, port: u16) -> bool {
        let Some(own) = self.sockets.get(&id) else {
            return true;
        };
        self.listed(own.protocol(), port).any(|other| {
            let devices = match (own.device, other.device) {
                (Some(own), Some(other)) => own == other,
                _ => true,
            };
            let families = own.version == other.version
                || [own, other].iter().all(|socket| {
                    socket.version == transect_config::IpVersion::V4 || !socket.v6_only
                });
            let addresses =
                local.is_unspecified() || other.local.is_unspecified() || local == other.local;
            let reuse = own.reuse && other.reuse;
            other.id != id && devices && families && addresses && !reuse
        })
    }

    /// A port of `ip_local_port_range` that nobody holds: from a random one on.
    fn free_port(&self, stack: &mut Stack, id: SocketId, local: IpAddr) -> Option<u16> {
        let (low, high) = stack.ip_settings().ports;
        let count = u32::from(high.checked_sub(low)?) + 1;
        let start = stack.random.u32(0..count);
        (0..count)
            .map(|step| low + ((start + step) % count) as u16)
            .find(|port| *port != 0 && !self.conflicts(id, local, *port))
    }

    /// Gives a socket that has none a port (`inet_autobind`).
    pub(super) fn autobind(&mut self, stack: &mut Stack, id: SocketId) -> Result<(), Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        if !socket.lacks_port() {
            return Ok(());
        }
        let local = socket.local;
        let port = self.free_port(stack, id, local).ok_or(Errno::Eagain)?;
        self.take(id, local, port);
        Ok(())
    }

    /// `connect(2)`: remembers the peer, and the source address for it.
    pub(crate) fn connect(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        peer: SocketAddress,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        if matches!(socket.kind, SocketKind::Packet { .. }) {
            return Err(Errno::Eopnotsupp);
        }
        let peer = canonical(peer);
        if !socket.speaks(version_of(peer.address)) {
            return Err(Errno::Eafnosupport);
        }
        self.autobind(stack, id)?;
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        let route = socket.route_to(stack, peer.address)?;
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        if !socket.bound {
            socket.local = route.source;
        }
        socket.peer = Some(SocketAddress::new(route.destination, peer.port));
        socket.route = None;
        socket.identification = stack.random.u16(..);
        socket.flow_hash = stack.draw_flow_hash(version_of(route.destination));
        Ok(())
    }
}

impl Socket {
    /// The route to the peer: the one that is kept, as long as it holds (`sk_dst_check`).
    pub(super) fn route_to_peer(
        &mut self,
        stack: &mut Stack,
        peer: IpAddr,
    ) -> Result<Route, Errno> {
        if let Some(route) = self.route
            && stack.route_is_current(&route)
        {
            return Ok(route);
        }
        let route = self.route_to(stack, peer)?;
        self.route = Some(route);
        Ok(route)
    }

    /// The route to a destination, counted and refused as sending and connecting do.
    pub(super) fn route_to(&self, stack: &mut Stack, destination: IpAddr) -> Result<Route, Errno> {
        let version = version_of(destination);
        let source = Some(self.local).filter(|local| {
            !local.is_unspecified() && version_of(*local) == version && !local.is_multicast()
        });
        let header_included = matches!(
            self.kind,
            SocketKind::Raw {
                header_included: true,
                ..
            }
        );
        let key = RouteKey {
            destination,
            source,
            device: self.device,
            mark: self.mark,
            tos: self.tos & 0x1e,
        };
        let route = stack.route_from(&key, header_included);
        if route == Err(Errno::Enetunreach) {
            stack.count_ip(version, IpCounter::OutNoRoutes);
        }
        let route = route?;
        if route.is_broadcast() && !self.broadcast {
            return Err(Errno::Eacces);
        }
        Ok(route)
    }
}
