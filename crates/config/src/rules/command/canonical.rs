//! A rule's words as typed, brought into the words that `iptables-save` prints: one spelling and one order for everything.

use std::net::IpAddr;

use transect_path::RuleBackend;

use super::super::arguments::network;
use super::super::{Counter, Family, Value, names};

/// One option with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    negated: bool,
    name: String,
    values: Vec<String>,
}

/// A rule taken apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec {
    sources: Vec<Argument>,
    destinations: Vec<Argument>,
    /// `-i`, `-o`, `-p`, `-f`, in this order.
    general: Vec<Argument>,
    modules: Vec<(String, Vec<Argument>)>,
    target: Option<(String, Vec<Argument>)>,
    goto: Option<String>,
    pub(super) counter: Option<Counter>,
}

/// The options of the modules that are known one by one.
fn options_of(module: &str) -> Option<&'static [&'static str]> {
    const PORTS: &[&str] = &["--sport", "--source-port", "--dport", "--destination-port"];
    Some(match module {
        "tcp" => &[
            "--sport",
            "--source-port",
            "--dport",
            "--destination-port",
            "--tcp-option",
            "--tcp-flags",
            "--syn",
        ],
        "udp" | "udplite" | "sctp" | "dccp" => PORTS,
        "icmp" => &["--icmp-type"],
        "icmp6" => &["--icmpv6-type"],
        "multiport" => &[
            "--sports",
            "--source-ports",
            "--dports",
            "--destination-ports",
            "--ports",
        ],
        "state" => &["--state"],
        "conntrack" => &["--ctstate"],
        "mark" | "connmark" => &["--mark"],
        "comment" => &["--comment"],
        "addrtype" => &["--src-type", "--dst-type"],
        "length" => &["--length"],
        "ttl" => &["--ttl-eq", "--ttl", "--ttl-lt", "--ttl-gt"],
        "hl" => &["--hl-eq", "--hl", "--hl-lt", "--hl-gt"],
        "iprange" => &["--src-range", "--dst-range"],
        "mac" => &["--mac-source"],
        "pkttype" => &["--pkt-type"],
        "dscp" => &["--dscp", "--dscp-class"],
        "limit" => &["--limit", "--limit-burst"],
        "statistic" => &["--mode", "--probability", "--every", "--packet"],
        _ => return None,
    })
}

/// Modules whose options are taken as they are typed.
const OTHER_MODULES: &[&str] = &[
    "bpf",
    "cgroup",
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "cpu",
    "devgroup",
    "ecn",
    "frag",
    "hashlimit",
    "helper",
    "ipv6header",
    "limit",
    "nfacct",
    "osf",
    "owner",
    "physdev",
    "policy",
    "quota",
    "rateest",
    "realm",
    "recent",
    "rpfilter",
    "rt",
    "set",
    "socket",
    "srh",
    "statistic",
    "string",
    "tcpmss",
    "time",
    "u32",
];

/// Whether the words of a match that no reader looks into (`-m limit --limit 5/sec`) belong to a module that exists.
pub(super) fn is_known_module(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next() == Some("-m")
        && words
            .next()
            .is_some_and(|name| OTHER_MODULES.contains(&name))
}

impl Spec {
    /// Takes a rule's words apart.
    pub(super) fn read(
        family: Family,
        backend: RuleBackend,
        words: &[String],
        is_chain: &dyn Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let mut spec = Spec::default();
        let mut negated = false;
        let mut at = 0;
        while let Some(word) = words.get(at).map(String::as_str) {
            at += 1;
            if word == "!" {
                negated = true;
                continue;
            }
            let values: Vec<String> = words
                .get(at..)
                .unwrap_or_default()
                .iter()
                .take_while(|word| !is_option(word))
                .cloned()
                .collect();
            at += values.len();
            let argument = Argument {
                negated: std::mem::take(&mut negated),
                name: word.to_owned(),
                values,
            };
            spec.take(family, argument)?;
        }
        if negated {
            return Err("\"!\" at the end".to_owned());
        }
        spec.finish(family, backend, is_chain)?;
        Ok(spec)
    }

