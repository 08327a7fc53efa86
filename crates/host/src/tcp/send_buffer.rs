//! What programs wrote and the peer has not acknowledged: the bytes, and the write queue that cuts them into segments
//! (`sk_write_queue`, `tcp_sendmsg_locked`, `sk_wmem_queued`).

use std::collections::VecDeque;

use transect_packet::{SequenceNumber, TcpFlags};

use super::segment::{OVERHEAD, Segment, after, distance};
use crate::spare;

/// How far a write got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// All of it is queued: `tcp_push`.
    All,
    /// A segment of the full size goal is complete and there is more: `forced` (`forced_push`, it carries PSH: push all that is
    /// pending), or else, if it is the only unsent one, push just that (`tcp_push_one`); then append the rest.
    SegmentFull {
        /// More than half of the largest window was written since the last push.
        forced: bool,
        /// It is the first unsent one.
        first: bool,
    },
    /// The send buffer is full.
    NoSpace,
}

/// The send buffer.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    /// Behind the last byte written (`write_seq`).
    pub(crate) write_seq: SequenceNumber,
    /// Where the last push was (`pushed_seq`).
    pushed_seq: SequenceNumber,
    /// What the segments cost, sent or not (`sk_wmem_queued`); cuts of what is in flight come on top
    /// ([`super::sender::Sender::queue_cost`]).
    pub(crate) wmem_queued: u32,
    /// The limit (`sk_sndbuf`).
    pub(crate) sndbuf: u32,
    /// The program fixed it (`SOCK_SNDBUF_LOCK`).
    pub(crate) locked: bool,
    unsent: VecDeque<Segment>,
    bytes: VecDeque<u8>,
    /// The number of the first of them.
    base: SequenceNumber,
}

/// Above this many bytes an empty buffer gives its memory back.
const KEPT_EMPTY: usize = 256;

impl SendBuffer {
    /// Of a new connection: `first` is the number of the first payload byte (ISS + 1), `sndbuf` `tcp_wmem[1]`.
    pub(crate) fn new(first: SequenceNumber, sndbuf: u32) -> Self {
        SendBuffer {
            write_seq: first,
            pushed_seq: first,
            base: first,
            sndbuf,
            ..Self::default()
        }
    }

    /// Whether a new segment may be begun (`sk_stream_memory_free`).
    pub(crate) fn has_room(&self, snd_nxt: SequenceNumber, notsent_lowat: u32) -> bool {
        self.wmem_queued < self.sndbuf && self.not_sent(snd_nxt) < notsent_lowat
    }

    /// Takes in bytes up to the end of one segment (one turn of `tcp_sendmsg_locked`); how many, and why it stopped. Only the
    /// beginning of a segment needs room ([`SendBuffer::has_room`]).
    pub(crate) fn append(
        &mut self,
        data: &[u8],
        size_goal: u32,
        max_window: u32,
        has_room: bool,
    ) -> (usize, Appended) {
        let goal = size_goal.max(1);
        let open = self
            .unsent
            .back()
            .filter(|tail| tail.len() < goal && tail.flags & (TcpFlags::FIN | TcpFlags::SYN) == 0)
            // tcp_skb_can_collapse_to
            .filter(|tail| !tail.eor);
        if open.is_none() {
            if !has_room {
                return (0, Appended::NoSpace);
            }
            let segment = Segment {
                pcount: 0,
                ..Segment::control(self.write_seq, TcpFlags::ACK)
            };
            self.wmem_queued = self.wmem_queued.saturating_add(segment.truesize);
            self.unsent.push_back(segment);
        }
        let first = self.unsent.len() == 1;
        let Some(tail) = self.unsent.back_mut() else {
            return (0, Appended::NoSpace);
        };
        let room = usize::try_from(goal.saturating_sub(tail.len())).unwrap_or(usize::MAX);
        let taken = data.get(..room).unwrap_or(data);
        let length = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        if self.bytes.capacity() == 0 && taken.len() > KEPT_EMPTY {
            self.bytes = spare::ring(taken.len());
        }
        self.bytes.extend(taken);
        tail.flags &= !TcpFlags::PSH;
        tail.end_seq = tail.end_seq + length;
        tail.truesize = tail.truesize.saturating_add(length);
        tail.pcount = 0;
        let full = tail.len() >= goal;
        self.write_seq = self.write_seq + length;
        self.wmem_queued = self.wmem_queued.saturating_add(length);
        if taken.len() == data.len() || !full {
            return (taken.len(), Appended::All);
        }
        let forced = self.forced_push(max_window);
        if forced {
            self.mark_push();
        }
        (taken.len(), Appended::SegmentFull { forced, first })
    }

