//! The public form of the records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_packet::{Endpoint, SequenceNumber, TcpFlags, Tuple, protocol};
use transect_path::{Direction, Timestamp, What};

use super::chunks::NONE;
use super::index::Key;
use super::record::{ConversationRecord, Facts, Marks, NO_SCALE, Rare, TallyRecord};
use super::{
    Brief, ClientKnownBy, Conversation, ConversationId, Counts, Ledger, Note, Offered, QuotedError,
    Tally,
};

fn tuple(key: &Key) -> Tuple {
    let address = |bits: u128| {
        if key.ipv6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    };
    Tuple {
        protocol: key.protocol,
        source: Endpoint::new(address(key.source), key.source_port),
        destination: Endpoint::new(address(key.destination), key.destination_port),
    }
}

impl Ledger {
    /// How many conversations there are.
    pub fn len(&self) -> usize {
        self.books.conversations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The conversations in short, in order of appearance: what to build in full, the caller decides.
    pub fn briefs(&self) -> impl Iterator<Item = Brief> + '_ {
        (0..self.len() as u32).filter_map(|index| {
            let record = self.books.conversations.get(index)?;
            let client = if self.server_spoke_first(record) {
                Direction::ToClient
            } else {
                Direction::ToServer
            };
            let stream = record.stream(client);
            Some(Brief {
                id: ConversationId(index),
                tuple: self.tuple(index, record)?,
                filtered: record.facts.has(Facts::FILTERED),
                clean: self.is_clean(record),
                syn: stream.origin.filter(|_| stream.from_syn),
            })
        })
    }

