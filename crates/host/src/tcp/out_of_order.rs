//! What arrived ahead of a gap (`out_of_order_queue`; `tcp_data_queue_ofo`, `tcp_ofo_queue`, `tcp_prune_ofo_queue` in
//! net/ipv4/tcp_input.c). Every step is O(log n) in the number of pieces, and they cost memory of the receive buffer.

use transect_packet::SequenceNumber;

use super::clock::Context;
use super::receive_buffer::{Arrived, Queued, ReceiveBuffer, Shared, joining};
use super::segment::{after, distance, earlier};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;

/// One `sk_buff` of the queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub(super) seq: SequenceNumber,
    pub(super) end_seq: SequenceNumber,
    pub(super) fin: bool,
    pub(super) truesize: u32,
    /// Its bytes cannot be passed on to another `sk_buff`.
    pub(super) linear: bool,
    /// Bytes that fit behind them.
    pub(super) room: u32,
    pub(super) fragments: u8,
    pub(super) shared: Option<Shared>,
    data: Vec<u8>,
}

impl Piece {
    /// Without its bytes.
    pub(super) fn of(arrived: &Arrived<'_>) -> Self {
        Piece {
            seq: arrived.seq,
            end_seq: arrived.end_seq(),
            fin: arrived.fin,
            truesize: arrived.truesize,
            linear: arrived.written.is_some(),
            room: arrived.written.map_or(0, |memory| memory.room),
            fragments: arrived.fragments(),
            shared: Shared::of(arrived),
            data: Vec::new(),
        }
    }
}

impl ReceiveBuffer {
    /// Where a number lies in the stream of everything that is ever received; it is not behind the gap's beginning by more than
    /// the window.
    fn place(&self, seq: SequenceNumber) -> u64 {
        let ahead = i64::from(seq.offset_from(self.rcv_nxt));
        self.bytes_received.saturating_add_signed(ahead)
    }

