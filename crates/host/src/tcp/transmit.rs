//! What to send and when (`tcp_write_xmit`, `tcp_push`, Nagle's, Minshall's and the small-queue rules); `again`: sending again.

mod again;

use transect_config::SocketState;
use transect_packet::TcpFlags;

use super::clock::Context;
use super::connection::Connection;
use super::limited::Limit;
use super::mtu::Probing;
use super::output::GSO;
use super::segment::{OVERHEAD, Segment};
use super::send_buffer::Appended;
use super::sender::Pending;
use crate::counters::TcpExtCounter;
use crate::inquiry::SendFlags;
use crate::socket::{Errno, Event};
use crate::stack::Stack;

/// Nagle's rule for one round of sending (`TCP_NAGLE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nagle {
    /// It holds: one small segment in flight at most (as Minshall has it).
    On,
    /// TCP_NODELAY.
    Off,
    /// TCP_CORK: no small segment at all.
    Cork,
}

/// How much one round sends (`push_one`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// All that the windows allow.
    All,
    /// One segment.
    One,
    /// One segment, even beyond the congestion window: a loss probe.
    LossProbe,
}

impl Connection {
    /// The rule that the program chose.
    pub(super) fn nagle(&self) -> Nagle {
        if self.options.cork {
            Nagle::Cork
        } else if self.options.no_delay {
            Nagle::Off
        } else {
            Nagle::On
        }
    }

    /// Whether a partial segment must wait (`tcp_nagle_check`).
    fn must_wait(&self, nagle: Nagle) -> bool {
        match nagle {
            Nagle::Cork => true,
            Nagle::Off => false,
            Nagle::On => {
                let sml = self.snd_sml;
                self.sender.queue.packets_out > 0
                    && self.sender.snd_una.is_before(sml)
                    && !self.sender.snd_nxt.is_before(sml)
            }
        }
    }

    /// Takes bytes from a program and sends what may be sent (`tcp_sendmsg_locked`); how many found room.
    pub(super) fn take_bytes(
        &mut self,
        stack: &mut Stack,
        bytes: &[u8],
        flags: SendFlags,
    ) -> usize {
        self.sender.slow_start_after_idle(&mut Context::of(stack));
        let unsent = self.send_buffer.not_sent(self.sender.snd_nxt);
        self.sender
            .check_application_limited(unsent, self.below > 0);
        let mut rest = bytes;
        // The call goes on when there is room.
        let mut waits = false;
        let mut mss = self.current_mss(stack);
        while !rest.is_empty() {
            // Urgent data goes in segments of its own (`tcp_xmit_size_goal` with `large_allowed` 0).
            let goal = match flags.urgent {
                true => mss,
                false => self.size_goal(mss),
            };
            let watermark = self.watermark(stack);
            let room = self.send_buffer.has_room(self.sender.snd_nxt, watermark);
            let largest = self.sender.max_window;
            let (taken, how) = self.send_buffer.append(rest, goal, largest, room);
            rest = rest.get(taken..).unwrap_or_default();
            if taken > 0 {
                self.limited.start(stack.tick(), Limit::Busy);
            }
            match how {
                Appended::All => {
                    if flags.end_of_record {
                        self.send_buffer.end_record();
                    }
                    break;
                }
                Appended::SegmentFull { forced, first } => {
                    if forced {
                        self.push_pending(stack, mss, Nagle::Off);
                    } else if first {
                        self.write_xmit(stack, mss, Nagle::Off, Round::One);
                    }
                }
                Appended::NoSpace => {
                    self.no_space = true;
                    waits = flags.waits;
                    // What there is goes, whatever is to follow.
                    if rest.len() < bytes.len() {
                        self.push(stack, mss, Nagle::Off, SendFlags::default());
                    }
                    break;
                }
            }
            mss = self.current_mss(stack);
        }
        if rest.len() < bytes.len() {
            if !waits {
                self.stamp_written();
            }
            let nagle = self.nagle();
            self.push(stack, mss, nagle, flags);
        }
        bytes.len() - rest.len()
    }

