//! Segments that no peer would send, or that come from an old connection: what RFC 5961, PAWS and TIME_WAIT make of them
//! (causes.md, F14, G6, G7 and section 2.5).

use std::time::Duration;

use proptest::prelude::*;
use transect_packet::TcpFlags;

use super::pair::*;
use crate::socket::{Errno, Shutdown, SocketOption};

const ACK: u8 = TcpFlags::ACK;
const SYN: u8 = TcpFlags::SYN;
const RST: u8 = TcpFlags::RST;
const FIN: u8 = TcpFlags::FIN;

/// Without timestamps, so that crafted segments need none.
fn plain() -> Pair {
    Pair::with(
        crate::device::Features::VETH,
        &[("net.ipv4.tcp_timestamps", "0")],
    )
}

#[test]
fn syns_on_a_connection_are_challenged_at_a_limited_rate() {
    let mut pair = plain();
    let (client, _) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    for _ in 0..5 {
        pair.inject(&Craft::new(port, 5000, 0, SYN));
    }
    assert_eq!(pair.counter(SERVER, "TcpExtTCPSYNChallenge"), 5);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPChallengeACK"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPACKSkippedChallenge"), 4);
    assert_eq!(pair.counter(SERVER, "TcpInErrs"), 5);
    assert_eq!(pair.without_windows()[3..], ["S . 1 ack 1"]);
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_INVALID_SYN"; 5]);
    // Half a second later the next one is answered.
    pair.run_for(Duration::from_millis(504));
    pair.inject(&Craft::new(port, 5000, 0, SYN));
    assert_eq!(pair.counter(SERVER, "TcpExtTCPChallengeACK"), 2);
}

#[test]
fn resets_count_only_where_they_are_exact() {
    let mut pair = plain();
    let (client, server) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    pair.inject(&Craft::new(port, 1_000_000_000, 0, RST));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_INVALID_SEQUENCE"]);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPChallengeACK"), 0);
    pair.inject(&Craft::new(port, 100, 0, RST));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_RESET"]);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPChallengeACK"), 1);
    assert!(pair.ss(SERVER, "ESTAB").contains(":80"));
    pair.inject(&Craft::new(port, 1, 0, RST));
    assert_eq!(pair.ss(SERVER, "ESTAB"), "");
    assert_eq!(pair.read(SERVER, server), Err(Errno::Econnreset));
}

#[test]
fn acknowledgements_of_nothing_sent_or_long_gone_are_challenged() {
    let mut pair = plain();
    let (client, _) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    pair.inject(&Craft::new(port, 1, 100, ACK));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_ACK_UNSENT_DATA"]);
    pair.inject(&Craft::new(port, 1, -200_000, ACK));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_TOO_OLD_ACK"]);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPChallengeACK"), 1);
}

#[test]
fn data_beyond_the_window_dies() {
    let mut pair = plain();
    let (client, _) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    pair.inject(&Craft {
        payload: b"0123456789",
        ..Craft::new(port, 10_000_000, 1, ACK)
    });
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_INVALID_SEQUENCE"]);
    assert_eq!(pair.counter(SERVER, "TcpExtBeyondWindow"), 1);
    assert_eq!(pair.without_windows()[3..], ["S . 1 ack 1"]);
}

#[test]
fn old_timestamps_are_refused() {
    let mut pair = Pair::new();
    let (client, _) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    // Of two values that are nearly half a turn apart one at least is old.
    let mut options = vec![1, 1, 8, 10];
    let recent = pair.hosts[CLIENT].stack.random.u32(..);
    options.extend(recent.to_be_bytes());
    options.extend([0; 4]);
    for _ in 0..2 {
        pair.inject(&Craft {
            options: &options,
            payload: b"x",
            ..Craft::new(port, 1, 1, ACK)
        });
        options[4..8].copy_from_slice(&recent.wrapping_add(0x9000_0000).to_be_bytes());
    }
    assert!(pair.counter(SERVER, "TcpExtPAWSEstab") >= 1);
    assert!(
        pair.deaths(SERVER)
            .contains(&"socket_input TCP_RFC7323_PAWS".to_owned())
    );
}

