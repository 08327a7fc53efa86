//! Queueing disciplines as `tc -j -s qdisc show` prints them (net/sched/sch_api.c, include/uapi/linux/pkt_sched.h).

use std::io;

use super::json::Json;
use super::link::Names;
use super::netlink::{
    Answer, Connection, NLM_F_DUMP, attribute, number, text, u16_at, u32_at, u64_at,
};

const RTM_GETQDISC: u16 = 38;
const RTM_NEWQDISC: u16 = 36;
const TC_H_ROOT: u32 = 0xffff_ffff;

/// All queueing disciplines of the namespace.
pub(super) struct Qdiscs {
    answer: Answer,
}

/// Where one queueing discipline hangs.
pub(super) struct Place {
    /// The interface's index.
    pub(super) device: u32,
    /// What it is.
    pub(super) kind: String,
    /// Its handle.
    pub(super) handle: u32,
}

impl Qdiscs {
    /// Asks the kernel (`tc_dump_qdisc`).
    pub(super) fn dump(connection: &mut Connection) -> io::Result<Self> {
        let answer = connection.ask(RTM_GETQDISC, NLM_F_DUMP, &[0; 20])?;
        Ok(Qdiscs { answer })
    }

    /// Why the dump is not whole.
    pub(super) fn incomplete(&self) -> Option<&'static str> {
        self.answer.incomplete
    }

    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.answer
            .messages()
            .filter(|(kind, _)| *kind == RTM_NEWQDISC)
            .map(|(_, payload)| payload)
    }

    /// Where they hang.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.messages().filter_map(|payload| {
            Some(Place {
                device: u32_at(payload, 4)?,
                handle: u32_at(payload, 8)?,
                kind: attribute(payload.get(20..)?, 1).map(text)?,
            })
        })
    }

    /// The text of `tc/qdisc.json`.
    pub(super) fn json(&self, names: &Names) -> Vec<u8> {
        Json::document(|json| {
            for payload in self.messages() {
                json.item(|json| qdisc(json, payload, names));
            }
        })
    }
}

fn qdisc(json: &mut Json, payload: &[u8], names: &Names) {
    let field = |offset| u32_at(payload, offset).unwrap_or_default();
    let body = payload.get(20..).unwrap_or_default();
    let kind = attribute(body, 1).map(text).unwrap_or_default();
    json.text("kind", &kind);
    json.text("handle", format!("{:x}:", field(8) >> 16));
    json.text("dev", names.get(field(4)));
    match field(12) {
        TC_H_ROOT => json.value("root", true),
        0 => {}
        parent => json.text("parent", class_id(parent)),
    }
    if field(16) != 1 {
        json.value("refcnt", field(16));
    }
    json.object("options", |json| {
        options(json, &kind, attribute(body, 2).unwrap_or_default());
    });
    if let Some(stats) = attribute(body, 7) {
        statistics(json, stats);
    }
}

/// The bounds that a queue drops by.
fn options(json: &mut Json, kind: &str, options: &[u8]) {
    match kind {
        "pfifo" | "bfifo" | "pfifo_head_drop" => {
            if let Some(limit) = u32_at(options, 0) {
                json.value("limit", limit);
            }
        }
        "htb" => {
            // struct tc_htb_glob
            let Some(global) = attribute(options, 2) else {
                return;
            };
            let field = |offset| u32_at(global, offset).unwrap_or_default();
            json.value("r2q", field(4));
            json.text("default", format!("{:#x}", field(8)));
            json.value("direct_packets_stat", field(16));
            if let Some(length) = attribute(options, 5).and_then(number) {
                json.value("direct_qlen", length);
            }
        }
        "tbf" => token_bucket(json, options),
        "fq_codel" | "codel" | "fq" | "cake" | "red" => {
            for (attribute_kind, name) in numbered_options(kind) {
                if let Some(value) = attribute(options, *attribute_kind).and_then(number) {
                    json.value(name, value);
                }
            }
        }
        "netem" => {
            // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
            if let (Some(limit), Some(loss)) = (u32_at(options, 4), u32_at(options, 8)) {
                json.value("limit", limit);
                if loss != 0 {
                    json.object("loss-random", |json| {
                        json.value("loss", f64::from(loss) / f64::from(u32::MAX));
                    });
                }
            }
        }
        _ => {}
    }
}

