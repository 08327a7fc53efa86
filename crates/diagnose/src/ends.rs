//! Captures that tell neither which way packets went nor whose the addresses are (a plain pcap of one interface): at which
//! end of the flow each was taken.
//!
//! Nothing here trusts clocks of different hosts as long as anything else tells: TTLs fall along the way; packets vanish
//! along the way; and the time from a packet to one of the other direction shrinks along the way, whatever each clock says.

use std::time::Duration;

use transect_evidence::conversation::{Note, Tally};
use transect_path::{Direction, Timestamp, What};

use crate::flow::FlowView;
use crate::world::World;

/// Where on the way from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    /// In between, or not known.
    Middle,
    Server,
}

/// Time stamps of pcap files have microseconds: a difference of differences says something beyond two of them.
const NOISE: i128 = 2_000;

/// Within one network segment packets take less than this, in nanoseconds.
const SAME_SEGMENT: i128 = 1_000_000;

/// What senders begin with (RFC 1700; Linux, Windows, network devices; old systems).
const INITIAL_TTLS: [u8; 4] = [64, 128, 255, 32];

impl FlowView {
    /// The hosts whose captures saw the flow without its directions, and of whose addresses nothing is known.
    pub(crate) fn undirected(&self, world: &World<'_>) -> Vec<usize> {
        world
            .hosts()
            .filter(|&host| {
                let mut tallies = Direction::ALL
                    .iter()
                    .flat_map(|&direction| self.tallies(host, direction))
                    .filter(|(seen, _)| seen.point.is_none())
                    .peekable();
                tallies.peek().is_some() && tallies.all(|(_, tally)| tally.tap.direction.is_none())
            })
            .filter(|&host| {
                let on_host = self.tuple_on(host);
                world.owns(host, on_host.source.address).is_none()
                    && world.owns(host, on_host.destination.address).is_none()
            })
            .collect()
    }

    /// At which end each of these hosts is. `client` and `server`: whether another host is known to be that end; `silent`: a
    /// capture that may be the other end's shows nothing of the flow.
    pub(crate) fn ends_of(
        &self,
        undirected: &[usize],
        client: bool,
        server: bool,
        silent: bool,
    ) -> Vec<(usize, End)> {
        if let &[only] = undirected {
            return vec![(only, self.end_of_one(only, client, server, silent))];
        }
        // A capture that shows nothing of an unanswered flow is the server's.
        let server = server
            || silent
                && !undirected
                    .iter()
                    .any(|&host| self.tallies(host, Direction::ToClient).next().is_some());
        let before_all = |host: usize, nearer: bool| {
            let mut others = undirected.iter().filter(|&&other| other != host);
            others.all(|&other| self.is_nearer_client(host, other) == Some(nearer))
        };
        undirected
            .iter()
            .map(|&host| {
                let end = if !client && self.may_be(host, End::Client) && before_all(host, true) {
                    End::Client
                } else if !server && self.may_be(host, End::Server) && before_all(host, false) {
                    End::Server
                } else {
                    End::Middle
                };
                (host, end)
            })
            .collect()
    }

    fn end_of_one(&self, host: usize, client: bool, server: bool, silent: bool) -> End {
        let (may_be_client, may_be_server) = (
            self.may_be(host, End::Client),
            self.may_be(host, End::Server),
        );
        let answered = self.tallies(host, Direction::ToClient).next().is_some();
        match (client, server) {
            (true, true) => End::Middle,
            (true, false) if may_be_server => End::Server,
            (false, true) if may_be_client => End::Client,
            (true, false) | (false, true) => End::Middle,
            // The client's own capture would have shown what it sent: the silent one is the server's.
            (false, false) if silent && !answered && may_be_client => End::Client,
            (false, false) => match (may_be_client, may_be_server) {
                (false, true) => End::Server,
                (true, false) => End::Client,
                (true, true) if self.goes_on_at_once(host) => End::Client,
                _ => End::Middle,
            },
        }
    }

    /// Whether what an end sends itself may look like this: a TTL that a router has lowered came from elsewhere.
    fn may_be(&self, host: usize, end: End) -> bool {
        let own = match end {
            End::Client => Direction::ToServer,
            End::Server => Direction::ToClient,
            End::Middle => return true,
        };
        self.tallies(host, own)
            .all(|(_, tally)| INITIAL_TTLS.contains(&tally.ttl_first))
    }

    /// Whether the client's packets follow the SYN-ACK so much faster than the SYN-ACK follows the SYN that the client must
    /// be near. The opposite says nothing: clients take their time, or wait for the server's greeting.
    fn goes_on_at_once(&self, host: usize) -> bool {
        let first = |direction, what: What| {
            self.notes_on(host, direction)
                .filter(|note| note.what == what)
                .map(|note| note.time)
                .min()
        };
        let times = (
            first(Direction::ToServer, What::Syn),
            first(Direction::ToClient, What::SynAck),
            first(Direction::ToServer, What::Data),
        );
        let (Some(syn), Some(syn_ack), Some(data)) = times else {
            return false;
        };
        let (answered, went_on) = (syn_ack.since(syn), data.since(syn_ack));
        data > syn_ack && answered > went_on * 10 && answered > Duration::from_micros(500)
    }

