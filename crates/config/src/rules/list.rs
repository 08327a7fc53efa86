//! `iptables -nvxL [--line-numbers]`.

mod columns;

use transect_path::RuleBackend;

use super::save::{ChainIndex, append, base_chain};
use super::{Chain, Complaint, Counter, Family, Policy, Reading, Table};

/// Reads what `iptables -nvxL [--line-numbers]` prints, for one table or several one behind the other.
///
/// The listing does not say which table it is. Without `table`, the builtin chains tell: `PREROUTING` and `OUTPUT` alone are
/// `raw`, with `FORWARD` beside them `mangle`, with `POSTROUTING` but without `FORWARD` `nat`, else `filter` (`security` looks
/// the same: name it). The rules' words are put together from the columns ([`super::Rule::rendered`]) in iptables-save's
/// spelling; what a column says that is not known stands in them as it is, as an unknown match.
///
/// `family` is believed unless the addresses say otherwise.
pub fn read_iptables_list(
    text: &str,
    family: Family,
    backend: RuleBackend,
    table: Option<&str>,
) -> Reading {
    let mut reading = Reading::default();
    let family = match text.contains("::/0") && !text.contains("0.0.0.0/0") {
        true => Family::Ip6,
        false => family,
    };
    for block in tables(text) {
        let name = table.map_or_else(|| name_of(&block), str::to_owned);
        let mut table = Table::new(backend, family, name);
        for chain in &block {
            chain.announce(&mut table);
        }
        let chains = ChainIndex::of(&table);
        for chain in &block {
            for (number, line) in &chain.lines {
                if let Err(expected) = row(&mut table, &chains, &chain.name, line) {
                    reading
                        .complaints
                        .push(Complaint::new(*number, expected, line));
                }
            }
        }
        reading.rule_set.tables.push(table);
    }
    if reading.rule_set.tables.is_empty() && !text.trim().is_empty() {
        let first = text.lines().next().unwrap_or_default();
        reading
            .complaints
            .push(Complaint::new(1, "Chain NAME (policy …)", first));
    }
    reading
}

/// A chain's header and the lines below it.
struct Listed<'a> {
    name: String,
    policy: Option<(Policy, Option<Counter>)>,
    lines: Vec<(usize, &'a str)>,
}

impl Listed<'_> {
    fn announce(&self, table: &mut Table) {
        let base = self
            .policy
            .and_then(|(policy, _)| base_chain(table.family, &table.name, &self.name, policy));
        table.chains.push(Chain {
            name: self.name.clone(),
            handle: None,
            policy_counter: self.policy.and_then(|(_, counter)| counter),
            base,
            rules: Vec::new(),
        });
    }
}

/// `Chain INPUT (policy DROP 5 packets, 300 bytes)`, `Chain MINE (2 references)`.
fn header(line: &str) -> Option<Listed<'_>> {
    let (name, rest) = line.strip_prefix("Chain ")?.split_once(" (")?;
    let words: Vec<&str> = rest.trim_end_matches(')').split_whitespace().collect();
    let policy = match words.as_slice() {
        ["policy", policy, rest @ ..] => {
            let policy = match *policy {
                "DROP" => Policy::Drop,
                _ => Policy::Accept,
            };
            let counter = match rest {
                [packets, "packets,", bytes, "bytes"] => packets
                    .parse()
                    .ok()
                    .zip(bytes.parse().ok())
                    .map(|(packets, bytes)| Counter { packets, bytes }),
                _ => None,
            };
            Some((policy, counter))
        }
        _ => None,
    };
    Some(Listed {
        name: name.to_owned(),
        policy,
        lines: Vec::new(),
    })
}

/// The chains of each table: a new one begins when a builtin chain's name comes again, or follows a user's chain, or comes
/// out of order.
fn tables(text: &str) -> Vec<Vec<Listed<'_>>> {
    const BUILTIN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let mut tables: Vec<Vec<Listed<'_>>> = Vec::new();
    let mut last = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(chain) = header(line) {
            let place = BUILTIN.iter().position(|name| *name == chain.name);
            let begins = match (place, last) {
                (_, None) => true,
                (Some(place), Some(last)) => last == BUILTIN.len() || place <= last,
                (None, Some(_)) => false,
            };
            last = Some(place.unwrap_or(BUILTIN.len()));
            if begins {
                tables.push(Vec::new());
            }
            if let Some(table) = tables.last_mut() {
                table.push(chain);
            }
        } else if let Some(chain) = tables.last_mut().and_then(|table| table.last_mut())
            && !line.trim().is_empty()
            && !line.trim_start().starts_with("pkts")
            && !line.trim_start().starts_with("num ")
            && !line.trim_start().starts_with("target ")
            && !line.starts_with('#')
        {
            chain.lines.push((index + 1, line));
        }
    }
    tables
}

fn name_of(chains: &[Listed<'_>]) -> String {
    let has = |name: &str| chains.iter().any(|chain| chain.name == name);
    match (has("PREROUTING"), has("FORWARD"), has("POSTROUTING")) {
        (true, true, _) => "mangle",
        (_, false, true) => "nat",
        (true, false, false) => "raw",
        _ => "filter",
    }
    .to_owned()
}

/// One line below a header.
fn row(
    table: &mut Table,
    chains: &ChainIndex,
    chain: &str,
    line: &str,
) -> Result<(), &'static str> {
    let row = columns::Row::read(line)
        .ok_or("[NUM] PKTS BYTES [TARGET] PROT OPT IN OUT SOURCE DESTINATION … (iptables -nvxL)")?;
    let arguments = row.arguments();
    let text = columns::spell(chain, &arguments);
    let rule = append(table, chains, chain, &text, &arguments, Some(row.counter))?;
    rule.rendered = true;
    Ok(())
}
