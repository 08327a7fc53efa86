//! `nft`: what one may type, of the commands that change rules.

use std::net::IpAddr;

use serde_json::{Value as Json, json};
use transect_path::RuleBackend;

use super::super::nft_lower::{element, lower_rule, map_element};
use super::super::nft_render::render_rule;
use super::super::nft_text::{self, base_chain};
use super::super::nft_words::{parse_elements, parse_rule, words};
use super::super::{
    Action, Chain, Elements, Family, Field, MapEntries, Match, Policy, Rule, RuleSet, Set,
    SetElement, Statement, Table, Test, Value,
};
use super::{next_handle, next_table_handle, renumber};

pub(super) fn apply(rule_set: &mut RuleSet, arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .skip_while(|word| matches!(*word, "-a" | "-s" | "-n" | "-j" | "-y" | "-N"))
        .collect();
    if let Some(option) = arguments.first().filter(|word| word.starts_with('-')) {
        return Err(format!("option \"{option}\" is not understood"));
    }
    let all = words(&arguments.join(" ").replace('\n', " ; "));
    let mut any = false;
    for command in commands(&all) {
        any = true;
        let mut command = Command {
            words: command,
            next: 0,
        };
        command.run(rule_set)?;
    }
    if any {
        Ok(())
    } else {
        Err("no command".to_owned())
    }
}

/// The commands of a line: what stands between semicolons outside of braces.
fn commands(words: &[String]) -> Vec<&[String]> {
    let mut depth = 0usize;
    let end = |word: &String| {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && word == ";"
    };
    words.split(end).filter(|words| !words.is_empty()).collect()
}

struct Command<'a> {
    words: &'a [String],
    next: usize,
}

/// What a rule's place is told by.
enum At {
    Handle(u64),
    Index(usize),
}

