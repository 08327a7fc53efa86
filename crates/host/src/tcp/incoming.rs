//! A segment as it came in (`tcp_v4_fill_cb`), and the checks that any segment must pass before a socket is looked for.

use transect_packet::{SequenceNumber, TcpFlags, TcpOptions};

use super::fast_open::FastOpenOption;
use crate::ip::bytes::{u16_at, u32_at};
use crate::ip::{Received, flow_label};
use crate::packet::{LINK_HEADER, Packet};
use crate::socket::SocketAddress;
use crate::transport::memory::{self, Written};

/// Bytes of a TCP header without options.
pub(super) const HEADER: usize = 20;

/// A segment's header, read, with what IP said of the packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    /// IP's part.
    pub(super) received: Received,
    /// The sender's end.
    pub(super) peer: SocketAddress,
    /// This host's end.
    pub(super) local: SocketAddress,
    /// IPv6's flow label.
    pub(super) flow_label: u32,
    /// The first sequence number.
    pub(super) seq: SequenceNumber,
    /// Behind the last one; SYN and FIN count (`TCP_SKB_CB(skb)->end_seq`).
    pub(super) end_seq: SequenceNumber,
    /// The acknowledgement number.
    pub(super) ack: SequenceNumber,
    /// The four bits before the control bits: three without a meaning, and AE of accurate ECN.
    pub(super) reserved: u8,
    /// The control bits.
    pub(super) flags: TcpFlags,
    /// The window as it stands in the header.
    pub(super) window: u16,
    /// The urgent pointer.
    pub(super) urgent: u16,
    /// The options.
    pub(super) options: TcpOptions,
    /// The fast open option of a SYN.
    pub(super) fast_open: Option<FastOpenOption>,
    /// Bytes of header and options.
    pub(super) header_length: usize,
    /// Payload bytes.
    pub(super) length: u32,
    /// Where the payload begins in the packet's data.
    payload_at: usize,
    /// Payload bytes of each segment where GRO or the sender's GSO made one of several; else 0.
    pub(super) gso_size: u16,
    /// How many segments it stands for; at least 1.
    pub(super) segments: u16,
    /// `skb->truesize`: what the sender's own allocation cost, as it crosses a veth; else that of the device.
    pub(super) truesize: u32,
    /// Its memory is no longer the sender's as well: a router has written to it.
    pub(super) copied: bool,
    /// The memory of what came from a TUN device.
    pub(super) written: Option<Written>,
}

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Too short for its own words: freed without a reason.
    Short,
    /// The data offset is less than a header.
    DataOffset,
}

impl Incoming {
    /// Reads the header.
    pub(super) fn read(packet: &Packet, received: &Received) -> Result<Self, Unreadable> {
        let segment = packet.network().get(received.offset..).unwrap_or_default();
        if segment.len() < HEADER {
            return Err(Unreadable::Short);
        }
        let header_length = usize::from(segment.get(12).copied().unwrap_or(0) >> 4) * 4;
        if header_length < HEADER {
            return Err(Unreadable::DataOffset);
        }
        let Some(option_bytes) = segment.get(HEADER..header_length) else {
            return Err(Unreadable::Short);
        };
        let flags = TcpFlags(segment.get(13).copied().unwrap_or(0));
        let length = u32::try_from(segment.len() - header_length).unwrap_or(u32::MAX);
        let seq = SequenceNumber(u32_at(segment, 4));
        let controls = u32::from(flags.syn()) + u32::from(flags.fin());
        let header = transect_packet::TcpHeader {
            source_port: u16_at(segment, 0),
            destination_port: u16_at(segment, 2),
            sequence: seq,
            acknowledgment: SequenceNumber(u32_at(segment, 8)),
            flags,
            window: u16_at(segment, 14),
            payload_length: length,
            option_bytes,
        };
        Ok(Incoming {
            received: *received,
            peer: SocketAddress::new(received.source, header.source_port),
            local: SocketAddress::new(received.destination, header.destination_port),
            flow_label: flow_label::label_of(packet.network()),
            seq,
            end_seq: seq + length.wrapping_add(controls),
            ack: header.acknowledgment,
            reserved: segment.get(12).copied().unwrap_or(0) & 0x0f,
            flags,
            window: header.window,
            urgent: u16_at(segment, 18),
            options: header.options(),
            fast_open: if flags.syn() {
                FastOpenOption::read(option_bytes)
            } else {
                None
            },
            header_length,
            length,
            payload_at: LINK_HEADER + received.offset + header_length,
            gso_size: packet.segmentation.map_or(0, |gso| gso.size),
            segments: packet.segmentation.map_or(1, |gso| gso.segments.max(1)),
            truesize: super::segment::OVERHEAD.saturating_add(length),
            copied: packet.copied,
            written: None,
        })
    }

    /// It came by a TUN device: what it costs is another matter.
    pub(super) fn came_by_tun(&mut self, packet: &Packet) {
        let written = memory::written(packet.len());
        self.truesize = written.truesize;
        self.written = Some(written);
    }

    /// The payload.
    pub(super) fn payload<'a>(&self, packet: &'a Packet) -> &'a [u8] {
        packet.data.get(self.payload_at..).unwrap_or_default()
    }

    /// Where the payload ends in the packet's data.
    pub(super) fn payload_end(&self) -> usize {
        self.payload_at + self.length as usize
    }

    /// The options as they came.
    pub(super) fn option_bytes<'a>(&self, packet: &'a Packet) -> &'a [u8] {
        let start = self.payload_at + HEADER - self.header_length;
        packet.data.get(start..self.payload_at).unwrap_or_default()
    }

    /// Takes up sequence numbers: payload, SYN or FIN.
    pub(super) fn has_sequence(&self) -> bool {
        self.end_seq != self.seq
    }

    /// The last sequence number without a FIN's.
    pub(super) fn end_without_fin(&self) -> SequenceNumber {
        self.end_seq - u32::from(self.flags.fin())
    }

    /// ECE and CWR both set with SYN: the peer offers ECN (RFC 3168 section 6.1.1).
    pub(super) fn offers_ecn(&self) -> bool {
        self.flags.0 & (TcpFlags::ECE | TcpFlags::CWR) == TcpFlags::ECE | TcpFlags::CWR
    }
}
