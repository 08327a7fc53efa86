//! `nft [-a] [-s] list ruleset`.

use transect_path::RuleBackend;

use super::nft_json::{hook_of_name, recognise_iptables};
use super::nft_lower::{element, field_of_type, fields_of_expression, lower_rule, map_element};
use super::nft_words::{parse_elements, parse_key, parse_rule, words};
use super::{
    BaseChain, Chain, Complaint, Family, Field, Policy, Reading, Rule, Set, SetElement, Table,
};

/// Reads what `nft [-a] [-s] list ruleset` prints: whole tables; what stands outside of them is complained about.
pub fn read_nft_text(text: &str) -> Reading {
    let mut reader = Reader::default();
    let mut pending = String::new();
    let mut begun = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            reader.warning(comment.trim());
            continue;
        }
        if pending.is_empty() {
            begun = index + 1;
        } else {
            pending.push(' ');
        }
        pending.push_str(line);
        if reader.is_block(&pending) || depth(&pending) <= 0 {
            reader.line(begun, &std::mem::take(&mut pending));
        }
    }
    if !pending.is_empty() {
        reader.complain(begun, "the closing brace", &pending);
    }
    reader.finish()
}

/// How many braces are open behind a line, quotes left out.
fn depth(line: &str) -> i64 {
    let mut quoted = false;
    line.chars().fold(0, |depth, c| match c {
        '"' => {
            quoted = !quoted;
            depth
        }
        '{' if !quoted => depth + 1,
        '}' if !quoted => depth - 1,
        _ => depth,
    })
}

/// Separates `# handle 7` from the end of a line.
fn split_handle(line: &str) -> (&str, Option<u64>) {
    match line.rsplit_once("# handle ") {
        Some((rest, number)) => match number.trim().parse() {
            Ok(handle) => (rest.trim_end(), Some(handle)),
            Err(_) => (line, None),
        },
        None => (line, None),
    }
}

/// A rule's text with the values of its counters left out, as `nft -s` prints it.
pub(super) fn stateless(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for (index, part) in line.split('"').enumerate() {
        if index > 0 {
            text.push('"');
        }
        if index % 2 == 1 {
            text.push_str(part);
            continue;
        }
        let part = without_use(part);
        let mut rest = part.as_str();
        while let Some((before, after)) = rest.split_once("counter packets ") {
            text.push_str(before);
            text.push_str("counter");
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            rest = match after.strip_prefix(" bytes ") {
                Some(after) => after.trim_start_matches(|c: char| c.is_ascii_digit()),
                None => after,
            };
        }
        text.push_str(rest);
    }
    text
}

/// Takes out how much of a quota is used: `quota over 300 bytes used 60 bytes`.
fn without_use(part: &str) -> String {
    let Some((before, after)) = part
        .split_once(" used ")
        .filter(|(before, _)| before.contains("quota "))
    else {
        return part.to_owned();
    };
    let mut words = after.splitn(3, ' ');
    let (amount, unit, rest) = (words.next(), words.next(), words.next());
    match (amount.map(str::parse::<u64>), unit) {
        (Some(Ok(_)), Some("bytes" | "kbytes" | "mbytes")) => match rest {
            Some(rest) => format!("{before} {rest}"),
            None => before.to_owned(),
        },
        _ => part.to_owned(),
    }
}

#[derive(Default)]
struct Reader {
    reading: Reading,
    /// The blocks that are open, the outermost first.
    open: Vec<Block>,
    /// Tables of which nft itself says that iptables manages them.
    managed: Vec<(Family, String)>,
    /// The words between the braces of the open set's `elements`; read when its type is known.
    elements: Vec<String>,
    set_types: SetTypes,
}

#[derive(Default)]
struct SetTypes {
    key: Vec<Field>,
    verdicts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Table,
    Chain,
    Set,
    /// A counter, quota, flow table, helper, …
    Other,
}

impl Reader {
    fn complain(&mut self, line: usize, expected: &str, found: &str) {
        self.reading
            .complaints
            .push(Complaint::new(line, expected, found));
    }

    /// `Warning: table ip filter is managed by iptables-nft, do not touch!`
    fn warning(&mut self, comment: &str) {
        let Some(rest) = comment.strip_prefix("Warning: table ") else {
            return;
        };
        let mut parts = rest.split_whitespace();
        if let (Some(family), Some(name)) = (parts.next(), parts.next())
            && rest.contains("managed by iptables-nft")
            && let Ok(family) = family.parse()
        {
            self.managed.push((family, name.to_owned()));
        }
    }

    /// Whether the line opens a block: only tables, and what stands right in them, are blocks.
    fn is_block(&self, line: &str) -> bool {
        let (line, _) = split_handle(line);
        line.ends_with('{')
            && match self.open.last() {
                None => line.starts_with("table "),
                Some(Block::Table) => true,
                Some(_) => false,
            }
    }

