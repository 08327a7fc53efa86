//! Flows of which no packet was captured: known by a socket that tries to send, or by a rule whose counter rose.

use std::net::IpAddr;

use transect_config::rules::{Action, RuleSet, counter_deltas};
use transect_config::{SocketProtocol, SocketState};
use transect_packet::bpf::Program;
use transect_packet::{Endpoint, Tuple, protocol};
use transect_path::{Hook, Timestamp};
use transect_walk::netfilter::{AddressFamily, PacketFacts, evaluate};
use transect_walk::routing::{RouteDecision, RouteQuery, route};

use crate::flow::{FlowView, plain};
use crate::world::{Window, World};

/// Asks the user's filter about packets that nobody captured.
pub(crate) struct Matcher {
    programs: Vec<Program>,
}

impl Matcher {
    pub(crate) fn new(world: &World<'_>) -> Self {
        Matcher {
            programs: world.evidence.programs.clone(),
        }
    }

    /// Whether a packet of this flow would have matched; true without a filter.
    pub(crate) fn matches(&self, tuple: &Tuple) -> bool {
        let ethernet = self
            .programs
            .iter()
            .find(|program| program.link_type == transect_packet::LinkType::ETHERNET);
        let Some(program) = ethernet else {
            return self.programs.is_empty();
        };
        let frame = frame(tuple);
        program.matches(&frame, frame.len() as u32)
    }
}

/// An Ethernet frame of a flow's first packet, as far as filters look at it.
fn frame(tuple: &Tuple) -> Vec<u8> {
    let transport = transport(tuple);
    let mut frame = vec![0u8; 12];
    match (tuple.source.address, tuple.destination.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0x00]);
            frame.extend((20 + transport.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, tuple.protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V6(v6) => v6.octets(),
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((transport.len() as u16).to_be_bytes());
            frame.extend([tuple.protocol, 64]);
            frame.extend(octets(source));
            frame.extend(octets(destination));
        }
    }
    frame.extend(transport);
    frame
}

fn transport(tuple: &Tuple) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20);
    match tuple.protocol {
        protocol::ICMP => bytes.extend([8, 0, 0, 0, 0, 0, 0, 1]),
        protocol::ICMPV6 => bytes.extend([128, 0, 0, 0, 0, 0, 0, 1]),
        _ => {
            bytes.extend(tuple.source.port.to_be_bytes());
            bytes.extend(tuple.destination.port.to_be_bytes());
            if tuple.protocol == protocol::TCP {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            } else {
                bytes.extend([0, 8, 0, 0]);
            }
        }
    }
    bytes
}

/// Connections in SYN-SENT of which no tap saw a packet.
pub(crate) fn by_sockets(world: &World<'_>, known: &dyn Fn(&Tuple) -> bool) -> Vec<FlowView> {
    let matcher = Matcher::new(world);
    let mut tuples: Vec<Tuple> = Vec::new();
    for host in world.hosts() {
        for (_, socket) in world.sockets(host) {
            if socket.protocol != SocketProtocol::Tcp || socket.state != Some(SocketState::SynSent)
            {
                continue;
            }
            let end = |address: &transect_config::SocketAddress| {
                Some(Endpoint::new(plain(address.address?), address.port?))
            };
            let (Some(source), Some(destination)) = (end(&socket.local), end(&socket.peer)) else {
                continue;
            };
            let tuple = Tuple {
                protocol: protocol::TCP,
                source,
                destination,
            };
            if !tuples.contains(&tuple) && !known(&tuple) && matcher.matches(&tuple) {
                tuples.push(tuple);
            }
        }
    }
    tuples
        .into_iter()
        .map(|tuple| FlowView {
            tuple,
            seen: Vec::new(),
        })
        .collect()
}

