//! Where notes are kept: the first ones packed into small blocks, the last ones in a ring.
//!
//! An ordinary connection notes three packets in each direction, and a million connections are to fit into memory: packed,
//! a note takes 10 to 20 bytes.

use std::collections::VecDeque;

use transect_packet::{SequenceNumber, TcpFlags};
use transect_path::{Timestamp, What};

use super::Note;
use super::chunks::{Chunks, NONE};

/// So many notes are packed for each tally.
pub(super) const FIRST: u8 = 32;
/// So many behind them are kept in the ring.
pub(super) const LAST: usize = 16;

const PAYLOAD: usize = 67;
/// No packed note is longer: head byte, five varints of at most 10 bytes, six fixed bytes and a timestamp.
const LONGEST: usize = 72;

/// Packed bytes, and where they go on.
#[derive(Debug, Clone)]
pub(super) struct Block {
    next: u32,
    used: u8,
    bytes: [u8; PAYLOAD],
}

/// The packed notes of one tally.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    head: u32,
    tail: u32,
    pub(super) count: u8,
}

impl Default for Chain {
    fn default() -> Self {
        Chain {
            head: NONE,
            tail: NONE,
            count: 0,
        }
    }
}

/// All blocks of a ledger.
pub(super) type Blocks = Chunks<Block>;

impl Chain {
    /// Appends a note; false when the chain is full or memory for blocks is.
    pub(super) fn push(&mut self, blocks: &mut Blocks, note: &Note) -> bool {
        if self.count >= FIRST {
            return false;
        }
        let before = self.last(blocks).unwrap_or(ORIGIN);
        let mut packed = Packed::default();
        pack(&mut packed, note, &before);
        for &byte in packed.bytes() {
            if !self.push_byte(blocks, byte) {
                return false;
            }
        }
        self.count += 1;
        true
    }

    fn push_byte(&mut self, blocks: &mut Blocks, byte: u8) -> bool {
        if let Some(block) = blocks.get_mut(self.tail)
            && let Some(slot) = block.bytes.get_mut(usize::from(block.used))
        {
            *slot = byte;
            block.used += 1;
            return true;
        }
        let mut block = Block {
            next: NONE,
            used: 1,
            bytes: [0; PAYLOAD],
        };
        block.bytes[0] = byte;
        let Some(index) = blocks.push(block) else {
            return false;
        };
        match blocks.get_mut(self.tail) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        self.tail = index;
        true
    }

    fn last(&self, blocks: &Blocks) -> Option<Note> {
        self.iter(blocks).last()
    }

    /// The packed notes, in order.
    pub(super) fn iter<'a>(&self, blocks: &'a Blocks) -> impl Iterator<Item = Note> + 'a {
        let mut bytes = Bytes {
            blocks,
            block: self.head,
            at: 0,
        };
        let mut before = ORIGIN;
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            before = unpack(&mut bytes, &before)?;
            Some(before)
        })
    }
}

/// The ring behind a full chain.
#[derive(Debug, Clone, Default)]
pub(super) struct Ring {
    notes: VecDeque<Note>,
    omitted: u32,
}

impl Ring {
    pub(super) fn push(&mut self, note: Note) {
        if self.notes.len() >= LAST {
            self.notes.pop_front();
            self.omitted = self.omitted.saturating_add(1);
        }
        self.notes.push_back(note);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter()
    }

    pub(super) fn omitted(&self) -> u32 {
        self.omitted
    }
}

/// What the first note of a chain is packed relative to.
const ORIGIN: Note = Note {
    what: What::Data,
    time: Timestamp(0),
    again: false,
    sequence: SequenceNumber(0),
    acknowledgment: SequenceNumber(0),
    window: 0,
    flags: TcpFlags(0),
    timestamp: None,
    checksum: 0,
    payload_length: 0,
    ip_length: 0,
    ttl: 0,
    identification: 0,
};

struct Packed {
    bytes: [u8; LONGEST],
    used: usize,
}

impl Default for Packed {
    fn default() -> Self {
        Packed {
            bytes: [0; LONGEST],
            used: 0,
        }
    }
}

