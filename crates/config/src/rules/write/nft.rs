//! `nft -j list ruleset` and `nft -a list ruleset`.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use transect_path::{Hook, RuleBackend};

use super::super::nft_words::{parse_rule, words};
use super::super::{
    Action, BaseChain, Chain, Counter, Element, Elements, Field, Key, Match, NatKind, Policy, Rule,
    RuleSet, Set, SetElement, Statement, Table, Test, Value,
};

/// As `nft -j list ruleset` prints the rule set: the tables of nf_tables, iptables-nft's among them.
pub fn write_nft_json(rule_set: &RuleSet) -> String {
    let mut objects = vec![
        json!({"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}),
    ];
    for table in in_nf_tables(rule_set) {
        let mut body = json!({ "family": table.family.id(), "name": table.name });
        put(&mut body, "handle", table.handle);
        if !table.flags.is_empty() {
            body["flags"] = json!(table.flags);
        }
        objects.push(json!({ "table": body }));
        objects.extend(table.sets.iter().map(|set| set_object(table, set)));
        objects.extend(table.chains.iter().map(|chain| chain_object(table, chain)));
        for chain in &table.chains {
            objects.extend(
                chain
                    .rules
                    .iter()
                    .map(|rule| rule_object(table, chain, rule)),
            );
        }
    }
    json!({ "nftables": objects }).to_string()
}

/// As `nft -a list ruleset` prints it.
pub fn write_nft_text(rule_set: &RuleSet) -> String {
    let mut text = String::new();
    for table in in_nf_tables(rule_set) {
        if table.backend == RuleBackend::IptablesNft {
            let _ = writeln!(
                text,
                "# Warning: table {} {} is managed by iptables-nft, do not touch!",
                table.family, table.name
            );
        }
        let _ = writeln!(
            text,
            "table {} {} {{{}",
            table.family,
            table.name,
            handle(table.handle)
        );
        if !table.flags.is_empty() {
            let _ = writeln!(text, "\tflags {}", table.flags.join(","));
        }
        for set in &table.sets {
            set_lines(&mut text, table, set);
        }
        for chain in &table.chains {
            chain_lines(&mut text, table, chain);
        }
        text.push_str("}\n");
    }
    text
}

fn in_nf_tables(rule_set: &RuleSet) -> impl Iterator<Item = &Table> {
    rule_set
        .tables
        .iter()
        .filter(|table| table.backend != RuleBackend::IptablesLegacy)
}

fn put(body: &mut Json, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        body[name] = json!(value);
    }
}

fn handle(handle: Option<u64>) -> String {
    handle
        .map(|handle| format!(" # handle {handle}"))
        .unwrap_or_default()
}

fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "ingress",
        Hook::PreRouting => "prerouting",
        Hook::LocalIn => "input",
        Hook::Forward => "forward",
        Hook::LocalOut => "output",
        Hook::PostRouting => "postrouting",
        Hook::Egress => "egress",
    }
}

fn chain_object(table: &Table, chain: &Chain) -> Json {
    let mut body = json!({ "family": table.family.id(), "table": table.name, "name": chain.name });
    put(&mut body, "handle", chain.handle);
    if let Some(base) = &chain.base {
        body["type"] = json!(base.kind.id());
        body["hook"] = json!(hook_name(base.hook));
        body["prio"] = json!(base.priority);
        body["policy"] = json!(base.policy.id());
        match base.devices.as_slice() {
            [] => {}
            [device] => body["dev"] = json!(device),
            devices => body["dev"] = json!(devices),
        }
    }
    json!({ "chain": body })
}

fn rule_object(table: &Table, chain: &Chain, rule: &Rule) -> Json {
    let mut body = json!({ "family": table.family.id(), "table": table.name, "chain": chain.name });
    put(&mut body, "handle", rule.handle);
    let (mut expressions, comment) = match rule.text.starts_with("-A ") {
        true => (of_iptables(&rule.statements), None),
        false => parse_rule(&words(&rule.text)),
    };
    let counter = rule.counter.unwrap_or_default();
    if let Some(own) = expressions
        .iter_mut()
        .find(|own| own.get("counter").is_some_and(Json::is_null))
    {
        *own = json!({"counter": { "packets": counter.packets, "bytes": counter.bytes }});
    }
    if let Some(comment) = comment {
        body["comment"] = json!(comment);
    }
    body["expr"] = Json::Array(expressions);
    json!({ "rule": body })
}

