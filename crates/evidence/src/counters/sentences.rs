//! The sentences of `netstat -s` (net-tools' statistics.c), read back into the counters that they tell.

use crate::counters::{Counters, Family};
use transect_config::Parsed;

use crate::text::numbered;

/// Reads what `netstat -s` prints, with or without `-t`, `-u`, `-w`, `-6`.
///
/// The tool has a sentence for some counters and prints the others by their names, and it leaves out most that are zero.
/// Both wordings of versions that differ are known.
pub fn netstat_statistics(text: &str) -> Parsed<Counters> {
    let mut read: Parsed<Counters> = Parsed::default();
    let mut counters = Vec::new();
    let mut section: Option<Family> = None;
    let mut seen = Vec::new();
    let mut side = "";
    for (number, line) in numbered(text) {
        let words = line.trim();
        if words.is_empty() {
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            section = words.strip_suffix(':').and_then(|name| name.parse().ok());
            seen.extend(section);
            side = "";
            if section.is_none() {
                read.problem(number, "a section such as \"TcpExt:\"", words);
            }
            continue;
        }
        let Some(family) = section else {
            continue;
        };
        if words.ends_with("histogram:") {
            side = if words.contains("output") {
                "Out"
            } else {
                "In"
            };
            continue;
        }
        match told(family, side, words) {
            Told::Counter(name, value) => counters.push((name, value)),
            Told::Nothing => {}
            Told::Unknown => read.problem(number, "a sentence of netstat -s", words),
        }
    }
    read.value = counters.into_iter().collect();
    read.value.set_sparse(seen);
    read
}

enum Told {
    Counter(String, u64),
    /// A line without a number ("Forwarding is disabled").
    Nothing,
    Unknown,
}

fn told(family: Family, side: &str, line: &str) -> Told {
    let mut value = None;
    let sentence: Vec<&str> = line
        .trim_end_matches('.')
        .split_ascii_whitespace()
        .map(|word| match word.parse::<u64>() {
            Ok(number) if value.is_none() => {
                value = Some(number);
                "%"
            }
            _ => word,
        })
        .collect();
    let Some(value) = value else {
        return Told::Nothing;
    };
    if let [name, "%"] = sentence[..]
        && let Some(name) = name.strip_suffix(':')
        && name.starts_with(|first: char| first.is_ascii_uppercase())
    {
        let full = if name.starts_with(family.id()) {
            name.to_owned()
        } else {
            format!("{family}{name}")
        };
        return Told::Counter(full, value);
    }
    let sentence = sentence.join(" ");
    let of = |table: &[(&str, &str)]| {
        table
            .iter()
            .find(|(known, _)| *known == sentence)
            .map(|(_, name)| format!("{family}{name}"))
    };
    let found = of(sentences(family)).or_else(|| {
        let kind = sentence.strip_suffix(": %")?;
        histogram(family)
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, name)| format!("{family}{side}{name}"))
    });
    match found {
        Some(name) => Told::Counter(name, value),
        None => Told::Unknown,
    }
}

fn sentences(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::Ip => IP,
        Family::Ip6 => IP6,
        Family::Icmp | Family::Icmp6 => ICMP,
        Family::Tcp => TCP,
        Family::Udp | Family::Udp6 | Family::UdpLite | Family::UdpLite6 => UDP,
        Family::TcpExt => TCP_EXT,
        Family::IcmpMsg | Family::IpExt | Family::MpTcpExt | Family::Sctp => &[],
    }
}

fn histogram(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::Icmp => ICMP_KINDS,
        Family::Icmp6 => ICMP6_KINDS,
        _ => &[],
    }
}

