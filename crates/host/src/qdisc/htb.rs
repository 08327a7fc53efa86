//! Hierarchical token buckets (sch_htb.c): classes with a rate of their own, which borrow from their parent up to a ceiling.
//!
//! The kernel keeps the classes that may send in trees by level and priority; here they are looked for among all, which is the
//! same for the few classes that an experiment has.

use std::collections::{BTreeMap, VecDeque};

use transect_path::Timestamp;

use super::class::{ClassId, Shape};
use super::options::{OptionError, Options};
use super::tbf::sending_time;
use super::{Dequeued, Qdisc, Waiting};
use crate::packet::Packet;

/// How deep classes may be nested (`TC_HTB_MAXDEPTH`): the level of the topmost is one less.
const DEPTH: usize = 8;
/// No class is in debt or at rest for longer (`mbuffer`), in nanoseconds.
const LONGEST: i64 = 60_000_000_000;
/// The queue is looked at again after so many nanoseconds at most (`htb_dequeue`).
const LOOK_AGAIN: i64 = 5_000_000_000;
/// One discipline has no more classes.
const MOST_CLASSES: usize = 4096;

/// What a class may do (`enum htb_cmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing: it is above its ceiling.
    CannotSend,
    /// Send what its parent lends.
    MayBorrow,
    /// Send.
    CanSend,
}

/// One class.
#[derive(Debug)]
struct Class {
    /// None: it hangs at the root.
    parent: Option<ClassId>,
    /// 0 for a leaf; the topmost that has children is `DEPTH` - 1.
    level: usize,
    shape: Shape,
    mode: Mode,
    /// Nanoseconds of sending time left of its own rate, and below its ceiling.
    tokens: i64,
    ceil_tokens: i64,
    /// When they were right (`t_c`).
    checked: Timestamp,
    /// When its mode may change by itself (`pq_key`).
    due: Timestamp,
    /// The queue of a leaf.
    queue: Option<Box<Qdisc>>,
    /// Bytes that it may still send before it is another's turn, by the level of who lends.
    deficit: [i64; DEPTH],
}

/// The discipline.
#[derive(Debug)]
pub(super) struct Htb {
    major: u16,
    /// Whom a packet that nothing classifies belongs to.
    default: u16,
    rate_to_quantum: u64,
    classes: BTreeMap<ClassId, Class>,
    /// What belongs to no class goes past all of them.
    direct: VecDeque<Waiting>,
    direct_limit: u64,
    direct_packets: u64,
    /// Whose turn it is, by level and priority.
    turns: BTreeMap<(usize, u8), ClassId>,
    /// How often a class ran into its ceiling.
    overlimits: u64,
    /// Packets that wait in all classes.
    waiting: u64,
    /// How long a class's own queue is.
    queue_length: u32,
}

impl Htb {
    /// `htb_init`.
    pub(super) fn of_options(
        options: &Options<'_>,
        handle: &str,
        queue_length: u32,
    ) -> Result<Self, OptionError> {
        let handle: ClassId = handle.parse().map_err(|why| options.error(why))?;
        let default = options.hexadecimal("default")?.unwrap_or(0);
        Ok(Htb {
            major: handle.major,
            default: u16::try_from(default).unwrap_or(0),
            rate_to_quantum: options.size("r2q")?.unwrap_or(10).max(1),
            classes: BTreeMap::new(),
            direct: VecDeque::new(),
            direct_limit: options
                .size("direct_qlen")?
                .unwrap_or(u64::from(queue_length).max(2)),
            direct_packets: 0,
            turns: BTreeMap::new(),
            overlimits: 0,
            waiting: 0,
            queue_length,
        })
    }

    /// As `tc -j qdisc` prints them (`htb_print_opt`).
    pub(super) fn options(&self) -> serde_json::Value {
        serde_json::json!({
            "r2q": self.rate_to_quantum, "default": format!("{:#x}", self.default),
            "direct_packets_stat": self.direct_packets, "direct_qlen": self.direct_limit,
        })
    }

    /// How often a class ran into its ceiling, which is what `tc -s qdisc` shows.
    pub(super) fn overlimits(&self) -> u64 {
        self.overlimits
    }

    /// The disciplines that somebody put below a class; a class's own is not listed.
    pub(super) fn children(&self) -> impl Iterator<Item = (ClassId, &Qdisc)> {
        self.classes.iter().filter_map(|(id, class)| {
            let queue = class.queue.as_deref()?;
            (queue.handle != "0:").then_some((*id, queue))
        })
    }

