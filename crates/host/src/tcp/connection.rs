//! A connection (`struct tcp_sock`): what belongs to neither half of it, and what every part of it asks for.
//!
//! The output half is [`Sender`] with [`SendBuffer`], the input half [`ReceiveBuffer`]. What happens to it stands in files by what
//! happens: `active` and `passive` open, `input`, `states`, `acks`, `output`, `timers`, `close`, `icmp`.

use std::num::NonZeroU32;
use std::time::Duration;

use transect_config::{IpVersion, SocketState};
use transect_packet::SequenceNumber;

use super::acks::AckState;
use super::backlog::Backlog;
use super::clock::{Clock, Context, Timer};
use super::fast_open::FastOpen;
use super::limited::Chronograph;
use super::mtu::PathMtu;
use super::receive_buffer::ReceiveBuffer;
use super::send_buffer::SendBuffer;
use super::sender::Sender;
use super::socket_options::{SharedOptions, SocketOptions};
use super::stamping::Stamping;
use super::urgent::Urgent;
use crate::counters::{TcpCounter, TcpExtCounter};
use crate::error_queue::ErrorQueue;
use crate::ip::{Route, RouteKey, version_of};
use crate::settings::TcpSettings;
use crate::socket::{Errno, Event, SocketAddress, SocketId};
use crate::stack::Stack;
use transect_path::Timestamp;

/// `TCP_TIMEWAIT_LEN`.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);
/// `TCP_MSS_DEFAULT`.
pub(super) const MSS_DEFAULT: u32 = 536;

/// What is to become of a connection when the call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Stays,
    /// A remainder takes its place (`tcp_time_wait`), in this state and for this long.
    TimeWait(SocketState, Duration),
    /// It is closed (`tcp_done`, or `tcp_set_state(TCP_CLOSE)`).
    Done,
}

/// What was agreed on about ECN (RFC 3168; `tp->ecn_flags`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Ecn {
    /// Both ends do it (`TCP_ECN_OK`).
    pub(super) ok: bool,
    /// The next data segment carries CWR (`TCP_ECN_QUEUE_CWR`).
    pub(super) queue_cwr: bool,
    /// A mark came, ECE is sent until CWR comes (`TCP_ECN_DEMAND_CWR`).
    pub(super) demand_cwr: bool,
    /// ECT was seen at all (`TCP_ECN_SEEN`).
    pub(super) seen: bool,
}

/// Timestamps (`struct tcp_options_received`, the part that lasts).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timestamps {
    /// Agreed on (`tstamp_ok`).
    pub(super) ok: bool,
    /// Offered by our SYN, which has not been answered: room is left for them (`tcp_connect_init`).
    pub(super) hoped: bool,
    /// What is added to the host's clock (`tsoffset`).
    pub(super) offset: u32,
    /// The peer's, to be echoed (`ts_recent`).
    pub(super) recent: u32,
    /// When that was taken, in seconds; 0: never (`ts_recent_stamp`).
    pub(super) recent_stamp: u64,
}

