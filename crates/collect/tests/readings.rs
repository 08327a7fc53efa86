//! Readings against the real tools: in a namespace with a bit of everything, what a reading writes must be what `ip`, `tc`,
//! `ss`, `conntrack`, `ethtool` and `sysctl` print there; and taking one must change nothing.

// A helper that unwraps is a test that fails with a message: the lint's exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "readings/space.rs"]
mod space;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use space::Space;
use transect_collect::{RawReading, ReadingSource, Scope};

fn text<'a>(reading: &'a RawReading, name: &str) -> &'a str {
    let file = reading
        .files
        .iter()
        .find(|file| file.name == name)
        .unwrap_or_else(|| panic!("{name} is missing; unseen: {:?}", reading.unseen));
    std::str::from_utf8(&file.bytes).unwrap()
}

fn json(reading: &RawReading, name: &str) -> Vec<Value> {
    serde_json::from_str(text(reading, name)).unwrap()
}

/// What the tool says must stand in ours too, with the same values. Keys in `free` may be missing or differ: they change
/// by the clock, or no diagnosis uses them. Ours may say more.
fn assert_agrees(ours: &Value, tool: &Value, free: &[&str], place: &str) {
    match (ours, tool) {
        (Value::Object(ours), Value::Object(tool)) => {
            for (key, value) in tool {
                if free.contains(&key.as_str()) {
                    continue;
                }
                let place = format!("{place}.{key}");
                let mine = ours
                    .get(key)
                    .unwrap_or_else(|| panic!("{place} is missing"));
                assert_agrees(mine, value, free, &place);
            }
        }
        (Value::Array(ours), Value::Array(tool)) => {
            assert_eq!(ours.len(), tool.len(), "{place}: {ours:?} and {tool:?}");
            for (index, (mine, theirs)) in ours.iter().zip(tool).enumerate() {
                assert_agrees(mine, theirs, free, &format!("{place}[{index}]"));
            }
        }
        _ => assert_eq!(ours, tool, "{place}"),
    }
}

/// The value without the keys in `free`.
fn still(value: &Value, free: &[&str]) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !free.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), still(value, free)))
            .collect(),
        Value::Array(list) => list.iter().map(|value| still(value, free)).collect(),
        other => other.clone(),
    }
}

/// A reading, and what the tool prints: taken between two runs of the tool that say the same, because bridges, duplicate
/// address detection and multicast keep a fresh namespace moving.
fn between<T: PartialEq>(take: impl Fn() -> RawReading, tool: impl Fn() -> T) -> (RawReading, T) {
    for _ in 0..100 {
        let before = tool();
        let reading = take();
        let after = tool();
        if before == after {
            return (reading, after);
        }
    }
    panic!("the namespace does not come to rest");
}

fn assert_file_agrees(space: &Space, name: &str, tool: &str, free: &[&str]) -> Vec<Value> {
    let (reading, theirs) = between(
        || full(space),
        || {
            let value: Value = serde_json::from_str(&space.run(tool)).unwrap();
            still(&value, free)
        },
    );
    let ours = json(&reading, name);
    assert_agrees(&Value::Array(ours.clone()), &theirs, free, name);
    ours
}

const LINKS: &str = "
    link add v0 type veth peer name v1
    link add br0 type bridge
    link add vx0 type vxlan id 77 dstport 4789 remote 10.0.0.7 local 10.0.0.1
    link add mv0 link v0 type macvlan mode bridge
    link set v0 mtu 1400 up
    link set v1 master br0 up
    link set br0 up
    link set mv0 up
";

const ADDRESSES: &str = "
    address add 10.0.0.1/24 broadcast 10.0.0.255 dev v0
    address add 10.0.0.3/24 dev v0
    address add 10.9.0.1 peer 10.9.0.2/32 dev v0
    -6 address add 2001:db8:5::1/64 dev v0 nodad
    -6 address add 2001:db8:6::1/64 dev v0 nodad preferred_lft 0
    neighbor add 10.0.0.50 lladdr 00:11:22:33:44:55 dev v0
    -6 neighbor add 2001:db8:5::50 lladdr 00:11:22:33:44:55 router dev v0
