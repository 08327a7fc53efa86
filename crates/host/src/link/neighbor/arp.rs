//! ARP (RFC 826; net/ipv4/arp.c): what is asked, what is answered, what is learned.

use std::net::{IpAddr, Ipv4Addr};

use transect_config::{NeighborState, RouteKind};
use transect_packet::{ArpOperation, ArpPacket, MacAddress, Network, PacketType};
use transect_packet::{LinkType, dissect};
use transect_walk::routing::{InputDecision, RouteDecision, RouteQuery, input_decision, route};

use super::{Update, write_header};
use crate::counters::TcpExtCounter;
use crate::device::{DeviceId, DeviceKind};
use crate::packet::{ETHERTYPE_ARP, Packet};
use crate::stack::Stack;

impl Stack {
    /// `arp_solicit`: who has `target`? Asked by an address of this host that `arp_announce` allows, on behalf of the packet
    /// that `asker` sends.
    pub(super) fn arp_solicit(
        &mut self,
        device: DeviceId,
        target: Ipv4Addr,
        asker: Option<IpAddr>,
        known: Option<MacAddress>,
    ) {
        let asker = match asker {
            Some(IpAddr::V4(asker)) if self.is_local(IpAddr::V4(asker)) => Some(asker),
            _ => None,
        };
        let announce = self.config.sysctls.arp_announce(self.device_name(device));
        let sender = match announce.unwrap_or(0) {
            0 => asker,
            1 => asker.filter(|asker| self.both_on_link(device, *asker, target)),
            _ => None,
        };
        let Some(sender) = sender.or_else(|| self.select_address(device, target)) else {
            return;
        };
        let own = self
            .link
            .device(device)
            .map_or_else(MacAddress::default, |device| device.mac);
        let packet = ArpPacket {
            operation: ArpOperation::Request,
            sender,
            sender_mac: own,
            target,
            target_mac: known.unwrap_or_default(),
        };
        self.send_arp(device, known.unwrap_or(MacAddress::BROADCAST), &packet);
    }

    /// `arp_create`, `arp_xmit`.
    fn send_arp(&mut self, device: DeviceId, to: MacAddress, arp: &ArpPacket) {
        let mut packet = Packet::from_network(&arp_bytes(arp));
        packet.ethertype = ETHERTYPE_ARP;
        packet.time = self.now;
        write_header(&mut packet, to, arp.sender_mac);
        self.begin_journey(&mut packet);
        // What happens to it on the way out nobody is told.
        let _ = self.transmit(device, packet);
    }

    /// `arp_rcv`, `arp_process`.
    pub(in crate::link) fn arp_input(&mut self, device: DeviceId, packet: &Packet) {
        let ethernet = self
            .link
            .device(device)
            .is_some_and(|device| matches!(device.kind, DeviceKind::Ethernet | DeviceKind::Bridge));
        if !ethernet || packet.packet_type == PacketType::OtherHost {
            return;
        }
        let length = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        let Network::Arp(arp) = dissect(LinkType::ETHERNET, &packet.data, length).network else {
            return;
        };
        if matches!(arp.operation, ArpOperation::Other(_)) || !self.is_plausible(device, &arp) {
            return;
        }
        if arp.operation == ArpOperation::Request && self.answer_request(device, &arp) {
            return;
        }
        self.learn(device, &arp, packet.packet_type);
    }

    /// The checks at `arp_process`'s beginning.
    fn is_plausible(&self, device: DeviceId, arp: &ArpPacket) -> bool {
        let name = self.device_name(device);
        let routable =
            !arp.target.is_loopback() || self.config.sysctls.route_localnet(name).unwrap_or(false);
        let gratuitous = arp.sender == arp.target && self.conf(name, "drop_gratuitous_arp");
        routable && !arp.target.is_multicast() && !gratuitous
    }

