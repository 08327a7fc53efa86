//! Slots: which of a reading's files a dump is. Loose dumps take the slots that a bundle's files have by their names.

use transect_config::{IpOutput, IpVersion, read_ip};

use crate::counters::StatTable;
use crate::recognize::Kind;

/// The kind of a bundle's file by its name inside the reading; `None` for files that a later version may have added.
pub(super) fn kind_of_file(name: &str) -> Option<Kind> {
    Some(match name {
        "net/snmp" | "net/netstat" => Kind::Snmp,
        "net/snmp6" => Kind::Snmp6,
        "net/dev" => Kind::NetDev,
        "net/softnet_stat" => Kind::SoftnetStat,
        "net/sockstat" | "net/sockstat6" => Kind::Sockstat,
        "net/xfrm_stat" => Kind::XfrmStat,
        "net/ip_vs" => Kind::Ipvs,
        "net/ip_vs_stats" => Kind::IpvsStats,
        "net/stat/arp_cache" => Kind::StatTable(StatTable::ArpCache),
        "net/stat/ndisc_cache" => Kind::StatTable(StatTable::NdiscCache),
        "net/stat/rt_cache" => Kind::StatTable(StatTable::RtCache),
        "net/stat/nf_conntrack" => Kind::StatTable(StatTable::NfConntrack),
        "net/udp" | "net/udp6" | "sockets.txt" => Kind::Sockets,
        "conntrack/stats.txt" => Kind::ConntrackStatistics,
        "conntrack/entries.txt" => Kind::ConntrackEntries,
        "tc/qdisc.json" => Kind::Qdiscs,
        "tc/filter.json" => Kind::TcFilters,
        "sysctl.txt" => Kind::Sysctls,
        "nft/ruleset.json" => Kind::NftJson,
        "nft/ruleset.txt" => Kind::NftText,
        _ if name.starts_with("ip/") => Kind::Ip,
        _ if name.starts_with("iptables/") => Kind::IptablesSave,
        _ if name.ends_with(".statistics.txt") => Kind::EthtoolStatistics,
        _ if name.ends_with(".features.txt") => Kind::EthtoolFeatures,
        _ => return None,
    })
}

/// The slot of a loose dump. `name` is its path; it helps where the content does not say all (the interface of
/// `ethtool -S`, whether `iptables-save` was the legacy one).
pub(super) fn slot_of(kind: Kind, name: &str, text: &str) -> Option<String> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let six = ["ip6", "-6", "v6", "inet6", "rule6"]
        .iter()
        .any(|mark| file.contains(mark));
    let fixed = match kind {
        Kind::Snmp if text.lines().any(|line| line.starts_with("TcpExt:")) => "net/netstat",
        Kind::Snmp => "net/snmp",
        Kind::Snmp6 => "net/snmp6",
        Kind::NetDev => "net/dev",
        Kind::SoftnetStat => "net/softnet_stat",
        Kind::Sockstat if text.starts_with("TCP6") => "net/sockstat6",
        Kind::Sockstat => "net/sockstat",
        Kind::XfrmStat => "net/xfrm_stat",
        Kind::Ipvs => "net/ip_vs",
        Kind::IpvsStats => "net/ip_vs_stats",
        Kind::StatTable(table) => return Some(format!("net/stat/{table}")),
        Kind::Nstat | Kind::NstatJson => "nstat.txt",
        Kind::NetstatStatistics => "netstat-s.txt",
        Kind::ConntrackStatistics => "conntrack/stats.txt",
        Kind::ConntrackEntries => "conntrack/entries.txt",
        Kind::EthtoolStatistics => {
            return Some(format!("ethtool/{}.statistics.txt", interface_of(file)));
        }
        Kind::EthtoolFeatures => {
            let interface = transect_config::features_device(text)
                .map_or_else(|| interface_of(file), str::to_owned);
            return Some(format!("ethtool/{interface}.features.txt"));
        }
        Kind::Sockets => return Some(socket_slot(file, text)),
        Kind::Ip => ip_slot(six, text)?,
        Kind::Qdiscs => "tc/qdisc.json",
        Kind::TcFilters => return Some(filter_slot(file)),
        Kind::Sysctls => "sysctl.txt",
        Kind::IptablesSave | Kind::IptablesList => return Some(iptables_slot(kind, file, text)),
        Kind::NftJson => "nft/ruleset.json",
        Kind::NftText => "nft/ruleset.txt",
        Kind::Capture
        | Kind::Archive
        | Kind::Compressed
        | Kind::Manifest
        | Kind::Log
        | Kind::Empty => return None,
    };
    Some(fixed.to_owned())
}

