//! Everything of a host below its sockets, in one value, so that a socket can be borrowed beside it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use transect_config::{HostConfig, IpVersion};
use transect_path::{Point, Timestamp};

use crate::counters::{Counters, IpCounter};
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::ip::Ip;
use crate::journey::{Journey, Mark, StepKind};
use crate::link::Link;
use crate::netfilter::Netfilter;
use crate::packet::Packet;
use crate::settings::Settings;
use crate::socket::{Event, SocketId};
use crate::spare;
use crate::tcp::{BlackHole, MetricsTable};
use crate::timer::{Ticks, TimerQueue};

/// Who waits for a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TimerOwner {
    /// A TCP socket: a connection, or a listener's handshakes.
    Tcp(SocketId),
    /// TIME_WAIT and FIN_WAIT_2 remains, by their own number.
    TimeWait(u64),
    /// Address resolution: an entry of the neighbour table.
    Neighbor(u32),
    /// A queueing discipline that waits for tokens.
    Qdisc(DeviceId),
    /// An unfinished packet of fragments.
    Reassembly(u32),
    /// Changes of a device's multicast groups that are to be reported (`mc_ifc_work`).
    Groups(DeviceId),
    /// All of them, once more (`mc_dad_work`).
    InitialReports(DeviceId),
    /// Duplicate address detection (`dad_work`).
    Address(DeviceId, std::net::Ipv6Addr),
    /// Router solicitations (`rs_timer`).
    Routers(DeviceId),
}

/// What died, where and why: for tests, and for whoever follows packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub point: Point,
    /// The kernel's reason.
    pub reason: DropReason,
    /// The packet's bytes from the network header on.
    pub bytes: Vec<u8>,
    /// Where it had been; nothing where journeys are off.
    pub journey: Option<Box<Journey>>,
}

/// A frame as a tap shows it to packet sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// When.
    pub at: Timestamp,
    /// At which device.
    pub device: DeviceId,
    /// Into the host or out of it.
    pub direction: transect_packet::FrameDirection,
    /// The frame, from the link header on.
    pub bytes: Vec<u8>,
}

/// A host without its sockets.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The host's number in its world, for journeys.
    pub(crate) number: u16,
    /// The moment of the call that is being handled.
    pub(crate) now: Timestamp,
    pub(crate) ticks: Ticks,
    /// What `walk` looks at; its settings are those of `settings`.
    pub(crate) config: HostConfig,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) random: fastrand::Rng,
    pub(crate) timers: TimerQueue<TimerOwner>,
    pub(crate) link: Link,
    pub(crate) ip: Ip,
    pub(crate) netfilter: Netfilter,
    /// Whether packets carry their journeys.
    pub(crate) journeys: bool,
    /// How long a call that sends holds its socket.
    pub(crate) call_time: Duration,
    /// In a program's call that takes time: how many packets it has sent.
    pub(crate) call_sent: Option<u32>,
    /// While a socket's backlog is taken in: when the packet in question arrived.
    pub(crate) arrived: Option<Timestamp>,
    /// What former connections found out about their destinations.
    pub(crate) tcp_metrics: MetricsTable,
    /// Whether fast open rests because SYNs with data got lost.
    pub(crate) black_hole: BlackHole,
    next_packet: u64,
    next_socket: u64,
    /// Challenge ACKs still allowed in a second, and which second (`ipv4.tcp_challenge_count`).
    pub(crate) challenges: (u64, u32),
    /// What programs are to be told.
    pub(crate) events: VecDeque<Event>,
    /// What the taps showed; emptied by `Host::poll_tapped`.
    pub(crate) tapped: VecDeque<Tapped>,
    /// What died; emptied by `Host::poll_death`.
    pub(crate) deaths: VecDeque<Death>,
    /// Whether deaths are kept.
    pub(crate) keep_deaths: bool,
    /// A packet died in a device without a queue since somebody last cleared this: its sender was told "congestion"
    /// (`NET_XMIT_CN`).
    pub(crate) congested: bool,
    /// Sockets whose packets were freed or left the host, with the bytes (`sk_wmem_free`): their send buffers have room again.
    pub(crate) freed: Vec<(SocketId, usize)>,
}

/// What is needed to make a [`Stack`].
pub(crate) struct StackParts {
    pub(crate) number: u16,
    pub(crate) now: Timestamp,
    pub(crate) ticks: Ticks,
    pub(crate) config: HostConfig,
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
    pub(crate) link: Link,
    pub(crate) netfilter: Netfilter,
    pub(crate) journeys: bool,
}

