//! One row of `iptables -nvxL`, brought into the words of `iptables-save`.

use std::net::IpAddr;

use super::super::Counter;

/// A row, as its columns stand.
pub(super) struct Row<'a> {
    /// Packets and bytes.
    pub(super) counter: Counter,
    target: Option<&'a str>,
    protocol: &'a str,
    option: &'a str,
    input: &'a str,
    output: &'a str,
    source: &'a str,
    destination: &'a str,
    /// Matches, then the target's options, in the words of each.
    rest: Vec<&'a str>,
}

fn is_network(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    word == "anywhere"
        || word
            .split('/')
            .next()
            .is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// Splits at blanks; what stands in double quotes or in a comment stays one word.
fn split(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("/* ") {
            rest.find(" */").map(|at| at + 3)
        } else if let Some(inner) = rest.strip_prefix('"') {
            inner.find('"').map(|at| at + 2)
        } else {
            None
        };
        let end = end
            .or_else(|| rest.find(char::is_whitespace))
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

impl<'a> Row<'a> {
    /// Reads a row. A target may be missing, and ip6tables leaves the column `opt` blank, so the addresses are found first.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let words = split(line);
        let source = (0..words.len().saturating_sub(1))
            .find(|at| is_network(words[*at]) && is_network(words[*at + 1]))?;
        let numbers = words
            .iter()
            .take_while(|word| word.bytes().all(|b| b.is_ascii_digit()))
            .count();
        // [NUM] PKTS BYTES, and with -n a protocol may be a number too.
        let before = words.get(..source)?;
        let (output, input) = (before.last()?, before.get(before.len().checked_sub(2)?)?);
        let mut head = before.get(..before.len() - 2)?;
        let option = match head.last() {
            Some(&option) if matches!(option, "--" | "-f" | "!f" | "-!f") => {
                head = &head[..head.len() - 1];
                option
            }
            _ => "--",
        };
        let (protocol, head) = head.split_last()?;
        let (target, counters) = match head.split_last() {
            Some((last, counters)) if last.bytes().any(|b| !b.is_ascii_digit()) => {
                (Some(*last), counters)
            }
            _ => (None, head),
        };
        if numbers < 2 || counters.len() > 3 {
            return None;
        }
        let [.., packets, bytes] = counters else {
            return None;
        };
        Some(Row {
            counter: Counter {
                packets: packets.parse().ok()?,
                bytes: bytes.parse().ok()?,
            },
            target,
            protocol,
            option,
            input,
            output,
            source: words[source],
            destination: words[source + 1],
            rest: words[source + 2..].to_vec(),
        })
    }

    /// The words of `iptables-save` behind `-A CHAIN`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut out = Arguments::default();
        for (option, word, any) in [
            (
                "-s",
                self.source,
                &["0.0.0.0/0", "::/0", "anywhere"] as &[&str],
            ),
            ("-d", self.destination, &["0.0.0.0/0", "::/0", "anywhere"]),
            ("-i", self.input, &["*", "any"]),
            ("-o", self.output, &["*", "any"]),
            ("-p", self.protocol, &["all", "0"]),
        ] {
            if any.contains(&word) {
                continue;
            }
            out.negatable(option, word);
        }
        match self.option {
            "-f" => out.push(["-f"]),
            "!f" | "-!f" => out.push(["!", "-f"]),
            _ => {}
        }
        let mut rest = self.rest.as_slice();
        let mut options: Vec<&str> = Vec::new();
        let mut goto = false;
        while let Some((first, behind)) = rest.split_first() {
            rest = match (*first, behind) {
                ("[goto]", _) => {
                    goto = true;
                    behind
                }
                _ => match out.read(rest) {
                    Some(behind) => behind,
                    None if self.owns(first) => {
                        options.extend(rest);
                        &[]
                    }
                    None => {
                        out.unknown(first);
                        behind
                    }
                },
            };
        }
        if let Some(target) = self.target {
            out.flush();
            out.push([if goto { "-g" } else { "-j" }, target]);
            out.words.extend(target_options(target, &options));
        }
        out.flush();
        out.words
    }

    /// Whether the rest of the row, from this word on, are the target's options: only targets that have any.
    fn owns(&self, word: &str) -> bool {
        match self.target {
            Some("REJECT") => word == "reject-with",
            Some("NFQUEUE") => word == "NFQUEUE",
            Some("DNAT" | "SNAT") => word.starts_with("to:"),
            Some("REDIRECT") => word == "redir",
            Some("MASQUERADE") => word == "masq" || word == "masq:" || word == "random",
            Some("CT") => matches!(word, "NOTRACK" | "CT" | "helper" | "zone"),
            Some(target) => word == target || target == "LOG" && word == "LOG",
            None => false,
        }
    }
}

