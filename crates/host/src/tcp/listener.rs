//! Listeners: the SYN queue with its retransmissions, the accept queue (`struct request_sock_queue`, net/ipv4/inet_connection_sock.c).

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use transect_config::IpVersion;
use transect_packet::{SequenceNumber, TcpFlags, TcpTimestamps};
use transect_path::Timestamp;

use super::connection::Connection;
use super::fast_open::{FastOpenOption, Queue};
use super::options::{OptionBytes, SynOptions};
use super::output::{Header, PROTOCOL};
use super::socket_options::{SharedOptions, SocketOptions};
use super::table::Ends;
use crate::counters::{IpCounter, TcpCounter, TcpExtCounter};
use crate::ip::{FlowHash, Outgoing, RouteKey, version_of};
use crate::packet::ChecksumState;
use crate::socket::{Errno, SocketAddress, SocketId};
use crate::stack::Stack;
use crate::timer::TimerQueue;

/// For how long SYN cookies are believed behind the last overflow (`TCP_SYNCOOKIE_VALID`).
const COOKIES_VALID: Duration = Duration::from_secs(120);

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: SocketId,
    pub(super) version: IpVersion,
    pub(super) options: SharedOptions,
    /// What its connections get of them, once one was made; nothing again when they are changed.
    pub(super) inherited: Option<SharedOptions>,
    pub(super) local: SocketAddress,
    /// What listen(2) said, within somaxconn (`sk_max_ack_backlog`).
    pub(super) backlog: u32,
    /// Connections that wait to be accepted.
    pub(super) accept: VecDeque<SocketId>,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) timers: TimerQueue<u64>,
    /// Requests whose SYN-ACK went out once only (`young`).
    pub(super) young: u32,
    /// `sk_drops`.
    pub(super) drops: u32,
    /// When the SYN queue was full last (`rx_opt.ts_recent_stamp` of a listener).
    pub(super) overflowed: Option<Timestamp>,
    pub(super) error: Option<Errno>,
    pub(super) fast_open: Queue,
}

/// A handshake that is under way (`struct tcp_request_sock`).
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the kernel's own"
)]
pub(super) struct Request {
    pub(super) ends: Ends,
    /// Our first sequence number, and the peer's.
    pub(super) snt_isn: SequenceNumber,
    pub(super) rcv_isn: SequenceNumber,
    /// What our SYN-ACK acknowledges: the SYN, and its data where that was taken (`rcv_nxt`).
    pub(super) rcv_nxt: SequenceNumber,
    /// What the peer can take (`req->mss`).
    pub(super) mss: u32,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    /// The first and last timestamp that our SYN-ACKs carried, with the offset.
    pub(super) snt_tsval: (u32, u32),
    /// The peer's window scale, where it offered one and we do too.
    pub(super) snd_wscale: Option<u8>,
    pub(super) rcv_wscale: u8,
    pub(super) rcv_wnd: u32,
    pub(super) window_clamp: u32,
    pub(super) ecn: bool,
    /// Time-outs so far (`num_timeout`), and SYN-ACKs sent again (`num_retrans`).
    pub(super) timeouts: u8,
    pub(super) retransmits: u8,
    /// The last ACK came, and the accept queue was full or the data is awaited (`acked`).
    pub(super) acked: bool,
    pub(super) last_oow_ack: u64,
    /// What its flow labels are made from (`txhash`).
    pub(super) flow_hash: Option<NonZeroU32>,
    /// When the SYN-ACK went out first, in microseconds (`snt_synack`).
    pub(super) sent_us: u64,
    /// The tick for which its timer is set.
    pub(super) expires: u64,
}

impl Listener {
    /// The options of a connection that it makes: all but those that are about itself (`inet_csk_clone_lock`).
    pub(super) fn inherited_options(&mut self) -> SharedOptions {
        let made = || {
            let mut options = self.options.clone();
            options.port_locked = false;
            options.fast_open = None;
            options
        };
        self.inherited.get_or_insert_with(made).clone()
    }

    /// The accept queue is full (`sk_acceptq_is_full`).
    pub(super) fn is_accept_full(&self) -> bool {
        self.accept.len() > self.backlog as usize
    }

