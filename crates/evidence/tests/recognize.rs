//! Every dump of a real tool is recognised by its content alone (`fixtures/make-tools` made them).

use std::fs;
use std::path::Path;

use transect_evidence::counters::StatTable;
use transect_evidence::recognize::{Kind, recognize};

/// `None`: no kind is stated for this fixture.
fn expected(name: &str) -> Option<Kind> {
    Some(match name {
        "proc-net-snmp" | "proc-net-netstat" => Kind::Snmp,
        "proc-net-snmp6" => Kind::Snmp6,
        "proc-net-dev" => Kind::NetDev,
        "proc-net-softnet_stat" => Kind::SoftnetStat,
        "proc-net-sockstat" | "proc-net-sockstat6" => Kind::Sockstat,
        "proc-net-xfrm_stat" => Kind::XfrmStat,
        "proc-net-tcp" | "proc-net-udp" | "netstat-an.txt" | "ss-one-line.txt"
        | "ss-two-lines.txt" => Kind::Sockets,
        "stat-arp_cache" => Kind::StatTable(StatTable::ArpCache),
        "stat-ndisc_cache" => Kind::StatTable(StatTable::NdiscCache),
        "stat-rt_cache" => Kind::StatTable(StatTable::RtCache),
        "stat-nf_conntrack" => Kind::StatTable(StatTable::NfConntrack),
        "nstat.txt" | "nstat-z.txt" => Kind::Nstat,
        "nstat.json" => Kind::NstatJson,
        "netstat-s.txt" => Kind::NetstatStatistics,
        "conntrack-S.txt" => Kind::ConntrackStatistics,
        "conntrack-L.txt" => Kind::ConntrackEntries,
        "ethtool-S-eth0.txt" => Kind::EthtoolStatistics,
        "ethtool-k-eth0.txt" => Kind::EthtoolFeatures,
        "iptables-legacy-save.txt" | "iptables-nft-save.txt" => Kind::IptablesSave,
        "ip6tables-nft-save.txt" => Kind::Empty,
        "iptables-legacy-nvxL.txt" => Kind::IptablesList,
        "nft.json" => Kind::NftJson,
        "nft.txt" => Kind::NftText,
        "tc-qdisc.json" | "tc-qdisc.txt" => Kind::Qdiscs,
        "tc-filter-eth0-ingress.json" | "tc-filter-eth0-ingress.txt" => Kind::TcFilters,
        "sysctl.txt" => Kind::Sysctls,
        name if name.starts_with("ip-") => Kind::Ip,
        _ => return None,
    })
}

#[test]
fn dumps_of_the_real_tools() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tools");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for phase in ["before", "after"] {
        for entry in fs::read_dir(tools.join(phase)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "conntrack-L.txt" && phase == "before" {
                continue; // There may be no entry yet.
            }
            let content = fs::read(&path).unwrap();
            let kind = recognize(&content, name);
            if kind.clone().ok() != expected(name) {
                wrong.push(format!("{phase}/{name}: {kind:?}"));
            }
            seen += 1;
            // Cut off in the middle it is still the same.
            let cut = recognize(&content[..content.len() * 2 / 3], name);
            if content.len() > 400 && cut.clone().ok() != expected(name) {
                wrong.push(format!("{phase}/{name}, cut: {cut:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 80, "only {seen} dumps");
    let capture = fs::read(tools.join("server.pcap")).unwrap();
    assert_eq!(recognize(&capture, "x"), Ok(Kind::Capture));
}
