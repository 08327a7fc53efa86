//! The counters as /proc/net shows them.

use std::fmt::Write;

use super::{Counted, Counters, Group, IpCounter, TcpCounter, UdpCounter};

/// `Ip:` of /proc/net/snmp behind `Forwarding` and `DefaultTTL`.
const SNMP_IP: [IpCounter; 18] = {
    use IpCounter::*;
    [
        InReceives,
        InHdrErrors,
        InAddrErrors,
        ForwDatagrams,
        InUnknownProtos,
        InDiscards,
        InDelivers,
        OutRequests,
        OutDiscards,
        OutNoRoutes,
        ReasmTimeout,
        ReasmReqds,
        ReasmOKs,
        ReasmFails,
        FragOKs,
        FragFails,
        FragCreates,
        OutTransmits,
    ]
};

/// `IpExt:` of /proc/net/netstat.
const NETSTAT_IP: [IpCounter; 18] = {
    use IpCounter::*;
    [
        InNoRoutes,
        InTruncatedPkts,
        InMcastPkts,
        OutMcastPkts,
        InBcastPkts,
        OutBcastPkts,
        InOctets,
        OutOctets,
        InMcastOctets,
        OutMcastOctets,
        InBcastOctets,
        OutBcastOctets,
        InCsumErrors,
        InNoECTPkts,
        InECT1Pkts,
        InECT0Pkts,
        InCEPkts,
        ReasmOverlaps,
    ]
};

/// `Ip6…` of /proc/net/snmp6: `ForwDatagrams` is called `OutForwDatagrams` there.
const SNMP6_IP: [IpCounter; 33] = {
    use IpCounter::*;
    [
        InReceives,
        InHdrErrors,
        InTooBigErrors,
        InNoRoutes,
        InAddrErrors,
        InUnknownProtos,
        InTruncatedPkts,
        InDiscards,
        InDelivers,
        ForwDatagrams,
        OutRequests,
        OutDiscards,
        OutNoRoutes,
        ReasmTimeout,
        ReasmReqds,
        ReasmOKs,
        ReasmFails,
        FragOKs,
        FragFails,
        FragCreates,
        InMcastPkts,
        OutMcastPkts,
        InOctets,
        OutOctets,
        InMcastOctets,
        OutMcastOctets,
        InBcastOctets,
        OutBcastOctets,
        InNoECTPkts,
        InECT1Pkts,
        InECT0Pkts,
        InCEPkts,
        OutTransmits,
    ]
};

fn name<C: Counted>(counter: C) -> &'static str {
    C::NAMES.get(counter.index()).copied().unwrap_or_default()
}

/// A line of names and a line of values.
fn pair(text: &mut String, title: &str, columns: &[(&str, u64)]) {
    // Names are a dozen characters long, most values one.
    text.reserve(2 * title.len() + 20 * columns.len());
    text.push_str(title);
    text.push(':');
    for (name, _) in columns {
        text.push(' ');
        text.push_str(name);
    }
    text.push('\n');
    text.push_str(title);
    text.push(':');
    for (_, value) in columns {
        text.push(' ');
        push_number(text, *value);
    }
    text.push('\n');
}

/// A number in decimal. Most counters have not moved.
fn push_number(text: &mut String, value: u64) {
    match u8::try_from(value) {
        Ok(digit @ 0..=9) => text.push(char::from(b'0' + digit)),
        _ => {
            let _ = write!(text, "{value}");
        }
    }
}

fn all<C: Counted>(group: &Group<C>) -> Vec<(&'static str, u64)> {
    group.iter().collect()
}

fn listed<C: Counted>(group: &Group<C>, list: &[C]) -> Vec<(&'static str, u64)> {
    list.iter().map(|&one| (name(one), group.of(one))).collect()
}

