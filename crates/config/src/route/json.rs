//! Routes from `ip -j route`.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{NextHop, Route, RouteKind, RouteMetrics, Table};
use crate::json::{number, object, objects, string, strings, text as owned};
use crate::parse::Parsed;
use crate::prefix::{IpVersion, Prefix};

pub(super) fn read(text: &str, version: Option<IpVersion>) -> Parsed<Vec<Route>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        match route(&map, version) {
            Ok(route) => parsed.value.push(route),
            Err(expected) => parsed.problem(place, expected, &Value::Object(map).to_string()),
        }
    }
    parsed
}

fn route(map: &Map<String, Value>, version: Option<IpVersion>) -> Result<Route, &'static str> {
    let kind = match string(map, "type") {
        None => RouteKind::Unicast,
        Some(kind) => kind.parse().map_err(|_| "a kind of route in \"type\"")?,
    };
    let nexthops: Vec<NextHop> = map
        .get("nexthops")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(|hop| NextHop {
            gateway: gateway(hop),
            device: owned(hop, "dev"),
            weight: number(hop, "weight").unwrap_or(1),
            flags: strings(hop, "flags"),
        })
        .collect();
    let gateway = gateway(map);
    let prefsrc: Option<IpAddr> = string(map, "prefsrc").and_then(|text| text.parse().ok());
    let destination = match string(map, "dst").ok_or("an object with \"dst\"")? {
        "default" | "all" => Prefix::everything(super::guess(
            version,
            prefsrc
                .or(gateway)
                .or_else(|| nexthops.iter().find_map(|hop| hop.gateway)),
            map.contains_key("pref"),
        )),
        text => text.parse().map_err(|_| "a prefix in \"dst\"")?,
    };
    let metric = |name: &str| {
        let metrics = map.get("metrics").and_then(Value::as_array);
        let metrics = metrics.into_iter().flatten().filter_map(Value::as_object);
        metrics
            .into_iter()
            .find_map(|metrics| number::<u32>(metrics, name))
    };
    let mut route = Route {
        table: string(map, "table").map_or(Table::MAIN, Table::read),
        source: string(map, "from").and_then(|text| text.parse().ok()),
        gateway,
        device: owned(map, "dev"),
        prefsrc,
        metric: number(map, "metric").unwrap_or(0),
        tos: string(map, "tos").map_or(0, super::tos),
        mtu: metric("mtu"),
        metrics: RouteMetrics {
            mtu_locked: false,
            advmss: metric("advmss").unwrap_or(0),
            initcwnd: metric("initcwnd").unwrap_or(0),
            initrwnd: metric("initrwnd").unwrap_or(0),
            quickack: metric("quickack").is_some_and(|quick| quick != 0),
        },
        scope: owned(map, "scope"),
        protocol: owned(map, "protocol"),
        preference: owned(map, "pref"),
        flags: strings(map, "flags"),
        nexthops,
        ..Route::new(kind, destination)
    };
    route.text = route.render();
    Ok(route)
}

/// `gateway`, or `via` with a family of its own (RFC 5549).
fn gateway(map: &Map<String, Value>) -> Option<IpAddr> {
    string(map, "gateway")
        .or_else(|| object(map, "via").and_then(|via| string(via, "host")))
        .and_then(|text| text.parse().ok())
}
