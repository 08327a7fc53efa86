//! Sysctls by their real names, with Linux's defaults, and the ones that every packet asks for as plain fields.

use std::time::Duration;

use transect_config::Sysctls;

/// Every setting that the model knows, with Linux 6.18's default. `all`, `default` and one set for each interface are made from
/// the entries of `conf` (see [`Settings::new`]).
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
    ("net.bridge.bridge-nf-call-arptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.core.default_qdisc", "pfifo_fast"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.core.rmem_default", "212992"),
    ("net.core.rmem_max", "4194304"),
    ("net.core.somaxconn", "4096"),
    ("net.core.txrehash", "1"),
    ("net.core.wmem_default", "212992"),
    ("net.core.wmem_max", "4194304"),
    ("net.ipv4.icmp_echo_ignore_all", "0"),
    ("net.ipv4.icmp_echo_ignore_broadcasts", "1"),
    ("net.ipv4.icmp_errors_use_inbound_ifaddr", "0"),
    ("net.ipv4.icmp_ignore_bogus_error_responses", "1"),
    ("net.ipv4.icmp_msgs_burst", "50"),
    ("net.ipv4.icmp_msgs_per_sec", "1000"),
    ("net.ipv4.icmp_ratelimit", "1000"),
    ("net.ipv4.icmp_ratemask", "6168"),
    ("net.ipv4.ip_default_ttl", "64"),
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.ip_forward_use_pmtu", "0"),
    ("net.ipv4.ip_local_port_range", "32768 60999"),
    ("net.ipv4.ip_no_pmtu_disc", "0"),
    ("net.ipv4.ip_nonlocal_bind", "0"),
    ("net.ipv4.ipfrag_high_thresh", "4194304"),
    ("net.ipv4.ipfrag_low_thresh", "3145728"),
    ("net.ipv4.ipfrag_max_dist", "64"),
    ("net.ipv4.ipfrag_time", "30"),
    ("net.ipv4.tcp_abort_on_overflow", "0"),
    ("net.ipv4.tcp_adv_win_scale", "1"),
    ("net.ipv4.tcp_app_win", "31"),
    ("net.ipv4.tcp_autocorking", "1"),
    ("net.ipv4.tcp_base_mss", "1024"),
    ("net.ipv4.tcp_challenge_ack_limit", "2147483647"),
    ("net.ipv4.tcp_comp_sack_delay_ns", "1000000"),
    ("net.ipv4.tcp_comp_sack_nr", "44"),
    ("net.ipv4.tcp_comp_sack_slack_ns", "100000"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_early_retrans", "3"),
    ("net.ipv4.tcp_ecn", "2"),
    ("net.ipv4.tcp_ecn_fallback", "1"),
    // Accurate ECN cannot be switched on in 6.18: they mean nothing.
    ("net.ipv4.tcp_ecn_option", "2"),
    ("net.ipv4.tcp_ecn_option_beacon", "3"),
    ("net.ipv4.tcp_fastopen", "1"),
    ("net.ipv4.tcp_fastopen_blackhole_timeout_sec", "0"),
    // Drawn when it is needed first.
    ("net.ipv4.tcp_fastopen_key", ""),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_frto", "2"),
    ("net.ipv4.tcp_invalid_ratelimit", "500"),
    ("net.ipv4.tcp_keepalive_intvl", "75"),
    ("net.ipv4.tcp_keepalive_probes", "9"),
    ("net.ipv4.tcp_keepalive_time", "7200"),
    ("net.ipv4.tcp_limit_output_bytes", "4194304"),
    ("net.ipv4.tcp_max_orphans", "131072"),
    ("net.ipv4.tcp_max_reordering", "300"),
    ("net.ipv4.tcp_max_syn_backlog", "2048"),
    ("net.ipv4.tcp_max_tw_buckets", "131072"),
    ("net.ipv4.tcp_min_rtt_wlen", "300"),
    ("net.ipv4.tcp_min_snd_mss", "48"),
    ("net.ipv4.tcp_min_tso_segs", "2"),
    ("net.ipv4.tcp_moderate_rcvbuf", "1"),
    ("net.ipv4.tcp_mtu_probe_floor", "48"),
    ("net.ipv4.tcp_mtu_probing", "0"),
    ("net.ipv4.tcp_no_metrics_save", "0"),
    ("net.ipv4.tcp_no_ssthresh_metrics_save", "1"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_orphan_retries", "0"),
    ("net.ipv4.tcp_pacing_ca_ratio", "120"),
    ("net.ipv4.tcp_pacing_ss_ratio", "200"),
    ("net.ipv4.tcp_probe_interval", "600"),
    ("net.ipv4.tcp_probe_threshold", "8"),
    ("net.ipv4.tcp_recovery", "1"),
    ("net.ipv4.tcp_reordering", "3"),
    ("net.ipv4.tcp_retrans_collapse", "1"),
    ("net.ipv4.tcp_retries1", "3"),
    ("net.ipv4.tcp_retries2", "15"),
    ("net.ipv4.tcp_rfc1337", "0"),
    ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
    ("net.ipv4.tcp_rto_max_ms", "120000"),
    ("net.ipv4.tcp_rto_min_us", "200000"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_shrink_window", "0"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_stdurg", "0"),
    ("net.ipv4.tcp_syn_linear_timeouts", "4"),
    ("net.ipv4.tcp_syn_retries", "6"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.tcp_thin_linear_timeouts", "0"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_tso_rtt_log", "9"),
    ("net.ipv4.tcp_tso_win_divisor", "3"),
    ("net.ipv4.tcp_tw_reuse", "2"),
    ("net.ipv4.tcp_tw_reuse_delay", "1000"),
    ("net.ipv4.tcp_window_scaling", "1"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.ipv4.tcp_workaround_signed_windows", "0"),
    ("net.ipv4.udp_rmem_min", "4096"),
    ("net.ipv4.udp_wmem_min", "4096"),
    ("net.ipv6.auto_flowlabels", "1"),
    ("net.ipv6.bindv6only", "0"),
    ("net.ipv6.flowlabel_state_ranges", "0"),
    ("net.ipv6.icmp.ratelimit", "1000"),
    ("net.ipv6.icmp.ratemask", "0-1,3-127"),
    ("net.ipv6.ip6frag_high_thresh", "4194304"),
    ("net.ipv6.ip6frag_low_thresh", "3145728"),
    ("net.ipv6.ip6frag_time", "60"),
    ("net.ipv6.mld_qrv", "2"),
    ("net.netfilter.nf_conntrack_acct", "0"),
    ("net.netfilter.nf_conntrack_buckets", "262144"),
    ("net.netfilter.nf_conntrack_checksum", "1"),
    ("net.netfilter.nf_conntrack_generic_timeout", "600"),
    ("net.netfilter.nf_conntrack_icmp_timeout", "30"),
    ("net.netfilter.nf_conntrack_icmpv6_timeout", "30"),
    ("net.netfilter.nf_conntrack_max", "262144"),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", "0"),
    ("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", "0"),
    ("net.netfilter.nf_conntrack_tcp_loose", "1"),
    ("net.netfilter.nf_conntrack_tcp_max_retrans", "3"),
    ("net.netfilter.nf_conntrack_tcp_timeout_close", "10"),
    ("net.netfilter.nf_conntrack_tcp_timeout_close_wait", "60"),
    (
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        "432000",
    ),
    ("net.netfilter.nf_conntrack_tcp_timeout_fin_wait", "120"),
    ("net.netfilter.nf_conntrack_tcp_timeout_last_ack", "30"),
    ("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", "300"),
    ("net.netfilter.nf_conntrack_tcp_timeout_syn_recv", "60"),
    ("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "120"),
    ("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "120"),
    (
        "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged",
        "300",
    ),
    ("net.netfilter.nf_conntrack_udp_timeout", "30"),
    ("net.netfilter.nf_conntrack_udp_timeout_stream", "120"),
];

/// `net.ipv4.conf.*`, for `all`, `default` and each interface.
pub(crate) const CONF_IPV4: &[(&str, &str)] = &[
    ("accept_local", "0"),
    ("accept_redirects", "1"),
    ("accept_source_route", "0"),
    ("arp_accept", "0"),
    ("arp_announce", "0"),
    ("arp_filter", "0"),
    ("arp_ignore", "0"),
    ("arp_notify", "0"),
    ("disable_policy", "0"),
    ("drop_gratuitous_arp", "0"),
    ("drop_unicast_in_l2_multicast", "0"),
    ("forwarding", "0"),
    ("log_martians", "0"),
    ("proxy_arp", "0"),
    ("route_localnet", "0"),
    ("rp_filter", "0"),
    ("secure_redirects", "1"),
    ("send_redirects", "1"),
    ("shared_media", "1"),
    ("src_valid_mark", "0"),
];

/// `net.ipv6.conf.*`, likewise.
pub(crate) const CONF_IPV6: &[(&str, &str)] = &[
    ("accept_dad", "1"),
    ("accept_ra", "1"),
    ("accept_redirects", "1"),
    ("autoconf", "1"),
    ("dad_transmits", "1"),
    ("disable_ipv6", "0"),
    ("forwarding", "0"),
    ("hop_limit", "64"),
    ("mldv2_unsolicited_report_interval", "1000"),
    ("mtu", "1280"),
    ("router_solicitation_delay", "1"),
    ("router_solicitation_interval", "4"),
    ("router_solicitation_max_interval", "3600"),
    ("router_solicitations", "-1"),
];

/// `net.{ipv4,ipv6}.neigh.*`, likewise (`all` does not exist there).
pub(crate) const NEIGH: &[(&str, &str)] = &[
    ("app_solicit", "0"),
    ("base_reachable_time_ms", "30000"),
    ("delay_first_probe_time", "5"),
    ("gc_stale_time", "60"),
    ("locktime", "100"),
    ("mcast_resolicit", "0"),
    ("mcast_solicit", "3"),
    ("retrans_time_ms", "1000"),
    ("ucast_solicit", "3"),
    ("unres_qlen_bytes", "212992"),
];

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// By name, complete: what `sysctl -a` would show of what the model knows.
    pub(crate) all: Sysctls,
    /// TCP's, as numbers.
    pub(crate) tcp: TcpSettings,
    /// `net.core.netdev_max_backlog`: asked for with every packet.
    pub(crate) max_backlog: i64,
}

/// TCP's settings (`struct netns_ipv4`, `sysctl_tcp_*`).
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the names are those of ip-sysctl.rst, which documents them"
)]
pub struct TcpSettings {
    pub abort_on_overflow: bool,
    pub app_win: u32,
    pub autocorking: bool,
    pub base_mss: u32,
    pub challenge_ack_limit: u32,
    pub comp_sack_delay: Duration,
    pub comp_sack_nr: u32,
    pub congestion_control: String,
    pub dsack: bool,
    pub early_retrans: u32,
    pub ecn: u32,
    pub ecn_fallback: bool,
    /// Its bits.
    pub fastopen: u32,
    pub fastopen_blackhole_timeout: Duration,
    /// The one that cookies are made with, and perhaps an older one that is still good; none were chosen yet.
    pub fastopen_keys: Vec<FastOpenKey>,
    pub fin_timeout: Duration,
    pub frto: u32,
    pub invalid_ratelimit: Duration,
    pub keepalive_intvl: Duration,
    pub keepalive_probes: u32,
    pub keepalive_time: Duration,
    pub limit_output_bytes: u64,
    pub max_orphans: u32,
    pub max_reordering: u32,
    pub max_syn_backlog: u32,
    pub max_tw_buckets: u32,
    pub min_rtt_wlen: u32,
    pub min_snd_mss: u32,
    pub min_tso_segs: u32,
    pub moderate_rcvbuf: bool,
    pub mtu_probe_floor: u32,
    pub mtu_probing: u32,
    pub notsent_lowat: u32,
    pub orphan_retries: u32,
    pub pacing_ca_ratio: u32,
    pub pacing_ss_ratio: u32,
    pub probe_interval: Duration,
    pub probe_threshold: u32,
    pub recovery: u32,
    pub reordering: u32,
    pub retries1: u32,
    pub retries2: u32,
    pub rfc1337: bool,
    pub rmem: [u32; 3],
    pub rto_max: Duration,
    pub rto_min: Duration,
    pub sack: bool,
    pub shrink_window: bool,
    pub slow_start_after_idle: bool,
    pub somaxconn: u32,
    pub syn_linear_timeouts: u32,
    pub syn_retries: u32,
    pub synack_retries: u32,
    pub syncookies: u32,
    pub thin_linear_timeouts: bool,
    pub timestamps: u32,
    pub tso_rtt_log: u32,
    pub tso_win_divisor: u32,
    pub tw_reuse: u32,
    /// Milliseconds.
    pub tw_reuse_delay: u32,
    pub window_scaling: bool,
    pub wmem: [u32; 3],
    pub rmem_max: u32,
    pub wmem_max: u32,
}

/// A key of fast open's cookies, as SipHash takes it (`siphash_key_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKey(pub [u64; 2]);

impl FastOpenKey {
    /// Of the bytes that `TCP_FASTOPEN_KEY` takes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_le_bytes(bytes);
        FastOpenKey([number as u64, (number >> 64) as u64])
    }

    /// … and tells.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[1]) << 64 | u128::from(self.0[0])).to_le_bytes()
    }

    /// As `net.ipv4.tcp_fastopen_key` has it: four words (`proc_tcp_fastopen_key`).
    fn read(text: &str) -> Option<Self> {
        let words: Vec<u32> = text
            .trim()
            .split('-')
            .map(|word| u32::from_str_radix(word, 16).ok())
            .collect::<Option<_>>()?;
        let [a, b, c, d] = words.try_into().ok()?;
        let two = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Some(FastOpenKey([two(a, b), two(c, d)]))
    }
}

