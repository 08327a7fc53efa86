//! Several dumps of one host put together.

use transect_path::RuleBackend;

use super::{Action, Chain, Rule, RuleSet, Table};

impl RuleSet {
    /// Adds another dump of the same moment.
    ///
    /// A table that both have is put together and not listed twice: words and matches from `iptables-nft-save`, handles and
    /// counters from nft; words of nft's own rules from its text form. Where a chain of the two dumps does not fit rule by
    /// rule (it was changed in between), nft's form stands as it is.
    pub fn merge(&mut self, other: RuleSet) {
        for incoming in other.tables {
            let same = self.tables.iter_mut().find(|table| {
                (table.family, in_nf_tables(table)) == (incoming.family, in_nf_tables(&incoming))
                    && table.name == incoming.name
            });
            match same {
                Some(table) => merge_table(table, incoming),
                None => self.tables.push(incoming),
            }
        }
    }

    /// Takes over words and matches that `known`, an earlier and fuller reading, has for the same nf_tables rules (by
    /// handle). For readings that hold nft's JSON alone.
    pub fn adopt(&mut self, known: &RuleSet) {
        for table in self.tables.iter_mut().filter(|table| in_nf_tables(table)) {
            let Some(from) = known.tables.iter().find(|from| {
                in_nf_tables(from)
                    && (from.family, &from.name) == (table.family, &table.name)
                    && (from.handle.is_none()
                        || table.handle.is_none()
                        || from.handle == table.handle)
            }) else {
                continue;
            };
            table.backend = from.backend;
            for chain in &mut table.chains {
                let Some(from) = from.chain(&chain.name) else {
                    continue;
                };
                for rule in chain.rules.iter_mut().filter(|rule| rule.rendered) {
                    let same = |from: &&Rule| from.handle.is_some() && from.handle == rule.handle;
                    if let Some(from) = from.rules.iter().find(same).filter(|from| !from.rendered) {
                        rule.text.clone_from(&from.text);
                        rule.statements.clone_from(&from.statements);
                        rule.rendered = false;
                    }
                }
            }
        }
    }
}

fn in_nf_tables(table: &Table) -> bool {
    table.backend != RuleBackend::IptablesLegacy
}

fn merge_table(table: &mut Table, other: Table) {
    if other.backend == RuleBackend::IptablesNft {
        table.backend = other.backend;
    }
    table.handle = table.handle.or(other.handle);
    if table.flags.is_empty() {
        table.flags = other.flags;
    }
    for chain in other.chains {
        match table.chains.iter_mut().find(|own| own.name == chain.name) {
            Some(own) => merge_chain(own, chain),
            None => table.chains.push(chain),
        }
    }
    for set in other.sets {
        if table.set(&set.name).is_none() {
            table.sets.push(set);
        }
    }
}

fn merge_chain(chain: &mut Chain, mut other: Chain) {
    chain.handle = chain.handle.or(other.handle);
    match (&mut chain.base, other.base.take()) {
        // nft 1.0.6 leaves the device out of its JSON.
        (Some(base), Some(from)) if base.devices.is_empty() => base.devices = from.devices,
        (Some(_), _) => {}
        (None, from) => chain.base = from,
    }
    chain.policy_counter = chain.policy_counter.or(other.policy_counter);
    let fits = chain.rules.len() == other.rules.len()
        && chain
            .rules
            .iter()
            .zip(&other.rules)
            .all(|(a, b)| could_be_the_same(a, b));
    if fits {
        for (rule, other) in chain.rules.iter_mut().zip(other.rules) {
            merge_rule(rule, other);
        }
    } else if chain.rules.iter().all(|rule| rule.handle.is_none()) {
        // The one with handles is nft's, which is told apart from reading to reading.
        chain.rules = other.rules;
    }
}

/// Whether two dumps may show the same rule: the same handle, or as far as it shows the same verdict.
fn could_be_the_same(a: &Rule, b: &Rule) -> bool {
    if let (Some(a), Some(b)) = (a.handle, b.handle) {
        return a == b;
    }
    match (a.action(), b.action()) {
        // nft shows iptables' targets by name only, or translated into words of its own.
        (Action::Accept, b) => b == Action::Accept,
        (Action::Drop, b) => b == Action::Drop,
        (Action::Return, b) => b == Action::Return,
        (Action::Jump(a), Action::Jump(b)) => a == b,
        (Action::Goto(a), Action::Goto(b)) => a == b,
        (Action::Jump(_) | Action::Goto(_), b) => matches!(b, Action::Unknown(_)),
        (a, Action::Jump(_) | Action::Goto(_)) => matches!(a, Action::Unknown(_)),
        (_, Action::Accept | Action::Drop | Action::Return) => false,
        _ => true,
    }
}

