//! What `ss` and `getsockopt(TCP_INFO)` show of a socket (`tcp_get_info`, net/ipv4/inet_diag.c).

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use transect_config::{IpVersion, SocketState, SocketTimer, TimerKind};
use transect_path::Timestamp;

use super::connection::Connection;
use super::listener::Listener;
use super::recovery::CaState;
use super::sender::Pending;
use super::time_wait::Remainder;
use super::{Socket, Tcp};
use crate::socket::{SocketAddress, SocketId};
use crate::stack::Stack;

/// `struct tcp_info`, under its own names; times in microseconds where the kernel has them so, ages in milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names are those of include/uapi/linux/tcp.h"
)]
pub struct TcpInfo {
    pub state: Option<SocketState>,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: bool,
    pub ecn_seen: bool,
    pub wscale: Option<(u8, u8)>,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub total_rto: u16,
}

impl Tcp {
    /// `tcp_get_info`; nothing where there is no such socket.
    pub(crate) fn info(&self, stack: &Stack, id: SocketId) -> Option<TcpInfo> {
        match self.sockets.get(&id)? {
            Socket::Connection(connection) => Some(connection.info(stack)),
            Socket::Listener(listener) => Some(TcpInfo {
                state: Some(SocketState::Listen),
                unacked: u32::try_from(listener.accept.len()).unwrap_or(u32::MAX),
                sacked: listener.backlog,
                ..TcpInfo::default()
            }),
            Socket::Idle(_) => Some(TcpInfo {
                state: Some(SocketState::Unconnected),
                ..TcpInfo::default()
            }),
        }
    }

    /// One line for each socket, as `ss -H -O -n -e -m -i -o -t -a` prints them: sockets by age, their handshakes behind the listener,
    /// remainders last. Sockets that are neither bound nor connected are not listed.
    pub(crate) fn render(&self, stack: &Stack) -> Vec<String> {
        let mut ids: Vec<_> = self.sockets.keys().copied().collect();
        ids.sort_unstable();
        let mut lines = Vec::new();
        for id in ids {
            match self.sockets.get(&id) {
                Some(Socket::Listener(listener)) => {
                    lines.push(listener.line(stack));
                    lines.extend(listener.request_lines(stack));
                }
                Some(Socket::Connection(connection))
                    if connection.state != SocketState::Unconnected =>
                {
                    lines.push(connection.line(stack));
                }
                _ => {}
            }
        }
        lines.extend(
            self.remainders
                .values()
                .map(|remainder| remainder.line(stack)),
        );
        lines
    }

    /// How many sockets there are in any state, and how many remainders.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.sockets.len(), self.remainders.len())
    }

    /// The line of `/proc/net/sockstat` for TCP: `inuse`, `orphan`, `tw`.
    pub(crate) fn in_use(&self) -> (usize, usize, usize) {
        let inuse = self
            .sockets
            .values()
            .filter(|socket| match socket {
                Socket::Idle(idle) => idle.local.port != 0,
                Socket::Listener(_) => true,
                Socket::Connection(connection) => connection.state != SocketState::Unconnected,
            })
            .count();
        (inuse, self.orphans, self.remainders.len())
    }
}

/// Milliseconds until a moment.
fn until(stack: &Stack, moment: Timestamp) -> u64 {
    moment.0.saturating_sub(stack.now.0) / 1_000_000
}

