//! TCP as Linux does it (RFC 9293 and its companions), IPv4 and IPv6.
//!
//! A segment comes in at [`Tcp::input`], which finds whose it is: a connection's, a handshake's, a remainder's, a listener's, nobody's.
//! A connection is in two halves, what it sends (`sender`, `send_buffer` with their mechanisms) and what it receives
//! (`receive_buffer`); `connection` holds them together, and `input`, `validate`, `active`, `acks`, `output`, `transmit`, `timers`, `close`,
//! `icmp` and `mtu` say what happens to it. `table` is where sockets are found; `listener`, `passive`, `secrets` open connections for others, `fast_open` with the first packet;
//! `time_wait` is what remains; `calls` and `inquiry` are the system calls; `info` is what `ss` shows.

mod acks;
mod active;
mod backlog;
mod calls;
mod close;
mod connection;
mod fast_open;
mod icmp;
mod incoming;
mod info;
mod input;
mod inquiry;
mod limited;
mod listener;
mod mtu;
mod output;
mod passive;
mod reset;
mod secrets;
mod socket_options;
mod stamping;
mod table;
mod time_wait;
mod timers;
mod transmit;
mod urgent;
mod validate;

mod ack;
mod clock;
mod congestion;
mod cubic;
mod loss_probe;
mod metrics;
mod new_reno;
mod options;
mod out_of_order;
mod rack;
mod rate;
mod receive_buffer;
mod receive_window;
mod recovery;
mod rehash;
mod retransmit;
mod rtt;
mod sack;
mod sack_list;
mod scoreboard;
mod segment;
mod send_buffer;
mod sender;
mod undo;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use fast_open::BlackHole;
pub(crate) use icmp::IcmpError;
pub use info::{SocketMemory, TcpInfo};
pub(crate) use metrics::MetricsTable;
pub(crate) use secrets::hash_ends;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use transect_config::{IpVersion, SocketState};
use transect_packet::PacketType;
use transect_path::Point;

use crate::counters::{TcpCounter, TcpExtCounter};
use crate::drop_reason::DropReason;
use crate::ip::Received;
use crate::ip::bytes::transport_checksum_ok;
use crate::packet::Packet;
use crate::socket::{Errno, Event, SocketAddress, SocketId};
use crate::stack::{Stack, TimerOwner};
use connection::{Connection, Fate};
use incoming::{Incoming, Unreadable};
use input::Verdict;
use listener::Listener;
use passive::Checked;
use reset::Answer;
use secrets::Secrets;
use socket_options::SharedOptions;
use table::{Ends, Entry, Table};
use time_wait::Remainder;

/// A socket that neither listens nor has a connection.
#[derive(Debug)]
struct Idle {
    version: IpVersion,
    options: SharedOptions,
    local: SocketAddress,
}

/// A socket.
#[derive(Debug)]
enum Socket {
    /// In CLOSE, never connected.
    Idle(Box<Idle>),
    /// In LISTEN.
    Listener(Box<Listener>),
    /// In any other state; CLOSE where the connection is over and the program has not closed it.
    Connection(Box<Connection>),
}

/// Every TCP socket of a host: connections, listeners with their queues, what remains in TIME_WAIT.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    sockets: HashMap<SocketId, Socket>,
    table: Table,
    remainders: BTreeMap<u64, Remainder>,
    /// The number that the next handshake or remainder gets.
    numbers: u64,
    /// Connections that no program holds.
    orphans: usize,
    secrets: Option<Secrets>,
    /// Connections that were held back, until what lay below was freed (`tsq_tasklet`).
    throttled: Vec<SocketId>,
}

/// Whose a segment is.
enum Owner {
    Connection(SocketId),
    Listener(SocketId),
    /// A listener takes the place of a TIME_WAIT, with this first sequence number.
    Renewed(SocketId, u32),
}

