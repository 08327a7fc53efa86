//! Clients: what steps do with connections and datagrams. They do what those of the kernel world do (`world/client.rs`), call
//! by call, so that the same packets leave.

use std::net::SocketAddr;
use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{Errno, Shutdown, SocketAddress, SocketKind};

use super::service::any;
use super::socket::{CallError, Socket, Sockets};
use super::wire::later;
use crate::error::WorldError;
use crate::scenario::{
    ConnectEnd, Datagrams, Exchange, Receive, ReceiveEnd, SendData, SendEnd, Span,
};

/// How long connecting, sending and receiving are tried where a step does not say.
const PATIENCE: Duration = Duration::from_secs(4);

/// From a program's last call to its socket's end: what a neighbour answers at once still finds it.
const CLOSING: Duration = Duration::from_micros(200);

/// A step's time, or the default.
pub(super) fn time(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0)
}

/// `address:port`.
pub(super) fn parse_address(text: &str) -> Result<SocketAddress, WorldError> {
    let address: SocketAddr = text.parse().map_err(|_| {
        WorldError(format!(
            "\"{text}\" is no address; expected address:port, IPv6 in brackets"
        ))
    })?;
    Ok(SocketAddress::new(address.ip(), address.port()))
}

/// Opens one connection; nothing when it ended in another way than connected, as it was to.
pub(super) async fn connect(
    sockets: &Sockets,
    to: &str,
    timeout: Option<Span>,
    end: ConnectEnd,
) -> Result<Option<Socket>, WorldError> {
    let address = parse_address(to)?;
    let failing = format!("connect {to}");
    let socket = sockets
        .open(SocketKind::Tcp, IpVersion::of(address.address))
        .map_err(|error| error.doing(&failing))?;
    let deadline = socket.within(time(timeout, PATIENCE));
    let attempt = match socket.connect(address, deadline).await {
        Ok(()) => Ok(()),
        Err(CallError::Errno(errno)) => Err(errno),
        Err(CallError::World(error)) => return Err(error),
    };
    let got = match attempt {
        Ok(()) => ConnectEnd::Connected,
        Err(Errno::Etimedout) => ConnectEnd::Timeout,
        Err(Errno::Econnrefused) => ConnectEnd::Refused,
        Err(Errno::Enetunreach | Errno::Ehostunreach) => ConnectEnd::Unreachable,
        Err(Errno::Eperm | Errno::Eacces) => ConnectEnd::Forbidden,
        Err(_) => ConnectEnd::Any,
    };
    if attempt.is_err() {
        socket.close()?;
    }
    if end == ConnectEnd::Any || got == end {
        return Ok(attempt.is_ok().then_some(socket));
    }
    let happened = match attempt {
        Ok(()) => "connected".to_owned(),
        Err(errno) => errno.to_string(),
    };
    Err(WorldError(format!(
        "connect {to}: expected {end:?}, got: {happened}"
    )))
}

