//! What one TCP segment adds to its conversation.

use transect_packet::{IpHeader, TcpFlags, TcpHeader};
use transect_path::{Direction, Timestamp, What};

use super::Note;
use super::chunks::Chunks;
use super::record::{
    Books, ConversationRecord, Facts, Latest, Marks, Rare, TallyRecord, add_data, class, count,
    rare, side,
};

/// Sequence numbers farther than this from the stream's highest belong to another connection: no window is larger
/// (RFC 7323 section 2.3).
const MAX_WINDOW: i32 = 1 << 30;
/// While the peer's SYN has not been seen, an acknowledgement this far ahead is not of this connection: it answers a SYN
/// that meets the remains of an older one.
const MAX_UNSEEN: i32 = 1 << 20;
/// A SYN with another sequence number starts a new connection after so long a silence, whatever became of the old one.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Whether the segment is a SYN that belongs to a newer connection than the one on record.
#[inline]
pub(super) fn starts_anew(
    books: &Books,
    conversation: u32,
    direction: Direction,
    time: Timestamp,
    segment: &TcpHeader,
) -> bool {
    const OPENING: u8 = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST;
    segment.flags.0 & OPENING == TcpFlags::SYN
        && is_newer(books, conversation, direction, time, segment)
}

fn is_newer(
    books: &Books,
    conversation: u32,
    direction: Direction,
    time: Timestamp,
    segment: &TcpHeader,
) -> bool {
    let Some(record) = books.conversations.get(conversation) else {
        return true;
    };
    let stream = record.stream(direction);
    if stream.from_syn && stream.origin == Some(segment.sequence) {
        return false;
    }
    let Some(last) = books.last(record) else {
        // Only an ICMP error about it was seen so far; it quotes this very SYN, unless it was about an answer.
        return direction == Direction::ToClient;
    };
    record.is_finished() || !record.facts.has(Facts::ESTABLISHED) || time.since(last) >= SILENCE
}

/// What the segment turned out to be.
#[derive(Debug, Clone, Copy)]
struct Findings {
    /// It repeats data, a SYN or a FIN seen before at this tap.
    again: bool,
    /// It opens, closes, resets, is the first with data, repeats, fills a gap, or does not belong here.
    notable: bool,
}

/// Enters a segment. The tally's packets, times and lengths are counted by the caller.
#[inline]
pub(super) fn enter(
    books: &mut Books,
    conversation: u32,
    tally_index: u32,
    direction: Direction,
    time: Timestamp,
    ip: &IpHeader,
    segment: &TcpHeader,
) {
    let (Some(record), Some(tally)) = (
        books.conversations.get_mut(conversation),
        books.tallies.get_mut(tally_index),
    ) else {
        return;
    };
    let what = class(segment.flags, segment.payload_length);
    learn_origins(record, direction, segment);
    let findings = sequence(record, tally, &mut books.rares, direction, segment, what);
    let mut stray = false;
    if segment.flags.ack() && what != What::Rst && what != What::SynAck {
        stray = !acknowledge(record, tally, &mut books.rares, direction, segment, what);
    } else if what == What::SynAck
        && let Some((_, offset)) = record.place(direction.reversed(), segment.acknowledgment)
    {
        tally.acknowledged = tally.acknowledged.max(offset);
        record.raise(direction.reversed(), offset);
    }
    window(tally, &mut books.rares, time, segment, what);
    if what == What::Data || (what == What::Fin && segment.payload_length > 0) {
        latest(tally, time, ip, segment, findings.again);
    }
    if findings.notable || stray {
        let note = note(time, ip, segment, what, findings.again);
        books.note(tally_index, note);
    }
}

/// The first segments tell where the streams start.
#[inline]
fn learn_origins(record: &mut ConversationRecord, direction: Direction, segment: &TcpHeader) {
    let peer = direction.reversed();
    if record.knows_origin(direction) && record.knows_origin(peer) {
        return;
    }
    // A reset's numbers answer the packet that it refuses, and say nothing about the streams.
    if segment.flags.rst() {
        return;
    }
    if segment.flags.syn() {
        record.learn_origin(direction, segment.sequence, true);
        if segment.flags.ack() {
            // The SYN itself escaped the capture.
            record.learn_origin(peer, segment.acknowledgment - 1, true);
        }
    } else if !answers_older_connection(record, direction, segment) {
        record.learn_origin(direction, segment.sequence, false);
        if segment.flags.ack() {
            record.learn_origin(peer, segment.acknowledgment, false);
        }
    }
}

