//! Sending 9 to 14: offloads, queues, taps, rings.

use super::*;

#[test]
fn a_super_packet_crosses_a_veth_whole() {
    let mut host = host();
    know_peer(&mut host);
    let mut packet = segment(1000, 0x18, 3000);
    packet.segmentation = Some(Segmentation {
        size: 1448,
        segments: 3,
    });
    send(&mut host, 0.0, [10, 0, 0, 2], packet).unwrap();
    let (_, packet) = host.poll_transmit().unwrap();
    assert_eq!(
        (packet.frame().len(), packet.checksum()),
        (14 + 52 + 3000, ChecksumState::Partial)
    );
    let statistics = host.statistics(ETH0).unwrap();
    assert_eq!((statistics.tx_packets, statistics.tx_bytes), (1, 3066));
}

#[test]
fn without_offloads_it_is_cut_before_the_tap() {
    let mut host = host_of(config(), Features::NONE);
    know_peer(&mut host);
    host.set_tapped(ETH0, true);
    // ACK, PSH, FIN, CWR.
    let mut packet = segment(u32::MAX - 999, 0x99, 3000);
    packet.segmentation = Some(Segmentation {
        size: 1448,
        segments: 3,
    });
    send(&mut host, 0.0, [10, 0, 0, 2], packet).unwrap();
    let mut seen = Vec::new();
    while let Some(tapped) = host.poll_tapped() {
        let bytes = &tapped.bytes;
        let dissection = dissect(LinkType::ETHERNET, bytes, bytes.len() as u32);
        assert_eq!(
            transect_packet::transport_checksum(bytes, &dissection),
            Some(true)
        );
        let Network::Ip(ip) = dissection.network else {
            panic!("no IP")
        };
        let transect_packet::Transport::Tcp(tcp) = ip.transport else {
            panic!("no TCP")
        };
        assert_eq!(ip.header_checksum_ok, Some(true));
        seen.push((
            ip.identification,
            tcp.sequence.0,
            tcp.flags.0,
            tcp.payload_length,
        ));
    }
    assert_eq!(
        seen,
        [
            (0xffff, u32::MAX - 999, 0x90, 1448),
            (0, 448, 0x10, 1448),
            (1, 1896, 0x19, 104),
        ]
    );
    assert_eq!(host.statistics(ETH0).unwrap().tx_packets, 3);
}

#[test]
fn the_queue_comes_before_the_tap() {
    let mut host = host();
    know_peer(&mut host);
    host.set_tapped(ETH0, true);
    let tbf = transect_config::Qdisc {
        device: "eth0".into(),
        kind: "tbf".into(),
        options: r#"{"rate":1000,"burst":1600,"limit":1600}"#.into(),
        ..transect_config::Qdisc::default()
    };
    host.replace_qdisc(Timestamp(0), ETH0, tbf).unwrap();
    // 1000 bytes each: the first goes at once, the second waits for 400 tokens, the third finds no room.
    for expected in [Ok(()), Ok(()), Err(Errno::Enobufs)] {
        let packet = datagram([10, 0, 0, 2], 1000 - 42);
        assert_eq!(send(&mut host, 0.0, [10, 0, 0, 2], packet), expected);
    }
    assert_eq!(std::iter::from_fn(|| host.poll_tapped()).count(), 1);
    assert_eq!(deaths(&mut host), [(Point::Qdisc, DropReason::QdiscDrop)]);
    assert_eq!(host.poll_timeout(), Some(Timestamp(400_000_000)));
    sent(&mut host);
    assert_eq!(run_until(&mut host, 1.0).len(), 1);
    let read = transect_config::read_qdiscs(&host.qdisc_json());
    assert_eq!(read.problems, []);
    let shown = read
        .value
        .iter()
        .find(|qdisc| qdisc.device == "eth0")
        .unwrap();
    let statistics = shown.statistics.unwrap();
    assert_eq!(
        (shown.kind.as_str(), shown.handle.as_str()),
        ("tbf", "8001:")
    );
    assert_eq!(
        (
            statistics.packets,
            statistics.bytes,
            statistics.drops,
            statistics.qlen
        ),
        (2, 2000, 1, 0)
    );
    // Each look at the queue without tokens enough counts: behind the second packet, and behind the third.
    assert_eq!(statistics.overlimits, 2);
}

