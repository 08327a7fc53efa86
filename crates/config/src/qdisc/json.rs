//! Queueing disciplines from `tc -j qdisc`.

use serde_json::{Map, Value};

use super::{Qdisc, TcStatistics};
use crate::json::{flag, number, objects_of_kind, text as owned};
use crate::parse::Parsed;

pub(super) fn read(text: &str) -> Parsed<Vec<Qdisc>> {
    let elements = objects_of_kind(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (kind, map) in elements.value {
        parsed.value.push(Qdisc {
            device: owned(&map, "dev").unwrap_or_default(),
            kind,
            handle: owned(&map, "handle").unwrap_or_default(),
            parent: if flag(&map, "root") {
                "root".to_owned()
            } else {
                owned(&map, "parent").unwrap_or_default()
            },
            options: match map.get("options") {
                Some(Value::Object(options)) if options.is_empty() => String::new(),
                Some(options) => options.to_string(),
                None => String::new(),
            },
            statistics: statistics(&map),
        });
    }
    parsed
}

/// The statistics of an object that has them; None without `packets`.
pub(crate) fn statistics(map: &Map<String, Value>) -> Option<TcStatistics> {
    Some(TcStatistics {
        packets: number(map, "packets")?,
        bytes: number(map, "bytes").unwrap_or(0),
        drops: number(map, "drops").unwrap_or(0),
        overlimits: number(map, "overlimits").unwrap_or(0),
        requeues: number(map, "requeues").unwrap_or(0),
        backlog: number(map, "backlog").unwrap_or(0),
        qlen: number(map, "qlen").unwrap_or(0),
    })
}
