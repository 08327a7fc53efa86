//! Servers: each listens on all addresses of both families, and is done with a connection when it has closed it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

use serde::Serialize;
use transect_config::IpVersion;
use transect_host::{Errno, SocketAddress, SocketKind, SocketOption};

use super::{iperf, web};
use crate::error::WorldError;
use crate::model::mysql;
use crate::model::service::{TcpPlan, accepted, any};
use crate::model::socket::{CallError, Socket, Sockets};

/// Bytes read or written at once.
const CHUNK: usize = 64 * 1024;
/// Connections that may wait in the accept queue: net.core.somaxconn.
const BACKLOG: u16 = 4096;
/// What a source sends unless told.
const SOURCE_BYTES: u64 = 1 << 20;

/// What a server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// Gives files below a folder by HTTP/1.1; without a folder one page, `/hello.html`.
    Http(Option<PathBuf>),
    /// Sends back what it receives (RFC 862).
    Echo,
    /// Receives and throws away (RFC 863).
    Sink,
    /// Sends so many bytes to everybody, and closes.
    Source(u64),
    /// Greets, logs in and answers `select NUMBER` as a MySQL server does.
    Mysql,
    /// Measures as iperf3 does, over TCP.
    Iperf3,
    /// Sends datagrams back.
    EchoUdp,
    /// Throws datagrams away.
    DiscardUdp,
}

/// A server and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// What it does.
    pub kind: ServiceKind,
    /// Where.
    pub port: u16,
}

impl ServiceKind {
    fn name(&self) -> &'static str {
        match self {
            ServiceKind::Http(_) => "http",
            ServiceKind::Echo => "echo",
            ServiceKind::Sink => "sink",
            ServiceKind::Source(_) => "source",
            ServiceKind::Mysql => "mysql",
            ServiceKind::Iperf3 => "iperf3",
            ServiceKind::EchoUdp => "echo-udp",
            ServiceKind::DiscardUdp => "discard-udp",
        }
    }
}

impl FromStr for ServicePlan {
    type Err = String;

    /// Reads `http:PORT[:FOLDER]`, `source:PORT[:BYTES]`, `echo:PORT`, `sink:PORT`, `mysql:PORT`, `iperf3:PORT`,
    /// `echo-udp:PORT`, `discard-udp:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected SERVICE:PORT with one of http, echo, sink, source, mysql, iperf3, echo-udp, discard-udp";
        let (name, rest) = text.split_once(':').ok_or(expected)?;
        let (port, more) = match rest.split_once(':') {
            Some((port, more)) => (port, Some(more)),
            None => (rest, None),
        };
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("\"{port}\" is no port; {expected}"))?;
        let kind = match (name, more) {
            ("http", folder) => ServiceKind::Http(folder.map(PathBuf::from)),
            ("source", None) => ServiceKind::Source(SOURCE_BYTES),
            ("source", Some(bytes)) => ServiceKind::Source(
                bytes
                    .parse()
                    .map_err(|_| format!("\"{bytes}\" is no number of bytes"))?,
            ),
            ("echo", None) => ServiceKind::Echo,
            ("sink", None) => ServiceKind::Sink,
            ("mysql", None) => ServiceKind::Mysql,
            ("iperf3", None) => ServiceKind::Iperf3,
            ("echo-udp", None) => ServiceKind::EchoUdp,
            ("discard-udp", None) => ServiceKind::DiscardUdp,
            ("echo" | "sink" | "mysql" | "iperf3" | "echo-udp" | "discard-udp", Some(more)) => {
                return Err(format!("{name} takes a port only, not \"{more}\""));
            }
            _ => return Err(expected.to_owned()),
        };
        Ok(ServicePlan { kind, port })
    }
}

/// What became of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceReport {
    /// `http`, `echo`, …
    pub service: &'static str,
    /// Its port.
    pub port: u16,
    /// Connections accepted; datagrams received.
    pub accepted: u64,
    /// Connections that are open still.
    pub open: u64,
    /// Connections that ended with an error.
    pub failed: u64,
    /// Bytes that the server read.
    pub received: u64,
    /// Bytes that the server wrote.
    pub sent: u64,
}

/// A server that runs.
pub(super) struct Serving {
    report: Counts,
}

/// What a server counts while it runs.
#[derive(Clone)]
pub(super) struct Counts(Rc<RefCell<ServiceReport>>);

impl Counts {
    pub(super) fn received(&self, bytes: usize) {
        let mut report = self.0.borrow_mut();
        report.received = report.received.saturating_add(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        let mut report = self.0.borrow_mut();
        report.sent = report.sent.saturating_add(bytes as u64);
    }

    fn begun(&self) {
        let mut report = self.0.borrow_mut();
        report.accepted = report.accepted.saturating_add(1);
        report.open = report.open.saturating_add(1);
    }

    fn ended(&self, failed: bool) {
        let mut report = self.0.borrow_mut();
        report.open = report.open.saturating_sub(1);
        report.failed = report.failed.saturating_add(u64::from(failed));
    }
}

impl Serving {
    pub(super) fn start(sockets: &Sockets, plan: &ServicePlan) -> Result<Self, WorldError> {
        let report = Counts(Rc::new(RefCell::new(ServiceReport {
            service: plan.kind.name(),
            port: plan.port,
            accepted: 0,
            open: 0,
            failed: 0,
            received: 0,
            sent: 0,
        })));
        let failing = format!("serving {}:{}", plan.kind.name(), plan.port);
        if let ServiceKind::Http(Some(folder)) = &plan.kind
            && !folder.is_dir()
        {
            return Err(WorldError(format!(
                "{failing}: there is no folder {}",
                folder.display()
            )));
        }
        for version in [IpVersion::V4, IpVersion::V6] {
            let started = match plan.kind {
                ServiceKind::EchoUdp | ServiceKind::DiscardUdp => {
                    listen_udp(sockets, plan, version, &report)
                }
                _ => listen_tcp(sockets, plan, version, &report),
            };
            started.map_err(|error| error.doing(&failing))?;
        }
        Ok(Serving { report })
    }

