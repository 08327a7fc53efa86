//! Neighbour discovery (RFC 4861; net/ipv6/ndisc.c), as far as it resolves addresses: solicitations and advertisements.
//!
//! They are IPv6 packets: they go out through the IP layer and its hooks, and come in through them.

use std::net::{IpAddr, Ipv6Addr};

use transect_config::NeighborState;
use transect_packet::{IcmpMessage, MacAddress, Network, Transport};

use super::Update;
use crate::counters::Icmp6Counter;
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::ip::ToLink;
use crate::ip::bytes::{fold, ones_sum, pseudo_header, put};
use crate::packet::Packet;
use crate::stack::Stack;

/// Message types (RFC 4861 section 4).
const ROUTER_SOLICITATION: u8 = 133;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Options that carry the sender's, or the target's, link-layer address (RFC 4861 section 4.6.1).
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
/// What tells a host's own questions about its address from others' (RFC 3971 section 5.3.2, RFC 7527).
const NONCE: u8 = 14;

/// Hop limit of every message: nothing that was forwarded has it.
const HOP_LIMIT: u8 = 255;

/// ICMPv6's protocol number.
const ICMPV6: u8 = 58;

/// ff02::1
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A message that has been read and found in order.
struct Message {
    solicitation: bool,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    /// The link-layer address in the option that belongs to the type.
    mac: Option<MacAddress>,
    nonce: Option<[u8; 6]>,
    /// Advertisements: router, solicited, override.
    flags: u8,
}

impl Stack {
    /// `ndisc_solicit`.
    pub(super) fn ndisc_solicit(
        &mut self,
        device: DeviceId,
        target: Ipv6Addr,
        asker: Option<IpAddr>,
        known: Option<MacAddress>,
    ) {
        let asker = match asker {
            Some(IpAddr::V6(asker)) if self.has_address(device, asker) => Some(asker),
            _ => None,
        };
        let Some(source) = asker.or_else(|| self.link_local_address(device)) else {
            return;
        };
        let destination = match known {
            Some(_) => target,
            None => solicited_node(target),
        };
        let own = self
            .link
            .device(device)
            .map_or_else(MacAddress::default, |device| device.mac);
        let message = message(SOLICITATION, 0, target, Some((SOURCE_ADDRESS, own)));
        self.send_discovery(device, source, destination, message);
    }

    /// Whether anybody has an address that this host wants (`ndisc_send_ns` for `addrconf_dad_work`).
    pub(crate) fn solicit_duplicate(&mut self, device: DeviceId, target: Ipv6Addr, nonce: [u8; 6]) {
        let mut message = message(SOLICITATION, 0, target, None);
        message.extend([NONCE, 1]);
        message.extend(nonce);
        let group = solicited_node(target);
        self.send_discovery(device, Ipv6Addr::UNSPECIFIED, group, message);
    }

    /// `ndisc_send_rs`.
    pub(crate) fn send_router_solicitation(
        &mut self,
        device: DeviceId,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) {
        let mut message = vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        if let Some(device) = self.link.device(device) {
            message.extend([SOURCE_ADDRESS, 1]);
            message.extend(device.mac.0);
        }
        self.send_discovery(device, source, destination, message);
    }

    /// `ndisc_send_na`.
    fn advertise(&mut self, device: DeviceId, request: &Message) {
        let dad = request.source.is_unspecified();
        let to_group = request.destination.is_multicast();
        let forwarding = self.config.sysctls.forwarding_v6(self.device_name(device));
        let mut flags = 0;
        if forwarding.unwrap_or(false) {
            flags |= 0x80;
        }
        if !dad {
            flags |= 0x40;
        }
        if dad || to_group {
            flags |= 0x20;
        }
        let own = self
            .link
            .device(device)
            .map_or_else(MacAddress::default, |device| device.mac);
        let option = (dad || to_group).then_some((TARGET_ADDRESS, own));
        let message = message(ADVERTISEMENT, flags, request.target, option);
        let destination = if dad { ALL_NODES } else { request.source };
        self.send_discovery(device, request.target, destination, message);
    }