    /// Bytes for the SYN, as one segment that is handed out at once (`tcp_send_syn_data`).
    pub(crate) fn take_whole(&mut self, data: &[u8]) -> Segment {
        let seq = self.write_seq;
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut segment = Segment::control(seq, TcpFlags::ACK);
        segment.end_seq = seq + length;
        segment.truesize = OVERHEAD.saturating_add(length);
        self.bytes.extend(data);
        self.write_seq = segment.end_seq;
        self.pushed_seq = self.write_seq;
        self.charge(segment.truesize);
        segment
    }

    /// A segment of another's making counts as well (`sk_wmem_queued_add`).
    pub(crate) fn charge(&mut self, truesize: u32) {
        self.wmem_queued = self.wmem_queued.saturating_add(truesize);
    }

    /// A record ends with what was written last (MSG_EOR).
    pub(crate) fn end_record(&mut self) {
        if let Some(tail) = self.unsent.back_mut() {
            tail.eor = true;
        }
    }

    /// The last unsent segment.
    pub(crate) fn tail(&self) -> Option<&Segment> {
        self.unsent.back()
    }

    /// Marks the last unsent segment PSH (`tcp_mark_push`), if there is one.
    pub(crate) fn mark_push(&mut self) {
        if let Some(tail) = self.unsent.back_mut() {
            tail.flags |= TcpFlags::PSH;
            self.pushed_seq = self.write_seq;
        }
    }

    /// Whether so much was written since the last push that the next segment carries PSH (`forced_push`).
    pub(crate) fn forced_push(&self, max_window: u32) -> bool {
        after(self.write_seq, self.pushed_seq + (max_window >> 1))
    }

    /// Queues the FIN (`tcp_send_fin`): on the last unsent segment, or as one of its own.
    pub(crate) fn append_fin(&mut self) {
        let seq = self.write_seq;
        self.write_seq = seq + 1;
        if let Some(tail) = self.unsent.back_mut() {
            tail.flags |= TcpFlags::FIN;
            tail.end_seq = tail.end_seq + 1;
            return;
        }
        let segment = Segment::control(seq, TcpFlags::ACK | TcpFlags::FIN);
        self.wmem_queued = self.wmem_queued.saturating_add(segment.truesize);
        self.unsent.push_back(segment);
    }

    /// The first unsent segment (`tcp_send_head`).
    pub(crate) fn head(&self) -> Option<&Segment> {
        self.unsent.front()
    }

    /// Nothing waits behind the head.
    pub(crate) fn head_is_last(&self) -> bool {
        self.unsent.len() <= 1
    }

    /// Counts the head's wire segments (`tcp_set_skb_tso_segs`).
    pub(crate) fn count_head_segments(&mut self, mss: u32) -> u32 {
        let Some(head) = self.unsent.front_mut() else {
            return 0;
        };
        head.set_segments(mss);
        u32::from(head.pcount)
    }

    /// Fills the head up to `length` payload bytes from what waits behind it (`tcp_grow_skb`), from the next segment only.
    pub(crate) fn grow_head(&mut self, length: u32) {
        let mut segments = self.unsent.iter_mut();
        let (Some(head), Some(next)) = (segments.next(), segments.next()) else {
            return;
        };
        let moved = length.saturating_sub(head.len()).min(next.len());
        if moved == 0 || head.eor || head.flags & (TcpFlags::SYN | TcpFlags::FIN) != 0 {
            return;
        }
        head.end_seq = head.end_seq + moved;
        head.truesize = head.truesize.saturating_add(moved);
        next.trim_head(moved);
        if next.len() == 0 {
            head.end_seq = next.end_seq;
            head.flags |= next.flags;
            head.eor = next.eor;
            self.wmem_queued = self.wmem_queued.saturating_sub(next.truesize);
            self.unsent.remove(1);
        }
    }

    /// Cuts the head after `length` payload bytes (`tso_fragment`).
    pub(crate) fn split_head(&mut self, length: u32, mss: u32) {
        let Some(mut head) = self.unsent.pop_front() else {
            return;
        };
        if length > 0 && length < head.len() {
            let behind = head.split(length, mss);
            self.wmem_queued = self.wmem_queued.saturating_add(OVERHEAD);
            self.unsent.push_front(behind);
        }
        self.unsent.push_front(head);
    }

