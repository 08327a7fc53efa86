//! Traffic filters as `tc -j -s filter show` prints them, for every device and every place a filter can hang
//! (net/sched/cls_api.c, act_api.c).
//!
//! `dev` and `parent` stand in every object, since one file holds all of them; `parent` is `ingress`, `egress` or the
//! class as tc writes it.

mod action;

use std::collections::BTreeSet;
use std::io;

use super::json::Json;
use super::link::Names;
use super::netlink::{
    Connection, NLM_F_DUMP, attribute, be16_at, be32_at, number, text, u8_at, u16_at, u32_at,
    u64_at,
};
use super::qdisc::{Qdiscs, class_id, info_parts, protocol_name};

const RTM_GETTFILTER: u16 = 46;
const RTM_NEWTFILTER: u16 = 44;
/// TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS) and …_EGRESS.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// A device can hold many thousands (one for each tenant); the rest is said to be unseen.
const FILTERS: usize = 20_000;

/// The text of `tc/filter.json`, and why it is not whole.
pub(super) fn filter_json(
    connection: &mut Connection,
    qdiscs: &Qdiscs,
    names: &Names,
) -> io::Result<(Vec<u8>, Option<&'static str>)> {
    let mut incomplete = None;
    let mut answers = Vec::new();
    for (device, parent) in parents(qdiscs) {
        let mut body = [0; 20];
        body[4..8].copy_from_slice(&device.to_ne_bytes());
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        let answer = connection.ask(RTM_GETTFILTER, NLM_F_DUMP, &body)?;
        incomplete = incomplete.or(answer.incomplete);
        answers.push((device, parent, answer));
    }
    let mut left = FILTERS;
    let bytes = Json::document(|json| {
        for (device, parent, answer) in &answers {
            let place = match *parent {
                INGRESS => "ingress".to_owned(),
                EGRESS => "egress".to_owned(),
                other => class_id(other),
            };
            for (kind, payload) in answer.messages() {
                if kind != RTM_NEWTFILTER {
                    continue;
                }
                let Some(next) = left.checked_sub(1) else {
                    incomplete = Some("there are more than 20,000 filters");
                    return;
                };
                left = next;
                json.item(|json| {
                    json.text("dev", names.get(*device));
                    json.text("parent", &place);
                    filter(json, payload, names);
                });
            }
        }
    });
    Ok((bytes, incomplete))
}

/// Every place that can hold filters. Queues without classes have none, and are on most devices: not asking keeps an
/// idle sample cheap.
fn parents(qdiscs: &Qdiscs) -> BTreeSet<(u32, u32)> {
    let mut parents = BTreeSet::new();
    for place in qdiscs.places() {
        match place.kind.as_str() {
            "noqueue" | "pfifo" | "bfifo" | "pfifo_fast" | "pfifo_head_drop" | "mq" | "tbf" => {}
            "clsact" => {
                parents.insert((place.device, INGRESS));
                parents.insert((place.device, EGRESS));
            }
            "ingress" => {
                parents.insert((place.device, INGRESS));
            }
            _ if place.handle != 0 => {
                parents.insert((place.device, place.handle));
            }
            _ => {}
        }
    }
    parents
}

/// One `struct tcmsg` with its attributes (iproute2's `print_filter`).
fn filter(json: &mut Json, payload: &[u8], names: &Names) {
    let handle = u32_at(payload, 8).unwrap_or_default();
    let (pref, protocol) = info_parts(u32_at(payload, 16).unwrap_or_default());
    let body = payload.get(20..).unwrap_or_default();
    let kind = attribute(body, 1).map(text).unwrap_or_default();
    if protocol != 0 {
        json.text("protocol", protocol_name(protocol));
    }
    if pref != 0 {
        json.value("pref", pref);
    }
    json.text("kind", &kind);
    if let Some(chain) = attribute(body, 11).and_then(number) {
        json.value("chain", chain);
    }
    let Some(options) = attribute(body, 2).filter(|options| !options.is_empty()) else {
        return;
    };
    json.object("options", |json| {
        let actions = match kind.as_str() {
            "u32" => universal(json, handle, options),
            "bpf" => bpf(json, handle, options),
            "flower" => flower(json, handle, options),
            "matchall" => plain(json, handle, options, 2, 3),
            "basic" => plain(json, handle, options, 3, 0),
            "fw" => plain(json, handle, options, 4, 0),
            "route" => plain(json, handle, options, 6, 0),
            "cgroup" => plain(json, handle, options, 1, 0),
            "flow" => plain(json, handle, options, 9, 0),
            _ => None,
        };
        if let Some(actions) = actions {
            json.array("actions", |json| action::actions(json, actions, names));
        }
    });
}

