//! Hosts and links of an experiment, as model hosts and wires.

use std::collections::BTreeMap;

use transect_config::rules::RuleSet;
use transect_config::{HostConfig, IpVersion, XdpMode};
use transect_host::namespace::{
    RouteChange, add_address, add_bridge, add_veth, change_route, new_host, set_neighbor,
};
use transect_host::{
    DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup, XdpAction, XdpProgram, XdpRule,
};
use transect_path::Timestamp;

use super::command;
use super::network::{Limits, Network, NodeId};
use super::socket::Sockets;
use super::wire::{Wire, WireSeeds, WireSetup};
use super::{HZ, UPTIME};
use crate::error::WorldError;
use crate::scenario::{self, Bridge, Link, Scenario, TcDrop, TcHook, XdpDrop, XdpKind, mac};

/// A link's end.
struct End<'a> {
    link: &'a Link,
    link_index: usize,
    end_index: usize,
    host: &'a str,
    device: &'a str,
}

impl End<'_> {
    fn mtu(&self) -> u32 {
        let both = self.link.mtu;
        both.and_then(|both| both.get(self.end_index).copied())
            .unwrap_or(1500)
    }
}

/// Makes hosts and wires: everything but rules and programs.
pub(super) fn build(
    scenario: &Scenario,
    began: Timestamp,
    seed: u64,
    limits: Limits,
) -> Result<Network, WorldError> {
    let ends = ends(scenario)?;
    let mut network = Network::new(began, limits);
    let mut nodes: BTreeMap<&str, NodeId> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(seed);
    for (number, (name, plan)) in scenario.hosts.iter().enumerate() {
        let own: Vec<&End<'_>> = ends.iter().filter(|end| end.host == name).collect();
        let bridges: Vec<&Bridge> = scenario
            .bridges
            .iter()
            .filter(|bridge| bridge.host == *name)
            .collect();
        let own = Own {
            ends: &own,
            bridges: &bridges,
        };
        let host = host(scenario, number, plan, &own, began, random.u64(..))
            .map_err(|error| WorldError(format!("{name}: {error}")))?;
        nodes.insert(name, network.add(name, host));
    }
    let mut wire_seeds = WireSeeds::of(scenario, seed);
    for pair in ends.chunks(2) {
        let [one, other] = pair else { continue };
        let mut places = Vec::new();
        for (near, far) in [(one, other), (other, one)] {
            let node = *nodes
                .get(near.host)
                .ok_or_else(|| WorldError(format!("there is no host {}", near.host)))?;
            let device = network.with(node, |host, _| {
                let device = host.device(near.device)?;
                host.set_peer_mtu(device, far.mtu());
                Some(device)
            })?;
            places.push((node, device.ok_or_else(|| no_device(near))?));
        }
        if let [one, other] = places[..] {
            let conditions = pair.first().and_then(|end| end.link.conditions.as_ref());
            let setup = conditions.map_or_else(WireSetup::default, WireSetup::of);
            let wires = wire_seeds.next_pair().map(|seed| Wire::new(setup, seed));
            network.join([one, other], wires);
        }
    }
    for node in nodes.into_values() {
        network.with(node, |host, now| host.come_up(now))?;
    }
    Ok(network)
}

fn no_device(end: &End<'_>) -> WorldError {
    WorldError(format!(
        "{}: there is no interface {}",
        end.host, end.device
    ))
}

/// All ends of all links, two for each.
fn ends(scenario: &Scenario) -> Result<Vec<End<'_>>, WorldError> {
    let mut ends = Vec::new();
    for (link_index, link) in scenario.links.iter().enumerate() {
        for (end_index, end) in link.ends.iter().enumerate() {
            let (host, device) = end
                .split_once(':')
                .ok_or_else(|| WorldError(format!("\"{end}\" is no end of a link")))?;
            ends.push(End {
                link,
                link_index,
                end_index,
                host,
                device,
            });
        }
    }
    Ok(ends)
}

/// The devices of one host.
struct Own<'a> {
    ends: &'a [&'a End<'a>],
    bridges: &'a [&'a Bridge],
}

fn host(
    scenario: &Scenario,
    number: usize,
    plan: &scenario::Host,
    own: &Own<'_>,
    began: Timestamp,
    seed: u64,
) -> Result<Host, WorldError> {
    let config = configuration(scenario, plan, own)?;
    let devices = own.ends.iter().map(|end| DeviceSetup {
        name: end.device.to_owned(),
        kind: DeviceKind::Ethernet,
        // What a veth leaves undone, its peer takes as it is; on a wire that damages frames the bytes must be those of a wire.
        features: match end.link.conditions {
            None => Features::VETH,
            Some(_) => Features {
                gso: true,
                ..Features::NONE
            },
        },
    });
    let bridges = own.bridges.iter().map(|bridge| DeviceSetup {
        name: bridge.name.clone(),
        kind: DeviceKind::Bridge,
        features: Features::VETH,
    });
    let uptime = u64::try_from(UPTIME.as_nanos()).unwrap_or(0);
    Host::new(HostSetup {
        number: u16::try_from(number).unwrap_or(u16::MAX),
        config,
        rules: RuleSet::default(),
        devices: devices.chain(bridges).collect(),
        seed,
        hz: HZ,
        boot: Timestamp(began.0.saturating_sub(uptime)),
        journeys: false,
    })
    .map_err(WorldError::doing("making the host"))
}

