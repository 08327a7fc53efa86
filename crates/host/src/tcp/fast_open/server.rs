//! A listener's side: a SYN with a good cookie makes the connection at once (`tcp_try_fastopen`), which a program may accept, read
//! and write before the handshake has ended.

use std::collections::VecDeque;
use std::time::Duration;

use transect_config::SocketState;
use transect_packet::TcpFlags;

use super::super::clock::Context;
use super::super::connection::Connection;
use super::super::incoming::Incoming;
use super::super::input::Verdict;
use super::super::listener::{Listener, Request, resend_syn_ack, send_syn_ack};
use super::super::passive::{in_window, limited};
use super::super::receive_buffer::Arrived;
use super::super::reset::send_ack_for_child;
use super::super::sender::Pending as Timer;
use super::super::{Socket, Tcp};
use super::{Cookie, FastOpen, FastOpenOption, Left, Pending, SERVER, SERVER_NO_COOKIE};
use crate::counters::{TcpCounter, TcpExtCounter};
use crate::drop_reason::DropReason;
use crate::settings::FastOpenKey;
use crate::socket::{Event, SocketId};
use crate::stack::Stack;

/// How long a child counts that was reset when a program had it.
const RESET_COUNTS: Duration = Duration::from_secs(60);

/// A listener's children that have not proven to be anybody's (`struct fastopen_queue`).
#[derive(Debug, Default)]
pub(in crate::tcp) struct Queue {
    /// How many there are, with those that were reset (`qlen`).
    length: u32,
    /// Until when the latter count, in ticks (`rskq_rst_head`).
    resets: VecDeque<u64>,
}

/// What a SYN came to (`tcp_try_fastopen`).
#[derive(Debug, Default)]
pub(in crate::tcp) struct Tried {
    /// The connection.
    pub(in crate::tcp) child: Option<SocketId>,
    /// What the SYN-ACK says about cookies.
    pub(in crate::tcp) answer: Option<FastOpenOption>,
}

/// What a SYN shows of a cookie, and what it is answered.
enum Shown {
    /// None, or the wish for one.
    None(Option<FastOpenOption>),
    /// A wrong one.
    Bad(Option<FastOpenOption>),
    /// A right one, made with the key of this number; or none is needed.
    Good {
        known: usize,
        fresh: Option<FastOpenOption>,
    },
}

/// Judges it (`tcp_fastopen_cookie_gen_check`); `free`: none is needed.
fn check_cookie(
    keys: &[FastOpenKey],
    request: &Request,
    wish: Option<FastOpenOption>,
    free: bool,
) -> Shown {
    if free {
        return Shown::Good {
            known: 0,
            fresh: None,
        };
    }
    let Some(wish) = wish else {
        // Without an option data alone is nothing.
        return Shown::None(None);
    };
    let (client, server) = (request.ends.peer.address, request.ends.local.address);
    let mut own = keys
        .iter()
        .map(|key| Cookie::generate(*key, client, server));
    let fresh = own.clone().next().map(|cookie| FastOpenOption {
        cookie: Some(cookie),
        experimental: wish.experimental,
    });
    let Some(cookie) = wish.cookie else {
        return Shown::None(fresh);
    };
    match own.position(|own| own == cookie) {
        Some(known) => Shown::Good { known, fresh },
        None => Shown::Bad(fresh),
    }
}

impl Listener {
    /// Whether one more is let in (`tcp_fastopen_queue_check`).
    fn admits_fast_open(&mut self, stack: &mut Stack) -> bool {
        let most = self.options.fast_open_queue();
        if most == 0 {
            return false;
        }
        if self.fast_open.length >= most {
            let now = stack.ticks.at(stack.now);
            if self.fast_open.resets.front().is_none_or(|end| *end > now) {
                stack
                    .counters
                    .tcp_ext
                    .count(TcpExtCounter::TCPFastOpenListenOverflow);
                return false;
            }
            self.fast_open.resets.pop_front();
            self.fast_open.length = self.fast_open.length.saturating_sub(1);
        }
        true
    }
}

