//! Conversations, rebuilt from a capture as it streams by.
//!
//! A [`Ledger`] takes the frames of one capture file and keeps, for every conversation and every tap that saw it, what a
//! diagnosis needs: how many packets of each class passed and when, which bytes of the TCP streams were seen, acknowledged,
//! sent again. Memory grows with conversations, not with packets; what is unbounded in the traffic is bounded here, and says
//! so where it was.
//!
//! What it is not: it matches nothing between two captures and judges nothing. That is the diagnosis.

mod chunks;
mod error;
mod index;
mod judge;
mod ledger;
mod notes;
mod ranges;
mod record;
mod resolution;
mod tcp;
mod view;

use std::net::IpAddr;
use std::ops::Range;

use transect_packet::{
    Endpoint, FrameDirection, IcmpVersion, MacAddress, SequenceNumber, TcpFlags, Tuple,
};
use transect_path::{Direction, Timestamp, What};

pub use judge::Handshake;
pub use ledger::{Ledger, LedgerOptions, TapTotals, read_capture};
pub use resolution::Resolution;

/// A place at which frames were captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tap {
    /// The interface: an index into [`Ledger::interfaces`].
    pub interface: usize,
    /// The capturing host's own index of the interface, where one capture interface stands for several (`any`, SLL2).
    pub interface_index: Option<u32>,
    /// Into or out of the host; nothing where the capture does not tell.
    pub direction: Option<FrameDirection>,
}

impl Tap {
    /// Whether both are the same interface, whatever the direction.
    pub fn same_interface(&self, other: &Tap) -> bool {
        self.interface == other.interface && self.interface_index == other.interface_index
    }
}

/// A conversation within its ledger, in order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(pub u32);

/// What is enough to count a conversation, or to pass it over, without building its [`Conversation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    /// Which one.
    pub id: ConversationId,
    /// From the client to the server.
    pub tuple: Tuple,
    /// See [`Conversation::filtered`].
    pub filtered: bool,
    /// See [`Conversation::clean`].
    pub clean: bool,
    /// The client's initial sequence number, where its SYN or the answer to it was seen.
    pub syn: Option<SequenceNumber>,
}

/// How the client was told from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKnownBy {
    /// It sent the SYN or the echo request, or received the SYN-ACK or the echo reply.
    Role,
    /// It spoke first, as far as the capture goes.
    SpokeFirst,
    /// Only an ICMP error about its packet was seen.
    QuotedInError,
}

/// One direction of a TCP conversation, as a row of bytes numbered by 64-bit offsets that do not wrap around.
///
/// Offset 0 is the SYN and 1 the first byte of data where a SYN (or its acknowledgement) was seen; both directions, every
/// tap and every host then agree. Else the first byte seen has offset 2^32, and only the sequence numbers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stream {
    /// The sequence number of offset 0 (and of offset 2^32); nothing until a TCP segment shows it.
    pub origin: Option<SequenceNumber>,
    /// Whether the origin is the SYN's sequence number.
    pub from_syn: bool,
}

impl Stream {
    /// Where the first byte of a stream whose SYN was not seen stands.
    pub const UNKNOWN_START: u64 = 1 << 32;

    /// The sequence number at an offset.
    pub fn sequence(&self, offset: u64) -> Option<SequenceNumber> {
        // Truncation is the point: sequence numbers are the offsets' lower 32 bits, shifted by the origin.
        self.origin.map(|origin| origin + (offset as u32))
    }

    /// Where the stream's data starts: 1 behind a SYN, else at [`Stream::UNKNOWN_START`].
    pub const fn start(&self) -> u64 {
        if self.from_syn {
            1
        } else {
            Self::UNKNOWN_START
        }
    }

    /// The offset of a sequence number, taken as the one nearest to the offset `near`.
    pub fn offset_near(&self, sequence: SequenceNumber, near: u64) -> Option<u64> {
        let distance = i64::from(sequence.offset_from(self.sequence(near)?));
        near.checked_add_signed(distance)
    }

    /// What to add to an offset in this stream to get the offset of the same byte in `other`, the same stream as another
    /// capture knows it. Nothing where one of them is unknown.
    pub fn shift_to(&self, other: &Stream) -> Option<i64> {
        let apart = self.origin?.offset_from(other.origin?);
        let base = |stream: &Stream| if stream.from_syn { 0 } else { 1i64 << 32 };
        Some(base(other) - base(self) + i64::from(apart))
    }
}

