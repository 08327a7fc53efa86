//! The link layer on its own: frames in, frames out, in virtual time.

mod any;
mod wire;

use std::net::IpAddr;

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, NeighborState};
use transect_packet::{LinkType, MacAddress, Network, dissect};
use transect_path::{Point, Timestamp};

use crate::device::{DeviceId, DeviceKind, Features};
use crate::drop_reason::DropReason;
use crate::host::{DeviceSetup, Host, HostSetup};
use crate::ip::bytes::finish_ipv4_header;
use crate::packet::{ChecksumState, Packet, Segmentation};
use crate::socket::Errno;

const ETH0: DeviceId = DeviceId(1);
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

const LINKS: &str = r#"[{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
"mtu":1500,"link_type":"ether","address":"02:00:00:00:00:01","linkinfo":{"info_kind":"veth"}}]"#;
const ADDRESSES: &str = r#"[{"ifindex":2,"ifname":"eth0","addr_info":[
{"family":"inet","local":"10.0.0.1","prefixlen":24,"broadcast":"10.0.0.255","scope":"global"},
{"family":"inet6","local":"fd00::1","prefixlen":64,"scope":"global"},
{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
const ROUTES: &str = "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1
local 10.0.0.1 dev eth0 table local proto kernel scope host src 10.0.0.1
broadcast 10.0.0.255 dev eth0 table local proto kernel scope link src 10.0.0.1";

fn config() -> HostConfig {
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(LINKS),
        ConfigText::Ip(ADDRESSES),
        ConfigText::Routes(IpVersion::V4, ROUTES),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    config.policy_rules4 = Some(transect_config::default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(transect_config::default_policy_rules(IpVersion::V6));
    config
}

fn host_of(config: HostConfig, features: Features) -> Host {
    let names = config.links.iter().flatten().map(|link| link.name.clone());
    let devices = names.filter(|name| name != "lo").map(|name| DeviceSetup {
        kind: if name.starts_with("br") {
            DeviceKind::Bridge
        } else {
            DeviceKind::Ethernet
        },
        name,
        features,
    });
    let mut host = Host::new(HostSetup {
        number: 0,
        devices: devices.collect(),
        config,
        rules: RuleSet::default(),
        seed: 7,
        hz: 250,
        boot: Timestamp(0),
        journeys: true,
    })
    .unwrap();
    host.keep_deaths(true);
    host
}

fn host() -> Host {
    host_of(config(), Features::VETH)
}

/// A UDP datagram of that many bytes of payload.
fn datagram(destination: [u8; 4], payload: usize) -> Packet {
    let length = u16::try_from(28 + payload).unwrap().to_be_bytes();
    let mut bytes = vec![
        0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1,
    ];
    bytes.extend(destination);
    let length = u16::try_from(8 + payload).unwrap().to_be_bytes();
    bytes.extend([0x30, 0x39, 0, 9, length[0], length[1], 0, 0]);
    bytes.resize(28 + payload, 0xab);
    finish_ipv4_header(&mut bytes);
    let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp(0));
    packet.checksum = ChecksumState::Partial;
    packet
}

/// A TCP segment with timestamps-sized options.
fn segment(sequence: u32, flags: u8, payload: usize) -> Packet {
    let length = u16::try_from(52 + payload).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![
        0x45, 0, length[0], length[1], 0xff, 0xff, 0x40, 0, 64, 6, 0, 0,
    ];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend((0..payload).map(|number| (number % 251) as u8));
    finish_ipv4_header(&mut bytes);
    let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp(0));
    packet.checksum = ChecksumState::Partial;
    packet
}

fn send(host: &mut Host, seconds: f64, to: [u8; 4], packet: Packet) -> Result<(), Errno> {
    host.begin(Timestamp((seconds * 1e9) as u64));
    host.stack.resolve(ETH0, IpAddr::from(to), packet)
}

/// The frames that have left, described.
fn sent(host: &mut Host) -> Vec<String> {
    std::iter::from_fn(|| host.poll_transmit())
        .map(|(_, packet)| describe(packet.frame()))
        .collect()
}

fn describe(frame: &[u8]) -> String {
    let dissection = dissect(LinkType::ETHERNET, frame, frame.len() as u32);
    let to = dissection.link.destination.unwrap();
    match dissection.network {
        Network::Arp(arp) => {
            format!(
                "{to} ARP {:?} {} {} for {}",
                arp.operation, arp.sender, arp.sender_mac, arp.target
            )
        }
        Network::Ip(ip) => format!("{to} IP {} {} bytes", ip.destination, frame.len()),
        other => format!("{to} {other:?}"),
    }
}

