//! Random rule sets that the programs accept.

use super::lab::{ADDRESS, INTERFACE, MAC, Program, SECOND, Side};

/// Where a rule set is loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) side: Side,
    pub(crate) six: bool,
    pub(crate) program: Program,
}

/// The tables and their builtin chains.
pub(crate) fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = [
        ("raw", vec!["PREROUTING", "OUTPUT"]),
        (
            "mangle",
            vec!["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        ),
        ("nat", vec!["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
        ("filter", vec!["INPUT", "FORWARD", "OUTPUT"]),
    ];
    all.to_vec()
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same rules for the same seed, everywhere.
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Generator(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    pub(crate) fn rules(&mut self, place: Place) -> String {
        match place.program {
            Program::Nft => self.nft(place),
            _ => self.iptables(place),
        }
    }

    fn iptables(&mut self, place: Place) -> String {
        let hooks: &[&str] = match place.side {
            Side::Receiver => &["PREROUTING", "INPUT"],
            Side::Sender => &["OUTPUT", "POSTROUTING"],
        };
        let mut text = String::new();
        for (table, chains) in tables() {
            text += &format!("*{table}\n");
            for chain in &chains {
                let drop = table == "filter" && self.chance(40);
                text += &format!(":{chain} {} [0:0]\n", if drop { "DROP" } else { "ACCEPT" });
            }
            let own: Vec<&str> = chains
                .iter()
                .copied()
                .filter(|c| hooks.contains(c))
                .collect();
            let user: &[&str] = if table == "nat" {
                &[]
            } else {
                &["A", "B", "C"]
            };
            for chain in user {
                text += &format!(":{chain} - [0:0]\n");
            }
            if own.is_empty() {
                text += "COMMIT\n";
                continue;
            }
            for (index, chain) in own.iter().copied().chain(user.iter().copied()).enumerate() {
                let deeper = &user[index.saturating_sub(own.len() - 1).min(user.len())..];
                let deeper = if index < own.len() { user } else { deeper };
                for _ in 0..self.below(if index < own.len() { 6 } else { 4 }) {
                    let test = self.iptables_match(place, table, chain);
                    let target = match table {
                        "nat" => self.translation(place, chain, &test),
                        _ => self.iptables_target(place, table, deeper),
                    };
                    if let Some(target) = target {
                        text += format!("-A {chain} {test} {target}").trim_end();
                        text.push('\n');
                    }
                }
            }
            text += "COMMIT\n";
        }
        text
    }

    fn iptables_match(&mut self, place: Place, table: &str, chain: &str) -> String {
        let six = usize::from(place.six);
        let [sender, receiver] = [ADDRESS[0][six], ADDRESS[1][six]];
        let (icmp, icmp_type, hops) = match place.six {
            false => ("-p icmp -m icmp --icmp-type", "8", "-m ttl --ttl"),
            true => ("-p ipv6-icmp -m icmp6 --icmpv6-type", "128", "-m hl --hl"),
        };
        let net = if place.six {
            "fd77::/64"
        } else {
            "10.77.0.0/24"
        };
        let no = if self.chance(30) { "! " } else { "" };
        let port = self.pick(&["22", "53", "3306", "1:1024", "20000:65535", "3000:"]);
        let mut all = vec![
            String::new(),
            format!("{no}-p tcp"),
            format!("-p tcp -m tcp {no}--dport {port}"),
            format!("-p udp -m udp {no}--dport {port}"),
            format!("-p udp -m udp {no}--sport {port}"),
            format!("-p tcp -m multiport {no}--dports 22,3000:4000"),
            format!("-p udp -m multiport {no}--ports 53,1000:1001"),
            format!("-p tcp -m tcp {no}--syn"),
            format!("-p tcp -m tcp {no}--tcp-flags SYN,ACK,FIN SYN"),
            format!("-p tcp -m tcp {no}--tcp-flags ALL NONE"),
            format!("{icmp} {icmp_type}"),
            format!("{icmp} {icmp_type}/0"),
            format!("{icmp} {icmp_type}/1"),
            format!("{no}-s {sender}"),
            format!("{no}-s {net}"),
            format!("{no}-d {receiver}"),
            format!("{no}-d {}", SECOND[six]),
            format!("-m iprange {no}--src-range {sender}-{receiver}"),
            format!("-m iprange {no}--dst-range {sender}-{sender}"),
            format!("-m conntrack {no}--ctstate NEW"),
            format!("-m conntrack {no}--ctstate INVALID,UNTRACKED"),
            format!("-m conntrack {no}--ctstate RELATED,ESTABLISHED"),
            format!("-m state {no}--state INVALID"),
            format!("-m mark {no}--mark 0x1/0x3"),
            format!("-m mark {no}--mark 0x0"),
            format!("-m connmark {no}--mark 0x4/0x4"),
            format!("-m length {no}--length 0:55"),
            format!("-m length --length 60"),
            format!("{hops}-gt 63"),
            format!("{hops}-lt 64"),
            format!("{hops}-eq 64"),
            format!("-m addrtype {no}--dst-type LOCAL"),
            format!("-m addrtype {no}--src-type UNICAST"),
            format!("-m dscp {no}--dscp 0x00"),
            "-m comment --comment \"two words\"".to_owned(),
            "-m limit --limit 100/sec".to_owned(),
            "-m statistic --mode random --probability 0.5".to_owned(),
        ];
        if place.side == Side::Receiver {
            all.push(format!("{no}-i {}", INTERFACE[1]));
            all.push(format!("{no}-i vre+"));
            all.push(format!("-m mac {no}--mac-source {}", MAC[0]));
            all.push(format!("-m pkttype {no}--pkt-type unicast"));
            if chain == "PREROUTING" && matches!(table, "raw" | "mangle") {
                all.push("-m rpfilter --invert".to_owned());
                all.push("-m rpfilter".to_owned());
            }
        } else {
            all.push(format!("{no}-o {}", INTERFACE[0]));
            all.push(format!("{no}-o vre+"));
        }
        let at = self.below(all.len());
        let first = all.swap_remove(at);
        if self.chance(25) && !first.contains("-p ") {
            let mark = self.pick(&[
                "-m mark --mark 0x0/0x1",
                "-m conntrack --ctstate NEW",
                "-p udp",
            ]);
            return format!("{mark} {first}");
        }
        first
    }

    fn iptables_target(&mut self, place: Place, table: &str, deeper: &[&str]) -> Option<String> {
        let mut all = vec!["", "", "-j ACCEPT", "-j RETURN", "-j DROP"];
        match table {
            "mangle" => all.extend([
                "-j MARK --set-xmark 0x1/0x3",
                "-j MARK --set-xmark 0x2/0xffffffff",
                "-j MARK --set-xmark 0x1/0x0",
                "-j CONNMARK --set-xmark 0x4/0xffffffff",
                "-j CONNMARK --restore-mark",
                "-j CONNMARK --save-mark",
            ]),
            "raw" => all.extend(["-j CT --notrack"]),
            // At the sender, the ICMP error is a packet of its own that passes the same hooks.
            _ if place.side == Side::Sender => {}
            _ if place.six => all.extend(["-j REJECT --reject-with icmp6-adm-prohibited"]),
            _ => all.extend([
                "-j REJECT --reject-with icmp-port-unreachable",
                "-j REJECT --reject-with icmp-host-prohibited",
            ]),
        }
        all.extend([
            "-j NFQUEUE --queue-num 7",
            "-j NFQUEUE --queue-num 7 --queue-bypass",
        ]);
        if !deeper.is_empty() && self.chance(45) {
            let chain = self.pick(deeper);
            let how = if self.chance(75) { "-j" } else { "-g" };
            return Some(format!("{how} {chain}"));
        }
        Some(self.pick(&all).to_owned())
    }

    fn translation(&mut self, place: Place, chain: &str, test: &str) -> Option<String> {
        let second = SECOND[usize::from(place.six)];
        let ports = test.starts_with("-p tcp") || test.starts_with("-p udp");
        Some(match (chain, ports) {
            ("PREROUTING", true) => match place.six {
                true => format!("-j DNAT --to-destination [{second}]:22"),
                false => format!("-j DNAT --to-destination {second}:22"),
            },
            ("PREROUTING", false) => format!("-j DNAT --to-destination {second}"),
            ("POSTROUTING", _) => "-j MASQUERADE".to_owned(),
            _ => "-j ACCEPT".to_owned(),
        })
    }

    fn nft(&mut self, place: Place) -> String {
        let family = match (self.chance(60), place.six) {
            (true, _) => "inet",
            (false, false) => "ip",
            (false, true) => "ip6",
        };
        let six = usize::from(place.six);
        let (kind, sender) = (
            if place.six { "ipv6_addr" } else { "ipv4_addr" },
            ADDRESS[0][six],
        );
        let net = if place.six {
            "fd77::/96"
        } else {
            "10.77.0.0/29"
        };
        let mut text = format!(
            "table {family} t {{\n set known {{\n type {kind}\n elements = {{ {sender} }}\n }}\n \
             set nets {{\n type {kind}\n flags interval\n elements = {{ {net} }}\n }}\n \
             set pairs {{\n type {kind} . inet_service\n elements = {{ {sender} . 53, {sender} . 22 }}\n }}\n \
             map verdicts {{\n type inet_service : verdict\n elements = {{ 22 : accept, 53 : jump c, 3306 : drop }}\n }}\n"
        );
        text += " chain c {\n";
        for _ in 0..self.below(3) {
            text += &format!(
                "  {} counter {}\n",
                self.nft_match(place),
                self.nft_action(place, false, &[])
            );
        }
        text += " }\n chain b {\n";
        for _ in 0..self.below(4) {
            text += &format!(
                "  {} counter {}\n",
                self.nft_match(place),
                self.nft_action(place, false, &["c"])
            );
        }
        text += " }\n";
        let hooks: &[(&str, &[i32])] = match place.side {
            Side::Receiver => &[("prerouting", &[-300, -150, 0]), ("input", &[-10, 0, 10])],
            Side::Sender => &[("output", &[-300, 0, 5]), ("postrouting", &[0, 10])],
        };
        for (hook, priorities) in hooks {
            for (index, priority) in priorities.iter().enumerate() {
                let policy = if self.chance(20) { "drop" } else { "accept" };
                text += &format!(
                    " chain {hook}{index} {{\n  type filter hook {hook} priority {priority}; policy {policy};\n"
                );
                for _ in 0..self.below(5) {
                    let test = self.nft_match(place);
                    if self.chance(15) {
                        let map = self.nft_map();
                        text += &format!("  counter {map}\n");
                    } else {
                        let rejects = *hook == "input";
                        let action = self.nft_action(place, rejects, &["b", "c"]);
                        text += &format!("  {test} counter {action}\n");
                    }
                }
                text += " }\n";
            }
        }
        text + "}\n"
    }

    fn nft_map(&mut self) -> &'static str {
        self.pick(&[
            "tcp dport vmap @verdicts",
            "udp dport vmap { 53 : accept, 1000-4000 : jump c }",
            "ct state vmap { new : jump c, invalid : drop, established : accept }",
            "meta l4proto vmap { tcp : jump b, udp : continue }",
            "meta mark vmap { 0x0 : return, 0x1 : drop }",
        ])
    }

    fn nft_match(&mut self, place: Place) -> String {
        let six = usize::from(place.six);
        let (ip, sender, receiver) = (
            if place.six { "ip6" } else { "ip" },
            ADDRESS[0][six],
            ADDRESS[1][six],
        );
        let (icmp, hops) = if place.six {
            ("icmpv6", "ip6 hoplimit")
        } else {
            ("icmp", "ip ttl")
        };
        let no = if self.chance(30) { "!= " } else { "" };
        let port = self.pick(&[
            "22",
            "53",
            "3306",
            "1-1024",
            "{ 22, 53 }",
            "{ 22, 3000-4000 }",
        ]);
        let mut all = vec![
            String::new(),
            format!("tcp dport {no}{port}"),
            format!("udp dport {no}{port}"),
            format!("udp sport {no}20000-40000"),
            format!("th dport {no}{port}"),
            "tcp sport > 1023".to_owned(),
            "udp dport < 54".to_owned(),
            "udp dport >= 54".to_owned(),
            format!("meta l4proto {no}tcp"),
            format!("meta l4proto {no}{{ udp, icmp, ipv6-icmp }}"),
            format!("{ip} saddr {no}{sender}"),
            format!("{ip} saddr {no}@known"),
            format!("{ip} saddr {no}@nets"),
            format!("{ip} saddr . tcp dport {no}@pairs"),
            format!("{ip} saddr . udp dport {no}@pairs"),
            format!("{ip} daddr {no}{{ {receiver}, {sender} }}"),
            format!("{ip} saddr {sender} {ip} daddr {sender}"),
            "tcp flags syn".to_owned(),
            "tcp flags ! syn".to_owned(),
            "tcp flags != syn".to_owned(),
            "tcp flags syn,rst".to_owned(),
            "tcp flags & (syn|ack) == syn".to_owned(),
            "tcp flags & (fin|ack) != 0".to_owned(),
            "tcp flags { syn, ack }".to_owned(),
            format!("ct state {no}new"),
            format!("ct state {no}invalid"),
            "ct state new,established".to_owned(),
            format!("ct state {no}{{ invalid, untracked }}"),
            format!("{icmp} type {no}echo-request"),
            format!("{icmp} type echo-request {icmp} code 0"),
            format!("meta mark {no}0x1"),
            "meta mark & 0x3 == 0x1".to_owned(),
            "meta mark & 0x3 != 0x1".to_owned(),
            format!("ct mark {no}0x0"),
            format!("meta length {no}0-55"),
            format!("{hops} {no}64"),
            format!("{hops} > 63"),
            format!("{ip} dscp {no}cs0"),
            format!("fib daddr type {no}local"),
            format!("fib saddr type {no}unicast"),
            "limit rate 100/second".to_owned(),
            "numgen random mod 2 0".to_owned(),
        ];
        match place.side {
            Side::Receiver => {
                all.push(format!("iifname {no}\"{}\"", INTERFACE[1]));
                all.push(format!("iifname {no}\"vre*\""));
                all.push("iifname { \"lo\", \"vre*\" }".to_owned());
                all.push(format!("iif {no}\"{}\"", INTERFACE[1]));
                all.push(format!("ether saddr {no}{}", MAC[0]));
                all.push(format!("meta pkttype {no}unicast"));
                all.push(format!(
                    "iifname . {ip} saddr {{ \"{}\" . {sender} }}",
                    INTERFACE[1]
                ));
            }
            Side::Sender => {
                all.push(format!("oifname {no}\"{}\"", INTERFACE[0]));
                all.push(format!("oif {no}\"lo\""));
                all.push("iifname \"lo\"".to_owned());
                all.push("iifname != \"lo\"".to_owned());
            }
        }
        let at = self.below(all.len());
        all.swap_remove(at)
    }

    fn nft_action(&mut self, place: Place, rejects: bool, chains: &[&str]) -> String {
        if !chains.is_empty() && self.chance(35) {
            let how = if self.chance(75) { "jump" } else { "goto" };
            return format!("{how} {}", self.pick(chains));
        }
        if rejects && self.chance(10) {
            return if place.six {
                "reject with icmpv6 no-route"
            } else {
                "reject with icmp host-unreachable"
            }
            .to_owned();
        }
        self.pick(&[
            "",
            "",
            "accept",
            "drop",
            "return",
            "continue",
            "meta mark set 0x1",
            "meta mark set 0x3",
            "meta mark set mark or 0x2",
            "meta mark set mark and 0x1",
            "ct mark set 0x1",
            "meta mark set ct mark",
            "ct mark set meta mark",
            "notrack",
        ])
        .to_owned()
    }
}
