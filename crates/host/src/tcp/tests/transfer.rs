//! Data on established connections: small writes, windows, keepalive, what attackers send.

use std::time::Duration;

use super::pair::*;
use crate::socket::{Errno, SocketOption};

#[test]
fn small_writes_wait_for_the_answer_to_the_first() {
    let mut pair = Pair::new();
    pair.delay = Duration::from_millis(5);
    let listener = pair.listen(80, 10, &[]);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(50));
    let now = pair.now;
    pair.hosts[SERVER].accept(now, listener).unwrap();
    for _ in 0..5 {
        pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    }
    pair.run_for(Duration::from_millis(100));
    assert_eq!(
        pair.without_windows()[3..],
        [
            "C P. 1:101 ack 1",
            "S . 1 ack 101",
            "C P. 101:501 ack 1",
            "S . 1 ack 501",
        ]
    );
}

#[test]
fn without_nagle_every_write_goes_at_once() {
    let mut pair = Pair::new();
    pair.delay = Duration::from_millis(5);
    pair.listen(80, 10, &[]);
    let client = pair.connect(80, &[SocketOption::NoDelay(true)]);
    pair.run_for(Duration::from_millis(50));
    for _ in 0..3 {
        pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    }
    assert_eq!(
        pair.without_windows()[3..],
        [
            "C P. 1:101 ack 1",
            "C P. 101:201 ack 1",
            "C P. 201:301 ack 1",
        ]
    );
}

#[test]
fn a_cork_holds_back_what_is_no_whole_segment() {
    let mut pair = Pair::new();
    pair.listen(80, 10, &[]);
    let client = pair.connect(80, &[SocketOption::Cork(true)]);
    pair.run_for(Duration::from_millis(50));
    pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    pair.run_for(Duration::from_millis(150));
    assert_eq!(pair.trace.len(), 3);
    pair.hosts[CLIENT]
        .set_option(client, SocketOption::Cork(false))
        .unwrap();
    pair.collect();
    assert_eq!(pair.without_windows()[3..], ["C P. 1:101 ack 1"]);
}

#[test]
fn keepalive_ends_a_connection_whose_peer_is_gone() {
    let mut pair = Pair::new();
    let (client, _) = pair.connected();
    for option in [
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(1),
        SocketOption::KeepInterval(1),
        SocketOption::KeepCount(3),
    ] {
        pair.hosts[CLIENT].set_option(client, option).unwrap();
    }
    pair.run_for(Duration::from_millis(1200));
    assert_eq!(pair.without_windows()[3..], ["C . 0 ack 1", "S . 1 ack 1"]);
    assert!(pair.ss(CLIENT, "ESTAB").contains("timer:(keepalive,"));
    pair.lose(|_| true);
    pair.run_for(Duration::from_secs(6));
    assert_eq!(
        pair.hosts[CLIENT].take_error(client),
        Some(Errno::Etimedout)
    );
    let last = pair.without_windows();
    assert_eq!(last.last().unwrap(), "C R. 1 ack 1 LOST");
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPKeepAlive"), 4);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPAbortOnTimeout"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpOutRsts"), 1);
}

#[test]
fn the_user_timeout_ends_retransmission() {
    let mut pair = Pair::new();
    let (client, _) = pair.connected();
    pair.hosts[CLIENT]
        .set_option(client, SocketOption::UserTimeout(3000))
        .unwrap();
    pair.lose(|_| true);
    pair.write(CLIENT, client, b"x").unwrap();
    pair.run_for(Duration::from_millis(2900));
    assert_eq!(pair.hosts[CLIENT].take_error(client), None);
    pair.run_for(Duration::from_millis(600));
    assert_eq!(
        pair.hosts[CLIENT].take_error(client),
        Some(Errno::Etimedout)
    );
}

#[test]
fn a_peer_that_is_away_for_a_while_gets_everything() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.lose(|_| true);
    pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    pair.run_for(Duration::from_secs(2));
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("timer:(on,"), "{line}");
    assert!(line.contains(" backoff:3 "), "{line}");
    assert!(line.contains("unacked:1"), "{line}");
    pair.lose(|_| false);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(100));
    assert!(!pair.ss(CLIENT, "ESTAB").contains("timer:"));
}

