//! What was lost and sent again: TCP at work, no fault of the flow.

use transect_evidence::conversation::Tally;
use transect_path::{Direction, Edge, HostEdge, Point, Recovered, What};

use super::Tcp;
use crate::chain::Role;
use crate::flow::TapEnd;

impl Tcp<'_, '_> {
    /// What was lost and sent again, by class and direction.
    pub(super) fn recovered(&self) -> Vec<Recovered> {
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
}

fn sent_again(tally: &Tally, what: What) -> u64 {
    match what {
        What::Syn => u64::from(tally.counts.syn.saturating_sub(1)),
        What::SynAck => u64::from(tally.counts.syn_ack.saturating_sub(1)),
        _ => u64::from(tally.retransmitted.segments),
    }
}