impl Tcp {
    /// A SYN for a listener that may be more (`tcp_try_fastopen`). The child, if any, has taken its data.
    pub(in crate::tcp) fn try_fast_open(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        request: &Request,
        segment: &Incoming,
        payload: &[u8],
    ) -> Tried {
        let wish = segment.fast_open;
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return Tried::default();
        };
        if wish.is_some_and(|wish| wish.cookie.is_none()) {
            let counter = TcpExtCounter::TCPFastOpenCookieReqd;
            stack.counters.tcp_ext.count(counter);
        }
        let enabled = stack.settings.tcp.fastopen;
        let data = segment.end_seq != segment.seq + 1;
        if enabled & SERVER == 0 || !(data || wish.is_some()) || !listener.admits_fast_open(stack) {
            return Tried::default();
        }
        let keys = listener.options.fast_open_keys(&stack.settings.tcp);
        let free = enabled & SERVER_NO_COOKIE != 0 || listener.options.fast_open_no_cookie();
        let shown = check_cookie(keys, request, wish, free);
        let fails = TcpExtCounter::TCPFastOpenPassiveFail;
        let (known, fresh) = match shown {
            Shown::Good { known, fresh } => (known, fresh),
            Shown::Bad(answer) => {
                stack.counters.tcp_ext.count(fails);
                return Tried {
                    child: None,
                    answer,
                };
            }
            Shown::None(answer) => {
                return Tried {
                    child: None,
                    answer,
                };
            }
        };
        match self.make_fast_child(stack, id, request, (segment, payload)) {
            Some(child) => {
                let ext = &mut stack.counters.tcp_ext;
                // One that the old key made is replaced.
                let answer = fresh.filter(|_| known > 0);
                if known > 0 {
                    ext.count(TcpExtCounter::TCPFastOpenPassiveAltKey);
                }
                ext.count(TcpExtCounter::TCPFastOpenPassive);
                Tried {
                    child: Some(child),
                    answer,
                }
            }
            None => {
                stack.counters.tcp_ext.count(fails);
                Tried {
                    child: None,
                    answer: fresh,
                }
            }
        }
    }

    /// The connection for a SYN alone (`tcp_fastopen_create_child`).
    fn make_fast_child(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        request: &Request,
        (segment, payload): (&Incoming, &[u8]),
    ) -> Option<SocketId> {
        let child = self.open_child(stack, id, request, segment, true)?;
        if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) {
            listener.fast_open.length = listener.fast_open.length.saturating_add(1);
        }
        let connection = self.connection_mut(child).ok()?;
        connection.begin_fast(stack, segment, payload);
        let mut request = request.clone();
        request.rcv_nxt = connection.receive.rcv_nxt;
        request.expires = stack.ticks.at(stack.now) + u64::from(stack.ticks.hz());
        connection.fast_mut().request = Some(Pending {
            listener: id,
            request,
        });
        connection.sender.handshake_pending = true;
        Some(child)
    }

    /// Its SYN-ACK goes out, and the listener is told of it (`tcp_conn_request`).
    pub(in crate::tcp) fn answer_fast_open(
        &mut self,
        stack: &mut Stack,
        child: SocketId,
        answer: Option<FastOpenOption>,
    ) {
        if let Ok(connection) = self.connection_mut(child)
            && let Some(fast) = connection.fast_open.as_deref_mut()
            && let Some(pending) = &mut fast.request
        {
            let _ = send_syn_ack(stack, &connection.options, &mut pending.request, answer);
            stack.events.push_back(Event::Acceptable(pending.listener));
        }
        self.settle(stack, child);
    }

    /// A child is no longer one of those that have proven nothing (`reqsk_fastopen_remove`).
    pub(in crate::tcp) fn leave_fast_open_queue(&mut self, stack: &Stack, left: Left) {
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&left.listener) else {
            return;
        };
        if left.lingers {
            let end = stack.ticks.at(stack.now) + stack.ticks.of(RESET_COUNTS);
            listener.fast_open.resets.push_back(end);
        } else {
            listener.fast_open.length = listener.fast_open.length.saturating_sub(1);
        }
    }
}

