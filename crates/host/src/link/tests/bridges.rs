//! A bridge's hooks, IP's hooks for what is bridged, and what a bridge does not forward.

use transect_config::rules::apply_command;

use super::*;
use crate::device::PortFlags;

const BRIDGE: &str = r#"[
{"ifindex":2,"ifname":"p0","flags":["UP","LOWER_UP"],"mtu":1500,"address":"02:00:00:00:00:a0","master":"br0"},
{"ifindex":3,"ifname":"p1","flags":["UP","LOWER_UP"],"mtu":1500,"address":"02:00:00:00:00:a1","master":"br0"},
{"ifindex":4,"ifname":"br0","flags":["UP","LOWER_UP"],"mtu":1500,"address":"02:00:00:00:00:a0"}]"#;
const P0: DeviceId = DeviceId(1);
const P1: DeviceId = DeviceId(2);
const BR0: DeviceId = DeviceId(3);
const BRIDGES_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa0]);

fn bridge(rules: &[&str]) -> Host {
    let mut config = HostConfig::default();
    assert_eq!(config.absorb(ConfigText::Ip(BRIDGE)), []);
    let mut host = host_of(config, Features::VETH);
    for line in rules {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let changed = host.change_rules(Timestamp(0), |rules| apply_command(rules, &words));
        assert_eq!(changed, Ok(()), "{line}");
    }
    host
}

fn frame(to: MacAddress, from: MacAddress) -> Packet {
    let mut packet = datagram([10, 0, 0, 1], 10);
    crate::link::neighbor::write_header(&mut packet, to, from);
    packet
}

/// What becomes of a frame that comes in at the first port: whether it goes up, and by which devices it leaves.
fn receive(host: &mut Host, frame: Packet) -> (bool, Vec<DeviceId>) {
    host.stack.receive_frame(P0, frame);
    let up = host.stack.next_received().is_some();
    let out = std::iter::from_fn(|| host.poll_transmit());
    (up, out.map(|(device, _)| device).collect())
}

fn counted(host: &Host) -> Vec<u64> {
    let rules = host.rules().rules();
    rules
        .filter_map(|(_, _, rule)| rule.counter.map(|counter| counter.packets))
        .collect()
}

fn deaths(host: &mut Host) -> Vec<(Point, DropReason)> {
    let all = std::iter::from_fn(|| host.poll_death());
    all.map(|death| (death.point, death.reason)).collect()
}

fn chain(hook: &str, rule: &str) -> [String; 3] {
    [
        "nft add table bridge t".to_owned(),
        format!("nft add chain bridge t c {{ type filter hook {hook} priority 0; }}"),
        format!("nft add rule bridge t c {rule}"),
    ]
}

fn with_chain(hook: &str, rule: &str) -> Host {
    let lines = chain(hook, rule);
    bridge(&lines.each_ref().map(String::as_str))
}

#[test]
fn each_hook_of_a_bridge_sees_its_frames() {
    // To another station, to the bridge's host, from the bridge's host.
    let expected = [
        ("prerouting", [false, false, true]),
        ("input", [true, false, true]),
        ("forward", [false, true, true]),
        ("output", [true, true, false]),
        ("postrouting", [false, true, false]),
    ];
    for (hook, passes) in expected {
        let mut host = with_chain(hook, "udp dport 9 counter drop");
        let (_, out) = receive(&mut host, frame(PEER, OWN));
        let (up, _) = receive(&mut host, frame(BRIDGES_MAC, OWN));
        host.stack.transmit(BR0, frame(PEER, BRIDGES_MAC)).unwrap();
        let sent = std::iter::from_fn(|| host.poll_transmit()).count();
        assert_eq!([out == [P1], up, sent > 0], passes, "{hook}");
        let died = deaths(&mut host);
        let expected_deaths = passes.iter().filter(|passes| !**passes).count();
        // What the bridge's host sends to an unknown station leaves by two ports: each meets the hook.
        let from_host = died
            .iter()
            .filter(|(point, _)| *point == Point::DriverOut)
            .count();
        let others = died.len() - from_host;
        assert_eq!(
            others + from_host.min(1),
            expected_deaths,
            "{hook}: {died:?}"
        );
        assert!(
            died.iter()
                .all(|(_, reason)| *reason == DropReason::NetfilterDrop)
        );
        assert_eq!(counted(&host), [died.len() as u64], "{hook}");
    }
}

#[test]
fn what_is_bridged_meets_ips_hooks_with_the_bridge_as_its_device() {
    let rule = "iptables-legacy -A FORWARD -i br0 -o br0 -p udp --dport 9 -j DROP";
    let mut host = bridge(&[rule]);
    assert_eq!(receive(&mut host, frame(PEER, OWN)), (false, vec![]));
    assert_eq!(
        deaths(&mut host),
        [(Point::Forward, DropReason::NetfilterDrop)]
    );
    assert_eq!(counted(&host), [1]);
    assert_eq!(host.counters().ip4.of(crate::IpCounter::InReceives), 0);
    host.set_sysctl("net.bridge.bridge-nf-call-iptables", "0")
        .unwrap();
    assert_eq!(receive(&mut host, frame(PEER, OWN)), (false, vec![P1]));
    assert_eq!(counted(&host), [1]);
}

