//! What `ip` really printed, as JSON and as text, reads the same.

use std::collections::BTreeMap;

use transect_config::{
    BridgePortState, IpVersion, NeighborState, OperState, PolicyAction, RouteKind, Table, XdpMode,
    read_addresses, read_links, read_neighbors, read_policy_rules, read_routes,
};

const LINK_JSON: &str = include_str!("fixtures/net/ip_link.json");
const LINK_TEXT: &str = include_str!("fixtures/net/ip_link.txt");

/// Reads wholly, or says what was not understood.
macro_rules! whole {
    ($reading:expr) => {{
        let parsed = $reading;
        assert_eq!(parsed.problems, [], "problems");
        parsed.value
    }};
}

#[test]
fn links_of_json_and_text_agree() {
    let from_json = whole!(read_links(LINK_JSON));
    let from_text = whole!(read_links(LINK_TEXT));
    assert_eq!(from_json.len(), from_text.len());
    for (json, text) in from_json.iter().zip(&from_text) {
        assert_eq!(json.index, text.index);
        assert_eq!(json.name, text.name);
        assert_eq!(json.kind, text.kind, "{}", json.name);
        assert_eq!(json.flags, text.flags);
        assert_eq!(json.operstate, text.operstate);
        assert_eq!(
            (json.mtu, json.mac, json.broadcast),
            (text.mtu, text.mac, text.broadcast),
            "{}",
            json.name
        );
        assert_eq!(json.master, text.master);
        assert_eq!(json.lower, text.lower);
        assert_eq!(json.lower_index, text.lower_index);
        assert_eq!(json.qdisc, text.qdisc);
        assert_eq!(json.txqlen, text.txqlen);
        assert_eq!(
            (json.num_tx_queues, json.num_rx_queues),
            (text.num_tx_queues, text.num_rx_queues)
        );
        assert_eq!(
            (json.bridge_port, json.vlan_id, json.vxlan_id),
            (text.bridge_port, text.vlan_id, text.vxlan_id)
        );
        assert_eq!(json.tunnel_remote, text.tunnel_remote);
        let ids = |programs: &[transect_config::XdpProgram]| -> Vec<_> {
            programs
                .iter()
                .map(|program| (program.mode, program.id, program.name.clone()))
                .collect()
        };
        assert_eq!(ids(&json.xdp), ids(&text.xdp), "{}", json.name);
        let names =
            |statistics: &BTreeMap<String, u64>| statistics.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&json.statistics),
            names(&text.statistics),
            "{}",
            json.name
        );
    }
}

#[test]
fn links_hold_what_the_diagnosis_asks() {
    let links = whole!(read_links(LINK_JSON));
    let link = |name: &str| links.iter().find(|link| link.name == name).unwrap();
    assert!(link("lo").is_loopback());
    assert!(link("eth0").has_carrier());
    assert_eq!(link("eth0").lower_index, Some(2));
    assert_eq!(link("eth0").link_netnsid, Some(0));
    assert_eq!(link("eth0").operstate, Some(OperState::Up));
    assert!(!link("p0").has_carrier());
    assert_eq!(link("p0").bridge_port, Some(BridgePortState::Disabled));
    assert_eq!(link("p0").xdp[0].mode, XdpMode::Generic);
    assert_eq!(link("p0").xdp[0].name.as_deref(), Some("let_pass"));
    assert_eq!(link("vx0").vxlan_id, Some(42));
    assert_eq!(link("tun0").mac, None);
    let eth0: BTreeMap<_, _> = link("eth0").counters().collect();
    assert!(eth0["link.eth0.rx_packets"] > 0);
    assert_eq!(eth0["link.eth0.tx_dropped"], 0);
    let other = whole!(read_links(include_str!("fixtures/net/ip_link_b.txt")));
    assert_eq!(
        other.iter().find(|link| link.name == "eth0").unwrap().xdp[0].mode,
        XdpMode::Native
    );
}