    /// The SYN queue is full (`inet_csk_reqsk_queue_is_full`).
    pub(super) fn is_syn_full(&self) -> bool {
        self.requests.len() > self.backlog as usize
    }

    /// A SYN or an ACK was dropped (`tcp_listendrop`).
    pub(super) fn count_drop(&mut self, stack: &mut Stack) {
        self.drops = self.drops.saturating_add(1);
        stack.counters.tcp_ext.count(TcpExtCounter::ListenDrops);
    }

    /// Whether cookies may be on their way back to us (`tcp_synq_no_recent_overflow`).
    pub(super) fn overflowed_recently(&self, now: Timestamp) -> bool {
        self.overflowed
            .is_some_and(|at| now.0.saturating_sub(at.0) <= COOKIES_VALID.as_nanos() as u64)
    }

    /// Keeps a handshake, and sets its timer (`inet_csk_reqsk_queue_hash_add`).
    pub(super) fn keep(&mut self, stack: &mut Stack, number: u64, mut request: Request) {
        let clock = Connection::clock(stack);
        let expires = clock.jiffies() + u64::from(stack.ticks.hz());
        request.expires = expires;
        self.timers
            .set(number, Some(stack.ticks.wheel(stack.now, expires)));
        self.young += 1;
        self.requests.insert(number, request);
    }

    /// Lets a handshake go (`inet_csk_reqsk_queue_drop`).
    pub(super) fn forget(&mut self, number: u64) -> Option<Request> {
        let request = self.requests.remove(&number)?;
        self.timers.set(number, None);
        if request.timeouts == 0 {
            self.young = self.young.saturating_sub(1);
        }
        Some(request)
    }

    /// Ticks to a handshake's next time-out (`tcp_reqsk_timeout`).
    pub(super) fn timeout(stack: &Stack, request: &Request) -> u64 {
        let rto_max = stack.ticks.of(stack.settings.tcp.rto_max);
        u64::from(stack.ticks.hz())
            .checked_shl(u32::from(request.timeouts))
            .unwrap_or(u64::MAX)
            .min(rto_max)
    }

    /// How often SYN-ACKs are sent again: less where many handshakes wait (`reqsk_timer_handler`).
    fn retries(&self, stack: &Stack) -> u32 {
        let mut retries = self
            .options
            .syn_count
            .unwrap_or(stack.settings.tcp.synack_retries);
        let waiting = self.requests.len() as u64;
        if waiting * 2 > u64::from(self.backlog.max(8)) {
            let mut young = u64::from(self.young) * 2;
            while retries > 2 && waiting >= young {
                retries -= 1;
                young *= 2;
            }
        }
        retries
    }

    /// A handshake's time-out (`reqsk_timer_handler`). True: it is over.
    pub(super) fn handle_request_timer(&mut self, stack: &mut Stack, number: u64) -> bool {
        let retries = self.retries(stack);
        let defer = self.options.defer_accept;
        let Some(mut request) = self.requests.get(&number).cloned() else {
            return true;
        };
        let timeouts = u32::from(request.timeouts);
        // syn_ack_recalc.
        let (expired, resend) = if defer == 0 {
            (timeouts >= retries, true)
        } else {
            (
                timeouts >= retries && (!request.acked || timeouts >= defer),
                !request.acked || timeouts >= defer - 1,
            )
        };
        stack.counters.tcp_ext.count(TcpExtCounter::TCPTimeouts);
        let goes_on =
            !expired && (!resend || self.send_again(stack, &mut request).is_ok() || request.acked);
        if !goes_on {
            return true;
        }
        if request.timeouts == 0 {
            self.young = self.young.saturating_sub(1);
        }
        request.timeouts = request.timeouts.saturating_add(1);
        self.rearm(stack, number, &mut request);
        self.requests.insert(number, request);
        false
    }

    /// Sets a handshake's timer anew.
    pub(super) fn rearm(&mut self, stack: &Stack, number: u64, request: &mut Request) {
        let expires = stack.ticks.at(stack.now) + Self::timeout(stack, request);
        request.expires = expires;
        self.timers
            .set(number, Some(stack.ticks.wheel(stack.now, expires)));
    }

