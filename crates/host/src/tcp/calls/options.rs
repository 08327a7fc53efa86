//! setsockopt(2) (`sk_setsockopt`, `do_ip_setsockopt`, `do_tcp_setsockopt`).

use std::time::Duration;

use transect_config::SocketState;

use super::super::clock::Context;
use super::super::connection::Connection;
use super::super::fast_open::CLIENT;
use super::super::socket_options::{SocketOptions, seconds_to_retransmissions};
use super::super::transmit::Nagle;
use super::super::{Socket, Tcp, stamping};
use crate::device::DeviceId;
use crate::socket::{Errno, SocketId, SocketOption};
use crate::stack::Stack;

/// `SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`.
const LEAST_RECEIVE_BUFFER: u32 = 2304;
const LEAST_SEND_BUFFER: u32 = 4608;

impl Tcp {
    /// `setsockopt(2)`.
    pub(crate) fn set_option(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        option: &SocketOption,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        let (options, port, state) = match socket {
            Socket::Idle(idle) => (&mut idle.options, idle.local.port, SocketState::Unconnected),
            Socket::Listener(listener) => {
                let port = listener.local.port;
                listener.inherited = None;
                (&mut listener.options, port, SocketState::Listen)
            }
            Socket::Connection(connection) => {
                let (port, state) = (connection.local.port, connection.state);
                (&mut connection.options, port, state)
            }
        };
        change_fast_open(options, state, stack, option)?;
        let timestamping = options.timestamping;
        if let SocketOption::Timestamping(flags) = option {
            stamping::check(*flags, timestamping, state)?;
        }
        change(options, stack, option)?;
        let (reuse, device) = (options.reuse_address, options.device);
        if port != 0 {
            self.table.update_holder(port, id, |holder| {
                holder.reuse = reuse;
                holder.device = device;
            });
        }
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&id) {
            connection.option_changed(stack, option);
            if let SocketOption::Timestamping(_) = option {
                connection.begin_stamping(timestamping);
            }
            self.settle(stack, id);
        }
        Ok(())
    }
}

/// Sets an option of fast open, which only some states let.
fn change_fast_open(
    options: &mut SocketOptions,
    state: SocketState,
    stack: &mut Stack,
    option: &SocketOption,
) -> Result<(), Errno> {
    let closed = state == SocketState::Unconnected;
    let opens = closed || state == SocketState::Listen;
    match option {
        SocketOption::FastOpen(_) | SocketOption::FastOpenNoCookie(_) if !opens => {
            return Err(Errno::Einval);
        }
        SocketOption::FastOpen(most) => {
            stack.need_fast_open_key();
            options.fast_open_mut().queue = (*most).min(stack.settings.tcp.somaxconn);
        }
        SocketOption::FastOpenNoCookie(on) => options.fast_open_mut().no_cookie = *on,
        SocketOption::FastOpenConnect(_) if stack.settings.tcp.fastopen & CLIENT == 0 => {
            return Err(Errno::Eopnotsupp);
        }
        SocketOption::FastOpenConnect(_) if !closed => return Err(Errno::Einval),
        SocketOption::FastOpenConnect(on) => options.fast_open_mut().connect = *on,
        SocketOption::FastOpenKeys(keys) => options.fast_open_mut().keys.clone_from(keys),
        _ => {}
    }
    Ok(())
}

