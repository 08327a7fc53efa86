//! The sysctls that decide about packets, as `sysctl -a` prints them, read from `/proc/sys`.

use super::read_file;

/// Names under `net`, once for each host.
const HOST: &[&str] = &[
    "ipv4.ip_forward",
    "ipv4.ip_default_ttl",
    "ipv4.ip_forward_use_pmtu",
    "ipv4.ip_no_pmtu_disc",
    "ipv4.ip_nonlocal_bind",
    "ipv4.ip_early_demux",
    "ipv4.ip_local_port_range",
    "ipv4.ip_local_reserved_ports",
    "ipv4.ip_unprivileged_port_start",
    "ipv4.fib_multipath_hash_policy",
    "ipv4.fwmark_reflect",
    "ipv4.icmp_echo_ignore_all",
    "ipv4.icmp_echo_ignore_broadcasts",
    "ipv4.icmp_ignore_bogus_error_responses",
    "ipv4.icmp_msgs_burst",
    "ipv4.icmp_msgs_per_sec",
    "ipv4.icmp_ratelimit",
    "ipv4.icmp_ratemask",
    "ipv4.ipfrag_high_thresh",
    "ipv4.ipfrag_low_thresh",
    "ipv4.ipfrag_max_dist",
    "ipv4.ipfrag_time",
    "ipv4.neigh.default.gc_thresh1",
    "ipv4.neigh.default.gc_thresh2",
    "ipv4.neigh.default.gc_thresh3",
    "ipv4.route.min_adv_mss",
    "ipv4.route.min_pmtu",
    "ipv4.route.mtu_expires",
    "ipv4.tcp_abort_on_overflow",
    "ipv4.tcp_adv_win_scale",
    "ipv4.tcp_base_mss",
    "ipv4.tcp_challenge_ack_limit",
    "ipv4.tcp_congestion_control",
    "ipv4.tcp_ecn",
    "ipv4.tcp_fastopen",
    "ipv4.tcp_fin_timeout",
    "ipv4.tcp_frto",
    "ipv4.tcp_fwmark_accept",
    "ipv4.tcp_invalid_ratelimit",
    "ipv4.tcp_keepalive_intvl",
    "ipv4.tcp_keepalive_probes",
    "ipv4.tcp_keepalive_time",
    "ipv4.tcp_l3mdev_accept",
    "ipv4.tcp_max_orphans",
    "ipv4.tcp_max_syn_backlog",
    "ipv4.tcp_max_tw_buckets",
    "ipv4.tcp_mem",
    "ipv4.tcp_migrate_req",
    "ipv4.tcp_min_snd_mss",
    "ipv4.tcp_moderate_rcvbuf",
    "ipv4.tcp_mtu_probing",
    "ipv4.tcp_no_metrics_save",
    "ipv4.tcp_orphan_retries",
    "ipv4.tcp_recovery",
    "ipv4.tcp_reordering",
    "ipv4.tcp_retries1",
    "ipv4.tcp_retries2",
    "ipv4.tcp_rfc1337",
    "ipv4.tcp_rmem",
    "ipv4.tcp_rto_max_ms",
    "ipv4.tcp_rto_min_us",
    "ipv4.tcp_sack",
    "ipv4.tcp_shrink_window",
    "ipv4.tcp_slow_start_after_idle",
    "ipv4.tcp_syn_linear_timeouts",
    "ipv4.tcp_syn_retries",
    "ipv4.tcp_synack_retries",
    "ipv4.tcp_syncookies",
    "ipv4.tcp_thin_linear_timeouts",
    "ipv4.tcp_timestamps",
    "ipv4.tcp_tw_recycle",
    "ipv4.tcp_tw_reuse",
    "ipv4.tcp_window_scaling",
    "ipv4.tcp_wmem",
    "ipv4.udp_early_demux",
    "ipv4.udp_l3mdev_accept",
    "ipv4.udp_mem",
    "ipv4.udp_rmem_min",
    "ipv4.udp_wmem_min",
    "ipv4.vs.conntrack",
    "ipv4.vs.expire_nodest_conn",
    "ipv4.vs.nat_icmp_send",
    "ipv6.bindv6only",
    "ipv6.fib_multipath_hash_policy",
    "ipv6.icmp.echo_ignore_all",
    "ipv6.icmp.error_anycast_as_unicast",
    "ipv6.icmp.ratelimit",
    "ipv6.icmp.ratemask",
    "ipv6.ip6frag_high_thresh",
    "ipv6.ip6frag_low_thresh",
    "ipv6.ip6frag_time",
    "ipv6.ip_nonlocal_bind",
    "ipv6.neigh.default.gc_thresh1",
    "ipv6.neigh.default.gc_thresh2",
    "ipv6.neigh.default.gc_thresh3",
    "ipv6.route.gc_thresh",
    "ipv6.route.max_size",
    "ipv6.route.mtu_expires",
    "core.bpf_jit_enable",
    "core.default_qdisc",
    "core.netdev_budget",
    "core.netdev_budget_usecs",
    "core.netdev_max_backlog",
    "core.flow_limit_cpu_bitmap",
    "core.optmem_max",
    "core.rmem_default",
    "core.rmem_max",
    "core.rps_sock_flow_entries",
    "core.somaxconn",
    "core.wmem_default",
    "core.wmem_max",
    "core.xfrm_drop",
    "bridge.bridge-nf-call-arptables",
    "bridge.bridge-nf-call-ip6tables",
    "bridge.bridge-nf-call-iptables",
    "bridge.bridge-nf-filter-vlan-tagged",
    "netfilter.nf_conntrack_acct",
    "netfilter.nf_conntrack_buckets",
    "netfilter.nf_conntrack_checksum",
    "netfilter.nf_conntrack_count",
    "netfilter.nf_conntrack_expect_max",
    "netfilter.nf_conntrack_frag6_high_thresh",
    "netfilter.nf_conntrack_frag6_timeout",
    "netfilter.nf_conntrack_generic_timeout",
    "netfilter.nf_conntrack_helper",
    "netfilter.nf_conntrack_icmp_timeout",
    "netfilter.nf_conntrack_icmpv6_timeout",
    "netfilter.nf_conntrack_log_invalid",
    "netfilter.nf_conntrack_max",
    "netfilter.nf_conntrack_tcp_be_liberal",
    "netfilter.nf_conntrack_tcp_ignore_invalid_rst",
    "netfilter.nf_conntrack_tcp_loose",
    "netfilter.nf_conntrack_tcp_max_retrans",
    "netfilter.nf_conntrack_tcp_timeout_close",
    "netfilter.nf_conntrack_tcp_timeout_close_wait",
    "netfilter.nf_conntrack_tcp_timeout_established",
    "netfilter.nf_conntrack_tcp_timeout_fin_wait",
    "netfilter.nf_conntrack_tcp_timeout_last_ack",
    "netfilter.nf_conntrack_tcp_timeout_max_retrans",
    "netfilter.nf_conntrack_tcp_timeout_syn_recv",
    "netfilter.nf_conntrack_tcp_timeout_syn_sent",
    "netfilter.nf_conntrack_tcp_timeout_time_wait",
    "netfilter.nf_conntrack_tcp_timeout_unacknowledged",
    "netfilter.nf_conntrack_udp_timeout",
    "netfilter.nf_conntrack_udp_timeout_stream",
];

