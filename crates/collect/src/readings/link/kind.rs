//! What a link is (`IFLA_LINKINFO`): its kind, the details of the kinds that lose packets, and its port of a bridge or bond.

use super::super::json::Json;
use super::super::netlink::{
    address, attribute, attributes, be16_at, number, text, u16_at, u32_at,
};
use super::numbers;

/// The content of `linkinfo`.
pub(super) fn link_info(json: &mut Json, info: &[u8]) {
    let kind = attribute(info, 1).map(text).unwrap_or_default();
    if !kind.is_empty() {
        json.text("info_kind", &kind);
    }
    if let Some(data) = attribute(info, 2) {
        json.object("info_data", |json| details(json, &kind, data));
    }
    if let Some(master) = attribute(info, 4).map(text) {
        json.text("info_slave_kind", &master);
        if let Some(data) = attribute(info, 5) {
            json.object("info_slave_data", |json| match master.as_str() {
                "bridge" => bridge_port(json, data),
                "bond" => bond_port(json, data),
                _ => {}
            });
        }
    }
}

fn details(json: &mut Json, kind: &str, data: &[u8]) {
    match kind {
        "vlan" => vlan(json, data),
        "vxlan" => vxlan(json, data),
        "macvlan" | "macvtap" => macvlan(json, data),
        "bridge" => bridge(json, data),
        "bond" => bond(json, data),
        "tun" => tun(json, data),
        "ipip" | "sit" | "gre" | "gretap" | "ip6tnl" | "ip6gre" | "ip6gretap" => {
            tunnel(json, kind, data)
        }
        "vrf" => numbers(json, data, &[(1, "table")]),
        _ => {}
    }
}

/// IFLA_VLAN_*.
fn vlan(json: &mut Json, data: &[u8]) {
    match attribute(data, 5).and_then(|value| be16_at(value, 0)) {
        Some(0x8100) => json.text("protocol", "802.1Q"),
        Some(0x88a8) => json.text("protocol", "802.1ad"),
        Some(other) => json.text("protocol", format!("[{other:x}]")),
        None => {}
    }
    if let Some(id) = attribute(data, 1).and_then(|value| u16_at(value, 0)) {
        json.value("id", id);
    }
}

/// IFLA_VXLAN_*.
fn vxlan(json: &mut Json, data: &[u8]) {
    if let Some(id) = attribute(data, 1).and_then(number) {
        json.value("id", id);
    }
    for (kind, six, name) in [
        (2, false, "remote"),
        (16, true, "remote"),
        (4, false, "local"),
        (17, true, "local"),
    ] {
        let Some(found) = attribute(data, kind).and_then(address) else {
            continue;
        };
        let name = match (name, found.is_multicast()) {
            ("remote", true) => "group",
            _ => name,
        };
        // The tool's own names of the IPv6 ones.
        json.text(
            &format!("{name}{}", if six { "6" } else { "" }),
            found.to_string(),
        );
    }
    if let Some(port) = attribute(data, 15).and_then(|value| be16_at(value, 0)) {
        json.value("port", port);
    }
    if let Some(learning) = attribute(data, 7).and_then(number) {
        json.value("learning", learning != 0);
    }
}

/// MACVLAN_MODE_*.
fn macvlan(json: &mut Json, data: &[u8]) {
    let mode = match attribute(data, 1).and_then(number) {
        Some(1) => "private",
        Some(2) => "vepa",
        Some(4) => "bridge",
        Some(8) => "passthru",
        Some(16) => "source",
        _ => return,
    };
    json.text("mode", mode);
}

/// IFLA_BR_*: what decides whether frames pass.
fn bridge(json: &mut Json, data: &[u8]) {
    numbers(
        json,
        data,
        &[
            (1, "forward_delay"),
            (2, "hello_time"),
            (3, "max_age"),
            (4, "ageing_time"),
            (5, "stp_state"),
            (6, "priority"),
            (7, "vlan_filtering"),
            (23, "mcast_snooping"),
            (36, "nf_call_iptables"),
            (37, "nf_call_ip6tables"),
            (38, "nf_call_arptables"),
        ],
    );
}

