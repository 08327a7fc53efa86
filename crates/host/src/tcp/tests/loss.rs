//! Loss, reordering and time-outs as the kernel deals with them. The traces are Linux 6.18's (cubic), between two namespaces
//! whose taps were joined by a program that lost, held back and delayed by 10 ms each way, as the link does here. Windows are left
//! out: a frame that a program wrote into a tap costs the receive buffer another amount than one from a veth.

use std::time::Duration;

use super::pair::*;
use crate::device::Features;
use crate::socket::{Errno, SocketId, SocketKind};
use transect_config::IpVersion;

/// A device that cuts nothing by itself, so that every segment is a frame of its own.
const SEGMENTS: Features = Features {
    gso: true,
    ..Features::NONE
};

/// The flight that every connection here begins with, as the kernel sent it.
const FLIGHT: [&str; 10] = [
    "C . 1:1449 ack 1",
    "C P. 1449:2897 ack 1",
    "C . 2897:4345 ack 1",
    "C P. 4345:5793 ack 1",
    "C . 5793:7241 ack 1",
    "C P. 7241:8689 ack 1",
    "C . 8689:10137 ack 1",
    "C P. 10137:11585 ack 1",
    "C . 11585:13033 ack 1",
    "C P. 13033:14481 ack 1",
];

/// A connection with 10 ms each way, its handshake over: the client's end and the server's.
fn connected() -> (Pair, SocketId, SocketId) {
    let mut pair = Pair::with(SEGMENTS, &[]);
    pair.delay = Duration::from_millis(10);
    let listener = pair.listen(80, 10, &[]);
    let client = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(50));
    let (server, _) = pair.hosts[SERVER].accept(pair.now, listener).unwrap();
    pair.trace.clear();
    (pair, client, server)
}

/// Ten segments at once, of which the link treats the one of this number specially.
fn flight(number: usize, treatment: Treatment) -> (Pair, SocketId) {
    let (mut pair, client, _) = connected();
    pair.treat(move |frame| {
        if frame.from == CLIENT && frame.number == number {
            treatment
        } else {
            Treatment::Carried
        }
    });
    pair.write(CLIENT, client, &[b'x'; 14_480]).unwrap();
    pair.run_for(Duration::from_secs(1));
    (pair, client)
}

/// What followed the first flight.
fn answers(pair: &Pair) -> Vec<String> {
    let sequence = pair.without_windows();
    let sent: Vec<&str> = sequence[..10]
        .iter()
        .map(|line| line.trim_end_matches(" LOST"))
        .collect();
    assert_eq!(sent, FLIGHT);
    sequence[10..].to_vec()
}

/// Those counters of the client's that say how it recovered.
const RECOVERY: [&str; 22] = [
    "TcpRetransSegs",
    "TcpExtTCPPureAcks",
    "TcpExtTCPSackRecovery",
    "TcpExtTCPLostRetransmit",
    "TcpExtTCPFastRetrans",
    "TcpExtTCPSlowStartRetrans",
    "TcpExtTCPTimeouts",
    "TcpExtTCPLossProbes",
    "TcpExtTCPLossProbeRecovery",
    "TcpExtTCPSackRecoveryFail",
    "TcpExtTCPFullUndo",
    "TcpExtTCPPartialUndo",
    "TcpExtTCPDSACKUndo",
    "TcpExtTCPLossUndo",
    "TcpExtTCPSackFailures",
    "TcpExtTCPLossFailures",
    "TcpExtTCPSpuriousRTOs",
    "TcpExtTCPDSACKRecv",
    "TcpExtTCPDSACKRecvSegs",
    "TcpExtTCPOrigDataSent",
    "TcpExtTCPDelivered",
    "TcpExtTcpTimeoutRehash",
];

/// … as far as they moved since the handshake, whose SYN-ACK counts as delivered.
fn recovery(pair: &Pair) -> Vec<(String, u64)> {
    let mut moved = pair.moved(CLIENT, &RECOVERY);
    for (name, value) in &mut moved {
        *value -= u64::from(name == "TcpExtTCPDelivered");
    }
    moved
}

