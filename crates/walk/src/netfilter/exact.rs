//! One packet through one base chain where everything about the packet is known: the way of a host that runs its own rules.
//!
//! [`super::evaluate`] says what may happen, for somebody who looks at a host from outside. Here it happens: nothing is left
//! open, what rules keep beside the packet (rates, counts) is asked of the host, and nothing is allocated. Both look at
//! packets with the same tests.

use transect_config::rules::{
    Action, Chain, CtStates, Family, MapEntries, Policy, Statement, Table, Test,
};
use transect_path::RuleBackend;

use super::test::{check, equals};
use super::{AddressFamily, PacketFacts, Ternary};

/// How many rules one packet may meet in one base chain. No kernel accepts a loop; a rule set that nobody checked may hold one.
const MOST_RULES: usize = 1_000_000;

/// How deep jumps may be nested; nf_tables allows 16 (`NFT_JUMP_STACK_SIZE`).
const MOST_JUMPS: usize = 64;

/// Where a rule stands in its table, both by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RulePlace {
    /// The chain.
    pub chain: usize,
    /// The rule in the chain.
    pub rule: usize,
}

/// What rules keep and do beside what stands in the packet's facts.
pub trait RuleState {
    /// Whether the packet passes a match that the rule set alone cannot decide ([`Test::Unknown`]: rate limits, counts).
    fn passes(&mut self, at: RulePlace, statement: usize, text: &str) -> bool;

    /// The rule counts the packet.
    fn count(&mut self, at: RulePlace);

    /// A statement that neither decides nor changes what rules look at ([`Statement::Other`]).
    fn other(&mut self, at: RulePlace, text: &str);
}

/// How a packet's walk through a base chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<'a> {
    /// At this rule, with this verdict: one that ends the walk.
    Rule(RulePlace, &'a Action),
    /// At the chain's end, by its policy.
    Policy(Policy),
}

/// Whether tables of a family see packets of a kind.
pub fn sees(table: Family, packet: AddressFamily) -> bool {
    super::order::sees(table, packet)
}

/// Sends one packet through a base chain (`ipt_do_table`, `nft_do_chain`). `facts` are changed as the rules change the packet:
/// marks, and whether it is tracked.
///
/// A match that cannot be decided although everything is known (a value that no reader understood) fails.
pub fn run<'a>(
    table: &'a Table,
    base: usize,
    facts: &mut PacketFacts,
    state: &mut dyn RuleState,
) -> Ended<'a> {
    let policy = table
        .chains
        .get(base)
        .and_then(|chain| chain.base.as_ref())
        .map_or(Policy::Accept, |base| base.policy);
    let mut walk = Walk {
        table,
        facts,
        state,
        callers: Vec::new(),
    };
    let mut at = RulePlace {
        chain: base,
        rule: 0,
    };
    for _ in 0..MOST_RULES {
        let rules = table
            .chains
            .get(at.chain)
            .map_or(&[][..], |chain| &chain.rules);
        let next = match rules.get(at.rule) {
            Some(rule) => walk.rule(at, &rule.statements),
            None => Next::Back,
        };
        match next {
            Next::Rule => at.rule += 1,
            Next::Back => match walk.callers.pop() {
                Some(caller) => at = caller,
                None => return Ended::Policy(policy),
            },
            Next::Chain(chain) => at = RulePlace { chain, rule: 0 },
            Next::End(action) => return Ended::Rule(at, action),
        }
    }
    Ended::Policy(Policy::Drop)
}

/// Where the packet goes from a rule.
enum Next<'a> {
    /// On to the next rule.
    Rule,
    /// Back to the calling chain, or to the policy.
    Back,
    /// To the beginning of a chain.
    Chain(usize),
    /// Nowhere: the walk ends.
    End(&'a Action),
}

struct Walk<'a, 'b> {
    table: &'a Table,
    facts: &'b mut PacketFacts,
    state: &'b mut dyn RuleState,
    /// Where to go on when a chain ends, the innermost last.
    callers: Vec<RulePlace>,
}

