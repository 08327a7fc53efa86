//! What arrived and the program has not read, in order (`sk_receive_queue`, `tcp_data_queue`, `tcp_recvmsg`), and what it
//! costs (`sk_rmem_alloc`, `tcp_try_rmem_schedule`). What lies out of order is in `out_of_order`, the window that is left in
//! `receive_window`.

mod memory;

use std::collections::{BTreeMap, VecDeque};

use transect_packet::{SackBlock, SequenceNumber};
use transect_path::Timestamp;

use super::clock::Context;
use super::out_of_order::Piece;
use super::receive_window::{DEFAULT_RATIO, Tuning};
use super::sack_list::SackList;
use super::segment::{OVERHEAD, after, distance};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;
use crate::spare;
use crate::transport::memory::Written;

/// How many page fragments one `sk_buff` takes (`MAX_SKB_FRAGS`).
pub(super) const MAX_FRAGMENTS: u8 = 17;
/// Bytes of one fragment (`SKB_FRAG_PAGE_ORDER`).
const FRAGMENT: u32 = 32_768;
/// Above this many bytes an empty buffer gives its memory back.
const KEPT_EMPTY: usize = 256;

/// A segment's payload as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    /// The first sequence number.
    pub(crate) seq: SequenceNumber,
    /// The payload.
    pub(crate) payload: &'a [u8],
    /// SYN is set: it takes the first sequence number (a SYN-ACK that crossed ours).
    pub(crate) syn: bool,
    /// FIN is set.
    pub(crate) fin: bool,
    /// PSH is set.
    pub(crate) psh: bool,
    /// The header with its options, in bytes.
    pub(crate) header_length: u32,
    /// What the packet costs in the buffer (`truesize`), in bytes.
    pub(crate) truesize: u32,
    /// Payload bytes of each wire segment where GRO merged several, else 0 (`gso_size`).
    pub(crate) gso_size: u16,
    /// How many wire segments those are, at least 1 (`gso_segs`).
    pub(crate) segments: u16,
    /// Until when its payload is the sender's own memory as well, about: nothing can be put behind it (`skb_cloned`). Nothing: it
    /// is this host's alone.
    pub(crate) shared_until: Option<Timestamp>,
    /// Its memory, where it came from a TUN device; else its payload lies in pages of the sender's.
    pub(crate) written: Option<Written>,
    /// The timestamp that it echoes, without the connection's offset, in milliseconds; nothing where there is none (`rcv_tsecr`).
    pub(crate) echo: Option<u32>,
}

impl Arrived<'_> {
    /// Payload bytes.
    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX)
    }

    /// Behind its last sequence number.
    pub(super) fn end_seq(&self) -> SequenceNumber {
        self.seq + u32::from(self.syn) + self.length() + u32::from(self.fin)
    }

    /// Page fragments that its payload lies in, roughly.
    pub(super) fn fragments(&self) -> u8 {
        if self.written.is_some() {
            return 0;
        }
        u8::try_from(self.length().div_ceil(FRAGMENT).max(1)).unwrap_or(MAX_FRAGMENTS)
    }
}

/// What a segment says of whether more will follow at once (`ICSK_ACK_PUSHED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pushed {
    /// Nothing.
    #[default]
    No,
    /// A full segment with PSH: `ICSK_ACK_PUSHED`.
    Yes,
    /// A small one: `ICSK_ACK_PUSHED`, and `ICSK_ACK_PUSHED2` where that is set already.
    Again,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Queued {
    /// It was dropped, for this reason.
    pub(crate) dropped: Option<DropReason>,
    /// Bytes that came in order with it: `tcp_event_data_recv` (the caller's delayed-ACK estimate). 0: none.
    pub(crate) received: u32,
    /// Everything up to and including the FIN is in order now: `tcp_fin`.
    pub(crate) fin: bool,
    /// An ACK is scheduled (`inet_csk_schedule_ack`).
    pub(crate) schedule_ack: bool,
    /// It shall go at once (`ICSK_ACK_NOW`).
    pub(crate) ack_now: bool,
    /// `tcp_enter_quickack_mode(TCP_MAX_QUICKACKS)`.
    pub(crate) quick_ack: bool,
    /// No quick ACKs any more (`icsk_ack.quick = 0`).
    pub(crate) clear_quick: bool,
    /// One quick ACK at least (`icsk_ack.quick |= 1`).
    pub(crate) one_quick: bool,
    /// `ICSK_ACK_PUSHED`, `ICSK_ACK_PUSHED2`.
    pub(crate) pushed: Pushed,
    /// An ACK that is held back goes out now (`tcp_sack_compress_send_ack`).
    pub(crate) send_compressed: bool,
    /// There is something new to read, or the buffer is short (`tcp_data_ready`).
    pub(crate) readable: bool,
    /// It was kept out of order: no header prediction until the gap is filled.
    pub(crate) out_of_order: bool,
}