/// Packets with the same five-tuple, both ways, as one capture saw them.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Which one.
    pub id: ConversationId,
    /// From the client to the server: the client sent the SYN, else spoke first.
    pub tuple: Tuple,
    /// How the client was told from the server.
    pub client_known_by: ClientKnownBy,
    /// Whether at least one packet of it matched the filter; true where there is none.
    pub filtered: bool,
    /// Nothing about it asks for a closer look, as far as this capture goes: a TCP connection opened and closed, every byte
    /// acknowledged, nothing twice or late; datagrams and echoes answered one by one; no ICMP error.
    pub clean: bool,
    /// The first packet's time; that of the first ICMP error where no packet was seen.
    pub first: Timestamp,
    /// The last packet's time.
    pub last: Timestamp,
    /// The client's bytes.
    pub to_server: Stream,
    /// The server's bytes.
    pub to_client: Stream,
    /// What each tap saw, for each direction that it saw, in order of appearance.
    pub tallies: Vec<Tally>,
    /// ICMP errors that quote a packet of this conversation.
    pub errors: Vec<QuotedError>,
}

/// How often each class of packets was seen. SYN, SYN-ACK, FIN and RST stop counting at 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// SYN without ACK.
    pub syn: u32,
    /// SYN with ACK.
    pub syn_ack: u32,
    /// Nothing but an acknowledgement.
    pub ack: u32,
    /// With payload, without FIN.
    pub data: u32,
    /// FIN, with or without payload.
    pub fin: u32,
    /// RST.
    pub rst: u32,
    /// Datagrams of UDP and of protocols without classes.
    pub datagram: u32,
    /// ICMP echo requests.
    pub echo_request: u32,
    /// ICMP echo replies.
    pub echo_reply: u32,
    /// Fragments other than the first of each packet (which counts in its own class).
    pub fragment: u32,
}

impl Counts {
    /// The count of one class; ICMP errors are not packets of the conversation: 0.
    pub const fn of(&self, what: What) -> u32 {
        match what {
            What::Syn => self.syn,
            What::SynAck => self.syn_ack,
            What::Ack => self.ack,
            What::Data => self.data,
            What::Fin => self.fin,
            What::Rst => self.rst,
            What::Datagram => self.datagram,
            What::EchoRequest => self.echo_request,
            What::EchoReply => self.echo_reply,
            What::Fragment => self.fragment,
            What::IcmpError => 0,
        }
    }
}

/// Segments seen more than once, or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repeats {
    /// How many segments.
    pub segments: u32,
    /// How many of their bytes had been seen before (or filled a gap).
    pub bytes: u64,
}

/// What a SYN or SYN-ACK offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// Maximum segment size in bytes.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
}

