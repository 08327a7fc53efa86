//! The host, its device and its routes, as the kernel's namespace has them.

use std::net::IpAddr;

use transect_config::{
    Address, HostConfig, IpVersion, Link, OperState, Prefix, Qdisc, Route, default_policy_rules,
    read_routes,
};
use transect_host::{DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup};
use transect_path::Timestamp;

use super::super::WorldError;
use crate::options::Options;

/// The device's name.
pub(super) const NAME: &str = "tun0";
/// `CONFIG_HZ`, as of the kernel that the model was measured against.
pub(super) const HZ: u32 = 250;
/// Everything that the host draws at random comes from it: the same script gives the same run.
const SEED: u64 = 0x7061_636b_6574;

/// Makes the host.
pub(super) fn host(options: &Options, boot: Timestamp) -> Result<(Host, DeviceId), WorldError> {
    let host = Host::new(HostSetup {
        number: 0,
        config: configuration(options),
        rules: transect_config::rules::RuleSet::default(),
        devices: vec![DeviceSetup {
            name: NAME.to_owned(),
            kind: DeviceKind::Tun,
            // A TUN device without TUNSETOFFLOAD: the stack makes large packets, and cuts them before the driver.
            features: Features {
                gso: true,
                ..Features::NONE
            },
        }],
        seed: SEED,
        hz: HZ,
        boot,
        journeys: false,
    })
    .map_err(WorldError::doing("making the model host"))?;
    let device = host
        .device(NAME)
        .ok_or_else(|| WorldError(format!("the model host has no interface {NAME}")))?;
    Ok((host, device))
}

fn configuration(options: &Options) -> HostConfig {
    let mut config = HostConfig {
        links: Some(vec![loopback(), tun(options.mtu)]),
        addresses: Some(Vec::new()),
        routes4: Some(Vec::new()),
        routes6: Some(Vec::new()),
        policy_rules4: Some(default_policy_rules(IpVersion::V4)),
        policy_rules6: Some(default_policy_rules(IpVersion::V6)),
        neighbors: Some(Vec::new()),
        qdiscs: Some(vec![qdisc("lo", "noqueue"), qdisc(NAME, "pfifo_fast")]),
        filters: Some(Vec::new()),
        ..HostConfig::default()
    };
    for name in ["all", "default"] {
        // The address is usable at once (`nodad`).
        let name = format!("net.ipv6.conf.{name}.accept_dad");
        config.sysctls.values.insert(name, "0".to_owned());
    }
    address(&mut config, 1, "lo", IpAddr::from([127, 0, 0, 1]), 8);
    address(
        &mut config,
        1,
        "lo",
        std::net::Ipv6Addr::LOCALHOST.into(),
        128,
    );
    address(&mut config, 2, NAME, options.local_ip, options.prefix);
    let version = IpVersion::of(options.local_ip);
    add_routes(
        &mut config,
        version,
        &format!("default dev {NAME} scope link"),
    );
    config
}

fn loopback() -> Link {
    Link {
        index: 1,
        name: "lo".to_owned(),
        link_type: Some("loopback".to_owned()),
        flags: ["LOOPBACK", "UP", "LOWER_UP"].map(str::to_owned).to_vec(),
        operstate: Some(OperState::Unknown),
        mtu: Some(65_536),
        mac: Some([0; 6]),
        broadcast: Some([0; 6]),
        qdisc: Some("noqueue".to_owned()),
        txqlen: Some(1000),
        ..Link::default()
    }
}

fn tun(mtu: u32) -> Link {
    Link {
        index: 2,
        name: NAME.to_owned(),
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
    }
}

fn qdisc(device: &str, kind: &str) -> Qdisc {
    Qdisc {
        device: device.to_owned(),
        kind: kind.to_owned(),
        handle: "0:".to_owned(),
        parent: "root".to_owned(),
        ..Qdisc::default()
    }
}

/// An address with its routes (`fib_add_ifaddr`, `addrconf_prefix_route`).
pub(super) fn address(
    config: &mut HostConfig,
    index: u32,
    device: &str,
    local: IpAddr,
    length: u8,
) {
    let version = IpVersion::of(local);
    config.addresses.get_or_insert_default().push(Address {
        index,
        device: device.to_owned(),
        local,
        prefix_length: length,
        peer: None,
        broadcast: None,
        scope: if local.is_loopback() {
            "host"
        } else {
            "global"
        }
        .to_owned(),
        flags: Vec::new(),
        label: (version == IpVersion::V4).then(|| device.to_owned()),
    });
    let net = Prefix::new(cleared(local, length), length);
    let texts = match (version, local.is_loopback()) {
        (IpVersion::V4, loopback) => {
            let local_route = |what: &str| {
                format!("local {what} dev {device} table local proto kernel scope host src {local}")
            };
            let second = if loopback {
                local_route(&net.to_string())
            } else {
                format!("{net} dev {device} proto kernel scope link src {local}")
            };
            vec![local_route(&local.to_string()), second]
        }
        (IpVersion::V6, loopback) => {
            let mut texts = vec![format!(
                "local {local} dev {device} table local proto kernel metric 0 pref medium"
            )];
            if !loopback {
                texts.push(format!(
                    "{net} dev {device} proto kernel metric 256 pref medium"
                ));
            }
            texts
        }
    };
    for text in texts {
        add_routes(config, version, &text);
    }
}

/// An address with the bits behind the prefix cleared.
fn cleared(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(length.min(32)))
                .unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(length.min(128)))
                .unwrap_or(0);
            std::net::Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

/// The routes of one family.
pub(super) fn routes_of(config: &mut HostConfig, version: IpVersion) -> &mut Vec<Route> {
    match version {
        IpVersion::V4 => config.routes4.get_or_insert_default(),
        IpVersion::V6 => config.routes6.get_or_insert_default(),
    }
}

fn add_routes(config: &mut HostConfig, version: IpVersion, text: &str) {
    let routes = read_routes(text, Some(version)).value;
    routes_of(config, version).extend(routes);
}