fn counted(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

/// The moment of the only line that fits, in milliseconds since the flight.
fn moment(pair: &Pair, fits: &str) -> f64 {
    let begin = pair.times(|_| true)[0];
    let times = pair.times(|line| line.contains(fits));
    times.last().copied().unwrap_or(f64::NAN) - begin
}

#[test]
fn one_lost_segment_is_sent_again_when_later_ones_are_reported() {
    let (pair, client) = flight(2, Treatment::Lost);
    assert_eq!(
        answers(&pair),
        [
            "S . 1 ack 1449",
            "S . 1 ack 2897",
            "S . 1 ack 2897 sack 4345:5793",
            "S . 1 ack 2897 sack 4345:7241",
            "S . 1 ack 2897 sack 4345:8689",
            "S . 1 ack 2897 sack 4345:10137",
            "S . 1 ack 2897 sack 4345:11585",
            "S . 1 ack 2897 sack 4345:13033",
            "S . 1 ack 2897 sack 4345:14481",
            "C . 2897:4345 ack 1",
            "S . 1 ack 14481",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 1),
            ("TcpExtTCPPureAcks", 10),
            ("TcpExtTCPSackRecovery", 1),
            ("TcpExtTCPFastRetrans", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 10),
        ])
    );
    assert_window(&pair, client, "cwnd:8 ssthresh:8 ");
}

#[test]
fn a_lost_tail_is_found_by_a_probe() {
    let (pair, client) = flight(9, Treatment::Lost);
    assert_eq!(
        answers(&pair),
        [
            "S . 1 ack 1449",
            "S . 1 ack 2897",
            "S . 1 ack 4345",
            "S . 1 ack 5793",
            "S . 1 ack 7241",
            "S . 1 ack 8689",
            "S . 1 ack 10137",
            "S . 1 ack 11585",
            "S . 1 ack 13033",
            "C P. 13033:14481 ack 1",
            "S . 1 ack 14481",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 1),
            ("TcpExtTCPPureAcks", 10),
            ("TcpExtTCPLossProbes", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 10),
        ])
    );
    // Two round trips and the time that an acknowledgement may be held back.
    let probe = moment(&pair, "C P. 13033:14481");
    assert!((240.0..=252.0).contains(&probe), "{probe}");
    // The probe repaired what was lost, but nothing tells that from an acknowledgement that was late: no reduction.
    assert_window(&pair, client, "cwnd:20 ");
}

#[test]
fn what_comes_late_undoes_the_recovery() {
    let (pair, client) = flight(2, Treatment::Late(Duration::from_millis(15)));
    assert_eq!(
        answers(&pair),
        [
            "S . 1 ack 1449",
            "S . 1 ack 2897",
            "S . 1 ack 2897 sack 4345:5793",
            "S . 1 ack 2897 sack 4345:7241",
            "S . 1 ack 2897 sack 4345:8689",
            "S . 1 ack 2897 sack 4345:10137",
            "S . 1 ack 2897 sack 4345:11585",
            "S . 1 ack 2897 sack 4345:13033",
            "S . 1 ack 2897 sack 4345:14481",
            "C . 2897:4345 ack 1",
            "S . 1 ack 14481",
            "S . 1 ack 14481 sack 2897:4345",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 1),
            ("TcpExtTCPPureAcks", 11),
            ("TcpExtTCPSackRecovery", 1),
            ("TcpExtTCPFastRetrans", 1),
            ("TcpExtTCPFullUndo", 1),
            ("TcpExtTCPDSACKRecv", 1),
            ("TcpExtTCPDSACKRecvSegs", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 11),
        ])
    );
    assert_window(&pair, client, "cwnd:13 ");
}

