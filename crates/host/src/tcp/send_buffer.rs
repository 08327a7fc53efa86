//! What programs wrote and the peer has not acknowledged: the bytes, and the write queue that cuts them into segments
//! (`sk_write_queue`, `tcp_sendmsg_locked`, `sk_wmem_queued`).

use std::collections::VecDeque;

use transect_packet::SequenceNumber;

use super::segment::Segment;

/// How far a write got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// All of it is queued: `tcp_push`.
    All,
    /// A segment of the full size goal is complete and there is more: `forced` (`forced_push`, it carries PSH: push all that is pending), or
    /// else, if it is the only unsent one, push just that (`tcp_push_one`); then append the rest.
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
    pub(crate) pushed_seq: SequenceNumber,
    /// What the segments cost, sent or not (`sk_wmem_queued`).
    pub(crate) wmem_queued: u32,
    /// The limit (`sk_sndbuf`).
    pub(crate) sndbuf: u32,
    /// The program fixed it (`SOCK_SNDBUF_LOCK`).
    pub(crate) locked: bool,
    pub(super) unsent: VecDeque<Segment>,
    pub(super) bytes: VecDeque<u8>,
    pub(super) base: SequenceNumber,
}

#[expect(unused_variables, reason = "signatures first")]
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

    /// Takes in bytes up to the end of one segment (one turn of `tcp_sendmsg_locked`); how many, and why it stopped.
    pub(crate) fn append(
        &mut self,
        data: &[u8],
        size_goal: u32,
        max_window: u32,
        in_flight_empty: bool,
    ) -> (usize, Appended) {
        (0, Appended::NoSpace)
    }

    /// Marks the last unsent segment PSH (`tcp_mark_push`), if there is one.
    pub(crate) fn mark_push(&mut self) {}

    /// Whether so much was written since the last push that the next segment carries PSH (`forced_push`).
    pub(crate) fn forced_push(&self, max_window: u32) -> bool {
        false
    }

    /// Queues the FIN (`tcp_send_fin`): on the last unsent segment, or as one of its own.
    pub(crate) fn append_fin(&mut self) {}

    /// The first unsent segment (`tcp_send_head`).
    pub(crate) fn head(&self) -> Option<&Segment> {
        self.unsent.front()
    }

    /// The last unsent segment (`tcp_write_queue_tail`).
    pub(crate) fn tail(&self) -> Option<&Segment> {
        self.unsent.back()
    }

    /// Counts the head's wire segments (`tcp_init_tso_segs`).
    pub(crate) fn count_head_segments(&mut self, mss: u32) -> u32 {
        0
    }

    /// Cuts the head after `length` payload bytes (`tso_fragment`).
    pub(crate) fn split_head(&mut self, length: u32, mss: u32) {}

    /// Takes the head off, to be given to `Sender::sent` when it is handed to IP.
    pub(crate) fn take_head(&mut self) -> Option<Segment> {
        self.unsent.pop_front()
    }

    /// Puts back a head whose transmission failed.
    pub(crate) fn put_back(&mut self, segment: Segment) {
        self.unsent.push_front(segment);
    }

    /// The bytes of a segment, in at most two pieces.
    pub(crate) fn payload(&self, seq: SequenceNumber, length: u32) -> (&[u8], &[u8]) {
        (&[], &[])
    }

    /// Bytes before `una` are acknowledged, `freed` of `wmem_queued` with them.
    pub(crate) fn release(&mut self, una: SequenceNumber, freed: u32) {}

    /// Whether a program may write (`sk_stream_is_writeable`, with `tcp_notsent_lowat`).
    pub(crate) fn is_writable(&self, snd_nxt: SequenceNumber, notsent_lowat: u32) -> bool {
        false
    }

    /// Bytes written and never sent.
    pub(crate) fn not_sent(&self, snd_nxt: SequenceNumber) -> u32 {
        self.write_seq.offset_from(snd_nxt).max(0).cast_unsigned()
    }

    /// Grows the limit with the congestion window (`tcp_sndbuf_expand`, `tcp_new_space`).
    pub(crate) fn expand(
        &mut self,
        wmem_max: u32,
        mss: u32,
        cwnd: u32,
        init_cwnd: u32,
        reordering: u32,
    ) {
    }
}