/// A connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the kernel's own"
)]
pub(crate) struct Connection {
    pub(super) id: SocketId,
    /// The socket's family; the addresses may be IPv4 on an IPv6 socket.
    pub(super) version: IpVersion,
    pub(super) options: SharedOptions,
    pub(super) local: SocketAddress,
    pub(super) peer: SocketAddress,
    pub(super) state: SocketState,
    pub(super) fate: Fate,
    /// `sk_err`.
    pub(super) error: Option<Errno>,
    /// `sk_err_soft`: what ICMP said, told only when time runs out.
    pub(super) soft_error: Option<Errno>,
    /// `sk_error_queue`
    pub(super) error_queue: ErrorQueue,
    /// Times of transmissions that a program asked for.
    pub(super) stamping: Option<Box<Stamping>>,
    /// `RCV_SHUTDOWN`.
    pub(super) shut_read: bool,
    /// `SEND_SHUTDOWN`.
    pub(super) shut_write: bool,
    /// No program holds it any more (`SOCK_DEAD`).
    pub(super) orphan: bool,
    /// A program was told that there is no room, and waits (`SOCK_NOSPACE`).
    pub(super) no_space: bool,
    /// connect(2) has not said yet how it went (`SS_CONNECTING`).
    pub(super) connecting: bool,
    /// A write() waits for the handshake: its data will carry the last ACK (`sk_write_pending`).
    pub(super) write_pending: bool,
    /// The peer's FIN came in order (`SOCK_DONE`).
    pub(super) fin_received: bool,
    /// Accepted by a program, or opened by one (`sk_socket`).
    pub(super) accepted: bool,
    /// `sk_drops`.
    pub(super) drops: u32,
    pub(super) route: Option<Route>,
    pub(super) sender: Sender,
    pub(super) send_buffer: SendBuffer,
    pub(super) receive: ReceiveBuffer,
    pub(super) acks: AckState,
    pub(super) timestamps: Timestamps,
    pub(super) ecn: Ecn,
    /// Window scaling was agreed on (`wscale_ok`).
    pub(super) wscale_ok: bool,
    /// The peer's window scale (`snd_wscale`).
    pub(super) snd_wscale: u8,
    /// The peer's largest segment (`rx_opt.mss_clamp`).
    pub(super) mss_clamp: u32,
    /// What we announce (`advmss`).
    pub(super) advmss: u32,
    pub(super) path_mtu: PathMtu,
    /// Urgent data, both ways.
    pub(super) urgent: Urgent,
    /// What fast open is to it; nothing for most.
    pub(super) fast_open: Option<Box<FastOpen>>,
    /// The end of the last small segment sent (`snd_sml`), for Minshall's rule.
    pub(super) snd_sml: SequenceNumber,
    /// The next IPv4 identification (`inet_id`).
    pub(super) identification: u16,
    /// What its flow labels are made from (`sk_txhash`).
    pub(super) flow_hash: Option<NonZeroU32>,
    /// The label of the last data that came (`lrcv_flowlabel`).
    pub(super) peer_label: u32,
    /// Bytes below TCP that are not freed yet (`sk_wmem_alloc`).
    pub(super) below: u64,
    /// … and so many that sending stopped for it (`TSQ_THROTTLED`).
    pub(super) throttled: bool,
    /// The first sequence number sent, and received.
    pub(super) iss: SequenceNumber,
    pub(super) irs: SequenceNumber,
    /// Keepalives, and FIN_WAIT_2 of more than a minute (`sk_timer`).
    pub(super) keepalive: Timer,
    pub(super) limited: Chronograph,
    /// A challenge or duplicate ACK went out then, in ticks (`last_oow_ack_time`); 0: never.
    pub(super) last_oow_ack: u64,
    /// Segments in and out (`segs_in`, `segs_out`, `data_segs_in`).
    pub(super) segs_in: u32,
    pub(super) segs_out: u32,
    pub(super) data_segs_in: u32,
    /// What the established path may take for granted (`pred_flags`): window and options are as last time.
    pub(super) fast_path: bool,
    /// Set while a listener's child has not been handed to its accept queue's owner.
    pub(super) parent: Option<SocketId>,
    pub(super) inode: u64,
    /// A system call holds the socket: what arrives meanwhile.
    pub(super) backlog: Option<Box<Backlog>>,
    /// The deadline that stands in the host's queue.
    pub(super) armed: Option<Timestamp>,
}

impl Connection {
    /// A connection that has sent and received nothing (`tcp_init_sock`, `tcp_connect_init`).
    pub(super) fn new(
        stack: &mut Stack,
        id: SocketId,
        version: IpVersion,
        options: SharedOptions,
        ends: (SocketAddress, SocketAddress),
        iss: SequenceNumber,
    ) -> Self {
        let identification = stack.random.u16(..);
        let settings = &stack.settings.tcp;
        let receive = receive_buffer(&options, settings);
        let mut send_buffer =
            SendBuffer::new(iss + 1, options.send_buffer.unwrap_or(settings.wmem[1]));
        send_buffer.locked = options.send_buffer.is_some();
        let congestion = options.congestion.clone();
        let mut context = Context::of(stack);
        let mut sender = Sender::new(&context, iss);
        let jiffies = context.clock.jiffies();
        if let Some(name) = congestion {
            sender.set_algorithm(&mut context, &name);
        }
        Connection {
            id,
            version,
            options,
            local: ends.0,
            peer: ends.1,
            state: SocketState::Unconnected,
            fate: Fate::Stays,
            error: None,
            soft_error: None,
            error_queue: ErrorQueue::default(),
            stamping: None,
            shut_read: false,
            shut_write: false,
            orphan: false,
            no_space: false,
            connecting: false,
            write_pending: false,
            fin_received: false,
            accepted: true,
            drops: 0,
            route: None,
            sender,
            send_buffer,
            receive,
            acks: AckState::new(jiffies),
            timestamps: Timestamps::default(),
            ecn: Ecn::default(),
            wscale_ok: false,
            snd_wscale: 0,
            mss_clamp: MSS_DEFAULT,
            advmss: MSS_DEFAULT,
            path_mtu: PathMtu::default(),
            urgent: Urgent::default(),
            fast_open: None,
            snd_sml: iss,
            identification,
            flow_hash: None,
            peer_label: 0,
            below: 0,
            throttled: false,
            iss,
            irs: SequenceNumber(0),
            keepalive: Timer::default(),
            limited: Chronograph::default(),
            last_oow_ack: 0,
            segs_in: 0,
            segs_out: 0,
            data_segs_in: 0,
            fast_path: false,
            parent: None,
            inode: id.0,
            backlog: None,
            armed: None,
        }
    }

