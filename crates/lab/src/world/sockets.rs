//! What a host's kernel says of its TCP sockets and counters, for steps that wait for something.

use std::fmt;

use socket2::Socket;

/// The congestion control of the model world. A kernel that does not have it takes its own.
pub(super) fn prefer_cubic(socket: &Socket) {
    let _ = socket.set_tcp_congestion(b"cubic");
}

/// One TCP socket of /proc/net/tcp or tcp6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) state: State,
}

/// The kernel's number of a TCP state (include/net/tcp_states.h).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State(u8);

/// The states by number, as `ss` names them.
const STATES: [&str; 13] = [
    "",
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "close",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
    "syn-recv",
];

impl State {
    pub(super) const LISTEN: State = State(10);

    /// By the name that `ss` uses.
    pub(super) fn name(self) -> &'static str {
        STATES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    pub(super) fn is_known(name: &str) -> bool {
        !name.is_empty() && STATES.contains(&name)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The TCP sockets of the calling thread's namespace, both families.
pub(super) fn tcp_sockets() -> std::io::Result<Vec<TcpSocket>> {
    let mut all = Vec::new();
    for name in ["tcp", "tcp6"] {
        match std::fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Ok(text) => all.extend(text.lines().filter_map(parse_socket)),
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// `sl: local_address:port remote_address:port st …`, all hexadecimal; the heading is no socket.
fn parse_socket(line: &str) -> Option<TcpSocket> {
    let mut fields = line.split_whitespace().skip(1);
    let mut port = || {
        let (_, port) = fields.next()?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let (local_port, remote_port) = (port()?, port()?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    Some(TcpSocket {
        local_port,
        remote_port,
        state: State(state),
    })
}

/// A counter of the calling thread's namespace by the name that `nstat` prints; `None` when there is no such.
pub(super) fn counter(name: &str) -> std::io::Result<Option<u64>> {
    for file in ["snmp", "netstat"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        if let Some(value) = find_counter(&text, name) {
            return Ok(Some(value));
        }
    }
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(char::is_whitespace)?;
        (key == name).then(|| value.trim().parse().ok())?
    });
    Ok(value)
}

/// Pairs of lines: `Ip: name name …` and `Ip: value value …`.
fn find_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (prefix, names) = names.split_once(':')?;
        let (_, values) = values.split_once(':')?;
        let Some(wanted) = name.strip_prefix(prefix) else {
            continue;
        };
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        if let Some((_, value)) = pairs.find(|(key, _)| *key == wanted) {
            return value.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_the_socket_table() {
        let line = "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
        let socket = parse_socket(line).unwrap();
        assert_eq!(socket.local_port, 3306);
        assert_eq!(socket.state, State::LISTEN);
        assert_eq!(socket.state.name(), "listening");
        assert_eq!(parse_socket("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn finds_a_counter_under_its_prefix() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: B C\nIpExt: 3 4\n";
        assert_eq!(find_counter(text, "TcpExtB"), Some(2));
        assert_eq!(find_counter(text, "IpExtB"), Some(3));
        assert_eq!(find_counter(text, "IpExtA"), None);
    }
}
