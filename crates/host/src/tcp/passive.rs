//! Passive open: SYNs for a listener (`tcp_conn_request`), what comes for a handshake (`tcp_check_req`), SYN cookies
//! (`cookie_v4_check`), and the connection that comes of it (`tcp_v4_syn_recv_sock`, `tcp_create_openreq_child`).

use transect_config::SocketState;
use transect_packet::{SequenceNumber, TcpFlags, TcpOptions};

use super::clock::Context;
use super::connection::{Connection, MSS_DEFAULT, Timestamps, oow_rate_limited, receive_buffer};
use super::incoming::Incoming;
use super::listener::{Listener, Request, send_syn_ack};
use super::mtu::{TIMESTAMPS, route_advmss};
use super::reset::{Answer, send_ack_for_request};
use super::table::{Ends, Entry, Holder};
use super::{Socket, Tcp};
use crate::counters::{IpCounter, TcpCounter, TcpExtCounter};
use crate::drop_reason::DropReason;
use crate::ip::{Route, version_of};
use crate::socket::SocketId;
use crate::stack::Stack;

/// Bits of a timestamp that a cookie uses (`TSBITS`): window scale, SACK, ECN.
const TS_BITS: u32 = 6;
const TS_MASK: u32 = (1 << TS_BITS) - 1;
const TS_WSCALE: u32 = 0x0f;
const TS_SACK: u32 = 0x10;
const TS_ECN: u32 = 0x20;

/// What `tcp_check_req` makes of a segment for a handshake.
pub(super) enum Checked {
    /// It is done with: dropped for a reason, or nothing to be said.
    Dropped(DropReason),
    /// The listener itself is to look at it.
    Listener,
    /// A connection came of it, which is to process it.
    Child(SocketId),
}

