//! What became of a flow without connection: UDP, ICMP echo, and any other IP protocol.

use transect_config::SocketProtocol;
use transect_packet::protocol;
use transect_path::{Direction, Edge, Evidence, HostEdge, Outcome, Point, Reached, Symptom, What};

use crate::case::Suspicion;
use crate::fate::{self, Fate};
use crate::flow::FlowView;
use crate::refusal;
use crate::suspect::{Draft, by_class, flow_window};
use crate::world::{Window, World, bounds_line, count};

/// What became of a flow of datagrams or echo requests.
pub(crate) fn examine(world: &World<'_>, view: &FlowView) -> Fate {
    let mut fate = Datagrams::new(world, view).fate();
    fate.reached.extend(fate::reached(world, view));
    fate
}

struct Datagrams<'w, 'v> {
    world: &'w World<'w>,
    view: &'v FlowView,
    /// What goes to the server, what comes back.
    request: What,
    answer: What,
}

impl<'w, 'v> Datagrams<'w, 'v> {
    fn new(world: &'w World<'w>, view: &'v FlowView) -> Self {
        let echo = matches!(view.tuple.protocol, protocol::ICMP | protocol::ICMPV6);
        let (request, answer) = match echo {
            true => (What::EchoRequest, What::EchoReply),
            false => (What::Datagram, What::Datagram),
        };
        Datagrams {
            world,
            view,
            request,
            answer,
        }
    }

    fn fate(&self) -> Fate {
        if let Some(error) = refusal::error(self.view, Direction::ToServer) {
            let mut fate = Fate::new(Outcome::Refused, Symptom::Unreachable);
            refusal::tell(self.world, self.view, false, Some(error), &mut fate);
            let mut draft = self.draft(Direction::ToServer);
            draft.bound_by_counters();
            refusal::end_at_refuser(self.world, self.view, &mut draft, false, Some(error));
            // ICMP errors are rate-limited (H7): their number is not that of the lost.
            let lost = Some(draft.sent).filter(|&sent| sent > 0);
            fate.suspicions.push(draft.finish(lost, true));
            return fate;
        }
        let requests = self.missing(Direction::ToServer);
        if let Some(suspicion) = requests {
            let symptom = self.unanswered_or(Symptom::DatagramsMissing);
            return self.with_hidden(Fate::with(Outcome::Lost, symptom, vec![suspicion]));
        }
        for (direction, what) in [
            (Direction::ToServer, What::Fragment),
            (Direction::ToClient, self.answer),
            (Direction::ToClient, What::Fragment),
        ] {
            if let Some(suspicion) = self.missing_of(direction, what) {
                let symptom = self.unanswered_or(Symptom::DatagramsMissing);
                return Fate::with(Outcome::Lost, symptom, vec![suspicion]);
            }
        }
        let sent = self.view.any(Direction::ToServer, self.request);
        let answers = self.view.any(Direction::ToClient, self.answer);
        if answers >= sent.max(1) {
            let mut fate = self.with_hidden(Fate::new(Outcome::Delivered, Symptom::None));
            fate.suspicions.extend(self.untaken(answers));
            return fate;
        }
        self.unanswered(sent, answers)
    }

    fn draft(&self, direction: Direction) -> Draft<'w, 'v> {
        let what = if direction == Direction::ToServer {
            self.request
        } else {
            self.answer
        };
        self.draft_of(direction, what)
    }

    fn draft_of(&self, direction: Direction, what: What) -> Draft<'w, 'v> {
        Draft::new(self.world, self.view, what, direction, &by_class(what))
    }

    /// Requests that one tap saw and a later one did not.
    fn missing(&self, direction: Direction) -> Option<Suspicion> {
        self.missing_of(direction, self.request)
    }

    /// Answers that came to the client's host, and that it may have dropped itself: no tap is behind its rules.
    fn untaken(&self, answers: u64) -> Option<Suspicion> {
        let draft = self.draft(Direction::ToClient);
        draft.receiver()?;
        let mut suspicion = draft.finish(Some(answers), false);
        suspicion.needs_proof = true;
        Some(suspicion)
    }

    /// Packets of a class that one tap saw and a later one did not.
    fn missing_of(&self, direction: Direction, what: What) -> Option<Suspicion> {
        let mut draft = self.draft_of(direction, what);
        if draft.sent == 0 {
            return None;
        }
        let arrived = draft
            .meters
            .iter()
            .filter_map(|meter| Some((meter.position, meter.hi?)))
            .max_by_key(|&(position, _)| position)?;
        let lost = draft.sent.saturating_sub(arrived.1);
        if lost == 0 {
            return None;
        }
        draft.bound_by_counters();
        Some(draft.finish(Some(lost), true))
    }

    fn unanswered_or(&self, partly: Symptom) -> Symptom {
        match self.view.any(Direction::ToClient, self.answer) {
            0 => Symptom::DatagramUnanswered,
            _ => partly,
        }
    }

