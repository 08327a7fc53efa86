//! One flow as all captures and sockets saw it: matched over hosts, and over address translation by its sequence numbers.

use std::collections::HashMap;
use std::net::IpAddr;

use transect_config::{Socket, SocketProtocol};
use transect_evidence::conversation::{Conversation, Tally};
use transect_packet::protocol_name;
use transect_packet::{Endpoint, FrameDirection, Tuple, protocol};
use transect_path::{Direction, Flow, Point, Timestamp, What};

use crate::chain::{Chain, Role};
use crate::ends::End;
use crate::group::Place;
use crate::nat::behind_pre_routing;
use crate::route::hops;
use crate::world::World;

/// One capture's view of the flow.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: usize,
    pub(crate) capture: usize,
    /// The point of the capture, when it is not at the link layer.
    pub(crate) point: Option<Point>,
    pub(crate) conversation: Conversation,
}

/// A flow, client to server as the client knows it.
#[derive(Debug, Clone)]
pub(crate) struct FlowView {
    pub(crate) tuple: Tuple,
    pub(crate) seen: Vec<Seen>,
}

/// Which end of a host a tap watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TapEnd {
    In,
    Out,
}

impl FlowView {
    pub(crate) fn is_tcp(&self) -> bool {
        self.tuple.protocol == protocol::TCP
    }

    /// The flow as a verdict names it.
    pub(crate) fn name(&self) -> Flow {
        let with_ports = matches!(
            self.tuple.protocol,
            protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP
        );
        let text = |end: Endpoint| {
            if with_ports && end.port != 0 {
                end.to_string()
            } else {
                end.address.to_string()
            }
        };
        Flow {
            protocol: protocol_name(self.tuple.protocol).into_owned(),
            client: text(self.tuple.source),
            server: text(self.tuple.destination),
        }
    }

