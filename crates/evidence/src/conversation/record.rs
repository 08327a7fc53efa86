//! Conversations as they are kept: small, since there may be a million of them. `view` makes the public form.

use std::ops::Range;

use transect_packet::SequenceNumber;
use transect_path::{Direction, Timestamp, What};

use super::chunks::{Chunks, NONE};
use super::error::ErrorRecord;
use super::index::Key;
use super::notes::{Blocks, Chain, Ring};
use super::ranges::RangeSet;
use super::{Note, Repeats, Stream};

/// So many gaps are kept in the record of the bytes that a tap saw.
const SEEN_LIMIT: usize = 256;
/// So many selectively acknowledged ranges are kept.
const SACK_LIMIT: usize = 32;
/// The MAC address is unknown, or there were too many to number.
pub(super) const NO_MAC: u16 = u16::MAX;

/// The addresses of a conversation, client first; IPv6 pairs stand in their own list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pair {
    V4(u32, u32),
    V6(u32),
}

/// A set of bits, by name.
macro_rules! bits {
    ($name:ident: $($bit:ident = $shift:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, Default)]
        pub(super) struct $name(u16);

        impl $name {
            $( pub(super) const $bit: u16 = 1 << $shift; )+

            #[inline]
            pub(super) const fn has(self, bit: u16) -> bool {
                self.0 & bit != 0
            }

            #[inline]
            pub(super) fn set(&mut self, bit: u16) {
                self.0 |= bit;
            }

            #[inline]
            pub(super) fn put(&mut self, bit: u16, value: bool) {
                self.0 = if value { self.0 | bit } else { self.0 & !bit };
            }
        }
    };
}

bits! { Facts:
    FILTERED = 0,
    CLIENT_BY_ROLE = 1,
    CLIENT_BY_ERROR = 2,
    RESET = 3,
    // Data was seen, or the client's answer to the SYN-ACK.
    ESTABLISHED = 4,
    ORIGIN_TO_SERVER = 5,
    ORIGIN_TO_CLIENT = 6,
    SYN_TO_SERVER = 7,
    SYN_TO_CLIENT = 8,
    FIN_TO_SERVER = 9,
    FIN_TO_CLIENT = 10,
}

