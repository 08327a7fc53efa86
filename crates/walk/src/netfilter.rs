//! What the rules at one Netfilter hook would do with one packet.
//!
//! The answer is three-valued. What a rule looks at may not be known (a rate limit, a mark, the state of connection tracking
//! in a dump without it), and then the rule is possible, and never guilty by this alone.

mod chain;
mod exact;
mod facts;
mod order;
mod test;
mod translate;

use transect_config::rules::{Action, CtStates, RuleSet};
use transect_path::{Hook, RuleRef};

pub use exact::{Ended, RulePlace, RuleState, run, sees};
pub use facts::{AddressFamily, PacketFacts};

/// Yes, no, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ternary {
    /// For sure.
    Yes,
    /// For sure not.
    No,
    /// It depends on something unknown.
    Maybe,
}

impl Ternary {
    /// Both.
    pub fn and(self, other: Ternary) -> Ternary {
        match (self, other) {
            (Ternary::No, _) | (_, Ternary::No) => Ternary::No,
            (Ternary::Yes, Ternary::Yes) => Ternary::Yes,
            _ => Ternary::Maybe,
        }
    }

    /// At least one.
    pub fn or(self, other: Ternary) -> Ternary {
        self.not().and(other.not()).not()
    }

    /// The opposite.
    #[expect(
        clippy::should_implement_trait,
        reason = "named beside `and` and `or`, which are no operators either"
    )]
    pub fn not(self) -> Ternary {
        match self {
            Ternary::Yes => Ternary::No,
            Ternary::No => Ternary::Yes,
            Ternary::Maybe => Ternary::Maybe,
        }
    }
}

impl From<Option<bool>> for Ternary {
    fn from(known: Option<bool>) -> Ternary {
        match known {
            Some(true) => Ternary::Yes,
            Some(false) => Ternary::No,
            None => Ternary::Maybe,
        }
    }
}

/// A rule or policy that ends, or may end, the packet's walk through a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rule or policy, with the jumps that led to it.
    pub rule: RuleRef,
    /// What it does.
    pub action: Action,
    /// The connection tracking states that the rule, or a jump that led to it, asks for; none: it does not look at them.
    pub reads_state: Option<CtStates>,
    /// What it depends on, in words; empty: nothing.
    pub unknowns: Vec<String>,
    /// Whether it has a counter, so that a reading can settle it.
    pub has_counter: bool,
}

impl Decision {
    /// Whether it is about packets of which connection tracking could make no sense: the rule asks for INVALID, and not
    /// for NEW or ESTABLISHED beside it.
    pub fn is_about_invalid(&self) -> bool {
        self.reads_state.is_some_and(|states| {
            states.contains(CtStates::INVALID)
                && states
                    .intersection(CtStates::NEW.union(CtStates::ESTABLISHED))
                    .is_empty()
        })
    }
}

/// A rule or policy whose counter the packet moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The rule or policy.
    pub rule: RuleRef,
    /// Whether it moves for sure; else perhaps.
    pub certain: bool,
    /// Whether the rule ends the walk through its base chain.
    pub terminal: bool,
}

/// What one base chain does with the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainOutcome {
    /// The chain's policy, which also names the chain.
    pub chain: RuleRef,
    /// Its priority.
    pub priority: i32,
    /// The decision, when one is certain.
    pub certain: Option<Decision>,
    /// The decisions that are possible, in the order of the rules; empty when one is certain.
    pub possible: Vec<Decision>,
}

/// What a whole hook does with the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOutcome {
    /// Whether the packet leaves the hook on its path.
    pub passes: Ternary,
    /// The rule or policy that surely ends the packet's walk through the hook (drop, reject, queue, …); where the packet
    /// surely passes, the accept of the last base chain that has one; none where no rule is certain, or there are none.
    ///
    /// Queue: the packet is surely handed to the queue; what `possible` then lists happens if its reader accepts it.
    pub certain: Option<Decision>,
    /// Every decision other than accept that is possible, in order; without the certain one.
    pub possible: Vec<Decision>,
    /// Every rule and policy whose counter moves, or may move, in order.
    pub counted: Vec<Counted>,
    /// The base chains in the order in which the packet meets them (where the order is unknown: as dumped).
    pub chains: Vec<ChainOutcome>,
    /// The packet as it leaves the hook, if it does: marks, addresses and ports as the rules left them.
    pub leaving: PacketFacts,
    /// What had to be left open, in words: chains of equal priority whose order decides, a rule set too deep.
    pub notes: Vec<String>,
}

/// Follows one packet through all base chains of one hook.
///
/// Mirrors `nf_hook_slow`, `ipt_do_table` and `nft_do_chain`: base chains by priority over all tables; accept ends one base
/// chain, and the next one still sees the packet. Base chains of equal priority run in an order that dumps do not show (the
/// one registered last runs first), so every order is tried and only what all agree on is certain.
///
/// Bridge chains are not part of it, except where `facts.family` says bridge.
pub fn evaluate(rule_set: &RuleSet, hook: Hook, facts: &PacketFacts) -> HookOutcome {
    order::evaluate(rule_set, hook, facts)
}
