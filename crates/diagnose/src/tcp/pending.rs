//! What was sent and not acknowledged, and how often each tap saw it.

use transect_evidence::conversation::{Note, Stream, Tally};
use transect_path::{Direction, Timestamp, What};

use super::Tcp;
use crate::flow::Seen;
use crate::suspect::{Sighting, notes};

/// Bytes of one direction that were sent and not acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    /// The first byte (or the FIN) that was never acknowledged: an offset in its stream.
    pub(super) first: u64,
    /// The end of what was sent.
    pub(super) end: u64,
    /// How often the first byte was sent, as far as seen.
    pub(super) transmissions: u64,
    /// When it was sent last.
    pub(super) last: Option<Timestamp>,
    pub(super) is_fin: bool,
    /// The stream in which the offsets count.
    pub(super) stream: Stream,
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

/// How often the byte at an offset (or the FIN there) was sent past a tap. Each transmission of one byte is in one segment,
/// however offload cuts the rest. `reference` is the stream in which the offset counts.
pub(super) fn transmissions(
    seen: &Seen,
    tally: &Tally,
    reference: &Stream,
    offset: u64,
) -> Option<Sighting> {
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

impl Tcp<'_, '_> {
    /// What was sent and not acknowledged, as the sender's end saw it (else as any tap did).
    pub(super) fn pending(&self, direction: Direction) -> Option<Pending> {
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
}