    /// What the mechanisms are given.
    pub(super) fn clock(stack: &Stack) -> Clock {
        Clock {
            now: stack.now,
            arrived: stack.arrived.unwrap_or(stack.now),
            ticks: stack.ticks,
        }
    }

    /// The family of its packets.
    pub(super) fn packets(&self) -> IpVersion {
        version_of(self.peer.address)
    }

    /// IP's header, in bytes.
    pub(super) fn network_header(&self) -> u32 {
        match self.packets() {
            IpVersion::V4 => 20,
            IpVersion::V6 => 40,
        }
    }

    /// What to ask for a route (`inet_sk_flowi`).
    pub(super) fn route_key(&self) -> RouteKey {
        RouteKey {
            destination: self.peer.address,
            source: Some(self.local.address),
            device: self.options.device,
            mark: self.options.mark,
            tos: self.options.tos,
        }
    }

    /// The route, looked up again where the old one may not be right any more (`__sk_dst_check`, `inet_sk_rebuild_header`).
    pub(super) fn route(&mut self, stack: &mut Stack) -> Result<Route, Errno> {
        if let Some(route) = self.route
            && stack.route_is_current(&route)
        {
            return Ok(route);
        }
        let route = stack.route(&self.route_key())?;
        self.route = Some(route);
        Ok(route)
    }

    /// Changes the state, with the kernel's counters (`tcp_set_state`).
    pub(super) fn set_state(&mut self, stack: &mut Stack, state: SocketState) {
        let old = std::mem::replace(&mut self.state, state);
        let was = matches!(old, SocketState::Established | SocketState::CloseWait);
        let tcp = &mut stack.counters.tcp;
        match state {
            SocketState::Established => {
                if old != SocketState::Established {
                    tcp.count(TcpCounter::CurrEstab);
                }
            }
            SocketState::CloseWait => {
                if old == SocketState::SynRecv {
                    tcp.count(TcpCounter::CurrEstab);
                }
            }
            SocketState::Unconnected => {
                if was {
                    tcp.count(TcpCounter::EstabResets);
                    tcp.uncount(TcpCounter::CurrEstab);
                }
                if self.fate == Fate::Stays {
                    self.fate = Fate::Done;
                }
            }
            _ => {
                if was {
                    tcp.uncount(TcpCounter::CurrEstab);
                }
            }
        }
    }

    /// It is over (`tcp_done`).
    pub(super) fn done(&mut self, stack: &mut Stack) {
        if matches!(self.state, SocketState::SynSent | SocketState::SynRecv) {
            stack.counters.tcp.count(TcpCounter::AttemptFails);
        }
        self.set_state(stack, SocketState::Unconnected);
        self.sender.clear_timer();
        self.acks.clear();
        self.keepalive.cancel();
        self.end_fast_open(false);
        self.shut_read = true;
        self.shut_write = true;
        self.state_changed(stack);
    }

    /// It is over, and the program shall know why (`tcp_done_with_error`).
    pub(super) fn done_with_error(&mut self, stack: &mut Stack, error: Errno) {
        self.error = Some(error);
        self.purge_output();
        self.done(stack);
        if !self.orphan {
            stack.events.push_back(Event::Failed(self.id));
        }
    }

