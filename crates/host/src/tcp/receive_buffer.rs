//! What arrived and the program has not read, in order (`sk_receive_queue`, `tcp_data_queue`, `tcp_recvmsg`), and what it
//! costs (`sk_rmem_alloc`, `tcp_try_rmem_schedule`). What lies out of order is in `out_of_order`, the window that is left in
//! `receive_window`.

use std::collections::{BTreeMap, VecDeque};

use transect_packet::{SackBlock, SequenceNumber};

use super::clock::Context;
use super::out_of_order::Piece;
use super::receive_window::{DEFAULT_RATIO, Tuning};
use super::sack_list::SackList;
use super::segment::{OVERHEAD, after, distance};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;

/// How many page fragments one `sk_buff` takes (`MAX_SKB_FRAGS`).
pub(super) const MAX_FRAGMENTS: u8 = 17;
/// Bytes of one fragment (`SKB_FRAG_PAGE_ORDER`).
const FRAGMENT: u32 = 32_768;
/// What collapsing fills an `sk_buff` with, and what that costs (`tcp_collapse`: one page), in bytes.
const COLLAPSED: (u32, u32) = (3776, 4352);
/// Above this many bytes an empty buffer gives its memory back.
const KEPT_EMPTY: usize = 256;

/// A segment's payload as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    /// The first sequence number.
    pub(crate) seq: SequenceNumber,
    /// The payload.
    pub(crate) payload: &'a [u8],
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
        self.seq + self.length() + u32::from(self.fin)
    }

    /// Page fragments that its payload lies in, roughly.
    pub(super) fn fragments(&self) -> u8 {
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
    fragments: u8,
    fin: bool,
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
        let known = distance(arrived.seq, self.rcv_nxt) as usize;
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
        if arrived.fin {
            self.forget_out_of_order();
        } else if !self.pieces.is_empty() {
            queued.fin = self.take_from_out_of_order(context);
            queued.ack_now |= self.pieces.is_empty();
        }
        self.sacks
            .remove_before(self.rcv_nxt, self.pieces.is_empty());
        queued.readable = true;
    }

    /// Puts bytes behind what is in order (`tcp_queue_rcv`, `tcp_rcv_nxt_update`): onto the last `sk_buff` where they fit it
    /// (`tcp_try_coalesce`).
    pub(super) fn accept(&mut self, context: &mut Context<'_>, new: &[u8], piece: &Piece) {
        self.bytes.extend(new);
        let start = self.rcv_nxt;
        let more = distance(start, piece.end_seq);
        self.bytes_received = self.bytes_received.wrapping_add(u64::from(more));
        self.rcv_nxt = piece.end_seq;
        if let Some(last) = self.chunks.back_mut()
            && last.end_seq == piece.seq
            && !last.fin
            && last.fragments.saturating_add(piece.fragments) <= MAX_FRAGMENTS
        {
            last.end_seq = piece.end_seq;
            last.fin = piece.fin;
            last.fragments += piece.fragments;
            let payload = piece.truesize.saturating_sub(OVERHEAD);
            last.truesize = last.truesize.saturating_add(payload);
            self.rmem_alloc = self.rmem_alloc.saturating_add(payload);
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
            fragments: piece.fragments,
            fin: piece.fin,
        });
    }

    /// Whether the buffer takes a segment (`tcp_can_ingest`): by its payload, not by what it costs.
    pub(super) fn can_ingest(&self, length: u32) -> bool {
        self.rmem_alloc.saturating_add(length) <= self.rcvbuf
    }

    /// Makes room for a segment (`tcp_try_rmem_schedule`, `tcp_prune_queue`). False: there is none.
    pub(super) fn schedule_memory(
        &mut self,
        context: &mut Context<'_>,
        arrived: &Arrived<'_>,
    ) -> bool {
        let length = arrived.length();
        if self.can_ingest(length) {
            return true;
        }
        context.counters.tcp_ext.count(TcpExtCounter::PruneCalled);
        self.clamp_window(context);
        if self.can_ingest(length) {
            return true;
        }
        self.collapse(context);
        if self.can_ingest(length) {
            return true;
        }
        self.prune_out_of_order(context, arrived);
        if self.can_ingest(length) {
            return true;
        }
        context.counters.tcp_ext.count(TcpExtCounter::RcvPruned);
        false
    }

    /// The buffer is full: it grows to what it holds, or the window shrinks (`tcp_clamp_window`).
    fn clamp_window(&mut self, context: &Context<'_>) {
        self.clear_quick = true;
        let largest = context.settings.rmem[2];
        if self.rcvbuf < largest && !self.locked {
            self.rcvbuf = self.rmem_alloc.min(largest);
        }
        if self.rmem_alloc > self.rcvbuf {
            self.rcv_ssthresh = self.window_clamp.min(2 * self.advmss);
        }
    }

    /// Moves the payload of small segments together (`tcp_collapse`): they cost less then.
    fn collapse(&mut self, context: &mut Context<'_>) {
        let Some(first) = self.chunks.front() else {
            return;
        };
        let length = distance(self.copied_seq, self.rcv_nxt);
        let cost: u32 = self.chunks.iter().map(|chunk| chunk.truesize).sum();
        let (payload, each) = COLLAPSED;
        let collapsed = length.div_ceil(payload).saturating_mul(each);
        if collapsed >= cost || self.chunks.len() < 2 || first.fin {
            return;
        }
        let fin = self.chunks.back().is_some_and(|chunk| chunk.fin);
        let gone = self.chunks.len() as u64;
        context
            .counters
            .tcp_ext
            .add(TcpExtCounter::TCPRcvCollapsed, gone);
        self.rmem_alloc = self.rmem_alloc.saturating_sub(cost - collapsed);
        let mut end_seq = self.copied_seq;
        self.chunks.clear();
        while end_seq.is_before(self.rcv_nxt) {
            let left = distance(end_seq, self.rcv_nxt);
            end_seq = end_seq + left.min(payload);
            self.chunks.push_back(Chunk {
                end_seq,
                truesize: each,
                fragments: 1,
                fin: fin && left <= payload,
            });
        }
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
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_EMPTY {
            self.bytes = VecDeque::new();
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 8 {
            self.chunks = VecDeque::new();
        }
        done
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

    /// Drops everything (`tcp_close`). True: there was data that the program had not read.
    pub(crate) fn purge(&mut self) -> bool {
        let unread = !self.bytes.is_empty();
        self.bytes = VecDeque::new();
        self.chunks = VecDeque::new();
        self.forget_out_of_order();
        self.rmem_alloc = 0;
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
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const ISN: SequenceNumber = SequenceNumber(u32::MAX - 2000);

    fn connected(bench: &mut Bench) -> ReceiveBuffer {
        let mut buffer = ReceiveBuffer::new(131_072);
        let context = bench.context();
        buffer.sack = true;
        buffer.header_length = 32;
        buffer.begin(ISN);
        buffer.select_initial_window(&context, 1448, true);
        buffer.establish(&context, 1448, 1448);
        buffer
    }

    /// A segment that begins so many bytes behind the SYN, each byte being its place's low byte.
    fn segment(from: u32, data: &[u8]) -> Arrived<'_> {
        Arrived {
            seq: ISN + 1 + from,
            payload: data,
            fin: false,
            psh: false,
            header_length: 32,
            truesize: OVERHEAD + data.len() as u32,
            gso_size: 0,
            segments: 1,
            echo: None,
        }
    }

    fn stream(from: u32, length: u32) -> Vec<u8> {
        (from..from + length)
            .map(|place| (place % 251) as u8)
            .collect()
    }

    fn put(buffer: &mut ReceiveBuffer, bench: &mut Bench, from: u32, length: u32) -> Queued {
        let data = stream(from, length);
        buffer.queue(&mut bench.context(), &segment(from, &data))
    }

    fn read_all(buffer: &mut ReceiveBuffer, bench: &mut Bench) -> Vec<u8> {
        let mut into = vec![0; 1 << 20];
        let length = buffer.read(&mut bench.context(), &mut into);
        into.truncate(length);
        into
    }

    fn count(bench: &Bench, counter: TcpExtCounter) -> u64 {
        bench.counters.tcp_ext.of(counter)
    }

    #[test]
    fn in_order_data_costs_what_the_kernel_shows_and_gives_it_back() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        // ss on the kernel: 40750 bytes in many segments, skmem r41582: all in one sk_buff.
        for turn in 0..16 {
            let queued = put(&mut buffer, &mut bench, turn * 1448, 1448);
            assert_eq!((queued.received, queued.dropped), (1448, None));
        }
        assert_eq!(buffer.rmem_alloc, OVERHEAD + 16 * 1448);
        assert_eq!(count(&bench, TcpExtCounter::TCPRcvCoalesce), 15);
        assert_eq!(buffer.rcv_mss, 1448);
        assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 16 * 1448));
        assert_eq!((buffer.rmem_alloc, buffer.readable()), (0, 0));
    }

    #[test]
    fn a_gap_is_reported_and_filled() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        put(&mut buffer, &mut bench, 0, 1000);
        let queued = put(&mut buffer, &mut bench, 2000, 1000);
        assert!(queued.out_of_order && queued.schedule_ack && queued.received == 0);
        put(&mut buffer, &mut bench, 3000, 1000);
        put(&mut buffer, &mut bench, 5000, 500);
        let (blocks, used) = buffer.sack_blocks(3);
        let base = ISN + 1;
        let block = |from, to| SackBlock {
            start: base + from,
            end: base + to,
        };
        assert_eq!(blocks[..used], [block(5000, 5500), block(2000, 4000)]);
        let queued = put(&mut buffer, &mut bench, 1000, 1000);
        assert_eq!(buffer.rcv_nxt, base + 4000);
        assert!(!queued.ack_now, "there is another gap");
        assert_eq!(buffer.sack_blocks(3).0[0], block(5000, 5500));
        let queued = put(&mut buffer, &mut bench, 4000, 1000);
        assert!(queued.ack_now && !buffer.has_gap());
        assert_eq!(buffer.sack_blocks(3).1, 0);
        assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 5500));
        assert_eq!(count(&bench, TcpExtCounter::TCPOFOQueue), 3);
        assert_eq!(buffer.rmem_alloc, 0);
    }

    #[test]
    fn what_was_here_before_is_told_as_duplicate() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        put(&mut buffer, &mut bench, 0, 1000);
        let queued = put(&mut buffer, &mut bench, 200, 300);
        assert_eq!(queued.dropped, Some(DropReason::TcpOldData));
        assert!(queued.quick_ack);
        let block = buffer.sack_blocks(3).0[0];
        assert_eq!((block.start, block.end), (ISN + 201, ISN + 501));
        buffer.acknowledged();
        assert_eq!(buffer.sack_blocks(3).1, 0);
        // In part: what is new is taken.
        put(&mut buffer, &mut bench, 900, 200);
        assert_eq!(buffer.rcv_nxt, ISN + 1101);
        assert_eq!(count(&bench, TcpExtCounter::TCPDSACKOldSent), 2);
        assert_eq!(count(&bench, TcpExtCounter::DelayedACKLost), 1);
        // Out of order: within a piece, over one and a half.
        put(&mut buffer, &mut bench, 2000, 1000);
        let queued = put(&mut buffer, &mut bench, 2100, 100);
        assert_eq!(queued.dropped, Some(DropReason::TcpOfomerge));
        put(&mut buffer, &mut bench, 3500, 1000);
        put(&mut buffer, &mut bench, 1900, 1700);
        assert_eq!(count(&bench, TcpExtCounter::TCPDSACKOfoSent), 2);
        assert_eq!(count(&bench, TcpExtCounter::TCPOFOMerge), 2);
        put(&mut buffer, &mut bench, 1100, 800);
        assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 4500));
        assert_eq!(buffer.rmem_alloc, 0);
    }

    #[test]
    fn a_closed_window_drops_and_a_fin_still_comes() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        buffer.rcv_wnd = 1000;
        put(&mut buffer, &mut bench, 0, 1000);
        let queued = put(&mut buffer, &mut bench, 1000, 1);
        assert_eq!(queued.dropped, Some(DropReason::TcpZerowindow));
        assert_eq!(count(&bench, TcpExtCounter::TCPZeroWindowDrop), 1);
        let queued = put(&mut buffer, &mut bench, 5000, 10);
        assert_eq!(queued.dropped, Some(DropReason::TcpOverwindow));
        let fin = Arrived {
            fin: true,
            ..segment(1000, &[])
        };
        assert!(buffer.queue(&mut bench.context(), &fin).fin);
        assert_eq!(buffer.rcv_nxt, ISN + 1002);
        assert_eq!(read_all(&mut buffer, &mut bench).len(), 1000);
        assert!(buffer.fin_read);
        assert_eq!((buffer.copied_seq, buffer.rmem_alloc), (ISN + 1002, 0));
    }

    #[test]
    fn a_full_buffer_gives_up_what_is_out_of_order_first() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        buffer.locked = true;
        buffer.rcvbuf = 20_000;
        buffer.rcv_wnd = 60_000;
        // Single bytes with much overhead, each in a piece of its own.
        for turn in 0..24 {
            put(&mut buffer, &mut bench, 10_000 + 2 * turn, 1);
        }
        assert!(buffer.rmem_alloc <= 20_000);
        put(&mut buffer, &mut bench, 0, 1000);
        assert_eq!(buffer.rcv_nxt, ISN + 1001);
        assert_eq!(count(&bench, TcpExtCounter::OfoPruned), 1);
        assert!(count(&bench, TcpExtCounter::PruneCalled) >= 1);
        // In order beyond the limit: refused, and no window is offered.
        let mut queued = Queued::default();
        for _ in 0..40 {
            let from = distance(ISN + 1, buffer.rcv_nxt);
            queued = put(&mut buffer, &mut bench, from, 1000);
            if queued.dropped.is_some() {
                break;
            }
        }
        assert!(!buffer.has_gap());
        assert_eq!(queued.dropped, Some(DropReason::ProtoMem));
        assert_eq!(count(&bench, TcpExtCounter::TCPRcvQDrop), 1);
        assert_eq!(buffer.select_window(&mut bench.context()), 0);
    }

    proptest::proptest! {
        /// Whatever arrives in whatever order and however often: what is read is the stream's beginning, and nothing stays charged.
        #[test]
        fn what_is_read_is_a_prefix_of_the_stream(
            segments in proptest::collection::vec((0u32..6000, 1u32..2000), 1..60),
        ) {
            let mut bench = Bench::new();
            let mut buffer = connected(&mut bench);
            let mut read = Vec::new();
            for (from, length) in segments {
                put(&mut buffer, &mut bench, from, length);
                let costs: u32 = buffer.pieces.values().map(|piece| piece.truesize).sum();
                proptest::prop_assert!(buffer.rmem_alloc >= costs);
                read.extend(read_all(&mut buffer, &mut bench));
                proptest::prop_assert_eq!(buffer.rmem_alloc, costs);
            }
            let length = u32::try_from(read.len()).unwrap();
            proptest::prop_assert_eq!(read, stream(0, length));
            buffer.purge();
            proptest::prop_assert_eq!(buffer.rmem_alloc, 0);
        }
    }
}