    fn table(&mut self) -> Option<&mut Table> {
        self.reading.rule_set.tables.last_mut()
    }

    fn line(&mut self, number: usize, line: &str) {
        if self.is_block(line) {
            return self.open_block(number, line);
        }
        if line == "}" {
            if let Some(Block::Set) = self.open.pop() {
                self.finish_set();
            }
            return;
        }
        match self.open.last() {
            Some(Block::Table) => {
                if let (Some(flags), Some(table)) = (line.strip_prefix("flags "), self.table()) {
                    table.flags = list(flags);
                }
            }
            Some(Block::Chain) => self.chain_line(number, line),
            Some(Block::Set) => self.set_line(line),
            Some(Block::Other) => {}
            None => self.complain(number, "table FAMILY NAME {", line),
        }
    }

    fn open_block(&mut self, number: usize, line: &str) {
        let (head, handle) = split_handle(line);
        let parts: Vec<&str> = head.trim_end_matches('{').split_whitespace().collect();
        let block = match parts.as_slice() {
            ["table", family, name] => match family.parse::<Family>() {
                Ok(family) => {
                    let mut table = Table::new(RuleBackend::Nft, family, *name);
                    table.handle = handle;
                    self.reading.rule_set.tables.push(table);
                    Block::Table
                }
                Err(_) => {
                    self.complain(
                        number,
                        "a family: ip, ip6, inet, arp, bridge or netdev",
                        line,
                    );
                    Block::Other
                }
            },
            ["chain", name] => {
                let chain = Chain {
                    name: (*name).to_owned(),
                    handle,
                    base: None,
                    policy_counter: None,
                    rules: Vec::new(),
                };
                if let Some(table) = self.table() {
                    table.chains.push(chain);
                }
                Block::Chain
            }
            [kind @ ("set" | "map"), name] => {
                let set = Set {
                    name: (*name).to_owned(),
                    handle,
                    key: Vec::new(),
                    map: *kind == "map",
                    verdicts: false,
                    flags: Vec::new(),
                    elements: Vec::new(),
                };
                if let Some(table) = self.table() {
                    table.sets.push(set);
                }
                self.set_types = SetTypes::default();
                Block::Set
            }
            _ => Block::Other,
        };
        self.open.push(block);
    }

    fn chain_line(&mut self, number: usize, line: &str) {
        let Some(table) = self.reading.rule_set.tables.last_mut() else {
            return;
        };
        let family = table.family;
        let Some(chain) = table.chains.last_mut() else {
            return;
        };
        if line.starts_with("type ") && line.contains(" hook ") {
            match base_chain(family, line) {
                Some(base) => chain.base = Some(base),
                None => {
                    let expected =
                        "type KIND hook HOOK [device DEV] priority PRIORITY; policy POLICY;";
                    self.complain(number, expected, line);
                }
            }
            return;
        }
        if line.starts_with("comment ") && chain.rules.is_empty() {
            return;
        }
        let (text, handle) = split_handle(line);
        let (expressions, _) = parse_rule(&words(text));
        let lowered = lower_rule(&expressions);
        chain.rules.push(Rule {
            number: u32::try_from(chain.rules.len() + 1).unwrap_or(u32::MAX),
            handle,
            text: stateless(text),
            rendered: false,
            counter: lowered.counter,
            statements: lowered.statements,
        });
    }

    fn set_line(&mut self, line: &str) {
        if let Some(elements) = line.strip_prefix("elements = {") {
            self.elements = words(elements);
        } else if let Some(kinds) = line.strip_prefix("type ") {
            let (key, data) = kinds.split_once(" : ").unwrap_or((kinds, ""));
            self.set_types.key = key
                .split(" . ")
                .map(|kind| field_of_type(kind.trim()))
                .collect();
            self.set_types.verdicts = data.trim() == "verdict";
        } else if let Some(kinds) = line.strip_prefix("typeof ") {
            let (key, data) = kinds.split_once(" : ").unwrap_or((kinds, ""));
            self.set_types.key = match parse_key(&words(key)) {
                Some(key) => fields_of_expression(&key),
                None => vec![Field::Unknown],
            };
            self.set_types.verdicts = data.trim() == "verdict";
        } else if let Some(set) = self.table().and_then(|table| table.sets.last_mut()) {
            if let Some(flags) = line.strip_prefix("flags ") {
                set.flags.extend(list(flags));
            } else if line.starts_with("timeout ") && !set.flags.iter().any(|f| f == "timeout") {
                set.flags.push("timeout".to_owned());
            }
        }
    }