    /// Behind a write (`tcp_push`).
    fn push(&mut self, stack: &mut Stack, mss: u32, nagle: Nagle, flags: SendFlags) {
        if self.send_buffer.head().is_some() {
            if !flags.more || self.send_buffer.forced_push(self.sender.max_window) {
                self.send_buffer.mark_push();
            }
            if flags.urgent {
                self.urgent.mark_sent(self.send_buffer.write_seq);
            }
            if self.should_autocork(stack, mss) {
                if !self.throttled {
                    self.count(stack, TcpExtCounter::TCPAutoCorking);
                    self.throttled = true;
                }
                return;
            }
            let nagle = if flags.more { Nagle::Cork } else { nagle };
            self.push_pending(stack, mss, nagle);
        }
    }

    /// Whether a small segment waits for more while one before it has not left the host (`tcp_should_autocork`).
    fn should_autocork(&self, stack: &Stack, mss: u32) -> bool {
        let Some(tail) = self.send_buffer.tail() else {
            return false;
        };
        if !stack.settings.tcp.autocorking || tail.eor || self.sender.queue.packets_out == 0 {
            return false;
        }
        // What has left the host during this call is not told yet.
        let left = stack.freed.iter().filter(|(id, _)| *id == self.id);
        let left: usize = left.map(|(_, bytes)| bytes).sum();
        let below = self.below.saturating_sub(left as u64);
        tail.len() < self.size_goal(mss)
            && below > 0
            && below.saturating_add(u64::from(OVERHEAD)) > u64::from(tail.truesize)
    }

    /// How large a segment a write fills (`tcp_xmit_size_goal`).
    fn size_goal(&self, mss: u32) -> u32 {
        let size = self.bound_to_half_window(GSO.size);
        (size / mss.max(1)).clamp(1, GSO.segments) * mss
    }

    /// Sends what waits (`__tcp_push_pending_frames`).
    pub(super) fn push_pending(&mut self, stack: &mut Stack, mss: u32, nagle: Nagle) {
        if self.state == SocketState::Unconnected {
            return;
        }
        if self.write_xmit(stack, mss, nagle, Round::All) {
            self.check_probe_timer(stack);
        }
    }

    /// Behind every segment: send what may be sent now, and say where there is room (`tcp_data_snd_check`).
    pub(super) fn send_more(&mut self, stack: &mut Stack) {
        if self.send_buffer.head().is_some() {
            let mss = self.current_mss(stack);
            let nagle = self.nagle();
            self.push_pending(stack, mss, nagle);
        }
        self.check_space(stack);
    }

    /// A program that waits for room is told (`tcp_check_space`, `tcp_new_space`, `sk_stream_write_space`).
    pub(super) fn check_space(&mut self, stack: &mut Stack) {
        if self.no_space {
            self.expand_send_buffer(stack);
            let watermark = self.watermark(stack);
            if self.send_buffer.is_writable(self.sender.snd_nxt, watermark) {
                self.no_space = false;
                self.limited.end(
                    stack.tick(),
                    Limit::SendBuffer,
                    self.send_buffer.head().is_some() || self.sender.queue.packets_out > 0,
                );
                if !self.orphan {
                    stack.events.push_back(Event::Writable(self.id));
                }
            }
        }
    }

    /// TCP_NOTSENT_LOWAT, or the setting; 0 stands for the setting, too (`tcp_notsent_lowat`).
    pub(super) fn watermark(&self, stack: &Stack) -> u32 {
        self.options
            .notsent_lowat
            .filter(|bytes| *bytes > 0)
            .unwrap_or(stack.settings.tcp.notsent_lowat)
    }

    /// The send buffer grows with the congestion window, unless that is not used up (`tcp_should_expand_sndbuf`).
    pub(super) fn expand_send_buffer(&mut self, stack: &Stack) {
        let cwnd = self.sender.congestion.snd_cwnd;
        if self.send_buffer.locked || self.sender.in_flight() >= cwnd {
            return;
        }
        let mss = self.mss_clamp.max(self.sender.mss_cache);
        let reordering = self.sender.reordering();
        let largest = stack.settings.tcp.wmem[2];
        self.send_buffer.expand(largest, mss, cwnd, reordering);
    }