/// Where matching packets go, and whether hardware does it.
fn class_and_hardware(json: &mut Json, options: &[u8], class: u16, flags: u16) {
    if let Some(class) = attribute(options, class).and_then(|value| u32_at(value, 0)) {
        json.text("flowid", class_id(class));
    }
    if flags != 0
        && let Some(flags) = attribute(options, flags).and_then(number)
    {
        // TCA_CLS_FLAGS_*
        for (bit, name) in [
            (0x1, "skip_hw"),
            (0x2, "skip_sw"),
            (0x4, "in_hw"),
            (0x8, "not_in_hw"),
        ] {
            if flags & bit != 0 {
                json.value(name, true);
            }
        }
    }
}

/// A classifier of which only the class and the actions are shown. Returns the actions.
fn plain<'a>(
    json: &mut Json,
    handle: u32,
    options: &'a [u8],
    actions: u16,
    flags: u16,
) -> Option<&'a [u8]> {
    json.value("handle", handle);
    // The class is attribute 1 of all of these but cgroup, which has none.
    if actions != 1 {
        class_and_hardware(json, options, 1, flags);
    }
    // struct tc_matchall_pcnt
    if flags == 3
        && let Some(hits) = attribute(options, 4).and_then(|value| u64_at(value, 0))
    {
        json.value("rule_hit", hits);
    }
    attribute(options, actions)
}

/// cls_u32 (iproute2's `u32_print_opt`).
fn universal<'a>(json: &mut Json, handle: u32, options: &'a [u8]) -> Option<&'a [u8]> {
    if handle != 0 {
        json.text("fh", u32_handle(handle));
    }
    if handle & 0xfff != 0 {
        json.value("order", handle & 0xfff);
    }
    if let Some(divisor) = attribute(options, 4).and_then(number) {
        json.value("ht_divisor", divisor);
    } else if let Some(table) = attribute(options, 2).and_then(|value| u32_at(value, 0)) {
        json.text("key_ht", format!("{:x}", table >> 20));
        json.text("bkt", format!("{:x}", (table >> 12) & 0xff));
    }
    class_and_hardware(json, options, 1, 11);
    // struct tc_u32_pcnt, where the kernel keeps it.
    if let Some(counts) = attribute(options, 9) {
        json.value("rule_hit", u64_at(counts, 0).unwrap_or_default());
        json.value("success", u64_at(counts, 8).unwrap_or_default());
    }
    if let Some(selector) = attribute(options, 5) {
        matches(json, selector);
    }
    attribute(options, 7)
}

/// `struct tc_u32_sel`: 16 bytes, then keys of 16. tc repeats the name `match` for each key, which JSON forbids, so
/// more than one stand in an array `matches`.
fn matches(json: &mut Json, selector: &[u8]) {
    let count = usize::from(u8_at(selector, 2).unwrap_or_default());
    let keys: Vec<&[u8]> = selector
        .get(16..)
        .unwrap_or_default()
        .chunks_exact(16)
        .take(count)
        .collect();
    let key = |json: &mut Json, key: &[u8]| {
        let offset_mask = u32_at(key, 12).unwrap_or_default();
        json.text(
            "value",
            format!("{:x}", be32_at(key, 4).unwrap_or_default()),
        );
        json.text("mask", format!("{:x}", be32_at(key, 0).unwrap_or_default()));
        json.text("offmask", if offset_mask == 0 { "" } else { "nexthdr+" });
        json.value("off", u32_at(key, 8).unwrap_or_default().cast_signed());
    };
    match keys.as_slice() {
        [] => {}
        [one] => json.object("match", |json| key(json, one)),
        many => json.array("matches", |json| {
            for one in many {
                json.item(|json| key(json, one));
            }
        }),
    }
}