    /// Whether one capture was taken nearer the client than another; None: nothing tells.
    fn is_nearer_client(&self, one: usize, other: usize) -> Option<bool> {
        self.by_ttl(one, other)
            .or_else(|| self.by_delay(one, other))
            .or_else(|| self.by_loss(one, other))
            .or_else(|| self.by_clock(one, other))
    }

    fn by_ttl(&self, one: usize, other: usize) -> Option<bool> {
        let ttl = |host, direction| {
            self.tallies(host, direction)
                .map(|(_, tally): (_, &Tally)| tally.ttl_first)
                .max()
        };
        let pair = |direction| ttl(one, direction).zip(ttl(other, direction));
        let to_server = pair(Direction::ToServer).map(|(one, other)| one.cmp(&other));
        let to_client = pair(Direction::ToClient).map(|(one, other)| other.cmp(&one));
        let told = |order: Option<std::cmp::Ordering>| order.filter(|order| order.is_ne());
        match (told(to_server), told(to_client)) {
            (Some(one), Some(two)) if one != two => None,
            (Some(order), _) | (None, Some(order)) => Some(order.is_gt()),
            (None, None) => None,
        }
    }

    /// The client waits longer for an answer than anybody nearer the server.
    fn by_delay(&self, one: usize, other: usize) -> Option<bool> {
        let request = self.common(one, other, Direction::ToServer)?;
        let answer = self
            .common(one, other, Direction::ToClient)
            .or_else(|| self.common_error(one, other))?;
        let between = |from: Timestamp, to: Timestamp| i128::from(to.0) - i128::from(from.0);
        let difference = between(request.0, answer.0) - between(request.1, answer.1);
        (difference.abs() > NOISE).then_some(difference > 0)
    }

    /// What one capture shows and the other does not was lost in between.
    fn by_loss(&self, one: usize, other: usize) -> Option<bool> {
        let missing = |direction| {
            let missed = |host, by| self.missed(host, by, direction);
            missed(one, other).cmp(&missed(other, one))
        };
        match missing(Direction::ToServer) {
            std::cmp::Ordering::Equal => match missing(Direction::ToClient) {
                std::cmp::Ordering::Equal => None,
                order => Some(order.is_lt()),
            },
            order => Some(order.is_gt()),
        }
    }

    /// How many packets one host saw and another did not, not counting those before the other's capture began and after it
    /// ended.
    fn missed(&self, host: usize, by: usize, direction: Direction) -> usize {
        let theirs: Vec<Key> = self.notes_on(by, direction).map(key).collect();
        let own: Vec<Key> = self.notes_on(host, direction).map(key).collect();
        if theirs.is_empty() {
            return own.len();
        }
        let common = |key: &Key| theirs.contains(key);
        let (first, last) = (own.iter().position(common), own.iter().rposition(common));
        let (Some(first), Some(last)) = (first, last) else {
            return 0;
        };
        let between = own.iter().skip(first).take(last - first);
        between.filter(|key| !common(key)).count()
    }

    fn by_clock(&self, one: usize, other: usize) -> Option<bool> {
        let (one, other) = self.common(one, other, Direction::ToServer).or_else(|| {
            let (one, other) = self.common(one, other, Direction::ToClient)?;
            Some((other, one))
        })?;
        // No router lowered the TTL: packets are there at once, and who is later by more has another time of day.
        let apart = i128::from(one.0) - i128::from(other.0);
        (apart != 0 && apart.abs() < SAME_SEGMENT).then_some(apart < 0)
    }

    /// When both hosts saw the first packet of a direction that both saw.
    fn common(
        &self,
        one: usize,
        other: usize,
        direction: Direction,
    ) -> Option<(Timestamp, Timestamp)> {
        self.notes_on(one, direction).find_map(|note| {
            let same = self
                .notes_on(other, direction)
                .find(|theirs| key(theirs) == key(note))?;
            Some((note.time, same.time))
        })
    }

    /// When both hosts saw the first ICMP error of a kind that answers what the client sent.
    fn common_error(&self, one: usize, other: usize) -> Option<(Timestamp, Timestamp)> {
        let on = |host| {
            self.seen
                .iter()
                .filter(move |seen| seen.host == host && seen.point.is_none())
                .flat_map(|seen| &seen.conversation.errors)
                .filter(|error| error.direction == Direction::ToServer)
        };
        on(one).find_map(|error| {
            let same = on(other).find(|theirs| {
                (theirs.kind, theirs.code, theirs.reporter)
                    == (error.kind, error.code, error.reporter)
                    && theirs.count == error.count
            })?;
            Some((error.first, same.first))
        })
    }

    fn notes_on(&self, host: usize, direction: Direction) -> impl Iterator<Item = &Note> {
        self.tallies(host, direction)
            .filter(|(seen, _)| seen.point.is_none())
            .flat_map(|(_, tally)| &tally.notes)
    }
}

/// What makes a packet the same one in two captures.
type Key = (What, u32, u32, Option<u32>, u32, u16);

fn key(note: &Note) -> Key {
    (
        note.what,
        note.sequence.0,
        note.acknowledgment.0,
        note.timestamp,
        note.identification,
        note.checksum,
    )
}
