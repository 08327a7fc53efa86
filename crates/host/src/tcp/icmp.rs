//! ICMP errors about segments (`tcp_v4_err`, `tcp_v6_err`; RFC 5927, RFC 1191, RFC 6069).

use std::net::IpAddr;

use transect_config::SocketState;
use transect_packet::SequenceNumber;

use super::clock::Context;
use super::connection::Connection;
use super::sender::Pending;
use super::table::{Ends, Entry};
use super::{Socket, Tcp};
use crate::counters::{Icmp6Counter, IcmpCounter, TcpExtCounter};
use crate::device::DeviceId;
use crate::error_queue::{ErrorOrigin, QueuedError};
use crate::ip::bytes::{u16_at, u32_at};
use crate::socket::{Errno, Event, SocketAddress};
use crate::stack::Stack;

/// An ICMP error that quotes a segment of this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IcmpError<'a> {
    /// The quoted packet's source: an address of this host (translated back where NAT is at work).
    pub(crate) source: IpAddr,
    /// The quoted packet's destination. Its family tells ICMP from ICMPv6.
    pub(crate) destination: IpAddr,
    /// Who sent the message.
    pub(crate) offender: IpAddr,
    /// The quoted packet from its transport header on: at least 8 bytes.
    pub(crate) transport: &'a [u8],
    /// ICMP's type.
    pub(crate) kind: u8,
    /// ICMP's code.
    pub(crate) code: u8,
    /// The next hop's MTU (fragmentation needed, packet too big), in bytes; 0 where the message tells none.
    pub(crate) mtu: u32,
    /// Where the message came in.
    pub(crate) device: Option<DeviceId>,
}

impl IcmpError<'_> {
    /// Which ICMP it is.
    pub(crate) fn version(&self) -> transect_config::IpVersion {
        crate::ip::version_of(self.destination)
    }

    /// The message as an error queue keeps it, with what is quoted from an offset of the transport header on (`ip_icmp_error`,
    /// `ipv6_icmp_error`).
    pub(crate) fn queued(&self, errno: Errno, port: u16, from: usize) -> QueuedError {
        let origin = match self.destination {
            IpAddr::V4(_) => ErrorOrigin::Icmp,
            IpAddr::V6(_) => ErrorOrigin::Icmp6,
        };
        QueuedError {
            errno: Some(errno),
            origin,
            kind: (self.kind, self.code),
            info: self.mtu,
            data: 0,
            time: None,
            destination: Some(SocketAddress::new(self.destination, port)),
            offender: Some(SocketAddress::new(self.offender, 0)),
            payload: self.transport.get(from..).unwrap_or_default().to_vec(),
        }
    }
}

/// What an error says, whatever its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing that concerns TCP.
    Nothing,
    /// The path is too narrow.
    TooBig(u32),
    /// An errno for the socket; whether a time-out need not have doubled for it (RFC 6069; over IPv6 Linux says so of "no route"
    /// alone).
    Error(Errno, bool),
}

/// `icmp_err_convert`, and the types' own errors; `icmpv6_err_convert`.
fn said(error: &IcmpError<'_>) -> Said {
    if error.destination.is_ipv6() {
        return match (error.kind, error.code) {
            (2, _) => Said::TooBig(error.mtu),
            (1, 0) => Said::Error(Errno::Enetunreach, true),
            (1, 1 | 5 | 6) => Said::Error(Errno::Eacces, false),
            (1, 2 | 3) => Said::Error(Errno::Ehostunreach, false),
            (1, 4) => Said::Error(Errno::Econnrefused, false),
            (3, _) => Said::Error(Errno::Ehostunreach, false),
            (4, _) => Said::Error(Errno::Eproto, false),
            _ => Said::Nothing,
        };
    }
    match (error.kind, error.code) {
        (3, 4) => Said::TooBig(error.mtu),
        (3, 0) => Said::Error(Errno::Enetunreach, true),
        (3, 1) => Said::Error(Errno::Ehostunreach, true),
        (3, 2) => Said::Error(Errno::Enoprotoopt, false),
        (3, 3) => Said::Error(Errno::Econnrefused, false),
        (3, 5) => Said::Error(Errno::Eopnotsupp, false),
        (3, 6 | 9 | 11) => Said::Error(Errno::Enetunreach, false),
        (3, 7 | 8 | 10 | 12..=15) => Said::Error(Errno::Ehostunreach, false),
        (11, _) => Said::Error(Errno::Ehostunreach, false),
        (12, _) => Said::Error(Errno::Eproto, false),
        _ => Said::Nothing,
    }
}

/// Whether an error ends a handshake whose SYN-ACK it is about (`tcp_v4_err`; the fatal ones of `icmpv6_err_convert`).
fn ends_handshake(error: &IcmpError<'_>) -> bool {
    let place = (error.kind, error.code);
    if error.destination.is_ipv6() {
        matches!(place, (1, 1 | 4 | 5 | 6) | (4, _))
    } else {
        matches!(place, (3, 0 | 1) | (11 | 12, _))
    }
}

