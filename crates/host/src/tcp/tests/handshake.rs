//! Opening connections.

use super::pair::*;

use std::time::Duration;

use crate::socket::{Errno, SocketKind, SocketOption};

#[test]
fn request_and_answer_as_tcpdump_shows_them() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    assert_eq!(pair.write(CLIENT, client, &[b'x'; 90]), Ok(90));
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(90));
    assert_eq!(pair.write(SERVER, server, &[b'y'; 300]), Ok(300));
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(CLIENT, client).map(|bytes| bytes.len()), Ok(300));
    assert_eq!(pair.write(CLIENT, client, &[b'x'; 90]), Ok(90));
    pair.run_for(Duration::from_millis(300));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(90));
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(SERVER, server), Ok(vec![]));
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(
        pair.sequence(),
        [
            "C S 0 win 64240",
            "S S. 0 ack 1 win 65160",
            "C . 1 ack 1 win 63",
            "C P. 1:91 ack 1 win 63",
            "S . 1 ack 91 win 64",
            "S P. 1:301 ack 91 win 64",
            "C . 91 ack 301 win 63",
            "C P. 91:181 ack 301 win 63",
            "S . 301 ack 181 win 64",
            "C F. 181 ack 301 win 63",
            "S . 301 ack 182 win 64",
            "S F. 301 ack 182 win 64",
            "C . 182 ack 302 win 63",
        ]
    );
    // The FIN's ACK was delayed, by 40 ms.
    let fin = pair.times(|line| line.contains("C F."))[0];
    let ack = pair.times(|line| line.ends_with("S . 301 ack 182 win 64"))[0];
    assert!((40.0..48.0).contains(&(ack - fin)), "{}", ack - fin);
    let names = [
        "TcpActiveOpens",
        "TcpPassiveOpens",
        "TcpOutSegs",
        "TcpCurrEstab",
        "TcpRetransSegs",
        "TcpInErrs",
        "TcpOutRsts",
        "TcpExtTW",
        "TcpExtDelayedACKs",
        "TcpExtTCPOrigDataSent",
        "TcpExtTCPDelivered",
        "TcpExtTCPLossProbes",
    ];
    let expected = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    };
    assert_eq!(
        pair.moved(CLIENT, &names),
        expected(&[
            ("TcpActiveOpens", 1),
            ("TcpOutSegs", 7),
            ("TcpExtTW", 1),
            ("TcpExtTCPOrigDataSent", 3),
            ("TcpExtTCPDelivered", 4),
        ])
    );
    assert_eq!(
        pair.moved(SERVER, &names),
        expected(&[
            ("TcpPassiveOpens", 1),
            ("TcpOutSegs", 6),
            ("TcpExtDelayedACKs", 1),
            ("TcpExtTCPOrigDataSent", 2),
            ("TcpExtTCPDelivered", 2),
        ])
    );
}

fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn close_to(gaps: &[f64], seen: &[f64]) {
    assert_eq!(gaps.len(), seen.len(), "{gaps:?}");
    for (gap, seen) in gaps.iter().zip(seen) {
        assert!(
            (gap - seen).abs() <= seen * 0.125,
            "{gap} ms instead of {seen}"
        );
    }
}

#[test]
fn a_syn_that_nobody_answers_is_sent_eleven_times() {
    let mut pair = Pair::new();
    pair.lose(|_| true);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_secs(134));
    assert_eq!(pair.hosts[CLIENT].take_error(client), None);
    pair.run_for(Duration::from_secs(2));
    let times = pair.times(|line| line.contains("C S 0"));
    // linux.md.
    let seen = [
        1024.0, 1024.0, 1024.0, 1024.0, 1024.0, 2016.0, 4224.0, 8192.0, 16128.0, 33536.0,
    ];
    close_to(&gaps(&times), &seen);
    assert_eq!(
        pair.hosts[CLIENT].take_error(client),
        Some(Errno::Etimedout)
    );
    assert_eq!(pair.counter(CLIENT, "TcpOutSegs"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpRetransSegs"), 10);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPSynRetrans"), 10);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 11);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPAbortOnTimeout"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpAttemptFails"), 1);
}

#[test]
fn a_closed_port_refuses() {
    let mut pair = Pair::new();
    let client = pair.connect(81, &[]);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.sequence(), ["C S 0 win 64240", "S R. 0 ack 1 win 0"]);
    assert_eq!(
        pair.hosts[CLIENT].take_error(client),
        Some(Errno::Econnrefused)
    );
    assert_eq!(pair.counter(CLIENT, "TcpAttemptFails"), 1);
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 1);
    assert_eq!(pair.counter(SERVER, "TcpOutSegs"), 1);
    assert!(pair.events[CLIENT].contains("failed"));
}