    pub(super) fn report(&self) -> ServiceReport {
        self.report.0.borrow().clone()
    }
}

fn listen_tcp(
    sockets: &Sockets,
    plan: &ServicePlan,
    version: IpVersion,
    counts: &Counts,
) -> Result<(), CallError> {
    let listener = TcpPlan {
        name: None,
        address: any(version),
        port: plan.port,
        backlog: BACKLOG,
        receive_buffer: None,
        v6_only: true,
        filter: None,
        accepts: true,
    }
    .open(sockets)?;
    let (kind, counts, clock) = (plan.kind.clone(), counts.clone(), sockets.clock.clone());
    let tests = iperf::Server::default();
    sockets.clock.start(async move {
        while let Ok((connection, _)) = accepted(&listener).await {
            let (kind, counts, tests) = (kind.clone(), counts.clone(), tests.clone());
            counts.begun();
            clock.start(async move {
                let served = match kind {
                    ServiceKind::Iperf3 => tests.serve(&connection, &counts).await,
                    _ => serve(&connection, &kind, &counts).await,
                };
                let closed = connection.close();
                counts.ended(served.is_err() || closed.is_err());
            });
        }
    });
    Ok(())
}

async fn serve(connection: &Socket, kind: &ServiceKind, counts: &Counts) -> Result<(), CallError> {
    match kind {
        ServiceKind::Http(folder) => web::answer(connection, folder.as_deref(), counts).await,
        ServiceKind::Source(bytes) => source(connection, *bytes, counts).await,
        ServiceKind::Mysql => mysql::session(connection).await,
        _ => loop {
            let bytes = connection.read(CHUNK, None).await?;
            if bytes.is_empty() {
                return Ok(());
            }
            counts.received(bytes.len());
            if *kind == ServiceKind::Echo {
                connection.write_all(&bytes, None).await?;
                counts.sent(bytes.len());
            }
        },
    }
}

async fn source(connection: &Socket, bytes: u64, counts: &Counts) -> Result<(), CallError> {
    let mut at = 0;
    while at < bytes {
        let chunk = pattern(at, bytes);
        connection.write_all(&chunk, None).await?;
        counts.sent(chunk.len());
        at = at.saturating_add(chunk.len() as u64);
    }
    Ok(())
}

/// What a source sends from a place on: the lower bytes of the number of each eight bytes, so that every place is told from
/// its neighbours.
fn pattern(from: u64, end: u64) -> Vec<u8> {
    let until = from.saturating_add(CHUNK as u64).min(end);
    (from..until)
        .map(|at| {
            (at / 8)
                .to_be_bytes()
                .get((at % 8) as usize)
                .copied()
                .unwrap_or(0)
        })
        .collect()
}

fn listen_udp(
    sockets: &Sockets,
    plan: &ServicePlan,
    version: IpVersion,
    counts: &Counts,
) -> Result<(), CallError> {
    let socket = sockets.open(SocketKind::Udp, version)?;
    if version == IpVersion::V6 {
        socket.set(SocketOption::V6Only(true))?;
    }
    socket.bind(SocketAddress::new(any(version), plan.port))?;
    let (echo, counts) = (plan.kind == ServiceKind::EchoUdp, counts.clone());
    sockets.clock.start(async move {
        loop {
            match socket.receive_from(None).await {
                Ok((bytes, peer)) => {
                    counts.begun();
                    counts.received(bytes.len());
                    // What an earlier answer met with is told here; it is not the service's affair.
                    if echo && socket.send_to(&bytes, Some(peer)).await.is_ok() {
                        counts.sent(bytes.len());
                    }
                    counts.ended(false);
                }
                Err(CallError::Errno(Errno::Ebadf) | CallError::World(_)) => break,
                Err(CallError::Errno(_)) => {}
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_as_they_are_documented() {
        let read = |text: &str| text.parse::<ServicePlan>();
        assert_eq!(
            read("http:8080:/srv/www:old").unwrap(),
            ServicePlan {
                kind: ServiceKind::Http(Some("/srv/www:old".into())),
                port: 8080
            }
        );
        assert_eq!(
            read("source:19:1000").unwrap().kind,
            ServiceKind::Source(1000)
        );
        assert_eq!(read("echo-udp:7").unwrap().kind, ServiceKind::EchoUdp);
        for (text, says) in [
            ("echo", "expected SERVICE:PORT"),
            ("echo:0", "\"0\" is no port"),
            ("echo:70000", "\"70000\" is no port"),
            ("echo:7:x", "takes a port only"),
            ("source:19:many", "no number of bytes"),
            ("ftp:21", "expected SERVICE:PORT"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_source_has_different_bytes_everywhere() {
        let first = pattern(0, 1 << 20);
        assert_eq!(first.len(), CHUNK);
        assert_eq!(
            first.get(..16).unwrap(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        );
        assert_eq!(pattern(12, 15), [0, 0, 0]);
        assert_eq!(pattern(15, 16), [1]);
    }
}
