//! The kinds of text, by lines that only one tool prints. The text may be cut off anywhere.

use super::Kind;
use crate::counters::{Family, StatTable};
use crate::log::log_format;

/// How many lines are looked at.
const LINES: usize = 200;

/// A test of one kind: what the lines must look like.
type Test = fn(&Lines<'_>) -> Option<Kind>;

/// Every test, the most particular first: what stands behind a general one would never be asked.
const TESTS: &[Test] = &[
    marked,
    nstat,
    mib,
    names_and_values,
    hexadecimal,
    conntrack,
    sockets,
    tc,
    rules,
    ip,
    sysctls,
];

struct Lines<'a> {
    /// Lines that are not blank, without their ends.
    all: Vec<&'a str>,
    name: &'a str,
}

/// The kind of a text; `None` when no line is known.
pub(super) fn recognize(text: &str, name: &str) -> Option<Kind> {
    let lines = Lines {
        all: text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(LINES)
            .collect(),
        name,
    };
    if lines.all.is_empty() {
        return Some(Kind::Empty);
    }
    TESTS
        .iter()
        .find_map(|test| test(&lines))
        .or_else(|| log_format(text).map(|_| Kind::Log))
        .or_else(|| {
            // iptables-save of nothing is at most a remark on what another program manages.
            let whole = lines.all.len() < LINES && text.len() < super::HEAD;
            let remarks = lines.all.iter().all(|line| line.starts_with('#'));
            (whole && remarks).then_some(Kind::Empty)
        })
}

impl<'a> Lines<'a> {
    fn first(&self) -> &'a str {
        self.all.first().copied().unwrap_or_default()
    }

    fn second(&self) -> &'a str {
        self.all.get(1).copied().unwrap_or_default()
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        self.all.iter().any(|line| test(line))
    }

    /// True when at least half of the lines pass.
    fn most(&self, test: impl Fn(&str) -> bool) -> bool {
        let passed = self.all.iter().filter(|line| test(line)).count();
        passed > 0 && passed >= self.all.len().div_ceil(2)
    }
}

/// Texts with a heading that only one tool prints.
fn marked(lines: &Lines<'_>) -> Option<Kind> {
    let first = lines.first().trim_start();
    let starts = |mark: &str| first.starts_with(mark);
    if starts("Inter-|") {
        Some(Kind::NetDev)
    } else if starts("sockets: used ") || starts("TCP6: inuse ") {
        Some(Kind::Sockstat)
    } else if starts("IP Virtual Server version") {
        Some(Kind::Ipvs)
    } else if starts("Total Incoming Outgoing") {
        Some(Kind::IpvsStats)
    } else if starts("NIC statistics:") || starts("no stats available") {
        Some(Kind::EthtoolStatistics)
    } else if starts("Features for ") || starts("Offload parameters for ") {
        Some(Kind::EthtoolFeatures)
    } else if starts("entries") {
        stat_table(lines)
    } else {
        None
    }
}

fn stat_table(lines: &Lines<'_>) -> Option<Kind> {
    let header: Vec<&str> = lines.first().split_ascii_whitespace().collect();
    let has = |name: &str| header.contains(&name);
    let table = if has("in_martian_src") {
        StatTable::RtCache
    } else if has("insert_failed") {
        StatTable::NfConntrack
    } else if has("res_failed") && lines.name.contains("ndisc") {
        StatTable::NdiscCache
    } else if has("res_failed") {
        StatTable::ArpCache
    } else {
        return None;
    };
    Some(Kind::StatTable(table))
}

fn nstat(lines: &Lines<'_>) -> Option<Kind> {
    let counter = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(words[..], [name, value, rate]
            if Family::of(name).is_some() && value.parse::<u64>().is_ok() && rate.parse::<f64>().is_ok())
    };
    let heading = lines.first().starts_with("#kernel")
        || (lines.first().starts_with('#') && lines.first().contains("sampling_interval="));
    (heading || lines.most(counter)).then_some(Kind::Nstat)
}