/// Names under `net.ipv4.conf.INTERFACE`.
const IPV4_INTERFACE: &[&str] = &[
    "accept_local",
    "accept_redirects",
    "accept_source_route",
    "arp_accept",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "arp_notify",
    "disable_policy",
    "disable_xfrm",
    "drop_gratuitous_arp",
    "drop_unicast_in_l2_multicast",
    "forwarding",
    "ignore_routes_with_linkdown",
    "log_martians",
    "mc_forwarding",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
    "secure_redirects",
    "send_redirects",
    "src_valid_mark",
];

/// Names under `net.ipv6.conf.INTERFACE`.
const IPV6_INTERFACE: &[&str] = &[
    "accept_dad",
    "accept_ra",
    "accept_ra_defrtr",
    "accept_redirects",
    "accept_source_route",
    "accept_untracked_na",
    "addr_gen_mode",
    "autoconf",
    "disable_ipv6",
    "disable_policy",
    "drop_unicast_in_l2_multicast",
    "drop_unsolicited_na",
    "forwarding",
    "hop_limit",
    "ignore_routes_with_linkdown",
    "mtu",
    "proxy_ndp",
    "use_tempaddr",
];

/// Names under `net.ipv4.neigh.INTERFACE` and `net.ipv6.neigh.INTERFACE`.
const NEIGHBOR_INTERFACE: &[&str] = &["mcast_solicit", "ucast_solicit", "unres_qlen_bytes"];

/// With more interfaces than this the rest has to do with `all` and `default`.
const INTERFACES: usize = 256;

/// The text of `sysctl.txt`. What the kernel does not have is left out.
pub(in super::super) fn sysctl_text<'a>(interfaces: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for name in HOST {
        line(&mut out, &format!("net/{}", name.replace('.', "/")));
    }
    let groups = [
        ("ipv4/conf", IPV4_INTERFACE),
        ("ipv6/conf", IPV6_INTERFACE),
        ("ipv4/neigh", NEIGHBOR_INTERFACE),
        ("ipv6/neigh", NEIGHBOR_INTERFACE),
    ];
    for interface in ["all", "default"]
        .into_iter()
        .chain(interfaces.take(INTERFACES))
    {
        for (group, names) in groups {
            for name in names {
                line(&mut out, &format!("net/{group}/{interface}/{name}"));
            }
        }
    }
    out
}

/// `name = value`: slashes become dots, and dots in an interface's name become slashes (sysctl(8)).
fn line(out: &mut Vec<u8>, path: &str) {
    let Ok(value) = read_file(&format!("/proc/sys/{path}")) else {
        return;
    };
    let name: String = path
        .chars()
        .map(|character| match character {
            '/' => '.',
            '.' => '/',
            other => other,
        })
        .collect();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b" = ");
    out.extend_from_slice(value.trim_ascii_end());
    out.push(b'\n');
}