/// `800::800` (iproute2's `sprint_u32_handle`).
fn u32_handle(handle: u32) -> String {
    let (table, hash, node) = (handle >> 20, (handle >> 12) & 0xff, handle & 0xfff);
    if table == 0 && hash == 0 {
        return format!("{node:x}");
    }
    match (hash, node) {
        (0, 0) => format!("{table:x}:"),
        (hash, 0) => format!("{table:x}:{hash:x}:"),
        (0, node) => format!("{table:x}::{node:x}"),
        (hash, node) => format!("{table:x}:{hash:x}:{node:x}"),
    }
}

/// cls_bpf (iproute2's `bpf_print_opt`).
fn bpf<'a>(json: &mut Json, handle: u32, options: &'a [u8]) -> Option<&'a [u8]> {
    json.text("handle", format!("{handle:#x}"));
    if let Some(class) = attribute(options, 3).and_then(|value| u32_at(value, 0)) {
        json.text("flowid", class_id(class));
    }
    if let Some(name) = attribute(options, 7) {
        json.text("bpf_name", text(name));
    }
    // TCA_BPF_FLAG_ACT_DIRECT: the program's return value is the verdict.
    if attribute(options, 8)
        .and_then(number)
        .is_some_and(|flags| flags & 1 != 0)
    {
        json.value("direct-action", true);
    }
    class_and_hardware(json, options, u16::MAX, 9);
    if let Some(id) = attribute(options, 11).and_then(number) {
        json.object("prog", |json| {
            json.value("id", id);
            if let Some(name) = attribute(options, 7) {
                json.text("name", text(name));
            }
            if let Some(tag) = attribute(options, 10) {
                let digits: Vec<String> = tag.iter().map(|byte| format!("{byte:02x}")).collect();
                json.text("tag", digits.concat());
            }
        });
    } else if let Some(program) = attribute(options, 5) {
        json.object("bytecode", |json| {
            json.value("length", program.len() / 8);
            json.array("insns", |json| {
                // struct sock_filter
                for instruction in program.chunks_exact(8) {
                    json.item(|json| {
                        json.value("code", u16_at(instruction, 0).unwrap_or_default());
                        json.value("jt", u8_at(instruction, 2).unwrap_or_default());
                        json.value("jf", u8_at(instruction, 3).unwrap_or_default());
                        json.value("k", u32_at(instruction, 4).unwrap_or_default());
                    });
                }
            });
        });
    }
    attribute(options, 1)
}

/// cls_flower: the keys that a connection has; others are there but not shown.
fn flower<'a>(json: &mut Json, handle: u32, options: &'a [u8]) -> Option<&'a [u8]> {
    let get = |kind| attribute(options, kind);
    json.value("handle", handle);
    json.object("keys", |json| {
        match get(8).and_then(|value| be16_at(value, 0)) {
            Some(0x0800) => json.text("eth_type", "ipv4"),
            Some(0x86dd) => json.text("eth_type", "ipv6"),
            Some(other) => json.text("eth_type", format!("{other:x}")),
            None => {}
        }
        match get(9).and_then(number) {
            Some(6) => json.text("ip_proto", "tcp"),
            Some(17) => json.text("ip_proto", "udp"),
            Some(1) => json.text("ip_proto", "icmp"),
            Some(58) => json.text("ip_proto", "icmpv6"),
            Some(other) => json.text("ip_proto", format!("{other:x}")),
            None => {}
        }
        for (name, four, six) in [("dst_ip", 12, 16), ("src_ip", 10, 14)] {
            if let Some(found) = [four, six].into_iter().find_map(get)
                && let Some(host) = super::netlink::address(found)
            {
                let mask = [four, six].into_iter().find(|kind| get(*kind).is_some());
                let bits: u32 = mask
                    .and_then(|kind| get(kind.saturating_add(1)))
                    .map_or(0, |mask| mask.iter().map(|byte| byte.count_ones()).sum());
                let full = if host.is_ipv4() { 32 } else { 128 };
                if bits == full {
                    json.text(name, host.to_string());
                } else {
                    json.text(name, format!("{host}/{bits}"));
                }
            }
        }
        for (name, tcp, udp) in [("dst_port", 19, 21), ("src_port", 18, 20)] {
            if let Some(port) = [tcp, udp]
                .into_iter()
                .find_map(get)
                .and_then(|value| be16_at(value, 0))
            {
                json.value(name, port);
            }
        }
    });
    class_and_hardware(json, options, 1, 22);
    get(3)
}