    /// Whether anything lies out of order.
    pub(crate) fn has_gap(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// How far beyond the gap's beginning it reaches.
    pub(super) fn out_of_order_reach(&self) -> u32 {
        self.pieces
            .last_key_value()
            .map_or(0, |(_, last)| distance(self.rcv_nxt, last.end_seq))
    }

    /// Keeps a segment that lies ahead of a gap (`tcp_data_queue_ofo`).
    pub(super) fn queue_out_of_order(
        &mut self,
        context: &mut Context<'_>,
        arrived: &Arrived<'_>,
        queued: &mut Queued,
    ) {
        if !self.schedule_memory(context, arrived) {
            context.counters.tcp_ext.count(TcpExtCounter::TCPOFODrop);
            queued.dropped = Some(DropReason::ProtoMem);
            queued.readable = true;
            return;
        }
        queued.pushed = self.measure_segment(arrived);
        queued.schedule_ack = true;
        queued.out_of_order = true;
        self.rcv_ooopack = self
            .rcv_ooopack
            .saturating_add(u32::from(arrived.segments.max(1)));
        context.counters.tcp_ext.count(TcpExtCounter::TCPOFOQueue);
        let (seq, end_seq) = (arrived.seq, arrived.end_seq());
        let stored = self.store(context, arrived);
        if self.sack {
            queued.send_compressed = self.sacks.add(seq, end_seq);
        }
        match stored {
            Stored::Known => queued.dropped = Some(DropReason::TcpOfomerge),
            Stored::Joined | Stored::New if self.sack => {
                let headless = stored == Stored::Joined;
                queued.one_quick |= self.grow_window(context.settings, arrived, headless);
            }
            _ => {}
        }
        let space = self.tuning.space;
        if self.owned {
            self.grow_buffer(context.settings, space);
        }
    }

    /// Finds its place, with overlaps on the way.
    fn store(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) -> Stored {
        let (seq, end_seq) = (arrived.seq, arrived.end_seq());
        let start = self.place(seq);
        let before = self.pieces.range(..=start).next_back();
        if let Some((&key, before)) = before {
            let (other_seq, other_end) = (before.seq, before.end_seq);
            if seq.is_before(other_end) {
                if !after(end_seq, other_end) {
                    context.counters.tcp_ext.count(TcpExtCounter::TCPOFOMerge);
                    self.set_duplicate(context, seq, end_seq);
                    return Stored::Known;
                }
                if after(seq, other_seq) {
                    self.set_duplicate(context, seq, other_end);
                } else {
                    self.extend_duplicate(context, other_seq, other_end);
                    context.counters.tcp_ext.count(TcpExtCounter::TCPOFOMerge);
                    self.remove_piece(key);
                }
            } else if other_end == seq && self.join(context, key, arrived) {
                return Stored::Joined;
            }
        }
        self.remove_covered(context, start, end_seq);
        let piece = Piece {
            data: arrived.payload.to_vec(),
            ..Piece::of(arrived)
        };
        self.rmem_alloc = self.rmem_alloc.saturating_add(piece.truesize);
        self.pieces.insert(start, piece);
        Stored::New
    }

    /// Puts it onto the piece that ends where it begins (`tcp_ooo_try_coalesce`).
    fn join(&mut self, context: &mut Context<'_>, key: u64, arrived: &Arrived<'_>) -> bool {
        let new = Piece::of(arrived);
        let Some(piece) = self.pieces.get_mut(&key) else {
            return false;
        };
        // What lies behind a gap is not acknowledged.
        if piece.fin || piece.shared.is_some() {
            return false;
        }
        let held = (&mut piece.room, &mut piece.fragments);
        let Some(cost) = joining(held, &new, arrived.length()) else {
            return false;
        };
        piece.data.extend_from_slice(arrived.payload);
        piece.end_seq = arrived.end_seq();
        piece.fin = arrived.fin;
        piece.truesize = piece.truesize.saturating_add(cost);
        self.rmem_alloc = self.rmem_alloc.saturating_add(cost);
        context
            .counters
            .tcp_ext
            .count(TcpExtCounter::TCPRcvCoalesce);
        true
    }

    /// Pieces behind a new one's beginning that it covers go; one that reaches beyond its end stays.
    fn remove_covered(&mut self, context: &mut Context<'_>, start: u64, end_seq: SequenceNumber) {
        while let Some((&key, next)) = self.pieces.range(start.saturating_add(1)..).next() {
            let (next_seq, next_end) = (next.seq, next.end_seq);
            if !after(end_seq, next_seq) {
                break;
            }
            self.extend_duplicate(context, next_seq, earlier(end_seq, next_end));
            if end_seq.is_before(next_end) {
                break;
            }
            context.counters.tcp_ext.count(TcpExtCounter::TCPOFOMerge);
            self.remove_piece(key);
        }
    }

    fn remove_piece(&mut self, key: u64) -> Option<Piece> {
        let piece = self.pieces.remove(&key)?;
        self.rmem_alloc = self.rmem_alloc.saturating_sub(piece.truesize);
        Some(piece)
    }

    /// `tcp_dsack_extend`.
    fn extend_duplicate(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        end_seq: SequenceNumber,
    ) {
        if !self.sacks.extend_duplicate(seq, end_seq) {
            self.set_duplicate(context, seq, end_seq);
        }
    }

    /// The gap is filled: what follows is in order now (`tcp_ofo_queue`). True: up to the FIN.
    pub(super) fn take_from_out_of_order(&mut self, context: &mut Context<'_>) -> bool {
        let known_to = self.rcv_nxt;
        while let Some((&key, first)) = self.pieces.first_key_value() {
            if after(first.seq, self.rcv_nxt) {
                return false;
            }
            let (seq, end_seq) = (first.seq, first.end_seq);
            if seq.is_before(known_to) {
                self.extend_duplicate(context, seq, earlier(end_seq, known_to));
            }
            let Some(mut piece) = self.remove_piece(key) else {
                return false;
            };
            if !after(end_seq, self.rcv_nxt) {
                continue;
            }
            let known = distance(seq, self.rcv_nxt) as usize;
            let data = std::mem::take(&mut piece.data);
            self.accept(context, data.get(known..).unwrap_or_default(), &piece);
            if piece.fin {
                return true;
            }
        }
        false
    }

    /// Gives up what lies farthest ahead, until there is room for a segment (`tcp_prune_ofo_queue`).
    pub(super) fn prune_out_of_order(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) {
        let step = i64::from(self.rcvbuf >> 3);
        let (mut goal, mut pruned) = (step, false);
        while let Some((&key, last)) = self.pieces.last_key_value() {
            if after(arrived.seq, last.seq) {
                break;
            }
            let truesize = last.truesize;
            self.remove_piece(key);
            pruned = true;
            goal -= i64::from(truesize);
            if goal <= 0 || self.pieces.is_empty() {
                if self.can_ingest(arrived.length()) {
                    break;
                }
                goal = step;
            }
        }
        if pruned {
            context.counters.tcp_ext.count(TcpExtCounter::OfoPruned);
            self.sacks.clear();
        }
    }

    /// What the pieces cost.
    pub(super) fn out_of_order_cost(&self) -> u32 {
        self.pieces.values().map(|piece| piece.truesize).sum()
    }

    /// Nothing ahead of a gap is waited for any more (`tcp_fin`, `tcp_sack_reset`).
    pub(super) fn forget_out_of_order(&mut self) {
        self.rmem_alloc = self.rmem_alloc.saturating_sub(self.out_of_order_cost());
        self.pieces.clear();
        self.sacks.clear();
    }
}

/// What became of a segment ahead of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// It became a piece of its own.
    New,
    /// It was put onto another.
    Joined,
    /// All of it was here.
    Known,
}
