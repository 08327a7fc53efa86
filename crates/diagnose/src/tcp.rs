//! What became of one TCP flow: the handshake, the bytes of both directions, and what the sockets of both ends say.

use std::time::Duration;

use transect_config::{Socket, SocketState, TimerKind};
use transect_evidence::conversation::{Note, Stream, Tally};
use transect_path::{
    Direction, Edge, HostEdge, Misled, Outcome, Point, Recovered, Symptom, Timestamp, What,
};

use crate::case::Suspicion;
use crate::chain::Role;
use crate::fate::{self, Fate};
use crate::flow::{FlowView, Seen, TapEnd, sockets};
use crate::suspect::{Draft, Sighting, by_class, flow_window, notes};
use crate::world::{Window, World};
use crate::{refusal, stall};

/// A sender that waits this long without sending again has nothing left to wait for, or has not had the time yet.
const PATIENCE: Duration = Duration::from_millis(900);

/// What became of a TCP flow.
pub(crate) fn examine(world: &World<'_>, view: &FlowView) -> Fate {
    let tcp = Tcp::new(world, view);
    let mut fate = tcp.fate();
    if let Some(server) = tcp.end(Direction::ToServer)
        && !matches!(fate.outcome, Outcome::Delivered)
    {
        let already = fate
            .evidence
            .iter()
            .any(|line| line.meter.contains("/log/"));
        if !already {
            fate::processed(world, view, server, Direction::ToServer, &mut fate);
        }
    }
    fate.reached.extend(fate::reached(world, view));
    fate
}

/// One TCP flow under examination.
pub(crate) struct Tcp<'w, 'v> {
    pub(crate) world: &'w World<'w>,
    pub(crate) view: &'v FlowView,
}

/// Bytes of one direction that were sent and not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The first byte (or the FIN) that was never acknowledged: an offset in its stream.
    first: u64,
    /// The end of what was sent.
    end: u64,
    /// How often the first byte was sent, as far as seen.
    transmissions: u64,
    /// When it was sent last.
    last: Option<Timestamp>,
    is_fin: bool,
    /// The stream in which the offsets count.
    stream: Stream,
}

/// What one capture saw sent and not acknowledged.
fn pending_in(seen: &Seen, direction: Direction) -> Option<Pending> {
    let conversation = &seen.conversation;
    let tallies = || conversation.tallies_of(direction);
    let end = tallies().filter_map(|tally| tally.end).max()?;
    let stream = *conversation.stream(direction);
    // Without any acknowledgement everything behind the SYN is open.
    let start = tallies()
        .flat_map(|tally| tally.seen.first())
        .map(|range| range.start)
        .min();
    let first = conversation
        .acknowledged(direction)
        .or(start)
        .unwrap_or_else(|| stream.start());
    if end <= first {
        return None;
    }
    let best = tallies()
        .filter_map(|tally| transmissions(seen, tally, &stream, first))
        .max_by_key(|sighting| sighting.count)?;
    let fin_at = tallies().filter_map(|tally| tally.fin_at).min();
    Some(Pending {
        first,
        end,
        transmissions: best.count,
        last: best
            .times
            .last()
            .copied()
            .or(tallies().map(|tally| tally.last).max()),
        is_fin: fin_at == Some(first),
        stream,
    })
}

impl<'w, 'v> Tcp<'w, 'v> {
    fn new(world: &'w World<'w>, view: &'v FlowView) -> Self {
        Tcp { world, view }
    }

    fn fate(&self) -> Fate {
        if let Some(fate) = refusal::of_connection(self) {
            return fate;
        }
        if !self.is_established() {
            return self.handshake();
        }
        if let Some(fate) = self.incomplete_handshake() {
            return fate;
        }
        if let Some(fate) = stall::window_closed(self) {
            return fate;
        }
        if let Some(fate) = self.unacknowledged() {
            return fate;
        }
        if let Some(fate) = refusal::reset_of_connection(self) {
            return fate;
        }
        if let Some(fate) = stall::application_silent(self) {
            return fate;
        }
        let mut fate = Fate::new(Outcome::Delivered, Symptom::None);
        fate.recovered = self.recovered();
        fate
    }