/// Packets that a rule of their own host killed before any tap: the rule's counter rose, it surely ends the packets that the
/// filter asks for, and nothing of them was captured.
pub(crate) fn by_rules(world: &World<'_>) -> Vec<FlowView> {
    let matcher = Matcher::new(world);
    let words = Words::of(world.evidence.filter.as_deref().unwrap_or_default());
    let mut flows: Vec<FlowView> = Vec::new();
    for host in world.hosts() {
        let series: Vec<(Timestamp, &RuleSet)> = world
            .host(host)
            .readings
            .iter()
            .filter_map(|reading| Some((reading.time, reading.rules.as_deref()?)))
            .collect();
        let Some(&(_, rules)) = series.last() else {
            continue;
        };
        let rose: Vec<_> = counter_deltas(&series)
            .into_iter()
            .filter(|delta| delta.packets.is_some_and(|packets| packets > 0))
            .collect();
        for tuple in words.tuples(world, host) {
            if !matcher.matches(&tuple) {
                continue;
            }
            let killed = [Hook::LocalOut, Hook::PostRouting].into_iter().any(|hook| {
                let outcome = evaluate(rules, hook, &facts(&tuple));
                outcome.certain.is_some_and(|decision| {
                    let dies = decision.action.kills()
                        || matches!(decision.action, Action::Queue { bypass: false, .. });
                    dies && rose.iter().any(|delta| {
                        delta.rule.table == decision.rule.table
                            && delta.rule.chain == decision.rule.chain
                            && delta.rule.text == decision.rule.text
                    })
                })
            });
            if killed && !flows.iter().any(|flow| flow.tuple == tuple) {
                flows.push(FlowView {
                    tuple,
                    seen: Vec::new(),
                });
            }
        }
    }
    flows
}

fn facts(tuple: &Tuple) -> PacketFacts {
    let family = if tuple.is_ipv6() {
        AddressFamily::Ip6
    } else {
        AddressFamily::Ip
    };
    let mut facts = PacketFacts::new(family);
    facts.protocol = Some(tuple.protocol);
    facts.source = Some(tuple.source.address);
    facts.destination = Some(tuple.destination.address);
    if tuple.source.port != 0 {
        facts.source_port = Some(tuple.source.port);
    }
    facts.destination_port = Some(tuple.destination.port).filter(|&port| port != 0);
    facts.fragment_offset = Some(0);
    facts
}

/// Nobody means a link-local address who does not write it down.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The addresses that a filter names.
pub(crate) fn named_addresses(filter: &str) -> Vec<IpAddr> {
    Words::of(filter).addresses
}

/// The addresses, ports and protocols that a filter names.
struct Words {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
}

impl Words {
    fn of(filter: &str) -> Words {
        let mut words = Words {
            addresses: Vec::new(),
            ports: Vec::new(),
            protocols: Vec::new(),
        };
        let tokens: Vec<&str> = filter
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '&' | '|' | '!'))
            .filter(|token| !token.is_empty())
            .collect();
        for (place, token) in tokens.iter().enumerate() {
            if let Ok(address) = token.parse() {
                words.addresses.push(address);
            } else if let Ok(port) = token.parse()
                && place > 0
                && tokens[place - 1] == "port"
            {
                words.ports.push(port);
            }
            match *token {
                "tcp" => words.protocols.push(protocol::TCP),
                "udp" => words.protocols.push(protocol::UDP),
                "icmp" => words.protocols.push(protocol::ICMP),
                "icmp6" => words.protocols.push(protocol::ICMPV6),
                _ => {}
            }
        }
        if words.protocols.is_empty() {
            words.protocols.extend([protocol::TCP, protocol::UDP]);
        }
        words
    }

    /// What a host would send to the filter's addresses, or to the other observed hosts where it names none.
    fn tuples(&self, world: &World<'_>, host: usize) -> Vec<Tuple> {
        let Some(config) = world.config(host, Window::ALL) else {
            return Vec::new();
        };
        let mut destinations = self.addresses.clone();
        if destinations.is_empty() {
            let others = world.hosts().filter(|&other| other != host);
            destinations.extend(others.flat_map(|other| {
                let addresses = world
                    .any_config(other)
                    .and_then(|config| config.addresses.as_deref());
                addresses
                    .unwrap_or_default()
                    .iter()
                    .map(|address| address.local)
                    .filter(|address| !address.is_loopback() && !is_link_local(address))
                    .collect::<Vec<_>>()
            }));
        }
        let ports = if self.ports.is_empty() {
            vec![0]
        } else {
            self.ports.clone()
        };
        let mut tuples = Vec::new();
        for destination in destinations {
            if world.owns(host, destination) != Some(false) {
                continue;
            }
            let answer = route(config, &RouteQuery::output(destination, None));
            let Some(RouteDecision::Unicast {
                prefsrc: Some(source),
                ..
            }) = answer.certain().map(|result| result.decision.clone())
            else {
                continue;
            };
            for &transport in &self.protocols {
                for &port in &ports {
                    tuples.push(Tuple {
                        protocol: transport,
                        source: Endpoint::new(source, 0),
                        destination: Endpoint::new(destination, port),
                    });
                }
            }
        }
        tuples
    }
}
