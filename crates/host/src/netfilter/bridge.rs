//! A bridge's hooks (`NF_BR_*`): the chains of the family `bridge`, and among them IP's own hooks for what is bridged
//! (net/bridge/br_netfilter_hooks.c).
//!
//! `net.bridge.bridge-nf-call-iptables` is on by default, so that a bridged packet meets PRE_ROUTING, FORWARD and POST_ROUTING of
//! iptables and nft as a routed one would, with the bridge as its interface, and nothing of IP counts it.

use std::sync::Arc;

use transect_config::IpVersion;
use transect_config::rules::Family;
use transect_packet::PacketType;
use transect_path::{Hook, Point};

use super::plan::{BridgeStep, ChainAt};
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::hooks::Stopped;
use crate::ip::bytes::addresses;
use crate::packet::Packet;
use crate::stack::Stack;

impl Stack {
    /// The steps of a bridge's hook, one after another. The packet comes back where it passed. A bridge's own chains lie where
    /// the bridge has the frame (`link_input`, `driver_out`); IP's hooks are points of their own.
    pub(crate) fn traverse_bridge(
        &mut self,
        hook: Hook,
        point: Point,
        mut packet: Packet,
    ) -> Result<Packet, Stopped> {
        let steps = Arc::clone(self.netfilter.plan.bridge(hook));
        for step in steps.iter() {
            packet = match step {
                BridgeStep::Chain(at) => {
                    let verdict = self.filter(hook, *at, &mut packet);
                    self.obey(verdict, point, packet)?
                }
                BridgeStep::Ip => self.call_ip(hook, packet)?,
            };
        }
        Ok(packet)
    }

    /// Whether a chain is one of a bridge.
    pub(super) fn is_bridge_table(&self, at: ChainAt) -> bool {
        let table = self.netfilter.rules.tables.get(at.table);
        table.is_some_and(|table| table.family == Family::Bridge)
    }

    /// IP's hook of the same name (`br_nf_pre_routing`, `br_nf_forward`, `br_nf_post_routing`): the interface is the bridge, and
    /// what is for another host looks as if it were for this one.
    fn call_ip(&mut self, hook: Hook, mut packet: Packet) -> Result<Packet, Stopped> {
        if hook == Hook::PreRouting {
            packet.bridged = self.calls_ip(&packet);
            if packet.bridged {
                // Freed and counted where its header is damaged.
                packet = self.check_bridged(packet).ok_or(Stopped { errno: None })?;
            }
        }
        if !packet.bridged {
            return Ok(packet);
        }
        let (came, leaves, kind) = (packet.in_device, packet.out_device, packet.packet_type);
        packet.in_device = came.and_then(|port| self.bridge_of(port));
        packet.out_device = leaves.and_then(|port| self.bridge_of(port));
        if kind == PacketType::OtherHost {
            packet.packet_type = PacketType::Host;
        }
        let destination = |packet: &Packet| addresses(packet.network()).1;
        let before = destination(&packet);
        let mut packet = self.traverse(hook, packet)?;
        if hook == Hook::PreRouting && destination(&packet) != before {
            self.take_translated(&mut packet);
        } else {
            packet.packet_type = kind;
        }
        (packet.in_device, packet.out_device) = (came, leaves);
        Ok(packet)
    }

    /// Whether IP's hooks are called for a frame.
    fn calls_ip(&self, packet: &Packet) -> bool {
        let name = match packet.version() {
            Some(IpVersion::V4) => "net.bridge.bridge-nf-call-iptables",
            Some(IpVersion::V6) => "net.bridge.bridge-nf-call-ip6tables",
            None => return false,
        };
        self.settings.number(name) != 0
    }

    fn bridge_of(&self, port: DeviceId) -> Option<DeviceId> {
        self.link.device(port).and_then(|device| device.master)
    }

    /// A packet that got another destination is this host's to send on (`br_nf_pre_routing_finish`): its frame is addressed to
    /// the bridge.
    fn take_translated(&mut self, packet: &mut Packet) {
        let bridge = packet.in_device.and_then(|id| self.link.device(id));
        if let Some(mac) = bridge.map(|bridge| bridge.mac)
            && let Some(field) = packet.data.get_mut(..6)
        {
            field.copy_from_slice(&mac.0);
        }
        packet.packet_type = PacketType::Host;
    }

    /// The header's checks of a bridged packet (`br_validate_ipv4`, `br_validate_ipv6`): only what fails is counted.
    fn check_bridged(&mut self, packet: Packet) -> Option<Packet> {
        match packet.version() {
            Some(IpVersion::V4) => self.check_ipv4(packet, Point::LinkInput),
            Some(IpVersion::V6) => self.check_ipv6(packet, Point::LinkInput),
            None => {
                self.drop_packet(packet, Point::LinkInput, DropReason::NotSpecified);
                None
            }
        }
    }
}
