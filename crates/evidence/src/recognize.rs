//! What kind of file this is, by its content. The name only decides where the content fits several kinds.

use std::fmt;

use crate::counters::StatTable;

mod json;
mod text;

/// How many bytes from a file's start suffice to recognise it.
pub const HEAD: usize = 64 << 10;

/// A kind of file that Transect reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A capture: pcap or pcapng.
    Capture,
    /// A tar archive: a bundle, or a folder of dumps.
    Archive,
    /// Something compressed with gzip or zstd; what is inside decides.
    Compressed,
    /// A bundle's manifest: the folder around it is the bundle.
    Manifest,
    /// /proc/net/snmp or /proc/net/netstat.
    Snmp,
    /// /proc/net/snmp6.
    Snmp6,
    /// /proc/net/dev.
    NetDev,
    /// /proc/net/softnet_stat.
    SoftnetStat,
    /// /proc/net/sockstat or sockstat6.
    Sockstat,
    /// /proc/net/xfrm_stat.
    XfrmStat,
    /// /proc/net/ip_vs.
    Ipvs,
    /// /proc/net/ip_vs_stats.
    IpvsStats,
    /// A table of /proc/net/stat.
    StatTable(StatTable),
    /// `nstat`.
    Nstat,
    /// `nstat -j`.
    NstatJson,
    /// `netstat -s`.
    NetstatStatistics,
    /// `conntrack -S`.
    ConntrackStatistics,
    /// `conntrack -L` or /proc/net/nf_conntrack.
    ConntrackEntries,
    /// `ethtool -S`.
    EthtoolStatistics,
    /// `ethtool -k`.
    EthtoolFeatures,
    /// `ss`, `netstat -an`, /proc/net/{tcp,udp,raw}{,6}.
    Sockets,
    /// `ip -j` or `ip`: links, addresses, routes, rules, neighbours; which, its reader finds out.
    Ip,
    /// `tc -j qdisc` or `tc qdisc`.
    Qdiscs,
    /// `tc -j filter` or `tc filter`.
    TcFilters,
    /// `sysctl -a`.
    Sysctls,
    /// `iptables-save` or `ip6tables-save`.
    IptablesSave,
    /// `iptables -nvxL`.
    IptablesList,
    /// `nft -j list ruleset`.
    NftJson,
    /// `nft list ruleset`.
    NftText,
    /// A log of an application.
    Log,
    /// An empty file, list or object: a dump of nothing.
    Empty,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Capture => "capture",
            Kind::Archive => "tar archive",
            Kind::Compressed => "compressed file",
            Kind::Manifest => "bundle manifest",
            Kind::Snmp => "/proc/net/snmp or netstat",
            Kind::Snmp6 => "/proc/net/snmp6",
            Kind::NetDev => "/proc/net/dev",
            Kind::SoftnetStat => "/proc/net/softnet_stat",
            Kind::Sockstat => "/proc/net/sockstat",
            Kind::XfrmStat => "/proc/net/xfrm_stat",
            Kind::Ipvs => "/proc/net/ip_vs",
            Kind::IpvsStats => "/proc/net/ip_vs_stats",
            Kind::StatTable(table) => return write!(f, "/proc/net/stat/{table}"),
            Kind::Nstat => "nstat",
            Kind::NstatJson => "nstat -j",
            Kind::NetstatStatistics => "netstat -s",
            Kind::ConntrackStatistics => "conntrack -S",
            Kind::ConntrackEntries => "conntrack -L",
            Kind::EthtoolStatistics => "ethtool -S",
            Kind::EthtoolFeatures => "ethtool -k",
            Kind::Sockets => "ss",
            Kind::Ip => "ip",
            Kind::Qdiscs => "tc qdisc",
            Kind::TcFilters => "tc filter",
            Kind::Sysctls => "sysctl -a",
            Kind::IptablesSave => "iptables-save",
            Kind::IptablesList => "iptables -nvxL",
            Kind::NftJson => "nft -j list ruleset",
            Kind::NftText => "nft list ruleset",
            Kind::Log => "log",
            Kind::Empty => "empty file",
        })
    }
}

/// A file of no kind that Transect reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name}: not a kind of file that is known; it begins with {start}; expected a capture (pcap, pcapng), a bundle, \
     the output of nstat, netstat, ss, ip, tc, conntrack, ethtool, sysctl, iptables-save or nft, a file of /proc/net, or a log"
)]
pub struct Unrecognized {
    /// The file's name.
    pub name: String,
    /// The first bytes, escaped.
    pub start: String,
}

