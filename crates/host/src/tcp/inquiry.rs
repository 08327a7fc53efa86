//! What programs ask of a TCP socket (`tcp_poll`, `tcp_ioctl`, `do_tcp_getsockopt`, `sk_getsockopt`), MSG_PEEK, MSG_MORE.

use transect_config::SocketState;

use super::connection::{Connection, MSS_DEFAULT};
use super::socket_options::{SocketOptions, retransmissions_to_seconds};
use super::table::unspecified;
use super::{Idle, Socket, Tcp};
use crate::error_queue::QueuedError;
use crate::inquiry::{OptionName, OptionValue, QueuedBytes, Readiness, SendFlags};
use crate::socket::{Errno, SocketAddress, SocketId};
use crate::stack::Stack;

impl Tcp {
    /// `tcp_poll`.
    pub(crate) fn readiness(&mut self, stack: &Stack, id: SocketId) -> Option<Readiness> {
        Some(match self.sockets.get_mut(&id)? {
            // A socket that is not connected is in CLOSE.
            Socket::Idle(_) => Readiness {
                writable: true,
                hung_up: true,
                ..Readiness::default()
            },
            Socket::Listener(listener) => Readiness {
                readable: !listener.accept.is_empty(),
                failed: listener.error.is_some(),
                ..Readiness::default()
            },
            Socket::Connection(connection) => connection.readiness(stack),
        })
    }

    /// The next message of the error queue.
    pub(crate) fn take_queued_error(&mut self, id: SocketId) -> Option<QueuedError> {
        match self.sockets.get_mut(&id)? {
            Socket::Connection(connection) => connection.error_queue.take(&mut connection.error),
            _ => None,
        }
    }

    /// `tcp_ioctl`.
    pub(crate) fn queued(&self, id: SocketId) -> Result<QueuedBytes, Errno> {
        let connection = match self.sockets.get(&id) {
            Some(Socket::Connection(connection)) => connection,
            Some(Socket::Listener(_)) => return Err(Errno::Einval),
            Some(Socket::Idle(_)) => return Ok(QueuedBytes::default()),
            None => return Err(Errno::Ebadf),
        };
        if matches!(
            connection.state,
            SocketState::SynSent | SocketState::SynRecv
        ) {
            return Ok(QueuedBytes::default());
        }
        let ahead =
            |to: transect_packet::SequenceNumber, from| to.offset_from(from).max(0).unsigned_abs();
        let (receive, sender) = (&connection.receive, &connection.sender);
        let written = connection.send_buffer.write_seq;
        // Up to the urgent byte, where it is not one of the others (`tcp_inq`).
        let unread = match connection.before_mark() {
            Some(ahead) if !connection.options.urgent_inline => receive.readable().min(ahead),
            _ => receive.readable(),
        };
        Ok(QueuedBytes {
            unread: u32::try_from(unread).unwrap_or(u32::MAX),
            hint: u32::try_from(receive.readable())
                .unwrap_or(u32::MAX)
                .saturating_add(connection.fin_received.into()),
            at_mark: connection.is_at_mark(),
            unacknowledged: ahead(written, sender.snd_una),
            unsent: ahead(written, sender.snd_nxt),
        })
    }