    /// `tc class add|change|replace` (`htb_change_class`).
    pub(super) fn set_class(
        &mut self,
        id: ClassId,
        parent: ClassId,
        options: &Options<'_>,
        now: Timestamp,
    ) -> Result<(), OptionError> {
        let error = |why: String| Err(options.error(why));
        if id.major != self.major || id.minor == 0 {
            return error(format!("{id} is no class of {:x}:", self.major));
        }
        let shape = Shape::read(options, self.rate_to_quantum)?;
        if let Some(class) = self.classes.get_mut(&id) {
            class.shape = shape;
            return Ok(());
        }
        let parent = match parent.minor {
            0 if parent.major == self.major => None,
            _ if self.classes.contains_key(&parent) => Some(parent),
            _ => return error(format!("there is no class {parent}")),
        };
        if self.classes.len() >= MOST_CLASSES {
            return error(format!("a discipline has at most {MOST_CLASSES} classes"));
        }
        if let Some(above) = parent {
            self.make_inner(above).map_err(|why| options.error(why))?;
        }
        let class = Class {
            parent,
            level: 0,
            mode: Mode::CanSend,
            tokens: sending_time(shape.rate, shape.burst),
            ceil_tokens: sending_time(shape.ceil, shape.cburst),
            checked: now,
            due: Timestamp(u64::MAX),
            queue: Some(Box::new(Qdisc::own_pfifo(self.queue_length))),
            deficit: [0; DEPTH],
            shape,
        };
        self.classes.insert(id, class);
        Ok(())
    }

    /// A leaf that gets its first child stops being one (`htb_change_class`); what waits in it is lost.
    fn make_inner(&mut self, id: ClassId) -> Result<(), String> {
        let above = self.classes.get(&id).and_then(|class| class.parent);
        let above = above.and_then(|above| self.classes.get(&above));
        let level = above.map_or(DEPTH, |above| above.level);
        let Some(class) = self.classes.get_mut(&id) else {
            return Err(format!("there is no class {id}"));
        };
        if class.level > 0 {
            return Ok(());
        }
        // A child that is a leaf needs a level below this one.
        class.level = level
            .checked_sub(1)
            .filter(|level| *level > 0)
            .ok_or_else(|| format!("{id} is too deep for another class below it"))?;
        let lost = class.queue.take().map_or(0, |queue| queue.statistics.qlen);
        self.waiting = self.waiting.saturating_sub(lost);
        Ok(())
    }

    /// `tc class del` (`htb_delete`): one that has no children. What waits in it comes out.
    pub(super) fn delete_class(&mut self, id: ClassId) -> Result<Vec<Packet>, String> {
        if self.classes.values().any(|class| class.parent == Some(id)) {
            return Err(format!("class {id} is busy: it has classes below it"));
        }
        let mut class = self
            .classes
            .remove(&id)
            .ok_or_else(|| format!("there is no class {id}"))?;
        let lost = class
            .queue
            .as_mut()
            .map_or_else(Vec::new, |queue| queue.purge());
        self.waiting = self.waiting.saturating_sub(lost.len() as u64);
        // The last child gone, its parent is a leaf again (`htb_parent_to_leaf`).
        if let Some(above) = class.parent
            && !self
                .classes
                .values()
                .any(|other| other.parent == class.parent)
            && let Some(above) = self.classes.get_mut(&above)
        {
            above.level = 0;
            above.queue = Some(Box::new(Qdisc::own_pfifo(self.queue_length)));
        }
        Ok(lost)
    }

    /// Puts a discipline below a leaf (`htb_graft`), or its own in place of it. What waited in the old one comes out.
    pub(super) fn graft(
        &mut self,
        id: ClassId,
        queue: Option<Qdisc>,
    ) -> Result<Vec<Packet>, String> {
        let own = self.queue_length;
        let class = self
            .classes
            .get_mut(&id)
            .ok_or_else(|| format!("there is no class {id}"))?;
        if class.level > 0 {
            return Err(format!("class {id} has classes below it"));
        }
        let new = queue.unwrap_or_else(|| Qdisc::own_pfifo(own));
        let old = class.queue.replace(Box::new(new));
        let lost = old.map_or_else(Vec::new, |mut old| old.purge());
        self.waiting = self.waiting.saturating_sub(lost.len() as u64);
        Ok(lost)
    }