/// The options that are plain numbers, in the kernel's units (microseconds, packets, bytes).
fn numbered_options(kind: &str) -> &'static [(u16, &'static str)] {
    match kind {
        "codel" => &[(2, "limit"), (1, "target"), (3, "interval")],
        "fq_codel" => &[
            (2, "limit"),
            (5, "flows"),
            (6, "quantum"),
            (1, "target"),
            (3, "interval"),
        ],
        "fq" => &[(1, "limit"), (2, "flow_limit"), (3, "quantum")],
        _ => &[],
    }
}

/// `struct tc_tbf_qopt`: rate in bytes per second, burst in bytes, latency in microseconds (iproute2's `tbf_print_opt`).
fn token_bucket(json: &mut Json, options: &[u8]) {
    let Some(parameters) = attribute(options, 1) else {
        return;
    };
    let rate = attribute(options, 4)
        .and_then(number)
        .or_else(|| u32_at(parameters, 8).map(u64::from))
        .unwrap_or_default();
    let limit = u32_at(parameters, 24).unwrap_or_default();
    let buffer = u32_at(parameters, 28).unwrap_or_default();
    if rate == 0 {
        return;
    }
    // The kernel speaks of the time that the burst takes, in ticks of 64 ns (/proc/net/psched).
    let nanoseconds = u128::from(buffer) * 64;
    let exact = u128::from(rate) * nanoseconds;
    let burst = exact.div_ceil(1_000_000_000);
    json.value("rate", rate);
    json.value("burst", burst);
    json.value("limit", limit);
    let beyond = u128::from(limit).saturating_sub(burst);
    json.value("lat", beyond * 1_000_000 / u128::from(rate));
}

/// `struct gnet_stats_basic` and `struct gnet_stats_queue` (include/uapi/linux/gen_stats.h).
pub(super) fn statistics(json: &mut Json, stats: &[u8]) {
    let basic = attribute(stats, 1).unwrap_or_default();
    let queue = attribute(stats, 3).unwrap_or_default();
    let packets = attribute(stats, 8)
        .and_then(number)
        .or_else(|| u32_at(basic, 8).map(u64::from));
    json.value("bytes", u64_at(basic, 0).unwrap_or_default());
    json.value("packets", packets.unwrap_or_default());
    for (name, offset) in [
        ("drops", 8),
        ("overlimits", 16),
        ("requeues", 12),
        ("backlog", 4),
        ("qlen", 0),
    ] {
        json.value(name, u32_at(queue, offset).unwrap_or_default());
    }
}

/// `major:minor` in hexadecimal, as tc writes a class (`print_tc_classid`).
pub(super) fn class_id(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (_, _) if handle == TC_H_ROOT => "root".to_owned(),
        (0, 0) => "none".to_owned(),
        (0, minor) => format!(":{minor:x}"),
        (major, 0) => format!("{major:x}:"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// The protocol of a filter in network byte order, as tc names it.
pub(super) fn protocol_name(protocol: u16) -> String {
    let name = match u16::from_be(protocol) {
        0x0003 => "all",
        0x0800 => "ip",
        0x0806 => "arp",
        0x86dd => "ipv6",
        0x8100 => "802.1Q",
        0x88a8 => "802.1ad",
        other => return format!("[{other}]"),
    };
    name.to_owned()
}

/// A u16 in the lower half of `tcm_info`, and the preference in the upper.
pub(super) fn info_parts(info: u32) -> (u32, u16) {
    let protocol = u16_at(
        &info.to_ne_bytes(),
        if cfg!(target_endian = "little") { 0 } else { 2 },
    );
    (info >> 16, protocol.unwrap_or_default())
}
