//! One packet through one base chain, and the chains that it jumps to.

use std::collections::HashMap;

use transect_config::rules::{
    Action, Chain, CtStates, Elements, Key, MapEntries, Match, Policy, Rule, SetElement, Statement,
    Table, Test,
};
use transect_path::{Hook, RuleBackend, RuleRef};

use super::test::{check, equals, open_question, states_asked};
use super::translate::translated;
use super::{Counted, Decision, PacketFacts, Ternary};

/// How many rules are looked at in one base chain: a bound for unknown jumps, which multiply.
const MOST_RULES: usize = 100_000;

/// How deep jumps are followed. nf_tables allows 16 (`NFT_JUMP_STACK_SIZE`), and iptables as many as there are chains.
const MOST_JUMPS: usize = 64;

/// What became of the packet in one base chain.
#[derive(Debug, Clone)]
pub(super) struct Walked {
    /// The decision, when it is certain.
    pub(super) certain: Option<Decision>,
    /// The possible ones, when none is.
    pub(super) possible: Vec<Decision>,
    pub(super) counted: Vec<Counted>,
    /// The packet behind the chain, if it is accepted.
    pub(super) leaving: Option<PacketFacts>,
    pub(super) notes: Vec<String>,
}

/// How the packets that came into a chain come back out of it to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    Always,
    Sometimes,
    Never,
}

/// What is known about the way to a place in the rules.
#[derive(Debug, Clone, Default)]
struct Way {
    /// The texts of the jumps.
    via: Vec<String>,
    /// What the jumps depend on.
    unknowns: Vec<String>,
    /// The states that the jumps ask for.
    states: Option<CtStates>,
}

pub(super) struct Walker<'a> {
    table: &'a Table,
    chains: HashMap<&'a str, &'a Chain>,
    hook: Hook,
    facts: PacketFacts,
    visited: usize,
    /// The chains that the walk is in. No kernel accepts a loop; a damaged dump may hold one.
    inside: Vec<&'a str>,
    out: Walked,
}

impl<'a> Walker<'a> {
    pub(super) fn new(table: &'a Table, hook: Hook, facts: &PacketFacts) -> Self {
        Walker {
            table,
            chains: table
                .chains
                .iter()
                .map(|chain| (chain.name.as_str(), chain))
                .collect(),
            hook,
            facts: facts.clone(),
            visited: 0,
            inside: Vec::new(),
            out: Walked {
                certain: None,
                possible: Vec::new(),
                counted: Vec::new(),
                leaving: None,
                notes: Vec::new(),
            },
        }
    }

    /// Walks the base chain, given that the packet comes to it.
    pub(super) fn walk(mut self, chain: &'a Chain, policy: Policy) -> Walked {
        let way = Way::default();
        let returns = self.chain(chain, &way, Ternary::Yes);
        if returns != Returns::Never {
            let rule = self.table.policy_ref(chain, policy);
            if chain.policy_counter.is_some() {
                self.out.counted.push(Counted {
                    rule: rule.clone(),
                    certain: returns == Returns::Always,
                    terminal: true,
                });
            }
            let action = match policy {
                Policy::Accept => Action::Accept,
                Policy::Drop => Action::Drop,
            };
            let unknowns = match returns {
                Returns::Sometimes => vec![EARLIER.to_owned()],
                _ => Vec::new(),
            };
            self.decide(
                Decision {
                    rule,
                    action,
                    reads_state: None,
                    unknowns,
                    has_counter: chain.policy_counter.is_some(),
                },
                returns == Returns::Always,
            );
        }
        self.out
    }

    fn too_deep(&mut self) -> bool {
        if self.visited <= MOST_RULES {
            return false;
        }
        let note = format!(
            "table {} {}: gave up after {MOST_RULES} rules",
            self.table.family, self.table.name
        );
        if !self.out.notes.contains(&note) {
            self.out.notes.push(note);
        }
        true
    }