impl Packed {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn byte(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.used) {
            *slot = byte;
            self.used += 1;
        }
    }

    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        for byte in bytes {
            self.byte(byte);
        }
    }

    /// LEB128.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Small steps forward and backward are short.
    fn step(&mut self, from: u32, to: u32) {
        let step = to.wrapping_sub(from).cast_signed();
        self.varint(u64::from(
            (step.cast_unsigned() << 1) ^ (step >> 31).cast_unsigned(),
        ));
    }
}

struct Bytes<'a> {
    blocks: &'a Blocks,
    block: u32,
    at: u8,
}

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let mut block = self.blocks.get(self.block)?;
        if self.at >= block.used {
            self.block = block.next;
            self.at = 0;
            block = self.blocks.get(self.block)?;
        }
        let byte = *block.bytes.get(usize::from(self.at))?;
        self.at += 1;
        Some(byte)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Some(bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn step(&mut self, from: u32) -> Option<u32> {
        let zigzag = self.varint()? as u32;
        let step = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Some(from.wrapping_add(step))
    }
}

const AGAIN: u8 = 0x10;
const TIMESTAMP: u8 = 0x20;
const WIDE_IDENTIFICATION: u8 = 0x40;

/// The classes that are noted; their place here is their number in packed notes.
const CLASSES: [What; 10] = [
    What::Syn,
    What::SynAck,
    What::Ack,
    What::Data,
    What::Fin,
    What::Rst,
    What::Datagram,
    What::EchoRequest,
    What::EchoReply,
    What::Fragment,
];

fn pack(packed: &mut Packed, note: &Note, before: &Note) {
    let class = CLASSES
        .iter()
        .position(|class| *class == note.what)
        .unwrap_or(6) as u8;
    let wide = note.identification > u32::from(u16::MAX);
    let mut head = class;
    head |= if note.again { AGAIN } else { 0 };
    head |= if note.timestamp.is_some() {
        TIMESTAMP
    } else {
        0
    };
    head |= if wide { WIDE_IDENTIFICATION } else { 0 };
    packed.byte(head);
    // Captures are in order, or nearly so; a step back wraps around and is only longer.
    packed.varint(note.time.0.wrapping_sub(before.time.0));
    packed.step(before.sequence.0, note.sequence.0);
    packed.step(before.acknowledgment.0, note.acknowledgment.0);
    packed.varint(u64::from(note.payload_length));
    packed.step(note.payload_length, note.ip_length);
    packed.fixed([note.flags.0, note.ttl]);
    // Only TCP has a window and only UDP's checksum is kept.
    let word = if note.what == What::Datagram {
        note.checksum
    } else {
        note.window
    };
    packed.fixed(word.to_le_bytes());
    if wide {
        packed.fixed(note.identification.to_le_bytes());
    } else {
        packed.fixed((note.identification as u16).to_le_bytes());
    }
    if let Some(value) = note.timestamp {
        packed.fixed(value.to_le_bytes());
    }
}