#[test]
fn statistics_of_versions_with_more_columns() {
    let text = "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff
    RX: bytes  packets  errors  dropped overrun mcast
    100        7        1       2       3       4
    RX errors: length   crc     frame   fifo    missed  nohandler otherhost
               5        6       7       8       9       10        11
    TX: bytes  packets  errors  dropped carrier collsns
    200        8        0       0       1       0
";
    let links = whole!(read_links(text));
    let of = |name: &str| links[0].statistics[name];
    assert_eq!(
        (
            of("rx_over_errors"),
            of("rx_missed_errors"),
            of("rx_otherhost"),
            of("rx_nohandler")
        ),
        (3, 9, 11, 10)
    );
    assert_eq!((of("rx_packets"), of("tx_carrier_errors")), (7, 1));
}

#[test]
fn addresses_of_json_and_text_agree() {
    let from_json = whole!(read_addresses(include_str!("fixtures/net/ip_address.json")));
    for text in [
        include_str!("fixtures/net/ip_address.txt"),
        include_str!("fixtures/net/ip_address_s.txt"),
        include_str!("fixtures/net/ip_address_d.txt"),
    ] {
        assert_eq!(from_json, whole!(read_addresses(text)));
    }
    let secondary = from_json
        .iter()
        .find(|address| address.local.to_string() == "10.0.0.5")
        .unwrap();
    assert!(secondary.has_flag("secondary"));
    assert_eq!(secondary.prefix().to_string(), "10.0.0.5/24");
    assert_eq!(secondary.label.as_deref(), Some("eth0"));
    // The same text tells the devices.
    let links = whole!(read_links(include_str!("fixtures/net/ip_address.txt")));
    assert_eq!(links.len(), 8);
    assert_eq!(links[1].mtu, Some(1500));
}

#[test]
fn addresses_in_one_line_form_and_with_peers() {
    let addresses = whole!(read_addresses(
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
3: ppp0    inet 10.9.0.1 peer 10.9.0.2/32 scope global ppp0\\       valid_lft forever preferred_lft forever
2: eth0    inet6 fe80::1/64 scope link tentative dadfailed \\       valid_lft forever preferred_lft forever
"
    ));
    assert_eq!(addresses[1].peer, Some("10.9.0.2".parse().unwrap()));
    assert_eq!(addresses[1].prefix().to_string(), "10.9.0.2/32");
    assert!(!addresses[2].is_usable());
    assert!(addresses[0].is_usable());
}

#[test]
fn routes_of_json_and_text_agree() {
    for (json, text, version) in [
        (
            include_str!("fixtures/net/ip_route.json"),
            include_str!("fixtures/net/ip_route_all.txt"),
            IpVersion::V4,
        ),
        (
            include_str!("fixtures/net/ip_route6.json"),
            include_str!("fixtures/net/ip_route6.txt"),
            IpVersion::V6,
        ),
    ] {
        let from_json = whole!(read_routes(json, None));
        // `ip route show table all` without a family shows both.
        let from_text: Vec<_> = whole!(read_routes(text, None))
            .into_iter()
            .filter(|route| route.version() == version)
            .collect();
        assert_eq!(from_json.len(), from_text.len());
        for (json, text) in from_json.iter().zip(from_text) {
            let mut text = text.clone();
            text.text.clone_from(&json.text);
            assert_eq!(*json, text);
        }
    }
}

