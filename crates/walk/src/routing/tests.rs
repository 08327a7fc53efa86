//! What needs no kernel: what is said when things are not known, and that nothing breaks on configurations that cannot be.

use proptest::prelude::*;
use transect_config::{ConfigText, HostConfig, IpVersion};

use super::*;

/// A small router as `ip` would print it.
fn router() -> HostConfig {
    config(&[
        ConfigText::Ip(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n    link/loopback 00:00:00:00:00:00\n    inet 127.0.0.1/8 scope host lo
2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500\n    link/ether 02:00:00:00:00:01\n    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0
    inet6 fd00::1/64 scope global
3: eth1: <BROADCAST,UP,LOWER_UP> mtu 1400\n    link/ether 02:00:00:00:00:02\n    inet 10.1.0.1/24 brd 10.1.0.255 scope global eth1\n",
        ),
        ConfigText::Routes(
            IpVersion::V4,
            "10.0.0.0/24 dev eth0 scope link src 10.0.0.1\n10.1.0.0/24 dev eth1 scope link src 10.1.0.1\nblackhole 10.9.0.0/16\n",
        ),
    ])
}

fn config(texts: &[ConfigText<'_>]) -> HostConfig {
    let mut config = HostConfig::default();
    for text in texts {
        assert_eq!(config.absorb(*text), [], "{text:?}");
    }
    config
}

fn with_sysctls(mut config: HostConfig, text: &str) -> HostConfig {
    assert_eq!(config.absorb(ConfigText::Sysctls(text)), []);
    config
}

const QUIET: &str = "net.ipv4.conf.all.rp_filter = 0
net.ipv4.conf.eth0.rp_filter = 0
net.ipv4.conf.all.accept_local = 0
net.ipv4.conf.eth0.accept_local = 0
net.ipv4.conf.all.route_localnet = 0
net.ipv4.conf.eth0.route_localnet = 0
net.ipv4.conf.eth0.forwarding = 1
";

fn arrives(config: &HostConfig, source: &str, destination: &str) -> InputAnswer {
    let query = RouteQuery::input(
        source.parse().unwrap(),
        destination.parse().unwrap(),
        "eth0",
    );
    input_decision(config, &query)
}

#[test]
fn nothing_read_decides_nothing() {
    let nothing = HostConfig::default();
    let answer = route(
        &nothing,
        &RouteQuery::output("10.0.0.2".parse().unwrap(), None),
    );
    assert_eq!(answer.results, []);
    assert_eq!(answer.depends, ["IPv4 routes, which were not read"]);
    assert_eq!(arrives(&nothing, "10.0.0.2", "10.0.0.1").certain(), None);
    assert_eq!(arrives(&nothing, "fd00::2", "fd00::1").certain(), None);
}

#[test]
fn a_setting_that_was_not_read_leaves_both_ends() {
    let answer = arrives(&router(), "10.0.0.2", "10.1.0.7");
    assert_eq!(answer.certain(), None);
    let kinds: Vec<String> = answer
        .decisions
        .iter()
        .map(|one| format!("{one:?}"))
        .collect();
    assert!(
        kinds.iter().any(|kind| kind.starts_with("NotLocal")),
        "{kinds:?}"
    );
    assert!(
        kinds.iter().any(|kind| kind.starts_with("Forward")),
        "{kinds:?}"
    );
    assert!(
        answer
            .depends
            .iter()
            .any(|on| on == "net.ipv4.conf.eth0.forwarding, which was not read"),
        "{answer:?}"
    );
    // Where every value ends alike it is certain all the same: this source comes back by eth0 whatever rp_filter is.
    assert_eq!(
        arrives(&router(), "10.0.0.2", "10.0.0.1").certain(),
        Some(&InputDecision::Local)
    );
    // Forwarding off would make a blackhole "not for me".
    assert_eq!(
        arrives(&router(), "10.0.0.2", "10.9.0.1").decisions.len(),
        2
    );
}

#[test]
fn the_mode_of_the_reverse_path_filter_is_named() {
    let config = with_sysctls(
        router(),
        &QUIET.replace("all.rp_filter = 0", "all.rp_filter = 1"),
    );
    let verdict = arrives(&config, "10.1.0.7", "10.0.0.1");
    assert_eq!(
        verdict.certain(),
        Some(&InputDecision::ReversePath {
            mode: RpFilter::Strict,
            way_back: Some("10.1.0.0/24 dev eth1 scope link src 10.1.0.1".to_owned()),
        })
    );
    let loose = with_sysctls(
        router(),
        &QUIET.replace("eth0.rp_filter = 0", "eth0.rp_filter = 2"),
    );
    assert_eq!(
        arrives(&loose, "10.1.0.7", "10.0.0.1").certain(),
        Some(&InputDecision::Local)
    );
    assert_eq!(
        arrives(&loose, "172.16.0.1", "10.0.0.1").certain(),
        Some(&InputDecision::ReversePath {
            mode: RpFilter::Loose,
            way_back: None
        })
    );
    assert_eq!(
        source_validation(
            &loose,
            &RouteQuery::input(
                "10.0.0.1".parse().unwrap(),
                "10.1.0.1".parse().unwrap(),
                "eth0"
            )
        ),
        SourceVerdict::Martian(MartianSource::OwnAddress)
    );
}

#[test]
fn mtu_and_text_of_a_forwarded_packet() {
    let config = with_sysctls(router(), QUIET);
    assert_eq!(
        arrives(&config, "10.0.0.2", "10.1.0.7").certain(),
        Some(&InputDecision::Forward {
            device: "eth1".to_owned(),
            gateway: None,
            mtu: Some(1400),
            route: Some("10.1.0.0/24 dev eth1 scope link src 10.1.0.1".to_owned()),
        })
    );
    assert_eq!(
        arrives(&config, "10.0.0.2", "8.8.8.8").certain(),
        Some(&InputDecision::NoRoute)
    );
}

#[test]
fn ipv6_forwards_by_all_alone_and_keeps_link_local_on_the_link() {
    let base = config(&[
        ConfigText::Ip("2: eth0: <UP,LOWER_UP> mtu 1500\n    inet6 fd00::1/64 scope global\n"),
        ConfigText::Routes(
            IpVersion::V6,
            "fd00::/64 dev eth0\nfd01::/64 dev eth1 metric 256 mtu 1280\n",
        ),
    ]);
    let on = with_sysctls(
        base.clone(),
        "net.ipv6.conf.all.forwarding = 1\nnet.ipv6.conf.eth0.forwarding = 0\n",
    );
    let off = with_sysctls(
        base,
        "net.ipv6.conf.all.forwarding = 0\nnet.ipv6.conf.eth0.forwarding = 1\n",
    );
    assert!(matches!(
        arrives(&on, "fd00::2", "fd01::7").certain(),
        Some(InputDecision::Forward {
            mtu: Some(1280),
            ..
        })
    ));
    assert_eq!(
        arrives(&on, "fe80::2", "fd01::7").certain(),
        Some(&InputDecision::BeyondScope)
    );
    assert_eq!(
        arrives(&off, "fd00::2", "fd01::7").certain(),
        Some(&InputDecision::NotLocal {
            setting: "net.ipv6.conf.all.forwarding".to_owned()
        })
    );
    assert_eq!(
        arrives(&off, "fd00::2", "fd00::1").certain(),
        Some(&InputDecision::Local)
    );
}

#[test]
fn dead_ways_do_not_count() {
    let config = config(&[ConfigText::Routes(
        IpVersion::V4,
        "default metric 10 \n\tnexthop via 10.0.0.2 dev eth0 weight 1 dead linkdown \n\tnexthop via 10.1.0.2 dev eth1 weight 1 \ndefault via 10.2.0.2 dev eth2 metric 20\n",
    )]);
    let answer = route(
        &config,
        &RouteQuery::output("8.8.8.8".parse().unwrap(), None),
    );
    let Some(RouteDecision::Unicast { device, .. }) =
        answer.certain().map(|result| &result.decision)
    else {
        panic!("one way: {answer:?}");
    };
    assert_eq!(device, "eth1");
}

/// Every uncertain `goto` opens a branch: 2^40 of them must not be walked.
#[test]
fn branches_are_bounded() {
    let mut rules = String::new();
    for priority in 1..400 {
        rules.push_str(&format!(
            "{priority}: from all fwmark 0x{priority:x} goto {}\n",
            priority + 2
        ));
    }
    rules.push_str("500: from all lookup main\n");
    let config = config(&[
        ConfigText::Routes(IpVersion::V4, "default via 10.0.0.2 dev eth0\n"),
        ConfigText::PolicyRules(IpVersion::V4, &rules),
    ]);
    let query = RouteQuery {
        mark: None,
        ..RouteQuery::output("8.8.8.8".parse().unwrap(), None)
    };
    let answer = route(&config, &query);
    assert!(
        answer
            .depends
            .iter()
            .any(|on| on.contains("further than is followed")),
        "{:?}",
        answer.depends.len()
    );
}

/// Lines that fit together in ways that no kernel would accept.
fn routes() -> impl Strategy<Value = String> {
    let lines = prop::sample::select(vec![
        "default via 10.0.0.2 dev eth0",
        "default dev eth1 metric 5",
        "blackhole 10.0.0.0/8",
        "throw default table 100",
        "10.0.0.0/8 dev eth0 tos 0x10",
        "local 10.0.0.1 dev eth0 table local",
        "broadcast 10.0.0.255 dev eth0 table local",
        "multicast ff00::/8 dev eth0 table local",
        "default via fe80::1 dev eth0 pref high",
        "unreachable default metric 4294967295",
        "prohibit ::/0",
        "fd00::/8 from fd01::/16 dev eth1",
        "local fd00::1 dev eth0 table local",
        "10.0.0.0/8 via 10.0.0.2",
        "anycast fd00:: dev eth0 table local",
        "10.0.0.0/8 table vpn dev eth0 linkdown dead",
    ]);
    prop::collection::vec(lines, 0..12).prop_map(|lines| lines.join("\n"))
}

fn rules() -> impl Strategy<Value = String> {
    let lines = prop::sample::select(vec![
        "0: from all lookup local",
        "1: from all goto 0",
        "2: not from all goto 9",
        "3: from 10.0.0.1 lookup 100",
        "4: from all fwmark 0x1 goto 8",
        "5: from all ipproto tcp blackhole",
        "6: from all lookup main suppress_prefixlength 0",
        "7: from all lookup main suppress_ifgroup default",
        "8: from all nop",
        "9: from all lookup [l3mdev-table]",
        "9: from all lookup vpn",
        "10: from all to fd00::/8 unreachable",
        "10: from all lookup main",
        "11: from all prohibit",
    ]);
    prop::collection::vec(lines, 0..10).prop_map(|lines| lines.join("\n"))
}

proptest! {
    /// No configuration panics, and a certain answer leaves nothing open.
    #[test]
    fn any_configuration(
        routes in routes(),
        rules in rules(),
        rp_filter in prop::option::of(-1i64..4),
        source in prop::sample::select(vec!["10.0.0.1", "10.5.0.1", "127.0.0.1", "0.0.0.0", "fd00::1", "fd01::1", "fe80::1", "::"]),
        destination in prop::sample::select(vec!["10.0.0.1", "10.0.0.255", "8.8.8.8", "224.0.0.1", "255.255.255.255", "fd00::1", "ff02::1", "::1"]),
        mark in prop::option::of(0u32..2),
        device in prop::sample::select(vec!["eth0", "eth1", "lo"]),
    ) {
        let mut config = HostConfig::default();
        for version in [IpVersion::V4, IpVersion::V6] {
            config.absorb(ConfigText::Routes(version, &routes));
            config.absorb(ConfigText::PolicyRules(version, &rules));
        }
        if let Some(value) = rp_filter {
            config.absorb(ConfigText::Sysctls(&format!("net.ipv4.conf.all.rp_filter = {value}\nnet.ipv4.conf.eth0.rp_filter = 0\n")));
        }
        let query = RouteQuery { mark, ..RouteQuery::input(source.parse().unwrap(), destination.parse().unwrap(), device) };
        let arrived = input_decision(&config, &query);
        prop_assert!(!arrived.decisions.is_empty() || !arrived.depends.is_empty());
        prop_assert!(arrived.decisions.len() < 2 || !arrived.depends.is_empty(), "{arrived:?}");
        source_validation(&config, &query);
        local_address(&config, query.destination);
        let sent = route(&config, &RouteQuery { in_interface: None, source: None, ..query });
        prop_assert!(!sent.results.is_empty() || !sent.depends.is_empty());
        prop_assert!(sent.results.len() < 2 || !sent.depends.is_empty(), "{sent:?}");
    }
}