/// What one `sk_buff` of the receive queue holds.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    end_seq: SequenceNumber,
    truesize: u32,
    room: u32,
    fragments: u8,
    fin: bool,
    shared: Option<Shared>,
}

/// What it costs to put a segment's bytes onto the `sk_buff` before it; nothing where that cannot be (`skb_try_coalesce`).
/// `room` and `fragments` are those of the one before.
pub(super) fn joining(
    (room, fragments): (&mut u32, &mut u8),
    piece: &Piece,
    length: u32,
) -> Option<u32> {
    if length <= *room {
        // They are copied.
        *room -= length;
        return Some(0);
    }
    let together = fragments.saturating_add(piece.fragments);
    if piece.linear || together > MAX_FRAGMENTS {
        return None;
    }
    *room = 0;
    *fragments = together;
    Some(piece.truesize.saturating_sub(OVERHEAD))
}

/// The sender holds the same memory until it knows that it was received: a veth hands over what is in the sender's
/// retransmission queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    /// What has to be acknowledged.
    end_seq: SequenceNumber,
    /// … and when the sender knows, about.
    until: Timestamp,
}

impl Shared {
    /// Whether it still is so. `told`: what was acknowledged last.
    fn holds(&self, now: Timestamp, told: SequenceNumber) -> bool {
        now < self.until || told.is_before(self.end_seq)
    }

    /// Of a segment.
    pub(super) fn of(arrived: &Arrived<'_>) -> Option<Self> {
        let end_seq = arrived.end_seq();
        arrived
            .shared_until
            .filter(|_| !arrived.payload.is_empty())
            .map(|until| Shared { end_seq, until })
    }
}

/// The input half of a connection.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// The next sequence number expected.
    pub(crate) rcv_nxt: SequenceNumber,
    /// The next one that the program reads (`copied_seq`).
    pub(crate) copied_seq: SequenceNumber,
    /// `rcv_nxt` when the window was advertised last.
    pub(crate) rcv_wup: SequenceNumber,
    /// The window advertised then.
    pub(crate) rcv_wnd: u32,
    /// The largest window to advertise now (`rcv_ssthresh`).
    pub(crate) rcv_ssthresh: u32,
    /// … and ever (`window_clamp`); 0: not chosen yet.
    pub(crate) window_clamp: u32,
    /// Our window scale (`rcv_wscale`).
    pub(crate) rcv_wscale: u8,
    /// How much of memory is payload, of 256 (`scaling_ratio`).
    pub(super) scaling_ratio: u8,
    /// The limit (`sk_rcvbuf`).
    pub(crate) rcvbuf: u32,
    /// The program fixed it (`SOCK_RCVBUF_LOCK`).
    pub(crate) locked: bool,
    /// What everything in it costs (`sk_rmem_alloc`).
    pub(crate) rmem_alloc: u32,
    /// The peer's segment size as it seems (`icsk_ack.rcv_mss`).
    pub(crate) rcv_mss: u32,
    /// The largest segment that we advertised, less timestamps (`advmss`).
    pub(super) advmss: u32,
    /// A program holds the socket (`sk->sk_socket`): it is neither waiting to be accepted nor an orphan.
    pub(crate) owned: bool,
    /// The most that the first window may be, in segments (`initrwnd` of the route); 0: as much as there is room for.
    pub(crate) first_window: u32,
    /// A header without SACK blocks (`tcp_header_len`): 32 with timestamps, 20 without.
    pub(crate) header_length: u32,
    /// SACK was agreed on.
    pub(crate) sack: bool,
    /// Sequence numbers received in order (`bytes_received`).
    pub(crate) bytes_received: u64,
    /// Segments received out of order (`rcv_ooopack`).
    pub(crate) rcv_ooopack: u32,
    /// The next segment advertises no window: its predecessor found no memory (`ICSK_ACK_NOMEM`).
    pub(super) no_memory: bool,
    /// The buffer is short: no quick ACKs any more; taken with [`ReceiveBuffer::take_clear_quick`].
    pub(super) clear_quick: bool,
    /// The size of the last small segment (`last_seg_size`).
    pub(super) last_segment: u32,
    pub(super) tuning: Tuning,
    pub(super) sacks: SackList,
    /// By distance from the first byte ever expected, so that order is that of arrival in the stream.
    pub(super) pieces: BTreeMap<u64, Piece>,
    bytes: VecDeque<u8>,
    chunks: VecDeque<Chunk>,
    fin_read: bool,
}

