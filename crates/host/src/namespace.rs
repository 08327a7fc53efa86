//! A host's configuration as the kernel keeps it, for whoever makes a model host without a real one to copy: what a new network
//! namespace has, and what each change of `ip` brings along (an address makes routes, a route finds its device).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_config::{
    Address, BridgePortState, HostConfig, IpVersion, Link, Neighbor, NeighborState, OperState,
    Prefix, Qdisc, Route, RouteKind, default_policy_rules, read_routes,
};
use transect_packet::MacAddress;
use transect_walk::routing::{RouteDecision, RouteQuery, route};

/// A change that the kernel would refuse. The text says which, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(String);

/// `lo` carries packets of 64 KiB.
const LOOPBACK_MTU: u32 = 65536;
/// `IP6_RT_PRIO_ADDRCONF`, `IP6_RT_PRIO_USER`.
const METRIC_OF_ADDRESS: u32 = 256;
const METRIC_OF_USER: u32 = 1024;

/// A new namespace whose `lo` is up.
pub fn new_host() -> HostConfig {
    let mut config = HostConfig {
        links: Some(vec![loopback()]),
        addresses: Some(Vec::new()),
        routes4: Some(Vec::new()),
        routes6: Some(Vec::new()),
        policy_rules4: Some(default_policy_rules(IpVersion::V4)),
        policy_rules6: Some(default_policy_rules(IpVersion::V6)),
        neighbors: Some(Vec::new()),
        qdiscs: Some(vec![no_queue("lo")]),
        filters: Some(Vec::new()),
        ..HostConfig::default()
    };
    add_address(&mut config, "lo", Ipv4Addr::LOCALHOST.into(), 8);
    add_address(&mut config, "lo", Ipv6Addr::LOCALHOST.into(), 128);
    config
}

fn loopback() -> Link {
    Link {
        index: 1,
        name: "lo".to_owned(),
        link_type: Some("loopback".to_owned()),
        flags: ["LOOPBACK", "UP", "LOWER_UP"].map(str::to_owned).to_vec(),
        operstate: Some(OperState::Unknown),
        mtu: Some(LOOPBACK_MTU),
        mac: Some([0; 6]),
        broadcast: Some([0; 6]),
        qdisc: Some("noqueue".to_owned()),
        txqlen: Some(1000),
        ..Link::default()
    }
}

/// Adds an end of a veth pair that is up, with its link-local IPv6 address.
pub fn add_veth(config: &mut HostConfig, name: &str, mac: MacAddress, mtu: u32) {
    add_ethernet(config, name, "veth", mac, mtu);
}

/// Adds a bridge that is up, with its ports: its MAC address is the smallest of theirs (`br_stp_recalculate_bridge_id`), its MTU
/// the smallest of theirs (`br_mtu_auto_adjust`).
///
/// # Errors
/// A port that is no device, is no Ethernet device, is a bridge, or belongs to another bridge; no ports.
pub fn add_bridge(
    config: &mut HostConfig,
    name: &str,
    ports: &[String],
) -> Result<(), ChangeError> {
    let mut least: Option<([u8; 6], u32)> = None;
    for port in ports {
        let links = config.links.iter_mut().flatten();
        let link = links.into_iter().find(|link| link.name == *port);
        let link = link.ok_or_else(|| ChangeError(format!("there is no interface {port}")))?;
        // `br_add_if`
        if link.link_type.as_deref() != Some("ether") || link.kind.as_deref() == Some("bridge") {
            let what = format!("{port} can be no port of the bridge {name}; Ethernet devices can");
            return Err(ChangeError(what));
        }
        if let Some(other) = link.master.as_deref().filter(|other| *other != name) {
            let what = format!("{port} can be no port of the bridge {name}: it is one of {other}");
            return Err(ChangeError(what));
        }
        link.master = Some(name.to_owned());
        link.bridge_port = Some(BridgePortState::Forwarding);
        let (mac, mtu) = (link.mac.unwrap_or_default(), link.mtu.unwrap_or(1500));
        least = Some(match least {
            None => (mac, mtu),
            Some((mac_before, mtu_before)) => (mac.min(mac_before), mtu.min(mtu_before)),
        });
    }
    let (mac, mtu) = least.ok_or_else(|| ChangeError(format!("the bridge {name} has no ports")))?;
    add_ethernet(config, name, "bridge", MacAddress(mac), mtu);
    Ok(())
}

