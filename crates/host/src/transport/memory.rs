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

/// What a packet that a program wrote to a TUN device costs, by its length (`tun_alloc_skb`): all of it lies in the head, as far as
/// a page goes.
pub(crate) fn written_truesize(length: usize) -> u32 {
    /// `tun->align`, NET_SKB_PAD.
    const ROOM: u64 = 64;
    const CACHE_LINE: u64 = 64;
    const PAGE: u64 = 4096;
    let length = length as u64;
    let head = if ROOM + length < PAGE {
        length
    } else {
        PAGE - ROOM - SHARED_INFO
    };
    let needed = (ROOM + head).next_multiple_of(CACHE_LINE) + SHARED_INFO;
    let bucket = BUCKETS.iter().find(|bucket| needed <= **bucket);
    let pages = (length - head).next_multiple_of(PAGE);
    u32::try_from(SKB + bucket.copied().unwrap_or(needed) + pages).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
