//! What a world does to a host's devices: looks at them, taps them, disturbs them.

use transect_config::TcStatistics;
use transect_path::{Point, Timestamp};

use crate::device::{DeviceId, Features, Gate, LinkStatistics, PortFlags, Ring};
use crate::drop_reason::DropReason;
use crate::host::Host;
use crate::packet::Packet;
use crate::qdisc::Qdisc;

impl Host {
    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<DeviceId> {
        self.stack.link.named(name)
    }

    /// Whether captures see the device's frames; they come out of [`Host::poll_tapped`].
    pub fn set_tapped(&mut self, device: DeviceId, tapped: bool) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.tapped = tapped;
        }
    }

    /// How many frames the taps lost, because [`Host::poll_tapped`] was not asked for them.
    pub fn taps_lost(&self) -> u64 {
        self.stack.link.taps_lost
    }

    /// The device's statistics.
    pub fn statistics(&self, device: DeviceId) -> Option<LinkStatistics> {
        Some(self.stack.link.device(device)?.statistics)
    }

    /// The device's offloads, as they are in force.
    pub fn features(&self, device: DeviceId) -> Features {
        self.stack.device_features(device)
    }

    /// Switches offloads (`ethtool -K`). Connections that have a route look at them when they look it up again.
    pub fn set_features(&mut self, device: DeviceId, features: Features) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.features = features.settled();
        }
        self.stack.ip.forget_routes();
    }

    /// Whether the other end is there. Without a carrier the device's queue is emptied, and what is sent by it dies.
    pub fn set_carrier(&mut self, now: Timestamp, device: DeviceId, carrier: bool) {
        self.begin(now);
        let Some(known) = self.stack.link.device_mut(device) else {
            return;
        };
        let before = std::mem::replace(&mut known.carrier, carrier);
        if before && !carrier {
            self.stack.device_stopped(device);
        }
        self.run();
    }

    /// What a bridge does with a port; nothing where the device is none.
    pub fn port_flags(&self, device: DeviceId) -> Option<PortFlags> {
        let device = self.stack.link.device(device)?;
        device.master.map(|_| device.port_flags)
    }

    /// Changes what a bridge does with a port (`bridge link set`). Its state is the configuration's.
    pub fn set_port_flags(&mut self, device: DeviceId, flags: PortFlags) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.port_flags = flags;
        }
    }

    /// The MTU of the device at the other end of a veth pair: what is too long for it dies in the sender's own call, which
    /// counts it too. The frame is handed out nevertheless, for the receiving host to drop and to count.
    pub fn set_peer_mtu(&mut self, device: DeviceId, mtu: u32) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.peer_mtu = Some(mtu);
        }
    }

    /// Gives the device a transmit ring of that many slots, each of which is free again when [`Host::handle_transmitted`] is
    /// called; or takes it away.
    pub fn set_ring(&mut self, device: DeviceId, slots: Option<u32>) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.ring = slots.map(|free| Ring {
                free,
                in_flight: std::collections::VecDeque::new(),
            });
            if slots.is_some() && device.qdisc.is_none() {
                device.qdisc = Qdisc::pfifo_fast(device.queue_length);
            }
        }
    }

    /// The device has sent the oldest frame in its ring.
    pub fn handle_transmitted(&mut self, now: Timestamp, device: DeviceId) {
        self.begin(now);
        self.stack.handle_completion(device);
        self.run();
    }

    /// Several frames arrive in one batch (one NAPI poll): where the device has GRO, those of one connection are merged.
    pub fn handle_frames(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        frames: impl IntoIterator<Item = Packet>,
    ) {
        self.begin(now);
        for frame in frames {
            self.stack.receive_frame(device, frame);
        }
        self.run();
    }

    /// A program at the device's clsact qdisc drops what goes to a TCP or UDP port, on the way out or in.
    pub fn drop_at_tc(&mut self, device: DeviceId, egress: bool, port: u16) {
        if let Some(device) = self.stack.link.device_mut(device) {
            device.clsact.get_or_insert_with(TcStatistics::default);
            let gate = if egress { Gate::Egress } else { Gate::Ingress };
            device.tc_drops_at_mut(gate).entry(port).or_default();
        }
    }

    /// Puts a queueing discipline at the device's root, or below a class, in place of the one that is there (`tc qdisc
    /// replace`); without a kind it takes that one away. What waited in the old one is lost.
    ///
    /// # Errors
    /// A kind or an option that the model does not know, a class that is not there, in words.
    pub fn replace_qdisc(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        mut qdisc: transect_config::Qdisc,
    ) -> Result<(), String> {
        self.begin(now);
        let link = &mut self.stack.link;
        let next_handle = link.next_handle;
        let Some(known) = link.device_mut(device) else {
            return Err(format!("there is no device {}", device.index()));
        };
        let given = !qdisc.handle.is_empty();
        if !given {
            qdisc.handle = format!("{next_handle:x}:");
        }
        let new = match qdisc.kind.as_str() {
            "" => None,
            _ => Some(
                Qdisc::of_config(&qdisc, known.queue_length, known.mtu, now)
                    .map_err(|error| error.to_string())?,
            ),
        };
        let lost = match qdisc.parent.as_str() {
            "" | "root" => {
                let new = match new {
                    Some(new) => new,
                    None if known.ring.is_some() => Qdisc::pfifo_fast(known.queue_length),
                    None => Qdisc::default(),
                };
                std::mem::replace(&mut known.qdisc, new).purge()
            }
            class => known.qdisc.graft(class.parse()?, new)?,
        };
        if !given && !qdisc.kind.is_empty() {
            link.next_handle = next_handle.wrapping_add(1).max(0x8001);
        }
        self.drop_queued(device, lost);
        Ok(())
    }

    /// Adds a class of the device's root discipline, or changes it (`tc class add`, `change`, `replace`): the class stands as
    /// the handle, its parent as the parent.
    ///
    /// # Errors
    /// A discipline without classes, a parent that is not there, an option that the model does not know, in words.
    pub fn set_class(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        class: &transect_config::Qdisc,
    ) -> Result<(), String> {
        self.begin(now);
        let Some(known) = self.stack.link.device_mut(device) else {
            return Err(format!("there is no device {}", device.index()));
        };
        let done = known.qdisc.set_class(class, now);
        done.map_err(|error| error.to_string())?;
        self.drop_queued(device, Vec::new());
        Ok(())
    }

    /// Takes a class away (`tc class del`). What waited in it is lost.
    ///
    /// # Errors
    /// There is no such class, or it has others below it.
    pub fn delete_class(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        class: &str,
    ) -> Result<(), String> {
        self.begin(now);
        let Some(known) = self.stack.link.device_mut(device) else {
            return Err(format!("there is no device {}", device.index()));
        };
        let lost = known.qdisc.delete_class(class.parse()?)?;
        self.drop_queued(device, lost);
        Ok(())
    }

    /// What waited in a discipline that is gone is lost; the one that is there now may send.
    fn drop_queued(&mut self, device: DeviceId, lost: Vec<Packet>) {
        for packet in lost {
            self.stack
                .drop_packet(packet, Point::Qdisc, DropReason::NotSpecified);
        }
        self.stack.run_qdisc(device);
        self.run();
    }
}
