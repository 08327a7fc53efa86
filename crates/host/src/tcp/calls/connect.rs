//! connect(2): the ends of a connection to be opened, its route, its first numbers (`tcp_v4_connect`, `inet_hash_connect`).

use std::net::IpAddr;

use transect_config::SocketState;
use transect_packet::SequenceNumber;

use super::super::connection::Connection;
use super::super::fast_open::Begun;
use super::super::socket_options::SocketOptions;
use super::super::table::{Ends, Entry, unspecified};
use super::super::{Idle, Socket, Tcp};
use super::{bound_address, holder};
use crate::counters::IpCounter;
use crate::inquiry::SendFlags;
use crate::ip::{Route, RouteKey, version_of};
use crate::socket::{Errno, SocketAddress, SocketId};
use crate::stack::Stack;

impl Tcp {
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
        match self.begin_connection(stack, id, peer, None)? {
            Begun::Deferred => Ok(()),
            Begun::UnderWay(_) => Err(Errno::Einprogress),
        }
    }

    /// A connection for a socket that has none; `data`: what shall go with the SYN.
    pub(in crate::tcp) fn begin_connection(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        peer: SocketAddress,
        data: Option<(&[u8], SendFlags)>,
    ) -> Result<Begun, Errno> {
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
        stack.begin_call();
        let begun = connection.connect(stack, route, data);
        connection.hold(stack);
        self.sockets
            .insert(id, Socket::Connection(Box::new(connection)));
        self.settle(stack, id);
        Ok(begun)
    }

    /// `connect(2)` on a socket that has a connection already.
    pub(in crate::tcp) fn connect_again(&mut self, id: SocketId) -> Result<(), Errno> {
        let connection = self.connection_mut(id)?;
        if !connection.connecting {
            return Err(Errno::Eisconn);
        }
        match connection.state {
            SocketState::SynSent if connection.is_deferred() => Err(Errno::Eisconn),
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
                .is_some_and(|remainder| remainder.may_be_taken(stack_ref, bound.port != 0))
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
            options.port_range,
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
