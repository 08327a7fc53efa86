//! From one file to its experiments.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use transect_path::CauseId;

use super::variables::{self, Variables};
use super::{
    Bridge, Expectation, Host, Link, Meter, Observe, Program, Setup, Step, TcDrop, Twin, When,
    XdpDrop,
};
use crate::LabError;

mod references;

/// One experiment, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file's stem and the values of its axes, joined by dots; a twin ends in `.twin`.
    pub name: String,
    /// One sentence: what is broken, and where.
    pub summary: String,
    /// The entries of the catalogue of causes that it shows.
    pub entries: Vec<String>,
    /// Left out of `--all` unless asked for.
    pub slow: bool,
    /// The experiment without its fault.
    pub twin: bool,
    /// Whether it runs over IPv6.
    pub ipv6: bool,
    /// The hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// The links between them.
    pub links: Vec<Link>,
    /// The bridges inside of them.
    pub bridges: Vec<Bridge>,
    /// Commands before anything else runs.
    pub setup: Vec<Setup>,
    /// Programs at tc that drop.
    pub tc_drops: Vec<TcDrop>,
    /// XDP programs that drop.
    pub xdp_drops: Vec<XdpDrop>,
    /// Real programs.
    pub programs: Vec<Program>,
    /// Steps before the observation starts.
    pub prepare: Vec<Step>,
    /// Steps that are observed.
    pub steps: Vec<Step>,
    /// What is observed.
    pub observe: Observe,
    /// Counters whose movement is known beforehand.
    pub meters: Vec<Meter>,
    /// What the diagnosis must say.
    pub expect: Vec<Expectation>,
}

/// The part of a file that must be known before variables can be filled in.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    matrix: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    vars: Variables,
    #[serde(default)]
    choose: BTreeMap<String, BTreeMap<String, Variables>>,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    twin: TwinHeader,
}

#[derive(Default, Deserialize)]
struct TwinHeader {
    #[serde(default)]
    none: bool,
    axes: Option<Vec<String>>,
}

/// A file with its variables filled in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    summary: String,
    #[serde(default)]
    entries: Vec<String>,
    #[serde(default)]
    slow: bool,
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "read by Header; named here because unknown keys are denied"
    )]
    matrix: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by Header")]
    vars: Variables,
    #[serde(default)]
    #[expect(dead_code, reason = "read by Header")]
    choose: BTreeMap<String, BTreeMap<String, Variables>>,
    hosts: BTreeMap<String, Host>,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    bridges: Vec<Bridge>,
    #[serde(default)]
    setup: Vec<Setup>,
    #[serde(default)]
    tc_drops: Vec<TcDrop>,
    #[serde(default)]
    xdp_drops: Vec<XdpDrop>,
    #[serde(default)]
    programs: Vec<Program>,
    #[serde(default)]
    prepare: Vec<Step>,
    #[serde(default)]
    steps: Vec<Step>,
    observe: Observe,
    #[serde(default)]
    meters: Vec<Meter>,
    expect: Vec<Expectation>,
    #[serde(default)]
    twin: Twin,
}

/// Reads one file: all its experiments, twins after the rest. `path` gives the stem of the names and stands in messages.
///
/// # Errors
/// A text that is no valid experiment; the message names file and line, and says what was expected.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Scenario>, LabError> {
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let reader = Reader {
        path,
        text,
        stem: &stem,
    };
    let header: Header = reader.deserialize(text)?;
    reader.check_links(&header.links)?;
    let mut scenarios = Vec::new();
    for values in combinations(&header.matrix, |_| true) {
        scenarios.push(reader.scenario(&header, values, false)?);
    }
    if header.twin.none {
        return Ok(scenarios);
    }
    let default_axes = ["family".to_owned()];
    let twin_axes = header.twin.axes.as_deref().unwrap_or(&default_axes);
    for values in combinations(&header.matrix, |axis| {
        twin_axes.iter().any(|one| one == axis)
    }) {
        scenarios.push(reader.scenario(&header, values, true)?);
    }
    Ok(scenarios)
}