impl Tcp {
    /// A SYN for a listener. `isn` is given where it takes the place of a TIME_WAIT.
    pub(super) fn connection_request(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        (segment, payload): (&Incoming, &[u8]),
        isn: Option<u32>,
    ) {
        let secrets = self.secrets(stack);
        let number = self.next_number();
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return;
        };
        if segment.received.group {
            return listener.count_drop(stack);
        }
        let syncookies = stack.settings.tcp.syncookies;
        let mut want_cookie = false;
        if isn.is_none() && (syncookies == 2 || listener.is_syn_full()) {
            want_cookie = syncookies != 0;
            stack.counters.tcp_ext.count(if want_cookie {
                TcpExtCounter::TCPReqQFullDoCookies
            } else {
                TcpExtCounter::TCPReqQFullDrop
            });
            if !want_cookie {
                return listener.count_drop(stack);
            }
        }
        if listener.is_accept_full() {
            stack.counters.tcp_ext.count(TcpExtCounter::ListenOverflows);
            return listener.count_drop(stack);
        }
        let ends = Ends {
            local: segment.local,
            peer: segment.peer,
        };
        let Ok(route) = stack.route(&listener.route_key(&ends)) else {
            stack.count_ip(version_of(ends.peer.address), IpCounter::OutNoRoutes);
            return listener.count_drop(stack);
        };
        let mut options = segment.options;
        if want_cookie && options.timestamps.is_none() {
            // Without timestamps a cookie can tell the segment size only.
            options = TcpOptions::default();
            options.mss = segment.options.mss;
        }
        let mut request = listener.request(stack, ends, segment, &options);
        request.ts_offset = secrets.timestamp_offset(ends.local.address, ends.peer.address);
        if !want_cookie && isn.is_none() && syncookies == 0 {
            // Without cookies the last quarter is for those who proved to be alive (tcp_peer_is_proven).
            let most = stack.settings.tcp.max_syn_backlog;
            let left = i64::from(most) - listener.requests.len() as i64;
            let proven = stack.is_proven(ends.local.address, ends.peer.address);
            if left < i64::from(most >> 2) && !proven {
                return listener.count_drop(stack);
            }
        }
        // tcp_ecn_create_request: offered, and the SYN's own packet does not claim to be marked, unless it knows of more than ECN
        // as RFC 3168 has it.
        let plain = segment.received.tos & 3 == 0 || segment.reserved != 0;
        request.ecn = segment.offers_ecn() && plain && stack.settings.tcp.ecn != 0;
        let mut sequence =
            isn.unwrap_or_else(|| secrets.sequence(ends.local, ends.peer, stack.now));
        if want_cookie {
            listener.overflowed = Some(stack.now);
            stack.counters.tcp_ext.count(TcpExtCounter::SyncookiesSent);
            let offered = u16::try_from(request.mss).unwrap_or(u16::MAX);
            let (cookie, mss) =
                secrets.cookie(ends.local, ends.peer, segment.seq.0, offered, stack.now);
            request.mss = u32::from(mss);
            sequence = cookie;
            request.ecn &= request.timestamps;
        }
        request.snt_isn = SequenceNumber(sequence);
        listener.choose_window(stack, &mut request, &route);
        if want_cookie {
            if request.timestamps {
                request.ts_offset = cookie_offset(stack, &request);
            }
            let _ = send_syn_ack(stack, &listener.options, &mut request, None);
            return;
        }
        let tried = self.try_fast_open(stack, id, &request, segment, payload);
        if let Some(child) = tried.child {
            return self.answer_fast_open(stack, child, tried.answer);
        }
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return;
        };
        let _ = send_syn_ack(stack, &listener.options, &mut request, tried.answer);
        listener.keep(stack, number, request);
        self.table.insert(ends, Entry::Request(id, number));
    }

    /// A segment for a handshake (`tcp_check_req`).
    pub(super) fn check_request(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        number: u64,
        segment: &Incoming,
    ) -> Checked {
        let none = Checked::Dropped(DropReason::NotSpecified);
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return none;
        };
        let Some(mut request) = listener.requests.get(&number).cloned() else {
            return none;
        };
        let (paws, tsecr) = request.check_timestamps(stack, segment);
        let flags = segment.flags;
        let kind = flags.0 & (TcpFlags::RST | TcpFlags::SYN | TcpFlags::ACK);
        if segment.seq == request.rcv_isn && kind == TcpFlags::SYN && !paws {
            // The SYN again: so is the answer.
            if !limited(stack, segment, &mut request) {
                let sent = listener.send_again(stack, &mut request).is_ok();
                if sent {
                    listener.rearm(stack, number, &mut request);
                }
            }
            listener.requests.insert(number, request);
            return none;
        }
        if flags.ack() && segment.ack != request.snt_isn + 1 {
            return Checked::Listener;
        }
        if paws || tsecr || !request.in_window(segment) {
            if !flags.rst() && !limited(stack, segment, &mut request) {
                send_ack_for_request(stack, listener, &request, segment);
            }
            listener.requests.insert(number, request);
            let ext = &mut stack.counters.tcp_ext;
            return Checked::Dropped(if paws {
                ext.count(TcpExtCounter::PAWSEstab);
                DropReason::TcpRfc7323Paws
            } else if tsecr {
                ext.count(TcpExtCounter::TSEcrRejected);
                DropReason::TcpRfc7323Tsecr
            } else {
                DropReason::TcpOverwindow
            });
        }
        // A SYN in front of the window's first byte is cut off.
        let syn = flags.syn() && segment.seq != request.rcv_isn;
        if flags.rst() || syn {
            stack.counters.tcp.count(TcpCounter::AttemptFails);
            self.reset_embryo(stack, id, number, segment);
            return none;
        }
        if !flags.ack() {
            return none;
        }
        if u32::from(request.timeouts) < listener.options.defer_accept
            && segment.end_seq == request.rcv_isn + 1
        {
            request.acked = true;
            listener.requests.insert(number, request);
            stack
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPDeferAcceptDrop);
            return none;
        }
        match self.open_child(stack, id, &request, segment, false) {
            Some(child) => {
                if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) {
                    listener.forget(number);
                }
                Checked::Child(child)
            }
            None if stack.settings.tcp.abort_on_overflow => {
                self.reset_embryo(stack, id, number, segment);
                Checked::Dropped(DropReason::TcpListenOverflow)
            }
            None => {
                if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id)
                    && let Some(request) = listener.requests.get_mut(&number)
                {
                    request.acked = true;
                }
                Checked::Dropped(DropReason::TcpListenOverflow)
            }
        }
    }

    /// The handshake ends before it was complete (`embryonic_reset`).
    fn reset_embryo(&mut self, stack: &mut Stack, id: SocketId, number: u64, segment: &Incoming) {
        if !segment.flags.rst() {
            self.send_reset(stack, segment, &Answer::default());
        }
        if let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id)
            && let Some(request) = listener.forget(number)
        {
            self.table.remove(&request.ends, Entry::Request(id, number));
            stack.counters.tcp_ext.count(TcpExtCounter::EmbryonicRsts);
        }
    }

    /// Makes the connection (`tcp_v4_syn_recv_sock`) and puts it into the accept queue; nothing where that is full.
    /// `fast`: by the SYN alone.
    pub(super) fn open_child(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        request: &Request,
        segment: &Incoming,
        fast: bool,
    ) -> Option<SocketId> {
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return None;
        };
        if listener.is_accept_full() {
            stack.counters.tcp_ext.count(TcpExtCounter::ListenOverflows);
            listener.count_drop(stack);
            return None;
        }
        let Ok(route) = stack.route(&listener.route_key(&request.ends)) else {
            listener.count_drop(stack);
            return None;
        };
        let child = stack.new_socket();
        let options = listener.inherited_options();
        let ends = (request.ends.local, request.ends.peer);
        let mut connection = Connection::new(
            stack,
            child,
            listener.version,
            options,
            ends,
            request.snt_isn,
        );
        connection.take_over(stack, request, segment, route);
        if !fast {
            let again = request.retransmits > 0;
            connection
                .sender
                .synack_rtt(&Context::of(stack), request.sent_us, again);
        }
        connection.parent = Some(id);
        connection.accepted = false;
        connection.receive.owned = false;
        listener.accept.push_back(child);
        let holder = Holder {
            owner: Entry::Connection(child),
            address: request.ends.local.address,
            v6_only: listener.options.v6_only,
            device: listener.options.device,
            reuse: listener.options.reuse_address,
            listens: false,
            bound: true,
        };
        self.table.hold(request.ends.local.port, holder);
        self.table.insert(request.ends, Entry::Connection(child));
        self.sockets
            .insert(child, Socket::Connection(Box::new(connection)));
        stack.counters.tcp.count(TcpCounter::PassiveOpens);
        Some(child)
    }

    /// An ACK for a listener that may bring a cookie back (`tcp_v4_cookie_check`, `cookie_v4_check`): the connection; an error where it is
    /// to be dropped; nothing where the listener itself is to look at it.
    pub(super) fn check_cookie(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        segment: &Incoming,
    ) -> Result<Option<SocketId>, DropReason> {
        if stack.settings.tcp.syncookies == 0 || !segment.flags.ack() || segment.flags.rst() {
            return Ok(None);
        }
        let secrets = self.secrets(stack);
        let Some(Socket::Listener(listener)) = self.sockets.get_mut(&id) else {
            return Ok(None);
        };
        if !listener.overflowed_recently(stack.now) {
            return Ok(None);
        }
        let ends = Ends {
            local: segment.local,
            peer: segment.peer,
        };
        let told = secrets.check_cookie(
            ends.local,
            ends.peer,
            (segment.seq - 1).0,
            (segment.ack - 1).0,
            stack.now,
        );
        let ext = &mut stack.counters.tcp_ext;
        let Some(mss) = told else {
            ext.count(TcpExtCounter::SyncookiesFailed);
            return Ok(None);
        };
        ext.count(TcpExtCounter::SyncookiesRecv);
        let offset = secrets.timestamp_offset(ends.local.address, ends.peer.address);
        let echo = segment
            .options
            .timestamps
            .filter(|timestamps| timestamps.echo != 0)
            .map(|timestamps| timestamps.echo.wrapping_sub(offset));
        let Ok(route) = stack.route(&listener.route_key(&ends)) else {
            return Err(DropReason::IpOutnoroutes);
        };
        let mut request = listener.request(stack, ends, segment, &TcpOptions::default());
        request.rcv_isn = segment.seq - 1;
        request.rcv_nxt = segment.seq;
        request.snt_isn = segment.ack - 1;
        request.mss = u32::from(mss);
        request.ts_offset = offset;
        if !request.decode(stack, segment, echo) {
            return Ok(None);
        }
        listener.choose_window(stack, &mut request, &route);
        match self.open_child(stack, id, &request, segment, false) {
            Some(child) => Ok(Some(child)),
            None => Err(DropReason::NoSocket),
        }
    }
}

