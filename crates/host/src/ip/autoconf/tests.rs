//! What a link that comes up makes a host say, beside what Linux 6.18 said in a namespace with the same addresses.

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, Sysctls};
use transect_packet::{LinkType, Network, Transport, dissect};
use transect_path::Timestamp;

use crate::counters::Icmp6Counter;
use crate::device::{DeviceId, DeviceKind, Features};
use crate::host::{DeviceSetup, Host, HostSetup};
use crate::packet::Packet;

const ETH0: DeviceId = DeviceId(1);

fn host(settings: &[(&str, &str)]) -> Host {
    let mut config = HostConfig::default();
    for text in [
        r#"[{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500,"link_type":"ether","address":"02:00:00:00:00:01"}]"#,
        r#"[{"ifindex":2,"ifname":"eth0","addr_info":[{"family":"inet6","local":"fd01::2","prefixlen":64,"scope":"global"},{"family":"inet6","local":"fe80::ff:fe00:1","prefixlen":64,"scope":"link"}]}]"#,
    ] {
        assert_eq!(config.absorb(ConfigText::Ip(text)), []);
    }
    let values = settings
        .iter()
        .map(|(name, value)| (format!("net.ipv6.conf.{name}"), (*value).to_owned()));
    config.sysctls = Sysctls {
        values: values.collect(),
    };
    Host::new(HostSetup {
        number: 0,
        config,
        rules: RuleSet::default(),
        devices: vec![DeviceSetup {
            name: "eth0".to_owned(),
            kind: DeviceKind::Ethernet,
            features: Features::NONE,
        }],
        seed: 7,
        hz: 250,
        boot: Timestamp(0),
        journeys: false,
    })
    .unwrap()
}

/// What is sent until then: milliseconds, ICMPv6 type, source, destination.
fn sent(host: &mut Host, until: u64) -> Vec<(u64, u8, String, String)> {
    let mut all = Vec::new();
    loop {
        while let Some((_, packet)) = host.poll_transmit() {
            let frame = packet.frame();
            let dissection = dissect(LinkType::ETHERNET, frame, frame.len() as u32);
            assert_eq!(
                transect_packet::transport_checksum(frame, &dissection),
                Some(true)
            );
            let Network::Ip(ip) = &dissection.network else {
                panic!("no IP")
            };
            let Transport::Icmp(icmp) = &ip.transport else {
                panic!("no ICMP: {:?}", ip.transport)
            };
            all.push((
                host.stack.now.0 / 1_000_000,
                icmp.kind,
                ip.source.to_string(),
                ip.destination.to_string(),
            ));
        }
        match host.poll_timeout() {
            Some(at) if at.0 <= until * 1_000_000 => host.handle_timeout(at),
            _ => return all,
        }
    }
}

#[test]
fn addresses_are_checked_groups_reported_and_routers_looked_for() {
    let mut host = host(&[]);
    host.come_up(Timestamp(1_000_000_000));
    let own = "fe80::ff:fe00:1";
    assert!(!host.config().addresses.as_ref().unwrap()[0].is_usable());
    let all = sent(&mut host, 17_000);
    let times = |kind: u8, source: &str| -> Vec<u64> {
        let these = all
            .iter()
            .filter(|one| (one.1, one.2.as_str()) == (kind, source));
        these.map(|one| one.0 - 1000).collect()
    };
    // Linux: 2 ticks behind the last group that was joined, and once more within a second.
    let reports = times(143, "::");
    assert_eq!(reports.len(), 2);
    assert!(
        (8..=12).contains(&reports[0]) && reports[1] < 1_040,
        "{reports:?}"
    );
    // Each address within a second, at the group that only its owner hears.
    let questions = times(135, "::");
    assert!(questions.len() == 2 && questions.iter().all(|at| *at < 1_040));
    assert!(all.iter().any(|one| one.3 == "ff02::1:ff00:2"));
    // A second behind the question the address is the host's: it says so, and asks for routers, ever more slowly.
    let routers = times(133, own);
    assert_eq!(times(143, own)[0], routers[0]);
    assert_eq!((times(143, own).len(), routers.len()), (2, 3));
    let gaps: Vec<u64> = routers.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        (3_600..4_700).contains(&gaps[0]) && (6_800..9_800).contains(&gaps[1]),
        "{gaps:?}"
    );
    let counters = &host.counters().icmp6;
    for (counter, seen) in [
        (Icmp6Counter::OutMsgs, 9),
        (Icmp6Counter::OutRouterSolicits, 3),
        (Icmp6Counter::OutNeighborSolicits, 2),
        (Icmp6Counter::OutMLDv2Reports, 4),
    ] {
        assert_eq!(counters.of(counter), seen, "{counter:?}");
    }
    assert!(
        host.config()
            .addresses
            .iter()
            .flatten()
            .all(|own| own.is_usable())
    );
}

#[test]
fn as_the_laboratory_sets_it_up_four_reports_are_all_and_soon_over() {
    let mut host = host(&[
        ("all.accept_dad", "0"),
        ("eth0.accept_dad", "0"),
        ("eth0.mldv2_unsolicited_report_interval", "0"),
        ("eth0.router_solicitations", "0"),
    ]);
    host.come_up(Timestamp(1_000_000_000));
    let all = sent(&mut host, 10_000);
    assert_eq!(all.len(), 4);
    // Linux: at once, at 14 ms twice, at 26 ms.
    assert!(all.iter().all(|one| one.0 < 1_040 && one.1 == 143));
    assert_eq!(all[0].0, 1000);
    // A link that goes down and comes up says it again.
    for flags in [vec!["BROADCAST"], vec!["UP", "LOWER_UP"]] {
        host.reconfigure(Timestamp(11_000_000_000), |config| {
            for link in config.links.iter_mut().flatten() {
                link.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            }
        });
    }
    assert_eq!(sent(&mut host, 20_000).len(), 4);
}

#[test]
fn an_address_that_somebody_else_has_is_not_used() {
    let mut host = host(&[("eth0.router_solicitations", "0")]);
    let mut other = self::host(&[("all.accept_dad", "0"), ("eth0.accept_dad", "0")]);
    host.come_up(Timestamp(0));
    let mut told = false;
    for _ in 0..40 {
        while let Some((_, packet)) = host.poll_transmit() {
            other.handle_frame(host.stack.now, ETH0, crossed(&packet));
        }
        while let Some((_, packet)) = other.poll_transmit() {
            told = true;
            host.handle_frame(other.stack.now, ETH0, crossed(&packet));
        }
        let Some(at) = host.poll_timeout() else { break };
        host.handle_timeout(at);
    }
    assert!(told);
    let all = host.config().addresses.iter().flatten();
    assert!(all.clone().all(|own| own.has_flag("dadfailed")));
    // The other one has both, and keeps them.
    assert!(
        other
            .config()
            .addresses
            .iter()
            .flatten()
            .all(|own| own.is_usable())
    );
}

/// A frame as it arrives.
fn crossed(packet: &Packet) -> Packet {
    Packet::from_frame(packet.frame().to_vec())
}

#[test]
fn a_host_that_came_up_long_ago_says_nothing() {
    let mut host = host(&[]);
    assert_eq!(sent(&mut host, 100_000), []);
}