/// IFLA_BRPORT_* of a bridge's port.
fn bridge_port(json: &mut Json, data: &[u8]) {
    const STATES: [&str; 5] = [
        "disabled",
        "listening",
        "learning",
        "forwarding",
        "blocking",
    ];
    const SWITCHES: [(u16, &str); 9] = [
        (4, "hairpin"),
        (5, "guard"),
        (6, "root_block"),
        (7, "fastleave"),
        (8, "learning"),
        (9, "flood"),
        (27, "mcast_flood"),
        (33, "isolated"),
        (39, "locked"),
    ];
    if let Some(state) = attribute(data, 1).and_then(number) {
        match usize::try_from(state)
            .ok()
            .and_then(|index| STATES.get(index))
        {
            Some(name) => json.text("state", name),
            None => json.value("state", state),
        }
    }
    numbers(json, data, &[(2, "priority"), (3, "cost")]);
    for (kind, name) in SWITCHES {
        if let Some(value) = attribute(data, kind).and_then(number) {
            json.value(name, value != 0);
        }
    }
}

/// IFLA_BOND_*.
fn bond(json: &mut Json, data: &[u8]) {
    const MODES: [&str; 7] = [
        "balance-rr",
        "active-backup",
        "balance-xor",
        "broadcast",
        "802.3ad",
        "balance-tlb",
        "balance-alb",
    ];
    for (kind, value) in attributes(data) {
        match kind {
            1 => {
                let name = number(value)
                    .and_then(|mode| usize::try_from(mode).ok())
                    .and_then(|mode| MODES.get(mode));
                if let Some(name) = name {
                    json.text("mode", name);
                }
            }
            2 => {
                if let Some(index) = u32_at(value, 0) {
                    json.text("active_slave", format!("if{index}"));
                }
            }
            3 => {
                if let Some(interval) = number(value) {
                    json.value("miimon", interval);
                }
            }
            _ => {}
        }
    }
}

/// IFLA_BOND_SLAVE_*.
fn bond_port(json: &mut Json, data: &[u8]) {
    match attribute(data, 1).and_then(number) {
        Some(0) => json.text("state", "ACTIVE"),
        Some(_) => json.text("state", "BACKUP"),
        None => {}
    }
    match attribute(data, 2).and_then(number) {
        Some(0) => json.text("mii_status", "UP"),
        Some(1) => json.text("mii_status", "GOING_DOWN"),
        Some(2) => json.text("mii_status", "DOWN"),
        Some(3) => json.text("mii_status", "GOING_BACK"),
        _ => {}
    }
    numbers(json, data, &[(3, "link_failure_count")]);
}

/// IFLA_TUN_*.
fn tun(json: &mut Json, data: &[u8]) {
    match attribute(data, 3).and_then(number) {
        Some(1) => json.text("type", "tun"),
        Some(2) => json.text("type", "tap"),
        _ => {}
    }
    for (kind, name) in [
        (4, "pi"),
        (5, "vnet_hdr"),
        (7, "multi_queue"),
        (6, "persist"),
    ] {
        if let Some(value) = attribute(data, kind).and_then(number) {
            json.value(name, value != 0);
        }
    }
}

/// IFLA_IPTUN_* and IFLA_GRE_*: the two ends.
fn tunnel(json: &mut Json, kind: &str, data: &[u8]) {
    let (local, remote) = if kind.contains("gre") { (6, 7) } else { (2, 3) };
    for (attribute_kind, name) in [(remote, "remote"), (local, "local")] {
        if let Some(found) = attribute(data, attribute_kind).and_then(address) {
            if found.is_unspecified() {
                json.text(name, "any");
            } else {
                json.text(name, found.to_string());
            }
        }
    }
}
