//! Address resolution: ARP and neighbour discovery, as questions with or without an answer.

use std::net::{IpAddr, Ipv6Addr};

use hashbrown::HashMap;
use transect_packet::{
    ArpOperation, ArpPacket, FrameDirection, IcmpMessage, IpHeader, LinkHeader, MacAddress,
};
use transect_path::Timestamp;

use super::Tap;

/// So many pairs of asker and target are kept.
const LIMIT: usize = 65_536;

/// One asker's questions for one address on one interface, and the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The interface: an index into [`super::Ledger::interfaces`].
    pub interface: usize,
    /// The capturing host's own index of the interface, where one capture interface stands for several.
    pub interface_index: Option<u32>,
    /// Which way the questions went; where only answers were seen, the way opposite to theirs.
    pub direction: Option<FrameDirection>,
    /// Who asks.
    pub asker: IpAddr,
    /// The asker's MAC address.
    pub asker_mac: Option<MacAddress>,
    /// Whose MAC address is asked for.
    pub target: IpAddr,
    /// Requests or solicitations; probes of a known neighbour, sent to its MAC address, included.
    pub requests: u64,
    /// Replies or advertisements.
    pub replies: u64,
    /// The first packet's time.
    pub first: Timestamp,
    /// The last request's time; the first packet's where there was none.
    pub last_request: Timestamp,
    /// The last packet's time.
    pub last: Timestamp,
    /// The MAC address of the last answer.
    pub answered_by: Option<MacAddress>,
}

type Key = (usize, Option<u32>, IpAddr, IpAddr);

/// All resolutions of a ledger, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    list: Vec<Resolution>,
    index: HashMap<Key, usize>,
}

struct Message {
    asker: IpAddr,
    target: IpAddr,
    request: bool,
    asker_mac: Option<MacAddress>,
    answered_by: Option<MacAddress>,
}

impl Resolutions {
    pub(super) fn list(&self) -> &[Resolution] {
        &self.list
    }

    pub(super) fn arp(&mut self, tap: Tap, time: Timestamp, packet: &ArpPacket) {
        let message = match packet.operation {
            ArpOperation::Request => Message {
                asker: packet.sender.into(),
                target: packet.target.into(),
                request: true,
                asker_mac: Some(packet.sender_mac),
                answered_by: None,
            },
            ArpOperation::Reply => Message {
                asker: packet.target.into(),
                target: packet.sender.into(),
                request: false,
                asker_mac: None,
                answered_by: Some(packet.sender_mac),
            },
            ArpOperation::Other(_) => return,
        };
        self.add(tap, time, message);
    }

    pub(super) fn neighbor_discovery(
        &mut self,
        tap: Tap,
        time: Timestamp,
        link: &LinkHeader,
        ip: &IpHeader,
        icmp: &IcmpMessage,
    ) {
        let Some(neighbor) = icmp.neighbor else {
            return;
        };
        let message = if neighbor.solicitation {
            Message {
                asker: ip.source,
                target: neighbor.target.into(),
                request: true,
                asker_mac: neighbor.mac.or(link.source),
                answered_by: None,
            }
        } else {
            // An advertisement that nobody asked for goes to all nodes, and answers no one.
            if ip.destination == IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)) {
                return;
            }
            Message {
                asker: ip.destination,
                target: neighbor.target.into(),
                request: false,
                asker_mac: None,
                answered_by: neighbor.mac.or(link.source),
            }
        };
        self.add(tap, time, message);
    }

    fn add(&mut self, tap: Tap, time: Timestamp, message: Message) {
        let key = (
            tap.interface,
            tap.interface_index,
            message.asker,
            message.target,
        );
        let index = match self.index.get(&key) {
            Some(&index) => index,
            None if self.list.len() < LIMIT => {
                let opposite = |direction| match direction {
                    FrameDirection::In => FrameDirection::Out,
                    FrameDirection::Out => FrameDirection::In,
                };
                self.list.push(Resolution {
                    interface: tap.interface,
                    interface_index: tap.interface_index,
                    direction: if message.request {
                        tap.direction
                    } else {
                        tap.direction.map(opposite)
                    },
                    asker: message.asker,
                    asker_mac: None,
                    target: message.target,
                    requests: 0,
                    replies: 0,
                    first: time,
                    last_request: time,
                    last: time,
                    answered_by: None,
                });
                self.index.insert(key, self.list.len() - 1);
                self.list.len() - 1
            }
            None => return,
        };
        let Some(resolution) = self.list.get_mut(index) else {
            return;
        };
        resolution.first = resolution.first.min(time);
        resolution.last = resolution.last.max(time);
        if message.request {
            resolution.requests += 1;
            resolution.last_request = resolution.last_request.max(time);
            resolution.asker_mac = message.asker_mac.or(resolution.asker_mac);
        } else {
            resolution.replies += 1;
            resolution.answered_by = message.answered_by.or(resolution.answered_by);
        }
    }
}
