//! Active open: the SYN (`tcp_connect`, `tcp_connect_init`) and what may come back (`tcp_rcv_synsent_state_process`); simultaneous
//! open.

use transect_config::SocketState;
use transect_packet::TcpFlags;

use super::clock::Context;
use super::connection::Connection;
use super::fast_open::Begun;
use super::incoming::Incoming;
use super::input::Verdict;
use super::mtu::TIMESTAMPS;
use super::output::GSO;
use super::segment::Segment;
use super::sender::{Ack, Pending};
use crate::counters::{TcpCounter, TcpExtCounter};
use crate::drop_reason::DropReason;
use crate::inquiry::SendFlags;
use crate::ip::Route;
use crate::socket::Event;
use crate::stack::Stack;

/// `TCP_MIN_MSS`.
const LEAST_MSS: u32 = 88;

impl Connection {
    /// Sends the first SYN (`tcp_connect`). What the layers below say of it is no error: the time-out sends it again.
    /// `data`: what shall go with it (MSG_FASTOPEN). False: it waits for the first write.
    pub(super) fn connect(
        &mut self,
        stack: &mut Stack,
        route: Route,
        data: Option<(&[u8], SendFlags)>,
    ) -> Begun {
        self.route = Some(route);
        self.flow_hash = stack.draw_flow_hash(self.packets());
        self.set_state(stack, SocketState::SynSent);
        if data.is_none() && self.defers_connect(stack) {
            return Begun::Deferred;
        }
        Begun::UnderWay(self.send_syn(stack, data))
    }

    /// … itself; how much of the data went with it.
    pub(super) fn send_syn(
        &mut self,
        stack: &mut Stack,
        data: Option<(&[u8], SendFlags)>,
    ) -> usize {
        let Ok(route) = self.route(stack) else {
            return 0;
        };
        if let Some(own) = self.options.max_segment {
            self.mss_clamp = u32::from(own);
        }
        self.timestamps.hoped = stack.settings.tcp.timestamps != 0;
        self.init_path_mtu(&Self::clock(stack), &stack.settings.tcp);
        self.sync_mss(&stack.settings.tcp, route.mtu);
        self.advmss = self.advertised_mss(&route);
        // Timestamps count only where the peer is known to use them (tcp_connect_init looks at ts_recent_stamp).
        let known = self.timestamps.recent_stamp != 0;
        let mss = self.advmss - if known { TIMESTAMPS } else { 0 };
        let scales = stack.settings.tcp.window_scaling;
        self.receive.first_window = route.metrics.initrwnd;
        self.receive
            .select_initial_window(&Context::of(stack), mss, scales);
        self.receive.rcv_mss = LEAST_MSS;
        let clock = Self::clock(stack);
        self.sender.retrans_stamp = clock.ms();
        let mut flags = TcpFlags::SYN;
        // tcp_ecn_send_syn.
        if stack.settings.tcp.ecn == 1 {
            flags |= TcpFlags::ECE | TcpFlags::CWR;
            self.ecn.ok = true;
        }
        let mut segment = Segment::control(self.iss, flags);
        let mut taken = 0;
        let mut with = None;
        if let Some((bytes, flags)) = data {
            (segment, taken, with) = self.send_syn_data(stack, segment, bytes);
            // Who has more to send will acknowledge the SYN-ACK by it.
            self.write_pending = flags.waits && (taken < bytes.len() || with.is_none());
        } else {
            let asks = self.fast_open.as_deref().is_some_and(|fast| fast.asked);
            if asks {
                self.expect_segments(stack);
            }
            self.sender.stamp(&Context::of(stack), &mut segment);
            let _ = self.transmit(stack, &segment);
            if let Some(fast) = self.fast_open.as_deref_mut() {
                fast.offer = None;
            }
        }
        self.sender.sent_syn(&mut Context::of(stack), segment);
        if let Some(payload) = with {
            self.sender.sent_syn_data(payload);
        }
        stack.counters.tcp.count(TcpCounter::ActiveOpens);
        taken
    }

    /// A segment in SYN-SENT.
    pub(super) fn receive_in_syn_sent(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        if segment.flags.ack() {
            return self.answered(stack, segment, payload);
        }
        if segment.flags.rst() {
            return Verdict::Dropped(DropReason::TcpReset);
        }
        if self.timestamps.recent_stamp != 0
            && let Some(timestamps) = segment.options.timestamps
            && self
                .timestamps
                .rejects(timestamps.value, false, Self::seconds(stack))
        {
            return Verdict::Dropped(DropReason::TcpRfc7323Paws);
        }
        if segment.flags.syn() {
            self.cross(stack, segment);
            return Verdict::Consumed;
        }
        Verdict::Dropped(DropReason::NotSpecified)
    }

