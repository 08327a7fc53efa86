//! The lines of `ss` (iproute2's misc/ss.c) for listeners, handshakes, connections and remainders.

use std::fmt::Write;
use std::net::IpAddr;

use transect_config::{IpVersion, SocketState, SocketTimer, TimerKind, timer_text};
use transect_path::Timestamp;

use super::super::connection::Connection;
use super::super::listener::Listener;
use super::super::sender::Pending;
use super::super::table::unspecified;
use super::super::time_wait::Remainder;
use super::super::{Socket, Tcp};
use super::TcpInfo;
use crate::socket::SocketAddress;
use crate::stack::Stack;

impl Tcp {
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
}

/// Milliseconds until a moment.
fn until(stack: &Stack, moment: Timestamp) -> u64 {
    moment.0.saturating_sub(stack.now.0) / 1_000_000
}

impl Connection {
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
        let memory = self.memory();
        let _ = write!(
            line,
            " skmem:(r{},rb{},t{},tb{},f{},w{},o0,bl{},d{})",
            memory.rmem_alloc,
            memory.rcvbuf,
            memory.wmem_alloc,
            memory.sndbuf,
            memory.fwd_alloc,
            memory.wmem_queued,
            memory.backlog,
            memory.drops
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
        None => endpoint(family, SocketAddress::new(unspecified(family.0), 0), ""),
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
            timer_text(timer.remaining_ms),
            timer.retransmits
        );
    }
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
            (self.syn_data, "fastopen"),
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