    /// `net.ipv4.conf.{all,DEVICE}.NAME`: set for either (IN_DEV_ORCONF).
    fn conf(&self, device: &str, name: &str) -> bool {
        let device = device.replace('.', "/");
        self.settings.number(&format!("net.ipv4.conf.all.{name}")) != 0
            || self
                .settings
                .number(&format!("net.ipv4.conf.{device}.{name}"))
                != 0
    }

    /// A question for one of this host's addresses is answered, and whoever asks is remembered; true where that was all.
    fn answer_request(&mut self, device: DeviceId, arp: &ArpPacket) -> bool {
        let target = IpAddr::V4(arp.target);
        if arp.sender.is_unspecified() {
            // Duplicate address detection (RFC 5227).
            if self.is_local(target) && self.may_answer(device, arp) {
                self.reply(device, arp);
            }
            return true;
        }
        let name = self.device_name(device);
        let query = RouteQuery::input(IpAddr::V4(arp.sender), target, name);
        let local = input_decision(&self.config, &query).certain() == Some(&InputDecision::Local);
        if !local {
            return false;
        }
        if self.may_answer(device, arp) && !self.is_filtered(device, arp) {
            let number = self.link.neighbors.find(device, IpAddr::V4(arp.sender));
            let number = number.or_else(|| self.create_neighbor(device, IpAddr::V4(arp.sender)));
            if let Some(number) = number {
                self.update_neighbor(
                    number,
                    Some(arp.sender_mac),
                    heard(NeighborState::Stale, true),
                );
                self.reply(device, arp);
            }
        }
        true
    }

    fn reply(&mut self, device: DeviceId, request: &ArpPacket) {
        let own = self
            .link
            .device(device)
            .map_or_else(MacAddress::default, |device| device.mac);
        let packet = ArpPacket {
            operation: ArpOperation::Reply,
            sender: request.target,
            sender_mac: own,
            target: request.sender,
            target_mac: request.sender_mac,
        };
        self.send_arp(device, request.sender_mac, &packet);
    }

    /// `arp_ignore`.
    fn may_answer(&self, device: DeviceId, arp: &ArpPacket) -> bool {
        let name = self.device_name(device);
        let mut own = self.config.addresses.iter().flatten();
        let target = IpAddr::V4(arp.target);
        match self.config.sysctls.arp_ignore(name).unwrap_or(0) {
            1 => own.any(|own| own.device == name && own.local == target),
            2 => own.any(|own| {
                own.device == name
                    && own.local == target
                    && own.prefix().contains(IpAddr::V4(arp.sender))
            }),
            3 => own.any(|own| own.local == target && own.scope != "host"),
            8 => false,
            _ => true,
        }
    }

    /// `arp_filter`: would this host send to the asker by another device?
    fn is_filtered(&mut self, device: DeviceId, arp: &ArpPacket) -> bool {
        let name = self.device_name(device);
        if !self.config.sysctls.arp_filter(name).unwrap_or(false) {
            return false;
        }
        let back = RouteQuery::output(IpAddr::V4(arp.sender), Some(IpAddr::V4(arp.target)));
        let answer = route(&self.config, &back);
        match answer.decision() {
            Some(RouteDecision::Unicast { device: by, .. }) if by == name => false,
            Some(RouteDecision::Unicast { .. } | RouteDecision::Local) => {
                self.counters.tcp_ext.count(TcpExtCounter::ArpFilter);
                true
            }
            _ => true,
        }
    }