impl Tcp {
    fn secrets(&mut self, stack: &mut Stack) -> Secrets {
        *self
            .secrets
            .get_or_insert_with(|| Secrets::new(&mut stack.random))
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Receiving 13 to 16: a segment for this host, behind LOCAL_IN and the raw sockets (`tcp_v4_rcv`, `tcp_v6_rcv`).
    pub(crate) fn input(&mut self, stack: &mut Stack, received: &Received, mut packet: Packet) {
        let point = Point::TransportInput;
        stack.enter(&mut packet, point);
        // The link layer's word: a device without one (TUN) gives everything to the host alone.
        if packet.packet_type != PacketType::Host {
            return stack.drop_packet(packet, point, DropReason::NotSpecified);
        }
        stack.counters.tcp.count(TcpCounter::InSegs);
        let mut segment = match Incoming::read(&packet, received) {
            Ok(segment) => segment,
            Err(Unreadable::Short) => {
                return stack.drop_packet(packet, point, DropReason::NotSpecified);
            }
            Err(Unreadable::DataOffset) => {
                stack.counters.tcp.count(TcpCounter::InErrs);
                return stack.drop_packet(packet, point, DropReason::PktTooSmall);
            }
        };
        if stack.is_tun(received.device) {
            segment.came_by_tun(&packet);
        }
        if !transport_checksum_ok(&packet, received) {
            stack.counters.tcp.count(TcpCounter::InCsumErrors);
            stack.counters.tcp.count(TcpCounter::InErrs);
            return stack.drop_packet(packet, point, DropReason::TcpCsum);
        }
        stack.cross(&mut packet, point, Point::SocketLookup);
        if let Some((packet, owner)) = self.find(stack, &segment, packet) {
            self.deliver(stack, owner, &segment, packet);
        }
    }

    /// Finds the owner; nothing where the packet is done with.
    fn find(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        mut packet: Packet,
    ) -> Option<(Packet, Owner)> {
        let ends = Ends {
            local: segment.local,
            peer: segment.peer,
        };
        let entry = self.table.connection(&ends);
        match entry {
            Some(Entry::Connection(id)) => {
                self.arrive(stack, &mut packet);
                Some((packet, Owner::Connection(id)))
            }
            Some(Entry::Request(id, number)) => {
                self.arrive(stack, &mut packet);
                self.deliver_to_request(stack, (id, number), segment, packet)
            }
            Some(Entry::TimeWait(number)) => {
                self.arrive(stack, &mut packet);
                match self.receive_in_time_wait(stack, number, segment) {
                    Ok(isn) => {
                        let id = self
                            .table
                            .listener(segment.local, segment.received.device)?;
                        Some((packet, Owner::Renewed(id, isn)))
                    }
                    Err(DropReason::NotSpecified) => {
                        stack.leave(&mut packet, Point::SocketInput);
                        None
                    }
                    Err(reason) => {
                        stack.drop_packet(packet, Point::SocketInput, reason);
                        None
                    }
                }
            }
            None => {
                let listener = self.table.listener(segment.local, segment.received.device);
                let Some(id) = listener else {
                    self.send_reset(stack, segment, &Answer::default());
                    stack.drop_packet(packet, Point::SocketLookup, DropReason::NoSocket);
                    return None;
                };
                self.arrive(stack, &mut packet);
                Some((packet, Owner::Listener(id)))
            }
        }
    }

    /// The packet has found its socket.
    fn arrive(&self, stack: &Stack, packet: &mut Packet) {
        stack.cross(packet, Point::SocketLookup, Point::SocketInput);
    }

    /// The checks that a socket's owner asked for: IP_MINTTL, then the socket filter. The reason to drop it.
    fn refused(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        segment: &Incoming,
    ) -> Option<DropReason> {
        let (options, drops) = match self.sockets.get_mut(&id)? {
            Socket::Idle(_) => return None,
            Socket::Listener(listener) => (&listener.options, &mut listener.drops),
            Socket::Connection(connection) => (&connection.options, &mut connection.drops),
        };
        let reason = if segment.received.ttl < options.min_ttl {
            stack.counters.tcp_ext.count(TcpExtCounter::TCPMinTTLDrop);
            DropReason::TcpMinttl
        } else if options.filter == Some(false) {
            DropReason::SocketFilter
        } else {
            return None;
        };
        *drops = drops.saturating_add(1);
        Some(reason)
    }

    /// A segment for a handshake; the owner that goes on with it, if any.
    fn deliver_to_request(
        &mut self,
        stack: &mut Stack,
        (id, number): (SocketId, u64),
        segment: &Incoming,
        mut packet: Packet,
    ) -> Option<(Packet, Owner)> {
        // Only the filter is asked here: the least TTL is checked where no handshake stands between.
        if self.filters(id) {
            stack.drop_packet(packet, Point::SocketInput, DropReason::SocketFilter);
            return None;
        }
        let checked = self.check_request(stack, id, number, segment);
        self.arm_listener(stack, id);
        match checked {
            Checked::Dropped(reason) => {
                if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) {
                    listener.drops = listener.drops.saturating_add(1);
                }
                stack.drop_packet(packet, Point::SocketInput, reason);
                None
            }
            Checked::Listener => Some((packet, Owner::Listener(id))),
            Checked::Child(child) => {
                self.process_child(stack, (id, child), segment, &mut packet);
                None
            }
        }
    }