    /// Takes the first `length` bytes off as one segment, whatever they are cut into (`tcp_mtu_probe`); nothing where there are
    /// not so many. To be given to `Sender::sent`, or put back.
    pub(crate) fn take_probe(&mut self, length: u32, mss: u32) -> Option<Segment> {
        let first = self.unsent.front()?;
        let waiting = distance(first.seq, self.write_seq);
        if length == 0 || waiting < length.saturating_add(2) || first.flags & TcpFlags::SYN != 0 {
            return None;
        }
        let mut probe = Segment::control(first.seq, TcpFlags::ACK);
        probe.end_seq = probe.seq + length;
        probe.truesize = OVERHEAD.saturating_add(length);
        self.wmem_queued = self.wmem_queued.saturating_add(probe.truesize);
        let mut left = length;
        while let Some(mut segment) = self.unsent.pop_front() {
            if segment.len() > left {
                let freed = segment.trim_head(left);
                self.wmem_queued = self.wmem_queued.saturating_sub(freed);
                segment.set_segments(mss);
                self.unsent.push_front(segment);
                break;
            }
            left -= segment.len();
            probe.flags |= segment.flags;
            self.wmem_queued = self.wmem_queued.saturating_sub(segment.truesize);
            if left == 0 {
                break;
            }
        }
        Some(probe)
    }

    /// Takes the head off, to be given to `Sender::sent` when it is handed to IP.
    pub(crate) fn take_head(&mut self) -> Option<Segment> {
        let head = self.unsent.pop_front();
        if self.unsent.is_empty() {
            self.unsent = VecDeque::new();
        }
        head
    }

    /// Puts back a head whose transmission failed.
    pub(crate) fn put_back(&mut self, segment: Segment) {
        self.unsent.push_front(segment);
    }

    /// The bytes of a segment, in at most two pieces; fewer where they are not all there.
    pub(crate) fn payload(&self, seq: SequenceNumber, length: u32) -> (&[u8], &[u8]) {
        let offset = seq.offset_from(self.base);
        let Ok(start) = usize::try_from(offset) else {
            return (&[], &[]);
        };
        let end = start.saturating_add(length as usize);
        let (first, second) = self.bytes.as_slices();
        let middle = first.len();
        let one = first.get(start.min(middle)..end.min(middle));
        let two = second.get(
            start.saturating_sub(middle).min(second.len())
                ..end.saturating_sub(middle).min(second.len()),
        );
        (one.unwrap_or_default(), two.unwrap_or_default())
    }

    /// Bytes before `una` are acknowledged, `freed` of `wmem_queued` with them.
    pub(crate) fn release(&mut self, una: SequenceNumber, freed: u32) {
        let acked = distance(self.base, una) as usize;
        let acked = acked.min(self.bytes.len());
        self.bytes.drain(..acked);
        self.base = self.base + u32::try_from(acked).unwrap_or(0);
        self.wmem_queued = self.wmem_queued.saturating_sub(freed);
        if self.bytes.capacity() > KEPT_EMPTY {
            spare::give_back_ring(&mut self.bytes);
        }
    }

    /// Whether a program that waits for room is told (`sk_stream_is_writeable` as `sk_stream_write_space` asks it): a third of the
    /// buffer is free, and less than half of `tcp_notsent_lowat` waits.
    pub(crate) fn is_writable(&self, snd_nxt: SequenceNumber, notsent_lowat: u32) -> bool {
        let free = self.sndbuf.saturating_sub(self.wmem_queued);
        free >= self.wmem_queued >> 1
            && self.wmem_queued <= self.sndbuf
            && u64::from(self.not_sent(snd_nxt)) << 1 < u64::from(notsent_lowat)
    }

    /// Bytes written and never sent.
    pub(crate) fn not_sent(&self, snd_nxt: SequenceNumber) -> u32 {
        distance(snd_nxt, self.write_seq)
    }

    /// Grows the limit with the congestion window (`tcp_sndbuf_expand`), to `tcp_wmem[2]` at most. `mss`: the larger one of what the peer
    /// takes and what is sent. The caller has asked whether it may (`tcp_should_expand_sndbuf`).
    pub(crate) fn expand(&mut self, wmem_max: u32, mss: u32, cwnd: u32, reordering: u32) {
        /// `MAX_TCP_HEADER` and `struct skb_shared_info`, then `struct sk_buff`.
        const HEAD: u32 = 256 + 320;
        const SKB: u32 = 256;
        if self.locked {
            return;
        }
        let one = mss
            .saturating_add(HEAD)
            .checked_next_power_of_two()
            .unwrap_or(u32::MAX)
            .saturating_add(SKB);
        let segments = cwnd
            .max(super::congestion::INITIAL_WINDOW)
            .max(reordering.saturating_add(1));
        let wanted = one.saturating_mul(segments).saturating_mul(2);
        if self.sndbuf < wanted {
            self.sndbuf = wanted.min(wmem_max);
        }
    }

