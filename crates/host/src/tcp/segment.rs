//! One entry of the write queue or the retransmission queue (`struct sk_buff` with its `tcp_skb_cb`): which sequence numbers,
//! and what became of them. The bytes themselves stay in the send buffer.

use transect_packet::{SequenceNumber, TcpFlags};

/// What every `sk_buff` of the write queue costs beside its payload (`SKB_TRUESIZE` of a head with room for headers, as
/// `ss -m` shows it on 64 bit), in bytes.
pub(crate) const OVERHEAD: u32 = 832;

/// Whether `a` comes behind `b` (`after`).
pub(crate) const fn after(a: SequenceNumber, b: SequenceNumber) -> bool {
    b.is_before(a)
}

/// The earlier of two.
pub(crate) const fn earlier(a: SequenceNumber, b: SequenceNumber) -> SequenceNumber {
    if a.is_before(b) { a } else { b }
}

/// The later of two.
pub(crate) const fn later(a: SequenceNumber, b: SequenceNumber) -> SequenceNumber {
    if a.is_before(b) { b } else { a }
}

/// How many numbers lie from `from` to `to`; 0 where `to` comes first.
pub(crate) const fn distance(from: SequenceNumber, to: SequenceNumber) -> u32 {
    let length = to.offset_from(from);
    if length < 0 {
        0
    } else {
        length.cast_unsigned()
    }
}

/// What the sender believes of a segment (`TCPCB_*` in `tcp_skb_cb::sacked`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks(u8);

impl Marks {
    /// The peer reported it behind a gap (`TCPCB_SACKED_ACKED`).
    pub(crate) const SACKED: u8 = 0x01;
    /// Its retransmission is on the way (`TCPCB_SACKED_RETRANS`).
    pub(crate) const RETRANSMITTED: u8 = 0x02;
    /// Believed lost (`TCPCB_LOST`).
    pub(crate) const LOST: u8 = 0x04;
    /// Was retransmitted once at least (`TCPCB_EVER_RETRANS`).
    pub(crate) const EVER_RETRANSMITTED: u8 = 0x80;
    /// Any trace of a retransmission (`TCPCB_RETRANS`).
    pub(crate) const RETRANS: u8 = Self::RETRANSMITTED | Self::EVER_RETRANSMITTED;

    /// Whether any of these bits is set.
    pub(crate) const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Sets bits.
    pub(crate) const fn set(&mut self, bits: u8) {
        self.0 |= bits;
    }

    /// Takes bits away.
    pub(crate) const fn clear(&mut self, bits: u8) {
        self.0 &= !bits;
    }
}

/// A segment, or what GSO will make several of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The first sequence number.
    pub(crate) seq: SequenceNumber,
    /// Behind the last one; SYN and FIN count.
    pub(crate) end_seq: SequenceNumber,
    /// SYN, FIN, PSH … as they go into the header.
    pub(crate) flags: u8,
    /// What became of it.
    pub(crate) marks: Marks,
    /// Segments on the wire (`tcp_gso_segs`); 0 while nobody has counted.
    pub(crate) pcount: u16,
    /// Payload bytes of each of them (`tcp_gso_size`); 0: it is one.
    pub(crate) gso_size: u16,
    /// What it costs in the send buffer (`truesize`), in bytes.
    pub(crate) truesize: u32,
    /// When it was sent last, in microseconds (`skb_mstamp_ns`); 0: never.
    pub(crate) sent_us: u64,
    /// Its place among all transmissions (`tcp_tsorted_anchor`); 0: not in that list.
    pub(crate) order: u64,
    /// How many segments had been delivered when it was sent (`tx.delivered`).
    pub(crate) delivered: u32,
    /// When the last of those was, in microseconds (`tx.delivered_mstamp`); 0: it has served as a sample.
    pub(crate) delivered_us: u64,
    /// When the first of the flight was sent, in microseconds (`tx.first_tx_mstamp`).
    pub(crate) first_sent_us: u64,
    /// The program had nothing more to send then (`tx.is_app_limited`).
    pub(crate) app_limited: bool,
    /// A record of the program's ends here (MSG_EOR): nothing is put behind it (`TCP_SKB_CB(skb)->eor`).
    pub(crate) eor: bool,
}

impl Segment {
    /// Sequence numbers without payload: SYN, FIN, or none (`tcp_init_nondata_skb`).
    pub(crate) fn control(seq: SequenceNumber, flags: u8) -> Self {
        let length = u32::from(flags & (TcpFlags::SYN | TcpFlags::FIN) != 0);
        Segment {
            seq,
            end_seq: seq + length,
            flags,
            marks: Marks::default(),
            pcount: 1,
            gso_size: 0,
            truesize: OVERHEAD,
            sent_us: 0,
            order: 0,
            delivered: 0,
            delivered_us: 0,
            first_sent_us: 0,
            app_limited: false,
            eor: false,
        }
    }

