//! Any text as the output of a tool that prints counters, or as a file of /proc/net; the first byte chooses which.
//!
//! `cargo fuzz run -s none counters`

#![no_main]

use libfuzzer_sys::fuzz_target;
use transect_evidence::counters::{self, StatTable};

fuzz_target!(|data: &[u8]| {
    let Some((&reader, rest)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match reader % 14 {
        0 => drop(counters::snmp(&text)),
        1 => drop(counters::snmp6(&text)),
        2 => drop(counters::nstat(&text)),
        3 => drop(counters::nstat_json(&text)),
        4 => drop(counters::netstat_statistics(&text)),
        5 => drop(counters::proc_net_dev(&text)),
        6 => drop(counters::softnet_stat(&text)),
        7 => drop(counters::sockstat(&text)),
        8 => drop(counters::xfrm_stat(&text)),
        9 => drop(counters::ip_vs(&text)),
        10 => drop(counters::ip_vs_stats(&text)),
        11 => drop(counters::conntrack_statistics(&text)),
        12 => drop(counters::ethtool_statistics(&text, "eth0")),
        _ => drop(counters::stat_table(&text, StatTable::ArpCache)),
    }
});