    /// The first moment at which anything of the flow was seen.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.seen.iter().map(|seen| seen.conversation.first).min()
    }

    /// The last moment.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.seen.iter().map(|seen| seen.conversation.last).max()
    }

    /// Source and destination of one direction, as the client knows them.
    pub(crate) fn directed(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::ToServer => self.tuple,
            Direction::ToClient => self.tuple.reversed(),
        }
    }

    /// Every tally of one direction on one host.
    pub(crate) fn tallies(
        &self,
        host: usize,
        direction: Direction,
    ) -> impl Iterator<Item = (&Seen, &Tally)> {
        self.seen
            .iter()
            .filter(move |seen| seen.host == host)
            .flat_map(move |seen| {
                let fits = seen.conversation.tallies.iter();
                fits.filter(move |tally| tally.direction == direction)
                    .map(move |tally| (seen, tally))
            })
    }

    /// The tallies that watch one end of a host, given what the host does with packets of this direction.
    pub(crate) fn at(
        &self,
        host: usize,
        role: Role,
        end: TapEnd,
        direction: Direction,
    ) -> Vec<(&Seen, &Tally)> {
        self.tallies(host, direction)
            .filter(|(seen, _)| seen.point.is_none())
            .filter(|(_, tally)| {
                let passed_on = role == Role::Forwarder && tally.tap.direction.is_none();
                let own_end = match tap_end(tally, role) {
                    TapEnd::In if passed_on && self.is_lowered(host, direction, tally) => {
                        TapEnd::Out
                    }
                    end => end,
                };
                own_end == end
            })
            .collect()
    }

    /// The most packets of a class that one interface of this end saw.
    pub(crate) fn count(
        &self,
        host: usize,
        role: Role,
        end: TapEnd,
        direction: Direction,
        what: What,
    ) -> u64 {
        let tallies = self.at(host, role, end, direction);
        tallies
            .iter()
            .map(|(_, tally)| u64::from(tally.counts.of(what)))
            .max()
            .unwrap_or(0)
    }

    /// Whether any tap anywhere saw a packet of this class.
    pub(crate) fn any(&self, direction: Direction, what: What) -> u64 {
        self.seen
            .iter()
            .flat_map(|seen| &seen.conversation.tallies)
            .filter(|tally| tally.direction == direction)
            .map(|tally| u64::from(tally.counts.of(what)))
            .max()
            .unwrap_or(0)
    }

    /// The flow's addresses on a host (client to server), which differ behind a translation.
    pub(crate) fn tuple_on(&self, host: usize) -> Tuple {
        let of_host = || self.seen.iter().filter(|seen| seen.host == host);
        let same = of_host().any(|seen| seen.conversation.tuple == self.tuple);
        let other = of_host().next().map(|seen| seen.conversation.tuple);
        if same {
            self.tuple
        } else {
            other.unwrap_or(self.tuple)
        }
    }

    /// The name of the interface by which packets of a direction pass one end of a host.
    pub(crate) fn interface(
        &self,
        world: &World<'_>,
        host: usize,
        role: Role,
        end: TapEnd,
        direction: Direction,
    ) -> Option<String> {
        let tallies = self.at(host, role, end, direction);
        let (seen, tally) = tallies.into_iter().max_by_key(|(_, tally)| tally.packets)?;
        let ledger = &world.host(host).captures.get(seen.capture)?.ledger;
        ledger.interfaces().get(tally.tap.interface)?.name.clone()
    }

    /// The observed hosts that packets of this direction pass, in order, with what each does with them.
    pub(crate) fn placement(&self, world: &World<'_>, direction: Direction) -> Vec<(usize, Role)> {
        let tuple = self.directed(direction);
        let mut senders = Vec::new();
        let mut forwarders = Vec::new();
        let mut receivers = Vec::new();
        let mut targets = Vec::new();
        for host in world.hosts() {
            let traffic = self.traffic(host, direction);
            let on_host = match direction {
                Direction::ToServer => self.tuple_on(host),
                Direction::ToClient => self.tuple_on(host).reversed(),
            };
            let source = self.owns(world, host, on_host.source.address);
            let destination = self.owns(world, host, on_host.destination.address);
            if let Some(behind) = self.translated_through(world, host) {
                forwarders.push(host);
                targets.extend(world.owners(match direction {
                    Direction::ToServer => behind.destination.address,
                    Direction::ToClient => behind.source.address,
                }));
                continue;
            }
            let roles = if source.is_none() && destination.is_none() {
                role_by_taps(traffic, self.traffic(host, direction.reversed()))
            } else {
                role(traffic, source, destination)
            };
            match roles {
                Roles::Sender => senders.push(host),
                Roles::Receiver => receivers.push(host),
                Roles::Both => {
                    senders.push(host);
                    receivers.push(host);
                }
                Roles::Forwarder => forwarders.push(host),
                Roles::None => {}
            }
        }
        let silent = self.silent_peer(world);
        let observers = self.settle_undirected(
            world,
            direction,
            silent.is_some(),
            (&mut senders, &mut forwarders, &mut receivers),
        );
        // Two captures alone, and one of them shows nothing of the flow: it is the other end's.
        if let Some(peer) = silent {
            let (near, far) = match direction {
                Direction::ToServer => (&mut senders, &mut receivers),
                Direction::ToClient => (&mut receivers, &mut senders),
            };
            if far.is_empty() {
                far.push(peer);
            } else if near.is_empty() {
                near.push(peer);
            }
        }
        // Behind a translation packets go to whoever has the address that they carry then.
        if receivers.is_empty() {
            receivers.extend(
                targets
                    .into_iter()
                    .filter(|host| !forwarders.contains(host)),
            );
        }
        let sender = senders.first().copied();
        let receiver = receivers.first().copied();
        let planned = sender
            .map(|sender| hops(world, sender, tuple))
            .unwrap_or_default();
        for &hop in &planned {
            let known = forwarders.contains(&hop) || Some(hop) == sender || Some(hop) == receiver;
            if !known {
                forwarders.push(hop);
            }
        }
        forwarders.retain(|&host| Some(host) != sender && Some(host) != receiver);
        forwarders.sort_by_key(|host| {
            let planned = planned
                .iter()
                .position(|hop| hop == host)
                .unwrap_or(usize::MAX);
            let first = self
                .tallies(*host, direction)
                .map(|(_, tally)| tally.first)
                .min();
            (planned, first.unwrap_or(Timestamp::MAX))
        });
        let mut nodes = Vec::new();
        nodes.extend(sender.map(|host| (host, Role::Sender)));
        nodes.extend(forwarders.into_iter().map(|host| {
            let role = match observers.contains(&host) {
                true => Role::Observer,
                false => Role::Forwarder,
            };
            (host, role)
        }));
        nodes.extend(receiver.map(|host| (host, Role::Receiver)));
        nodes
    }

    /// Whether an address of the flow is the host's own. Every host has loopback addresses: a flow between them is at home
    /// only where it was captured, or where a socket has it.
    fn owns(&self, world: &World<'_>, host: usize, address: IpAddr) -> Option<bool> {
        if !plain(address).is_loopback() {
            return world.owns(host, address);
        }
        if self.seen.is_empty() {
            let Tuple {
                protocol,
                source,
                destination,
            } = self.tuple;
            return Some(!sockets(world, host, source, destination, protocol).is_empty());
        }
        Some(self.seen.iter().any(|seen| seen.host == host))
    }

    /// The one host with a capture, of unknown addresses, that saw nothing of the flow.
    fn silent_peer(&self, world: &World<'_>) -> Option<usize> {
        let mut silent = world.hosts().filter(|&host| {
            let captured = world
                .host(host)
                .captures
                .iter()
                .any(|capture| capture.point.is_none());
            captured
                && !self.seen.iter().any(|seen| seen.host == host)
                && world.owns(host, self.tuple.destination.address).is_none()
        });
        let only = silent.next()?;
        silent.next().is_none().then_some(only)
    }

    /// The flow's addresses (client to server) behind a host that gives the packets to its own address to somebody else.
    fn translated_through(&self, world: &World<'_>, host: usize) -> Option<Tuple> {
        let mut tuples = self
            .seen
            .iter()
            .filter(|seen| seen.host == host)
            .map(|seen| seen.conversation.tuple);
        let arriving = self.tuple_on(host);
        let other = tuples.find(|tuple| *tuple != arriving);
        if world.owns(host, arriving.destination.address) != Some(true) {
            return None;
        }
        let behind = other.unwrap_or_else(|| {
            behind_pre_routing(
                world,
                host,
                arriving,
                None,
                self.last().unwrap_or(Timestamp::MAX),
            )
        });
        (world.owns(host, behind.destination.address) == Some(false)).then_some(behind)
    }

    /// The chain of points that packets of this direction pass.
    pub(crate) fn chain(&self, world: &World<'_>, direction: Direction) -> Chain {
        Chain::new(&world.labels, &self.placement(world, direction))
    }

    /// Packets of a direction that came in, went out, or passed a tap that does not tell.
    fn traffic(&self, host: usize, direction: Direction) -> Traffic {
        let mut traffic = Traffic::default();
        for (seen, tally) in self.tallies(host, direction) {
            if let Some(point) = seen.point {
                traffic.came_in |= Point::receiving().contains(&point);
                traffic.went_out |= Point::sending().contains(&point);
                continue;
            }
            match tally.tap.direction {
                Some(FrameDirection::In) => traffic.came_in = true,
                Some(FrameDirection::Out) => traffic.went_out = true,
                None => traffic.unknown = true,
            }
        }
        traffic
    }

    /// Places the captures that tell neither direction nor addresses; returns those of them of which it stays open what the
    /// host does with the packets.
    fn settle_undirected(
        &self,
        world: &World<'_>,
        direction: Direction,
        silent: bool,
        (senders, forwarders, receivers): (&mut Vec<usize>, &mut Vec<usize>, &mut Vec<usize>),
    ) -> Vec<usize> {
        let undirected = self.undirected(world);
        for hosts in [&mut *senders, &mut *forwarders, &mut *receivers] {
            hosts.retain(|host| !undirected.contains(host));
        }
        let (clients, servers) = match direction {
            Direction::ToServer => (senders, receivers),
            Direction::ToClient => (receivers, senders),
        };
        let ends = self.ends_of(
            &undirected,
            !clients.is_empty(),
            !servers.is_empty(),
            silent,
        );
        let mut observers = Vec::new();
        for (host, end) in ends {
            match end {
                End::Client => clients.push(host),
                End::Server => servers.push(host),
                End::Middle => {
                    forwarders.push(host);
                    let passed_on = self
                        .tallies(host, direction)
                        .any(|(_, tally)| self.is_lowered(host, direction, tally));
                    if !passed_on {
                        observers.push(host);
                    }
                }
            }
        }
        observers
    }

    /// Whether packets have a lower TTL at this tap than at another of the same host: they were captured on their way out.
    fn is_lowered(&self, host: usize, direction: Direction, tally: &Tally) -> bool {
        self.tallies(host, direction)
            .any(|(seen, other)| seen.point.is_none() && other.ttl_first > tally.ttl_first)
    }
}