impl Connection {
    fn info(&self, stack: &Stack) -> TcpInfo {
        let clock = Self::clock(stack);
        let us = |jiffies: u64| u32::try_from(clock.us_of_jiffies(jiffies)).unwrap_or(u32::MAX);
        let age = |jiffies: u64| us(clock.jiffies().saturating_sub(jiffies)) / 1000;
        let (sender, receive) = (&self.sender, &self.receive);
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let [busy, window, buffer] = self.limited.totals(stack.now);
        let rtt = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
        TcpInfo {
            state: Some(self.state),
            ca_state: match sender.recovery.state {
                CaState::Open => 0,
                CaState::Disorder => 1,
                CaState::Cwr => 2,
                CaState::Recovery => 3,
                CaState::Loss => 4,
            },
            retransmits: sender.retransmits,
            probes: sender.probes_out,
            backoff: sender.backoff,
            timestamps: self.timestamps.ok,
            sack: sender.sack,
            ecn: self.ecn.ok,
            ecn_seen: self.ecn.seen,
            wscale: self
                .wscale_ok
                .then_some((self.snd_wscale, receive.rcv_wscale)),
            rto: us(sender.rtt.rto),
            ato: us(self.acks.ato),
            snd_mss: sender.mss_cache,
            rcv_mss: receive.rcv_mss,
            unacked: sender.queue.packets_out,
            sacked: sender.queue.sacked_out,
            lost: sender.queue.lost_out,
            retrans: sender.queue.retrans_out,
            last_data_sent: age(sender.lsndtime),
            last_data_recv: age(self.acks.received_at),
            last_ack_recv: age(sender.rcv_stamp),
            pmtu: self.path_mtu.cookie,
            rcv_ssthresh: receive.rcv_ssthresh,
            rtt: sender.rtt.srtt_us >> 3,
            rttvar: sender.rtt.mdev_us >> 2,
            snd_ssthresh: sender.congestion.snd_ssthresh,
            snd_cwnd: sender.congestion.snd_cwnd,
            advmss: self.advmss,
            reordering: sender.reordering(),
            rcv_rtt: rtt(receive.rcv_rtt_us()),
            rcv_space: receive.rcv_space(),
            total_retrans: sender.total_retrans,
            pacing_rate: sender.pacing_rate,
            bytes_acked: sender.bytes_acked,
            bytes_received: receive.bytes_received,
            segs_out: self.segs_out,
            segs_in: self.segs_in,
            notsent_bytes: self.send_buffer.not_sent(sender.snd_nxt),
            min_rtt: sender.rtt.min_us(),
            data_segs_in: self.data_segs_in,
            data_segs_out: sender.data_segs_out,
            delivery_rate: sender.delivery.bytes_per_second(sender.mss_cache),
            busy_time: micros(busy),
            rwnd_limited: micros(window),
            sndbuf_limited: micros(buffer),
            delivered: sender.delivered,
            delivered_ce: sender.delivered_ce,
            bytes_sent: sender.bytes_sent,
            bytes_retrans: sender.bytes_retrans,
            dsack_dups: sender.dsack_dups,
            reord_seen: 0,
            rcv_ooopack: receive.rcv_ooopack,
            snd_wnd: sender.snd_wnd,
            rcv_wnd: receive.receive_window(),
            total_rto: sender.total_rto,
        }
    }

    /// The timer that `ss` shows (`inet_diag_msg_attrs_fill`, `inet_sk_diag_fill`).
    fn shown_timer(&self, stack: &Stack) -> Option<SocketTimer> {
        let (kind, at, retransmits) = match self.sender.timer.pending {
            Some(Pending::ZeroWindowProbe) => (
                TimerKind::Persist,
                self.sender.timer.timer.expires(),
                self.sender.probes_out,
            ),
            Some(_) => (
                TimerKind::On,
                self.sender.timer.timer.expires(),
                self.sender.retransmits,
            ),
            None => (
                TimerKind::Keepalive,
                self.keepalive.expires(),
                self.sender.probes_out,
            ),
        };
        Some(SocketTimer {
            kind,
            remaining_ms: until(stack, stack.ticks.moment(at?)),
            retransmits: u32::from(retransmits),
        })
    }