    /// Payload bytes (`skb->len`).
    pub(crate) fn len(&self) -> u32 {
        distance(self.seq, self.end_seq).saturating_sub(self.controls())
    }

    /// Sequence numbers that are no payload.
    fn controls(&self) -> u32 {
        u32::from(self.flags & TcpFlags::SYN != 0) + u32::from(self.flags & TcpFlags::FIN != 0)
    }

    /// The first payload byte's sequence number.
    pub(crate) fn payload_seq(&self) -> SequenceNumber {
        self.seq + u32::from(self.flags & TcpFlags::SYN != 0)
    }

    /// Counts the wire's segments anew (`tcp_set_skb_tso_segs`).
    pub(crate) fn set_segments(&mut self, mss: u32) {
        let mss = mss.max(1);
        if self.len() <= mss {
            self.pcount = 1;
            self.gso_size = 0;
        } else {
            self.pcount = u16::try_from(self.len().div_ceil(mss)).unwrap_or(u16::MAX);
            self.gso_size = u16::try_from(mss).unwrap_or(u16::MAX);
        }
    }

    /// What each segment of it carries at most (`tcp_skb_seglen`, `tcp_skb_mss`).
    pub(crate) fn mss(&self) -> u32 {
        match self.gso_size {
            0 => self.len(),
            size => u32::from(size),
        }
    }

    /// What each of its wire segments takes of the window (`tcp_skb_seglen`): all of it where it is one.
    pub(crate) fn segment_length(&self) -> u32 {
        if self.pcount <= 1 {
            self.len()
        } else {
            self.mss()
        }
    }

    /// Cuts it after `length` payload bytes; what is behind is returned (`tcp_fragment`, `tso_fragment`). FIN and PSH go with
    /// the second part, which costs an overhead of its own ([`OVERHEAD`]).
    pub(crate) fn split(&mut self, length: u32, mss: u32) -> Segment {
        let at = self.payload_seq() + length.min(self.len());
        let mut behind = self.clone();
        behind.seq = at;
        behind.flags &= !TcpFlags::SYN;
        let moved = behind.len().min(self.truesize);
        behind.truesize = OVERHEAD + moved;
        self.truesize -= moved;
        self.end_seq = at;
        self.flags &= !(TcpFlags::FIN | TcpFlags::PSH);
        // tcp_skb_fragment_eor.
        self.eor = false;
        self.set_segments(mss);
        behind.set_segments(mss);
        behind
    }

    /// Takes `length` acknowledged bytes off its front (`tcp_trim_head`); what it no longer costs.
    pub(crate) fn trim_head(&mut self, length: u32) -> u32 {
        let payload = length.saturating_sub(u32::from(self.flags & TcpFlags::SYN != 0));
        let freed = payload.min(self.len()).min(self.truesize);
        self.flags &= !TcpFlags::SYN;
        self.seq = self.seq + length;
        self.truesize -= freed;
        if self.pcount > 1 {
            self.set_segments(self.mss());
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(seq: u32, length: u32) -> Segment {
        let mut segment = Segment::control(SequenceNumber(seq), TcpFlags::ACK | TcpFlags::PSH);
        segment.end_seq = segment.seq + length;
        segment.truesize = OVERHEAD + length;
        segment.set_segments(1448);
        segment
    }

    #[test]
    fn a_split_moves_push_and_fin_behind_and_counts_both_parts() {
        // Across the wrap of sequence numbers.
        let mut first = data(u32::MAX - 999, 10_000);
        first.flags |= TcpFlags::FIN;
        first.end_seq = first.end_seq + 1;
        assert_eq!(
            (first.len(), first.pcount, first.gso_size),
            (10_000, 7, 1448)
        );
        let second = first.split(2 * 1448, 1448);
        assert_eq!((first.len(), first.pcount, first.gso_size), (2896, 2, 1448));
        assert_eq!(first.flags, TcpFlags::ACK);
        assert_eq!((second.len(), second.pcount), (7104, 5));
        assert_eq!(second.flags, TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN);
        assert_eq!(second.seq, SequenceNumber(1896));
        // As measured: a split costs one more overhead.
        assert_eq!(first.truesize + second.truesize, 2 * OVERHEAD + 10_000);
    }

    #[test]
    fn a_partial_acknowledgement_takes_whole_segments_off() {
        let mut segment = data(1, 4344);
        assert_eq!(segment.trim_head(1448 + 100), 1548);
        assert_eq!(
            (segment.seq, segment.len(), segment.pcount),
            (SequenceNumber(1549), 2796, 2)
        );
        segment.trim_head(1448);
        assert_eq!((segment.pcount, segment.gso_size), (1, 0));
    }
}
