//! One test on one packet.

use std::net::IpAddr;

use transect_config::rules::{
    AddressKind, CtStates, Element, Elements, Field, Key, Match, Table, Test, Value,
};

use super::{AddressFamily, PacketFacts, Ternary};

/// Whether the packet passes the match.
///
/// A field that the packet does not have fails the match, negated or not: nf_tables breaks the rule off (`NFT_BREAK`), and
/// iptables' matches on ports refuse fragments (`tcp_mt`).
pub(super) fn check(test: &Match, facts: &PacketFacts, table: &Table) -> Ternary {
    let plain = match &test.test {
        Test::In { key, elements } => {
            if key
                .iter()
                .any(|part| look(part.field, facts) == Look::Absent)
            {
                return Ternary::No;
            }
            for_each_state(key, facts, |facts| membership(key, elements, facts, table))
        }
        Test::EitherPort(elements) => {
            let ports = [Field::SourcePort, Field::DestinationPort];
            if ports
                .iter()
                .any(|field| look(*field, facts) == Look::Absent)
            {
                return Ternary::No;
            }
            let [source, destination] =
                ports.map(|field| one_of(&[Key::whole(field)], elements, facts));
            source.or(destination)
        }
        Test::ReversePath { loose } => Ternary::from(match loose {
            true => facts.reverse_path_loose,
            false => facts.reverse_path,
        }),
        Test::Unknown { .. } => Ternary::Maybe,
    };
    if test.negated { plain.not() } else { plain }
}

/// Where a key looks at the state of connection tracking, every state that is possible has to agree.
fn for_each_state(
    key: &[Key],
    facts: &PacketFacts,
    ask: impl Fn(&PacketFacts) -> Ternary,
) -> Ternary {
    let looks = key.iter().any(|part| part.field == Field::CtState);
    let states: Vec<CtStates> = single_states(facts.ct_states).collect();
    if !looks || states.len() < 2 {
        return ask(facts);
    }
    let mut one = facts.clone();
    let mut answers = states.into_iter().map(|state| {
        one.ct_states = state;
        ask(&one)
    });
    let first = answers.next().unwrap_or(Ternary::Maybe);
    match answers.all(|answer| answer == first) {
        true => first,
        false => Ternary::Maybe,
    }
}

fn single_states(states: CtStates) -> impl Iterator<Item = CtStates> {
    (0..8)
        .map(|shift| CtStates(1 << shift))
        .filter(move |state| states.contains(*state))
}

fn membership(key: &[Key], elements: &Elements, facts: &PacketFacts, table: &Table) -> Ternary {
    match elements {
        Elements::Inline(elements) => one_of(key, elements, facts),
        Elements::Named(name) => match table.set(name) {
            Some(set) if !set.is_volatile() => {
                any(set.elements.iter().map(|e| equals(key, &e.key, facts)))
            }
            _ => Ternary::Maybe,
        },
    }
}

fn one_of(key: &[Key], elements: &[Element], facts: &PacketFacts) -> Ternary {
    any(elements.iter().map(|element| equals(key, element, facts)))
}

fn any(results: impl Iterator<Item = Ternary>) -> Ternary {
    let mut all = Ternary::No;
    for result in results {
        all = all.or(result);
        if all == Ternary::Yes {
            break;
        }
    }
    all
}

/// Whether the packet's values of a key equal an element.
pub(super) fn equals(key: &[Key], element: &Element, facts: &PacketFacts) -> Ternary {
    if key.len() != element.len() {
        return Ternary::Maybe;
    }
    let parts = key.iter().zip(element);
    parts.fold(Ternary::Yes, |all, (key, value)| {
        if all == Ternary::No {
            return all;
        }
        all.and(part_equals(*key, value, facts))
    })
}

fn part_equals(key: Key, value: &Value, facts: &PacketFacts) -> Ternary {
    if let Value::Any = value {
        return Ternary::Yes;
    }
    if key.field == Field::CtState {
        return state_equals(key, value, facts.ct_states);
    }
    let fact = match look(key.field, facts) {
        Look::Fact(fact) => fact,
        Look::Unknown => return Ternary::Maybe,
        Look::Absent => return Ternary::No,
    };
    let equal = match (fact, value) {
        (Fact::Number(number), Value::Number(wanted)) => masked(key, number) == *wanted,
        (Fact::Number(number), Value::Numbers(first, last)) => {
            (*first..=*last).contains(&masked(key, number))
        }
        (Fact::Address(address), Value::Addresses(first, last)) => within(address, *first, *last),
        (Fact::Name(name), Value::Name(wanted)) => name == wanted,
        (Fact::Name(name), Value::NamePrefix(prefix)) => name.starts_with(prefix.as_str()),
        (Fact::Mac(mac), Value::Mac(wanted)) => mac == *wanted,
        _ => return Ternary::Maybe,
    };
    Ternary::from(Some(equal))
}

