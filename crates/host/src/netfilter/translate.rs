//! Translation at a hook (`nf_nat_inet_fn`): NAT chains are asked about a connection's first packet; every packet of it is
//! rewritten alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use transect_config::IpVersion;
use transect_config::rules::{Nat, NatKind};
use transect_packet::protocol;
use transect_path::Hook;

use super::run::Verdict;
use crate::conntrack::{Choice, Connection, Info, Manipulation, Tracking, rewrite, rewrite_quoted};
use crate::device::DeviceId;
use crate::packet::Packet;
use crate::stack::Stack;

/// Which end a hook translates (`HOOK2MANIP`).
fn manipulation(hook: Hook) -> Manipulation {
    match hook {
        Hook::PostRouting | Hook::LocalIn => Manipulation::Source,
        _ => Manipulation::Destination,
    }
}

impl Stack {
    /// Connection tracking as a step of a hook.
    pub(super) fn track(&mut self, hook: Hook, packet: &mut Packet) -> Verdict {
        match self.track_connection(hook, packet) {
            true => Verdict::Accept,
            false => Verdict::Drop,
        }
    }

    /// Confirmation as a step of a hook.
    pub(super) fn confirm(&mut self, packet: &mut Packet) -> Verdict {
        match self.confirm_connection(packet) {
            true => Verdict::Accept,
            false => Verdict::Drop,
        }
    }

    /// Translation as a step of a hook.
    pub(super) fn translate(
        &mut self,
        hook: Hook,
        version: IpVersion,
        packet: &mut Packet,
    ) -> Verdict {
        let Some(info) = packet.tracking.info() else {
            return Verdict::Accept;
        };
        let what = manipulation(hook);
        let before = addresses(packet);
        let is_icmp = packet.ip(|ip| matches!(ip.protocol, protocol::ICMP | protocol::ICMPV6));
        let related = matches!(info, Info::Related | Info::RelatedReply);
        if related && is_icmp == Some(true) {
            if !self.rewrite_error(what, info, packet) {
                return Verdict::Drop;
            }
        } else {
            if let Verdict::Drop = self.settle(hook, version, info, what, packet) {
                return Verdict::Drop;
            }
            if !info.is_reply() && self.left_its_device(hook, packet) {
                self.netfilter.connections.kill(&packet.tracking);
                return Verdict::Drop;
            }
            if !self.rewrite_packet(what, info, packet) {
                return Verdict::Drop;
            }
        }
        // `nf_nat_ipv4_local_fn`: another destination is another route.
        if hook == Hook::LocalOut && before != addresses(packet) {
            packet.reroute = true;
        }
        Verdict::Accept
    }

    /// A new connection's end is settled: by the first NAT chain that says something, else as it is, if that is free.
    fn settle(
        &mut self,
        hook: Hook,
        version: IpVersion,
        info: Info,
        what: Manipulation,
        packet: &mut Packet,
    ) -> Verdict {
        let settled = match self.netfilter.connections.of(&packet.tracking) {
            Some(connection) => connection.is_settled(what),
            None => true,
        };
        if settled || info != Info::New {
            return Verdict::Accept;
        }
        let chains = Arc::clone(self.netfilter.plan.asked(hook, version));
        for at in chains.iter() {
            match self.run_chain(hook, *at, packet) {
                Verdict::Accept => {}
                Verdict::Translate(nat) => {
                    let Some(choice) = self.choice(hook, &nat, packet) else {
                        return Verdict::Drop;
                    };
                    let out_device = packet.out_device;
                    if nat.kind == NatKind::Masquerade
                        && let Tracking::Apart { connection, .. } = &mut packet.tracking
                    {
                        connection.masquerade = out_device;
                    }
                    self.settle_connection(what, &choice, packet);
                    return Verdict::Accept;
                }
                other => return other,
            }
        }
        self.settle_connection(what, &Choice::default(), packet);
        Verdict::Accept
    }

    fn settle_connection(&mut self, what: Manipulation, choice: &Choice, packet: &mut Packet) {
        let jiffies = self.ticks.at(self.now);
        // A connection in the table is settled as it is (`nf_nat_setup_info`).
        if let Tracking::Apart { connection, .. } = &mut packet.tracking {
            let connections = &mut self.netfilter.connections;
            connections.settle(connection, what, choice, jiffies, &mut self.random);
        }
    }