/// The index of a direction's values in a pair of them.
#[inline]
pub(super) const fn side(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl Facts {
    pub(super) const fn origin(direction: Direction) -> u16 {
        match direction {
            Direction::ToServer => Self::ORIGIN_TO_SERVER,
            Direction::ToClient => Self::ORIGIN_TO_CLIENT,
        }
    }

    pub(super) const fn syn(direction: Direction) -> u16 {
        match direction {
            Direction::ToServer => Self::SYN_TO_SERVER,
            Direction::ToClient => Self::SYN_TO_CLIENT,
        }
    }

    pub(super) const fn fin(direction: Direction) -> u16 {
        match direction {
            Direction::ToServer => Self::FIN_TO_SERVER,
            Direction::ToClient => Self::FIN_TO_CLIENT,
        }
    }
}

/// One conversation. The streams' offsets are those of [`Stream`].
#[derive(Debug, Clone)]
pub(super) struct ConversationRecord {
    pub(super) pair: Pair,
    pub(super) client_port: u16,
    pub(super) server_port: u16,
    pub(super) protocol: u8,
    pub(super) facts: Facts,
    pub(super) origins: [u32; 2],
    /// The highest offset seen or acknowledged in each stream: what sequence numbers are taken relative to.
    pub(super) high: [u64; 2],
    pub(super) tallies: u32,
    pub(super) errors: u32,
}

impl ConversationRecord {
    pub(super) fn stream(&self, direction: Direction) -> Stream {
        Stream {
            origin: self
                .facts
                .has(Facts::origin(direction))
                .then(|| SequenceNumber(self.origins[side(direction)])),
            from_syn: self.facts.has(Facts::syn(direction)),
        }
    }

    #[inline]
    pub(super) fn knows_origin(&self, direction: Direction) -> bool {
        self.facts.has(Facts::origin(direction))
    }

    /// Fixes a stream's origin, unless it is fixed already.
    pub(super) fn learn_origin(
        &mut self,
        direction: Direction,
        origin: SequenceNumber,
        from_syn: bool,
    ) {
        if self.knows_origin(direction) {
            return;
        }
        self.facts.set(Facts::origin(direction));
        self.facts.put(Facts::syn(direction), from_syn);
        self.origins[side(direction)] = origin.0;
        self.high[side(direction)] = if from_syn { 0 } else { Stream::UNKNOWN_START };
    }

    /// How far a sequence number lies from the highest offset known, and its own offset.
    #[inline]
    pub(super) fn place(
        &self,
        direction: Direction,
        sequence: SequenceNumber,
    ) -> Option<(i32, u64)> {
        let side = side(direction);
        let high = self.high[side];
        let expected = SequenceNumber(self.origins[side]) + (high as u32);
        let distance = sequence.offset_from(expected);
        let offset = high.checked_add_signed(i64::from(distance))?;
        Some((distance, offset))
    }

    #[inline]
    pub(super) fn raise(&mut self, direction: Direction, offset: u64) {
        let high = &mut self.high[side(direction)];
        *high = (*high).max(offset);
    }

    /// Both FINs or a RST were seen.
    pub(super) fn is_finished(&self) -> bool {
        self.facts.has(Facts::RESET)
            || (self.facts.has(Facts::FIN_TO_SERVER) && self.facts.has(Facts::FIN_TO_CLIENT))
    }
}

bits! { Marks:
    TO_CLIENT = 0,
    DONT_FRAGMENT = 1,
    // `mss` holds an offer.
    OFFERED_MSS = 2,
    OFFERED_SACK = 3,
    OFFERED_TIMESTAMPS = 4,
    // A SYN or SYN-ACK was seen.
    OFFERED = 5,
    HAS_FIN = 6,
    HAS_DATA = 7,
    HAS_WINDOW = 8,
    // The last window stood in a SYN, where it is not scaled.
    WINDOW_IN_SYN = 9,
    LATEST_AGAIN = 10,
}

/// No window scale was offered.
pub(super) const NO_SCALE: u8 = u8::MAX;

/// The newest segment with data, without what the tally knows anyway.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latest {
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) payload_length: u32,
    /// The IP packet's length less the payload's.
    pub(super) headers: u16,
    pub(super) window: u16,
    pub(super) identification: u16,
    pub(super) flags: u8,
    pub(super) ttl: u8,
}

/// What one tap saw of one direction.
#[derive(Debug, Clone)]
pub(super) struct TallyRecord {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) payload_bytes: u64,
    /// Behind the last byte of data seen.
    pub(super) data_end: u64,
    pub(super) fin_at: u64,
    /// 0: none.
    pub(super) acknowledged: u64,
    pub(super) latest_time: Timestamp,
    pub(super) latest: Latest,
    pub(super) packets: u32,
    /// Data segments; echo requests.
    pub(super) data: u32,
    /// Pure acknowledgements; echo replies.
    pub(super) acks: u32,
    pub(super) longest_packet: u32,
    pub(super) next: u32,
    pub(super) rare: u32,
    pub(super) notes: Chain,
    pub(super) syn: u16,
    pub(super) syn_ack: u16,
    pub(super) fin: u16,
    pub(super) rst: u16,
    pub(super) window: u16,
    pub(super) mss: u16,
    pub(super) tap: u16,
    pub(super) source_mac: u16,
    pub(super) destination_mac: u16,
    pub(super) marks: Marks,
    pub(super) window_scale: u8,
    pub(super) ttl_first: u8,
    pub(super) ttl_last: u8,
}

