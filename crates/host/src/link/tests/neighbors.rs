//! Sending 8: questions, answers, and how entries grow old.

use super::*;

fn arp(operation: u8, sender: [u8; 4], mac: MacAddress, target: [u8; 4], to: MacAddress) -> Packet {
    let mut frame = Vec::new();
    frame.extend(to.0);
    frame.extend(mac.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(mac.0);
    frame.extend(sender);
    frame.extend(if to.is_group() { [0; 6] } else { to.0 });
    frame.extend(target);
    Packet::from_frame(frame)
}

fn state(host: &Host, address: &str) -> Option<NeighborState> {
    let address: IpAddr = address.parse().unwrap();
    let mut shown = host.stack.link.neighbors.shown();
    shown
        .find(|one| one.address == address)
        .map(|one| one.state)
}

#[test]
fn an_absent_neighbour_is_asked_for_three_times() {
    let mut host = host();
    assert_eq!(
        send(&mut host, 0.5, [10, 0, 0, 9], datagram([10, 0, 0, 9], 10)),
        Ok(())
    );
    let question = "ff:ff:ff:ff:ff:ff ARP Request 10.0.0.1 02:00:00:00:00:01 for 10.0.0.9";
    assert_eq!(sent(&mut host), [question]);
    let later = run_until(&mut host, 10.0);
    let frames: Vec<&str> = later.iter().map(|(_, frame)| frame.as_str()).collect();
    assert_eq!(frames, [question, question]);
    // linux.md: the failure comes 3.07 s after the first question, by the timer wheel.
    let times: Vec<f64> = later.iter().map(|(at, _)| *at).collect();
    assert!(
        times
            .iter()
            .zip([1.5, 2.5])
            .all(|(at, due)| (due..due + 0.1).contains(at)),
        "{times:?}"
    );
    assert_eq!(
        deaths(&mut host),
        [(Point::Neighbor, DropReason::NeighFailed)]
    );
    assert_eq!(state(&host, "10.0.0.9"), Some(NeighborState::Failed));
    assert_eq!(host.poll_timeout(), None);
}

#[test]
fn an_answer_sends_what_waits_and_the_entry_grows_old() {
    let mut host = host();
    for _ in 0..3 {
        send(&mut host, 0.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 10)).unwrap();
    }
    assert_eq!(sent(&mut host).len(), 1);
    host.handle_frame(
        Timestamp(1_000),
        ETH0,
        arp(2, [10, 0, 0, 2], PEER, [10, 0, 0, 1], OWN),
    );
    assert_eq!(
        sent(&mut host),
        ["02:00:00:00:00:02 IP 10.0.0.2 52 bytes"; 3]
    );
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Reachable));
    // Between 15 and 45 s later nobody has confirmed it.
    run_until(&mut host, 60.0);
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Stale));
    // Used again: five seconds of delay, then three questions to itself, then nothing.
    send(&mut host, 60.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 10)).unwrap();
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Delay));
    assert_eq!(sent(&mut host).len(), 1);
    let question = "02:00:00:00:00:02 ARP Request 10.0.0.1 02:00:00:00:00:01 for 10.0.0.2";
    let later = run_until(&mut host, 80.0);
    let frames: Vec<&str> = later.iter().map(|(_, frame)| frame.as_str()).collect();
    assert_eq!(frames, [question; 3]);
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Failed));
}

#[test]
fn progress_of_a_transport_saves_the_questions() {
    let mut host = host();
    host.handle_frame(
        Timestamp(0),
        ETH0,
        arp(1, [10, 0, 0, 2], PEER, [10, 0, 0, 1], MacAddress::BROADCAST),
    );
    assert_eq!(
        sent(&mut host),
        ["02:00:00:00:00:02 ARP Reply 10.0.0.1 02:00:00:00:00:01 for 10.0.0.2"]
    );
    // Whoever asks is remembered, but doubted.
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Stale));
    send(&mut host, 1.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 10)).unwrap();
    host.begin(Timestamp(2_000_000_000));
    host.stack
        .confirm_neighbor(ETH0, "10.0.0.2".parse().unwrap());
    assert_eq!(sent(&mut host).len(), 1);
    assert_eq!(run_until(&mut host, 8.0), []);
    assert_eq!(state(&host, "10.0.0.2"), Some(NeighborState::Reachable));
}

#[test]
fn questions_for_others_are_not_answered() {
    let mut host = host();
    host.handle_frame(
        Timestamp(0),
        ETH0,
        arp(1, [10, 0, 0, 2], PEER, [10, 0, 0, 7], MacAddress::BROADCAST),
    );
    assert_eq!(sent(&mut host).len(), 0);
    assert_eq!(state(&host, "10.0.0.2"), None);
    host.set_sysctl("net.ipv4.conf.eth0.arp_ignore", "8")
        .unwrap();
    host.handle_frame(
        Timestamp(0),
        ETH0,
        arp(1, [10, 0, 0, 2], PEER, [10, 0, 0, 1], MacAddress::BROADCAST),
    );
    assert_eq!(sent(&mut host).len(), 0);
}

#[test]
fn groups_need_no_question() {
    let mut host = host();
    send(
        &mut host,
        0.0,
        [10, 0, 0, 255],
        datagram([10, 0, 0, 255], 1),
    )
    .unwrap();
    send(
        &mut host,
        0.0,
        [224, 0, 0, 251],
        datagram([224, 0, 0, 251], 1),
    )
    .unwrap();
    assert_eq!(
        sent(&mut host),
        [
            "ff:ff:ff:ff:ff:ff IP 10.0.0.255 43 bytes",
            "01:00:5e:00:00:fb IP 224.0.0.251 43 bytes",
        ]
    );
}