#[test]
fn routes_hold_what_the_walk_asks() {
    let routes = whole!(read_routes(
        include_str!("fixtures/net/ip_route.json"),
        Some(IpVersion::V4)
    ));
    let route = |destination: &str| {
        routes
            .iter()
            .find(|route| route.destination == destination.parse().unwrap())
            .unwrap()
    };
    assert_eq!(route("10.9.0.0/16").kind, RouteKind::Blackhole);
    assert_eq!(route("10.9.0.0/16").text, "blackhole 10.9.0.0/16");
    assert_eq!(route("10.6.0.0/16").mtu, Some(1400));
    assert_eq!(route("10.3.0.0/16").tos, 0x10);
    assert_eq!(route("10.5.0.0/16").ways().len(), 2);
    assert_eq!(route("10.4.0.0/16").table, Table::Number(100));
    assert_eq!(route("10.0.0.255").kind, RouteKind::Broadcast);
    assert_eq!(route("10.0.0.255").table, Table::LOCAL);
    assert!(route("192.168.5.0/30").has_flag("linkdown"));
    let odd = whole!(read_routes(
        "10.1.0.0/16 via inet6 fe80::1 dev eth0 proto bird metric 32 \n2001:db8::/32 from 2001:db8:1::/48 via fe80::1 dev eth0 metric 1024 mtu lock 1280 pref medium\ndefault dev tun0 proto static metric 50 pref medium\n10.2.0.0/16 proto static \\\tnexthop via 10.0.0.2 dev eth0 weight 1 dead linkdown \\\tnexthop via 10.0.0.3 dev eth1 weight 1 \n",
        None
    ));
    assert_eq!(odd[0].gateway, Some("fe80::1".parse().unwrap()));
    assert_eq!(
        (odd[1].mtu, odd[1].source),
        (Some(1280), Some("2001:db8:1::/48".parse().unwrap()))
    );
    assert_eq!(odd[2].version(), IpVersion::V6);
    assert_eq!(odd[3].nexthops.len(), 2);
    assert_eq!(odd[3].nexthops[0].flags, ["dead", "linkdown"]);
}

#[test]
fn policy_rules_of_json_and_text_agree() {
    let from_json = whole!(read_policy_rules(include_str!("fixtures/net/ip_rule.json")));
    let from_text = whole!(read_policy_rules(include_str!("fixtures/net/ip_rule.txt")));
    assert_eq!(from_json.len(), from_text.len());
    for (json, text) in from_json.iter().zip(&from_text) {
        if json.others.is_empty() {
            assert_eq!(json, text);
        } else {
            // `dport 80-90` is two members in JSON.
            assert_eq!((json.priority, &json.action), (text.priority, &text.action));
        }
    }
    assert_eq!(
        whole!(read_policy_rules(include_str!(
            "fixtures/net/ip_rule6.json"
        ))),
        whole!(read_policy_rules(include_str!("fixtures/net/ip_rule6.txt")))
    );
    assert_eq!(
        from_json[2].fwmark,
        Some(transect_config::Mark {
            value: 0x10,
            mask: 0xff
        })
    );
    assert!(from_json[3].not);
    assert_eq!(from_json[4].suppress_prefix_length, Some(0));
    assert_eq!(from_json[5].action, PolicyAction::Prohibit);
    assert_eq!(from_json[8].action, PolicyAction::Goto(32766));
}

#[test]
fn neighbors_of_json_and_text_agree() {
    let from_json = whole!(read_neighbors(include_str!(
        "fixtures/net/ip_neighbor.json"
    )));
    let from_text = whole!(read_neighbors(include_str!("fixtures/net/ip_neigh_s.txt")));
    let bare = whole!(read_neighbors(include_str!("fixtures/net/ip_neigh.txt")));
    assert_eq!(from_json, from_text);
    assert_eq!(bare.len(), from_json.len());
    let failed = from_json
        .iter()
        .find(|neighbor| neighbor.address.to_string() == "10.0.0.9")
        .unwrap();
    assert!(failed.is_unresolved());
    assert!(failed.probes.is_some());
    let permanent = from_json
        .iter()
        .find(|neighbor| neighbor.is(NeighborState::Permanent))
        .unwrap();
    assert_eq!(permanent.mac, Some([2, 0, 0, 0, 0, 0x77]));
}

#[test]
fn damage_is_named_and_the_rest_is_read() {
    let cut = &LINK_JSON[..LINK_JSON.len() / 2];
    let links = read_links(cut);
    assert!(!links.value.is_empty());
    assert_eq!(links.problems.len(), 1);
    let routes = read_routes(
        "default via 10.0.0.2 dev eth0\nGARBAGE\n10.0.0.0/24 dev eth0\n",
        None,
    );
    assert_eq!(routes.value.len(), 2);
    assert_eq!(routes.problems[0].line, 2);
    assert!(routes.problems[0].to_string().contains("expected a route"));
}