    /// The observed host at which packets of this direction end.
    pub(crate) fn end(&self, direction: Direction) -> Option<usize> {
        let nodes = self.view.placement(self.world, direction);
        nodes
            .last()
            .filter(|node| node.1 == Role::Receiver)
            .map(|node| node.0)
    }

    /// The client went on after the SYN-ACK, or the capture began later than the connection.
    pub(crate) fn is_established(&self) -> bool {
        let any = |direction, what| self.view.any(direction, what) > 0;
        let syn = any(Direction::ToServer, What::Syn);
        let client_went_on = any(Direction::ToServer, What::Ack)
            || any(Direction::ToServer, What::Data)
            || any(Direction::ToServer, What::Fin);
        if syn {
            client_went_on
        } else {
            !any(Direction::ToClient, What::SynAck)
                && self
                    .view
                    .seen
                    .iter()
                    .any(|seen| !seen.conversation.tallies.is_empty())
                || client_went_on
        }
    }

    /// The sightings of the flow's socket at one end: `Direction::ToServer` means the server's.
    pub(crate) fn sockets_at(&self, direction: Direction) -> Vec<(Timestamp, &'w Socket)> {
        let owner = match direction {
            Direction::ToServer => self.end(Direction::ToServer),
            Direction::ToClient => self.end(Direction::ToClient).or_else(|| {
                let nodes = self.view.placement(self.world, Direction::ToServer);
                nodes
                    .first()
                    .filter(|node| node.1 == Role::Sender)
                    .map(|node| node.0)
            }),
        };
        let Some(host) = owner else { return Vec::new() };
        let tuple = self.view.tuple_on(host);
        let (local, peer) = match direction {
            Direction::ToServer => (tuple.destination, tuple.source),
            Direction::ToClient => (tuple.source, tuple.destination),
        };
        sockets(self.world, host, local, peer, tuple.protocol)
    }

    /// SYNs without a SYN-ACK, or a SYN-ACK that never reached the client.
    fn handshake(&self) -> Fate {
        let world = self.world;
        let answered = self.view.any(Direction::ToClient, What::SynAck) > 0;
        if answered {
            let draft = Draft::new(
                world,
                self.view,
                What::SynAck,
                Direction::ToClient,
                &by_class(What::SynAck),
            );
            let lost = Some(draft.sent);
            let mut suspicion_draft = draft;
            suspicion_draft.bound_by_counters();
            let suspicion = suspicion_draft.finish(lost, true);
            return Fate::with(Outcome::Lost, Symptom::SynUnanswered, vec![suspicion]);
        }
        let mut suspicions = Vec::new();
        let half_open = self.half_open();
        if half_open != Some(true) {
            suspicions.push(self.lost_syns(half_open));
        }
        if self.end(Direction::ToServer).is_some() && self.syn_came_in() {
            suspicions.extend(self.unseen_syn_acks(half_open));
        }
        let only = suspicions.len() == 1;
        for suspicion in &mut suspicions {
            suspicion.certain = only;
        }
        Fate::with(Outcome::Lost, Symptom::SynUnanswered, suspicions)
    }

    /// Whether a SYN was captured on its way into the server.
    fn syn_came_in(&self) -> bool {
        self.end(Direction::ToServer).is_some_and(|server| {
            let captured = self
                .world
                .host(server)
                .captures
                .iter()
                .any(|capture| capture.point.is_none());
            !captured
                || self.view.count(
                    server,
                    Role::Receiver,
                    TapEnd::In,
                    Direction::ToServer,
                    What::Syn,
                ) > 0
        })
    }

    /// Whether the server was seen holding the connection half open; None: its sockets were not read while SYNs came.
    fn half_open(&self) -> Option<bool> {
        let server = self.end(Direction::ToServer)?;
        let seen = self
            .sockets_at(Direction::ToServer)
            .iter()
            .any(|(_, socket)| socket.state == Some(SocketState::SynRecv));
        if seen {
            return Some(true);
        }
        let window = flow_window(self.view);
        // A request socket lives for seconds: one reading right after the first SYN would have shown it.
        let later = Window {
            from: window.from,
            to: window.to + Duration::from_secs(1),
        };
        let cookies = self
            .world
            .delta(server, "TcpExtSyncookiesSent", Window::ALL)
            .unwrap_or(0)
            > 0;
        (self.world.socket_readings(server, later) > 0 && !cookies).then_some(false)
    }

