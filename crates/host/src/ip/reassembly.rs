//! Fragments put together again (`ip_defrag`, `ip_frag_queue`, `inet_frag_queue_insert`; `ipv6_frag_rcv`; RFC 815, RFC 8200
//! section 4.5).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use transect_config::IpVersion;
use transect_path::{Point, Timestamp};

use crate::counters::IpCounter;
use crate::drop_reason::DropReason;
use crate::ip::bytes::{
    FRAGMENT_HEADER, IPV6_HEADER, addresses, ipv4_header_length, put, tos, u16_at, u32_at,
};
use crate::ip::output::set_length;
use crate::ip::version_of;
use crate::packet::{ChecksumState, LINK_HEADER, Packet};
use crate::stack::{Stack, TimerOwner};
use crate::transport::icmp;
use crate::transport::memory::truesize;

/// What a queue itself costs (`sizeof(struct ipq)`), in bytes.
const QUEUE_SIZE: u64 = 208;
/// Sources whose fragments are counted for `ipfrag_max_dist`.
const MOST_PEERS: usize = 4096;

/// What the fragments of one packet have in common (`struct frag_v4_compare_key`, `struct frag_v6_compare_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: u8,
    user: User,
}

/// For whom a packet is put together (`enum ip_defrag_users`): each has queues of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    /// Delivery to this host.
    Delivery,
    /// Connection tracking. Of IPv6 it counts nothing (`nf_ct_frag6_gather`).
    Tracking,
}

impl User {
    fn counts(self, version: IpVersion) -> bool {
        self == User::Delivery || version == IpVersion::V4
    }
}

/// One fragment's place.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where the fragment's payload begins, from the network header on.
    header: usize,
    /// In bytes from the start of the whole payload.
    offset: usize,
    end: usize,
    more: bool,
}

/// The fragments of one packet that have come so far (`struct inet_frag_queue`).
#[derive(Debug)]
struct Queue {
    key: Key,
    /// By offset, without overlaps.
    pieces: BTreeMap<usize, (Place, Packet)>,
    /// Length of the whole, as far as it is known.
    length: usize,
    last_in: bool,
    /// Payload bytes that have come.
    meat: usize,
    memory: u64,
    /// The largest fragment, in bytes with its header.
    largest: u16,
    /// ECN fields seen, as bits.
    ecn: u8,
    /// The source's count of fragments when this one's last came.
    rid: u32,
    expires: Timestamp,
}

/// Every packet of which fragments wait.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    by_key: BTreeMap<Key, u32>,
    queues: BTreeMap<u32, Queue>,
    next: u32,
    memory: u64,
    /// Fragments per source (`inet_peer.rid`).
    peers: BTreeMap<IpAddr, u32>,
}

impl Reassembly {
    /// Bytes that waiting fragments hold (`FRAG: … memory` of /proc/net/sockstat), and packets they belong to.
    pub(crate) fn usage(&self, version: IpVersion) -> (usize, u64) {
        let own = self
            .queues
            .values()
            .filter(|queue| version_of(queue.key.source) == version);
        own.fold((0, 0), |(count, memory), queue| {
            (count + 1, memory + queue.memory)
        })
    }

    fn remove(&mut self, number: u32) -> Option<Queue> {
        let queue = self.queues.remove(&number)?;
        self.by_key.remove(&queue.key);
        self.memory = self.memory.saturating_sub(queue.memory);
        Some(queue)
    }

    fn count_peer(&mut self, source: IpAddr) -> u32 {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&source) {
            self.peers.pop_first();
        }
        let count = self.peers.entry(source).or_default();
        *count = count.wrapping_add(1);
        *count
    }
}

/// What becomes of a fragment.
enum Fate {
    /// Kept: others are missing.
    Kept,
    /// All there.
    Complete,
    /// It is there already.
    Duplicate(Packet),
    /// The whole packet is given up.
    Broken { packet: Packet, overlap: bool },
}