#[test]
fn what_goes_up_has_passed_ips_pre_routing_already() {
    let mut host = bridge(&["iptables-legacy -t raw -A PREROUTING -i br0 -j ACCEPT"]);
    host.handle_frame(Timestamp(1), P0, frame(BRIDGES_MAC, OWN));
    assert_eq!(counted(&host), [1]);
    assert_eq!(host.counters().ip4.of(crate::IpCounter::InReceives), 1);
}

#[test]
fn a_damaged_header_dies_where_ip_would_look_at_it() {
    let mut host = bridge(&[]);
    let mut damaged = frame(PEER, OWN);
    damaged.network_mut()[10] ^= 0xff;
    assert_eq!(receive(&mut host, damaged), (false, vec![]));
    assert_eq!(deaths(&mut host), [(Point::LinkInput, DropReason::IpCsum)]);
    assert_eq!(host.counters().ip4.of(crate::IpCounter::InHdrErrors), 1);
}

#[test]
fn what_is_not_ip_is_told_apart_by_its_ethertype() {
    let mut host = with_chain("prerouting", "ether type arp counter drop");
    let mut arp = frame(MacAddress::BROADCAST, OWN);
    arp.data[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(receive(&mut host, arp), (false, vec![]));
    assert_eq!(receive(&mut host, frame(PEER, OWN)), (false, vec![P1]));
    assert_eq!(counted(&host), [1]);
}

#[test]
fn a_frame_without_a_port_to_leave_by_dies_as_in_linux() {
    let mut host = bridge(&[]);
    let own = PortFlags {
        isolated: true,
        ..PortFlags::default()
    };
    for port in [P0, P1] {
        host.set_port_flags(port, own);
    }
    // Its station was learned at the other port.
    host.stack.receive_frame(P1, frame(OWN, PEER));
    assert!(host.stack.next_received().is_none());
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::NoTxTarget)],
        "flooded"
    );
    assert_eq!(receive(&mut host, frame(PEER, OWN)), (false, vec![]));
    assert_eq!(
        deaths(&mut host),
        [(Point::LinkInput, DropReason::NotSpecified)],
        "forwarded"
    );
    host.set_port_flags(P0, PortFlags::default());
    assert_eq!(receive(&mut host, frame(PEER, OWN)), (false, vec![P1]));
    // Back by the port where it came in: only with "hairpin".
    assert_eq!(receive(&mut host, frame(OWN, OWN)), (false, vec![]));
    assert_eq!(deaths(&mut host).len(), 1);
    host.set_port_flags(
        P0,
        PortFlags {
            hairpin: true,
            ..PortFlags::default()
        },
    );
    assert_eq!(receive(&mut host, frame(OWN, OWN)), (false, vec![P0]));
}

#[test]
fn fragments_that_connection_tracking_puts_together_leave_as_fragments() {
    let mut host = bridge(&["iptables-legacy -A FORWARD -m state --state INVALID -j DROP"]);
    let mut whole = datagram([10, 0, 0, 1], 2000);
    whole.mtu = 1500;
    let pieces = [(0u16, 1480usize, true), (185, 528, false)].map(|(offset, length, more)| {
        let mut bytes = whole.network()[..20].to_vec();
        let from = 20 + usize::from(offset) * 8;
        bytes.extend(&whole.network()[from..from + length]);
        let total = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        bytes[2..4].copy_from_slice(&total);
        let field = offset | if more { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&field.to_be_bytes());
        finish_ipv4_header(&mut bytes);
        let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp(0));
        crate::link::neighbor::write_header(&mut packet, PEER, OWN);
        packet
    });
    let [first, second] = pieces;
    assert_eq!(receive(&mut host, first), (false, vec![]));
    host.stack.receive_frame(P0, second);
    assert!(host.stack.next_received().is_none());
    let out: Vec<(DeviceId, usize, MacAddress)> = std::iter::from_fn(|| host.poll_transmit())
        .map(|(device, packet)| {
            let to = MacAddress(packet.frame()[..6].try_into().unwrap());
            (device, packet.len(), to)
        })
        .collect();
    assert_eq!(out, [(P1, 1500, PEER), (P1, 548, PEER)]);
}

#[test]
fn what_no_bridge_can_do_is_refused_in_words() {
    let mut host = bridge(&[
        "nft add table bridge t",
        "nft add chain bridge t c { type filter hook forward priority 0; }",
    ]);
    for rule in ["ct state new drop", "reject"] {
        let words: Vec<String> = format!("nft add rule bridge t c {rule}")
            .split(' ')
            .map(str::to_owned)
            .collect();
        let refused = host.change_rules(Timestamp(0), |rules| apply_command(rules, &words));
        let refused = refused.unwrap_err();
        assert!(refused.contains("in a bridge's chain"), "{refused}");
    }
}