    fn lost_syns(&self, half_open: Option<bool>) -> Suspicion {
        let world = self.world;
        let mut draft = Draft::new(
            world,
            self.view,
            What::Syn,
            Direction::ToServer,
            &by_class(What::Syn),
        );
        draft.bound_by_counters();
        if half_open == Some(false)
            && let Some(server) = draft.receiver()
        {
            draft.meter(
                server,
                Edge::left(Point::SocketInput),
                None,
                Some(0),
                world.meter(server, "sockets", "SYN-RECV"),
                "no half-open connection of this flow was seen".to_owned(),
            );
        }
        if draft.sent == 0
            && let Some(client) = draft.sender()
        {
            // No tap saw a SYN; the socket says that TCP sent at least one.
            draft.meter(
                client,
                Edge::left(Point::TransportOutput),
                Some(1),
                None,
                world.meter(client, "socket", "SYN-SENT"),
                "the client's socket is in SYN-SENT".to_owned(),
            );
            draft.bound_by_output_counters();
            draft.during(Window::ALL);
        }
        let lost = Some(draft.sent).filter(|&sent| sent > 0);
        draft.finish(lost, true)
    }

    /// SYN-ACKs that the server made, or should have made, and that no tap saw.
    fn unseen_syn_acks(&self, half_open: Option<bool>) -> Option<Suspicion> {
        let world = self.world;
        let server = self.end(Direction::ToServer)?;
        let mut draft = Draft::new(
            world,
            self.view,
            What::SynAck,
            Direction::ToClient,
            &by_class(What::SynAck),
        );
        // SYN-ACKs are sent again long after the client has sent its last SYN.
        let from = self.view.first().unwrap_or(Timestamp::MIN);
        draft.during(Window {
            from,
            to: Timestamp::MAX,
        });
        match half_open {
            Some(true) => draft.meter(
                server,
                Edge::left(Point::TransportOutput),
                Some(1),
                None,
                world.meter(server, "sockets", "SYN-RECV"),
                "the server holds the connection half open: TCP took the SYN and answers"
                    .to_owned(),
            ),
            // Without a half-open connection no SYN-ACK came further than to the route look-up.
            Some(false) => draft.meter(
                server,
                Edge::left(Point::RouteOutput),
                None,
                Some(0),
                world.meter(server, "sockets", "SYN-RECV"),
                "no half-open connection of this flow was seen".to_owned(),
            ),
            None => {}
        }
        Some(draft.finish(None, half_open == Some(true)))
    }

    /// The client holds the connection for open and the server does not: the handshake's last ACK was not taken.
    fn incomplete_handshake(&self) -> Option<Fate> {
        if self.view.any(Direction::ToServer, What::Syn) == 0 {
            return None;
        }
        let syn_acks = self.view.any(Direction::ToClient, What::SynAck);
        let server_went_on = [What::Ack, What::Data, What::Fin, What::Rst]
            .iter()
            .any(|&what| self.view.any(Direction::ToClient, what) > 0);
        let server_states: Vec<SocketState> = self
            .sockets_at(Direction::ToServer)
            .iter()
            .filter_map(|(_, socket)| socket.state)
            .collect();
        let never_open = !server_states.is_empty()
            && server_states
                .iter()
                .all(|&state| state == SocketState::SynRecv);
        if server_went_on || syn_acks < 2 && !never_open {
            return None;
        }
        let world = self.world;
        let counter = |_: &Seen, tally: &Tally| {
            let counts = tally.counts;
            let count = u64::from(counts.ack) + u64::from(counts.data) + u64::from(counts.fin);
            Some(Sighting {
                count,
                times: notes(tally, |note| note.what != What::Syn),
            })
        };
        let mut draft = Draft::new(world, self.view, What::Ack, Direction::ToServer, &counter);
        draft.bound_by_counters();
        if never_open && let Some(server) = draft.receiver() {
            draft.meter(
                server,
                Edge::left(Point::SocketInput),
                None,
                Some(0),
                world.meter(server, "sockets", "SYN-RECV"),
                "the server's connection stayed half open".to_owned(),
            );
        }
        draft.during(flow_window(self.view));
        let lost = Some(draft.sent);
        let mut fate = Fate::with(
            Outcome::Lost,
            Symptom::HandshakeIncomplete,
            vec![draft.finish(lost, true)],
        );
        self.client_believes(
            &mut fate,
            "the connection is open",
            "the server has not accepted it",
        );
        Some(fate)
    }

