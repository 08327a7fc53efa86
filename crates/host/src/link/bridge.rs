//! Receiving 7 for a bridge's ports, and the bridge's own frames (net/bridge): learn, forward, flood.
//!
//! Every frame passes the bridge's hooks: nothing behind one takes a frame that the hook did not hand out. There is no spanning
//! tree, no VLAN filtering and no multicast snooping (without a querier the kernel floods, too).

mod forwarding;

use transect_config::BridgePortState;
use transect_packet::{MacAddress, PacketType};
use transect_path::Point;

use super::input::{destination, source};
use crate::device::{DeviceId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::hooks::{
    BeforeBridgePostRouting, BridgeForward, BridgeLocalIn, BridgeLocalOut, BridgePostRouting,
    BridgePreRouting, Passed,
};
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::Stack;
pub(super) use forwarding::Forwarding;
use forwarding::Way;

/// The last digit of an address that no bridge forwards (`is_link_local_ether_addr`; IEEE 802.1D section 7.12.6).
fn link_local(address: MacAddress) -> Option<u8> {
    match address.0 {
        [0x01, 0x80, 0xc2, 0, 0, last @ 0..=15] => Some(last),
        _ => None,
    }
}

/// Where a frame that the bridge sends on comes from.
enum Origin {
    /// The bridge's own host.
    Own(Packet),
    /// A port.
    Port(Passed<BridgePreRouting>),
}

impl Origin {
    /// Where the bridge has it.
    fn point(&self) -> Point {
        match self {
            Origin::Own(_) => Point::DriverOut,
            Origin::Port(_) => Point::LinkInput,
        }
    }

    fn packet(&self) -> &Packet {
        match self {
            Origin::Own(packet) => packet,
            Origin::Port(passed) => passed.packet(),
        }
    }

    fn into_packet(self) -> Packet {
        match self {
            Origin::Own(packet) => packet,
            Origin::Port(passed) => passed.into_packet(),
        }
    }

    fn copy(&self) -> Self {
        match self {
            Origin::Own(packet) => {
                let mut copy = packet.clone();
                copy.owner = None;
                Origin::Own(copy)
            }
            Origin::Port(passed) => Origin::Port(passed.copy()),
        }
    }
}

impl Stack {
    /// `br_handle_frame`: the frame came in at a port. What the bridge takes itself comes back as its own.
    pub(super) fn bridge_input(
        &mut self,
        bridge: DeviceId,
        port: DeviceId,
        mut packet: Packet,
    ) -> Option<Packet> {
        let from = source(&packet);
        if from.is_group() || from == MacAddress::default() {
            self.drop_packet(packet, Point::LinkInput, DropReason::MacInvalidSource);
            return None;
        }
        let to = destination(&packet);
        match link_local(to) {
            // Pause frames never leave the link.
            Some(1) => {
                self.drop_packet(packet, Point::LinkInput, DropReason::MacIeeeMacControl);
                return None;
            }
            // Spanning tree frames are flooded while no spanning tree runs here.
            Some(0) | None => {}
            // Others are for the port's own host, where nobody wants IP from them.
            Some(_) => {
                let passed = self.run_bridge_hook::<BridgeLocalIn>(Point::LinkInput, packet)?;
                // Which leaves the point by itself.
                if let Some(packet) = self.link_input(port, passed.into_packet()) {
                    self.drop_packet(packet, Point::LinkInput, DropReason::NotSpecified);
                }
                return None;
            }
        }
        if !matches!(
            self.port_state(port),
            BridgePortState::Forwarding | BridgePortState::Learning
        ) {
            self.drop_packet(packet, Point::LinkInput, DropReason::BridgeIngressStpState);
            return None;
        }
        if self
            .link
            .device(bridge)
            .is_some_and(|device| device.mac == to)
        {
            packet.packet_type = PacketType::Host;
        }
        let passed = self.run_bridge_hook::<BridgePreRouting>(Point::LinkInput, packet)?;
        self.bridge_decide(bridge, port, passed)
    }

    /// `br_handle_frame_finish`.
    fn bridge_decide(
        &mut self,
        bridge: DeviceId,
        port: DeviceId,
        passed: Passed<BridgePreRouting>,
    ) -> Option<Packet> {
        let (from, to) = (source(passed.packet()), destination(passed.packet()));
        let learns = self
            .link
            .device(port)
            .is_some_and(|device| device.port_flags.learning);
        if learns {
            self.learn_address(bridge, from, port);
        }
        if self.port_state(port) == BridgePortState::Learning {
            let packet = passed.into_packet();
            self.drop_packet(packet, Point::LinkInput, DropReason::BridgeIngressStpState);
            return None;
        }
        let promiscuous = self
            .link
            .device(bridge)
            .is_some_and(|device| device.promiscuous);
        let way = self.way(bridge, to);
        let taken = promiscuous || to.is_group();
        let up = match way {
            Way::Local => return self.pass_up(bridge, passed),
            _ => taken.then(|| passed.copy()),
        };
        let origin = Origin::Port(passed);
        match way {
            Way::Port(out) => self.bridge_forward(Some(port), out, origin, taken),
            _ => self.flood(bridge, Some(port), origin, taken),
        }
        up.and_then(|passed| self.pass_up(bridge, passed))
    }

    /// `br_pass_frame_up`.
    fn pass_up(&mut self, bridge: DeviceId, passed: Passed<BridgePreRouting>) -> Option<Packet> {
        let to = destination(passed.packet());
        let length = passed.packet().len() as u64;
        let statistics = &mut self.link.device_mut(bridge)?.statistics;
        statistics.rx_packets = statistics.rx_packets.wrapping_add(1);
        statistics.rx_bytes = statistics.rx_bytes.wrapping_add(length);
        if to.is_group() && to != MacAddress::BROADCAST {
            statistics.multicast = statistics.multicast.wrapping_add(1);
        }
        let packet = passed.into_packet();
        let passed = self.run_bridge_hook::<BridgeLocalIn>(Point::LinkInput, packet)?;
        let mut packet = passed.into_packet();
        self.leave(&mut packet, Point::LinkInput);
        packet.in_device = Some(bridge);
        Some(packet)
    }

    /// `br_dev_xmit`: the bridge's host sends by it.
    pub(super) fn bridge_xmit(&mut self, bridge: DeviceId, packet: Packet) -> Result<(), Errno> {
        if let Some(device) = self.link.device_mut(bridge) {
            let statistics = &mut device.statistics;
            statistics.tx_packets = statistics.tx_packets.wrapping_add(1);
            statistics.tx_bytes = statistics.tx_bytes.wrapping_add(packet.data.len() as u64);
        }
        let to = destination(&packet);
        let origin = Origin::Own(packet);
        match self.way(bridge, to) {
            Way::Local => {
                let packet = origin.into_packet();
                self.drop_packet(packet, Point::DriverOut, DropReason::NotSpecified);
            }
            Way::Port(out) => self.bridge_forward(None, out, origin, false),
            Way::Flood => self.flood(bridge, None, origin, false),
        }
        Ok(())
    }

    /// To every port that wants it but the one it came from (`br_flood`).
    fn flood(&mut self, bridge: DeviceId, from: Option<DeviceId>, origin: Origin, taken: bool) {
        let to = destination(origin.packet());
        let ports: Vec<DeviceId> = self
            .ports(bridge)
            .filter(|port| {
                let flags = self.link.device(*port).map(|device| device.port_flags);
                flags.is_some_and(|flags| match to {
                    MacAddress::BROADCAST => flags.broadcast_flood,
                    to if to.is_group() => flags.multicast_flood || from.is_none(),
                    _ => flags.flood,
                }) && self.is_deliverable(from, *port)
            })
            .collect();
        let Some((last, others)) = ports.split_last() else {
            self.end(origin, taken, DropReason::NoTxTarget);
            return;
        };
        for port in others {
            self.deliver(*port, origin.copy());
        }
        self.deliver(*last, origin);
    }

    /// `br_forward`.
    fn bridge_forward(
        &mut self,
        from: Option<DeviceId>,
        out: DeviceId,
        origin: Origin,
        taken: bool,
    ) {
        if self.is_deliverable(from, out) {
            self.deliver(out, origin);
        } else {
            self.end(origin, taken, DropReason::NotSpecified);
        }
    }

    /// There is no port for it; it has not died where the bridge's own host takes it.
    fn end(&mut self, origin: Origin, taken: bool, reason: DropReason) {
        let point = origin.point();
        let packet = origin.into_packet();
        match taken {
            true => self.release(&packet),
            false => self.drop_packet(packet, point, reason),
        }
    }

    /// `should_deliver`.
    fn is_deliverable(&self, from: Option<DeviceId>, out: DeviceId) -> bool {
        let flags = |port: DeviceId| {
            let device = self.link.device(port);
            device.map(|device| device.port_flags).unwrap_or_default()
        };
        let back = from == Some(out) && !flags(out).hairpin;
        let isolated = flags(out).isolated && from.is_some_and(|from| flags(from).isolated);
        !back && !isolated && self.port_state(out) == BridgePortState::Forwarding
    }

    /// `__br_forward`: FORWARD, or LOCAL_OUT of what the bridge's own host sends. Whoever is stopped is freed and counted.
    fn deliver(&mut self, out: DeviceId, origin: Origin) {
        let point = origin.point();
        match origin {
            Origin::Own(mut packet) => {
                packet.out_device = Some(out);
                if let Some(passed) = self.run_bridge_hook::<BridgeLocalOut>(point, packet) {
                    self.finish_forward(out, point, passed);
                }
            }
            Origin::Port(passed) => {
                let mut packet = passed.into_packet();
                packet.out_device = Some(out);
                if let Some(passed) = self.run_bridge_hook::<BridgeForward>(point, packet) {
                    self.finish_forward(out, point, passed);
                }
            }
        }
    }

    /// `br_forward_finish`.
    fn finish_forward<H: BeforeBridgePostRouting>(
        &mut self,
        out: DeviceId,
        point: Point,
        passed: Passed<H>,
    ) {
        let packet = passed.into_packet();
        if let Some(passed) = self.run_bridge_hook::<BridgePostRouting>(point, packet) {
            self.push_xmit(out, point, passed);
        }
    }

    /// `br_dev_queue_push_xmit`; what IP's hooks put together is fragments again behind them (`br_nf_dev_queue_xmit`).
    fn push_xmit(&mut self, out: DeviceId, point: Point, passed: Passed<BridgePostRouting>) {
        let mtu = self.link.device(out).map_or(0, |device| device.mtu);
        let whole = passed.packet().bridged && passed.packet().largest_fragment > 0;
        let all = match whole {
            true => self.fragment_bridged(passed, mtu),
            false => vec![passed],
        };
        for passed in all {
            let mut packet = passed.into_packet();
            packet.bridged = false;
            if !self
                .link
                .device(out)
                .is_some_and(|device| device.fits(&packet))
            {
                self.drop_packet(packet, point, DropReason::NotSpecified);
                continue;
            }
            self.leave(&mut packet, point);
            // What becomes of it there nobody here is told.
            let _ = self.transmit(out, packet);
        }
    }

    /// The ports of a bridge.
    fn ports(&self, bridge: DeviceId) -> impl Iterator<Item = DeviceId> + '_ {
        (0u32..)
            .zip(&self.link.devices)
            .filter(move |(_, device)| {
                device.master == Some(bridge) && device.kind == DeviceKind::Ethernet
            })
            .map(|(number, _)| DeviceId(number))
    }

    /// A port's state; one that is down, or whose bridge is, takes no part (`br_stp_disable_port`).
    pub(super) fn port_state(&self, port: DeviceId) -> BridgePortState {
        let Some(device) = self.link.device(port) else {
            return BridgePortState::Disabled;
        };
        let bridge = device.master.and_then(|bridge| self.link.device(bridge));
        match device.is_running() && bridge.is_some_and(|bridge| bridge.up) {
            true => device.port_state,
            false => BridgePortState::Disabled,
        }
    }
}