";

const ROUTES: &str = "
    route add blackhole 192.0.2.0/24
    route add unreachable 192.0.3.0/24 metric 5
    route add 192.0.4.0/24 via 10.0.0.9 mtu 1300 advmss 1000 congctl cubic
    route add 192.0.5.0/24 nexthop via 10.0.0.8 weight 2 nexthop via 10.0.0.9 dev v0
    route add default via 10.0.0.9 table 100 proto static src 10.0.0.1 metric 7
    route add throw 192.0.8.0/24 table 100
    route add prohibit 192.0.8.0/24
    route add 192.0.6.0/24 dev v0 scope link tos 0x10
    route add 192.0.7.0/24 via inet6 fe80::1 dev v0
    route add 192.0.9.0/24 via 10.0.0.19 onlink dev v0
    nexthop add id 7 via 10.0.0.9 dev v0
    route add 192.0.10.0/24 nhid 7
    -6 route add 2001:db8::/64 via fe80::9 dev v0
    -6 route add unreachable 2001:db8:1::/64
    -6 route add 2001:db8:2::/64 nexthop via fe80::1 dev v0 nexthop via fe80::2 dev v0 weight 3
    -6 route add default via fe80::9 dev v0 table 200 metric 9 mtu 1300
";

const RULES: &str = "
    rule add priority 100 from 10.0.0.0/8 to 1.2.3.4 iif v0 fwmark 0x5/0xff lookup 100
    rule add priority 101 not oif v9 blackhole
    rule add priority 102 ipproto tcp dport 80 sport 100-200 tos 0x10 goto 103
    rule add priority 103 uidrange 5-10 lookup 200 suppress_prefixlength 0
    rule add priority 104 nop
    rule add priority 105 goto 4000
    rule add priority 106 fwmark 7 prohibit
    -6 rule add priority 99 from 2001:db8::/32 prohibit
";

const TRAFFIC: &str = "
    qdisc add dev v0 root handle 1: htb default 10
    class add dev v0 parent 1: classid 1:10 htb rate 1mbit
    qdisc add dev v0 parent 1:10 handle 10: tbf rate 1mbit burst 10k latency 50ms
    qdisc add dev v1 root pfifo limit 5
    qdisc add dev v0 clsact
    qdisc add dev v1 ingress
    filter add dev v0 parent 1: protocol ip pref 7 u32 match ip dst 1.2.3.4/32 flowid 1:10
    filter add dev v0 ingress protocol all pref 3 bpf bytecode 1,6\\x200\\x200\\x202, da
    filter add dev v0 egress protocol ip pref 5 u32 match ip dport 80 0xffff action mirred egress redirect dev v1
    filter add dev v1 ingress protocol ipv6 pref 6 u32 match u32 0 0 action mirred egress mirror dev v0
";

/// One namespace with links, addresses, routes, rules and queues; `None` where that is not permitted.
fn full_space() -> Option<Space> {
    let space = Space::new("read")?;
    for (program, lines) in [
        ("ip", LINKS),
        ("ip", ADDRESSES),
        ("ip", ROUTES),
        ("ip", RULES),
        ("tc", TRAFFIC),
    ] {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            space.run(&format!("{program} {line}"));
        }
    }
    Some(space)
}

fn full(space: &Space) -> RawReading {
    space.inside(|| {
        let (mut source, unseen) = ReadingSource::open();
        assert_eq!(unseen, []);
        source.take(Scope::Full)
    })
}