    /// `getsockopt(2)`.
    pub(crate) fn option(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        name: OptionName,
    ) -> Result<OptionValue, Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        let connection = match socket {
            Socket::Connection(connection) => Some(connection),
            _ => None,
        };
        if let Some(connection) = connection
            && let Some(value) = connection.option(stack, name)?
        {
            return Ok(value);
        }
        let (options, listens) = match self.sockets.get(&id) {
            Some(Socket::Idle(idle)) => (&idle.options, false),
            Some(Socket::Listener(listener)) => (&listener.options, true),
            Some(Socket::Connection(connection)) => (&connection.options, false),
            None => return Err(Errno::Ebadf),
        };
        match name {
            OptionName::Listens => Ok(listens.into()),
            OptionName::Mtu => Err(Errno::Enotconn),
            _ => Ok(kept(options, stack, name)),
        }
    }

    /// `recv(2)` with MSG_PEEK.
    pub(crate) fn peek(&mut self, id: SocketId, buffer: &mut [u8]) -> Result<usize, Errno> {
        let connection = self.connection_mut(id)?;
        let copied = connection.peek_to_mark(buffer);
        if copied > 0 || connection.fin_received || buffer.is_empty() {
            return Ok(copied);
        }
        match connection.error.take() {
            Some(error) => Err(error),
            None if connection.shut_read => Ok(0),
            None if connection.state == SocketState::Unconnected => Err(Errno::Enotconn),
            None => Err(Errno::Eagain),
        }
    }

    /// `connect(2)` with AF_UNSPEC (`tcp_disconnect`).
    pub(crate) fn disconnect(&mut self, stack: &mut Stack, id: SocketId) -> Result<(), Errno> {
        match self.sockets.get_mut(&id) {
            None => return Err(Errno::Ebadf),
            Some(Socket::Idle(_)) => return Ok(()),
            Some(Socket::Listener(_)) => {
                self.stop_listening(stack, id);
                return Ok(());
            }
            Some(Socket::Connection(connection)) => connection.disconnect(stack),
        }
        self.settle(stack, id);
        let connection = self.connection_mut(id)?;
        let local = if connection.options.port_locked {
            connection.local
        } else {
            SocketAddress::new(unspecified(connection.version), 0)
        };
        let idle = Idle {
            version: connection.version,
            options: connection.options.clone(),
            local,
        };
        self.sockets.insert(id, Socket::Idle(Box::new(idle)));
        Ok(())
    }

    /// Whether connect(2) has not been told how the handshake ended.
    pub(crate) fn is_connecting(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(&id), Some(Socket::Connection(connection)) if connection.connecting)
    }

    /// connect(2) waits for the first write.
    pub(crate) fn is_deferred(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(&id), Some(Socket::Connection(connection)) if connection.is_deferred())
    }

    /// The handshake goes on.
    pub(crate) fn is_opening(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(&id), Some(Socket::Connection(connection)) if matches!(
            connection.state,
            SocketState::SynSent | SocketState::SynRecv
        ))
    }

    /// `sk_stream_closing`.
    pub(crate) fn is_closing(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(&id), Some(Socket::Connection(connection)) if matches!(
            connection.state,
            SocketState::FinWait1 | SocketState::Closing | SocketState::LastAck
        ))
    }

    /// `write(2)`, and `send(2)` with its flags: how many bytes found room. EAGAIN where none did.
    pub(crate) fn send(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        let connection = match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => connection,
            Some(_) => return Err(Errno::Epipe),
            None => return Err(Errno::Ebadf),
        };
        match connection.state {
            SocketState::Established | SocketState::CloseWait => {}
            SocketState::SynSent if connection.is_deferred() => {
                return self.send_deferred(stack, id, bytes, flags);
            }
            SocketState::SynRecv if connection.is_passive_fast_open() => {}
            SocketState::SynSent | SocketState::SynRecv => {
                // sk_stream_wait_connect.
                connection.write_pending |= flags.waits;
                return Err(Errno::Eagain);
            }
            _ => return Err(connection.error.take().unwrap_or(Errno::Epipe)),
        }
        connection.write_pending = false;
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        if connection.shut_write {
            return Err(Errno::Epipe);
        }
        stack.begin_call();
        let taken = connection.take_bytes(stack, bytes, flags);
        if taken > 0 {
            connection.hold(stack);
        }
        stack.call_sent = None;
        self.settle(stack, id);
        if taken == 0 && !bytes.is_empty() {
            return Err(Errno::Eagain);
        }
        Ok(taken)
    }
}

