//! Sockets from /proc/net/tcp, udp, raw and their kin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Socket, SocketAddress, SocketProtocol, SocketState, SocketTimer, TimerKind};
use crate::parse::Parsed;
use crate::prefix::IpVersion;

/// Clock ticks of /proc in a second (USER_HZ, the same on all architectures that matter).
const USER_HZ: u64 = 100;

pub(super) fn read(text: &str, protocol: Option<SocketProtocol>) -> Parsed<Vec<Socket>> {
    let mut parsed: Parsed<Vec<Socket>> = Parsed::default();
    let mut lines = text.lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    // Connectionless protocols have a column of drops, TCP has not.
    let has_drops = header.contains("drops");
    let protocol = protocol.unwrap_or(if has_drops {
        SocketProtocol::Udp
    } else {
        SocketProtocol::Tcp
    });
    for (number, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        match socket(line, protocol, has_drops) {
            Some(socket) => parsed.value.push(socket),
            None => parsed.problem(
                number + 1,
                "a socket, such as \"0: 0100007F:0016 00000000:0000 0A …\"",
                line,
            ),
        }
    }
    parsed
}

fn socket(line: &str, protocol: SocketProtocol, has_drops: bool) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local_address, local_port) = end(words.get(1)?)?;
    let (peer_address, peer_port) = end(words.get(2)?)?;
    let (send_queue, recv_queue) = hex_pair(words.get(4)?)?;
    let mut state = state(u8::from_str_radix(words.get(3)?, 16).ok()?)?;
    if protocol != SocketProtocol::Tcp && state != SocketState::Established {
        state = SocketState::Unconnected;
    }
    let version = IpVersion::of(local_address);
    let carried = match (local_address.to_canonical(), peer_address.to_canonical()) {
        (IpAddr::V4(_), _) | (_, IpAddr::V4(_)) => IpVersion::V4,
        _ => version,
    };
    let (kind, ticks) = hex_pair(words.get(5)?)?;
    let retransmits = u32::from_str_radix(words.get(6)?, 16).ok()?;
    let end = |address: IpAddr, port: u16| SocketAddress {
        address: Some(address.to_canonical()),
        port: (port != 0).then_some(port),
        port_name: None,
    };
    Some(Socket {
        protocol,
        version: Some(carried),
        state: Some(state),
        local: end(local_address, local_port),
        peer: end(peer_address, peer_port),
        recv_queue,
        send_queue,
        timer: timer_kind(kind).map(|kind| SocketTimer {
            kind,
            remaining_ms: ticks.saturating_mul(1000 / USER_HZ),
            retransmits,
        }),
        uid: words.get(7)?.parse().ok(),
        inode: words.get(9)?.parse().ok(),
        drops: if has_drops {
            words.last()?.parse().ok()
        } else {
            None
        },
        ..Socket::default()
    })
}

fn timer_kind(number: u64) -> Option<TimerKind> {
    Some(match number {
        1 => TimerKind::On,
        2 => TimerKind::Keepalive,
        3 => TimerKind::TimeWait,
        4 => TimerKind::Persist,
        _ => return None,
    })
}

/// `0100007F:0016`: the address as 32-bit words in the byte order of the machine that wrote it. Little-endian machines are assumed;
/// the text does not say.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |range: std::ops::Range<usize>| {
        u32::from_str_radix(address.get(range)?, 16)
            .ok()
            .map(u32::swap_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0..8)?)),
        32 => {
            let mut whole: u128 = 0;
            for place in 0..4 {
                whole = whole << 32 | u128::from(word(place * 8..place * 8 + 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(whole))
        }
        _ => return None,
    };
    Some((address, port))
}

fn hex_pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(':')?;
    Some((
        u64::from_str_radix(first, 16).ok()?,
        u64::from_str_radix(second, 16).ok()?,
    ))
}

/// TCP_ESTABLISHED = 1 … TCP_NEW_SYN_RECV = 12.
fn state(number: u8) -> Option<SocketState> {
    Some(match number {
        1 => SocketState::Established,
        2 => SocketState::SynSent,
        3 | 12 => SocketState::SynRecv,
        4 => SocketState::FinWait1,
        5 => SocketState::FinWait2,
        6 => SocketState::TimeWait,
        7 => SocketState::Unconnected,
        8 => SocketState::CloseWait,
        9 => SocketState::LastAck,
        10 => SocketState::Listen,
        11 => SocketState::Closing,
        _ => return None,
    })
}
