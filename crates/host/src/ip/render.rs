//! IP as the well-known tools show it: `ip -j address`, `ip -j route show table all`, `ip -j rule`, and the files in /proc/net
//! that tell of routing and of sockets in use. The readers of `transect-config` take them back.

use std::fmt::Write;
use std::net::IpAddr;

use serde_json::{Map, Value, json};
use transect_config::{
    Address, IpVersion, NextHop, PolicyAction, PolicyRule, Prefix, Route, RouteKind, SocketState,
    Table,
};

use crate::device::DeviceId;
use crate::host::Host;

/// The columns of /proc/net/stat/rt_cache, whose numbers are kept here where the model knows them.
const RT_CACHE: &str = "entries  in_hit   in_slow_tot in_slow_mc in_no_route in_brd   in_martian_dst in_martian_src out_hit  out_slow_tot out_slow_mc gc_total gc_ignored gc_goal_miss gc_dst_overflow in_hlist_search out_hlist_search";

/// What /proc/net/stat/rt_cache counts (`struct rt_cache_stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RouteStatistics {
    /// Look-ups for packets that arrived, which no earlier one answered.
    pub(crate) in_slow_tot: u32,
    /// No route, or not this host's.
    pub(crate) in_no_route: u32,
    /// Broadcast.
    pub(crate) in_brd: u32,
    /// Destinations that cannot be.
    pub(crate) in_martian_dst: u32,
    /// Sources that cannot be.
    pub(crate) in_martian_src: u32,
    /// Look-ups for packets that this host sends, likewise.
    pub(crate) out_slow_tot: u32,
}

fn line(values: Vec<Value>) -> String {
    format!("{}\n", Value::Array(values))
}

impl Host {
    /// As `ip -j address show`.
    pub fn address_json(&self) -> String {
        let addresses = self.stack.config.addresses.as_deref().unwrap_or_default();
        let devices = (0u32..).map(DeviceId).zip(&self.stack.link.devices);
        line(
            devices
                .map(|(id, device)| {
                    let own: Vec<Value> = addresses
                        .iter()
                        .filter(|address| address.device == device.name)
                        .map(address)
                        .collect();
                    let mut flags = Vec::new();
                    if id == DeviceId::LOOPBACK {
                        flags.push("LOOPBACK");
                    } else {
                        flags.extend(["BROADCAST", "MULTICAST"]);
                    }
                    if device.up {
                        flags.push("UP");
                        if device.carrier {
                            flags.push("LOWER_UP");
                        }
                    }
                    json!({
                        "ifindex": id.index(),
                        "ifname": device.name,
                        "flags": flags,
                        "mtu": device.mtu,
                        "addr_info": own,
                    })
                })
                .collect(),
        )
    }

    /// As `ip -j -4 route show table all`, or `-6`.
    pub fn route_json(&self, version: IpVersion) -> String {
        let routes = self.stack.config.routes(version).unwrap_or_default();
        line(routes.iter().map(route).collect())
    }

    /// As `ip -j -4 rule`, or `-6`.
    pub fn rule_json(&self, version: IpVersion) -> String {
        let default;
        let rules = match self.stack.config.policy_rules(version) {
            Some(rules) => rules,
            None => {
                default = transect_config::default_policy_rules(version);
                &default
            }
        };
        line(rules.iter().map(rule).collect())
    }

    /// As /proc/net/stat/rt_cache, of one processor.
    pub fn rt_cache_text(&self) -> String {
        let own = &self.stack.ip.statistics;
        let mut text = format!("{RT_CACHE}\n");
        let numbers = [
            0,
            0,
            own.in_slow_tot,
            0,
            own.in_no_route,
            own.in_brd,
            own.in_martian_dst,
            own.in_martian_src,
            0,
            own.out_slow_tot,
        ];
        for (place, name) in RT_CACHE.split_whitespace().enumerate() {
            let number = numbers.get(place).copied().unwrap_or(0);
            let gap = name.len().saturating_sub(8);
            let _ = write!(text, "{number:08x} {:gap$}", "");
        }
        format!("{}\n", text.trim_end())
    }

