//! Receiving 1 to 7: what dies before IP, what is merged, what a bridge does.

use super::*;

/// A datagram as it arrives, for a MAC address.
fn arriving(to: MacAddress, payload: usize) -> Packet {
    let mut packet = datagram([10, 0, 0, 1], payload);
    crate::link::neighbor::write_header(&mut packet, to, PEER);
    packet
}

fn receive(host: &mut Host, packet: Packet) -> Option<Packet> {
    host.stack.receive_frame(ETH0, packet);
    host.stack.next_received()
}

#[test]
fn frames_of_others_are_seen_by_the_tap_and_die() {
    let mut host = host();
    host.set_tapped(ETH0, true);
    assert!(receive(&mut host, arriving(PEER, 10)).is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::Otherhost)]
    );
    assert_eq!(std::iter::from_fn(|| host.poll_tapped()).count(), 1);
    let read = transect_config::read_links(&host.link_json());
    assert_eq!(read.problems, []);
    let eth0 = read.value.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(eth0.statistics.get("rx_otherhost"), Some(&1));
    assert_eq!(eth0.statistics.get("rx_packets"), Some(&1));
    assert_eq!(eth0.statistics.get("rx_bytes"), Some(&52));
    assert_eq!(
        (eth0.kind.as_deref(), eth0.is_up(), eth0.has_carrier()),
        (Some("veth"), true, true)
    );
}

#[test]
fn what_is_too_long_for_the_peer_dies_there_and_both_count() {
    let mut host = host();
    know_peer(&mut host);
    host.set_peer_mtu(ETH0, 1000);
    let sent_on = send(
        &mut host,
        0.0,
        [10, 0, 0, 2],
        datagram([10, 0, 0, 2], 1005 - 28),
    );
    assert_eq!(sent_on, Err(Errno::Enobufs));
    assert_eq!(
        host.statistics(ETH0).map(|s| (s.tx_dropped, s.tx_packets)),
        Some((1, 0))
    );
    // A VLAN tag more than the MTU is granted.
    send(
        &mut host,
        0.0,
        [10, 0, 0, 2],
        datagram([10, 0, 0, 2], 1004 - 28),
    )
    .unwrap();
    assert_eq!(sent(&mut host).len(), 2);
    assert!(receive(&mut host, arriving(OWN, 1505 - 28)).is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::NicIn, DropReason::NotSpecified)]
    );
    assert_eq!(
        host.statistics(ETH0).map(|s| (s.rx_dropped, s.rx_packets)),
        Some((1, 0))
    );
}

#[test]
fn a_full_backlog_drops_before_the_tap() {
    let mut host = host();
    host.set_tapped(ETH0, true);
    host.set_sysctl("net.core.netdev_max_backlog", "2").unwrap();
    for _ in 0..5 {
        host.stack.receive_frame(ETH0, arriving(OWN, 10));
    }
    // The limit is exceeded before anything is dropped.
    assert_eq!(
        deaths(&mut host),
        [(Point::Backlog, DropReason::CpuBacklog); 2]
    );
    assert_eq!(std::iter::from_fn(|| host.stack.next_received()).count(), 3);
    assert_eq!(std::iter::from_fn(|| host.poll_tapped()).count(), 3);
    assert!(
        host.softnet_stat()
            .starts_with("00000003 00000002 00000000")
    );
}

#[test]
fn an_unknown_vlan_is_somebody_elses_and_an_unknown_type_is_nobodys() {
    let mut host = host();
    let tagged = |tag: u8| {
        let mut frame = arriving(OWN, 10).frame().to_vec();
        frame.splice(12..12, [0x81, 0, 0, tag]);
        Packet::from_frame(frame)
    };
    assert!(receive(&mut host, tagged(5)).is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::Otherhost)]
    );
    let untagged = receive(&mut host, tagged(0)).unwrap();
    assert_eq!(
        (untagged.ethertype, untagged.network().first()),
        (0x0800, Some(&0x45))
    );
    let mut frame = arriving(OWN, 10).frame().to_vec();
    frame.splice(12..14, [0x88, 0xcc]);
    assert!(receive(&mut host, Packet::from_frame(frame.clone())).is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::UnhandledProto)]
    );
    assert_eq!(host.statistics(ETH0).unwrap().rx_dropped, 1);
    // A capture takes it.
    host.set_tapped(ETH0, true);
    assert!(receive(&mut host, Packet::from_frame(frame)).is_none());
    assert_eq!(host.statistics(ETH0).unwrap().rx_dropped, 1);
}

