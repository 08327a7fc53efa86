//! What rules counted between readings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use transect_path::{RuleBackend, RuleRef, Timestamp};

use super::{Chain, Counter, Family, Rule, RuleSet, Table};

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
    /// What it counted from one reading to the next. The first step of a rule that appeared ends with its first reading.
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

impl RuleKey {
    fn new(table: &Table, chain: &Chain, id: RuleId) -> Self {
        RuleKey {
            backend: match table.backend {
                RuleBackend::IptablesLegacy => RuleBackend::IptablesLegacy,
                RuleBackend::IptablesNft | RuleBackend::Nft => RuleBackend::Nft,
            },
            family: table.family,
            table: table.name.clone(),
            chain: chain.name.clone(),
            id,
        }
    }

    /// The key of one of a chain's rules.
    pub fn of_rule(table: &Table, chain: &Chain, rule: &Rule) -> Self {
        let id = match rule.handle {
            Some(handle) if table.backend != RuleBackend::IptablesLegacy => RuleId::Handle {
                table: table.handle,
                rule: handle,
            },
            _ => {
                let before = chain
                    .rules
                    .iter()
                    .take_while(|other| other.number < rule.number)
                    .filter(|other| other.text == rule.text)
                    .count();
                RuleId::Text {
                    text: rule.text.clone(),
                    occurrence: u32::try_from(before).unwrap_or(u32::MAX),
                }
            }
        };
        RuleKey::new(table, chain, id)
    }

    /// The key of a base chain's policy.
    pub fn of_policy(table: &Table, chain: &Chain) -> Self {
        RuleKey::new(table, chain, RuleId::Policy)
    }

    /// The same for all rules of a chain that have the same words.
    fn twins(&self) -> Option<RuleKey> {
        match &self.id {
            RuleId::Text { text, .. } => {
                let mut key = self.clone();
                key.id = RuleId::Text {
                    text: text.clone(),
                    occurrence: 0,
                };
                Some(key)
            }
            _ => None,
        }
    }
}

/// A rule or policy as one reading shows it.
struct Seen {
    reading: usize,
    counter: Option<Counter>,
    rule: RuleRef,
    rendered: bool,
}

/// Follows every rule and policy through a series of readings, which have to be in the order of time.
///
/// A rule that appears on the way starts at 0; one that vanishes counts up to its last reading. Where the number of rules with
/// the same words changes, nobody can tell which of them went, and that step is not known for any of them.
pub fn counter_deltas(series: &[(Timestamp, &RuleSet)]) -> Vec<RuleDelta> {
    let mut followed: BTreeMap<RuleKey, Vec<Seen>> = BTreeMap::new();
    let mut order: Vec<RuleKey> = Vec::new();
    let mut twins: BTreeMap<RuleKey, Vec<u32>> = BTreeMap::new();
    for (reading, (_, rule_set)) in series.iter().enumerate() {
        for (key, seen) in rules_and_policies(reading, rule_set) {
            if let Some(words) = key.twins() {
                let counts = twins.entry(words).or_insert_with(|| vec![0; series.len()]);
                counts[reading] = counts[reading].saturating_add(1);
            }
            if !followed.contains_key(&key) {
                order.push(key.clone());
            }
            let readings = followed.entry(key).or_default();
            // A damaged dump may list a chain twice.
            if readings.last().is_none_or(|last| last.reading < reading) {
                readings.push(seen);
            }
        }
    }
    let times: Vec<Timestamp> = series.iter().map(|(time, _)| *time).collect();
    order
        .into_iter()
        .filter_map(|key| {
            let seen = followed.remove(&key)?;
            let counts = key.twins().and_then(|words| twins.get(&words));
            delta(key, &seen, &times, counts.map(Vec::as_slice))
        })
        .collect()
}

