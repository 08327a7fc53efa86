//! System calls on the model host: those that make, connect and close sockets, and how each is tried until it has an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{
    Errno, OptionName, OptionValue, Shutdown, SocketAddress, SocketId, SocketKind,
};

use super::ModelWorld;
use super::error_queue::ErrorQueue;
use super::files::{File, SocketFile};
use super::polling::Epoll;
use crate::call::{Call, Fd, Outcome, Output, address_of};
use crate::symbols;

/// How far a call has come that has to wait.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// A handshake was begun by it: connect(2), or the first write with fast open.
    pub(super) connecting: bool,
    /// Bytes written so far.
    pub(super) written: usize,
    /// Bytes read so far (MSG_WAITALL).
    pub(super) read: Vec<u8>,
    /// The socket that was closed, and waits for its last bytes to be acknowledged, so long at most (SO_LINGER).
    pub(super) lingering: Option<(SocketId, Duration)>,
}

impl Progress {
    pub(super) fn lingers(&self) -> bool {
        self.lingering.is_some()
    }
}

/// What came of trying a call.
#[derive(Debug)]
pub(super) enum Turn {
    /// It has an answer: an outcome, or an errno.
    Ended(Result<Outcome, i32>),
    /// It waits, so long at most.
    Waits(Option<Duration>),
}

impl From<Result<Outcome, i32>> for Turn {
    fn from(outcome: Result<Outcome, i32>) -> Self {
        Turn::Ended(outcome)
    }
}

/// The number of an error.
pub(super) fn errno(error: Errno) -> i32 {
    let number = symbols::value(error.id(), &crate::parse::Defines::default());
    number
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(libc::EIO)
}

/// The bytes of an address as a socket of this family tells it.
pub(super) fn told(address: SocketAddress, family: i32) -> Vec<u8> {
    let version = match family {
        libc::AF_INET6 => crate::options::IpVersion::V6,
        _ => crate::options::IpVersion::V4,
    };
    let ip = match (version, address.address) {
        // "Any" is told in the socket's own family.
        (crate::options::IpVersion::V6, IpAddr::V4(ip)) if ip.is_unspecified() => {
            Ipv6Addr::UNSPECIFIED.into()
        }
        (_, ip) => ip,
    };
    address_of(std::net::SocketAddr::new(ip, address.port), version)
}

/// The family of a `sockaddr`.
fn family(bytes: &[u8]) -> Option<i32> {
    let family = bytes.get(..2)?.try_into().ok()?;
    Some(i32::from(u16::from_ne_bytes(family)))
}

/// The address in a `sockaddr` for a socket of a family; EINVAL where it is too short, EAFNOSUPPORT where it is another family's.
pub(super) fn given(bytes: &[u8], own: i32) -> Result<SocketAddress, i32> {
    let found = family(bytes).ok_or(libc::EINVAL)?;
    let port = bytes.get(2..4).and_then(|port| port.try_into().ok());
    let port = u16::from_be_bytes(port.ok_or(libc::EINVAL)?);
    let ip: IpAddr = match (own, found) {
        (libc::AF_INET, libc::AF_INET) => {
            let octets: Option<[u8; 4]> = bytes.get(4..8).and_then(|octets| octets.try_into().ok());
            Ipv4Addr::from(octets.ok_or(libc::EINVAL)?).into()
        }
        (libc::AF_INET6, libc::AF_INET6) => {
            let octets: Option<[u8; 16]> =
                bytes.get(8..24).and_then(|octets| octets.try_into().ok());
            Ipv6Addr::from(octets.ok_or(libc::EINVAL)?).into()
        }
        _ => return Err(libc::EAFNOSUPPORT),
    };
    Ok(SocketAddress::new(ip, port))
}