fn masked(key: Key, number: u64) -> u64 {
    key.mask.map_or(number, |mask| number & u64::from(mask))
}

fn within(address: IpAddr, first: IpAddr, last: IpAddr) -> bool {
    // Ordering puts every IPv4 address before every IPv6 address; ranges have both ends in one family.
    address.is_ipv4() == first.is_ipv4() && (first..=last).contains(&address)
}

/// Every state that is possible has to agree.
fn state_equals(key: Key, value: &Value, states: CtStates) -> Ternary {
    let one = |bit: u64| match value {
        Value::Number(wanted) => masked(key, bit) == *wanted,
        Value::Numbers(first, last) => (*first..=*last).contains(&masked(key, bit)),
        _ => false,
    };
    let (mut yes, mut no) = (false, false);
    for state in single_states(states) {
        match one(state.0.into()) {
            true => yes = true,
            false => no = true,
        }
    }
    match (yes, no) {
        (true, false) => Ternary::Yes,
        (false, true) => Ternary::No,
        _ => Ternary::Maybe,
    }
}

/// The states that a match on connection tracking's state lets pass; none for any other match.
pub(super) fn states_asked(test: &Match) -> Option<CtStates> {
    let Test::In {
        key,
        elements: Elements::Inline(elements),
    } = &test.test
    else {
        return None;
    };
    let at = key.iter().position(|part| part.field == Field::CtState)?;
    let mut asked = CtStates::NONE;
    for bit in single_states(CtStates::ALL) {
        let passes = elements.iter().any(|element| {
            element.get(at).is_some_and(|value| {
                value == &Value::Any || state_equals(key[at], value, bit) == Ternary::Yes
            })
        });
        if passes != test.negated {
            asked = asked.union(bit);
        }
    }
    Some(asked)
}

/// What a match depends on that is not known, in words.
pub(super) fn open_question(test: &Match, facts: &PacketFacts) -> String {
    match &test.test {
        Test::Unknown { text } => text.clone(),
        Test::ReversePath { .. } => "the route back to the source".to_owned(),
        Test::EitherPort(_) => "the ports".to_owned(),
        Test::In { key, elements } => {
            let unknown = key.iter().find(|part| {
                matches!(look(part.field, facts), Look::Unknown) || part.field == Field::CtState
            });
            match (unknown, elements) {
                (Some(part), _) => name_of(part.field).to_owned(),
                (None, Elements::Named(name)) => format!("what set {name} holds"),
                (None, Elements::Inline(_)) => "a value that is not known".to_owned(),
            }
        }
    }
}