/// Recognises a file by the first bytes of its content, at most [`HEAD`] of them; `name` decides only where the content
/// fits several kinds (`arp_cache` and `ndisc_cache` look alike).
///
/// # Errors
/// The content is of no known kind.
pub fn recognize(head: &[u8], name: &str) -> Result<Kind, Unrecognized> {
    if let Some(kind) = by_magic(head) {
        return Ok(kind);
    }
    let text = String::from_utf8_lossy(head.get(..HEAD).unwrap_or(head));
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A binary file is none of the texts, even where a line in it looks like one.
    let binary = text.contains('\0');
    let found = if binary {
        None
    } else if text.trim_start().starts_with(['{', '[']) {
        json::recognize(text).or_else(|| text::recognize(text, name))
    } else {
        text::recognize(text, name)
    };
    found.ok_or_else(|| Unrecognized {
        name: name.to_owned(),
        start: start_of(head),
    })
}

fn by_magic(head: &[u8]) -> Option<Kind> {
    const CAPTURES: [[u8; 4]; 7] = [
        [0x0a, 0x0d, 0x0d, 0x0a],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x34, 0xcd, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xcd, 0x34],
    ];
    if CAPTURES.iter().any(|magic| head.starts_with(magic)) {
        Some(Kind::Capture)
    } else if head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Kind::Compressed)
    } else if head.get(257..262) == Some(b"ustar") {
        Some(Kind::Archive)
    } else {
        None
    }
}

