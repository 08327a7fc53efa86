//! `struct tcp_info` (include/uapi/linux/tcp.h) under the names that assertions use.

use std::collections::BTreeMap;

/// The values of a connection, by name.
pub(crate) type TcpInfo = BTreeMap<&'static str, i64>;

/// The fields behind the first eight bytes, in order, with their sizes; each is aligned to its size.
const FIELDS: &[(usize, &[&str])] = &[
    (
        4,
        &[
            "tcpi_rto",
            "tcpi_ato",
            "tcpi_snd_mss",
            "tcpi_rcv_mss",
            "tcpi_unacked",
            "tcpi_sacked",
            "tcpi_lost",
            "tcpi_retrans",
            "tcpi_fackets",
            "tcpi_last_data_sent",
            "tcpi_last_ack_sent",
            "tcpi_last_data_recv",
            "tcpi_last_ack_recv",
            "tcpi_pmtu",
            "tcpi_rcv_ssthresh",
            "tcpi_rtt",
            "tcpi_rttvar",
            "tcpi_snd_ssthresh",
            "tcpi_snd_cwnd",
            "tcpi_advmss",
            "tcpi_reordering",
            "tcpi_rcv_rtt",
            "tcpi_rcv_space",
            "tcpi_total_retrans",
        ],
    ),
    (
        8,
        &[
            "tcpi_pacing_rate",
            "tcpi_max_pacing_rate",
            "tcpi_bytes_acked",
            "tcpi_bytes_received",
        ],
    ),
    (
        4,
        &[
            "tcpi_segs_out",
            "tcpi_segs_in",
            "tcpi_notsent_bytes",
            "tcpi_min_rtt",
            "tcpi_data_segs_in",
            "tcpi_data_segs_out",
        ],
    ),
    (
        8,
        &[
            "tcpi_delivery_rate",
            "tcpi_busy_time",
            "tcpi_rwnd_limited",
            "tcpi_sndbuf_limited",
        ],
    ),
    (4, &["tcpi_delivered", "tcpi_delivered_ce"]),
    (8, &["tcpi_bytes_sent", "tcpi_bytes_retrans"]),
    (
        4,
        &[
            "tcpi_dsack_dups",
            "tcpi_reord_seen",
            "tcpi_rcv_ooopack",
            "tcpi_snd_wnd",
            "tcpi_rcv_wnd",
            "tcpi_rehash",
        ],
    ),
    (2, &["tcpi_total_rto", "tcpi_total_rto_recoveries"]),
    (
        4,
        &[
            "tcpi_total_rto_time",
            "tcpi_received_ce",
            "tcpi_delivered_e1_bytes",
            "tcpi_delivered_e0_bytes",
            "tcpi_delivered_ce_bytes",
            "tcpi_received_e1_bytes",
            "tcpi_received_e0_bytes",
            "tcpi_received_ce_bytes",
        ],
    ),
    (2, &["tcpi_accecn_fail_mode", "tcpi_accecn_opt_seen"]),
];

/// Bytes of the structure, as long as any kernel has made it.
pub(crate) const LENGTH: usize = 280;

/// The first bytes' names; the last two have bits of their own.
const BYTES: [&str; 6] = [
    "tcpi_state",
    "tcpi_ca_state",
    "tcpi_retransmits",
    "tcpi_probes",
    "tcpi_backoff",
    "tcpi_options",
];