    /// Everything unsent and unacknowledged goes (`tcp_write_queue_purge`).
    pub(super) fn purge_output(&mut self) {
        self.limited.stop();
        self.sender.purge();
        self.send_buffer.purge();
    }

    /// A time-out ends it (`tcp_write_err`).
    pub(super) fn timed_out(&mut self, stack: &mut Stack) {
        let error = self.soft_error.unwrap_or(Errno::Etimedout);
        self.done_with_error(stack, error);
        self.count(stack, TcpExtCounter::TCPAbortOnTimeout);
    }

    /// A remainder takes over (`tcp_time_wait`).
    pub(super) fn time_wait(&mut self, stack: &mut Stack, state: SocketState, timeout: Duration) {
        self.fate = Fate::TimeWait(state, timeout);
        self.save_metrics(stack);
        self.done(stack);
    }

    /// A program that polls is woken (`sk_state_change`).
    pub(super) fn state_changed(&mut self, stack: &mut Stack) {
        if !self.orphan && self.accepted {
            stack.events.push_back(Event::Readable(self.id));
            stack.events.push_back(Event::Writable(self.id));
        }
    }

    /// There is something to read (`sk_data_ready`).
    pub(super) fn data_ready(&mut self, stack: &mut Stack) {
        if !self.orphan && self.accepted {
            stack.events.push_back(Event::Readable(self.id));
        }
    }

    /// Counts.
    pub(super) fn count(&self, stack: &mut Stack, counter: TcpExtCounter) {
        stack.counters.tcp_ext.count(counter);
    }

    /// The moment as it stands in the timestamps option (`tcp_time_stamp_ts` with the offset).
    pub(super) fn timestamp_value(&self, stack: &Stack) -> u32 {
        Self::clock(stack).ms().wrapping_add(self.timestamps.offset)
    }

    /// Seconds, as TIME_WAIT and PAWS count them (`ktime_get_seconds`). Never 0.
    pub(super) fn seconds(stack: &Stack) -> u64 {
        (stack.now.0 / 1_000_000_000).max(1)
    }

    /// Bytes of every header without a SYN's options (`tcp_header_len`). While the SYN is on its way timestamps are hoped for.
    pub(super) fn header_length(&self) -> u32 {
        if self.timestamps.ok || self.timestamps.hoped {
            32
        } else {
            20
        }
    }

    /// When something is to be done for it next.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        if let Some(until) = self.held_until() {
            // Timers that come while a call holds the socket are looked at when it is over (TCP_WRITE_TIMER_DEFERRED).
            return Some(until);
        }
        [
            self.sender
                .timer
                .pending
                .and_then(|_| self.sender.timer.timer.fires()),
            self.acks.deadline(),
            self.keepalive.fires(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether data may still be sent and received on it.
    pub(super) fn is_synchronized(&self) -> bool {
        !matches!(
            self.state,
            SocketState::SynSent | SocketState::SynRecv | SocketState::Unconnected
        )
    }

    /// Whether the rate limit of duplicate ACKs holds one back (`__tcp_oow_rate_limited`).
    pub(super) fn oow_rate_limited(&mut self, stack: &mut Stack, skipped: TcpExtCounter) -> bool {
        oow_rate_limited(stack, &mut self.last_oow_ack, skipped)
    }
}

/// An empty receive buffer of the size that the program, or the setting, says.
pub(super) fn receive_buffer(options: &SocketOptions, settings: &TcpSettings) -> ReceiveBuffer {
    let mut receive = ReceiveBuffer::new(options.receive_buffer.unwrap_or(settings.rmem[1]));
    receive.locked = options.receive_buffer.is_some();
    receive.window_clamp = options.window_clamp;
    receive
}

/// Whether the rate limit of duplicate ACKs holds one back (`__tcp_oow_rate_limited`); `last` is when the last one went out.
pub(super) fn oow_rate_limited(stack: &mut Stack, last: &mut u64, skipped: TcpExtCounter) -> bool {
    let clock = Connection::clock(stack);
    let now = clock.jiffies().max(1);
    let limit = clock.jiffies_of(stack.settings.tcp.invalid_ratelimit);
    if *last != 0 && now.saturating_sub(*last) < limit {
        stack.counters.tcp_ext.count(skipped);
        return true;
    }
    *last = now;
    false
}