fn rules_and_policies(reading: usize, rule_set: &RuleSet) -> Vec<(RuleKey, Seen)> {
    let mut all = Vec::new();
    for table in &rule_set.tables {
        for chain in &table.chains {
            // Counted along, so that long chains of equal words stay linear.
            let mut occurrences: BTreeMap<&str, u32> = BTreeMap::new();
            for rule in &chain.rules {
                let key = match rule.handle {
                    Some(_) if table.backend != RuleBackend::IptablesLegacy => {
                        RuleKey::of_rule(table, chain, rule)
                    }
                    _ => {
                        let occurrence = occurrences.entry(&rule.text).or_default();
                        let id = RuleId::Text {
                            text: rule.text.clone(),
                            occurrence: *occurrence,
                        };
                        *occurrence += 1;
                        RuleKey::new(table, chain, id)
                    }
                };
                let seen = Seen {
                    reading,
                    counter: rule.counter,
                    rule: table.rule_ref(chain, rule, &[]),
                    rendered: rule.rendered,
                };
                all.push((key, seen));
            }
            if let Some(base) = &chain.base {
                let seen = Seen {
                    reading,
                    counter: chain.policy_counter,
                    rule: table.policy_ref(chain, base.policy),
                    rendered: false,
                };
                all.push((RuleKey::of_policy(table, chain), seen));
            }
        }
    }
    all
}

fn delta(
    key: RuleKey,
    seen: &[Seen],
    times: &[Timestamp],
    twins: Option<&[u32]>,
) -> Option<RuleDelta> {
    let (first, last) = (seen.first()?, seen.last()?);
    let time = |reading: usize| times.get(reading).copied();
    let mut steps = Steps::new(times, twins);
    if first.reading > 0 {
        steps.begin_at_zero(first.reading - 1);
    }
    for pair in seen.windows(2) {
        let [before, after] = pair else { continue };
        steps.reading(before);
        if after.reading > before.reading + 1 {
            steps.forget();
        }
    }
    steps.reading(last);
    let (packets, bytes) = (steps.total(|s| s.packets), steps.total(|s| s.bytes));
    let appeared = (first.reading > 0).then(|| time(first.reading)).flatten();
    let vanished = time(last.reading + 1);
    let words = seen.iter().rev().find(|s| !s.rendered).unwrap_or(last);
    let mut rule = words.rule.clone();
    rule.number = last.rule.number;
    Some(RuleDelta {
        rule,
        key,
        appeared,
        vanished,
        packets,
        bytes,
        ran_backwards: steps.ran_backwards,
        steps: steps.steps,
    })
}

/// The steps of one counter. Readings that do not show it (nft's JSON shows no policy counters) are passed over.
struct Steps<'a> {
    times: &'a [Timestamp],
    twins: Option<&'a [u32]>,
    /// The last reading, and its counter; none after the rule was gone in between.
    last: Option<(usize, Option<Counter>)>,
    counted: bool,
    steps: Vec<RuleStep>,
    ran_backwards: bool,
}

impl<'a> Steps<'a> {
    fn new(times: &'a [Timestamp], twins: Option<&'a [u32]>) -> Self {
        Steps {
            times,
            twins,
            last: None,
            counted: false,
            steps: Vec::new(),
            ran_backwards: false,
        }
    }

    fn begin_at_zero(&mut self, reading: usize) {
        self.last = Some((reading, Some(Counter::default())));
    }

    /// The rule was not there in between: what it counted before says nothing about what it counts now.
    fn forget(&mut self) {
        self.last = self.last.map(|(reading, _)| (reading, None));
    }

    fn reading(&mut self, seen: &Seen) {
        let Some(counter) = seen.counter else {
            return;
        };
        self.counted = true;
        if let Some((from, before)) = self.last {
            self.step(from, before, seen.reading, counter);
        }
        self.last = Some((seen.reading, Some(counter)));
    }

    fn step(&mut self, from: usize, before: Option<Counter>, to: usize, after: Counter) {
        let clear = self.twins.is_none_or(|counts| {
            let counts = counts.get(from..=to).unwrap_or_default();
            counts.iter().all(|count| *count <= 1)
                || counts.windows(2).all(|pair| pair[0] == pair[1])
        });
        let difference = before.filter(|_| clear).map(|before| {
            let packets = after.packets.checked_sub(before.packets);
            packets.zip(after.bytes.checked_sub(before.bytes))
        });
        self.ran_backwards |= difference == Some(None);
        let (packets, bytes) = difference.flatten().unzip();
        if let (Some(from), Some(to)) = (self.times.get(from), self.times.get(to)) {
            self.steps.push(RuleStep {
                from: *from,
                to: *to,
                packets,
                bytes,
            });
        }
    }

