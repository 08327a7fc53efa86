//! From the captures of one flow to a suspicion: how many packets of a class each tap saw, and so between which edges the
//! missing ones died.

use std::time::Duration;

use transect_evidence::conversation::{Note, Tally};
use transect_packet::{Tuple, protocol};
use transect_path::{Direction, Edge, Point, Timestamp, What};
use transect_walk::routing::{RouteDecision, RouteQuery, route};

use crate::case::{Passage, Sample, Suspicion};
use crate::chain::{Bracket, Chain, Meter, Role};
use crate::flow::{FlowView, Seen, TapEnd};
use crate::nat::behind_pre_routing;
use crate::world::{Window, World, count, ip_counter};

/// What one tap saw of the class in question.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sighting {
    pub(crate) count: u64,
    /// When each was seen, as far as remembered.
    pub(crate) times: Vec<Timestamp>,
}

/// Counts the class in question at one tap; None: this tap cannot tell.
pub(crate) type Count<'c> = dyn Fn(&Seen, &Tally) -> Option<Sighting> + 'c;

/// Counts packets by their class.
pub(crate) fn by_class(what: What) -> impl Fn(&Seen, &Tally) -> Option<Sighting> {
    move |_, tally| {
        Some(Sighting {
            count: u64::from(tally.counts.of(what)),
            times: notes(tally, |note| note.what == what),
        })
    }
}

/// The times of the notes that fit.
pub(crate) fn notes(tally: &Tally, fits: impl Fn(&Note) -> bool) -> Vec<Timestamp> {
    tally
        .notes
        .iter()
        .filter(|note| fits(note))
        .map(|note| note.time)
        .collect()
}

/// A suspicion under construction, before a bracket is drawn.
pub(crate) struct Draft<'w, 'v> {
    world: &'w World<'w>,
    view: &'v FlowView,
    what: What,
    direction: Direction,
    nodes: Vec<(usize, Role)>,
    chain: Chain,
    pub(crate) meters: Vec<Meter>,
    /// How many were sent, as far as any tap saw.
    pub(crate) sent: u64,
    times: Vec<Timestamp>,
    window: Option<Window>,
    /// See [`Suspicion::former`].
    pub(crate) former: Option<(usize, Tuple)>,
}

impl<'w, 'v> Draft<'w, 'v> {
    /// Reads every tap on the way of this direction.
    pub(crate) fn new(
        world: &'w World<'w>,
        view: &'v FlowView,
        what: What,
        direction: Direction,
        counter: &Count<'_>,
    ) -> Self {
        let nodes = view.placement(world, direction);
        let chain = Chain::new(&world.labels, &nodes);
        let mut draft = Draft {
            world,
            view,
            what,
            direction,
            nodes: nodes.clone(),
            chain,
            meters: Vec::new(),
            sent: 0,
            times: Vec::new(),
            window: None,
            former: None,
        };
        for &(host, role) in &nodes {
            if role != Role::Sender {
                draft.tap(host, role, TapEnd::In, Point::TapIn, counter);
            }
            if !matches!(role, Role::Receiver | Role::Observer) {
                draft.tap(host, role, TapEnd::Out, Point::TapOut, counter);
            }
            draft.elsewhere(host, counter);
        }
        draft
    }