fn name_of(field: Field) -> &'static str {
    match field {
        Field::Source => "the source address",
        Field::Destination => "the destination address",
        Field::IpVersion => "the IP version",
        Field::Protocol => "the protocol",
        Field::SourcePort => "the source port",
        Field::DestinationPort => "the destination port",
        Field::InInterface => "the input interface",
        Field::OutInterface => "the output interface",
        Field::TcpFlags => "the TCP flags",
        Field::IcmpType | Field::Icmp6Type => "the ICMP type",
        Field::IcmpCode | Field::Icmp6Code => "the ICMP code",
        Field::CtState => "connection tracking's state",
        Field::Mark => "the packet's mark",
        Field::ConnectionMark => "the connection's mark",
        Field::SourceKind => "what kind of address the source is here",
        Field::DestinationKind => "what kind of address the destination is here",
        Field::Length => "the length",
        Field::Ttl => "the TTL",
        Field::FragmentOffset => "the fragment offset",
        Field::Dscp => "the DSCP",
        Field::SourceMac | Field::DestinationMac => "the MAC address",
        Field::PacketType => "for whom the frame was",
        Field::EtherType => "the EtherType",
        Field::Unknown => "an expression that is not known",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact<'a> {
    Number(u64),
    Address(IpAddr),
    Name(&'a str),
    Mac([u8; 6]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look<'a> {
    Fact(Fact<'a>),
    /// The packet has the field, or may have it, and its value is not known.
    Unknown,
    /// The packet does not have the field.
    Absent,
}

fn look(field: Field, facts: &PacketFacts) -> Look<'_> {
    let number = |value: Option<u64>| value.map_or(Look::Unknown, |n| Look::Fact(Fact::Number(n)));
    let address =
        |value: Option<IpAddr>| value.map_or(Look::Unknown, |a| Look::Fact(Fact::Address(a)));
    // A header's fields are there when the protocol is, and the fragment is the first.
    let transport = |protocols: &[u8], value: Option<u64>| {
        let other = facts.protocol.is_some_and(|p| !protocols.contains(&p));
        let later = facts.fragment_offset.is_some_and(|offset| offset != 0);
        match other || later {
            true => Look::Absent,
            false => number(value),
        }
    };
    // Rules name the protocol before the port, all but nft's `th`, which takes what stands there: for ICMP type, code and
    // checksum.
    const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
    let port = |value: Option<u16>| {
        let later = facts.fragment_offset.is_some_and(|offset| offset != 0);
        let other = facts.protocol.is_some_and(|p| !WITH_PORTS.contains(&p));
        match (later, other) {
            (true, _) => Look::Absent,
            (false, true) => Look::Unknown,
            (false, false) => number(value.map(u64::from)),
        }
    };
    let kind = |known: Option<AddressKind>, address: Option<IpAddr>| {
        let multicast = address
            .is_some_and(|a| a.is_multicast())
            .then_some(AddressKind::Multicast);
        number(known.or(multicast).map(AddressKind::number))
    };
    match field {
        Field::Source => address(facts.source),
        Field::Destination => address(facts.destination),
        Field::IpVersion => match facts.family {
            AddressFamily::Ip => Look::Fact(Fact::Number(4)),
            AddressFamily::Ip6 => Look::Fact(Fact::Number(6)),
            AddressFamily::Arp => Look::Absent,
            AddressFamily::Bridge => match ether_type(facts) {
                Some(0x0800) => Look::Fact(Fact::Number(4)),
                Some(0x86dd) => Look::Fact(Fact::Number(6)),
                Some(_) => Look::Absent,
                None => Look::Unknown,
            },
        },
        Field::EtherType => match facts.family {
            AddressFamily::Ip => Look::Fact(Fact::Number(0x0800)),
            AddressFamily::Ip6 => Look::Fact(Fact::Number(0x86dd)),
            AddressFamily::Arp => Look::Fact(Fact::Number(0x0806)),
            AddressFamily::Bridge => number(ether_type(facts).map(u64::from)),
        },
        Field::Protocol => number(facts.protocol.map(u64::from)),
        Field::SourcePort => port(facts.source_port),
        Field::DestinationPort => port(facts.destination_port),
        Field::TcpFlags => transport(&[6], facts.tcp_flags.map(|flags| flags.0.into())),
        Field::IcmpType => transport(&[1], facts.icmp_type.map(u64::from)),
        Field::IcmpCode => transport(&[1], facts.icmp_code.map(u64::from)),
        Field::Icmp6Type => transport(&[58], facts.icmp_type.map(u64::from)),
        Field::Icmp6Code => transport(&[58], facts.icmp_code.map(u64::from)),
        Field::InInterface => name(&facts.in_interface),
        Field::OutInterface => name(&facts.out_interface),
        // Its own comparison: there may be several.
        Field::CtState => Look::Unknown,
        Field::Mark => number(facts.mark.map(u64::from)),
        // Without an entry there is no mark: `connmark_mt` fails, `nft_ct_get_eval` breaks the rule off.
        Field::ConnectionMark => match facts.is_tracked() {
            Ternary::Yes => number(facts.connection_mark.map(u64::from)),
            Ternary::No => Look::Absent,
            Ternary::Maybe => Look::Unknown,
        },
        Field::SourceKind => kind(facts.source_kind, facts.source),
        Field::DestinationKind => kind(facts.destination_kind, facts.destination),
        Field::Length => number(facts.length.map(u64::from)),
        Field::Ttl => number(facts.ttl.map(u64::from)),
        Field::FragmentOffset => number(facts.fragment_offset.map(u64::from)),
        Field::Dscp => number(facts.dscp.map(u64::from)),
        Field::PacketType => number(facts.packet_kind.map(|kind| kind.number())),
        Field::SourceMac => mac(facts.source_mac),
        Field::DestinationMac => mac(facts.destination_mac),
        Field::Unknown => Look::Unknown,
    }
}

/// The EtherType of a frame in a bridge: said, or that of its addresses.
fn ether_type(facts: &PacketFacts) -> Option<u16> {
    let of_address = |address: IpAddr| if address.is_ipv4() { 0x0800 } else { 0x86dd };
    facts.ether_type.or(facts.source.map(of_address))
}

fn name(name: &Option<String>) -> Look<'_> {
    name.as_deref()
        .map_or(Look::Unknown, |name| Look::Fact(Fact::Name(name)))
}

fn mac(mac: Option<[u8; 6]>) -> Look<'static> {
    mac.map_or(Look::Unknown, |mac| Look::Fact(Fact::Mac(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_config::rules::{Family, TcpFlags};
    use transect_path::RuleBackend;

    fn facts() -> PacketFacts {
        PacketFacts {
            protocol: Some(6),
            source: "10.0.0.1".parse().ok(),
            destination_port: Some(22),
            tcp_flags: Some(TcpFlags::SYN),
            ct_states: CtStates::NEW,
            ..PacketFacts::new(AddressFamily::Ip)
        }
    }

    fn ask(test: &Match, facts: &PacketFacts) -> Ternary {
        let table = Table::new(RuleBackend::Nft, Family::Inet, "t");
        check(test, facts, &table)
    }

    fn states(states: &[CtStates]) -> Match {
        Match::field(
            Field::CtState,
            states.iter().map(|s| Value::Number(s.0.into())),
            false,
        )
    }

    #[test]
    fn what_is_known_is_yes_or_no_and_the_rest_depends() {
        let port = |number| Match::field(Field::DestinationPort, [Value::Number(number)], false);
        assert_eq!(ask(&port(22), &facts()), Ternary::Yes);
        assert_eq!(ask(&port(23), &facts()), Ternary::No);
        let source = Match::field(Field::SourcePort, [Value::Number(1)], false);
        assert_eq!(ask(&source, &facts()), Ternary::Maybe);
        assert_eq!(ask(&Match::unknown("-m limit"), &facts()), Ternary::Maybe);
    }

    #[test]
    fn a_field_that_is_not_there_fails_the_negated_match_too() {
        let mut test = Match::field(Field::DestinationPort, [Value::Number(53)], true);
        let icmp = PacketFacts {
            protocol: Some(1),
            ..facts()
        };
        // nft's `th dport` reads the ICMP checksum.
        assert_eq!(ask(&test, &icmp), Ternary::Maybe);
        let flags = Match::field(Field::TcpFlags, [Value::Number(2)], true);
        assert_eq!(ask(&flags, &icmp), Ternary::No);
        let fragment = PacketFacts {
            fragment_offset: Some(185),
            ..facts()
        };
        assert_eq!(ask(&test, &fragment), Ternary::No);
        assert_eq!(ask(&test, &facts()), Ternary::Yes);
        test.negated = false;
        assert_eq!(ask(&test, &facts()), Ternary::No);
    }

    #[test]
    fn states_have_to_agree() {
        let either = states(&[CtStates::NEW, CtStates::ESTABLISHED]);
        let with = |ct_states| PacketFacts {
            ct_states,
            ..facts()
        };
        assert_eq!(ask(&either, &with(CtStates::NEW)), Ternary::Yes);
        assert_eq!(ask(&either, &with(CtStates::INVALID)), Ternary::No);
        assert_eq!(ask(&either, &with(CtStates::ALL)), Ternary::Maybe);
        assert_eq!(
            ask(&either, &with(CtStates::NEW.union(CtStates::ESTABLISHED))),
            Ternary::Yes
        );
        assert_eq!(
            states_asked(&states(&[CtStates::INVALID])),
            Some(CtStates::INVALID)
        );
        let mut negated = states(&[CtStates::INVALID]);
        negated.negated = true;
        let rest = states_asked(&negated).expect("states");
        assert!(rest.contains(CtStates::NEW) && !rest.contains(CtStates::INVALID));
    }

    #[test]
    fn a_volatile_set_says_nothing() {
        let mut table = Table::new(RuleBackend::Nft, Family::Inet, "t");
        let set = transect_config::rules::Set {
            name: "s".into(),
            handle: None,
            key: vec![Field::Source],
            map: false,
            verdicts: false,
            flags: vec![],
            elements: vec![],
        };
        table.sets.push(set);
        let test = Match::new(Test::In {
            key: vec![Key::whole(Field::Source)],
            elements: Elements::Named("s".into()),
        });
        assert_eq!(check(&test, &facts(), &table), Ternary::No);
        table.sets[0].flags.push("dynamic".into());
        assert_eq!(check(&test, &facts(), &table), Ternary::Maybe);
        assert_eq!(open_question(&test, &facts()), "what set s holds");
    }
}