#[test]
fn what_comes_a_little_late_is_sent_again_for_nothing() {
    let (pair, client) = flight(2, Treatment::Late(Duration::from_millis(4)));
    assert_eq!(
        answers(&pair),
        [
            "S . 1 ack 1449",
            "S . 1 ack 2897",
            "S . 1 ack 2897 sack 4345:5793",
            "S . 1 ack 2897 sack 4345:7241",
            "S . 1 ack 2897 sack 4345:8689",
            "S . 1 ack 2897 sack 4345:10137",
            "S . 1 ack 2897 sack 4345:11585",
            "S . 1 ack 2897 sack 4345:13033",
            "S . 1 ack 2897 sack 4345:14481",
            "S . 1 ack 14481",
            "C . 2897:4345 ack 1",
            "S . 1 ack 14481 sack 2897:4345",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 1),
            ("TcpExtTCPPureAcks", 11),
            ("TcpExtTCPSackRecovery", 1),
            ("TcpExtTCPFastRetrans", 1),
            ("TcpExtTCPFullUndo", 1),
            ("TcpExtTCPDSACKRecv", 1),
            ("TcpExtTCPDSACKRecvSegs", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 11),
        ])
    );
    assert_window(&pair, client, "cwnd:13 ");
}

#[test]
fn a_whole_flight_that_is_lost_is_sent_again_in_slow_start() {
    let (mut pair, client, _) = connected();
    pair.lose(|frame| frame.from == CLIENT && frame.number < 11);
    pair.write(CLIENT, client, &[b'x'; 14_480]).unwrap();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(
        answers(&pair),
        [
            "C P. 13033:14481 ack 1 LOST",
            "C . 1:1449 ack 1",
            "S . 1 ack 1449",
            "C . 1449:2897 ack 1",
            "C . 2897:4345 ack 1",
            "S . 1 ack 2897",
            "S . 1 ack 4345",
            "C . 4345:5793 ack 1",
            "C . 5793:7241 ack 1",
            "C . 7241:8689 ack 1",
            "C . 8689:10137 ack 1",
            "S . 1 ack 5793",
            "S . 1 ack 7241",
            "S . 1 ack 8689",
            "S . 1 ack 10137",
            "C . 10137:11585 ack 1",
            "C . 11585:13033 ack 1",
            "C P. 13033:14481 ack 1",
            "S . 1 ack 11585",
            "S . 1 ack 13033",
            "S . 1 ack 14481",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 11),
            ("TcpExtTCPPureAcks", 10),
            ("TcpExtTCPSlowStartRetrans", 9),
            ("TcpExtTCPTimeouts", 1),
            ("TcpExtTCPLossProbes", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 10),
            ("TcpExtTcpTimeoutRehash", 1),
        ])
    );
    let timeout = moment(&pair, "C . 1:1449");
    assert!((268.0..=284.0).contains(&timeout), "{timeout}");
    assert_window(&pair, client, "cwnd:7 ssthresh:7 ");
}

#[test]
fn a_lost_retransmission_waits_for_the_timer() {
    let (mut pair, client, _) = connected();
    let mut seen = 0;
    pair.lose(move |frame| {
        let third = frame.from == CLIENT && [2, 10].contains(&frame.number);
        seen += u32::from(third);
        third && seen <= 2
    });
    pair.write(CLIENT, client, &[b'x'; 14_480]).unwrap();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(
        answers(&pair),
        [
            "S . 1 ack 1449",
            "S . 1 ack 2897",
            "S . 1 ack 2897 sack 4345:5793",
            "S . 1 ack 2897 sack 4345:7241",
            "S . 1 ack 2897 sack 4345:8689",
            "S . 1 ack 2897 sack 4345:10137",
            "S . 1 ack 2897 sack 4345:11585",
            "S . 1 ack 2897 sack 4345:13033",
            "S . 1 ack 2897 sack 4345:14481",
            "C . 2897:4345 ack 1 LOST",
            "C . 2897:4345 ack 1",
            "S . 1 ack 14481",
        ]
    );
    assert_eq!(
        recovery(&pair),
        counted(&[
            ("TcpRetransSegs", 2),
            ("TcpExtTCPPureAcks", 10),
            ("TcpExtTCPSackRecovery", 1),
            ("TcpExtTCPLostRetransmit", 1),
            ("TcpExtTCPFastRetrans", 1),
            ("TcpExtTCPTimeouts", 1),
            ("TcpExtTCPSackRecoveryFail", 1),
            ("TcpExtTCPOrigDataSent", 10),
            ("TcpExtTCPDelivered", 10),
            ("TcpExtTcpTimeoutRehash", 1),
        ])
    );
    assert_window(&pair, client, "cwnd:2 ssthresh:8 ");
}