impl Stack {
    /// Takes a fragment; the whole packet comes back with the last one. `header`: where an IPv6 fragment header begins.
    pub(crate) fn reassemble(
        &mut self,
        packet: Packet,
        header: usize,
        user: User,
    ) -> Option<Packet> {
        let (source, _) = addresses(packet.network());
        let version = version_of(source);
        let counts = user.counts(version);
        if counts {
            self.count_ip(version, IpCounter::ReasmReqds);
        }
        let (key, place) = match describe(&packet, version, header, user) {
            Ok(described) => described,
            Err(pointer) => return self.bad_fragment(packet, version, pointer),
        };
        let Some(number) = self.queue_for(key) else {
            if counts {
                self.count_ip(version, IpCounter::ReasmFails);
            }
            self.drop_packet(packet, Point::IpInput, DropReason::NotSpecified);
            return None;
        };
        self.check_distance(number, source);
        match self.insert(number, place, packet) {
            Fate::Kept => None,
            Fate::Complete => self.complete(number, version),
            Fate::Duplicate(packet) => {
                self.drop_packet(packet, Point::IpInput, DropReason::DupFrag);
                None
            }
            Fate::Broken { packet, overlap } => {
                if overlap && counts {
                    self.count_ip(version, IpCounter::ReasmOverlaps);
                }
                self.give_up(number, DropReason::NotSpecified);
                if counts {
                    self.count_ip(version, IpCounter::ReasmFails);
                }
                self.drop_packet(packet, Point::IpInput, DropReason::NotSpecified);
                None
            }
        }
    }

    /// IPv6 tells the sender of a length that cannot be.
    fn bad_fragment(&mut self, packet: Packet, version: IpVersion, pointer: u32) -> Option<Packet> {
        if version == IpVersion::V6 {
            self.count_ip(version, IpCounter::InHdrErrors);
            self.icmp_error(
                &packet,
                icmp::V6_PARAMETER_PROBLEM,
                icmp::V6_HEADER_FIELD,
                pointer,
            );
        } else {
            self.count_ip(version, IpCounter::ReasmFails);
        }
        self.drop_packet(packet, Point::IpInput, DropReason::NotSpecified);
        None
    }

    /// The queue of a packet; nothing where memory is full (`inet_frag_find`, `ipfrag_high_thresh`).
    fn queue_for(&mut self, key: Key) -> Option<u32> {
        if let Some(number) = self.ip.reassembly.by_key.get(&key) {
            return Some(*number);
        }
        let settings = self.ip_settings();
        let (most, seconds) = match version_of(key.source) {
            IpVersion::V4 => (settings.fragments_high, settings.fragments_time),
            IpVersion::V6 => (settings.fragments6_high, settings.fragments6_time),
        };
        if most == 0 || self.ip.reassembly.memory > most {
            return None;
        }
        let wait = Duration::from_secs(seconds);
        let expires = self
            .ticks
            .wheel(self.now, self.ticks.at(self.now) + self.ticks.of(wait));
        let all = &mut self.ip.reassembly;
        all.next = all.next.wrapping_add(1);
        let number = all.next;
        all.by_key.insert(key, number);
        all.memory += QUEUE_SIZE;
        all.queues.insert(
            number,
            Queue {
                key,
                pieces: BTreeMap::new(),
                length: 0,
                last_in: false,
                meat: 0,
                memory: QUEUE_SIZE,
                largest: 0,
                ecn: 0,
                rid: all.peers.get(&key.source).copied().unwrap_or(0),
                expires,
            },
        );
        self.timers
            .set(TimerOwner::Reassembly(number), Some(expires));
        Some(number)
    }

    /// Too many other fragments of the source came between: what is there is another packet's (`ip_frag_too_far`,
    /// `ip_frag_reinit`).
    fn check_distance(&mut self, number: u32, source: IpAddr) {
        if source.is_ipv6() {
            return;
        }
        let most = self.ip_settings().fragments_max_dist;
        let rid = self.ip.reassembly.count_peer(source);
        let all = &mut self.ip.reassembly;
        let Some(queue) = all.queues.get_mut(&number) else {
            return;
        };
        let far = most > 0 && !queue.pieces.is_empty() && rid.wrapping_sub(queue.rid) > most;
        queue.rid = rid;
        if !far {
            return;
        }
        let old = std::mem::take(&mut queue.pieces);
        all.memory = all.memory.saturating_sub(queue.memory - QUEUE_SIZE);
        queue.memory = QUEUE_SIZE;
        (queue.length, queue.meat, queue.last_in) = (0, 0, false);
        (queue.largest, queue.ecn) = (0, 0);
        self.counters.ip4.count(IpCounter::ReasmFails);
        for (_, packet) in old.into_values() {
            self.drop_packet(packet, Point::IpInput, DropReason::FragTooFar);
        }
    }