    fn take(&mut self, family: Family, argument: Argument) -> Result<(), String> {
        let Argument { name, values, .. } = &argument;
        let first = |what: &str| {
            values
                .first()
                .cloned()
                .ok_or_else(|| format!("\"{name}\" needs {what}"))
        };
        if values.len() > most_values(name) && !name.starts_with("--") {
            let extra = values.last().cloned().unwrap_or_default();
            return Err(format!("\"{extra}\" is not understood behind \"{name}\""));
        }
        match name.as_str() {
            "-s" | "--source" | "--src" | "-d" | "--destination" | "--dst" => {
                let list = first("an address")?;
                let source = matches!(name.as_str(), "-s" | "--source" | "--src");
                for part in list.split(',') {
                    let Some(text) = address(family, part)? else {
                        continue;
                    };
                    let option = Argument {
                        negated: argument.negated,
                        name: if source { "-s" } else { "-d" }.to_owned(),
                        values: vec![text],
                    };
                    if source {
                        &mut self.sources
                    } else {
                        &mut self.destinations
                    }
                    .push(option);
                }
            }
            "-i" | "--in-interface" | "-o" | "--out-interface" => {
                let device = first("a device's name")?;
                let name = if name.contains('i') && !name.contains("out") {
                    "-i"
                } else {
                    "-o"
                };
                self.general(argument.negated, name, Some(device));
            }
            "-p" | "--protocol" | "--proto" => {
                let text = first("a protocol")?;
                let number = names::protocol(&text)
                    .ok_or_else(|| format!("\"{text}\" is no protocol that is known"))?;
                if number != 0 {
                    self.general(argument.negated, "-p", Some(protocol_name(number)));
                }
            }
            "-f" | "--fragment" => self.general(argument.negated, "-f", None),
            "-m" | "--match" => {
                let module = match first("a module's name")?.as_str() {
                    "icmpv6" => "icmp6".to_owned(),
                    other => other.to_owned(),
                };
                if options_of(&module).is_none() && !OTHER_MODULES.contains(&module.as_str()) {
                    return Err(format!("\"-m {module}\": no module of this name is known"));
                }
                self.modules.push((module, Vec::new()));
            }
            "-j" | "--jump" => self.target = Some((first("a target")?, Vec::new())),
            "-g" | "--goto" => self.goto = Some(first("a chain")?),
            "-c" | "--set-counters" => self.counter = Some(counter(values)?),
            _ => return self.option(argument),
        }
        Ok(())
    }

    fn general(&mut self, negated: bool, name: &str, value: Option<String>) {
        self.general.retain(|option| option.name != name);
        self.general.push(Argument {
            negated,
            name: name.to_owned(),
            values: value.into_iter().collect(),
        });
        let place = |name: &str| ["-i", "-o", "-p", "-f"].iter().position(|own| *own == name);
        self.general.sort_by_key(|option| place(&option.name));
    }

    /// A long option: the target's, that of the module that knows it, else that of the protocol's own module.
    fn option(&mut self, argument: Argument) -> Result<(), String> {
        if !argument.name.starts_with("--") {
            return Err(format!("\"{}\" is not understood", argument.name));
        }
        if let Some((target, options)) = &mut self.target
            && is_option_of_target(target, &argument.name)
        {
            options.push(argument);
            return Ok(());
        }
        let knows = |module: &str| {
            options_of(module).is_some_and(|options| options.contains(&argument.name.as_str()))
        };
        if let Some((_, options)) = self
            .modules
            .iter_mut()
            .rev()
            .find(|(module, _)| knows(module))
        {
            options.push(argument);
            return Ok(());
        }
        let protocol = self
            .general
            .iter()
            .find(|option| option.name == "-p" && !option.negated);
        let implied = protocol
            .and_then(|option| option.values.first())
            .map(|name| match name.as_str() {
                "ipv6-icmp" => "icmp6",
                other => other,
            });
        if let Some(module) = implied.filter(|module| knows(module)).map(str::to_owned) {
            self.modules.push((module, vec![argument]));
            return Ok(());
        }
        match self.modules.last_mut() {
            Some((module, options)) if options_of(module).is_none() => {
                options.push(argument);
                Ok(())
            }
            _ => Err(format!("\"{}\" is not understood", argument.name)),
        }
    }

    /// Puts what stands in the options into its one spelling.
    fn finish(
        &mut self,
        family: Family,
        backend: RuleBackend,
        is_chain: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        for (module, options) in &mut self.modules {
            for option in options.iter_mut() {
                super::canonical::spelling::of_match(family, module, option)?;
            }
            add_defaults(family, module, options);
            options.sort_by_key(|option| place_in_module(&option.name));
        }
        // A limit's burst of 5 goes without saying.
        for (_, options) in self
            .modules
            .iter_mut()
            .filter(|(module, _)| module == "limit")
        {
            options.retain(|option| option.name != "--limit-burst" || option.values != ["5"]);
        }
        if let Some((target, options)) = &mut self.target
            && !is_chain(target)
        {
            if target == "QUEUE" && backend == RuleBackend::IptablesNft {
                return Err("nf_tables has no target QUEUE (NFQUEUE is there)".to_owned());
            }
            spelling::of_target(family, target, options)?;
        }
        Ok(())
    }

