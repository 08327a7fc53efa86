//! Queueing disciplines (net/sched): what waits between the IP layer and the driver, and what dies there.
//!
//! Each is told how long a packet is on the wire (`qdisc_pkt_len`) when it comes in. What leaves is counted as `tc -s qdisc`
//! shows it: when it leaves, not when it comes.

mod class;
mod fifo;
mod htb;
mod options;
mod tbf;

use transect_config::TcStatistics;
use transect_path::Timestamp;

use crate::packet::Packet;
pub(crate) use class::ClassId;
use fifo::{Fifo, PfifoFast};
use htb::Htb;
pub(crate) use options::OptionError;
use tbf::Tbf;

/// A queueing discipline: a device's root, or what hangs below a class of it.
#[derive(Debug)]
pub(crate) struct Qdisc {
    /// `8001:`; `0:` where the kernel chose the discipline.
    pub(crate) handle: String,
    /// What it has counted.
    pub(crate) statistics: TcStatistics,
    /// How long on the wire the packet was that left last.
    last_length: u64,
    discipline: Discipline,
}

#[derive(Debug)]
enum Discipline {
    /// None: straight to the driver (veth, loopback).
    NoQueue,
    PfifoFast(PfifoFast),
    Fifo(Fifo),
    Tbf(Box<Tbf>),
    Htb(Box<Htb>),
}

/// A packet that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) packet: Packet,
    /// Bytes on the wire.
    pub(super) length: u64,
}

/// What a discipline hands out.
#[derive(Debug)]
pub(crate) enum Dequeued {
    /// The next packet.
    Packet(Packet),
    /// Nothing before this moment.
    Later(Timestamp),
    /// Nothing waits.
    Empty,
}

impl Default for Qdisc {
    fn default() -> Self {
        Self::with(String::from("0:"), Discipline::NoQueue)
    }
}

impl Qdisc {
    fn with(handle: String, discipline: Discipline) -> Self {
        Qdisc {
            handle,
            statistics: TcStatistics::default(),
            last_length: 0,
            discipline,
        }
    }

    /// What the kernel gives a device that has a queue of its own (`net.core.default_qdisc`; here always pfifo_fast).
    pub(crate) fn pfifo_fast(queue_length: u32) -> Self {
        let handle = String::from("0:");
        Self::with(handle, Discipline::PfifoFast(PfifoFast::new(queue_length)))
    }

    /// What a class has while nobody put anything below it: `pfifo` with room for `txqueuelen` packets.
    fn own_pfifo(queue_length: u32) -> Self {
        let queue = Fifo::packets(u64::from(queue_length));
        Self::with(String::from("0:"), Discipline::Fifo(queue))
    }

    /// As a configuration names it.
    ///
    /// # Errors
    /// A kind or an option that the model does not know.
    pub(crate) fn of_config(
        config: &transect_config::Qdisc,
        queue_length: u32,
        mtu: u32,
        now: Timestamp,
    ) -> Result<Self, OptionError> {
        let options = options::Options::read(config)?;
        let frame = u64::from(mtu) + crate::packet::LINK_HEADER as u64;
        let discipline = match config.kind.as_str() {
            "noqueue" => Discipline::NoQueue,
            "pfifo_fast" => Discipline::PfifoFast(PfifoFast::new(queue_length)),
            "pfifo" => {
                let limit = options.size("limit")?.unwrap_or(u64::from(queue_length));
                Discipline::Fifo(Fifo::packets(limit))
            }
            "bfifo" => {
                let default = u64::from(queue_length).saturating_mul(frame);
                Discipline::Fifo(Fifo::bytes(options.size("limit")?.unwrap_or(default)))
            }
            "tbf" => Discipline::Tbf(Box::new(Tbf::of_options(&options, now)?)),
            "htb" => {
                let htb = Htb::of_options(&options, &config.handle, queue_length)?;
                Discipline::Htb(Box::new(htb))
            }
            _ => return Err(options.unknown_kind()),
        };
        Ok(Self::with(config.handle.clone(), discipline))
    }