    fn line(&self, stack: &Stack) -> String {
        let receive = self.receive.rcv_nxt.offset_from(self.receive.copied_seq);
        let unsent = self.send_buffer.write_seq.offset_from(self.sender.snd_una);
        let mut line = head(
            stack,
            self.state,
            (receive.max(0).unsigned_abs(), unsent.max(0).unsigned_abs()),
            ((self.version, false), self.local, Some(self.peer)),
            self.options.device.map(|device| device.index()),
        );
        timer(&mut line, self.shown_timer(stack).as_ref());
        let inode = if self.orphan || !self.accepted {
            0
        } else {
            self.inode
        };
        let _ = write!(line, " ino:{inode} sk:{:x}", self.id.0);
        if self.options.mark != 0 {
            let _ = write!(line, " fwmark:{:#x}", self.options.mark);
        }
        let _ = write!(
            line,
            " {}-{}",
            if self.shut_read { '-' } else { '<' },
            if self.shut_write { '-' } else { '>' }
        );
        let _ = write!(
            line,
            " skmem:(r{},rb{},t{},tb{},f{},w{},o0,bl0,d{})",
            self.receive.rmem_alloc,
            self.receive.rcvbuf,
            self.below,
            self.send_buffer.sndbuf,
            self.forward_alloc(),
            self.queued_memory(),
            self.drops
        );
        let congestion = self.sender.algorithm_name();
        self.info(stack).print(&mut line, congestion);
        line
    }
}

impl Listener {
    fn line(&self, stack: &Stack) -> String {
        let mut line = head(
            stack,
            SocketState::Listen,
            (
                u32::try_from(self.accept.len()).unwrap_or(u32::MAX),
                self.backlog,
            ),
            ((self.version, self.options.v6_only), self.local, None),
            self.options.device.map(|device| device.index()),
        );
        let _ = write!(line, " ino:{} sk:{:x}", self.id.0, self.id.0);
        if self.options.mark != 0 {
            let _ = write!(line, " fwmark:{:#x}", self.options.mark);
        }
        if self.version == IpVersion::V6 {
            let _ = write!(line, " v6only:{}", u8::from(self.options.v6_only));
        }
        let settings = &stack.settings.tcp;
        let _ = write!(
            line,
            " <-> skmem:(r0,rb{},t0,tb{},f0,w0,o0,bl0,d{}) {} cwnd:10",
            self.options.receive_buffer.unwrap_or(settings.rmem[1]),
            self.options.send_buffer.unwrap_or(settings.wmem[1]),
            self.drops,
            self.options
                .congestion
                .as_deref()
                .unwrap_or(&settings.congestion_control),
        );
        numbers(&mut line, [("unacked", self.accept.len() as u64)]);
        line
    }

    fn request_lines(&self, stack: &Stack) -> Vec<String> {
        self.requests
            .iter()
            .map(|(number, request)| {
                let mut line = head(
                    stack,
                    SocketState::SynRecv,
                    (0, 0),
                    (
                        (self.version, false),
                        request.ends.local,
                        Some(request.ends.peer),
                    ),
                    self.options.device.map(|device| device.index()),
                );
                let remaining_ms = until(stack, stack.ticks.moment(request.expires));
                let shown = SocketTimer {
                    kind: TimerKind::On,
                    remaining_ms,
                    retransmits: u32::from(request.retransmits),
                };
                timer(&mut line, Some(&shown));
                let _ = write!(line, " ino:0 sk:{number:x}");
                line
            })
            .collect()
    }
}

impl Remainder {
    fn line(&self, stack: &Stack) -> String {
        let mut line = head(
            stack,
            self.state,
            (0, 0),
            ((self.version, false), self.ends.local, Some(self.ends.peer)),
            self.answer.device.map(|device| device.index()),
        );
        let shown = SocketTimer {
            kind: TimerKind::TimeWait,
            remaining_ms: until(stack, stack.ticks.moment(self.expires)),
            retransmits: 0,
        };
        timer(&mut line, Some(&shown));
        line.push_str(" ino:0 sk:0");
        line
    }
}