    fn finish_set(&mut self) {
        let words = std::mem::take(&mut self.elements);
        let types = std::mem::take(&mut self.set_types);
        let Some(set) = self.table().and_then(|table| table.sets.last_mut()) else {
            return;
        };
        set.elements = parse_elements(&words, set.map)
            .iter()
            .map(|item| match set.map {
                true => map_element(item, &types.key, types.verdicts),
                false => SetElement {
                    key: element(item, &types.key),
                    verdict: None,
                    data: None,
                },
            })
            .collect();
        set.key = types.key;
        set.verdicts = types.verdicts;
    }

    fn finish(mut self) -> Reading {
        for table in &mut self.reading.rule_set.tables {
            recognise_iptables(table);
            let named =
                |(family, name): &(Family, String)| *family == table.family && *name == table.name;
            if self.managed.iter().any(named) {
                table.backend = RuleBackend::IptablesNft;
            }
        }
        self.reading
    }
}

/// Words joined by commas.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_owned()).collect()
}

/// `type filter hook ingress device "lo" priority filter - 5; policy drop;`
pub(super) fn base_chain(family: Family, line: &str) -> Option<BaseChain> {
    let words = words(line);
    let after = |word: &str| {
        let at = words.iter().position(|w| w == word)?;
        Some(&words[at + 1..])
    };
    let first = |word: &str| after(word)?.first().map(String::as_str);
    let priority: Vec<&str> = after("priority")?
        .iter()
        .map(String::as_str)
        .take_while(|word| *word != ";")
        .collect();
    let devices = match (after("device"), after("devices")) {
        (Some(rest), _) => rest.first().into_iter().collect(),
        (None, Some(rest)) => rest
            .iter()
            .take_while(|word| *word != "}")
            .filter(|word| !matches!(word.as_str(), "=" | "{" | ","))
            .collect::<Vec<_>>(),
        (None, None) => Vec::new(),
    };
    Some(BaseChain {
        kind: first("type")?.parse().ok()?,
        hook: hook_of_name(first("hook")?)?,
        priority: read_priority(family, &priority)?,
        policy: match first("policy") {
            Some("drop") => Policy::Drop,
            _ => Policy::Accept,
        },
        devices: devices
            .into_iter()
            .map(|name| name.trim_matches('"').to_owned())
            .collect(),
    })
}

/// `0`, `-500`, `filter`, `mangle - 5`: the names are those of nft(8).
fn read_priority(family: Family, words: &[&str]) -> Option<i32> {
    let named = |name: &str| match (family, name) {
        (Family::Bridge, "dstnat") => Some(-300),
        (Family::Bridge, "filter") => Some(-200),
        (Family::Bridge, "out") => Some(100),
        (Family::Bridge, "srcnat") => Some(300),
        (_, "raw") => Some(-300),
        (_, "mangle") => Some(-150),
        (_, "dstnat") => Some(-100),
        (_, "filter") => Some(0),
        (_, "security") => Some(50),
        (_, "srcnat") => Some(100),
        _ => name.parse::<i32>().ok(),
    };
    match words {
        [name] => named(name),
        [name, "+", offset] => named(name)?.checked_add(offset.parse().ok()?),
        [name, "-", offset] => named(name)?.checked_sub(offset.parse().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_their_values_outside_of_quotes() {
        assert_eq!(
            stateless(
                r#"tcp dport 1 counter packets 5 bytes 300 drop comment "counter packets 5 bytes 3""#
            ),
            r#"tcp dport 1 counter drop comment "counter packets 5 bytes 3""#
        );
        assert_eq!(
            stateless("quota over 330 bytes used 60 bytes counter packets 1 bytes 60 drop"),
            "quota over 330 bytes counter drop"
        );
    }

    #[test]
    fn priorities_by_name_and_number() {
        let of = |words: &[&str]| read_priority(Family::Inet, words);
        assert_eq!(of(&["filter", "-", "5"]), Some(-5));
        assert_eq!(of(&["-500"]), Some(-500));
        assert_eq!(of(&["srcnat", "+", "10"]), Some(110));
        assert_eq!(of(&["nonsense"]), None);
        assert_eq!(read_priority(Family::Bridge, &["filter"]), Some(-200));
    }

    #[test]
    fn a_rule_may_go_over_several_lines() {
        let reading = read_nft_text(
            "table ip t { # handle 4\n\tchain c { # handle 1\n\t\ttype filter hook input priority filter; policy drop;\n\
             \t\tip saddr { 10.0.0.1,\n\t\t\t     10.0.0.2 } drop # handle 9\n\t}\n}\n",
        );
        assert_eq!(reading.complaints, []);
        let (table, chain, rule) = reading.rule_set.rules().next().expect("one rule");
        assert_eq!(
            (table.handle, chain.handle, rule.handle),
            (Some(4), Some(1), Some(9))
        );
        assert_eq!(rule.text, "ip saddr { 10.0.0.1, 10.0.0.2 } drop");
        assert_eq!(rule.action(), super::super::Action::Drop);
    }
}