    /// Every conversation in full, in order of appearance; each is built as it is asked for.
    pub fn conversations(&self) -> impl Iterator<Item = Conversation> + '_ {
        (0..self.len() as u32).filter_map(|index| self.conversation(ConversationId(index)))
    }

    /// One conversation in full.
    pub fn conversation(&self, id: ConversationId) -> Option<Conversation> {
        let record = self.books.conversations.get(id.0)?;
        let swap = self.server_spoke_first(record);
        let errors = self.errors(record, swap);
        let mut tallies: Vec<Tally> = self
            .books
            .tallies(record)
            .map(|tally| self.tally(record, tally))
            .collect();
        if swap {
            for tally in &mut tallies {
                tally.direction = tally.direction.reversed();
            }
        }
        let [mut to_server, mut to_client] =
            [Direction::ToServer, Direction::ToClient].map(|direction| record.stream(direction));
        if swap {
            std::mem::swap(&mut to_server, &mut to_client);
        }
        let packets = tallies.iter().map(|tally| (tally.first, tally.last));
        let (first, last) = packets
            .reduce(|(first, last), (f, l)| (first.min(f), last.max(l)))
            .or_else(|| {
                let times = errors.iter().map(|error| (error.first, error.last));
                times.reduce(|(first, last), (f, l)| (first.min(f), last.max(l)))
            })
            .unwrap_or((Timestamp(0), Timestamp(0)));
        Some(Conversation {
            id,
            tuple: self.tuple(id.0, record)?,
            client_known_by: if record.facts.has(Facts::CLIENT_BY_ROLE) {
                ClientKnownBy::Role
            } else if record.facts.has(Facts::CLIENT_BY_ERROR) && tallies.is_empty() {
                ClientKnownBy::QuotedInError
            } else {
                ClientKnownBy::SpokeFirst
            },
            filtered: record.facts.has(Facts::FILTERED),
            clean: self.is_clean(record),
            first,
            last,
            to_server,
            to_client,
            tallies,
            errors,
        })
    }

    fn tuple(&self, index: u32, record: &ConversationRecord) -> Option<Tuple> {
        let tuple = tuple(&self.books.key(index)?);
        Some(if self.server_spoke_first(record) {
            tuple.reversed()
        } else {
            tuple
        })
    }

    /// Frames of different taps may be out of order in a file. Where the client is only who spoke first, the times decide.
    fn server_spoke_first(&self, record: &ConversationRecord) -> bool {
        if record.facts.has(Facts::CLIENT_BY_ROLE) {
            return false;
        }
        let first = |direction| {
            self.books
                .tallies(record)
                .filter(|tally| tally.direction() == direction)
                .map(|tally| tally.first)
                .min()
        };
        match (first(Direction::ToServer), first(Direction::ToClient)) {
            (Some(to_server), Some(to_client)) => to_client < to_server,
            _ => false,
        }
    }

    fn errors(&self, record: &ConversationRecord, swap: bool) -> Vec<QuotedError> {
        let mut at = record.errors;
        let records = std::iter::from_fn(|| {
            let error = self.books.errors.get(at)?;
            at = error.next;
            Some(error)
        });
        records
            .map(|error| QuotedError {
                tap: self.tap_at(error.tap),
                version: error.version,
                kind: error.kind,
                code: error.code,
                mtu: error.mtu,
                reporter: error.reporter,
                receiver: error.receiver,
                direction: if swap {
                    error.direction.reversed()
                } else {
                    error.direction
                },
                count: error.count,
                first: error.first,
                last: error.last,
                sequence: error.sequence,
            })
            .collect()
    }

    fn is_clean(&self, record: &ConversationRecord) -> bool {
        if record.errors != NONE || record.facts.has(Facts::RESET) {
            return false;
        }
        if record.protocol == protocol::TCP {
            return self.is_clean_tcp(record);
        }
        let (mut to_server, mut to_client) = (0, 0);
        for tally in self.books.tallies(record) {
            if tally.rare != NONE {
                return false;
            }
            let most = match tally.direction() {
                Direction::ToServer => &mut to_server,
                Direction::ToClient => &mut to_client,
            };
            *most = tally.packets.max(*most);
        }
        to_server > 0 && to_server == to_client
    }

    fn is_clean_tcp(&self, record: &ConversationRecord) -> bool {
        let facts = record.facts;
        let seen_whole = [Direction::ToServer, Direction::ToClient]
            .iter()
            .all(|&direction| facts.has(Facts::syn(direction)) && facts.has(Facts::fin(direction)));
        if !seen_whole {
            return false;
        }
        let mut acknowledged = [0; 2];
        let mut end = [0; 2];
        for tally in self.books.tallies(record) {
            let once = tally.syn <= 1 && tally.syn_ack <= 1 && tally.fin <= 1;
            if tally.rare != NONE || !once {
                return false;
            }
            let (own, peer) = match tally.direction() {
                Direction::ToServer => (0, 1),
                Direction::ToClient => (1, 0),
            };
            end[own] = tally.end().max(end[own]);
            acknowledged[peer] = tally.acknowledged.max(acknowledged[peer]);
        }
        acknowledged == end
    }

    fn tally(&self, record: &ConversationRecord, tally: &TallyRecord) -> Tally {
        let rare = self.books.rare_of(tally);
        let is_tcp = record.protocol == protocol::TCP;
        let number = |of: fn(&Rare) -> u32| rare.map_or(0, of);
        let seen_in_pieces = rare.and_then(|rare| rare.seen.as_ref());
        let seen = match seen_in_pieces {
            Some(seen) => seen.ranges().to_vec(),
            None if tally.marks.has(Marks::HAS_DATA) => {
                let start = record.stream(tally.direction()).start();
                std::iter::once(start..tally.data_end).collect()
            }
            None => Vec::new(),
        };
        let macs = |first: u16, second: Option<u16>| {
            [Some(first), second]
                .into_iter()
                .flatten()
                .filter_map(|number| self.mac_at(number))
                .collect()
        };
        Tally {
            tap: self.tap_at(tally.tap),
            direction: tally.direction(),
            packets: u64::from(tally.packets),
            payload_bytes: tally.payload_bytes,
            first: tally.first,
            last: tally.last,
            counts: counts(record.protocol, tally, number(|rare| rare.fragments)),
            offered: offered(tally),
            seen,
            seen_is_rough: seen_in_pieces.is_some_and(|seen| seen.is_rough()),
            end: Some(tally.end()).filter(|&end| is_tcp && end > 0),
            fin_at: tally.marks.has(Marks::HAS_FIN).then_some(tally.fin_at),
            acknowledged: Some(tally.acknowledged).filter(|&offset| offset > 0),
            selectively_acknowledged: rare
                .map(|rare| rare.sacked.ranges().to_vec())
                .unwrap_or_default(),
            duplicate_acks: number(|rare| rare.duplicate_acks),
            stray_acks: number(|rare| rare.stray_acks),
            stray_segments: number(|rare| rare.stray_segments),
            duplicate_sacks: number(|rare| rare.duplicate_sacks),
            retransmitted: rare.map(|rare| rare.retransmitted).unwrap_or_default(),
            late: rare.map(|rare| rare.late).unwrap_or_default(),
            probes: number(|rare| rare.probes),
            window: self.window(record, tally),
            zero_windows: number(|rare| rare.zero_windows),
            zero_window_last: rare
                .filter(|rare| rare.zero_windows > 0)
                .map(|rare| rare.zero_window_last),
            ttl_first: tally.ttl_first,
            ttl_last: tally.ttl_last,
            longest_packet: tally.longest_packet,
            dont_fragment: tally.marks.has(Marks::DONT_FRAGMENT),
            source_macs: macs(tally.source_mac, rare.map(|rare| rare.second_source_mac)),
            destination_macs: macs(
                tally.destination_mac,
                rare.map(|rare| rare.second_destination_mac),
            ),
            other_host: number(|rare| rare.other_host),
            bad_header_checksums: number(|rare| rare.bad_header_checksums),
            bad_checksums: number(|rare| rare.bad_checksums),
            notes: self.books.notes(tally),
            notes_omitted: number(|rare| rare.ring.omitted()),
            latest_data: latest_data(tally),
        }
    }

    /// RFC 7323 section 2.2: windows are scaled only when both SYNs offer it, and never in a SYN.
    fn window(&self, record: &ConversationRecord, tally: &TallyRecord) -> Option<u32> {
        if !tally.marks.has(Marks::HAS_WINDOW) {
            return None;
        }
        let plain = u32::from(tally.window);
        if tally.marks.has(Marks::WINDOW_IN_SYN) {
            return Some(plain);
        }
        let offer = |direction| {
            self.books
                .tallies(record)
                .filter(|other| other.direction() == direction)
                .map(|other| other.window_scale)
                .find(|&scale| scale != NO_SCALE)
        };
        let own = offer(tally.direction());
        let peer = offer(tally.direction().reversed());
        Some(match (own, peer) {
            (Some(scale), Some(_)) => plain << scale.min(14),
            _ => plain,
        })
    }
}