    fn total(&self, part: fn(&RuleStep) -> Option<u64>) -> Option<u64> {
        if !self.counted {
            return None;
        }
        self.steps
            .iter()
            .try_fold(0u64, |sum, step| Some(sum.saturating_add(part(step)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_iptables_save;
    use super::*;

    fn legacy(rules: &str) -> RuleSet {
        let text = format!("*filter\n:INPUT DROP [3:180]\n{rules}COMMIT\n");
        let reading = read_iptables_save(&text, Family::Ip, RuleBackend::IptablesLegacy);
        assert_eq!(reading.complaints, []);
        reading.rule_set
    }

    fn deltas(series: &[&str]) -> Vec<RuleDelta> {
        let sets: Vec<RuleSet> = series.iter().map(|rules| legacy(rules)).collect();
        let series: Vec<(Timestamp, &RuleSet)> = sets
            .iter()
            .enumerate()
            .map(|(at, set)| (Timestamp(at as u64 * 10), set))
            .collect();
        counter_deltas(&series)
    }

    fn of<'a>(all: &'a [RuleDelta], text: &str) -> Vec<&'a RuleDelta> {
        all.iter().filter(|d| d.rule.text == text).collect()
    }

    #[test]
    fn a_rule_is_recognised_by_its_words_when_another_comes_before_it() {
        let all = deltas(&[
            "[5:300] -A INPUT -j DROP\n",
            "[2:120] -A INPUT -i lo -j ACCEPT\n[12:720] -A INPUT -j DROP\n",
        ]);
        let drop = of(&all, "-A INPUT -j DROP")[0];
        assert_eq!(
            (drop.packets, drop.bytes, drop.appeared),
            (Some(7), Some(420), None)
        );
        assert_eq!(drop.rule.number, Some(2));
        let new = of(&all, "-A INPUT -i lo -j ACCEPT")[0];
        assert_eq!((new.packets, new.appeared), (Some(2), Some(Timestamp(10))));
        assert_eq!(new.steps[0].from, Timestamp(0));
        let policy = of(&all, "-P INPUT DROP")[0];
        assert_eq!((policy.packets, &policy.key.id), (Some(0), &RuleId::Policy));
    }

    #[test]
    fn a_counter_that_ran_backwards_is_unseen() {
        let all = deltas(&[
            "[5:300] -A INPUT -j DROP\n",
            "[1:60] -A INPUT -j DROP\n",
            "[4:240] -A INPUT -j DROP\n",
        ]);
        let drop = of(&all, "-A INPUT -j DROP")[0];
        assert!(drop.ran_backwards);
        assert_eq!(drop.packets, None);
        assert_eq!(
            drop.steps.iter().map(|s| s.packets).collect::<Vec<_>>(),
            [None, Some(3)]
        );
    }

    #[test]
    fn a_rule_that_vanishes_counts_up_to_its_last_reading() {
        let all = deltas(&[
            "[5:300] -A INPUT -j DROP\n",
            "[9:540] -A INPUT -j DROP\n",
            "",
        ]);
        let drop = of(&all, "-A INPUT -j DROP")[0];
        assert_eq!(
            (drop.packets, drop.vanished),
            (Some(4), Some(Timestamp(20)))
        );
    }

    #[test]
    fn twins_are_told_apart_only_while_their_number_is_the_same() {
        let all = deltas(&[
            "[5:300] -A INPUT -j DROP\n[1:60] -A INPUT -j DROP\n",
            "[6:360] -A INPUT -j DROP\n[1:60] -A INPUT -j DROP\n",
            "[8:480] -A INPUT -j DROP\n",
        ]);
        let twins = of(&all, "-A INPUT -j DROP");
        let steps = |d: &RuleDelta| d.steps.iter().map(|s| s.packets).collect::<Vec<_>>();
        assert_eq!(steps(twins[0]), [Some(1), None]);
        assert_eq!(twins[0].packets, None);
        assert_eq!(steps(twins[1]), [Some(0)]);
    }
}