    /// As `tc` names it.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.discipline {
            Discipline::NoQueue => "noqueue",
            Discipline::PfifoFast(_) => "pfifo_fast",
            Discipline::Fifo(fifo) => fifo.kind(),
            Discipline::Tbf(_) => "tbf",
            Discipline::Htb(_) => "htb",
        }
    }

    /// Its options as `tc -j` prints them.
    pub(crate) fn options(&self) -> serde_json::Value {
        match &self.discipline {
            Discipline::NoQueue => serde_json::json!({}),
            Discipline::PfifoFast(_) => serde_json::json!({
                "bands": 3, "priomap": fifo::PRIORITY_TO_BAND, "multiqueue": false,
            }),
            Discipline::Fifo(fifo) => serde_json::json!({ "limit": fifo.limit() }),
            Discipline::Tbf(tbf) => tbf.options(),
            Discipline::Htb(htb) => htb.options(),
        }
    }

    /// Whether packets go straight to the driver, past any queue.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.discipline, Discipline::NoQueue)
    }

    /// Takes a packet in, or gives it back where there is no room (counted). A packet that stands for several and is too
    /// much for the discipline at once is to be cut first: [`Qdisc::must_cut`].
    pub(crate) fn enqueue(&mut self, packet: Packet, length: u64) -> Option<Packet> {
        let waiting = Waiting { packet, length };
        let refused = match &mut self.discipline {
            Discipline::NoQueue => Some(waiting),
            Discipline::PfifoFast(queue) => queue.enqueue(waiting),
            Discipline::Fifo(queue) => queue.enqueue(waiting),
            Discipline::Tbf(tbf) => tbf.enqueue(waiting),
            Discipline::Htb(htb) => htb.enqueue(waiting),
        };
        let statistics = &mut self.statistics;
        if refused.is_some() {
            statistics.drops = statistics.drops.wrapping_add(1);
        } else {
            statistics.qlen = statistics.qlen.saturating_add(1);
            statistics.backlog = statistics.backlog.saturating_add(length);
        }
        refused.map(|waiting| waiting.packet)
    }

    /// Whether a packet of that length on the wire, standing for several of which the longest has `segment` bytes, must be
    /// cut before it can be taken in (`tbf_segment`).
    pub(crate) fn must_cut(&self, length: u64, segment: u64) -> bool {
        match &self.discipline {
            Discipline::Tbf(tbf) => tbf.must_cut(length, segment),
            _ => false,
        }
    }

    /// The next packet, if it may go now.
    pub(crate) fn dequeue(&mut self, now: Timestamp) -> Dequeued {
        let next = match &mut self.discipline {
            Discipline::NoQueue => None,
            Discipline::PfifoFast(queue) => queue.dequeue(),
            Discipline::Fifo(queue) => queue.dequeue(),
            Discipline::Tbf(tbf) => match tbf.dequeue(now) {
                Ok(next) => next,
                Err(later) => {
                    self.statistics.overlimits = self.statistics.overlimits.wrapping_add(1);
                    return Dequeued::Later(later);
                }
            },
            Discipline::Htb(htb) => {
                let next = htb.dequeue(now);
                self.statistics.overlimits = htb.overlimits();
                match next {
                    Ok(next) => next,
                    Err(later) => return Dequeued::Later(later),
                }
            }
        };
        let Some(waiting) = next else {
            return Dequeued::Empty;
        };
        let segments = waiting
            .packet
            .segmentation
            .map_or(1, |cut| cut.segments.max(1));
        let statistics = &mut self.statistics;
        statistics.qlen = statistics.qlen.saturating_sub(1);
        statistics.backlog = statistics.backlog.saturating_sub(waiting.length);
        statistics.packets = statistics.packets.wrapping_add(u64::from(segments));
        statistics.bytes = statistics.bytes.wrapping_add(waiting.length);
        self.last_length = waiting.length;
        Dequeued::Packet(waiting.packet)
    }

    /// Takes out everything that waits (`qdisc_reset`).
    pub(crate) fn purge(&mut self) -> Vec<Packet> {
        self.statistics.qlen = 0;
        self.statistics.backlog = 0;
        let all = match &mut self.discipline {
            Discipline::NoQueue => Vec::new(),
            Discipline::PfifoFast(queue) => queue.purge(),
            Discipline::Fifo(queue) => queue.purge(),
            Discipline::Tbf(tbf) => tbf.purge(),
            Discipline::Htb(htb) => htb.purge(),
        };
        all.into_iter().map(|waiting| waiting.packet).collect()
    }

    /// Adds a class, or changes it (`tc class add|change|replace`); `class` has the class as its handle, its parent, and the
    /// words of its options.
    ///
    /// # Errors
    /// A discipline without classes, a parent that is not there, an option that nobody knows.
    pub(crate) fn set_class(
        &mut self,
        class: &transect_config::Qdisc,
        now: Timestamp,
    ) -> Result<(), OptionError> {
        let options = options::Options::read(class)?;
        let named = |text: &str| text.parse::<ClassId>().map_err(|why| options.error(why));
        let (id, parent) = (named(&class.handle)?, named(&class.parent)?);
        match &mut self.discipline {
            Discipline::Htb(htb) => htb.set_class(id, parent, &options, now),
            _ => Err(options.error(self.without_classes())),
        }
    }

    /// Takes a class away; what waits in it comes out.
    ///
    /// # Errors
    /// There is no such class, or it has others below it.
    pub(crate) fn delete_class(&mut self, id: ClassId) -> Result<Vec<Packet>, String> {
        let lost = match &mut self.discipline {
            Discipline::Htb(htb) => htb.delete_class(id)?,
            _ => return Err(self.without_classes()),
        };
        self.forget(lost.len());
        Ok(lost)
    }

    /// Puts a discipline below a class, or with nothing the class's own again; what waited there comes out.
    ///
    /// # Errors
    /// There is no such class, or it is none of those that have queues; the discipline holds packets back.
    pub(crate) fn graft(
        &mut self,
        id: ClassId,
        below: Option<Qdisc>,
    ) -> Result<Vec<Packet>, String> {
        if let Some(Qdisc {
            discipline: Discipline::Tbf(_) | Discipline::Htb(_),
            ..
        }) = &below
        {
            return Err(String::from(
                "below a class the model knows pfifo_fast, pfifo and bfifo",
            ));
        }
        let lost = match &mut self.discipline {
            Discipline::Htb(htb) => htb.graft(id, below)?,
            _ => return Err(self.without_classes()),
        };
        self.forget(lost.len());
        Ok(lost)
    }

    /// What somebody put below its classes, with the class.
    pub(crate) fn children(&self) -> Vec<(ClassId, &Qdisc)> {
        match &self.discipline {
            Discipline::Htb(htb) => htb.children().collect(),
            _ => Vec::new(),
        }
    }

    fn without_classes(&self) -> String {
        format!("{} has no classes", self.kind())
    }

    /// Packets that waited are gone.
    fn forget(&mut self, packets: usize) {
        self.statistics.qlen = self.statistics.qlen.saturating_sub(packets as u64);
    }
}
