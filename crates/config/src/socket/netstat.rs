//! Sockets from net-tools' `netstat`.

use super::end;
use super::ss;
use super::{Socket, SocketProtocol, SocketState, SocketTimer, TimerKind};
use crate::parse::Parsed;
use crate::prefix::IpVersion;

/// Which of the optional columns the header names.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    state: bool,
    user: bool,
    inode: bool,
    program: bool,
    timer: bool,
}

pub(super) fn read(text: &str) -> Parsed<Vec<Socket>> {
    let mut parsed: Parsed<Vec<Socket>> = Parsed::default();
    let mut columns = Columns {
        state: true,
        ..Columns::default()
    };
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with("Proto ") {
            columns = Columns {
                state: line.contains("State"),
                user: line.contains("User"),
                inode: line.contains("Inode"),
                program: line.contains("PID/Program"),
                timer: line.contains("Timer"),
            };
            continue;
        }
        // Unix, bluetooth and others stand under headlines of their own.
        if line.starts_with("Active ") {
            if line.contains("Internet") {
                continue;
            }
            break;
        }
        match socket(line, columns) {
            Some(socket) => parsed.value.push(socket),
            None => parsed.problem(
                number + 1,
                "a socket, such as \"tcp 0 0 0.0.0.0:22 0.0.0.0:* LISTEN\" (addresses whole: netstat -W)",
                line,
            ),
        }
    }
    parsed
}

fn socket(line: &str, columns: Columns) -> Option<Socket> {
    let mut words = line.split_whitespace().peekable();
    let (protocol, v6) = match words.next()? {
        "tcp" => (SocketProtocol::Tcp, false),
        "tcp6" => (SocketProtocol::Tcp, true),
        "udp" => (SocketProtocol::Udp, false),
        "udp6" => (SocketProtocol::Udp, true),
        "udplite" => (SocketProtocol::UdpLite, false),
        "udplite6" | "udpl6" => (SocketProtocol::UdpLite, true),
        "raw" => (SocketProtocol::Raw, false),
        "raw6" => (SocketProtocol::Raw, true),
        _ => return None,
    };
    let recv_queue = words.next()?.parse().ok()?;
    let send_queue = words.next()?.parse().ok()?;
    let local = end::read(words.next()?)?;
    let peer = end::read(words.next()?)?;
    let own = if v6 { IpVersion::V6 } else { IpVersion::V4 };
    let mut socket = Socket {
        protocol,
        version: match ss::version(&local, &peer) {
            // A wildcard says nothing, and an IPv6 socket may carry IPv4.
            Some(IpVersion::V4) => Some(IpVersion::V4),
            _ => Some(own),
        },
        recv_queue,
        send_queue,
        interface: local.interface.or(peer.interface),
        local: local.address,
        peer: peer.address,
        ..Socket::default()
    };
    if columns.state {
        // Connectionless sockets leave the column empty; raw ones show the number of TCP's CLOSE.
        let named = words.peek().and_then(|word| state(word));
        let numbered = protocol == SocketProtocol::Raw && words.peek() == Some(&"7");
        if named.is_some() || numbered {
            words.next();
        }
        socket.state = Some(named.unwrap_or(SocketState::Unconnected));
    }
    if columns.user {
        socket.uid = words.next().and_then(|word| word.parse().ok());
    }
    if columns.inode {
        socket.inode = words.next().and_then(|word| word.parse().ok());
    }
    let rest: Vec<&str> = words.collect();
    let timer_at = rest
        .iter()
        .rposition(|word| word.starts_with('('))
        .filter(|_| columns.timer);
    let program_end = timer_at.map_or(rest.len(), |place| place.saturating_sub(1));
    if columns.program {
        let program = rest.get(..program_end).unwrap_or_default().join(" ");
        socket.process = (!program.is_empty() && program != "-").then_some(program);
    }
    if let Some(place) = timer_at {
        socket.timer = timer(rest.get(place.wrapping_sub(1))?, rest.get(place)?);
    }
    Some(socket)
}

fn state(word: &str) -> Option<SocketState> {
    Some(match word {
        "ESTABLISHED" => SocketState::Established,
        "SYN_SENT" => SocketState::SynSent,
        "SYN_RECV" => SocketState::SynRecv,
        "FIN_WAIT1" => SocketState::FinWait1,
        "FIN_WAIT2" => SocketState::FinWait2,
        "TIME_WAIT" => SocketState::TimeWait,
        "CLOSE" => SocketState::Unconnected,
        "CLOSE_WAIT" => SocketState::CloseWait,
        "LAST_ACK" => SocketState::LastAck,
        "LISTEN" => SocketState::Listen,
        "CLOSING" => SocketState::Closing,
        _ => return None,
    })
}

/// `on (0.42/2/0)`: seconds, retransmissions, probes.
fn timer(kind: &str, details: &str) -> Option<SocketTimer> {
    let kind = match kind {
        "off" => return None,
        "on" | "on2" | "on4" => TimerKind::On,
        "keepalive" => TimerKind::Keepalive,
        "timewait" => TimerKind::TimeWait,
        "probe" => TimerKind::Persist,
        _ => TimerKind::Unknown,
    };
    let mut parts = details.trim_matches(['(', ')']).split('/');
    let seconds: f64 = parts.next()?.parse().ok()?;
    let retransmits = parts
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let probes = parts
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    Some(SocketTimer {
        kind,
        // Saturates; negative (already due) becomes 0.
        remaining_ms: (seconds * 1000.0).round() as u64,
        retransmits: if kind == TimerKind::Persist {
            probes
        } else {
            retransmits
        },
    })
}
