//! What a reading writes, the readers of files understand: without a complaint, and with what was set up in it.

// A helper that unwraps is a test that fails with a message: the lint's exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "readings/space.rs"]
mod space;

use std::net::{TcpListener, TcpStream, UdpSocket};

use space::Space;
use transect_collect::{RawReading, ReadingSource, Scope};
use transect_config::{
    ConfigText, HostConfig, IpVersion, Parsed, SocketProtocol, SocketState, read_conntrack,
    read_sockets,
};
use transect_evidence::counters::{
    Counters, conntrack_statistics, ethtool_statistics, proc_net_dev, snmp, snmp6, sockstat,
    softnet_stat,
};

fn text<'a>(reading: &'a RawReading, name: &str) -> &'a str {
    let file = reading.files.iter().find(|file| file.name == name);
    std::str::from_utf8(&file.unwrap_or_else(|| panic!("{name} is missing")).bytes).unwrap()
}

/// What was read, when nothing was left over.
fn whole<T>(parsed: Parsed<T>, name: &str) -> T {
    assert!(parsed.problems.is_empty(), "{name}: {:?}", parsed.problems);
    parsed.value
}

/// A host with a service, a bridge, a filter that drops, and connection tracking on.
fn host() -> Option<(Space, RawReading)> {
    let space = Space::new("back")?;
    for command in [
        "ip link set lo up",
        "ip link add v0 type veth peer name v1",
        "ip link add br0 type bridge",
        "ip link set v1 master br0",
        "ip link set v0 mtu 1400 up",
        "ip link set v1 up",
        "ip address add 10.0.0.1/24 dev v0",
        "ip -6 address add 2001:db8::1/64 dev v0 nodad",
        "ip route add blackhole 192.0.2.0/24",
        "ip route add default via 10.0.0.9 table 100",
        "ip rule add priority 100 from 10.0.0.0/8 fwmark 5/0xff lookup 100",
        "ip neighbor add 10.0.0.50 lladdr 00:11:22:33:44:55 dev v0",
        "tc qdisc add dev v0 root pfifo limit 5",
        "tc qdisc add dev v0 clsact",
        "tc filter add dev v0 ingress protocol all pref 3 bpf bytecode 1,6\\x200\\x200\\x202, da",
        "tc filter add dev v0 egress protocol ip pref 5 u32 match ip dport 80 0xffff action mirred egress redirect dev v1",
        "iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    ] {
        space.run(command);
    }
    let reading = space.inside(|| {
        let listener = TcpListener::bind("10.0.0.1:3306").unwrap();
        let _client = TcpStream::connect("10.0.0.1:3306").unwrap();
        let _datagrams = UdpSocket::bind("[2001:db8::1]:5353").unwrap();
        let reading = ReadingSource::open().0.take(Scope::Full);
        drop(listener);
        reading
    });
    assert_eq!(reading.unseen, []);
    Some((space, reading))
}