impl ReceiveBuffer {
    /// An empty one of a size.
    pub(crate) fn new(rcvbuf: u32) -> Self {
        ReceiveBuffer {
            rcv_nxt: SequenceNumber(0),
            copied_seq: SequenceNumber(0),
            rcv_wup: SequenceNumber(0),
            rcv_wnd: 0,
            rcv_ssthresh: 0,
            window_clamp: 0,
            rcv_wscale: 0,
            scaling_ratio: DEFAULT_RATIO,
            rcvbuf,
            locked: false,
            rmem_alloc: 0,
            rcv_mss: 536,
            advmss: 536,
            owned: true,
            first_window: 0,
            header_length: 20,
            sack: false,
            bytes_received: 0,
            rcv_ooopack: 0,
            no_memory: false,
            clear_quick: false,
            last_segment: 0,
            tuning: Tuning::default(),
            sacks: SackList::default(),
            pieces: BTreeMap::new(),
            bytes: VecDeque::new(),
            chunks: VecDeque::new(),
            fin_read: false,
        }
    }

    /// The peer's first sequence number is known: its SYN takes one.
    pub(crate) fn begin(&mut self, peer_isn: SequenceNumber) {
        self.rcv_nxt = peer_isn + 1;
        self.copied_seq = self.rcv_nxt;
        self.rcv_wup = self.rcv_nxt;
    }

