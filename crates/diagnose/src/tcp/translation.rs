//! A connection whose translation was forgotten on the way: the server knows it by other addresses than those with which its
//! packets come now.

use transect_evidence::conversation::{Conversation, Tally};
use transect_packet::{FrameDirection, Tuple};
use transect_path::{Direction, Edge, Outcome, Point, Symptom, What};

use super::Tcp;
use super::pending::transmissions;
use crate::chain::Role;
use crate::fate::Fate;
use crate::flow::{Seen, TapEnd, sockets};
use crate::suspect::Draft;

impl Tcp<'_, '_> {
    /// Packets that come to the server with the client's own addresses, after it had known the connection by translated ones.
    pub(super) fn lost_translation(&self) -> Option<Fate> {
        let server = self.end(Direction::ToServer)?;
        let former = self.former_tuple(server)?;
        let pending = self.pending(Direction::ToServer)?;
        let (first, stream) = (pending.first, pending.stream);
        let counter = move |seen: &Seen, tally: &Tally| transmissions(seen, tally, &stream, first);
        let (what, symptom) = match pending.is_fin {
            true => (What::Fin, Symptom::FinUnacknowledged),
            false => (What::Data, Symptom::DataUnacknowledged),
        };
        let mut draft = Draft::new(self.world, self.view, what, Direction::ToServer, &counter);
        draft.bound_by_counters();
        draft.former = Some((server, former));
        let now = self.view.tuple;
        let knows = |tuple: Tuple| {
            let (local, peer) = (tuple.destination, tuple.source);
            !sockets(self.world, server, local, peer, tuple.protocol).is_empty()
        };
        if knows(now) {
            return None;
        }
        if knows(former) {
            draft.meter(
                server,
                Edge::left(Point::SocketLookup),
                None,
                Some(0),
                self.world.meter(server, "sockets", ""),
                format!(
                    "the server has the connection with {}, and none with {}",
                    former.source, now.source
                ),
            );
        }
        let lost = Some(pending.transmissions);
        let (outcome, symptom, believes) = match self.client_was_reset() {
            true => (
                Outcome::Refused,
                Symptom::ConnectionReset,
                "the server gave the connection up",
            ),
            false => (
                Outcome::Lost,
                symptom,
                "the server has stopped answering on an open connection",
            ),
        };
        let mut fate = Fate::with(outcome, symptom, vec![draft.finish(lost, true)]);
        self.client_believes(
            &mut fate,
            believes,
            "its packets reach the server with addresses that the server does not know",
        );
        Some(fate)
    }

    /// The addresses by which a host knew the connection before it came with the client's own.
    fn former_tuple(&self, host: usize) -> Option<Tuple> {
        let of_host = || {
            let seen = self.view.seen.iter();
            seen.filter(|seen| seen.host == host && seen.point.is_none())
                .map(|seen| &seen.conversation)
        };
        let came_in = |conversation: &Conversation| {
            conversation
                .tallies_of(Direction::ToServer)
                .any(|tally| tally.tap.direction == Some(FrameDirection::In))
        };
        let known = of_host().find(|conversation| {
            conversation.to_server.from_syn && conversation.tuple != self.view.tuple
        })?;
        let strange = of_host().find(|conversation| {
            conversation.tuple == self.view.tuple && !conversation.to_server.from_syn
        })?;
        (came_in(known) && came_in(strange) && known.first < strange.first).then_some(known.tuple)
    }

    /// Whether a reset came to the client, as far as its capture, or any, shows.
    fn client_was_reset(&self) -> bool {
        match self.end(Direction::ToClient) {
            Some(client) if self.captured(client) => {
                let (direction, what) = (Direction::ToClient, What::Rst);
                self.view
                    .count(client, Role::Receiver, TapEnd::In, direction, what)
                    > 0
            }
            _ => self.view.any(Direction::ToClient, What::Rst) > 0,
        }
    }
}
