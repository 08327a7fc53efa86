//! `nft -j list ruleset`.

use std::collections::HashMap;

use serde_json::Value as Json;
use transect_path::{Hook, RuleBackend};

use super::nft_lower::{element, field_of_type, fields_of_expression, lower_rule, map_element};
use super::nft_render::render_rule;
use super::save;
use super::{
    BaseChain, Chain, Complaint, Family, Field, Policy, Reading, Rule, Set, SetElement, Table,
};

/// Reads what `nft -j list ruleset` prints.
///
/// Tables that look like iptables' own are marked [`RuleBackend::IptablesNft`]. Objects and statements that are not known
/// are no error. The rules' words are put together here ([`Rule::rendered`]); [`super::RuleSet::merge`] replaces them by
/// those of the programs.
///
/// # Errors
/// When the text is no JSON object with a list `nftables`.
pub fn read_nft_json(text: &str) -> Result<Reading, Complaint> {
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let line = text
            .lines()
            .nth(error.line().saturating_sub(1))
            .unwrap_or_default();
        let found: String = line
            .chars()
            .skip(error.column().saturating_sub(40))
            .collect();
        Complaint::new(error.line(), "nft's JSON", &found)
    })?;
    let objects = json
        .get("nftables")
        .and_then(Json::as_array)
        .ok_or_else(|| Complaint::new(1, "an object with a list \"nftables\"", text))?;
    let mut reading = Reading::default();
    let mut chains = Chains::default();
    for (index, object) in objects.iter().enumerate() {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else {
            let found = object.to_string();
            reading
                .complaints
                .push(Complaint::new(index + 1, "an object", &found));
            continue;
        };
        if let Err(expected) = add(&mut reading.rule_set.tables, &mut chains, kind, body) {
            let found = object.to_string();
            reading
                .complaints
                .push(Complaint::new(index + 1, expected, &found));
        }
    }
    for table in &mut reading.rule_set.tables {
        recognise_iptables(table);
    }
    Ok(reading)
}

/// Where a table's chain of this name stands, both by number: some hosts have thousands of chains.
type Chains = HashMap<(usize, String), (usize, usize)>;

fn add(
    tables: &mut Vec<Table>,
    chains: &mut Chains,
    kind: &str,
    body: &Json,
) -> Result<(), &'static str> {
    match kind {
        "table" => {
            let family = family(body)?;
            let mut table = Table::new(RuleBackend::Nft, family, text(body, "name")?);
            table.handle = handle(body);
            table.flags = strings(body.get("flags"))
                .into_iter()
                .map(|flag| match flag.as_str() {
                    // nft 1.0.6 prints `dormant` so (measured): the flag's number, named from a wrong list.
                    "ipv4_addr" => "dormant".to_owned(),
                    _ => flag,
                })
                .collect();
            tables.push(table);
        }
        "chain" => {
            let chain = chain(body)?;
            let at = table_at(tables, body)?;
            let place = (at, tables[at].chains.len());
            chains.insert((at, chain.name.clone()), place);
            tables[at].chains.push(chain);
        }
        "set" | "map" => {
            let set = set(body, kind == "map")?;
            let at = table_at(tables, body)?;
            tables[at].sets.push(set);
        }
        "rule" => {
            let name = text(body, "chain")?.to_owned();
            let (table, chain) = *chains
                .get(&(table_at(tables, body)?, name))
                .ok_or("a chain listed before its rules")?;
            let chain = tables
                .get_mut(table)
                .and_then(|table| table.chains.get_mut(chain))
                .ok_or("a chain listed before its rules")?;
            let rule = rule(body, chain.rules.len())?;
            chain.rules.push(rule);
        }
        // Counters, quotas, helpers, flow tables and what later versions bring: they are no rules.
        _ => {}
    }
    Ok(())
}

fn text<'a>(body: &'a Json, name: &str) -> Result<&'a str, &'static str> {
    body.get(name)
        .and_then(Json::as_str)
        .ok_or("the names of family, table and chain")
}

fn handle(body: &Json) -> Option<u64> {
    body.get("handle").and_then(Json::as_u64)
}

fn family(body: &Json) -> Result<Family, &'static str> {
    text(body, "family")?
        .parse()
        .map_err(|_| "a family: ip, ip6, inet, arp, bridge or netdev")
}