    /// As /proc/net/sockstat; for IPv6 as /proc/net/sockstat6.
    pub fn sockstat_text(&self, version: IpVersion) -> String {
        let (udp, raw) = self.transport.in_use(version);
        let (fragments, memory) = self.stack.ip.reassembly.usage(version);
        let tcp = self.tcp_in_use(version);
        let (_, orphans, time_wait) = self.tcp.in_use();
        match version {
            IpVersion::V4 => format!(
                "sockets: used {}\nTCP: inuse {tcp} orphan {orphans} tw {time_wait} alloc {tcp} mem 0\n\
                 UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse {raw}\nFRAG: inuse {fragments} memory {memory}\n",
                tcp + udp + raw,
            ),
            IpVersion::V6 => format!(
                "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse {raw}\n\
                 FRAG6: inuse {fragments} memory {memory}\n",
            ),
        }
    }
}

impl Host {
    /// TCP's sockets of one family, but for handshakes and what is in TIME_WAIT.
    fn tcp_in_use(&self, version: IpVersion) -> usize {
        let listed = self.tcp.render(&self.stack).join("\n");
        let sockets = transect_config::read_sockets(&listed).value;
        let of_family = sockets
            .iter()
            .filter(|socket| socket.version.unwrap_or(IpVersion::V6) == version);
        of_family
            .filter(|socket| {
                !matches!(
                    socket.state,
                    Some(SocketState::TimeWait | SocketState::SynRecv)
                )
            })
            .count()
    }
}

fn family(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "inet",
        IpVersion::V6 => "inet6",
    }
}

fn address(address: &Address) -> Value {
    let mut map = Map::new();
    map.insert("family".into(), family(address.version()).into());
    map.insert("local".into(), address.local.to_string().into());
    if let Some(peer) = address.peer {
        map.insert("address".into(), peer.to_string().into());
    }
    map.insert("prefixlen".into(), address.prefix_length.into());
    if let Some(broadcast) = address.broadcast {
        map.insert("broadcast".into(), broadcast.to_string().into());
    }
    map.insert("scope".into(), address.scope.as_str().into());
    for flag in &address.flags {
        map.insert(flag.clone(), true.into());
    }
    if let Some(label) = &address.label {
        map.insert("label".into(), label.as_str().into());
    }
    for key in ["valid_life_time", "preferred_life_time"] {
        map.insert(key.into(), u32::MAX.into());
    }
    Value::Object(map)
}

fn prefix(prefix: Prefix) -> String {
    match prefix.length {
        0 => "default".to_owned(),
        _ => prefix.shortest(),
    }
}

fn gateway(map: &mut Map<String, Value>, gateway: Option<IpAddr>, version: IpVersion) {
    match gateway {
        // The next hop of another family has its own form.
        Some(gateway) if IpVersion::of(gateway) != version => {
            let via =
                json!({ "family": family(IpVersion::of(gateway)), "host": gateway.to_string() });
            map.insert("via".into(), via);
        }
        Some(gateway) => {
            map.insert("gateway".into(), gateway.to_string().into());
        }
        None => {}
    }
}

fn route(route: &Route) -> Value {
    let version = route.version();
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.into());
        }
    };
    let kind = (route.kind != RouteKind::Unicast).then(|| route.kind.to_string());
    put("type", kind);
    put("dst", Some(prefix(route.destination)));
    put("from", route.source.map(Prefix::shortest));
    put(
        "tos",
        (route.tos != 0).then(|| format!("0x{:02x}", route.tos)),
    );
    put("dev", route.device.clone());
    put(
        "table",
        (route.table != Table::MAIN).then(|| route.table.to_string()),
    );
    put("protocol", route.protocol.clone());
    put("scope", route.scope.clone());
    put("prefsrc", route.prefsrc.map(|source| source.to_string()));
    put("pref", route.preference.clone());
    gateway(&mut map, route.gateway, version);
    if route.metric != 0 || version == IpVersion::V6 {
        map.insert("metric".into(), route.metric.into());
    }
    if let Some(mtu) = route.mtu {
        map.insert("metrics".into(), json!([{ "mtu": mtu }]));
    }
    if !route.nexthops.is_empty() {
        let hops = route.nexthops.iter().map(|hop| next_hop(hop, version));
        map.insert("nexthops".into(), hops.collect());
    }
    map.insert("flags".into(), json!(route.flags));
    Value::Object(map)
}

fn next_hop(hop: &NextHop, version: IpVersion) -> Value {
    let mut map = Map::new();
    gateway(&mut map, hop.gateway, version);
    if let Some(device) = &hop.device {
        map.insert("dev".into(), device.as_str().into());
    }
    map.insert("weight".into(), hop.weight.into());
    map.insert("flags".into(), json!(hop.flags));
    Value::Object(map)
}