impl Tcp {
    /// An ICMP error about a segment that this host sent.
    pub(crate) fn handle_icmp(&mut self, stack: &mut Stack, error: &IcmpError<'_>) {
        let ends = Ends {
            local: SocketAddress::new(error.source, u16_at(error.transport, 0)),
            peer: SocketAddress::new(error.destination, u16_at(error.transport, 2)),
        };
        let seq = SequenceNumber(u32_at(error.transport, 4));
        match self.table.connection(&ends) {
            None => {
                if error.destination.is_ipv6() {
                    stack.counters.icmp6.count(Icmp6Counter::InErrors);
                } else {
                    stack.counters.icmp.count(IcmpCounter::InErrors);
                }
            }
            Some(Entry::TimeWait(_)) => {}
            Some(Entry::Request(listener, number)) => {
                self.request_error(stack, (listener, number), seq, ends_handshake(error));
            }
            Some(Entry::Connection(id)) => {
                if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) {
                    connection.handle_icmp(stack, seq, error, self.orphans);
                }
                self.settle(stack, id);
            }
        }
    }

    /// … about a SYN-ACK (`tcp_req_err`): a peer that cannot be reached ends the handshake.
    fn request_error(
        &mut self,
        stack: &mut Stack,
        (id, number): (crate::socket::SocketId, u64),
        seq: SequenceNumber,
        aborts: bool,
    ) {
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return;
        };
        let Some(request) = listener.requests.get(&number) else {
            return;
        };
        if seq != request.snt_isn {
            stack
                .counters
                .tcp_ext
                .count(TcpExtCounter::OutOfWindowIcmps);
            return;
        }
        if aborts && let Some(request) = listener.forget(number) {
            self.table.remove(&request.ends, Entry::Request(id, number));
            if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) {
                listener.count_drop(stack);
            }
            self.arm_listener(stack, id);
        }
    }
}

impl Connection {
    fn handle_icmp(
        &mut self,
        stack: &mut Stack,
        seq: SequenceNumber,
        error: &IcmpError<'_>,
        orphans: usize,
    ) {
        let said = said(error);
        if self.state == SocketState::Unconnected {
            return;
        }
        let pending = self
            .fast_open
            .as_deref()
            .and_then(|fast| fast.request.as_ref());
        let una = pending.map_or(self.sender.snd_una, |pending| pending.request.snt_isn);
        let (fast, accepted) = (pending.is_some(), self.accepted);
        let behind = seq.offset_from(una);
        if behind < 0 || self.sender.snd_nxt.is_before(seq) {
            return self.count(stack, TcpExtCounter::OutOfWindowIcmps);
        }
        let held = self.held_until().is_some();
        if held && !matches!(said, Said::TooBig(_)) {
            self.count(stack, TcpExtCounter::LockDroppedIcmps);
        }
        match said {
            Said::Nothing => {}
            Said::TooBig(mtu) => {
                if !self.defer_path_mtu(mtu) {
                    self.mtu_reduced(stack, mtu);
                }
            }
            Said::Error(errno, unreachable) => {
                if unreachable && seq == self.sender.snd_una && !held && !fast {
                    self.revert_backoff(stack, orphans);
                }
                // A child that a program has is treated as established.
                let opening = matches!(self.state, SocketState::SynSent | SocketState::SynRecv)
                    && !(fast && accepted);
                // Over IPv4 whether it was asked for or not.
                if opening
                    && !self.orphan
                    && (self.peer.address.is_ipv4() || self.options.receive_errors)
                {
                    self.queue_error(stack, error.queued(errno, self.peer.port, 0));
                }
                if opening && !held {
                    self.done_with_error(stack, errno);
                } else if self.options.receive_errors && !held {
                    self.error = Some(errno);
                    stack.events.push_back(Event::Failed(self.id));
                } else {
                    // Told only when time runs out: a route may come back.
                    self.soft_error = Some(errno);
                }
            }
        }
    }

    /// The way is known to be interrupted: the time-out need not have doubled (`tcp_ld_RTO_revert`; RFC 6069).
    fn revert_backoff(&mut self, stack: &mut Stack, orphans: usize) {
        let Some(head) = self.sender.queue.head() else {
            return;
        };
        if self.sender.retransmits == 0 || self.sender.backoff == 0 {
            return;
        }
        let context = Context::of(stack);
        let clock = context.clock;
        self.sender.backoff -= 1;
        let most = clock.jiffies_of(context.settings.rto_max);
        // Without a round trip: TCP_TIMEOUT_INIT.
        let base = match self.sender.rtt.srtt_us {
            0 => u64::from(clock.ticks.hz()),
            _ => self.sender.rtt.base_rto(&clock),
        };
        let rto = base
            .checked_shl(u32::from(self.sender.backoff))
            .unwrap_or(most)
            .min(most);
        let passed = clock.jiffies_of_us(clock.us().saturating_sub(head.sent_us));
        self.sender.rtt.rto = rto;
        match rto.saturating_sub(passed) {
            // Overdue by now.
            0 => self.retransmission_timeout(stack, orphans),
            left => self.sender.reset_timer(&context, Pending::Retransmit, left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn errors_become_what_programs_know() {
        let told = |v6: bool, kind, code| {
            let address: IpAddr = if v6 {
                Ipv6Addr::LOCALHOST.into()
            } else {
                Ipv4Addr::LOCALHOST.into()
            };
            said(&IcmpError {
                source: address,
                destination: address,
                offender: address,
                kind,
                code,
                mtu: 1400,
                transport: &[0; 8],
                device: None,
            })
        };
        assert_eq!(told(false, 3, 3), Said::Error(Errno::Econnrefused, false));
        assert_eq!(told(false, 3, 1), Said::Error(Errno::Ehostunreach, true));
        assert_eq!(told(false, 3, 4), Said::TooBig(1400));
        assert_eq!(told(false, 3, 13), Said::Error(Errno::Ehostunreach, false));
        assert_eq!(told(false, 4, 0), Said::Nothing);
        assert_eq!(told(true, 1, 4), Said::Error(Errno::Econnrefused, false));
        assert_eq!(told(true, 1, 1), Said::Error(Errno::Eacces, false));
        assert_eq!(told(true, 1, 0), Said::Error(Errno::Enetunreach, true));
        assert_eq!(told(true, 1, 3), Said::Error(Errno::Ehostunreach, false));
        assert_eq!(told(true, 2, 0), Said::TooBig(1400));
    }
}