    /// The send loop (`tcp_write_xmit`). True: nothing is in flight, and something waits that could not be sent.
    pub(super) fn write_xmit(
        &mut self,
        stack: &mut Stack,
        mss: u32,
        nagle: Nagle,
        round: Round,
    ) -> bool {
        let most = self
            .sender
            .tso_segments(&Context::of(stack), mss, GSO.size, GSO.segments)
            .max(1);
        let mut sent = 0;
        if round == Round::All {
            match self.probe_mtu(stack) {
                Probing::No => {}
                Probing::Waits => return false,
                Probing::Sent => sent = 1,
            }
        }
        let mut cwnd_limited = false;
        let mut window_limited = false;
        while self.send_buffer.head().is_some() {
            let quota = match self.sender.cwnd_quota() {
                0 if round == Round::LossProbe => 1,
                0 => break,
                quota => quota,
            }
            .min(most);
            self.send_buffer.grow_head(quota.saturating_mul(mss));
            let segments = self.send_buffer.count_head_segments(mss);
            let Some(head) = self.send_buffer.head().cloned() else {
                break;
            };
            if !self.fits_window(&head, mss) {
                window_limited = true;
                break;
            }
            if segments <= 1 {
                let last = self.send_buffer.head_is_last();
                let partial = head.len() < mss && head.flags & TcpFlags::FIN == 0;
                if last && partial && !self.urgent.is_sending() && self.must_wait(nagle) {
                    break;
                }
            } else if round == Round::All {
                let last = self.send_buffer.head_is_last();
                let deferred = self
                    .sender
                    .should_defer(&Context::of(stack), &head, most, last);
                cwnd_limited |= deferred.cwnd_limited;
                window_limited |= deferred.rwnd_limited;
                if deferred.defer {
                    break;
                }
            }
            let limit = if segments > 1 {
                self.split_point(&head, mss, quota, nagle)
            } else {
                mss
            };
            if head.len() > limit {
                self.send_buffer.split_head(limit, mss);
            }
            if self.is_held_back(&head) || !self.send_head(stack, mss, &mut sent) {
                break;
            }
            if round != Round::All {
                break;
            }
        }
        self.finish_round(stack, sent, (cwnd_limited, window_limited), round)
    }

    /// Sends the head; false: it did not leave.
    fn send_head(&mut self, stack: &mut Stack, mss: u32, sent: &mut u32) -> bool {
        let Some(mut segment) = self.send_buffer.take_head() else {
            return false;
        };
        if segment.end_seq == segment.seq {
            self.send_buffer.put_back(segment);
            return false;
        }
        self.sender.stamp(&Context::of(stack), &mut segment);
        if self.transmit(stack, &segment).is_err() {
            self.send_buffer.put_back(segment);
            return false;
        }
        // tcp_minshall_update.
        if segment.len() < u32::from(segment.pcount.max(1)) * mss {
            self.snd_sml = segment.end_seq;
        }
        *sent += u32::from(segment.pcount.max(1));
        self.sender.sent(&mut Context::of(stack), segment);
        // tcp_event_new_data_sent: less waits to be sent, and the congestion window may not be full yet.
        self.check_space(stack);
        true
    }

    /// What a round leaves behind.
    fn finish_round(
        &mut self,
        stack: &mut Stack,
        sent: u32,
        (mut cwnd_limited, window_limited): (bool, bool),
        round: Round,
    ) -> bool {
        let waiting = self.send_buffer.head().is_some();
        if window_limited {
            self.limited.start(stack.tick(), Limit::Window);
        } else {
            let busy = waiting || self.sender.queue.packets_out > 0;
            self.limited.end(stack.tick(), Limit::Window, busy);
        }
        cwnd_limited |= self.sender.in_flight() >= self.sender.congestion.snd_cwnd;
        if sent > 0 || cwnd_limited {
            let no_space = self.no_space && !waiting;
            self.sender
                .validate_cwnd(&mut Context::of(stack), cwnd_limited, no_space);
            if no_space {
                self.limited.start(stack.tick(), Limit::SendBuffer);
            }
        }
        if sent > 0 {
            if round != Round::LossProbe {
                self.sender
                    .schedule_loss_probe(&mut Context::of(stack), false);
            }
            return false;
        }
        self.sender.queue.packets_out == 0 && waiting
    }

    /// The first segment of it lies in the peer's window (`tcp_snd_wnd_test`).
    fn fits_window(&self, segment: &Segment, mss: u32) -> bool {
        let end = if segment.len() > mss {
            segment.seq + mss
        } else {
            segment.end_seq
        };
        !self.sender.wnd_end().is_before(end)
    }