/// Which object `ip` showed. `ip address` shows the links as well; its slot is that of the addresses.
fn ip_slot(six: bool, text: &str) -> Option<&'static str> {
    Some(match read_ip(text, None).value {
        IpOutput::Links(_) => "ip/link.json",
        IpOutput::Addresses(..) => "ip/address.json",
        IpOutput::Neighbors(_) => "ip/neighbor.json",
        IpOutput::PolicyRules(_) if six => "ip/rule6.json",
        IpOutput::PolicyRules(_) => "ip/rule.json",
        IpOutput::Routes(routes) => {
            let has = |version| routes.iter().any(|route| route.version() == version);
            match (has(IpVersion::V4), has(IpVersion::V6)) {
                (true, true) => "ip/route",
                (false, true) => "ip/route6.json",
                _ => "ip/route.json",
            }
        }
        IpOutput::Nothing => return None,
    })
}

fn socket_slot(file: &str, text: &str) -> String {
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("");
    if first.contains("local_address") {
        let six = first.contains("remote_address") || file.contains('6');
        let protocol = ["udplite", "udp", "raw", "icmp", "tcp"]
            .into_iter()
            .find(|protocol| file.contains(protocol))
            .unwrap_or("tcp");
        return format!("net/{protocol}{}", if six { "6" } else { "" });
    }
    if first.starts_with("Active ") || first.starts_with("Proto ") {
        "netstat-an.txt".to_owned()
    } else {
        "sockets.txt".to_owned()
    }
}

/// `tc filter show dev X parent Y` says neither: they may stand in the file's name.
fn filter_slot(file: &str) -> String {
    let words = words_of(file);
    let after = |word: &str| {
        let at = words.iter().position(|found| *found == word)?;
        words.get(at.saturating_add(1)).copied()
    };
    let parent = ["ingress", "egress"]
        .into_iter()
        .find(|parent| words.contains(parent));
    let device = after("dev").or_else(|| after("filter").filter(|word| !known_word(word)));
    match (device, parent) {
        (Some(device), Some(parent)) => format!("tc/filter/{device}/{parent}"),
        (Some(device), None) => format!("tc/filter/{device}"),
        (None, _) => "tc/filter.json".to_owned(),
    }
}

fn iptables_slot(kind: Kind, file: &str, text: &str) -> String {
    let header = text.lines().next().unwrap_or("");
    let six = file.contains("ip6") || header.contains("ip6tables") || text.contains("::/0");
    let tool = if six { "ip6tables" } else { "iptables" };
    // A header "(nf_tables)" is believed by the reader as well.
    let nft = header.contains("(nf_tables)") || file.contains("nft");
    let backend = if nft { "nft" } else { "legacy" };
    if kind == Kind::IptablesSave {
        return format!("iptables/{tool}-{backend}.txt");
    }
    let words = words_of(file);
    let table = ["raw", "mangle", "nat", "filter", "security"]
        .into_iter()
        .find(|table| words.contains(table));
    format!(
        "iptables/list/{tool}-{backend}/{}",
        table.unwrap_or_default()
    )
}

/// The interface in a name such as `ethtool_-S_eth0`, `ethtool-S-eth0.txt`, `eth0.statistics.txt`.
fn interface_of(file: &str) -> String {
    if let Some(interface) = file.strip_suffix(".statistics.txt") {
        return interface.to_owned();
    }
    let short = [".txt", ".out", ".log"]
        .into_iter()
        .find_map(|ending| file.strip_suffix(ending))
        .unwrap_or(file);
    let after = ["-S_", "-S-", "-S ", "-k_", "-k-", "-k "]
        .into_iter()
        .find_map(|mark| short.split_once(mark));
    let rest = after.map_or(short, |(_, rest)| rest);
    // What says when, not where.
    let parts: Vec<&str> = rest.split(['.', '_']).collect();
    let own: Vec<&str> = parts
        .into_iter()
        .filter(|part| !known_word(part) && !part.is_empty())
        .collect();
    own.last().copied().unwrap_or(rest).to_owned()
}

/// Words of file names that name no interface.
fn known_word(word: &str) -> bool {
    matches!(
        word,
        "before"
            | "after"
            | "ethtool"
            | "show"
            | "ingress"
            | "egress"
            | "parent"
            | "txt"
            | "json"
            | "s"
            | "S"
            | "tc"
            | "filter"
            | "statistics"
            | "stats"
    )
}