    /// One rule for each pair of a source and a destination.
    pub(super) fn split(&self) -> Vec<Spec> {
        let each = |list: &[Argument]| -> Vec<Vec<Argument>> {
            match list {
                [] => vec![Vec::new()],
                list => list.iter().map(|one| vec![one.clone()]).collect(),
            }
        };
        let mut all = Vec::new();
        for sources in each(&self.sources) {
            for destinations in each(&self.destinations) {
                all.push(Spec {
                    sources: sources.clone(),
                    destinations,
                    ..self.clone()
                });
            }
        }
        all
    }

    /// The rule's words as `iptables-save` prints them.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut push = |option: &Argument| {
            if option.negated {
                words.push("!".to_owned());
            }
            words.push(option.name.clone());
            words.extend(option.values.iter().cloned());
        };
        let of = |name: &str, values: Vec<String>| Argument {
            negated: false,
            name: name.to_owned(),
            values,
        };
        for option in self
            .sources
            .iter()
            .chain(&self.destinations)
            .chain(&self.general)
        {
            push(option);
        }
        for (module, options) in &self.modules {
            push(&of("-m", vec![module.clone()]));
            options.iter().for_each(&mut push);
        }
        if let Some(chain) = &self.goto {
            push(&of("-g", vec![chain.clone()]));
        }
        if let Some((target, options)) = &self.target {
            push(&of("-j", vec![target.clone()]));
            options.iter().for_each(&mut push);
        }
        words
    }
}

/// Whether a word begins an option, or negates one. Numbers may be negative.
fn is_option(word: &str) -> bool {
    word == "!" || word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err()
}

fn most_values(option: &str) -> usize {
    match option {
        "-f" => 0,
        "-c" => 2,
        _ => 1,
    }
}

/// What `iptables-save` prints although nobody said it.
fn add_defaults(family: Family, module: &str, options: &mut Vec<Argument>) {
    let has = |options: &[Argument], names: &[&str]| {
        options
            .iter()
            .any(|option| names.contains(&option.name.as_str()))
    };
    let mut add = |names: &[&str], name: &str, value: &str| {
        if !has(options, names) {
            options.push(Argument {
                negated: false,
                name: name.to_owned(),
                values: match value {
                    "" => Vec::new(),
                    value => vec![value.to_owned()],
                },
            });
        }
    };
    let six = family == Family::Ip6;
    match module {
        "recent" => {
            let whole = match six {
                true => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                false => "255.255.255.255",
            };
            add(&["--name"], "--name", "DEFAULT");
            add(&["--mask"], "--mask", whole);
            add(&["--rsource", "--rdest"], "--rsource", "");
        }
        "connlimit" => {
            let whole = if six { "128" } else { "32" };
            add(&["--connlimit-mask"], "--connlimit-mask", whole);
            add(
                &["--connlimit-saddr", "--connlimit-daddr"],
                "--connlimit-saddr",
                "",
            );
        }
        "hashlimit" => add(&["--hashlimit-burst"], "--hashlimit-burst", "5"),
        _ => {}
    }
}

/// Where an option stands among its module's when `iptables-save` prints them; those not named keep their order.
fn place_in_module(option: &str) -> usize {
    match option {
        "--sport" | "--mode" | "--limit" => 0,
        "--dport" | "--probability" | "--every" | "--limit-burst" => 1,
        "--tcp-option" | "--packet" => 2,
        // `recent_save`, `connlimit_save`, `hashlimit_save`
        "--set" | "--rcheck" | "--update" | "--remove" => 0,
        "--seconds" => 1,
        "--hitcount" => 2,
        "--name" => 4,
        "--mask" => 5,
        "--rsource" | "--rdest" => 6,
        "--connlimit-upto" | "--connlimit-above" | "--hashlimit-upto" | "--hashlimit-above" => 0,
        "--hashlimit-burst" => 1,
        "--hashlimit-mode" => 2,
        "--hashlimit-srcmask" => 4,
        "--hashlimit-dstmask" => 5,
        "--connlimit-mask" => 4,
        "--connlimit-saddr" | "--connlimit-daddr" => 5,
        _ => 3,
    }
}