#[test]
fn links_and_addresses_are_what_ip_prints() {
    let Some(space) = full_space() else { return };
    // Details that no diagnosis uses, and timers.
    let free = [
        "inet6_addr_gen_mode",
        "info_data",
        "id",
        "no",
        "designated_port",
        "designated_cost",
        "bridge_id",
        "root_id",
        "hold_timer",
        "message_age_timer",
        "forward_delay_timer",
        "topology_change_ack",
        "config_pending",
        "proxy_arp",
        "proxy_arp_wifi",
        "multicast_router",
        "bcast_flood",
        "mcast_to_unicast",
        "neigh_suppress",
        "group_fwd_mask",
        "group_fwd_mask_str",
        "vlan_tunnel",
        // Compared below, by name.
        "stats64",
    ];
    let links = assert_file_agrees(&space, "ip/link.json", "ip -j -d -s -s link show", &free);
    // The numbers under the names that the tool gives them.
    let names = |value: &Value| -> Vec<String> {
        let side = |side: &str| {
            let counters = value["stats64"][side].as_object().unwrap();
            counters
                .keys()
                .map(|name| format!("{side}.{name}"))
                .collect::<Vec<_>>()
        };
        [side("rx"), side("tx")].concat()
    };
    let tool: Vec<Value> = serde_json::from_str(&space.run("ip -j -d -s -s link show")).unwrap();
    let ours = names(&links[0]);
    for name in names(&tool[0]) {
        assert!(ours.contains(&name), "{name}");
    }
    let one = |name: &str| links.iter().find(|link| link["ifname"] == name).unwrap();
    assert_eq!(one("vx0")["linkinfo"]["info_data"]["id"], 77);
    assert_eq!(one("mv0")["linkinfo"]["info_data"]["mode"], "bridge");
    assert_eq!(
        one("v1")["linkinfo"]["info_slave_data"]["state"],
        "forwarding"
    );
    assert_eq!(one("v0")["stats64"]["rx"]["otherhost"], 0);

    let clocks = ["valid_life_time"];
    assert_file_agrees(&space, "ip/address.json", "ip -j address show", &clocks);
}

#[test]
fn routes_rules_and_neighbors_are_what_ip_prints() {
    let Some(space) = full_space() else { return };
    for (name, tool) in [
        ("ip/route.json", "ip -j -4 route show table all"),
        ("ip/route6.json", "ip -j -6 route show table all"),
        ("ip/rule.json", "ip -j -4 rule"),
        ("ip/rule6.json", "ip -j -6 rule"),
        ("ip/neighbor.json", "ip -j -s neighbor show"),
    ] {
        let clocks = ["expires", "used", "confirmed", "updated", "refcnt"];
        let ours = assert_file_agrees(&space, name, tool, &clocks);
        assert!(ours.len() >= 2, "{name} is nearly empty");
    }
}

#[test]
fn queues_and_filters_are_what_tc_prints() {
    let Some(space) = full_space() else { return };
    let reading = full(&space);
    let moving = [
        "bytes",
        "packets",
        "drops",
        "overlimits",
        "backlog",
        "qlen",
        "direct_packets_stat",
    ];
    assert_file_agrees(&space, "tc/qdisc.json", "tc -j -s qdisc show", &moving);

    let ours = json(&reading, "tc/filter.json");
    for (device, parent, tool) in [
        ("v0", "1:", "parent 1:"),
        ("v0", "ingress", "ingress"),
        ("v0", "egress", "egress"),
        ("v1", "ingress", "ingress"),
    ] {
        let printed = space.run(&format!("tc -j -s filter show dev {device} {tool}"));
        let theirs: Value = serde_json::from_str(&printed).unwrap();
        let mine = ours
            .iter()
            .filter(|one| one["dev"] == device && one["parent"] == parent)
            .cloned()
            .collect();
        let free = ["installed", "last_used", "first_used", "stats"];
        assert_agrees(
            &Value::Array(mine),
            &theirs,
            &free,
            &format!("filter {device} {parent}"),
        );
    }
    let mirrored = ours
        .iter()
        .find(|one| one["dev"] == "v1" && one["options"]["actions"].is_array());
    let action = &mirrored.unwrap()["options"]["actions"][0];
    assert_eq!(action["mirred_action"], "mirror");
    assert_eq!(action["stats"]["drops"], 0);
}

