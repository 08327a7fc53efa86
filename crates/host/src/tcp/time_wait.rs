//! What remains of a closed connection (net/ipv4/tcp_minisocks.c, `struct tcp_timewait_sock`): TIME_WAIT, and FIN_WAIT_2 of orphans.

use std::time::Duration;

use transect_config::{IpVersion, SocketState};
use transect_packet::{SequenceNumber, TcpTimestamps};

use super::Tcp;
use super::connection::{Connection, TIME_WAIT, Timestamps, oow_rate_limited};
use super::incoming::Incoming;
use super::passive::in_window;
use super::reset::{Answer, send_ack};
use super::table::{Ends, Entry};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;
use crate::stack::{Stack, TimerOwner};

/// A remainder.
#[derive(Debug, Clone)]
pub(super) struct Remainder {
    pub(super) ends: Ends,
    pub(super) version: IpVersion,
    /// `tw_substate`: FIN_WAIT_2 or TIME_WAIT.
    pub(super) state: SocketState,
    pub(super) snd_nxt: SequenceNumber,
    pub(super) rcv_nxt: SequenceNumber,
    pub(super) rcv_wnd: u32,
    pub(super) rcv_wscale: u8,
    pub(super) timestamps: Timestamps,
    pub(super) last_oow_ack: u64,
    /// When it became what it is, in milliseconds of TCP's clock (`tw_entry_stamp`).
    pub(super) entered: u32,
    pub(super) answer: Answer,
    /// The tick for which its timer is set.
    pub(super) expires: u64,
}

/// What a segment for a remainder leads to (`enum tcp_tw_status`).
pub(super) enum Outcome {
    /// Nothing more.
    Success,
    /// An ACK.
    Ack,
    /// A reset, and the end.
    Reset,
    /// The remainder ends.
    Killed,
    /// A new connection with this first sequence number, if somebody listens; else an ACK.
    Syn(u32),
}

impl Connection {
    /// What remains.
    pub(super) fn remainder(&self, stack: &Stack, state: SocketState) -> Remainder {
        Remainder {
            ends: Ends {
                local: self.local,
                peer: self.peer,
            },
            version: self.version,
            state,
            snd_nxt: self.sender.snd_nxt,
            rcv_nxt: self.receive.rcv_nxt,
            rcv_wnd: self.receive.receive_window(),
            rcv_wscale: self.receive.rcv_wscale,
            timestamps: self.timestamps,
            last_oow_ack: 0,
            entered: Self::clock(stack).ms(),
            answer: Answer {
                mark: self.options.mark,
                priority: self.options.priority,
                device: self.options.device,
                tos: Some(self.options.tos),
                flow_hash: self.flow_hash,
            },
            expires: 0,
        }
    }
}

impl Remainder {
    /// What its timer counts down from, in time.
    fn schedule(&mut self, stack: &mut Stack, number: u64, timeout: Duration) {
        let expires = stack
            .ticks
            .at(stack.now)
            .saturating_add(stack.ticks.of(timeout));
        self.expires = expires;
        let fires = stack.ticks.wheel(stack.now, expires);
        stack.timers.set(TimerOwner::TimeWait(number), Some(fires));
    }

    /// Whether connect(2) may take its ends (`tcp_twsk_unique`): timestamps tell old from new. A port that the program has bound
    /// at once, one that is to be found only where `tcp_tw_reuse` allows it, and after `tcp_tw_reuse_delay`.
    pub(super) fn may_be_taken(&self, stack: &Stack, bound: bool) -> bool {
        let reuse = match stack.settings.tcp.tw_reuse {
            _ if self.state == SocketState::FinWait2 => false,
            0 => false,
            2 => self.ends.peer.address.is_loopback() || self.ends.local.address.is_loopback(),
            _ => true,
        };
        let age = Connection::clock(stack).ms().wrapping_sub(self.entered);
        let old = age > stack.settings.tcp.tw_reuse_delay;
        self.timestamps.ok && self.timestamps.recent_stamp != 0 && (bound || reuse && old)
    }

    /// `tcp_timewait_state_process`. The reason is for a segment that dies.
    fn process(
        &mut self,
        stack: &mut Stack,
        number: u64,
        segment: &Incoming,
    ) -> (Outcome, DropReason) {
        let seconds = Connection::seconds(stack);
        let timestamps = segment
            .options
            .timestamps
            .filter(|_| self.timestamps.recent_stamp != 0);
        let paws = timestamps.is_some_and(|told| {
            self.timestamps
                .rejects(told.value, segment.flags.rst(), seconds)
        });
        let unspecified = DropReason::NotSpecified;
        if self.state == SocketState::FinWait2 {
            return (
                self.process_fin_wait_2(stack, number, segment, (paws, timestamps)),
                unspecified,
            );
        }
        let empty = segment.seq == segment.end_seq;
        if !paws && segment.seq == self.rcv_nxt && (empty || segment.flags.rst()) {
            if segment.flags.rst() {
                // TIME_WAIT assassination (RFC 1337).
                if !stack.settings.tcp.rfc1337 {
                    return (Outcome::Killed, unspecified);
                }
            } else {
                self.schedule(stack, number, TIME_WAIT);
            }
            if let Some(told) = timestamps {
                self.timestamps.store(told.value, seconds);
            }
            return (Outcome::Success, unspecified);
        }
        let flags = segment.flags;
        let newer = timestamps.is_some_and(|told| {
            self.timestamps
                .recent
                .wrapping_sub(told.value)
                .cast_signed()
                < 0
        });
        if flags.syn()
            && !flags.rst()
            && !flags.ack()
            && !paws
            && (self.rcv_nxt.is_before(segment.seq) || newer)
        {
            let isn = self.snd_nxt.0.wrapping_add(65_535 + 2).max(1);
            return (Outcome::Syn(isn), unspecified);
        }
        let mut reason = unspecified;
        if paws {
            stack.counters.tcp_ext.count(TcpExtCounter::PAWSTimewait);
            reason = DropReason::TcpRfc7323TwPaws;
        }
        if flags.rst() {
            return (Outcome::Success, reason);
        }
        if paws || flags.ack() {
            self.schedule(stack, number, TIME_WAIT);
        }
        let outcome =
            self.answer_unless_limited(stack, segment, TcpExtCounter::TCPACKSkippedTimeWait);
        (outcome, reason)
    }