/// Reads the structure as getsockopt(2) gives it; an older kernel's is shorter, and has fewer names.
pub(crate) fn read(bytes: &[u8]) -> TcpInfo {
    let mut info = TcpInfo::new();
    let value = |offset: usize, size: usize| -> Option<i64> {
        let bytes = bytes.get(offset..offset.checked_add(size)?)?;
        let mut wide = [0; 8];
        let padding = if cfg!(target_endian = "little") {
            0
        } else {
            8 - size
        };
        wide.get_mut(padding..padding.checked_add(size)?)?
            .copy_from_slice(bytes);
        // What does not fit means "no limit".
        Some(i64::try_from(u64::from_ne_bytes(wide)).unwrap_or(-1))
    };
    for (offset, name) in BYTES.into_iter().enumerate() {
        info.extend(value(offset, 1).map(|value| (name, value)));
    }
    let bits = [
        ("tcpi_snd_wscale", 6, 0, 0xf),
        ("tcpi_rcv_wscale", 6, 4, 0xf),
        ("tcpi_delivery_rate_app_limited", 7, 0, 1),
        ("tcpi_fastopen_client_fail", 7, 1, 3),
    ];
    for (name, offset, shift, mask) in bits {
        info.extend(value(offset, 1).map(|value| (name, value >> shift & mask)));
    }
    let mut offset = 8_usize;
    for (size, names) in FIELDS {
        for name in *names {
            offset = offset.next_multiple_of(*size);
            info.extend(value(offset, *size).map(|value| (*name, value)));
            offset = offset.saturating_add(*size);
        }
    }
    info
}

/// `SO_MEMINFO` (include/uapi/linux/sock_diag.h), in order.
const MEMORY: [&str; 9] = [
    "SK_MEMINFO_RMEM_ALLOC",
    "SK_MEMINFO_RCVBUF",
    "SK_MEMINFO_WMEM_ALLOC",
    "SK_MEMINFO_SNDBUF",
    "SK_MEMINFO_FWD_ALLOC",
    "SK_MEMINFO_WMEM_QUEUED",
    "SK_MEMINFO_OPTMEM",
    "SK_MEMINFO_BACKLOG",
    "SK_MEMINFO_DROPS",
];

/// Bytes of what `SO_MEMINFO` gives.
pub(crate) const MEMORY_LENGTH: usize = 4 * MEMORY.len();

/// Adds a socket's memory, as getsockopt(2) gives it.
pub(crate) fn add_memory(info: &mut TcpInfo, bytes: &[u8]) {
    for (name, value) in MEMORY.into_iter().zip(bytes.chunks_exact(4)) {
        let value = value.try_into().map_or(0, u32::from_ne_bytes);
        info.insert(name, i64::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_kernel_puts_them() {
        let mut bytes = vec![0_u8; LENGTH];
        bytes[0] = 1;
        bytes[6] = 0x87;
        bytes[7] = 0b101;
        bytes[68..72].copy_from_slice(&20_000_u32.to_ne_bytes());
        bytes[80..84].copy_from_slice(&10_u32.to_ne_bytes());
        bytes[120..128].copy_from_slice(&5_u64.to_ne_bytes());
        bytes[104..112].copy_from_slice(&u64::MAX.to_ne_bytes());
        bytes[196..200].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[240..242].copy_from_slice(&6_u16.to_ne_bytes());
        bytes[278..280].copy_from_slice(&2_u16.to_ne_bytes());
        let info = read(&bytes);
        let expected = [
            ("tcpi_state", 1),
            ("tcpi_snd_wscale", 7),
            ("tcpi_rcv_wscale", 8),
            ("tcpi_delivery_rate_app_limited", 1),
            ("tcpi_fastopen_client_fail", 2),
            ("tcpi_rtt", 20_000),
            ("tcpi_snd_cwnd", 10),
            ("tcpi_bytes_acked", 5),
            ("tcpi_pacing_rate", -1),
            ("tcpi_delivered_ce", 3),
            ("tcpi_total_rto", 6),
            ("tcpi_accecn_opt_seen", 2),
        ];
        for (name, value) in expected {
            assert_eq!(info.get(name), Some(&value), "{name}");
        }
        assert_eq!(
            info.values().filter(|value| **value != 0).count(),
            expected.len()
        );
        assert_eq!(read(&bytes[..104]).get("tcpi_pacing_rate"), None);
    }
}