impl<'a> Command<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn take(&mut self, what: &str) -> Result<&'a str, String> {
        let word = self.peek().ok_or_else(|| format!("expected {what}"))?;
        self.next += 1;
        Ok(word)
    }

    fn accept(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.next += usize::from(is);
        is
    }

    fn rest(&mut self) -> &'a [String] {
        let rest = self.words.get(self.next..).unwrap_or_default();
        self.next = self.words.len();
        rest
    }

    fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(format!("\"{word}\" is not understood here")),
        }
    }

    /// `[FAMILY]`, by default ip.
    fn family(&mut self) -> Family {
        match self.peek().and_then(|word| word.parse().ok()) {
            Some(family) => {
                self.next += 1;
                family
            }
            None => Family::Ip,
        }
    }

    /// `[FAMILY] TABLE`: the table's place.
    fn table(&mut self, rule_set: &RuleSet) -> Result<usize, String> {
        let family = self.family();
        let name = self.take("a table's name")?;
        find_table(rule_set, family, name)
            .ok_or_else(|| format!("no table \"{name}\" of family {family}"))
    }

    fn run(&mut self, rule_set: &mut RuleSet) -> Result<(), String> {
        let verb = self.take("a command")?;
        if verb == "list" {
            return Ok(());
        }
        if matches!(verb, "table") {
            self.next -= 1;
            return self.block(rule_set);
        }
        let object = self.take("table, chain, rule, set, map, element or ruleset")?;
        match (verb, object) {
            ("add" | "create", "table") => self.add_table(rule_set, verb == "create"),
            ("add" | "create", "chain") => self.add_chain(rule_set, verb == "create"),
            ("add" | "insert" | "replace", "rule") => self.rule(rule_set, verb),
            ("delete" | "destroy", "rule") => self.delete_rule(rule_set),
            ("add" | "create", "set" | "map") => self.add_set(rule_set, object == "map"),
            ("add" | "create" | "delete", "element") => self.elements(rule_set, verb == "delete"),
            ("flush", "ruleset") => self.flush_all(rule_set),
            ("rename", "chain") => self.rename_chain(rule_set),
            ("flush" | "delete" | "destroy", "table" | "chain" | "set" | "map") => {
                self.flush_or_delete(rule_set, verb, object)
            }
            _ => Err(format!("\"{verb} {object}\" is not understood")),
        }
    }

    /// `table FAMILY NAME { … }`, as in a file: everything in it is added.
    fn block(&mut self, rule_set: &mut RuleSet) -> Result<(), String> {
        let text = lines(self.rest());
        let reading = nft_text::read_nft_text(&text);
        if let Some(complaint) = reading.complaints.first() {
            return Err(complaint.to_string());
        }
        for table in reading.rule_set.tables {
            let at = ensure_table(rule_set, table.family, &table.name);
            let own = table_mut(rule_set, at)?;
            for set in table.sets {
                if own.set(&set.name).is_none() {
                    let handle = Some(next_handle(own));
                    own.sets.push(Set { handle, ..set });
                }
            }
            for chain in &table.chains {
                if own.chain(&chain.name).is_none() {
                    let handle = Some(next_handle(own));
                    let rules = Vec::new();
                    own.chains.push(Chain {
                        handle,
                        rules,
                        ..chain.clone()
                    });
                }
            }
            for chain in table.chains {
                for rule in chain.rules {
                    understood(own, &rule.statements)?;
                    let handle = Some(next_handle(own));
                    let place = own.chains.iter_mut().find(|own| own.name == chain.name);
                    let place = place.ok_or("the chain is not there")?;
                    place.rules.push(Rule { handle, ..rule });
                    renumber(place);
                }
            }
        }
        Ok(())
    }

    fn add_table(&mut self, rule_set: &mut RuleSet, create: bool) -> Result<(), String> {
        let family = self.family();
        let name = self.take("a table's name")?;
        let flags = match self.accept("{") {
            true => self.flags()?,
            false => Vec::new(),
        };
        self.end()?;
        if create && find_table(rule_set, family, name).is_some() {
            return Err(format!("table \"{name}\" is there already"));
        }
        let at = ensure_table(rule_set, family, name);
        if !flags.is_empty() {
            table_mut(rule_set, at)?.flags = flags;
        }
        Ok(())
    }

    /// `flags dormant; }`.
    fn flags(&mut self) -> Result<Vec<String>, String> {
        let mut flags = Vec::new();
        loop {
            match self.take("\"}\"")? {
                "}" => return Ok(flags),
                "flags" | ";" | "," => {}
                "comment" => drop(self.take("the comment")?),
                flag => flags.push(flag.to_owned()),
            }
        }
    }

    fn add_chain(&mut self, rule_set: &mut RuleSet, create: bool) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let name = self.take("a chain's name")?;
        let found = table.chains.iter().position(|chain| chain.name == name);
        if create && found.is_some() {
            return Err(format!("chain \"{name}\" is there already"));
        }
        let body = match self.accept("{") {
            true => self.body()?,
            false => String::new(),
        };
        self.end()?;
        let base = match body.contains("hook") {
            true => {
                let base = base_chain(table.family, &body).ok_or_else(|| {
                    format!("\"{body}\": expected \"type KIND hook HOOK [device DEVICE] priority PRIORITY; [policy POLICY;]\"")
                })?;
                hooks_fit(table.family, &base)?;
                Some(base)
            }
            false => None,
        };
        let policy = match body
            .split_whitespace()
            .skip_while(|word| *word != "policy")
            .nth(1)
        {
            Some("drop") => Some(Policy::Drop),
            Some("accept") => Some(Policy::Accept),
            Some(other) => return Err(format!("\"{other}\" is no policy: accept or drop")),
            None => None,
        };
        match found.and_then(|at| table.chains.get_mut(at)) {
            Some(chain) => {
                if let (Some(policy), Some(own)) = (policy, &mut chain.base) {
                    own.policy = policy;
                }
            }
            None => {
                let handle = Some(next_handle(table));
                table.chains.push(Chain {
                    name: name.to_owned(),
                    handle,
                    base,
                    policy_counter: None,
                    rules: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// Everything up to the closing brace.
    fn body(&mut self) -> Result<String, String> {
        let mut depth = 1usize;
        let mut body = Vec::new();
        loop {
            let word = self.take("\"}\"")?;
            match word {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(body.join(" "));
            }
            body.push(word);
        }
    }

    fn chain(&mut self, table: &Table) -> Result<usize, String> {
        let name = self.take("a chain's name")?;
        let at = table.chains.iter().position(|chain| chain.name == name);
        at.ok_or_else(|| {
            format!(
                "no chain \"{name}\" in table {} {}",
                table.family, table.name
            )
        })
    }

    /// `handle N`, `position N` (the same, of old), `index N` (from 0).
    fn place(&mut self) -> Result<Option<At>, String> {
        let by = match self.peek() {
            Some(by @ ("handle" | "position" | "index")) => by,
            _ => return Ok(None),
        };
        self.next += 1;
        let text = self.take("a number")?;
        let number: u64 = text
            .parse()
            .map_err(|_| format!("\"{text}\" is no number"))?;
        Ok(Some(match by {
            "index" => At::Index(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => At::Handle(number),
        }))
    }

    fn rule(&mut self, rule_set: &mut RuleSet, verb: &str) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let chain = self.chain(table)?;
        let place = self.place()?;
        let rule = self.statements(table)?;
        let chain = table
            .chains
            .get_mut(chain)
            .ok_or("the chain is not there")?;
        let found = place.map(|place| index_of(chain, &place)).transpose()?;
        match (verb, found) {
            ("add", None) => chain.rules.push(rule),
            ("add", Some(at)) => chain.rules.insert(at + 1, rule),
            ("insert", at) => chain.rules.insert(at.unwrap_or(0), rule),
            (_, Some(at)) => {
                if let Some(own) = chain.rules.get_mut(at) {
                    *own = rule;
                }
            }
            (_, None) => return Err("replace needs \"handle N\"".to_owned()),
        }
        renumber(chain);
        Ok(())
    }

    fn statements(&mut self, table: &Table) -> Result<Rule, String> {
        let words = self.rest();
        if words.is_empty() {
            return Err("a rule without statements".to_owned());
        }
        let (mut expressions, comment) = parse_rule(words);
        expressions
            .iter_mut()
            .for_each(|own| tidy(table.family, own));
        require_tcp(&mut expressions);
        let lowered = lower_rule(&expressions);
        understood(table, &lowered.statements)?;
        Ok(Rule {
            number: 0,
            // Lists in braces are sets of their own, with a handle each.
            handle: Some(next_handle(table) + expressions.iter().map(lists).sum::<u64>()),
            text: render_rule(&expressions, comment.as_deref()),
            rendered: false,
            counter: lowered.counter.or_else(|| {
                lowered
                    .statements
                    .contains(&Statement::Counter)
                    .then(Default::default)
            }),
            statements: lowered.statements,
        })
    }

    fn delete_rule(&mut self, rule_set: &mut RuleSet) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let chain = self.chain(table)?;
        let place = self
            .place()?
            .ok_or("expected \"handle N\" or \"index N\"")?;
        self.end()?;
        let chain = table
            .chains
            .get_mut(chain)
            .ok_or("the chain is not there")?;
        let at = index_of(chain, &place)?;
        chain.rules.remove(at);
        renumber(chain);
        Ok(())
    }

    fn add_set(&mut self, rule_set: &mut RuleSet, map: bool) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let name = self.take("a set's name")?;
        if !self.accept("{") {
            return Err("expected \"{ type TYPE; … }\"".to_owned());
        }
        let body = self.body()?;
        self.end()?;
        if table.set(name).is_some() {
            return Ok(());
        }
        let kind = if map { "map" } else { "set" };
        let body = body.replace(" ; ", "\n").replace(" ;", "\n");
        let text = format!(
            "table {} {} {{\n{kind} {name} {{\n{body}\n}}\n}}\n",
            table.family, table.name
        );
        let reading = nft_text::read_nft_text(&text);
        if let Some(complaint) = reading.complaints.first() {
            return Err(complaint.to_string());
        }
        let set = reading
            .rule_set
            .tables
            .into_iter()
            .flat_map(|table| table.sets)
            .next();
        let set = set.ok_or("expected \"type TYPE;\"")?;
        if set.key.is_empty() || set.key.contains(&Field::Unknown) {
            return Err(format!(
                "\"{body}\": no type of which the model knows anything"
            ));
        }
        for element in &set.elements {
            known_element(element)?;
        }
        let handle = Some(next_handle(table));
        table.sets.push(Set { handle, ..set });
        Ok(())
    }

    fn set(&mut self, table: &Table) -> Result<usize, String> {
        let name = self.take("a set's name")?;
        let at = table.sets.iter().position(|set| set.name == name);
        at.ok_or_else(|| format!("no set \"{name}\" in table {} {}", table.family, table.name))
    }

    /// `{ 10.0.0.1, 10.0.0.2 }` into a set, or out of it.
    fn elements(&mut self, rule_set: &mut RuleSet, delete: bool) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let at = self.set(table)?;
        let set = table.sets.get_mut(at).ok_or("the set is not there")?;
        if !self.accept("{") {
            return Err("expected \"{ ELEMENT, … }\"".to_owned());
        }
        let items = parse_elements(self.rest(), set.map && !delete);
        if items.is_empty() {
            return Err("no elements".to_owned());
        }
        for item in items {
            let new = match set.map && !delete {
                true => map_element(&item, &set.key, set.verdicts),
                false => SetElement {
                    key: element(&item, &set.key),
                    verdict: None,
                    data: None,
                },
            };
            known_element(&new)?;
            let found = set.elements.iter().position(|own| own.key == new.key);
            match (delete, found) {
                (true, Some(at)) => drop(set.elements.remove(at)),
                (true, None) => return Err("no such element".to_owned()),
                (false, Some(_)) => {}
                (false, None) => set.elements.push(new),
            }
        }
        Ok(())
    }

    fn flush_all(&mut self, rule_set: &mut RuleSet) -> Result<(), String> {
        let family = self.peek().and_then(|word| word.parse::<Family>().ok());
        self.next += usize::from(family.is_some());
        self.end()?;
        // The legacy tables are not nf_tables'.
        rule_set.tables.retain(|table| {
            table.backend == RuleBackend::IptablesLegacy
                || family.is_some_and(|family| family != table.family)
        });
        Ok(())
    }

    fn rename_chain(&mut self, rule_set: &mut RuleSet) -> Result<(), String> {
        let at = self.table(rule_set)?;
        let table = table_mut(rule_set, at)?;
        let chain = self.chain(table)?;
        let name = self.take("the new name")?.to_owned();
        self.end()?;
        if table.chain(&name).is_some() {
            return Err(format!("chain \"{name}\" is there already"));
        }
        let chain = table
            .chains
            .get_mut(chain)
            .ok_or("the chain is not there")?;
        chain.name = name;
        Ok(())
    }

    fn flush_or_delete(
        &mut self,
        rule_set: &mut RuleSet,
        verb: &str,
        object: &str,
    ) -> Result<(), String> {
        let found = self.table(rule_set);
        // `destroy` asks for nothing to be there.
        let (at, flush) = match (found, verb) {
            (Err(_), "destroy") => return Ok(()),
            (found, verb) => (found?, verb == "flush"),
        };
        let table = table_mut(rule_set, at)?;
        match (object, flush) {
            ("table", true) => {
                self.end()?;
                table
                    .chains
                    .iter_mut()
                    .for_each(|chain| chain.rules.clear());
            }
            ("table", false) => {
                self.end()?;
                rule_set.tables.remove(at);
            }
            ("chain", true) => {
                let chain = self.chain(table)?;
                self.end()?;
                if let Some(chain) = table.chains.get_mut(chain) {
                    chain.rules.clear();
                }
            }
            ("chain", false) => {
                let at = self.chain(table)?;
                self.end()?;
                let name = table.chains.get(at).map(|chain| chain.name.clone());
                if name.is_some_and(|name| is_used(table, &name)) {
                    return Err("a rule jumps to the chain".to_owned());
                }
                table.chains.remove(at);
            }
            (_, true) => {
                let at = self.set(table)?;
                self.end()?;
                if let Some(set) = table.sets.get_mut(at) {
                    set.elements.clear();
                }
            }
            (_, false) => {
                let at = self.set(table)?;
                self.end()?;
                table.sets.remove(at);
            }
        }
        Ok(())
    }
}