    /// Every datagram came to the server's host, as far as taps show, and some were not answered.
    fn unanswered(&self, sent: u64, answers: u64) -> Fate {
        let symptom = if answers == 0 {
            Symptom::DatagramUnanswered
        } else {
            Symptom::DatagramsMissing
        };
        let mut draft = self.draft(Direction::ToServer);
        draft.bound_by_counters();
        if let Some(server) = draft.receiver()
            && let Some(meter) = self.consumed(server, sent)
        {
            let mut fate = Fate::new(Outcome::Delivered, Symptom::None);
            fate.reached.push(Reached {
                what: self.request,
                direction: Direction::ToServer,
                point: HostEdge::new(
                    self.world.labels[server].clone(),
                    Edge::left(Point::ReceiveBuffer),
                ),
                meter: meter.meter.clone(),
            });
            fate.evidence.push(meter);
            return self.with_hidden(fate);
        }
        let open = Some(sent - answers.min(sent)).filter(|&open| open > 0);
        let mut suspicions = vec![draft.finish(open, false)];
        let mut back = self.draft(Direction::ToClient);
        if self
            .view
            .tallies(back.sender().unwrap_or(usize::MAX), Direction::ToServer)
            .next()
            .is_some()
        {
            back.during(flow_window(self.view));
            suspicions.push(back.finish(None, false));
        }
        if self.view.any(Direction::ToServer, What::Fragment) > 0 {
            let fragments = self.draft_of(Direction::ToServer, What::Fragment);
            let sent = Some(fragments.sent);
            suspicions.push(fragments.finish(sent, false));
        }
        // Nobody promised an answer: lost only if a cause has evidence of its own.
        Fate::with(Outcome::Undetermined, symptom, suspicions)
    }

    /// A meter that shows that the application's socket took all datagrams: its queue holds them, or UDP delivered as many
    /// and the socket dropped none.
    fn consumed(&self, server: usize, sent: u64) -> Option<Evidence> {
        if self.view.tuple.protocol != protocol::UDP || sent == 0 {
            return None;
        }
        let v6 = self.view.tuple.is_ipv6();
        let window = flow_window(self.view);
        let name = |short: &str| format!("{}{short}", if v6 { "Udp6" } else { "Udp" });
        let delta = |short: &str| self.world.delta(server, &name(short), window);
        let failed = delta("InErrors").unwrap_or(0) + delta("NoPorts").unwrap_or(0);
        let edge = HostEdge::new(
            self.world.labels[server].clone(),
            Edge::left(Point::ReceiveBuffer),
        );
        // InDatagrams is counted when the application reads, exactly as many as came, and nothing else failed.
        if let Some(delivered) =
            delta("InDatagrams").filter(|&delivered| delivered == sent && failed == 0)
        {
            let meter = self.world.meter(server, "counter", &name("InDatagrams"));
            let says = format!(
                "{} were delivered, and none failed",
                count(delivered, "datagram")
            );
            return Some(bounds_line(meter, edge, Some(sent), None, says));
        }
        let tuple = self.view.tuple_on(server);
        let local = (tuple.destination.address, tuple.destination.port);
        let peer = (tuple.source.address, tuple.source.port);
        let waiting = self
            .world
            .sockets(server)
            .map(|(_, socket)| socket)
            .find(|socket| {
                socket.protocol == SocketProtocol::Udp
                    && socket.accepts(local, peer, None)
                    && socket.recv_queue > 0
                    && socket.dropped().unwrap_or(0) == 0
            })?;
        if failed > 0 {
            return None;
        }
        let meter = self
            .world
            .meter(server, "socket", &crate::causes::listener_name(waiting));
        let says = format!(
            "{} bytes wait in the socket's receive queue, and it dropped none",
            waiting.recv_queue
        );
        Some(bounds_line(meter, edge, Some(sent), None, says))
    }

    /// Adds the question whether more was sent than any tap shows: what the sender's own host drops is in no capture.
    fn with_hidden(&self, mut fate: Fate) -> Fate {
        if let Some(suspicion) = self.hidden() {
            fate.suspicions.push(suspicion);
        }
        fate
    }

    fn hidden(&self) -> Option<Suspicion> {
        let v6 = self.view.tuple.is_ipv6();
        let mut draft = self.draft(Direction::ToServer);
        let sender = draft.sender()?;
        let udp = self.view.tuple.protocol == protocol::UDP;
        let refused = if udp {
            if v6 {
                "Udp6SndbufErrors"
            } else {
                "UdpSndbufErrors"
            }
        } else {
            ""
        };
        let discards = if v6 {
            "Ip6OutDiscards"
        } else {
            "IpOutDiscards"
        };
        let lost = [refused, discards]
            .iter()
            .filter_map(|name| Some((*name, self.world.delta(sender, name, Window::ALL)?)))
            .find(|&(_, delta)| delta > 0)?;
        // Who else sends on this host has losses of its own.
        if draft.sent > 0 && !self.is_alone(sender, draft.sent, lost.1) {
            return None;
        }
        let all = draft.sent + lost.1;
        draft.meter(
            sender,
            Edge::left(Point::TransportOutput),
            Some(all),
            None,
            self.world.meter(sender, "counter", lost.0),
            format!(
                "{} rose by {}: the kernel could not send what the program gave it",
                lost.0, lost.1
            ),
        );
        draft.sent = all;
        draft.during(Window::ALL);
        let suspicion = draft.finish(Some(lost.1), false);
        Some(suspicion)
    }

    /// Whether the flow was all that its host sent of this kind: UDP counts what it could send, IP what it was asked to.
    fn is_alone(&self, sender: usize, sent: u64, refused: u64) -> bool {
        let v6 = self.view.tuple.is_ipv6();
        let udp = self.view.tuple.protocol == protocol::UDP;
        let (counter, own) = match (udp, v6) {
            (true, false) => ("UdpOutDatagrams", sent),
            (true, true) => ("Udp6OutDatagrams", sent),
            (false, false) => ("IpOutRequests", sent + refused),
            (false, true) => ("Ip6OutRequests", sent + refused),
        };
        let all = self.world.delta(sender, counter, Window::ALL);
        all.is_some_and(|all| all <= own)
    }
}