impl TallyRecord {
    pub(super) fn new(tap: u16, direction: Direction, time: Timestamp) -> Self {
        let mut marks = Marks::default();
        if direction == Direction::ToClient {
            marks.set(Marks::TO_CLIENT);
        }
        TallyRecord {
            first: time,
            last: time,
            payload_bytes: 0,
            data_end: 0,
            fin_at: 0,
            acknowledged: 0,
            latest_time: Timestamp(0),
            latest: Latest::default(),
            packets: 0,
            data: 0,
            acks: 0,
            longest_packet: 0,
            next: NONE,
            rare: NONE,
            notes: Chain::default(),
            syn: 0,
            syn_ack: 0,
            fin: 0,
            rst: 0,
            window: 0,
            mss: 0,
            tap,
            source_mac: NO_MAC,
            destination_mac: NO_MAC,
            marks,
            window_scale: NO_SCALE,
            ttl_first: 0,
            ttl_last: 0,
        }
    }

    #[inline]
    pub(super) fn direction(&self) -> Direction {
        if self.marks.has(Marks::TO_CLIENT) {
            Direction::ToClient
        } else {
            Direction::ToServer
        }
    }

    /// Behind everything seen of the sequence space, SYN and FIN included; 0 when nothing was.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        let syn = u64::from(self.syn > 0 || self.syn_ack > 0);
        let fin = if self.marks.has(Marks::HAS_FIN) {
            self.fin_at.saturating_add(1)
        } else {
            0
        };
        self.data_end.max(fin).max(syn)
    }
}

/// What most conversations never need.
#[derive(Debug, Clone)]
pub(super) struct Rare {
    /// The bytes seen, once they are not one piece from the stream's start on.
    pub(super) seen: Option<RangeSet>,
    pub(super) sacked: RangeSet,
    pub(super) ring: Ring,
    pub(super) retransmitted: Repeats,
    pub(super) late: Repeats,
    pub(super) duplicate_acks: u32,
    pub(super) duplicate_sacks: u32,
    pub(super) stray_acks: u32,
    pub(super) stray_segments: u32,
    pub(super) probes: u32,
    pub(super) zero_windows: u32,
    pub(super) zero_window_last: Timestamp,
    pub(super) fragments: u32,
    pub(super) other_host: u32,
    pub(super) bad_header_checksums: u32,
    pub(super) bad_checksums: u32,
    pub(super) second_source_mac: u16,
    pub(super) second_destination_mac: u16,
}

impl Rare {
    fn new() -> Self {
        Rare {
            seen: None,
            sacked: RangeSet::new(SACK_LIMIT),
            ring: Ring::default(),
            retransmitted: Repeats::default(),
            late: Repeats::default(),
            duplicate_acks: 0,
            duplicate_sacks: 0,
            stray_acks: 0,
            stray_segments: 0,
            probes: 0,
            zero_windows: 0,
            zero_window_last: Timestamp(0),
            fragments: 0,
            other_host: 0,
            bad_header_checksums: 0,
            bad_checksums: 0,
            second_source_mac: NO_MAC,
            second_destination_mac: NO_MAC,
        }
    }
}

/// Every record of a ledger.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) conversations: Chunks<ConversationRecord>,
    pub(super) tallies: Chunks<TallyRecord>,
    pub(super) rares: Chunks<Rare>,
    pub(super) errors: Chunks<ErrorRecord>,
    pub(super) pairs_v6: Chunks<[u128; 2]>,
    pub(super) blocks: Blocks,
    /// The first noted packet's time: packed notes count from there, which makes their first time stamps short.
    epoch: Option<u64>,
}

/// A tally's rare part, made when it is first needed; nothing when there are too many.
#[inline]
pub(super) fn rare<'a>(
    tally: &mut TallyRecord,
    rares: &'a mut Chunks<Rare>,
) -> Option<&'a mut Rare> {
    if tally.rare == NONE {
        tally.rare = rares.push(Rare::new())?;
    }
    rares.get_mut(tally.rare)
}

impl Books {
    /// The conversation's key from the client to the server.
    pub(super) fn key(&self, conversation: u32) -> Option<Key> {
        let record = self.conversations.get(conversation)?;
        let (ipv6, [source, destination]) = match record.pair {
            Pair::V4(client, server) => (false, [u128::from(client), u128::from(server)]),
            Pair::V6(index) => (true, *self.pairs_v6.get(index)?),
        };
        Some(Key {
            protocol: record.protocol,
            ipv6,
            source,
            destination,
            source_port: record.client_port,
            destination_port: record.server_port,
        })
    }