/// Words of a block as lines: each brace and semicolon outside of a rule ends one.
fn lines(words: &[String]) -> String {
    let mut text = String::new();
    let mut depth = 0usize;
    let mut inner = 0usize;
    for (at, word) in words.iter().enumerate() {
        let opens_block = word == "{" && inner == 0 && depth < 2 && opens(words, at, depth);
        match word.as_str() {
            "{" if opens_block => {
                depth += 1;
                text.push_str(" {\n");
            }
            "}" if inner == 0 => {
                depth = depth.saturating_sub(1);
                text.push_str("\n}\n");
            }
            ";" if inner == 0 => {
                // A chain's head holds several parts on one line.
                let line = text.rsplit('\n').next().unwrap_or_default();
                let head = line.trim_start().starts_with("type ") && line.contains(" hook ");
                let policy = words
                    .get(at + 1)
                    .is_some_and(|word| word == "policy" || word == "priority");
                text.push_str(if head && policy {
                    "; "
                } else if head {
                    ";\n"
                } else {
                    "\n"
                });
            }
            other => {
                if other == "," {
                    text.truncate(text.trim_end().len());
                }
                inner += usize::from(other == "{");
                inner = inner.saturating_sub(usize::from(other == "}"));
                text.push_str(other);
                text.push(' ');
            }
        }
    }
    text
}