impl Counters {
    /// /proc/net/snmp. `forwarding` and `ttl` are the settings that it shows first.
    pub fn snmp(&self, forwarding: bool, ttl: u8) -> String {
        let mut text = String::new();
        let mut ip = vec![
            // 1: forwarding, 2: not (RFC 4293).
            ("Forwarding", if forwarding { 1 } else { 2 }),
            ("DefaultTTL", u64::from(ttl)),
        ];
        ip.extend(listed(&self.ip4, &SNMP_IP));
        pair(&mut text, "Ip", &ip);
        pair(&mut text, "Icmp", &all(&self.icmp));
        let [received, sent] = &self.icmp_types;
        let messages: Vec<(String, u64)> = received
            .iter()
            .map(|(kind, count)| (format!("InType{kind}"), *count))
            .chain(
                sent.iter()
                    .map(|(kind, count)| (format!("OutType{kind}"), *count)),
            )
            .collect();
        if !messages.is_empty() {
            let columns: Vec<(&str, u64)> = messages
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .collect();
            pair(&mut text, "IcmpMsg", &columns);
        }
        // RFC 4022: `other` is 1, Van Jacobson's algorithm 4; -1 connections: no limit, which no unsigned value says.
        let _ = writeln!(
            text,
            "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn {}",
            TcpCounter::NAMES.join(" ")
        );
        let _ = write!(text, "Tcp: 1 200 120000 -1");
        for (_, value) in self.tcp.iter() {
            text.push(' ');
            push_number(&mut text, value);
        }
        text.push('\n');
        pair(&mut text, "Udp", &all(&self.udp4));
        pair(&mut text, "UdpLite", &all(&Group::<UdpCounter>::default()));
        text
    }

    /// /proc/net/netstat.
    pub fn netstat(&self) -> String {
        let mut text = String::new();
        pair(&mut text, "TcpExt", &all(&self.tcp_ext));
        pair(&mut text, "IpExt", &listed(&self.ip4, &NETSTAT_IP));
        text
    }

    /// /proc/net/snmp6.
    pub fn snmp6(&self) -> String {
        let mut text = String::with_capacity(100 * 36);
        // `%-32s\t%lu`.
        let mut line = |family: &str, name: &str, value: u64| {
            text.push_str(family);
            text.push_str(name);
            const SPACES: &str = "                                ";
            let filled = family.len() + name.len();
            text.push_str(SPACES.get(filled..).unwrap_or_default());
            text.push('\t');
            push_number(&mut text, value);
            text.push('\n');
        };
        for counter in SNMP6_IP {
            let name = match counter {
                IpCounter::ForwDatagrams => "OutForwDatagrams",
                other => name(other),
            };
            line("Ip6", name, self.ip6.of(counter));
        }
        for (name, value) in self.icmp6.iter() {
            line("Icmp6", name, value);
        }
        for (word, types) in ["In", "Out"].iter().zip(&self.icmp6_types) {
            for (kind, value) in types {
                line("Icmp6", &format!("{word}Type{kind}"), *value);
            }
        }
        for (name, value) in self.udp6.iter() {
            line("Udp6", name, value);
        }
        text
    }

    /// One counter under the name that `nstat` prints (`TcpExtListenDrops`, `Ip6InReceives`); nothing for an unknown one.
    pub fn named(&self, name: &str) -> Option<u64> {
        // Longer prefixes first: `TcpExt…` also begins with `Tcp`.
        if let Some(rest) = name.strip_prefix("TcpExt") {
            return self.tcp_ext.named(rest);
        }
        if let Some(rest) = name.strip_prefix("IpExt") {
            return self.ip4.named(rest);
        }
        if let Some(rest) = name.strip_prefix("Icmp6") {
            return self.icmp6.named(rest);
        }
        if let Some(rest) = name.strip_prefix("Icmp") {
            return self.icmp.named(rest);
        }
        if let Some(rest) = name.strip_prefix("Ip6") {
            return match rest {
                "OutForwDatagrams" => Some(self.ip6.of(IpCounter::ForwDatagrams)),
                rest => self.ip6.named(rest),
            };
        }
        if let Some(rest) = name.strip_prefix("Udp6") {
            return self.udp6.named(rest);
        }
        if let Some(rest) = name.strip_prefix("Tcp") {
            return self.tcp.named(rest);
        }
        if let Some(rest) = name.strip_prefix("Udp") {
            return self.udp4.named(rest);
        }
        name.strip_prefix("Ip")
            .and_then(|rest| self.ip4.named(rest))
    }
}