    /// Which class a packet belongs to (`htb_classify`): the one that its priority names, else the default one.
    fn classify(&self, packet: &Packet) -> Option<ClassId> {
        let leaf = |id: ClassId| self.classes.get(&id).is_some_and(|class| class.level == 0);
        let named = ClassId::of_priority(packet.priority);
        if named.major == self.major && named.minor == 0 {
            return None;
        }
        let default = ClassId {
            major: self.major,
            minor: self.default,
        };
        [named, default].into_iter().find(|id| leaf(*id))
    }

    /// `htb_enqueue`. What has no room comes back.
    pub(super) fn enqueue(&mut self, waiting: Waiting) -> Option<Waiting> {
        let id = self.classify(&waiting.packet);
        let Some(class) = id.and_then(|id| self.classes.get_mut(&id)) else {
            if self.direct.len() as u64 >= self.direct_limit {
                return Some(waiting);
            }
            self.direct_packets = self.direct_packets.wrapping_add(1);
            self.direct.push_back(waiting);
            return None;
        };
        let Some(queue) = class.queue.as_mut() else {
            return Some(waiting);
        };
        let length = waiting.length;
        match queue.enqueue(waiting.packet, length) {
            Some(packet) => Some(Waiting { packet, length }),
            None => {
                self.waiting = self.waiting.saturating_add(1);
                None
            }
        }
    }

    /// `htb_dequeue`; an error is the moment at which to look again.
    pub(super) fn dequeue(&mut self, now: Timestamp) -> Result<Option<Waiting>, Timestamp> {
        if let Some(direct) = self.direct.pop_front() {
            return Ok(Some(direct));
        }
        if self.waiting == 0 {
            return Ok(None);
        }
        self.do_events(now);
        for level in 0..DEPTH {
            let mut lent = self.lent_at(level);
            while let Some(id) = self.turn(level, &lent) {
                match self.take_from(id, level, now) {
                    Some(waiting) => return Ok(Some(waiting)),
                    // Its queue holds packets back: it is another's turn.
                    None => lent.retain(|other| *other != id),
                }
            }
        }
        let due = self.classes.values().map(|class| class.due);
        let latest = Timestamp(now.0.saturating_add(LOOK_AGAIN.unsigned_abs()));
        let next = due.min().unwrap_or(latest).min(latest);
        Err(next.max(Timestamp(now.0.saturating_add(1))))
    }

    /// Classes whose mode may have changed since (`htb_do_events`).
    fn do_events(&mut self, now: Timestamp) {
        let due: Vec<ClassId> = self
            .classes
            .iter()
            .filter(|(_, class)| class.due <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(class) = self.classes.get_mut(&id) {
                let passed = class.passed(now);
                self.overlimits += class.settle(passed, now);
            }
        }
    }