fn add_ethernet(config: &mut HostConfig, name: &str, kind: &str, mac: MacAddress, mtu: u32) {
    let links = config.links.get_or_insert_default();
    let index = u32::try_from(links.len()).unwrap_or(u32::MAX);
    links.push(Link {
        index: index.saturating_add(1),
        name: name.to_owned(),
        kind: Some(kind.to_owned()),
        link_type: Some("ether".to_owned()),
        flags: ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]
            .map(str::to_owned)
            .to_vec(),
        operstate: Some(OperState::Up),
        mtu: Some(mtu),
        mac: Some(mac.0),
        broadcast: Some([0xff; 6]),
        qdisc: Some("noqueue".to_owned()),
        txqlen: Some(1000),
        ..Link::default()
    });
    config.qdiscs.get_or_insert_default().push(no_queue(name));
    add_address(config, name, link_local(mac), 64);
    kernel_route(
        config,
        IpVersion::V6,
        &format!(
            "multicast ff00::/8 dev {name} table local proto kernel metric {METRIC_OF_ADDRESS} pref medium"
        ),
    );
}

/// Adds a TUN device that is up. The kernel gives it a link-local address of its own making, which this leaves out.
pub fn add_tun(config: &mut HostConfig, name: &str, mtu: u32) {
    let links = config.links.get_or_insert_default();
    let index = u32::try_from(links.len()).unwrap_or(u32::MAX);
    links.push(Link {
        index: index.saturating_add(1),
        name: name.to_owned(),
        kind: Some("tun".to_owned()),
        link_type: Some("none".to_owned()),
        flags: ["POINTOPOINT", "MULTICAST", "NOARP", "UP", "LOWER_UP"]
            .map(str::to_owned)
            .to_vec(),
        operstate: Some(OperState::Unknown),
        mtu: Some(mtu),
        qdisc: Some("pfifo_fast".to_owned()),
        txqlen: Some(500),
        ..Link::default()
    });
    let qdiscs = config.qdiscs.get_or_insert_default();
    qdiscs.push(Qdisc {
        kind: "pfifo_fast".to_owned(),
        ..no_queue(name)
    });
}

fn no_queue(device: &str) -> Qdisc {
    Qdisc {
        device: device.to_owned(),
        kind: "noqueue".to_owned(),
        handle: "0:".to_owned(),
        parent: "root".to_owned(),
        ..Qdisc::default()
    }
}

/// RFC 4291, appendix A: the MAC address with ff:fe in the middle and the universal bit turned.
fn link_local(mac: MacAddress) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0.map(u16::from);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        (a ^ 2) << 8 | b,
        c << 8 | 0xff,
        0xfe00 | d,
        e << 8 | f,
    )
    .into()
}

/// Adds an address, with the routes that the kernel makes for it (`fib_add_ifaddr`, `addrconf_prefix_route`).
pub fn add_address(config: &mut HostConfig, device: &str, local: IpAddr, length: u8) {
    let version = IpVersion::of(local);
    let link_local = matches!(local, IpAddr::V6(address) if address.is_unicast_link_local());
    let scope = match (local.is_loopback(), link_local) {
        (true, _) => "host",
        (_, true) => "link",
        _ => "global",
    };
    let index = config.link(device).map_or(0, |link| link.index);
    config.addresses.get_or_insert_default().push(Address {
        index,
        device: device.to_owned(),
        local,
        prefix_length: length,
        peer: None,
        // `ip address add` sets none unless told; the route of the directed broadcast is there all the same.
        broadcast: None,
        scope: scope.to_owned(),
        flags: Vec::new(),
        label: (version == IpVersion::V4).then(|| device.to_owned()),
    });
    routes_of_address(config, device, local, length);
}

/// The routes that the kernel makes for an address.
fn routes_of_address(config: &mut HostConfig, device: &str, local: IpAddr, length: u8) {
    let version = IpVersion::of(local);
    let prefix = Prefix::new(local, length);
    let net = network(prefix);
    match version {
        IpVersion::V4 => {
            let local_route = |what: &str| {
                format!("local {what} dev {device} table local proto kernel scope host src {local}")
            };
            kernel_route(config, version, &local_route(&local.to_string()));
            if local.is_loopback() {
                kernel_route(config, version, &local_route(&net));
                let broadcast = prefix.directed_broadcast();
                broadcast_route(config, device, broadcast, local);
            } else {
                if length < 32 {
                    let text = format!("{net} dev {device} proto kernel scope link src {local}");
                    kernel_route(config, version, &text);
                }
                broadcast_route(config, device, prefix.directed_broadcast(), local);
            }
        }
        IpVersion::V6 => {
            let text =
                format!("local {local} dev {device} table local proto kernel metric 0 pref medium");
            kernel_route(config, version, &text);
            if length < 128 {
                let text = format!(
                    "{net} dev {device} proto kernel metric {METRIC_OF_ADDRESS} pref medium"
                );
                kernel_route(config, version, &text);
            }
        }
    }
}