/// What nft shows of iptables' rules: its own words where it has some, else the name of the match or target.
fn of_iptables(statements: &[Statement]) -> Vec<Json> {
    statements.iter().map(of_statement).collect()
}

fn of_statement(statement: &Statement) -> Json {
    let target = |name: &str| json!({"xt": { "type": "target", "name": name }});
    match statement {
        Statement::Match(test) => of_match(test),
        Statement::Counter => json!({ "counter": null }),
        Statement::SetMark { .. } => target("MARK"),
        Statement::SetConnectionMark { .. } | Statement::RestoreMark | Statement::SaveMark => {
            target("CONNMARK")
        }
        Statement::NoTrack { .. } => target("CT"),
        Statement::Verdict(action) => of_action(action),
        Statement::VerdictMap { .. } => target("vmap"),
        Statement::Other(text) => target(text.split_whitespace().nth(1).unwrap_or("CONTINUE")),
    }
}

fn of_action(action: &Action) -> Json {
    let target = |name: &str| json!({"xt": { "type": "target", "name": name }});
    match action {
        Action::Accept => json!({ "accept": null }),
        Action::Drop => json!({ "drop": null }),
        Action::Return => json!({ "return": null }),
        Action::Continue => json!({ "continue": null }),
        Action::Jump(to) => json!({"jump": { "target": to }}),
        Action::Goto(to) => json!({"goto": { "target": to }}),
        Action::Reject { .. } => target("REJECT"),
        Action::Queue { .. } => target("NFQUEUE"),
        Action::Nat(nat) => target(match nat.kind {
            NatKind::Destination => "DNAT",
            NatKind::Source => "SNAT",
            NatKind::Masquerade => "MASQUERADE",
            NatKind::Redirect => "REDIRECT",
        }),
        Action::Tproxy { .. } => target("TPROXY"),
        Action::Stolen(text) | Action::Unknown(text) => {
            target(text.split_whitespace().nth(1).unwrap_or("UNKNOWN"))
        }
    }
}

/// A match on one address or protocol in nft's words; any other by a module's name.
fn of_match(test: &Match) -> Json {
    let unclear = json!({"xt": { "type": "match", "name": "match" }});
    let Test::In {
        key,
        elements: Elements::Inline(elements),
    } = &test.test
    else {
        return unclear;
    };
    let ([Key { field, mask: None }], [element]) = (key.as_slice(), elements.as_slice()) else {
        return unclear;
    };
    let family = match element.as_slice() {
        [Value::Addresses(first, _)] if first.is_ipv4() => "ip",
        _ => "ip6",
    };
    let left = match field {
        Field::Source => json!({"payload": { "protocol": family, "field": "saddr" }}),
        Field::Destination => json!({"payload": { "protocol": family, "field": "daddr" }}),
        Field::InInterface => json!({"meta": { "key": "iifname" }}),
        Field::OutInterface => json!({"meta": { "key": "oifname" }}),
        Field::Protocol => json!({"meta": { "key": "l4proto" }}),
        _ => return unclear,
    };
    let operator = if test.negated { "!=" } else { "==" };
    json!({"match": { "op": operator, "left": left, "right": element_json(element) }})
}

fn set_object(table: &Table, set: &Set) -> Json {
    let kind = if set.map { "map" } else { "set" };
    let mut body = json!({ "family": table.family.id(), "table": table.name, "name": set.name });
    put(&mut body, "handle", set.handle);
    let types = types(table, set);
    body["type"] = match types.as_slice() {
        [one] => json!(one),
        many => json!(many),
    };
    if set.map {
        body["map"] = json!(if set.verdicts { "verdict" } else { "mark" });
    }
    if !set.flags.is_empty() {
        body["flags"] = json!(set.flags);
    }
    if !set.elements.is_empty() {
        body["elem"] = set
            .elements
            .iter()
            .map(|element| set_element(set, element))
            .collect();
    }
    json!({ kind: body })
}

