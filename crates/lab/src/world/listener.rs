//! Built-in listeners: TCP and UDP services that misbehave on purpose.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::sockets::prefer_cubic;
use super::{HostNamespace, WorldError};
use crate::scenario::{SocketFilter, TcpListen, TcpService, UdpListen, UdpService};

/// A listener that serves until it is dropped.
pub(super) struct Listener {
    stop: Arc<OwnedFd>,
    /// Connections that a thread may be blocked in.
    connections: Connections,
    thread: Option<JoinHandle<io::Result<()>>>,
}

type Connections = Arc<Mutex<Vec<TcpStream>>>;

impl Listener {
    /// Listens for TCP connections.
    pub(super) fn tcp(
        host: &HostNamespace,
        plan: &TcpListen,
        ipv6: bool,
    ) -> Result<Self, WorldError> {
        let address = address(plan.address.as_deref(), plan.port, ipv6)?;
        let (receive_buffer, backlog) = (plan.receive_buffer, plan.backlog.unwrap_or(128));
        let filter = plan.filter;
        let open = move || {
            let socket = bound(address, Type::STREAM, Protocol::TCP, receive_buffer)?;
            attach(&socket, filter)?;
            socket.listen(i32::from(backlog))?;
            Ok(socket)
        };
        let service = plan.service;
        Listener::start(host, plan.port, open, move |socket, stop, connections| {
            serve_tcp(&socket, service, &stop, &connections)
        })
    }

    /// Listens for datagrams.
    pub(super) fn udp(
        host: &HostNamespace,
        plan: &UdpListen,
        ipv6: bool,
    ) -> Result<Self, WorldError> {
        let address = address(None, plan.port, ipv6)?;
        let receive_buffer = plan.receive_buffer;
        let (service, filter) = (plan.service, plan.filter);
        let open = move || {
            let socket = bound(address, Type::DGRAM, Protocol::UDP, receive_buffer)?;
            attach(&socket, filter)?;
            Ok(socket)
        };
        Listener::start(host, plan.port, open, move |socket, stop, _| {
            serve_udp(&socket, service, &stop)
        })
    }