    /// The leaves with packets that somebody at this level lends to, in the order of the classes that lend.
    fn lent_at(&self, level: usize) -> Vec<ClassId> {
        let mut lent: Vec<(u8, ClassId, ClassId)> = Vec::new();
        for (id, class) in &self.classes {
            let waits = class
                .queue
                .as_ref()
                .is_some_and(|queue| queue.statistics.qlen > 0);
            if class.level > 0 || !waits {
                continue;
            }
            if let Some(lender) = self.lender(*id).filter(|(_, at)| *at == level) {
                lent.push((class.shape.priority, lender.0, *id));
            }
        }
        lent.sort_unstable();
        lent.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Who lets a class send, and at which level that is: itself, or the first above it that need not borrow.
    fn lender(&self, id: ClassId) -> Option<(ClassId, usize)> {
        let mut at = id;
        for _ in 0..=DEPTH {
            let class = self.classes.get(&at)?;
            match class.mode {
                Mode::CanSend => return Some((at, class.level)),
                Mode::MayBorrow => at = class.parent?,
                Mode::CannotSend => return None,
            }
        }
        None
    }

    /// Whose turn it is among leaves of the highest priority (`htb_lookup_leaf`).
    fn turn(&self, level: usize, lent: &[ClassId]) -> Option<ClassId> {
        let first = *lent.first()?;
        let priority = self.classes.get(&first)?.shape.priority;
        let last = self.turns.get(&(level, priority));
        let same = lent.iter().take_while(|id| {
            let class = self.classes.get(id);
            class.is_some_and(|class| class.shape.priority == priority)
        });
        let mut same = same.copied();
        same.find(|id| Some(id) == last).or(Some(first))
    }

    /// Takes the next packet of a leaf, and charges it and all above it (`htb_dequeue_tree`, `htb_charge_class`).
    fn take_from(&mut self, id: ClassId, level: usize, now: Timestamp) -> Option<Waiting> {
        let class = self.classes.get_mut(&id)?;
        let Dequeued::Packet(packet) = class.queue.as_mut()?.dequeue(now) else {
            return None;
        };
        let length = class.queue.as_ref()?.last_length;
        self.waiting = self.waiting.saturating_sub(1);
        let signed = i64::try_from(length).unwrap_or(i64::MAX);
        let quantum = i64::try_from(class.shape.quantum).unwrap_or(i64::MAX);
        let priority = class.shape.priority;
        let mut exhausted = false;
        if let Some(deficit) = class.deficit.get_mut(level) {
            *deficit = deficit.saturating_sub(signed);
            if *deficit < 0 {
                *deficit = deficit.saturating_add(quantum);
                exhausted = true;
            }
        }
        let turn = if exhausted {
            let lent = self.lent_at(level);
            let at = lent.iter().position(|other| *other == id);
            let next = at.and_then(|at| lent.get(at + 1)).or(lent.first());
            next.copied().unwrap_or(id)
        } else {
            id
        };
        self.turns.insert((level, priority), turn);
        self.charge(id, level, length, now);
        Some(Waiting { packet, length })
    }

    fn charge(&mut self, id: ClassId, level: usize, length: u64, now: Timestamp) {
        let mut at = Some(id);
        for _ in 0..=DEPTH {
            let Some(class) = at.and_then(|at| self.classes.get_mut(&at)) else {
                return;
            };
            let passed = class.passed(now);
            if class.level >= level {
                class.tokens = charged(
                    class.tokens,
                    passed,
                    sending_time(class.shape.rate, class.shape.burst),
                    sending_time(class.shape.rate, length),
                );
            } else {
                class.tokens = class.tokens.saturating_add(passed);
            }
            class.ceil_tokens = charged(
                class.ceil_tokens,
                passed,
                sending_time(class.shape.ceil, class.shape.cburst),
                sending_time(class.shape.ceil, length),
            );
            class.checked = now;
            self.overlimits += class.settle(0, now);
            at = class.parent;
        }
    }

    pub(super) fn purge(&mut self) -> Vec<Waiting> {
        self.waiting = 0;
        let mut all: Vec<Waiting> = self.direct.drain(..).collect();
        for class in self.classes.values_mut() {
            let packets = class
                .queue
                .as_mut()
                .map_or_else(Vec::new, |queue| queue.purge());
            all.extend(
                packets
                    .into_iter()
                    .map(|packet| Waiting { packet, length: 0 }),
            );
        }
        all
    }
}

/// Tokens after a packet (`htb_accnt_tokens`).
fn charged(tokens: i64, passed: i64, most: i64, cost: i64) -> i64 {
    tokens
        .saturating_add(passed)
        .min(most)
        .saturating_sub(cost)
        .max(1 - LONGEST)
}

impl Class {
    /// Nanoseconds since the tokens were right.
    fn passed(&self, now: Timestamp) -> i64 {
        let passed = now.0.saturating_sub(self.checked.0);
        i64::try_from(passed).unwrap_or(i64::MAX).min(LONGEST)
    }

    /// Its mode, as far as the tokens of now go (`htb_class_mode`, `htb_change_class_mode`); how often it ran into its ceiling
    /// by that: 0 or 1.
    fn settle(&mut self, passed: i64, now: Timestamp) -> u64 {
        let before = self.mode;
        let ceil = self.ceil_tokens.saturating_add(passed);
        let own = self.tokens.saturating_add(passed);
        let wait;
        (self.mode, wait) = if ceil < 0 {
            (Mode::CannotSend, ceil)
        } else if own < 0 {
            (Mode::MayBorrow, own)
        } else {
            (Mode::CanSend, 0)
        };
        self.due = match self.mode {
            Mode::CanSend => Timestamp(u64::MAX),
            _ => Timestamp(now.0.saturating_add(wait.unsigned_abs().max(1))),
        };
        u64::from(self.mode == Mode::CannotSend && before != Mode::CannotSend)
    }
}
