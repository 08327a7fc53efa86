//! The kernel as the judge: in a namespace with several tables, policy rules and error routes, `ip route get` must say what
//! the walk says, for packets sent and for packets that arrive, IPv4 and IPv6.

#[path = "routing/namespace.rs"]
mod namespace;

use std::collections::BTreeMap;
use std::net::IpAddr;

use namespace::judge;
use transect_config::{HostConfig, IpVersion};
use transect_walk::routing::{
    InputDecision, RouteDecision, RouteQuery, SourceVerdict, input_decision, local_address, route,
    source_validation,
};

/// The same words for what the walk says; several results are joined.
fn of_answer(results: &[transect_walk::routing::RouteResult], version: IpVersion) -> Vec<String> {
    results
        .iter()
        .map(|result| match &result.decision {
            RouteDecision::Unicast {
                device,
                gateway,
                prefsrc,
                ..
            } => {
                let or_dash = |address: Option<IpAddr>| {
                    address.map_or("-".to_owned(), |address| address.to_string())
                };
                format!(
                    "unicast {device} via {} src {}",
                    or_dash(*gateway),
                    or_dash(*prefsrc)
                )
            }
            RouteDecision::Local => "local".to_owned(),
            RouteDecision::Broadcast { device } => {
                format!("broadcast {}", device.as_deref().unwrap_or(""))
            }
            RouteDecision::Multicast { device } => {
                format!("multicast {}", device.as_deref().unwrap_or(""))
            }
            RouteDecision::Blackhole => "Invalid argument".to_owned(),
            RouteDecision::Prohibit => "Permission denied".to_owned(),
            // A policy rule's "unreachable" means the network.
            RouteDecision::Unreachable
                if version == IpVersion::V4
                    && !result.text.as_deref().unwrap_or("").contains(": from") =>
            {
                "No route to host".to_owned()
            }
            RouteDecision::Unreachable
                if version == IpVersion::V6
                    && !result.text.as_deref().unwrap_or("").contains(": from") =>
            {
                "No route to host".to_owned()
            }
            RouteDecision::Unreachable | RouteDecision::NoRoute => {
                "Network is unreachable".to_owned()
            }
        })
        .collect()
}

const DESTINATIONS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.5",
    "10.0.0.77",
    "10.0.0.255",
    "127.0.0.1",
    "127.5.5.5",
    "192.168.7.1",
    "192.168.7.8",
    "192.168.7.255",
    "8.8.8.8",
    "10.1.7.7",
    "10.1.2.3",
    "10.2.1.1",
    "10.3.1.1",
    "10.4.1.1",
    "10.9.1.1",
    "10.9.9.9",
    "10.8.1.1",
    "10.7.1.1",
    "10.6.0.1",
    "172.16.0.1",
    "172.17.0.1",
    "172.18.0.1",
    "172.31.0.9",
    "172.31.1.9",
    "198.51.100.1",
    "198.18.5.5",
    "203.0.113.5",
    "240.1.2.3",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "::1",
    "fd00::1",
    "fd00::99",
    "fd07::1",
    "fd07::5",
    "2001:db8::1",
    "fd01::7",
    "fd01:2::7",
    "fd02::1",
    "fd09::1",
    "fd08::1",
    "fd06::1",
    "fd16::1",
    "fd17::1",
    "fd18::1",
    "fd19::1",
];

