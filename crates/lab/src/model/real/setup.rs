//! The host, its interface and its wire, as the plan says.

use transect_config::{HostConfig, IpVersion};
use transect_host::{DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup};
use transect_packet::{LinkType, MacAddress};
use transect_path::Timestamp;

use super::{AttachKind, AttachPlan};
use crate::error::WorldError;
use crate::model::network::Network;
use crate::model::recorder::{Recorder, Recording};
use crate::model::wire::{Wire, WireSetup};
use crate::model::{HZ, UPTIME};
use transect_host::namespace::{
    RouteChange, add_address, add_tun, add_veth, change_route, new_host,
};

/// The smallest MTU that IPv4 works with (RFC 791).
const SMALLEST_MTU: u32 = 68;
/// The largest that a device takes here.
const LARGEST_MTU: u32 = 65_521;

/// Software segmentation and nothing of the device: the bytes on the wire are those of a wire.
const FEATURES: Features = Features {
    gso: true,
    ..Features::NONE
};

/// Makes the world; the host's device.
pub(super) fn build(network: &mut Network, plan: &AttachPlan) -> Result<DeviceId, WorldError> {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let config = configuration(plan, &mut random)?;
    let uptime = u64::try_from(UPTIME.as_nanos()).unwrap_or(0);
    let host = Host::new(HostSetup {
        number: 0,
        config,
        rules: plan.rules.clone(),
        devices: vec![DeviceSetup {
            name: plan.device.clone(),
            kind: match plan.kind {
                AttachKind::Tun => DeviceKind::Tun,
                AttachKind::Tap => DeviceKind::Ethernet,
            },
            features: FEATURES,
        }],
        seed: random.u64(..),
        hz: HZ,
        boot: Timestamp(network.now().0.saturating_sub(uptime)),
        journeys: false,
    })
    .map_err(WorldError::doing("making the host"))?;
    let node = network.add("host", host);
    let device = network.with(node, |host, _| host.device(&plan.device))?;
    let device =
        device.ok_or_else(|| WorldError(format!("the host has no interface {}", plan.device)))?;
    let setup = WireSetup {
        delay: plan.conditions.delay.map(|span| span.0).unwrap_or_default(),
        ..WireSetup::of(&plan.conditions)
    };
    let wires = [random.u64(..), random.u64(..)].map(|seed| Wire::new(setup, seed));
    network.join_outside(node, device, wires);
    if let Some(path) = &plan.capture {
        let recording = Recording {
            link: match plan.kind {
                AttachKind::Tun => LinkType::RAW,
                AttachKind::Tap => LinkType::ETHERNET,
            },
            snap_length: Recording::WHOLE,
            filter: None,
            program: None,
        };
        let devices = [(device, plan.device.clone())];
        let recorder = network.with(node, |host, _| {
            host.set_tapped(device, true);
            Recorder::create(path, host.config(), &devices, recording)
        })??;
        network.record(node, recorder);
    }
    Ok(device)
}

fn configuration(plan: &AttachPlan, random: &mut fastrand::Rng) -> Result<HostConfig, WorldError> {
    if !(SMALLEST_MTU..=LARGEST_MTU).contains(&plan.mtu) {
        return Err(WorldError(format!(
            "an MTU of {} is not possible; expected {SMALLEST_MTU} to {LARGEST_MTU}",
            plan.mtu
        )));
    }
    let mut config = new_host();
    let settings = &mut config.sysctls.values;
    // Addresses are usable at once: nobody else can have them on this wire.
    for name in ["all", "default"] {
        settings.insert(format!("net.ipv6.conf.{name}.accept_dad"), "0".to_owned());
    }
    settings.extend(plan.sysctls.iter().cloned());
    match plan.kind {
        AttachKind::Tun => add_tun(&mut config, &plan.device, plan.mtu),
        AttachKind::Tap => {
            // Locally administered, and not a group's.
            let mut mac = [0; 6];
            random.fill(&mut mac);
            mac[0] = mac[0] & 0xfc | 2;
            add_veth(&mut config, &plan.device, MacAddress(mac), plan.mtu);
        }
    }
    for (address, length) in &plan.addresses {
        add_address(&mut config, &plan.device, *address, *length);
    }
    for gateway in &plan.gateways {
        let version = IpVersion::of(*gateway);
        let route = format!("default via {gateway} dev {}", plan.device);
        change_route(&mut config, version, RouteChange::Add, &route)?;
    }
    Ok(config)
}