fn broadcast_route(
    config: &mut HostConfig,
    device: &str,
    broadcast: Option<Ipv4Addr>,
    local: IpAddr,
) {
    if let Some(broadcast) = broadcast {
        let text = format!(
            "broadcast {broadcast} dev {device} table local proto kernel scope link src {local}"
        );
        kernel_route(config, IpVersion::V4, &text);
    }
}

/// The prefix with the bits behind its length cleared.
fn network(prefix: Prefix) -> String {
    let cleared: IpAddr = match prefix.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.length))
                .unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.length))
                .unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    };
    Prefix::new(cleared, prefix.length).to_string()
}

fn kernel_route(config: &mut HostConfig, version: IpVersion, text: &str) {
    let routes = read_routes(text, Some(version)).value;
    for route in routes {
        let own = routes_of(config, version);
        if !own.iter().any(|known| known.text == route.text) {
            own.push(route);
        }
    }
}

/// The routes of one family, for changing them.
pub fn routes_of(config: &mut HostConfig, version: IpVersion) -> &mut Vec<Route> {
    match version {
        IpVersion::V4 => config.routes4.get_or_insert_default(),
        IpVersion::V6 => config.routes6.get_or_insert_default(),
    }
}

/// What to do with a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChange {
    /// A second one to the same destination is refused.
    Add,
    /// Takes the place of one to the same destination.
    Replace,
    /// Takes it away.
    Delete,
}

/// Carries out `ip route add|replace|del SPEC`.
///
/// # Errors
/// What is no route, is there already, is not there, or has a gateway that no device leads to.
pub fn change_route(
    config: &mut HostConfig,
    version: IpVersion,
    change: RouteChange,
    spec: &str,
) -> Result<(), ChangeError> {
    let mut route = parse_route(version, spec)?;
    let version = route.version();
    if change != RouteChange::Delete {
        complete(config, version, &mut route)?;
    }
    let routes = routes_of(config, version);
    let alike = |other: &Route| {
        other.table == route.table
            && other.destination == route.destination
            && (route.metric == 0 || other.metric == route.metric)
            && other.tos == route.tos
    };
    match change {
        RouteChange::Delete => {
            let fits = |other: &Route| {
                alike(other) && (route.gateway.is_none() || other.gateway == route.gateway)
            };
            let index = routes
                .iter()
                .position(fits)
                .ok_or_else(|| ChangeError(format!("route del {spec}: there is no such route")))?;
            routes.remove(index);
        }
        RouteChange::Add if routes.iter().any(alike) => {
            return Err(ChangeError(format!("route add {spec}: File exists")));
        }
        RouteChange::Add => routes.push(route),
        RouteChange::Replace => {
            routes.retain(|other| !alike(other));
            routes.push(route);
        }
    }
    Ok(())
}

fn parse_route(version: IpVersion, spec: &str) -> Result<Route, ChangeError> {
    let parsed = read_routes(spec, Some(version));
    let mut routes = parsed.value.into_iter();
    match (routes.next(), routes.next(), parsed.problems.is_empty()) {
        (Some(route), None, true) => Ok(route),
        _ => Err(ChangeError(format!("\"{spec}\" is no route"))),
    }
}

/// Adds what the kernel and `ip` add: the device behind the gateway, the default metric.
fn complete(config: &HostConfig, version: IpVersion, route: &mut Route) -> Result<(), ChangeError> {
    if let (None, Some(gateway)) = (&route.device, route.gateway) {
        let device = device_towards(config, gateway).ok_or_else(|| {
            ChangeError(format!(
                "route {}: the gateway {gateway} is not reachable",
                route.text
            ))
        })?;
        route.device = Some(device);
    }
    if version == IpVersion::V6 {
        if route.metric == 0 {
            route.metric = METRIC_OF_USER;
        }
        if route.device.is_none() && route.kind != RouteKind::Unicast {
            route.device = Some("lo".to_owned());
        }
        route.preference.get_or_insert_with(|| "medium".to_owned());
    } else if route.gateway.is_none() && route.kind == RouteKind::Unicast {
        route.scope.get_or_insert_with(|| "link".to_owned());
    }
    route.text = written(route);
    Ok(())
}