/// Whose words are the rule's own: iptables' before nft's translation of them, either before words put together here.
fn rank(rule: &Rule) -> u8 {
    match () {
        () if rule.rendered => 0,
        () if rule.text.starts_with("-A ") => 2,
        () => 1,
    }
}

fn merge_rule(rule: &mut Rule, other: Rule) {
    if other.handle.is_some() && rule.handle.is_none() {
        rule.counter = other.counter.or(rule.counter);
    }
    rule.handle = rule.handle.or(other.handle);
    rule.counter = rule.counter.or(other.counter);
    let (own, others) = (rank(rule), rank(&other));
    // Between nft's JSON and its text, the JSON is the exact form.
    let exact = if own.max(others) == 2 {
        others > own
    } else {
        others < own
    };
    if exact {
        rule.statements = other.statements;
    }
    if others > own {
        rule.text = other.text;
        rule.rendered = other.rendered;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Counter, Family, Statement, Test, read_iptables_save, read_nft_json, read_nft_text,
    };
    use super::*;

    const JSON: &str = r#"{"nftables": [
        {"table": {"family": "ip", "name": "filter", "handle": 6}},
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": 5, "expr": [
            {"xt": {"type": "match", "name": "multiport"}}, {"counter": {"packets": 7, "bytes": 420}}, {"drop": null}]}}]}"#;
    const SAVE: &str = "# Generated by iptables-nft-save v1.8.9 (nf_tables) on x\n*filter\n:INPUT DROP [0:0]\n\
        [6:360] -A INPUT -p tcp -m multiport --dports 1,2 -j DROP\nCOMMIT\n";
    const TEXT: &str = "table ip filter { # handle 6\nchain INPUT { # handle 1\ntype filter hook input priority filter; policy drop;\n\
        meta l4proto tcp tcp dport { 1, 2 } counter packets 7 bytes 420 drop # handle 5\n}\n}\n";

    fn json() -> RuleSet {
        read_nft_json(JSON).expect("JSON").rule_set
    }

    fn save() -> RuleSet {
        read_iptables_save(SAVE, Family::Ip, RuleBackend::IptablesNft).rule_set
    }

    #[test]
    fn iptables_words_and_nft_handles_become_one_rule() {
        let orders = [
            [json(), save(), read_nft_text(TEXT).rule_set],
            [read_nft_text(TEXT).rule_set, save(), json()],
        ];
        for order in orders {
            let mut all = RuleSet::default();
            for one in order {
                all.merge(one);
            }
            assert_eq!(all.tables.len(), 1);
            assert_eq!(all.tables[0].backend, RuleBackend::IptablesNft);
            let rules: Vec<_> = all.rules().collect();
            assert_eq!(rules.len(), 1);
            let rule = rules[0].2;
            assert_eq!(
                rule.text,
                "-A INPUT -p tcp -m multiport --dports 1,2 -j DROP"
            );
            assert_eq!(rule.handle, Some(5));
            assert_eq!(
                rule.counter,
                Some(Counter {
                    packets: 7,
                    bytes: 420
                })
            );
            let unknown = |s: &Statement| matches!(s, Statement::Match(m) if matches!(m.test, Test::Unknown { .. }));
            assert!(!rule.statements.iter().any(unknown));
        }
    }

    #[test]
    fn chains_that_do_not_fit_keep_nft_s_form() {
        let mut all = json();
        let other = SAVE.replace("-j DROP", "-j ACCEPT");
        all.merge(read_iptables_save(&other, Family::Ip, RuleBackend::IptablesNft).rule_set);
        assert!(all.rules().all(|(_, _, rule)| rule.rendered));
    }

    #[test]
    fn legacy_tables_stay_apart() {
        let mut all = json();
        let legacy = SAVE.replace(
            "iptables-nft-save v1.8.9 (nf_tables)",
            "iptables-save v1.8.9",
        );
        all.merge(read_iptables_save(&legacy, Family::Ip, RuleBackend::IptablesLegacy).rule_set);
        assert_eq!(all.tables.len(), 2);
    }

    #[test]
    fn a_sample_adopts_the_words_of_the_full_reading() {
        let mut full = json();
        full.merge(save());
        let mut sample = json();
        sample.adopt(&full);
        // nft's JSON does not count the policy.
        full.tables[0].chains[0].policy_counter = None;
        assert_eq!(sample, full);
        let mut rebuilt = json();
        rebuilt.tables[0].handle = Some(99);
        rebuilt.adopt(&full);
        assert!(
            rebuilt.rules().all(|(_, _, rule)| rule.rendered),
            "another table of the same name"
        );
    }
}
