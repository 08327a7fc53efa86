//! Ends of connections: FINs, resets, orphans, TIME_WAIT.

use std::time::Duration;

use super::pair::*;
use crate::socket::{Errno, Shutdown, SocketOption};

/// Gaps between moments, in milliseconds.
fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn an_orphan_whose_peer_fell_silent_tries_for_107_seconds() {
    let mut pair = Pair::new();
    let (client, _) = pair.connected();
    pair.lose(|_| true);
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_secs(200));
    // linux.md: 10 FINs; .208 (tail loss probe) .208 .416 .828 1.664 3.392 6.656 13.312 27.648 s; gone at 107.74 s.
    let fins = pair.times(|line| line.contains("C F."));
    let seen = [
        208.0, 208.0, 416.0, 828.0, 1664.0, 3392.0, 6656.0, 13312.0, 27648.0,
    ];
    for (gap, seen) in gaps(&fins).iter().zip(seen) {
        assert!(
            (gap - seen).abs() <= seen * 0.125,
            "{gap} ms instead of {seen}"
        );
    }
    assert_eq!(fins.len(), 10);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPAbortOnTimeout"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPLossProbes"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpOutRsts"), 0);
    assert_eq!(pair.ss(CLIENT, "10.0.0.2:80"), "");
    assert_eq!(pair.hosts[CLIENT].poll_timeout(), None);
}

#[test]
fn unread_data_makes_close_a_reset() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    pair.run_for(Duration::from_millis(100));
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.sequence().last().unwrap(), "S R. 1 ack 101 win 64");
    assert_eq!(pair.counter(SERVER, "TcpExtTCPAbortOnClose"), 1);
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 1);
    assert_eq!(pair.write(CLIENT, client, b"x"), Err(Errno::Econnreset));
    assert_eq!(pair.write(CLIENT, client, b"x"), Err(Errno::Epipe));
    for which in [CLIENT, SERVER] {
        assert_eq!(pair.counter(which, "TcpEstabResets"), 1);
        assert_eq!(pair.counter(which, "TcpCurrEstab"), 0);
    }
}

#[test]
fn linger_of_nothing_is_a_reset() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.hosts[CLIENT]
        .set_option(client, SocketOption::Linger(Some(Duration::ZERO)))
        .unwrap();
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.without_windows().last().unwrap(), "C R. 1 ack 1");
    assert_eq!(pair.read(SERVER, server), Err(Errno::Econnreset));
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPAbortOnData"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpOutRsts"), 1);
}

#[test]
fn data_for_a_closed_end_is_answered_with_a_reset() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(100));
    assert!(pair.ss(SERVER, "10.0.0.1:").starts_with("tcp FIN-WAIT-2"));
    pair.write(CLIENT, client, b"0123456789").unwrap();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(
        pair.without_windows()[3..],
        ["S F. 1 ack 1", "C . 1 ack 2", "C P. 1:11 ack 2", "S R 2"]
    );
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtTW"), 1);
    assert_eq!(pair.ss(SERVER, "10.0.0.1:"), "");
    assert_eq!(pair.counter(CLIENT, "TcpEstabResets"), 1);
}

#[test]
fn a_half_closed_connection_still_receives() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    let now = pair.now;
    pair.hosts[CLIENT]
        .shutdown(now, client, Shutdown::Write)
        .unwrap();
    pair.collect();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(SERVER, server), Ok(vec![]));
    pair.write(SERVER, server, &[b'y'; 1000]).unwrap();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(CLIENT, client).map(|bytes| bytes.len()), Ok(1000));
    assert_eq!(pair.write(CLIENT, client, b"x"), Err(Errno::Epipe));
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(200));
    assert!(pair.ss(CLIENT, "10.0.0.2:80").contains("TIME-WAIT"));
    assert!(pair.ss(CLIENT, "10.0.0.2:80").contains("timer:(timewait,"));
    pair.close(CLIENT, client);
    // TIME_WAIT lasts a minute, and the wheel's grain.
    pair.run_for(Duration::from_secs(59));
    assert!(pair.ss(CLIENT, "10.0.0.2:80").contains("TIME-WAIT"));
    pair.run_for(Duration::from_secs(6));
    assert_eq!(pair.ss(CLIENT, "10.0.0.2:80"), "");
}

#[test]
fn both_closing_at_once_meet_in_closing() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.close(CLIENT, client);
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(
        pair.without_windows()[3..],
        ["C F. 1 ack 1", "S F. 1 ack 1", "S . 2 ack 2", "C . 2 ack 2"]
    );
    assert!(pair.ss(CLIENT, "10.0.0.2:80").contains("TIME-WAIT"));
    assert!(pair.ss(SERVER, "10.0.0.1:").contains("TIME-WAIT"));
}

#[test]
fn a_listener_that_closes_resets_who_waits() {
    let mut pair = Pair::new();
    let listener = pair.listen(80, 10, &[]);
    pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(1));
    pair.close(SERVER, listener);
    pair.run_for(Duration::from_millis(1));
    assert_eq!(pair.without_windows()[3..], ["S R. 1 ack 1"]);
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 1);
    assert_eq!(pair.hosts[SERVER].sockets_text(), "");
    // The port is free again.
    pair.listen(80, 10, &[]);
}