#[test]
fn gro_merges_a_batch_as_tso_cuts_it() {
    let features = Features {
        gro: true,
        ..Features::VETH
    };
    let mut host = host_of(config(), features);
    let incoming = |sequence: u32, flags: u8, payload: usize, id: u8| {
        let mut packet = segment(sequence, flags, payload);
        packet.network_mut()[4..6].copy_from_slice(&[0, id]);
        finish_ipv4_header(packet.network_mut());
        crate::link::neighbor::write_header(&mut packet, OWN, PEER);
        crate::link::finish_checksum(&mut packet);
        packet
    };
    let frames = [
        incoming(1, 0x10, 1000, 1),
        incoming(1001, 0x10, 1000, 2),
        incoming(2001, 0x18, 300, 3),
        incoming(2301, 0x10, 1000, 4),
        // A gap: it begins anew.
        incoming(5000, 0x10, 1000, 5),
    ];
    for frame in frames {
        host.stack.receive_frame(ETH0, frame);
    }
    let merged = host.stack.next_received().unwrap();
    assert_eq!(
        merged.segmentation(),
        Some(Segmentation {
            size: 1000,
            segments: 3
        })
    );
    assert_eq!(
        (merged.len(), merged.checksum()),
        (52 + 2300, ChecksumState::Partial)
    );
    assert_eq!(
        merged.ip(|ip| (ip.total_length, ip.header_checksum_ok)),
        Some((2352, Some(true)))
    );
    assert_eq!(merged.network().get(33), Some(&0x18));
    let lengths: Vec<usize> = std::iter::from_fn(|| host.stack.next_received())
        .map(|packet| packet.len())
        .collect();
    assert_eq!(lengths, [1052, 1052]);
    // What stands for several already is not merged, and does not overtake what is held.
    let mut whole = incoming(7000, 0x10, 2000, 2);
    whole.segmentation = Some(Segmentation {
        size: 1000,
        segments: 2,
    });
    for packet in [incoming(6000, 0x10, 1000, 1), whole] {
        host.stack.receive_frame(ETH0, packet);
    }
    let lengths: Vec<usize> = std::iter::from_fn(|| host.stack.next_received())
        .map(|packet| packet.len())
        .collect();
    assert_eq!(lengths, [1052, 2052]);
    assert_eq!(host.statistics(ETH0).unwrap().rx_packets, 7);
}

#[test]
fn gro_leaves_alone_what_is_damaged() {
    let features = Features {
        gro: true,
        ..Features::VETH
    };
    let mut host = host_of(config(), features);
    for sequence in [1, 1001] {
        let mut packet = segment(sequence, 0x10, 1000);
        crate::link::neighbor::write_header(&mut packet, OWN, PEER);
        packet.flip_bit((14 + 60) * 8);
        host.stack.receive_frame(ETH0, packet);
    }
    let alone = std::iter::from_fn(|| host.stack.next_received());
    assert!(alone.map(|packet| packet.segmentation()).eq([None, None]));
}

const BRIDGE: &str = r#"[
{"ifindex":2,"ifname":"p0","flags":["UP","LOWER_UP"],"address":"02:00:00:00:00:a0","master":"br0"},
{"ifindex":3,"ifname":"p1","flags":["UP","LOWER_UP"],"address":"02:00:00:00:00:a1","master":"br0"},
{"ifindex":4,"ifname":"p2","flags":["UP","LOWER_UP"],"address":"02:00:00:00:00:a2","master":"br0",
 "linkinfo":{"info_slave_kind":"bridge","info_slave_data":{"state":"blocking"}}},
{"ifindex":5,"ifname":"br0","flags":["UP","LOWER_UP"],"address":"02:00:00:00:00:a0"}]"#;

#[test]
fn a_bridge_floods_learns_and_forwards() {
    let mut config = HostConfig::default();
    assert_eq!(config.absorb(ConfigText::Ip(BRIDGE)), []);
    let mut host = host_of(config, Features::VETH);
    let (p0, p1, p2, br0) = (DeviceId(1), DeviceId(2), DeviceId(3), DeviceId(4));
    let frame = |to: MacAddress, from: MacAddress| {
        let mut packet = datagram([10, 0, 0, 1], 10);
        crate::link::neighbor::write_header(&mut packet, to, from);
        packet
    };
    let out = |host: &mut Host| -> Vec<DeviceId> {
        std::iter::from_fn(|| host.poll_transmit())
            .map(|(device, _)| device)
            .collect()
    };
    // Unknown: to every other port that forwards.
    host.stack.receive_frame(p0, frame(PEER, OWN));
    assert!(host.stack.next_received().is_none());
    assert_eq!(out(&mut host), [p1]);
    // The answer goes to whom was learned.
    host.stack.receive_frame(p1, frame(OWN, PEER));
    assert!(host.stack.next_received().is_none());
    assert_eq!(out(&mut host), [p0]);
    // Broadcast goes up as well.
    host.stack
        .receive_frame(p0, frame(MacAddress::BROADCAST, OWN));
    let up = host.stack.next_received().unwrap();
    assert_eq!((up.in_device, out(&mut host)), (Some(br0), vec![p1]));
    assert_eq!(
        host.statistics(br0).map(|s| (s.rx_packets, s.rx_bytes)),
        Some((1, 38))
    );
    // A blocked port takes nothing in.
    host.stack.receive_frame(p2, frame(OWN, PEER));
    assert!(host.stack.next_received().is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::BridgeIngressStpState)]
    );
    // Nor do addresses that stay on the link cross it.
    let lldp = MacAddress([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    host.stack.receive_frame(p0, frame(lldp, OWN));
    assert!(host.stack.next_received().is_none());
    assert_eq!(out(&mut host), []);
    // What the host itself sends by the bridge.
    host.stack
        .transmit(br0, frame(OWN, MacAddress([2, 0, 0, 0, 0, 0xa0])))
        .unwrap();
    assert_eq!(out(&mut host), [p0]);
    assert_eq!(
        host.statistics(br0).map(|s| (s.tx_packets, s.tx_bytes)),
        Some((1, 52))
    );
    let links = transect_config::read_links(&host.link_json()).value;
    let port = links.iter().find(|link| link.name == "p2").unwrap();
    assert_eq!(port.master.as_deref(), Some("br0"));
    assert_eq!(
        port.bridge_port,
        Some(transect_config::BridgePortState::Blocking)
    );
}