const IP: &[(&str, &str)] = &[
    ("% total packets received", "InReceives"),
    ("% with invalid headers", "InHdrErrors"),
    ("% with invalid addresses", "InAddrErrors"),
    ("% forwarded", "ForwDatagrams"),
    ("% with unknown protocol", "InUnknownProtos"),
    ("% incoming packets discarded", "InDiscards"),
    ("% incoming packets delivered", "InDelivers"),
    ("% requests sent out", "OutRequests"),
    ("% outgoing packets dropped", "OutDiscards"),
    ("% dropped because of missing route", "OutNoRoutes"),
    ("% fragments dropped after timeout", "ReasmTimeout"),
    ("% reassemblies required", "ReasmReqds"),
    ("% packets reassembled ok", "ReasmOKs"),
    ("% packet reassemblies failed", "ReasmFails"),
    ("% packet reassembles failed", "ReasmFails"),
    ("% outgoing packets fragmented ok", "FragOKs"),
    ("% fragments received ok", "FragOKs"),
    ("% outgoing packets failed fragmentation", "FragFails"),
    ("% fragments failed", "FragFails"),
    ("% fragments created", "FragCreates"),
    ("Default TTL is %", "DefaultTTL"),
];

const IP6: &[(&str, &str)] = &[
    ("% total packets received", "InReceives"),
    ("% with invalid headers", "InHdrErrors"),
    ("% with packets too big", "InTooBigErrors"),
    ("% incoming packets with no route", "InNoRoutes"),
    ("% with invalid addresses", "InAddrErrors"),
    ("% with unknown protocol", "InUnknownProtos"),
    ("% with truncated packets", "InTruncatedPkts"),
    ("% incoming packets discarded", "InDiscards"),
    ("% incoming packets delivered", "InDelivers"),
    ("% forwarded", "OutForwDatagrams"),
    ("% requests sent out", "OutRequests"),
    ("% outgoing packets dropped", "OutDiscards"),
    ("% dropped because of missing route", "OutNoRoutes"),
    ("% fragments dropped after timeout", "ReasmTimeout"),
    ("% reassemblies required", "ReasmReqds"),
    ("% packets reassembled ok", "ReasmOKs"),
    ("% packet reassemblies failed", "ReasmFails"),
    ("% packet reassembles failed", "ReasmFails"),
    ("% outgoing packets fragmented ok", "FragOKs"),
    ("% fragments received ok", "FragOKs"),
    ("% outgoing packets failed fragmentation", "FragFails"),
    ("% fragments failed", "FragFails"),
    ("% fragments created", "FragCreates"),
    ("% incoming multicast packets", "InMcastPkts"),
    ("% outgoing multicast packets", "OutMcastPkts"),
];

const ICMP: &[(&str, &str)] = &[
    ("% ICMP messages received", "InMsgs"),
    ("% input ICMP message failed", "InErrors"),
    ("% ICMP messages sent", "OutMsgs"),
    ("% ICMP messages failed", "OutErrors"),
];

/// The name follows `In` or `Out`, by the histogram.
const ICMP_KINDS: &[(&str, &str)] = &[
    ("destination unreachable", "DestUnreachs"),
    ("timeout in transit", "TimeExcds"),
    ("time exceeded", "TimeExcds"),
    ("wrong parameters", "ParmProbs"),
    ("source quenches", "SrcQuenchs"),
    ("source quench", "SrcQuenchs"),
    ("redirects", "Redirects"),
    ("redirect", "Redirects"),
    ("echo requests", "Echos"),
    ("echo request", "Echos"),
    ("echo replies", "EchoReps"),
    ("timestamp request", "Timestamps"),
    ("timestamp requests", "Timestamps"),
    ("timestamp reply", "TimestampReps"),
    ("timestamp replies", "TimestampReps"),
    ("address mask request", "AddrMasks"),
    ("address mask requests", "AddrMasks"),
    ("address mask replies", "AddrMaskReps"),
];