/// Sets one option (`sk_setsockopt`, `do_ip_setsockopt`, `do_tcp_setsockopt`).
fn change(options: &mut SocketOptions, stack: &Stack, option: &SocketOption) -> Result<(), Errno> {
    let settings = &stack.settings.tcp;
    match option {
        SocketOption::ReceiveBuffer(bytes) => {
            let bytes = (*bytes).min(settings.rmem_max).saturating_mul(2);
            options.receive_buffer = Some(bytes.max(LEAST_RECEIVE_BUFFER));
        }
        SocketOption::SendBuffer(bytes) => {
            let bytes = (*bytes).min(settings.wmem_max).saturating_mul(2);
            options.send_buffer = Some(bytes.max(LEAST_SEND_BUFFER));
        }
        SocketOption::ReuseAddress(on) => options.reuse_address = *on,
        SocketOption::KeepAlive(on) => options.keep_alive = *on,
        SocketOption::Linger(time) => options.linger = *time,
        SocketOption::BindToDevice(name) => {
            options.device = if name.is_empty() {
                None
            } else {
                Some(device_named(stack, name)?)
            };
        }
        SocketOption::Mark(mark) => options.mark = *mark,
        SocketOption::Priority(priority) => options.priority = *priority,
        SocketOption::Filter(accepts) => options.filter = Some(*accepts),
        SocketOption::Ttl(ttl) if *ttl > 0 => options.ttl = Some(*ttl),
        SocketOption::Tos(tos) => {
            // The ECN bits are the protocol's own.
            options.tos = tos & !3;
            options.priority = priority_of_tos(*tos);
        }
        SocketOption::MinTtl(ttl) => options.min_ttl = *ttl,
        SocketOption::MtuDiscover(mode) if *mode <= 5 => options.mtu_discover = *mode,
        SocketOption::ReceiveErrors(on) => options.receive_errors = *on,
        SocketOption::LocalPortRange(low, high) if *low == 0 || *high == 0 || low <= high => {
            options.port_range = (*low, *high);
        }
        SocketOption::BindAddressNoPort(on) => options.bind_address_no_port = *on,
        SocketOption::Timestamping(flags) => options.timestamping = *flags,
        SocketOption::ReceiveLowWatermark(bytes) => {
            // More than fits is as much as fits (`tcp_set_rcvlowat`).
            let most = options.receive_buffer.unwrap_or(settings.rmem[2]) / 2;
            options.receive_low_watermark = (*bytes).min(most).max(1);
        }
        SocketOption::UrgentInline(on) => options.urgent_inline = *on,
        SocketOption::NoDelay(on) => options.no_delay = *on,
        SocketOption::Cork(on) => options.cork = *on,
        SocketOption::MaxSegment(0) => options.max_segment = None,
        SocketOption::MaxSegment(mss) if (88..=32_767).contains(mss) => {
            options.max_segment = Some(*mss);
        }
        SocketOption::KeepIdle(seconds @ 1..=32_767) => {
            options.keep_idle = Some(Duration::from_secs(u64::from(*seconds)));
        }
        SocketOption::KeepInterval(seconds @ 1..=32_767) => {
            options.keep_interval = Some(Duration::from_secs(u64::from(*seconds)));
        }
        SocketOption::KeepCount(count @ 1..=127) => options.keep_count = Some(*count),
        SocketOption::SynCount(count @ 1..=127) => options.syn_count = Some(*count),
        SocketOption::Linger2(seconds) => {
            // More than two minutes (TCP_FIN_TIMEOUT_MAX) are two minutes.
            options.linger2 = if *seconds < 0 {
                -1
            } else {
                (*seconds).min(120)
            };
        }
        SocketOption::DeferAccept(seconds) => {
            options.defer_accept = seconds_to_retransmissions(*seconds, settings.rto_max);
        }
        SocketOption::WindowClamp(0) => options.window_clamp = 0,
        SocketOption::WindowClamp(bytes) => {
            options.window_clamp = (*bytes).max(LEAST_RECEIVE_BUFFER / 2);
        }
        SocketOption::QuickAck(_) => {}
        SocketOption::Congestion(name) => options.congestion = Some(name.clone()),
        SocketOption::UserTimeout(milliseconds) => options.user_timeout = *milliseconds,
        SocketOption::NotSentLowWatermark(bytes) => options.notsent_lowat = Some(*bytes),
        SocketOption::V6Only(on) => options.v6_only = *on,
        SocketOption::Broadcast(_)
        | SocketOption::FastOpen(_)
        | SocketOption::FastOpenConnect(_)
        | SocketOption::FastOpenNoCookie(_)
        | SocketOption::FastOpenKeys(_) => {}
        _ => return Err(Errno::Einval),
    }
    Ok(())
}

/// `rt_tos2priority` (`ip_tos2prio`).
fn priority_of_tos(tos: u8) -> u32 {
    // TC_PRIO_*: 0 best effort, 2 bulk, 6 interactive, 4 interactive bulk.
    match tos >> 3 & 3 {
        1 => 2,
        2 => 6,
        3 => 4,
        _ => 0,
    }
}

fn device_named(stack: &Stack, name: &str) -> Result<DeviceId, Errno> {
    stack
        .link
        .devices
        .iter()
        .position(|device| device.name == name)
        .and_then(|index| u32::try_from(index).ok())
        .map(DeviceId)
        .ok_or(Errno::Enodev)
}

impl Connection {
    /// What an option means for a connection that is there already.
    fn option_changed(&mut self, stack: &mut Stack, option: &SocketOption) {
        match option {
            SocketOption::NoDelay(true) | SocketOption::Cork(false) => {
                let mss = self.current_mss(stack);
                if self.send_buffer.head().is_some() {
                    let nagle = if *option == SocketOption::NoDelay(true) {
                        Nagle::Off
                    } else {
                        self.nagle()
                    };
                    self.push_pending(stack, mss, nagle);
                }
            }
            SocketOption::QuickAck(on) => self.set_quick_ack(stack, *on),
            SocketOption::KeepAlive(on) => self.switch_keepalive(stack, *on),
            SocketOption::KeepIdle(_) if self.options.keep_alive => {
                self.keepalive.cancel();
                self.switch_keepalive(stack, true);
            }
            SocketOption::ReceiveBuffer(_) => {
                self.receive.locked = true;
                self.receive.rcvbuf = self.options.receive_buffer.unwrap_or(self.receive.rcvbuf);
            }
            SocketOption::SendBuffer(_) => {
                self.send_buffer.locked = true;
                self.send_buffer.sndbuf =
                    self.options.send_buffer.unwrap_or(self.send_buffer.sndbuf);
                self.check_space(stack);
            }
            SocketOption::WindowClamp(bytes) if *bytes > 0 => {
                self.receive.window_clamp = self.options.window_clamp;
                self.receive.rcv_ssthresh =
                    self.receive.rcv_ssthresh.min(self.options.window_clamp);
            }
            SocketOption::Mark(_) | SocketOption::Tos(_) | SocketOption::BindToDevice(_) => {
                self.route = None;
            }
            SocketOption::Congestion(name) => {
                self.sender.set_algorithm(&mut Context::of(stack), name);
            }
            _ => {}
        }
    }
}