/// The columns in front of the details.
fn head(
    stack: &Stack,
    state: SocketState,
    (receive, send): (u32, u32),
    (family, local, peer): ((IpVersion, bool), SocketAddress, Option<SocketAddress>),
    interface: Option<u32>,
) -> String {
    let interface = interface
        .and_then(|index| stack.link.devices.get(index.checked_sub(1)? as usize))
        .map(|device| format!("%{}", device.name))
        .unwrap_or_default();
    let peer = match peer {
        Some(peer) => endpoint(family, peer, ""),
        None => endpoint(
            family,
            SocketAddress::new(super::table::unspecified(family.0), 0),
            "",
        ),
    };
    format!(
        "tcp {} {receive} {send} {} {peer}",
        state.id(),
        endpoint(family, local, &interface),
    )
}

/// `address:port` as ss writes it: `*` for any of both families, brackets around IPv6.
fn endpoint((version, v6_only): (IpVersion, bool), at: SocketAddress, interface: &str) -> String {
    let host = match (version, at.address) {
        (IpVersion::V6, address) if address.is_unspecified() && !v6_only => "*".to_owned(),
        (IpVersion::V6, IpAddr::V4(address)) => format!("[{}]", address.to_ipv6_mapped()),
        (_, IpAddr::V6(address)) => format!("[{address}]"),
        (_, IpAddr::V4(address)) => address.to_string(),
    };
    if at.port == 0 {
        format!("{host}{interface}:*")
    } else {
        format!("{host}{interface}:{}", at.port)
    }
}

fn timer(line: &mut String, timer: Option<&SocketTimer>) {
    if let Some(timer) = timer {
        let _ = write!(
            line,
            " timer:({},{},{})",
            timer.kind.id(),
            duration(timer.remaining_ms),
            timer.retransmits
        );
    }
}

/// A length of time as iproute2's `print_ms_timer` writes it.
fn duration(milliseconds: u64) -> String {
    let mut seconds = milliseconds / 1000;
    let minutes = seconds / 60;
    seconds %= 60;
    let mut rest = milliseconds % 1000;
    let mut out = String::new();
    if minutes > 0 {
        rest = 0;
        let _ = write!(out, "{minutes}min");
        if minutes > 9 {
            seconds = 0;
        }
    }
    if seconds > 0 {
        if seconds > 9 {
            rest = 0;
        }
        let _ = write!(out, "{seconds}{}", if rest > 0 { "." } else { "sec" });
    }
    if rest > 0 {
        let _ = write!(out, "{rest:03}ms");
    }
    out
}

/// ` name:number` for all that are not zero.
fn numbers<const N: usize>(line: &mut String, fields: [(&str, u64); N]) {
    for (name, value) in fields {
        if value != 0 {
            let _ = write!(line, " {name}:{value}");
        }
    }
}