    /// Where to cut a super-packet (`tcp_mss_split_point`).
    fn split_point(&self, head: &Segment, mss: u32, segments: u32, nagle: Nagle) -> u32 {
        let window = self
            .sender
            .wnd_end()
            .offset_from(head.seq)
            .max(0)
            .cast_unsigned();
        let most = mss.saturating_mul(segments);
        let last = self.send_buffer.head_is_last();
        let needed = head.len().min(window);
        if most <= window && !last || most <= needed {
            return most;
        }
        let partial = needed % mss.max(1);
        if partial != 0 && self.must_wait(nagle) {
            needed - partial
        } else {
            needed
        }
    }

    /// So much lies below already that more would only wait there (`tcp_small_queue_check`).
    fn is_held_back(&mut self, segment: &Segment) -> bool {
        let limit =
            (2 * u64::from(segment.truesize.max(segment.len()))).max(self.sender.pacing_rate >> 10);
        let full = self.below > limit && self.sender.queue.segments.len() > 1;
        self.throttled |= full;
        full
    }

    /// Nothing is in flight but something waits: the window probes' timer (`tcp_check_probe_timer`).
    pub(super) fn check_probe_timer(&mut self, stack: &mut Stack) {
        if self.sender.queue.packets_out == 0 && self.sender.timer.pending.is_none() {
            let context = Context::of(stack);
            let rto_min = context.clock.jiffies_of(context.settings.rto_min);
            let ticks = self.sender.rtt.rto.max(rto_min);
            self.sender
                .reset_timer(&context, Pending::ZeroWindowProbe, ticks);
        }
    }

    /// Packets were freed below (`tcp_wfree`). True: what was held back may go. Only who was held back is woken: what dies below
    /// must not send the next one at once, and so on for ever.
    pub(super) fn freed_below(&mut self, bytes: usize) -> bool {
        self.below = self.below.saturating_sub(bytes as u64);
        std::mem::take(&mut self.throttled)
    }

    /// Sends what was held back (`tcp_tsq_handler`).
    pub(super) fn send_throttled(&mut self, stack: &mut Stack) {
        let sends = matches!(
            self.state,
            SocketState::Established
                | SocketState::FinWait1
                | SocketState::Closing
                | SocketState::CloseWait
                | SocketState::LastAck
        );
        if !sends {
            return;
        }
        // tcp_tsq_write: what is lost goes first.
        let queue = &self.sender.queue;
        if queue.lost_out > queue.retrans_out
            && self.sender.congestion.snd_cwnd > self.sender.in_flight()
        {
            self.retransmit_lost(stack);
        }
        if self.sender.queue.packets_out > 0 && self.send_buffer.head().is_some() {
            let mss = self.current_mss(stack);
            let nagle = self.nagle();
            self.write_xmit(stack, mss, nagle, Round::All);
        }
    }

    /// A window probe, or data where the window lets some through (`tcp_write_wakeup`).
    pub(super) fn write_wakeup(
        &mut self,
        stack: &mut Stack,
        counter: TcpExtCounter,
    ) -> Result<(), Errno> {
        let end = self.sender.wnd_end();
        let seq = match self.send_buffer.head() {
            Some(head) if head.seq.is_before(end) => head.seq,
            _ => return self.send_probe(stack, counter),
        };
        let mss = self.current_mss(stack);
        let window = end.offset_from(seq).max(0).cast_unsigned();
        self.send_buffer.count_head_segments(mss);
        let Some(head) = self.send_buffer.head() else {
            return Ok(());
        };
        let length = head.len();
        if window < head.end_seq.offset_from(seq).max(0).cast_unsigned() || length > mss {
            self.send_buffer.split_head(window.min(mss), mss);
        }
        let Some(mut segment) = self.send_buffer.take_head() else {
            return Ok(());
        };
        segment.flags |= TcpFlags::PSH;
        self.sender.stamp(&Context::of(stack), &mut segment);
        let result = self.transmit(stack, &segment);
        if result.is_ok() {
            self.sender.sent(&mut Context::of(stack), segment);
        } else {
            self.send_buffer.put_back(segment);
        }
        result
    }

    /// The FIN behind everything that was written (`tcp_send_fin`).
    pub(super) fn send_fin(&mut self, stack: &mut Stack) {
        self.send_buffer.append_fin();
        let mss = self.current_mss(stack);
        self.push_pending(stack, mss, Nagle::Off);
    }
}