    /// The end of `arp_process`: what is known already is brought up to date; strangers are not taken in, unless
    /// `arp_accept` says so.
    fn learn(&mut self, device: DeviceId, arp: &ArpPacket, packet_type: PacketType) {
        let sender = IpAddr::V4(arp.sender);
        let gratuitous = is_gratuitous(arp);
        let mut number = self.link.neighbors.find(device, sender);
        if number.is_none() && self.conf(self.device_name(device), "arp_accept") {
            let on_link = self.select_route_kind(device, sender) == Some(RouteKind::Unicast);
            if gratuitous || arp.operation == ArpOperation::Reply && on_link {
                number = self.create_neighbor(device, sender);
            }
        }
        let Some(number) = number else { return };
        let lock = self.neighbor_times(number).lock;
        let now = self.neighbor_clock();
        let Some(entry) = self.link.neighbors.get(number) else {
            return;
        };
        let replace = gratuitous || now > entry.updated.saturating_add(lock);
        let answer = arp.operation == ArpOperation::Reply && packet_type == PacketType::Host;
        let state = if answer {
            NeighborState::Reachable
        } else {
            NeighborState::Stale
        };
        self.update_neighbor(number, Some(arp.sender_mac), heard(state, replace));
    }

    /// What kind of address it is, seen from here (`inet_addr_type_dev_table`), as far as ARP wants to know.
    fn select_route_kind(&self, device: DeviceId, address: IpAddr) -> Option<RouteKind> {
        let mut query = RouteQuery::output(address, None);
        query.out_interface = Some(self.device_name(device));
        match route(&self.config, &query).decision()? {
            RouteDecision::Unicast { .. } => Some(RouteKind::Unicast),
            RouteDecision::Local => Some(RouteKind::Local),
            _ => None,
        }
    }

    /// Both in one subnet of the device's (`inet_addr_onlink`).
    fn both_on_link(&self, device: DeviceId, one: Ipv4Addr, other: Ipv4Addr) -> bool {
        let name = self.device_name(device);
        let own = self.config.addresses.iter().flatten();
        own.filter(|own| own.device == name).any(|own| {
            own.prefix().contains(IpAddr::V4(one)) && own.prefix().contains(IpAddr::V4(other))
        })
    }

    /// An address of the device's, of the target's subnet if there is one (`inet_select_addr`); failing that, of another.
    fn select_address(&self, device: DeviceId, target: Ipv4Addr) -> Option<Ipv4Addr> {
        let name = self.device_name(device);
        let v4 = |own: &transect_config::Address| match own.local {
            IpAddr::V4(v4) if own.scope != "host" => Some((v4, own.prefix(), own.device == name)),
            _ => None,
        };
        let all = || self.config.addresses.iter().flatten().filter_map(v4);
        let fits = all().find(|(_, prefix, here)| *here && prefix.contains(IpAddr::V4(target)));
        let here = || all().find(|(_, _, here)| *here);
        fits.or_else(here)
            .or_else(|| all().next())
            .map(|(address, _, _)| address)
    }
}

fn heard(state: NeighborState, replace: bool) -> Update {
    Update {
        state,
        replace,
        doubt: false,
        by_hand: false,
        router: None,
    }
}

/// `arp_is_garp`, without its look at the routes: a sender that speaks of itself.
fn is_gratuitous(arp: &ArpPacket) -> bool {
    let own = arp.sender == arp.target;
    match arp.operation {
        ArpOperation::Reply => {
            own && (arp.target_mac == arp.sender_mac
                || arp.target_mac == MacAddress::default()
                || arp.target_mac == MacAddress::BROADCAST)
        }
        _ => own,
    }
}

/// An ARP packet for IPv4 over Ethernet, without its link header.
fn arp_bytes(arp: &ArpPacket) -> Vec<u8> {
    let operation: u16 = match arp.operation {
        ArpOperation::Request => 1,
        ArpOperation::Reply => 2,
        ArpOperation::Other(number) => number,
    };
    let mut bytes = Vec::with_capacity(28);
    bytes.extend([0, 1, 0x08, 0x00, 6, 4]);
    bytes.extend(operation.to_be_bytes());
    bytes.extend(arp.sender_mac.0);
    bytes.extend(arp.sender.octets());
    bytes.extend(arp.target_mac.0);
    bytes.extend(arp.target.octets());
    bytes
}
