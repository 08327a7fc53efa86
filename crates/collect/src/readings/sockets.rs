//! Sockets as `ss -H -O -n -e -m -i -o -t -u -w -a` prints them, from `NETLINK_SOCK_DIAG` (sock_diag(7)).
//!
//! One line for each socket, fields separated by one space. Left out of what `ss` prints: the cgroup, the internals of
//! the congestion control and the rates computed from other fields.
//!
//! Where the kernel has `tcp_diag` and `udp_diag` as modules, the first question loads them, as `ss` does; nothing else on
//! the host notices. Raw sockets are read from `/proc`, so that `raw_diag` is not looked for each time.

mod raw;
mod tcp_info;

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use transect_config::timer_text;

use super::link::Names;
use super::netlink::{
    Answer, Connection, NLM_F_DUMP, address, attribute, be16_at, number, text, u8_at, u32_at,
};
use super::route::Family;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Extensions asked for: INET_DIAG_INFO, _CONG, _SKMEMINFO, _SHUTDOWN (bit is the number less one).
const EXTENSIONS: u8 = 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7;
/// TCP_TIME_WAIT: dropped first where there are too many.
const TIME_WAIT: u8 = 6;

/// `ENOENT`: the kernel has no such handler.
const NO_HANDLER: i32 = 2;

/// Lists sockets.
pub(super) struct SocketLister {
    connection: Connection,
    /// What the kernel could not list. It is not asked again: every question would look for a module.
    missing: Vec<(u8, Family)>,
}

impl SocketLister {
    /// In the namespace in which the connection was opened.
    pub(super) fn new(connection: Connection) -> Self {
        SocketLister {
            connection,
            missing: Vec::new(),
        }
    }

    /// The text of `sockets.txt`, and why it is not whole.
    ///
    /// At most `limit` sockets; where there are more, those in TIME_WAIT go first.
    ///
    /// # Errors
    /// The kernel cannot list TCP sockets at all.
    pub(super) fn text(
        &mut self,
        names: &Names,
        limit: usize,
    ) -> io::Result<(Vec<u8>, Option<String>)> {
        let mut lines = Lines {
            limit,
            ..Lines::default()
        };
        for family in [Family::V4, Family::V6] {
            lines.add_raw(family);
        }
        for (protocol, name) in [(IPPROTO_UDP, "udp"), (IPPROTO_TCP, "tcp")] {
            for family in [Family::V4, Family::V6] {
                self.list(&mut lines, (protocol, family), name, names)?;
            }
        }
        for line in std::mem::take(&mut lines.time_wait) {
            lines.out.push_str(&line);
        }
        if lines.beyond > 0 {
            lines.incomplete = Some(format!(
                "{} more sockets than the {limit} that one reading holds are not listed",
                lines.beyond
            ));
        }
        Ok((lines.out.into_bytes(), lines.incomplete))
    }

    fn list(
        &mut self,
        lines: &mut Lines,
        which: (u8, Family),
        name: &str,
        names: &Names,
    ) -> io::Result<()> {
        let (protocol, family) = which;
        if !self.missing.contains(&which) {
            match dump(&mut self.connection, family, protocol) {
                Ok(answer) => {
                    lines.add(&answer, name, names);
                    return Ok(());
                }
                Err(error) if error.raw_os_error() != Some(NO_HANDLER) => return Err(error),
                Err(_) => self.missing.push(which),
            }
        }
        match family {
            Family::V4 => {
                lines.incomplete = Some(format!(
                    "the kernel does not list {name} sockets (it lacks the module {name}_diag)"
                ));
            }
            // No IPv6 on this host.
            Family::V6 => {}
        }
        Ok(())
    }
}

/// One dump: `struct inet_diag_req_v2`, all states.
fn dump(connection: &mut Connection, family: Family, protocol: u8) -> io::Result<Answer> {
    let mut request = [0; 56];
    request[0] = family.number();
    request[1] = protocol;
    request[2] = EXTENSIONS;
    request[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    connection.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request)
}