    /// Which way a packet with this key goes in the conversation; nothing where it belongs to another one.
    #[inline]
    pub(super) fn direction_of(&self, conversation: u32, key: &Key) -> Option<Direction> {
        let record = self.conversations.get(conversation)?;
        let [client, server] = match (record.pair, key.ipv6) {
            (Pair::V4(client, server), false) => [u128::from(client), u128::from(server)],
            (Pair::V6(index), true) => *self.pairs_v6.get(index)?,
            _ => return None,
        };
        if record.protocol != key.protocol {
            return None;
        }
        let is = |from: (u128, u16), to: (u128, u16)| {
            from == (key.source, key.source_port) && to == (key.destination, key.destination_port)
        };
        let (client, server) = ((client, record.client_port), (server, record.server_port));
        if is(client, server) {
            Some(Direction::ToServer)
        } else {
            is(server, client).then_some(Direction::ToClient)
        }
    }

    /// A new conversation, whose client is the key's source.
    pub(super) fn open(&mut self, key: &Key, facts: Facts) -> Option<u32> {
        let pair = if key.ipv6 {
            Pair::V6(self.pairs_v6.push([key.source, key.destination])?)
        } else {
            Pair::V4(key.source as u32, key.destination as u32)
        };
        self.conversations.push(ConversationRecord {
            pair,
            client_port: key.source_port,
            server_port: key.destination_port,
            protocol: key.protocol,
            facts,
            origins: [0; 2],
            high: [0; 2],
            tallies: NONE,
            errors: NONE,
        })
    }

    /// The tallies of a conversation, oldest first.
    pub(super) fn tallies(
        &self,
        conversation: &ConversationRecord,
    ) -> impl Iterator<Item = &TallyRecord> {
        let mut at = conversation.tallies;
        std::iter::from_fn(move || {
            let tally = self.tallies.get(at)?;
            at = tally.next;
            Some(tally)
        })
    }

    pub(super) fn rare_of(&self, tally: &TallyRecord) -> Option<&Rare> {
        self.rares.get(tally.rare)
    }

    /// The last packet's time.
    pub(super) fn last(&self, conversation: &ConversationRecord) -> Option<Timestamp> {
        self.tallies(conversation).map(|tally| tally.last).max()
    }

    /// The tally of a tap and direction, made when it is not there yet.
    #[inline]
    pub(super) fn tally(
        &mut self,
        conversation: u32,
        tap: u16,
        direction: Direction,
        time: Timestamp,
    ) -> Option<u32> {
        let first = self.conversations.get(conversation)?.tallies;
        let (mut at, mut last) = (first, NONE);
        while let Some(tally) = self.tallies.get(at) {
            if tally.tap == tap && tally.direction() == direction {
                return Some(at);
            }
            last = at;
            at = tally.next;
        }
        let new = self.tallies.push(TallyRecord::new(tap, direction, time))?;
        match self.tallies.get_mut(last) {
            Some(last) => last.next = new,
            None => self.conversations.get_mut(conversation)?.tallies = new,
        }
        Some(new)
    }

    /// The notes that a tally keeps, in order.
    pub(super) fn notes(&self, tally: &TallyRecord) -> Vec<Note> {
        let epoch = self.epoch.unwrap_or(0);
        let packed = tally.notes.iter(&self.blocks).map(|note| Note {
            time: Timestamp(note.time.0.wrapping_add(epoch)),
            ..note
        });
        let ring = self
            .rare_of(tally)
            .into_iter()
            .flat_map(|rare| rare.ring.iter().copied());
        packed.chain(ring).collect()
    }

    /// Keeps a note: packed, or in the ring once the chain is full.
    pub(super) fn note(&mut self, tally: u32, note: Note) {
        let Some(tally) = self.tallies.get_mut(tally) else {
            return;
        };
        let epoch = *self.epoch.get_or_insert(note.time.0);
        let packed = Note {
            time: Timestamp(note.time.0.wrapping_sub(epoch)),
            ..note
        };
        if !tally.notes.push(&mut self.blocks, &packed)
            && let Some(rare) = rare(tally, &mut self.rares)
        {
            rare.ring.push(note);
        }
    }
}