    /// The SYN-ACK once more (`tcp_rtx_synack`).
    pub(super) fn send_again(
        &mut self,
        stack: &mut Stack,
        request: &mut Request,
    ) -> Result<(), Errno> {
        resend_syn_ack(stack, &self.options, request)
    }

    /// What a handshake's answers are sent by.
    pub(super) fn route_key(&self, ends: &Ends) -> RouteKey {
        route_key(&self.options, ends)
    }
}

/// What a handshake's answers are sent by (`inet_csk_route_req`).
fn route_key(options: &SocketOptions, ends: &Ends) -> RouteKey {
    RouteKey {
        destination: ends.peer.address,
        source: Some(ends.local.address),
        device: options.device,
        mark: options.mark,
        tos: options.tos,
    }
}

/// The SYN-ACK once more (`tcp_rtx_synack`): of a listener's handshake, or of a child that fast open made.
pub(super) fn resend_syn_ack(
    stack: &mut Stack,
    socket: &SocketOptions,
    request: &mut Request,
) -> Result<(), Errno> {
    if stack.known_ip_settings().rehash {
        request.flow_hash = stack.draw_flow_hash(version_of(request.ends.peer.address));
    }
    send_syn_ack(stack, socket, request, None)?;
    stack.counters.tcp.count(TcpCounter::RetransSegs);
    stack.counters.tcp_ext.count(TcpExtCounter::TCPSynRetrans);
    request.retransmits = request.retransmits.saturating_add(1);
    Ok(())
}

/// `tcp_v4_send_synack`. `socket`: the listener's options; `fast_open`: what the first one says of cookies.
pub(super) fn send_syn_ack(
    stack: &mut Stack,
    socket: &SocketOptions,
    request: &mut Request,
    fast_open: Option<FastOpenOption>,
) -> Result<(), Errno> {
    let Ends { local, peer } = request.ends;
    let route = match stack.route(&route_key(socket, &request.ends)) {
        Ok(route) => route,
        Err(errno) => {
            stack.count_ip(version_of(peer.address), IpCounter::OutNoRoutes);
            return Err(errno);
        }
    };
    let value = Connection::clock(stack)
        .ms()
        .wrapping_add(request.ts_offset);
    if request.retransmits == 0 && request.timeouts == 0 {
        request.snt_tsval.0 = value;
    }
    request.snt_tsval.1 = value;
    let mss = super::mtu::route_advmss(&route, peer.address.is_ipv6());
    let mss = match socket.max_segment {
        Some(own) => mss.min(u32::from(own)),
        None => mss,
    };
    let mut offered = SynOptions {
        mss: u16::try_from(mss).unwrap_or(u16::MAX),
        sack_permitted: request.sack,
        timestamps: request.timestamps.then_some(TcpTimestamps {
            value,
            echo: request.ts_recent,
        }),
        window_scale: request.snd_wscale.map(|_| request.rcv_wscale),
        fast_open: None,
    };
    let room = OptionBytes::syn(&offered).room();
    offered.fast_open = fast_open.filter(|option| option.write().1 <= room);
    let options = OptionBytes::syn(&offered);
    let mut flags = TcpFlags::SYN | TcpFlags::ACK;
    if request.ecn {
        flags |= TcpFlags::ECE;
    }
    let header = Header {
        from: local,
        to: peer,
        seq: request.snt_isn,
        ack: request.rcv_nxt,
        flags,
        window: u16::try_from(request.rcv_wnd).unwrap_or(u16::MAX),
    };
    let (mut bytes, length) = header.write(&options);
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    header.partial_checksum(bytes, length);
    stack.counters.tcp.count(TcpCounter::OutSegs);
    let dont_fragment = socket.dont_fragment(route.mtu_locked);
    stack.ip_output(&Outgoing {
        source: local.address,
        destination: peer.address,
        protocol: PROTOCOL,
        ttl: socket.ttl,
        tos: socket.tos & !3,
        flow_hash: FlowHash::of(request.flow_hash),
        identification: None,
        dont_fragment,
        may_fragment: !dont_fragment,
        mark: socket.mark,
        priority: socket.priority,
        header: bytes,
        payload: [&[], &[]],
        checksum: ChecksumState::Partial,
        segmentation: None,
        owner: None,
        route: &route,
    })
}