/// `Tcp: NAMES` above `Tcp: VALUES`, or the sections of `netstat -s`.
fn mib(lines: &Lines<'_>) -> Option<Kind> {
    let (family, names) = lines.first().split_once(':')?;
    let known = family.parse::<Family>().is_ok();
    if known && !names.trim().is_empty() && lines.second().starts_with(&format!("{family}:")) {
        return Some(Kind::Snmp);
    }
    let section = |line: &str| {
        line.strip_suffix(':')
            .is_some_and(|name| name.parse::<Family>().is_ok())
    };
    let told = |line: &str| line.starts_with([' ', '\t']);
    let mut sections = lines.all.iter().skip_while(|line| !section(line)).skip(1);
    sections
        .next()
        .is_some_and(|line| told(line) || section(line))
        .then_some(Kind::NetstatStatistics)
}

fn names_and_values(lines: &Lines<'_>) -> Option<Kind> {
    let pair = |line: &str, fits: &dyn Fn(&str) -> bool| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(words[..], [name, value] if fits(name) && value.parse::<u64>().is_ok())
    };
    let six = |name: &str| {
        matches!(
            Family::of(name),
            Some(Family::Ip6 | Family::Icmp6 | Family::Udp6 | Family::UdpLite6)
        )
    };
    if lines.most(|line| pair(line, &six)) {
        Some(Kind::Snmp6)
    } else if lines.most(|line| pair(line, &|name| name.starts_with("Xfrm"))) {
        Some(Kind::XfrmStat)
    } else {
        None
    }
}

/// softnet_stat has no heading: nine or more columns of eight hexadecimal digits.
fn hexadecimal(lines: &Lines<'_>) -> Option<Kind> {
    let columns = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        words.len() >= 9
            && words
                .iter()
                .all(|word| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    lines
        .all
        .iter()
        .all(|line| columns(line))
        .then_some(Kind::SoftnetStat)
}

fn conntrack(lines: &Lines<'_>) -> Option<Kind> {
    let entry = |line: &str| line.matches(" src=").count() >= 2 && line.contains(" dst=");
    if lines.first().starts_with("cpu=0") && lines.first().contains("found=") {
        Some(Kind::ConntrackStatistics)
    } else if lines.any(entry) || lines.first().starts_with("conntrack v") {
        Some(Kind::ConntrackEntries)
    } else {
        None
    }
}

fn sockets(lines: &Lines<'_>) -> Option<Kind> {
    const FAMILIES: [&str; 18] = [
        "tcp", "udp", "raw", "icmp", "icmp6", "dccp", "sctp", "mptcp", "u_str", "u_dgr", "u_seq",
        "nl", "p_raw", "p_dgr", "v_str", "v_dgr", "ti_st", "xdp",
    ];
    const STATES: [&str; 14] = [
        "ESTAB",
        "SYN-SENT",
        "SYN-RECV",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "TIME-WAIT",
        "UNCONN",
        "CLOSE",
        "CLOSED",
        "CLOSE-WAIT",
        "LAST-ACK",
        "LISTEN",
        "CLOSING",
        "NEW-SYN-RECV",
    ];
    let heading = |line: &str| {
        let line = line.trim_start();
        (line.contains("Recv-Q") && line.contains("Send-Q"))
            || line.starts_with("Active Internet connections")
            || line.starts_with("sl  local_address")
            || line.starts_with("sk       Eth Pid")
    };
    let socket = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let second = words.next().unwrap_or_default();
        (FAMILIES.contains(&first) && STATES.contains(&second))
            || (STATES.contains(&first) && second.parse::<u64>().is_ok())
    };
    // Lines of details stand between the sockets unless `-O` was given.
    let found = lines.all.iter().take(4).any(|line| heading(line))
        || socket(lines.first())
        || lines.most(socket);
    found.then_some(Kind::Sockets)
}