    /// … with an ACK.
    fn answered(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) -> Verdict {
        let una = self.sender.snd_una;
        if !una.is_before(segment.ack) || self.sender.snd_nxt.is_before(segment.ack) {
            if self.sender.retransmits == 0 {
                // A half-open connection of old: after the reset the SYN is sent again at once (TCP_TIMEOUT_MIN).
                self.sender
                    .reset_timer(&Context::of(stack), Pending::Retransmit, 2);
            }
            return Self::unacceptable(segment, DropReason::TcpInvalidAckSequence);
        }
        if let Some(timestamps) = segment.options.timestamps
            && timestamps.echo != 0
        {
            let echo = timestamps.echo.wrapping_sub(self.timestamps.offset);
            let since = echo.wrapping_sub(self.sender.retrans_stamp);
            let passed = Self::clock(stack)
                .ms()
                .wrapping_sub(self.sender.retrans_stamp);
            if since > passed {
                self.count(stack, TcpExtCounter::PAWSActive);
                return Self::unacceptable(segment, DropReason::TcpRfc7323Paws);
            }
        }
        if segment.flags.rst() {
            self.reset(stack);
            return Verdict::Consumed;
        }
        if !segment.flags.syn() {
            return Verdict::Dropped(DropReason::TcpFlags);
        }
        self.finish_connect(stack, segment, payload);
        Verdict::Consumed
    }

    /// A reset is no answer to a reset.
    fn unacceptable(segment: &Incoming, reason: DropReason) -> Verdict {
        if segment.flags.rst() {
            Verdict::Dropped(reason)
        } else {
            Verdict::Reset(reason)
        }
    }

    /// What a SYN or SYN-ACK offers and we do too.
    fn agree(&mut self, stack: &Stack, segment: &Incoming) {
        let settings = &stack.settings.tcp;
        let options = &segment.options;
        self.irs = segment.seq;
        self.timestamps.hoped = false;
        if let Some(mss) = options.mss.filter(|mss| *mss > 0) {
            let own = self.options.max_segment.unwrap_or(u16::MAX);
            self.mss_clamp = u32::from(mss.min(own));
        }
        self.sender.sack = options.sack_permitted && settings.sack;
        self.receive.sack = self.sender.sack;
        match options.window_scale.filter(|_| settings.window_scaling) {
            Some(scale) => {
                self.wscale_ok = true;
                self.snd_wscale = scale;
            }
            None => {
                self.wscale_ok = false;
                self.snd_wscale = 0;
            }
        }
        if let Some(timestamps) = options.timestamps.filter(|_| settings.timestamps != 0) {
            self.timestamps.ok = true;
            self.timestamps
                .store(timestamps.value, Self::seconds(stack));
        }
        self.receive.begin(segment.seq);
    }

    /// The SYN-ACK: the connection is established (`tcp_finish_connect`).
    fn finish_connect(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) {
        // tcp_ecn_rcv_synack.
        let echoes = segment.flags.0 & TcpFlags::ECE != 0 && segment.flags.0 & TcpFlags::CWR == 0;
        self.ecn.ok &= echoes;
        self.agree(stack, segment);
        if !self.wscale_ok {
            // Only here: crossed SYNs leave the scale as it was offered, whatever the peer can do.
            self.receive.rcv_wscale = 0;
            self.receive.window_clamp = self.receive.window_clamp.min(65_535);
        }
        let ack = Ack {
            seq: segment.seq,
            end_seq: segment.end_seq,
            ack: segment.ack,
            window: u32::from(segment.window),
            sacks: &[],
            echo: segment
                .options
                .timestamps
                .filter(|timestamps| self.timestamps.ok && timestamps.echo != 0)
                .map(|timestamps| timestamps.echo.wrapping_sub(self.timestamps.offset)),
            ece: false,
            slow_path: true,
            segments: 1,
            unsent: false,
            syn_sent: true,
        };
        self.sender.snd_wl1 = segment.seq;
        let outcome = self.sender.acknowledge(&mut Context::of(stack), &ack);
        self.send_buffer.release(self.sender.snd_una, outcome.freed);
        self.sender.snd_wnd = u32::from(segment.window);
        if self.timestamps.ok {
            self.advmss -= TIMESTAMPS;
        }
        let cookie = self.path_mtu.cookie;
        self.sync_mss(&stack.settings.tcp, cookie);
        if self.sender.queue.packets_out == 0 && self.send_buffer.head().is_none() {
            self.limited
                .end(stack.tick(), super::limited::Limit::Busy, false);
        }
        self.establish(stack);
        if self.options.keep_alive {
            self.start_keepalive(stack);
        }
        let answered = self.receive_fast_syn_ack(stack, segment, payload);
        stack.events.push_back(Event::Writable(self.id));
        if answered {
            self.send_more(stack);
        } else if self.write_pending || self.acks.in_pingpong() || self.options.defer_accept > 0 {
            self.postpone_handshake_ack(stack);
        } else {
            self.send_ack(stack);
            self.send_more(stack);
        }
    }

