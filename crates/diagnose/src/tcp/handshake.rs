//! The handshake: SYNs and SYN-ACKs that went missing, and a last ACK that the server did not take.

use std::time::Duration;

use transect_config::SocketState;
use transect_evidence::conversation::Tally;
use transect_path::{Direction, Edge, Outcome, Point, Symptom, Timestamp, What};

use super::Tcp;
use crate::case::Suspicion;
use crate::chain::Role;
use crate::fate::Fate;
use crate::flow::{Seen, TapEnd};
use crate::suspect::{Draft, Sighting, by_class, flow_window, notes};
use crate::world::Window;

impl Tcp<'_, '_> {
    /// SYNs without a SYN-ACK, or a SYN-ACK that never reached the client.
    pub(super) fn handshake(&self) -> Fate {
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
    pub(super) fn incomplete_handshake(&self) -> Option<Fate> {
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
}
