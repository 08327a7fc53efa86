//! `TCP_INFO` of the model host, under the kernel's names.

use transect_config::SocketState;
use transect_host::{SocketMemory, TcpInfo as Info};

use crate::tcp_info::TcpInfo;

/// `TCP_ESTABLISHED` and the others (include/net/tcp_states.h).
fn state(state: Option<SocketState>) -> i64 {
    match state {
        Some(SocketState::Established) => 1,
        Some(SocketState::SynSent) => 2,
        Some(SocketState::SynRecv) => 3,
        Some(SocketState::FinWait1) => 4,
        Some(SocketState::FinWait2) => 5,
        Some(SocketState::TimeWait) => 6,
        Some(SocketState::CloseWait) => 8,
        Some(SocketState::LastAck) => 9,
        Some(SocketState::Listen) => 10,
        Some(SocketState::Closing) => 11,
        Some(SocketState::Unconnected) | None => 7,
    }
}

/// By name.
pub(super) fn named(info: &Info, memory: Option<SocketMemory>) -> TcpInfo {
    let bit = |on: bool, bit: i64| if on { bit } else { 0 };
    let large = |value: u64| i64::try_from(value).unwrap_or(-1);
    let (send_scale, receive_scale) = info.wscale.unwrap_or((0, 0));
    let options = bit(info.timestamps, 1)
        | bit(info.sack, 2)
        | bit(info.wscale.is_some(), 4)
        | bit(info.ecn, 8)
        | bit(info.ecn_seen, 16)
        | bit(info.syn_data, 32)
        | bit(info.fast_open_child, 128);
    let mut named: TcpInfo = [
        ("tcpi_state", state(info.state)),
        ("tcpi_ca_state", info.ca_state.into()),
        ("tcpi_retransmits", info.retransmits.into()),
        ("tcpi_probes", info.probes.into()),
        ("tcpi_backoff", info.backoff.into()),
        ("tcpi_options", options),
        ("tcpi_snd_wscale", send_scale.into()),
        ("tcpi_rcv_wscale", receive_scale.into()),
        (
            "tcpi_fastopen_client_fail",
            info.fastopen_client_fail.into(),
        ),
        ("tcpi_rto", info.rto.into()),
        ("tcpi_ato", info.ato.into()),
        ("tcpi_snd_mss", info.snd_mss.into()),
        ("tcpi_rcv_mss", info.rcv_mss.into()),
        ("tcpi_unacked", info.unacked.into()),
        ("tcpi_sacked", info.sacked.into()),
        ("tcpi_lost", info.lost.into()),
        ("tcpi_retrans", info.retrans.into()),
        ("tcpi_fackets", 0),
        ("tcpi_last_data_sent", info.last_data_sent.into()),
        ("tcpi_last_ack_sent", 0),
        ("tcpi_last_data_recv", info.last_data_recv.into()),
        ("tcpi_last_ack_recv", info.last_ack_recv.into()),
        ("tcpi_pmtu", info.pmtu.into()),
        ("tcpi_rcv_ssthresh", info.rcv_ssthresh.into()),
        ("tcpi_rtt", info.rtt.into()),
        ("tcpi_rttvar", info.rttvar.into()),
        ("tcpi_snd_ssthresh", info.snd_ssthresh.into()),
        ("tcpi_snd_cwnd", info.snd_cwnd.into()),
        ("tcpi_advmss", info.advmss.into()),
        ("tcpi_reordering", info.reordering.into()),
        ("tcpi_rcv_rtt", info.rcv_rtt.into()),
        ("tcpi_rcv_space", info.rcv_space.into()),
        ("tcpi_total_retrans", info.total_retrans.into()),
        ("tcpi_pacing_rate", large(info.pacing_rate)),
        ("tcpi_max_pacing_rate", -1),
        ("tcpi_bytes_acked", large(info.bytes_acked)),
        ("tcpi_bytes_received", large(info.bytes_received)),
        ("tcpi_segs_out", info.segs_out.into()),
        ("tcpi_segs_in", info.segs_in.into()),
        ("tcpi_notsent_bytes", info.notsent_bytes.into()),
        ("tcpi_min_rtt", info.min_rtt.into()),
        ("tcpi_data_segs_in", info.data_segs_in.into()),
        ("tcpi_data_segs_out", info.data_segs_out.into()),
        ("tcpi_delivery_rate", large(info.delivery_rate)),
        ("tcpi_busy_time", large(info.busy_time)),
        ("tcpi_rwnd_limited", large(info.rwnd_limited)),
        ("tcpi_sndbuf_limited", large(info.sndbuf_limited)),
        ("tcpi_delivered", info.delivered.into()),
        ("tcpi_delivered_ce", info.delivered_ce.into()),
        ("tcpi_bytes_sent", large(info.bytes_sent)),
        ("tcpi_bytes_retrans", large(info.bytes_retrans)),
        ("tcpi_dsack_dups", info.dsack_dups.into()),
        ("tcpi_reord_seen", info.reord_seen.into()),
        ("tcpi_rcv_ooopack", info.rcv_ooopack.into()),
        ("tcpi_snd_wnd", info.snd_wnd.into()),
        ("tcpi_rcv_wnd", info.rcv_wnd.into()),
        ("tcpi_total_rto", info.total_rto.into()),
    ]
    .into_iter()
    .collect();
    if let Some(memory) = memory {
        named.extend([
            ("SK_MEMINFO_RMEM_ALLOC", i64::from(memory.rmem_alloc)),
            ("SK_MEMINFO_RCVBUF", memory.rcvbuf.into()),
            ("SK_MEMINFO_WMEM_ALLOC", memory.wmem_alloc.into()),
            ("SK_MEMINFO_SNDBUF", memory.sndbuf.into()),
            ("SK_MEMINFO_FWD_ALLOC", memory.fwd_alloc.into()),
            ("SK_MEMINFO_WMEM_QUEUED", memory.wmem_queued.into()),
            ("SK_MEMINFO_OPTMEM", 0),
            ("SK_MEMINFO_BACKLOG", memory.backlog.into()),
            ("SK_MEMINFO_DROPS", memory.drops.into()),
        ]);
    }
    named
}
