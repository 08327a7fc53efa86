//! The socket lock: while a system call holds a socket, what arrives for it waits, and is taken in when the call is over
//! (`sk_lock.owned`, `tcp_add_backlog`, `__release_sock`).
//!
//! A model host's calls take no time. Where the world says how long they take ([`Host::set_call_time`]), a call that sends holds
//! its socket for so long.

use std::collections::VecDeque;
use std::time::Duration;

use transect_packet::{SequenceNumber, TcpFlags};
use transect_path::{Point, Timestamp};

use super::connection::{Connection, Fate};
use super::incoming::Incoming;
use super::{Socket, Tcp};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;
use crate::host::Host;
use crate::packet::Packet;
use crate::socket::SocketId;
use crate::stack::Stack;

/// What one backlog takes beside the receive buffer twice and half of the send buffer, in bytes.
const HEADROOM: u64 = 64 * 1024;

/// A held socket's backlog (`sk_backlog`).
#[derive(Debug)]
pub(super) struct Backlog {
    /// When the call ends.
    until: Timestamp,
    /// The call holds the socket. If not, it only lasts: what it sent last is on its way.
    holds: bool,
    waiting: VecDeque<(Incoming, Packet)>,
    /// What all of it costs (`sk_backlog.len`), in bytes.
    cost: u32,
    /// A narrower path that ICMP told of meanwhile (`TCP_MTU_REDUCED_DEFERRED`), in bytes.
    path_mtu: Option<u32>,
}

impl Backlog {
    fn new(until: Timestamp, holds: bool) -> Box<Self> {
        Box::new(Backlog {
            until,
            holds,
            waiting: VecDeque::new(),
            cost: 0,
            path_mtu: None,
        })
    }
}

impl Host {
    /// When the call that was made on a socket last is over; nothing where it is. See [`Host::set_call_time`].
    pub fn call_until(&mut self, now: Timestamp, socket: SocketId) -> Option<Timestamp> {
        self.tcp.call_until(now, socket)
    }

    /// How long a call that sends takes, and holds its socket; none, as at the beginning: it is over at once. On one machine the
    /// packet's whole way to the receiver, and often the acknowledgement's way back, is part of the sender's system call.
    pub fn set_call_time(&mut self, time: Duration) {
        self.stack.call_time = time;
    }
}

impl Stack {
    /// A program's call that may send begins: what it sends leaves one by one, each when the one before has been answered, since on
    /// one machine the way there and the acknowledgement's way back are part of sending.
    pub(super) fn begin_call(&mut self) {
        self.call_sent = (!self.call_time.is_zero()).then_some(0);
    }

    /// … and has sent everything. How long it lasts.
    pub(super) fn end_call(&mut self) -> Duration {
        let sent = self.call_sent.take().unwrap_or_default();
        let last = self.lateness_of(sent.saturating_sub(1));
        self.call_time.max(last + self.call_time * 5 / 8)
    }

    /// How much later the next packet leaves.
    pub(crate) fn next_lateness(&mut self) -> Duration {
        match &mut self.call_sent {
            None => Duration::ZERO,
            Some(sent) => {
                let before = *sent;
                *sent = before.saturating_add(1);
                self.lateness_of(before)
            }
        }
    }

    /// … as the one behind so many others.
    fn lateness_of(&self, before: u32) -> Duration {
        (self.call_time * 3 / 8).saturating_mul(before)
    }
}

impl Tcp {
    /// A call is over (`release_sock`): what waited is taken in.
    pub(super) fn release(&mut self, stack: &mut Stack, id: SocketId) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
            return;
        };
        let over = connection
            .backlog
            .take_if(|backlog| backlog.holds && backlog.until <= stack.now);
        let Some(backlog) = over else { return };
        let before = connection.sent_so_far();
        stack.begin_call();
        for (segment, mut packet) in backlog.waiting {
            let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
                stack.drop_packet(packet, Point::SocketInput, DropReason::TcpClose);
                continue;
            };
            stack.arrived = Some(packet.time);
            let verdict = connection.process(stack, &segment, segment.payload(&packet));
            stack.arrived = None;
            self.finish(stack, id, &segment, &mut packet, verdict);
        }
        let lasts = stack.end_call();
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) {
            connection.end_call(stack, (backlog.path_mtu, lasts), before);
            self.settle(stack, id);
        }
    }

    /// When the call ends that a program makes on a connection; nothing where it is over.
    pub(crate) fn call_until(&mut self, now: Timestamp, id: SocketId) -> Option<Timestamp> {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
            return None;
        };
        connection
            .backlog
            .take_if(|backlog| !backlog.holds && backlog.until <= now);
        let backlog = connection.backlog.as_ref()?;
        Some(backlog.until.max(now))
    }
}

impl Connection {
    /// A call has sent something, and lasts.
    pub(super) fn hold(&mut self, stack: &mut Stack) {
        let lasts = stack.end_call();
        if lasts.is_zero() {
            return;
        }
        let until = stack.now + lasts;
        match &mut self.backlog {
            Some(backlog) => {
                backlog.until = until;
                backlog.holds = true;
            }
            None => self.backlog = Some(Backlog::new(until, true)),
        }
    }

