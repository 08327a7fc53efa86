//! Whatever the text, no reader panics, and none reports without end.

use proptest::prelude::*;
use transect_config::{
    ConfigText, HostConfig, IpVersion, SocketProtocol, read_conntrack, read_filters,
    read_proc_sockets, read_qdiscs, read_sockets,
};

/// Texts that break the readers' expectations in the middle of what they know.
const SEEDS: &[&str] = &[
    include_str!("fixtures/net/ip_link.txt"),
    include_str!("fixtures/net/ip_link.json"),
    include_str!("fixtures/net/ip_address_d.txt"),
    include_str!("fixtures/net/ip_route_all.txt"),
    include_str!("fixtures/net/ip_route.json"),
    include_str!("fixtures/net/ip_rule.txt"),
    include_str!("fixtures/net/ip_rule.json"),
    include_str!("fixtures/net/ip_neigh_s.txt"),
    include_str!("fixtures/net/tc_qdisc.txt"),
    include_str!("fixtures/net/tc_qdisc.json"),
    include_str!("fixtures/net/tc_filter_ingress.txt"),
    include_str!("fixtures/net/tc_filter_ingress.json"),
    include_str!("fixtures/net/ss_tanempi.txt"),
    include_str!("fixtures/net/netstat_W.txt"),
    include_str!("fixtures/net/proc_udp6.txt"),
    include_str!("fixtures/net/conntrack_extended.txt"),
    include_str!("fixtures/net/ethtool_k.txt"),
];

fn read_all(text: &str) {
    let mut config = HostConfig::default();
    let mut problems = Vec::new();
    for part in [
        ConfigText::Ip(text),
        ConfigText::Routes(IpVersion::V4, text),
        ConfigText::Routes(IpVersion::V6, text),
        ConfigText::PolicyRules(IpVersion::V4, text),
        ConfigText::Qdiscs(text),
        ConfigText::Filters(text, None, None),
        ConfigText::Features("eth0", text),
        ConfigText::Sysctls(text),
    ] {
        problems.push(config.absorb(part));
    }
    problems.push(transect_config::read_links(text).problems);
    problems.push(transect_config::read_addresses(text).problems);
    problems.push(transect_config::read_neighbors(text).problems);
    problems.push(read_sockets(text).problems);
    problems.push(read_proc_sockets(text, SocketProtocol::Tcp).problems);
    problems.push(read_conntrack(text).problems);
    for qdisc in read_qdiscs(text).value {
        qdisc.counters();
    }
    for filter in read_filters(text, Some("eth0"), None).value {
        filter.counters();
    }
    assert!(problems.iter().all(|problems| problems.len() <= 64));
}

proptest! {
    #[test]
    fn arbitrary_text(text in "\\PC*|(\\PC*\n){0,20}") {
        read_all(&text);
    }

    #[test]
    fn words_of_the_trade(words in prop::collection::vec(
        prop::sample::select(vec![
            "inet", "via", "dev", "eth0", "10.0.0.1", "10.0.0.0/8", "default", "nexthop", "metric", "4294967296", "lookup", "tcp",
            "ESTAB", "0", "*:*", "[::1]:80", "skmem:(r,rb1)", "timer:(on,1.9999999ms,9)", "\n", "\t", "\\", "2:", "<UP>", "RX:",
            "Sent", "(dropped", "backlog", "b", "Kb", "filter", "qdisc", "1:", "fh", "src=10.0.0.1", "dst=1", "[UNREPLIED]",
            "0100007F:0016", "rtt:/", "%", "users:((", "fwmark", "0x/", "{", "[", "}", "]", "\"dst\":", "link/ether",
        ]), 0..60)
    ) {
        read_all(&words.join(" "));
    }

    #[test]
    fn real_text_damaged(seed in 0..SEEDS.len(), from in any::<prop::sample::Index>(), length in 0usize..200, with in "\\PC{0,8}") {
        let text = SEEDS[seed];
        let place = |mut place: usize| {
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            place
        };
        let start = place(from.index(text.len()));
        let end = place((start + length).min(text.len()));
        read_all(&format!("{}{with}{}", &text[..start], &text[end..]));
    }
}