    /// What both ways into ESTABLISHED have in common (`tcp_init_transfer`, `tcp_initialize_rcv_mss`).
    pub(super) fn establish(&mut self, stack: &mut Stack) {
        self.set_state(stack, SocketState::Established);
        self.init_transfer(stack);
    }

    /// … but for the state.
    pub(super) fn init_transfer(&mut self, stack: &mut Stack) {
        let clock = Self::clock(stack);
        self.acks.received_at = clock.jiffies();
        let (mss, advmss) = (self.sender.mss_cache, self.advmss);
        self.receive.header_length = 20 + if self.timestamps.ok { TIMESTAMPS } else { 0 };
        self.receive.establish(&Context::of(stack), mss, advmss);
        self.init_path_mtu(&Self::clock(stack), &stack.settings.tcp);
        if let Some(route) = &self.route {
            self.acks.always_quick = route.metrics.quickack;
            if route.metrics.initcwnd != 0 {
                self.sender.congestion.initial = route.metrics.initcwnd;
            }
        }
        self.sender.establish(&mut Context::of(stack));
        self.recall_metrics(stack);
        self.sender.gso_max_size = GSO.size;
        self.expand_send_buffer(stack);
        self.sender.lsndtime = clock.jiffies();
        self.fast_path = self.snd_wscale == 0;
    }

    /// Both ends opened at once: our SYN is answered with a SYN before the peer saw it.
    fn cross(&mut self, stack: &mut Stack, segment: &Incoming) {
        self.set_state(stack, SocketState::SynRecv);
        self.agree(stack, segment);
        self.sender.snd_wnd = u32::from(segment.window);
        self.sender.snd_wl1 = segment.seq;
        self.sender.max_window = self.sender.snd_wnd;
        // tcp_ecn_rcv_syn.
        self.ecn.ok &= segment.offers_ecn();
        self.init_path_mtu(&Self::clock(stack), &stack.settings.tcp);
        let cookie = self.path_mtu.cookie;
        self.sync_mss(&stack.settings.tcp, cookie);
        let mut flags = TcpFlags::SYN | TcpFlags::ACK;
        if self.ecn.ok {
            flags |= TcpFlags::ECE;
        }
        // The SYN itself, as it waits to be acknowledged, becomes the SYN-ACK (tcp_send_synack).
        let context = Context::of(stack);
        let Some(mut answer) = self.sender.queue.head().cloned() else {
            return;
        };
        answer.flags = flags;
        self.sender.stamp(&context, &mut answer);
        if let Some(head) = self.sender.queue.segments.front_mut() {
            *head = answer.clone();
        }
        let _ = self.transmit(stack, &answer);
    }

    /// The handshake's last ACK has come for a socket in SYN-RECV (`tcp_rcv_state_process`).
    pub(super) fn establish_passive(&mut self, stack: &mut Stack, segment: &Incoming) {
        self.sender.delivered = self.sender.delivered.wrapping_add(1);
        self.sender.retrans_stamp = 0;
        self.receive.copied_seq = self.receive.rcv_nxt;
        self.sender.snd_una = segment.ack;
        self.sender.snd_wnd = u32::from(segment.window) << self.snd_wscale;
        self.sender.snd_wl1 = segment.seq;
        if self.timestamps.ok {
            self.advmss = self.advmss.saturating_sub(TIMESTAMPS);
        }
        self.establish(stack);
        self.fast_path = true;
        if self.parent.is_none() {
            self.state_changed(stack);
        }
        if self.shut_write && !self.orphan {
            // Shut down while the handshake went on: the FIN goes now.
            self.set_state(stack, SocketState::FinWait1);
            self.send_fin(stack);
        }
    }
}