/// Runs every deadline until the moment, and tells when frames left.
fn run_until(host: &mut Host, seconds: f64) -> Vec<(f64, String)> {
    let end = Timestamp((seconds * 1e9) as u64);
    let mut all = Vec::new();
    while let Some(at) = host.poll_timeout().filter(|at| *at <= end) {
        host.handle_timeout(at);
        all.extend(
            sent(host)
                .into_iter()
                .map(|frame| (at.as_secs_f64(), frame)),
        );
    }
    all
}

fn deaths(host: &mut Host) -> Vec<(Point, DropReason)> {
    std::iter::from_fn(|| host.poll_death())
        .map(|death| (death.point, death.reason))
        .collect()
}

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

fn know_peer(host: &mut Host) {
    host.reconfigure(Timestamp(0), |config| {
        let text = "10.0.0.2 dev eth0 lladdr 02:00:00:00:00:02 PERMANENT";
        assert_eq!(config.absorb(ConfigText::Ip(text)), []);
    });
}

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
    host.replace_qdisc(Timestamp(0), ETH0, Some(tbf)).unwrap();
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

/// A datagram as it arrives, for a MAC address.
fn arriving(to: MacAddress, payload: usize) -> Packet {
    let mut packet = datagram([10, 0, 0, 1], payload);
    super::neighbor::write_header(&mut packet, to, PEER);
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
fn xdp_drops_before_the_tap() {
    let mut host = host();
    host.set_tapped(ETH0, true);
    host.drop_at_xdp(ETH0, 9);
    assert!(receive(&mut host, arriving(OWN, 10)).is_none());
    assert_eq!(deaths(&mut host), [(Point::Xdp, DropReason::NotSpecified)]);
    assert_eq!(host.poll_tapped(), None);
    assert_eq!(
        host.statistics(ETH0).map(|s| (s.rx_dropped, s.rx_packets)),
        Some((0, 1))
    );
    assert!(
        host.ethtool_statistics_text("eth0")
            .contains("rx_queue_0_xdp_drops: 1\n")
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
        super::neighbor::write_header(&mut packet, OWN, PEER);
        super::finish_checksum(&mut packet);
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
    whole.segmentation = Some(Segmentation { size: 1000, segments: 2 });
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
        super::neighbor::write_header(&mut packet, OWN, PEER);
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
        super::neighbor::write_header(&mut packet, to, from);
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

#[test]
fn neighbours_features_and_counters_are_read_back() {
    let mut host = host();
    know_peer(&mut host);
    send(&mut host, 0.0, [10, 0, 0, 9], datagram([10, 0, 0, 9], 10)).unwrap();
    let read = transect_config::read_neighbors(&host.neighbor_json());
    assert_eq!(read.problems, []);
    let states: Vec<_> = read
        .value
        .iter()
        .map(|one| (one.mac, one.states.clone()))
        .collect();
    assert_eq!(
        states,
        [
            (Some(PEER.0), vec![NeighborState::Permanent]),
            (None, vec![NeighborState::Incomplete]),
        ]
    );
    let features = transect_config::read_features(&host.features_text("eth0"));
    assert_eq!(features.problems, []);
    let on = |name: &str| {
        features
            .value
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.on)
    };
    assert_eq!(on("tcp-segmentation-offload"), Some(true));
    assert_eq!(on("generic-receive-offload"), Some(false));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let setup = |name: &str, config: HostConfig| HostSetup {
        number: 0,
        config,
        rules: RuleSet::default(),
        devices: vec![DeviceSetup {
            name: name.to_owned(),
            kind: DeviceKind::Ethernet,
            features: Features::VETH,
        }],
        seed: 0,
        hz: 250,
        boot: Timestamp(0),
        journeys: false,
    };
    let error = |name: &str, config| Host::new(setup(name, config)).unwrap_err().to_string();
    assert_eq!(
        error("eth1", config()),
        "the configuration has no link eth1"
    );
    assert_eq!(error("lo", config()), "there are two devices called lo");
    let mut wrong = config();
    wrong.qdiscs = Some(vec![transect_config::Qdisc {
        device: "eth0".into(),
        kind: "fq".into(),
        parent: "root".into(),
        ..transect_config::Qdisc::default()
    }]);
    assert_eq!(
        error("eth0", wrong),
        "qdisc fq on eth0: the model knows noqueue, pfifo_fast, pfifo, bfifo and tbf"
    );
}