const ICMP6_KINDS: &[(&str, &str)] = &[
    ("destination unreachable", "DestUnreachs"),
    ("packets too big", "PktTooBigs"),
    ("received ICMPv6 time exceeded", "TimeExcds"),
    ("sent ICMPv6 time exceeded", "TimeExcds"),
    ("parameter problem", "ParmProblems"),
    ("echo requests", "Echos"),
    ("echo replies", "EchoReplies"),
    ("group member queries", "GroupMembQueries"),
    ("group member responses", "GroupMembResponses"),
    ("group member reductions", "GroupMembReductions"),
    ("router solicits", "RouterSolicits"),
    ("router advertisement", "RouterAdvertisements"),
    ("neighbour solicits", "NeighborSolicits"),
    ("neighbor solicits", "NeighborSolicits"),
    ("neighbour advertisement", "NeighborAdvertisements"),
    ("neighbor advertisements", "NeighborAdvertisements"),
    ("redirects", "Redirects"),
];

const TCP: &[(&str, &str)] = &[
    ("% active connection openings", "ActiveOpens"),
    ("% active connections openings", "ActiveOpens"),
    ("% passive connection openings", "PassiveOpens"),
    ("% failed connection attempts", "AttemptFails"),
    ("% connection resets received", "EstabResets"),
    ("% connections established", "CurrEstab"),
    ("% segments received", "InSegs"),
    ("% segments sent out", "OutSegs"),
    ("% segments send out", "OutSegs"),
    ("% segments retransmitted", "RetransSegs"),
    ("% segments retransmited", "RetransSegs"),
    ("% bad segments received", "InErrs"),
    ("% resets sent", "OutRsts"),
];

const UDP: &[(&str, &str)] = &[
    ("% packets received", "InDatagrams"),
    ("% packets to unknown port received", "NoPorts"),
    ("% packet receive errors", "InErrors"),
    ("% packets sent", "OutDatagrams"),
    ("% receive buffer errors", "RcvbufErrors"),
    ("% send buffer errors", "SndbufErrors"),
];

