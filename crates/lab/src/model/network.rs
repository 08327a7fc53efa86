//! Hosts, the links between them, and the virtual clock that moves them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use transect_host::{DeviceId, Event, Host, Packet, SocketId};
use transect_path::Timestamp;

use super::agenda::{Agenda, Deadlines};
use super::recorder::Recorder;
use super::wire::{Wire, later};
use crate::error::WorldError;

/// A host's number in its world.
pub(super) type NodeId = usize;

/// A task's number; never used again.
pub(super) type TaskId = u64;

/// What programs take of the time, about. In real time it passes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// From an event of the kernel's to the moment at which the program that waits for it runs.
    pub(super) waking: Duration,
    /// A system call that sends something: programs that send without a pause send at this rate. Between namespaces of one
    /// machine the packet's way to the receiver is part of it, and often the answer's way back.
    pub(super) call: Duration,
}

impl Pace {
    /// Of virtual time.
    const VIRTUAL: Pace = Pace {
        waking: Duration::from_micros(60),
        call: Duration::from_micros(40),
    };
    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// Of real time.
    pub(super) const REAL: Pace = Pace {
        waking: Duration::ZERO,
        call: Duration::ZERO,
    };
}

/// The most virtual time, events and frames under way that an experiment may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From the world's beginning on.
    pub(crate) time: Duration,
    /// Frames that arrive, deadlines that come, programs that wake.
    pub(crate) events: u64,
    /// Frames that have been sent and are not there yet, and programs that sleep: a storm doubles them with each hop, and would
    /// have all of the memory long before it had all of the events.
    pub(crate) under_way: usize,
}

impl Limits {
    /// Of a world that runs as long as somebody wants it to.
    #[cfg(feature = "live")]
    pub(crate) const NONE: Limits = Limits {
        time: Duration::MAX,
        events: u64::MAX,
        under_way: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: Duration::from_secs(6 * 3600),
            events: 5_000_000,
            under_way: 50_000,
        }
    }
}

/// One host of the world.
struct Node {
    name: String,
    host: Host,
    /// What is at the other end of each device's link.
    links: BTreeMap<DeviceId, Far>,
    /// Where its taps' frames go.
    recorder: Option<Recorder>,
    /// Changes of its configuration that the kernel would have announced, since somebody last asked.
    changes: Vec<String>,
    /// How often anything was done to the host: frames, deadlines, system calls.
    touched: u64,
}

/// The far end of a link, and the way there.
#[derive(Debug, Clone, Copy)]
struct Far {
    wire: usize,
    end: End,
}

/// What a link ends at.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Another host's device.
    Device(NodeId, DeviceId),
    /// Whoever asks [`Network::take_departed`]; frames of theirs come in by the other wire.
    Outside { inward: usize },
}

/// For what a task can wait, a moment aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// A socket's next event.
    Socket(NodeId, SocketId),
    /// Another task's end.
    End(TaskId),
    /// A change of a host's configuration.
    Change(NodeId),
}

/// What happens at a moment.
enum Happening {
    /// A frame is at a device.
    Arrival(NodeId, DeviceId, Packet),
    /// A frame has left the world.
    Departure(Packet),
    /// A task runs on.
    Wake(TaskId),
}

/// The world but its programs.
pub(super) struct Network {
    began: Timestamp,
    now: Timestamp,
    limits: Limits,
    events: u64,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    agenda: Agenda<Happening>,
    deadlines: Deadlines<TaskId>,
    waiting: BTreeMap<Awaited, BTreeSet<TaskId>>,
    pace: Pace,
    departed: VecDeque<Packet>,
}

/// Which of several sources has the next thing. Of one moment: hosts' timers, then frames and programs, then deadlines of
/// programs, so that what comes in time is seen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Host(NodeId),
    Agenda,
    Deadline,
}

impl Network {
    /// An empty world.
    pub(super) fn new(began: Timestamp, limits: Limits) -> Self {
        Network {
            began,
            now: began,
            limits,
            events: 0,
            nodes: Vec::new(),
            wires: Vec::new(),
            agenda: Agenda::default(),
            deadlines: Deadlines::default(),
            waiting: BTreeMap::new(),
            pace: Pace::VIRTUAL,
            departed: VecDeque::new(),
        }
    }

    /// How fast programs are.
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// Changes that, for hosts that are added from now on.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Adds a host.
    pub(super) fn add(&mut self, name: &str, mut host: Host) -> NodeId {
        host.set_call_time(self.pace.call);
        self.nodes.push(Node {
            name: name.to_owned(),
            host,
            links: BTreeMap::new(),
            recorder: None,
            changes: Vec::new(),
            touched: 0,
        });
        self.nodes.len() - 1
    }