#[test]
fn the_configuration_is_understood() {
    let Some((_space, reading)) = host() else {
        return;
    };
    let mut config = HostConfig::default();
    let file = |name: &str| text(&reading, name);
    for (name, text) in [
        ("link", ConfigText::Ip(file("ip/link.json"))),
        ("address", ConfigText::Ip(file("ip/address.json"))),
        ("neighbor", ConfigText::Ip(file("ip/neighbor.json"))),
        (
            "route",
            ConfigText::Routes(IpVersion::V4, file("ip/route.json")),
        ),
        (
            "route6",
            ConfigText::Routes(IpVersion::V6, file("ip/route6.json")),
        ),
        (
            "rule",
            ConfigText::PolicyRules(IpVersion::V4, file("ip/rule.json")),
        ),
        (
            "rule6",
            ConfigText::PolicyRules(IpVersion::V6, file("ip/rule6.json")),
        ),
        ("qdisc", ConfigText::Qdiscs(file("tc/qdisc.json"))),
        (
            "filter",
            ConfigText::Filters(file("tc/filter.json"), None, None),
        ),
        ("sysctl", ConfigText::Sysctls(file("sysctl.txt"))),
        (
            "features",
            ConfigText::Features("v0", file("ethtool/v0.features.txt")),
        ),
    ] {
        assert_eq!(config.absorb(text), [], "{name}");
    }

    let links = config.links.unwrap();
    let v0 = links.iter().find(|link| link.name == "v0").unwrap();
    assert_eq!((v0.mtu, v0.kind.as_deref()), (Some(1400), Some("veth")));
    assert_eq!(v0.statistics["rx_otherhost"], 0);
    assert!(v0.statistics.contains_key("tx_carrier_errors"));
    let v1 = links.iter().find(|link| link.name == "v1").unwrap();
    assert_eq!(v1.master.as_deref(), Some("br0"));
    assert!(v1.bridge_port.is_some());
    assert!(
        config
            .addresses
            .unwrap()
            .iter()
            .any(|one| one.local.to_string() == "2001:db8::1")
    );
    assert!(
        config
            .routes4
            .unwrap()
            .iter()
            .any(|route| format!("{:?}", route.kind) == "Blackhole")
    );
    assert_eq!(config.policy_rules4.unwrap().len(), 4);
    assert_eq!(config.neighbors.unwrap().len(), 1);
    let qdiscs = config.qdiscs.unwrap();
    assert!(
        qdiscs
            .iter()
            .any(|one| one.kind == "pfifo" && one.device == "v0")
    );
    let filters = config.filters.unwrap();
    let drops = filters
        .iter()
        .find(|one| one.kind == "bpf" && one.can_drop())
        .unwrap();
    assert_eq!(
        (drops.device.as_str(), drops.is_ingress()),
        ("v0", Some(true))
    );
    let redirects = filters.iter().find(|one| !one.actions.is_empty()).unwrap();
    assert_eq!(redirects.is_ingress(), Some(false));
    assert!(!redirects.counters().is_empty());
    assert!(
        config.features["v0"]
            .iter()
            .any(|one| one.name == "tx-checksum-ip-generic")
    );
}

#[test]
fn sockets_and_entries_are_understood() {
    let Some((_space, reading)) = host() else {
        return;
    };
    let sockets = whole(read_sockets(text(&reading, "sockets.txt")), "sockets");
    let listener = sockets
        .iter()
        .find(|one| one.state == Some(SocketState::Listen))
        .unwrap();
    // One connection waits to be accepted.
    assert_eq!((listener.recv_queue, listener.local.port), (1, Some(3306)));
    assert_eq!(
        listener
            .drops
            .or(listener.memory.map(|memory| memory.drops)),
        Some(0)
    );
    let client = sockets
        .iter()
        .find(|one| one.peer.port == Some(3306))
        .unwrap();
    assert_eq!(client.state, Some(SocketState::Established));
    let info = client.tcp.as_ref().unwrap();
    assert!(info.cwnd.is_some() && info.mss.is_some() && info.rto.is_some());
    assert!(
        sockets
            .iter()
            .any(|one| one.protocol == SocketProtocol::Udp)
    );

    let entries = whole(
        read_conntrack(text(&reading, "conntrack/entries.txt")),
        "conntrack",
    );
    assert!(
        entries
            .iter()
            .any(|entry| entry.original.destination_port == Some(3306)),
        "{entries:?}"
    );
}

#[test]
fn counters_are_understood() {
    let Some((_space, reading)) = host() else {
        return;
    };
    let file = |name: &str| text(&reading, name);
    let mut counters = Counters::default();
    for (name, parsed) in [
        ("snmp", snmp(file("net/snmp"))),
        ("netstat", snmp(file("net/netstat"))),
        ("snmp6", snmp6(file("net/snmp6"))),
        ("dev", proc_net_dev(file("net/dev"))),
        ("softnet_stat", softnet_stat(file("net/softnet_stat"))),
        ("sockstat", sockstat(file("net/sockstat"))),
        (
            "conntrack",
            conntrack_statistics(file("conntrack/stats.txt")),
        ),
        (
            "ethtool",
            ethtool_statistics(file("ethtool/v0.statistics.txt"), "v0"),
        ),
    ] {
        counters.merge(whole(parsed, name));
    }
    for name in [
        "IpInReceives",
        "TcpExtListenDrops",
        "Ip6InReceives",
        "softnet.dropped",
        "conntrack.insert_failed",
        "ethtool.v0.rx_queue_0_drops",
    ] {
        assert!(counters.get(name).is_some(), "{name}");
    }
    assert_eq!(counters.get("TcpActiveOpens"), Some(1));
}