/// The end that a tap watches; where the capture does not tell, the host's role does.
pub(crate) fn tap_end(tally: &Tally, role: Role) -> TapEnd {
    match (tally.tap.direction, role) {
        (Some(FrameDirection::Out), _) | (None, Role::Sender) => TapEnd::Out,
        (Some(FrameDirection::In), _) | (None, _) => TapEnd::In,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    came_in: bool,
    went_out: bool,
    unknown: bool,
}

enum Roles {
    Sender,
    Receiver,
    Forwarder,
    Both,
    None,
}

/// What a host of unknown addresses does with packets of one direction, by what its taps saw of both: an end sends one way and
/// receives the other, so that who receives both, or passes one on, is no end.
fn role_by_taps(traffic: Traffic, other: Traffic) -> Roles {
    let way = |traffic: Traffic| (traffic.came_in, traffic.went_out);
    match (way(traffic), way(other)) {
        ((true, true), _) | (_, (true, true)) => Roles::Forwarder,
        ((true, false), (true, false)) | ((false, true), (false, true)) => Roles::Forwarder,
        ((true, false), _) | ((false, false), (false, true)) => Roles::Receiver,
        ((false, true), _) | ((false, false), (true, false)) => Roles::Sender,
        ((false, false), (false, false)) => Roles::None,
    }
}

/// What a host does with packets, by what its taps saw, and by whose addresses they carry.
fn role(traffic: Traffic, source: Option<bool>, destination: Option<bool>) -> Roles {
    match (traffic.came_in, traffic.went_out) {
        // What came in by a wire was not sent here, whatever its source says (a martian).
        (true, false) if destination == Some(true) => Roles::Receiver,
        (false, true) if source != Some(false) && destination != Some(true) => Roles::Sender,
        (true, true) if source == Some(true) && destination == Some(true) => Roles::Both,
        (true, true) if source == Some(true) => Roles::Sender,
        (true, true) if destination == Some(true) => Roles::Receiver,
        (true, true) => Roles::Forwarder,
        (true, false) if destination == Some(false) => Roles::Forwarder,
        (false, true) if source == Some(true) && destination == Some(true) => Roles::Both,
        (false, true) => Roles::Forwarder,
        _ => match (source, destination) {
            (Some(true), Some(true)) => Roles::Both,
            (Some(true), _) => Roles::Sender,
            (_, Some(true)) => Roles::Receiver,
            (Some(false), Some(false)) if traffic.unknown => Roles::Forwarder,
            _ => Roles::None,
        },
    }
}

/// Builds the flows of one group: conversations on the same addresses at different times are different flows.
pub(crate) fn split(world: &World<'_>, places: &[Place]) -> Vec<FlowView> {
    let mut flows: Vec<FlowView> = Vec::new();
    let mut all: Vec<Seen> = places
        .iter()
        .filter_map(|place| build(world, place))
        .collect();
    // Who saw the SYN knows who the client is.
    all.sort_by_key(|seen| {
        let by_role = seen.conversation.client_known_by
            == transect_evidence::conversation::ClientKnownBy::Role;
        (!by_role, seen.conversation.first, seen.host)
    });
    for mut seen in all {
        let same = flows.iter_mut().find(|flow| {
            let first = &flow.seen[0].conversation;
            same_flow(first, &seen.conversation)
                && !flow
                    .seen
                    .iter()
                    .any(|old| old.host == seen.host && old.capture == seen.capture)
        });
        match same {
            Some(flow) => {
                if seen.conversation.tuple == flow.tuple.reversed() {
                    turn(&mut seen.conversation);
                }
                flow.seen.push(seen);
            }
            None => flows.push(FlowView {
                tuple: seen.conversation.tuple,
                seen: vec![seen],
            }),
        }
    }
    flows
}

fn build(world: &World<'_>, place: &Place) -> Option<Seen> {
    let capture = world.host(place.host).captures.get(place.capture)?;
    let conversation = capture.ledger.conversation(place.id)?;
    Some(Seen {
        host: place.host,
        capture: place.capture,
        point: capture.point,
        conversation,
    })
}

/// Whether two captures of one five-tuple saw the same connection: by the SYN's sequence number, else by time.
fn same_flow(one: &Conversation, other: &Conversation) -> bool {
    let origin = |conversation: &Conversation| {
        conversation
            .to_server
            .from_syn
            .then_some(conversation.to_server.origin)
            .flatten()
    };
    match (origin(one), origin(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.first <= other.last && other.first <= one.last,
    }
}

/// Turns a conversation round whose capture took the server for the client.
fn turn(conversation: &mut Conversation) {
    conversation.tuple = conversation.tuple.reversed();
    std::mem::swap(&mut conversation.to_server, &mut conversation.to_client);
    for tally in &mut conversation.tallies {
        tally.direction = tally.direction.reversed();
    }
    for error in &mut conversation.errors {
        error.direction = error.direction.reversed();
    }
}

/// Joins flows that are one behind address translation: TCP keeps its sequence numbers through NAT, and a SYN's is as good
/// as unique within seconds.
pub(crate) fn join_translated(world: &World<'_>, flows: Vec<FlowView>) -> Vec<FlowView> {
    let mut joined: Vec<FlowView> = Vec::new();
    let mut by_origin: HashMap<u32, usize> = HashMap::new();
    for flow in flows {
        let conversation = &flow.seen[0].conversation;
        let origin = (flow.is_tcp() && conversation.to_server.from_syn)
            .then_some(conversation.to_server.origin)
            .flatten()
            .map(|sequence| sequence.0);
        let earlier = origin.and_then(|origin| by_origin.get(&origin).copied());
        match earlier {
            Some(at) if near(&joined[at], &flow) => {
                let first = &mut joined[at];
                // The client's own addresses are those with which it first appeared.
                if starts_earlier(world, &flow, first) {
                    first.tuple = flow.tuple;
                }
                first.seen.extend(flow.seen);
            }
            _ => {
                if let Some(origin) = origin {
                    by_origin.insert(origin, joined.len());
                }
                joined.push(flow);
            }
        }
    }
    joined
}

fn near(one: &FlowView, other: &FlowView) -> bool {
    let share_an_end = one.tuple.source.address == other.tuple.source.address
        || one.tuple.destination.address == other.tuple.destination.address
        || one.tuple.source.port == other.tuple.source.port
        || one.tuple.destination.port == other.tuple.destination.port;
    share_an_end && one.tuple.protocol == other.tuple.protocol
}

/// Whether `flow` is the client's view rather than `than`: its source is an address of a host that sent it, else it is older.
fn starts_earlier(world: &World<'_>, flow: &FlowView, than: &FlowView) -> bool {
    let is_client = |flow: &FlowView| {
        flow.seen.iter().any(|seen| {
            world.owns(seen.host, flow.tuple.source.address) == Some(true)
                && !seen.conversation.tallies.iter().any(|tally| {
                    tally.direction == Direction::ToServer
                        && tally.tap.direction == Some(FrameDirection::In)
                })
        })
    };
    match (is_client(flow), is_client(than)) {
        (true, false) => true,
        (false, true) => false,
        _ => flow.first() < than.first(),
    }
}

/// The socket of a flow's end on a host, at every reading.
pub(crate) fn sockets<'e>(
    world: &World<'e>,
    host: usize,
    local: Endpoint,
    peer: Endpoint,
    transport: u8,
) -> Vec<(Timestamp, &'e Socket)> {
    let wanted = match transport {
        protocol::TCP => SocketProtocol::Tcp,
        protocol::UDP => SocketProtocol::Udp,
        _ => return Vec::new(),
    };
    let is = |end: &transect_config::SocketAddress, wanted: Endpoint| {
        end.port == Some(wanted.port) && end.address.map(plain) == Some(plain(wanted.address))
    };
    world
        .sockets(host)
        .filter(|(_, socket)| {
            socket.protocol == wanted && is(&socket.local, local) && is(&socket.peer, peer)
        })
        .collect()
}

/// An IPv4 address that a dual-stack socket shows as `::ffff:192.0.2.1`, as IPv4.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}
