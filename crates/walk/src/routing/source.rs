//! The source address a sender gets that did not choose one.

use std::net::{IpAddr, Ipv6Addr};

use transect_config::{Address, HostConfig, IpVersion, Prefix};

/// The address for packets to `destination` over `device` (`fib_info_update_nhc_saddr` and `inet_select_addr`; `ipv6_dev_get_saddr`). None: no
/// address is known that fits.
pub(super) fn preferred_source(
    config: &HostConfig,
    destination: IpAddr,
    device: &str,
    gateway: Option<IpAddr>,
    route_scope: Option<&str>,
) -> Option<IpAddr> {
    let addresses = config.addresses.as_deref()?;
    match destination {
        IpAddr::V4(_) => v4(
            addresses,
            device,
            gateway,
            scope_v4(route_scope.unwrap_or("global")),
        ),
        IpAddr::V6(destination) => v6(addresses, destination, device),
    }
}

/// RT_SCOPE_*: greater is narrower.
fn scope_v4(name: &str) -> u8 {
    match name {
        "global" => 0,
        "site" => 200,
        "link" => 253,
        "host" => 254,
        "nowhere" => 255,
        other => other.parse().unwrap_or(0),
    }
}

/// A primary address of the device that is wide enough, best one in the gateway's network; else one of another device.
fn v4(addresses: &[Address], device: &str, gateway: Option<IpAddr>, scope: u8) -> Option<IpAddr> {
    let fitting = |address: &&Address| {
        address.version() == IpVersion::V4
            && !address.has_flag("secondary")
            && scope_v4(&address.scope) <= scope
    };
    let own = || {
        addresses
            .iter()
            .filter(fitting)
            .filter(|address| address.device == device)
    };
    own()
        .find(|address| gateway.is_some_and(|gateway| address.prefix().contains(gateway)))
        .or_else(|| own().next())
        .or_else(|| {
            addresses
                .iter()
                .filter(fitting)
                .find(|address| !matches!(address.scope.as_str(), "link" | "host"))
        })
        .map(|address| address.local)
}

/// The rules of RFC 6724 section 5 in the kernel's order, without home addresses and temporary ones.
fn v6(addresses: &[Address], destination: Ipv6Addr, device: &str) -> Option<IpAddr> {
    let wanted = scope_v6(destination);
    // For multicast and link-local destinations only the device's own addresses are asked.
    let on_link = destination.is_multicast() || destination.is_unicast_link_local();
    let mut best: Option<(Score, IpAddr)> = None;
    for address in addresses {
        let IpAddr::V6(local) = address.local else {
            continue;
        };
        if !address.is_usable() || local.is_multicast() || on_link && address.device != device {
            continue;
        }
        let scope = i32::from(scope_v6(local));
        let wanted = i32::from(wanted);
        let score = Score {
            same: local == destination,
            // The narrowest scope that is wide enough, else the widest.
            scope: if scope >= wanted { -scope } else { scope - 128 },
            preferred: !address.has_flag("deprecated"),
            device: address.device == device,
            label: label(local) == label(destination),
            permanent: !address.has_flag("temporary"),
            prefix: common_bits(local, destination).min(address.prefix_length),
        };
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, address.local));
        }
    }
    best.map(|(_, address)| address)
}

/// Compared field by field, in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    same: bool,
    scope: i32,
    preferred: bool,
    device: bool,
    label: bool,
    permanent: bool,
    prefix: u8,
}

/// Scope as RFC 4291 section 2.7 numbers it; unique local addresses are global here (RFC 4193 section 3.3).
fn scope_v6(address: Ipv6Addr) -> u8 {
    if address.is_multicast() {
        (address.octets()[1]) & 0x0f
    } else if address.is_loopback() || address.is_unicast_link_local() {
        2
    } else if address.octets()[0] == 0xfe && address.octets()[1] & 0xc0 == 0xc0 {
        5
    } else {
        14
    }
}

/// The kernel's default labels (`ip6addrlbl_init_table`), the longest prefix first.
fn label(address: Ipv6Addr) -> u8 {
    const LABELS: &[(Ipv6Addr, u8, u8)] = &[
        (Ipv6Addr::LOCALHOST, 128, 0),
        (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4),
        (Ipv6Addr::UNSPECIFIED, 96, 3),
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 6),
        (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, 7),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
        (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
        (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 5),
    ];
    LABELS
        .iter()
        .find(|(prefix, length, _)| {
            Prefix::new(IpAddr::V6(*prefix), *length).contains(IpAddr::V6(address))
        })
        .map_or(1, |(.., label)| *label)
}

fn common_bits(one: Ipv6Addr, other: Ipv6Addr) -> u8 {
    let zeros = (u128::from(one) ^ u128::from(other)).leading_zeros();
    u8::try_from(zeros).unwrap_or(128)
}
