//! Copies of `/proc/net`, as the calling thread's namespace sees them.

mod sysctl;

use std::fs::File;
use std::io::{self, Read};

pub(super) use sysctl::sysctl_text;

/// What is copied, by its path under `/proc/net` and in the reading's `net` folder.
pub(super) const NET_FILES: &[&str] = &[
    "snmp",
    "snmp6",
    "netstat",
    "dev",
    "softnet_stat",
    "sockstat",
    "sockstat6",
    "xfrm_stat",
    "ip_vs",
    "ip_vs_stats",
    "udp",
    "udp6",
    "stat/arp_cache",
    "stat/ndisc_cache",
    "stat/rt_cache",
    "stat/nf_conntrack",
];

/// The most that one file may be; `udp` of a busy resolver is the largest.
const FILE_LIMIT: u64 = 8 << 20;

/// The content of a file under `/proc`, up to a bound.
///
/// # Errors
/// As opening and reading: `NotFound` where the kernel has no such meter.
pub(super) fn read_file(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