fn unpack(bytes: &mut Bytes, before: &Note) -> Option<Note> {
    let head = bytes.byte()?;
    let what = *CLASSES.get(usize::from(head & 0x0f))?;
    let time = Timestamp(before.time.0.wrapping_add(bytes.varint()?));
    let sequence = SequenceNumber(bytes.step(before.sequence.0)?);
    let acknowledgment = SequenceNumber(bytes.step(before.acknowledgment.0)?);
    let payload_length = bytes.varint()? as u32;
    let ip_length = bytes.step(payload_length)?;
    let [flags, ttl] = bytes.fixed()?;
    let word = u16::from_le_bytes(bytes.fixed()?);
    let identification = if head & WIDE_IDENTIFICATION != 0 {
        u32::from_le_bytes(bytes.fixed()?)
    } else {
        u32::from(u16::from_le_bytes(bytes.fixed()?))
    };
    let timestamp = if head & TIMESTAMP != 0 {
        Some(u32::from_le_bytes(bytes.fixed()?))
    } else {
        None
    };
    let (window, checksum) = match what {
        What::Datagram => (0, word),
        _ => (word, 0),
    };
    Some(Note {
        what,
        time,
        again: head & AGAIN != 0,
        sequence,
        acknowledgment,
        window,
        flags: TcpFlags(flags),
        timestamp,
        checksum,
        payload_length,
        ip_length,
        ttl,
        identification,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn notes()(
            class in 0..CLASSES.len(),
            numbers in (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
            small in (any::<u16>(), any::<u8>(), any::<u8>(), any::<bool>()),
            timestamp in any::<Option<u32>>(),
        ) -> Note {
            let what = CLASSES[class];
            let datagram = what == What::Datagram;
            Note {
                what,
                time: Timestamp(numbers.0),
                again: small.3,
                sequence: SequenceNumber(numbers.1),
                acknowledgment: SequenceNumber(numbers.2),
                window: if datagram { 0 } else { small.0 },
                flags: TcpFlags(small.1),
                timestamp,
                checksum: if datagram { small.0 } else { 0 },
                payload_length: numbers.3,
                ip_length: numbers.4,
                ttl: small.2,
                identification: numbers.5 >> (numbers.5 & 31),
            }
        }
    }

    proptest! {
        #[test]
        fn chains_give_back_what_was_put_in(
            left in prop::collection::vec(notes(), 0..20),
            right in prop::collection::vec(notes(), 0..20),
        ) {
            // Two chains that grow by turns share one arena, as those of two tallies do.
            let mut blocks = Blocks::default();
            let (mut a, mut b) = (Chain::default(), Chain::default());
            for turn in 0..20 {
                if let Some(note) = left.get(turn) { prop_assert!(a.push(&mut blocks, note)); }
                if let Some(note) = right.get(turn) { prop_assert!(b.push(&mut blocks, note)); }
            }
            prop_assert_eq!(a.iter(&blocks).collect::<Vec<_>>(), left);
            prop_assert_eq!(b.iter(&blocks).collect::<Vec<_>>(), right);
        }
    }

    #[test]
    fn an_ordinary_connection_fits_into_one_block() {
        let mut blocks = Blocks::default();
        let mut chain = Chain::default();
        let syn = Note {
            what: What::Syn,
            // An hour behind the ledger's first note.
            time: Timestamp(3_600_000_000_000),
            sequence: SequenceNumber(3_000_000_000),
            window: 64240,
            flags: TcpFlags(2),
            ip_length: 60,
            ttl: 64,
            identification: 4242,
            timestamp: Some(1_234_567_890),
            ..ORIGIN
        };
        let data = Note {
            what: What::Data,
            time: Timestamp(syn.time.0 + 500_000),
            sequence: syn.sequence + 1,
            acknowledgment: SequenceNumber(1_000_000_000),
            payload_length: 100,
            ip_length: 152,
            flags: TcpFlags(0x18),
            timestamp: None,
            ..syn
        };
        let fin = Note {
            what: What::Fin,
            time: Timestamp(data.time.0 + 2_000_000),
            sequence: data.sequence + 100,
            acknowledgment: data.acknowledgment + 1000,
            payload_length: 0,
            ip_length: 52,
            flags: TcpFlags(0x11),
            ..data
        };
        for note in [syn, data, fin] {
            assert!(chain.push(&mut blocks, &note));
        }
        assert_eq!(blocks.len(), 1);
    }

    #[test]
    fn a_full_chain_says_so_and_the_ring_counts_what_it_drops() {
        let mut blocks = Blocks::default();
        let mut chain = Chain::default();
        for _ in 0..FIRST {
            assert!(chain.push(&mut blocks, &ORIGIN));
        }
        assert!(!chain.push(&mut blocks, &ORIGIN));
        let mut ring = Ring::default();
        for number in 0..20 {
            ring.push(Note {
                ip_length: number,
                ..ORIGIN
            });
        }
        assert_eq!(ring.omitted(), 4);
        assert_eq!(
            ring.iter().map(|note| note.ip_length).collect::<Vec<_>>(),
            (4..20).collect::<Vec<_>>()
        );
    }
}