/// Whether the rate limit of answers holds this one back (`tcp_oow_rate_limited`).
pub(super) fn limited(stack: &mut Stack, segment: &Incoming, request: &mut Request) -> bool {
    if segment.has_sequence() && !segment.flags.syn() {
        return false;
    }
    oow_rate_limited(
        stack,
        &mut request.last_oow_ack,
        TcpExtCounter::TCPACKSkippedSynRecv,
    )
}

/// The timestamp of a cookie's SYN-ACK tells the options in its last bits (`cookie_init_timestamp`): as an offset of the clock, which
/// is never ahead of the true one.
fn cookie_offset(stack: &Stack, request: &Request) -> u32 {
    let now = Connection::clock(stack).ms();
    let mut bits = request
        .snd_wscale
        .map_or(TS_WSCALE, |scale| u32::from(scale) & TS_WSCALE);
    if request.sack {
        bits |= TS_SACK;
    }
    if request.ecn {
        bits |= TS_ECN;
    }
    let mut value = now & !TS_MASK | bits;
    if value > now {
        value = value.wrapping_sub(1 << TS_BITS);
    }
    request.ts_offset.wrapping_add(value).wrapping_sub(now)
}

impl Listener {
    /// A handshake as the SYN asks for it (`tcp_openreq_init`).
    fn request(
        &self,
        stack: &mut Stack,
        ends: Ends,
        segment: &Incoming,
        options: &TcpOptions,
    ) -> Request {
        let settings = &stack.settings.tcp;
        let mss = options
            .mss
            .filter(|mss| *mss > 0)
            .map_or(MSS_DEFAULT, u32::from);
        let timestamps = options.timestamps.filter(|_| settings.timestamps != 0);
        Request {
            ends,
            snt_isn: SequenceNumber(0),
            rcv_isn: segment.seq,
            rcv_nxt: segment.seq + 1,
            mss: self
                .options
                .max_segment
                .map_or(mss, |own| mss.min(u32::from(own))),
            sack: options.sack_permitted && settings.sack,
            timestamps: timestamps.is_some(),
            ts_recent: timestamps.map_or(0, |timestamps| timestamps.value),
            ts_offset: 0,
            snt_tsval: (0, 0),
            snd_wscale: options.window_scale.filter(|_| settings.window_scaling),
            rcv_wscale: 0,
            rcv_wnd: 0,
            window_clamp: 0,
            ecn: false,
            timeouts: 0,
            retransmits: 0,
            acked: false,
            last_oow_ack: 0,
            flow_hash: stack.draw_flow_hash(version_of(ends.peer.address)),
            sent_us: Connection::clock(stack).us(),
            expires: 0,
        }
    }