fn set_element(set: &Set, element: &SetElement) -> Json {
    let key = element_json(&element.key);
    if !set.map {
        return key;
    }
    let to = match (&element.verdict, &element.data) {
        (Some(action), _) => of_action(action),
        (None, Some(data)) => value_json(data),
        (None, None) => Json::Null,
    };
    json!([key, to])
}

/// nft's names of the types of a set's key.
fn types(table: &Table, set: &Set) -> Vec<&'static str> {
    let part = |at: usize, field: &Field| match field {
        Field::Source | Field::Destination => {
            let is_v6 = |element: &SetElement| match element.key.get(at) {
                Some(Value::Addresses(first, _)) => Some(first.is_ipv6()),
                _ => None,
            };
            let known = set.elements.iter().find_map(is_v6);
            match known.unwrap_or(table.family == super::super::Family::Ip6) {
                true => "ipv6_addr",
                false => "ipv4_addr",
            }
        }
        Field::SourcePort | Field::DestinationPort => "inet_service",
        Field::Protocol => "inet_proto",
        Field::InInterface | Field::OutInterface => "ifname",
        Field::Mark | Field::ConnectionMark => "mark",
        Field::SourceMac | Field::DestinationMac => "ether_addr",
        Field::EtherType => "ether_type",
        Field::IcmpType => "icmp_type",
        Field::IcmpCode => "icmp_code",
        Field::Icmp6Type => "icmpv6_type",
        Field::Icmp6Code => "icmpv6_code",
        Field::CtState => "ct_state",
        Field::TcpFlags => "tcp_flag",
        Field::Dscp => "dscp",
        Field::SourceKind | Field::DestinationKind => "fib_addrtype",
        Field::IpVersion => "nf_proto",
        Field::PacketType => "pkt_type",
        _ => "integer",
    };
    set.key
        .iter()
        .enumerate()
        .map(|(at, field)| part(at, field))
        .collect()
}

fn element_json(element: &Element) -> Json {
    match element.as_slice() {
        [one] => value_json(one),
        many if many.iter().all(|value| *value == Value::Any) => json!("*"),
        many => json!({ "concat": many.iter().map(value_json).collect::<Vec<_>>() }),
    }
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Any => json!("*"),
        Value::Number(number) => json!(number),
        Value::Numbers(first, last) => json!({ "range": [first, last] }),
        Value::Addresses(first, last) if first == last => json!(first.to_string()),
        Value::Addresses(first, last) => json!({ "range": [first.to_string(), last.to_string()] }),
        Value::Name(name) => match name.strip_suffix('*') {
            Some(name) => json!(format!("{name}\\*")),
            None => json!(name),
        },
        Value::NamePrefix(prefix) => json!(format!("{prefix}*")),
        Value::Mac(mac) => json!(mac_text(mac)),
        Value::Unknown(text) => json!(text),
    }
}

