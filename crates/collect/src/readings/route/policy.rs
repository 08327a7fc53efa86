//! Policy rules as `ip -j rule` prints them (iproute2's `print_rule`, net/core/fib_rules.c).

use std::io;

use super::super::json::Json;
use super::super::netlink::{
    Connection, NLM_F_DUMP, address, attribute, number, text, u8_at, u16_at, u32_at,
};
use super::{Family, table_name, type_name};

const RTM_GETRULE: u16 = 34;
const RTM_NEWRULE: u16 = 32;
/// FR_ACT_*.
const TO_TABLE: u8 = 1;
const GOTO: u8 = 2;
const NOP: u8 = 3;
/// FIB_RULE_*.
const INVERT: u32 = 0x2;
const UNRESOLVED: u32 = 0x4;
const IIF_DETACHED: u32 = 0x8;
const OIF_DETACHED: u32 = 0x10;

/// The text of `ip/rule.json` or `ip/rule6.json`.
pub(in super::super) fn policy_json(
    connection: &mut Connection,
    family: Family,
) -> io::Result<Vec<u8>> {
    let mut body = [0; 12];
    body[0] = family.number();
    let answer = connection.ask(RTM_GETRULE, NLM_F_DUMP, &body)?;
    Ok(Json::document(|json| {
        for (kind, payload) in answer.messages() {
            if kind == RTM_NEWRULE {
                json.item(|json| rule(json, payload, family));
            }
        }
    }))
}

/// One `struct fib_rule_hdr` with its attributes.
fn rule(json: &mut Json, payload: &[u8], family: Family) {
    let field = |offset| u8_at(payload, offset).unwrap_or_default();
    let flags = u32_at(payload, 8).unwrap_or_default();
    let body = payload.get(12..).unwrap_or_default();
    let get = |kind| attribute(body, kind);
    json.value("priority", get(6).and_then(number).unwrap_or_default());
    if flags & INVERT != 0 {
        json.null("not");
    }
    match get(2).and_then(address) {
        Some(source) => {
            json.text("src", source.to_string());
            if field(2) != family.bits() {
                json.value("srclen", field(2));
            }
        }
        None if field(2) != 0 => {
            json.text("src", "0");
            json.value("srclen", field(2));
        }
        None => json.text("src", "all"),
    }
    match get(1).and_then(address) {
        Some(destination) => {
            json.text("dst", destination.to_string());
            if field(1) != family.bits() {
                json.value("dstlen", field(1));
            }
        }
        None if field(1) != 0 => {
            json.text("dst", "0");
            json.value("dstlen", field(1));
        }
        None => {}
    }
    if field(3) != 0 {
        json.text("tos", format!("{:#x}", field(3)));
    }
    selectors(json, body, flags);
    if field(7) == TO_TABLE {
        let table = get(15)
            .and_then(number)
            .unwrap_or_else(|| u64::from(field(4)));
        json.text("table", table_name(table));
        // The kernel sends -1 where it is not set.
        if let Some(length) = get(14)
            .and_then(number)
            .filter(|v| *v != u64::from(u32::MAX))
        {
            json.value("suppress_prefixlen", length);
        }
        if let Some(group) = get(13)
            .and_then(number)
            .filter(|v| *v != u64::from(u32::MAX))
        {
            json.text("suppress_ifgroup", group.to_string());
        }
    }
    match field(7) {
        TO_TABLE => {}
        GOTO => {
            match get(4).and_then(number) {
                Some(target) => json.value("goto", target),
                None => json.text("goto", "none"),
            }
            if flags & UNRESOLVED != 0 {
                json.null("unresolved");
            }
        }
        NOP => json.null("nop"),
        other => json.text("action", type_name(other)),
    }
}

/// Everything a rule selects by besides addresses and TOS.
fn selectors(json: &mut Json, body: &[u8], flags: u32) {
    let get = |kind| attribute(body, kind);
    let mark = get(10).and_then(number).unwrap_or_default();
    let mask = get(16).and_then(number);
    if mark != 0 || mask.is_some_and(|mask| mask != 0) {
        json.text("fwmark", format!("{mark:#x}"));
        if let Some(mask) = mask.filter(|mask| *mask != u64::from(u32::MAX)) {
            json.text("fwmask", format!("{mask:#x}"));
        }
    }
    for (kind, name, bit, detached) in [
        (3, "iif", IIF_DETACHED, "iif_detached"),
        (17, "oif", OIF_DETACHED, "oif_detached"),
    ] {
        if let Some(interface) = get(kind) {
            json.text(name, text(interface));
            if flags & bit != 0 {
                json.null(detached);
            }
        }
    }
    if get(19).and_then(number).is_some_and(|on| on != 0) {
        json.null("l3mdev");
    }
    if let Some(range) = get(20) {
        json.value("uid_start", u32_at(range, 0).unwrap_or_default());
        json.value("uid_end", u32_at(range, 4).unwrap_or_default());
    }
    match get(22).and_then(number) {
        Some(1) => json.text("ipproto", "icmp"),
        Some(6) => json.text("ipproto", "tcp"),
        Some(17) => json.text("ipproto", "udp"),
        Some(58) => json.text("ipproto", "ipv6-icmp"),
        Some(other) => json.text("ipproto", format!("ipproto-{other}")),
        None => {}
    }
    for (kind, one, first, last) in [
        (23, "sport", "sport_start", "sport_end"),
        (24, "dport", "dport_start", "dport_end"),
    ] {
        let Some((start, end)) =
            get(kind).and_then(|range| Some((u16_at(range, 0)?, u16_at(range, 2)?)))
        else {
            continue;
        };
        if start == end {
            json.value(one, start);
        } else {
            json.value(first, start);
            json.value(last, end);
        }
    }
}