/// Every combination of the axes' values; an axis that does not vary keeps its first value.
fn combinations(
    matrix: &BTreeMap<String, Vec<String>>,
    varies: impl Fn(&str) -> bool,
) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    for (axis, values) in matrix {
        let count = if varies(axis) { values.len() } else { 1 };
        all = all
            .iter()
            .flat_map(|chosen| {
                values.iter().take(count).map(|value| {
                    let mut chosen = chosen.clone();
                    chosen.insert(axis.clone(), value.clone());
                    chosen
                })
            })
            .collect();
    }
    all
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    stem: &'a str,
}

impl Reader<'_> {
    fn error(&self, line: usize, what: impl std::fmt::Display) -> LabError {
        LabError::Scenario(format!("{}:{line}: {what}", self.path.display()))
    }

    /// The line of the first place where `needle` stands; 1 when it stands nowhere.
    fn line_of(&self, needle: &str) -> usize {
        self.text
            .lines()
            .position(|line| line.contains(needle))
            .map_or(1, |index| index + 1)
    }

    fn deserialize<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, LabError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text.get(..span.start)
                    .map_or(1, |before| before.matches('\n').count() + 1)
            });
            self.error(line, numbers_in_words(error.message()))
        })
    }

    fn scenario(
        &self,
        header: &Header,
        mut values: BTreeMap<String, String>,
        twin: bool,
    ) -> Result<Scenario, LabError> {
        let mut name = self.stem.to_owned();
        for value in values.values() {
            name.push('.');
            name.push_str(value);
        }
        if twin {
            name.push_str(".twin");
        }
        values
            .entry("family".to_owned())
            .or_insert_with(|| "ipv4".to_owned());
        let family = &values["family"];
        if family != "ipv4" && family != "ipv6" {
            return Err(self.error(
                self.line_of("family"),
                format!("unknown family \"{family}\"; expected \"ipv4\" or \"ipv6\""),
            ));
        }
        let ipv6 = family == "ipv6";
        values.insert(
            "twin".to_owned(),
            if twin { "yes" } else { "no" }.to_owned(),
        );

        let mut known = variables::built_in(&values, &header.links);
        known.extend(header.vars.clone());
        for (axis, by_value) in &header.choose {
            let value = values.get(axis).ok_or_else(|| {
                self.error(
                    self.line_of(&format!("[choose.{axis}")),
                    format!("unknown axis \"{axis}\""),
                )
            })?;
            known.extend(by_value.get(value).cloned().unwrap_or_default());
        }
        // Only known while it runs; filled in by the runner.
        known.insert("folder".to_owned(), "@FOLDER@".to_owned());

        let text = variables::fill(self.text, &known)
            .map_err(|error| self.error(error.line, error.what))?;
        let file: ScenarioFile = self.deserialize(&text)?;
        let scenario = self.resolve(file, name, &values, twin, ipv6)?;
        self.check_references(&scenario)?;
        Ok(scenario)
    }

    /// Leaves out what does not apply.
    fn resolve(
        &self,
        mut file: ScenarioFile,
        name: String,
        values: &BTreeMap<String, String>,
        twin: bool,
        ipv6: bool,
    ) -> Result<Scenario, LabError> {
        let applies = |when: &mut When| -> Result<bool, LabError> {
            if let Some(axis) = when.0.keys().find(|axis| !values.contains_key(*axis)) {
                return Err(self.error(
                    self.line_of(&format!("{axis} =")),
                    format!(
                        "`when` names the axis \"{axis}\"; expected one of {}",
                        values.keys().cloned().collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
            Ok(std::mem::take(when).holds(values))
        };
        for host in file.hosts.values_mut() {
            keep(&mut host.neighbors, |one| applies(&mut one.when))?;
        }
        keep(&mut file.links, |one| applies(&mut one.when))?;
        keep(&mut file.setup, |one| applies(&mut one.when))?;
        keep(&mut file.tc_drops, |one| applies(&mut one.when))?;
        keep(&mut file.xdp_drops, |one| applies(&mut one.when))?;
        keep(&mut file.programs, |one| applies(&mut one.when))?;
        keep(&mut file.prepare, |one| applies(&mut one.when))?;
        keep(&mut file.steps, |one| applies(&mut one.when))?;
        keep(&mut file.observe.logs, |one| applies(&mut one.when))?;
        keep(&mut file.meters, |one| applies(&mut one.when))?;
        keep(&mut file.expect, |one| applies(&mut one.when))?;
        keep(&mut file.twin.expect, |one| applies(&mut one.when))?;
        let expect = if twin {
            // What is known of the meters is known with the fault.
            file.meters.clear();
            twin_expectations(&file.expect, file.twin.expect)
        } else {
            file.expect
        };
        if expect.is_empty() {
            return Err(self.error(
                self.line_of("[[expect]]"),
                format!("{name} expects nothing"),
            ));
        }
        Ok(Scenario {
            name,
            summary: file.summary,
            entries: file.entries,
            slow: file.slow,
            twin,
            ipv6,
            hosts: file.hosts,
            links: file.links,
            bridges: file.bridges,
            setup: file.setup,
            tc_drops: file.tc_drops,
            xdp_drops: file.xdp_drops,
            programs: file.programs,
            prepare: file.prepare,
            steps: file.steps,
            observe: file.observe,
            meters: file.meters,
            expect,
        })
    }
}

/// What is said of numbers by the names of their types, in words.
fn numbers_in_words(message: &str) -> String {
    let mut message = message.to_owned();
    for (name, most) in [("u8", "255"), ("u16", "65535"), ("u32", "4294967295")] {
        let words = format!("expected a whole number from 0 to {most}");
        message = message.replace(&format!("expected {name}"), &words);
    }
    let whole = "expected a whole number, not negative";
    message
        .replace("expected u64", whole)
        .replace("expected usize", whole)
}

/// `Vec::retain` for a condition that can fail.
fn keep<T>(
    all: &mut Vec<T>,
    mut condition: impl FnMut(&mut T) -> Result<bool, LabError>,
) -> Result<(), LabError> {
    let mut kept = Vec::with_capacity(all.len());
    for mut one in all.drain(..) {
        if condition(&mut one)? {
            kept.push(one);
        }
    }
    *all = kept;
    Ok(())
}

/// What a twin must end in: what the file says or `delivered`, and never the causes of the experiment with the fault.
fn twin_expectations(faulty: &[Expectation], own: Vec<Expectation>) -> Vec<Expectation> {
    let causes: Vec<CauseId> = faulty
        .iter()
        .flat_map(|one| {
            let others = one.alternatives.iter().map(|alternative| alternative.cause);
            one.cause.into_iter().chain(others)
        })
        .collect();
    let mut expect = own;
    if expect.is_empty() {
        expect.push(Expectation::delivered());
    }
    for one in &mut expect {
        let named = one.cause;
        one.not_cause
            .extend(causes.iter().filter(|cause| Some(**cause) != named));
        one.not_cause.sort_unstable();
        one.not_cause.dedup();
    }
    expect
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
summary = "INPUT drops the SYN"
entries = ["E1"]
[matrix]
family = ["ipv4", "ipv6"]
backend = ["legacy", "nft"]
[vars]
port = "80"
[choose.backend.legacy]
drop = "${iptables} -A INPUT -s ${client}/${bits} -p tcp --dport ${port} -j DROP"
[choose.backend.nft]
drop = "nft add rule inet f i tcp dport ${port} drop"
[hosts.client]
[hosts.server]
[[links]]
ends = ["client:eth0", "server:eth0"]
ipv4 = ["10.0.0.1/24", "10.0.0.2/24"]
ipv6 = ["fd00::1/64", "fd00::2/64"]
[[setup]]
host = "server"
run = ["${drop}"]
when = { twin = "no" }
[[steps]]
host = "client"
do.connect = { to = "${server.url}:80", timeout = "3s", end = "timeout" }
[observe]
hosts = ["client", "server"]
[[expect]]
outcome = "lost"
host = "server"
cause = "netfilter_drop"
rule = { backend = "${rule_backend}" }
"#;

    fn read(text: &str) -> Result<Vec<Scenario>, LabError> {
        parse(Path::new("lab/e1.toml"), text)
    }

    #[test]
    fn one_file_makes_every_combination_and_its_twins() {
        let all = read(FILE).unwrap();
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "e1.legacy.ipv4",
                "e1.legacy.ipv6",
                "e1.nft.ipv4",
                "e1.nft.ipv6",
                "e1.legacy.ipv4.twin",
                "e1.legacy.ipv6.twin"
            ]
        );
        assert_eq!(
            all[1].setup[0].run,
            ["ip6tables-legacy -A INPUT -s fd00::1/128 -p tcp --dport 80 -j DROP"]
        );
        let Action::Connect(connect) = &all[3].steps[0].action else {
            panic!("{:?}", all[3].steps)
        };
        assert_eq!(connect.to, "[fd00::2]:80");
        let twin = &all[4];
        assert!(twin.setup.is_empty());
        assert_eq!(twin.expect[0].in_words(), "delivered");
        assert_eq!(twin.expect[0].not_cause, [CauseId::NetfilterDrop]);
    }

    #[test]
    fn mistakes_are_reported_with_their_line_and_what_was_expected() {
        for (from, to, line, part) in [
            (
                "outcome = \"lost\"",
                "outcome = \"gone\"",
                29,
                "unknown variant `gone`",
            ),
            (
                "host = \"server\"\ncause",
                "hots = \"server\"\ncause",
                30,
                "unknown field `hots`",
            ),
            (
                "timeout = \"3s\"",
                "timeout = \"3\"",
                25,
                "no length of time",
            ),
            (
                "[\"${drop}\"]",
                "[\"${drip}\"]",
                21,
                "unknown variable ${drip}",
            ),
            ("summary", "summary =", 2, ""),
            ("when = { twin", "when = { twn", 22, "axis \"twn\""),
            (
                "hosts = [\"client\"",
                "hosts = [\"clinet\"",
                27,
                "unknown host \"clinet\"",
            ),
            ("do.connect", "do.conect", 25, "unknown variant `conect`"),
            (
                "\"server:eth0\"]",
                "\"servereth0\"]",
                16,
                "no end of a link",
            ),
            (
                "10.0.0.1/24",
                "10.0.0.300/24",
                17,
                "such as \"10.0.0.1/24\"",
            ),
            ("fd00::2/64", "10.0.0.9/24", 18, "such as \"fd00::1/64\""),
            ("[hosts.server]", "[hosts.server", 14, "`]`"),
            (
                "hosts = [\"client\", \"server\"]",
                "hosts = [\"client\", \"server\"]\nfilter = \"tcp prot 80\"",
                28,
                "found \"prot\"",
            ),
            (
                "[observe]",
                "[[bridges]]\nhost = \"server\"\nname = \"br0\"\nports = [\"eth7\"]\n[observe]",
                29,
                "those are eth0",
            ),
            (
                "[observe]",
                "[[bridges]]\nhost = \"server\"\nname = \"br0\"\nports = [\"eth0\", \"eth0\"]\n[observe]",
                29,
                "once only",
            ),
            (
                "[observe]",
                "[[xdp_drops]]\nhost = \"server\"\ndev = \"eth7\"\nmode = \"native\"\nport = 80\n[observe]",
                28,
                "the interfaces are eth0, lo",
            ),
            (
                "[observe]",
                "[[xdp_drops]]\nhost = \"server\"\ndev = \"eth0\"\nmode = \"offload\"\nport = 80\n[observe]",
                29,
                "expected `native` or `generic`",
            ),
            (
                "[observe]",
                "[[prepare]]\nhost = \"server\"\ndo.tcp_listen = { port = 80000 }\n[observe]",
                28,
                "expected a whole number from 0 to 65535",
            ),
            (
                "family = [",
                "family = [\"ipv5\", ",
                5,
                "expected \"ipv4\" or \"ipv6\"",
            ),
            ("expect]]", "expected]]", 28, "unknown field `expected`"),
        ] {
            let text = FILE.replacen(from, to, 1);
            assert_ne!(text, FILE);
            let message = read(&text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("lab/e1.toml:{line}: ")) && message.contains(part),
                "{to}: {message}"
            );
        }
    }

    use super::super::Action;

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\PC\n]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn nor_does_a_valid_file_that_was_damaged(
            at in 0..FILE.len(),
            length in 0..40_usize,
            with in "[\\[\\]{}$=\"a0\n]{0,4}",
        ) {
            let mut text = FILE.to_owned();
            text.replace_range(at..(at + length).min(FILE.len()), &with);
            let _ = read(&text);
        }
    }
}