#[test]
fn a_thousand_connections_in_turn_leave_nothing_behind() {
    let mut pair = Pair::new();
    let listener = pair.listen(80, 10, &[]);
    for _ in 0..1000 {
        let client = pair.connect(80, &[]);
        pair.run_for(Duration::from_millis(1));
        let now = pair.now;
        let (server, _) = pair.hosts[SERVER].accept(now, listener).unwrap();
        pair.write(CLIENT, client, b"hello").unwrap();
        pair.run_for(Duration::from_millis(1));
        assert_eq!(pair.read(SERVER, server), Ok(b"hello".to_vec()));
        pair.close(SERVER, server);
        pair.run_for(Duration::from_millis(1));
        pair.close(CLIENT, client);
        pair.trace.clear();
        pair.run_for(Duration::from_millis(50));
        while pair.hosts[CLIENT].poll_death().is_some() {}
        while pair.hosts[SERVER].poll_death().is_some() {}
    }
    pair.run_for(Duration::from_secs(100));
    pair.close(SERVER, listener);
    for which in [CLIENT, SERVER] {
        assert_eq!(pair.hosts[which].sockets_text(), "");
        assert_eq!(pair.hosts[which].poll_timeout(), None);
        assert_eq!(pair.counter(which, "TcpCurrEstab"), 0);
    }
}

#[test]
fn an_idle_connection_takes_less_than_two_kibibytes() {
    let size = std::mem::size_of::<crate::tcp::connection::Connection>();
    // With its entries in the tables and its buffers empty.
    assert!(size < 1800, "{size} bytes");
}

#[test]
fn ipv6_and_ipv4_on_one_listener() {
    use crate::socket::{SocketAddress, SocketKind};
    use std::net::Ipv6Addr;
    use transect_config::IpVersion;
    let mut pair = Pair::new();
    let now = pair.now;
    let host = &mut pair.hosts[SERVER];
    let listener = host.socket(SocketKind::Tcp, IpVersion::V6).unwrap();
    host.bind(listener, SocketAddress::new(Ipv6Addr::UNSPECIFIED, 80))
        .unwrap();
    host.listen(now, listener, 5).unwrap();
    let host = &mut pair.hosts[CLIENT];
    let six = host.socket(SocketKind::Tcp, IpVersion::V6).unwrap();
    let peer = SocketAddress::new("fd00::2".parse::<Ipv6Addr>().unwrap(), 80);
    assert_eq!(host.connect(now, six, peer), Err(Errno::Einprogress));
    pair.collect();
    pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(10));
    let now = pair.now;
    let (server, from) = pair.hosts[SERVER].accept(now, listener).unwrap();
    assert_eq!(from.address, "fd00::1".parse::<Ipv6Addr>().unwrap());
    pair.hosts[SERVER].accept(now, listener).unwrap();
    assert!(
        pair.ss(SERVER, "LISTEN")
            .starts_with("tcp LISTEN 0 5 *:80 *:* ")
    );
    assert!(
        pair.ss(SERVER, "[::ffff:10.0.0.2]:80 [::ffff:10.0.0.1]:")
            .contains("ESTAB")
    );
    let line = pair.ss(CLIENT, "[fd00::2]:80");
    assert!(
        line.contains("mss:1428 pmtu:1500") && line.contains("advmss:1428"),
        "{line}"
    );
    pair.write(CLIENT, six, b"six").unwrap();
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.read(SERVER, server), Ok(b"six".to_vec()));
}

#[test]
fn a_reader_that_sleeps_closes_the_window_and_probes_keep_it_alive() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    let mut sent = 0;
    for _ in 0..100 {
        match pair.write(CLIENT, client, &[b'x'; 10_000]) {
            Ok(count) => sent += count,
            Err(Errno::Eagain) => {}
            other => panic!("{other:?}"),
        }
        pair.run_for(Duration::from_micros(50));
    }
    pair.run_for(Duration::from_secs(5));
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("timer:(persist,"), "{line}");
    assert!(line.contains("rwnd_limited:"), "{line}");
    assert!(pair.counter(SERVER, "TcpExtTCPToZeroWindowAdv") >= 1);
    let probes = pair.counter(CLIENT, "TcpExtTCPWinProbe");
    assert!((4..=5).contains(&probes), "{probes}");
    let mut read = 0;
    for _ in 0..100 {
        if let Ok(bytes) = pair.read(SERVER, server) {
            read += bytes.len();
        }
        pair.run_for(Duration::from_millis(1));
    }
    assert_eq!(read, sent);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 0);
    assert!(pair.events[CLIENT].contains("writable"));
}

