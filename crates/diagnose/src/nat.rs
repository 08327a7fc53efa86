//! Address translation on the way: what a host's own rules make of the addresses of a connection.

use transect_config::rules::{Action, CtStates, NatKind, RuleSet, Statement, TcpFlags};
use transect_packet::{Endpoint, Tuple, protocol};
use transect_path::{Hook, Timestamp};
use transect_walk::netfilter::{AddressFamily, PacketFacts, evaluate};

use crate::world::World;

/// Whether a rule set can change destinations as packets come in.
pub(crate) fn changes_destinations(rules: &RuleSet) -> bool {
    rules.rules().any(|(_, _, rule)| {
        rule.statements.iter().any(|statement| {
            matches!(
                statement,
                Statement::Verdict(Action::Nat(nat))
                    if matches!(nat.kind, NatKind::Destination | NatKind::Redirect)
            )
        })
    })
}

/// Whether a rule set translates addresses at all.
pub(crate) fn changes_addresses(rules: &RuleSet) -> bool {
    rules.rules().any(|(_, _, rule)| {
        rule.statements
            .iter()
            .any(|statement| matches!(statement, Statement::Verdict(Action::Nat(_))))
    })
}

/// The addresses of a connection behind PRE_ROUTING of a host: the same, unless a rule there translates them for sure.
///
/// Connection tracking does to every packet what the rules chose for the first one, so the rules are asked about a first
/// packet (`nf_nat_inet_fn`).
pub(crate) fn behind_pre_routing(
    world: &World<'_>,
    host: usize,
    tuple: Tuple,
    input: Option<&str>,
    until: Timestamp,
) -> Tuple {
    if !world.translates(host) {
        return tuple;
    }
    let readings = &world.host(host).readings;
    let rules = readings
        .iter()
        .filter(|reading| reading.time <= until)
        .filter_map(|reading| reading.rules.as_deref())
        .next_back()
        .or_else(|| readings.iter().find_map(|reading| reading.rules.as_deref()));
    let Some(rules) = rules else { return tuple };
    let family = if tuple.is_ipv6() {
        AddressFamily::Ip6
    } else {
        AddressFamily::Ip
    };
    let mut facts = PacketFacts::new(family);
    facts.protocol = Some(tuple.protocol);
    facts.source = Some(tuple.source.address);
    facts.destination = Some(tuple.destination.address);
    facts.source_port = Some(tuple.source.port);
    facts.destination_port = Some(tuple.destination.port);
    facts.tcp_flags = (tuple.protocol == protocol::TCP).then_some(TcpFlags::SYN);
    facts.in_interface = input.map(str::to_owned);
    facts.ct_states = CtStates::NEW;
    facts.first_of_connection = Some(true);
    facts.destination_kind = world
        .owns(host, tuple.destination.address)
        .map(|own| match own {
            true => transect_config::rules::AddressKind::Local,
            false => transect_config::rules::AddressKind::Unicast,
        });
    let leaving = evaluate(rules, Hook::PreRouting, &facts).leaving;
    let end = |address, port: Option<u16>, old: Endpoint| match address {
        Some(address) => Endpoint::new(address, port.unwrap_or(old.port)),
        None => old,
    };
    Tuple {
        protocol: tuple.protocol,
        source: end(leaving.source, leaving.source_port, tuple.source),
        destination: end(
            leaving.destination,
            leaving.destination_port,
            tuple.destination,
        ),
    }
}