/// Whether a brace opens a table, a chain or a set, and not the list of a rule.
fn opens(words: &[String], at: usize, depth: usize) -> bool {
    let before = |back: usize| {
        at.checked_sub(back)
            .and_then(|at| words.get(at))
            .map(String::as_str)
    };
    match depth {
        0 => true,
        _ => matches!(before(2), Some("chain" | "set" | "map")),
    }
}

fn find_table(rule_set: &RuleSet, family: Family, name: &str) -> Option<usize> {
    rule_set.tables.iter().position(|table| {
        table.backend != RuleBackend::IptablesLegacy && table.family == family && table.name == name
    })
}

fn ensure_table(rule_set: &mut RuleSet, family: Family, name: &str) -> usize {
    if let Some(at) = find_table(rule_set, family, name) {
        return at;
    }
    let mut table = Table::new(RuleBackend::Nft, family, name);
    table.handle = Some(next_table_handle(rule_set));
    rule_set.tables.push(table);
    rule_set.tables.len() - 1
}

fn table_mut(rule_set: &mut RuleSet, at: usize) -> Result<&mut Table, String> {
    let table = rule_set.tables.get_mut(at);
    table.ok_or_else(|| "the table is not there".to_owned())
}

fn index_of(chain: &Chain, place: &At) -> Result<usize, String> {
    let found = match place {
        At::Handle(handle) => chain
            .rules
            .iter()
            .position(|rule| rule.handle == Some(*handle)),
        At::Index(index) => (*index < chain.rules.len()).then_some(*index),
    };
    found.ok_or_else(|| format!("no such rule in chain {}", chain.name))
}