/// What was set, or what the settings say where nothing was.
fn kept(options: &SocketOptions, stack: &Stack, name: OptionName) -> OptionValue {
    let settings = &stack.settings.tcp;
    let seconds = |time: std::time::Duration| {
        OptionValue::Number(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    };
    match name {
        OptionName::ReceiveBuffer => options.receive_buffer.unwrap_or(settings.rmem[1]).into(),
        OptionName::SendBuffer => options.send_buffer.unwrap_or(settings.wmem[1]).into(),
        OptionName::ReuseAddress => options.reuse_address.into(),
        OptionName::KeepAlive => options.keep_alive.into(),
        OptionName::Linger => OptionValue::Linger(options.linger),
        OptionName::Mark => options.mark.into(),
        OptionName::Priority => options.priority.into(),
        OptionName::Ttl => match options.ttl {
            Some(ttl) => u32::from(ttl).into(),
            None => OptionValue::Number(stack.settings.number("net.ipv4.ip_default_ttl")),
        },
        OptionName::Tos => u32::from(options.tos).into(),
        OptionName::MinTtl => u32::from(options.min_ttl).into(),
        OptionName::MtuDiscover => u32::from(options.mtu_discover).into(),
        OptionName::ReceiveErrors => options.receive_errors.into(),
        OptionName::LocalPortRange => {
            let (low, high) = options.port_range;
            (u32::from(low) | u32::from(high) << 16).into()
        }
        OptionName::BindAddressNoPort => options.bind_address_no_port.into(),
        OptionName::Timestamping => options.timestamping.into(),
        OptionName::ReceiveLowWatermark => options.receive_low_watermark.into(),
        OptionName::UrgentInline => options.urgent_inline.into(),
        OptionName::NoDelay => options.no_delay.into(),
        OptionName::Cork => options.cork.into(),
        OptionName::MaxSegment => options.max_segment.map_or(MSS_DEFAULT, u32::from).into(),
        OptionName::KeepIdle => seconds(options.keepalive_time(settings)),
        OptionName::KeepInterval => seconds(options.keepalive_interval(settings)),
        OptionName::KeepCount => options.keepalive_probes(settings).into(),
        OptionName::SynCount => options.syn_count.unwrap_or(settings.syn_retries).into(),
        OptionName::Linger2 if options.linger2 < 0 => OptionValue::Number(-1),
        OptionName::Linger2 => seconds(options.fin_time(settings)),
        OptionName::DeferAccept => {
            retransmissions_to_seconds(options.defer_accept, settings.rto_max).into()
        }
        OptionName::WindowClamp => options.window_clamp.into(),
        OptionName::Congestion => OptionValue::Text(
            options
                .congestion
                .clone()
                .unwrap_or_else(|| settings.congestion_control.clone()),
        ),
        OptionName::UserTimeout => options.user_timeout.into(),
        OptionName::NotSentLowWatermark => options.notsent_lowat.unwrap_or(0).into(),
        OptionName::FastOpen => options.fast_open_queue().into(),
        OptionName::FastOpenConnect => options.fast_open_connect().into(),
        OptionName::FastOpenNoCookie => options.fast_open_no_cookie().into(),
        OptionName::FastOpenKeys => OptionValue::Keys(options.fast_open_keys(settings).to_vec()),
        OptionName::V6Only => options.v6_only.into(),
        // A new socket is quick (`pingpong` 0); the rest is answered before.
        OptionName::QuickAck => true.into(),
        OptionName::Broadcast | OptionName::Listens | OptionName::Mtu => false.into(),
    }
}

impl Connection {
    /// As much as the program asked for with SO_RCVLOWAT, or as much as can come (`tcp_stream_is_readable`).
    pub(super) fn has_enough_to_read(&self) -> bool {
        let readable = u32::try_from(self.receive.readable()).unwrap_or(u32::MAX);
        let full = self.receive.receive_window() <= self.receive.rcv_mss;
        // An urgent byte that the reader stands at is nothing to read.
        let wanted = self.options.receive_low_watermark + u32::from(self.steps_over_mark());
        readable > 0 && (readable >= wanted || full)
    }

    /// MSG_PEEK, as far as the urgent mark; at the mark, without the byte there.
    fn peek_to_mark(&self, buffer: &mut [u8]) -> usize {
        if self.steps_over_mark() {
            let mut longer = vec![0; buffer.len().saturating_add(1)];
            let copied = self.receive.peek(&mut longer).saturating_sub(1);
            for (place, byte) in buffer.iter_mut().zip(longer.iter().skip(1).take(copied)) {
                *place = *byte;
            }
            return copied;
        }
        let room = buffer.len().min(self.before_mark().unwrap_or(usize::MAX));
        self.receive
            .peek(buffer.get_mut(..room).unwrap_or_default())
    }

    fn readiness(&mut self, stack: &Stack) -> Readiness {
        let ended = self.shut_read || self.fin_received;
        let mut readiness = Readiness {
            readable: ended,
            urgent: self.urgent.is_here(),
            writable: false,
            read_ended: ended,
            hung_up: self.shut_write && ended || self.state == SocketState::Unconnected,
            failed: self.error.is_some() || !self.error_queue.is_empty(),
        };
        let opening = matches!(self.state, SocketState::SynSent | SocketState::SynRecv);
        if opening && !self.is_passive_fast_open() {
            // The first write sends the SYN.
            readiness.writable = self.is_deferred();
            return readiness;
        }
        readiness.readable |= self.has_enough_to_read();
        let watermark = self.watermark(stack);
        readiness.writable =
            self.shut_write || self.send_buffer.is_writable(self.sender.snd_nxt, watermark);
        if !readiness.writable {
            self.no_space = true;
        }
        readiness
    }

    /// The options that a connection answers itself.
    fn option(
        &mut self,
        stack: &mut Stack,
        name: OptionName,
    ) -> Result<Option<OptionValue>, Errno> {
        let closed = self.state == SocketState::Unconnected;
        Ok(Some(match name {
            OptionName::ReceiveBuffer => self.receive.rcvbuf.into(),
            OptionName::SendBuffer => self.send_buffer.sndbuf.into(),
            OptionName::MaxSegment if !closed || self.options.max_segment.is_none() => {
                self.sender.mss_cache.into()
            }
            OptionName::WindowClamp => self.receive.window_clamp.into(),
            OptionName::QuickAck => (!self.acks.in_pingpong()).into(),
            OptionName::Congestion => OptionValue::Text(self.sender.algorithm_name().to_owned()),
            OptionName::Mtu => {
                let route = self.route(stack).map_err(|_| Errno::Enotconn)?;
                route.mtu.into()
            }
            _ => return Ok(None),
        }))
    }
}
