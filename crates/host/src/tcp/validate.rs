//! Whether a segment is acceptable to a synchronized connection (`tcp_validate_incoming`, `tcp_sequence`, PAWS, RFC 5961), and resets
//! that come in (`tcp_reset`).

use transect_config::SocketState;
use transect_packet::TcpTimestamps;

use super::connection::{Connection, Timestamps};
use super::incoming::Incoming;
use crate::counters::{TcpCounter, TcpExtCounter};
use crate::drop_reason::DropReason;
use crate::socket::Errno;
use crate::stack::Stack;

/// `TCP_PAWS_WRAP`: after 24 days of silence timestamps say nothing.
const PAWS_WRAP: u64 = 24 * 24 * 60 * 60;
/// `TCP_PAWS_MSL`.
const PAWS_MSL: u64 = 60;

impl Timestamps {
    /// Whether a timestamp is not older than what was seen, by more than `window` (`tcp_paws_check`).
    pub(super) fn is_fresh(&self, value: u32, window: i32, seconds: u64) -> bool {
        self.recent.wrapping_sub(value).cast_signed() <= window
            || seconds >= self.recent_stamp.saturating_add(PAWS_WRAP)
            // Some tell a timestamp of 0 in their SYN-ACK and go on from there.
            || self.recent == 0
    }

    /// Whether a segment is to be refused for its timestamp (`tcp_paws_reject`).
    pub(super) fn rejects(&self, value: u32, rst: bool, seconds: u64) -> bool {
        // A reset is taken after a minute's silence: the peer's clock may have begun anew.
        let excused = rst && seconds >= self.recent_stamp.saturating_add(PAWS_MSL);
        !self.is_fresh(value, 0, seconds) && !excused
    }

    /// Remembers the peer's timestamp (`tcp_store_ts_recent`).
    pub(super) fn store(&mut self, value: u32, seconds: u64) {
        self.recent = value;
        self.recent_stamp = seconds;
    }
}

impl Connection {
    /// The segment's timestamps, where they were agreed on.
    pub(super) fn timestamps_of(&self, segment: &Incoming) -> Option<TcpTimestamps> {
        segment.options.timestamps.filter(|_| self.timestamps.ok)
    }

    /// Takes the peer's timestamp over where the segment is next in line (`tcp_replace_ts_recent`).
    pub(super) fn replace_recent(&mut self, stack: &Stack, segment: &Incoming) {
        if let Some(timestamps) = self.timestamps_of(segment)
            && !self.receive.rcv_wup.is_before(segment.seq)
        {
            let seconds = Self::seconds(stack);
            if self.timestamps.is_fresh(timestamps.value, 0, seconds) {
                self.timestamps.store(timestamps.value, seconds);
            }
        }
    }

    /// Whether an old timestamp condemns the segment (`tcp_disordered_ack_check` behind `tcp_paws_check`).
    fn check_timestamp(
        &self,
        stack: &Stack,
        segment: &Incoming,
        timestamps: TcpTimestamps,
    ) -> Option<DropReason> {
        let seconds = Self::seconds(stack);
        if self.timestamps.is_fresh(timestamps.value, 1, seconds) {
            return None;
        }
        let reason = Some(DropReason::TcpRfc7323Paws);
        // A pure ACK that came late does no harm, if it says nothing new.
        if !segment.flags.ack() || segment.has_sequence() {
            return reason;
        }
        if segment.seq != self.receive.rcv_nxt {
            return if segment.seq.is_before(self.receive.rcv_nxt) {
                Some(DropReason::TcpRfc7323PawsAck)
            } else {
                reason
            };
        }
        let window = u32::from(segment.window) << self.snd_wscale;
        if segment.ack != self.sender.snd_una || window > self.sender.snd_wnd {
            return reason;
        }
        // … and is not from a former turn of the clock: within 1.2 RTOs.
        let rto_ms = self.sender.rtt.rto * 1000 / u64::from(stack.ticks.hz());
        let age = self
            .timestamps
            .recent
            .wrapping_sub(timestamps.value)
            .cast_signed();
        (i64::from(age) > (rto_ms * 1200 / 1000) as i64).then_some(DropReason::TcpRfc7323Paws)
    }

    /// Where the segment lies (`tcp_sequence`); nothing where it is acceptable.
    fn check_sequence(&self, segment: &Incoming) -> Option<DropReason> {
        if segment.end_seq.is_before(self.receive.rcv_wup) {
            return Some(DropReason::TcpOldSequence);
        }
        let limit = self.receive.rcv_nxt + self.receive.receive_window();
        if !limit.is_before(segment.end_seq) || !limit.is_before(segment.end_without_fin()) {
            return None;
        }
        if limit.is_before(segment.seq) {
            return Some(DropReason::TcpInvalidSequence);
        }
        // What begins in the window is taken where nothing waits to be read: the peer may know of a larger one.
        if self.receive.is_queue_empty() {
            return None;
        }
        Some(DropReason::TcpInvalidEndSequence)
    }

