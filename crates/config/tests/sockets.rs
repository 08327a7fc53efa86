//! What `ss`, `netstat`, /proc and `conntrack` really printed of one state reads the same.

use std::net::IpAddr;

use transect_config::{
    IpVersion, Parsed, Socket, SocketProtocol, SocketState, TimerKind, features_device,
    read_conntrack, read_features, read_proc_sockets, read_sockets, read_sysctls,
};

const ONE_LINE: &str = include_str!("fixtures/net/ss_oneline.txt");

fn whole<T>(parsed: Parsed<T>) -> T {
    assert_eq!(parsed.problems, [], "problems");
    parsed.value
}

/// What every form shows of a socket.
fn essence(socket: &Socket) -> String {
    let end = |end: &transect_config::SocketAddress| match (
        end.address.filter(|_| !end.is_wildcard()),
        end.port,
    ) {
        (Some(address), port) => format!("{address} {port:?}"),
        (None, port) => format!("* {port:?}"),
    };
    let state = socket.state.map_or("", SocketState::id);
    format!(
        "{} {state} {} {}",
        socket.protocol,
        end(&socket.local),
        end(&socket.peer)
    )
}

fn essences(sockets: &[Socket], only: Option<SocketProtocol>) -> Vec<String> {
    let mut all: Vec<String> = sockets
        .iter()
        .filter(|socket| only.is_none_or(|protocol| socket.protocol == protocol))
        .map(essence)
        .collect();
    all.sort();
    all
}

#[test]
fn one_line_and_two_line_forms_agree() {
    let tcp: Vec<Socket> = whole(read_sockets(ONE_LINE))
        .into_iter()
        .filter(|socket| socket.protocol == SocketProtocol::Tcp)
        .collect();
    let two_lines = whole(read_sockets(include_str!("fixtures/net/ss_tanempi.txt")));
    assert_eq!(tcp.len(), two_lines.len());
    for (one, two) in tcp.iter().zip(&two_lines) {
        assert_eq!(essence(one), essence(two));
        assert_eq!(
            (one.recv_queue, one.send_queue, one.inode, one.v6only),
            (two.recv_queue, two.send_queue, two.inode, two.v6only)
        );
        assert_eq!(one.memory, two.memory);
        // Taken a moment apart: the times differ.
        assert_eq!(one.tcp.is_some(), two.tcp.is_some());
        let steady = |socket: &Socket| {
            socket.tcp.as_ref().map(|tcp| {
                (
                    tcp.mss,
                    tcp.segs_out,
                    tcp.window_scale,
                    tcp.congestion.clone(),
                )
            })
        };
        assert_eq!(steady(one), steady(two));
        assert!(two.process.is_some() || two.inode.unwrap_or(0) == 0);
    }
}

#[test]
fn every_tool_and_flag_shows_the_same_tcp_sockets() {
    let expected = essences(&whole(read_sockets(ONE_LINE)), Some(SocketProtocol::Tcp));
    assert_eq!(expected.len(), 20);
    for text in [
        include_str!("fixtures/net/ss_tan.txt"),
        include_str!("fixtures/net/ss_ta.txt"),
        include_str!("fixtures/net/ss_s_all.txt"),
        include_str!("fixtures/net/netstat_anp.txt"),
        include_str!("fixtures/net/netstat_ant.txt"),
        include_str!("fixtures/net/netstat_anto.txt"),
        include_str!("fixtures/net/netstat_W.txt"),
    ] {
        assert_eq!(
            essences(&whole(read_sockets(text)), Some(SocketProtocol::Tcp)),
            expected
        );
    }
    let mut proc = whole(read_sockets(include_str!("fixtures/net/proc_tcp.txt")));
    proc.extend(whole(read_proc_sockets(
        include_str!("fixtures/net/proc_tcp6.txt"),
        SocketProtocol::Tcp,
    )));
    assert_eq!(essences(&proc, None), expected);
}

#[test]
fn every_tool_shows_the_same_udp_sockets() {
    let expected = essences(&whole(read_sockets(ONE_LINE)), Some(SocketProtocol::Udp));
    assert_eq!(expected.len(), 4);
    for text in [
        include_str!("fixtures/net/ss_s_all.txt"),
        include_str!("fixtures/net/netstat_anp.txt"),
    ] {
        assert_eq!(
            essences(&whole(read_sockets(text)), Some(SocketProtocol::Udp)),
            expected
        );
    }
    let mut proc = whole(read_sockets(include_str!("fixtures/net/proc_udp.txt")));
    proc.extend(whole(read_sockets(include_str!(
        "fixtures/net/proc_udp6.txt"
    ))));
    assert_eq!(essences(&proc, None), expected);
    let dropping = proc
        .iter()
        .find(|socket| socket.local.port == Some(5353))
        .unwrap();
    assert_eq!((dropping.dropped(), dropping.recv_queue), (Some(5), 2304));
}