#[derive(Default)]
struct Lines {
    out: String,
    time_wait: Vec<String>,
    count: usize,
    limit: usize,
    beyond: usize,
    incomplete: Option<String>,
}

impl Lines {
    fn add(&mut self, answer: &Answer, protocol: &str, names: &Names) {
        if let Some(why) = answer.incomplete {
            self.incomplete = Some(format!(
                "the list of {protocol} sockets is not whole: {why}"
            ));
        }
        for (kind, payload) in answer.messages() {
            if kind != SOCK_DIAG_BY_FAMILY || payload.len() < 72 {
                continue;
            }
            let closing = protocol == "tcp" && u8_at(payload, 1) == Some(TIME_WAIT);
            if self.count + self.time_wait.len() >= self.limit {
                self.beyond += 1;
                if closing || self.time_wait.pop().is_none() {
                    continue;
                }
            }
            if closing {
                let mut line = String::new();
                socket(&mut line, payload, protocol, names);
                self.time_wait.push(line);
            } else {
                self.count += 1;
                socket(&mut self.out, payload, protocol, names);
            }
        }
    }

    fn add_raw(&mut self, family: Family) {
        for line in raw::lines(family).into_iter().flatten() {
            if self.count >= self.limit {
                self.beyond += 1;
            } else {
                self.count += 1;
                self.out.push_str(&line);
            }
        }
    }
}

/// One line from a `struct inet_diag_msg` and its attributes.
fn socket(out: &mut String, payload: &[u8], protocol: &str, names: &Names) {
    let field = |offset| u32_at(payload, offset).unwrap_or_default();
    let body = payload.get(72..).unwrap_or_default();
    let state = u8_at(payload, 1).unwrap_or_default();
    let v6_only = attribute(body, 11).and_then(number);
    let local = endpoint(
        payload,
        8,
        be16_at(payload, 4),
        v6_only,
        Some(field(40))
            .filter(|index| *index != 0)
            .map(|index| names.get(index)),
    );
    let remote = endpoint(payload, 24, be16_at(payload, 6), v6_only, None);
    let _ = write!(
        out,
        "{protocol} {} {} {} {local} {remote}",
        state_name(state),
        field(56),
        field(60)
    );
    timer(out, u8_at(payload, 2), u8_at(payload, 3), field(52));
    if field(64) != 0 {
        let _ = write!(out, " uid:{}", field(64));
    }
    let cookie = u64::from(field(48)) << 32 | u64::from(field(44));
    let _ = write!(out, " ino:{} sk:{cookie:x}", field(68));
    if let Some(mark) = attribute(body, 15)
        .and_then(number)
        .filter(|mark| *mark != 0)
    {
        let _ = write!(out, " fwmark:{mark:#x}");
    }
    if let Some(only) = v6_only.filter(|_| matches!(state_name(state), "LISTEN" | "UNCONN")) {
        let _ = write!(out, " v6only:{only}");
    }
    if let Some(shut) = attribute(body, 8).and_then(|value| u8_at(value, 0)) {
        let _ = write!(
            out,
            " {}-{}",
            if shut & 1 == 0 { '<' } else { '-' },
            if shut & 2 == 0 { '>' } else { '-' }
        );
    }
    if let Some(memory) = attribute(body, 7) {
        socket_memory(out, memory);
    }
    if let Some(info) = attribute(body, 2).filter(|_| protocol == "tcp") {
        let congestion = attribute(body, 4).map(text).unwrap_or_default();
        tcp_info::print(out, info, &congestion, state_name(state) == "LISTEN");
    }
    out.push('\n');
}