    /// A segment with payload or FIN (`tcp_data_queue`), in whatever relation to the window. Counts TCPOFOQueue, TCPOFOMerge,
    /// TCPRcvCoalesce, DelayedACKLost, TCPDSACKOldSent, TCPDSACKOfoSent, TCPZeroWindowDrop, TCPRcvQDrop, PruneCalled, RcvPruned,
    /// OfoPruned, TCPOFODrop, TCPRcvCollapsed.
    pub(crate) fn queue(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) -> Queued {
        self.measure_rtt_by_echo(&context.clock, arrived);
        self.sacks.forget_duplicate();
        let (seq, end_seq) = (arrived.seq, arrived.end_seq());
        let window = self.receive_window();
        let mut queued = Queued::default();
        if seq == self.rcv_nxt {
            if window > 0 || (arrived.payload.is_empty() && arrived.fin) {
                self.queue_in_order(context, arrived, &mut queued);
            } else {
                context
                    .counters
                    .tcp_ext
                    .count(TcpExtCounter::TCPZeroWindowDrop);
                out_of_window(&mut queued, DropReason::TcpZerowindow);
            }
        } else if !after(end_seq, self.rcv_nxt) {
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::DelayedACKLost);
            self.set_duplicate(context, seq, end_seq);
            out_of_window(&mut queued, DropReason::TcpOldData);
        } else if !seq.is_before(self.rcv_nxt + window) {
            out_of_window(&mut queued, DropReason::TcpOverwindow);
        } else if seq.is_before(self.rcv_nxt) {
            self.set_duplicate(context, seq, self.rcv_nxt);
            if window > 0 {
                self.queue_in_order(context, arrived, &mut queued);
            } else {
                context
                    .counters
                    .tcp_ext
                    .count(TcpExtCounter::TCPZeroWindowDrop);
                out_of_window(&mut queued, DropReason::TcpZerowindow);
            }
        } else {
            self.queue_out_of_order(context, arrived, &mut queued);
        }
        queued.clear_quick |= std::mem::take(&mut self.clear_quick);
        queued
    }

    /// The next one, or one that reaches beyond what is here.
    fn queue_in_order(
        &mut self,
        context: &mut Context<'_>,
        arrived: &Arrived<'_>,
        queued: &mut Queued,
    ) {
        if !self.schedule_memory(context, arrived) {
            self.no_memory = true;
            queued.ack_now = true;
            queued.schedule_ack = true;
            queued.readable = true;
            if !self.chunks.is_empty() && !arrived.payload.is_empty() {
                context.counters.tcp_ext.count(TcpExtCounter::TCPRcvQDrop);
                queued.dropped = Some(DropReason::ProtoMem);
                return;
            }
        }
        let known = distance(arrived.seq + u32::from(arrived.syn), self.rcv_nxt) as usize;
        let new = arrived.payload.get(known..).unwrap_or_default();
        let piece = Piece::of(arrived);
        self.accept(context, new, &piece);
        if !arrived.payload.is_empty() {
            queued.schedule_ack = true;
            queued.pushed = self.measure_segment(arrived);
            self.measure_rtt_by_window(&context.clock);
            queued.received = arrived.length();
            if arrived.length() >= 128 {
                queued.one_quick |= self.grow_window(context.settings, arrived, true);
            }
        }
        queued.fin = arrived.fin;
        if !arrived.fin && !self.pieces.is_empty() {
            queued.fin = self.take_from_out_of_order(context);
            queued.ack_now |= self.pieces.is_empty();
        }
        // Behind a FIN nothing is waited for; but tcp_fin answers before it forgets.
        if !queued.fin {
            self.sacks
                .remove_before(self.rcv_nxt, self.pieces.is_empty());
        }
        queued.readable = true;
    }

    /// Puts bytes behind what is in order (`tcp_queue_rcv`, `tcp_rcv_nxt_update`): onto the last `sk_buff` where they fit it
    /// (`tcp_try_coalesce`).
    pub(super) fn accept(&mut self, context: &mut Context<'_>, new: &[u8], piece: &Piece) {
        if self.bytes.capacity() == 0 && new.len() > KEPT_EMPTY {
            self.bytes = spare::ring(new.len());
        }
        self.bytes.extend(new);
        let start = self.rcv_nxt;
        let more = distance(start, piece.end_seq);
        self.bytes_received = self.bytes_received.wrapping_add(u64::from(more));
        self.rcv_nxt = piece.end_seq;
        let (now, told) = (context.clock.now, self.rcv_wup);
        if let Some(last) = self.chunks.back_mut()
            && last.end_seq == piece.seq
            && !last.fin
            && !last.shared.is_some_and(|shared| shared.holds(now, told))
            && let length = u32::try_from(new.len()).unwrap_or(u32::MAX)
            && let Some(cost) = joining((&mut last.room, &mut last.fragments), piece, length)
        {
            last.end_seq = piece.end_seq;
            last.fin = piece.fin;
            last.truesize = last.truesize.saturating_add(cost);
            self.rmem_alloc = self.rmem_alloc.saturating_add(cost);
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPRcvCoalesce);
            return;
        }
        self.rmem_alloc = self.rmem_alloc.saturating_add(piece.truesize);
        self.chunks.push_back(Chunk {
            end_seq: piece.end_seq,
            truesize: piece.truesize,
            room: piece.room,
            fragments: piece.fragments,
            fin: piece.fin,
            shared: piece.shared,
        });
    }

    /// The data of a SYN or SYN-ACK (`tcp_fastopen_add_skb`), whatever room there is.
    pub(crate) fn take_syn_data(&mut self, context: &mut Context<'_>, arrived: &Arrived<'_>) {
        let piece = Piece::of(arrived);
        self.accept(context, arrived.payload, &piece);
        self.bytes_received = u64::from(arrived.length());
    }

    /// Nothing but a FIN lies out of order.
    pub(crate) fn holds_only_a_fin(&self) -> bool {
        let mut pieces = self.pieces.values();
        pieces.next().is_some_and(|piece| piece.fin) && pieces.next().is_none()
    }

    /// A duplicate to be told (`tcp_dsack_set`).
    pub(super) fn set_duplicate(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        end_seq: SequenceNumber,
    ) {
        if !self.sack || !context.settings.dsack {
            return;
        }
        context
            .counters
            .tcp_ext
            .count(if seq.is_before(self.rcv_nxt) {
                TcpExtCounter::TCPDSACKOldSent
            } else {
                TcpExtCounter::TCPDSACKOfoSent
            });
        self.sacks.set_duplicate(seq, end_seq);
    }

    /// A segment before the window, to be answered with its DSACK (`tcp_send_dupack`).
    pub(crate) fn note_duplicate(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        end_seq: SequenceNumber,
    ) {
        let end = super::segment::earlier(end_seq, self.rcv_nxt);
        self.set_duplicate(context, seq, end);
    }

    /// Bytes that a program can read.
    pub(crate) fn readable(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing waits in the receive queue (`skb_queue_len(&sk->sk_receive_queue)`).
    pub(crate) fn is_queue_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Reads (`tcp_recvmsg_locked`): how many bytes. The caller then thinks of a window update (`tcp_cleanup_rbuf`).
    pub(crate) fn read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(chunk) = self.chunks.front().copied() {
            let room = into.get_mut(done..).unwrap_or_default();
            let length = distance(self.copied_seq, chunk.end_seq)
                .saturating_sub(u32::from(chunk.fin)) as usize;
            if room.is_empty() {
                break;
            }
            let taken = self.take(room, length);
            done += taken;
            self.copied_seq = self.copied_seq + u32::try_from(taken).unwrap_or(u32::MAX);
            if taken > 0 {
                self.adjust_space(context);
            }
            if taken < length {
                break;
            }
            if chunk.fin {
                self.copied_seq = self.copied_seq + 1;
                self.fin_read = true;
            }
            self.rmem_alloc = self.rmem_alloc.saturating_sub(chunk.truesize);
            self.chunks.pop_front();
        }
        if self.bytes.capacity() > KEPT_EMPTY {
            spare::give_back_ring(&mut self.bytes);
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 8 {
            self.chunks = VecDeque::new();
        }
        done
    }

    /// Copies bytes that stay (MSG_PEEK); how many.
    pub(crate) fn peek(&self, into: &mut [u8]) -> usize {
        for (place, byte) in into.iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        into.len().min(self.bytes.len())
    }

    /// Copies bytes out, as many as there are and as there is room for.
    fn take(&mut self, into: &mut [u8], length: usize) -> usize {
        let (first, second) = self.bytes.as_slices();
        let length = length.min(into.len()).min(first.len() + second.len());
        let one = length.min(first.len());
        let pieces = [first.get(..one), second.get(..length - one)];
        let mut at = 0;
        for piece in pieces.into_iter().flatten() {
            if let Some(room) = into.get_mut(at..at + piece.len()) {
                room.copy_from_slice(piece);
            }
            at += piece.len();
        }
        self.bytes.drain(..length);
        length
    }

    /// The SACK blocks for the next segment, at most `room` of them, the duplicate's first (`tcp_established_options`).
    pub(crate) fn sack_blocks(&self, room: usize) -> ([SackBlock; 4], usize) {
        self.sacks.blocks(room)
    }

    /// The end of the range that lies farthest ahead, of those reported (`tcp_reset_check`'s `max_sack`).
    pub(crate) fn rightmost_sack(&self) -> Option<SequenceNumber> {
        self.sacks.rightmost()
    }

    /// A segment with SACK blocks went out: the duplicate has been told (`tcp_options_write`).
    pub(crate) fn acknowledged(&mut self) {
        self.sacks.forget_duplicate();
    }

    /// Whether the buffer ran short since this was asked last: then no quick ACKs any more.
    pub(crate) fn take_clear_quick(&mut self) -> bool {
        std::mem::take(&mut self.clear_quick)
    }

    /// Drops what the program has not read (`__tcp_close`); what came out of order stays, and is still reported. True: there was
    /// some.
    pub(crate) fn purge(&mut self) -> bool {
        let unread = !self.bytes.is_empty();
        self.bytes = VecDeque::new();
        self.chunks = VecDeque::new();
        self.rmem_alloc = self.out_of_order_cost();
        unread
    }
}

/// A segment outside of the window is dropped and answered (`out_of_window`).
fn out_of_window(queued: &mut Queued, reason: DropReason) {
    queued.quick_ack = true;
    queued.schedule_ack = true;
    queued.dropped = Some(reason);
}

#[cfg(test)]
mod tests;
