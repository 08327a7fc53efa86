//! Sending 9 to 11: tc egress, the queueing discipline, the tap (`__dev_queue_xmit`, `sch_direct_xmit`, `xmit_one`).

use transect_packet::FrameDirection;
use transect_path::Point;

use super::{Link, MOST_WAITING};
use crate::device::{DeviceId, DeviceKind, Gate};
use crate::drop_reason::DropReason;
use crate::hooks::{Passed, PostRouting};
use crate::packet::Packet;
use crate::qdisc::Dequeued;
use crate::socket::Errno;
use crate::stack::{Stack, Tapped, TimerOwner};

impl Stack {
    /// Sending 8 to 14: resolves the next hop, and hands the packet to its device. `out_device` and `next_hop` are decided.
    ///
    /// # Errors
    /// `Enobufs` where Linux says NET_XMIT_DROP (tc, a full queue, the driver), `Enetdown` for a device that is down. What
    /// waits for its neighbour is no error.
    pub(crate) fn neighbor_output(&mut self, packet: Passed<PostRouting>) -> Result<(), Errno> {
        let mut packet = packet.into_packet();
        self.enter(&mut packet, Point::Neighbor);
        match (packet.out_device, packet.next_hop) {
            (Some(device), Some(next_hop)) => self.resolve(device, next_hop, packet),
            _ => {
                self.drop_packet(packet, Point::Neighbor, DropReason::NeighCreatefail);
                Err(Errno::Enobufs)
            }
        }
    }

    /// A packet socket's frame joins at `tc_egress` (Sending 9); with `bypass` it goes on at `driver_out`
    /// (`packet_snd`, `__dev_direct_xmit`).
    ///
    /// # Errors
    /// `Enetdown`, `Einval`, `Emsgsize` before there is a packet; `Enobufs` as for any other.
    pub(crate) fn frame_output(&mut self, packet: Packet, bypass: bool) -> Result<(), Errno> {
        let id = packet.out_device.unwrap_or(DeviceId::LOOPBACK);
        let refused = match self.link.device(id) {
            None => Some(Errno::Enetdown),
            Some(device) if !device.up => Some(Errno::Enetdown),
            Some(device) if device.frame(&packet).len() < device.header_length() => {
                Some(Errno::Einval)
            }
            Some(device) => {
                let most = (device.mtu as usize).saturating_add(device.header_length());
                (packet.segmentation.is_none() && device.frame(&packet).len() > most)
                    .then_some(Errno::Emsgsize)
            }
        };
        if let Some(refused) = refused {
            self.release(&packet);
            return Err(refused);
        }
        if !bypass {
            return self.transmit(id, packet);
        }
        let mut packet = packet;
        self.enter(&mut packet, Point::TcEgress);
        let Some(mut packet) = self.run_device_hook(id, true, packet) else {
            return Err(Errno::Enobufs);
        };
        self.cross(&mut packet, Point::TcEgress, Point::DriverOut);
        if !self.link.device(id).is_some_and(|device| device.carrier) {
            return self.drop_in_driver(id, packet, DropReason::NotSpecified);
        }
        let mut result = Ok(());
        for packet in self.validate(id, packet) {
            result = self.start_driver(id, packet);
        }
        result
    }

    /// Sending 9 to 14 for a frame whose link header is complete (`__dev_queue_xmit`).
    pub(super) fn transmit(&mut self, id: DeviceId, mut packet: Packet) -> Result<(), Errno> {
        packet.out_device = Some(id);
        self.enter(&mut packet, Point::TcEgress);
        let Some(packet) = self.run_device_hook(id, true, packet) else {
            return Err(Errno::Enobufs);
        };
        let Some(mut packet) = self.run_tc(id, packet, Gate::Egress) else {
            return Err(Errno::Enobufs);
        };
        self.cross(&mut packet, Point::TcEgress, Point::Qdisc);
        let Some(device) = self.link.device_mut(id) else {
            self.drop_packet(packet, Point::Qdisc, DropReason::DevReady);
            return Err(Errno::Enetdown);
        };
        if !device.up {
            device.statistics.tx_dropped = device.statistics.tx_dropped.wrapping_add(1);
            self.drop_packet(packet, Point::Qdisc, DropReason::DevReady);
            return Err(Errno::Enetdown);
        }
        if !device.carrier && device.kind == DeviceKind::Ethernet {
            // `noop_enqueue`: the device has no queue while it has no carrier, and the sender is told "congestion" only.
            device.statistics.tx_dropped = device.statistics.tx_dropped.wrapping_add(1);
            self.drop_packet(packet, Point::Qdisc, DropReason::QdiscDrop);
            self.congested = true;
            return Ok(());
        }
        if device.qdisc.is_none() {
            return self.hard_start(id, packet);
        }
        self.enqueue(id, packet)
    }

    /// `__dev_xmit_skb`: into the queue, then whatever may leave it leaves.
    fn enqueue(&mut self, id: DeviceId, packet: Packet) -> Result<(), Errno> {
        let length = self.wire_length(id, &packet);
        let longest = self.longest_segment(id, &packet);
        let cut = packet.segmentation.is_some()
            && self
                .link
                .device(id)
                .is_some_and(|device| device.qdisc.must_cut(length, longest));
        let packets = if cut {
            self.segment(id, packet)
        } else {
            vec![packet]
        };
        let mut taken = false;
        for packet in packets {
            let length = self.wire_length(id, &packet);
            let refused = match self.link.device_mut(id) {
                Some(device) => device.qdisc.enqueue(packet, length),
                None => Some(packet),
            };
            match refused {
                None => taken = true,
                Some(packet) => self.drop_packet(packet, Point::Qdisc, DropReason::QdiscDrop),
            }
        }
        self.run_qdisc(id);
        if taken { Ok(()) } else { Err(Errno::Enobufs) }
    }