    /// Bytes that were sent and never acknowledged, in either direction.
    fn unacknowledged(&self) -> Option<Fate> {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let Some(pending) = self.pending(direction) else {
                continue;
            };
            if !self.is_given_up(direction, &pending) {
                continue;
            }
            return Some(self.lost_bytes(direction, pending));
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            if let Some(fate) = self.unseen_bytes(direction) {
                return Some(fate);
            }
        }
        let unfinished = [Direction::ToServer, Direction::ToClient]
            .iter()
            .any(|&direction| self.pending(direction).is_some());
        unfinished.then(|| {
            let mut fate = Fate::new(Outcome::Undetermined, Symptom::Unfinished);
            fate.recovered = self.recovered();
            fate
        })
    }

    /// What was sent and not acknowledged, as the sender's end saw it (else as any tap did).
    fn pending(&self, direction: Direction) -> Option<Pending> {
        let sender = self
            .end(direction.reversed())
            .filter(|&host| self.captured(host));
        let captures = || {
            let at_sender = move |seen: &&Seen| sender.is_none_or(|host| seen.host == host);
            self.view
                .seen
                .iter()
                .filter(|seen| seen.point.is_none())
                .filter(at_sender)
        };
        captures()
            .filter_map(|seen| pending_in(seen, direction))
            .max_by_key(|pending| pending.transmissions)
    }

    fn captured(&self, host: usize) -> bool {
        self.world
            .host(host)
            .captures
            .iter()
            .any(|capture| capture.point.is_none())
    }

    /// Whether the sender has tried again, or has had the time for it, so that this is a loss and not just the end of the capture.
    fn is_given_up(&self, direction: Direction, pending: &Pending) -> bool {
        let again = pending.transmissions >= 2;
        let until = self
            .world
            .evidence
            .window
            .map(|(_, end)| end)
            .or(self.view.last());
        let waited = pending
            .last
            .zip(until)
            .is_some_and(|(last, until)| until.since(last) >= PATIENCE);
        // A reset or the peer's end makes open bytes moot.
        let reset = self.view.any(direction.reversed(), What::Rst) > 0
            || self.view.any(direction, What::Rst) > 0;
        again || waited && !reset
    }

    /// Captured bytes that were never acknowledged: lost themselves, or their acknowledgements were.
    fn lost_bytes(&self, direction: Direction, pending: Pending) -> Fate {
        let world = self.world;
        let what = if pending.is_fin {
            What::Fin
        } else {
            What::Data
        };
        let first = pending.first;
        let stream = pending.stream;
        let counter = move |seen: &Seen, tally: &Tally| transmissions(seen, tally, &stream, first);
        let symptom = match pending.is_fin {
            true => Symptom::FinUnacknowledged,
            false => Symptom::DataUnacknowledged,
        };
        let mut draft = Draft::new(world, self.view, what, direction, &counter);
        draft.bound_by_counters();
        // One segment again and again can be counted; a window full of them cannot, with offload in between.
        let longest = self
            .view
            .seen
            .iter()
            .flat_map(|seen| &seen.conversation.tallies)
            .filter(|tally| tally.direction == direction)
            .map(|tally| u64::from(tally.longest_packet))
            .max()
            .unwrap_or(0);
        let lost = (pending.end - first <= longest).then_some(pending.transmissions);
        let receiver = self
            .end(direction)
            .filter(|&host| !self.captured(host) || self.came_in(host, direction, &counter));
        let Some(receiver) = receiver else {
            return Fate::with(Outcome::Lost, symptom, vec![draft.finish(lost, true)]);
        };
        if self.acknowledged_at(receiver, direction, first) {
            let suspicion = self.lost_acks(direction, first);
            return Fate::with(Outcome::Lost, symptom, vec![suspicion]);
        }
        let mut fate = Fate::new(Outcome::Lost, symptom);
        let logged = direction == Direction::ToServer
            && fate::processed(world, self.view, receiver, direction, &mut fate);
        let received = logged || self.received_by_socket(direction, first);
        let silent = self.unseen_outflow(direction.reversed(), true);
        match (received, silent) {
            (true, Some(mut outflow)) => {
                outflow.certain = true;
                fate.suspicions.push(outflow);
            }
            (_, outflow) => {
                if self.not_received_by_socket(direction, first) {
                    draft.meter(
                        receiver,
                        Edge::left(Point::ReceiveBuffer),
                        None,
                        Some(0),
                        world.meter(receiver, "socket", ""),
                        "the receiving socket has not got these bytes".to_owned(),
                    );
                    fate.suspicions.push(draft.finish(lost, true));
                } else {
                    fate.suspicions.push(draft.finish(lost, false));
                    fate.suspicions.extend(outflow);
                }
            }
        }
        if received {
            // Only a log shows that the application had it; a socket shows that TCP had.
            let (thing, truth) = match logged {
                true => (
                    "request",
                    "the request was received and processed; the answer was lost on its way back",
                ),
                false => (
                    "data",
                    "TCP there has received the data; what it sent back did not arrive",
                ),
            };
            if let Some(host) = self.end(direction.reversed()) {
                fate.misled.push(Misled {
                    host: world.labels[host].clone(),
                    believes: format!("the {} has not received the {thing}", other_end(direction)),
                    truth: truth.to_owned(),
                });
            }
        }
        fate
    }

    /// Whether a tap on the way into a host saw the packets that the counter counts.
    fn came_in(
        &self,
        host: usize,
        direction: Direction,
        counter: &dyn Fn(&Seen, &Tally) -> Option<Sighting>,
    ) -> bool {
        let tallies = self.view.at(host, Role::Receiver, TapEnd::In, direction);
        tallies
            .into_iter()
            .any(|(seen, tally)| counter(seen, tally).is_some_and(|sighting| sighting.count > 0))
    }

    /// Whether a tap on the way out of the receiver saw the byte acknowledged.
    fn acknowledged_at(&self, receiver: usize, direction: Direction, first: u64) -> bool {
        let out = self
            .view
            .at(receiver, Role::Sender, TapEnd::Out, direction.reversed());
        out.into_iter()
            .any(|(_, tally)| tally.acknowledged.is_some_and(|next| next > first))
    }

    /// Acknowledgements that left the receiver and did not come to the sender.
    fn lost_acks(&self, direction: Direction, first: u64) -> Suspicion {
        let counter = move |_: &Seen, tally: &Tally| {
            let acknowledges = tally.acknowledged.is_some_and(|next| next > first);
            Some(Sighting {
                count: u64::from(acknowledges),
                times: vec![tally.last],
            })
        };
        let mut draft = Draft::new(
            self.world,
            self.view,
            What::Ack,
            direction.reversed(),
            &counter,
        );
        draft.during(flow_window(self.view));
        draft.finish(None, true)
    }

    /// Whether the receiving socket says that it has the byte.
    fn received_by_socket(&self, direction: Direction, first: u64) -> bool {
        self.sockets_at(direction).iter().any(|(_, socket)| {
            let bytes = socket.tcp.as_ref().and_then(|tcp| tcp.bytes_received);
            bytes.is_some_and(|bytes| bytes >= first)
                || socket.recv_queue >= first && socket.state == Some(SocketState::Established)
        })
    }

    /// Whether the receiving socket, read after the byte had come to the host, says that it has not got it.
    fn not_received_by_socket(&self, direction: Direction, first: u64) -> bool {
        let last_sent = self.pending(direction).and_then(|pending| pending.last);
        self.sockets_at(direction).iter().any(|(time, socket)| {
            let bytes = socket
                .tcp
                .as_ref()
                .map(|tcp| tcp.bytes_received.unwrap_or(0));
            last_sent.is_some_and(|sent| *time > sent) && bytes.is_some_and(|bytes| bytes < first)
        })
    }

    /// Bytes, FINs or acknowledgements that an end sends and that its own tap does not show.
    ///
    /// `answer`: the end is known to have something to answer, so that even without a full send queue its
    /// acknowledgements are missing.
    fn unseen_outflow(&self, direction: Direction, answer: bool) -> Option<Suspicion> {
        let host = self.end(direction.reversed())?;
        if !self.captured(host) {
            return None;
        }
        let world = self.world;
        let stuck = self.stuck(direction);
        if stuck.is_none() && !answer {
            return None;
        }
        let what = match stuck {
            Some(Stuck::Data) => What::Data,
            Some(Stuck::Fin) => What::Fin,
            None => self.answered_what(host),
        };
        let none = |_: &Seen, _: &Tally| Some(Sighting::default());
        let mut draft = Draft::new(world, self.view, what, direction, &none);
        let words = match stuck {
            Some(_) => "the socket sends again and again, and nothing is acknowledged",
            None => "TCP has received and must acknowledge",
        };
        draft.meter(
            host,
            Edge::left(Point::TransportOutput),
            Some(1),
            None,
            world.meter(host, "socket", ""),
            words.to_owned(),
        );
        let from = self.view.first().unwrap_or(Timestamp::MIN);
        draft.during(Window {
            from,
            to: Timestamp::MAX,
        });
        Some(draft.finish(None, stuck.is_some()))
    }

    /// What the end would answer with when no reading of its socket shows it: data when its log says that it processed.
    fn answered_what(&self, host: usize) -> What {
        match fate::log_line(self.world, self.view, host) {
            Some(_) => What::Data,
            None => What::Ack,
        }
    }

    /// Whether the socket that sends this direction retransmits what no tap of its host shows.
    fn stuck(&self, direction: Direction) -> Option<Stuck> {
        let sightings = self.sockets_at(direction.reversed());
        let resends = |socket: &Socket| {
            let tcp = socket.tcp.as_deref();
            let on = socket
                .timer
                .is_some_and(|timer| timer.kind == TimerKind::On && timer.retransmits > 0);
            // A segment that Netfilter refuses (EPERM) was never sent, so TCP probes as if the window were closed; it is not.
            let refused = socket
                .timer
                .is_some_and(|timer| timer.kind == TimerKind::Persist)
                && tcp.is_some_and(|tcp| tcp.snd_wnd.is_some_and(|window| window > 0));
            let again = tcp.is_some_and(|tcp| {
                tcp.retrans_out.unwrap_or(0) > 0 || tcp.backoff.unwrap_or(0) > 0
            });
            on || refused || again
        };
        let mut found = None;
        for (_, socket) in sightings {
            let closing = matches!(
                socket.state,
                Some(SocketState::FinWait1 | SocketState::LastAck | SocketState::Closing)
            );
            let queued = socket.send_queue > 0;
            if (queued || closing) && resends(socket) {
                // The FIN counts as one byte in the send queue.
                let data = socket.send_queue > u64::from(closing);
                found = Some(if data { Stuck::Data } else { Stuck::Fin });
                if data {
                    break;
                }
            }
        }
        found
    }

    /// A sender whose socket is stuck with bytes that its own host's tap never showed.
    fn unseen_bytes(&self, direction: Direction) -> Option<Fate> {
        let sender = self.end(direction.reversed())?;
        if !self.captured(sender) {
            return None;
        }
        let stuck = self.stuck(direction)?;
        let suspicion = self.unseen_outflow(direction, false)?;
        let symptom = match stuck {
            Stuck::Data => Symptom::DataUnacknowledged,
            Stuck::Fin => Symptom::FinUnacknowledged,
        };
        Some(Fate::with(Outcome::Lost, symptom, vec![suspicion]))
    }

    /// What was lost and sent again, by class and direction.
    fn recovered(&self) -> Vec<Recovered> {
        let mut all = Vec::new();
        for direction in [Direction::ToServer, Direction::ToClient] {
            let nodes = self.view.placement(self.world, direction);
            let sender = nodes.first().filter(|node| node.1 == Role::Sender).copied();
            let receiver = nodes
                .last()
                .filter(|node| node.1 == Role::Receiver)
                .copied();
            for what in [What::Syn, What::SynAck, What::Data] {
                let again = |at: Option<(usize, Role)>, end| -> Option<u64> {
                    let (host, role) = at?;
                    let tallies = self.view.at(host, role, end, direction);
                    tallies
                        .iter()
                        .map(|(_, tally)| sent_again(tally, what))
                        .max()
                };
                let at_sender = again(sender, TapEnd::Out);
                let at_receiver = again(receiver, TapEnd::In);
                let anywhere = self
                    .view
                    .seen
                    .iter()
                    .flat_map(|seen| &seen.conversation.tallies)
                    .filter(|tally| tally.direction == direction)
                    .map(|tally| sent_again(tally, what))
                    .max()
                    .unwrap_or(0);
                // What came twice was sent again without need: no loss.
                let packets = at_sender
                    .unwrap_or(anywhere)
                    .saturating_sub(match at_sender {
                        Some(_) => at_receiver.unwrap_or(0),
                        None => 0,
                    });
                if packets == 0 {
                    continue;
                }
                let between =
                    at_sender
                        .and(at_receiver)
                        .and(sender)
                        .zip(receiver)
                        .map(|(from, to)| {
                            [
                                HostEdge::new(
                                    self.world.labels[from.0].clone(),
                                    Edge::left(Point::TapOut),
                                ),
                                HostEdge::new(
                                    self.world.labels[to.0].clone(),
                                    Edge::left(Point::TapIn),
                                ),
                            ]
                        });
                all.push(Recovered {
                    what,
                    direction,
                    packets,
                    between,
                });
            }
        }
        all
    }

    fn client_believes(&self, fate: &mut Fate, believes: &str, truth: &str) {
        if let Some(client) = self.end(Direction::ToClient) {
            fate.misled.push(Misled {
                host: self.world.labels[client].clone(),
                believes: believes.to_owned(),
                truth: truth.to_owned(),
            });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    Data,
    Fin,
}

fn other_end(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "server",
        Direction::ToClient => "client",
    }
}