fn counter(values: &[String]) -> Result<Counter, String> {
    let number = |at: usize| values.get(at).and_then(|text| text.parse().ok());
    match (number(0), number(1)) {
        (Some(packets), Some(bytes)) => Ok(Counter { packets, bytes }),
        _ => Err("\"-c\" needs two numbers: packets and bytes".to_owned()),
    }
}

/// An address or prefix in its one spelling; none for the prefix that holds every address.
fn address(family: Family, text: &str) -> Result<Option<String>, String> {
    if matches!(text, "0/0" | "any" | "anywhere") {
        return Ok(None);
    }
    let refused =
        || format!("\"{text}\" is no address or prefix of this family (names are not looked up)");
    let Value::Addresses(first, last) = network(text) else {
        return Err(refused());
    };
    let (width, host) = match (family, first, last) {
        (Family::Ip, IpAddr::V4(first), IpAddr::V4(last)) => {
            (32, (u32::from(first) ^ u32::from(last)).count_ones())
        }
        (Family::Ip6, IpAddr::V6(first), IpAddr::V6(last)) => {
            (128, (u128::from(first) ^ u128::from(last)).count_ones())
        }
        _ => return Err(refused()),
    };
    Ok((host < width).then(|| format!("{first}/{}", width - host)))
}

/// A protocol as `iptables-save` prints it.
fn protocol_name(number: u8) -> String {
    match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        132 => "sctp",
        135 => "ipv6-mh",
        136 => "udplite",
        _ => return number.to_string(),
    }
    .to_owned()
}

/// The options of the targets that have some.
fn is_option_of_target(target: &str, option: &str) -> bool {
    let options: &[&str] = match target {
        "REJECT" => &["--reject-with"],
        "NFQUEUE" => &[
            "--queue-num",
            "--queue-balance",
            "--queue-bypass",
            "--queue-cpu-fanout",
        ],
        "MARK" => &[
            "--set-mark",
            "--set-xmark",
            "--and-mark",
            "--or-mark",
            "--xor-mark",
        ],
        "CONNMARK" => &[
            "--set-mark",
            "--set-xmark",
            "--and-mark",
            "--or-mark",
            "--xor-mark",
            "--save-mark",
            "--restore-mark",
            "--nfmask",
            "--ctmask",
            "--mask",
        ],
        "DNAT" => &["--to-destination", "--to", "--random", "--persistent"],
        "SNAT" => &[
            "--to-source",
            "--to",
            "--random",
            "--random-fully",
            "--persistent",
        ],
        "MASQUERADE" => &["--to-ports", "--random", "--random-fully"],
        "REDIRECT" => &["--to-ports", "--to-port", "--random"],
        "ACCEPT" | "DROP" | "RETURN" | "QUEUE" | "NOTRACK" => &[],
        // Every option behind any other target is its own.
        _ => return true,
    };
    options.contains(&option)
}

/// Whether the target may stand in this table and chain (`checkentry` of the targets).
pub(super) fn check_target(table: &str, chain: &str, spec: &Spec) -> Result<(), String> {
    let Some((target, _)) = &spec.target else {
        return Ok(());
    };
    let needed: (&[&str], &[&str]) = match target.as_str() {
        "REJECT" => (&["filter"], &["PREROUTING", "POSTROUTING"]),
        "DNAT" | "REDIRECT" => (&["nat"], &["INPUT", "FORWARD", "POSTROUTING"]),
        "SNAT" => (&["nat"], &["PREROUTING", "FORWARD", "OUTPUT"]),
        "MASQUERADE" => (&["nat"], &["PREROUTING", "INPUT", "FORWARD", "OUTPUT"]),
        "NOTRACK" | "CT" => (&["raw"], &[]),
        "TTL" | "HL" | "TOS" | "DSCP" | "ECN" | "TPROXY" => (&["mangle"], &[]),
        _ => return Ok(()),
    };
    if !needed.0.contains(&table) {
        return Err(format!(
            "{target} stands in table {} only",
            needed.0.join(", ")
        ));
    }
    if needed.1.contains(&chain) {
        return Err(format!("{target} cannot stand in chain {chain}"));
    }
    Ok(())
}

/// Words joined with blanks, those in quotes that need them.
pub(super) fn quoted(words: &[String]) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/!+%@[]*^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            text.push_str(word);
            continue;
        }
        text.push('"');
        for c in word.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text
}

mod spelling;