impl<'a> Walk<'a, '_> {
    fn rule(&mut self, at: RulePlace, statements: &'a [Statement]) -> Next<'a> {
        for (number, statement) in statements.iter().enumerate() {
            match statement {
                Statement::Match(test) => {
                    let passes = match (&test.test, check(test, self.facts, self.table)) {
                        (_, Ternary::Yes) => true,
                        (Test::Unknown { text }, Ternary::Maybe) => {
                            self.state.passes(at, number, text) != test.negated
                        }
                        _ => false,
                    };
                    if !passes {
                        return Next::Rule;
                    }
                }
                Statement::Counter => self.state.count(at),
                Statement::Other(text) => self.state.other(at, text),
                Statement::Verdict(Action::Continue) => {}
                Statement::Verdict(action) => return self.verdict(at, action),
                Statement::VerdictMap { key, entries } => {
                    let elements = match entries {
                        MapEntries::Inline(elements) => elements.as_slice(),
                        MapEntries::Named(name) => {
                            self.table.set(name).map_or(&[][..], |set| &set.elements)
                        }
                    };
                    let facts = &*self.facts;
                    let found = elements
                        .iter()
                        .filter(|element| equals(key, &element.key, facts) == Ternary::Yes)
                        .find_map(|element| element.verdict.as_ref());
                    match found {
                        None | Some(Action::Continue) => {}
                        Some(action) => return self.verdict(at, action),
                    }
                }
                change => {
                    if !self.change(change) {
                        return Next::Rule;
                    }
                }
            }
        }
        Next::Rule
    }

    /// A statement that changes what later rules look at. False: the rule ends here.
    fn change(&mut self, statement: &Statement) -> bool {
        let tracked = self.facts.is_tracked() == Ternary::Yes;
        let set =
            |old: Option<u32>, value: u32, mask: u32| Some((old.unwrap_or(0) & !mask) ^ value);
        let facts = &mut *self.facts;
        match statement {
            Statement::SetMark {
                value: Some(value),
                mask,
            } => facts.mark = set(facts.mark, *value, *mask),
            Statement::SetConnectionMark {
                value: Some(value),
                mask,
            } if tracked => facts.connection_mark = set(facts.connection_mark, *value, *mask),
            Statement::RestoreMark if tracked => facts.mark = facts.connection_mark,
            // `nft_ct_get_eval` breaks the rule off where there is no entry; iptables goes on.
            Statement::RestoreMark => return self.table.backend != RuleBackend::Nft,
            Statement::SaveMark if tracked => facts.connection_mark = facts.mark,
            // A packet that has its entry keeps it (`notrack_tg`, `nft_notrack_eval`).
            Statement::NoTrack { .. } if !tracked => facts.ct_states = CtStates::UNTRACKED,
            _ => {}
        }
        true
    }

    fn verdict(&mut self, at: RulePlace, action: &'a Action) -> Next<'a> {
        match action {
            Action::Return => Next::Back,
            Action::Jump(target) | Action::Goto(target) => {
                let named = |chain: &Chain| chain.name == *target;
                let Some(chain) = self.table.chains.iter().position(named) else {
                    return Next::Rule;
                };
                if matches!(action, Action::Jump(_)) {
                    if self.callers.len() >= MOST_JUMPS {
                        return Next::End(&Action::Drop);
                    }
                    self.callers.push(RulePlace {
                        rule: at.rule + 1,
                        ..at
                    });
                }
                Next::Chain(chain)
            }
            action => Next::End(action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_config::rules::{Family, read_iptables_save, read_nft_text};

    #[derive(Default)]
    struct State {
        counted: Vec<(usize, usize)>,
        asked: Vec<String>,
        answer: bool,
    }

    impl RuleState for State {
        fn passes(&mut self, _: RulePlace, _: usize, text: &str) -> bool {
            self.asked.push(text.to_owned());
            self.answer
        }

        fn count(&mut self, at: RulePlace) {
            self.counted.push((at.chain, at.rule));
        }

        fn other(&mut self, _: RulePlace, _: &str) {}
    }

    fn iptables(rules: &str) -> Table {
        let text =
            format!("*mangle\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n{rules}\nCOMMIT\n");
        let reading = read_iptables_save(&text, Family::Ip, RuleBackend::IptablesLegacy);
        assert_eq!(reading.complaints, []);
        reading.rule_set.tables.into_iter().next().expect("a table")
    }

    fn facts() -> PacketFacts {
        PacketFacts {
            protocol: Some(6),
            source: "10.0.0.1".parse().ok(),
            destination_port: Some(22),
            mark: Some(0),
            connection_mark: Some(7),
            ct_states: CtStates::NEW,
            ..PacketFacts::new(AddressFamily::Ip)
        }
    }

    #[test]
    fn jumps_come_back_and_gotos_do_not() {
        let table = iptables(
            "-A INPUT -j A\n-A INPUT -g B\n-A INPUT -j ACCEPT\n-A A -s 10.0.0.1 -j RETURN\n-A A -j DROP\n-A B -s 10.9.9.9 -j DROP",
        );
        let mut state = State::default();
        let ended = run(&table, 0, &mut facts(), &mut state);
        assert_eq!(ended, Ended::Policy(Policy::Accept));
        assert_eq!(state.counted, [(0, 0), (1, 0), (0, 1)]);
    }

    #[test]
    fn marks_change_for_the_rules_behind() {
        let table = iptables(
            "-A INPUT -j CONNMARK --restore-mark\n-A INPUT -m mark --mark 0x7 -j MARK --set-xmark 0x10/0xff\n-A INPUT -m mark --mark 0x10 -j DROP",
        );
        let mut packet = facts();
        let ended = run(&table, 0, &mut packet, &mut State::default());
        let place = RulePlace { chain: 0, rule: 2 };
        assert_eq!(ended, Ended::Rule(place, &Action::Drop));
        assert_eq!(packet.mark, Some(0x10));
        // Without an entry there is nothing to restore.
        packet = PacketFacts {
            ct_states: CtStates::INVALID,
            ..facts()
        };
        let ended = run(&table, 0, &mut packet, &mut State::default());
        assert_eq!(
            (ended, packet.mark),
            (Ended::Policy(Policy::Accept), Some(0))
        );
    }

    #[test]
    fn what_only_the_host_can_tell_is_asked_of_it() {
        let table = iptables("-A INPUT -p tcp -m limit --limit 5/sec -j DROP");
        let mut state = State {
            answer: true,
            ..State::default()
        };
        let place = RulePlace { chain: 0, rule: 0 };
        assert_eq!(
            run(&table, 0, &mut facts(), &mut state),
            Ended::Rule(place, &Action::Drop)
        );
        assert_eq!(state.asked, ["-m limit --limit 5/sec"]);
        state.answer = false;
        assert_eq!(
            run(&table, 0, &mut facts(), &mut state),
            Ended::Policy(Policy::Accept)
        );
        assert_eq!(state.counted.len(), 1);
    }

    #[test]
    fn verdict_maps_and_loops() {
        let text = "table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy drop;\n\
            \t\ttcp dport vmap { 22 : jump d, 23 : accept }\n\t\tjump c2\n\t}\n\tchain d {\n\t\tmeta mark set 0x5 return\n\t}\n\tchain c2 {\n\t\tjump c2\n\t}\n}\n";
        let table = read_nft_text(text).rule_set.tables.swap_remove(0);
        let mut packet = facts();
        let ended = run(&table, 0, &mut packet, &mut State::default());
        assert!(
            matches!(ended, Ended::Rule(_, Action::Drop)),
            "the loop ends: {ended:?}"
        );
        assert_eq!(packet.mark, Some(5));
        packet.destination_port = Some(23);
        let ended = run(&table, 0, &mut packet, &mut State::default());
        assert!(matches!(ended, Ended::Rule(_, Action::Accept)));
    }
}