    /// The window of the SYN-ACK (`tcp_openreq_init_rwin`).
    fn choose_window(&self, stack: &mut Stack, request: &mut Request, route: &Route) {
        let advmss = route_advmss(route, request.ends.peer.address.is_ipv6());
        let advmss = self
            .options
            .max_segment
            .map_or(advmss, |own| advmss.min(u32::from(own)));
        let mss = advmss.saturating_sub(if request.timestamps { TIMESTAMPS } else { 0 });
        let mut receive = receive_buffer(&self.options, &stack.settings.tcp);
        receive.first_window = route.metrics.initrwnd;
        let scales = request.snd_wscale.is_some();
        receive.select_initial_window(&Context::of(stack), mss, scales);
        request.rcv_wnd = receive.rcv_wnd;
        request.rcv_wscale = receive.rcv_wscale;
        request.window_clamp = receive.window_clamp;
    }
}

impl Request {
    /// Old timestamps (PAWS), and echoes of what we never sent.
    pub(super) fn check_timestamps(&self, stack: &Stack, segment: &Incoming) -> (bool, bool) {
        let Some(timestamps) = segment.options.timestamps else {
            return (false, false);
        };
        let recent = Timestamps {
            ok: self.timestamps,
            hoped: false,
            offset: self.ts_offset,
            recent: self.ts_recent,
            recent_stamp: Connection::seconds(stack),
        };
        let paws = recent.rejects(
            timestamps.value,
            segment.flags.rst(),
            Connection::seconds(stack),
        );
        let (first, last) = self.snt_tsval;
        let tsecr = self.timestamps
            && timestamps.echo != 0
            && timestamps.echo.wrapping_sub(first) > last.wrapping_sub(first);
        (paws, tsecr)
    }

