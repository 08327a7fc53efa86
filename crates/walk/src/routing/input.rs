//! What becomes of a packet that arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_config::{HostConfig, IpVersion, RouteKind, Sysctls, Table, default_policy_rules};

use super::lookup::{Flow, Found, Outcome, Tables, arriving_v6, mtu};
use super::{InputAnswer, InputDecision, MartianSource, RouteQuery, RpFilter, SourceVerdict};

/// The settings that decide about a packet, as known or as assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    forwarding: bool,
    rp_filter: RpFilter,
    accept_local: bool,
    route_localnet: bool,
    src_valid_mark: bool,
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy)]
struct Arrived<'a, A> {
    source: A,
    destination: A,
    device: &'a str,
    mark: Option<u32>,
    tos: u8,
}

/// What becomes of a packet that arrives on `query.in_interface` (`ip_route_input_slow`; `ip6_rcv_core`, `ip6_route_input`, `ip6_forward`).
///
/// Without a source or an interface nothing is decided. A setting that was not read is taken with each of its values. VRFs and
/// IPsec are not considered.
pub fn input_decision(config: &HostConfig, query: &RouteQuery<'_>) -> InputAnswer {
    let mut answer = InputAnswer::default();
    let (Some(source), Some(device)) = (query.source, query.in_interface) else {
        answer
            .depends
            .push("the packet's source and the interface it arrives on".to_owned());
        return answer;
    };
    if is_loopback(config, device) {
        // What the host sent to itself keeps the route it was sent by.
        answer.decisions.push(InputDecision::Local);
        return answer;
    }
    match (source, query.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let arrived = Arrived {
                source,
                destination,
                device,
                mark: query.mark,
                tos: query.tos,
            };
            let tables = Tables::new(config, IpVersion::V4);
            each_v4(config, device, |settings, unknown| {
                let mut depends = Vec::new();
                for decision in input_v4(&tables, &arrived, settings, &mut depends) {
                    add(&mut answer.decisions, decision);
                }
                for on in unknown.iter().cloned().chain(depends) {
                    add(&mut answer.depends, on);
                }
            });
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let arrived = Arrived {
                source,
                destination,
                device,
                mark: query.mark,
                tos: query.tos,
            };
            let known = config.sysctls.forwarding_v6(device);
            for forwarding in known.map_or(vec![false, true], |known| vec![known]) {
                input_v6(config, &arrived, forwarding, &mut answer);
            }
            if known.is_none() {
                answer
                    .depends
                    .push("net.ipv6.conf.all.forwarding, which was not read".to_owned());
            }
        }
        _ => answer
            .depends
            .push("source and destination of one family".to_owned()),
    }
    if answer.decisions.len() == 1 {
        answer.depends.clear();
    }
    answer
}

