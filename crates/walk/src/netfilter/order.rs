//! The base chains of a hook, in order.

use transect_config::rules::RuleSet;
use transect_path::Hook;

use super::{HookOutcome, PacketFacts, Ternary};

pub(super) fn evaluate(rule_set: &RuleSet, hook: Hook, facts: &PacketFacts) -> HookOutcome {
    let _ = (rule_set, hook);
    HookOutcome {
        passes: Ternary::Maybe,
        certain: None,
        possible: Vec::new(),
        counted: Vec::new(),
        chains: Vec::new(),
        leaving: facts.clone(),
        notes: Vec::new(),
    }
}
