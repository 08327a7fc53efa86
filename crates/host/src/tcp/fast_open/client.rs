//! The side that connects: data in the SYN where a cookie is known (`tcp_send_syn_data`), what the SYN-ACK says of it
//! (`tcp_rcv_fastopen_synack`), and the cookies (`tcp_fastopen_cache_get`, `tcp_fastopen_cache_set`).

use transect_config::SocketState;
use transect_packet::TcpFlags;

use super::super::clock::Context;
use super::super::connection::Connection;
use super::super::incoming::Incoming;
use super::super::options::MAX_OPTION_SPACE;
use super::super::segment::Segment;
use super::super::{Socket, Tcp};
use super::{CLIENT, CLIENT_NO_COOKIE, ClientFail, FastOpenOption};
use crate::counters::TcpExtCounter;
use crate::host::Host;
use crate::inquiry::SendFlags;
use crate::socket::{Errno, SocketAddress, SocketId};
use crate::stack::Stack;
use transect_path::Timestamp;

/// How an attempt to connect went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tcp) enum Begun {
    /// The SYN waits for the first write.
    Deferred,
    /// It is on its way, with so many bytes of the program's.
    UnderWay(usize),
}

impl Tcp {
    /// `sendto(2)` with MSG_FASTOPEN (`tcp_sendmsg_fastopen`); nothing of the handshake is waited for.
    pub(crate) fn send_fast_open(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
        to: Option<SocketAddress>,
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        if stack.settings.tcp.fastopen & CLIENT == 0 {
            return Err(Errno::Eopnotsupp);
        }
        match self.sockets.get_mut(&id) {
            None => return Err(Errno::Ebadf),
            Some(Socket::Listener(_)) => return Err(Errno::Eisconn),
            Some(Socket::Idle(_)) => {}
            Some(Socket::Connection(connection)) => {
                let fast = connection.fast_open.as_deref();
                if fast.is_some_and(|fast| fast.deferred) {
                    return self.send_deferred(stack, id, bytes, flags);
                }
                if fast.is_some_and(|fast| fast.asked) {
                    return Err(Errno::Ealready);
                }
                self.connect_again(id)?;
                return self.send(stack, id, bytes, flags);
            }
        }
        let to = to.ok_or(Errno::Einval)?;
        match self.begin_connection(stack, id, to, Some((bytes, flags)))? {
            Begun::UnderWay(taken) if taken > 0 => Ok(taken),
            _ => Err(Errno::Einprogress),
        }
    }

    /// The first write of a connection whose SYN waited for it.
    pub(in crate::tcp) fn send_deferred(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        let connection = self.connection_mut(id)?;
        if stack.settings.tcp.fastopen & CLIENT == 0 {
            return Err(Errno::Eopnotsupp);
        }
        connection.fast_mut().deferred = false;
        if connection.route(stack).is_err() {
            // The way is gone meanwhile: so is the attempt, and the socket is as before (`__inet_stream_connect`).
            connection.disconnect(stack);
            connection.error = None;
            self.settle(stack, id);
            return self.connect_again(id).map(|()| 0);
        }
        let taken = connection.send_syn(stack, Some((bytes, flags)));
        connection.hold(stack);
        self.settle(stack, id);
        if taken > 0 {
            Ok(taken)
        } else {
            Err(Errno::Einprogress)
        }
    }
}

impl Connection {
    /// Whether data may go with the SYN, and what the option says (`tcp_fastopen_cookie_check`).
    fn check_cookie(&mut self, stack: &mut Stack) -> (bool, Option<FastOpenOption>) {
        let cache = stack.fast_open_cache((self.local.address, self.peer.address));
        match stack.fast_open_rests() {
            Some(true) => return (false, None),
            Some(false) => self.fast_mut().checks = true,
            None => {}
        }
        if stack.settings.tcp.fastopen & CLIENT_NO_COOKIE != 0 || self.options.fast_open_no_cookie()
        {
            return (true, None);
        }
        let offer = FastOpenOption {
            cookie: cache.cookie,
            experimental: match cache.cookie {
                Some(_) => cache.experimental,
                None => cache.try_experimental == 1,
            },
        };
        if offer.cookie.is_none() {
            self.fast_mut().client_fail = ClientFail::CookieUnavailable;
        }
        (offer.cookie.is_some(), Some(offer))
    }

    /// connect(2) with TCP_FASTOPEN_CONNECT: whether the SYN waits for data (`tcp_fastopen_defer_connect`). Else it asks for a
    /// cookie.
    pub(in crate::tcp) fn defers_connect(&mut self, stack: &mut Stack) -> bool {
        if !self.options.fast_open_connect() {
            return false;
        }
        let (may, offer) = self.check_cookie(stack);
        let fast = self.fast_mut();
        fast.deferred = may;
        if !may {
            fast.offer = offer;
            fast.asked = true;
        }
        may
    }

    /// What a SYN with fast open takes the peer's segment size to be until it is told (`tcp_send_syn_data`).
    pub(in crate::tcp) fn expect_segments(&mut self, stack: &Stack) {
        let cache = stack.fast_open_cache((self.local.address, self.peer.address));
        self.mss_clamp = match cache.mss {
            0 => self.advmss,
            known => u32::from(known),
        };
    }