    /// The class that this draft is about.
    fn noun(&self) -> &'static str {
        noun(self.what)
    }

    /// Reads the taps at one end of a host.
    fn tap(&mut self, host: usize, role: Role, end: TapEnd, point: Point, counter: &Count<'_>) {
        let Some(position) = self.chain.position(Some(host), Edge::left(point)) else {
            return;
        };
        let tallies = self.view.at(host, role, end, self.direction);
        let best = tallies
            .iter()
            .filter_map(|(seen, tally)| Some((counter(seen, tally)?, *seen, *tally)))
            .max_by_key(|(sighting, _, _)| sighting.count);
        let at_link_layer = |capture: &&transect_evidence::Capture| capture.point.is_none();
        if best.is_none()
            && !self
                .world
                .host(host)
                .captures
                .iter()
                .any(|capture| at_link_layer(&capture))
        {
            return;
        }
        // Captures of one interface cannot speak for the others unless they say which way packets went.
        if best.is_none() && !tallies.is_empty() {
            return;
        }
        let device = self
            .view
            .interface(self.world, host, role, end, self.direction);
        let sighting = best.map(|(sighting, ..)| sighting).unwrap_or_default();
        let complete = capture_is_complete(self.world, self.view, host, self.direction);
        let name = self
            .world
            .meter(host, "capture", device.as_deref().unwrap_or(""));
        let verb = match (role, end) {
            (Role::Observer, _) => "were captured",
            (_, TapEnd::In) => "arrived",
            (_, TapEnd::Out) => "left",
        };
        let says = format!("{} {verb}", count(sighting.count, self.noun()));
        self.note(position, sighting, complete, name, says);
    }

    /// Reads captures that were taken elsewhere than at the link layer.
    fn elsewhere(&mut self, host: usize, counter: &Count<'_>) {
        let mut found = Vec::new();
        for (seen, tally) in self.view.tallies(host, self.direction) {
            let Some(point) = seen.point else { continue };
            let Some(position) = self.chain.position(Some(host), Edge::left(point)) else {
                continue;
            };
            let Some(sighting) = counter(seen, tally) else {
                continue;
            };
            let file = &self.world.host(host).captures[seen.capture].name;
            let says = format!("{} passed {point}", count(sighting.count, self.noun()));
            found.push((
                position,
                sighting,
                self.world.meter(host, "capture", file),
                says,
            ));
        }
        for (position, sighting, name, says) in found {
            self.note(position, sighting, true, name, says);
        }
    }

    fn note(
        &mut self,
        position: crate::chain::Position,
        sighting: Sighting,
        complete: bool,
        name: String,
        says: String,
    ) {
        self.meters.push(Meter {
            position,
            lo: Some(sighting.count),
            hi: complete.then_some(sighting.count),
            name,
            says,
        });
        self.sent = self.sent.max(sighting.count);
        // The latest tap that saw all of them saw them last.
        if sighting.count > 0 && sighting.count >= self.sent {
            self.times = sighting.times;
        }
    }

    /// States that at least `lo` and at most `hi` passed an edge of a host.
    pub(crate) fn meter(
        &mut self,
        host: usize,
        edge: Edge,
        lo: Option<u64>,
        hi: Option<u64>,
        name: String,
        says: String,
    ) {
        if let Some(position) = self.chain.position(Some(host), edge) {
            self.meters.push(Meter {
                position,
                lo,
                hi,
                name,
                says,
            });
        }
    }

    /// The host that sends packets of this direction, if it was observed.
    pub(crate) fn sender(&self) -> Option<usize> {
        self.nodes
            .first()
            .filter(|node| node.1 == Role::Sender)
            .map(|node| node.0)
    }

    /// The host for which they are, if it was observed.
    pub(crate) fn receiver(&self) -> Option<usize> {
        self.nodes
            .last()
            .filter(|node| node.1 == Role::Receiver)
            .map(|node| node.0)
    }

    /// Sets when the packets were lost, where their own times do not say.
    pub(crate) fn during(&mut self, window: Window) {
        self.window = Some(window);
    }

    fn current_window(&self) -> Window {
        let own = self.times.iter().min().zip(self.times.iter().max());
        let own = own.map(|(&from, &to)| Window { from, to });
        let flow = self
            .view
            .first()
            .zip(self.view.last())
            .map(|(from, to)| Window { from, to });
        self.window.or(own).or(flow).unwrap_or(Window::ALL)
    }

    /// Host-wide counters of the receiving host as upper bounds: packets that IP or TCP did not count did not come there.
    /// Other traffic raises them, so that they bound and prove nothing.
    pub(crate) fn bound_by_counters(&mut self) {
        let Some(host) = self.receiver() else { return };
        let v6 = self.view.tuple.is_ipv6();
        let window = self.current_window();
        // GRO merges data before IP counts it: only a counter that did not move at all bounds data.
        let merged = matches!(self.what, What::Data | What::Fin);
        let mut bounds = vec![
            (ip_counter(v6, "InReceives"), Edge::entered(Point::IpInput)),
            (
                ip_counter(v6, "InDelivers"),
                Edge::entered(Point::TransportInput),
            ),
        ];
        if self.view.tuple.protocol == protocol::TCP {
            bounds.push(("TcpInSegs".to_owned(), Edge::entered(Point::TransportInput)));
        }
        for (name, edge) in bounds {
            let Some(delta) = self.world.delta(host, &name, window) else {
                continue;
            };
            if delta >= self.sent || merged && delta > 0 {
                continue;
            }
            let words = match delta {
                0 => format!("{name} did not move"),
                _ => format!("{name} rose by {delta} only"),
            };
            let meter = self.world.meter(host, "counter", &name);
            self.meter(host, edge, None, Some(delta), meter, words);
        }
    }

    /// Host-wide counters of the sending host as upper bounds, where no tap saw what it sent.
    pub(crate) fn bound_by_output_counters(&mut self) {
        let Some(host) = self.sender() else { return };
        let name = ip_counter(self.view.tuple.is_ipv6(), "OutTransmits");
        let window = self.current_window();
        if self.world.delta(host, &name, window) == Some(0) {
            let meter = self.world.meter(host, "counter", &name);
            let words = format!("{name} did not move");
            self.meter(
                host,
                Edge::entered(Point::Neighbor),
                None,
                Some(0),
                meter,
                words,
            );
        }
    }

    /// Draws the bracket. `lost`: how many are missing, where counted.
    pub(crate) fn finish(self, lost: Option<u64>, certain: bool) -> Suspicion {
        let window = self.current_window();
        let mut meters = self.meters.clone();
        meters.sort_by_key(|meter| meter.position);
        let bracket = Bracket::find(&self.chain, &meters, self.sent.max(1));
        let interfaces: Vec<Passage> = self
            .nodes
            .iter()
            .map(|&(host, role)| passage(&self, host, role))
            .collect();
        let (arriving, routed) = addresses(&self, &interfaces, window);
        let opposite = self.sender().and_then(|host| {
            let back = self.direction.reversed();
            self.view
                .interface(self.world, host, Role::Receiver, TapEnd::In, back)
        });
        let answered = self.nodes.iter().any(|&(host, _)| {
            self.view
                .tallies(host, self.direction.reversed())
                .next()
                .is_some()
        });
        Suspicion {
            what: self.what,
            direction: self.direction,
            lost,
            sample: sample(&self),
            chain: self.chain,
            meters,
            bracket,
            times: self.times,
            window,
            certain,
            needs_proof: false,
            interfaces,
            arriving,
            routed,
            former: self.former,
            opposite,
            answered,
        }
    }
}