impl std::fmt::Display for FastOpenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [one, two] = self.0;
        let words = [
            one as u32,
            (one >> 32) as u32,
            two as u32,
            (two >> 32) as u32,
        ];
        let [a, b, c, d] = words;
        write!(f, "{a:08x}-{b:08x}-{c:08x}-{d:08x}")
    }
}

/// A setting that the model cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {value}: {why}")]
pub struct SettingError {
    /// The setting.
    pub name: String,
    /// The value that was asked for.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

impl Settings {
    /// The defaults for a host with these interfaces, and over them what is given.
    ///
    /// # Errors
    /// A name that the model does not know, or a value that is no number where one is needed.
    pub fn new<'a>(
        interfaces: impl Iterator<Item = &'a str>,
        given: &Sysctls,
    ) -> Result<Self, SettingError> {
        let mut all = Sysctls::default();
        let mut put = |name: String, value: &str| {
            all.values.insert(name, value.to_owned());
        };
        for (name, value) in DEFAULTS {
            put((*name).to_owned(), value);
        }
        let names: Vec<String> = ["all".to_owned(), "default".to_owned()]
            .into_iter()
            .chain(interfaces.map(|name| name.replace('.', "/")))
            .collect();
        for interface in &names {
            for (name, value) in CONF_IPV4 {
                put(format!("net.ipv4.conf.{interface}.{name}"), value);
            }
            for (name, value) in CONF_IPV6 {
                put(format!("net.ipv6.conf.{interface}.{name}"), value);
            }
            if interface != "all" {
                for (name, value) in NEIGH {
                    put(format!("net.ipv4.neigh.{interface}.{name}"), value);
                    put(format!("net.ipv6.neigh.{interface}.{name}"), value);
                }
            }
        }
        for (name, value) in &given.values {
            put_in(&mut all, name, value)?;
        }
        let tcp = TcpSettings::read(&all)?;
        let max_backlog = all.number("net.core.netdev_max_backlog").unwrap_or(0);
        Ok(Settings {
            all,
            tcp,
            max_backlog,
        })
    }

