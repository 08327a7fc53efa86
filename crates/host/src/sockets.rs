//! The socket calls, for every kind of socket: whom a call is for, and what is worked off behind it.

use transect_config::IpVersion;
use transect_path::Timestamp;

use crate::host::Host;
use crate::socket::{Errno, SocketAddress, SocketId, SocketKind, SocketOption};

impl Host {
    /// `socket(2)`.
    ///
    /// # Errors
    /// None now: whoever asks may.
    pub fn socket(&mut self, kind: SocketKind, version: IpVersion) -> Result<SocketId, Errno> {
        let id = self.stack.new_socket();
        match kind {
            SocketKind::Tcp => self.tcp.open(&mut self.stack, id, version),
            _ => self.transport.open(&mut self.stack, id, kind, version),
        }
        Ok(id)
    }

    /// `setsockopt(2)`.
    ///
    /// # Errors
    /// EBADF, ENOPROTOOPT for an option that this kind does not have, EINVAL for a value that it cannot take, ENODEV.
    pub fn set_option(&mut self, socket: SocketId, option: SocketOption) -> Result<(), Errno> {
        if self.tcp.owns(socket) {
            return self.tcp.set_option(&mut self.stack, socket, &option);
        }
        self.transport.set_option(&mut self.stack, socket, &option)
    }

    /// `bind(2)`.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL for an address that is not this host's, EINVAL for a socket that is bound, EAFNOSUPPORT, EBADF.
    pub fn bind(&mut self, socket: SocketId, address: SocketAddress) -> Result<(), Errno> {
        if self.tcp.owns(socket) {
            return self.tcp.bind(&mut self.stack, socket, address);
        }
        self.transport.bind(&mut self.stack, socket, address)
    }

    /// `connect(2)`. A TCP socket answers EINPROGRESS; `Writable` or `Failed` tells how it ended.
    ///
    /// # Errors
    /// ENETUNREACH and the like where no route leads there, EACCES for a broadcast address, EADDRNOTAVAIL, EBADF.
    pub fn connect(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        peer: SocketAddress,
    ) -> Result<(), Errno> {
        self.begin(now);
        let done = if self.tcp.owns(socket) {
            self.tcp.connect(&mut self.stack, socket, peer)
        } else {
            self.transport.connect(&mut self.stack, socket, peer)
        };
        self.run();
        done
    }

    /// `sendto(2)`, or `send(2)` without a destination: how many bytes went. A packet socket sends whole frames, a raw one with
    /// its header whole IP packets.
    ///
    /// # Errors
    /// What routing says, EPERM where a rule refused it, EMSGSIZE, EAGAIN where the send buffer is full, an error that an ICMP
    /// message brought before.
    pub fn send_to(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        bytes: &[u8],
        to: Option<SocketAddress>,
    ) -> Result<usize, Errno> {
        self.begin(now);
        let done = if self.tcp.owns(socket) {
            self.tcp.write(&mut self.stack, socket, bytes)
        } else {
            self.transport.send_to(&mut self.stack, socket, bytes, to)
        };
        self.run();
        done
    }

    /// `recvfrom(2)`: how many bytes of the next datagram found room in `buffer`, and from whom it is.
    ///
    /// # Errors
    /// EAGAIN where nothing is there; an error that an ICMP message brought.
    pub fn receive_from(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddress), Errno> {
        self.begin(now);
        let done = if self.tcp.owns(socket) {
            let peer = self.tcp.peer_address(socket);
            self.tcp
                .read(&mut self.stack, socket, buffer)
                .and_then(|length| Ok((length, peer?)))
        } else {
            self.transport.receive_from(&mut self.stack, socket, buffer)
        };
        self.run();
        done
    }

    /// `close(2)`. A TCP connection closes by itself behind it.
    pub fn close(&mut self, now: Timestamp, socket: SocketId) {
        self.begin(now);
        // EBADF changes nothing.
        let _ = if self.tcp.owns(socket) {
            self.tcp.close(&mut self.stack, socket)
        } else {
            self.transport.close(&mut self.stack, socket)
        };
        self.run();
    }

    /// `SO_ERROR`, taken; nothing where there is none.
    pub fn take_error(&mut self, socket: SocketId) -> Option<Errno> {
        let error = if self.tcp.owns(socket) {
            self.tcp.take_error(socket)
        } else {
            self.transport.take_error(socket)
        };
        error.unwrap_or_else(Some)
    }

    /// `getsockname(2)`; nothing where there is no such socket.
    pub fn local_address(&self, socket: SocketId) -> Option<SocketAddress> {
        let address = if self.tcp.owns(socket) {
            self.tcp.local_address(socket)
        } else {
            self.transport.local_address(socket)
        };
        address.ok()
    }

    /// `getpeername(2)`; nothing where the socket is not connected.
    pub fn peer_address(&self, socket: SocketId) -> Option<SocketAddress> {
        let address = if self.tcp.owns(socket) {
            self.tcp.peer_address(socket)
        } else {
            self.transport.peer_address(socket)
        };
        address.ok()
    }

    /// All sockets, as `ss -H -O -n -e -m -i -o -t -u -w -a` prints them.
    pub fn sockets_text(&self) -> String {
        let mut lines = self.transport.render(&self.stack);
        lines.extend(self.tcp.render(&self.stack));
        lines.push(String::new());
        lines.join("\n")
    }
}
