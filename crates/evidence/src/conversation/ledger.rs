//! The ledger: frames in, conversations out.

use std::io::Read;
use std::net::IpAddr;

use hashbrown::HashMap;
use transect_packet::bpf::Program;
use transect_packet::{
    CaptureError, CaptureReader, Dissection, Frame, IcmpMessage, Interface, IpHeader, LinkHeader,
    MacAddress, Network, PacketType, SequenceNumber, TcpFlags, TcpHeader, Transport,
    transport_checksum,
};
use transect_path::{Direction, Timestamp, What};

use super::error::ErrorRecord;
use super::index::{Index, Key};
use super::record::{Books, Facts, Marks, NO_MAC, count, rare};
use super::resolution::Resolutions;
use super::{Note, Resolution, Tap, tcp};

/// So many fragmented packets are remembered, to give their later fragments to the right conversation.
const FRAGMENTED: usize = 4096;
/// Taps beyond these are counted as the last one.
const MAX_TAPS: usize = u16::MAX as usize;

/// What a ledger is to do.
#[derive(Debug, Clone, Default)]
pub struct LedgerOptions {
    /// The filter, compiled for each link type that may come. Frames of a link type without a program count as matching,
    /// since nothing excludes them; no program at all: everything matches.
    pub filter: Vec<Program>,
    /// Verify transport checksums ([`super::Tally::bad_checksums`]).
    pub verify_checksums: bool,
}

/// What one tap saw altogether.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapTotals {
    /// The tap.
    pub tap: Tap,
    /// Frames.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// The first frame's time.
    pub first: Timestamp,
    /// The last frame's time.
    pub last: Timestamp,
}

/// Everything that one capture file says, by conversation.
#[derive(Debug, Default)]
pub struct Ledger {
    options: LedgerOptions,
    pub(super) books: Books,
    index: Index,
    /// The newest packet's key, conversation and direction: packets come in trains, and most find theirs here.
    recent: Option<(Key, u32, Direction)>,
    taps: Vec<TapTotals>,
    tap_index: HashMap<Tap, u16>,
    last_tap: usize,
    macs: Vec<MacAddress>,
    mac_index: HashMap<MacAddress, u16>,
    resolutions: Resolutions,
    fragmented: HashMap<(IpAddr, IpAddr, u8, u32), (u32, Direction)>,
    interfaces: Vec<Interface>,
    truncated: u64,
    not_kept: u64,
}

/// Reads a capture to its end, or as far as it can be read.
///
/// The ledger holds what came before any damage; the error says what and where.
pub fn read_capture<R: Read>(
    reader: &mut CaptureReader<R>,
    options: LedgerOptions,
) -> (Ledger, Option<CaptureError>) {
    let mut ledger = Ledger::new(options);
    let damage = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                let mut dissection = Dissection::default();
                dissection.fill(frame.link, frame.data, frame.original_length);
                ledger.handle_frame(&frame, &dissection);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    ledger.finish(reader.interfaces());
    (ledger, damage)
}