/// Sockets in as many states as can be held still.
struct Sockets {
    _listeners: Vec<TcpListener>,
    _streams: Vec<TcpStream>,
    _datagrams: Vec<UdpSocket>,
}

fn sockets() -> Sockets {
    let four = TcpListener::bind("10.0.0.1:3306").unwrap();
    let six = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8080)).unwrap();
    let client = TcpStream::connect("10.0.0.1:3306").unwrap();
    let server = four.accept().unwrap().0;
    std::io::Write::write_all(&mut &client, &[7; 500]).unwrap();
    let waiting = TcpStream::connect("10.0.0.1:3306").unwrap();
    let client6 = TcpStream::connect(("2001:db8:5::1", 8080)).unwrap();
    let server6 = six.accept().unwrap().0;
    // Half closed: FIN-WAIT-2 there, CLOSE-WAIT here.
    client6.shutdown(std::net::Shutdown::Write).unwrap();
    let any = UdpSocket::bind("0.0.0.0:5353").unwrap();
    let connected = UdpSocket::bind("[2001:db8:5::1]:0").unwrap();
    connected.connect("[2001:db8:5::1]:99").unwrap();
    Sockets {
        _listeners: vec![four, six],
        _streams: vec![client, server, waiting, client6, server6],
        _datagrams: vec![any, connected],
    }
}

/// The first six columns, and the fields.
fn socket_line(line: &str) -> (String, BTreeMap<String, String>) {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let fields = columns[6..]
        .iter()
        .map(|field| match field.split_once(':') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => ((*field).to_owned(), String::new()),
        })
        .collect();
    (columns[..6].join(" "), fields)
}

#[test]
fn sockets_are_what_ss_prints() {
    let Some(space) = full_space() else { return };
    space.run("ip link set lo up");
    let parsed = |text: &str| -> BTreeMap<_, _> { text.lines().map(socket_line).collect() };
    let moves = |name: &str| name.starts_with("last") || name == "timer" || name == "busy";
    let (reading, theirs) = space.inside(|| {
        let _sockets = sockets();
        between(
            || ReadingSource::open().0.take(Scope::Sample),
            || {
                let mut lines = parsed(&space.run("ss -H -O -n -e -m -i -o -t -u -w -a"));
                for fields in lines.values_mut() {
                    fields.retain(|name, _| !moves(name));
                }
                lines
            },
        )
    });
    let ours = parsed(text(&reading, "sockets.txt"));
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    assert!(theirs.len() >= 9, "{theirs:?}");
    for state in ["LISTEN", "ESTAB", "CLOSE-WAIT", "FIN-WAIT-2", "UNCONN"] {
        assert!(ours.keys().any(|key| key.contains(state)), "{state}");
    }
    // The accept queue of the listener: one connection that nobody took.
    assert!(
        ours.keys()
            .any(|key| key.starts_with("tcp LISTEN 1 128 10.0.0.1:3306")),
        "{ours:?}"
    );
    for (key, fields) in &theirs {
        for (name, value) in fields {
            let left_out =
                matches!(name.as_str(), "cgroup" | "send" | "bbr" | "ato") || name.ends_with("bps");
            if left_out {
                continue;
            }
            let mine = ours[key].get(name);
            assert_eq!(mine, Some(value), "{name} of {key}");
        }
    }
    let established = ours
        .iter()
        .find(|(key, _)| key.starts_with("tcp ESTAB 500 0"));
    assert_eq!(established.unwrap().1["bytes_received"], "500");
}