/// What one tap saw of one direction of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// The tap.
    pub tap: Tap,
    /// Towards the server or the client.
    pub direction: Direction,
    /// Packets.
    pub packets: u64,
    /// Payload of the transport in bytes, repeats included.
    pub payload_bytes: u64,
    /// The first packet's time.
    pub first: Timestamp,
    /// The last packet's time.
    pub last: Timestamp,
    /// Packets by class.
    pub counts: Counts,
    /// What the SYN or SYN-ACK seen here offered.
    pub offered: Option<Offered>,
    /// Which bytes of the stream were seen, in order, without overlap.
    pub seen: Vec<Range<u64>>,
    /// The gaps were too many to keep: the smallest ones are missing from `seen`, which says more than was seen.
    pub seen_is_rough: bool,
    /// The end of the sequence space seen, SYN and FIN included; nothing before the first TCP segment.
    pub end: Option<u64>,
    /// The FIN's offset.
    pub fin_at: Option<u64>,
    /// The highest cumulative acknowledgement carried: the offset, in the opposite stream, of the next byte expected.
    pub acknowledged: Option<u64>,
    /// What was acknowledged selectively behind that, in the opposite stream; bounded.
    pub selectively_acknowledged: Vec<Range<u64>>,
    /// Pure acknowledgements that repeat the one before them.
    pub duplicate_acks: u32,
    /// Acknowledgements of nothing that belongs to this connection (an older one's, or a mistake).
    pub stray_acks: u32,
    /// Segments whose sequence numbers belong to no part of this connection.
    pub stray_segments: u32,
    /// Selective acknowledgements of data that had arrived already (D-SACK, RFC 2883): it was sent twice without need.
    pub duplicate_sacks: u32,
    /// Data and FINs that this tap had seen before: sent again, or duplicated by the network. SYNs are only in `counts`.
    pub retransmitted: Repeats,
    /// Data that fills a gap behind which data was seen: what was lost before this tap and sent again, or reordered.
    pub late: Repeats,
    /// Keepalive and zero-window probes.
    pub probes: u32,
    /// The last window advertised, in bytes, scaled where both SYNs were seen to offer it; nothing for other protocols.
    pub window: Option<u32>,
    /// How often a window of zero was advertised.
    pub zero_windows: u32,
    /// When last.
    pub zero_window_last: Option<Timestamp>,
    /// TTL or hop limit of the first packet.
    pub ttl_first: u8,
    /// TTL or hop limit of the last packet.
    pub ttl_last: u8,
    /// The longest IP packet in bytes; with segmentation offload more than the MTU.
    pub longest_packet: u32,
    /// Whether a packet had "don't fragment" set (always so for IPv6).
    pub dont_fragment: bool,
    /// The MAC addresses that the packets came from: the first, and the first other one.
    pub source_macs: Vec<MacAddress>,
    /// The MAC addresses that the packets went to: the first, and the first other one.
    pub destination_macs: Vec<MacAddress>,
    /// Packets that the capturing host saw as another host's (cooked captures only).
    pub other_host: u32,
    /// Packets with a wrong IPv4 header checksum.
    pub bad_header_checksums: u32,
    /// Packets with a wrong transport checksum; counted only on request ([`LedgerOptions::verify_checksums`]), and to be
    /// believed only where no offload is at work ([`transect_packet::transport_checksum`]).
    pub bad_checksums: u32,
    /// Single packets: every SYN, SYN-ACK, FIN and RST, the first data, repeats and late segments; of other protocols every
    /// packet. The first 32 and the last 16 of them, in the order of the capture.
    pub notes: Vec<Note>,
    /// How many notes are missing between the first and the last ones.
    pub notes_omitted: u32,
    /// The newest segment with data.
    pub latest_data: Option<Note>,
}

/// One packet worth remembering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Its class.
    pub what: What,
    /// When it was captured.
    pub time: Timestamp,
    /// Whether it repeats what this tap had seen before.
    pub again: bool,
    /// TCP's sequence number; an echo's sequence number.
    pub sequence: SequenceNumber,
    /// TCP's acknowledgement number.
    pub acknowledgment: SequenceNumber,
    /// TCP's window as it stands in the header.
    pub window: u16,
    /// TCP's control bits.
    pub flags: TcpFlags,
    /// The sender's clock in TCP's timestamps option; kept for SYNs and SYN-ACKs.
    pub timestamp: Option<u32>,
    /// UDP's checksum as it stands in the header.
    pub checksum: u16,
    /// Payload of the transport, in bytes.
    pub payload_length: u32,
    /// The IP packet's length, in bytes.
    pub ip_length: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IP identification.
    pub identification: u32,
}

/// ICMP errors of one kind about a conversation, from one reporter, seen at one tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotedError {
    /// Where they were captured.
    pub tap: Tap,
    /// Which ICMP.
    pub version: IcmpVersion,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The MTU that was named, if any.
    pub mtu: Option<u32>,
    /// Who reports the error.
    pub reporter: IpAddr,
    /// To whom.
    pub receiver: IpAddr,
    /// Which way the quoted packets went.
    pub direction: Direction,
    /// How many errors.
    pub count: u64,
    /// The first error's time.
    pub first: Timestamp,
    /// The last error's time.
    pub last: Timestamp,
    /// The first quoted packet's sequence number.
    pub sequence: Option<SequenceNumber>,
}

/// The ends of a conversation.
impl Conversation {
    /// Who sent the SYN, else who spoke first.
    pub const fn client(&self) -> Endpoint {
        self.tuple.source
    }

    /// The other end.
    pub const fn server(&self) -> Endpoint {
        self.tuple.destination
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of one range are what is meant"
)]
mod tests;