/// The first bytes for a message: text as text, the rest in hexadecimal.
fn start_of(head: &[u8]) -> String {
    if head.is_empty() {
        return "nothing (the file is empty)".to_owned();
    }
    for (magic, name) in [
        (&b"\xfd7zXZ\0"[..], "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf", "7-Zip"),
    ] {
        if head.starts_with(magic) {
            return format!(
                "the mark of {name} (unpack it first; gzip and zstd are read as they are)"
            );
        }
    }
    let short = head.get(..24).unwrap_or(head);
    match std::str::from_utf8(short) {
        Ok(text) if !text.contains(|char: char| char.is_control() && !char.is_whitespace()) => {
            format!("{text:?}")
        }
        _ => {
            let bytes: Vec<String> = short
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("the bytes {}", bytes.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn archives_that_are_not_read_say_what_to_do() {
        let error = recognize(b"\xfd7zXZ\0\0\x04", "sosreport.tar.xz").unwrap_err();
        assert!(error.to_string().contains("xz (unpack it first"), "{error}");
    }

    #[test]
    fn texts_are_recognised_by_what_only_they_hold() {
        let six = "00000001 ".repeat(13);
        for (text, expected) in [
            ("Ip: A B\nIp: 1 2\n", Kind::Snmp),
            ("TcpExt: SyncookiesSent\nTcpExt: 0\n", Kind::Snmp),
            ("Ip6InReceives      \t1\n", Kind::Snmp6),
            ("Inter-|   Receive\n face |bytes\n", Kind::NetDev),
            (six.as_str(), Kind::SoftnetStat),
            ("sockets: used 3\nTCP: inuse 1\n", Kind::Sockstat),
            ("TCP6: inuse 0\n", Kind::Sockstat),
            ("XfrmInError   \t0\n", Kind::XfrmStat),
            ("IP Virtual Server version 1.2.1 (size=4096)\n", Kind::Ipvs),
            (
                "   Total Incoming Outgoing         Incoming\n",
                Kind::IpvsStats,
            ),
            (
                "entries  in_hit in_martian_src\n",
                Kind::StatTable(StatTable::RtCache),
            ),
            ("#kernel\nIpInReceives 1 0.0\n", Kind::Nstat),
            ("IpInReceives     1    0.0\nTcpInSegs 2 0.1\n", Kind::Nstat),
            (
                "Tcp:\n    1 active connection openings\n",
                Kind::NetstatStatistics,
            ),
            (
                "IcmpMsg:\nTcp:\n    1 active connection openings\n",
                Kind::NetstatStatistics,
            ),
            ("cpu=0   \tfound=0 invalid=0\n", Kind::ConntrackStatistics),
            (
                "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0 use=1\n",
                Kind::ConntrackEntries,
            ),
            ("NIC statistics:\n     rx: 1\n", Kind::EthtoolStatistics),
            (
                "Features for eth0:\nrx-checksumming: on\n",
                Kind::EthtoolFeatures,
            ),
            (
                "Netid State  Recv-Q Send-Q Local Address:Port\n",
                Kind::Sockets,
            ),
            (
                "tcp   LISTEN 0      128          0.0.0.0:22         0.0.0.0:*\n",
                Kind::Sockets,
            ),
            (
                "ESTAB 0      0   10.0.0.1:22   10.0.0.2:4000\n\t cubic wscale:7,7\n",
                Kind::Sockets,
            ),
            (
                "Active Internet connections (servers and established)\n",
                Kind::Sockets,
            ),
            (
                "  sl  local_address rem_address   st tx_queue\n",
                Kind::Sockets,
            ),
            (
                "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue\n",
                Kind::Ip,
            ),
            ("default via 10.0.0.1 dev eth0 proto dhcp\n", Kind::Ip),
            ("blackhole 10.9.0.0/16\n", Kind::Ip),
            (
                "local ::1 dev lo proto kernel metric 0 pref medium\n",
                Kind::Ip,
            ),
            ("0:\tfrom all lookup local\n", Kind::Ip),
            (
                "10.0.0.1 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE\n",
                Kind::Ip,
            ),
            ("10.0.0.7 dev eth0  FAILED\n", Kind::Ip),
            ("qdisc noqueue 0: dev lo root refcnt 2\n", Kind::Qdiscs),
            (
                "filter parent ffff: protocol all pref 49152 bpf chain 0\n",
                Kind::TcFilters,
            ),
            (
                "net.ipv4.ip_forward = 0\nkernel.osrelease = 6.1\n",
                Kind::Sysctls,
            ),
            (
                "# Generated by iptables-save v1.8.9 on Sun\n*filter\n",
                Kind::IptablesSave,
            ),
            ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", Kind::IptablesSave),
            (
                "Chain INPUT (policy ACCEPT 3 packets, 180 bytes)\n",
                Kind::IptablesList,
            ),
            ("table ip filter {\n\tchain INPUT {\n", Kind::NftText),
            (
                "# Warning: table ip nat is managed by iptables-nft, do not touch!\ntable ip nat { # handle 3\n",
                Kind::NftText,
            ),
            (
                "10.0.0.1 - - [22/Nov/2026:10:33:01 +0000] \"GET / HTTP/1.1\" 200 3\n",
                Kind::Log,
            ),
            ("2026-11-22T10:33:01Z started\n", Kind::Log),
            ("\n \n", Kind::Empty),
        ] {
            assert_eq!(recognize(text.as_bytes(), "x"), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_name_decides_only_between_alike_contents() {
        let neighbours = b"entries  allocs   destroys hash_grows lookups  hits     res_failed\n";
        let kind = |name| recognize(neighbours, name).unwrap();
        assert_eq!(
            kind("stat/ndisc_cache"),
            Kind::StatTable(StatTable::NdiscCache)
        );
        assert_eq!(kind("x"), Kind::StatTable(StatTable::ArpCache));
        assert_eq!(recognize(b"#kernel\n", "capture.pcap"), Ok(Kind::Nstat));
    }

    #[test]
    fn binary_files_by_their_magic_numbers() {
        assert_eq!(
            recognize(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "x"),
            Ok(Kind::Capture)
        );
        assert_eq!(recognize(&[0x0a, 0x0d, 0x0d, 0x0a], "x"), Ok(Kind::Capture));
        assert_eq!(recognize(&[0x1f, 0x8b, 8], "x"), Ok(Kind::Compressed));
        assert_eq!(
            recognize(&[0x28, 0xb5, 0x2f, 0xfd], "x"),
            Ok(Kind::Compressed)
        );
        let mut archive = vec![0; 512];
        archive[257..262].copy_from_slice(b"ustar");
        assert_eq!(recognize(&archive, "x"), Ok(Kind::Archive));
    }

    #[test]
    fn the_unknown_is_named_with_its_first_bytes() {
        let elf = recognize(b"\x7fELF\x02\x01\x01\x00", "prog").unwrap_err();
        assert_eq!(elf.start, "the bytes 7f 45 4c 46 02 01 01 00");
        let letter = recognize(b"Dear Sir or Madam,\n", "letter.txt").unwrap_err();
        insta::assert_snapshot!(letter, @r#"letter.txt: not a kind of file that is known; it begins with "Dear Sir or Madam,\n"; expected a capture (pcap, pcapng), a bundle, the output of nstat, netstat, ss, ip, tc, conntrack, ethtool, sysctl, iptables-save or nft, a file of /proc/net, or a log"#);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), name in ".{0,10}") {
            let _ = recognize(&bytes, &name);
        }

        #[test]
        fn no_text_panics(text in "[ -~\\n\\t]{0,200}") {
            let _ = recognize(text.as_bytes(), "x");
        }
    }
}
