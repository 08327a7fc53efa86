//! Which addresses are the host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_config::{HostConfig, IpVersion, Prefix, Route, RouteKind};

use super::lookup::{Tables, local_route};

/// Whether the host takes packets to an address for itself: its own addresses, local routes, 127/8, its networks' broadcast
/// addresses, 255.255.255.255 and multicast (whether the group was joined is not known here). None: neither routes nor
/// addresses were read.
pub fn local_address(config: &HostConfig, address: IpAddr) -> Option<bool> {
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some(true);
    }
    let version = IpVersion::of(address);
    let tables = Tables::new(config, version);
    if tables.routes.is_empty() && config.addresses.is_none() {
        return None;
    }
    // As `inet_addr_type` does, look at table local alone; the longest prefix decides.
    let best = tables
        .routes
        .iter()
        .filter(|route| {
            route.table == transect_config::Table::LOCAL && route.destination.contains(address)
        })
        .max_by_key(|route| route.destination.length);
    let own = best.is_some_and(|route| {
        matches!(
            route.kind,
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast
        )
    });
    // Routes that were read without table local, and no addresses: silence says nothing.
    let knows_local = config.addresses.is_some()
        || tables
            .routes
            .iter()
            .any(|route| route.table == transect_config::Table::LOCAL);
    (own || knows_local).then_some(own)
}

/// What the kernel puts into table local for the addresses (`fib_add_ifaddr`, `addrconf`).
pub(super) fn table_of_addresses(config: &HostConfig, version: IpVersion) -> Vec<Route> {
    let mut routes = Vec::new();
    for address in config.addresses.iter().flatten() {
        if address.version() != version || !address.is_usable() {
            continue;
        }
        let device = address.device.as_str();
        routes.push(local_route(
            RouteKind::Local,
            Prefix::host(address.local),
            device,
        ));
        if version == IpVersion::V4 {
            if address.local.is_loopback() {
                routes.push(local_route(
                    RouteKind::Local,
                    Prefix::new(address.local, address.prefix_length),
                    device,
                ));
            }
            let directed = address.prefix().directed_broadcast().map(IpAddr::V4);
            for broadcast in [address.broadcast, directed].into_iter().flatten() {
                routes.push(local_route(
                    RouteKind::Broadcast,
                    Prefix::host(broadcast),
                    device,
                ));
            }
        }
    }
    if version == IpVersion::V6 {
        let all = Prefix::new(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8);
        for link in config
            .links
            .iter()
            .flatten()
            .filter(|link| link.is_up() && !link.is_loopback())
        {
            routes.push(Route {
                metric: 256,
                ..local_route(RouteKind::Multicast, all, &link.name)
            });
        }
    }
    routes
}
