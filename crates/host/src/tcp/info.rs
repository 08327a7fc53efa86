//! What `ss` and `getsockopt(TCP_INFO)` show of a socket (`tcp_get_info`, net/ipv4/inet_diag.c).

mod line;

use std::time::Duration;

use transect_config::SocketState;

use super::connection::Connection;
use super::recovery::CaState;
use super::{Socket, Tcp};
use crate::socket::SocketId;
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
    /// TCPI_OPT_SYN_DATA: the SYN's data was taken.
    pub syn_data: bool,
    /// TCPI_OPT_TFO_CHILD.
    pub fast_open_child: bool,
    pub fastopen_client_fail: u8,
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

/// `SO_MEMINFO` and `skmem` of `ss` (`sk_get_meminfo`), in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// What is received and not read costs.
    pub rmem_alloc: u32,
    /// The receive buffer.
    pub rcvbuf: u32,
    /// What the layers below hold.
    pub wmem_alloc: u32,
    /// The send buffer.
    pub sndbuf: u32,
    /// Reserved and not used.
    pub fwd_alloc: u32,
    /// What is written and not acknowledged costs.
    pub wmem_queued: u32,
    /// What came while a call held the socket.
    pub backlog: u32,
    /// Packets that were dropped.
    pub drops: u32,
}

impl Tcp {
    /// `sk_get_meminfo`; nothing where there is no such connection.
    pub(crate) fn memory(&self, id: SocketId) -> Option<SocketMemory> {
        match self.sockets.get(&id)? {
            Socket::Connection(connection) => Some(connection.memory()),
            Socket::Listener(_) | Socket::Idle(_) => None,
        }
    }

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

impl Connection {
    fn memory(&self) -> SocketMemory {
        SocketMemory {
            rmem_alloc: self.receive.rmem_alloc,
            rcvbuf: self.receive.rcvbuf,
            wmem_alloc: u32::try_from(self.below).unwrap_or(u32::MAX),
            sndbuf: self.send_buffer.sndbuf,
            fwd_alloc: self.forward_alloc(),
            wmem_queued: self.queued_memory(),
            backlog: self.backlog_cost(),
            drops: self.drops,
        }
    }

    fn info(&self, stack: &Stack) -> TcpInfo {
        let clock = Self::clock(stack);
        let us = |jiffies: u64| u32::try_from(clock.us_of_jiffies(jiffies)).unwrap_or(u32::MAX);
        let age = |jiffies: u64| us(clock.jiffies().saturating_sub(jiffies)) / 1000;
        let (sender, receive) = (&self.sender, &self.receive);
        let fast = self.fast_open.as_deref();
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let [busy, window, buffer] = self.limited.totals(stack.tick());
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
            syn_data: fast.is_some_and(|fast| fast.syn_data_acked),
            fast_open_child: fast.is_some_and(|fast| fast.child),
            fastopen_client_fail: fast.map_or(0, |fast| fast.client_fail as u8),
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
            reord_seen: sender.recovery.reord_seen,
            rcv_ooopack: receive.rcv_ooopack,
            snd_wnd: sender.snd_wnd,
            rcv_wnd: receive.receive_window(),
            total_rto: sender.total_rto,
        }
    }
}
