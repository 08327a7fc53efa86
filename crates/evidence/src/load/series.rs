//! Dumps put together into readings, in the order of their times.

use std::collections::BTreeMap;
use std::sync::Arc;

use transect_config::rules::RuleSet;
use transect_config::{HostConfig, Socket};
use transect_path::{Timestamp, Unseen};

use super::dump::{Dump, Part};
use crate::bundle::Phase;
use crate::counters::{Counters, Gathering};
use crate::model::Reading;

/// The dumps of one moment, by slot.
pub(super) type Dumps = BTreeMap<String, Arc<Dump>>;

/// Puts readings together, carrying on what a reading lacks from the one before.
#[derive(Default)]
pub(super) struct Series {
    readings: Vec<Reading>,
    /// The newest dump of each part of the configuration.
    config: Dumps,
    /// The newest dumps of each group of rule sets.
    rules: BTreeMap<RuleGroup, Dumps>,
    /// What the nf_tables dumps said together, with the words of the fullest reading.
    nf_tables: RuleSet,
    /// Where the counters of the dumps lie.
    gathering: Gathering,
}

/// Rule sets that are read together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RuleGroup {
    /// nft's JSON and text, and iptables-nft-save of both families: four views of the same tables.
    NfTables,
    Legacy4,
    Legacy6,
}

impl Series {
    /// Adds a reading; they must come in the order of their times.
    pub(super) fn push(&mut self, time: Timestamp, ended: Timestamp, phase: Phase, dumps: &Dumps) {
        let counters = counters(&mut self.gathering, dumps);
        let reading = Reading {
            time,
            ended,
            phase,
            counters,
            sockets: sockets(dumps),
            conntrack: dumps.values().find_map(|dump| match &dump.part {
                Part::Conntrack(entries) => Some(Arc::clone(entries)),
                _ => None,
            }),
            config: self.config(phase, dumps),
            rules: self.rules(dumps),
            unseen: unseen(dumps),
        };
        self.readings.push(reading);
    }

    /// The readings.
    pub(super) fn finish(self) -> Vec<Reading> {
        self.readings
    }

    /// The configuration as last read at this moment.
    fn config(&mut self, phase: Phase, dumps: &Dumps) -> Option<Arc<HostConfig>> {
        let before = self
            .readings
            .last()
            .and_then(|reading| reading.config.as_ref());
        let mut changed = before.is_none();
        for (slot, dump) in dumps {
            let Part::Config(part) = &dump.part else {
                continue;
            };
            changed |= match self.config.insert(slot.clone(), Arc::clone(dump)) {
                None => true,
                Some(old) if Arc::ptr_eq(&old, dump) => false,
                Some(old) => match &old.part {
                    // Between the full readings, statistics alone are no reason for another copy: they are among the
                    // counters.
                    Part::Config(old) if phase == Phase::Sample => {
                        without_statistics(old) != without_statistics(part)
                    }
                    _ => true,
                },
            };
        }
        if !changed {
            return before.cloned();
        }
        let mut config: Option<HostConfig> = None;
        for dump in self.config.values() {
            if let Part::Config(part) = &dump.part {
                add(config.get_or_insert_default(), part);
            }
        }
        config.map(Arc::new)
    }

    /// The rule sets as read at this moment; a group of which nothing was read stays as it was.
    fn rules(&mut self, dumps: &Dumps) -> Option<Arc<RuleSet>> {
        let before = self
            .readings
            .last()
            .and_then(|reading| reading.rules.as_ref());
        let mut found: BTreeMap<RuleGroup, Dumps> = BTreeMap::new();
        for (slot, dump) in dumps {
            if matches!(dump.part, Part::Rules(_)) {
                found
                    .entry(group_of(slot))
                    .or_default()
                    .insert(slot.clone(), Arc::clone(dump));
            }
        }
        let same = |group: &RuleGroup, new: &Dumps| {
            self.rules.get(group).is_some_and(|old| {
                old.len() == new.len()
                    && old
                        .iter()
                        .zip(new)
                        .all(|((a, x), (b, y))| a == b && Arc::ptr_eq(x, y))
            })
        };
        if found.iter().all(|(group, new)| same(group, new)) {
            return before.cloned();
        }
        if let Some(dumps) = found.get(&RuleGroup::NfTables) {
            let mut rules = merged(dumps);
            rules.adopt(&self.nf_tables);
            self.nf_tables = rules;
        }
        self.rules.extend(found);
        let mut all = self.nf_tables.clone();
        for group in [RuleGroup::Legacy4, RuleGroup::Legacy6] {
            if let Some(dumps) = self.rules.get(&group) {
                all.merge(merged(dumps));
            }
        }
        match before {
            Some(before) if **before == all => Some(Arc::clone(before)),
            _ => Some(Arc::new(all)),
        }
    }
}

fn group_of(slot: &str) -> RuleGroup {
    match slot {
        _ if slot.contains("ip6tables-legacy") => RuleGroup::Legacy6,
        _ if slot.contains("iptables-legacy") => RuleGroup::Legacy4,
        _ => RuleGroup::NfTables,
    }
}