/// How often the byte at an offset (or the FIN there) was sent past a tap. Each transmission of one byte is in one segment,
/// however offload cuts the rest. `reference` is the stream in which the offset counts.
fn transmissions(seen: &Seen, tally: &Tally, reference: &Stream, offset: u64) -> Option<Sighting> {
    let stream = seen.conversation.stream(tally.direction);
    let offset = offset.checked_add_signed(reference.shift_to(stream)?)?;
    let is_fin = tally.fin_at == Some(offset);
    if !is_fin && !tally.seen.iter().any(|range| range.contains(&offset)) {
        return Some(Sighting::default());
    }
    let covers = |note: &Note| {
        let Some(start) = stream.offset_near(note.sequence, offset) else {
            return false;
        };
        let end = start.saturating_add(u64::from(note.payload_length));
        (start..end).contains(&offset) || is_fin && note.what == What::Fin
    };
    let mut times = notes(tally, |note| note.again && covers(note));
    let count = 1 + times.len() as u64;
    let first = tally
        .notes
        .iter()
        .chain(&tally.latest_data)
        .find(|note| !note.again && covers(note));
    times.insert(0, first.map_or(tally.first, |note| note.time));
    Some(Sighting { count, times })
}

fn sent_again(tally: &Tally, what: What) -> u64 {
    match what {
        What::Syn => u64::from(tally.counts.syn.saturating_sub(1)),
        What::SynAck => u64::from(tally.counts.syn_ack.saturating_sub(1)),
        _ => u64::from(tally.retransmitted.segments),
    }
}