    /// Changes one setting, with what follows from it (`ip_forward` sets every interface's `forwarding`).
    ///
    /// # Errors
    /// A name that the model does not know, or a value that is no number where one is needed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let mut all = self.all.clone();
        put_in(&mut all, name, value)?;
        self.tcp = TcpSettings::read(&all)?;
        self.max_backlog = all.number("net.core.netdev_max_backlog").unwrap_or(0);
        self.all = all;
        Ok(())
    }

    /// A setting as a number; 0 where it is none.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.all.number(name).unwrap_or(0)
    }

    /// Every setting, by name.
    pub fn sysctls(&self) -> &Sysctls {
        &self.all
    }
}

/// Reads settings of TCP one by one.
struct Reader<'a>(&'a Sysctls);

impl Reader<'_> {
    fn fail(&self, name: &str, why: &str) -> SettingError {
        SettingError {
            name: name.to_owned(),
            value: self.0.text(name).unwrap_or_default().to_owned(),
            why: why.to_owned(),
        }
    }

    fn named(&self, name: &str) -> Result<u32, SettingError> {
        let number = self
            .0
            .number(name)
            .ok_or_else(|| self.fail(name, "expected a number"))?;
        u32::try_from(number).map_err(|_| self.fail(name, "expected a number from 0 to 4294967295"))
    }

    fn tcp(&self, name: &str) -> Result<u32, SettingError> {
        self.named(&format!("net.ipv4.tcp_{name}"))
    }

    fn at_most(&self, name: &str, most: u32) -> Result<u32, SettingError> {
        let number = self.tcp(name)?;
        if number > most {
            let why = format!("expected a number from 0 to {most}");
            return Err(self.fail(&format!("net.ipv4.tcp_{name}"), &why));
        }
        Ok(number)
    }

    fn flag(&self, name: &str) -> Result<bool, SettingError> {
        Ok(self.tcp(name)? != 0)
    }

    fn seconds(&self, name: &str) -> Result<Duration, SettingError> {
        Ok(Duration::from_secs(u64::from(self.tcp(name)?)))
    }

    fn keys(&self, name: &str) -> Result<Vec<FastOpenKey>, SettingError> {
        let full = format!("net.ipv4.tcp_{name}");
        let text = self.0.text(&full).unwrap_or_default();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Option<Vec<FastOpenKey>> = text.split(',').map(FastOpenKey::read).collect();
        keys.filter(|keys| keys.len() <= 2).ok_or_else(|| {
            self.fail(
                &full,
                "expected one key or two with a comma between them, each of four hexadecimal words with hyphens between them",
            )
        })
    }

    fn three(&self, name: &str) -> Result<[u32; 3], SettingError> {
        let full = format!("net.ipv4.tcp_{name}");
        let numbers = self.0.numbers(&full).unwrap_or_default();
        let numbers: Vec<u32> = numbers
            .iter()
            .filter_map(|number| u32::try_from(*number).ok())
            .collect();
        numbers
            .try_into()
            .map_err(|_| self.fail(&full, "expected three numbers"))
    }
}