fn tc(lines: &Lines<'_>) -> Option<Kind> {
    let mut words = lines.first().split_ascii_whitespace();
    match (words.next()?, words.next()?) {
        ("qdisc", _) => Some(Kind::Qdiscs),
        ("filter", "parent" | "protocol" | "dev" | "block" | "ingress" | "egress" | "root") => {
            Some(Kind::TcFilters)
        }
        _ => None,
    }
}

fn rules(lines: &Lines<'_>) -> Option<Kind> {
    let table = |line: &str| line.starts_with('*') && !line.contains(' ');
    let chain = |line: &str| line.starts_with(':') && line.split_ascii_whitespace().count() >= 2;
    let listed = |line: &str| {
        line.starts_with("Chain ") && (line.contains("(policy ") || line.contains(" references)"))
    };
    let nft = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(words[..], ["table", .., "{"] | ["table", .., "{", "#", "handle", _]
            if (3..=8).contains(&words.len()))
    };
    if (lines.any(table) && lines.any(chain)) || lines.first().starts_with("# Generated by ip") {
        Some(Kind::IptablesSave)
    } else if lines.any(listed) {
        Some(Kind::IptablesList)
    } else if lines.any(nft) {
        Some(Kind::NftText)
    } else {
        None
    }
}

fn ip(lines: &Lines<'_>) -> Option<Kind> {
    let numbered = |line: &str| -> Option<(bool, String)> {
        let (number, rest) = line.split_once(':')?;
        number.parse::<u64>().ok()?;
        Some((true, rest.trim_start().to_owned()))
    };
    let device = |line: &str| {
        numbered(line).is_some_and(|(_, rest)| {
            rest.split_once(": <")
                .is_some_and(|(name, _)| !name.contains(' '))
        })
    };
    let policy = |line: &str| {
        numbered(line).is_some_and(|(_, rest)| {
            ["from ", "not ", "to "]
                .iter()
                .any(|word| rest.starts_with(word))
        })
    };
    lines
        .any(|line| device(line) || policy(line) || route(line) || neighbor(line))
        .then_some(Kind::Ip)
}

fn route(line: &str) -> bool {
    const KINDS: [&str; 10] = [
        "unicast",
        "local",
        "broadcast",
        "multicast",
        "throw",
        "unreachable",
        "prohibit",
        "blackhole",
        "nat",
        "anycast",
    ];
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (kind, target, rest) = match words[..] {
        [kind, target, ref rest @ ..] if KINDS.contains(&kind) => (true, target, rest),
        [target, ref rest @ ..] => (false, target, rest),
        [] => return false,
    };
    let address = target.split('/').next().unwrap_or_default();
    let target = target == "default" || address.parse::<std::net::IpAddr>().is_ok();
    let rest_fits = rest.first().is_some_and(|word| {
        matches!(
            *word,
            "via" | "dev" | "nexthop" | "proto" | "scope" | "metric" | "table"
        )
    });
    target && (rest_fits || (kind && rest.is_empty()))
}

fn neighbor(line: &str) -> bool {
    const STATES: [&str; 8] = [
        "REACHABLE",
        "STALE",
        "DELAY",
        "PROBE",
        "FAILED",
        "INCOMPLETE",
        "NOARP",
        "PERMANENT",
    ];
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words[..] {
        [address, "dev", _, ..] => {
            address.parse::<std::net::IpAddr>().is_ok()
                && words
                    .iter()
                    .any(|word| STATES.contains(word) || *word == "lladdr")
        }
        _ => false,
    }
}

fn sysctls(lines: &Lines<'_>) -> Option<Kind> {
    let setting = |line: &str| {
        line.split_once('=').is_some_and(|(name, _)| {
            let name = name.trim_end();
            name.contains(['.', '/'])
                && !name.contains(char::is_whitespace)
                && name.starts_with(|first: char| first.is_ascii_lowercase())
        })
    };
    lines.most(setting).then_some(Kind::Sysctls)
}