    fn insert(&mut self, number: u32, place: Place, packet: Packet) -> Fate {
        let all = &mut self.ip.reassembly;
        let broken = |packet, overlap| Fate::Broken { packet, overlap };
        let Some(queue) = all.queues.get_mut(&number) else {
            return broken(packet, false);
        };
        if !place.more {
            if place.end < queue.length || queue.last_in && place.end != queue.length {
                return broken(packet, false);
            }
            queue.last_in = true;
            queue.length = place.end;
        } else if place.end > queue.length {
            if queue.last_in {
                return broken(packet, false);
            }
            queue.length = place.end;
        }
        if place.end == place.offset {
            return broken(packet, false);
        }
        match queue.overlap(place) {
            Some(true) => return Fate::Duplicate(packet),
            Some(false) => return broken(packet, true),
            None => {}
        }
        let cost = truesize(packet.len(), version_of(queue.key.source));
        queue.memory += cost;
        all.memory += cost;
        queue.meat += place.end - place.offset;
        queue.ecn |= 1 << (tos(packet.network()) & 3);
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        queue.largest = queue.largest.max(length);
        queue.pieces.insert(place.offset, (place, packet));
        if queue.last_in && queue.meat == queue.length && queue.pieces.contains_key(&0) {
            Fate::Complete
        } else {
            Fate::Kept
        }
    }

    /// All fragments are there (`ip_frag_reasm`, `ip6_frag_reasm`): the first one's header, and everybody's payload.
    fn complete(&mut self, number: u32, version: IpVersion) -> Option<Packet> {
        self.timers.set(TimerOwner::Reassembly(number), None);
        let queue = self.ip.reassembly.remove(number)?;
        let (largest, ecn, length) = (queue.largest, queue.ecn, queue.length);
        let counts = queue.key.user.counts(version);
        let mut pieces = queue.pieces.into_values();
        let (place, mut whole) = pieces.next()?;
        for (place, packet) in pieces {
            let payload = packet.network().get(place.header..).unwrap_or_default();
            let wanted = payload.get(..place.end - place.offset).unwrap_or(payload);
            whole.data.extend_from_slice(wanted);
            if packet.checksum == ChecksumState::None {
                whole.checksum = ChecksumState::None;
            }
        }
        // ECN: "not capable" beside others, or what a router marked (`ip_frag_ecn_table`).
        let header = place.header;
        let longest = match version {
            IpVersion::V4 => 65_535,
            // The field counts what follows the header, and the fragment header goes.
            IpVersion::V6 => 65_535 + IPV6_HEADER + FRAGMENT_HEADER,
        };
        if header + length > longest || ecn & 1 != 0 && ecn & 0b1110 != 0 {
            if counts {
                self.count_ip(version, IpCounter::ReasmFails);
            }
            self.drop_packet(whole, Point::IpInput, DropReason::NotSpecified);
            return None;
        }
        match version {
            IpVersion::V4 => put(whole.network_mut(), 6, &[0, 0]),
            IpVersion::V6 => remove_fragment_header(&mut whole, header),
        }
        if ecn & 0b1000 != 0 {
            mark_congestion(whole.network_mut());
        }
        set_length(whole.network_mut());
        whole.largest_fragment = largest;
        // It came in pieces, and may leave in such (`nf_ct_ipv4_gather_frags`).
        whole.ignore_df = true;
        if counts {
            self.count_ip(version, IpCounter::ReasmOKs);
        }
        Some(whole)
    }

    fn give_up(&mut self, number: u32, reason: DropReason) -> Option<Queue> {
        self.timers.set(TimerOwner::Reassembly(number), None);
        let mut queue = self.ip.reassembly.remove(number)?;
        for (_, packet) in std::mem::take(&mut queue.pieces).into_values() {
            self.drop_packet(packet, Point::IpInput, reason);
        }
        Some(queue)
    }