/// A frame on its way into the books.
struct Arrival<'a> {
    frame: &'a Frame<'a>,
    dissection: &'a Dissection<'a>,
    ip: &'a IpHeader<'a>,
    tap: u16,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(options: LedgerOptions) -> Self {
        Ledger {
            options,
            ..Ledger::default()
        }
    }

    /// Enters one frame.
    #[inline]
    pub fn handle_frame(&mut self, frame: &Frame, dissection: &Dissection) {
        let tap = self.enter_tap(frame, &dissection.link);
        let ip = match &dissection.network {
            Network::Ip(ip) => ip,
            Network::Arp(arp) => {
                self.resolutions.arp(self.tap_at(tap), frame.time, arp);
                return;
            }
            Network::Other(_) => return,
            Network::Truncated => {
                self.truncated += 1;
                return;
            }
        };
        let arrival = Arrival {
            frame,
            dissection,
            ip,
            tap,
        };
        let key = |from, to| Key::new(ip.protocol, ip.source, from, ip.destination, to);
        match &ip.transport {
            Transport::Tcp(segment) => {
                let key = key(segment.source_port, segment.destination_port);
                self.tcp(&arrival, key, segment);
            }
            Transport::Udp(udp) => {
                self.datagram(&arrival, key(udp.source_port, udp.destination_port));
            }
            Transport::Icmp(icmp) => self.icmp(&arrival, icmp),
            Transport::Fragment => self.fragment(&arrival, key(0, 0)),
            Transport::Other => self.datagram(&arrival, key(0, 0)),
            Transport::Truncated => self.truncated += 1,
        }
    }

    /// Takes over what the capture says about its interfaces, once it is read to its end.
    pub fn finish(&mut self, interfaces: &[Interface]) {
        self.interfaces = interfaces.to_vec();
        self.fragmented = HashMap::new();
    }

    /// The capture's interfaces, with their addresses and drop counts.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Every tap that saw a frame, in order of appearance.
    pub fn taps(&self) -> &[TapTotals] {
        &self.taps
    }

    /// ARP and neighbour discovery, in order of appearance; bounded.
    pub fn resolutions(&self) -> &[Resolution] {
        self.resolutions.list()
    }

    /// Frames of which too little was captured to say what they are.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Packets that found no place, because there were more than four billion conversations.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }

    pub(super) fn tap_at(&self, tap: u16) -> Tap {
        self.taps.get(usize::from(tap)).map_or(
            Tap {
                interface: 0,
                interface_index: None,
                direction: None,
            },
            |totals| totals.tap,
        )
    }

    pub(super) fn mac_at(&self, number: u16) -> Option<MacAddress> {
        self.macs.get(usize::from(number)).copied()
    }

    #[inline]
    fn enter_tap(&mut self, frame: &Frame, link: &LinkHeader) -> u16 {
        let tap = Tap {
            interface: frame.interface,
            interface_index: link.interface_index,
            direction: frame.direction,
        };
        let known = self
            .taps
            .get(self.last_tap)
            .is_some_and(|totals| totals.tap == tap);
        if !known {
            self.last_tap = self.find_tap(tap, frame.time);
        }
        if let Some(totals) = self.taps.get_mut(self.last_tap) {
            totals.frames += 1;
            totals.bytes += u64::from(frame.original_length);
            totals.first = totals.first.min(frame.time);
            totals.last = totals.last.max(frame.time);
        }
        self.last_tap as u16
    }

    fn find_tap(&mut self, tap: Tap, time: Timestamp) -> usize {
        if let Some(&number) = self.tap_index.get(&tap) {
            return usize::from(number);
        }
        if self.taps.len() >= MAX_TAPS {
            return MAX_TAPS - 1;
        }
        self.tap_index.insert(tap, self.taps.len() as u16);
        self.taps.push(TapTotals {
            tap,
            frames: 0,
            bytes: 0,
            first: time,
            last: time,
        });
        self.taps.len() - 1
    }

    fn intern(&mut self, mac: MacAddress) -> u16 {
        if let Some(&number) = self.mac_index.get(&mac) {
            return number;
        }
        let number = self.macs.len();
        if number >= usize::from(NO_MAC) {
            return NO_MAC;
        }
        self.macs.push(mac);
        self.mac_index.insert(mac, number as u16);
        number as u16
    }

    /// The newest conversation with these five values, and which way the packet goes in it.
    #[inline]
    fn find(&self, hash: u64, key: &Key) -> Option<(u32, Direction)> {
        let mut direction = Direction::ToServer;
        let found = self.index.find(hash, |&candidate| {
            match self.books.direction_of(candidate, key) {
                Some(way) => {
                    direction = way;
                    true
                }
                None => false,
            }
        })?;
        Some((found, direction))
    }

    /// The conversation of the packet before this one, if this one belongs to it.
    #[inline]
    fn find_recent(&self, key: &Key) -> Option<(u32, Direction)> {
        let (known, conversation, direction) = self.recent.as_ref()?;
        if known == key {
            Some((*conversation, *direction))
        } else if *known == key.reversed() {
            Some((*conversation, direction.reversed()))
        } else {
            None
        }
    }

    /// The newest TCP conversation with these five values, unless the segment starts another one.
    #[inline]
    fn find_or_open(
        &mut self,
        key: &Key,
        time: Timestamp,
        segment: &TcpHeader,
    ) -> Option<(u32, Direction)> {
        let hash = self.index.hash(key);
        let newest = self.find(hash, key);
        let found = newest.filter(|&(conversation, direction)| {
            !tcp::starts_anew(&self.books, conversation, direction, time, segment)
        });
        found.or_else(|| {
            let older = newest.map(|(conversation, _)| conversation);
            let (direction, facts) = match (segment.flags.syn(), segment.flags.ack()) {
                (true, false) => (Direction::ToServer, Facts::CLIENT_BY_ROLE),
                (true, true) => (Direction::ToClient, Facts::CLIENT_BY_ROLE),
                (false, _) => (Direction::ToServer, 0),
            };
            let opened = self.open(hash, key, direction, older, facts)?;
            Some((opened, direction))
        })
    }

    /// Opens a conversation; `direction` is the way of the packet that opens it, whose key this is.
    fn open(
        &mut self,
        hash: u64,
        key: &Key,
        direction: Direction,
        older: Option<u32>,
        facts: u16,
    ) -> Option<u32> {
        let mut known = Facts::default();
        known.set(facts);
        if self.options.filter.is_empty() {
            known.set(Facts::FILTERED);
        }
        let from_client = match direction {
            Direction::ToServer => *key,
            Direction::ToClient => key.reversed(),
        };
        let Some(conversation) = self.books.open(&from_client, known) else {
            self.not_kept += 1;
            return None;
        };
        let books = &self.books;
        self.index
            .enter(hash, conversation, older, |entry| books.key(entry));
        Some(conversation)
    }

    #[inline]
    fn filter(&mut self, conversation: u32, frame: &Frame) {
        // Without a filter a conversation matches from its beginning.
        if self.options.filter.is_empty() {
            return;
        }
        let Some(record) = self.books.conversations.get_mut(conversation) else {
            return;
        };
        if !record.facts.has(Facts::FILTERED) && matches_filter(&self.options.filter, frame) {
            record.facts.set(Facts::FILTERED);
        }
    }

    #[inline]
    fn tcp(&mut self, arrival: &Arrival, key: Key, segment: &TcpHeader) {
        let time = arrival.frame.time;
        let known = self.find_recent(&key).filter(|&(conversation, direction)| {
            !tcp::starts_anew(&self.books, conversation, direction, time, segment)
        });
        let (conversation, direction) = match known {
            Some(known) => known,
            None => {
                let Some(found) = self.find_or_open(&key, time, segment) else {
                    return;
                };
                self.recent = Some((key, found.0, found.1));
                found
            }
        };
        let Some(tally) =
            self.enter_packet(arrival, conversation, direction, segment.payload_length)
        else {
            return;
        };
        tcp::enter(
            &mut self.books,
            conversation,
            tally,
            direction,
            time,
            arrival.ip,
            segment,
        );
    }

    /// A packet of a protocol without a state machine: opens its conversation if need be.
    fn datagram(&mut self, arrival: &Arrival, key: Key) {
        let hash = self.index.hash(&key);
        let (conversation, direction) = match self.find(hash, &key) {
            Some(found) => found,
            None => match self.open(hash, &key, Direction::ToServer, None, 0) {
                Some(conversation) => (conversation, Direction::ToServer),
                None => return,
            },
        };
        let payload = arrival.ip.payload_length();
        let (length, checksum) = match &arrival.ip.transport {
            // A first fragment holds less than the datagram's own length says; the others bring the rest.
            Transport::Udp(udp) => (payload.saturating_sub(8), udp.checksum),
            _ => (payload, 0),
        };
        let Some(tally) = self.enter_packet(arrival, conversation, direction, length) else {
            return;
        };
        let note = Note {
            payload_length: length,
            checksum,
            ..plain_note(arrival, What::Datagram)
        };
        self.books.note(tally, note);
    }

    fn icmp(&mut self, arrival: &Arrival, icmp: &IcmpMessage) {
        if let Some((identifier, sequence)) = icmp.echo {
            self.echo(arrival, icmp, identifier, sequence);
        } else if icmp.is_error() {
            self.error(arrival, icmp);
        } else if icmp.neighbor.is_some() {
            let tap = self.tap_at(arrival.tap);
            let link = &arrival.dissection.link;
            self.resolutions
                .neighbor_discovery(tap, arrival.frame.time, link, arrival.ip, icmp);
        }
    }

    fn echo(&mut self, arrival: &Arrival, icmp: &IcmpMessage, identifier: u16, sequence: u16) {
        let ip = arrival.ip;
        let key = Key::new(
            ip.protocol,
            ip.source,
            identifier,
            ip.destination,
            identifier,
        );
        let hash = self.index.hash(&key);
        let request = icmp.is_echo_request();
        let (conversation, direction) = match self.find(hash, &key) {
            Some(found) => found,
            None => {
                let direction = if request {
                    Direction::ToServer
                } else {
                    Direction::ToClient
                };
                match self.open(hash, &key, direction, None, Facts::CLIENT_BY_ROLE) {
                    Some(conversation) => (conversation, direction),
                    None => return,
                }
            }
        };
        let length = ip.payload_length().saturating_sub(8);
        let Some(index) = self.enter_packet(arrival, conversation, direction, length) else {
            return;
        };
        let what = if request {
            What::EchoRequest
        } else {
            What::EchoReply
        };
        if let Some(tally) = self.books.tallies.get_mut(index) {
            count(if request {
                &mut tally.data
            } else {
                &mut tally.acks
            });
        }
        let note = Note {
            sequence: SequenceNumber(u32::from(sequence)),
            payload_length: length,
            ..plain_note(arrival, what)
        };
        self.books.note(index, note);
    }

    fn error(&mut self, arrival: &Arrival, icmp: &IcmpMessage) {
        let Some(tuple) = icmp.quoted.and_then(|quoted| quoted.tuple()) else {
            return;
        };
        let key = Key::new(
            tuple.protocol,
            tuple.source.address,
            tuple.source.port,
            tuple.destination.address,
            tuple.destination.port,
        );
        let hash = self.index.hash(&key);
        let (conversation, direction) = match self.find(hash, &key) {
            Some(found) => found,
            None => match self.open(
                hash,
                &key,
                Direction::ToServer,
                None,
                Facts::CLIENT_BY_ERROR,
            ) {
                Some(conversation) => (conversation, Direction::ToServer),
                None => return,
            },
        };
        self.filter(conversation, arrival.frame);
        let time = arrival.frame.time;
        let error = ErrorRecord::new(arrival.tap, time, arrival.ip, icmp, direction);
        self.books.add_error(conversation, error);
    }

    /// A fragment without a transport header: it belongs where the first fragment of its packet went.
    fn fragment(&mut self, arrival: &Arrival, key: Key) {
        let ip = arrival.ip;
        let packet = (ip.source, ip.destination, ip.protocol, ip.identification);
        let hash = self.index.hash(&key);
        let found = self.fragmented.get(&packet).copied();
        let (conversation, direction) = match found.or_else(|| self.find(hash, &key)) {
            Some(found) => found,
            None => match self.open(hash, &key, Direction::ToServer, None, 0) {
                Some(conversation) => (conversation, Direction::ToServer),
                None => return,
            },
        };
        let length = ip.payload_length();
        let Some(index) = self.enter_packet(arrival, conversation, direction, length) else {
            return;
        };
        if let Some(tally) = self.books.tallies.get_mut(index)
            && let Some(rare) = rare(tally, &mut self.books.rares)
        {
            count(&mut rare.fragments);
        }
        let note = Note {
            payload_length: length,
            ..plain_note(arrival, What::Fragment)
        };
        self.books.note(index, note);
    }

    /// Counts a packet in its tally, whatever its protocol.
    #[inline]
    fn enter_packet(
        &mut self,
        arrival: &Arrival,
        conversation: u32,
        direction: Direction,
        payload_length: u32,
    ) -> Option<u32> {
        let Arrival {
            frame,
            dissection,
            ip,
            tap,
        } = *arrival;
        self.filter(conversation, frame);
        let Some(index) = self.books.tally(conversation, tap, direction, frame.time) else {
            self.not_kept += 1;
            return None;
        };
        let link = &dissection.link;
        let checksum = if self.options.verify_checksums {
            transport_checksum(frame.data, dissection)
        } else {
            None
        };
        let tally = self.books.tallies.get_mut(index)?;
        if tally.packets == 0 {
            tally.ttl_first = ip.ttl;
        }
        count(&mut tally.packets);
        tally.ttl_last = ip.ttl;
        tally.first = tally.first.min(frame.time);
        tally.last = tally.last.max(frame.time);
        tally.payload_bytes += u64::from(payload_length);
        tally.longest_packet = tally.longest_packet.max(ip.total_length);
        if ip.dont_fragment {
            tally.marks.set(Marks::DONT_FRAGMENT);
        }
        let unusual = ip.header_checksum_ok == Some(false)
            || checksum == Some(false)
            || link.packet_type == Some(PacketType::OtherHost);
        if unusual && let Some(rare) = rare(tally, &mut self.books.rares) {
            if ip.header_checksum_ok == Some(false) {
                count(&mut rare.bad_header_checksums);
            }
            if checksum == Some(false) {
                count(&mut rare.bad_checksums);
            }
            if link.packet_type == Some(PacketType::OtherHost) {
                count(&mut rare.other_host);
            }
        }
        let (source, destination) = (tally.source_mac, tally.destination_mac);
        if link.source.is_some() && link.source != self.mac_at(source) {
            self.other_mac(index, link.source, true);
        }
        if link.destination.is_some() && link.destination != self.mac_at(destination) {
            self.other_mac(index, link.destination, false);
        }
        if ip.fragment.is_some_and(|fragment| fragment.offset == 0) {
            if self.fragmented.len() >= FRAGMENTED {
                self.fragmented.clear();
            }
            let packet = (ip.source, ip.destination, ip.protocol, ip.identification);
            self.fragmented.insert(packet, (conversation, direction));
        }
        Some(index)
    }

    /// A MAC address that is not the tally's first: it becomes the first, or the second, or is one too many.
    #[cold]
    fn other_mac(&mut self, tally: u32, mac: Option<MacAddress>, source: bool) {
        let Some(number) = mac.map(|mac| self.intern(mac)) else {
            return;
        };
        let Some(tally) = self.books.tallies.get_mut(tally) else {
            return;
        };
        let first = if source {
            &mut tally.source_mac
        } else {
            &mut tally.destination_mac
        };
        if *first == NO_MAC {
            *first = number;
            return;
        }
        if let Some(rare) = rare(tally, &mut self.books.rares) {
            let second = if source {
                &mut rare.second_source_mac
            } else {
                &mut rare.second_destination_mac
            };
            if *second == NO_MAC {
                *second = number;
            }
        }
    }
}

fn matches_filter(filter: &[Program], frame: &Frame) -> bool {
    match filter
        .iter()
        .find(|program| program.link_type == frame.link)
    {
        Some(program) => program.matches(frame.data, frame.original_length),
        None => true,
    }
}

fn plain_note(arrival: &Arrival, what: What) -> Note {
    let ip = arrival.ip;
    Note {
        what,
        time: arrival.frame.time,
        again: false,
        sequence: SequenceNumber(0),
        acknowledgment: SequenceNumber(0),
        window: 0,
        flags: TcpFlags(0),
        timestamp: None,
        checksum: 0,
        payload_length: 0,
        ip_length: ip.total_length,
        ttl: ip.ttl,
        identification: ip.identification,
    }
}