impl Connection {
    /// What it keeps of fast open, made where there is nothing yet.
    pub(in crate::tcp) fn fast_mut(&mut self) -> &mut FastOpen {
        self.fast_open.get_or_insert_default()
    }

    /// The handshake of a listener's child goes on, which may nevertheless be read and written (`tcp_passive_fastopen`).
    pub(in crate::tcp) fn is_passive_fast_open(&self) -> bool {
        self.state == SocketState::SynRecv && self.sender.handshake_pending
    }

    /// The part of `tcp_fastopen_create_child` that is the child's own.
    fn begin_fast(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) {
        self.fast_mut().child = true;
        self.sender.snd_wnd = u32::from(segment.window);
        self.sender.max_window = self.sender.snd_wnd;
        let context = Context::of(stack);
        let second = u64::from(context.clock.ticks.hz());
        self.sender.reset_timer(&context, Timer::Retransmit, second);
        self.init_transfer(stack);
        self.take_syn_data(stack, segment, payload);
        self.receive.rcv_wup = self.receive.rcv_nxt;
    }

    /// The data of a SYN or SYN-ACK (`tcp_fastopen_add_skb`).
    pub(in crate::tcp) fn take_syn_data(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) {
        if segment.end_seq == self.receive.rcv_nxt {
            return;
        }
        self.segs_in = 0;
        self.note_arrival(segment);
        let arrived = Arrived {
            seq: segment.seq + 1,
            payload,
            syn: false,
            fin: segment.flags.fin(),
            psh: segment.flags.psh(),
            header_length: u32::try_from(segment.header_length).unwrap_or(u32::MAX),
            truesize: segment.truesize,
            gso_size: segment.gso_size,
            segments: segment.segments,
            shared_until: self.shared_until(stack),
            written: segment.written,
            echo: None,
        };
        self.receive
            .take_syn_data(&mut Context::of(stack), &arrived);
        self.fast_mut().syn_data_acked = true;
        if segment.flags.fin() {
            self.fin(stack);
        }
    }

    /// The handshake is over, one way or another (`reqsk_fastopen_remove`).
    pub(in crate::tcp) fn end_fast_open(&mut self, reset: bool) {
        self.sender.handshake_pending = false;
        let accepted = self.accepted;
        if let Some(fast) = self.fast_open.as_deref_mut()
            && let Some(pending) = fast.request.take()
        {
            fast.left = Some(Left {
                listener: pending.listener,
                lingers: reset && accepted,
            });
        }
    }

    /// A segment for a child whose SYN-ACK is not acknowledged (`tcp_check_req` for the child). A verdict ends the segment's way.
    pub(in crate::tcp) fn check_fast_open(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
    ) -> Option<Verdict> {
        let next = self.sender.snd_nxt;
        let fast = self.fast_open.as_deref_mut()?;
        let request = &mut fast.request.as_mut()?.request;
        let dropped = Some(Verdict::Dropped(DropReason::TcpFastopen));
        let (paws, _) = request.check_timestamps(stack, segment);
        let flags = segment.flags;
        let kind = flags.0 & (TcpFlags::RST | TcpFlags::SYN | TcpFlags::ACK);
        if segment.seq == request.rcv_isn && kind == TcpFlags::SYN && !paws {
            if !limited(stack, segment, request)
                && resend_syn_ack(stack, &self.options, request).is_ok()
            {
                self.sender.total_retrans = self.sender.total_retrans.saturating_add(1);
                request.expires = stack.ticks.at(stack.now) + Listener::timeout(stack, request);
            }
            return dropped;
        }
        // tcp_synack_window.
        let window = request.rcv_wnd.min(65_535);
        if paws || !in_window(segment, request.rcv_nxt, window) {
            if !flags.rst() && !limited(stack, segment, request) {
                send_ack_for_child(stack, &self.options, request, next, segment);
            }
            if paws {
                self.count(stack, TcpExtCounter::PAWSEstab);
            }
            return Some(Verdict::Dropped(match paws {
                true => DropReason::TcpRfc7323Paws,
                false => DropReason::TcpOverwindow,
            }));
        }
        let syn = flags.syn() && segment.seq != request.rcv_isn;
        if flags.rst() || syn {
            stack.counters.tcp.count(TcpCounter::AttemptFails);
            if !flags.rst() {
                return Some(Verdict::Reset(DropReason::TcpFastopen));
            }
            self.end_fast_open(true);
            self.reset(stack);
            return dropped;
        }
        if flags.ack() { None } else { dropped }
    }

