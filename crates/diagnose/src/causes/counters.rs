//! Causes that one counter of their own tells, and nothing else: one line each.

use transect_path::{CauseId, Direction, Point, What};

use crate::case::Case;
use crate::finding::Finding;

/// What kinds of packets a counter is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Any,
    Tcp,
    TcpSyn,
    TcpEstablished,
    Udp,
    Fragments,
}

/// One cause with the counter that only it moves.
struct Row {
    cause: CauseId,
    point: Point,
    /// IPv4's name of the counter, IPv6's name; the same where the kernel has one for both.
    counters: (&'static str, &'static str),
    class: Class,
    tell: &'static str,
    advice: &'static str,
}

const fn row(
    cause: CauseId,
    point: Point,
    counters: (&'static str, &'static str),
    class: Class,
    tell: &'static str,
    advice: &'static str,
) -> Row {
    Row {
        cause,
        point,
        counters,
        class,
        tell,
        advice,
    }
}

const fn both(name: &'static str) -> (&'static str, &'static str) {
    (name, name)
}

const ROWS: &[Row] = &[
    // A11
    row(
        CauseId::SoftnetBacklogFull,
        Point::Backlog,
        both("softnet.dropped"),
        Class::Any,
        "/proc/net/softnet_stat, column 2",
        "raise net.core.netdev_max_backlog, or spread the load over more processors (RPS, RSS)",
    ),
    // C10
    row(
        CauseId::IpHeaderError,
        Point::IpInput,
        ("IpInHdrErrors", "Ip6InHdrErrors"),
        Class::Any,
        "InHdrErrors of the host's IP counters",
        "look at who builds these headers: the version, length or checksum is wrong",
    ),
    // C11
    row(
        CauseId::UnknownProtocol,
        Point::TransportInput,
        ("IpInUnknownProtos", "Ip6InUnknownProtos"),
        Class::Any,
        "InUnknownProtos of the host's IP counters",
        "load the module for this IP protocol on the receiver",
    ),
    // D5
    row(
        CauseId::FragmentMemoryFull,
        Point::IpInput,
        ("IpReasmFails", "Ip6ReasmFails"),
        Class::Fragments,
        "ReasmFails without ReasmTimeout; FRAG in /proc/net/sockstat",
        "raise net.ipv4.ipfrag_high_thresh (net.ipv6.ip6frag_high_thresh), or avoid fragments",
    ),
    // E12, E13, E14
    row(
        CauseId::NatPortsExhausted,
        Point::PostRouting,
        both("conntrack.insert_failed"),
        Class::Any,
        "`conntrack -S`: insert_failed and drop rise together",
        "give source NAT more addresses or ports",
    ),
    row(
        CauseId::ConntrackTableFull,
        Point::PreRouting,
        both("conntrack.early_drop"),
        Class::Any,
        "`conntrack -S`: drop and early_drop; the kernel log: \"table full\"",
        "raise net.netfilter.nf_conntrack_max, or shorten the time-outs",
    ),
    // F8
    row(
        CauseId::DeferredAccept,
        Point::SocketInput,
        both("TcpExtTCPDeferAcceptDrop"),
        Class::Tcp,
        "TcpExtTCPDeferAcceptDrop",
        "the server waits for the client's first data (TCP_DEFER_ACCEPT): let the client speak first",
    ),
    // F10
    row(
        CauseId::TcpSignatureMismatch,
        Point::SocketInput,
        both("TcpExtTCPMD5NotFound"),
        Class::Tcp,
        "TcpExtTCPMD5NotFound, …Unexpected, …Failure",
        "give both ends the same TCP MD5 key",
    ),
    row(
        CauseId::TcpSignatureMismatch,
        Point::SocketInput,
        both("TcpExtTCPMD5Unexpected"),
        Class::Tcp,
        "TcpExtTCPMD5NotFound, …Unexpected, …Failure",
        "give both ends the same TCP MD5 key",
    ),
    row(
        CauseId::TcpSignatureMismatch,
        Point::SocketInput,
        both("TcpExtTCPMD5Failure"),
        Class::Tcp,
        "TcpExtTCPMD5NotFound, …Unexpected, …Failure",
        "give both ends the same TCP MD5 key",
    ),
    row(
        CauseId::TcpSignatureMismatch,
        Point::SocketInput,
        both("TcpExtTCPAOBad"),
        Class::Tcp,
        "TcpExtTCPAOBad, …KeyNotFound, …Required",
        "give both ends the same TCP AO keys",
    ),
    // F11
    row(
        CauseId::MinTtl,
        Point::SocketInput,
        both("TcpExtTCPMinTTLDrop"),
        Class::Tcp,
        "TcpExtTCPMinTTLDrop",
        "the peer is further away than the socket allows (IP_MINTTL): check the number of hops",
    ),
    // F12, F13, G6
    row(
        CauseId::OldTimestamp,
        Point::SocketInput,
        both("TcpExtPAWSEstab"),
        Class::TcpEstablished,
        "TcpExtPAWSEstab",
        "several hosts share one address behind NAT, or the peer's clock of timestamps went back",
    ),
    row(
        CauseId::OldTimestamp,
        Point::SocketInput,
        both("TcpExtPAWSTimewait"),
        Class::TcpSyn,
        "TcpExtPAWSTimewait",
        "several hosts share one address behind NAT and reuse a port too soon",
    ),
    row(
        CauseId::OldTimestamp,
        Point::SocketInput,
        both("TcpExtPAWSPassive"),
        Class::TcpSyn,
        "TcpExtPAWSPassive",
        "turn net.ipv4.tcp_tw_recycle off: it does not work behind NAT",
    ),
    // F14
    row(
        CauseId::StaleConnection,
        Point::SocketInput,
        both("TcpExtTCPSYNChallenge"),
        Class::TcpSyn,
        "TcpExtTCPSYNChallenge",
        "the server still holds the client's older connection: wait for its time-out, or end it (`ss -K`)",
    ),
    // F16
    row(
        CauseId::TimeWaitTableFull,
        Point::TransportInput,
        both("TcpExtTCPTimeWaitOverflow"),
        Class::Tcp,
        "TcpExtTCPTimeWaitOverflow",
        "raise net.ipv4.tcp_max_tw_buckets",
    ),
    // G4
    row(
        CauseId::ReceiveMemoryFull,
        Point::ReceiveBuffer,
        both("TcpExtTCPRcvQDrop"),
        Class::TcpEstablished,
        "TcpExtTCPRcvQDrop, RcvPruned; \"out of memory\" in the kernel log",
        "raise net.ipv4.tcp_mem or tcp_rmem, or make the application read",
    ),
    row(
        CauseId::ReceiveMemoryFull,
        Point::ReceiveBuffer,
        both("TcpExtRcvPruned"),
        Class::TcpEstablished,
        "TcpExtTCPRcvQDrop, RcvPruned; \"out of memory\" in the kernel log",
        "raise net.ipv4.tcp_mem or tcp_rmem, or make the application read",
    ),
    row(
        CauseId::ReceiveMemoryFull,
        Point::ReceiveBuffer,
        both("TcpExtTCPZeroWindowDrop"),
        Class::TcpEstablished,
        "TcpExtTCPZeroWindowDrop",
        "make the application read",
    ),
    // G5
    row(
        CauseId::SocketBacklogFull,
        Point::SocketInput,
        both("TcpExtTCPBacklogDrop"),
        Class::Tcp,
        "TcpExtTCPBacklogDrop",
        "the application holds the socket for too long while packets arrive; raise its receive buffer",
    ),
    // G7
    row(
        CauseId::OutOfWindow,
        Point::SocketInput,
        both("TcpExtBeyondWindow"),
        Class::TcpEstablished,
        "TcpExtBeyondWindow",
        "somebody on the way rewrites sequence numbers or windows",
    ),
    // H2
    row(
        CauseId::UdpMemoryFull,
        Point::ReceiveBuffer,
        ("UdpMemErrors", "Udp6MemErrors"),
        Class::Udp,
        "UdpMemErrors",
        "raise net.ipv4.udp_mem",
    ),
    // H6
    row(
        CauseId::IpsecPolicy,
        Point::IpInput,
        both("xfrm.XfrmInNoPols"),
        Class::Any,
        "/proc/net/xfrm_stat",
        "look at `ip xfrm policy` and `ip xfrm state` on both ends",
    ),
    row(
        CauseId::IpsecPolicy,
        Point::IpInput,
        both("xfrm.XfrmInNoStates"),
        Class::Any,
        "/proc/net/xfrm_stat",
        "look at `ip xfrm policy` and `ip xfrm state` on both ends",
    ),
    row(
        CauseId::IpsecPolicy,
        Point::IpInput,
        both("xfrm.XfrmInTmplMismatch"),
        Class::Any,
        "/proc/net/xfrm_stat",
        "look at `ip xfrm policy` and `ip xfrm state` on both ends",
    ),
    row(
        CauseId::IpsecPolicy,
        Point::IpFinish,
        both("xfrm.XfrmOutNoStates"),
        Class::Any,
        "/proc/net/xfrm_stat",
        "look at `ip xfrm policy` and `ip xfrm state` on both ends",
    ),
    row(
        CauseId::IpsecPolicy,
        Point::IpFinish,
        both("xfrm.XfrmOutPolBlock"),
        Class::Any,
        "/proc/net/xfrm_stat",
        "look at `ip xfrm policy` and `ip xfrm state` on both ends",
    ),
];

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in ROWS.iter().filter(|row| concerns(case, row.class)) {
        for host in case.hosts_at(row.point) {
            let counter = if case.v6() {
                row.counters.1
            } else {
                row.counters.0
            };
            let Some(mut finding) = case.counted(row.cause, host, row.point, counter, row.tell)
            else {
                continue;
            };
            if contradicted(case, host, row) {
                continue;
            }
            finding.advice.push(row.advice.to_owned());
            findings.push(finding);
        }
    }
    findings
}