fn configuration(
    scenario: &Scenario,
    plan: &scenario::Host,
    own: &Own<'_>,
) -> Result<HostConfig, WorldError> {
    let ends = own.ends;
    let mut config = new_host();
    let settings = &mut config.sysctls.values;
    // Addresses of the kernel world are usable at once, too.
    let interfaces = ends.iter().map(|end| end.device);
    let interfaces = interfaces.chain(own.bridges.iter().map(|bridge| bridge.name.as_str()));
    for name in ["all", "default"].into_iter().chain(interfaces) {
        for setting in [
            "accept_dad",
            "mldv2_unsolicited_report_interval",
            "router_solicitations",
        ] {
            settings.insert(format!("net.ipv6.conf.{name}.{setting}"), "0".to_owned());
        }
    }
    if plan.forwarding {
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            settings.insert(name.to_owned(), "1".to_owned());
        }
    }
    settings.extend(plan.sysctl.clone());
    for end in ends {
        let mac = mac(end.link_index, end.end_index);
        let mac = mac.parse().map_err(WorldError::doing(mac))?;
        add_veth(&mut config, end.device, mac, end.mtu());
    }
    for bridge in own.bridges {
        add_bridge(&mut config, &bridge.name, &bridge.ports)?;
    }
    for end in ends {
        let addresses = if scenario.ipv6 {
            &end.link.ipv6
        } else {
            &end.link.ipv4
        };
        let address = addresses.as_ref().and_then(|both| both.get(end.end_index));
        if let Some(address) = address.filter(|address| *address != "-") {
            let (address, length) = command::prefix(address)?;
            add_address(&mut config, end.device, address, length);
        }
    }
    for neighbor in &plan.neighbors {
        let address = neighbor
            .address
            .parse()
            .map_err(WorldError::doing(neighbor.address.clone()))?;
        let mac = neighbor
            .mac
            .parse()
            .map_err(WorldError::doing(neighbor.mac.clone()))?;
        set_neighbor(&mut config, address, mac, &neighbor.dev)?;
    }
    let version = if scenario.ipv6 {
        IpVersion::V6
    } else {
        IpVersion::V4
    };
    for route in &plan.routes {
        change_route(&mut config, version, RouteChange::Add, route)?;
    }
    Ok(config)
}

/// A BPF program at clsact that drops what goes to a port.
pub(super) fn drop_at_tc(sockets: &Sockets, plan: &TcDrop) -> Result<(), WorldError> {
    let egress = plan.hook == TcHook::Egress;
    let device: Option<DeviceId> = sockets.clock.call(sockets.node, |host, _| {
        let device = host.device(&plan.dev)?;
        host.drop_at_tc(device, egress, plan.port);
        Some(device)
    })?;
    device
        .map(drop)
        .ok_or_else(|| WorldError(format!("{}: there is no interface {}", plan.host, plan.dev)))
}

/// An XDP program that drops what goes to a port.
pub(super) fn drop_at_xdp(sockets: &Sockets, plan: &XdpDrop) -> Result<(), WorldError> {
    let none = || WorldError(format!("{}: there is no interface {}", plan.host, plan.dev));
    let program = XdpProgram {
        mode: match plan.mode {
            XdpKind::Native => XdpMode::Native,
            XdpKind::Generic => XdpMode::Generic,
        },
        name: "drop".to_owned(),
        rules: vec![XdpRule {
            filter: format!(
                "tcp dst port {port} or udp dst port {port}",
                port = plan.port
            ),
            action: XdpAction::Drop,
        }],
    };
    let device = sockets.clock.call(sockets.node, |host, now| {
        let device = host.device(&plan.dev)?;
        Some(host.set_xdp(now, device, Some(program)).map(|()| device))
    })?;
    let device = device.ok_or_else(none)?.map_err(WorldError)?;
    let far = sockets
        .clock
        .network(|network| network.far_end(sockets.node, device));
    // A veth end does not hand several segments at once to a peer that runs a program (`veth_xdp_set`).
    if let Some((node, theirs)) = far.filter(|_| plan.mode == XdpKind::Native) {
        sockets.clock.call(node, |host, _| {
            let features = Features {
                tso: false,
                ..host.features(theirs)
            };
            host.set_features(theirs, features);
        })?;
    }
    Ok(())
}
