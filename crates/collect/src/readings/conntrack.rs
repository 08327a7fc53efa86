//! Connection tracking: statistics as `conntrack -S` prints them, entries as `conntrack -L -o extended` does (ctnetlink).
//!
//! Asking does not switch tracking on: only rules do that. But asking where the module is not loaded would load it, so
//! nobody asks there.

use std::fmt::Write;
use std::io;

use super::netlink::{
    Connection, NLM_F_DUMP, address, attribute, be16_at, be32_at, be64_at, u8_at,
};
use super::proc;

/// NFNL_SUBSYS_CTNETLINK in the upper byte, IPCTNL_MSG_CT_* in the lower.
const GET: u16 = 0x0101;
const NEW: u16 = 0x0100;
const GET_STATS_CPU: u16 = 0x0104;
/// IPS_*.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const OFFLOAD: u32 = 1 << 14;
const HW_OFFLOAD: u32 = 1 << 15;

/// How many entries the namespace has; `None` where connection tracking is not loaded.
pub(super) fn count() -> Option<usize> {
    let bytes = proc::read_file("/proc/sys/net/netfilter/nf_conntrack_count").ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

/// The text of `conntrack/stats.txt`: one line for each CPU.
pub(super) fn stats_text(connection: &mut Connection) -> io::Result<Vec<u8>> {
    /// CTA_STATS_*, in the order of the tool.
    const FIELDS: [(u16, &str); 10] = [
        (2, "found"),
        (4, "invalid"),
        (8, "insert"),
        (9, "insert_failed"),
        (10, "drop"),
        (11, "early_drop"),
        (12, "error"),
        (13, "search_restart"),
        (14, "clash_resolve"),
        (15, "chaintoolong"),
    ];
    let answer = connection.ask(GET_STATS_CPU, NLM_F_DUMP, &[0; 4])?;
    let mut out = String::new();
    for (_, payload) in answer.messages() {
        let body = payload.get(4..).unwrap_or_default();
        // nfgenmsg.res_id is the CPU.
        let _ = write!(out, "cpu={:<4}\t", be16_at(payload, 2).unwrap_or_default());
        for (kind, name) in FIELDS {
            if let Some(value) = attribute(body, kind).and_then(|value| be32_at(value, 0)) {
                let _ = write!(out, "{name}={value} ");
            }
        }
        out.push('\n');
    }
    Ok(out.into_bytes())
}

/// The text of `conntrack/entries.txt`, and why it is not whole.
pub(super) fn entries_text(
    connection: &mut Connection,
) -> io::Result<(Vec<u8>, Option<&'static str>)> {
    let answer = connection.ask(GET, NLM_F_DUMP, &[0; 4])?;
    let mut out = String::new();
    for (kind, payload) in answer.messages() {
        if kind == NEW {
            entry(&mut out, payload);
        }
    }
    Ok((out.into_bytes(), answer.incomplete))
}

/// One entry as one line (libnetfilter_conntrack's `__snprintf_conntrack_default`).
fn entry(out: &mut String, payload: &[u8]) {
    let body = payload.get(4..).unwrap_or_default();
    let get = |kind| attribute(body, kind);
    let number = |kind| get(kind).and_then(|value| be32_at(value, 0));
    let original = get(1).unwrap_or_default();
    let family = u8_at(payload, 0).unwrap_or_default();
    let family_name = match family {
        2 => "ipv4",
        10 => "ipv6",
        _ => "unknown",
    };
    let protocol = attribute(original, 2)
        .and_then(|protocol| attribute(protocol, 1))
        .and_then(|value| u8_at(value, 0))
        .unwrap_or_default();
    let _ = write!(
        out,
        "{family_name:<8} {family} {:<8} {protocol} ",
        protocol_name(protocol)
    );
    if let Some(timeout) = number(7) {
        let _ = write!(out, "{timeout} ");
    }
    if let Some(state) = state_name(protocol, get(4).unwrap_or_default()) {
        let _ = write!(out, "{state} ");
    }
    let status = number(3).unwrap_or_default();
    tuple(out, original, protocol);
    counters(out, get(9));
    if status & SEEN_REPLY == 0 {
        out.push_str("[UNREPLIED] ");
    }
    tuple(out, get(2).unwrap_or_default(), protocol);
    counters(out, get(10));
    for (bit, name) in [
        (HW_OFFLOAD, "[HW_OFFLOAD] "),
        (OFFLOAD, "[OFFLOAD] "),
        (ASSURED, "[ASSURED] "),
    ] {
        if status & bit != 0 {
            out.push_str(name);
            // Offloaded entries are assured by nature; the tool prints one of the three.
            break;
        }
    }
    if let Some(mark) = number(8) {
        let _ = write!(out, "mark={mark} ");
    }
    if let Some(zone) = get(18).and_then(|value| be16_at(value, 0)) {
        let _ = write!(out, "zone={zone} ");
    }
    if let Some(uses) = number(11) {
        let _ = write!(out, "use={uses} ");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

/// Addresses and ports, or ICMP's type, code and id.
fn tuple(out: &mut String, tuple: &[u8], protocol: u8) {
    let hosts = attribute(tuple, 1).unwrap_or_default();
    for (four, six, name) in [(1, 3, "src"), (2, 4, "dst")] {
        if let Some(host) = attribute(hosts, four)
            .or_else(|| attribute(hosts, six))
            .and_then(address)
        {
            let _ = write!(out, "{name}={host} ");
        }
    }
    let parts = attribute(tuple, 2).unwrap_or_default();
    let wide = |kind| attribute(parts, kind).and_then(|value| be16_at(value, 0));
    let narrow = |kind| attribute(parts, kind).and_then(|value| u8_at(value, 0));
    let icmp = match protocol {
        1 => Some((5, 6, 4)),
        58 => Some((8, 9, 7)),
        _ => None,
    };
    if let Some((kind, code, id)) = icmp {
        if let (Some(kind), Some(code), Some(id)) = (narrow(kind), narrow(code), wide(id)) {
            let _ = write!(out, "type={kind} code={code} id={id} ");
        }
    } else if let (Some(source), Some(destination)) = (wide(2), wide(3)) {
        let _ = write!(out, "sport={source} dport={destination} ");
    }
}

/// Only where net.netfilter.nf_conntrack_acct is on.
fn counters(out: &mut String, counters: Option<&[u8]>) {
    let Some(counters) = counters else {
        return;
    };
    let count = |kind| attribute(counters, kind).and_then(|value| be64_at(value, 0));
    if let (Some(packets), Some(bytes)) = (count(1), count(2)) {
        let _ = write!(out, "packets={packets} bytes={bytes} ");
    }
}

/// CTA_PROTOINFO_*: the state of a TCP, SCTP or DCCP connection.
fn state_name(protocol: u8, info: &[u8]) -> Option<&'static str> {
    const TCP: [&str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    const SCTP: [&str; 10] = [
        "NONE",
        "CLOSED",
        "COOKIE_WAIT",
        "COOKIE_ECHOED",
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "SHUTDOWN_RECD",
        "SHUTDOWN_ACK_SENT",
        "HEARTBEAT_SENT",
        "HEARTBEAT_ACKED",
    ];
    let (nested, names) = match protocol {
        6 => (attribute(info, 1)?, TCP),
        132 => (attribute(info, 3)?, SCTP),
        _ => return None,
    };
    let state = u8_at(attribute(nested, 1)?, 0)?;
    names.get(usize::from(state)).copied()
}

/// The protocols that connection tracking knows.
fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::push_attribute;
    use super::*;

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in parts {
            push_attribute(&mut bytes, *kind, value);
        }
        bytes
    }

    fn side(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let hosts = nested(&[(1, &source), (2, &destination)]);
        let parts = nested(&[
            (1, &[6]),
            (2, &ports.0.to_be_bytes()),
            (3, &ports.1.to_be_bytes()),
        ]);
        nested(&[(1, &hosts), (2, &parts)])
    }

    fn message() -> Vec<u8> {
        let mut payload = vec![2, 0, 0, 0];
        let state = nested(&[(1, &nested(&[(1, &[1])]))]);
        let counts = nested(&[(1, &7u64.to_be_bytes()), (2, &420u64.to_be_bytes())]);
        for (kind, value) in [
            (1, side([10, 0, 0, 1], [10, 0, 0, 2], (40_000, 3306))),
            (2, side([10, 0, 0, 2], [10, 0, 0, 1], (3306, 40_000))),
            (3, 8u32.to_be_bytes().to_vec()),
            (4, state),
            (7, 119u32.to_be_bytes().to_vec()),
            (8, 0u32.to_be_bytes().to_vec()),
            (9, counts),
            (11, 1u32.to_be_bytes().to_vec()),
        ] {
            push_attribute(&mut payload, kind, &value);
        }
        payload
    }

    #[test]
    fn an_entry_is_one_line() {
        let mut out = String::new();
        entry(&mut out, &message());
        assert_eq!(
            out,
            "ipv4     2 tcp      6 119 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=3306 packets=7 bytes=420 \
             [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=3306 dport=40000 mark=0 use=1\n"
        );
    }

    #[test]
    fn any_bytes_make_a_line() {
        let whole = message();
        for length in 0..whole.len() {
            let mut out = String::new();
            entry(&mut out, &whole[..length]);
            assert!(out.ends_with('\n'));
        }
    }
}