/// A route as `ip route` writes it.
fn written(route: &Route) -> String {
    let mut words = Vec::new();
    if route.kind != RouteKind::Unicast {
        words.push(route.kind.to_string());
    }
    words.push(match route.destination.length {
        0 => "default".to_owned(),
        _ => route.destination.shortest(),
    });
    let mut word = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name} {value}")));
    };
    word("via", route.gateway.map(|gateway| gateway.to_string()));
    word("dev", route.device.clone());
    word(
        "table",
        (route.table != transect_config::Table::MAIN).then(|| route.table.to_string()),
    );
    word("scope", route.scope.clone());
    word("src", route.prefsrc.map(|source| source.to_string()));
    word(
        "metric",
        (route.metric != 0).then(|| route.metric.to_string()),
    );
    word("mtu", route.mtu.map(|mtu| mtu.to_string()));
    word("pref", route.preference.clone());
    words.join(" ")
}

/// The device by which a gateway is on the link (`fib_check_nh`).
fn device_towards(config: &HostConfig, gateway: IpAddr) -> Option<String> {
    let answer = route(config, &RouteQuery::output(gateway, None));
    match answer.decision()? {
        RouteDecision::Unicast {
            device,
            gateway: None,
            ..
        } => Some(device.clone()),
        _ => None,
    }
}

/// Sets a device up or down. Down, the routes by it go (`fib_sync_down_dev`), those of its own addresses aside.
pub fn set_up(config: &mut HostConfig, device: &str, up: bool) {
    change_link(config, device, |link| {
        let flags = ["UP", "LOWER_UP"];
        link.flags.retain(|flag| !flags.contains(&flag.as_str()));
        if up {
            link.flags.extend(flags.map(str::to_owned));
        }
        link.operstate = Some(if up { OperState::Up } else { OperState::Down });
    });
    if up {
        let addresses = config.addresses.clone().unwrap_or_default();
        for address in addresses.iter().filter(|one| one.device == device) {
            routes_of_address(config, device, address.local, address.prefix_length);
        }
        return;
    }
    for routes in [&mut config.routes4, &mut config.routes6] {
        let routes = routes.get_or_insert_default();
        routes.retain(|route| {
            route.device.as_deref() != Some(device) || route.kind == RouteKind::Local
        });
    }
}

/// Whether the other end of a device's link is there (`netif_carrier_on`, `_off`).
pub fn set_carrier(config: &mut HostConfig, device: &str, carrier: bool) {
    change_link(config, device, |link| {
        link.flags
            .retain(|flag| flag != "LOWER_UP" && flag != "NO-CARRIER");
        if link.is_up() {
            let flag = if carrier { "LOWER_UP" } else { "NO-CARRIER" };
            link.flags.push(flag.to_owned());
        }
        link.operstate = Some(match (link.is_up(), carrier) {
            (true, true) => OperState::Up,
            (true, false) => OperState::LowerLayerDown,
            (false, _) => OperState::Down,
        });
    });
    for routes in [&mut config.routes4, &mut config.routes6] {
        let routes = routes.get_or_insert_default().iter_mut();
        for route in routes.filter(|route| route.device.as_deref() == Some(device)) {
            route.flags.retain(|flag| flag != "linkdown");
            if !carrier && route.kind != RouteKind::Local {
                route.flags.push("linkdown".to_owned());
            }
        }
    }
}

/// Changes a device's entry, if there is one.
pub fn change_link(config: &mut HostConfig, device: &str, change: impl FnOnce(&mut Link)) {
    let mut links = config.links.iter_mut().flatten();
    if let Some(link) = links.find(|link| link.name == device) {
        change(link);
    }
}

/// `ip neighbor replace ADDRESS lladdr MAC dev DEVICE nud permanent`.
///
/// # Errors
/// There is no such device.
pub fn set_neighbor(
    config: &mut HostConfig,
    address: IpAddr,
    mac: MacAddress,
    device: &str,
) -> Result<(), ChangeError> {
    if config.link(device).is_none() {
        return Err(ChangeError(format!("there is no interface {device}")));
    }
    delete_neighbor(config, address, device);
    config.neighbors.get_or_insert_default().push(Neighbor {
        address,
        device: device.to_owned(),
        mac: Some(mac.0),
        states: vec![NeighborState::Permanent],
        probes: None,
        router: false,
        proxy: false,
    });
    Ok(())
}