fn is_used(table: &Table, name: &str) -> bool {
    let goes =
        |action: &Action| matches!(action, Action::Jump(to) | Action::Goto(to) if to == name);
    let leads =
        |elements: &[SetElement]| elements.iter().filter_map(|e| e.verdict.as_ref()).any(goes);
    let uses = |statement: &Statement| match statement {
        Statement::Verdict(action) => goes(action),
        Statement::VerdictMap {
            entries: MapEntries::Inline(elements),
            ..
        } => leads(elements),
        _ => false,
    };
    let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.any(|rule| rule.statements.iter().any(uses))
        || table.sets.iter().any(|set| leads(&set.elements))
}

/// Whether this kind of chain may be hooked there (`nft_chain_validate_hook`).
fn hooks_fit(family: Family, base: &super::super::BaseChain) -> Result<(), String> {
    use super::super::ChainKind;
    use transect_path::Hook;
    let fits = match (family, base.kind, base.hook) {
        (Family::Netdev, ChainKind::Filter, hook) => matches!(hook, Hook::Ingress | Hook::Egress),
        (Family::Netdev, ..) => false,
        (Family::Arp, ChainKind::Filter, hook) => matches!(hook, Hook::LocalIn | Hook::LocalOut),
        (Family::Arp, ..) => false,
        (Family::Inet, ChainKind::Filter, Hook::Ingress) => true,
        (_, _, Hook::Ingress | Hook::Egress) => false,
        (_, ChainKind::Filter, _) => true,
        (Family::Bridge, ..) => false,
        (_, ChainKind::Nat, hook) => hook != Hook::Forward,
        (_, ChainKind::Route, hook) => hook == Hook::LocalOut,
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "a chain of type {} cannot be hooked there in family {family}",
            base.kind
        )),
    }
}

/// How many lists in braces there are.
fn lists(json: &Json) -> u64 {
    match json {
        Json::Object(object) => object
            .iter()
            .map(|(name, body)| u64::from(name == "set" && body.is_array()) + lists(body))
            .sum(),
        Json::Array(list) => list.iter().map(lists).sum(),
        _ => 0,
    }
}

/// Says one thing in one way, as nft prints it: sorted lists, no rejection that goes without saying.
fn tidy(family: Family, json: &mut Json) {
    let default = match family {
        Family::Ip => "icmp",
        Family::Ip6 => "icmpv6",
        _ => "icmpx",
    };
    match json {
        Json::Object(object) => {
            if let Some(list) = object.get_mut("set").and_then(Json::as_array_mut) {
                list.sort_by_cached_key(sort_key);
            }
            if let Some(reject) = object.get_mut("reject")
                && reject.get("type").and_then(Json::as_str) == Some(default)
                && reject.get("expr").and_then(Json::as_str) == Some("port-unreachable")
            {
                *reject = Json::Null;
            }
            object.values_mut().for_each(|inner| tidy(family, inner));
        }
        Json::Array(list) => list.iter_mut().for_each(|inner| tidy(family, inner)),
        _ => {}
    }
}