/// `SYN`, `datagram`, …: as people call the class.
pub(crate) fn noun(what: What) -> &'static str {
    match what {
        What::Syn => "SYN",
        What::SynAck => "SYN-ACK",
        What::Ack => "ACK",
        What::Data => "segment",
        What::Fin => "FIN",
        What::Rst => "reset",
        What::Datagram => "datagram",
        What::EchoRequest => "echo request",
        What::EchoReply => "echo reply",
        What::Fragment => "fragment",
        What::IcmpError => "ICMP error",
    }
}

/// Whether what a host's captures do not show was not there: the kernel dropped no frames on their way to the file, and no byte
/// was acknowledged that they had not seen (causes.md 2.6).
pub(crate) fn capture_is_complete(
    world: &World<'_>,
    view: &FlowView,
    host: usize,
    direction: Direction,
) -> bool {
    let dropped = world
        .host(host)
        .captures
        .iter()
        .filter(|capture| capture.point.is_none())
        .flat_map(|capture| capture.ledger.interfaces())
        .any(|interface| interface.dropped.is_some_and(|dropped| dropped > 0));
    if dropped {
        return false;
    }
    let end = view
        .tallies(host, direction)
        .filter_map(|(_, tally)| tally.end)
        .max();
    let acknowledged = view
        .tallies(host, direction.reversed())
        .filter_map(|(_, tally)| tally.acknowledged)
        .max();
    match (end, acknowledged) {
        (Some(end), Some(acknowledged)) => acknowledged <= end,
        _ => true,
    }
}

fn passage(draft: &Draft<'_, '_>, host: usize, role: Role) -> Passage {
    let interface = |end| {
        draft
            .view
            .interface(draft.world, host, role, end, draft.direction)
    };
    let tuple = draft.view.directed(draft.direction);
    let route_device = |query: RouteQuery<'_>| {
        let config = draft.world.config(host, draft.current_window())?;
        match &route(config, &query).certain()?.decision {
            RouteDecision::Unicast { device, .. } => Some(device.clone()),
            _ => None,
        }
    };
    // Where no packet shows it, routes do: the way out as looked up, the way in as the way back.
    let input = (role != Role::Sender)
        .then(|| {
            interface(TapEnd::In)
                .or_else(|| route_device(RouteQuery::output(tuple.source.address, None)))
        })
        .flatten();
    let output = (!matches!(role, Role::Receiver | Role::Observer))
        .then(|| {
            let query = match (&input, role) {
                (Some(input), Role::Forwarder) => {
                    RouteQuery::input(tuple.source.address, tuple.destination.address, input)
                }
                _ => RouteQuery::output(tuple.destination.address, Some(tuple.source.address)),
            };
            interface(TapEnd::Out).or_else(|| route_device(query))
        })
        .flatten();
    Passage {
        host,
        input,
        output,
    }
}