#[test]
fn a_full_ring_stops_the_queue() {
    let mut host = host();
    know_peer(&mut host);
    host.set_ring(ETH0, Some(2));
    for _ in 0..4 {
        let mut packet = datagram([10, 0, 0, 2], 100);
        packet.owner = Some(crate::socket::SocketId(5));
        send(&mut host, 0.0, [10, 0, 0, 2], packet).unwrap();
    }
    assert_eq!(sent(&mut host).len(), 2);
    assert_eq!(host.stack.freed, []);
    host.begin(Timestamp(10));
    host.stack.handle_completion(ETH0);
    assert_eq!(sent(&mut host).len(), 1);
    assert_eq!(host.stack.freed, [(crate::socket::SocketId(5), 142)]);
}

#[test]
fn tc_drops_by_port_on_the_way_out() {
    let mut host = host();
    know_peer(&mut host);
    host.set_tapped(ETH0, true);
    host.drop_at_tc(ETH0, true, 9);
    let refused = send(&mut host, 0.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 10));
    assert_eq!(refused, Err(Errno::Enobufs));
    send(&mut host, 0.0, [10, 0, 0, 2], segment(1, 0x10, 10)).unwrap();
    assert_eq!(deaths(&mut host), [(Point::TcEgress, DropReason::TcEgress)]);
    assert_eq!(std::iter::from_fn(|| host.poll_tapped()).count(), 1);
    let filters = transect_config::read_filters(&host.filter_json(), None, None);
    assert_eq!(filters.problems, []);
    assert!(filters.value.iter().all(|filter| filter.can_drop()) && filters.value.len() == 1);
    let clsact = transect_config::read_qdiscs(&host.qdisc_json())
        .value
        .pop()
        .unwrap();
    assert_eq!(
        clsact.statistics.map(|s| (s.packets, s.bytes, s.drops)),
        Some((2, 128, 1))
    );
}

#[test]
fn loopback_comes_back_and_counts_without_a_link_header() {
    let mut host = host();
    let mut packet = datagram([127, 0, 0, 1], 10);
    packet.mark = 3;
    host.stack
        .resolve(DeviceId::LOOPBACK, "127.0.0.1".parse().unwrap(), packet)
        .unwrap();
    let packet = host.stack.next_received().unwrap();
    assert_eq!(
        (packet.in_device, packet.mark),
        (Some(DeviceId::LOOPBACK), 3)
    );
    assert_eq!(packet.checksum(), ChecksumState::Partial);
    let lo = host.statistics(DeviceId::LOOPBACK).unwrap();
    assert_eq!((lo.rx_bytes, lo.tx_bytes, lo.rx_packets), (38, 38, 1));
    assert!(
        host.proc_net_dev()
            .contains("    lo:      38       1    0 ")
    );
}

#[test]
fn without_a_carrier_what_is_sent_dies_unnoticed() {
    let mut host = host();
    know_peer(&mut host);
    host.set_carrier(Timestamp(0), ETH0, false);
    assert_eq!(
        send(&mut host, 0.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 10)),
        Ok(())
    );
    assert_eq!(deaths(&mut host), [(Point::Qdisc, DropReason::QdiscDrop)]);
    assert_eq!(host.statistics(ETH0).unwrap().tx_dropped, 1);
    let link = transect_config::read_links(&host.link_json())
        .value
        .pop()
        .unwrap();
    assert!(link.has_flag("NO-CARRIER") && !link.has_carrier() && link.is_up());
}

/// `tc class add dev eth0 parent PARENT classid ID htb OPTIONS`.
fn class(parent: &str, id: &str, options: &str) -> transect_config::Qdisc {
    transect_config::Qdisc {
        device: "eth0".into(),
        kind: "htb".into(),
        parent: parent.into(),
        handle: id.into(),
        options: options.into(),
        ..transect_config::Qdisc::default()
    }
}

