//! Routes and policy rules as `ip -j route show table all` and `ip -j rule` print them.

mod policy;

use std::io;
use std::net::IpAddr;

use super::json::Json;
use super::link::{Names, scope_name};
use super::netlink::{
    Answer, Connection, NLM_F_DUMP, address, attribute, attributes, number, text, u8_at, u16_at,
    u32_at,
};

pub(super) use policy::policy_json;

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
/// Routes learned for one destination (redirects, path MTU): `ip route show cache`, not the table.
const RTM_F_CLONED: u32 = 0x200;
/// A router with a full table has more than a reading should carry; the rest is said to be unseen.
const ROUTES: usize = 100_000;

/// The two Internet families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// AF_INET
    V4,
    /// AF_INET6
    V6,
}

impl Family {
    /// The number of the address family.
    pub(super) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// The length of an address in bits.
    fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// The text of `ip/route.json` or `ip/route6.json`, and why it is not whole.
pub(super) fn route_json(
    connection: &mut Connection,
    family: Family,
    names: &Names,
) -> io::Result<(Vec<u8>, Option<&'static str>)> {
    let mut body = [0; 12];
    body[0] = family.number();
    let answer = connection.ask(RTM_GETROUTE, NLM_F_DUMP, &body)?;
    let mut incomplete = answer.incomplete;
    if routes(&answer).nth(ROUTES).is_some() {
        incomplete = Some("there are more than 100,000 routes");
    }
    let bytes = Json::document(|json| {
        for payload in routes(&answer).take(ROUTES) {
            json.item(|json| route(json, payload, family, names));
        }
    });
    Ok((bytes, incomplete))
}

fn routes(answer: &Answer) -> impl Iterator<Item = &[u8]> {
    answer
        .messages()
        .filter(|(kind, payload)| {
            *kind == RTM_NEWROUTE
                && u32_at(payload, 8).is_some_and(|flags| flags & RTM_F_CLONED == 0)
        })
        .map(|(_, payload)| payload)
}

/// One `struct rtmsg` with its attributes (iproute2's `print_route`).
fn route(json: &mut Json, payload: &[u8], family: Family, names: &Names) {
    let field = |offset| u8_at(payload, offset).unwrap_or_default();
    let body = payload.get(12..).unwrap_or_default();
    let get = |kind| attribute(body, kind);
    if field(7) != 1 {
        json.text("type", type_name(field(7)));
    }
    json.text(
        "dst",
        prefix(get(1).and_then(address), field(1), family).unwrap_or_else(|| "default".to_owned()),
    );
    if let Some(source) = prefix(get(2).and_then(address), field(2), family) {
        json.text("from", source);
    }
    if field(3) != 0 {
        json.text("tos", format!("{:#x}", field(3)));
    }
    if let Some(group) = get(30).and_then(number) {
        json.value("nhid", group);
    }
    hop(json, body, names);
    let table = get(15)
        .and_then(number)
        .unwrap_or_else(|| u64::from(field(4)));
    if table != 254 {
        json.text("table", table_name(table));
    }
    if field(5) != 3 {
        json.text("protocol", protocol_name(field(5)));
    }
    if field(6) != 0 {
        json.text("scope", scope_name(field(6)));
    }
    if let Some(source) = get(7).and_then(address) {
        json.text("prefsrc", source.to_string());
    }
    if let Some(metric) = get(6).and_then(number) {
        json.value("metric", metric);
    }
    json.array("flags", |json| {
        flag_names(json, u32_at(payload, 8).unwrap_or_default());
    });
    if let Some(metrics) = get(8) {
        json.array("metrics", |json| {
            json.item(|json| metric_values(json, metrics))
        });
    }
    if let Some(expires) = get(12)
        .and_then(|info| u32_at(info, 8))
        .filter(|left| *left != 0)
    {
        // USER_HZ is 100 on every Linux architecture but Alpha.
        json.value("expires", expires.cast_signed() / 100);
    }
    if family == Family::V6 {
        match get(20).and_then(number) {
            Some(0) => json.text("pref", "medium"),
            Some(1) => json.text("pref", "high"),
            Some(3) => json.text("pref", "low"),
            _ => {}
        }
    }
    if let Some(hops) = get(9) {
        json.array("nexthops", |json| next_hops(json, hops, names));
    }
}

/// Gateway and device, of a route or of one of its next hops.
fn hop(json: &mut Json, body: &[u8], names: &Names) {
    if let Some(gateway) = attribute(body, 5).and_then(address) {
        json.text("gateway", gateway.to_string());
    }
    // RTA_VIA: a gateway of another family (RFC 5549).
    if let Some(via) = attribute(body, 18)
        && let Some(host) = via.get(2..).and_then(address)
    {
        json.object("via", |json| {
            json.text("family", if host.is_ipv4() { "inet" } else { "inet6" });
            json.text("host", host.to_string());
        });
    }
    if let Some(device) = attribute(body, 4).and_then(|value| u32_at(value, 0)) {
        json.text("dev", names.get(device));
    }
}

/// `struct rtnexthop` one after the other.
fn next_hops(json: &mut Json, mut rest: &[u8], names: &Names) {
    while let Some(length) = u16_at(rest, 0).map(usize::from) {
        let Some(one) = rest.get(..length).filter(|one| one.len() >= 8) else {
            return;
        };
        json.item(|json| {
            let body = one.get(8..).unwrap_or_default();
            hop(json, body, names);
            if attribute(body, 4).is_none() {
                json.text("dev", names.get(u32_at(one, 4).unwrap_or_default()));
            }
            json.value(
                "weight",
                u16::from(u8_at(one, 3).unwrap_or_default()).saturating_add(1),
            );
            json.array("flags", |json| {
                flag_names(json, u32::from(u8_at(one, 2).unwrap_or_default()));
            });
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// RTAX_*.
fn metric_values(json: &mut Json, metrics: &[u8]) {
    const NAMES: [(u16, &str); 12] = [
        (2, "mtu"),
        (3, "window"),
        (6, "ssthresh"),
        (7, "cwnd"),
        (8, "advmss"),
        (9, "reordering"),
        (10, "hoplimit"),
        (11, "initcwnd"),
        (12, "features"),
        (13, "rto_min"),
        (14, "initrwnd"),
        (15, "quickack"),
    ];
    for (kind, value) in attributes(metrics) {
        if kind == 16 {
            json.text("congestion", text(value));
        } else if let (Some((_, name)), Some(value)) = (
            NAMES.iter().find(|(wanted, _)| *wanted == kind),
            number(value),
        ) {
            json.value(name, value);
        }
    }
}

/// RTNH_F_*.
fn flag_names(json: &mut Json, flags: u32) {
    const NAMES: [(u32, &str); 7] = [
        (0x1, "dead"),
        (0x4, "onlink"),
        (0x2, "pervasive"),
        (0x8, "offload"),
        (0x40, "trap"),
        (0x10, "linkdown"),
        (0x20, "unresolved"),
    ];
    for (bit, name) in NAMES {
        if flags & bit != 0 {
            json.element(name);
        }
    }
}

/// A prefix as iproute2 writes it: hosts without a length; `None` for everything.
fn prefix(found: Option<IpAddr>, length: u8, family: Family) -> Option<String> {
    match (found, length) {
        (None, 0) => None,
        (None, length) => Some(format!("0/{length}")),
        (Some(host), length) if length == family.bits() => Some(host.to_string()),
        (Some(net), length) => Some(format!("{net}/{length}")),
    }
}

/// RT_TABLE_* as /etc/iproute2/rt_tables has it everywhere; others by number.
fn table_name(table: u64) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}

/// RTN_*.
fn type_name(kind: u8) -> String {
    const NAMES: [&str; 12] = [
        "none",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
        "xresolve",
    ];
    NAMES
        .get(usize::from(kind))
        .map_or_else(|| kind.to_string(), |name| (*name).to_owned())
}

/// RTPROT_* as /etc/iproute2/rt_protos has it.
fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        other => return other.to_string(),
    };
    name.to_owned()
}