    /// `tcp_in_window`.
    fn in_window(&self, segment: &Incoming) -> bool {
        in_window(
            segment,
            self.rcv_isn + 1,
            // tcp_synack_window.
            self.rcv_wnd.min(65_535),
        )
    }

    /// What a cookie's timestamp says of the options (`cookie_timestamp_decode`). False: it cannot be one of ours.
    fn decode(&mut self, stack: &Stack, segment: &Incoming, echo: Option<u32>) -> bool {
        let settings = &stack.settings.tcp;
        let (Some(timestamps), Some(echo)) = (segment.options.timestamps, echo) else {
            return true;
        };
        if settings.timestamps == 0 {
            return false;
        }
        self.timestamps = true;
        self.ts_recent = timestamps.value;
        self.sack = echo & TS_SACK != 0;
        if self.sack && !settings.sack {
            return false;
        }
        self.ecn = echo & TS_ECN != 0 && settings.ecn != 0;
        let scale = echo & TS_WSCALE;
        if scale != TS_WSCALE {
            self.snd_wscale = u8::try_from(scale).ok();
            return settings.window_scaling;
        }
        true
    }
}

/// Whether a segment touches a window (`tcp_in_window`).
pub(super) fn in_window(segment: &Incoming, from: SequenceNumber, window: u32) -> bool {
    let end = from + window;
    if segment.seq == from {
        return true;
    }
    if from.is_before(segment.end_seq) && segment.seq.is_before(end) {
        return true;
    }
    segment.seq == end && segment.seq == segment.end_seq
}

impl Connection {
    /// A new connection takes over what the handshake agreed on (`tcp_create_openreq_child`, `tcp_v4_syn_recv_sock`).
    fn take_over(
        &mut self,
        stack: &mut Stack,
        request: &Request,
        segment: &Incoming,
        route: Route,
    ) {
        self.route = Some(route);
        self.state = SocketState::SynRecv;
        self.irs = request.rcv_isn;
        self.flow_hash = request.flow_hash;
        self.receive.begin(request.rcv_isn);
        self.receive.rcv_wnd = request.rcv_wnd;
        self.receive.rcv_ssthresh = request.rcv_wnd;
        self.receive.window_clamp = request.window_clamp;
        self.receive.rcv_wscale = request.rcv_wscale;
        self.receive.sack = request.sack;
        self.sender.sack = request.sack;
        self.wscale_ok = request.snd_wscale.is_some();
        self.snd_wscale = request.snd_wscale.unwrap_or(0);
        if !self.wscale_ok {
            self.receive.rcv_wscale = 0;
            self.receive.window_clamp = self.receive.window_clamp.min(65_535);
        }
        let start = request.snt_isn + 1;
        self.sender.snd_una = start;
        self.sender.snd_nxt = start;
        self.sender.snd_wl1 = segment.seq;
        self.sender.snd_wnd = u32::from(segment.window) << self.snd_wscale;
        self.sender.max_window = self.sender.snd_wnd;
        self.snd_sml = start;
        self.timestamps.ok = request.timestamps;
        self.timestamps.offset = request.ts_offset;
        if request.timestamps {
            let value = segment
                .options
                .timestamps
                .filter(|_| !(request.rcv_isn + 1).is_before(segment.seq))
                .map_or(request.ts_recent, |timestamps| timestamps.value);
            self.timestamps.store(value, Self::seconds(stack));
        }
        self.ecn.ok = request.ecn;
        self.mss_clamp = request.mss;
        // MTU probing begins behind it, with `tcp_init_transfer`.
        self.sync_mss(&stack.settings.tcp, route.mtu);
        self.advmss = self.advertised_mss(&route);
        // Its SYN.
        self.segs_in = 1;
        self.sender.total_retrans = u32::from(request.retransmits);
        self.sender.total_rto = u16::from(request.timeouts);
        if request.timeouts > 0 {
            self.sender.recovery.undo_marker = Some(request.snt_isn);
        }
        self.sender.recovery.echo = self.echo(segment);
        if self.options.keep_alive {
            self.start_keepalive(stack);
        }
    }
}