    /// The checks of every segment that did not take the fast path. An error is why it was refused; what had to be answered was.
    /// `counts_syn`: a SYN counts as an error (`syn_inerr`).
    pub(super) fn validate(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        counts_syn: bool,
    ) -> Result<(), Option<DropReason>> {
        if let Some(timestamps) = self.timestamps_of(segment)
            && let Some(reason) = self.check_timestamp(stack, segment, timestamps)
            && !segment.flags.rst()
        {
            if segment.flags.syn() {
                return self.challenge_syn(stack, counts_syn);
            }
            if reason == DropReason::TcpRfc7323PawsAck {
                self.count(stack, TcpExtCounter::PAWSOldAck);
                return Err(Some(reason));
            }
            self.count(stack, TcpExtCounter::PAWSEstab);
            if !self.may_not_answer(stack, segment, TcpExtCounter::TCPACKSkippedPAWS) {
                self.send_duplicate_ack(stack, segment);
            }
            return Err(Some(reason));
        }
        if let Some(reason) = self.check_sequence(segment) {
            return self.refuse_sequence(stack, segment, reason, counts_syn);
        }
        if segment.flags.rst() {
            let rightmost = self.receive.rightmost_sack();
            if segment.seq == self.receive.rcv_nxt
                || self.is_reset_after_fin(segment)
                || self.sender.sack && rightmost == Some(segment.seq)
            {
                self.reset(stack);
                return Err(None);
            }
            self.suspect_reset(stack);
            self.send_challenge_ack(stack);
            return Err(Some(DropReason::TcpReset));
        }
        if segment.flags.syn() {
            let crossed = self.state == SocketState::SynRecv
                && segment.flags.ack()
                && segment.seq + 1 == segment.end_seq
                && segment.seq + 1 == self.receive.rcv_nxt
                && segment.ack == self.sender.snd_nxt;
            if !crossed {
                return self.challenge_syn(stack, counts_syn);
            }
        }
        Ok(())
    }

    fn refuse_sequence(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        reason: DropReason,
        counts_syn: bool,
    ) -> Result<(), Option<DropReason>> {
        if segment.flags.rst() {
            if self.is_reset_after_fin(segment) {
                self.reset(stack);
                return Err(None);
            }
            return Err(Some(reason));
        }
        if segment.flags.syn() {
            return self.challenge_syn(stack, counts_syn);
        }
        if matches!(
            reason,
            DropReason::TcpInvalidSequence | DropReason::TcpInvalidEndSequence
        ) {
            self.count(stack, TcpExtCounter::BeyondWindow);
        }
        if !self.may_not_answer(stack, segment, TcpExtCounter::TCPACKSkippedSeq) {
            self.send_duplicate_ack(stack, segment);
        }
        Err(Some(reason))
    }

    /// RFC 5961 section 4.
    fn challenge_syn(&mut self, stack: &mut Stack, counts: bool) -> Result<(), Option<DropReason>> {
        if counts {
            stack.counters.tcp.count(TcpCounter::InErrs);
        }
        self.count(stack, TcpExtCounter::TCPSYNChallenge);
        self.send_challenge_ack(stack);
        Err(Some(DropReason::TcpInvalidSyn))
    }

    /// Data is no part of a war of ACKs and always answered (`tcp_oow_rate_limited`).
    fn may_not_answer(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        skipped: TcpExtCounter,
    ) -> bool {
        if segment.has_sequence() && !segment.flags.syn() {
            return false;
        }
        self.oow_rate_limited(stack, skipped)
    }

    /// A reset just before what is expected, behind the peer's FIN (`tcp_reset_check`).
    fn is_reset_after_fin(&self, segment: &Incoming) -> bool {
        segment.seq == self.receive.rcv_nxt - 1
            && matches!(
                self.state,
                SocketState::CloseWait | SocketState::LastAck | SocketState::Closing
            )
    }

    /// The peer resets the connection (`tcp_reset`).
    pub(super) fn reset(&mut self, stack: &mut Stack) {
        let error = match self.state {
            SocketState::SynSent => Errno::Econnrefused,
            SocketState::CloseWait => Errno::Epipe,
            SocketState::Unconnected => return,
            _ => Errno::Econnreset,
        };
        self.done_with_error(stack, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_timestamps_are_refused_until_they_mean_nothing() {
        let timestamps = Timestamps {
            ok: true,
            hoped: false,
            offset: 0,
            recent: 1000,
            recent_stamp: 50,
        };
        assert!(timestamps.is_fresh(1000, 0, 60));
        assert!(!timestamps.is_fresh(999, 0, 60));
        assert!(timestamps.is_fresh(999, 1, 60));
        assert!(timestamps.is_fresh(5, 0, 50 + PAWS_WRAP));
        assert!(timestamps.rejects(999, true, 60));
        assert!(!timestamps.rejects(999, true, 110));
        // Around the end of the numbers.
        let wrapped = Timestamps {
            recent: u32::MAX,
            ..timestamps
        };
        assert!(wrapped.is_fresh(3, 0, 60));
    }
}
