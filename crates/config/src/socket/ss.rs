//! Sockets from `ss`.

use std::borrow::Cow;
use std::fmt::Write;

use super::end::{self, End};
use super::tcp_info;
use super::{Socket, SocketMemory, SocketProtocol, SocketState, SocketTimer, TcpInfo, TimerKind};
use crate::parse::Parsed;
use crate::prefix::IpVersion;
use crate::text::fitting;

/// Netid column of what is no IP or packet socket.
const FOREIGN: &[&str] = &[
    "nl", "u_str", "u_dgr", "u_seq", "v_str", "v_dgr", "v_str", "tipc", "ti_st", "ti_dg", "ti_rd",
    "ti_sq", "xdp", "vsock",
];

pub(super) fn read(text: &str) -> Parsed<Vec<Socket>> {
    let mut parsed: Parsed<Vec<Socket>> = Parsed::default();
    // Sockets whose line did not say the protocol.
    let mut unnamed = Vec::new();
    // The last socket line was one of a foreign family: what follows indented belongs to it.
    let mut skipping = true;
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.contains("Recv-Q") {
            continue;
        }
        if line.starts_with('\t') {
            if !skipping && let Some(socket) = parsed.value.last_mut() {
                let (line, process) = without_process(line);
                socket.process = process.or(socket.process.take());
                extras(socket, line.split_whitespace());
            }
            continue;
        }
        let (line, process) = without_process(line);
        let line = line.as_ref();
        let mut words = line.split_whitespace();
        let first = words.clone().next().unwrap_or("");
        skipping = FOREIGN.contains(&first);
        if skipping {
            continue;
        }
        let protocol = netid(first);
        if protocol.is_some() {
            words.next();
        }
        match socket(protocol, &mut words) {
            Some(mut socket) => {
                socket.process = process;
                extras(&mut socket, words);
                if protocol.is_none() {
                    unnamed.push(parsed.value.len());
                }
                parsed.value.push(socket);
            }
            None => {
                skipping = true;
                parsed.problem(
                    number + 1,
                    "a socket, such as \"tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\"",
                    line,
                );
            }
        }
    }
    // With a single protocol asked for, ss leaves the Netid column out. Only connectionless sockets are UNCONN.
    if unnamed
        .iter()
        .any(|place| parsed.value[*place].state == Some(SocketState::Unconnected))
    {
        for place in unnamed {
            parsed.value[place].protocol = SocketProtocol::Udp;
        }
    }
    parsed
}

fn netid(word: &str) -> Option<SocketProtocol> {
    match word {
        "???" => Some(SocketProtocol::Raw),
        "icmp6" => Some(SocketProtocol::Icmp6),
        _ => word.parse().ok(),
    }
}

/// The columns: state (where shown), two queues, two ends.
fn socket<'a>(
    protocol: Option<SocketProtocol>,
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<Socket> {
    let mut socket = Socket {
        protocol: protocol.unwrap_or_default(),
        ..Socket::default()
    };
    let mut word = words.next()?;
    if let Ok(state) = word.parse() {
        socket.state = Some(state);
        word = words.next()?;
    } else if word == "UNKNOWN" || word == "CLOSED" {
        word = words.next()?;
    }
    socket.recv_queue = word.parse().ok()?;
    socket.send_queue = words.next()?.parse().ok()?;
    let local = words.next()?;
    if matches!(
        socket.protocol,
        SocketProtocol::PacketRaw | SocketProtocol::PacketDgram
    ) {
        // `*:eth0`, `ARP:*`: EtherType and device.
        let device = local.rsplit_once(':').map_or("*", |(_, device)| device);
        socket.interface = (device != "*").then(|| device.to_owned());
        return Some(socket);
    }
    let local = end::read(local)?;
    let peer = end::read(words.next()?)?;
    socket.version = version(&local, &peer);
    socket.interface = local.interface.or(peer.interface);
    socket.local = local.address;
    socket.peer = peer.address;
    Some(socket)
}

/// The family on the wire; `*` with nothing at the other end is a socket for both.
pub(super) fn version(local: &End, peer: &End) -> Option<IpVersion> {
    local
        .address
        .address
        .or(peer.address.address)
        .map(IpVersion::of)
}

/// Takes `users:(("nginx",pid=7,fd=6))` out of a line: a program's name may hold blanks and colons.
fn without_process(line: &str) -> (Cow<'_, str>, Option<String>) {
    let Some(start) = line.find("users:((") else {
        return (Cow::Borrowed(line), None);
    };
    let (before, rest) = line.split_at(start);
    let length = rest.find("))").map_or(rest.len(), |end| end + 2);
    let (process, after) = rest.split_at(length);
    (
        Cow::Owned(format!("{before} {after}")),
        Some(process.to_owned()),
    )
}