/// By which the elements of a list are sorted: numbers and addresses; all others stay as they are.
fn sort_key(json: &Json) -> u128 {
    let text = json
        .as_str()
        .or_else(|| json.pointer("/prefix/addr")?.as_str());
    let range = json.pointer("/range/0");
    match (json, range, text.and_then(|text| text.parse().ok())) {
        (Json::Number(number), _, _) => number.as_u64().unwrap_or(0).into(),
        (_, Some(first), _) => sort_key(first),
        (_, _, Some(IpAddr::V4(address))) => u32::from(address).into(),
        (_, _, Some(IpAddr::V6(address))) => address.into(),
        _ => 0,
    }
}

/// A reset needs TCP; nft adds the match where none says so.
fn require_tcp(expressions: &mut Vec<Json>) {
    let resets =
        |own: &Json| own.pointer("/reject/type").and_then(Json::as_str) == Some("tcp reset");
    let Some(at) = expressions.iter().position(resets) else {
        return;
    };
    let before = lower_rule(expressions.get(..at).unwrap_or_default());
    let tcp = Match::field(Field::Protocol, [Value::Number(6)], false);
    if !before.statements.contains(&Statement::Match(tcp)) {
        let test = json!({"match": { "op": "==", "left": {"meta": { "key": "l4proto" }}, "right": "tcp" }});
        expressions.insert(at, test);
    }
}

/// Words that begin a statement which is known to exist although no reader looks into it.
const KNOWN: &[&str] = &[
    "limit",
    "quota",
    "numgen",
    "meta",
    "ct",
    "socket",
    "rt",
    "jhash",
    "symhash",
    "osf",
    "fib",
    "exthdr",
    "tcp",
    "ip",
    "ip6",
    "udp",
    "ipsec",
    "connlimit",
    "time",
    "hour",
    "day",
    "cgroup",
    "xt",
    "th",
    "@",
    "icmp",
    "icmpv6",
    "add",
    "update",
    "synproxy",
    "dst",
    "frag",
    "hbh",
    "mh",
    "rt0",
    "sctp",
    "dccp",
    "ether",
    "arp",
    "vlan",
    "ah",
    "esp",
    "comp",
    "iifgroup",
    "oifgroup",
    "iiftype",
    "oiftype",
    "skuid",
    "skgid",
    "rtclassid",
];

fn understood(table: &Table, statements: &[Statement]) -> Result<(), String> {
    for statement in statements {
        match statement {
            Statement::Match(Match {
                test: Test::Unknown { text },
                ..
            }) => {
                let first = text.split_whitespace().next().unwrap_or_default();
                if !KNOWN.contains(&first) {
                    return Err(format!("\"{text}\" is not understood"));
                }
            }
            Statement::Match(Match {
                test: Test::In { elements, .. },
                ..
            }) => match elements {
                Elements::Named(name) if table.set(name).is_none() => {
                    return Err(format!("no set \"{name}\" in the table"));
                }
                Elements::Named(_) => {}
                Elements::Inline(elements) => {
                    for element in elements {
                        known_values(element)?;
                    }
                }
            },
            Statement::Verdict(Action::Jump(to) | Action::Goto(to))
                if table.chain(to).is_none() =>
            {
                return Err(format!("no chain \"{to}\" in the table"));
            }
            Statement::Verdict(Action::Unknown(text)) => {
                return Err(format!("\"{text}\" is not understood"));
            }
            Statement::VerdictMap { entries, .. } => match entries {
                MapEntries::Named(name) if table.set(name).is_none() => {
                    return Err(format!("no map \"{name}\" in the table"));
                }
                MapEntries::Named(_) => {}
                MapEntries::Inline(elements) => {
                    for element in elements {
                        known_element(element)?;
                    }
                }
            },
            _ => {}
        }
    }
    Ok(())
}

fn known_element(element: &SetElement) -> Result<(), String> {
    if let Some(Action::Unknown(text)) = &element.verdict {
        return Err(format!("\"{text}\" is no verdict"));
    }
    known_values(&element.key)
}

fn known_values(values: &[Value]) -> Result<(), String> {
    for value in values {
        if let Value::Unknown(text) = value {
            return Err(format!("\"{text}\" is not understood"));
        }
    }
    Ok(())
}