    /// Walks a chain; `sure`: whether the packet surely comes to it.
    fn chain(&mut self, chain: &'a Chain, way: &Way, sure: Ternary) -> Returns {
        if self.inside.len() >= MOST_JUMPS || self.inside.contains(&chain.name.as_str()) {
            let note = format!(
                "chain {}: not followed, a loop or more than {MOST_JUMPS} jumps",
                chain.name
            );
            if !self.out.notes.contains(&note) {
                self.out.notes.push(note);
            }
            self.open(chain, way);
            return Returns::Sometimes;
        }
        self.inside.push(&chain.name);
        let returns = self.rules(chain, way, sure);
        self.inside.pop();
        returns
    }

    fn rules(&mut self, chain: &'a Chain, way: &Way, sure: Ternary) -> Returns {
        // Relative to the chain's beginning: whether the packet is here, whether it left by a return, whether it ended.
        let mut here = Ternary::Yes;
        let mut left: Option<PacketFacts> = None;
        let mut ended = false;
        for rule in &chain.rules {
            self.visited += 1;
            if self.too_deep() {
                self.open(chain, way);
                return Returns::Sometimes;
            }
            let step = self.rule(chain, rule, way, sure.and(here), here);
            ended |= step.ended;
            if let Some(facts) = step.left {
                left = Some(match left {
                    Some(before) => before.merged(&facts),
                    None => facts,
                });
            }
            here = step.here;
            if here == Ternary::No {
                break;
            }
        }
        let returned = left.is_some() || here != Ternary::No;
        if let Some(left) = left {
            self.facts = match here {
                Ternary::No => left,
                _ => self.facts.merged(&left),
            };
        }
        match (ended, returned) {
            (false, _) => Returns::Always,
            (true, true) => Returns::Sometimes,
            (true, false) => Returns::Never,
        }
    }

    /// Everything is possible from here on.
    fn open(&mut self, chain: &Chain, way: &Way) {
        let policy = self.table.policy_ref(chain, Policy::Accept);
        let decision = Decision {
            rule: RuleRef {
                text: format!("chain {}", chain.name),
                via: way.via.clone(),
                ..policy
            },
            action: Action::Unknown("not followed to its end".to_owned()),
            reads_state: way.states,
            unknowns: vec!["a rule set too deep to follow".to_owned()],
            has_counter: false,
        };
        self.decide(decision, false);
    }

    /// One rule. `sure`: whether the packet surely comes to it; `here`: likewise, given that it came to the chain.
    fn rule(
        &mut self,
        chain: &'a Chain,
        rule: &'a Rule,
        way: &Way,
        sure: Ternary,
        here: Ternary,
    ) -> Step {
        let mut matched = Ternary::Yes;
        let mut now = way.clone();
        let mut counted = None;
        for statement in &rule.statements {
            let taken = sure.and(matched);
            match statement {
                Statement::Match(test) => {
                    let passes = check(test, &self.facts, self.table);
                    if passes == Ternary::No {
                        return Step::on(here);
                    }
                    if passes == Ternary::Maybe {
                        now.unknowns.push(open_question(test, &self.facts));
                    }
                    now.ask(states_asked(test));
                    matched = matched.and(passes);
                }
                Statement::Counter => {
                    counted = Some(self.out.counted.len());
                    self.out.counted.push(Counted {
                        rule: self.table.rule_ref(chain, rule, &way.via),
                        certain: taken == Ternary::Yes,
                        terminal: false,
                    });
                }
                Statement::Verdict(Action::Continue) | Statement::Other(_) => {}
                // nf_tables breaks the rule off where no socket is found; the verdict follows.
                Statement::Verdict(Action::Tproxy {
                    accepts: false,
                    text,
                }) => {
                    now.unknowns
                        .push(format!("whether a socket is there for \"{text}\""));
                    matched = matched.and(Ternary::Maybe);
                }
                Statement::Verdict(action) => {
                    let at = Place {
                        chain,
                        rule,
                        counted,
                    };
                    return self.verdict(at, action, &now, matched, sure, here);
                }
                Statement::VerdictMap { key, entries } => {
                    let at = Place {
                        chain,
                        rule,
                        counted,
                    };
                    return self.verdict_map(at, key, entries, &now, matched, sure, here);
                }
                Statement::RestoreMark
                    if self.table.backend == RuleBackend::Nft
                        && self.facts.is_tracked() == Ternary::No =>
                {
                    // `nft_ct_get_eval` breaks the rule off where there is no entry; iptables goes on.
                    return Step::on(here);
                }
                change => self.change(change, taken),
            }
        }
        Step::on(here)
    }