impl TcpSettings {
    fn read(all: &Sysctls) -> Result<Self, SettingError> {
        let read = Reader(all);
        Ok(TcpSettings {
            abort_on_overflow: read.flag("abort_on_overflow")?,
            app_win: read.tcp("app_win")?,
            autocorking: read.flag("autocorking")?,
            base_mss: read.tcp("base_mss")?,
            challenge_ack_limit: read.tcp("challenge_ack_limit")?,
            comp_sack_delay: Duration::from_nanos(u64::from(read.tcp("comp_sack_delay_ns")?)),
            comp_sack_nr: read.tcp("comp_sack_nr")?,
            congestion_control: all
                .text("net.ipv4.tcp_congestion_control")
                .unwrap_or("cubic")
                .to_owned(),
            dsack: read.flag("dsack")?,
            early_retrans: read.tcp("early_retrans")?,
            ecn: read.at_most("ecn", 2)?,
            ecn_fallback: read.flag("ecn_fallback")?,
            fastopen: read.tcp("fastopen")?,
            fastopen_blackhole_timeout: read.seconds("fastopen_blackhole_timeout_sec")?,
            fastopen_keys: read.keys("fastopen_key")?,
            fin_timeout: read.seconds("fin_timeout")?,
            frto: read.tcp("frto")?,
            invalid_ratelimit: Duration::from_millis(u64::from(read.tcp("invalid_ratelimit")?)),
            keepalive_intvl: read.seconds("keepalive_intvl")?,
            keepalive_probes: read.tcp("keepalive_probes")?,
            keepalive_time: read.seconds("keepalive_time")?,
            limit_output_bytes: u64::from(read.tcp("limit_output_bytes")?),
            max_orphans: read.tcp("max_orphans")?,
            max_reordering: read.tcp("max_reordering")?,
            max_syn_backlog: read.tcp("max_syn_backlog")?,
            max_tw_buckets: read.tcp("max_tw_buckets")?,
            min_rtt_wlen: read.tcp("min_rtt_wlen")?,
            min_snd_mss: read.tcp("min_snd_mss")?,
            min_tso_segs: read.tcp("min_tso_segs")?,
            moderate_rcvbuf: read.flag("moderate_rcvbuf")?,
            mtu_probe_floor: read.tcp("mtu_probe_floor")?,
            mtu_probing: read.tcp("mtu_probing")?,
            notsent_lowat: read.tcp("notsent_lowat")?,
            orphan_retries: read.tcp("orphan_retries")?,
            pacing_ca_ratio: read.tcp("pacing_ca_ratio")?,
            pacing_ss_ratio: read.tcp("pacing_ss_ratio")?,
            probe_interval: read.seconds("probe_interval")?,
            probe_threshold: read.tcp("probe_threshold")?,
            recovery: read.tcp("recovery")?,
            reordering: read.tcp("reordering")?,
            retries1: read.tcp("retries1")?,
            retries2: read.tcp("retries2")?,
            rfc1337: read.flag("rfc1337")?,
            rmem: read.three("rmem")?,
            rto_max: Duration::from_millis(u64::from(read.tcp("rto_max_ms")?)),
            rto_min: Duration::from_micros(u64::from(read.tcp("rto_min_us")?)),
            sack: read.flag("sack")?,
            shrink_window: read.flag("shrink_window")?,
            slow_start_after_idle: read.flag("slow_start_after_idle")?,
            somaxconn: read.named("net.core.somaxconn")?,
            syn_linear_timeouts: read.tcp("syn_linear_timeouts")?,
            syn_retries: read.tcp("syn_retries")?,
            synack_retries: read.tcp("synack_retries")?,
            syncookies: read.tcp("syncookies")?,
            thin_linear_timeouts: read.flag("thin_linear_timeouts")?,
            timestamps: read.tcp("timestamps")?,
            tso_rtt_log: read.tcp("tso_rtt_log")?,
            tso_win_divisor: read.tcp("tso_win_divisor")?,
            tw_reuse: read.tcp("tw_reuse")?,
            tw_reuse_delay: read.tcp("tw_reuse_delay")?,
            window_scaling: read.flag("window_scaling")?,
            wmem: read.three("wmem")?,
            rmem_max: read.named("net.core.rmem_max")?,
            wmem_max: read.named("net.core.wmem_max")?,
        })
    }
}

