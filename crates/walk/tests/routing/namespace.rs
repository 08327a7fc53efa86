//! A network namespace with tables, rules and routes of every kind, and what its kernel says of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use transect_config::{ConfigText, HostConfig, IpVersion};

/// A network namespace that ends with the test.
pub(crate) struct Namespace(String);

impl Namespace {
    /// None, with the reason printed, where namespaces cannot be made; in CI that is a failure.
    fn new(purpose: &str) -> Option<Self> {
        let name = format!("transect-{purpose}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let reason = match made {
            Ok(output) if output.status.success() => return Some(Namespace(name)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("ip: {error}"),
        };
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no network namespace in CI: {reason}"
        );
        let test = std::thread::current();
        let test = test.name().unwrap_or(purpose);
        eprintln!("skipped: {test}: needs the right to make network namespaces ({reason})");
        None
    }

    fn run(&self, program: &str, arguments: &str) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.0, program])
            .args(arguments.split_whitespace())
            .env("LC_ALL", "C")
            .output()
            .expect("ip can be run: it made the namespace")
    }

    /// Runs lines of `ip` arguments that must succeed.
    fn ip(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let output = self.run("ip", line);
            assert!(
                output.status.success(),
                "ip {line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// Sets `name=value` in the namespace.
    pub(crate) fn sysctl(&self, setting: &str) {
        let output = self.run("sysctl", &format!("-qw {setting}"));
        assert!(
            output.status.success(),
            "{setting}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn text(&self, program: &str, arguments: &str) -> String {
        String::from_utf8_lossy(&self.run(program, arguments).stdout).into_owned()
    }

    /// The configuration as the tools tell it.
    pub(crate) fn config(&self) -> HostConfig {
        let mut config = HostConfig::default();
        let texts = [
            self.text("ip", "-j -d -s -s link show"),
            self.text("ip", "-j address show"),
            self.text("ip", "-j -4 route show table all"),
            self.text("ip", "-j -6 route show table all"),
            self.text("ip", "-j -4 rule"),
            self.text("ip", "-j -6 rule"),
            self.text("sysctl", "-a -r net.ipv[46].conf"),
        ];
        for part in [
            ConfigText::Ip(&texts[0]),
            ConfigText::Ip(&texts[1]),
            ConfigText::Routes(IpVersion::V4, &texts[2]),
            ConfigText::Routes(IpVersion::V6, &texts[3]),
            ConfigText::PolicyRules(IpVersion::V4, &texts[4]),
            ConfigText::PolicyRules(IpVersion::V6, &texts[5]),
            ConfigText::Sysctls(&texts[6]),
        ] {
            assert_eq!(config.absorb(part), []);
        }
        config
    }

    /// What the kernel answers to each `ip route get`, in the words of [`of_text`], or the error.
    pub(crate) fn get_all(&self, questions: &[String]) -> Vec<String> {
        let mut answers = vec![String::new(); questions.len()];
        for family in ["-4", "-6"] {
            let places: Vec<usize> = (0..questions.len())
                .filter(|place| questions[*place].contains(':') == (family == "-6"))
                .collect();
            let lines: String = places
                .iter()
                .map(|place| format!("route get {}\n", questions[*place]))
                .collect();
            let output = self.batch(family, lines);
            let mut errors = failures(&output.stderr);
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut found = stdout
                .lines()
                .filter(|line| !line.starts_with(char::is_whitespace) && !line.is_empty());
            for (number, place) in places.into_iter().enumerate() {
                answers[place] = match errors.remove(&(number + 1)) {
                    Some(error) => error,
                    None => of_text(
                        found
                            .next()
                            .expect("an answer for each question without an error"),
                    ),
                };
            }
            assert_eq!(found.next(), None);
        }
        answers
    }

    /// Many commands in one process, going on after failures.
    fn batch(&self, family: &str, lines: String) -> Output {
        let mut ip = Command::new("ip")
            .args(["-n", &self.0, family, "-force", "-batch", "-"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip can be run: it made the namespace");
        let mut stdin = ip.stdin.take().expect("piped above");
        // Written beside the reading, so that neither pipe fills up.
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = ip.wait_with_output().expect("ip ends with its input");
        writer
            .join()
            .expect("the writer does not panic")
            .expect("ip reads all of its input");
        output
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// The reasons of failed lines by number, from `RTNETLINK answers: REASON` and `Command failed -:NUMBER`.
fn failures(stderr: &[u8]) -> BTreeMap<usize, String> {
    let mut errors = BTreeMap::new();
    let mut reason = String::new();
    for line in String::from_utf8_lossy(stderr).lines() {
        match line.strip_prefix("Command failed -:") {
            Some(number) => {
                errors.insert(
                    number.parse().expect("a line number"),
                    std::mem::take(&mut reason),
                );
            }
            None => reason = line.rsplit(": ").next().unwrap_or("").to_owned(),
        }
    }
    errors
}

/// Two devices with a peer each, so that both have a carrier; tables, rules and routes of every kind.
pub(crate) fn judge(purpose: &str) -> Option<Namespace> {
    let namespace = Namespace::new(purpose)?;
    namespace.sysctl("net.ipv6.conf.default.accept_dad=0");
    namespace.ip("
        link set lo up
        link add eth0 type veth peer name far0
        link add eth1 type veth peer name far1
        link add bare type veth peer name far2
        link set far0 up
        link set far1 up
        link set far2 up
        link set eth0 up
        link set eth1 up
        link set bare up
        address add 10.0.0.1/24 brd + dev eth0
        address add 10.0.0.5/24 dev eth0
        address add 192.168.7.1/24 brd + dev eth1
        address add fd00::1/64 dev eth0 nodad
        address add fd07::1/64 dev eth1 nodad
        route add default via 10.0.0.2
        route add 10.1.0.0/16 via 192.168.7.2
        route add 10.1.2.0/24 via 10.0.0.3 mtu 1400
        route add 10.2.0.0/16 via 10.0.0.2 metric 100
        route add 10.2.0.0/16 via 192.168.7.2 metric 50 src 192.168.7.1
        route add 10.3.0.0/16 via 192.168.7.3 tos 0x10
        route add 10.4.0.0/16 via 10.99.0.5 dev eth0 onlink
        route add blackhole 10.9.0.0/16
        route add prohibit 10.8.0.0/16
        route add unreachable 10.7.0.0/16
        route add 10.9.9.0/24 via 10.0.0.2
        route add 10.6.0.0/16 nexthop via 10.0.0.2 nexthop via 192.168.7.2
        route add 203.0.113.0/24 dev eth1 scope link
        route add default via 192.168.7.9 table 100
        route add throw 10.1.0.0/16 table 100
        route add 10.0.0.0/8 via 10.0.0.9 table 101
        route add local 172.31.0.0/24 dev lo table 102
        route add blackhole default table 103
        rule add from 10.0.0.5 lookup 100 pref 100
        rule add fwmark 0x10/0xf0 lookup 101 pref 101
        rule add to 172.16.0.0/16 prohibit pref 102
        rule add to 172.17.0.0/16 blackhole pref 103
        rule add to 172.18.0.0/16 unreachable pref 104
        rule add to 172.31.0.0/16 lookup 102 pref 105
        rule add not to 0.0.0.0/0 lookup 103 pref 106
        rule add iif eth1 to 198.51.100.0/24 lookup 103 pref 107
        rule add to 198.18.0.0/15 lookup main suppress_prefixlength 0 pref 108
        rule add to 198.18.0.0/15 goto 32767 pref 109
        -6 route add default via fd00::2
        -6 route add fd01::/16 via fd07::2
        -6 route add fd01:2::/32 via fd00::3 mtu 1400
        -6 route add fd02::/16 via fd00::2 metric 100
        -6 route add fd02::/16 via fd07::2 metric 50
        -6 route add blackhole fd09::/16
        -6 route add prohibit fd08::/16
        -6 route add unreachable fd06::/16
        -6 route add default via fd07::9 table 100
        -6 route add throw fd01::/16 table 100
        -6 route add fd00::/8 via fd00::9 table 101
        -6 rule add from fd07::1 lookup 100 pref 100
        -6 rule add fwmark 0x10/0xf0 lookup 101 pref 101
        -6 rule add to fd16::/16 prohibit pref 102
        -6 rule add to fd17::/16 blackhole pref 103
        -6 rule add to fd18::/16 unreachable pref 104
        -6 rule add iif eth1 to fd19::/16 lookup 101 pref 105
    ");
    Some(namespace)
}

/// `10.1.2.3 via 10.0.0.3 dev eth0 src 10.0.0.1 uid 0 \n cache mtu 1400` to `unicast eth0 via 10.0.0.3 src 10.0.0.1`.
fn of_text(text: &str) -> String {
    let mut words = text
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .peekable();
    let kind = match words.peek() {
        Some(word) if word.parse::<IpAddr>().is_ok() => "unicast",
        _ => words.next().unwrap_or(""),
    };
    let (mut device, mut gateway, mut source) = ("", "-", "-");
    while let Some(word) = words.next() {
        match word {
            "dev" => device = words.next().unwrap_or(""),
            "via" => gateway = words.next().unwrap_or(""),
            "src" => source = words.next().unwrap_or(""),
            _ => {}
        }
    }
    match kind {
        "local" => "local".to_owned(),
        "unicast" | "anycast" => format!("unicast {device} via {gateway} src {source}"),
        _ => format!("{kind} {device}"),
    }
}