    /// A statement that changes what later rules look at; not surely taken, it leaves what both ways agree on.
    fn change(&mut self, statement: &Statement, mut taken: Ternary) {
        let mut changed = self.facts.clone();
        let set = |old: Option<u32>, value: &Option<u32>, mask: u32| match (value, mask) {
            (Some(value), u32::MAX) => Some(*value),
            (Some(value), mask) => old.map(|old| (old & !mask) ^ value),
            (None, _) => None,
        };
        if matches!(
            statement,
            Statement::RestoreMark | Statement::SaveMark | Statement::SetConnectionMark { .. }
        ) {
            taken = taken.and(self.facts.is_tracked());
        }
        if let Statement::NoTrack { .. } = statement {
            // A packet that has its entry keeps it (`notrack_tg`, `nft_notrack_eval`).
            taken = taken.and(self.facts.is_tracked().not());
        }
        match statement {
            Statement::SetMark { value, mask } => changed.mark = set(changed.mark, value, *mask),
            Statement::SetConnectionMark { value, mask } => {
                changed.connection_mark = set(changed.connection_mark, value, *mask);
            }
            Statement::RestoreMark => changed.mark = changed.connection_mark,
            Statement::SaveMark => changed.connection_mark = changed.mark,
            Statement::NoTrack { certain } => {
                changed.ct_states = match certain {
                    true => CtStates::UNTRACKED,
                    false => changed.ct_states.union(CtStates::UNTRACKED),
                };
            }
            _ => {}
        }
        self.facts = match taken {
            Ternary::Yes => changed,
            Ternary::No => return,
            Ternary::Maybe => self.facts.merged(&changed),
        };
    }

    fn verdict(
        &mut self,
        at: Place<'a>,
        action: &Action,
        way: &Way,
        matched: Ternary,
        sure: Ternary,
        here: Ternary,
    ) -> Step {
        let passed_by = here.and(matched.not());
        match action {
            Action::Continue => Step::on(here),
            Action::Return => Step {
                here: passed_by,
                left: Some(self.facts.clone()),
                ended: false,
            },
            Action::Jump(target) | Action::Goto(target) => {
                let Some(chain) = self.chains.get(target.as_str()).copied() else {
                    let action =
                        Action::Unknown(format!("a jump to {target}, which is not in the dump"));
                    self.record(at, action, way, Ternary::Maybe);
                    return Step {
                        here: here.and(Ternary::Maybe),
                        left: None,
                        ended: true,
                    };
                };
                let before = self.facts.clone();
                let mut inner = way.clone();
                inner.via.push(at.rule.text.clone());
                let returns = self.chain(chain, &inner, sure.and(matched));
                let after = std::mem::replace(&mut self.facts, before);
                self.behind_jump(
                    matches!(action, Action::Goto(_)),
                    returns,
                    after,
                    matched,
                    here,
                )
            }
            Action::Unknown(_) => {
                self.record(at, action.clone(), way, Ternary::Maybe);
                Step {
                    here: here.and(Ternary::Maybe),
                    left: None,
                    ended: true,
                }
            }
            _ => {
                if let Some(counted) = at.counted.and_then(|at| self.out.counted.get_mut(at)) {
                    counted.terminal = true;
                }
                self.record(at, action.clone(), way, sure.and(matched));
                Step {
                    here: passed_by,
                    left: None,
                    ended: true,
                }
            }
        }
    }