fn rule(rule: &PolicyRule) -> Value {
    let mut map = Map::new();
    map.insert("priority".into(), rule.priority.into());
    if rule.not {
        map.insert("not".into(), Value::Null);
    }
    let mut range = |address: &str, length: &str, prefix: Option<Prefix>, always: bool| {
        if let Some(prefix) = prefix {
            map.insert(address.to_owned(), prefix.address.to_string().into());
            if prefix.length != prefix.version().bits() {
                map.insert(length.to_owned(), prefix.length.into());
            }
        } else if always {
            map.insert(address.to_owned(), "all".into());
        }
    };
    range("src", "srclen", rule.from, true);
    range("dst", "dstlen", rule.to, false);
    if let Some(tos) = rule.tos {
        map.insert("tos".into(), format!("0x{tos:02x}").into());
    }
    if let Some(mark) = rule.fwmark {
        map.insert("fwmark".into(), format!("{:#x}", mark.value).into());
        if mark.mask != u32::MAX {
            map.insert("fwmask".into(), format!("{:#x}", mark.mask).into());
        }
    }
    for (key, device) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        if let Some(device) = device {
            map.insert(key.into(), device.as_str().into());
        }
    }
    for other in &rule.others {
        let (key, value) = other.split_once(' ').unwrap_or((other, ""));
        let value = match value {
            "" => Value::Null,
            value => value.into(),
        };
        map.insert(key.to_owned(), value);
    }
    match &rule.action {
        PolicyAction::Lookup(table) => {
            map.insert("table".into(), table.to_string().into());
        }
        PolicyAction::Goto(target) => {
            map.insert("goto".into(), (*target).into());
        }
        PolicyAction::Nop => {
            map.insert("action".into(), "nop".into());
        }
        PolicyAction::Blackhole => {
            map.insert("action".into(), "blackhole".into());
        }
        PolicyAction::Unreachable => {
            map.insert("action".into(), "unreachable".into());
        }
        PolicyAction::Prohibit => {
            map.insert("action".into(), "prohibit".into());
        }
        PolicyAction::Other(other) => {
            map.insert("action".into(), other.as_str().into());
        }
    }
    if let Some(length) = rule.suppress_prefix_length {
        map.insert("suppress_prefixlen".into(), length.into());
    }
    if let Some(group) = &rule.suppress_group {
        map.insert("suppress_ifgroup".into(), group.as_str().into());
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_config::{read_policy_rules, read_routes};

    #[test]
    fn routes_come_back_as_they_went() {
        let texts = [
            (
                IpVersion::V4,
                "default via 10.0.0.254 dev eth0 metric 100 mtu 1400
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1
blackhole 10.9.0.0/16
10.8.0.0/16 tos 0x10 via inet6 fe80::1 dev eth0
10.7.0.0/16 proto static
\tnexthop via 10.0.0.2 dev eth0 weight 1
\tnexthop via 10.0.0.3 dev eth0 weight 3
local 10.0.0.1 dev eth0 table local proto kernel scope host src 10.0.0.1
unreachable 10.6.0.0/16 table 100",
            ),
            (
                IpVersion::V6,
                "fd00::/64 dev eth0 proto kernel metric 256 pref medium
default via fe80::1 dev eth0 metric 1024 pref high
prohibit fd09::/32 dev lo metric 1024 pref medium
local ::1 dev lo table local proto kernel metric 0 pref medium",
            ),
        ];
        for (version, text) in texts {
            let read = read_routes(text, Some(version));
            assert_eq!(read.problems, []);
            let json = line(read.value.iter().map(route).collect());
            let again = read_routes(&json, Some(version));
            assert_eq!(again.problems, []);
            // The text is each reader's own.
            let blank = |routes: Vec<Route>| -> Vec<Route> {
                let routes = routes.into_iter();
                routes
                    .map(|route| Route {
                        text: String::new(),
                        ..route
                    })
                    .collect()
            };
            assert_eq!(blank(again.value), blank(read.value));
        }
    }

    #[test]
    fn rules_come_back_as_they_went() {
        let text = "0:\tfrom all lookup local
100:\tnot from 10.0.0.0/8 to 10.1.0.0/16 fwmark 0x1/0xff iif eth0 lookup 100
101:\tfrom 10.0.0.5 tos 0x10 oif eth1 unreachable
102:\tfrom all lookup main suppress_prefixlength 0
32766:\tfrom all lookup main";
        let read = read_policy_rules(text);
        assert_eq!(read.problems, []);
        let json = line(read.value.iter().map(rule).collect());
        let again = read_policy_rules(&json);
        assert_eq!(again.problems, []);
        assert_eq!(again.value, read.value);
    }
}