impl Stack {
    pub(crate) fn new(parts: StackParts) -> Self {
        Stack {
            number: parts.number,
            now: parts.now,
            ticks: parts.ticks,
            config: parts.config,
            settings: parts.settings,
            counters: Counters::default(),
            random: fastrand::Rng::with_seed(parts.seed),
            timers: TimerQueue::default(),
            link: parts.link,
            ip: Ip::default(),
            netfilter: parts.netfilter,
            journeys: parts.journeys,
            call_time: Duration::ZERO,
            call_sent: None,
            arrived: None,
            tcp_metrics: MetricsTable::default(),
            black_hole: BlackHole::default(),
            next_packet: 0,
            next_socket: 0,
            challenges: (0, 0),
            events: VecDeque::new(),
            tapped: VecDeque::new(),
            deaths: VecDeque::new(),
            keep_deaths: false,
            congested: false,
            freed: Vec::new(),
        }
    }

    /// Whether anything waits inside of the host.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.freed.is_empty() || self.link.has_received() || self.ip.has_looped()
    }

    /// The moment at which the running tick began: what counts in jiffies counts from there.
    pub(crate) fn tick(&self) -> Timestamp {
        self.ticks.moment(self.ticks.at(self.now))
    }

    /// The number of a new socket, of whatever kind.
    pub(crate) fn new_socket(&mut self) -> SocketId {
        self.next_socket += 1;
        SocketId(self.next_socket)
    }

    /// A packet that this host makes, from the network header on, with its journey begun.
    pub(crate) fn make_packet(&mut self, version: IpVersion, network: &[u8]) -> Packet {
        let mut packet = Packet::outgoing(version, network, self.now);
        self.begin_journey(&mut packet);
        packet
    }

    /// Gives a packet that has none a journey, where journeys are on.
    #[inline]
    pub(crate) fn begin_journey(&mut self, packet: &mut Packet) {
        if self.journeys && packet.journey.is_none() {
            self.next_packet += 1;
            packet.journey = Some(spare::journey(self.next_packet));
        }
    }

    /// The packet comes to a point.
    #[inline]
    pub(crate) fn enter(&self, packet: &mut Packet, point: Point) {
        self.step(packet, point, StepKind::Entered);
    }

    /// The packet leaves a point on its path.
    #[inline]
    pub(crate) fn leave(&self, packet: &mut Packet, point: Point) {
        self.step(packet, point, StepKind::Left);
    }

    /// The packet passes a point at which nothing can happen to it in this configuration.
    #[inline]
    pub(crate) fn pass(&self, packet: &mut Packet, point: Point) {
        self.steps(
            packet,
            [(point, StepKind::Entered), (point, StepKind::Left)],
        );
    }

    /// The packet goes from one point to the next one.
    #[inline]
    pub(crate) fn cross(&self, packet: &mut Packet, left: Point, entered: Point) {
        self.steps(
            packet,
            [(left, StepKind::Left), (entered, StepKind::Entered)],
        );
    }

    #[inline]
    fn step(&self, packet: &mut Packet, point: Point, what: StepKind) {
        self.steps(packet, [(point, what)]);
    }

    /// Several of these in a row.
    #[inline]
    pub(crate) fn steps<const N: usize>(&self, packet: &mut Packet, steps: [Mark; N]) {
        if let Some(journey) = &mut packet.journey {
            journey.extend(self.now, self.number, steps);
        }
    }

    /// Frees a packet that died (`kfree_skb_reason`). Counters are the caller's.
    #[cold]
    pub(crate) fn drop_packet(&mut self, mut packet: Packet, point: Point, reason: DropReason) {
        self.step(&mut packet, point, StepKind::Dropped(reason));
        self.release(&packet);
        if self.keep_deaths {
            self.deaths.push_back(Death {
                at: self.now,
                point,
                reason,
                bytes: packet.network().to_vec(),
                journey: packet.journey.take(),
            });
        }
    }

    /// Gives back what the packet holds of its socket's send buffer (`skb_orphan`, `sock_wfree`).
    pub(crate) fn release(&mut self, packet: &Packet) {
        if let Some(owner) = packet.owner {
            self.freed.push((owner, packet.data.len()));
        }
    }

    /// Counts for one family of IP.
    #[inline]
    pub(crate) fn count_ip(&mut self, version: IpVersion, counter: IpCounter) {
        self.counters.ip(version).count(counter);
    }

    /// Whether an address is one of this host's own.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self
                .config
                .addresses
                .as_deref()
                .unwrap_or_default()
                .iter()
                .any(|own| own.local == address)
    }
}
