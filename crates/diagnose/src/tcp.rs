//! What became of one TCP flow: the handshake, the bytes of both directions, and what the sockets of both ends say.

mod handshake;
mod outflow;
mod pending;
mod recovered;
mod translation;
mod unacknowledged;

use transect_config::Socket;
use transect_path::{Direction, Misled, Outcome, Symptom, Timestamp, What};

use crate::chain::Role;
use crate::fate::{self, Fate};
use crate::flow::{FlowView, sockets};
use crate::world::World;
use crate::{refusal, stall};

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
        if let Some(fate) = self.lost_translation() {
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

    fn captured(&self, host: usize) -> bool {
        self.world
            .host(host)
            .captures
            .iter()
            .any(|capture| capture.point.is_none())
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