/// The target's options in iptables-save's spelling; nothing where the listing's words are not known.
fn target_options(target: &str, words: &[&str]) -> Vec<String> {
    let after = |word: &str| {
        let at = words.iter().position(|w| *w == word)?;
        words.get(at + 1).copied()
    };
    let to = words.first().and_then(|word| word.strip_prefix("to:"));
    let pair = |option: &str, value: Option<&str>| match value {
        Some(value) => vec![option.to_owned(), value.to_owned()],
        None => Vec::new(),
    };
    match target {
        "REJECT" => pair("--reject-with", after("reject-with")),
        "DNAT" => pair("--to-destination", to),
        "SNAT" => pair("--to-source", to),
        "REDIRECT" | "MASQUERADE" => pair("--to-ports", after("ports").or(after("ports:"))),
        "NFQUEUE" => {
            let mut options = match after("balance") {
                Some(range) => pair("--queue-balance", Some(range)),
                None => pair("--queue-num", after("num")),
            };
            if words.contains(&"bypass") {
                options.push("--queue-bypass".to_owned());
            }
            options
        }
        "MARK" => match after("xset") {
            Some(value) => pair("--set-xmark", Some(value)),
            None => pair("--set-mark", after("set")),
        },
        "CONNMARK" if words.contains(&"restore") => vec!["--restore-mark".to_owned()],
        "CONNMARK" if words.contains(&"save") => vec!["--save-mark".to_owned()],
        "CONNMARK" => pair("--set-xmark", after("xset").or(after("set"))),
        "CT" if words.contains(&"NOTRACK") => vec!["--notrack".to_owned()],
        _ => Vec::new(),
    }
}

/// The matches that are a few fixed words and one value: module, option, and how many words stand before the value.
fn one_value(first: &str, second: Option<&str>) -> Option<(&'static str, &'static str, usize)> {
    Some(match (first, second) {
        ("multiport", Some("dports")) => ("multiport", "--dports", 1),
        ("multiport", Some("sports")) => ("multiport", "--sports", 1),
        ("multiport", Some("ports")) => ("multiport", "--ports", 1),
        ("state", _) => ("state", "--state", 0),
        ("ctstate", _) => ("conntrack", "--ctstate", 0),
        ("mark", Some("match")) => ("mark", "--mark", 1),
        ("connmark", Some("match")) => ("connmark", "--mark", 1),
        ("length", _) => ("length", "--length", 0),
        ("source", Some("IP")) => ("iprange", "--src-range", 2),
        ("destination", Some("IP")) => ("iprange", "--dst-range", 2),
        ("MAC", _) => ("mac", "--mac-source", 0),
        ("DSCP", Some("match")) => ("dscp", "--dscp", 1),
        _ => return None,
    })
}

/// The words of `iptables-save`, as they come together.
#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    unknown: Vec<String>,
}

impl Arguments {
    fn push<const N: usize>(&mut self, words: [&str; N]) {
        self.words.extend(words.map(str::to_owned));
    }

    /// An option whose value may begin with `!`.
    fn negatable(&mut self, option: &str, value: &str) {
        match value.strip_prefix('!') {
            Some(value) => self.push(["!", option, value]),
            None => self.push([option, value]),
        }
    }

    /// Words that nobody knows become the match `-m unknown --listed WORDS`.
    fn unknown(&mut self, word: &str) {
        self.unknown.push(word.to_owned());
    }

    fn flush(&mut self) {
        if !self.unknown.is_empty() {
            let words = std::mem::take(&mut self.unknown).join(" ");
            self.push(["-m", "unknown", "--listed", &words]);
        }
    }