    /// Joins two devices, with a wire for each direction.
    pub(super) fn join(&mut self, ends: [(NodeId, DeviceId); 2], wires: [Wire; 2]) {
        let [one, other] = ends;
        for ((near, far), wire) in [(one, other), (other, one)].into_iter().zip(wires) {
            let link = Far {
                wire: self.wires.len(),
                end: End::Device(far.0, far.1),
            };
            self.wires.push(wire);
            if let Some(node) = self.nodes.get_mut(near.0) {
                node.links.insert(near.1, link);
            }
        }
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// Joins a device to what is no part of this world, with a wire outward and one inward.
    pub(super) fn join_outside(&mut self, node: NodeId, device: DeviceId, wires: [Wire; 2]) {
        let link = Far {
            wire: self.wires.len(),
            end: End::Outside {
                inward: self.wires.len() + 1,
            },
        };
        self.wires.extend(wires);
        if let Some(node) = self.nodes.get_mut(node) {
            node.links.insert(device, link);
        }
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// A frame from outside begins its way to a device.
    pub(super) fn enter_outside(&mut self, node: NodeId, device: DeviceId, frame: Packet) {
        let links = self.nodes.get(node).map(|node| &node.links);
        let Some(Far {
            end: End::Outside { inward },
            ..
        }) = links.and_then(|links| links.get(&device)).copied()
        else {
            return;
        };
        let wire = self.wires.get_mut(inward);
        for (at, frame) in wire.map_or_else(Vec::new, |wire| wire.carry(self.now, frame)) {
            self.agenda
                .enter(at, Happening::Arrival(node, device, frame));
        }
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// The next frame that has left the world.
    pub(super) fn take_departed(&mut self) -> Option<Packet> {
        self.departed.pop_front()
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// It is this late now, whatever is due: for a world whose time passes by itself. Never backwards.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// What is at the other end of a device's link; nothing where that is no host of this world.
    pub(super) fn far_end(&self, node: NodeId, device: DeviceId) -> Option<(NodeId, DeviceId)> {
        match self.nodes.get(node)?.links.get(&device)?.end {
            End::Device(far, device) => Some((far, device)),
            End::Outside { .. } => None,
        }
    }

    /// The moment.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// How long the world has existed.
    pub(super) fn age(&self) -> Duration {
        self.now.since(self.began)
    }

    /// How many things have happened.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// A host by its name.
    pub(super) fn node(&self, name: &str) -> Result<NodeId, WorldError> {
        self.nodes
            .iter()
            .position(|node| node.name == name)
            .ok_or_else(|| WorldError::new(format!("there is no host {name}")))
    }

    /// Does something with a host, at this moment, and carries on what it sends.
    pub(super) fn with<T>(
        &mut self,
        node: NodeId,
        call: impl FnOnce(&mut Host, Timestamp) -> T,
    ) -> Result<T, WorldError> {
        let now = self.now;
        let found = self.nodes.get_mut(node);
        let found = found.ok_or_else(|| WorldError::new(format!("there is no host {node}")))?;
        found.touched = found.touched.saturating_add(1);
        let result = call(&mut found.host, now);
        self.settle(node)?;
        Ok(result)
    }

    /// Looks at a host, and leaves it as it is.
    pub(super) fn look<T>(
        &self,
        node: NodeId,
        look: impl FnOnce(&Host) -> T,
    ) -> Result<T, WorldError> {
        let node = self.nodes.get(node).map(|node| look(&node.host));
        node.ok_or_else(|| WorldError::new("there is no such host"))
    }

    /// How often anything was done to a host: what has not changed since, has nothing new to tell.
    pub(super) fn touched(&self, node: NodeId) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.touched)
    }

    /// Says that a host's configuration changed, as its kernel would.
    pub(super) fn announce(&mut self, node: NodeId, what: &str) {
        if let Some(host) = self.nodes.get_mut(node) {
            host.changes.push(what.to_owned());
        }
        self.wake(Awaited::Change(node), Duration::ZERO);
    }

    /// What was announced of a host's configuration since this was last asked.
    pub(super) fn changes(&mut self, node: NodeId) -> Vec<String> {
        let host = self.nodes.get_mut(node);
        host.map(|host| std::mem::take(&mut host.changes))
            .unwrap_or_default()
    }

    /// Whether there is something that [`Network::changes`] would give.
    pub(super) fn has_changes(&self, node: NodeId) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|host| !host.changes.is_empty())
    }

    /// What a host's taps show goes there from now on.
    pub(super) fn record(&mut self, node: NodeId, recorder: Recorder) {
        if let Some(host) = self.nodes.get_mut(node) {
            host.recorder = Some(recorder);
        }
    }

    /// Ends a capture.
    pub(super) fn take_recorder(&mut self, node: NodeId) -> Option<Recorder> {
        self.nodes.get_mut(node)?.recorder.take()
    }