/// Counters that two causes move: the company they keep tells which.
fn contradicted(case: &Case<'_>, host: usize, row: &Row) -> bool {
    let moved = |name: &str| case.delta(host, name).unwrap_or(0) > 0;
    match row.cause {
        // A time-out is a lost fragment, not a lack of memory.
        CauseId::FragmentMemoryFull => moved("IpReasmTimeout") || moved("Ip6ReasmTimeout"),
        // The insertion race alone moves insert_failed without drop (E13).
        CauseId::NatPortsExhausted => !moved("conntrack.drop"),
        // TTL's end is counted there as well (C9).
        CauseId::IpHeaderError => case.suspicion.sample.ttl.is_some_and(|ttl| ttl <= 1),
        _ => false,
    }
}

fn concerns(case: &Case<'_>, class: Class) -> bool {
    let what = case.suspicion.what;
    match class {
        Class::Any => true,
        Class::Tcp => case.is_tcp(),
        Class::TcpSyn => what == What::Syn && case.suspicion.direction == Direction::ToServer,
        Class::TcpEstablished => case.is_tcp() && !matches!(what, What::Syn | What::SynAck),
        Class::Udp => case.is_udp(),
        Class::Fragments => {
            what == What::Fragment
                || case
                    .suspicion
                    .sample
                    .length
                    .is_some_and(|length| length > 1280)
        }
    }
}