/// Addresses by host, where they are not those at the client.
type Translated = Vec<(usize, Tuple)>;

/// The packets' addresses as they come to each host, and as each host routes them, where they are not those at the client.
fn addresses(
    draft: &Draft<'_, '_>,
    interfaces: &[Passage],
    window: Window,
) -> (Translated, Translated) {
    let plain = draft.view.directed(draft.direction);
    let (mut arriving, mut routed) = (Vec::new(), Vec::new());
    for (&(host, role), passage) in draft.nodes.iter().zip(interfaces) {
        let near_client = draft.view.tuple_on(host);
        let of_host = draft.view.seen.iter().filter(|seen| seen.host == host);
        let other = of_host
            .map(|seen| seen.conversation.tuple)
            .find(|tuple| *tuple != near_client)
            .filter(|tuple| draft.former != Some((host, *tuple)));
        let (comes, goes) = match draft.direction {
            Direction::ToServer => {
                let input = passage.input.as_deref();
                let goes = match (other, role) {
                    (Some(other), _) => other,
                    (None, Role::Sender) => near_client,
                    (None, _) => {
                        behind_pre_routing(draft.world, host, near_client, input, window.to)
                    }
                };
                (near_client, goes)
            }
            // Answers come with the addresses of the far side and are translated back.
            Direction::ToClient => (
                other.unwrap_or(near_client).reversed(),
                near_client.reversed(),
            ),
        };
        if comes != plain {
            arriving.push((host, comes));
        }
        if goes != comes {
            routed.push((host, goes));
        }
    }
    (arriving, routed)
}

fn sample(draft: &Draft<'_, '_>) -> Sample {
    // The packets as they were last seen: at the furthest host, on the way in before on the way out.
    let last = draft
        .nodes
        .iter()
        .rev()
        .flat_map(|&(host, _)| draft.view.tallies(host, draft.direction))
        .filter(|(seen, tally)| seen.point.is_none() && tally.counts.of(draft.what) > 0)
        .map(|(_, tally)| tally)
        .next();
    let note = last.and_then(|tally| {
        let fits = |note: &&Note| note.what == draft.what;
        tally
            .notes
            .iter()
            .rev()
            .find(fits)
            .or_else(|| tally.latest_data.as_ref().filter(fits))
    });
    let bits = match draft.what {
        What::Syn => 0x02,
        What::SynAck => 0x12,
        What::Data => 0x18,
        What::Fin => 0x11,
        What::Rst => 0x04,
        _ => 0x10,
    };
    let longest = last
        .map(|tally| tally.longest_packet)
        .filter(|&longest| longest > 0);
    let icmp = match (draft.view.tuple.protocol, draft.what) {
        (protocol::ICMP, What::EchoRequest) => Some((8, 0)),
        (protocol::ICMP, What::EchoReply) => Some((0, 0)),
        (protocol::ICMPV6, What::EchoRequest) => Some((128, 0)),
        (protocol::ICMPV6, What::EchoReply) => Some((129, 0)),
        _ => None,
    };
    Sample {
        tuple: draft.view.directed(draft.direction),
        tcp_flags: draft
            .view
            .is_tcp()
            .then(|| note.map_or(bits, |note| note.flags.0)),
        icmp,
        // A retransmission is one segment; the longest packet may be several, with segmentation offload.
        length: note.map(|note| note.ip_length).or(longest),
        ttl: note
            .map(|note| note.ttl)
            .or(last.map(|tally| tally.ttl_last)),
        dont_fragment: last.is_some_and(|tally| tally.dont_fragment),
        // Where the neighbour changed on the way, the later ones carry the newer address.
        destination_mac: last.and_then(|tally| tally.destination_macs.last().copied()),
    }
}

/// The time from the first to the last packet of a flow, with room for what follows the last one.
pub(crate) fn flow_window(view: &FlowView) -> Window {
    match view.first().zip(view.last()) {
        Some((from, to)) => Window {
            from,
            to: to + Duration::from_millis(50),
        },
        None => Window::ALL,
    }
}
