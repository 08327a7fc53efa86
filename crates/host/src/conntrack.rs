//! Connection tracking (`nf_conntrack_core`): entries by flow, their states and time-outs.
//!
//! A connection's first packet carries its entry with it ([`Tracking::Apart`]); only when the packet leaves the host's hooks
//! alive is the entry confirmed, and found by others. Entries end by their time-out, which is looked at when they are: no timer
//! runs for them.

mod icmp;
mod nat;
mod render;
mod tcp;
mod track;
mod tuple;

use hashbrown::HashMap;
use transect_config::rules::CtStates;

use crate::device::DeviceId;
pub(crate) use nat::{Choice, Manipulation, rewrite, rewrite_quoted};
pub(crate) use tcp::TcpTrack;
pub(crate) use tuple::Tuple;

/// What connection tracking knows of a packet (`skb->_nfct`).
#[derive(Debug, Clone, Default)]
pub(crate) enum Tracking {
    /// It has not been asked yet, or no rule set needs it; or it makes no sense of the packet (INVALID).
    #[default]
    None,
    /// A rule took it out (NOTRACK), or it is of a kind that is never tracked (neighbour discovery).
    Untracked,
    /// A connection that is not in the table: a new one, which nobody else can see yet, or one that this packet ended.
    Apart {
        /// Its entry.
        connection: Box<Connection>,
        /// How the packet belongs to it.
        info: Info,
    },
    /// A packet of a confirmed connection.
    Entry {
        /// Which one.
        id: ConnectionId,
        /// How the packet belongs to it.
        info: Info,
    },
}

/// How a packet belongs to a connection (`enum ip_conntrack_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Info {
    /// In the first packet's direction, and nothing has come back yet.
    New,
    /// In the first packet's direction, behind an answer.
    Established,
    /// An answer.
    EstablishedReply,
    /// About the connection (an ICMP error, a reset by REJECT), in the first packet's direction.
    Related,
    /// About the connection, in the other direction.
    RelatedReply,
}

impl Info {
    /// Whether the packet goes in the direction opposite to the first one's (`CTINFO2DIR`).
    pub(crate) fn is_reply(self) -> bool {
        matches!(self, Info::EstablishedReply | Info::RelatedReply)
    }

    fn is_related(self) -> bool {
        matches!(self, Info::Related | Info::RelatedReply)
    }

    fn states(self) -> CtStates {
        match self {
            Info::New => CtStates::NEW,
            Info::Established | Info::EstablishedReply => CtStates::ESTABLISHED,
            Info::Related | Info::RelatedReply => CtStates::RELATED,
        }
    }
}

impl Tracking {
    /// What an error message or a reset about a packet has of the packet's own (`nf_ct_attach`): it is RELATED, in the other
    /// direction.
    pub(crate) fn related(&self) -> Tracking {
        let other = |info: &Info| match info.is_reply() {
            true => Info::Related,
            false => Info::RelatedReply,
        };
        match self {
            Tracking::None => Tracking::None,
            Tracking::Untracked => Tracking::Untracked,
            Tracking::Apart { connection, info } => Tracking::Apart {
                connection: connection.clone(),
                info: other(info),
            },
            Tracking::Entry { id, info } => Tracking::Entry {
                id: *id,
                info: other(info),
            },
        }
    }

    /// The state that rules see.
    pub(crate) fn states(&self) -> CtStates {
        match self {
            Tracking::None => CtStates::INVALID,
            Tracking::Untracked => CtStates::UNTRACKED,
            Tracking::Apart { info, .. } | Tracking::Entry { info, .. } => info.states(),
        }
    }

    /// How the packet belongs to its connection.
    pub(crate) fn info(&self) -> Option<Info> {
        match self {
            Tracking::Apart { info, .. } | Tracking::Entry { info, .. } => Some(*info),
            _ => None,
        }
    }
}

/// Bits of a connection's state (`IPS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status(u16);

impl Status {
    /// Packets went both ways.
    pub(crate) const SEEN_REPLY: Status = Status(1);
    /// Not to be thrown out early.
    pub(crate) const ASSURED: Status = Status(1 << 1);
    /// In the table.
    pub(crate) const CONFIRMED: Status = Status(1 << 2);
    /// The source is translated.
    pub(crate) const SRC_NAT: Status = Status(1 << 3);
    /// The destination is translated.
    pub(crate) const DST_NAT: Status = Status(1 << 4);
    /// It is settled whether the source is.
    pub(crate) const SRC_DONE: Status = Status(1 << 5);
    /// It is settled whether the destination is.
    pub(crate) const DST_DONE: Status = Status(1 << 6);