/// Merges the dumps of one group: nft's JSON has the handles, its text and iptables-nft-save have the words.
fn merged(dumps: &Dumps) -> RuleSet {
    let rank = |slot: &str| match slot {
        "nft/ruleset.json" => 0,
        "nft/ruleset.txt" => 1,
        _ if slot.starts_with("iptables/list/") => 3,
        _ => 2,
    };
    let mut ranked: Vec<(&String, &Arc<Dump>)> = dumps.iter().collect();
    ranked.sort_by_key(|(slot, _)| rank(slot));
    // A listing has no more than the save; where both are there, it would only be a second opinion on the words.
    let saved = ranked.iter().any(|(slot, _)| rank(slot) == 2);
    let mut rules = RuleSet::default();
    for (slot, dump) in ranked {
        if let Part::Rules(part) = &dump.part
            && !(saved && rank(slot) == 3)
        {
            rules.merge(part.clone());
        }
    }
    rules
}

/// All counters of the moment. Where two dumps have one counter, the more exact one stands: `conntrack -S` before the table
/// of /proc, the kernel's own files before the tools that print them.
fn counters(gathering: &mut Gathering, dumps: &Dumps) -> Counters {
    let rank = |slot: &str| match slot {
        "ip/link.json" => 0,
        "conntrack/stats.txt" => 1,
        "nstat.txt" => 3,
        "netstat-s.txt" => 4,
        "net/dev" | "net/stat/nf_conntrack" => 5,
        _ => 2,
    };
    let mut ranked: Vec<(&String, &Arc<Dump>)> = dumps.iter().collect();
    ranked.sort_by_key(|(slot, _)| rank(slot));
    gathering.gather(ranked.into_iter().map(|(_, dump)| &dump.counters))
}

/// The sockets: from `ss`, else from `netstat -an`, else from the tables of /proc/net together.
fn sockets(dumps: &Dumps) -> Option<Arc<Vec<Socket>>> {
    let of = |dump: &Arc<Dump>| match &dump.part {
        Part::Sockets(sockets) => Some(Arc::clone(sockets)),
        _ => None,
    };
    let told = ["sockets.txt", "netstat-an.txt"]
        .iter()
        .find_map(|slot| dumps.get(*slot).and_then(of));
    if told.is_some() {
        return told;
    }
    let tables: Vec<Arc<Vec<Socket>>> = dumps.values().filter_map(of).collect();
    let all: Vec<Socket> = tables
        .iter()
        .flat_map(|sockets| sockets.iter().cloned())
        .collect();
    (!tables.is_empty()).then(|| Arc::new(all))
}

fn unseen(dumps: &Dumps) -> Vec<Unseen> {
    dumps
        .values()
        .filter_map(|dump| match &dump.part {
            Part::Unseen(unseen) => Some(unseen.as_slice()),
            _ => None,
        })
        .flatten()
        .cloned()
        .collect()
}

/// Adds the parts that `part` has and `config` has not; several dumps of filters (one for each device) are put together.
fn add(config: &mut HostConfig, part: &HostConfig) {
    fn missing<T: Clone>(into: &mut Option<T>, from: &Option<T>) {
        if into.is_none() {
            into.clone_from(from);
        }
    }
    // Links with statistics win over those that `ip address` shows in passing: their slot comes later in the alphabet.
    let links = part.links.as_ref().is_some_and(|links| {
        links.iter().any(|link| !link.statistics.is_empty()) || config.links.is_none()
    });
    if links {
        config.links.clone_from(&part.links);
    }
    missing(&mut config.addresses, &part.addresses);
    missing(&mut config.routes4, &part.routes4);
    missing(&mut config.policy_rules4, &part.policy_rules4);
    missing(&mut config.policy_rules6, &part.policy_rules6);
    missing(&mut config.neighbors, &part.neighbors);
    missing(&mut config.qdiscs, &part.qdiscs);
    // `ip route show table all` may show some of IPv6's; the dump of IPv6 alone shows all of them.
    if part.routes6.as_ref().map(Vec::len) > config.routes6.as_ref().map(Vec::len) {
        config.routes6.clone_from(&part.routes6);
    }
    if let Some(filters) = &part.filters {
        config
            .filters
            .get_or_insert_default()
            .extend(filters.iter().cloned());
    }
    for (name, value) in &part.sysctls.values {
        config
            .sysctls
            .values
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    for (device, features) in &part.features {
        config
            .features
            .entry(device.clone())
            .or_insert_with(|| features.clone());
    }
}

fn without_statistics(config: &HostConfig) -> HostConfig {
    let mut config = config.clone();
    for link in config.links.iter_mut().flatten() {
        link.statistics.clear();
    }
    for qdisc in config.qdiscs.iter_mut().flatten() {
        qdisc.statistics = None;
    }
    for action in config
        .filters
        .iter_mut()
        .flatten()
        .flat_map(|filter| &mut filter.actions)
    {
        action.statistics = None;
    }
    for neighbor in config.neighbors.iter_mut().flatten() {
        neighbor.probes = None;
    }
    config
}