    /// What a call has sent, as far as it will be answered.
    fn sent_so_far(&self) -> (SequenceNumber, u32) {
        (self.sender.snd_nxt, self.sender.total_retrans)
    }

    /// The rest of `release_sock`. What the backlog made the connection send is answered before the call is over, as the way
    /// there and back is part of it: so the socket is held on (`__release_sock` goes on until nothing waits). What the news of a
    /// narrower path made it send goes out when nobody holds the socket any more (`tcp_release_cb`); but the program comes back from
    /// its call behind the answers only.
    fn end_call(
        &mut self,
        stack: &mut Stack,
        (path_mtu, lasts): (Option<u32>, Duration),
        before: (SequenceNumber, u32),
    ) {
        let until = stack.now + lasts;
        if self.sent_so_far() != before && self.fate == Fate::Stays {
            let backlog = self.backlog.insert(Backlog::new(until, true));
            backlog.path_mtu = path_mtu;
            return;
        }
        if let Some(mtu) = path_mtu {
            self.mtu_reduced(stack, mtu);
            if self.sent_so_far() != before {
                self.backlog = Some(Backlog::new(until, false));
            }
        }
    }

    /// When the call ends that holds the socket; nothing where none does.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        let backlog = self.backlog.as_ref().filter(|backlog| backlog.holds)?;
        Some(backlog.until)
    }

    /// A segment waits (`tcp_add_backlog`), together with the last one where it goes on there.
    pub(super) fn wait(&mut self, stack: &mut Stack, segment: &Incoming, mut packet: Packet) {
        let limit =
            2 * u64::from(self.receive.rcvbuf) + u64::from(self.send_buffer.sndbuf >> 1) + HEADROOM;
        let rmem_alloc = self.receive.rmem_alloc;
        let Some(backlog) = &mut self.backlog else {
            return;
        };
        if let Some((tail, whole)) = backlog.waiting.back_mut()
            && tail.append(whole, segment, &packet)
        {
            // Onto the tail's fragments: only the payload costs more.
            backlog.cost = backlog.cost.saturating_add(segment.length);
            stack.leave(&mut packet, Point::SocketInput);
            return self.count(stack, TcpExtCounter::TCPBacklogCoalesce);
        }
        if u64::from(backlog.cost) + u64::from(rmem_alloc) > limit {
            self.count(stack, TcpExtCounter::TCPBacklogDrop);
            self.drops = self.drops.saturating_add(1);
            return stack.drop_packet(packet, Point::SocketInput, DropReason::SocketBacklog);
        }
        backlog.cost = backlog.cost.saturating_add(segment.truesize);
        backlog.waiting.push_back((*segment, packet));
    }

    /// A narrower path is thought of when the call is over. False: no call holds the socket.
    pub(super) fn defer_path_mtu(&mut self, mtu: u32) -> bool {
        match &mut self.backlog {
            Some(backlog) if backlog.holds => {
                backlog.path_mtu = Some(mtu);
                true
            }
            _ => false,
        }
    }

    /// Until when what arrives now is the sender's memory as well, about: a round trip, or the sender's call. Nothing where calls
    /// take no time: then the other end is no host of this machine.
    pub(super) fn shared_until(&self, stack: &Stack) -> Option<Timestamp> {
        if stack.call_time.is_zero() {
            return None;
        }
        let round_trip = match self.sender.rtt.min_us() {
            u32::MAX => Duration::ZERO,
            microseconds => Duration::from_micros(u64::from(microseconds)),
        };
        Some(stack.now + stack.call_time.max(round_trip))
    }

    /// What waits in the backlog (`sk_backlog.len`), in bytes.
    pub(super) fn backlog_cost(&self) -> u32 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.cost)
    }
}

impl Incoming {
    /// Takes a later segment along, whose packet is `packet`; `whole` is this one's. False: it does not go on where this one ends,
    /// or says something else, or this one has payload, which is the sender's memory too (`skb_cloned`).
    fn append(&mut self, whole: &mut Packet, later: &Incoming, packet: &Packet) -> bool {
        let (flags, others) = (self.flags.0, later.flags.0);
        let alone = TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG;
        let fits = self.end_seq == later.seq
            && self.length == 0
            && self.received.tos == later.received.tos
            && (flags | others) & alone == 0
            && flags & others & TcpFlags::ACK != 0
            && (flags ^ others) & (TcpFlags::ECE | TcpFlags::CWR) == 0
            && self.header_length == later.header_length
            && self.option_bytes(whole) == later.option_bytes(packet);
        if !fits {
            return false;
        }
        let size = |segment: &Incoming| match segment.gso_size {
            0 => u16::try_from(segment.length).unwrap_or(u16::MAX),
            size => size,
        };
        self.gso_size = size(self).max(size(later));
        self.segments = self.segments.saturating_add(later.segments);
        let payload = later.payload(packet);
        whole.data.truncate(self.payload_end());
        whole.data.extend_from_slice(payload);
        self.length = self.length.saturating_add(later.length);
        self.truesize = self.truesize.saturating_add(later.length);
        self.end_seq = later.end_seq;
        if !later.ack.is_before(self.ack) {
            self.ack = later.ack;
            self.window = later.window;
        }
        self.flags = TcpFlags(flags | others);
        true
    }
}