    /// `ndisc_send_skb`.
    fn send_discovery(
        &mut self,
        device: DeviceId,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        mut message: Vec<u8>,
    ) {
        let pseudo = pseudo_header(source.into(), destination.into(), ICMPV6, message.len());
        let checksum = !fold(ones_sum(pseudo, &message));
        put(&mut message, 2, &checksum.to_be_bytes());
        let counter = match message.first() {
            Some(&SOLICITATION) => Icmp6Counter::OutNeighborSolicits,
            Some(&ROUTER_SOLICITATION) => Icmp6Counter::OutRouterSolicits,
            _ => Icmp6Counter::OutNeighborAdvertisements,
        };
        let kind = message.first().copied().unwrap_or_default();
        // `ndisc_send_skb` counts when the hooks have let it pass.
        let sent = self.send_to_link(&ToLink {
            device,
            source,
            destination,
            hop_limit: HOP_LIMIT,
            protocol: ICMPV6,
            header: &message,
            payload: &[],
        });
        if sent {
            self.count_icmp6_out(kind, counter);
        }
    }

    /// A neighbour solicitation or advertisement that came through IPv6 (`ndisc_rcv`). An error is the reason why it dies.
    pub(crate) fn neighbor_discovery_input(&mut self, packet: &Packet) -> Result<(), DropReason> {
        let message = read(packet)?;
        let device = packet.in_device.unwrap_or(DeviceId::LOOPBACK);
        if message.solicitation {
            self.solicitation_input(device, &message)
        } else {
            self.advertisement_input(device, &message)
        }
    }

    /// `ndisc_recv_ns`.
    fn solicitation_input(
        &mut self,
        device: DeviceId,
        message: &Message,
    ) -> Result<(), DropReason> {
        let dad = message.source.is_unspecified();
        if dad && message.destination != solicited_node(message.target) {
            return Err(DropReason::NotSpecified);
        }
        if dad && message.mac.is_some() {
            return Err(DropReason::Ipv6NdiscBadOptions);
        }
        if let Some(nonce) = self.tentative(device, message.target) {
            // Only who asks for itself as well makes a difference.
            if dad && message.nonce != Some(nonce) {
                self.address_is_duplicate(device, message.target);
            }
            return Err(DropReason::NotSpecified);
        }
        if !self.has_address(device, message.target) {
            return Err(DropReason::Ipv6NdiscNsOtherhost);
        }
        if dad {
            self.advertise(device, message);
            return Ok(());
        }
        let to_group = message.destination.is_multicast();
        let statistics = self.link.neighbors.statistics(true);
        if to_group {
            statistics.rcv_probes_mcast += 1;
        } else {
            statistics.rcv_probes_ucast += 1;
        }
        let asker = IpAddr::V6(message.source);
        let mut number = self.link.neighbors.find(device, asker);
        if number.is_none() && (!to_group || message.mac.is_some()) {
            number = self.create_neighbor(device, asker);
        }
        if let Some(number) = number {
            let update = Update {
                state: NeighborState::Stale,
                replace: true,
                doubt: true,
                by_hand: false,
                router: None,
            };
            self.update_neighbor(number, message.mac, update);
            self.advertise(device, message);
        }
        Ok(())
    }

    /// `ndisc_recv_na`.
    fn advertisement_input(
        &mut self,
        device: DeviceId,
        message: &Message,
    ) -> Result<(), DropReason> {
        let solicited = message.flags & 0x40 != 0;
        if message.destination.is_multicast() && solicited {
            return Err(DropReason::NotSpecified);
        }
        if self.tentative(device, message.target).is_some() {
            self.address_is_duplicate(device, message.target);
            return Err(DropReason::NotSpecified);
        }
        if self.has_address(device, message.target) {
            // Somebody else claims this host's address: the kernel logs it, and keeps the address.
            return Err(DropReason::NotSpecified);
        }
        let number = self.link.neighbors.find(device, IpAddr::V6(message.target));
        let Some(number) = number else {
            return Ok(());
        };
        let failed = self
            .link
            .neighbors
            .get(number)
            .is_some_and(|entry| entry.state == NeighborState::Failed);
        if failed {
            return Ok(());
        }
        let update = Update {
            state: if solicited {
                NeighborState::Reachable
            } else {
                NeighborState::Stale
            },
            replace: message.flags & 0x20 != 0,
            doubt: true,
            by_hand: false,
            router: Some(message.flags & 0x80 != 0),
        };
        self.update_neighbor(number, message.mac, update);
        Ok(())
    }