    /// Whether every bit of `other` is set.
    pub(crate) fn has(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    pub(crate) fn set(&mut self, other: Status) {
        self.0 |= other.0;
    }
}

/// What a protocol keeps.
#[derive(Debug, Clone)]
pub(crate) enum ProtocolState {
    /// TCP's window tracking.
    Tcp(Box<TcpTrack>),
    /// UDP: the tick from which on two-way traffic makes a stream of it.
    Udp {
        /// That tick.
        stream_from: u64,
    },
    /// Nothing.
    Other,
}

/// A tracked connection (`struct nf_conn`).
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// As the first packet went.
    pub(crate) original: Tuple,
    /// As answers come.
    pub(crate) reply: Tuple,
    pub(crate) status: Status,
    pub(crate) mark: u32,
    /// The tick at which it ends; before it is confirmed, how many ticks it will have from then on.
    pub(crate) timeout: u64,
    pub(crate) state: ProtocolState,
    /// The device over which it is masqueraded.
    pub(crate) masquerade: Option<DeviceId>,
}

impl Connection {
    /// Whether both ends are done with it (`already_closed`).
    pub(crate) fn is_closed(&self) -> bool {
        match &self.state {
            ProtocolState::Tcp(track) => track.is_closed(),
            _ => false,
        }
    }
}

/// A confirmed connection. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// What `conntrack -S` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) found: u64,
    pub(crate) invalid: u64,
    pub(crate) insert_failed: u64,
    pub(crate) drop: u64,
    pub(crate) early_drop: u64,
    pub(crate) error: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// A hasher that is the same in every run: nothing ever depends on the table's order.
type Fixed = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The table of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By both directions' tuples; whether the tuple is the answers'.
    by_tuple: HashMap<Tuple, (ConnectionId, bool), Fixed>,
    /// Connections by protocol, source address and port, for translations of one source to stay alike (`nf_nat_bysource`).
    by_source: HashMap<Tuple, Vec<ConnectionId>, Fixed>,
    count: u32,
    /// The tick of the last collection of ended entries.
    collected: u64,
    pub(crate) statistics: Statistics,
}

/// Ended entries are collected at least this often, in seconds, while new ones come (`GC_SCAN_INTERVAL_MAX`).
const COLLECT_EVERY: u64 = 60;

