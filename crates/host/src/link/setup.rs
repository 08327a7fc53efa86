//! Devices made from the configuration, and brought up to date with it.

use transect_config::{BridgePortState, HostConfig, NeighborState};
use transect_packet::MacAddress;
use transect_path::{Point, Timestamp};

use super::Link;
use crate::device::{Device, DeviceId, DeviceKind, Features};
use crate::drop_reason::DropReason;
use crate::host::DeviceSetup;
use crate::qdisc::Qdisc;
use crate::stack::Stack;

/// A host has no more devices than this.
const MOST_DEVICES: usize = 4096;

/// What `lo` has: everything is left to nobody, and packets may be large.
const LOOPBACK_FEATURES: Features = Features {
    tx_checksum: true,
    rx_checksum: true,
    tso: true,
    gso: true,
    gro: false,
};

impl Link {
    /// `lo`, and every device that was asked for, each with what the configuration's link of that name says.
    pub(super) fn add_devices(
        &mut self,
        config: &HostConfig,
        setups: &[DeviceSetup],
    ) -> Result<(), String> {
        let mut lo = Device::new("lo", DeviceKind::Loopback, MacAddress::default(), 65536);
        lo.features = LOOPBACK_FEATURES;
        if let Some(link) = config.link("lo") {
            apply(&mut lo, link);
        }
        self.devices.push(lo);
        if setups.len() >= MOST_DEVICES {
            return Err(format!("a host has at most {MOST_DEVICES} devices"));
        }
        for setup in setups {
            if setup.kind == DeviceKind::Loopback {
                return Err(format!("{}: every host has lo, and only that", setup.name));
            }
            if self.named(&setup.name).is_some() {
                return Err(format!("there are two devices called {}", setup.name));
            }
            self.devices.push(device(config, setup)?);
        }
        for link in config.links.iter().flatten() {
            if self.named(&link.name).is_none() {
                return Err(format!(
                    "the configuration has a link {}, but there is no such device",
                    link.name
                ));
            }
        }
        self.set_masters(config);
        self.set_qdiscs(config)?;
        self.neighbors.learn_config(config, &self.devices);
        Ok(())
    }

    /// Which devices are ports of which bridge, and what the spanning tree says of them.
    fn set_masters(&mut self, config: &HostConfig) {
        for index in 0..self.devices.len() {
            let link = self
                .devices
                .get(index)
                .and_then(|device| config.link(&device.name));
            let Some(link) = link else { continue };
            let master = link.master.as_deref().and_then(|name| self.named(name));
            let master = master.filter(|id| {
                self.device(*id)
                    .is_some_and(|device| device.kind == DeviceKind::Bridge)
            });
            if let Some(device) = self.devices.get_mut(index)
                && device.kind == DeviceKind::Ethernet
            {
                device.master = master;
                device.port_state = link.bridge_port.unwrap_or(BridgePortState::Forwarding);
            }
        }
        self.set_bridge_carriers();
    }

    /// A bridge that has ports has a carrier while one of them forwards (`br_port_state_selection`).
    fn set_bridge_carriers(&mut self) {
        for id in self.device_ids() {
            let ports = self.devices.iter().filter(|one| one.master == Some(id));
            let mut live = ports
                .map(|port| port.is_running() && port.port_state == BridgePortState::Forwarding);
            let Some(first) = live.next() else { continue };
            let any = first || live.any(|one| one);
            if let Some(bridge) = self.device_mut(id) {
                bridge.carrier = any && bridge.up;
            }
        }
    }

    fn set_qdiscs(&mut self, config: &HostConfig) -> Result<(), String> {
        let qdiscs = config.qdiscs.iter().flatten();
        for qdisc in qdiscs {
            let id = self.named(&qdisc.device).ok_or_else(|| {
                format!("qdisc {}: there is no device {}", qdisc.kind, qdisc.device)
            })?;
            let Some(device) = self.device_mut(id) else {
                continue;
            };
            match (qdisc.kind.as_str(), qdisc.parent.as_str()) {
                ("clsact" | "ingress", _) => {
                    device.clsact = Some(qdisc.statistics.unwrap_or_default())
                }
                (_, "root" | "") => {
                    let made =
                        Qdisc::of_config(qdisc, device.queue_length, device.mtu, Timestamp::MIN);
                    device.qdisc = made.map_err(|error| error.to_string())?;
                }
                (kind, parent) => {
                    return Err(format!(
                        "qdisc {kind} on {} hangs at {parent}: a configuration has no classes, only Host::set_class makes them",
                        qdisc.device
                    ));
                }
            }
        }
        Ok(())
    }
}