    /// Reads one match; what is left behind it, or none when the first word begins no match that is known.
    fn read<'a, 'b>(&mut self, words: &'b [&'a str]) -> Option<&'b [&'a str]> {
        let (first, rest) = words.split_first()?;
        if first.starts_with("/* ") {
            let comment = first.trim_start_matches("/* ").trim_end_matches(" */");
            self.flush();
            self.push(["-m", "comment", "--comment", comment]);
            return Some(rest);
        }
        let used = self.module(first, rest)?;
        rest.get(used..)
    }

    /// Reads the match that begins with `first`; how many of the words behind it belong to it.
    fn module(&mut self, first: &str, rest: &[&str]) -> Option<usize> {
        let second = rest.first().copied();
        if let Some((module, option, skipped)) = one_value(first, second) {
            let (value, used) = match rest.get(skipped..)? {
                ["!", value, ..] => (format!("!{value}"), 2),
                [value, ..] => ((*value).to_owned(), 1),
                [] => return None,
            };
            self.push(["-m", module]);
            self.negatable(option, &value);
            return Some(skipped + used);
        }
        match first {
            "tcp" | "udp" | "sctp" | "dccp" | "udplite" => Some(self.transport(first, rest)),
            "icmptype" | "!icmptype" => self.icmp("icmp", "--icmp-type", first, rest),
            "ipv6-icmptype" | "!ipv6-icmptype" => self.icmp("icmp6", "--icmpv6-type", first, rest),
            "ADDRTYPE" if second == Some("match") => self.address_kind(rest),
            "TTL" | "HL" if second == Some("match") => self.ttl(first, rest),
            "PKTTYPE" => {
                let kind = rest.get(1)?;
                let negation = if second == Some("!=") { "!" } else { "" };
                self.push(["-m", "pkttype"]);
                self.negatable("--pkt-type", &format!("{negation}{kind}"));
                Some(2)
            }
            "rpfilter" => {
                let known = |word: &&&str| {
                    matches!(**word, "invert" | "loose" | "validmark" | "accept-local")
                };
                self.push(["-m", "rpfilter"]);
                let before = self.words.len();
                let options = rest.iter().take_while(known);
                self.words.extend(options.map(|word| format!("--{word}")));
                Some(self.words.len() - before)
            }
            _ => None,
        }
    }

    /// `icmptype 3 code 4`, `!icmptype 8`.
    fn icmp(&mut self, module: &str, option: &str, first: &str, rest: &[&str]) -> Option<usize> {
        let negation = if first.starts_with('!') { "!" } else { "" };
        let kind = rest.first()?;
        self.push(["-m", module]);
        match rest.get(1..) {
            Some(["code", code, ..]) => {
                self.negatable(option, &format!("{negation}{kind}/{code}"));
                Some(3)
            }
            _ => {
                self.negatable(option, &format!("{negation}{kind}"));
                Some(1)
            }
        }
    }

    /// `tcp dpt:22 flags:0x17/0x02`, `udp dpts:1:5`.
    fn transport(&mut self, protocol: &str, rest: &[&str]) -> usize {
        self.push(["-m", protocol]);
        for (used, word) in rest.iter().enumerate() {
            let Some((name, value)) = word.split_once(':') else {
                return used;
            };
            match name {
                "spt" | "spts" => self.negatable("--sport", value),
                "dpt" | "dpts" => self.negatable("--dport", value),
                "flags" => {
                    let (negation, value) = match value.strip_prefix('!') {
                        Some(value) => (Some("!".to_owned()), value),
                        None => (None, value),
                    };
                    let (mask, bits) = value.split_once('/').unwrap_or((value, value));
                    self.words.extend(negation);
                    self.push(["--tcp-flags", mask, bits]);
                }
                _ => return used,
            }
        }
        rest.len()
    }

    /// `ADDRTYPE match dst-type LOCAL src-type !UNICAST limit-in`.
    fn address_kind(&mut self, rest: &[&str]) -> Option<usize> {
        let mut used = 1;
        self.push(["-m", "addrtype"]);
        while let Some(word) = rest.get(used) {
            match *word {
                "src-type" | "dst-type" => {
                    self.negatable(&format!("--{word}"), rest.get(used + 1)?);
                    used += 2;
                }
                "limit-in" | "limit-out" => {
                    let option = word.replace("limit", "--limit-iface");
                    self.push([&option]);
                    used += 1;
                }
                _ => break,
            }
        }
        Some(used)
    }

    /// `TTL match TTL < 5`, `HL match HL == 255`.
    fn ttl(&mut self, first: &str, rest: &[&str]) -> Option<usize> {
        let [_, _, operator, number, ..] = rest else {
            return None;
        };
        let name = first.to_ascii_lowercase();
        let (suffix, negated) = match *operator {
            "==" => ("eq", false),
            "!=" => ("eq", true),
            "<" => ("lt", false),
            ">" => ("gt", false),
            _ => return None,
        };
        self.push(["-m", &name]);
        let number = format!("{}{number}", if negated { "!" } else { "" });
        self.negatable(&format!("--{name}-{suffix}"), &number);
        Some(4)
    }
}

/// `-A CHAIN …`, with quotes around what holds blanks.
pub(super) fn spell(chain: &str, arguments: &[String]) -> String {
    let mut text = format!("-A {chain}");
    for word in arguments {
        text.push(' ');
        match word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '"') {
            true => text.push_str(&format!(
                "\"{}\"",
                word.replace('\\', "\\\\").replace('"', "\\\"")
            )),
            false => text.push_str(word),
        }
    }
    text
}