#[test]
fn damage_nonsense_and_strays() {
    let mut pair = plain();
    let (client, _) = pair.connected();
    let port = pair.client_port(client);
    pair.deaths(SERVER);
    pair.inject(&Craft {
        damaged: true,
        ..Craft::new(port, 1, 1, ACK)
    });
    assert_eq!(pair.deaths(SERVER), ["transport_input TCP_CSUM"]);
    assert_eq!(pair.counter(SERVER, "TcpInErrs"), 1);
    assert_eq!(pair.counter(SERVER, "TcpInCsumErrors"), 1);
    pair.inject(&Craft::new(port, 1, 1, 0));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_FLAGS"]);
    // An ACK out of nowhere, to a listener and to a closed port.
    pair.inject(&Craft::new(9, 1, 77, ACK));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_FLAGS"]);
    pair.inject(&Craft {
        to: 81,
        ..Craft::new(9, 1, 77, ACK)
    });
    assert_eq!(pair.deaths(SERVER), ["socket_lookup NO_SOCKET"]);
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 2);
    assert_eq!(pair.without_windows()[3..], ["S R 77", "S R 77"]);
    // Nothing answers a reset.
    pair.inject(&Craft::new(9, 1, 77, RST));
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 2);
}

#[test]
fn what_a_socket_refuses_by_option() {
    let mut pair = plain();
    pair.listen(80, 5, &[SocketOption::MinTtl(65)]);
    pair.listen(81, 5, &[SocketOption::Filter(false)]);
    pair.deaths(SERVER);
    pair.inject(&Craft::new(9, 1, 0, SYN));
    assert_eq!(pair.deaths(SERVER), ["socket_input TCP_MINTTL"]);
    assert_eq!(pair.counter(SERVER, "TcpExtTCPMinTTLDrop"), 1);
    pair.inject(&Craft {
        to: 81,
        ..Craft::new(9, 1, 0, SYN)
    });
    assert_eq!(pair.deaths(SERVER), ["socket_input SOCKET_FILTER"]);
    assert!(pair.trace.is_empty());
    assert!(pair.ss(SERVER, ":81").contains(",d1)"));
}

/// The server closes first; the client's port is told.
fn in_time_wait(pair: &mut Pair) -> u16 {
    let (client, server) = pair.connected();
    let port = pair.client_port(client);
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(10));
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_millis(10));
    assert!(pair.ss(SERVER, "10.0.0.1:").contains("TIME-WAIT"));
    pair.deaths(SERVER);
    pair.trace.clear();
    port
}

#[test]
fn a_new_syn_takes_the_place_of_time_wait() {
    let mut pair = plain();
    let port = in_time_wait(&mut pair);
    // The old connection ended at 2: what lies behind is new.
    pair.inject(&Craft::new(port, 5000, 0, SYN));
    assert!(pair.ss(SERVER, "10.0.0.1:").contains("SYN-RECV"));
    assert!(
        pair.trace[0].contains("S S. 0 ack 5001"),
        "{:?}",
        pair.trace
    );
}

#[test]
fn an_old_syn_in_time_wait_is_answered_with_the_old_ack() {
    let mut pair = plain();
    let port = in_time_wait(&mut pair);
    pair.inject(&Craft::new(port, -5000, 0, SYN));
    // causes.md F13: a pure ACK of the old connection; a reset ends TIME_WAIT.
    assert_eq!(pair.without_windows(), ["S . 2 ack 2"]);
    assert!(pair.ss(SERVER, "10.0.0.1:").contains("TIME-WAIT"));
    pair.inject(&Craft::new(port, 2, 0, RST));
    assert_eq!(pair.ss(SERVER, "10.0.0.1:"), "");
}

#[test]
fn handshakes_end_with_a_reset_and_are_told_apart_from_strays() {
    let mut pair = plain();
    pair.listen(80, 5, &[]);
    pair.inject(&Craft {
        options: &[2, 4, 5, 0xb4],
        ..Craft::new(9, 1000, 0, SYN)
    });
    assert!(pair.ss(SERVER, "SYN-RECV").contains("10.0.0.1:9"));
    // A wrong acknowledgement is answered with a reset, and the handshake lives on.
    pair.inject(&Craft::new(9, 1001, 999, ACK));
    assert_eq!(pair.counter(SERVER, "TcpOutRsts"), 1);
    assert!(pair.ss(SERVER, "SYN-RECV").contains("10.0.0.1:9"));
    pair.inject(&Craft::new(9, 1001, 0, RST));
    assert_eq!(pair.ss(SERVER, "SYN-RECV"), "");
    assert_eq!(pair.counter(SERVER, "TcpAttemptFails"), 1);
    assert_eq!(pair.counter(SERVER, "TcpExtEmbryonicRsts"), 1);
}

#[test]
fn overflow_that_aborts_resets_the_final_ack() {
    let mut pair = Pair::with(
        crate::device::Features::VETH,
        &[("net.ipv4.tcp_abort_on_overflow", "1")],
    );
    pair.listen(80, 0, &[]);
    // Both SYNs arrive before either final ACK.
    let first = pair.connect(80, &[]);
    pair.run_for(Duration::from_millis(1));
    let _ = first;
    assert_eq!(pair.counter(SERVER, "TcpPassiveOpens"), 1);
}

