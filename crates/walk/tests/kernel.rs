//! The kernel as the oracle: random rule sets are loaded into a network namespace, one packet is sent, and the rules whose
//! counters moved have to be those that `evaluate` names.
//!
//! Needs root and the programs; without them it says so and passes, except where `CI=true`. `TRANSECT_ORACLE_CASES` sets how
//! many rule sets of each kind are tried, `TRANSECT_ORACLE_SEED` which ones.

mod oracle;

use std::collections::BTreeSet;

use oracle::generate::{Generator, Place};
use oracle::lab::{self, Lab, Side};
use oracle::packet::Packet;
use transect_config::rules::{RuleSet, counter_deltas};
use transect_path::{Hook, RuleRef, Timestamp};
use transect_walk::netfilter::{HookOutcome, PacketFacts, Ternary, evaluate};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Not a test of its own: the process that sends, started in the sender's namespace.
#[test]
fn send_one_packet() {
    if let Ok(order) = std::env::var(lab::SEND) {
        Packet::read(&order).expect("an order").send();
    }
}

#[test]
fn rules_count_what_the_evaluation_says() {
    if let Some(why) = lab::missing() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "skipped in CI: {why}"
        );
        eprintln!("skipped: {why}");
        return;
    }
    let lab = Lab::new();
    let cases = number("TRANSECT_ORACLE_CASES", 6);
    let seed = number("TRANSECT_ORACLE_SEED", 1);
    let mut compared = 0;
    let mut sets = 0;
    let mut moved = 0;
    for backend in lab::Program::ALL {
        for six in [false, true] {
            for case in 0..cases {
                let side = if case % 3 == 2 {
                    Side::Sender
                } else {
                    Side::Receiver
                };
                let place = Place {
                    side,
                    six,
                    program: backend,
                };
                let text = Generator::new(seed * 1000 + case * 10 + u64::from(six)).rules(place);
                if let Err(why) = lab.load(place, &text) {
                    panic!("{backend:?} refused\n{text}\n{why}");
                }
                sets += 1;
                for packet in Packet::all(six, sets) {
                    let before = lab.dump(place);
                    lab.send(&packet);
                    let after = lab.dump(place);
                    let ran = moved_rules(&before, &after, place);
                    moved += ran.len();
                    compare(&before, place, &packet, &ran, &text);
                    compared += 1;
                }
                lab.unload(place);
            }
        }
    }
    eprintln!("{compared} packets compared, {moved} counters moved");
    assert!(moved > compared / 2, "the rule sets hardly ever matched");
}

type Rules = BTreeSet<(String, String, Option<u32>, String)>;

fn key(rule: &RuleRef) -> (String, String, Option<u32>, String) {
    (
        rule.table.clone(),
        rule.chain.clone(),
        rule.number,
        rule.text.clone(),
    )
}

/// The hooks that the packet meets on this side, one behind the other. Its answer meets the others.
fn hooks(place: Place) -> [Hook; 2] {
    match place.side {
        Side::Receiver => [Hook::PreRouting, Hook::LocalIn],
        Side::Sender => [Hook::LocalOut, Hook::PostRouting],
    }
}

fn moved_rules(before: &RuleSet, after: &RuleSet, place: Place) -> Rules {
    let elsewhere = |rule: &RuleRef| {
        after
            .tables
            .iter()
            .filter(|table| table.name == rule.table)
            .filter_map(|table| table.chain(&rule.chain)?.base.as_ref())
            .any(|base| !hooks(place).contains(&base.hook))
    };
    counter_deltas(&[(Timestamp(1), before), (Timestamp(2), after)])
        .into_iter()
        .filter(|delta| delta.packets.is_some_and(|packets| packets > 0))
        .filter(|delta| !elsewhere(&delta.rule))
        .map(|delta| key(&delta.rule))
        .collect()
}

/// What the evaluation says at each hook.
fn follow(rules: &RuleSet, place: Place, packet: &Packet) -> Vec<(Hook, HookOutcome)> {
    let mut facts: PacketFacts = packet.facts(place.side);
    let mut outcomes = Vec::new();
    for hook in hooks(place) {
        let outcome = evaluate(rules, hook, &facts);
        facts = outcome.leaving.clone();
        let passes = outcome.passes;
        outcomes.push((hook, outcome));
        if passes == Ternary::No {
            break;
        }
    }
    outcomes
}

fn compare(rules: &RuleSet, place: Place, packet: &Packet, ran: &Rules, text: &str) {
    let outcomes = follow(rules, place, packet);
    let story = || {
        let mut story = format!("{place:?} {packet:?}\n{text}\nmoved: {ran:#?}\n");
        for (hook, outcome) in &outcomes {
            story += &format!(
                "{hook}: passes {:?}, certain {:#?}\n",
                outcome.passes, outcome.certain
            );
            for counted in &outcome.counted {
                story += &format!("  counted {:?} {:?}\n", counted.certain, key(&counted.rule));
            }
            for possible in &outcome.possible {
                story += &format!(
                    "  possible {:?} {:?}\n",
                    key(&possible.rule),
                    possible.unknowns
                );
            }
            story += &format!("  notes {:?}\n", outcome.notes);
        }
        story
    };
    let mut sure = true;
    let mut possible = Rules::new();
    for (_, outcome) in &outcomes {
        for counted in &outcome.counted {
            let rule = key(&counted.rule);
            if counted.certain && sure {
                assert!(
                    ran.contains(&rule),
                    "{rule:?} should have counted\n{}",
                    story()
                );
            }
            possible.insert(rule);
        }
        sure &= outcome.passes == Ternary::Yes;
    }
    for rule in ran {
        assert!(
            possible.contains(rule),
            "{rule:?} should not have counted\n{}",
            story()
        );
    }
}
