//! Where the evaluation from outside is certain, the host's own walk comes to the same: random rule sets, random packets.

#[expect(dead_code, reason = "only the generator of rule sets is used here")]
mod oracle;

use oracle::generate::{Generator, Place};
use oracle::lab::{Program, Side};
use proptest::prelude::*;
use transect_config::rules::{
    AddressKind, CtStates, Family, PacketKind, Policy, RuleSet, TcpFlags, read_iptables_save,
    read_nft_text,
};
use transect_path::{RuleBackend, RuleRef};
use transect_walk::netfilter::{
    AddressFamily, Ended, PacketFacts, RulePlace, RuleState, Ternary, evaluate, run, sees,
};

#[derive(Default)]
struct Counted(Vec<RulePlace>, bool);

impl RuleState for Counted {
    fn passes(&mut self, _: RulePlace, _: usize, _: &str) -> bool {
        self.1 = true;
        false
    }

    fn count(&mut self, at: RulePlace) {
        self.0.push(at);
    }

    fn other(&mut self, _: RulePlace, _: &str) {}
}

fn rule_set(seed: u64, place: Place) -> RuleSet {
    let text = Generator::new(seed).rules(place);
    let family = if place.six { Family::Ip6 } else { Family::Ip };
    match place.program {
        Program::Nft => read_nft_text(&text).rule_set,
        _ => read_iptables_save(&text, family, RuleBackend::IptablesLegacy).rule_set,
    }
}

fn facts(six: bool, n: u64) -> PacketFacts {
    let address = |bit: u64| match six {
        false => format!("10.77.0.{}", 1 + (n >> bit) % 4),
        true => format!("fd77::{}", 1 + (n >> bit) % 4),
    };
    let protocol = [6, 17, if six { 58 } else { 1 }][(n % 3) as usize];
    let ports = protocol != 58 && protocol != 1;
    PacketFacts {
        protocol: Some(protocol),
        source: address(3).parse().ok(),
        destination: address(5).parse().ok(),
        source_port: ports.then_some(40000 + (n % 7) as u16),
        destination_port: ports.then_some([22, 53, 80, 443, 7000, 8080][(n % 6) as usize]),
        tcp_flags: (protocol == 6).then_some(TcpFlags::SYN),
        icmp_type: (!ports).then_some(if six { 128 } else { 8 }),
        icmp_code: (!ports).then_some(0),
        in_interface: Some("eth0".into()),
        out_interface: Some("eth0".into()),
        length: Some(60 + (n % 100) as u32),
        ttl: Some(64),
        dscp: Some(0),
        mark: Some((n % 3) as u32),
        connection_mark: Some((n % 5) as u32),
        ct_states: [CtStates::NEW, CtStates::ESTABLISHED, CtStates::INVALID][(n % 3) as usize],
        first_of_connection: Some(true),
        source_kind: Some(AddressKind::Unicast),
        destination_kind: Some(AddressKind::Local),
        fragment_offset: Some(0),
        packet_kind: Some(PacketKind::Host),
        source_mac: Some([2, 0, 0, 0, 0, 1]),
        destination_mac: Some([2, 0, 0, 0, 0, 2]),
        reverse_path: Some(true),
        reverse_path_loose: Some(true),
        ..PacketFacts::new(if six {
            AddressFamily::Ip6
        } else {
            AddressFamily::Ip
        })
    }
}

proptest! {
    #[test]
    fn both_ways_through_a_chain_end_alike(seed in any::<u64>(), n in any::<u64>()) {
        let six = seed % 2 == 1;
        let program = Program::ALL[(seed % Program::ALL.len() as u64) as usize];
        let side = if n % 2 == 0 { Side::Receiver } else { Side::Sender };
        let all = rule_set(seed, Place { side, six, program });
        for table in &all.tables {
            for (index, chain) in table.chains.iter().enumerate() {
                let Some(base) = &chain.base else { continue };
                // One base chain by itself: the order of several is not what is compared here.
                let mut alone = table.clone();
                alone.chains.iter_mut().filter(|own| own.name != chain.name).for_each(|own| own.base = None);
                // A filter chain, so that NAT's own rules of who is asked stay out of it, behind connection tracking.
                if let Some(base) = &mut alone.chains[index].base {
                    base.kind = transect_config::rules::ChainKind::Filter;
                    base.priority = base.priority.max(-199);
                }
                let packet = facts(six, n);
                if !sees(alone.family, packet.family) {
                    continue;
                }
                let from_outside = evaluate(&RuleSet { tables: vec![alone.clone()] }, base.hook, &packet);
                let mut counted = Counted::default();
                let mut walked = packet.clone();
                // What there is none of at this hook.
                match base.hook {
                    transect_path::Hook::LocalOut => walked.in_interface = Some(String::new()),
                    transect_path::Hook::PreRouting | transect_path::Hook::LocalIn => walked.out_interface = Some(String::new()),
                    _ => {}
                }
                let ended = run(&alone, index, &mut walked, &mut counted);
                let open = !from_outside.possible.is_empty() || from_outside.counted.iter().any(|counted| !counted.certain);
                if counted.1 || open || from_outside.passes == Ternary::Maybe {
                    continue;
                }
                let certain: Vec<RuleRef> = from_outside
                    .counted
                    .iter()
                    .filter(|counted| counted.certain && counted.rule.number.is_some())
                    .map(|counted| RuleRef { via: Vec::new(), ..counted.rule.clone() })
                    .collect();
                let own: Vec<RuleRef> = counted.0.iter().map(|at| {
                    let chain = &alone.chains[at.chain];
                    alone.rule_ref(chain, &chain.rules[at.rule], &[])
                }).collect();
                prop_assert_eq!(&certain, &own);
                let decision = from_outside.certain.as_ref().map(|decision| decision.rule.number);
                match ended {
                    Ended::Rule(at, action) => {
                        prop_assert_eq!(decision, Some(Some(u32::try_from(at.rule + 1).expect("small"))));
                        prop_assert_eq!(action.kills(), from_outside.passes == Ternary::No && action.kills());
                    }
                    Ended::Policy(policy) => {
                        prop_assert_eq!(decision.flatten(), None);
                        prop_assert_eq!(policy == Policy::Accept, from_outside.passes == Ternary::Yes);
                    }
                }
            }
        }
    }
}