#[test]
fn syn_acks_are_sent_again_until_the_handshake_is_forgotten() {
    let mut pair = Pair::new();
    pair.listen(80, 5, &[]);
    pair.lose(|frame| frame.from == SERVER || frame.number > 0);
    pair.connect(80, &[]);
    pair.run_for(Duration::from_secs(70));
    let times = pair.times(|line| line.contains("S S. 0"));
    close_to(&gaps(&times), &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0]);
    assert_eq!(pair.counter(SERVER, "TcpRetransSegs"), 5);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPSynRetrans"), 5);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPTimeouts"), 6);
    assert_eq!(pair.counter(SERVER, "TcpOutSegs"), 6);
    assert_eq!(pair.ss(SERVER, "SYN-RECV"), "");
}

#[test]
fn a_full_accept_queue_drops_syns_and_final_acks() {
    let mut pair = Pair::new();
    pair.listen(80, 1, &[]);
    for _ in 0..4 {
        pair.connect(80, &[]);
        pair.run_for(Duration::from_millis(50));
    }
    // Two wait to be accepted; the others' SYNs are dropped.
    assert!(pair.ss(SERVER, "LISTEN").starts_with("tcp LISTEN 2 1 "));
    assert_eq!(pair.counter(SERVER, "TcpExtListenOverflows"), 2);
    assert_eq!(pair.counter(SERVER, "TcpExtListenDrops"), 2);
    assert!(pair.ss(SERVER, "LISTEN").contains(",d2)"));
    assert_eq!(pair.counter(SERVER, "TcpPassiveOpens"), 2);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.counter(SERVER, "TcpExtListenDrops"), 4);
}

#[test]
fn a_full_syn_queue_answers_with_cookies() {
    let mut pair = Pair::new();
    let listener = pair.listen(80, 1, &[]);
    // Two handshakes stay half open.
    pair.lose(|frame| frame.from == SERVER && frame.number < 2);
    pair.connect(80, &[]);
    pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(10));
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.counter(SERVER, "TcpExtTCPReqQFullDoCookies"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtSyncookiesSent"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtSyncookiesRecv"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtListenDrops"), 0);
    let now = pair.now;
    let (server, _) = pair.hosts[SERVER].accept(now, listener).unwrap();
    pair.write(CLIENT, client, b"hello").unwrap();
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.read(SERVER, server), Ok(b"hello".to_vec()));
    // Timestamps told the options.
    let line = pair.ss(SERVER, "ESTAB");
    assert!(
        line.contains(" ts sack ") && line.contains("wscale:10,10"),
        "{line}"
    );
}

#[test]
fn without_cookies_a_full_syn_queue_drops() {
    let mut pair = Pair::with(
        crate::device::Features::VETH,
        &[("net.ipv4.tcp_syncookies", "0")],
    );
    pair.listen(80, 1, &[]);
    pair.lose(|frame| frame.from == SERVER);
    for _ in 0..3 {
        pair.connect(80, &[]);
    }
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.counter(SERVER, "TcpExtTCPReqQFullDrop"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtListenDrops"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtListenOverflows"), 0);
}

#[test]
fn a_deferred_accept_waits_for_data() {
    let mut pair = Pair::new();
    let listener = pair.listen(80, 5, &[SocketOption::DeferAccept(3)]);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(500));
    let now = pair.now;
    assert_eq!(pair.hosts[SERVER].accept(now, listener), Err(Errno::Eagain));
    assert_eq!(pair.counter(SERVER, "TcpExtTCPDeferAcceptDrop"), 1);
    assert!(pair.ss(CLIENT, "10.0.0.2:80").contains("ESTAB"));
    pair.write(CLIENT, client, b"GET").unwrap();
    pair.run_for(Duration::from_millis(10));
    let now = pair.now;
    let (server, _) = pair.hosts[SERVER].accept(now, listener).unwrap();
    assert_eq!(pair.read(SERVER, server), Ok(b"GET".to_vec()));
}

#[test]
fn ends_are_given_out_until_there_are_none() {
    let range = [("net.ipv4.ip_local_port_range", "40000 40001")];
    let mut pair = Pair::with(crate::device::Features::VETH, &range);
    pair.listen(80, 10, &[]);
    pair.connect(80, &[]);
    pair.connect(80, &[]);
    let host = &mut pair.hosts[CLIENT];
    let id = host
        .socket(SocketKind::Tcp, transect_config::IpVersion::V4)
        .unwrap();
    let result = host.connect(pair.now, id, Pair::address(SERVER, 80));
    assert_eq!(result, Err(Errno::Eaddrnotavail));
    assert_eq!(pair.counter(CLIENT, "TcpActiveOpens"), 2);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let mut pair = Pair::new();
        let (client, _) = pair.connected();
        pair.write(CLIENT, client, &[1; 5000]).unwrap();
        pair.run_for(Duration::from_secs(1));
        (pair.trace.clone(), pair.hosts[CLIENT].sockets_text())
    };
    assert_eq!(run(), run());
}