/// A SYN is answered by something that is neither SYN-ACK nor RST and acknowledges nothing of it: the peer still holds an
/// older connection (RFC 5961 section 4: a challenge ACK).
fn answers_older_connection(
    record: &ConversationRecord,
    direction: Direction,
    segment: &TcpHeader,
) -> bool {
    let peer = direction.reversed();
    record.stream(peer).from_syn
        && !record.knows_origin(direction)
        && record
            .place(peer, segment.acknowledgment)
            .is_none_or(|(ahead, offset)| offset == 0 || ahead > MAX_UNSEEN)
}

#[inline]
fn sequence(
    record: &mut ConversationRecord,
    tally: &mut TallyRecord,
    rares: &mut Chunks<Rare>,
    direction: Direction,
    segment: &TcpHeader,
    what: What,
) -> Findings {
    match what {
        What::Syn => count(&mut tally.syn),
        What::SynAck => count(&mut tally.syn_ack),
        What::Fin => count(&mut tally.fin),
        What::Rst => count(&mut tally.rst),
        What::Data => count(&mut tally.data),
        _ => count(&mut tally.acks),
    }
    let mut findings = Findings {
        again: false,
        notable: matches!(what, What::Syn | What::SynAck | What::Fin | What::Rst),
    };
    match what {
        What::Rst => {
            record.facts.set(Facts::RESET);
            return findings;
        }
        What::Syn | What::SynAck => {
            offer(tally, segment);
            let number = if what == What::Syn {
                tally.syn
            } else {
                tally.syn_ack
            };
            findings.again = number > 1;
        }
        _ => {}
    }
    let stream = record.stream(direction);
    let placed = stream
        .origin
        .and_then(|_| record.place(direction, segment.sequence))
        .filter(|(distance, offset)| {
            let elsewhere = segment.flags.syn() && stream.from_syn && *offset != 0;
            distance.unsigned_abs() <= MAX_WINDOW.unsigned_abs() && !elsewhere
        });
    let Some((_, offset)) = placed else {
        if let Some(rare) = rare(tally, rares) {
            count(&mut rare.stray_segments);
        }
        findings.notable = true;
        return findings;
    };
    let start = offset + u64::from(segment.flags.syn());
    let end = start + u64::from(segment.payload_length);
    let next = end + u64::from(segment.flags.fin());
    if what == What::Ack {
        // A keepalive or a window probe repeats the sequence number before the next one to provoke an answer.
        if tally.marks.has(Marks::HAS_DATA)
            && !tally.marks.has(Marks::HAS_FIN)
            && start + 1 == tally.data_end
            && let Some(rare) = rare(tally, rares)
        {
            count(&mut rare.probes);
        }
        if direction == Direction::ToServer && record.facts.has(Facts::SYN_TO_CLIENT) {
            record.facts.set(Facts::ESTABLISHED);
        }
        return findings;
    }
    if segment.payload_length > 0 {
        record.facts.set(Facts::ESTABLISHED);
        findings.notable |= !tally.marks.has(Marks::HAS_DATA);
        let probe = segment.payload_length == 1
            && tally.marks.has(Marks::HAS_DATA)
            && end == tally.data_end;
        let added = add_data(tally, rares, stream.start(), start..end);
        if (added.known > 0 || added.late > 0)
            && let Some(rare) = rare(tally, rares)
        {
            if probe {
                count(&mut rare.probes);
            } else if added.known > 0 {
                count(&mut rare.retransmitted.segments);
                rare.retransmitted.bytes += added.known;
                findings.again = true;
            }
            if added.late > 0 {
                count(&mut rare.late.segments);
                rare.late.bytes += added.late;
            }
            findings.notable = true;
        }
    }
    if segment.flags.fin() {
        if tally.marks.has(Marks::HAS_FIN) {
            if !findings.again
                && let Some(rare) = rare(tally, rares)
            {
                count(&mut rare.retransmitted.segments);
            }
            findings.again = true;
        }
        tally.marks.set(Marks::HAS_FIN);
        tally.fin_at = tally.fin_at.max(end);
        record.facts.set(Facts::fin(direction));
    }
    record.raise(direction, next);
    findings
}

fn offer(tally: &mut TallyRecord, segment: &TcpHeader) {
    tally.marks.set(Marks::OFFERED);
    let options = segment.options();
    if let Some(mss) = options.mss {
        tally.marks.set(Marks::OFFERED_MSS);
        tally.mss = mss;
    }
    if let Some(scale) = options.window_scale {
        tally.window_scale = scale;
    }
    if options.sack_permitted {
        tally.marks.set(Marks::OFFERED_SACK);
    }
    if options.timestamps.is_some() {
        tally.marks.set(Marks::OFFERED_TIMESTAMPS);
    }
}