/// Takes an entry away.
pub fn delete_neighbor(config: &mut HostConfig, address: IpAddr, device: &str) {
    config
        .neighbors
        .get_or_insert_default()
        .retain(|known| known.address != address || known.device != device);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostConfig {
        let mut config = new_host();
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        add_veth(&mut config, "eth0", mac, 1500);
        add_address(&mut config, "eth0", "10.1.0.2".parse().unwrap(), 24);
        add_address(&mut config, "eth0", "fd01::2".parse().unwrap(), 64);
        config
    }

    fn texts(config: &HostConfig, version: IpVersion) -> Vec<&str> {
        let routes = config.routes(version).unwrap_or_default();
        routes.iter().map(|route| route.text.as_str()).collect()
    }

    #[test]
    fn what_can_be_no_port_is_refused() {
        let mut config = host();
        add_bridge(&mut config, "br0", &["eth0".to_owned()]).unwrap();
        let mut said = |ports: &[&str]| {
            let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
            let refused = add_bridge(&mut config, "br1", &ports).unwrap_err();
            refused.to_string()
        };
        assert_eq!(said(&["eth7"]), "there is no interface eth7");
        assert_eq!(said(&[]), "the bridge br1 has no ports");
        for other in ["lo", "br0"] {
            let no = format!("{other} can be no port of the bridge br1; Ethernet devices can");
            assert_eq!(said(&[other]), no);
        }
        assert_eq!(
            said(&["eth0"]),
            "eth0 can be no port of the bridge br1: it is one of br0"
        );
    }

    #[test]
    fn addresses_make_the_routes_that_the_kernel_makes() {
        let config = host();
        assert_eq!(
            texts(&config, IpVersion::V4),
            [
                "local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1",
                "local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1",
                "broadcast 127.255.255.255 dev lo table local proto kernel scope link src 127.0.0.1",
                "local 10.1.0.2 dev eth0 table local proto kernel scope host src 10.1.0.2",
                "10.1.0.0/24 dev eth0 proto kernel scope link src 10.1.0.2",
                "broadcast 10.1.0.255 dev eth0 table local proto kernel scope link src 10.1.0.2",
            ]
        );
        assert_eq!(
            texts(&config, IpVersion::V6),
            [
                "local ::1 dev lo table local proto kernel metric 0 pref medium",
                "local fe80::ff:fe00:1 dev eth0 table local proto kernel metric 0 pref medium",
                "fe80::/64 dev eth0 proto kernel metric 256 pref medium",
                "multicast ff00::/8 dev eth0 table local proto kernel metric 256 pref medium",
                "local fd01::2 dev eth0 table local proto kernel metric 0 pref medium",
                "fd01::/64 dev eth0 proto kernel metric 256 pref medium",
            ]
        );
    }

    #[test]
    fn a_route_finds_its_device_and_a_second_one_is_refused() {
        let mut config = host();
        let mut change = |version, change, spec: &str| {
            change_route(&mut config, version, change, spec).map_err(|error| error.to_string())
        };
        change(IpVersion::V4, RouteChange::Add, "default via 10.1.0.1").unwrap();
        change(IpVersion::V6, RouteChange::Add, "default via fd01::1").unwrap();
        change(IpVersion::V4, RouteChange::Add, "blackhole 10.66.0.1/32").unwrap();
        assert_eq!(
            change(IpVersion::V4, RouteChange::Add, "default via 10.1.0.9").unwrap_err(),
            "route add default via 10.1.0.9: File exists"
        );
        assert_eq!(
            change(
                IpVersion::V4,
                RouteChange::Replace,
                "10.7.0.0/16 via 10.9.0.1"
            )
            .unwrap_err(),
            "route 10.7.0.0/16 via 10.9.0.1: the gateway 10.9.0.1 is not reachable"
        );
        change(IpVersion::V4, RouteChange::Delete, "10.66.0.1").unwrap();
        let tail = |version| texts(&config, version).pop().map(str::to_owned);
        assert_eq!(
            tail(IpVersion::V4).as_deref(),
            Some("default via 10.1.0.1 dev eth0")
        );
        assert_eq!(
            tail(IpVersion::V6).as_deref(),
            Some("default via fd01::1 dev eth0 metric 1024 pref medium")
        );
    }
}