/// What stands behind the columns, on the same line or on the next.
fn extras<'a>(socket: &mut Socket, mut words: impl Iterator<Item = &'a str>) {
    let mut tcp = TcpInfo::default();
    let mut is_tcp = false;
    while let Some(word) = words.next() {
        let (key, value) = word.split_once(':').unwrap_or((word, ""));
        match key {
            "timer" => socket.timer = timer(value),
            "uid" => socket.uid = value.parse().ok(),
            "ino" => socket.inode = value.parse().ok(),
            "fwmark" => socket.mark = fitting(value),
            "v6only" => {
                socket.v6only = Some(value == "1");
                // Only IPv6 sockets have the option; `*` is how ss writes one for both families.
                socket.version = Some(IpVersion::V6);
            }
            "skmem" => socket.memory = memory(value),
            "send" | "pacing_rate" | "delivery_rate" => {
                words.next();
            }
            _ if socket.protocol == SocketProtocol::Tcp => {
                is_tcp |= tcp_info::word(&mut tcp, key, value)
            }
            _ => {}
        }
    }
    if is_tcp {
        socket.tcp = Some(Box::new(tcp));
    }
}

/// `(on,1.024ms,2)`.
fn timer(text: &str) -> Option<SocketTimer> {
    let mut parts = text
        .trim_start_matches('(')
        .trim_end_matches(')')
        .split(',');
    Some(SocketTimer {
        kind: parts.next()?.parse().unwrap_or(TimerKind::Unknown),
        remaining_ms: duration(parts.next()?)?,
        retransmits: parts
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
    })
}

/// `528ms`, `57sec`, `1min28sec`, `119min`, and `1.024ms`, by which ss means 1.024 s.
fn duration(text: &str) -> Option<u64> {
    let (minutes, rest) = match text.split_once("min") {
        Some((minutes, rest)) => (minutes.parse::<u64>().ok()?, rest),
        None => (0, text),
    };
    let milliseconds = if rest.is_empty() {
        0
    } else if let Some((seconds, fraction)) = rest.split_once('.') {
        let fraction = fraction.trim_end_matches("ms").trim_end_matches("sec");
        let seconds: u64 = seconds.parse().ok()?;
        let fraction: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        seconds.checked_mul(1000)?.checked_add(fraction)?
    } else if let Some(milliseconds) = rest.strip_suffix("ms") {
        milliseconds.parse().ok()?
    } else {
        rest.strip_suffix("sec")?
            .parse::<u64>()
            .ok()?
            .checked_mul(1000)?
    };
    minutes.checked_mul(60_000)?.checked_add(milliseconds)
}

/// A length of time as iproute2's `print_ms_timer` writes it: `119min`, `59sec`, `1.024ms` (seconds and milliseconds), `132ms`;
/// nothing for 0.
pub fn timer_text(milliseconds: u64) -> String {
    let mut seconds = milliseconds / 1000;
    let minutes = seconds / 60;
    seconds %= 60;
    let mut rest = milliseconds % 1000;
    let mut out = String::new();
    if minutes > 0 {
        rest = 0;
        let _ = write!(out, "{minutes}min");
        if minutes > 9 {
            seconds = 0;
        }
    }
    if seconds > 0 {
        if seconds > 9 {
            rest = 0;
        }
        let _ = write!(out, "{seconds}{}", if rest > 0 { "." } else { "sec" });
    }
    if rest > 0 {
        let _ = write!(out, "{rest:03}ms");
    }
    out
}

/// `(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d1)`.
fn memory(text: &str) -> Option<SocketMemory> {
    let mut memory = SocketMemory::default();
    for part in text
        .trim_start_matches('(')
        .trim_end_matches(')')
        .split(',')
    {
        let digits = part.find(|letter: char| letter.is_ascii_digit())?;
        let value = part.get(digits..)?.parse().ok()?;
        match part.get(..digits)? {
            "r" => memory.rmem = value,
            "rb" => memory.rcvbuf = value,
            "t" => memory.wmem = value,
            "tb" => memory.sndbuf = value,
            "f" => memory.fwd = value,
            "w" => memory.wqueued = value,
            "o" => memory.opt = value,
            "bl" => memory.backlog = value,
            "d" => memory.drops = value,
            _ => {}
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("528ms", Some(528)),
            ("012ms", Some(12)),
            ("1.024ms", Some(1024)),
            ("1.5sec", Some(1500)),
            ("57sec", Some(57_000)),
            ("1min28sec", Some(88_000)),
            ("119min", Some(7_140_000)),
            ("", Some(0)),
            ("x", None),
            ("18446744073709551615sec", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_ss_writes_them() {
        let texts: Vec<_> = [0, 132, 1024, 20_500, 61_000, 119 * 60_000 + 59_000]
            .into_iter()
            .map(timer_text)
            .collect();
        assert_eq!(
            texts,
            ["", "132ms", "1.024ms", "20sec", "1min1sec", "119min"]
        );
    }

    #[test]
    fn program_with_blanks() {
        let parsed = read(
            "tcp ESTAB 0 0 10.0.0.1:22 10.0.0.2:4000 users:((\"my prog: x\",pid=1,fd=3)) uid:7 ino:9 sk:1 <->\n\t cubic rto:204\n",
        );
        assert_eq!(parsed.problems, []);
        let socket = &parsed.value[0];
        assert_eq!(
            socket.process.as_deref(),
            Some("users:((\"my prog: x\",pid=1,fd=3))")
        );
        assert_eq!((socket.uid, socket.inode), (Some(7), Some(9)));
        let tcp = socket.tcp.as_deref().unwrap();
        assert_eq!(
            (tcp.congestion.as_deref(), tcp.rto),
            (Some("cubic"), Some(204.0))
        );
    }
}