/// What adding a range of data to a tally found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Added {
    /// Bytes that were seen before.
    pub(super) known: u64,
    /// Bytes that fill a gap before the end of what was seen.
    pub(super) late: u64,
}

/// Adds a range of data to what the tally has seen; `start` is where the stream's data starts.
#[inline]
pub(super) fn add_data(
    tally: &mut TallyRecord,
    rares: &mut Chunks<Rare>,
    start: u64,
    range: Range<u64>,
) -> Added {
    let before = tally.data_end;
    let had_data = tally.marks.has(Marks::HAS_DATA);
    tally.marks.set(Marks::HAS_DATA);
    tally.data_end = before.max(range.end);
    let in_pieces = rares
        .get_mut(tally.rare)
        .and_then(|rare| rare.seen.as_mut());
    if let Some(seen) = in_pieces {
        let known = seen.insert(range.clone());
        return Added {
            known,
            late: (range.end.min(before).saturating_sub(range.start)).saturating_sub(known),
        };
    }
    let whole = if had_data {
        start..before
    } else {
        start..start
    };
    if range.start == whole.end {
        return Added::default();
    }
    if range.start >= whole.start && range.start < whole.end {
        return Added {
            known: whole.end.min(range.end) - range.start,
            late: 0,
        };
    }
    let late = if had_data {
        whole.start.min(range.end).saturating_sub(range.start)
    } else {
        0
    };
    let mut known = 0;
    if let Some(rare) = rare(tally, rares) {
        let mut seen = RangeSet::new(SEEN_LIMIT);
        seen.insert(whole);
        known = seen.insert(range);
        rare.seen = Some(seen);
    }
    Added { known, late }
}

/// Adds one without wrapping around.
#[inline]
pub(super) fn count<T: Counter>(counter: &mut T) {
    counter.step();
}

/// An integer that counts and stops at its maximum.
pub(super) trait Counter {
    fn step(&mut self);
}

impl Counter for u16 {
    #[inline]
    fn step(&mut self) {
        *self = self.saturating_add(1);
    }
}

impl Counter for u32 {
    #[inline]
    fn step(&mut self) {
        *self = self.saturating_add(1);
    }
}

/// The class of a TCP segment.
#[inline]
pub(super) fn class(flags: transect_packet::TcpFlags, payload_length: u32) -> What {
    if flags.rst() {
        What::Rst
    } else if flags.syn() {
        if flags.ack() { What::SynAck } else { What::Syn }
    } else if flags.fin() {
        What::Fin
    } else if payload_length > 0 {
        What::Data
    } else {
        What::Ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_small() {
        // A million conversations with two tallies each are to fit into 600 MiB with everything else.
        assert_eq!(size_of::<ConversationRecord>(), 56);
        assert_eq!(size_of::<TallyRecord>(), 136);
    }

    #[test]
    fn pieces_are_told_from_repeats_and_gaps() {
        let mut rares = Chunks::default();
        let mut tally = TallyRecord::new(0, Direction::ToServer, Timestamp(0));
        let mut add = |range| add_data(&mut tally, &mut rares, 1, range);
        assert_eq!(add(1..101), Added::default());
        assert_eq!(add(101..201), Added::default());
        assert_eq!(
            add(51..151),
            Added {
                known: 100,
                late: 0
            }
        );
        assert_eq!(add(151..251), Added { known: 50, late: 0 });
        assert_eq!(add(301..401), Added::default());
        assert_eq!(
            add(251..351),
            Added {
                known: 50,
                late: 50
            }
        );
        assert_eq!(add(401..501), Added::default());
        assert_eq!(tally.data_end, 501);
        let seen = rares.get(tally.rare).and_then(|rare| rare.seen.as_ref());
        assert!(seen.is_some_and(|seen| seen.ranges().first() == Some(&(1..501))));
    }
}