/// Microseconds as milliseconds, without zeros at the end.
fn thousandths(microseconds: u32) -> String {
    let (whole, rest) = (microseconds / 1000, microseconds % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

impl TcpInfo {
    /// As `ss -i` prints it, in its order; what is zero is left out.
    fn print(&self, line: &mut String, congestion: &str) {
        for (set, name) in [
            (self.timestamps, "ts"),
            (self.sack, "sack"),
            (self.ecn, "ecn"),
            (self.ecn_seen, "ecnseen"),
        ] {
            if set {
                let _ = write!(line, " {name}");
            }
        }
        let _ = write!(line, " {congestion}");
        if let Some((sent, received)) = self.wscale {
            let _ = write!(line, " wscale:{sent},{received}");
        }
        let _ = write!(line, " rto:{}", thousandths(self.rto));
        numbers(line, [("backoff", u64::from(self.backoff))]);
        if self.rtt != 0 {
            let _ = write!(
                line,
                " rtt:{}/{}",
                thousandths(self.rtt),
                thousandths(self.rttvar)
            );
        }
        if self.ato != 0 {
            let _ = write!(line, " ato:{}", thousandths(self.ato));
        }
        numbers(
            line,
            [
                ("mss", u64::from(self.snd_mss)),
                ("pmtu", u64::from(self.pmtu)),
                ("rcvmss", u64::from(self.rcv_mss)),
                ("advmss", u64::from(self.advmss)),
                ("cwnd", u64::from(self.snd_cwnd)),
            ],
        );
        if self.snd_ssthresh < 0xffff {
            numbers(line, [("ssthresh", u64::from(self.snd_ssthresh))]);
        }
        numbers(
            line,
            [
                ("bytes_sent", self.bytes_sent),
                ("bytes_retrans", self.bytes_retrans),
                ("bytes_acked", self.bytes_acked),
                ("bytes_received", self.bytes_received),
                ("segs_out", u64::from(self.segs_out)),
                ("segs_in", u64::from(self.segs_in)),
                ("data_segs_out", u64::from(self.data_segs_out)),
                ("data_segs_in", u64::from(self.data_segs_in)),
                ("lastsnd", u64::from(self.last_data_sent)),
                ("lastrcv", u64::from(self.last_data_recv)),
                ("lastack", u64::from(self.last_ack_recv)),
            ],
        );
        self.print_rates(line);
        self.print_flight(line);
    }

    fn print_rates(&self, line: &mut String) {
        let rate = |rate: u64| rate.saturating_mul(8);
        if !matches!(self.pacing_rate, 0 | u64::MAX) {
            let _ = write!(line, " pacing_rate {}bps", rate(self.pacing_rate));
        }
        if self.delivery_rate != 0 {
            let _ = write!(line, " delivery_rate {}bps", rate(self.delivery_rate));
        }
        numbers(
            line,
            [
                ("delivered", u64::from(self.delivered)),
                ("delivered_ce", u64::from(self.delivered_ce)),
            ],
        );
        if self.busy_time == 0 {
            return;
        }
        let _ = write!(line, " busy:{}ms", self.busy_time / 1000);
        for (name, limited) in [
            ("rwnd_limited", self.rwnd_limited),
            ("sndbuf_limited", self.sndbuf_limited),
        ] {
            if limited != 0 {
                let share = 100.0 * limited as f64 / self.busy_time as f64;
                let _ = write!(line, " {name}:{}ms({share:.1}%)", limited / 1000);
            }
        }
    }

    fn print_flight(&self, line: &mut String) {
        numbers(line, [("unacked", u64::from(self.unacked))]);
        if self.retrans != 0 || self.total_retrans != 0 {
            let _ = write!(line, " retrans:{}/{}", self.retrans, self.total_retrans);
        }
        numbers(
            line,
            [
                ("lost", u64::from(self.lost)),
                ("sacked", u64::from(self.sacked)),
                ("dsack_dups", u64::from(self.dsack_dups)),
            ],
        );
        if self.reordering != 3 {
            numbers(line, [("reordering", u64::from(self.reordering))]);
        }
        if self.rcv_rtt != 0 {
            let _ = write!(line, " rcv_rtt:{}", thousandths(self.rcv_rtt));
        }
        numbers(
            line,
            [
                ("rcv_space", u64::from(self.rcv_space)),
                ("rcv_ssthresh", u64::from(self.rcv_ssthresh)),
                ("notsent", u64::from(self.notsent_bytes)),
            ],
        );
        if !matches!(self.min_rtt, 0 | u32::MAX) {
            let _ = write!(line, " minrtt:{}", thousandths(self.min_rtt));
        }
        numbers(
            line,
            [
                ("rcv_ooopack", u64::from(self.rcv_ooopack)),
                ("snd_wnd", u64::from(self.snd_wnd)),
                ("rcv_wnd", u64::from(self.rcv_wnd)),
            ],
        );
    }
}
