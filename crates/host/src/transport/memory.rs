//! What packets cost in socket buffers (`skb->truesize`).

use transect_config::IpVersion;

/// `SKB_DATA_ALIGN(sizeof(struct sk_buff))`, in bytes.
const SKB: u64 = 256;
/// `SKB_DATA_ALIGN(sizeof(struct skb_shared_info))`, which stands behind the bytes.
const SHARED_INFO: u64 = 320;
/// Sizes of the memory that packets' bytes come from: the cache for small heads, then powers of two (`kmalloc_reserve`).
const BUCKETS: [u64; 6] = [576, 1024, 2048, 4096, 8192, 16_384];

/// What a datagram of a veth or of lo costs its socket, by its length from the network header on (measured on 6.18: 832 bytes
/// for the smallest, 2304 for a full frame). In front stands room for the link header (`LL_RESERVED_SPACE`), which IPv4
/// rounds up once more.
pub(crate) fn truesize(length: usize, version: IpVersion) -> u64 {
    let length = length as u64;
    let room = match version {
        IpVersion::V4 => 31,
        IpVersion::V6 => 24,
    };
    let needed = length + room + SHARED_INFO;
    match BUCKETS.iter().find(|bucket| needed <= **bucket) {
        Some(bucket) => SKB + bucket,
        // What is larger lies in pages, behind a small head.
        None => {
            let headers = match version {
                IpVersion::V4 => 28,
                IpVersion::V6 => 48,
            };
            SKB + 576 + length.saturating_sub(headers)
        }
    }
}

/// In front of what a program writes to a TUN device (`tun->align`, `NET_SKB_PAD`).
const PAD: u64 = 64;
const PAGE: u64 = 4096;

/// The memory of a packet that a program has written to a TUN device: its bytes lie in the head, as far as a page goes, and can
/// only be copied behind another packet's (`tun_alloc_skb`, `skb_head_is_locked`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// What it costs (`skb->truesize`).
    pub(crate) truesize: u32,
    /// Bytes that there is room for behind them (`skb_tailroom`).
    pub(crate) room: u32,
}

/// … of a length from the network header on.
pub(crate) fn written(length: usize) -> Written {
    let length = length as u64;
    let head = match PAD + length < PAGE {
        true => length,
        false => PAGE - PAD - SHARED_INFO,
    };
    let needed = (PAD + head).next_multiple_of(64) + SHARED_INFO;
    let bucket = BUCKETS.into_iter().find(|bucket| needed <= *bucket);
    let bucket = bucket.unwrap_or(needed);
    let pages = (length - head).next_multiple_of(PAGE);
    let room = bucket - SHARED_INFO - PAD - head;
    Written {
        truesize: u32::try_from(SKB + bucket + pages).unwrap_or(u32::MAX),
        room: u32::try_from(room).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_a_tun_device_costs_what_was_measured() {
        for (length, truesize, room) in [
            (40, 832, 152),
            (140, 832, 52),
            (193, 1280, 447),
            (340, 1280, 300),
            (1040, 2304, 624),
            (4031, 8448, 3777),
            (4032, 4352 + 4096, 0),
            (10_040, 12_544, 0),
        ] {
            assert_eq!(
                written(length),
                Written { truesize, room },
                "{length} bytes"
            );
        }
    }

    #[test]
    fn datagrams_cost_what_was_measured() {
        let ipv4 = |payload: usize| truesize(payload + 28, IpVersion::V4);
        for (payload, cost) in [
            (0, 832),
            (197, 832),
            (198, 1280),
            (645, 1280),
            (646, 2304),
            (1669, 2304),
            (1670, 4352),
            (4000, 8448),
            (8000, 16_640),
            (32_000, 32_832),
            (60_000, 60_832),
        ] {
            assert_eq!(ipv4(payload), cost, "{payload} bytes");
        }
        let ipv6 = |payload: usize| truesize(payload + 48, IpVersion::V6);
        for (payload, cost) in [
            (184, 832),
            (185, 1280),
            (632, 1280),
            (633, 2304),
            (1656, 2304),
            (1657, 4352),
            (16_000, 16_832),
        ] {
            assert_eq!(ipv6(payload), cost, "{payload} bytes");
        }
    }
}
