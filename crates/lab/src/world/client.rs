//! Built-in clients: connections that steps open, use and close, and datagrams. Each must end as its step says.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::sockets::prefer_cubic;
use super::{HostNamespace, WorldError};
use crate::scenario::{
    ConnectEnd, Datagrams, Exchange, Receive, ReceiveEnd, SendData, SendEnd, Span,
};

/// How long connecting, sending and receiving are tried where a step does not say.
const PATIENCE: Duration = Duration::from_secs(4);

/// A step's time, or the default.
pub(super) fn time(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0)
}

/// `address:port`.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, WorldError> {
    text.parse().map_err(|_| {
        WorldError(format!(
            "\"{text}\" is no address; expected address:port, IPv6 in brackets"
        ))
    })
}

/// Opens one connection; `None` when it ended in another way than connected, as it was to.
pub(super) fn connect(
    host: &HostNamespace,
    to: &str,
    timeout: Option<Span>,
    end: ConnectEnd,
) -> Result<Option<Socket>, WorldError> {
    let address = parse_address(to)?;
    let timeout = time(timeout, PATIENCE);
    let attempt: io::Result<Socket> = host
        .run(move || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            prefer_cubic(&socket);
            socket.connect_timeout(&address.into(), timeout)?;
            Ok(socket)
        })
        .map_err(WorldError::doing(format!("{}: connect {to}", host.name())))?;
    let got = match &attempt {
        Ok(_) => ConnectEnd::Connected,
        Err(error) => match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::TimedOut, _) => ConnectEnd::Timeout,
            (io::ErrorKind::ConnectionRefused, _) => ConnectEnd::Refused,
            (_, Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => ConnectEnd::Unreachable,
            (_, Some(libc::EPERM | libc::EACCES)) => ConnectEnd::Forbidden,
            _ => ConnectEnd::Any,
        },
    };
    if end == ConnectEnd::Any || got == end {
        return Ok(attempt.ok());
    }
    let happened = attempt.map_or_else(|error| error.to_string(), |_| "connected".to_owned());
    Err(WorldError(format!(
        "{}: connect {to}: expected {end:?}, got: {happened}",
        host.name()
    )))
}

/// Sends on an open connection.
pub(super) fn send(socket: &Socket, plan: &SendData) -> Result<(), WorldError> {
    let failing = || format!("send on {}", plan.name);
    let deadline = Instant::now() + time(plan.timeout, PATIENCE);
    let (mut left, chunk) = plan
        .payload()
        .ok_or_else(|| WorldError::new("`send` takes either `text` or `bytes`, and not both"))?;
    let mut writer = socket;
    while left > 0 {
        let now = Instant::now();
        if now >= deadline {
            break;
        }
        socket
            .set_write_timeout(Some(deadline - now))
            .map_err(WorldError::doing(failing()))?;
        let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        // A text is one chunk, so its sent part is what is no longer left.
        let from = plan.text.as_ref().map_or(0, |_| chunk.len() - wanted);
        match writer.write(&chunk[from..from + wanted]) {
            Ok(count) => left = left.saturating_sub(count as u64),
            Err(error) if is_timeout(&error) => break,
            Err(error) if is_interrupted(&error) => {}
            Err(_) if plan.end == SendEnd::Any => return Ok(()),
            Err(error) => return Err(WorldError::doing(failing())(error)),
        }
    }
    match (plan.end, left) {
        (SendEnd::Any, _) | (SendEnd::Taken, 0) => Ok(()),
        (SendEnd::Blocked, left) if left > 0 => Ok(()),
        (end, left) => Err(WorldError(format!(
            "send on {}: expected {end:?}, but {left} bytes were left",
            plan.name
        ))),
    }
}