    /// No acknowledgement of the SYN-ACK came in time (`tcp_fastopen_synack_timer`).
    pub(in crate::tcp) fn fast_open_timeout(&mut self, stack: &mut Stack) {
        self.count(stack, TcpExtCounter::TCPTimeouts);
        let most = self
            .options
            .syn_count
            .unwrap_or(stack.settings.tcp.synack_retries.saturating_add(1));
        let Some(pending) = self
            .fast_open
            .as_deref_mut()
            .and_then(|fast| fast.request.as_mut())
        else {
            return;
        };
        if u32::from(pending.request.timeouts) >= most {
            return self.timed_out(stack);
        }
        if self.sender.retransmits == 1 {
            self.sender.lose(&mut Context::of(stack));
        }
        // Errors do not end it: the child may be in use already.
        if resend_syn_ack(stack, &self.options, &mut pending.request).is_ok() {
            self.sender.total_retrans = self.sender.total_retrans.saturating_add(1);
        }
        pending.request.timeouts = pending.request.timeouts.saturating_add(1);
        let ticks = Listener::timeout(stack, &pending.request);
        self.sender.note_timeout();
        let clock = Self::clock(stack);
        if self.sender.retrans_stamp == 0 {
            self.sender.retrans_stamp = clock.ms();
        }
        self.sender
            .reset_timer(&Context::of(stack), Timer::Retransmit, ticks);
    }

    /// The SYN-ACK is acknowledged (`tcp_rcv_synrecv_state_fastopen`).
    pub(in crate::tcp) fn confirm_fast_open(&mut self, stack: &mut Stack) {
        if !self.sender.handshake_pending {
            return;
        }
        self.sender.confirm_syn_ack(&mut Context::of(stack));
        self.end_fast_open(false);
        self.sender.rearm_rto(&mut Context::of(stack));
    }

    /// … by a child in SYN-RECV, which is established now (`tcp_rcv_state_process`).
    pub(in crate::tcp) fn establish_fast(&mut self, stack: &mut Stack, segment: &Incoming) {
        self.sender.delivered = self.sender.delivered.wrapping_add(1);
        let measured = self
            .fast_open
            .as_deref()
            .and_then(|fast| fast.request.as_ref())
            .map(|pending| (pending.request.sent_us, pending.request.retransmits > 0));
        if self.sender.rtt.srtt_us == 0
            && let Some((sent_us, again)) = measured
        {
            self.sender.synack_rtt(&Context::of(stack), sent_us, again);
        }
        if self.timestamps.ok {
            self.advmss = self.advmss.saturating_sub(super::super::mtu::TIMESTAMPS);
        }
        self.confirm_fast_open(stack);
        self.set_state(stack, SocketState::Established);
        self.state_changed(stack);
        self.sender.snd_una = segment.ack;
        self.sender.snd_wnd = u32::from(segment.window) << self.snd_wscale;
        self.sender.snd_wl1 = segment.seq;
        self.sender.update_pacing_rate(&Context::of(stack));
        self.sender.lsndtime = Self::clock(stack).jiffies();
        let (mss, advmss) = (self.sender.mss_cache, self.advmss);
        self.receive.initialize_rcv_mss(mss, advmss);
        self.fast_path = true;
        if self.shut_write && !self.orphan {
            self.set_state(stack, SocketState::FinWait1);
            self.send_fin(stack);
        }
    }
}