#[test]
fn a_mebibyte_arrives_whole_whatever_is_lost() {
    for (features, seed) in [
        (crate::device::Features::VETH, 1),
        (crate::device::Features::NONE, 2),
        (crate::device::Features::NONE, 3),
    ] {
        let mut pair = Pair::with(features, &[]);
        pair.delay = Duration::from_millis(2);
        let listener = pair.listen(80, 10, &[]);
        let client = pair.connect(80, &[]);
        pair.run_for(Duration::from_millis(20));
        let now = pair.now;
        let (server, _) = pair.hosts[SERVER].accept(now, listener).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        pair.lose(move |_| random.u8(..) < 20);
        let bytes: Vec<u8> = (0..1_048_576_u32)
            .map(|number| (number * 7 % 251) as u8)
            .collect();
        let (mut written, mut arrived) = (0, Vec::new());
        for _ in 0..200_000 {
            if written < bytes.len() {
                written += pair.write(CLIENT, client, &bytes[written..]).unwrap_or(0);
                if written == bytes.len() {
                    pair.close(CLIENT, client);
                }
            }
            match pair.read(SERVER, server) {
                Ok(more) if more.is_empty() => break,
                Ok(more) => arrived.extend(more),
                Err(_) => {}
            }
            pair.trace.clear();
            pair.run_for(Duration::from_millis(1));
        }
        assert!(
            arrived == bytes,
            "{} bytes of {}",
            arrived.len(),
            bytes.len()
        );
        // Of a few super-packets none may be lost; of hundreds of segments some are.
        let single = features == crate::device::Features::NONE;
        assert!(pair.counter(CLIENT, "TcpRetransSegs") > 0 || !single);
        pair.close(SERVER, server);
        pair.lose(|_| false);
        pair.run_for(Duration::from_secs(300));
        assert_eq!(pair.ss(CLIENT, ":80"), "");
    }
}

#[test]
fn a_window_that_closes_while_a_loss_probe_is_due_is_probed() {
    let mut pair = Pair::new();
    let listener = pair.listen(80, 10, &[SocketOption::ReceiveBuffer(4096)]);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(1));
    let now = pair.now;
    pair.hosts[SERVER].accept(now, listener).unwrap();
    pair.write(CLIENT, client, &[b'x'; 100_000]).unwrap();
    pair.run_for(Duration::from_secs(4));
    assert_eq!(
        pair.sequence()[..2],
        ["C S 0 win 64240", "S S. 0 ack 1 win 2896"]
    );
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("timer:(persist,"), "{line}");
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPWinProbe"), 4);
    // The second probe came within half a second of the first: its answer is spared.
    assert_eq!(pair.counter(SERVER, "TcpExtTCPACKSkippedSeq"), 1);
}

/// A connection from begin to end; the time-out that it began with and the round trip that it ended with, as `ss` has them.
fn whole_connection(pair: &mut Pair, port: u16, delay: Duration) -> (u64, f64) {
    pair.delay = delay;
    let listener = pair.listen(port, 10, &[]);
    let client = pair.connect(port, &[]);
    pair.run_for(Duration::from_millis(200));
    let (server, _) = pair.hosts[SERVER].accept(pair.now, listener).unwrap();
    let field = |pair: &Pair, name: &str| {
        let line = pair.ss(CLIENT, &format!(":{port} "));
        let word = line.split(' ').find_map(|word| word.strip_prefix(name));
        word.map(|word| word.split('/').next().unwrap_or(word).parse().unwrap())
            .unwrap_or(f64::NAN)
    };
    let first = field(pair, "rto:") as u64;
    pair.write(CLIENT, client, &[b'x'; 20_000]).unwrap();
    pair.run_for(Duration::from_millis(500));
    assert_eq!(pair.read(SERVER, server).unwrap().len(), 20_000);
    let last = field(pair, "rtt:");
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_millis(200));
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(300));
    (first, last)
}

#[test]
fn a_destination_is_remembered_by_the_round_trips_of_former_connections() {
    let (slow, fast) = (Duration::from_millis(50), Duration::from_millis(1));
    let mut pair = Pair::new();
    assert_eq!(whole_connection(&mut pair, 81, fast).0, 204);
    let (_, rtt) = whole_connection(&mut pair, 82, slow);
    assert!((100.0..120.0).contains(&rtt), "{rtt}");
    // On the kernel: 118.788 ms were remembered, and the next time-out was 348 ms: the round trip in ticks, three times.
    let (timeout, _) = whole_connection(&mut pair, 83, fast);
    assert!(
        (300..360).contains(&timeout) && timeout % 12 == 0,
        "{timeout}"
    );
    let mut forgetful = Pair::with(
        crate::device::Features::VETH,
        &[("net.ipv4.tcp_no_metrics_save", "1")],
    );
    whole_connection(&mut forgetful, 81, slow);
    assert_eq!(whole_connection(&mut forgetful, 82, fast).0, 204);
}
