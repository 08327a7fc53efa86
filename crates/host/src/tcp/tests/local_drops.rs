//! Segments that die in the sender's own host (causes.md 2.4, E6, B3): what TCP is told, and what it makes of it.

use std::time::Duration;

use super::pair::*;
use crate::device::Features;

const DROP: &str = "iptables -A OUTPUT -p tcp --dport 80 -j DROP";

#[test]
fn syns_that_a_rule_forbids_are_tried_again() {
    let mut pair = Pair::new();
    pair.listen(80, 5, &[]);
    pair.rule(CLIENT, DROP);
    pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(2500));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.counter(CLIENT, "TcpActiveOpens"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpRetransSegs"), 2);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPRetransFail"), 2);
    assert!(pair.ss(CLIENT, "SYN-SENT").contains("timer:(on,"));
    pair.rule(CLIENT, "iptables -D OUTPUT -p tcp --dport 80 -j DROP");
    pair.run_for(Duration::from_millis(1100));
    assert!(pair.ss(CLIENT, "ESTAB").contains("10.0.0.2:80"));
}

#[test]
fn data_that_a_rule_forbids_stays_unsent_and_is_probed_for() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.rule(CLIENT, DROP);
    pair.write(CLIENT, client, &[b'x'; 100]).unwrap();
    pair.run_for(Duration::from_secs(1));
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("timer:(persist,"), "{line}");
    assert!(line.contains("notsent:100"), "{line}");
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 0);
    pair.rule(CLIENT, "iptables -F OUTPUT");
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(100));
}

#[test]
fn a_program_at_egress_that_drops_makes_retries_quick() {
    let mut pair = Pair::new();
    let client = pair.listen(80, 5, &[]);
    let _ = client;
    pair.hosts[CLIENT].drop_at_tc(ETH0, true, 80);
    pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(3300));
    // B3: five tries in three seconds instead of three: after the first time-out half a second each.
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPRetransFail"), 5);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 5);
    assert!(pair.trace.is_empty());
}

#[test]
fn a_path_that_is_too_narrow_says_so_and_segments_shrink() {
    let mut pair = Pair::with(Features::NONE, &[]);
    let (client, server) = pair.connected();
    pair.write(CLIENT, client, &[b'x'; 3000]).unwrap();
    pair.lose(|frame| frame.tcp.payload_length > 1000);
    // The router's message about the first segment comes in.
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("pmtu:1500"), "{line}");
    pair.too_big(client, 1000);
    let line = pair.ss(CLIENT, "ESTAB");
    assert!(line.contains("mss:948 pmtu:1000"), "{line}");
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(3000));
}