/// `address:port` as ss writes it without names: `*` for any, brackets around IPv6.
fn endpoint(
    payload: &[u8],
    offset: usize,
    port: Option<u16>,
    v6_only: Option<u64>,
    interface: Option<String>,
) -> String {
    let length = if u8_at(payload, 0) == Some(Family::V6.number()) {
        16
    } else {
        4
    };
    let found = payload
        .get(offset..offset.saturating_add(length))
        .and_then(address);
    let host = match found {
        // A socket of both families.
        Some(IpAddr::V6(host)) if host == Ipv6Addr::UNSPECIFIED && v6_only.unwrap_or(0) == 0 => {
            "*".to_owned()
        }
        Some(IpAddr::V6(host)) => format!("[{host}]"),
        Some(IpAddr::V4(host)) => host.to_string(),
        None => "*".to_owned(),
    };
    let interface = interface.map(|name| format!("%{name}")).unwrap_or_default();
    match port {
        Some(port) if port != 0 => format!("{host}{interface}:{port}"),
        _ => format!("{host}{interface}:*"),
    }
}

/// Names of TCP states as ss prints them.
fn state_name(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "UNKNOWN",
        "ESTAB",
        "SYN-SENT",
        "SYN-RECV",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "TIME-WAIT",
        "UNCONN",
        "CLOSE-WAIT",
        "LAST-ACK",
        "LISTEN",
        "CLOSING",
        "SYN-RECV",
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or("UNKNOWN")
}

/// `timer:(on,132ms,0)`: what it is for, how long it still runs, how often it fired.
fn timer(out: &mut String, kind: Option<u8>, fired: Option<u8>, milliseconds: u32) {
    let name = match kind {
        Some(1) => "on",
        Some(2) => "keepalive",
        Some(3) => "timewait",
        Some(4) => "persist",
        Some(0) | None => return,
        Some(_) => "unknown",
    };
    let _ = write!(
        out,
        " timer:({name},{},{})",
        timer_text(milliseconds.into()),
        fired.unwrap_or_default()
    );
}

/// `skmem:(…)`: SK_MEMINFO_* in their order (include/uapi/linux/sock_diag.h).
fn socket_memory(out: &mut String, memory: &[u8]) {
    const NAMES: [&str; 9] = ["r", "rb", "t", "tb", "f", "w", "o", "bl", "d"];
    out.push_str(" skmem:(");
    for (index, name) in NAMES.iter().enumerate() {
        let Some(value) = u32_at(memory, index.saturating_mul(4)) else {
            break;
        };
        if index > 0 {
            out.push(',');
        }
        let _ = write!(out, "{name}{value}");
    }
    out.push(')');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of a listener on `[::]:8080`, of both families, with one drop.
    fn listener() -> Vec<u8> {
        let mut payload = vec![0; 72];
        payload[0] = 10;
        payload[1] = 10;
        payload[4..6].copy_from_slice(&8080u16.to_be_bytes());
        payload[44..48].copy_from_slice(&10u32.to_ne_bytes());
        payload[56..60].copy_from_slice(&3u32.to_ne_bytes());
        payload[60..64].copy_from_slice(&2u32.to_ne_bytes());
        payload[68..72].copy_from_slice(&27263u32.to_ne_bytes());
        let memory: Vec<u8> = [0u32, 131_072, 0, 16_384, 0, 0, 0, 0, 1]
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        super::super::netlink::push_attribute(&mut payload, 7, &memory);
        super::super::netlink::push_attribute(&mut payload, 11, &[0]);
        super::super::netlink::push_attribute(&mut payload, 8, &[0]);
        payload
    }

    #[test]
    fn a_listener_is_one_line() {
        let mut line = String::new();
        socket(&mut line, &listener(), "tcp", &Names::default());
        assert_eq!(
            line,
            "tcp LISTEN 3 2 *:8080 *:* ino:27263 sk:a v6only:0 <-> skmem:(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d1)\n"
        );
    }

    #[test]
    fn any_bytes_make_a_line() {
        let whole = listener();
        for length in 0..whole.len() {
            let mut line = String::new();
            socket(&mut line, &whole[..length], "tcp", &Names::default());
            assert!(line.ends_with('\n'));
        }
    }
}
