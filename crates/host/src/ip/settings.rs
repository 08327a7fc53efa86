//! The settings that IP asks for with every packet, read once.

use crate::settings::Settings;

/// Settings of IP, ICMP and fragments as numbers (`struct netns_ipv4`, `struct netns_ipv6`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct IpSettings {
    /// `ip_default_ttl`.
    pub(crate) ttl: u8,
    /// `net.ipv6.auto_flowlabels`.
    pub(crate) auto_flow_labels: u8,
    /// `net.ipv6.flowlabel_state_ranges`.
    pub(crate) flow_labels_stateless: bool,
    /// `net.core.txrehash`.
    pub(crate) rehash: bool,
    /// `net.ipv6.conf.default.hop_limit`.
    pub(crate) hop_limit: u8,
    /// `ip_forward_use_pmtu`.
    pub(crate) forward_use_pmtu: bool,
    /// `ip_no_pmtu_disc`: 0 discovery on.
    pub(crate) no_pmtu_disc: u8,
    /// `ip_nonlocal_bind`.
    pub(crate) nonlocal_bind: bool,
    /// `ip_local_port_range`.
    pub(crate) ports: (u16, u16),
    /// `ipfrag_high_thresh`, in bytes.
    pub(crate) fragments_high: u64,
    /// `ipfrag_time`, in seconds.
    pub(crate) fragments_time: u64,
    /// `ip6frag_high_thresh`, in bytes.
    pub(crate) fragments6_high: u64,
    /// `ip6frag_time`, in seconds.
    pub(crate) fragments6_time: u64,
    /// `ipfrag_max_dist`.
    pub(crate) fragments_max_dist: u32,
    /// `icmp_echo_ignore_all`.
    pub(crate) echo_ignore_all: bool,
    /// `icmp_echo_ignore_broadcasts`.
    pub(crate) echo_ignore_broadcasts: bool,
    /// `icmp_ratelimit`, in milliseconds.
    pub(crate) icmp_ratelimit: u64,
    /// `icmp_ratemask`.
    pub(crate) icmp_ratemask: u32,
    /// `icmp_msgs_per_sec`.
    pub(crate) icmp_per_second: u64,
    /// `icmp_msgs_burst`.
    pub(crate) icmp_burst: u64,
    /// `icmp_errors_use_inbound_ifaddr`.
    pub(crate) icmp_inbound_address: bool,
    /// `net.ipv6.icmp.ratelimit`, in milliseconds.
    pub(crate) icmp6_ratelimit: u64,
    /// `net.ipv6.icmp.ratemask`: one bit for each type.
    pub(crate) icmp6_ratemask: [u32; 8],
    /// `rmem_default`, `rmem_max`, `wmem_default`, `wmem_max`, in bytes.
    pub(crate) rmem: (u32, u32),
    /// Likewise.
    pub(crate) wmem: (u32, u32),
    /// `bindv6only`.
    pub(crate) bind_v6_only: bool,
}

impl IpSettings {
    pub(crate) fn read(settings: &Settings) -> Self {
        let number = |name: &str| settings.number(name).max(0) as u64;
        let short = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
        let byte = |name: &str| u8::try_from(number(name)).unwrap_or(u8::MAX);
        let flag = |name: &str| number(name) != 0;
        let range = settings
            .sysctls()
            .numbers("net.ipv4.ip_local_port_range")
            .unwrap_or_default();
        let port = |index: usize, default: u16| {
            range
                .get(index)
                .and_then(|port| u16::try_from(*port).ok())
                .unwrap_or(default)
        };
        IpSettings {
            ttl: byte("net.ipv4.ip_default_ttl").max(1),
            auto_flow_labels: byte("net.ipv6.auto_flowlabels"),
            flow_labels_stateless: flag("net.ipv6.flowlabel_state_ranges"),
            rehash: flag("net.core.txrehash"),
            hop_limit: byte("net.ipv6.conf.default.hop_limit").max(1),
            forward_use_pmtu: flag("net.ipv4.ip_forward_use_pmtu"),
            no_pmtu_disc: byte("net.ipv4.ip_no_pmtu_disc"),
            nonlocal_bind: flag("net.ipv4.ip_nonlocal_bind"),
            ports: (port(0, 32768), port(1, 60999)),
            fragments_high: number("net.ipv4.ipfrag_high_thresh"),
            fragments_time: number("net.ipv4.ipfrag_time"),
            fragments6_high: number("net.ipv6.ip6frag_high_thresh"),
            fragments6_time: number("net.ipv6.ip6frag_time"),
            fragments_max_dist: short("net.ipv4.ipfrag_max_dist"),
            echo_ignore_all: flag("net.ipv4.icmp_echo_ignore_all"),
            echo_ignore_broadcasts: flag("net.ipv4.icmp_echo_ignore_broadcasts"),
            icmp_ratelimit: number("net.ipv4.icmp_ratelimit"),
            icmp_ratemask: short("net.ipv4.icmp_ratemask"),
            icmp_per_second: number("net.ipv4.icmp_msgs_per_sec"),
            icmp_burst: number("net.ipv4.icmp_msgs_burst"),
            icmp_inbound_address: flag("net.ipv4.icmp_errors_use_inbound_ifaddr"),
            icmp6_ratelimit: number("net.ipv6.icmp.ratelimit"),
            icmp6_ratemask: mask(
                settings
                    .sysctls()
                    .text("net.ipv6.icmp.ratemask")
                    .unwrap_or("0-1,3-127"),
            ),
            rmem: (short("net.core.rmem_default"), short("net.core.rmem_max")),
            wmem: (short("net.core.wmem_default"), short("net.core.wmem_max")),
            bind_v6_only: flag("net.ipv6.bindv6only"),
        }
    }
}

/// A list of numbers from 0 to 255 such as `0-1,3-127`, as bits (`proc_do_large_bitmap`).
fn mask(text: &str) -> [u32; 8] {
    let mut bits = [0u32; 8];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u8>(), last.trim().parse::<u8>()) else {
            continue;
        };
        for number in first..=last {
            if let Some(word) = bits.get_mut(usize::from(number / 32)) {
                *word |= 1 << (number % 32);
            }
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_icmpv6_leaves_packet_too_big_out() {
        let bits = mask("0-1,3-127");
        let limited = |kind: usize| bits[kind / 32] & 1 << (kind % 32) != 0;
        assert!(limited(1) && limited(3) && limited(127));
        assert!(!limited(2) && !limited(128));
        assert_eq!(mask("nonsense,7-"), [0; 8]);
    }
}