#[test]
fn details_of_single_sockets() {
    let sockets = whole(read_sockets(ONE_LINE));
    let find = |state: SocketState, port: u16| {
        sockets
            .iter()
            .find(|socket| socket.state == Some(state) && socket.local.port == Some(port))
            .unwrap()
    };
    let full = find(SocketState::Listen, 8080);
    // Accept queue and its limit.
    assert_eq!(
        (full.recv_queue, full.send_queue, full.dropped()),
        (3, 2, Some(1))
    );
    assert_eq!(
        find(SocketState::Listen, 8083).interface.as_deref(),
        Some("lo")
    );
    let asking = sockets
        .iter()
        .find(|socket| socket.state == Some(SocketState::SynSent))
        .unwrap();
    let timer = asking.timer.unwrap();
    assert_eq!(
        (timer.kind, timer.remaining_ms, timer.retransmits),
        (TimerKind::On, 528, 2)
    );
    assert_eq!(asking.tcp.as_ref().unwrap().unacked, Some(1));
    let stalled = sockets
        .iter()
        .find(|socket| socket.send_queue > 1_000_000)
        .unwrap();
    assert_eq!(stalled.timer.unwrap().kind, TimerKind::Persist);
    let tcp = stalled.tcp.as_deref().unwrap();
    assert_eq!(
        (tcp.rwnd_limited, tcp.busy, tcp.backoff),
        (Some(2512), Some(2512), Some(3))
    );
    assert_eq!(
        (tcp.bytes_sent, tcp.bytes_acked, tcp.notsent),
        (Some(176_128), Some(128_513), Some(3_782_144))
    );
    assert_eq!(
        (tcp.retrans_out, tcp.retrans_total, tcp.pmtu),
        (Some(0), Some(1), Some(65_536))
    );
    assert_eq!(
        (tcp.congestion.as_deref(), tcp.window_scale, tcp.sack),
        (Some("bbr"), Some((10, 10)), true)
    );
    assert_eq!(stalled.memory.unwrap().wqueued, 3_847_872);
    assert_eq!(
        sockets
            .iter()
            .filter(|socket| socket.protocol == SocketProtocol::Raw)
            .count(),
        2
    );
}

#[test]
fn which_listener_would_take_a_packet() {
    let sockets = whole(read_sockets(ONE_LINE));
    let takes = |local: &str, port: u16, device: &str| {
        let local: IpAddr = local.parse().unwrap();
        let peer: IpAddr = if local.is_ipv4() {
            "10.0.0.2"
        } else {
            "fd00::2"
        }
        .parse()
        .unwrap();
        sockets
            .iter()
            .filter(|socket| socket.is_listening())
            .any(|socket| socket.accepts((local, port), (peer, 999), Some(device)))
    };
    assert!(takes("10.0.0.1", 8080, "eth0"));
    assert!(!takes("fd00::1", 8080, "eth0"));
    assert!(takes("10.0.0.1", 8081, "eth0"), "dual stack");
    assert!(takes("fd00::1", 8081, "eth0"));
    assert!(takes("fd00::1", 8082, "eth0"));
    assert!(!takes("10.0.0.1", 8082, "eth0"));
    assert!(takes("127.0.0.1", 8083, "lo"));
    assert!(!takes("127.0.0.1", 8083, "eth0"), "bound to lo");
    assert!(!takes("10.0.0.1", 9999, "eth0"));
}

#[test]
fn forms_without_columns() {
    let established = whole(read_sockets(include_str!(
        "fixtures/net/ss_established.txt"
    )));
    assert!(!established.is_empty());
    assert!(
        established
            .iter()
            .all(|socket| socket.state.is_none() && socket.tcp.is_some())
    );
    let connecting = whole(read_sockets(include_str!("fixtures/net/ss_o.txt")));
    assert_eq!(connecting[0].peer.port, Some(99));
    assert_eq!(connecting[0].timer.unwrap().kind, TimerKind::On);
    let packet = whole(read_sockets(include_str!("fixtures/net/ss_0.txt")));
    assert_eq!(
        (packet[0].protocol, packet[0].recv_queue),
        (SocketProtocol::PacketRaw, 252_326)
    );
    let old = whole(read_sockets(
        "State      Recv-Q Send-Q Local Address:Port               Peer Address:Port
LISTEN     0      128    :::22                              :::*
UNCONN     0      0      *%virbr0:67                              *:*
ESTAB      0      0      ::ffff:10.0.0.1:443      ::ffff:10.0.0.7:51000
",
    ));
    assert_eq!(old[0].version, Some(IpVersion::V6));
    assert_eq!(
        (old[1].interface.as_deref(), old[1].local.port),
        (Some("virbr0"), Some(67))
    );
    assert_eq!(old[2].version, Some(IpVersion::V4));
}

