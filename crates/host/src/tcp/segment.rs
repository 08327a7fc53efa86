//! One entry of the write queue or the retransmission queue (`struct sk_buff` with its `tcp_skb_cb`): which sequence numbers,
//! and what became of them. The bytes themselves stay in the send buffer.

use transect_packet::{SequenceNumber, TcpFlags};

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
            truesize: 0,
            sent_us: 0,
            order: 0,
            delivered: 0,
        }
    }

    /// Payload bytes (`skb->len`).
    pub(crate) fn len(&self) -> u32 {
        let controls =
            u32::from(self.flags & TcpFlags::SYN != 0) + u32::from(self.flags & TcpFlags::FIN != 0);
        (self.end_seq.offset_from(self.seq).max(0).cast_unsigned()).saturating_sub(controls)
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

    /// Cuts it after `length` payload bytes; what is behind is returned (`tcp_fragment`, `tso_fragment`). FIN and PSH go with the
    /// second part.
    pub(crate) fn split(&mut self, length: u32, mss: u32) -> Segment {
        let mut behind = self.clone();
        let at = self.payload_seq() + length.min(self.len());
        // tcp_fragment: the new skb's truesize is what it holds (the old one gives it away).
        let moved = behind.end_seq.offset_from(at).max(0).cast_unsigned();
        behind.seq = at;
        behind.flags &= !TcpFlags::SYN;
        behind.truesize = moved.min(self.truesize);
        self.truesize -= behind.truesize;
        self.end_seq = at;
        self.flags &= !(TcpFlags::FIN | TcpFlags::PSH);
        self.set_segments(mss);
        behind.set_segments(mss);
        behind
    }
}