/// Receives from an open connection.
pub(super) fn receive(socket: &Socket, plan: &Receive) -> Result<(), WorldError> {
    let deadline = Instant::now() + time(plan.timeout, PATIENCE);
    let mut count = 0_u64;
    let wanted = plan.bytes.unwrap_or(u64::MAX);
    let mut buffer = vec![0; 64 * 1024];
    let mut reader = socket;
    let got = loop {
        let now = Instant::now();
        if count >= wanted {
            break ReceiveEnd::Complete;
        }
        if now >= deadline {
            break ReceiveEnd::Timeout;
        }
        socket
            .set_read_timeout(Some(deadline - now))
            .map_err(WorldError::doing(format!("receive from {}", plan.name)))?;
        match reader.read(&mut buffer) {
            Ok(0) if plan.bytes.is_none() => break ReceiveEnd::Complete,
            // The peer closed too early.
            Ok(0) => break ReceiveEnd::Any,
            Ok(bytes) => count = count.saturating_add(bytes as u64),
            Err(error) if is_timeout(&error) => break ReceiveEnd::Timeout,
            Err(error) if is_interrupted(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                break ReceiveEnd::Reset;
            }
            Err(_) => break ReceiveEnd::Any,
        }
    };
    if plan.end == ReceiveEnd::Any || plan.end == got {
        return Ok(());
    }
    Err(WorldError(format!(
        "receive from {}: expected {:?}, got {got:?} after {count} bytes",
        plan.name, plan.end
    )))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A signal that is handled ends a wait with a time-out, `SA_RESTART` or not (signal(7)).
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Connections one after another, each with as much back as was sent.
pub(super) fn exchange(host: &HostNamespace, plan: &Exchange) -> Result<(), WorldError> {
    let timeout = time(plan.timeout, Duration::from_secs(20));
    let bytes = plan.bytes.unwrap_or(100);
    for number in 0..plan.connections.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            std::thread::sleep(pause.0);
        }
        let connected = connect(host, &plan.to, Some(Span(timeout)), ConnectEnd::Connected)?;
        let Some(socket) = connected else { continue };
        exchange_one(&socket, bytes, timeout).map_err(WorldError::doing(format!(
            "{}: exchange with {}, connection {number}",
            host.name(),
            plan.to
        )))?;
    }
    Ok(())
}

fn exchange_one(socket: &Socket, bytes: u64, timeout: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    let (mut reader, mut writer) = (socket, socket);
    let chunk = vec![b'x'; 8 * 1024];
    let mut back = vec![0; chunk.len()];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        writer.write_all(&chunk[..size])?;
        reader.read_exact(&mut back[..size])?;
        left -= size as u64;
    }
    socket.shutdown(Shutdown::Write)?;
    back.clear();
    match reader.take(1).read_to_end(&mut back)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

/// Datagrams through a UDP socket.
pub(super) fn datagrams(host: &HostNamespace, plan: &Datagrams) -> Result<(), WorldError> {
    let to = parse_address(&plan.to)?;
    let plan = plan.clone();
    let failing = || format!("{}: datagrams to {to}", host.name());
    host.run(move || send_datagrams(to, &plan))
        .map_err(WorldError::doing(failing()))?
        .map_err(WorldError::doing(failing()))
}

fn send_datagrams(to: SocketAddr, plan: &Datagrams) -> Result<(), WorldError> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Not connected: an ICMP error would end the sending.
    let socket = UdpSocket::bind((any, 0)).map_err(WorldError::doing("opening a socket"))?;
    let payload = vec![b'x'; usize::try_from(plan.bytes.unwrap_or(32)).unwrap_or(32)];
    let mut refused = 0;
    for number in 0..plan.count.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            std::thread::sleep(pause.0);
        }
        match socket.send_to(&payload, to) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused += 1,
            Err(error) => return Err(WorldError::doing("sendto")(error)),
        }
    }
    check_refused(plan.refused, refused)?;
    let Some(expected) = plan.answers else {
        return Ok(());
    };
    let deadline = Instant::now() + time(plan.timeout, Duration::from_secs(1));
    let mut answers = 0;
    let mut buffer = vec![0; 64 * 1024];
    // Where none is expected, wait for one that comes all the same.
    while answers < expected.max(1) {
        let now = Instant::now();
        if now >= deadline {
            break;
        }
        socket
            .set_read_timeout(Some(deadline - now))
            .map_err(WorldError::doing("waiting for answers"))?;
        match socket.recv_from(&mut buffer) {
            Ok(_) => answers += 1,
            Err(error) if is_timeout(&error) => break,
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return Err(WorldError::doing("waiting for answers")(error)),
        }
    }
    if answers == expected {
        return Ok(());
    }
    Err(WorldError(format!(
        "expected {expected} answers, got {answers}"
    )))
}

/// Compares how often the kernel said EPERM.
pub(super) fn check_refused(expected: Option<u32>, got: u32) -> Result<(), WorldError> {
    let expected = expected.unwrap_or(0);
    if got == expected {
        return Ok(());
    }
    Err(WorldError(format!(
        "the kernel refused {got} packets with EPERM, expected {expected}"
    )))
}