/// Enters a cumulative acknowledgement; false when it acknowledges nothing of this connection.
#[inline]
fn acknowledge(
    record: &mut ConversationRecord,
    tally: &mut TallyRecord,
    rares: &mut Chunks<Rare>,
    direction: Direction,
    segment: &TcpHeader,
    what: What,
) -> bool {
    let peer = direction.reversed();
    let known = record.knows_origin(peer);
    let ahead = if record.knows_origin(direction) {
        MAX_WINDOW
    } else {
        MAX_UNSEEN
    };
    let first = u64::from(record.facts.has(Facts::syn(peer)));
    let placed = record
        .place(peer, segment.acknowledgment)
        .filter(|(distance, offset)| {
            known && (-MAX_WINDOW..=ahead).contains(distance) && *offset >= first
        });
    let Some((_, offset)) = placed else {
        if let Some(rare) = rare(tally, rares) {
            count(&mut rare.stray_acks);
        }
        return false;
    };
    if offset > tally.acknowledged {
        tally.acknowledged = offset;
        record.raise(peer, offset);
        if let Some(rare) = rares.get_mut(tally.rare) {
            rare.sacked.forget_before(offset);
        }
    } else if offset == tally.acknowledged
        && what == What::Ack
        && segment.window == tally.window
        && record.high[side(peer)] > offset
        && let Some(rare) = rare(tally, rares)
    {
        count(&mut rare.duplicate_acks);
    }
    if segment.may_hold_sacks() {
        selective(record, tally, rares, peer, segment);
    }
    true
}

fn selective(
    record: &ConversationRecord,
    tally: &mut TallyRecord,
    rares: &mut Chunks<Rare>,
    peer: Direction,
    segment: &TcpHeader,
) {
    let options = segment.options();
    if options.sacks().is_empty() {
        return;
    }
    let acknowledged = tally.acknowledged;
    let Some(rare) = rare(tally, rares) else {
        return;
    };
    for block in options.sacks() {
        let start = record.place(peer, block.start);
        let (Some((distance, start)), length) = (start, block.end.offset_from(block.start)) else {
            continue;
        };
        if distance.unsigned_abs() > MAX_WINDOW.unsigned_abs() || length <= 0 {
            continue;
        }
        let end = start + u64::from(length.unsigned_abs());
        if end <= acknowledged {
            count(&mut rare.duplicate_sacks);
        } else {
            rare.sacked.insert(start.max(acknowledged)..end);
        }
    }
}

#[inline]
fn window(
    tally: &mut TallyRecord,
    rares: &mut Chunks<Rare>,
    time: Timestamp,
    segment: &TcpHeader,
    what: What,
) {
    if what == What::Rst {
        return;
    }
    tally.window = segment.window;
    tally.marks.set(Marks::HAS_WINDOW);
    if matches!(what, What::Syn | What::SynAck) {
        tally.marks.set(Marks::WINDOW_IN_SYN);
        return;
    }
    tally.marks.put(Marks::WINDOW_IN_SYN, false);
    if segment.window == 0
        && let Some(rare) = rare(tally, rares)
    {
        count(&mut rare.zero_windows);
        rare.zero_window_last = rare.zero_window_last.max(time);
    }
}

#[inline]
fn latest(
    tally: &mut TallyRecord,
    time: Timestamp,
    ip: &IpHeader,
    segment: &TcpHeader,
    again: bool,
) {
    let headers = ip.total_length.saturating_sub(segment.payload_length);
    tally.latest_time = time;
    tally.latest = Latest {
        sequence: segment.sequence.0,
        acknowledgment: segment.acknowledgment.0,
        payload_length: segment.payload_length,
        headers: u16::try_from(headers).unwrap_or(u16::MAX),
        window: segment.window,
        identification: ip.identification as u16,
        flags: segment.flags.0,
        ttl: ip.ttl,
    };
    tally.marks.put(Marks::LATEST_AGAIN, again);
}

fn note(time: Timestamp, ip: &IpHeader, segment: &TcpHeader, what: What, again: bool) -> Note {
    Note {
        what,
        time,
        again,
        sequence: segment.sequence,
        acknowledgment: segment.acknowledgment,
        window: segment.window,
        flags: segment.flags,
        timestamp: match segment.flags.syn() {
            true => segment.options().timestamps.map(|stamps| stamps.value),
            false => None,
        },
        checksum: 0,
        payload_length: segment.payload_length,
        ip_length: ip.total_length,
        ttl: ip.ttl,
        identification: ip.identification,
    }
}