/// Sends on an open connection.
pub(super) async fn send(socket: &Socket, plan: &SendData) -> Result<(), WorldError> {
    let deadline = socket.within(time(plan.timeout, PATIENCE));
    let (mut left, chunk) = plan
        .payload()
        .ok_or_else(|| WorldError::new("`send` takes either `text` or `bytes`, and not both"))?;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        // A text is one chunk, so its sent part is what is no longer left.
        let from = plan.text.as_ref().map_or(0, |_| chunk.len() - wanted);
        let piece = chunk.get(from..from + wanted).unwrap_or_default();
        match socket.write(piece, deadline).await {
            Ok(count) => left = left.saturating_sub(count as u64),
            Err(CallError::Errno(Errno::Eagain)) => break,
            Err(CallError::Errno(_)) if plan.end == SendEnd::Any => return Ok(()),
            Err(error) => return Err(error.doing(&format!("send on {}", plan.name))),
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
pub(super) async fn receive(socket: &Socket, plan: &Receive) -> Result<(), WorldError> {
    let deadline = socket.within(time(plan.timeout, PATIENCE));
    let mut count = 0_u64;
    let wanted = plan.bytes.unwrap_or(u64::MAX);
    let got = loop {
        if count >= wanted {
            break ReceiveEnd::Complete;
        }
        match socket.read(64 * 1024, deadline).await {
            Ok(bytes) if bytes.is_empty() => {
                // With a number of bytes given, the peer closed too early.
                break match plan.bytes {
                    None => ReceiveEnd::Complete,
                    Some(_) => ReceiveEnd::Any,
                };
            }
            Ok(bytes) => count = count.saturating_add(bytes.len() as u64),
            Err(CallError::Errno(Errno::Eagain)) => break ReceiveEnd::Timeout,
            Err(CallError::Errno(Errno::Econnreset)) => break ReceiveEnd::Reset,
            Err(CallError::Errno(_)) => break ReceiveEnd::Any,
            Err(CallError::World(error)) => return Err(error),
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

/// Connections one after another, each with as much back as was sent.
pub(super) async fn exchange(sockets: &Sockets, plan: &Exchange) -> Result<(), WorldError> {
    let timeout = time(plan.timeout, Duration::from_secs(20));
    let bytes = plan.bytes.unwrap_or(100);
    for number in 0..plan.connections.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            sockets.clock.sleep(pause.0).await;
        }
        let connected = connect(
            sockets,
            &plan.to,
            Some(Span(timeout)),
            ConnectEnd::Connected,
        )
        .await?;
        let Some(socket) = connected else { continue };
        let exchanged = exchange_one(&socket, bytes, timeout).await;
        socket.close()?;
        exchanged.map_err(|error| {
            error.doing(&format!("exchange with {}, connection {number}", plan.to))
        })?;
    }
    Ok(())
}

async fn exchange_one(socket: &Socket, bytes: u64, timeout: Duration) -> Result<(), CallError> {
    let chunk = vec![b'x'; 8 * 1024];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let piece = chunk.get(..size).unwrap_or_default();
        socket.write_all(piece, socket.within(timeout)).await?;
        socket.read_exact(size, socket.within(timeout)).await?;
        left -= size as u64;
    }
    socket.shutdown(Shutdown::Write)?;
    let rest = socket.read(chunk.len(), socket.within(timeout)).await?;
    if rest.is_empty() {
        return Ok(());
    }
    Err(WorldError::new("more came back than was sent").into())
}

/// Datagrams through a UDP socket.
pub(super) async fn datagrams(sockets: &Sockets, plan: &Datagrams) -> Result<(), WorldError> {
    let to = parse_address(&plan.to)?;
    let failing = |what: &str| format!("datagrams to {}: {what}", plan.to);
    // Not connected: an ICMP error would end the sending.
    let version = IpVersion::of(to.address);
    let socket = sockets
        .open(SocketKind::Udp, version)
        .map_err(|error| error.doing(&failing("opening a socket")))?;
    socket
        .bind(SocketAddress::new(any(version), 0))
        .map_err(|error| error.doing(&failing("binding a socket")))?;
    let done = send_and_await(&socket, to, plan).await;
    sockets.clock.sleep(CLOSING).await;
    socket.close()?;
    done.map_err(|error| error.doing(&failing("sendto")))
}

async fn send_and_await(
    socket: &Socket,
    to: SocketAddress,
    plan: &Datagrams,
) -> Result<(), CallError> {
    let payload = vec![b'x'; usize::try_from(plan.bytes.unwrap_or(32)).unwrap_or(32)];
    let mut refused = 0;
    for number in 0..plan.count.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            socket.pause(pause.0).await;
        }
        match socket.send_to(&payload, Some(to)).await {
            Ok(()) => {}
            Err(CallError::Errno(Errno::Eperm)) => refused += 1,
            Err(error) => return Err(error),
        }
    }
    check_refused(plan.refused, refused)?;
    let Some(expected) = plan.answers else {
        return Ok(());
    };
    let deadline = socket.within(time(plan.timeout, Duration::from_secs(1)));
    let mut answers = 0;
    // Where none is expected, wait for one that comes all the same.
    while answers < expected.max(1) {
        match socket.receive_from(deadline).await {
            Ok(_) => answers += 1,
            Err(CallError::Errno(Errno::Eagain)) => break,
            Err(error) => return Err(error),
        }
    }
    if answers == expected {
        return Ok(());
    }
    Err(WorldError(format!("expected {expected} answers, got {answers}")).into())
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

impl Socket {
    /// Lets time pass.
    async fn pause(&self, time: Duration) {
        let clock = self.clock();
        clock.until(later(clock.now(), time)).await;
    }
}