impl ModelWorld {
    /// Tries a call.
    pub(super) fn attempt(&mut self, call: &Call, progress: &mut Progress) -> Turn {
        match call {
            Call::Socket {
                domain,
                kind,
                protocol,
            } => self.open_socket(*domain, *kind, *protocol).into(),
            Call::Bind { fd, address } => self.bind(*fd, address).into(),
            Call::Listen { fd, backlog } => self.listen(*fd, *backlog).into(),
            Call::Accept { fd, flags } => self.accept(*fd, *flags),
            Call::Connect { fd, address } => self.connect(*fd, address, progress),
            Call::Read { .. } | Call::Receive { .. } | Call::Write { .. } | Call::Send { .. } => {
                self.transfer(call, progress)
            }
            // What is only thrown away needs no buffer.
            Call::ReceiveIntoNowhere { fd, length, flags } if flags & libc::MSG_TRUNC != 0 => {
                let call = Call::Receive {
                    fd: *fd,
                    pieces: vec![*length],
                    control: 0,
                    flags: *flags,
                };
                self.transfer(&call, progress)
            }
            Call::Close { fd } => self.close(*fd, progress),
            Call::Shutdown { fd, how } => self.shutdown(*fd, *how).into(),
            Call::SetOption {
                fd,
                level,
                name,
                value,
            } => self.set_option(*fd, (*level, *name), value).into(),
            Call::GetOption {
                fd,
                level,
                name,
                value,
            } => self.option(*fd, (*level, *name), value.len()).into(),
            Call::SocketName { fd } => self.name(*fd, false).into(),
            Call::PeerName { fd } => self.name(*fd, true).into(),
            Call::Poll { files, timeout } => self.poll(files, *timeout),
            Call::EpollCreate { .. } => {
                let fd = self.files.add(File::Epoll(Epoll::default()));
                Ok(Outcome::of(fd.into())).into()
            }
            Call::EpollControl {
                epoll,
                operation,
                fd,
                events,
                data,
            } => self
                .epoll_control((*epoll, *operation), *fd, (*events, *data))
                .into(),
            Call::EpollWait {
                epoll,
                most,
                timeout,
            } => self.epoll_wait(*epoll, *most, *timeout),
            _ => self.file(call, progress),
        }
    }

    /// What a call comes to that has waited long enough.
    pub(super) fn expire(&mut self, call: &Call, progress: &mut Progress) -> Result<Outcome, i32> {
        match call {
            Call::Connect { .. } => Err(libc::EINPROGRESS),
            Call::Write { .. } | Call::Send { .. }
                if progress.connecting && progress.written == 0 =>
            {
                Err(libc::EINPROGRESS)
            }
            Call::Poll { files, .. } => {
                Ok(Outcome::telling(0, Output::Polled(vec![0; files.len()])))
            }
            Call::EpollWait { .. } => Ok(Outcome::telling(0, Output::Events(Vec::new()))),
            Call::Close { .. } => Ok(Outcome::of(0)),
            _ if progress.written > 0 => Ok(super::transfer::count(progress.written)),
            _ if !progress.read.is_empty() => {
                Ok(super::transfer::read(std::mem::take(&mut progress.read)))
            }
            _ => Err(libc::EAGAIN),
        }
    }

    fn open_socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Outcome, i32> {
        let version = match domain {
            libc::AF_INET => IpVersion::V4,
            libc::AF_INET6 => IpVersion::V6,
            _ => return Err(libc::EAFNOSUPPORT),
        };
        let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        let kind = kind & !flags;
        let byte = u8::try_from(protocol).map_err(|_| libc::EPROTONOSUPPORT)?;
        let (host_kind, protocol) = match (kind, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => (SocketKind::Tcp, libc::IPPROTO_TCP),
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => (SocketKind::Udp, libc::IPPROTO_UDP),
            (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => {
                (SocketKind::Icmp, protocol)
            }
            (libc::SOCK_RAW, 1..) => {
                let raw = SocketKind::Raw {
                    protocol: byte,
                    header_included: protocol == libc::IPPROTO_RAW,
                };
                (raw, protocol)
            }
            _ => return Err(libc::EPROTONOSUPPORT),
        };
        let id = self.host.socket(host_kind, version).map_err(errno)?;
        let fd = self.files.add(File::Socket(SocketFile {
            id,
            family: domain,
            kind,
            protocol,
            nonblocking: flags & libc::SOCK_NONBLOCK != 0,
            receive_timeout: None,
            send_timeout: None,
            error_queue: ErrorQueue::default(),
            tells_queued: false,
            remembered: std::collections::BTreeMap::new(),
        }));
        Ok(Outcome::of(fd.into()))
    }

    fn bind(&mut self, fd: Fd, address: &[u8]) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        let address = given(address, socket.family)?;
        self.host.bind(socket.id, address).map_err(errno)?;
        Ok(Outcome::of(0))
    }