    /// An unfinished packet of fragments has waited too long (`ip_expire`, `ip6frag_expire_frag_queue`).
    pub(crate) fn handle_reassembly_timer(&mut self, queue: u32) {
        let Some(waiting) = self.ip.reassembly.queues.get(&queue) else {
            return;
        };
        if waiting.expires > self.now {
            return;
        }
        let version = version_of(waiting.key.source);
        let first = waiting.pieces.get(&0).map(|(_, packet)| packet.clone());
        self.count_ip(version, IpCounter::ReasmFails);
        self.count_ip(version, IpCounter::ReasmTimeout);
        // Without the first fragment there is nothing to quote that would tell the sender anything.
        if let Some(packet) = first {
            let kind = match version {
                IpVersion::V4 => icmp::TIME_EXCEEDED,
                IpVersion::V6 => icmp::V6_TIME_EXCEEDED,
            };
            self.icmp_error(&packet, kind, icmp::REASSEMBLY_TIME_EXCEEDED, 0);
        }
        self.give_up(queue, DropReason::FragReasmTimeout);
    }
}

impl Queue {
    /// Whether a fragment overlaps what is there: wholly inside of a run that came already (true), or otherwise (false).
    fn overlap(&self, place: Place) -> Option<bool> {
        let mut before = self.pieces.range(..place.end).rev();
        let (_, (last, _)) = before.next()?;
        if last.end <= place.offset {
            return None;
        }
        // Fragments without a gap between them count as one.
        let mut start = last.offset;
        for (_, (earlier, _)) in before {
            if earlier.end != start {
                break;
            }
            start = earlier.offset;
        }
        Some(start <= place.offset && place.end <= last.end)
    }
}

/// A fragment's key and place; else what of it cannot be, as IPv6's parameter problem points to it.
fn describe(
    packet: &Packet,
    version: IpVersion,
    header: usize,
    user: User,
) -> Result<(Key, Place), u32> {
    let network = packet.network();
    let (source, destination) = addresses(network);
    if version == IpVersion::V6 && network.len() < header + FRAGMENT_HEADER {
        return Err(header as u32);
    }
    let (start, field, identification, protocol) = match version {
        IpVersion::V4 => {
            let field = u16_at(network, 6);
            // IPv4 counts in units of eight; IPv6's field is in bytes but for its lowest three bits.
            let field = (field & 0x1fff) << 3 | u16::from(field & 0x2000 != 0);
            let protocol = network.get(9).copied().unwrap_or_default();
            let start = ipv4_header_length(network);
            (start, field, u32::from(u16_at(network, 4)), protocol)
        }
        IpVersion::V6 => (
            header + FRAGMENT_HEADER,
            u16_at(network, header + 2),
            u32_at(network, header + 4),
            0,
        ),
    };
    let more = field & 1 != 0;
    let offset = usize::from(field & 0xfff8);
    let mut end = offset + network.len().saturating_sub(start);
    if version == IpVersion::V6 && (end > 65_535 || more && end % 8 != 0) {
        // The fragment's offset, or the payload length.
        let pointer = if end > 65_535 { header + 2 } else { 4 };
        return Err(pointer as u32);
    }
    if more {
        end &= !7;
    }
    let key = Key {
        source,
        destination,
        identification,
        protocol,
        user,
    };
    let place = Place {
        header: start,
        offset,
        end: end.max(offset),
        more,
    };
    Ok((key, place))
}

/// Takes the fragment header in front of `payload` out of the chain.
fn remove_fragment_header(packet: &mut Packet, payload: usize) {
    let start = payload.saturating_sub(FRAGMENT_HEADER);
    let network = packet.network_mut();
    let next = network.get(start).copied().unwrap_or_default();
    let (mut at, mut offset) = (6, IPV6_HEADER);
    while offset < start {
        at = offset;
        let units = network.get(offset + 1).copied().unwrap_or_default();
        offset += (usize::from(units) + 1) * 8;
    }
    put(network, at, &[next]);
    let from = LINK_HEADER + start;
    let to = from + FRAGMENT_HEADER;
    if to <= packet.data.len() {
        packet.data.drain(from..to);
    }
}

fn mark_congestion(network: &mut [u8]) {
    match network {
        [first, second, ..] if *first >> 4 == 6 => *second |= 0x30,
        [_, second, ..] => *second |= 3,
        _ => {}
    }
}