    /// The SYN with as much of the data as goes with it (`tcp_send_syn_data`): how much. `syn` was not sent.
    pub(in crate::tcp) fn send_syn_data(
        &mut self,
        stack: &mut Stack,
        mut syn: Segment,
        bytes: &[u8],
    ) -> (Segment, usize, Option<Segment>) {
        self.expect_segments(stack);
        let (may, offer) = self.check_cookie(stack);
        let mut data = None;
        let mut taken = 0;
        self.fast_mut().offer = offer;
        if may {
            let own = self.options.max_segment.map_or(u32::MAX, u32::from);
            self.mss_clamp = self.mss_clamp.min(own);
            let cookie = self.path_mtu.cookie;
            self.sync_mss(&stack.settings.tcp, cookie);
            let space = self
                .base_mss(&stack.settings.tcp, cookie)
                .saturating_sub(MAX_OPTION_SPACE as u32);
            let bytes = bytes.get(..space as usize).unwrap_or(bytes);
            taken = bytes.len();
            // The SYN stands in the queue by itself, so that it can be sent again alone.
            self.send_buffer.charge(syn.truesize);
            let mut payload = self.send_buffer.take_whole(bytes);
            let mut both = payload.clone();
            both.seq = syn.seq;
            both.flags = syn.flags;
            self.sender.stamp(&Context::of(stack), &mut both);
            if taken > 0 {
                self.limited
                    .start(stack.tick(), super::super::limited::Limit::Busy);
            }
            syn.sent_us = both.sent_us;
            payload.sent_us = both.sent_us;
            payload.flags = TcpFlags::ACK | TcpFlags::PSH;
            if self.transmit(stack, &both).is_ok() {
                self.fast_mut().syn_data = taken > 0;
                self.fast_mut().offer = None;
                self.count(stack, TcpExtCounter::TCPOrigDataSent);
                return (syn, taken, Some(payload));
            }
            data = Some(payload);
            if let Some(offer) = &mut self.fast_mut().offer {
                offer.cookie = None;
            }
        }
        self.sender.stamp(&Context::of(stack), &mut syn);
        if self.transmit(stack, &syn).is_err() {
            self.fast_mut().syn_option = false;
        }
        self.fast_mut().offer = None;
        if let Some(payload) = data {
            self.send_buffer.put_back(payload);
        }
        (syn, taken, None)
    }

    /// The SYN-ACK of a connection whose SYN had the option, or data (`tcp_rcv_fastopen_synack`). True: what was not acknowledged
    /// is sent again, which is answer enough.
    pub(in crate::tcp) fn receive_fast_syn_ack(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> bool {
        let Some(fast) = self.fast_open.as_deref() else {
            return false;
        };
        let (option, data, experimental) = (fast.syn_option, fast.syn_data, fast.syn_experimental);
        if !option && !data {
            return false;
        }
        let again = self.sender.total_retrans > 0;
        let unacknowledged = data && self.sender.queue.head().is_some();
        let mut answer = segment.fast_open;
        let mut lost = false;
        let mut try_experimental = 0;
        if !option {
            // One that was not asked for.
            answer = None;
        } else if again {
            lost = answer.is_none() && unacknowledged;
        } else if answer.is_none() && !data {
            try_experimental = if experimental { 2 } else { 1 };
        }
        let mss = segment.options.mss.filter(|mss| *mss > 0);
        let mss = match self.options.max_segment {
            Some(own) if u32::from(own) == self.mss_clamp => mss.unwrap_or(0),
            _ => u16::try_from(self.mss_clamp).unwrap_or(u16::MAX),
        };
        let ends = (self.local.address, self.peer.address);
        stack.store_fast_open(ends, mss, answer, lost, try_experimental);
        if unacknowledged {
            self.fast_mut().client_fail = if again {
                ClientFail::SynRetransmitted
            } else {
                ClientFail::DataNotAcked
            };
            self.sender.lose_everything(&mut Context::of(stack));
            self.retransmit_lost(stack);
            self.count(stack, TcpExtCounter::TCPFastOpenActiveFail);
            return true;
        }
        self.fast_mut().syn_data_acked = data;
        if data {
            self.count(stack, TcpExtCounter::TCPFastOpenActive);
            // It stood in the queue as two.
            if self.sender.delivered > 1 {
                self.sender.delivered -= 1;
            }
        }
        self.take_syn_data(stack, segment, payload);
        false
    }

    /// The option that this SYN carries, which is noted as sent (`tcp_syn_options`).
    pub(in crate::tcp) fn fast_open_offer(&mut self, room: usize) -> Option<FastOpenOption> {
        let fast = self.fast_open.as_deref_mut()?;
        let offer = fast.offer.filter(|offer| offer.write().1 <= room)?;
        fast.syn_option = true;
        fast.syn_experimental = offer.experimental;
        Some(offer)
    }

    /// The SYN with its data is in flight (`tcp_simple_retransmit` asks).
    pub(in crate::tcp) fn has_syn_data_in_flight(&self) -> bool {
        self.state == SocketState::SynSent
            && self.fast_open.as_deref().is_some_and(|fast| fast.syn_data)
    }

    /// connect(2) waits for the first write.
    pub(in crate::tcp) fn is_deferred(&self) -> bool {
        self.fast_open.as_deref().is_some_and(|fast| fast.deferred)
    }
}

impl Host {
    /// `sendto(2)` with MSG_FASTOPEN on a TCP socket, without waiting: how many bytes went with the SYN, or, on a connection that is
    /// there, found room.
    ///
    /// # Errors
    /// EINPROGRESS where the SYN is on its way without data; EOPNOTSUPP where `net.ipv4.tcp_fastopen` does not let clients; EINVAL
    /// without a destination; EALREADY, EISCONN; what connect(2) says.
    pub fn send_fast_open(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        bytes: &[u8],
        to: Option<SocketAddress>,
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        self.begin(now);
        let result = self
            .tcp
            .send_fast_open(&mut self.stack, socket, bytes, to, flags);
        self.run();
        result
    }

    /// Forgets what former connections found out about their destinations, cookies too (`ip tcp_metrics flush`).
    pub fn forget_tcp_metrics(&mut self) {
        self.stack.tcp_metrics.forget();
    }
}