fn counts(number: u8, tally: &TallyRecord, fragment: u32) -> Counts {
    match number {
        protocol::TCP => Counts {
            syn: u32::from(tally.syn),
            syn_ack: u32::from(tally.syn_ack),
            ack: tally.acks,
            data: tally.data,
            fin: u32::from(tally.fin),
            rst: u32::from(tally.rst),
            fragment,
            ..Counts::default()
        },
        protocol::ICMP | protocol::ICMPV6 => Counts {
            echo_request: tally.data,
            echo_reply: tally.acks,
            fragment,
            ..Counts::default()
        },
        _ => Counts {
            datagram: tally.packets.saturating_sub(fragment),
            fragment,
            ..Counts::default()
        },
    }
}

fn offered(tally: &TallyRecord) -> Option<Offered> {
    let marks = tally.marks;
    marks.has(Marks::OFFERED).then(|| Offered {
        mss: marks.has(Marks::OFFERED_MSS).then_some(tally.mss),
        window_scale: Some(tally.window_scale).filter(|&scale| scale != NO_SCALE),
        sack: marks.has(Marks::OFFERED_SACK),
        timestamps: marks.has(Marks::OFFERED_TIMESTAMPS),
    })
}

fn latest_data(tally: &TallyRecord) -> Option<Note> {
    let latest = tally.latest;
    if latest.payload_length == 0 {
        return None;
    }
    let flags = TcpFlags(latest.flags);
    Some(Note {
        what: if flags.fin() { What::Fin } else { What::Data },
        time: tally.latest_time,
        again: tally.marks.has(Marks::LATEST_AGAIN),
        sequence: SequenceNumber(latest.sequence),
        acknowledgment: SequenceNumber(latest.acknowledgment),
        window: latest.window,
        flags,
        timestamp: None,
        checksum: 0,
        payload_length: latest.payload_length,
        ip_length: latest
            .payload_length
            .saturating_add(u32::from(latest.headers)),
        ttl: latest.ttl,
        identification: u32::from(latest.identification),
    })
}