/// One device as it was asked for.
fn device(config: &HostConfig, setup: &DeviceSetup) -> Result<Device, String> {
    let name = &setup.name;
    let link = config.link(name);
    let link = link.ok_or_else(|| format!("the configuration has no link {name}"))?;
    let mac = match (link.mac, setup.kind) {
        (Some(mac), _) => MacAddress(mac),
        (None, DeviceKind::Tun | DeviceKind::Loopback) => MacAddress::default(),
        (None, DeviceKind::Ethernet | DeviceKind::Bridge) => {
            return Err(format!("the link {name} has no MAC address"));
        }
    };
    if mac.is_group() {
        return Err(format!("{name} cannot have the group address {mac}"));
    }
    let mut device = Device::new(name, setup.kind, mac, 1500);
    device.features = setup.features.settled();
    apply(&mut device, link);
    if setup.kind == DeviceKind::Tun {
        device.qdisc = Qdisc::pfifo_fast(device.queue_length);
    }
    Ok(device)
}

/// What of a link may change while the host runs.
fn apply(device: &mut Device, link: &transect_config::Link) {
    if let Some(mtu) = link.mtu {
        device.mtu = mtu;
    }
    if let Some(mac) = link.mac {
        device.mac = MacAddress(mac);
    }
    if let Some(length) = link.txqlen {
        device.queue_length = length;
    }
    if let Some(kind) = &link.kind {
        device.info_kind = Some(kind.clone());
    }
    // Without flags the configuration does not say: up.
    if !link.flags.is_empty() {
        device.up = link.is_up();
        device.carrier = link.has_carrier();
        device.promiscuous = link.has_flag("PROMISC");
    }
}

impl Stack {
    /// The configuration's links and neighbours have changed: devices and the neighbour table follow.
    pub(crate) fn link_reconfigured(&mut self) {
        let running = |link: &Link| -> Vec<DeviceId> {
            let ids = link.device_ids().into_iter();
            ids.filter(|id| link.device(*id).is_some_and(Device::is_running))
                .collect()
        };
        let before = running(&self.link);
        for device in &mut self.link.devices {
            if let Some(link) = self.config.link(&device.name) {
                apply(device, link);
            }
        }
        self.link.set_masters(&self.config);
        let after = running(&self.link);
        let gone_down = before.into_iter().filter(|id| !after.contains(id));
        for id in gone_down {
            self.device_stopped(id);
        }
        self.static_neighbors_changed();
    }

    /// A device went down or lost its carrier: its queue is emptied (`dev_deactivate`), its neighbours are forgotten
    /// (`neigh_carrier_down`).
    pub(crate) fn device_stopped(&mut self, id: DeviceId) {
        let waiting = self
            .link
            .device_mut(id)
            .map(|device| device.qdisc.purge())
            .unwrap_or_default();
        for packet in waiting {
            self.drop_packet(packet, Point::Qdisc, DropReason::NotSpecified);
        }
        self.link.forwarding.forget_port(id);
        self.forget_neighbors(id);
    }

    /// The configuration's entries that were set by hand replace those of before.
    fn static_neighbors_changed(&mut self) {
        let entries: Vec<_> = self
            .config
            .neighbors
            .iter()
            .flatten()
            .filter(|entry| !entry.proxy)
            .filter(|entry| entry.is(NeighborState::Permanent) || entry.is(NeighborState::Noarp))
            .filter_map(|entry| {
                let device = self.link.named(&entry.device)?;
                Some((device, entry.address, MacAddress(entry.mac?)))
            })
            .collect();
        self.set_static_neighbors(&entries);
    }
}
