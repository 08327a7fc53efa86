//! What a socket sends, or must send, and its own host's tap does not show: it died before the tap.

use transect_config::{Socket, SocketState, TimerKind};
use transect_evidence::conversation::Tally;
use transect_path::{Direction, Edge, Outcome, Point, Symptom, Timestamp, What};

use super::Tcp;
use crate::case::Suspicion;
use crate::fate::{self, Fate};
use crate::flow::Seen;
use crate::suspect::{Draft, Sighting};
use crate::world::Window;

/// What a socket sends again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    Data,
    Fin,
}

impl Tcp<'_, '_> {
    /// Bytes, FINs or acknowledgements that an end sends and that its own tap does not show.
    ///
    /// `answer`: the end is known to have something to answer, so that even without a full send queue its
    /// acknowledgements are missing.
    pub(super) fn unseen_outflow(&self, direction: Direction, answer: bool) -> Option<Suspicion> {
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
    pub(super) fn unseen_bytes(&self, direction: Direction) -> Option<Fate> {
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
}
