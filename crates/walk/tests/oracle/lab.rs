//! Two network namespaces with a cable between them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use transect_config::rules::{Family, RuleSet, read_iptables_save, read_nft_json, read_nft_text};
use transect_path::RuleBackend;

use super::generate::Place;
use super::packet::Packet;

/// The variable that tells a process of the test what to send.
pub(crate) const SEND: &str = "TRANSECT_ORACLE_SEND";

/// The hosts' addresses, interfaces and MAC addresses: sender first.
pub(crate) const ADDRESS: [[&str; 2]; 2] = [["10.77.0.1", "fd77::1"], ["10.77.0.2", "fd77::2"]];
pub(crate) const SECOND: [&str; 2] = ["10.77.0.3", "fd77::3"];
pub(crate) const INTERFACE: [&str; 2] = ["vsend", "vrecv"];
pub(crate) const MAC: [&str; 2] = ["02:00:00:00:77:01", "02:00:00:00:77:02"];

/// Whose rules are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Legacy,
    IptablesNft,
    Nft,
}

impl Program {
    pub(crate) const ALL: [Program; 3] = [Program::Legacy, Program::IptablesNft, Program::Nft];
}

pub(crate) struct Lab {
    names: [String; 2],
}

/// Why the comparison cannot be made here.
pub(crate) fn missing() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        return Some("needs root, for network namespaces".to_owned());
    }
    for program in [
        "ip",
        "nft",
        "iptables-legacy",
        "ip6tables-legacy",
        "iptables-nft",
        "ip6tables-nft",
        "ping",
    ] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Some(format!("{program} is not installed"));
        }
    }
    None
}

fn run(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin
            .write_all(input.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let names = ["s", "r"].map(|side| format!("transect-oracle-{}-{side}", std::process::id()));
        let lab = Lab { names };
        for name in &lab.names {
            lab.ip(&["netns", "add", name]);
        }
        let [sender, receiver] = &lab.names;
        lab.ip(&[
            "link",
            "add",
            INTERFACE[0],
            "netns",
            sender,
            "address",
            MAC[0],
            "type",
            "veth",
            "peer",
            "name",
            INTERFACE[1],
            "netns",
            receiver,
            "address",
            MAC[1],
        ]);
        for (side, name) in lab.names.iter().enumerate() {
            let on = |words: &[&str]| {
                let mut all = vec!["-n", name.as_str()];
                all.extend(words);
                lab.ip(&all);
            };
            let interface = INTERFACE[side];
            on(&["link", "set", "lo", "up"]);
            // Without a link-local address there is less that nobody asked for.
            on(&["link", "set", interface, "addrgenmode", "none"]);
            for (six, length) in [(0, "24"), (1, "64")] {
                let mut own = vec![ADDRESS[side][six]];
                if side == 1 {
                    own.push(SECOND[six]);
                }
                for address in own {
                    let address = format!("{address}/{length}");
                    let mut words = vec!["addr", "add", &address, "dev", interface];
                    if six == 1 {
                        words.push("nodad");
                    }
                    on(&words);
                }
            }
            on(&["link", "set", interface, "up"]);
            for other in ADDRESS[1 - side]
                .iter()
                .chain(SECOND.iter().filter(|_| side == 0))
            {
                on(&[
                    "neigh",
                    "replace",
                    other,
                    "lladdr",
                    MAC[1 - side],
                    "dev",
                    interface,
                    "nud",
                    "permanent",
                ]);
            }
        }
        // The kernel tells the link about its multicast groups for a while: such packets would count too.
        std::thread::sleep(Duration::from_millis(2500));
        lab
    }

    fn ip(&self, words: &[&str]) -> String {
        run(Command::new("ip").args(words), None).expect("ip")
    }

    fn name(&self, side: Side) -> &str {
        match side {
            Side::Sender => &self.names[0],
            Side::Receiver => &self.names[1],
        }
    }

    fn inside(
        &self,
        side: Side,
        program: &str,
        words: &[&str],
        input: Option<&str>,
    ) -> Result<String, String> {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.name(side), program])
            .args(words);
        run(&mut command, input)
    }

    fn iptables(place: Place, what: &str) -> String {
        let family = if place.six { "ip6tables" } else { "iptables" };
        match place.program {
            Program::Legacy => format!("{family}-legacy{what}"),
            _ => format!("{family}-nft{what}"),
        }
    }

    pub(crate) fn load(&self, place: Place, text: &str) -> Result<(), String> {
        match place.program {
            Program::Nft => self.inside(place.side, "nft", &["-f", "-"], Some(text)),
            _ => self.inside(
                place.side,
                &Self::iptables(place, "-restore"),
                &[],
                Some(text),
            ),
        }
        .map(drop)
    }

    /// Away with the rules: nf_tables whole, legacy tables emptied.
    pub(crate) fn unload(&self, place: Place) {
        if place.program != Program::Legacy {
            self.inside(place.side, "nft", &["flush", "ruleset"], None)
                .expect("nft");
            return;
        }
        let empty: String = super::generate::tables()
            .iter()
            .map(|(table, chains)| {
                let chains: String = chains
                    .iter()
                    .map(|chain| format!(":{chain} ACCEPT [0:0]\n"))
                    .collect();
                format!("*{table}\n{chains}COMMIT\n")
            })
            .collect();
        self.load(place, &empty).expect("restore");
    }

    /// The rules as every reader that there is for them shows them.
    pub(crate) fn dump(&self, place: Place) -> RuleSet {
        let family = if place.six { Family::Ip6 } else { Family::Ip };
        let save = |backend| {
            let text = self
                .inside(place.side, &Self::iptables(place, "-save"), &["-c"], None)
                .expect("save");
            let reading = read_iptables_save(&text, family, backend);
            assert_eq!(reading.complaints, []);
            reading.rule_set
        };
        if place.program == Program::Legacy {
            return save(RuleBackend::IptablesLegacy);
        }
        let json = self
            .inside(place.side, "nft", &["-j", "list", "ruleset"], None)
            .expect("nft");
        let mut rule_set = read_nft_json(&json).expect("JSON").rule_set;
        let text = self
            .inside(place.side, "nft", &["-a", "list", "ruleset"], None)
            .expect("nft");
        rule_set.merge(read_nft_text(&text).rule_set);
        if place.program == Program::IptablesNft {
            rule_set.merge(save(RuleBackend::IptablesNft));
            assert!(
                rule_set
                    .rules()
                    .all(|(_, _, rule)| rule.text.starts_with("-A ")),
                "{rule_set:#?}"
            );
        }
        rule_set
    }

    pub(crate) fn send(&self, packet: &Packet) {
        if let Packet::Echo { six } = packet {
            let family = if *six { "-6" } else { "-4" };
            let to = ADDRESS[1][usize::from(*six)];
            // Whether it is answered does not matter.
            let _ = self.inside(
                Side::Sender,
                "timeout",
                &["0.2", "ping", family, "-c1", "-W1", "-s8", to],
                None,
            );
            return;
        }
        let own = std::env::current_exe().expect("the test's own program");
        let own = own.to_str().expect("UTF-8");
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                self.name(Side::Sender),
                own,
                "--exact",
                "send_one_packet",
                "--test-threads=1",
            ])
            .env(SEND, packet.order());
        run(&mut command, None).expect("send");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = run(Command::new("ip").args(["netns", "del", name]), None);
        }
    }
}