    /// The half-closed part: the peer's FIN is still to come.
    fn process_fin_wait_2(
        &mut self,
        stack: &mut Stack,
        number: u64,
        segment: &Incoming,
        (paws, timestamps): (bool, Option<TcpTimestamps>),
    ) -> Outcome {
        if paws || !in_window(segment, self.rcv_nxt, self.rcv_wnd) {
            return self.answer_unless_limited(
                stack,
                segment,
                TcpExtCounter::TCPACKSkippedFinWait2,
            );
        }
        if segment.flags.rst() {
            return Outcome::Killed;
        }
        if segment.flags.syn() && !segment.seq.is_before(self.rcv_nxt) {
            return Outcome::Reset;
        }
        let new = self.rcv_nxt.is_before(segment.end_seq);
        if !segment.flags.ack() || !new || !segment.has_sequence() {
            return Outcome::Success;
        }
        if !segment.flags.fin() || segment.end_seq != self.rcv_nxt + 1 {
            return Outcome::Reset;
        }
        self.state = SocketState::TimeWait;
        self.rcv_nxt = segment.end_seq;
        if let Some(told) = timestamps {
            self.timestamps
                .store(told.value, Connection::seconds(stack));
        }
        self.entered = Connection::clock(stack).ms();
        self.schedule(stack, number, TIME_WAIT);
        Outcome::Ack
    }

    fn answer_unless_limited(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        skipped: TcpExtCounter,
    ) -> Outcome {
        let data = segment.has_sequence() && !segment.flags.syn();
        if !data && oow_rate_limited(stack, &mut self.last_oow_ack, skipped) {
            Outcome::Success
        } else {
            Outcome::Ack
        }
    }

    /// `tcp_v4_timewait_ack`.
    fn acknowledge(&self, stack: &mut Stack, segment: &Incoming) {
        let timestamps = self.timestamps.ok.then(|| TcpTimestamps {
            value: Connection::clock(stack)
                .ms()
                .wrapping_add(self.timestamps.offset),
            echo: self.timestamps.recent,
        });
        let window = self.rcv_wnd >> self.rcv_wscale;
        send_ack(
            stack,
            segment,
            (
                self.snd_nxt,
                self.rcv_nxt,
                u16::try_from(window).unwrap_or(u16::MAX),
            ),
            timestamps,
            &self.answer,
        );
    }
}

impl Tcp {
    /// A remainder takes a connection's place (`tcp_time_wait`). False: there are too many.
    pub(super) fn add_remainder(
        &mut self,
        stack: &mut Stack,
        mut remainder: Remainder,
        timeout: Duration,
    ) -> Option<u64> {
        if self.remainders.len() >= stack.settings.tcp.max_tw_buckets as usize {
            stack
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPTimeWaitOverflow);
            return None;
        }
        let number = self.next_number();
        let counter = if timeout <= Duration::from_secs(4) {
            TcpExtCounter::TWKilled
        } else {
            TcpExtCounter::TW
        };
        stack.counters.tcp_ext.count(counter);
        remainder.schedule(stack, number, timeout);
        self.table.insert(remainder.ends, Entry::TimeWait(number));
        self.remainders.insert(number, remainder);
        Some(number)
    }

    /// Ends a remainder (`inet_twsk_deschedule_put`, `inet_twsk_kill`).
    pub(super) fn kill_remainder(&mut self, stack: &mut Stack, number: u64) {
        if let Some(remainder) = self.remainders.remove(&number) {
            let entry = Entry::TimeWait(number);
            self.table.remove(&remainder.ends, entry);
            self.table.release(remainder.ends.local.port, entry);
            stack.timers.set(TimerOwner::TimeWait(number), None);
        }
    }

    /// A segment for a remainder. A number: the listener shall take it as a new SYN, with this first sequence number.
    pub(super) fn receive_in_time_wait(
        &mut self,
        stack: &mut Stack,
        number: u64,
        segment: &Incoming,
    ) -> Result<u32, DropReason> {
        let Some(remainder) = self.remainders.get_mut(&number) else {
            return Err(DropReason::NoSocket);
        };
        let (outcome, reason) = remainder.process(stack, number, segment);
        match outcome {
            Outcome::Success => {}
            Outcome::Ack => remainder.acknowledge(stack, segment),
            Outcome::Reset => {
                let answer = remainder.answer;
                self.send_reset(stack, segment, &answer);
                self.kill_remainder(stack, number);
            }
            Outcome::Killed => self.kill_remainder(stack, number),
            Outcome::Syn(isn) => {
                if self
                    .table
                    .listener(segment.local, segment.received.device)
                    .is_some()
                {
                    self.kill_remainder(stack, number);
                    return Ok(isn);
                }
                remainder.acknowledge(stack, segment);
            }
        }
        Err(reason)
    }
}