    /// A queueing discipline may send (`__qdisc_run`): after every packet that came, when tokens have come, when the ring has
    /// room again.
    pub(crate) fn run_qdisc(&mut self, id: DeviceId) {
        loop {
            let now = self.now;
            let Some(device) = self.link.device_mut(id) else {
                return;
            };
            // A stopped queue (`netif_xmit_frozen_or_stopped`) is not even looked at.
            if device.ring.as_ref().is_some_and(|ring| ring.free == 0) {
                return;
            }
            match device.qdisc.dequeue(now) {
                Dequeued::Packet(packet) => {
                    // The sender was told already that it went well.
                    let _ = self.hard_start(id, packet);
                }
                Dequeued::Later(at) => {
                    self.timers.set(TimerOwner::Qdisc(id), Some(at));
                    return;
                }
                Dequeued::Empty => {
                    self.timers.set(TimerOwner::Qdisc(id), None);
                    return;
                }
            }
        }
    }

    /// Behind the queue: what the device cannot do is done, then the tap, then the driver (`dev_hard_start_xmit`).
    fn hard_start(&mut self, id: DeviceId, packet: Packet) -> Result<(), Errno> {
        if !self.needs_validation(id, &packet) {
            return self.tap_and_start(id, packet);
        }
        if packet.segmentation.is_none() {
            let mut packet = packet;
            super::finish_checksum(&mut packet);
            return self.tap_and_start(id, packet);
        }
        let mut result = Ok(());
        for packet in self.validate(id, packet) {
            if let Err(error) = self.tap_and_start(id, packet) {
                result = Err(error);
            }
        }
        result
    }

    fn tap_and_start(&mut self, id: DeviceId, mut packet: Packet) -> Result<(), Errno> {
        self.cross(&mut packet, Point::Qdisc, Point::TapOut);
        self.tap(id, &packet, FrameDirection::Out);
        self.cross(&mut packet, Point::TapOut, Point::DriverOut);
        self.start_driver(id, packet)
    }

    /// Shows a frame to packet sockets (`dev_queue_xmit_nit`, `deliver_skb`). What goes out by `lo` is shown when it comes in:
    /// libpcap leaves out the other half.
    #[inline]
    pub(super) fn tap(&mut self, id: DeviceId, packet: &Packet, direction: FrameDirection) {
        let Some(device) = self.link.device(id).filter(|device| device.tapped) else {
            return;
        };
        if device.kind == DeviceKind::Loopback && direction == FrameDirection::Out {
            return;
        }
        if self.tapped.len() >= MOST_WAITING {
            self.link.taps_lost = self.link.taps_lost.saturating_add(1);
            return;
        }
        self.tapped.push_back(Tapped {
            at: self.now,
            device: id,
            direction,
            bytes: device.frame(packet).to_vec(),
        });
    }

    /// The clsact qdisc's filters (`sch_handle_egress`, `sch_handle_ingress`): here, a program that drops ports.
    #[inline]
    pub(super) fn run_tc(&mut self, id: DeviceId, packet: Packet, gate: Gate) -> Option<Packet> {
        // A clsact qdisc without filters on this side counts nothing (`mini_qdisc_pair_swap`).
        match self.link.device(id) {
            Some(device) if !device.tc_drops_at(gate).is_empty() => {
                self.run_filters(id, packet, gate)
            }
            _ => Some(packet),
        }
    }

    fn run_filters(&mut self, id: DeviceId, packet: Packet, gate: Gate) -> Option<Packet> {
        let port = destination_port(&packet);
        let length = match gate {
            Gate::Egress => self.wire_length(id, &packet),
            // On the way in the link header has been taken off already.
            Gate::Ingress => packet.len() as u64,
        };
        let device = self.link.device_mut(id)?;
        if let Some(clsact) = &mut device.clsact {
            let segments = packet.segmentation.map_or(1, |cut| cut.segments.max(1));
            clsact.packets = clsact.packets.wrapping_add(u64::from(segments));
            clsact.bytes = clsact.bytes.wrapping_add(length);
        }
        let drops = device.tc_drops_at_mut(gate);
        let Some(dropped) = port.and_then(|port| drops.get_mut(&port)) else {
            return Some(packet);
        };
        *dropped = dropped.wrapping_add(1);
        if let Some(clsact) = &mut device.clsact {
            clsact.drops = clsact.drops.wrapping_add(1);
        }
        match gate {
            Gate::Ingress => self.drop_packet(packet, Point::TcIngress, DropReason::TcIngress),
            Gate::Egress => self.drop_packet(packet, Point::TcEgress, DropReason::TcEgress),
        }
        None
    }
}

impl Link {
    /// Puts a frame on the wire; it comes back where the world does not fetch what is there.
    pub(super) fn put_on_wire(&mut self, id: DeviceId, packet: Packet) -> Option<Packet> {
        if self.outbox.len() >= MOST_WAITING {
            return Some(packet);
        }
        self.outbox.push_back((id, packet));
        None
    }
}

/// The destination port as the laboratory's program reads it: at a fixed place, behind an IP header without options.
pub(super) fn destination_port(packet: &Packet) -> Option<u16> {
    let at = match packet.version()? {
        transect_config::IpVersion::V4 => 20 + 2,
        transect_config::IpVersion::V6 => 40 + 2,
    };
    let bytes = packet.network().get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}
