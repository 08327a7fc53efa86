//! Devices from `ip -j link`.

use serde_json::{Map, Value};

use super::{BridgePortState, Link, OperState, XdpMode, XdpProgram};
use crate::json::{number, object, objects, string, strings, text as owned};
use crate::parse::Parsed;
use crate::text::mac;

pub(super) fn read(text: &str) -> Parsed<Vec<Link>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        let Some(name) = string(&map, "ifname") else {
            parsed.problem(
                place,
                "an object with \"ifname\"",
                &Value::Object(map).to_string(),
            );
            continue;
        };
        parsed.value.push(link(name, &map));
    }
    parsed
}

fn link(name: &str, map: &Map<String, Value>) -> Link {
    let mut link = Link {
        index: number(map, "ifindex").unwrap_or(0),
        name: name.to_owned(),
        link_type: owned(map, "link_type"),
        flags: strings(map, "flags"),
        operstate: string(map, "operstate").and_then(|state| state.parse::<OperState>().ok()),
        mtu: number(map, "mtu"),
        mac: string(map, "address").and_then(mac),
        broadcast: string(map, "broadcast").and_then(mac),
        master: owned(map, "master"),
        lower: owned(map, "link"),
        lower_index: number(map, "link_index"),
        link_netnsid: map
            .get("link_netnsid")
            .and_then(Value::as_i64)
            .and_then(|id| i32::try_from(id).ok()),
        link_netns: owned(map, "link_netns"),
        qdisc: owned(map, "qdisc"),
        txqlen: number(map, "txqlen"),
        num_tx_queues: number(map, "num_tx_queues"),
        num_rx_queues: number(map, "num_rx_queues"),
        xdp: object(map, "xdp").map(programs).unwrap_or_default(),
        ..Link::default()
    };
    if let Some(info) = object(map, "linkinfo") {
        kind(&mut link, info);
    }
    if let Some(statistics) = object(map, "stats64").or_else(|| object(map, "stats")) {
        for (side, values) in statistics {
            for (name, value) in values.as_object().into_iter().flatten() {
                if let Some(value) = value.as_u64() {
                    link.statistics.insert(format!("{side}_{name}"), value);
                }
            }
        }
    }
    link
}

/// What IFLA_LINKINFO tells: the kind of device, and what it is to its master.
fn kind(link: &mut Link, info: &Map<String, Value>) {
    link.kind = owned(info, "info_kind");
    if let Some(data) = object(info, "info_data") {
        match link.kind.as_deref() {
            Some("vlan") => link.vlan_id = number(data, "id"),
            Some("vxlan") => link.vxlan_id = number(data, "id"),
            _ => {}
        }
        link.tunnel_remote = string(data, "remote")
            .or_else(|| string(data, "remote6"))
            .and_then(|remote| remote.parse().ok());
    }
    if string(info, "info_slave_kind") == Some("bridge") {
        link.bridge_port = object(info, "info_slave_data")
            .and_then(|data| string(data, "state"))
            .and_then(|state| state.parse::<BridgePortState>().ok());
    }
}

/// Every attached program: `attached` lists them all, `prog` is the only one of older versions.
fn programs(xdp: &Map<String, Value>) -> Vec<XdpProgram> {
    let attached: Vec<&Map<String, Value>> = match xdp.get("attached").and_then(Value::as_array) {
        Some(array) if !array.is_empty() => array.iter().filter_map(Value::as_object).collect(),
        _ => vec![xdp],
    };
    attached
        .into_iter()
        .map(|map| {
            let program = object(map, "prog");
            XdpProgram {
                // XDP_ATTACHED_DRV, _SKB, _HW.
                mode: match number::<u8>(map, "mode") {
                    Some(2) => XdpMode::Generic,
                    Some(3) => XdpMode::Offload,
                    _ => XdpMode::Native,
                },
                id: program.and_then(|program| number(program, "id")),
                name: program.and_then(|program| owned(program, "name")),
                tag: program.and_then(|program| owned(program, "tag")),
            }
        })
        .collect()
}