/// Changes one setting that is known, and those that follow it.
fn put_in(all: &mut Sysctls, name: &str, value: &str) -> Result<(), SettingError> {
    let Some(known) = all.values.get_mut(name) else {
        return Err(SettingError {
            name: name.to_owned(),
            value: value.to_owned(),
            why: "the model does not know this setting".to_owned(),
        });
    };
    value.trim().clone_into(known);
    let follows: Option<(&str, &str)> = match name {
        "net.ipv4.ip_forward" | "net.ipv4.conf.all.forwarding" => {
            Some(("net.ipv4.conf.", ".forwarding"))
        }
        "net.ipv6.conf.all.forwarding" => Some(("net.ipv6.conf.", ".forwarding")),
        "net.ipv6.conf.all.disable_ipv6" => Some(("net.ipv6.conf.", ".disable_ipv6")),
        _ => None,
    };
    if let Some((prefix, suffix)) = follows {
        for (known, old) in &mut all.values {
            if known.starts_with(prefix) && known.ends_with(suffix) {
                value.trim().clone_into(old);
            }
        }
        if prefix == "net.ipv4.conf." {
            all.values
                .insert("net.ipv4.ip_forward".to_owned(), value.trim().to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_reaches_every_interface() {
        let mut settings = Settings::new(["eth0"].into_iter(), &Sysctls::default()).unwrap();
        settings.set("net.ipv4.ip_forward", "1").unwrap();
        assert_eq!(settings.number("net.ipv4.conf.eth0.forwarding"), 1);
        assert_eq!(settings.number("net.ipv6.conf.eth0.forwarding"), 0);
    }

    #[test]
    fn what_is_not_known_or_no_number_is_refused() {
        let mut settings = Settings::new(std::iter::empty(), &Sysctls::default()).unwrap();
        assert!(settings.set("net.ipv4.tcp_telepathy", "1").is_err());
        let error = settings.set("net.ipv4.tcp_retries2", "many").unwrap_err();
        assert_eq!(
            error.to_string(),
            "net.ipv4.tcp_retries2 = many: expected a number"
        );
        assert_eq!(settings.tcp.retries2, 15);
    }

    #[test]
    fn keys_of_fast_open_are_four_words_each() {
        let mut settings = Settings::new(std::iter::empty(), &Sysctls::default()).unwrap();
        assert!(settings.tcp.fastopen_keys.is_empty());
        let name = "net.ipv4.tcp_fastopen_key";
        let text = "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4";
        settings.set(name, &format!("{text},0-1-2-3")).unwrap();
        let [one, two] = settings.tcp.fastopen_keys[..] else {
            panic!("expected two keys");
        };
        assert_eq!(one.0, [0xb2b2_b2b2_a1a1_a1a1, 0xd4d4_d4d4_c3c3_c3c3]);
        assert_eq!(one.to_string(), text);
        assert_eq!(FastOpenKey::from_bytes(two.to_bytes()), two);
        assert_eq!(two.to_bytes()[4], 1);
        for wrong in [
            "a1a1a1a1-b2b2b2b2-c3c3c3c3",
            "x-y-z-w",
            "0-0-0-0,0-0-0-0,0-0-0-0",
        ] {
            assert!(settings.set(name, wrong).is_err(), "{wrong}");
        }
    }
}