    /// Opens the socket in the host and serves it on a thread; returns when it listens.
    fn start(
        host: &HostNamespace,
        port: u16,
        open: impl FnOnce() -> io::Result<Socket> + Send + 'static,
        serve: impl FnOnce(Socket, Arc<OwnedFd>, Connections) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, WorldError> {
        let failing = || format!("{}: listening on port {port}", host.name());
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(WorldError::doing(failing()))?;
        let stop = Arc::new(stop);
        let connections = Connections::default();
        let socket = host
            .run(open)
            .and_then(|result| result)
            .map_err(WorldError::doing(failing()))?;
        let (their_stop, their_connections) = (Arc::clone(&stop), Arc::clone(&connections));
        let thread = std::thread::Builder::new()
            .name(format!("lab-port-{port}"))
            .spawn(move || serve(socket, their_stop, their_connections))
            .map_err(WorldError::doing(failing()))?;
        Ok(Listener {
            stop,
            connections,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // An eventfd takes eight bytes; nobody reads it, so that every poll sees it.
        let _ = rustix::io::write(self.stop.as_fd(), &1_u64.to_ne_bytes());
        let connections = self.connections.lock();
        for connection in connections.unwrap_or_else(PoisonError::into_inner).iter() {
            // Wakes a thread that is blocked in it; the peer may have closed it already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn address(given: Option<&str>, port: u16, ipv6: bool) -> Result<SocketAddr, WorldError> {
    let any = if ipv6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let ip = given.map_or(Ok(any), |text| {
        text.parse()
            .map_err(WorldError::doing(format!("\"{text}\" is no IP address")))
    })?;
    Ok(SocketAddr::new(ip, port))
}

fn bound(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    receive_buffer: Option<u32>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    if kind == Type::STREAM {
        prefer_cubic(&socket);
    }
    if let Some(bytes) = receive_buffer {
        // Before listen(): the window scale of accepted connections comes from it (tcp(7)).
        socket.set_recv_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Attaches a filter: a classic BPF program that says how many bytes of each packet to keep.
fn attach(socket: &Socket, filter: Option<SocketFilter>) -> io::Result<()> {
    match filter {
        None => Ok(()),
        Some(SocketFilter::DropAll) => {
            let keep_nothing = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
            socket.attach_filter(&[keep_nothing])
        }
    }
}

/// Waits until the socket is readable; false when the listener is to stop.
fn readable(socket: &impl AsFd, stop: &OwnedFd) -> io::Result<bool> {
    let mut waiting = [
        PollFd::new(stop, PollFlags::IN),
        PollFd::new(socket, PollFlags::IN),
    ];
    poll(&mut waiting, None)?;
    Ok(waiting[0].revents().is_empty())
}

/// Waits until the listener is to stop.
fn until_stopped(stop: &OwnedFd) -> io::Result<()> {
    poll(&mut [PollFd::new(stop, PollFlags::IN)], None)?;
    Ok(())
}

fn serve_tcp(
    listener: &Socket,
    service: TcpService,
    stop: &Arc<OwnedFd>,
    connections: &Connections,
) -> io::Result<()> {
    if service == TcpService::NeverAccept {
        return until_stopped(stop);
    }
    while readable(listener, stop)? {
        let (connection, _) = match listener.accept() {
            Ok(accepted) => accepted,
            // The peer reset it while it waited in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let connection = TcpStream::from(connection);
        let kept = connection.try_clone()?;
        connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
        if service != TcpService::Unread {
            // Ends with the connection; `drop` shuts it down.
            std::thread::Builder::new()
                .name("lab-connection".to_owned())
                .spawn(move || serve_connection(&connection, service))?;
        }
    }
    Ok(())
}

fn serve_connection(mut connection: &TcpStream, service: TcpService) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        match service {
            TcpService::Echo => connection.write_all(&buffer[..count])?,
            TcpService::AnswerAndClose => {
                connection.write_all(b"answer\n")?;
                break;
            }
            TcpService::ReadOnly | TcpService::Unread | TcpService::NeverAccept => {}
        }
    }
    // Another handle of the socket is kept: closing this one alone would send no FIN.
    connection.shutdown(Shutdown::Write)
}

fn serve_udp(socket: &Socket, service: UdpService, stop: &OwnedFd) -> io::Result<()> {
    if service == UdpService::Unread {
        return until_stopped(stop);
    }
    let socket = std::net::UdpSocket::from(socket.try_clone()?);
    let mut buffer = vec![0; 64 * 1024];
    while readable(&socket, stop)? {
        // An ICMP error of an earlier answer is delivered here; it is not the service's affair.
        if let Ok((count, peer)) = socket.recv_from(&mut buffer)
            && service == UdpService::Echo
        {
            let _ = socket.send_to(&buffer[..count], peer);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::testing::needs_namespaces;
    use std::time::Duration;

    fn host() -> HostNamespace {
        let host = HostNamespace::create("h").unwrap();
        let folder = tempfile::tempdir().unwrap();
        super::super::command::run_successfully(&host, folder.path(), "ip link set lo up").unwrap();
        host
    }

    fn plan(service: TcpService) -> TcpListen {
        TcpListen {
            name: None,
            port: 7,
            address: None,
            backlog: None,
            service,
            receive_buffer: None,
            filter: None,
        }
    }

    /// Connects to port 7 and sends; what comes back until the peer closes or falls silent.
    fn answer(host: &HostNamespace) -> Vec<u8> {
        host.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:7").unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            stream.write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        })
        .unwrap()
    }

    #[test]
    fn tcp_services_do_what_they_are_called_and_end_with_their_listener() {
        if needs_namespaces("tcp_services_do_what_they_are_called_and_end_with_their_listener") {
            return;
        }
        let host = host();
        for (service, expected) in [
            (TcpService::Echo, "hello"),
            (TcpService::AnswerAndClose, "answer\n"),
            (TcpService::ReadOnly, ""),
            (TcpService::Unread, ""),
            (TcpService::NeverAccept, ""),
        ] {
            let listener = Listener::tcp(&host, &plan(service), false).unwrap();
            assert_eq!(answer(&host), expected.as_bytes(), "{service:?}");
            drop(listener);
        }
        // A child that another test starts just now holds a copy of the socket until it calls exec.
        let ended = host
            .run(|| {
                (0..1000).any(|_| {
                    std::thread::sleep(Duration::from_millis(1));
                    TcpStream::connect("127.0.0.1:7").is_err()
                })
            })
            .unwrap();
        assert!(ended);
    }
}