fn mac_text(mac: &[u8; 6]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

fn set_lines(text: &mut String, table: &Table, set: &Set) {
    let kind = if set.map { "map" } else { "set" };
    let _ = writeln!(text, "\t{kind} {} {{{}", set.name, handle(set.handle));
    let _ = write!(text, "\t\ttype {}", types(table, set).join(" . "));
    if set.map {
        let _ = write!(text, " : {}", if set.verdicts { "verdict" } else { "mark" });
    }
    text.push('\n');
    if !set.flags.is_empty() {
        let _ = writeln!(text, "\t\tflags {}", set.flags.join(","));
    }
    if !set.elements.is_empty() {
        let elements: Vec<String> = set
            .elements
            .iter()
            .map(|element| element_text(set, element))
            .collect();
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

fn element_text(set: &Set, element: &SetElement) -> String {
    let key = element_words(&element.key);
    if !set.map {
        return key;
    }
    let to = match (&element.verdict, &element.data) {
        (Some(action), _) => verdict_text(action),
        (None, Some(data)) => value_text(data),
        (None, None) => String::new(),
    };
    format!("{key} : {to}")
}

fn element_words(element: &Element) -> String {
    match element.as_slice() {
        many if many.len() > 1 && many.iter().all(|value| *value == Value::Any) => "*".to_owned(),
        parts => parts.iter().map(value_text).collect::<Vec<_>>().join(" . "),
    }
}

fn verdict_text(action: &Action) -> String {
    match action {
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Return => "return".to_owned(),
        Action::Continue => "continue".to_owned(),
        Action::Jump(to) => format!("jump {to}"),
        Action::Goto(to) => format!("goto {to}"),
        Action::Queue { first, last, .. } if first == last => format!("queue to {first}"),
        Action::Unknown(text) | Action::Stolen(text) => text.clone(),
        _ => String::new(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Name(_) | Value::NamePrefix(_) => {
            let json = value_json(value);
            format!("\"{}\"", json.as_str().unwrap_or_default())
        }
        Value::Numbers(first, last) => format!("{first}-{last}"),
        Value::Addresses(first, last) if first != last => format!("{first}-{last}"),
        value => match value_json(value) {
            Json::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// A priority as nft prints it: by name where it has one, or lies near one.
fn priority(family: super::super::Family, base: &BaseChain) -> String {
    use super::super::Family;
    let names: &[(&str, i32)] = match family {
        Family::Bridge => &[
            ("dstnat", -300),
            ("filter", -200),
            ("out", 100),
            ("srcnat", 300),
        ],
        Family::Netdev | Family::Arp => &[("filter", 0)],
        _ => &[
            ("raw", -300),
            ("mangle", -150),
            ("dstnat", -100),
            ("filter", 0),
            ("security", 50),
            ("srcnat", 100),
        ],
    };
    // `dstnat` and `srcnat` name places only at their own hooks (nft's `std_prio_lookup`).
    let fits = |name: &str| match name {
        "dstnat" => base.hook == Hook::PreRouting,
        "srcnat" => base.hook == Hook::PostRouting,
        "out" => base.hook == Hook::LocalOut,
        _ => true,
    };
    let near = names
        .iter()
        .filter(|(name, _)| fits(name))
        .map(|(name, at)| (*name, base.priority.saturating_sub(*at)))
        .filter(|(_, offset)| offset.unsigned_abs() <= 10)
        .min_by_key(|(_, offset)| offset.unsigned_abs());
    match near {
        Some((name, 0)) => name.to_owned(),
        Some((name, offset)) if offset > 0 => format!("{name} + {offset}"),
        Some((name, offset)) => format!("{name} - {}", offset.unsigned_abs()),
        None => base.priority.to_string(),
    }
}

fn chain_lines(text: &mut String, table: &Table, chain: &Chain) {
    let _ = writeln!(text, "\tchain {} {{{}", chain.name, handle(chain.handle));
    if let Some(base) = &chain.base {
        let devices = match base.devices.as_slice() {
            [] => String::new(),
            [device] => format!(" device \"{device}\""),
            devices => format!(" devices = {{ {} }}", devices.join(", ")),
        };
        let policy = match base.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        let _ = writeln!(
            text,
            "\t\ttype {} hook {}{devices} priority {}; policy {policy};",
            base.kind,
            hook_name(base.hook),
            priority(table.family, base)
        );
    }
    for rule in &chain.rules {
        let words = match rule.text.starts_with("-A ") {
            true => super::super::nft_render::render_rule(&of_iptables(&rule.statements), None),
            false => rule.text.clone(),
        };
        let words = with_counter(&words, rule.counter.unwrap_or_default());
        let _ = writeln!(text, "\t\t{words}{}", handle(rule.handle));
    }
    text.push_str("\t}\n");
}

/// A rule's text with the values of its first counter, which `nft -s` leaves out.
fn with_counter(text: &str, counter: Counter) -> String {
    let mut done = false;
    let mut parts = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        let mut part = part.to_owned();
        if index % 2 == 0 && !done {
            let mut from = 0;
            while let Some(at) = part.get(from..).and_then(|rest| rest.find("counter")) {
                let (begin, end) = (from + at, from + at + "counter".len());
                let free = |c: Option<char>| c.is_none_or(char::is_whitespace);
                let before = part.get(..begin).and_then(|text| text.chars().next_back());
                let rest = part.get(end..).unwrap_or_default();
                if free(before)
                    && free(rest.chars().next())
                    && !rest.trim_start().starts_with("name")
                {
                    let values = format!(" packets {} bytes {}", counter.packets, counter.bytes);
                    part.insert_str(end, &values);
                    done = true;
                    break;
                }
                from = end;
            }
        }
        parts.push(part);
    }
    parts.join("\"")
}
