//! One reading of a model host, in the files and formats of `transect collect`'s readings of a kernel.

use std::collections::BTreeSet;

use transect_config::IpVersion;
use transect_config::rules::{
    Family, RuleSet, write_iptables_save, write_nft_json, write_nft_text,
};
use transect_evidence::bundle::{RawFile, RawReading};
use transect_host::Host;
use transect_path::{RuleBackend, Timestamp};

/// How much to read; the two scopes hold what those of the live collector hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    Full,
    /// What changes with traffic.
    Sample,
}

/// What `nft -j list ruleset` prints for no rules, less its version.
const NO_RULES: &str = "{\"nftables\": [{\"metainfo\": {\"json_schema_version\": 1}}]}\n";

/// Reads a host at a moment.
pub(super) fn read(host: &Host, now: Timestamp, scope: Scope) -> RawReading {
    let mut reading = Gathered::default();
    counters(host, &mut reading);
    links(host, scope, &mut reading);
    reading.file("sockets.txt", host.sockets_text());
    reading.file("conntrack/stats.txt", host.conntrack_stats_text());
    reading.file("conntrack/entries.txt", host.conntrack_entries_text());
    if scope == Scope::Full {
        reading.file("sysctl.txt", sysctl_text(host));
        for link in host.config().links.iter().flatten() {
            let name = &link.name;
            reading.file(
                format!("ethtool/{name}.features.txt"),
                host.features_text(name),
            );
            let statistics = host.ethtool_statistics_text(name);
            if !statistics.is_empty() {
                reading.file(format!("ethtool/{name}.statistics.txt"), statistics);
            }
        }
    }
    rules(host.rules(), scope, &mut reading);
    RawReading {
        started: now,
        ended: now,
        files: reading.0,
        unseen: Vec::new(),
    }
}

/// The files of a reading.
#[derive(Default)]
struct Gathered(Vec<RawFile>);

impl Gathered {
    fn file(&mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.0.push(RawFile {
            name: name.into(),
            bytes: text.into(),
        });
    }
}

fn counters(host: &Host, reading: &mut Gathered) {
    let sysctls = &host.config().sysctls;
    let forwarding = sysctls.number("net.ipv4.conf.all.forwarding") == Some(1);
    let ttl = sysctls.number("net.ipv4.ip_default_ttl").unwrap_or(64);
    let ttl = u8::try_from(ttl).unwrap_or(u8::MAX);
    let counters = host.counters();
    reading.file("net/snmp", counters.snmp(forwarding, ttl));
    reading.file("net/snmp6", counters.snmp6());
    reading.file("net/netstat", counters.netstat());
    reading.file("net/dev", host.proc_net_dev());
    reading.file("net/softnet_stat", host.softnet_stat());
    reading.file("net/sockstat", host.sockstat_text(IpVersion::V4));
    reading.file("net/sockstat6", host.sockstat_text(IpVersion::V6));
    reading.file("net/stat/rt_cache", host.rt_cache_text());
    reading.file("net/stat/arp_cache", host.arp_cache_text());
    reading.file("net/stat/ndisc_cache", host.ndisc_cache_text());
}

fn links(host: &Host, scope: Scope, reading: &mut Gathered) {
    reading.file("ip/link.json", host.link_json());
    if scope == Scope::Full {
        reading.file("ip/address.json", host.address_json());
        reading.file("ip/route.json", host.route_json(IpVersion::V4));
        reading.file("ip/route6.json", host.route_json(IpVersion::V6));
        reading.file("ip/rule.json", host.rule_json(IpVersion::V4));
        reading.file("ip/rule6.json", host.rule_json(IpVersion::V6));
    }
    reading.file("ip/neighbor.json", host.neighbor_json());
    reading.file("tc/qdisc.json", host.qdisc_json());
    reading.file("tc/filter.json", host.filter_json());
}

fn sysctl_text(host: &Host) -> String {
    let lines = host.config().sysctls.values.iter();
    lines
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect()
}

fn rules(rules: &RuleSet, scope: Scope, reading: &mut Gathered) {
    let kinds: BTreeSet<(&str, &str)> = rules
        .tables
        .iter()
        .map(|table| (table.backend.id(), table.family.id()))
        .collect();
    let has = |backend: RuleBackend, family: Family| kinds.contains(&(backend.id(), family.id()));
    let nftables = kinds
        .iter()
        .any(|(backend, _)| *backend != RuleBackend::IptablesLegacy.id());
    if nftables {
        reading.file("nft/ruleset.json", write_nft_json(rules));
    } else {
        reading.file("nft/ruleset.json", NO_RULES);
    }
    if nftables && scope == Scope::Full {
        reading.file("nft/ruleset.txt", write_nft_text(rules));
    }
    for (family, name) in [(Family::Ip, "iptables"), (Family::Ip6, "ip6tables")] {
        for (backend, kind, always) in [
            (RuleBackend::IptablesNft, "nft", false),
            (RuleBackend::IptablesLegacy, "legacy", true),
        ] {
            if has(backend, family) && (always || scope == Scope::Full) {
                reading.file(
                    format!("iptables/{name}-{kind}.txt"),
                    write_iptables_save(rules, backend, family),
                );
            }
        }
    }
}