    /// What a rule lets the translation choose from. None: there is no address to choose (the packet is dropped).
    fn choice(&self, hook: Hook, nat: &Nat, packet: &Packet) -> Option<Choice> {
        let one = |address: IpAddr| Some((address, address));
        let addresses = match nat.kind {
            NatKind::Destination | NatKind::Source => nat.addresses,
            NatKind::Masquerade => one(self.masquerade_address(packet)?),
            NatKind::Redirect => one(self.redirect_address(hook, packet)?),
        };
        Some(Choice {
            addresses,
            ports: nat.ports,
        })
    }

    /// The address of the device by which the packet leaves (`inet_select_addr`, `ipv6_dev_get_saddr`).
    fn masquerade_address(&self, packet: &Packet) -> Option<IpAddr> {
        let device = self.device_name(packet.out_device?);
        let destination = packet.ip(|ip| ip.destination)?;
        let towards = packet.next_hop.unwrap_or(destination);
        let own = || self.addresses_of(device, towards.is_ipv6());
        own()
            .find(|(_, contains)| contains(towards))
            .or_else(|| own().next())
            .map(|(address, _)| address)
    }

    /// The addresses of a device, with what lies on its link; IPv6's link-local ones last.
    fn addresses_of<'a>(
        &'a self,
        device: &'a str,
        v6: bool,
    ) -> impl Iterator<Item = (IpAddr, impl Fn(IpAddr) -> bool)> {
        let all = self.config.addresses.iter().flatten();
        let mut own: Vec<_> = all
            .filter(|address| address.device == device && address.local.is_ipv6() == v6)
            .collect();
        own.sort_by_key(|address| is_link_local(address.local));
        own.into_iter().map(|address| {
            let prefix = address.prefix();
            (address.local, move |other: IpAddr| prefix.contains(other))
        })
    }

    /// This host as destination (`nf_nat_redirect_ipv4`, `nf_nat_redirect_ipv6`).
    fn redirect_address(&self, hook: Hook, packet: &Packet) -> Option<IpAddr> {
        let v6 = packet.version() == Some(IpVersion::V6);
        if hook == Hook::LocalOut {
            return Some(match v6 {
                true => Ipv6Addr::LOCALHOST.into(),
                false => Ipv4Addr::LOCALHOST.into(),
            });
        }
        let device: DeviceId = packet.in_device?;
        let mut own = self.addresses_of(self.device_name(device), v6);
        own.next().map(|(address, _)| address)
    }

    /// Whether a masqueraded connection leaves by another device than it began (`nf_nat_oif_changed`).
    fn left_its_device(&self, hook: Hook, packet: &Packet) -> bool {
        let began = self
            .netfilter
            .connections
            .of(&packet.tracking)
            .and_then(|own| own.masquerade);
        hook == Hook::PostRouting && began.is_some_and(|device| Some(device) != packet.out_device)
    }

    /// Rewrites one end of a packet (`nf_nat_packet`). False: it is damaged.
    fn rewrite_packet(&mut self, what: Manipulation, info: Info, packet: &mut Packet) -> bool {
        let Some(connection) = self.netfilter.connections.of(&packet.tracking) else {
            return true;
        };
        if !connection.rewrites(what, info.is_reply()) {
            return true;
        }
        let Some(target) = other_way(connection, info).inverted() else {
            return false;
        };
        rewrite(packet, what, &target)
    }

    /// Rewrites an ICMP error about a connection. False: it is damaged.
    fn rewrite_error(&mut self, what: Manipulation, info: Info, packet: &mut Packet) -> bool {
        let Some(connection) = self.netfilter.connections.of(&packet.tracking) else {
            return true;
        };
        if !connection.rewrites(what, info.is_reply()) {
            return true;
        }
        let inner = other_way(connection, info);
        let Some(outer) = inner.inverted() else {
            return false;
        };
        rewrite_quoted(packet, what, &inner, &outer)
    }
}

/// The tuple of the direction opposite to a packet's.
fn other_way(connection: &Connection, info: Info) -> crate::conntrack::Tuple {
    match info.is_reply() {
        true => connection.original,
        false => connection.reply,
    }
}

fn addresses(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    packet.ip(|ip| (ip.source, ip.destination))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