impl Connections {
    fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot as usize)?;
        let own = slot.connection.as_deref()?;
        (slot.generation == id.generation).then_some(own)
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let own = slot.connection.as_deref_mut()?;
        (slot.generation == id.generation).then_some(own)
    }

    /// A packet's connection.
    pub(crate) fn of<'a>(&'a self, tracking: &'a Tracking) -> Option<&'a Connection> {
        match tracking {
            Tracking::Apart { connection, .. } => Some(connection),
            Tracking::Entry { id, .. } => self.get(*id),
            _ => None,
        }
    }

    /// A packet's connection, to be changed.
    pub(crate) fn of_mut<'a>(
        &'a mut self,
        tracking: &'a mut Tracking,
    ) -> Option<&'a mut Connection> {
        match tracking {
            Tracking::Apart { connection, .. } => Some(connection),
            Tracking::Entry { id, .. } => self.get_mut(*id),
            _ => None,
        }
    }

    /// The connection of a tuple, where it has not ended.
    pub(crate) fn known(&self, tuple: &Tuple, jiffies: u64) -> Option<&Connection> {
        let (id, _) = *self.by_tuple.get(tuple)?;
        self.get(id)
            .filter(|connection| connection.timeout > jiffies)
    }

    /// Finds the connection of a tuple, and whether it is the answers'. One that has ended is thrown out.
    fn find(&mut self, tuple: &Tuple, jiffies: u64) -> Option<(ConnectionId, bool)> {
        let (id, reply) = *self.by_tuple.get(tuple)?;
        let ended = self
            .get(id)
            .is_none_or(|connection| connection.timeout <= jiffies);
        if ended {
            self.remove(id);
            return None;
        }
        Some((id, reply))
    }

    /// Whether answers with this tuple would be taken for another connection's (`nf_conntrack_tuple_taken`). A connection with
    /// the same first direction is the same flow, and no other.
    fn is_taken(&mut self, reply: &Tuple, original: &Tuple, jiffies: u64) -> bool {
        let Some((id, _)) = self.find(reply, jiffies) else {
            return false;
        };
        let taken = self
            .get(id)
            .is_some_and(|other| other.original != *original);
        self.statistics.found += u64::from(taken);
        taken
    }

    /// Puts a connection into the table. None: one with one of its tuples is there.
    fn insert(&mut self, connection: Box<Connection>, jiffies: u64) -> Option<ConnectionId> {
        let taken = self.find(&connection.original, jiffies).is_some()
            || self.find(&connection.reply, jiffies).is_some();
        if taken {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                slot
            }
        };
        let own = self.slots.get_mut(slot as usize)?;
        let id = ConnectionId {
            slot,
            generation: own.generation,
        };
        self.by_tuple.insert(connection.original, (id, false));
        self.by_tuple.insert(connection.reply, (id, true));
        if connection.status.has(Status::SRC_DONE) {
            self.by_source
                .entry(connection.original.source_only())
                .or_default()
                .push(id);
        }
        own.connection = Some(connection);
        self.count += 1;
        Some(id)
    }

    /// Takes a connection out of the table.
    fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let slot = self
            .slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)?;
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.count = self.count.saturating_sub(1);
        for tuple in [connection.original, connection.reply] {
            if self.by_tuple.get(&tuple).is_some_and(|(own, _)| *own == id) {
                self.by_tuple.remove(&tuple);
            }
        }
        let source = connection.original.source_only();
        if let Some(list) = self.by_source.get_mut(&source) {
            list.retain(|own| *own != id);
            if list.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(connection)
    }

    /// Throws out what has ended (`gc_worker`).
    fn collect(&mut self, jiffies: u64) {
        self.collected = jiffies;
        let ended: Vec<ConnectionId> = self
            .entries()
            .filter(|(_, connection)| connection.timeout <= jiffies)
            .map(|(id, _)| id)
            .collect();
        for id in ended {
            self.remove(id);
        }
    }

    /// Throws out everything.
    pub(crate) fn clear(&mut self) {
        let all: Vec<ConnectionId> = self.entries().map(|(id, _)| id).collect();
        for id in all {
            self.remove(id);
        }
    }

    /// Every entry, in the order of their places.
    fn entries(&self) -> impl DoubleEndedIterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(slot, own)| {
            let id = ConnectionId {
                slot: u32::try_from(slot).ok()?,
                generation: own.generation,
            };
            Some((id, own.connection.as_deref()?))
        })
    }

    /// Makes room for one more (`__nf_conntrack_alloc`). False: the table is full.
    fn make_room(&mut self, most: u32, jiffies: u64, hz: u64, random: &mut fastrand::Rng) -> bool {
        if jiffies.saturating_sub(self.collected) >= COLLECT_EVERY * hz {
            self.collect(jiffies);
        }
        if most == 0 || self.count < most {
            return true;
        }
        if self.collected != jiffies {
            self.collect(jiffies);
        }
        self.count < most || self.drop_early(random)
    }

    /// Throws out one connection that is not assured, where one is found in eight of the kernel's buckets (`early_drop`).
    /// The buckets are as many as the table may have entries, so that in a small table hardly ever one is found.
    fn drop_early(&mut self, random: &mut fastrand::Rng) -> bool {
        const BUCKETS: u32 = 262_144;
        const LOOKED_AT: u32 = 8;
        let start = random.u32(..BUCKETS);
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let looked_at = (0..LOOKED_AT).map(|step| start.wrapping_add(step) % BUCKETS);
        let found = looked_at.filter(|slot| *slot < slots).find_map(|slot| {
            let own = self.slots.get(slot as usize)?;
            let connection = own.connection.as_deref()?;
            let generation = own.generation;
            (!connection.status.has(Status::ASSURED)).then_some(ConnectionId { slot, generation })
        });
        match found {
            Some(id) => {
                self.remove(id);
                self.statistics.early_drop += 1;
                true
            }
            None => false,
        }
    }
}