    /// A task is to run when this happens, or at the deadline, or both; what it waited for before is forgotten only when it
    /// happens.
    pub(super) fn wait(&mut self, task: TaskId, what: Option<Awaited>, until: Option<Timestamp>) {
        if let Some(what) = what {
            self.waiting.entry(what).or_default().insert(task);
        }
        self.deadlines.set(task, until);
    }

    /// A task is to run now.
    pub(super) fn start(&mut self, task: TaskId) {
        self.agenda.enter(self.now, Happening::Wake(task));
    }

    /// A socket is gone, and with it what its waiters could wait for.
    pub(super) fn forget_socket(&mut self, node: NodeId, socket: SocketId) {
        self.wake(Awaited::Socket(node, socket), Duration::ZERO);
    }

    /// A task has ended.
    pub(super) fn ended(&mut self, task: TaskId) {
        self.deadlines.set(task, None);
        self.wake(Awaited::End(task), Duration::ZERO);
    }

    fn wake(&mut self, what: Awaited, after: Duration) {
        for task in self.waiting.remove(&what).into_iter().flatten() {
            self.agenda
                .enter(later(self.now, after), Happening::Wake(task));
        }
    }

    /// Lets the next thing happen; gives the task that is to run, where it is one.
    pub(super) fn advance(&mut self) -> Result<Option<TaskId>, WorldError> {
        let Some((at, source)) = self.next_source() else {
            return Err(WorldError::new(
                "nothing can happen any more, and the experiment is not over",
            ));
        };
        self.now = self.now.max(at);
        self.check_limits()?;
        match source {
            Source::Host(id) => {
                self.with(id, Host::handle_timeout)?;
            }
            Source::Agenda => match self.agenda.pop() {
                Some(Happening::Arrival(node, device, frame)) => {
                    self.with(node, |host, now| host.handle_frame(now, device, frame))?;
                }
                Some(Happening::Departure(frame)) => self.departed.push_back(frame),
                Some(Happening::Wake(task)) => return Ok(Some(task)),
                None => {}
            },
            Source::Deadline => return Ok(self.deadlines.pop()),
        }
        Ok(None)
    }

    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// When the next thing happens; nothing where nothing can.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next_source().map(|(at, _)| at)
    }

    fn next_source(&self) -> Option<(Timestamp, Source)> {
        let timers = self.nodes.iter().enumerate();
        timers
            .filter_map(|(id, node)| Some((node.host.poll_timeout()?, Source::Host(id))))
            .chain(self.agenda.next().map(|at| (at, Source::Agenda)))
            .chain(self.deadlines.next().map(|at| (at, Source::Deadline)))
            .min()
    }

    fn check_limits(&mut self) -> Result<(), WorldError> {
        self.events = self.events.saturating_add(1);
        if self.events > self.limits.events {
            return Err(WorldError(format!(
                "the world's limit of {} events is reached after {:.3} s of virtual time",
                self.limits.events,
                self.age().as_secs_f64()
            )));
        }
        if self.agenda.len() > self.limits.under_way {
            return Err(WorldError(format!(
                "the world's limit of {} frames under way at once is reached after {:.3} s of virtual time: do bridges form a circle?",
                self.limits.under_way,
                self.age().as_secs_f64()
            )));
        }
        if self.age() > self.limits.time {
            return Err(WorldError(format!(
                "the world's limit of {} s of virtual time is reached",
                self.limits.time.as_secs()
            )));
        }
        Ok(())
    }

    /// Takes what a host has for the outside: frames, captured frames, events.
    fn settle(&mut self, id: NodeId) -> Result<(), WorldError> {
        let Some(node) = self.nodes.get_mut(id) else {
            return Ok(());
        };
        while let Some(tapped) = node.host.poll_tapped() {
            if let Some(recorder) = &mut node.recorder {
                recorder.record(&tapped)?;
            }
        }
        while let Some((device, mut frame)) = node.host.poll_transmit() {
            let leaves = later(self.now, frame.take_lateness());
            // A device without a link has nobody at the other end.
            let Some(far) = node.links.get(&device).copied() else {
                continue;
            };
            let arrivals = self.wires.get_mut(far.wire);
            for (at, frame) in arrivals.map_or_else(Vec::new, |wire| wire.carry(leaves, frame)) {
                let happening = match far.end {
                    End::Device(node, device) => Happening::Arrival(node, device, frame),
                    End::Outside { .. } => Happening::Departure(frame),
                };
                self.agenda.enter(at, happening);
            }
        }
        let events: Vec<Event> = std::iter::from_fn(|| node.host.poll_event()).collect();
        for event in events {
            let (Event::Readable(socket)
            | Event::Writable(socket)
            | Event::Acceptable(socket)
            | Event::Failed(socket)) = event;
            self.wake(Awaited::Socket(id, socket), self.pace.waking);
        }
        Ok(())
    }
}