/// The laboratory's experiment: 50 datagrams of 542 bytes at once into a class of 8 kbit/s. Linux: 5 of 50 leave by a bfifo of
/// 1600 bytes, 6 through a class's own queue of 3 packets, each 542 ms behind the one before once the bucket is empty.
#[test]
fn a_class_drops_what_its_queue_does_not_take() {
    for (below, leave, wait) in [(true, 5, 1), (false, 6, 2)] {
        let mut short_queue = config();
        for link in short_queue.links.iter_mut().flatten() {
            link.txqlen = Some(3);
        }
        let mut host = host_of(short_queue, Features::VETH);
        know_peer(&mut host);
        let htb = transect_config::Qdisc {
            device: "eth0".into(),
            kind: "htb".into(),
            handle: "1:".into(),
            options: "default 10".into(),
            ..transect_config::Qdisc::default()
        };
        host.replace_qdisc(Timestamp(0), ETH0, htb).unwrap();
        let ten = class("1:", "1:10", "rate 8kbit burst 1600 cburst 1600");
        host.set_class(Timestamp(0), ETH0, &ten).unwrap();
        if below {
            let bfifo = transect_config::Qdisc {
                device: "eth0".into(),
                kind: "bfifo".into(),
                parent: "1:10".into(),
                handle: "20:".into(),
                options: "limit 1600".into(),
                ..transect_config::Qdisc::default()
            };
            host.replace_qdisc(Timestamp(0), ETH0, bfifo).unwrap();
        }
        let refused = (0..50)
            .filter(|_| send(&mut host, 0.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 500)).is_err())
            .count();
        assert_eq!(refused, 50 - leave, "{below}");
        let now = sent(&mut host).len();
        let later = run_until(&mut host, 4.0);
        assert_eq!((now, later.len()), (3, leave - 3));
        // 3 x 542 bytes are 26 more than the bucket has.
        let gaps: Vec<u64> = later
            .iter()
            .map(|(at, _)| (at * 1000.0).round() as u64)
            .collect();
        assert_eq!(gaps[0], 26);
        assert_eq!(gaps.last().copied().unwrap() - gaps[0], 542 * wait);
        let read = transect_config::read_qdiscs(&host.qdisc_json());
        assert_eq!(read.problems, []);
        let shown: Vec<_> = read
            .value
            .iter()
            .filter(|one| one.device == "eth0")
            .collect();
        let drops: Vec<_> = shown
            .iter()
            .map(|one| {
                let statistics = one.statistics.unwrap();
                (
                    one.kind.as_str(),
                    one.parent.as_str(),
                    statistics.drops,
                    statistics.packets,
                )
            })
            .collect();
        let (leave, refused) = (leave as u64, refused as u64);
        let mut expected = vec![("htb", "root", refused, leave)];
        if below {
            expected.push(("bfifo", "1:10", refused, leave));
        }
        assert_eq!(drops, expected);
        assert_eq!(shown[0].statistics.unwrap().qlen, 0);
    }
}

#[test]
fn a_class_borrows_up_to_its_ceiling_and_quanta_share_what_is_lent() {
    let mut host = host();
    know_peer(&mut host);
    let htb = transect_config::Qdisc {
        device: "eth0".into(),
        kind: "htb".into(),
        handle: "1:".into(),
        options: "default 20".into(),
        ..transect_config::Qdisc::default()
    };
    host.replace_qdisc(Timestamp(0), ETH0, htb).unwrap();
    for (parent, id, options) in [
        (
            "1:",
            "1:1",
            "rate 80kbit ceil 80kbit burst 2000 cburst 2000",
        ),
        (
            "1:1",
            "1:10",
            "rate 8kbit ceil 80kbit burst 2000 cburst 2000 quantum 1000",
        ),
        (
            "1:1",
            "1:20",
            "rate 8kbit ceil 80kbit burst 2000 cburst 2000 quantum 3000",
        ),
    ] {
        host.set_class(Timestamp(0), ETH0, &class(parent, id, options))
            .unwrap();
    }
    assert!(
        host.set_class(Timestamp(0), ETH0, &class("1:7", "1:30", "rate 1kbit"))
            .is_err()
    );
    assert!(host.delete_class(Timestamp(0), ETH0, "1:1").is_err());
    for number in 0..100 {
        let mut packet = datagram([10, 0, 0, 2], 1000 - 42);
        // As `iptables -j CLASSIFY --set-class 1:10` does; the others fall to the default.
        packet.priority = if number % 2 == 0 { 0x1_0010 } else { 0 };
        send(&mut host, 0.0, [10, 0, 0, 2], packet).unwrap();
    }
    let now = sent(&mut host).len();
    let all = now + run_until(&mut host, 4.0).len();
    // 80 kbit/s are ten of these in a second, whoever sends them.
    assert!((40..=46).contains(&all), "{all}");
    let queued = host.qdisc_json();
    let read = transect_config::read_qdiscs(&queued);
    let htb = read.value.iter().find(|one| one.kind == "htb").unwrap();
    assert_eq!(htb.statistics.unwrap().qlen, 100 - all as u64);
    assert_eq!(htb.statistics.unwrap().drops, 0);
    host.delete_class(Timestamp(4_000_000_000), ETH0, "1:10")
        .unwrap();
    host.delete_class(Timestamp(4_000_000_000), ETH0, "1:20")
        .unwrap();
    let read = transect_config::read_qdiscs(&host.qdisc_json());
    let htb = read.value.iter().find(|one| one.kind == "htb").unwrap();
    assert_eq!(htb.statistics.unwrap().qlen, 0);
}