const TCP_EXT: &[(&str, &str)] = &[
    ("% SYN cookies sent", "SyncookiesSent"),
    ("% SYN cookies received", "SyncookiesRecv"),
    ("% invalid SYN cookies received", "SyncookiesFailed"),
    (
        "% resets received for embryonic SYN_RECV sockets",
        "EmbryonicRsts",
    ),
    (
        "% packets pruned from receive queue because of socket buffer overrun",
        "PruneCalled",
    ),
    ("% packets pruned from receive queue", "RcvPruned"),
    (
        "% packets dropped from out-of-order queue because of socket buffer overrun",
        "OfoPruned",
    ),
    (
        "% ICMP packets dropped because they were out-of-window",
        "OutOfWindowIcmps",
    ),
    (
        "% ICMP packets dropped because socket was locked",
        "LockDroppedIcmps",
    ),
    ("% TCP sockets finished time wait in fast timer", "TW"),
    ("% time wait sockets recycled by time stamp", "TWRecycled"),
    ("% TCP sockets finished time wait in slow timer", "TWKilled"),
    (
        "% passive connections rejected because of time stamp",
        "PAWSPassive",
    ),
    (
        "% active connections rejected because of time stamp",
        "PAWSActive",
    ),
    (
        "% packets rejected in established connections because of timestamp",
        "PAWSEstab",
    ),
    (
        "% packets rejects in established connections because of timestamp",
        "PAWSEstab",
    ),
    ("% delayed acks sent", "DelayedACKs"),
    (
        "% delayed acks further delayed because of locked socket",
        "DelayedACKLocked",
    ),
    ("Quick ack mode was activated % times", "DelayedACKLost"),
    (
        "% times the listen queue of a socket overflowed",
        "ListenOverflows",
    ),
    ("% SYNs to LISTEN sockets dropped", "ListenDrops"),
    ("% SYNs to LISTEN sockets ignored", "ListenDrops"),
    (
        "% packets directly queued to recvmsg prequeue",
        "TCPPrequeued",
    ),
    (
        "% bytes directly in process context from backlog",
        "TCPDirectCopyFromBacklog",
    ),
    (
        "% bytes directly received in process context from prequeue",
        "TCPDirectCopyFromPrequeue",
    ),
    ("% packets dropped from prequeue", "TCPPrequeueDropped"),
    ("% packet headers predicted", "TCPHPHits"),
    ("% packets header predicted", "TCPHPHits"),
    (
        "% packet headers predicted and directly queued to user",
        "TCPHPHitsToUser",
    ),
    (
        "% packets header predicted and directly queued to user",
        "TCPHPHitsToUser",
    ),
    (
        "% acknowledgments not containing data payload received",
        "TCPPureAcks",
    ),
    (
        "% acknowledgments not containing data received",
        "TCPPureAcks",
    ),
    ("% predicted acknowledgments", "TCPHPAcks"),
    (
        "% times recovered from packet loss due to fast retransmit",
        "TCPRenoRecovery",
    ),
    (
        "% times recovered from packet loss by selective acknowledgements",
        "TCPSackRecovery",
    ),
    (
        "% times recovered from packet loss due to SACK data",
        "TCPSackRecovery",
    ),
    ("% bad SACK blocks received", "TCPSACKReneging"),
    ("% bad SACKs received", "TCPSACKReneging"),
    ("Detected reordering % times using FACK", "TCPFACKReorder"),
    ("Detected reordering % times using SACK", "TCPSACKReorder"),
    (
        "Detected reordering % times using reno fast retransmit",
        "TCPRenoReorder",
    ),
    (
        "Detected reordering % times using time stamp",
        "TCPTSReorder",
    ),
    (
        "% congestion windows fully recovered without slow start",
        "TCPFullUndo",
    ),
    ("% congestion windows fully recovered", "TCPFullUndo"),
    (
        "% congestion windows partially recovered using Hoe heuristic",
        "TCPPartialUndo",
    ),
    (
        "% congestion window recovered without slow start using DSACK",
        "TCPDSACKUndo",
    ),
    (
        "% congestion windows recovered without slow start by DSACK",
        "TCPDSACKUndo",
    ),
    (
        "% congestion windows recovered without slow start after partial ack",
        "TCPLossUndo",
    ),
    (
        "% congestion windows recovered after partial ack",
        "TCPLossUndo",
    ),
    ("% TCP data loss events", "TCPLoss"),
    ("% retransmits lost", "TCPLostRetransmit"),
    ("% timeouts after reno fast retransmit", "TCPRenoFailures"),
    ("% timeouts after SACK recovery", "TCPSackFailures"),
    ("% timeouts in loss state", "TCPLossFailures"),
    ("% fast retransmits", "TCPFastRetrans"),
    ("% forward retransmits", "TCPForwardRetrans"),
    ("% retransmits in slow start", "TCPSlowStartRetrans"),
    ("% other TCP timeouts", "TCPTimeouts"),
    ("% reno fast retransmits failed", "TCPRenoRecoveryFail"),
    (
        "% classic Reno fast retransmits failed",
        "TCPRenoRecoveryFail",
    ),
    ("% SACK retransmits failed", "TCPSackRecoveryFail"),
    ("% sack retransmits failed", "TCPSackRecoveryFail"),
    (
        "% times receiver scheduled too late for direct processing",
        "TCPSchedulerFailed",
    ),
    (
        "% packets collapsed in receive queue due to low socket buffer",
        "TCPRcvCollapsed",
    ),
    ("% DSACKs sent for old packets", "TCPDSACKOldSent"),
    ("% DSACKs sent for out of order packets", "TCPDSACKOfoSent"),
    ("% DSACKs received", "TCPDSACKRecv"),
    (
        "% DSACKs for out of order packets received",
        "TCPDSACKOfoRecv",
    ),
    ("% connections reset due to unexpected SYN", "TCPAbortOnSyn"),
    (
        "% connections reset due to unexpected data",
        "TCPAbortOnData",
    ),
    (
        "% connections reset due to early user close",
        "TCPAbortOnClose",
    ),
    (
        "% connections aborted due to memory pressure",
        "TCPAbortOnMemory",
    ),
    ("% connections aborted due to timeout", "TCPAbortOnTimeout"),
    (
        "% connections aborted after user close in linger timeout",
        "TCPAbortOnLinger",
    ),
    (
        "% times unable to send RST due to no memory",
        "TCPAbortFailed",
    ),
    ("TCP ran low on memory % times", "TCPMemoryPressures"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{snmp, snmp6};
    use proptest::prelude::*;

    const SNMP: &str = include_str!("../../tests/fixtures/netstat/snmp");
    const NETSTAT: &str = include_str!("../../tests/fixtures/netstat/netstat");
    const SNMP6: &str = include_str!("../../tests/fixtures/netstat/snmp6");

    /// net-tools 2.10 was given the kernel's files with a different number in each column: what is read back from its
    /// sentences must be those files again.
    #[test]
    fn the_real_tools_sentences_give_back_what_it_read() {
        let mut truth = snmp(SNMP).value;
        truth.merge(snmp(NETSTAT).value);
        truth.merge(snmp6(SNMP6).value);
        for text in [
            include_str!("../../tests/fixtures/netstat/netstat-s.txt"),
            include_str!("../../tests/fixtures/netstat/netstat-s-6.txt"),
            include_str!("../../tests/fixtures/netstat/netstat-su.txt"),
        ] {
            let read = netstat_statistics(text);
            assert_eq!(read.problems, []);
            for (name, value) in read.value.iter() {
                assert_eq!(truth.get(name), Some(value), "{name}");
            }
            let lines = text
                .lines()
                .filter(|line| line.contains(|c: char| c.is_ascii_digit()));
            // The heading lines "Ip6:", "Icmp6:", "Udp6:" and "UdpLite6:" hold a digit and no counter.
            let headings = text.lines().filter(|line| line.ends_with("6:")).count();
            assert_eq!(read.value.len(), lines.count() - headings);
        }
    }

    #[test]
    fn what_is_left_out_of_a_printed_section_is_zero() {
        let read = netstat_statistics(
            "Tcp:\n    73 active connection openings\nTcpExt:\n    2 connections aborted due to timeout\n",
        );
        assert_eq!(read.value.get("TcpExtTCPAbortOnTimeout"), Some(2));
        assert_eq!(read.value.get("TcpExtListenDrops"), Some(0));
        assert_eq!(read.value.get("IpInReceives"), None);
    }

    #[test]
    fn older_wordings_are_known() {
        let read = netstat_statistics(
            "Ip:\n    Forwarding is disabled.\n    Default TTL is 64\n    8 total packets received\nTcp:\n    5 segments send out\n    6 segments retransmited\n    7 bad segments received.\nTcpExt:\n    9 SYNs to LISTEN sockets ignored\n    4 other TCP timeouts\n",
        );
        assert_eq!(read.problems, []);
        insta::assert_debug_snapshot!(read.value, @r#"
        {
            "IpDefaultTTL": 64,
            "IpInReceives": 8,
            "TcpExtListenDrops": 9,
            "TcpExtTCPTimeouts": 4,
            "TcpInErrs": 7,
            "TcpOutSegs": 5,
            "TcpRetransSegs": 6,
        }
        "#);
    }

    #[test]
    fn an_unknown_sentence_is_told() {
        let read = netstat_statistics("Tcp:\n    5 elephants passed\nFoo:\n    TCPBar: 3\n");
        assert_eq!(read.value.len(), 0);
        assert_eq!(
            read.problems[0].to_string(),
            "line 2: expected a sentence of netstat -s, found \"5 elephants passed\""
        );
        assert_eq!(
            read.problems[1].to_string(),
            "line 3: expected a section such as \"TcpExt:\", found \"Foo:\""
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(Tcp:\n )?.{0,200}") {
            netstat_statistics(&text);
        }
    }
}