    /// Drops everything (`tcp_write_queue_purge`).
    pub(crate) fn purge(&mut self) {
        self.unsent = VecDeque::new();
        self.bytes = VecDeque::new();
        self.base = self.write_seq;
        self.wmem_queued = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: SequenceNumber = SequenceNumber(u32::MAX - 1500);

    fn write(buffer: &mut SendBuffer, data: &[u8]) -> (usize, Vec<Appended>) {
        let (mut done, mut steps) = (0, Vec::new());
        loop {
            let room = buffer.has_room(FIRST, u32::MAX);
            let (taken, how) = buffer.append(&data[done..], 31_856, 65_160, room);
            done += taken;
            steps.push(how);
            if !matches!(how, Appended::SegmentFull { .. }) {
                return (done, steps);
            }
        }
    }

    #[test]
    fn it_costs_what_ss_shows_on_the_kernel() {
        // skmem of the kernel with tb46080, nothing acknowledged, TCP_NODELAY, cwnd 10: after writes of 1, 1, 100, 1448, 3000,
        // 20000 and 50000 bytes (each sent at once while the window let it).
        let mut buffer = SendBuffer::new(FIRST, 46_080);
        let mut seen = Vec::new();
        for (length, taken) in [(1, 1), (1, 1), (100, 100), (1448, 1448), (3000, 3000)] {
            assert_eq!(write(&mut buffer, &vec![7; length]).0, taken);
            buffer.count_head_segments(1448);
            buffer.take_head();
            seen.push(buffer.wmem_queued);
        }
        assert_eq!(seen, [833, 1666, 2598, 4878, 8710]);
        write(&mut buffer, &[7; 20_000]);
        buffer.split_head(3 * 1448, 1448);
        buffer.take_head();
        assert_eq!(buffer.wmem_queued, 30_374);
        let (taken, steps) = write(&mut buffer, &[7; 50_000]);
        assert_eq!((taken, buffer.wmem_queued), (16_200, 46_574));
        let full = Appended::SegmentFull {
            forced: true,
            first: true,
        };
        assert_eq!(steps, [full, Appended::NoSpace]);
        assert!(!buffer.is_writable(FIRST, u32::MAX));
    }

    #[test]
    fn the_head_is_filled_from_the_next_segment_before_it_goes() {
        let mut buffer = SendBuffer::new(FIRST, 1 << 20);
        for _ in 0..3 {
            let data = [7; 500];
            assert_eq!(buffer.append(&data, 500, u32::MAX, true).0, 500);
        }
        buffer.append_fin();
        assert_eq!(buffer.wmem_queued, 3 * (OVERHEAD + 500));
        buffer.grow_head(800);
        assert_eq!(buffer.head().map(Segment::len), Some(800));
        assert_eq!(buffer.wmem_queued, 3 * (OVERHEAD + 500));
        buffer.grow_head(2000);
        assert_eq!(buffer.head().map(Segment::len), Some(1000));
        assert_eq!(buffer.wmem_queued, 2 * OVERHEAD + 1500);
        buffer.grow_head(2000);
        let head = buffer.take_head().unwrap();
        assert_eq!((head.len(), head.end_seq), (1500, FIRST + 1501));
        assert_eq!(head.truesize, buffer.wmem_queued);
        assert!(buffer.head().is_none());
    }

    #[test]
    fn the_limit_grows_as_on_the_kernel() {
        let mut buffer = SendBuffer::new(FIRST, 16_384);
        buffer.expand(4_194_304, 1460, 10, 3);
        assert_eq!(buffer.sndbuf, 46_080);
        buffer.expand(4_194_304, 1460, 5000, 3);
        assert_eq!(buffer.sndbuf, 4_194_304);
    }

    #[test]
    fn payload_comes_in_order_across_the_wrap_and_after_releases() {
        let mut buffer = SendBuffer::new(FIRST, 1 << 20);
        let data: Vec<u8> = (0..10_000u32).map(|byte| byte as u8).collect();
        write(&mut buffer, &data[..6000]);
        buffer.release(FIRST + 4000, 4000);
        write(&mut buffer, &data[6000..]);
        let (one, two) = buffer.payload(FIRST + 4500, 5500);
        assert_eq!([one, two].concat(), &data[4500..]);
        assert_eq!(buffer.payload(FIRST + 3999, 10), (&[][..], &[][..]));
        assert_eq!(buffer.payload(FIRST + 20_000, 10), (&[][..], &[][..]));
    }

    #[test]
    fn the_fin_rides_on_what_waits_or_goes_alone() {
        let mut buffer = SendBuffer::new(FIRST, 1 << 20);
        write(&mut buffer, b"bye");
        buffer.append_fin();
        let head = buffer.take_head().unwrap();
        assert_eq!(head.len(), 3);
        assert_eq!(head.end_seq, FIRST + 4);
        assert_eq!(head.flags & TcpFlags::FIN, TcpFlags::FIN);
        let mut buffer = SendBuffer::new(FIRST, 1 << 20);
        buffer.append_fin();
        assert_eq!(
            buffer.head().map(|head| (head.len(), head.end_seq)),
            Some((0, FIRST + 1))
        );
    }
}