    /// Whether it is a usable address of the device's (`ipv6_chk_addr`).
    fn has_address(&self, device: DeviceId, address: Ipv6Addr) -> bool {
        let name = self.device_name(device);
        let mut own = self.config.addresses.iter().flatten();
        own.any(|own| own.device == name && own.local == address && own.is_usable())
    }

    /// The device's link-local address (`ipv6_get_lladdr`); failing that, any other that it has.
    fn link_local_address(&self, device: DeviceId) -> Option<Ipv6Addr> {
        let name = self.device_name(device);
        let own = || {
            let all = self.config.addresses.iter().flatten();
            all.filter(|own| own.device == name && own.is_usable())
                .filter_map(|own| match own.local {
                    IpAddr::V6(v6) => Some(v6),
                    IpAddr::V4(_) => None,
                })
        };
        own()
            .find(|address| address.is_unicast_link_local())
            .or_else(|| own().next())
    }
}

/// Reads and checks a message (`ndisc_rcv`, `ndisc_parse_options`).
fn read(packet: &Packet) -> Result<Message, DropReason> {
    let dissection = packet.dissect();
    let Network::Ip(ip) = &dissection.network else {
        return Err(DropReason::HdrTrunc);
    };
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else {
        return Err(DropReason::HdrTrunc);
    };
    let Transport::Icmp(IcmpMessage { kind, code, .. }) = ip.transport else {
        return Err(DropReason::HdrTrunc);
    };
    if ip.fragment.is_some() {
        return Err(DropReason::Ipv6NdiscFrag);
    }
    if ip.ttl != HOP_LIMIT {
        return Err(DropReason::Ipv6NdiscHopLimit);
    }
    if code != 0 {
        return Err(DropReason::Ipv6NdiscBadCode);
    }
    let start = usize::from(ip.transport_offset);
    let end = start.saturating_add(ip.payload_length() as usize);
    let bytes = packet.network().get(start..end).unwrap_or_default();
    let Some((fixed, options)) = bytes.split_first_chunk::<24>() else {
        return Err(DropReason::PktTooSmall);
    };
    let &[_, _, _, _, flags, _, _, _, ref target @ ..] = fixed;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return Err(DropReason::NotSpecified);
    }
    let wanted = match kind {
        SOLICITATION => SOURCE_ADDRESS,
        _ => TARGET_ADDRESS,
    };
    Ok(Message {
        solicitation: kind == SOLICITATION,
        source,
        destination,
        target,
        mac: option(options, wanted)
            .ok_or(DropReason::Ipv6NdiscBadOptions)?
            .map(MacAddress),
        nonce: option(options, NONCE).flatten(),
        flags,
    })
}

/// What the first option of a kind holds, a link-layer address or a nonce; nothing (outside) where the options are damaged.
fn option(mut options: &[u8], wanted: u8) -> Option<Option<[u8; 6]>> {
    let mut found = None;
    while let [kind, length, ..] = *options {
        let length = usize::from(length) * 8;
        if length == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(length)?;
        if kind == wanted && found.is_none() {
            found = Some(option.get(2..8)?.try_into().ok()?);
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// The group that a node with this address listens to (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// A message without its checksum.
fn message(kind: u8, flags: u8, target: Ipv6Addr, option: Option<(u8, MacAddress)>) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    bytes.extend(target.octets());
    if let Some((kind, mac)) = option {
        bytes.extend([kind, 1]);
        bytes.extend(mac.0);
    }
    bytes
}