fn assert_window(pair: &Pair, client: SocketId, expected: &str) {
    let port = pair.client_port(client);
    let line = pair.ss(CLIENT, &format!(":{port} "));
    assert!(line.contains(expected), "{line}");
}

#[test]
fn two_ends_that_call_each_other_make_one_connection() {
    let mut pair = Pair::with(SEGMENTS, &[]);
    pair.delay = Duration::from_millis(10);
    let sockets = [CLIENT, SERVER].map(|which| {
        let host = &mut pair.hosts[which];
        let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
        host.bind(id, Pair::address(which, 5000 + which as u16))
            .unwrap();
        id
    });
    for which in [CLIENT, SERVER] {
        let peer = Pair::address(1 - which, 5001 - which as u16);
        let result = pair.hosts[which].connect(pair.now, sockets[which], peer);
        assert_eq!(result, Err(Errno::Einprogress));
        pair.collect();
    }
    pair.run_for(Duration::from_millis(200));
    pair.write(CLIENT, sockets[CLIENT], b"hello").unwrap();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(SERVER, sockets[SERVER]), Ok(b"hello".to_vec()));
    pair.write(SERVER, sockets[SERVER], &[b'x'; 3000]).unwrap();
    pair.run_for(Duration::from_millis(200));
    let read = pair.read(CLIENT, sockets[CLIENT]).unwrap();
    assert_eq!(read.len(), 3000);
    pair.close(CLIENT, sockets[CLIENT]);
    pair.run_for(Duration::from_millis(50));
    pair.close(SERVER, sockets[SERVER]);
    pair.run_for(Duration::from_millis(300));
    assert_eq!(
        pair.without_windows(),
        [
            "C S 0",
            "S S 0",
            "S S. 0 ack 1",
            "C S. 0 ack 1",
            "C . 1 ack 1 sack 0:1",
            "S . 1 ack 1 sack 0:1",
            "C P. 1:6 ack 1",
            "S . 1 ack 6",
            "S . 1:1449 ack 6",
            "S P. 1449:2897 ack 6",
            "S P. 2897:3001 ack 6",
            "C . 6 ack 1449",
            "C . 6 ack 2897",
            "C . 6 ack 3001",
            "C F. 6 ack 3001",
            "S F. 3001 ack 7",
            "C . 7 ack 3002",
        ]
    );
    let names = [
        "TcpActiveOpens",
        "TcpInSegs",
        "TcpOutSegs",
        "TcpExtTW",
        "TcpExtDelayedACKLost",
        "TcpExtTCPPureAcks",
        "TcpExtTCPHPAcks",
        "TcpExtTCPDSACKOldSent",
        "TcpExtTCPDSACKRecv",
        "TcpExtTCPDSACKIgnoredDubious",
        "TcpExtTCPOrigDataSent",
        "TcpExtTCPDelivered",
        "TcpExtTCPACKSkippedSeq",
    ];
    let values = |values: &[u64]| -> Vec<(String, u64)> {
        let all = names.iter().zip(values);
        all.filter(|(_, value)| **value > 0)
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    };
    assert_eq!(
        pair.moved(CLIENT, &names),
        values(&[1, 8, 8, 1, 1, 1, 1, 1, 1, 1, 2, 3])
    );
    assert_eq!(
        pair.moved(SERVER, &names),
        values(&[1, 9, 7, 0, 1, 4, 1, 1, 1, 1, 4, 5])
    );
}
