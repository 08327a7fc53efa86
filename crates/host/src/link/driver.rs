//! Sending 12 to 14 and Receiving 1 to 2: the drivers, as far as the stack can tell them apart.
//!
//! An Ethernet device without a ring behaves as a veth end does (drivers/net/veth.c): what is sent has been received by the
//! peer. One with a ring behaves as a card: slots, a queue that stops when they are used up, an interrupt that frees them.

use transect_packet::PacketType;
use transect_path::Point;

use crate::conntrack::Tracking;
use crate::device::{Device, DeviceId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::journey::StepKind;
use crate::packet::{ChecksumState, LINK_HEADER, Packet};
use crate::socket::Errno;
use crate::stack::Stack;

impl Stack {
    /// `ndo_start_xmit`. The packet has entered `driver_out`.
    pub(super) fn start_driver(&mut self, id: DeviceId, packet: Packet) -> Result<(), Errno> {
        match self.link.device(id).map(|device| device.kind) {
            Some(DeviceKind::Loopback) => self.loopback_xmit(packet),
            Some(DeviceKind::Ethernet | DeviceKind::Tun) => self.wire_xmit(id, packet),
            Some(DeviceKind::Bridge) => self.bridge_xmit(id, packet),
            None => {
                self.drop_packet(packet, Point::DriverOut, DropReason::DevReady);
                Err(Errno::Enetdown)
            }
        }
    }

    /// The driver gives up on a packet: `tx_dropped`, and the sender hears of it.
    pub(super) fn drop_in_driver(
        &mut self,
        id: DeviceId,
        packet: Packet,
        reason: DropReason,
    ) -> Result<(), Errno> {
        if let Some(device) = self.link.device_mut(id) {
            device.statistics.tx_dropped = device.statistics.tx_dropped.wrapping_add(1);
        }
        self.drop_packet(packet, Point::DriverOut, reason);
        Err(Errno::Enobufs)
    }

    /// `loopback_xmit`: into this host's own backlog. Mark and connection stay with it.
    fn loopback_xmit(&mut self, mut packet: Packet) -> Result<(), Errno> {
        self.orphan(&mut packet);
        self.leave_host(&mut packet);
        // lo's own address and the addresses in the header are all zero.
        packet.packet_type = PacketType::Host;
        packet.in_device = Some(DeviceId::LOOPBACK);
        for point in [Point::WireIn, Point::NicIn, Point::Xdp] {
            self.pass(&mut packet, point);
        }
        let length = packet.len() as u64;
        if self.enqueue_backlog(DeviceId::LOOPBACK, packet)
            && let Some(lo) = self.link.device_mut(DeviceId::LOOPBACK)
        {
            count(
                &mut lo.statistics.tx_packets,
                &mut lo.statistics.tx_bytes,
                length,
            );
            count(
                &mut lo.statistics.rx_packets,
                &mut lo.statistics.rx_bytes,
                length,
            );
        }
        Ok(())
    }

    /// The packet entered `driver_out` before; the other points it only passes.
    #[inline]
    fn leave_host(&self, packet: &mut Packet) {
        self.steps(
            packet,
            [
                (Point::DriverOut, StepKind::Left),
                (Point::WireOut, StepKind::Entered),
                (Point::WireOut, StepKind::Left),
                (Point::TxCompletion, StepKind::Entered),
                (Point::TxCompletion, StepKind::Left),
            ],
        );
    }

    /// `veth_xmit`, `tun_net_xmit`, or a card's.
    fn wire_xmit(&mut self, id: DeviceId, mut packet: Packet) -> Result<(), Errno> {
        let Some(device) = self.link.device_mut(id) else {
            return self.drop_in_driver(id, packet, DropReason::DevReady);
        };
        if device.ring.as_ref().is_some_and(|ring| ring.free == 0) {
            // "Virtual device asks to queue packet!": without a queue of its own nothing can wait for the ring.
            let _ = self.drop_in_driver(id, packet, DropReason::FullRing);
            return Err(Errno::Enetdown);
        }
        let fits = device.fits_peer(&packet);
        let length = device.frame(&packet).len() as u64;
        let statistics = &mut device.statistics;
        if fits {
            count(&mut statistics.tx_packets, &mut statistics.tx_bytes, length);
        } else {
            // The peer drops it in the sender's own call (`__dev_forward_skb`): both ends count.
            statistics.tx_dropped = statistics.tx_dropped.wrapping_add(1);
        }
        let charge = packet.owner.take().map(|owner| (owner, packet.data.len()));
        match &mut device.ring {
            Some(ring) => {
                ring.free = ring.free.saturating_sub(1);
                ring.in_flight.push_back(charge);
                self.cross(&mut packet, Point::DriverOut, Point::WireOut);
                self.leave(&mut packet, Point::WireOut);
            }
            None => {
                self.freed.extend(charge);
                self.leave_host(&mut packet);
            }
        }
        if let Some(packet) = self.link.put_on_wire(id, packet) {
            return self.drop_in_driver(id, packet, DropReason::FullRing);
        }
        if fits { Ok(()) } else { Err(Errno::Enobufs) }
    }

    /// Sending 14: the device has sent the oldest packet in its ring (its interrupt): the send buffer has room again, and the
    /// queue goes on.
    pub(super) fn handle_completion(&mut self, id: DeviceId) {
        let ring = self
            .link
            .device_mut(id)
            .and_then(|device| device.ring.as_mut());
        let Some(ring) = ring else { return };
        let Some(charge) = ring.in_flight.pop_front() else {
            return;
        };
        ring.free = ring.free.saturating_add(1);
        self.freed.extend(charge);
        self.run_qdisc(id);
    }

    /// Gives back what the packet holds of its socket (`skb_orphan`).
    fn orphan(&mut self, packet: &mut Packet) {
        self.release(packet);
        packet.owner = None;
    }

    /// Receiving 1 to 4: the frame is in the ring, and waits for [`Stack::next_received`].
    pub(crate) fn receive_frame(&mut self, id: DeviceId, mut packet: Packet) {
        self.begin_journey(&mut packet);
        packet.time = self.now;
        self.steps(
            &mut packet,
            [
                (Point::WireIn, StepKind::Entered),
                (Point::WireIn, StepKind::Left),
                (Point::NicIn, StepKind::Entered),
            ],
        );
        let Some(device) = self.link.device_mut(id) else {
            self.drop_packet(packet, Point::NicIn, DropReason::NotSpecified);
            return;
        };
        let header = device.header_length();
        let whole = packet.data.len() >= LINK_HEADER && device.frame(&packet).len() > header;
        // A TUN device takes what the program writes, of any length (tun_get_user).
        let fits = device.kind == DeviceKind::Tun || device.fits(&packet);
        if !device.up || !whole || !fits {
            device.statistics.rx_dropped = device.statistics.rx_dropped.wrapping_add(1);
            self.drop_packet(packet, Point::NicIn, DropReason::NotSpecified);
            return;
        }
        scrub(device, id, &mut packet);
        let length = device.frame(&packet).len() as u64;
        self.leave(&mut packet, Point::NicIn);
        let Some(mut packet) = self.run_native_xdp(id, packet) else {
            return;
        };
        if self
            .link
            .device(id)
            .is_some_and(|device| device.features.gro)
        {
            self.count_received(id, length);
            self.enter(&mut packet, Point::Backlog);
            self.gro_receive(id, packet);
        } else if self.enqueue_backlog(id, packet) {
            self.count_received(id, length);
        }
    }

    fn count_received(&mut self, id: DeviceId, length: u64) {
        if let Some(device) = self.link.device_mut(id) {
            let statistics = &mut device.statistics;
            count(&mut statistics.rx_packets, &mut statistics.rx_bytes, length);
        }
    }

    /// One frame more, of this length.
    pub(super) fn count_frame(&mut self, id: DeviceId, packet: &Packet) {
        let device = self.link.device(id);
        let length = device.map_or(0, |device| device.frame(packet).len());
        self.count_received(id, length as u64);
    }
}

/// One packet more.
fn count(packets: &mut u64, bytes: &mut u64, length: u64) {
    *packets = packets.wrapping_add(1);
    *bytes = bytes.wrapping_add(length);
}

/// Nothing of what the sender's host knew of it holds here (`skb_scrub_packet`), and the device says for whom it is
/// (`eth_type_trans`).
fn scrub(device: &Device, id: DeviceId, packet: &mut Packet) {
    packet.in_device = Some(id);
    packet.out_device = None;
    packet.next_hop = None;
    packet.mtu = 0;
    packet.mark = 0;
    packet.priority = 0;
    packet.ignore_df = false;
    packet.tracking = Tracking::None;
    packet.bridged = false;
    packet.largest_fragment = 0;
    packet.owner = None;
    if device.kind == DeviceKind::Tun {
        packet.packet_type = PacketType::Host;
        packet.ethertype = match packet.network().first().map(|first| first >> 4) {
            Some(4) => crate::packet::ETHERTYPE_IPV4,
            Some(6) => crate::packet::ETHERTYPE_IPV6,
            _ => 0,
        };
        return;
    }
    if packet.checksum == ChecksumState::Verified && !device.features.rx_checksum {
        packet.checksum = ChecksumState::None;
    }
    packet.ethertype = super::input::ethertype(packet);
    packet.packet_type = super::input::packet_type(device, packet);
}