    fn listen(&mut self, fd: Fd, backlog: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        if socket.kind != libc::SOCK_STREAM {
            return Err(libc::EOPNOTSUPP);
        }
        // A negative one is a very large one (inet_listen).
        let backlog = backlog.cast_unsigned();
        self.host
            .listen(self.now, socket.id, backlog)
            .map_err(errno)?;
        Ok(Outcome::of(0))
    }

    fn accept(&mut self, fd: Fd, flags: i32) -> Turn {
        let socket = match self.files.socket(fd) {
            Ok(socket) if socket.kind == libc::SOCK_STREAM => socket.clone(),
            Ok(_) => return Turn::Ended(Err(libc::EOPNOTSUPP)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        match self.host.accept(self.now, socket.id) {
            Ok((id, peer)) => {
                let fd = self.files.add(File::Socket(SocketFile {
                    id,
                    nonblocking: flags & libc::SOCK_NONBLOCK != 0,
                    error_queue: socket.error_queue.inherited(),
                    ..socket
                }));
                let peer = told(peer, socket.family);
                Turn::Ended(Ok(Outcome::telling(fd.into(), Output::Address(peer))))
            }
            Err(Errno::Eagain) if !socket.nonblocking => Turn::Waits(socket.receive_timeout),
            Err(error) => Turn::Ended(Err(errno(error))),
        }
    }

    fn connect(&mut self, fd: Fd, address: &[u8], progress: &mut Progress) -> Turn {
        let socket = match self.files.socket(fd) {
            Ok(socket) => socket,
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let (id, nonblocking, timeout) = (socket.id, socket.nonblocking, socket.send_timeout);
        if family(address) == Some(libc::AF_UNSPEC) {
            let done = self.host.disconnect(self.now, id);
            return Turn::Ended(done.map(|()| Outcome::of(0)).map_err(errno));
        }
        let address = match given(address, socket.family) {
            Ok(address) => address,
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        match self.host.connect(self.now, id, address) {
            Ok(()) => Turn::Ended(Ok(Outcome::of(0))),
            Err(Errno::Einprogress) if !nonblocking => {
                progress.connecting = true;
                Turn::Waits(timeout)
            }
            Err(Errno::Ealready) if !nonblocking => Turn::Waits(timeout),
            Err(error) => Turn::Ended(Err(errno(error))),
        }
    }

    fn close(&mut self, fd: Fd, progress: &mut Progress) -> Turn {
        if let Some((id, time)) = progress.lingering {
            return match self.host.is_closing(id) {
                true => Turn::Waits(Some(time)),
                false => Turn::Ended(Ok(Outcome::of(0))),
            };
        }
        let socket = match self.files.close(fd) {
            Ok(Some(File::Socket(socket))) => socket,
            Ok(_) => return Turn::Ended(Ok(Outcome::of(0))),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let linger = match self.host.option(socket.id, OptionName::Linger) {
            Ok(OptionValue::Linger(linger)) => linger.filter(|time| !time.is_zero()),
            _ => None,
        };
        self.host.close(self.now, socket.id);
        match linger {
            Some(time) if self.host.is_closing(socket.id) => {
                progress.lingering = Some((socket.id, time));
                Turn::Waits(Some(time))
            }
            _ => Turn::Ended(Ok(Outcome::of(0))),
        }
    }

    fn shutdown(&mut self, fd: Fd, how: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(libc::EINVAL),
        };
        if socket.kind != libc::SOCK_STREAM {
            let connected = self.host.peer_address(socket.id).is_some();
            return if connected {
                Ok(Outcome::of(0))
            } else {
                Err(libc::ENOTCONN)
            };
        }
        self.host
            .shutdown(self.now, socket.id, how)
            .map_err(errno)?;
        Ok(Outcome::of(0))
    }

    fn name(&mut self, fd: Fd, peer: bool) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        let address = if peer {
            self.host.peer_address(socket.id).ok_or(libc::ENOTCONN)?
        } else {
            self.host.local_address(socket.id).ok_or(libc::EBADF)?
        };
        let address = told(address, socket.family);
        Ok(Outcome::telling(0, Output::Address(address)))
    }
}
