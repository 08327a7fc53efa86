//! The actions of a traffic filter with their statistics (iproute2's `tc_print_action`).

use super::super::json::Json;
use super::super::link::Names;
use super::super::netlink::{attribute, attributes, number, text, u32_at};
use super::super::qdisc::statistics;

/// The content of an `actions` array: nested attributes numbered from 1.
pub(super) fn actions(json: &mut Json, actions: &[u8], names: &Names) {
    for (order, one) in attributes(actions) {
        let kind = attribute(one, 1).map(text).unwrap_or_default();
        let options = attribute(one, 2).unwrap_or_default();
        json.item(|json| {
            json.value("order", order);
            json.text("kind", &kind);
            match kind.as_str() {
                // struct tc_mirred is struct tc_gen with two fields more.
                "mirred" => {
                    let parameters = attribute(options, 2).unwrap_or_default();
                    mirred(json, parameters, names);
                    generic(json, parameters);
                }
                "police" => police(json, options),
                // struct tc_gen comes first in the parameters (attribute 2) of all actions but these.
                "pedit" | "vlan" | "tunnel_key" | "skbedit" | "csum" | "gact" | "ct" | "bpf"
                | "nat" | "connmark" | "ctinfo" | "mpls" | "sample" | "simple" | "gate" => {
                    let place = match kind.as_str() {
                        "csum" | "nat" | "connmark" | "mpls" | "ct" => 1,
                        _ => 2,
                    };
                    generic(json, attribute(options, place).unwrap_or_default());
                }
                _ => {}
            }
            if let Some(stats) = attribute(one, 4) {
                json.object("stats", |json| statistics(json, stats));
            }
        });
    }
}

/// `struct tc_gen`: index, capabilities, action, references, bindings.
fn generic(json: &mut Json, parameters: &[u8]) {
    let field = |offset| u32_at(parameters, offset).unwrap_or_default();
    if parameters.len() < 20 {
        return;
    }
    control(json, "control_action", field(8));
    json.value("index", field(0));
    json.value("ref", field(12));
    json.value("bind", field(16));
}

/// `struct tc_mirred`.
fn mirred(json: &mut Json, parameters: &[u8], names: &Names) {
    let (action, direction) = match u32_at(parameters, 20) {
        Some(1) => ("redirect", "egress"),
        Some(2) => ("mirror", "egress"),
        Some(3) => ("redirect", "ingress"),
        Some(4) => ("mirror", "ingress"),
        _ => return,
    };
    json.text("mirred_action", action);
    json.text("direction", direction);
    json.text(
        "to_dev",
        names.get(u32_at(parameters, 24).unwrap_or_default()),
    );
}

/// `struct tc_police`: rates in bytes per second.
fn police(json: &mut Json, options: &[u8]) {
    let Some(parameters) = attribute(options, 1) else {
        return;
    };
    let field = |offset| u32_at(parameters, offset).unwrap_or_default();
    json.value("index", field(0));
    let rate = attribute(options, 8)
        .and_then(number)
        .unwrap_or_else(|| u64::from(field(28)));
    json.value("rate", rate);
    json.value("mtu", field(16));
    control(json, "control_action", field(4));
    // TCA_POLICE_RESULT: what happens to what conforms.
    if let Some(result) = attribute(options, 4).and_then(|value| u32_at(value, 0)) {
        control(json, "conform_action", result);
    }
}

/// TC_ACT_* as `print_action_control` names them.
fn control(json: &mut Json, name: &str, action: u32) {
    let kind = match action.cast_signed() {
        -1 => "continue",
        0 => "pass",
        1 => "reclassify",
        2 => "drop",
        3 => "pipe",
        4 => "stolen",
        7 => "redirect",
        8 => "trap",
        _ if action >> 28 == 1 => "jump",
        _ if action >> 28 == 2 => "goto",
        _ => "unknown",
    };
    json.object(name, |json| json.text("type", kind));
}