#[test]
fn truncated_addresses_of_netstat_are_named() {
    let parsed = read_sockets(
        "Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State
tcp6       0      0 fe80::8c77:74ff:fe2c:54 :::*                    LISTEN
tcp        0      0 10.0.0.1:22             0.0.0.0:*               LISTEN
",
    );
    // Cut behind a colon it still reads as an address with another port: nothing can tell.
    assert_eq!(parsed.value.last().unwrap().local.port, Some(22));
    assert!(parsed.value.len() + parsed.problems.len() == 2);
}

#[test]
fn conntrack_entries_of_every_form_agree() {
    let extended = whole(read_conntrack(include_str!(
        "fixtures/net/conntrack_extended.txt"
    )));
    let plain = whole(read_conntrack(include_str!("fixtures/net/conntrack.txt")));
    assert_eq!(extended, plain);
    assert_eq!(extended.len(), 6);
    let mut proc = whole(read_conntrack(include_str!(
        "fixtures/net/nf_conntrack.txt"
    )));
    for entry in &mut proc {
        // /proc holds a reference of its own while it prints, and knows the zone.
        entry.uses = entry.uses.map(|uses| uses - 1);
        entry.zone = None;
    }
    let sorted = |mut entries: Vec<transect_config::ConntrackEntry>| {
        entries.sort_by_key(|entry| format!("{entry:?}"));
        entries
    };
    assert_eq!(sorted(proc), sorted(extended.clone()));
    let asked = extended
        .iter()
        .find(|entry| entry.state.as_deref() == Some("SYN_SENT"))
        .unwrap();
    assert!(asked.has_flag("UNREPLIED"));
    assert_eq!(
        (asked.protocol, asked.timeout, asked.original.packets),
        (6, Some(119), Some(1))
    );
    assert_eq!(asked.original.destination_port, Some(7));
    assert!(!asked.is_source_translated() && !asked.is_destination_translated());
    let with_id = whole(read_conntrack(include_str!("fixtures/net/conntrack6.txt")));
    assert_eq!(with_id[0].reply.as_ref().unwrap().icmp_id, Some(13470));
    assert_eq!(with_id[0].version, IpVersion::V6);
}

#[test]
fn translated_connections() {
    let entries = whole(read_conntrack(
        "tcp      6 431999 ESTABLISHED src=192.168.1.2 dst=203.0.113.9 sport=4000 dport=80 src=10.0.0.5 dst=203.0.113.1 sport=8080 dport=4000 [ASSURED] mark=0 zone=7 use=1
udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [OFFLOAD] mark=16 use=1
",
    ));
    assert!(entries[0].is_source_translated() && entries[0].is_destination_translated());
    assert_eq!(entries[0].zone, Some(7));
    assert_eq!((entries[1].timeout, entries[1].mark), (None, Some(16)));
    assert!(entries[1].has_flag("OFFLOAD"));
    assert_eq!(
        read_conntrack("tcp 6 5 src=x dst=10.0.0.1\n").problems[0].line,
        1
    );
}

#[test]
fn features_and_settings() {
    let text = include_str!("fixtures/net/ethtool_k.txt");
    let features = whole(read_features(text));
    assert_eq!(features_device(text), Some("eth0"));
    let feature = |name: &str| {
        features
            .iter()
            .find(|feature| feature.name == name)
            .unwrap()
    };
    assert!(feature("generic-segmentation-offload").on);
    // An XDP program on the peer switches it off.
    assert!(!feature("tcp-segmentation-offload").on);
    assert!(!feature("large-receive-offload").on && feature("large-receive-offload").fixed);
    let sysctls = whole(read_sysctls(include_str!("fixtures/net/sysctl.txt")));
    assert_eq!(sysctls.rp_filter("eth0"), Some(0));
    assert_eq!(sysctls.forwarding_v4("eth0"), Some(false));
    assert_eq!(sysctls.forwarding_v6("eth0"), Some(false));
    assert!(sysctls.tcp("tcp_syn_retries").is_some());
}