/// What a fuzzer may do.
#[derive(Debug, Clone)]
enum Deed {
    Segment {
        seq: i32,
        ack: i32,
        flags: u8,
        window: u16,
        options: Vec<u8>,
        payload: usize,
        to: u16,
    },
    Write(usize, usize),
    Read(usize),
    Close(usize),
    Shutdown(usize),
    Connect,
    Accept,
    Wait(u64),
    Lose(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let near = prop_oneof![-5..5_i32, -70_000..70_000_i32, any::<i32>()];
    let segment = (
        near.clone(),
        near,
        any::<u8>(),
        any::<u16>(),
        prop::collection::vec(any::<u8>(), 0..10),
        prop_oneof![Just(0_usize), 0..2000_usize],
        prop_oneof![Just(80_u16), Just(81)],
    )
        .prop_map(
            |(seq, ack, flags, window, words, payload, to)| Deed::Segment {
                seq,
                ack,
                flags,
                window,
                options: words.iter().flat_map(|word| [*word, 4, *word, 1]).collect(),
                payload,
                to,
            },
        );
    prop_oneof![
        6 => segment,
        3 => (0..2_usize, 0..100_000_usize).prop_map(|(which, length)| Deed::Write(which, length)),
        3 => (0..2_usize).prop_map(Deed::Read),
        1 => (0..2_usize).prop_map(Deed::Close),
        1 => (0..2_usize).prop_map(Deed::Shutdown),
        1 => Just(Deed::Connect),
        2 => Just(Deed::Accept),
        3 => (0..5000_u64).prop_map(Deed::Wait),
        1 => any::<u8>().prop_map(Deed::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Any segments and any calls, in any order: nothing panics, the counters of connections come back to nothing, and time alone ends
    /// everything.
    #[test]
    fn any_segments_and_calls_are_survived(deeds in prop::collection::vec(deed(), 1..60)) {
        let mut pair = Pair::new();
        let listener = pair.listen(80, 2, &[]);
        let first = pair.connect(80, &[]);
        let port = pair.client_port(first);
        let mut sockets = [vec![first], vec![]];
        for deed in deeds {
            let now = pair.now;
            match deed {
                Deed::Segment { seq, ack, flags, window, options, payload, to } => {
                    let payload = vec![7; payload];
                    pair.inject(&Craft {
                        to,
                        window,
                        options: &options,
                        payload: &payload,
                        ..Craft::new(port, seq, ack, flags)
                    });
                }
                Deed::Write(which, length) => {
                    if let Some(id) = sockets[which].last().copied() {
                        let _ = pair.write(which, id, &vec![1; length]);
                    }
                }
                Deed::Read(which) => {
                    if let Some(id) = sockets[which].last().copied() {
                        let _ = pair.read(which, id);
                    }
                }
                Deed::Close(which) => {
                    if let Some(id) = sockets[which].pop() {
                        pair.close(which, id);
                    }
                }
                Deed::Shutdown(which) => {
                    if let Some(id) = sockets[which].last().copied() {
                        let _ = pair.hosts[which].shutdown(now, id, Shutdown::Write);
                        pair.collect();
                    }
                }
                Deed::Connect => sockets[0].push(pair.connect(80, &[])),
                Deed::Accept => {
                    if let Ok((id, _)) = pair.hosts[SERVER].accept(now, listener) {
                        sockets[1].push(id);
                    }
                }
                Deed::Wait(milliseconds) => pair.run_for(Duration::from_millis(milliseconds)),
                Deed::Lose(share) => {
                    let mut random = fastrand::Rng::with_seed(u64::from(share));
                    pair.lose(move |_| random.u8(..) < share / 2);
                }
            }
        }
        pair.lose(|_| false);
        for which in [CLIENT, SERVER] {
            for id in std::mem::take(&mut sockets[which]) {
                pair.close(which, id);
            }
        }
        pair.close(SERVER, listener);
        pair.run_for(Duration::from_secs(4000));
        for which in [CLIENT, SERVER] {
            prop_assert_eq!(pair.hosts[which].sockets_text(), "");
            prop_assert_eq!(pair.counter(which, "TcpCurrEstab"), 0);
            prop_assert_eq!(pair.hosts[which].poll_timeout(), None);
        }
    }
}

/// FIN is part of the flags that the fuzzer draws; here it comes twice.
#[test]
fn a_second_fin_changes_nothing() {
    let mut pair = plain();
    let (client, server) = pair.connected();
    let port = pair.client_port(client);
    for _ in 0..2 {
        pair.inject(&Craft::new(port, 1, 1, FIN | ACK));
    }
    assert!(pair.ss(SERVER, "10.0.0.1:").contains("CLOSE-WAIT"));
    assert_eq!(pair.read(SERVER, server), Ok(vec![]));
}