/// Whether the source of a packet that arrives is accepted (`fib_validate_source` and the checks before it). IPv6 has no such
/// check beyond multicast and loopback sources.
pub fn source_validation(config: &HostConfig, query: &RouteQuery<'_>) -> SourceVerdict {
    let (Some(source), Some(device)) = (query.source, query.in_interface) else {
        return SourceVerdict::Depends(vec![
            "the packet's source and the interface it arrives on".to_owned(),
        ]);
    };
    if is_loopback(config, device) {
        return SourceVerdict::Valid;
    }
    let (source, destination) = match (source, query.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (source, destination),
        (IpAddr::V6(source), _) if source.is_multicast() => {
            return SourceVerdict::Martian(MartianSource::NotUnicast);
        }
        (IpAddr::V6(Ipv6Addr::LOCALHOST), _) => {
            return SourceVerdict::Martian(MartianSource::Loopback);
        }
        _ => return SourceVerdict::Valid,
    };
    let arrived = Arrived {
        source,
        destination,
        device,
        mark: query.mark,
        tos: query.tos,
    };
    let tables = Tables::new(config, IpVersion::V4);
    let mut verdicts: Vec<SourceVerdict> = Vec::new();
    let mut depends: Vec<String> = Vec::new();
    each_v4(config, device, |settings, unknown| {
        let mut own = Vec::new();
        match obvious_martian(&arrived, settings) {
            Some(martian) => add(&mut verdicts, SourceVerdict::Martian(martian)),
            None => {
                for verdict in validate(&tables, &arrived, None, settings, &mut own) {
                    add(&mut verdicts, verdict);
                }
            }
        }
        for on in unknown.iter().cloned().chain(own) {
            add(&mut depends, on);
        }
    });
    match verdicts.len() {
        1 => verdicts.remove(0),
        _ => SourceVerdict::Depends(depends),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn is_loopback(config: &HostConfig, device: &str) -> bool {
    match config.link(device) {
        Some(link) => link.is_loopback(),
        None => device == "lo",
    }
}

/// Calls with every combination of settings that is possible, and the names of those that were not read.
fn each_v4(config: &HostConfig, device: &str, mut call: impl FnMut(Settings, &[String])) {
    let sysctls = &config.sysctls;
    let mut unknown: Vec<String> = Vec::new();
    let mut note = |known: bool, name: &str| {
        if !known {
            unknown.push(format!(
                "{}, which was not read",
                Sysctls::interface_name(IpVersion::V4, device, name)
            ));
        }
    };
    let forwarding = sysctls.forwarding_v4(device);
    note(forwarding.is_some(), "forwarding");
    let rp_filter = sysctls.rp_filter(device).map(|value| match value {
        0 => RpFilter::Off,
        1 => RpFilter::Strict,
        _ => RpFilter::Loose,
    });
    note(rp_filter.is_some(), "rp_filter");
    let accept_local = sysctls.accept_local(device);
    note(accept_local.is_some(), "accept_local");
    let route_localnet = sysctls.route_localnet(device);
    note(route_localnet.is_some(), "route_localnet");
    // Off unless somebody says otherwise; it matters for marked packets only.
    let src_valid_mark = sysctls.src_valid_mark(device).unwrap_or(false);
    let both = |known: Option<bool>| known.map_or(vec![false, true], |known| vec![known]);
    for forwarding in both(forwarding) {
        for rp_filter in rp_filter.map_or(RpFilter::ALL.to_vec(), |known| vec![known]) {
            for accept_local in both(accept_local) {
                for route_localnet in both(route_localnet) {
                    let settings = Settings {
                        forwarding,
                        rp_filter,
                        accept_local,
                        route_localnet,
                        src_valid_mark,
                    };
                    call(settings, &unknown);
                }
            }
        }
    }
}

/// Sources that are refused before anything is looked up.
fn obvious_martian(arrived: &Arrived<'_, Ipv4Addr>, settings: Settings) -> Option<MartianSource> {
    let Arrived {
        source,
        destination,
        ..
    } = *arrived;
    // 240.0.0.0/4 but the last, and since Linux 5.3 0.0.0.0/8 but the first, are unicast addresses for Linux.
    if source.is_multicast() || source.is_broadcast() {
        return Some(MartianSource::NotUnicast);
    }
    if source.is_loopback() && !settings.route_localnet && !destination.is_broadcast() {
        return Some(MartianSource::Loopback);
    }
    if source.is_unspecified() {
        // A host without an address yet: only to where one can be asked for.
        let local_group = destination.octets()[..3] == [224, 0, 0];
        let accepted = destination.is_broadcast()
            || destination == source && source.is_unspecified()
            || local_group;
        return (!accepted).then_some(MartianSource::Zero);
    }
    None
}

fn input_v4(
    tables: &Tables<'_>,
    arrived: &Arrived<'_, Ipv4Addr>,
    settings: Settings,
    depends: &mut Vec<String>,
) -> Vec<InputDecision> {
    let Arrived {
        source,
        destination,
        device,
        ..
    } = *arrived;
    if let Some(martian) = obvious_martian(arrived, settings) {
        return vec![InputDecision::MartianSource(martian)];
    }
    let undirected = Arrived {
        destination: Ipv4Addr::UNSPECIFIED,
        ..*arrived
    };
    if destination.is_multicast() {
        return checked(
            tables,
            &undirected,
            None,
            settings,
            depends,
            InputDecision::Multicast,
        );
    }
    if destination.is_broadcast() || source.is_unspecified() && destination.is_unspecified() {
        return checked(
            tables,
            &undirected,
            None,
            settings,
            depends,
            InputDecision::Broadcast,
        );
    }
    if destination.is_unspecified() || destination.is_loopback() && !settings.route_localnet {
        return vec![InputDecision::MartianDestination];
    }
    let outcomes = tables.look_up(&Flow {
        destination: IpAddr::V4(destination),
        source: Some(IpAddr::V4(source)),
        iif: Some(device),
        oif: None,
        strict: false,
        mark: arrived.mark,
        tos: arrived.tos,
    });
    depends.extend(outcomes.depends);
    let mut decisions = Vec::new();
    for outcome in outcomes.list {
        let of_outcome = match outcome.kind() {
            Some(RouteKind::Local) => checked(
                tables,
                arrived,
                None,
                settings,
                depends,
                InputDecision::Local,
            ),
            Some(RouteKind::Broadcast) => checked(
                tables,
                &undirected,
                None,
                settings,
                depends,
                InputDecision::Broadcast,
            ),
            // With forwarding off every failure, a blackhole too, is "not for me".
            _ if !settings.forwarding => vec![InputDecision::NotLocal {
                setting: Sysctls::interface_name(IpVersion::V4, device, "forwarding"),
            }],
            Some(RouteKind::Unicast) => {
                let Found::Route(_, way) = &outcome.found else {
                    continue;
                };
                let out = way.device.clone().unwrap_or_default();
                checked(
                    tables,
                    arrived,
                    Some(&out),
                    settings,
                    depends,
                    forward(tables.config, &outcome),
                )
            }
            _ => vec![refused(&outcome)],
        };
        for decision in of_outcome {
            add(&mut decisions, decision);
        }
    }
    decisions
}

fn forward(config: &HostConfig, outcome: &Outcome<'_>) -> InputDecision {
    let Found::Route(route, way) = &outcome.found else {
        return InputDecision::NoRoute;
    };
    let device = way.device.clone().unwrap_or_default();
    InputDecision::Forward {
        gateway: way.gateway,
        mtu: mtu(config, Some(route), &device),
        route: outcome.text(),
        device,
    }
}

/// What neither delivers nor forwards.
fn refused(outcome: &Outcome<'_>) -> InputDecision {
    let text = outcome.text();
    match outcome.kind() {
        None => InputDecision::NoRoute,
        Some(RouteKind::Blackhole) => InputDecision::Blackhole { text },
        Some(RouteKind::Prohibit) => InputDecision::Prohibit { text },
        Some(RouteKind::Unreachable | RouteKind::Throw) => InputDecision::Unreachable { text },
        Some(_) => InputDecision::MartianDestination,
    }
}

/// A decision that holds if the source is valid.
fn checked(
    tables: &Tables<'_>,
    arrived: &Arrived<'_, Ipv4Addr>,
    out: Option<&str>,
    settings: Settings,
    depends: &mut Vec<String>,
    decision: InputDecision,
) -> Vec<InputDecision> {
    if arrived.source.is_unspecified() {
        return vec![decision];
    }
    validate(tables, arrived, out, settings, depends)
        .into_iter()
        .map(|verdict| match verdict {
            SourceVerdict::Martian(kind) => InputDecision::MartianSource(kind),
            SourceVerdict::ReversePath { mode, way_back } => {
                InputDecision::ReversePath { mode, way_back }
            }
            SourceVerdict::Valid | SourceVerdict::Depends(_) => decision.clone(),
        })
        .collect()
}

/// `fib_validate_source`.
///
/// 1. Without rp_filter (and no packet that leaves where it came in while redirects are sent) only one's own addresses are
///    refused, unless accept_local is set; custom local routes or policy rules make it look the source up all the same.
/// 2. The source is looked up as a destination. Not found: refused if rp_filter is on.
/// 3. A broadcast or multicast address is refused, an own address unless accept_local is set.
/// 4. The way back uses the device: accepted.
/// 5. The device has no address: refused if rp_filter is on. Else strict refuses, loose accepts.
fn validate(
    tables: &Tables<'_>,
    arrived: &Arrived<'_, Ipv4Addr>,
    out: Option<&str>,
    settings: Settings,
    depends: &mut Vec<String>,
) -> Vec<SourceVerdict> {
    let config = tables.config;
    let source = IpAddr::V4(arrived.source);
    let hairpin = out == Some(arrived.device) && sends_redirects(config, arrived.device);
    if settings.rp_filter == RpFilter::Off && !hairpin {
        if settings.accept_local {
            return vec![SourceVerdict::Valid];
        }
        if !has_custom_routing(tables) {
            let own = config
                .addresses
                .as_deref()
                .map(|addresses| addresses.iter().any(|address| address.local == source));
            return match own.or_else(|| super::local_address(config, source)) {
                Some(true) => vec![SourceVerdict::Martian(MartianSource::OwnAddress)],
                _ => vec![SourceVerdict::Valid],
            };
        }
    }
    let outcomes = tables.look_up(&Flow {
        destination: source,
        source: Some(IpAddr::V4(arrived.destination)).filter(|address| !address.is_unspecified()),
        iif: out,
        oif: None,
        strict: false,
        mark: if settings.src_valid_mark {
            arrived.mark
        } else {
            Some(0)
        },
        tos: arrived.tos,
    });
    depends.extend(outcomes.depends);
    outcomes
        .list
        .iter()
        .map(|outcome| way_back(config, arrived, settings, outcome))
        .fold(Vec::new(), |mut verdicts, verdict| {
            add(&mut verdicts, verdict);
            verdicts
        })
}

/// Steps 2 to 5 for one thing found.
fn way_back(
    config: &HostConfig,
    arrived: &Arrived<'_, Ipv4Addr>,
    settings: Settings,
    outcome: &Outcome<'_>,
) -> SourceVerdict {
    let filtered = |way_back: Option<String>| match settings.rp_filter {
        RpFilter::Off => SourceVerdict::Valid,
        mode => SourceVerdict::ReversePath { mode, way_back },
    };
    let Found::Route(route, _) = &outcome.found else {
        return filtered(outcome.text());
    };
    match route.kind {
        RouteKind::Unicast => {}
        RouteKind::Local if settings.accept_local => {}
        RouteKind::Local => return SourceVerdict::Martian(MartianSource::OwnAddress),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw => {
            return filtered(outcome.text());
        }
        _ => return SourceVerdict::Martian(MartianSource::InvalidSource),
    }
    // Any of several next hops will do (`fib_info_nh_uses_dev`).
    if route
        .ways()
        .iter()
        .any(|way| way.device.as_deref() == Some(arrived.device))
    {
        return SourceVerdict::Valid;
    }
    let has_no_address = config.addresses.as_deref().is_some_and(|addresses| {
        !addresses
            .iter()
            .any(|address| address.device == arrived.device && address.version() == IpVersion::V4)
    });
    if has_no_address || settings.rp_filter == RpFilter::Strict {
        return filtered(outcome.text());
    }
    SourceVerdict::Valid
}

/// IN_DEV_TX_REDIRECTS (ORCONF; on by default).
fn sends_redirects(config: &HostConfig, device: &str) -> bool {
    let of = |interface: &str| {
        config
            .sysctls
            .of_interface(IpVersion::V4, interface, "send_redirects")
    };
    of("all").unwrap_or(1) != 0 || of(device).unwrap_or(1) != 0
}

/// Somebody added a local route or a policy rule (`fib_has_custom_local_routes`, `fib4_has_custom_rules`).
fn has_custom_routing(tables: &Tables<'_>) -> bool {
    let custom_rules = tables
        .config
        .policy_rules(IpVersion::V4)
        .is_some_and(|rules| {
            let plain = default_policy_rules(IpVersion::V4);
            rules.len() != plain.len()
                || rules.iter().zip(&plain).any(|(own, plain)| {
                    (own.priority, &own.action) != (plain.priority, &plain.action)
                })
        });
    custom_rules
        || tables.routes.iter().any(|route| {
            route.table == Table::LOCAL
                && route
                    .protocol
                    .as_deref()
                    .is_some_and(|protocol| protocol != "kernel")
        })
}

fn input_v6(
    config: &HostConfig,
    arrived: &Arrived<'_, Ipv6Addr>,
    forwarding: bool,
    answer: &mut InputAnswer,
) {
    let Arrived {
        source,
        destination,
        device,
        ..
    } = *arrived;
    // `ip6_rcv_core` refuses these whatever the routes say.
    let early = if source.is_multicast() {
        Some(InputDecision::MartianSource(MartianSource::NotUnicast))
    } else if source.is_loopback() {
        Some(InputDecision::MartianSource(MartianSource::Loopback))
    } else if destination.is_loopback() {
        Some(InputDecision::MartianDestination)
    } else if destination.is_multicast() {
        Some(InputDecision::Multicast)
    } else {
        None
    };
    if let Some(decision) = early {
        add(&mut answer.decisions, decision);
        return;
    }
    let tables = Tables::new(config, IpVersion::V6);
    let outcomes = tables.look_up(&arriving_v6(Flow {
        destination: IpAddr::V6(destination),
        source: Some(IpAddr::V6(source)).filter(|source| !source.is_unspecified()),
        iif: Some(device),
        oif: None,
        strict: false,
        mark: arrived.mark,
        tos: arrived.tos,
    }));
    for on in outcomes.depends {
        add(&mut answer.depends, on);
    }
    for outcome in outcomes.list {
        let decision = match outcome.kind() {
            Some(RouteKind::Local | RouteKind::Anycast) => InputDecision::Local,
            Some(RouteKind::Unicast) if !forwarding => InputDecision::NotLocal {
                setting: "net.ipv6.conf.all.forwarding".to_owned(),
            },
            Some(RouteKind::Unicast) if source.is_unspecified() => {
                InputDecision::MartianSource(MartianSource::Zero)
            }
            Some(RouteKind::Unicast) if source.is_unicast_link_local() => {
                InputDecision::BeyondScope
            }
            Some(RouteKind::Unicast) => forward(config, &outcome),
            _ => refused(&outcome),
        };
        add(&mut answer.decisions, decision);
    }
}