#[test]
fn what_the_host_sends() {
    let Some(namespace) = judge("send") else {
        return;
    };
    let config = namespace.config();
    let mut questions = Vec::new();
    let mut queries = Vec::new();
    for destination in DESTINATIONS {
        let address: IpAddr = destination.parse().unwrap();
        let (bound, other) = match IpVersion::of(address) {
            IpVersion::V4 => ("10.0.0.5", "192.168.7.1"),
            IpVersion::V6 => ("fd07::1", "fd00::1"),
        };
        let plain = RouteQuery::output(address, None);
        let from = |text: &str| RouteQuery::output(address, Some(text.parse().unwrap()));
        for (arguments, query) in [
            (String::new(), plain.clone()),
            (format!("from {bound}"), from(bound)),
            (format!("from {other}"), from(other)),
            (
                "mark 0x1f".to_owned(),
                RouteQuery {
                    mark: Some(0x1f),
                    ..plain.clone()
                },
            ),
            (
                "mark 0x2f".to_owned(),
                RouteQuery {
                    mark: Some(0x2f),
                    ..plain.clone()
                },
            ),
            (
                "tos 0x10".to_owned(),
                RouteQuery {
                    tos: 0x10,
                    ..plain.clone()
                },
            ),
            (
                "oif eth1".to_owned(),
                RouteQuery {
                    out_interface: Some("eth1"),
                    ..plain.clone()
                },
            ),
        ] {
            questions.push(format!("{destination} {arguments}"));
            queries.push(query);
        }
    }
    let mut wrong = Vec::new();
    let mut compared = 0;
    for ((question, query), kernel) in questions
        .iter()
        .zip(&queries)
        .zip(namespace.get_all(&questions))
    {
        let answer = route(&config, query);
        // With a source given, `ip` shows no other.
        let shown = |text: &str| match query.source {
            Some(_) => without_source(text),
            None => text.to_owned(),
        };
        let walk = of_answer(&answer.results, IpVersion::of(query.destination));
        let walk: Vec<String> = walk.iter().map(|one| shown(one)).collect();
        let explained = walk.len() == 1 || answer.depends.iter().any(|on| on.contains("next hops"));
        if !walk.contains(&shown(&kernel)) || !explained {
            wrong.push(format!(
                "{question}: kernel {kernel:?}, walk {walk:?} {:?}",
                answer.depends
            ));
        }
        compared += usize::from(walk.len() == 1);
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(compared > 300, "only {compared} certain answers");
}

fn without_source(text: &str) -> String {
    text.split(" src ").next().unwrap_or("").to_owned()
}

#[test]
fn a_mark_that_is_not_known_leaves_both() {
    let Some(namespace) = judge("mark") else {
        return;
    };
    let config = namespace.config();
    let query = RouteQuery {
        mark: None,
        ..RouteQuery::output("10.1.7.7".parse().unwrap(), None)
    };
    let answer = route(&config, &query);
    assert_eq!(answer.results.len(), 2);
    assert!(
        answer.depends[0].contains("fwmark 0x10/0xf0"),
        "{:?}",
        answer.depends
    );
    // Where both ways end alike, it does not matter.
    let query = RouteQuery {
        mark: None,
        ..RouteQuery::output("10.0.0.1".parse().unwrap(), None)
    };
    assert_eq!(
        route(&config, &query)
            .certain()
            .map(|result| &result.decision),
        Some(&RouteDecision::Local)
    );
}

/// What `ip route get … iif …` says for each decision. Errors that the kernel tells apart by drop reason only are one word.
fn of_input(decision: &InputDecision) -> String {
    match decision {
        InputDecision::Local => "local".to_owned(),
        InputDecision::Broadcast => "broadcast".to_owned(),
        InputDecision::Multicast => "multicast".to_owned(),
        InputDecision::Forward {
            device, gateway, ..
        } => {
            format!(
                "unicast {device} via {}",
                gateway.map_or("-".to_owned(), |address| address.to_string())
            )
        }
        InputDecision::NotLocal { .. } => "No route to host".to_owned(),
        InputDecision::NoRoute => "Network is unreachable".to_owned(),
        InputDecision::Unreachable { text } if text.as_deref().unwrap_or("").contains(": from") => {
            "Network is unreachable".to_owned()
        }
        InputDecision::Unreachable { .. } => "No route to host".to_owned(),
        InputDecision::Prohibit { .. } => "Permission denied".to_owned(),
        InputDecision::Blackhole { .. }
        | InputDecision::MartianSource(_)
        | InputDecision::MartianDestination
        | InputDecision::BeyondScope => "Invalid argument".to_owned(),
        InputDecision::ReversePath { .. } => "Invalid cross-device link".to_owned(),
    }
}

#[test]
fn what_arrives_by_ipv4() {
    let Some(namespace) = judge("arrive") else {
        return;
    };
    let sources = [
        "10.0.0.2",
        "192.168.7.8",
        "8.8.8.8",
        "10.1.7.7",
        "10.9.1.1",
        "10.8.1.1",
        "10.6.0.1",
        "10.0.0.5",
        "192.168.7.1",
        "10.0.0.255",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.1.2.3",
        "0.0.0.0",
        "240.1.2.3",
        "172.16.0.1",
    ];
    let mut seen = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    // Newer kernels answer every refused source alike; the devices of broadcasts do not matter.
    let fold = |text: &str| match text.split(' ').next() {
        _ if text == "Invalid cross-device link" => "Invalid argument".to_owned(),
        Some(kind @ ("broadcast" | "multicast")) => kind.to_owned(),
        _ => text.to_owned(),
    };
    for (forwarding, rp_filter, accept_local) in [
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 0),
        (1, 2, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 1),
    ] {
        namespace.sysctl(&format!("net.ipv4.ip_forward={forwarding}"));
        namespace.sysctl("net.ipv4.conf.all.rp_filter=0");
        for device in ["eth0", "eth1", "bare"] {
            namespace.sysctl(&format!("net.ipv4.conf.{device}.rp_filter={rp_filter}"));
            namespace.sysctl(&format!(
                "net.ipv4.conf.{device}.accept_local={accept_local}"
            ));
        }
        let config = namespace.config();
        let (questions, queries) = arrivals(&sources, &["eth0", "eth1", "bare"], IpVersion::V4);
        for ((question, query), kernel) in questions
            .iter()
            .zip(&queries)
            .zip(namespace.get_all(&questions))
        {
            let answer = input_decision(&config, query);
            let kernel = fold(&without_source(&kernel));
            let walk: Vec<String> = answer
                .decisions
                .iter()
                .map(|one| fold(&of_input(one)))
                .collect();
            // Not a member of the group: the configuration does not tell.
            let no_member = walk == ["multicast"] && kernel == "Invalid argument";
            if !walk.contains(&kernel) && !no_member {
                wrong.push(format!(
                    "forwarding {forwarding} rp_filter {rp_filter} accept_local {accept_local}: {question}: kernel {kernel:?}, walk {:?} {:?}",
                    answer.decisions, answer.depends
                ));
            }
            if let [only] = &answer.decisions[..] {
                let kind = format!("{only:?}")
                    .split([' ', '('])
                    .next()
                    .unwrap_or("")
                    .to_owned();
                *seen.entry(kind).or_default() += 1;
            }
            if matches!(answer.certain(), Some(InputDecision::Local)) {
                assert_eq!(
                    source_validation(&config, query),
                    SourceVerdict::Valid,
                    "{question}"
                );
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    for kind in [
        "Local",
        "Broadcast",
        "Multicast",
        "Forward",
        "NotLocal",
        "Blackhole",
        "Prohibit",
        "Unreachable",
        "MartianSource",
        "MartianDestination",
        "ReversePath",
    ] {
        assert!(seen.contains_key(kind), "{kind} never came up: {seen:?}");
    }
}

/// Every destination of a family from every source on every device, as questions for `ip` and for the walk.
fn arrivals<'a>(
    sources: &[&str],
    devices: &[&'a str],
    version: IpVersion,
) -> (Vec<String>, Vec<RouteQuery<'a>>) {
    let mut questions = Vec::new();
    let mut queries = Vec::new();
    for destination in DESTINATIONS {
        let address: IpAddr = destination.parse().expect("an address");
        // ::1 never gets as far as the look-up.
        if IpVersion::of(address) != version || *destination == "::1" {
            continue;
        }
        for source in sources {
            for device in devices {
                questions.push(format!("{destination} from {source} iif {device}"));
                let source = source.parse().expect("an address");
                queries.push(RouteQuery::input(source, address, device));
            }
        }
    }
    (questions, queries)
}

#[test]
fn what_arrives_by_ipv6() {
    let Some(namespace) = judge("arrive6") else {
        return;
    };
    let mut wrong = Vec::new();
    for forwarding in [0, 1] {
        namespace.sysctl(&format!("net.ipv6.conf.all.forwarding={forwarding}"));
        // Forwarding per interface changes nothing (but what is made of router advertisements).
        namespace.sysctl(&format!("net.ipv6.conf.eth0.forwarding={}", 1 - forwarding));
        let config = namespace.config();
        let sources = ["fd00::2", "fd07::5", "2001:db8::5", "fd09::1", "fd07::1"];
        let (questions, queries) = arrivals(&sources, &["eth0", "eth1"], IpVersion::V6);
        for ((question, query), kernel) in questions
            .iter()
            .zip(&queries)
            .zip(namespace.get_all(&questions))
        {
            let answer = input_decision(&config, query);
            let kernel = without_source(&kernel);
            // The look-up knows nothing of forwarding, which is checked behind it.
            let expected = if forwarding == 0 && kernel.starts_with("unicast") {
                "not local"
            } else {
                &kernel
            };
            let walk: Vec<String> = answer
                .decisions
                .iter()
                .map(|one| match one {
                    InputDecision::NotLocal { .. } => "not local".to_owned(),
                    other => of_input(other),
                })
                .collect();
            if !walk.iter().any(|one| one == expected) {
                wrong.push(format!(
                    "forwarding {forwarding}: {question}: kernel {kernel:?}, walk {:?} {:?}",
                    answer.decisions, answer.depends
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn which_addresses_are_local() {
    let Some(namespace) = judge("local") else {
        return;
    };
    let with_routes = namespace.config();
    let mut addresses_only = with_routes.clone();
    addresses_only.routes4 = None;
    addresses_only.routes6 = None;
    // Table 102 holds a local route that table local does not.
    let questions: Vec<String> = DESTINATIONS
        .iter()
        .filter(|text| !text.starts_with("172.31"))
        .map(|text| (*text).to_owned())
        .collect();
    for (destination, kernel) in questions.iter().zip(namespace.get_all(&questions)) {
        let address: IpAddr = destination.parse().unwrap();
        let kind = kernel.split(' ').next().unwrap_or("");
        let expected = matches!(kind, "local" | "broadcast" | "multicast");
        assert_eq!(
            local_address(&with_routes, address),
            Some(expected),
            "{destination}"
        );
        assert_eq!(
            local_address(&addresses_only, address),
            Some(expected),
            "{destination}, addresses only"
        );
        let answer = route(&addresses_only, &RouteQuery::output(address, None));
        if kind == "local" {
            let walk = of_answer(&answer.results, IpVersion::of(address));
            assert_eq!(walk, ["local"], "{destination}");
        } else if !expected {
            assert!(
                answer.depends.iter().any(|on| on.contains("not read"))
                    || answer.certain().is_some(),
                "{answer:?}"
            );
        }
    }
    assert_eq!(
        local_address(&HostConfig::default(), "10.0.0.1".parse().unwrap()),
        None
    );
}