fn table_at(tables: &[Table], body: &Json) -> Result<usize, &'static str> {
    let (family, name) = (family(body)?, text(body, "table")?);
    tables
        .iter()
        .position(|table| table.family == family && table.name == name)
        .ok_or("a table listed before its chains")
}

/// One string, or a list of them.
fn strings(json: Option<&Json>) -> Vec<String> {
    match json {
        Some(Json::String(one)) => vec![one.clone()],
        Some(Json::Array(list)) => list
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn chain(body: &Json) -> Result<Chain, &'static str> {
    let base = match body.get("hook").and_then(Json::as_str) {
        None => None,
        Some(hook) => Some(BaseChain {
            kind: text(body, "type")
                .unwrap_or("filter")
                .parse()
                .map_err(|_| "a chain of type filter, nat or route")?,
            hook: hook_of_name(hook).ok_or("a hook that nft knows")?,
            priority: body
                .get("prio")
                .and_then(Json::as_i64)
                .and_then(|priority| i32::try_from(priority).ok())
                .ok_or("a priority")?,
            policy: match body.get("policy").and_then(Json::as_str) {
                Some("drop") => Policy::Drop,
                _ => Policy::Accept,
            },
            devices: strings(body.get("dev").or_else(|| body.get("devices"))),
        }),
    };
    Ok(Chain {
        name: text(body, "name")?.to_owned(),
        handle: handle(body),
        base,
        policy_counter: None,
        rules: Vec::new(),
    })
}

/// nft's names of the hooks.
pub(super) fn hook_of_name(name: &str) -> Option<Hook> {
    Some(match name {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::PreRouting,
        "input" => Hook::LocalIn,
        "forward" => Hook::Forward,
        "output" => Hook::LocalOut,
        "postrouting" => Hook::PostRouting,
        "egress" => Hook::Egress,
        _ => return None,
    })
}

fn set(body: &Json, map: bool) -> Result<Set, &'static str> {
    let fields: Vec<Field> = match body.get("type") {
        Some(Json::String(kind)) => vec![field_of_type(kind)],
        Some(Json::Array(kinds)) => kinds
            .iter()
            .map(|kind| field_of_type(kind.as_str().unwrap_or_default()))
            .collect(),
        Some(other) => fields_of_expression(other.get("typeof").unwrap_or(other)),
        None => vec![Field::Unknown],
    };
    let verdicts = body.get("map").and_then(Json::as_str) == Some("verdict");
    let mut flags = strings(body.get("flags"));
    // nft 1.0's JSON leaves `dynamic` out; a set with a time-out is one that packets fill.
    if body.get("timeout").is_some() && !flags.iter().any(|flag| flag == "timeout") {
        flags.push("timeout".to_owned());
    }
    let elements = body
        .get("elem")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .map(|item| match map {
            true => map_element(item, &fields, verdicts),
            false => SetElement {
                key: element(item, &fields),
                verdict: None,
                data: None,
            },
        })
        .collect();
    Ok(Set {
        name: text(body, "name")?.to_owned(),
        handle: handle(body),
        key: fields,
        map,
        verdicts,
        flags,
        elements,
    })
}

fn rule(body: &Json, before: usize) -> Result<Rule, &'static str> {
    let expressions = body
        .get("expr")
        .and_then(Json::as_array)
        .ok_or("a rule with a list \"expr\"")?;
    let lowered = lower_rule(expressions);
    Ok(Rule {
        number: u32::try_from(before + 1).unwrap_or(u32::MAX),
        handle: handle(body),
        text: render_rule(expressions, body.get("comment").and_then(Json::as_str)),
        rendered: true,
        counter: lowered.counter,
        statements: lowered.statements,
    })
}

/// Marks a table as iptables' own when it looks like it: a table of iptables' name whose base chains are iptables' builtin
/// chains, at their hooks and priorities. `iptables-nft` itself goes by the same.
pub(super) fn recognise_iptables(table: &mut Table) {
    let builtin = |chain: &Chain| match &chain.base {
        None => true,
        Some(base) => save::base_chain(table.family, &table.name, &chain.name, base.policy)
            .is_some_and(|own| {
                (own.hook, own.priority, own.kind) == (base.hook, base.priority, base.kind)
            }),
    };
    let has_base = table.chains.iter().any(|chain| chain.base.is_some());
    if has_base && table.chains.iter().all(builtin) {
        table.backend = RuleBackend::IptablesNft;
    }
}