    fn filters(&mut self, id: SocketId) -> bool {
        match self.sockets.get_mut(&id) {
            Some(Socket::Listener(listener)) if listener.options.filter == Some(false) => {
                listener.drops = listener.drops.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// A new connection's first segment (`tcp_child_process`); its parent is told when it is established.
    fn process_child(
        &mut self,
        stack: &mut Stack,
        (parent, child): (SocketId, SocketId),
        segment: &Incoming,
        packet: &mut Packet,
    ) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(&child) else {
            return;
        };
        let verdict = connection.receive(stack, segment, segment.payload(packet));
        let up = !matches!(
            connection.state,
            SocketState::SynRecv | SocketState::Unconnected
        );
        if up {
            stack.events.push_back(Event::Acceptable(parent));
        }
        self.finish(stack, child, segment, packet, verdict);
    }

    /// Gives a segment to whom it belongs.
    fn deliver(&mut self, stack: &mut Stack, owner: Owner, segment: &Incoming, mut packet: Packet) {
        let id = match owner {
            Owner::Connection(id) | Owner::Listener(id) | Owner::Renewed(id, _) => id,
        };
        if let Some(reason) = self.refused(stack, id, segment) {
            return stack.drop_packet(packet, Point::SocketInput, reason);
        }
        match owner {
            Owner::Connection(id) => {
                let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
                    return stack.drop_packet(packet, Point::SocketInput, DropReason::TcpClose);
                };
                if connection.held_until().is_some() {
                    connection.note_arrival(segment);
                    return connection.wait(stack, segment, packet);
                }
                let verdict = connection.receive(stack, segment, segment.payload(&packet));
                self.finish(stack, id, segment, &mut packet, verdict);
                packet.consume();
            }
            Owner::Listener(id) => self.deliver_to_listener(stack, id, segment, packet, None),
            Owner::Renewed(id, isn) => {
                self.deliver_to_listener(stack, id, segment, packet, Some(isn));
            }
        }
    }

    /// `tcp_v4_do_rcv` for a listener.
    fn deliver_to_listener(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        segment: &Incoming,
        mut packet: Packet,
        isn: Option<u32>,
    ) {
        let flags = segment.flags;
        if !flags.syn() {
            match self.check_cookie(stack, id, segment) {
                Ok(Some(child)) => {
                    return self.process_child(stack, (id, child), segment, &mut packet);
                }
                Ok(None) => {}
                Err(reason) => {
                    return stack.drop_packet(packet, Point::SocketInput, reason);
                }
            }
        }
        let reason = if flags.ack() {
            let answer = self.answer_of(id);
            self.send_reset(stack, segment, &answer);
            DropReason::TcpFlags
        } else if flags.rst() {
            DropReason::TcpReset
        } else if flags.syn() && !flags.fin() {
            self.connection_request(stack, id, (segment, segment.payload(&packet)), isn);
            self.arm_listener(stack, id);
            // Whatever became of it, the SYN is consumed: the drop shows in counters only.
            return stack.leave(&mut packet, Point::SocketInput);
        } else {
            DropReason::TcpFlags
        };
        stack.drop_packet(packet, Point::SocketInput, reason);
    }

    fn answer_of(&self, id: SocketId) -> Answer {
        let (options, flow_hash) = match self.sockets.get(&id) {
            Some(Socket::Listener(listener)) => (&listener.options, None),
            Some(Socket::Connection(connection)) => (&connection.options, connection.flow_hash),
            Some(Socket::Idle(idle)) => (&idle.options, None),
            None => return Answer::default(),
        };
        Answer {
            mark: options.mark,
            priority: options.priority,
            device: options.device,
            tos: None,
            flow_hash,
        }
    }

    /// What a connection said of a segment: the packet's end, and a reset where one is due.
    fn finish(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        segment: &Incoming,
        packet: &mut Packet,
        verdict: Verdict,
    ) {
        match verdict {
            Verdict::Consumed => stack.leave(packet, Point::SocketInput),
            Verdict::Queued => {
                stack.cross(packet, Point::SocketInput, Point::ReceiveBuffer);
                stack.leave(packet, Point::ReceiveBuffer);
            }
            Verdict::Dropped(reason) | Verdict::Reset(reason) => {
                if matches!(verdict, Verdict::Reset(_)) {
                    let answer = self.answer_of(id);
                    self.send_reset(stack, segment, &answer);
                }
                let point = match reason {
                    DropReason::ProtoMem
                    | DropReason::TcpZerowindow
                    | DropReason::TcpOfoQueuePrune
                    | DropReason::TcpOfoDrop => Point::ReceiveBuffer,
                    _ => Point::SocketInput,
                };
                stack.drop_packet(packet.clone(), point, reason);
            }
        }
        self.settle(stack, id);
    }

    /// Behind every call that may have changed a connection: it leaves the tables where it is over, its remainder comes in, its
    /// deadline is set.
    fn settle(&mut self, stack: &mut Stack, id: SocketId) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
            return;
        };
        let ends = Ends {
            local: connection.local,
            peer: connection.peer,
        };
        let entry = Entry::Connection(id);
        let fate = connection.fate;
        let left = connection
            .fast_open
            .as_deref_mut()
            .and_then(|fast| fast.left.take());
        if let Some(left) = left {
            self.leave_fast_open_queue(stack, left);
        }
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) else {
            return;
        };
        if fate == Fate::Stays {
            let deadline = connection.deadline();
            if connection.armed != deadline {
                connection.armed = deadline;
                stack.timers.set(TimerOwner::Tcp(id), deadline);
            }
            return;
        }
        connection.fate = Fate::Done;
        if connection.armed.take().is_some() {
            stack.timers.set(TimerOwner::Tcp(id), None);
        }
        let keeps_port = connection.options.port_locked && !connection.orphan;
        let orphan = connection.orphan;
        if orphan {
            connection.judge_fast_open(stack);
        }
        self.table.remove(&ends, entry);
        let remains = match fate {
            Fate::TimeWait(state, timeout) => {
                let remainder = connection.remainder(stack, state);
                self.add_remainder(stack, remainder, timeout)
            }
            _ => None,
        };
        if !keeps_port
            && let Some(mut holder) = self.table.release(ends.local.port, entry)
            && let Some(number) = remains
        {
            holder.owner = Entry::TimeWait(number);
            self.table.hold(ends.local.port, holder);
        }
        if orphan {
            self.sockets.remove(&id);
            self.orphans = self.orphans.saturating_sub(1);
        }
    }

    /// Sets a listener's deadline from its handshakes'.
    fn arm_listener(&mut self, stack: &mut Stack, id: SocketId) {
        if let Some(Socket::Listener(listener)) = self.sockets.get(&id) {
            let next = listener.timers.next();
            stack.timers.set(TimerOwner::Tcp(id), next);
        }
    }

    /// A deadline of a connection, or of a listener's handshakes.
    pub(crate) fn handle_timer(&mut self, stack: &mut Stack, id: SocketId) {
        self.release(stack, id);
        let orphans = self.orphans;
        match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => {
                connection.armed = None;
                connection.handle_timers(stack, orphans);
                self.settle(stack, id);
            }
            Some(Socket::Listener(listener)) => {
                let mut over = Vec::new();
                while let Some(number) = listener.timers.pop_due(stack.now) {
                    if listener.handle_request_timer(stack, number)
                        && let Some(request) = listener.forget(number)
                    {
                        over.push((request.ends, number));
                    }
                }
                for (ends, number) in over {
                    self.table.remove(&ends, Entry::Request(id, number));
                }
                self.arm_listener(stack, id);
            }
            _ => {}
        }
    }

    /// The end of a TIME_WAIT.
    pub(crate) fn handle_time_wait_timer(&mut self, stack: &mut Stack, number: u64) {
        self.kill_remainder(stack, number);
    }

    /// Packets of a socket left the host or died: its send buffer has room again (`tcp_wfree`). False: no TCP socket.
    pub(crate) fn handle_freed(&mut self, id: SocketId, bytes: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return false;
        };
        if let Socket::Connection(connection) = socket
            && connection.freed_below(bytes)
        {
            self.throttled.push(id);
        }
        true
    }

    /// Whether anybody was held back, and is no more.
    #[inline]
    pub(crate) fn has_throttled(&self) -> bool {
        !self.throttled.is_empty()
    }

    /// Who was held back by what lay below, and is no more, may send (`tcp_tsq_workfn`: behind everything that came in meanwhile).
    /// False: nobody.
    pub(crate) fn handle_throttled(&mut self, stack: &mut Stack) -> bool {
        let mut woken = std::mem::take(&mut self.throttled);
        let some = !woken.is_empty();
        for id in woken.drain(..) {
            if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) {
                connection.send_throttled(stack);
                self.settle(stack, id);
            }
        }
        if self.throttled.is_empty() {
            self.throttled = woken;
        }
        some
    }

    /// A connection, for a call that needs one.
    fn connection_mut(&mut self, id: SocketId) -> Result<&mut Connection, Errno> {
        match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => Ok(connection),
            Some(_) => Err(Errno::Enotconn),
            None => Err(Errno::Ebadf),
        }
    }
}
