//! Probing for the path MTU (RFC 4821): what Linux 6.18 did over a link of 10 ms with `tcp_mtu_probing = 2`.

use std::time::Duration;

use super::pair::*;
use crate::device::Features;
use crate::socket::SocketId;

/// Sends bytes over a path on which packets of more than `limit` bytes vanish.
fn transfer(bytes: usize, limit: u32) -> (Pair, SocketId) {
    let features = Features {
        gso: true,
        ..Features::NONE
    };
    let mut pair = Pair::with(features, &[("net.ipv4.tcp_mtu_probing", "2")]);
    pair.delay = Duration::from_millis(10);
    let listener = pair.listen(80, 10, &[]);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(50));
    let (server, _) = pair.hosts[SERVER].accept(pair.now, listener).unwrap();
    pair.trace.clear();
    pair.lose(move |frame| frame.from == CLIENT && frame.tcp.payload_length + 52 > limit);
    let data = vec![b'x'; bytes];
    let (mut done, mut arrived) = (0, 0);
    for _ in 0..2000 {
        if let Ok(count) = pair.write(CLIENT, client, &data[done..]) {
            done += count;
        }
        arrived += pair.read(SERVER, server).map_or(0, |bytes| bytes.len());
        pair.run_for(Duration::from_millis(1));
    }
    assert_eq!(arrived, bytes);
    (pair, client)
}

/// The sizes of segments, each once, in the order in which they were first seen.
fn new_sizes(pair: &Pair) -> Vec<u32> {
    let mut sizes = Vec::new();
    let mut largest = 0;
    for line in pair.sequence() {
        let range = line.split(' ').nth(2).and_then(|word| word.split_once(':'));
        let Some((from, to)) = range.filter(|_| line.starts_with('C')) else {
            continue;
        };
        let size = to.parse::<u32>().unwrap() - from.parse::<u32>().unwrap();
        if size > largest {
            largest = size;
            sizes.push(size);
        }
    }
    sizes
}

#[test]
fn a_wide_path_is_found_step_by_step() {
    let (pair, client) = transfer(1_000_000, 1500);
    assert_eq!(new_sizes(&pair), [1024, 1236, 1342, 1395, 1421, 1434, 1441]);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPMTUPSuccess"), 6);
    assert_eq!(pair.counter(CLIENT, "TcpRetransSegs"), 0);
    let line = pair.ss(CLIENT, &format!(":{} ", pair.client_port(client)));
    assert!(line.contains(" mss:1441 pmtu:1500 "), "{line}");
}

#[test]
fn a_probe_that_is_lost_alone_is_no_congestion() {
    let (pair, client) = transfer(300_000, 1300);
    assert_eq!(new_sizes(&pair), [1024, 1236, 1342]);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPMTUPSuccess"), 1);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPMTUPFail"), 3);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPSackRecovery"), 0);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 0);
    // Each of the three was sent again in two pieces.
    assert_eq!(pair.counter(CLIENT, "TcpRetransSegs"), 6);
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPSlowStartRetrans"), 6);
    let line = pair.ss(CLIENT, &format!(":{} ", pair.client_port(client)));
    assert!(line.contains(" mss:1236 pmtu:1500 "), "{line}");
}
