//! Bytes and FINs that were sent and never acknowledged: lost themselves, or their acknowledgements were.

use std::time::Duration;

use transect_config::SocketState;
use transect_evidence::conversation::Tally;
use transect_path::{Direction, Edge, Misled, Outcome, Point, Symptom, What};

use super::Tcp;
use super::pending::{Pending, transmissions};
use crate::case::Suspicion;
use crate::chain::Role;
use crate::fate::{self, Fate};
use crate::flow::{Seen, TapEnd};
use crate::suspect::{Draft, Sighting, flow_window};

/// A sender that waits this long without sending again has nothing left to wait for, or has not had the time yet.
const PATIENCE: Duration = Duration::from_millis(900);

impl Tcp<'_, '_> {
    /// Bytes that were sent and never acknowledged, in either direction.
    pub(super) fn unacknowledged(&self) -> Option<Fate> {
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
}

fn other_end(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "server",
        Direction::ToClient => "client",
    }
}
