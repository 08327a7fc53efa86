//! Services: listeners that serve, or misbehave on purpose. They do what those of the kernel world do (`world/listener.rs`).

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use transect_config::IpVersion;
use transect_host::{Errno, Shutdown, SocketAddress, SocketKind, SocketOption};

use super::socket::{CallError, Socket, Sockets};
use crate::error::WorldError;
use crate::scenario::{SocketFilter, TcpListen, TcpService, UdpListen, UdpService};

/// A service that runs until it is stopped.
pub(super) struct Service {
    pub(super) name: Option<String>,
    listener: Socket,
    connections: Rc<RefCell<Vec<Socket>>>,
}

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

impl Service {
    /// Listens for TCP connections, and does `serve` with each.
    pub(super) fn tcp<F: Future<Output = Result<(), CallError>> + 'static>(
        sockets: &Sockets,
        plan: &TcpPlan,
        serve: impl Fn(Socket, SocketAddress) -> F + 'static,
    ) -> Result<Self, WorldError> {
        let failing = format!("listening on port {}", plan.port);
        let listener = plan.open(sockets).map_err(|error| error.doing(&failing))?;
        let service = Service {
            name: plan.name.clone(),
            listener: listener.clone(),
            connections: Rc::default(),
        };
        if plan.accepts {
            let connections = Rc::clone(&service.connections);
            let clock = sockets.clock.clone();
            sockets.clock.start(async move {
                // A listener that was closed ends its program.
                while let Ok((connection, peer)) = accepted(&listener).await {
                    connections.borrow_mut().push(connection.clone());
                    clock.start(serve(connection, peer));
                }
            });
        }
        Ok(service)
    }

    /// The built-in TCP services.
    pub(super) fn built_in(
        sockets: &Sockets,
        plan: &TcpListen,
        version: IpVersion,
    ) -> Result<Self, WorldError> {
        let address = plan.address.as_deref().map(|text| {
            text.parse()
                .map_err(WorldError::doing(format!("\"{text}\" is no IP address")))
        });
        let opened = TcpPlan {
            name: plan.name.clone(),
            address: address.transpose()?.unwrap_or(any(version)),
            port: plan.port,
            backlog: plan.backlog.unwrap_or(128),
            receive_buffer: plan.receive_buffer,
            v6_only: false,
            filter: plan.filter,
            accepts: plan.service != TcpService::NeverAccept,
        };
        let service = plan.service;
        Service::tcp(sockets, &opened, move |connection, _| async move {
            serve(&connection, service).await
        })
    }

    /// Listens for datagrams.
    pub(super) fn udp(
        sockets: &Sockets,
        plan: &UdpListen,
        version: IpVersion,
    ) -> Result<Self, WorldError> {
        let open = || {
            let socket = sockets.open(SocketKind::Udp, version)?;
            if let Some(bytes) = plan.receive_buffer {
                socket.set(SocketOption::ReceiveBuffer(bytes))?;
            }
            attach(&socket, plan.filter)?;
            socket.bind(SocketAddress::new(any(version), plan.port))?;
            Ok(socket)
        };
        let socket = open().map_err(|error: CallError| {
            error.doing(&format!("listening for datagrams on port {}", plan.port))
        })?;
        let (service, listener) = (plan.service, socket.clone());
        if service != UdpService::Unread {
            sockets.clock.start(async move {
                loop {
                    match listener.receive_from(None).await {
                        Ok((bytes, peer)) if service == UdpService::Echo => {
                            // An error of an earlier answer is told here; it is not the service's affair.
                            let _ = listener.send_to(&bytes, Some(peer)).await;
                        }
                        Ok(_) => {}
                        Err(CallError::Errno(Errno::Ebadf) | CallError::World(_)) => break,
                        Err(CallError::Errno(_)) => {}
                    }
                }
            });
        }
        Ok(Service {
            name: plan.name.clone(),
            listener: socket,
            connections: Rc::default(),
        })
    }

    /// Ends it, and its connections with it.
    pub(super) fn stop(self) -> Result<(), WorldError> {
        for connection in self.connections.take() {
            // The peer may have closed it already.
            let _ = connection.shutdown(Shutdown::Both);
            connection.close()?;
        }
        self.listener.close()
    }
}

/// How a TCP listener is opened.
pub(super) struct TcpPlan {
    pub(super) name: Option<String>,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) backlog: u16,
    pub(super) receive_buffer: Option<u32>,
    /// Of IPv6: whether IPv4 connections are left to others.
    pub(super) v6_only: bool,
    pub(super) filter: Option<SocketFilter>,
    /// Whether connections are taken out of the accept queue.
    pub(super) accepts: bool,
}

impl TcpPlan {
    /// Listens.
    pub(super) fn open(&self, sockets: &Sockets) -> Result<Socket, CallError> {
        let socket = sockets.open(SocketKind::Tcp, IpVersion::of(self.address))?;
        socket.set(SocketOption::ReuseAddress(true))?;
        if self.v6_only && IpVersion::of(self.address) == IpVersion::V6 {
            socket.set(SocketOption::V6Only(true))?;
        }
        if let Some(bytes) = self.receive_buffer {
            // Before listen(): the window scale of accepted connections comes from it (tcp(7)).
            socket.set(SocketOption::ReceiveBuffer(bytes))?;
        }
        attach(&socket, self.filter)?;
        socket.bind(SocketAddress::new(self.address, self.port))?;
        socket.listen(u32::from(self.backlog))?;
        Ok(socket)
    }
}

fn attach(socket: &Socket, filter: Option<SocketFilter>) -> Result<(), CallError> {
    match filter {
        None => Ok(()),
        Some(SocketFilter::DropAll) => socket.set(SocketOption::Filter(false)),
    }
}

/// All addresses of a family.
pub(super) fn any(version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The next connection; one that the peer reset while it waited in the queue is passed over.
pub(super) async fn accepted(listener: &Socket) -> Result<(Socket, SocketAddress), CallError> {
    loop {
        match listener.accept().await {
            Err(CallError::Errno(Errno::Econnaborted)) => {}
            other => return other,
        }
    }
}

async fn serve(connection: &Socket, service: TcpService) -> Result<(), CallError> {
    if service == TcpService::Unread {
        return Ok(());
    }
    loop {
        let bytes = connection.read(CHUNK, None).await?;
        if bytes.is_empty() {
            break;
        }
        match service {
            TcpService::Echo => connection.write_all(&bytes, None).await?,
            TcpService::AnswerAndClose => {
                connection.write_all(b"answer\n", None).await?;
                break;
            }
            TcpService::ReadOnly | TcpService::Unread | TcpService::NeverAccept => {}
        }
    }
    connection.shutdown(Shutdown::Write)
}