#[test]
fn connection_tracking_is_what_conntrack_prints() {
    let Some(space) = full_space() else { return };
    space.run("ip link set lo up");
    space.run("iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
    space.run("ip6tables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
    // Without the timers, which run, and in an order of their own.
    let lines = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                [&fields[..4], &fields[5..]].concat().join(" ")
            })
            .collect();
        lines.sort();
        lines
    };
    let (reading, (entries, stats)) = space.inside(|| {
        let _sockets = sockets();
        let socket = UdpSocket::bind("10.0.0.1:4000").unwrap();
        socket.send_to(b"x", "10.0.0.1:9").unwrap();
        between(
            || ReadingSource::open().0.take(Scope::Sample),
            || {
                let entries = lines(&space.run("conntrack -L -o extended"));
                (entries, space.run("conntrack -S"))
            },
        )
    });
    let ours = lines(text(&reading, "conntrack/entries.txt"));
    assert_eq!(ours, entries);
    assert!(ours.len() >= 4, "{ours:?}");
    assert!(ours.iter().any(|line| line.contains("[UNREPLIED]")));
    assert_eq!(text(&reading, "conntrack/stats.txt"), stats);
}

#[test]
fn driver_texts_and_sysctls_are_what_the_tools_print() {
    let Some(space) = full_space() else { return };
    let reading = full(&space);
    for device in ["v0", "br0", "lo"] {
        let ours = text(&reading, &format!("ethtool/{device}.features.txt"));
        let tool = space.run(&format!("ethtool -k {device}"));
        // A tool older than the kernel prints unknown features in the same way, so that the texts are equal.
        assert_eq!(ours, tool);
    }
    assert_eq!(
        text(&reading, "ethtool/v0.statistics.txt"),
        space.run("ethtool -S v0")
    );
    let tool = space.run("sysctl -a --ignore");
    let known: Vec<&str> = tool.lines().collect();
    let ours: Vec<&str> = text(&reading, "sysctl.txt").lines().collect();
    let counts = |line: &&&str| !line.contains("nf_conntrack_count");
    for line in ours.iter().filter(counts) {
        // sysctl leaves out what is deprecated or only written.
        let name = line.split(" = ").next().unwrap();
        if known
            .iter()
            .any(|other| other.starts_with(&format!("{name} = ")))
        {
            assert!(known.contains(line), "{line}");
        }
    }
    for name in [
        "net.ipv4.ip_forward = ",
        "net.ipv4.conf.v0.rp_filter = ",
        "net.ipv4.conf.all.arp_ignore = ",
        "net.ipv4.tcp_rmem = ",
        "net.ipv6.conf.v0.disable_ipv6 = ",
        "net.ipv4.neigh.v0.mcast_solicit = ",
    ] {
        assert!(ours.iter().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn rules_come_with_their_counters_and_only_what_changed_is_printed_again() {
    let Some(space) = full_space() else { return };
    space.run("ip link set lo up");
    space.run("nft add table inet t");
    space.run("nft add chain inet t c { type filter hook input priority 0 ; }");
    space.run("nft add rule inet t c udp dport 9 counter drop");
    space.run("iptables-nft -A INPUT -p udp --dport 10 -j DROP");
    space.run("iptables-legacy -t raw -A PREROUTING -p udp --dport 9 -j ACCEPT");
    let (first, again, counted, whole) = space.inside(|| {
        let (mut source, _) = ReadingSource::open();
        let first = source.take(Scope::Sample);
        let again = source.take(Scope::Sample);
        let socket = UdpSocket::bind("10.0.0.1:4000").unwrap();
        socket.send_to(b"x", "10.0.0.1:9").unwrap();
        let counted = source.take(Scope::Sample);
        (first, again, counted, source.take(Scope::Full))
    });
    for reading in [&first, &again, &counted, &whole] {
        assert_eq!(reading.unseen, []);
    }
    let rules = |reading: &RawReading| text(reading, "nft/ruleset.json").to_owned();
    assert!(rules(&first).contains(r#""counter": {"packets": 0"#));
    assert_eq!(rules(&first), rules(&again));
    assert!(rules(&counted).contains(r#""counter": {"packets": 1"#));
    assert_eq!(rules(&counted), space.run("nft -j list ruleset"));
    assert_eq!(
        text(&whole, "nft/ruleset.txt"),
        space.run("nft -a list ruleset")
    );
    assert!(text(&whole, "iptables/iptables-nft.txt").contains("--dport 10 -j DROP"));
    assert!(text(&first, "iptables/iptables-legacy.txt").contains("[0:0] -A PREROUTING -p udp"));
    assert!(text(&counted, "iptables/iptables-legacy.txt").contains("[1:29] -A PREROUTING -p udp"));
    assert_eq!(
        text(&first, "iptables/iptables-legacy.txt"),
        text(&again, "iptables/iptables-legacy.txt")
    );
}

#[test]
fn taking_a_reading_changes_nothing() {
    let Some(space) = Space::new("calm") else {
        return;
    };
    space.run("ip link set lo up");
    let (before, after, count) = space.inside(|| {
        let state = || {
            [
                std::fs::read_to_string("/proc/thread-self/net/ip_tables_names")
                    .unwrap_or_default(),
                std::fs::read_to_string("/proc/thread-self/net/ip6_tables_names")
                    .unwrap_or_default(),
                space.run("nft -a list ruleset"),
                space.run("ip -j link show"),
                space.run("tc -j qdisc show"),
                space.run("ip -j route show table all"),
            ]
        };
        let before = state();
        let (mut source, _) = ReadingSource::open();
        source.take(Scope::Full);
        source.take(Scope::Sample);
        source.take(Scope::Full);
        // Nothing that a reading does is announced: it would call for the next reading.
        assert_eq!(source.drain_changes(), Vec::<String>::new());
        // With connection tracking on, this would make an entry.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        (before, state(), count.unwrap_or_default())
    });
    assert_eq!(before, after);
    assert!(matches!(count.trim(), "" | "0"), "{count}");
    assert_eq!(before[0], "");
    assert_eq!(before[2], "");
}

#[test]
fn changes_are_announced_in_words() {
    let Some(space) = Space::new("news") else {
        return;
    };
    space.inside(|| {
        let (mut source, unseen) = ReadingSource::open();
        assert_eq!(unseen, []);
        let readable = |source: &ReadingSource| {
            let fd = source.as_fd().unwrap();
            let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            let timeout = Timespec::try_from(Duration::ZERO).unwrap();
            poll(&mut polled, Some(&timeout)).unwrap() == 1
        };
        assert!(!readable(&source));
        for (command, word) in [
            ("ip link set lo up", "link"),
            ("ip address add 10.0.0.1/24 dev lo", "address"),
            ("ip route add blackhole 192.0.2.0/24", "route"),
            ("ip -6 rule add priority 9 blackhole", "policy rule"),
            ("tc qdisc add dev lo clsact", "queueing discipline"),
            ("nft add table inet t", "nftables table"),
        ] {
            space.run(command);
            assert!(readable(&source), "{command}");
            let words = source.drain_changes();
            assert!(
                words.iter().any(|said| said.contains(word)),
                "{command}: {words:?}"
            );
            assert!(!readable(&source), "{command}");
        }
    });
}

#[test]
fn lost_announcements_are_noticed() {
    let Some(space) = Space::new("lost") else {
        return;
    };
    space.run("ip link set lo up");
    let words = space.inside(|| {
        let (mut source, _) = ReadingSource::open();
        let routes: String = (0..6000)
            .map(|n| format!("route add blackhole 10.{}.{}.0/24\n", n / 250, n % 250))
            .collect();
        let batch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(batch.path(), routes).unwrap();
        space.run(&format!("ip -batch {}", batch.path().display()));
        source.drain_changes()
    });
    assert!(words.iter().any(|word| word.contains("lost")), "{words:?}");
}
