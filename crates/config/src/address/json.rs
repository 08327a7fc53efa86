//! Addresses from `ip -j address`.

use serde_json::Value;

use super::Address;
use crate::json::{flag, number, objects, string, text as owned};
use crate::parse::Parsed;

/// Members that iproute2 writes as `"secondary": true`.
const FLAGS: &[&str] = &[
    "secondary",
    "temporary",
    "deprecated",
    "tentative",
    "dadfailed",
    "nodad",
    "optimistic",
    "home",
    "dynamic",
    "noprefixroute",
    "mngtmpaddr",
    "stable-privacy",
    "autojoin",
];

pub(super) fn read(text: &str) -> Parsed<Vec<Address>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        let Some(device) = string(&map, "ifname") else {
            parsed.problem(
                place,
                "an object with \"ifname\"",
                &Value::Object(map).to_string(),
            );
            continue;
        };
        let addresses = map.get("addr_info").and_then(Value::as_array);
        for info in addresses.into_iter().flatten().filter_map(Value::as_object) {
            // iproute2 leaves {} for addresses that it was asked to filter out.
            if info.is_empty()
                || !string(info, "family").is_none_or(|family| family.starts_with("inet"))
            {
                continue;
            }
            let Some(local) = string(info, "local").and_then(|local| local.parse().ok()) else {
                parsed.problem(
                    place,
                    "an address in \"local\"",
                    &Value::Object(info.clone()).to_string(),
                );
                continue;
            };
            let address = |key: &str| string(info, key).and_then(|text| text.parse().ok());
            parsed.value.push(Address {
                index: number(&map, "ifindex").unwrap_or(0),
                device: device.to_owned(),
                local,
                prefix_length: number(info, "prefixlen").unwrap_or(u8::MAX),
                peer: address("address"),
                broadcast: address("broadcast"),
                scope: owned(info, "scope").unwrap_or_else(|| "global".to_owned()),
                flags: FLAGS
                    .iter()
                    .filter(|name| flag(info, name))
                    .map(|name| (*name).to_owned())
                    .collect(),
                label: owned(info, "label"),
            });
        }
    }
    parsed
}