    /// Where the packet is after a jump or goto.
    fn behind_jump(
        &mut self,
        goto: bool,
        returns: Returns,
        after: PacketFacts,
        matched: Ternary,
        here: Ternary,
    ) -> Step {
        let came_back = returns != Returns::Never;
        let ended = returns != Returns::Always;
        let passed_by = here.and(matched.not());
        if goto {
            return Step {
                here: passed_by,
                left: came_back.then_some(after),
                ended,
            };
        }
        if came_back {
            self.facts = match matched {
                Ternary::Yes => after,
                _ => self.facts.merged(&after),
            };
        }
        let behind = match (returns, matched) {
            (Returns::Always, _) => here,
            (Returns::Never, Ternary::Yes) => Ternary::No,
            _ => here.and(Ternary::Maybe),
        };
        Step {
            here: behind,
            left: None,
            ended,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one verdict's place and certainty, as for `verdict`"
    )]
    fn verdict_map(
        &mut self,
        at: Place<'a>,
        key: &[Key],
        entries: &'a MapEntries,
        way: &Way,
        matched: Ternary,
        sure: Ternary,
        mut here: Ternary,
    ) -> Step {
        let (elements, volatile): (&[SetElement], bool) = match entries {
            MapEntries::Inline(elements) => (elements, false),
            MapEntries::Named(name) => match self.table.set(name) {
                Some(set) => (&set.elements, set.is_volatile()),
                None => {
                    let action = Action::Unknown(format!("map {name}, which is not in the dump"));
                    self.record(at, action, way, Ternary::Maybe);
                    return Step {
                        here: here.and(Ternary::Maybe),
                        left: None,
                        ended: true,
                    };
                }
            },
        };
        let mut left: Option<PacketFacts> = None;
        let mut ended = false;
        for element in elements {
            let mut equal = equals(key, &element.key, &self.facts);
            if volatile {
                equal = equal.and(Ternary::Maybe);
            }
            let Some(action) = element.verdict.as_ref().filter(|_| equal != Ternary::No) else {
                continue;
            };
            let mut now = way.clone();
            let test = Match::new(Test::In {
                key: key.to_vec(),
                elements: Elements::Inline(vec![element.key.clone()]),
            });
            if equal == Ternary::Maybe {
                now.unknowns.push(open_question(&test, &self.facts));
            }
            now.ask(states_asked(&test));
            let step = self.verdict(at, action, &now, matched.and(equal), sure.and(here), here);
            ended |= step.ended;
            left = match (left, step.left) {
                (Some(a), Some(b)) => Some(a.merged(&b)),
                (a, b) => a.or(b),
            };
            here = step.here;
            if equal == Ternary::Yes || here == Ternary::No {
                break;
            }
        }
        Step { here, left, ended }
    }

    /// Notes a decision; `sure`: whether the packet surely meets it.
    fn record(&mut self, at: Place<'_>, action: Action, way: &Way, sure: Ternary) {
        let mut unknowns = way.unknowns.clone();
        let certain = sure == Ternary::Yes && self.out.possible.is_empty();
        if !certain && unknowns.is_empty() {
            unknowns.push(EARLIER.to_owned());
        }
        let decision = Decision {
            rule: self.table.rule_ref(at.chain, at.rule, &way.via),
            action,
            reads_state: way.states,
            unknowns,
            has_counter: at.rule.statements.contains(&Statement::Counter),
        };
        self.decide(decision, certain);
    }

    fn decide(&mut self, decision: Decision, certain: bool) {
        let accepts = match &decision.action {
            Action::Accept | Action::Queue { .. } | Action::Unknown(_) | Action::Tproxy { .. } => {
                Some(self.facts.clone())
            }
            Action::Nat(nat) => Some(translated(&self.facts, nat, self.hook)),
            _ => None,
        };
        if let Some(facts) = accepts {
            self.out.leaving = Some(match self.out.leaving.take() {
                Some(before) => before.merged(&facts),
                None => facts,
            });
        }
        if certain && self.out.possible.is_empty() {
            self.out.certain = Some(decision);
        } else {
            self.out.possible.push(decision);
        }
    }
}

/// What a decision depends on when nothing about itself is open.
const EARLIER: &str = "that no earlier rule decides";

/// Where a rule stands, and its entry among the counted.
#[derive(Clone, Copy)]
struct Place<'a> {
    chain: &'a Chain,
    rule: &'a Rule,
    counted: Option<usize>,
}

/// What one rule did.
struct Step {
    /// Whether the packet comes to the next rule.
    here: Ternary,
    /// The packet as it went back to the calling chain, if it may have.
    left: Option<PacketFacts>,
    /// Whether its walk may have ended.
    ended: bool,
}

impl Step {
    fn on(here: Ternary) -> Self {
        Step {
            here,
            left: None,
            ended: false,
        }
    }
}

impl Way {
    fn ask(&mut self, states: Option<CtStates>) {
        if let Some(states) = states {
            self.states = Some(
                self.states
                    .map_or(states, |before| before.intersection(states)),
            );
        }
    }
}
