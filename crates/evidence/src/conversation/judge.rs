//! What follows from one conversation's tallies alone.

use std::ops::Range;

use transect_path::{Direction, Timestamp, What};

use super::ranges::{length, subtract, union};
use super::{Conversation, Note, Stream, Tally};

/// How far TCP's handshake got, as this capture saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Handshake {
    /// No SYN and no SYN-ACK: the capture started later, or this is not TCP.
    NotSeen,
    /// SYNs without any SYN-ACK.
    SynOnly,
    /// A SYN-ACK, and nothing from the client behind it.
    SynAckOnly,
    /// The client answered the SYN-ACK, or data flowed.
    Complete,
}

impl Conversation {
    /// The bytes of one direction.
    pub const fn stream(&self, direction: Direction) -> &Stream {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// What was seen of one direction, tap by tap.
    pub fn tallies_of(&self, direction: Direction) -> impl Iterator<Item = &Tally> {
        self.tallies
            .iter()
            .filter(move |tally| tally.direction == direction)
    }

    /// The most packets of a class that any tap saw in one direction.
    pub fn most(&self, what: What, direction: Direction) -> u32 {
        self.tallies_of(direction)
            .map(|tally| tally.counts.of(what))
            .max()
            .unwrap_or(0)
    }

    /// Notes of one class and direction, over all taps in the order of time.
    pub fn notes(&self, what: What, direction: Direction) -> Vec<Note> {
        let mut notes: Vec<Note> = self
            .tallies_of(direction)
            .flat_map(|tally| tally.notes.iter().copied())
            .filter(|note| note.what == what)
            .collect();
        notes.sort_by_key(|note| note.time);
        notes
    }

    /// How far the handshake got.
    pub fn handshake(&self) -> Handshake {
        let syn = self.most(What::Syn, Direction::ToServer) > 0;
        let syn_ack = self.most(What::SynAck, Direction::ToClient) > 0;
        let data = self.tallies.iter().any(|tally| !tally.seen.is_empty());
        let answered = self
            .tallies_of(Direction::ToServer)
            .any(|tally| tally.acknowledged.is_some());
        match (syn, syn_ack) {
            (false, false) => Handshake::NotSeen,
            _ if data || (syn_ack && answered) => Handshake::Complete,
            (_, true) => Handshake::SynAckOnly,
            (true, false) => Handshake::SynOnly,
        }
    }

    /// The first reset: which way it went, and when.
    pub fn reset(&self) -> Option<(Direction, Timestamp)> {
        self.tallies
            .iter()
            .flat_map(|tally| tally.notes.iter().map(move |note| (tally.direction, note)))
            .filter(|(_, note)| note.what == What::Rst)
            .map(|(direction, note)| (direction, note.time))
            .min_by_key(|(_, time)| *time)
    }

    /// The highest cumulative acknowledgement of the stream that goes in `direction`, as any tap saw it.
    pub fn acknowledged(&self, direction: Direction) -> Option<u64> {
        self.tallies_of(direction.reversed())
            .filter_map(|tally| tally.acknowledged)
            .max()
    }

    /// The bytes of one direction that any tap saw.
    pub fn seen(&self, direction: Direction) -> Vec<Range<u64>> {
        union(
            self.tallies_of(direction)
                .flat_map(|tally| tally.seen.iter().cloned()),
        )
    }

    /// The bytes of one direction that were seen and never acknowledged, cumulatively or selectively, as far as this capture
    /// goes.
    pub fn unacknowledged(&self, direction: Direction) -> Vec<Range<u64>> {
        let cumulative = self.acknowledged(direction).unwrap_or(0);
        let selective = self
            .tallies_of(direction.reversed())
            .flat_map(|tally| tally.selectively_acknowledged.iter().cloned());
        let acknowledged = union(selective.chain(std::iter::once(0..cumulative)));
        subtract(&self.seen(direction), &acknowledged)
    }

    /// Whether the FIN of one direction was acknowledged; nothing when no FIN was seen.
    pub fn fin_acknowledged(&self, direction: Direction) -> Option<bool> {
        let fin = self
            .tallies_of(direction)
            .filter_map(|tally| tally.fin_at)
            .max()?;
        Some(
            self.acknowledged(direction)
                .is_some_and(|offset| offset > fin),
        )
    }

    /// Whether both FINs were seen and acknowledged.
    pub fn is_closed(&self) -> bool {
        [Direction::ToServer, Direction::ToClient]
            .iter()
            .all(|&direction| self.fin_acknowledged(direction) == Some(true))
    }

    /// Bytes of one direction that the peer acknowledged although no tap of the interface that saw the acknowledgement had
    /// seen them: the capture lost them, or they came by another interface.
    ///
    /// Only data between what was seen counts, from the stream's start as this capture knows it.
    pub fn acked_unseen(&self, direction: Direction) -> u64 {
        let start = self.stream(direction).start();
        let fin = self
            .tallies_of(direction)
            .filter_map(|tally| tally.fin_at)
            .min();
        self.tallies_of(direction.reversed())
            .filter_map(|acks| {
                // The FIN takes one number of the sequence space and is no byte of data.
                let end = acks.acknowledged?.min(fin.unwrap_or(u64::MAX));
                let seen = union(
                    self.tallies_of(direction)
                        .filter(|tally| tally.tap.same_interface(&acks.tap))
                        .flat_map(|tally| tally.seen.iter().cloned()),
                );
                let expected: Vec<_> = std::iter::once(start..end)
                    .filter(|range| !range.is_empty())
                    .collect();
                Some(length(&subtract(&expected, &seen)))
            })
            .max()
            .unwrap_or(0)
    }
}
