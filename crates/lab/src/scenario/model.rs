//! Hosts, links, programs and the observation: the still part of an experiment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Expectation, Span, When};

/// One host: a network namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Sysctls of the namespace, set after its links exist: name (dots; a slash for a dot inside of an interface's name) → value.
    pub sysctl: BTreeMap<String, String>,
    /// Whether the host forwards packets (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).
    pub forwarding: bool,
    /// Routes, as the arguments of `ip route add` (`default via ${router.eth0}`).
    pub routes: Vec<String>,
    /// Neighbours that need no resolution.
    pub neighbors: Vec<Neighbor>,
}

/// A static neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// The neighbour's IP address.
    pub address: String,
    /// Its MAC address, or one that is wrong on purpose.
    pub mac: String,
    /// The interface behind which it is.
    pub dev: String,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// A veth pair between two hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// `host:interface`, twice.
    pub ends: [String; 2],
    /// The ends' IPv4 addresses with prefix length; `-` for none. Only the addresses of the experiment's own family are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<[String; 2]>,
    /// Likewise, IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<[String; 2]>,
    /// The MTUs of the ends in bytes; default 1500 each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<[u32; 2]>,
    /// What the link does to frames besides carrying them, each direction on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// What a link does to frames. Shares are of all frames, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// From one end to the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Bits in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// How many frames may wait where there is a rate; default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// The share that is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// The share that is held back, so that later frames pass it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
    /// How long it is held back; default 1ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_delay: Option<Span>,
    /// The share that arrives with one bit turned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corruption: Option<Share>,
    /// The share that arrives twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplication: Option<Share>,
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// So many of a million.
    pub fn of_a_million(self) -> u32 {
        // From 0 to 1,000,000 by construction.
        (self.0 * 1e6).round() as u32
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&share) {
            return Ok(Share(share));
        }
        Err(format!(
            "{share} is no share; expected a number from 0 to 1, such as 0.01"
        ))
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0
    }
}

/// A bridge inside of a host, whose ports are ends of links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// The host.
    pub host: String,
    /// The bridge's name.
    pub name: String,
    /// The interfaces that are its ports.
    pub ports: Vec<String>,
}

/// Commands that prepare a host before it is observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The host.
    pub host: String,
    /// The commands, in order, each without a shell; each must succeed.
    pub run: Vec<String>,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// A BPF program at tc that drops what goes to a TCP or UDP port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcDrop {
    /// The host.
    pub host: String,
    /// The interface.
    pub dev: String,
    /// On the way in or out.
    pub hook: TcHook,
    /// The destination port.
    pub port: u16,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// A hook of the clsact qdisc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcHook {
    /// On the way in.
    Ingress,
    /// On the way out.
    Egress,
}

impl TcHook {
    /// As `tc` names it.
    pub fn word(self) -> &'static str {
        match self {
            TcHook::Ingress => "ingress",
            TcHook::Egress => "egress",
        }
    }
}

/// An XDP program that drops what goes to a TCP or UDP port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XdpDrop {
    /// The host.
    pub host: String,
    /// The interface.
    pub dev: String,
    /// Where it runs.
    pub mode: XdpKind,
    /// The destination port.
    pub port: u16,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpKind {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

impl XdpKind {
    /// As `ip link set` names it.
    pub fn word(self) -> &'static str {
        match self {
            XdpKind::Native => "xdpdrv",
            XdpKind::Generic => "xdpgeneric",
        }
    }
}

/// A real program that runs from before the observation to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The name by which steps and logs refer to it.
    pub name: String,
    /// The host.
    pub host: String,
    /// Which program.
    pub kind: ProgramKind,
    /// The TCP port on which it must listen before the experiment goes on.
    pub port: u16,
    /// For `command`: the command, without a shell. `${folder}` is a folder of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// The kinds of programs that the runner knows how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// A MariaDB server with data, socket and port of its own.
    Mariadb,
    /// nginx with `keepalive_timeout 0`, an access log (`access.log`) and one page (`hello.html`).
    Nginx,
    /// Any command.
    Command,
}

/// What is observed, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    /// The hosts that are observed; their names are the labels.
    pub hosts: Vec<String>,
    /// The pcap filter expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How long to go on after the last step; default 300ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Span>,
    /// Logs of programs that are read along.
    #[serde(default)]
    pub logs: Vec<LogSource>,
    /// What of the bundle is shown to the diagnosis.
    #[serde(default)]
    pub scope: Scope,
}

/// What of a bundle is shown to the diagnosis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    #[default]
    Full,
    /// The hosts' captures alone, as loose files.
    Captures,
}

/// A log that is read along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSource {
    /// The program whose log it is.
    pub program: String,
    /// The file in the program's folder (`access.log`).
    pub file: String,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// What the experiment without its fault is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twin {
    /// There is none: a healthy control has no fault to leave out.
    pub none: bool,
    /// The axes along which the twin varies; for the others it takes the first value.
    pub axes: Option<Vec<String>>,
    /// What it must end in; default one `delivered`.
    pub expect: Vec<Expectation>,
}

/// A counter whose movement over the observation is known beforehand; it checks the meters themselves, not the diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// The host.
    pub host: String,
    /// The counter, as `nstat` prints it.
    pub counter: String,
    /// How far it must have moved.
    pub moved: u64,
    /// When it applies; default always.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
}