fn words_of(file: &str) -> Vec<&str> {
    file.split(|char: char| !(char.is_ascii_alphanumeric() || char == '@'))
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(kind: Kind, name: &str, text: &str) -> String {
        slot_of(kind, name, text).unwrap()
    }

    #[test]
    fn names_tell_what_the_content_does_not() {
        for name in [
            "x/ethtool_-S_eth0",
            "ethtool-S-eth0.txt",
            "eth0.statistics.txt",
            "eth0.before",
        ] {
            assert_eq!(
                slot(Kind::EthtoolStatistics, name, ""),
                "ethtool/eth0.statistics.txt",
                "{name}"
            );
        }
        assert_eq!(
            slot(Kind::EthtoolFeatures, "k", "Features for br-1:\n"),
            "ethtool/br-1.features.txt"
        );
        assert_eq!(
            slot(Kind::TcFilters, "tc_-s_filter_show_dev_eth0_ingress", ""),
            "tc/filter/eth0/ingress"
        );
        assert_eq!(
            slot(Kind::TcFilters, "tc-filter-eth0-ingress.json", ""),
            "tc/filter/eth0/ingress"
        );
        assert_eq!(slot(Kind::TcFilters, "filters.txt", ""), "tc/filter.json");
        assert_eq!(
            slot(
                Kind::IptablesSave,
                "a",
                "# Generated by iptables-save v1.8.9 (nf_tables) on"
            ),
            "iptables/iptables-nft.txt"
        );
        assert_eq!(
            slot(Kind::IptablesSave, "ip6tables-save", "*raw"),
            "iptables/ip6tables-legacy.txt"
        );
        assert_eq!(
            slot(Kind::IptablesList, "iptables_-t_mangle_-nvL", ""),
            "iptables/list/iptables-legacy/mangle"
        );
    }

    #[test]
    fn contents_tell_the_rest() {
        for (text, expected) in [
            (
                r#"[{"ifindex":1,"ifname":"lo","flags":[],"mtu":65536}]"#,
                "ip/link.json",
            ),
            (
                r#"[{"ifindex":1,"ifname":"lo","mtu":1,"addr_info":[]}]"#,
                "ip/address.json",
            ),
            (
                r#"[{"dst":"default","gateway":"10.0.0.1","dev":"e"}]"#,
                "ip/route.json",
            ),
            (r#"[{"dst":"::1","dev":"lo"}]"#, "ip/route6.json"),
            (
                r#"[{"priority":0,"src":"all","table":"local"}]"#,
                "ip/rule.json",
            ),
            (
                r#"[{"dst":"10.0.0.1","dev":"e","state":["STALE"]}]"#,
                "ip/neighbor.json",
            ),
            ("1: lo: <LOOPBACK> mtu 65536\n", "ip/link.json"),
            (
                "1: lo: <LOOPBACK> mtu 65536\n    inet 127.0.0.1/8 scope host lo\n",
                "ip/address.json",
            ),
            ("0:\tfrom all lookup local\n", "ip/rule.json"),
            (
                "10.0.0.1 dev e lladdr 02:00:00:00:00:01 STALE\n",
                "ip/neighbor.json",
            ),
            ("default via 10.0.0.1 dev e\n", "ip/route.json"),
        ] {
            assert_eq!(slot(Kind::Ip, "x", text), expected, "{text}");
        }
        assert_eq!(
            slot(Kind::Sockets, "udp6", "  sl  local_address rem_address"),
            "net/udp6"
        );
        assert_eq!(
            slot(Kind::Sockets, "x", "Active Internet connections"),
            "netstat-an.txt"
        );
        assert_eq!(
            slot(Kind::Snmp, "x", "TcpExt: A\nTcpExt: 1\n"),
            "net/netstat"
        );
        assert_eq!(slot(Kind::Snmp, "x", "Ip: A\nIp: 1\n"), "net/snmp");
    }

    #[test]
    fn a_bundles_names_are_slots_and_have_kinds() {
        for name in [
            "net/snmp",
            "ip/route6.json",
            "iptables/ip6tables-nft.txt",
            "ethtool/a.b.features.txt",
        ] {
            assert!(kind_of_file(name).is_some(), "{name}");
        }
        assert_eq!(kind_of_file("later/thing.bin"), None);
    }

    proptest! {
        #[test]
        fn no_name_or_text_panics(name in ".{0,30}", text in ".{0,60}") {
            for kind in [Kind::Sockets, Kind::TcFilters, Kind::IptablesList, Kind::EthtoolStatistics] {
                prop_assert!(slot_of(kind, &name, &text).is_some());
            }
            slot_of(Kind::Ip, &name, &text);
        }
    }
}
