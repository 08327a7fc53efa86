//! Filters from `tc -j filter`.

use serde_json::{Map, Value};

use super::{BpfProgram, TcAction, TcFilter};
use crate::json::{flag, number, object, objects_of_kind, text as owned};
use crate::parse::Parsed;
use crate::qdisc::statistics_of_json;

pub(super) fn read(text: &str) -> Parsed<Vec<TcFilter>> {
    let elements = objects_of_kind(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (kind, map) in elements.value {
        // Each classifier is announced by an object without options, each u32 hash table has one of its own.
        if let Some(options) = object(&map, "options")
            && !options.contains_key("ht_divisor")
        {
            parsed.value.push(filter(&kind, &map, options));
        }
    }
    parsed
}

fn filter(kind: &str, map: &Map<String, Value>, options: &Map<String, Value>) -> TcFilter {
    let mut shown = options.clone();
    shown.remove("actions");
    let actions = options
        .get("actions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut actions: Vec<TcAction> = actions.filter_map(Value::as_object).map(action).collect();
    if let Some(police) = object(options, "police") {
        actions.push(TcAction {
            kind: "police".to_owned(),
            ..action(police)
        });
    }
    TcFilter {
        device: owned(map, "dev").unwrap_or_default(),
        parent: owned(map, "parent").unwrap_or_default(),
        pref: number(map, "pref").unwrap_or(0),
        protocol: owned(map, "protocol").unwrap_or_default(),
        kind: kind.to_owned(),
        handle: owned(options, "fh").or_else(|| owned(options, "handle")),
        bpf: (kind == "bpf").then(|| {
            let program = object(options, "prog");
            BpfProgram {
                name: program
                    .and_then(|program| owned(program, "name"))
                    .or_else(|| owned(options, "bpf_name")),
                id: program.and_then(|program| number(program, "id")),
                direct_action: flag(options, "direct-action"),
            }
        }),
        actions,
        text: format!("{kind} {}", Value::Object(shown)),
    }
}

fn action(map: &Map<String, Value>) -> TcAction {
    let control = ["control_action", "conform-exceed", "exceed"]
        .iter()
        .find_map(|key| {
            object(map, key)
                .and_then(|control| owned(control, "type"))
                .or_else(|| owned(map, key))
        });
    TcAction {
        kind: owned(map, "kind").unwrap_or_default(),
        control,
        target: match (owned(map, "mirred_action"), owned(map, "to_dev")) {
            (Some(action), Some(device)) => Some(format!("{action} {device}")),
            _ => None,
        },
        statistics: object(map, "stats").and_then(statistics_of_json),
    }
}
