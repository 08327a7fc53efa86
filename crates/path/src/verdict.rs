//! The verdict: one answer with its proof (`transect.verdict/1`).
//!
//! The types serialize to the published JSON as they stand, in the order of their fields. Fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::{CauseId, Certainty, Direction, HostEdge, Outcome, Point, Symptom, What, named_enum};

/// The name and version of the schema of [`Report`].
pub const VERDICT_SCHEMA: &str = "transect.verdict/1";

/// What `why` and `explain` answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`VERDICT_SCHEMA`].
    pub schema: String,
    /// The labels of the observed hosts, in the order in which they were named.
    pub hosts: Vec<String>,
    /// The command that was run while observing.
    pub command: Option<CommandRun>,
    /// One for each flow and class of loss, alike ones merged, worst first.
    pub verdicts: Vec<Verdict>,
}

/// A command that was run during the observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRun {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The exit status; 128 + N when signal N ended it; null when it was still running.
    pub status: Option<i32>,
}

/// What became of one flow (or of `flows` alike ones).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the flow ended.
    pub outcome: Outcome,
    /// The flow; null when nothing of the filtered flow was seen.
    pub flow: Option<Flow>,
    /// How many flows ended like this one.
    pub flows: u64,
    /// What the user sees of it.
    pub symptom: Symptom,
    /// What was lost; null when nothing was.
    pub lost: Option<Lost>,
    /// The label of the host on which it was lost, or `network`; null when the bracket spans more than one.
    pub host: Option<String>,
    /// The point at which it was lost, inside of the bracket; null when the bracket spans several.
    pub point: Option<Point>,
    /// The bracket: the last edge that the lost packets are known to have passed, and the first that they did not.
    pub between: Option<[HostEdge; 2]>,
    /// How sure `host`, `point` and `between` are.
    pub place_certainty: Certainty,
    /// The cause; null while several remain.
    pub cause: Option<CauseId>,
    /// How sure the cause is.
    pub certainty: Certainty,
    /// The rule to blame.
    pub rule: Option<RuleRef>,
    /// The setting to blame, where no rule is.
    pub setting: Option<Setting>,
    /// How far packets of the flow got, by meter.
    pub reached: Vec<Reached>,
    /// Who believes something that is not so.
    pub misled: Vec<Misled>,
    /// Losses that TCP repaired.
    pub recovered: Vec<Recovered>,
    /// What speaks for the verdict.
    pub evidence: Vec<Evidence>,
    /// What speaks against it.
    pub against: Vec<Contradiction>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
    /// What else it could be.
    pub alternatives: Vec<Alternative>,
    /// What to do about it.
    pub advice: Vec<String>,
    /// The next observation that would settle what is open.
    pub next: Option<String>,
}

impl Verdict {
    /// A verdict on one flow of which nothing is known but how it ended and what the user sees.
    pub fn bare(outcome: Outcome, symptom: Symptom) -> Self {
        Verdict {
            outcome,
            flow: None,
            flows: 1,
            symptom,
            lost: None,
            host: None,
            point: None,
            between: None,
            place_certainty: Certainty::Undetermined,
            cause: None,
            certainty: Certainty::Undetermined,
            rule: None,
            setting: None,
            reached: Vec::new(),
            misled: Vec::new(),
            recovered: Vec::new(),
            evidence: Vec::new(),
            against: Vec::new(),
            unseen: Vec::new(),
            alternatives: Vec::new(),
            advice: Vec::new(),
            next: None,
        }
    }
}

/// The two ends of a flow, as the client knows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the IP protocol's number.
    pub protocol: String,
    /// Address and port (IPv6 in brackets); the address alone where the protocol has no ports.
    pub client: String,
    /// Likewise.
    pub server: String,
}

/// Which packets were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Their class.
    pub what: What,
    /// Where they were going.
    pub direction: Direction,
    /// How many; transmissions are counted, each retransmission by itself.
    pub packets: u64,
}

named_enum! {
    /// Which program manages a rule.
    pub enum RuleBackend {
        /// The x_tables of old (`iptables-legacy`).
        IptablesLegacy => "iptables-legacy",
        /// iptables' words in nf_tables (`iptables-nft`).
        IptablesNft => "iptables-nft",
        /// nf_tables (`nft`).
        Nft => "nft",
    }
}

/// A rule or a chain's policy, in the user's own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleRef {
    /// Which program manages it.
    pub backend: RuleBackend,
    /// `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that holds the rule.
    pub chain: String,
    /// The rule's place in its chain, from 1; null for a policy.
    pub number: Option<u32>,
    /// nft's handle.
    pub handle: Option<u64>,
    /// The texts of the jumps that led from the base chain to `chain`.
    pub via: Vec<String>,
    /// As its own program prints it; `-P INPUT DROP` for a policy.
    pub text: String,
}

named_enum! {
    /// What kind of setting is to blame.
    pub enum SettingKind {
        /// A sysctl.
        Sysctl => "sysctl",
        /// A route, or the lack of one.
        Route => "route",
        /// A queueing discipline.
        Qdisc => "qdisc",
        /// A tc filter.
        TcFilter => "tc_filter",
        /// An XDP program.
        Xdp => "xdp",
        /// A socket, or the lack of one.
        Socket => "socket",
        /// A link's own configuration: MTU, MAC address, state.
        Link => "link",
        /// A neighbour entry.
        Neighbor => "neighbor",
    }
}

/// A setting to blame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// Its kind.
    pub kind: SettingKind,
    /// Its name, as its own tool knows it.
    pub name: String,
    /// Its value at the time.
    pub value: String,
}

/// The furthest edge that a class of packets is known to have passed, by one meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The class.
    pub what: What,
    /// Where they were going.
    pub direction: Direction,
    /// The edge.
    pub point: HostEdge,
    /// The meter that shows it: `HOST/KIND[/NAME]`.
    pub meter: String,
}

/// A belief that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Misled {
    /// Who believes it.
    pub host: String,
    /// What it believes.
    pub believes: String,
    /// What is so.
    pub truth: String,
}

/// A loss that TCP repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The class.
    pub what: What,
    /// Where they were going.
    pub direction: Direction,
    /// How many were sent again.
    pub packets: u64,
    /// Between which edges they were lost, as far as known.
    pub between: Option<[HostEdge; 2]>,
}

/// One reading that speaks for the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The meter: `HOST/KIND[/NAME]`.
    pub meter: String,
    /// The edge that it watches; null where it watches none.
    pub edge: Option<HostEdge>,
    /// At least so many passed the edge; null where the reading gives no bound.
    pub lo: Option<u64>,
    /// At most so many passed the edge.
    pub hi: Option<u64>,
    /// The reading in words.
    pub says: String,
}

/// One reading that speaks against the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// The meter.
    pub meter: String,
    /// The reading in words, and what it contradicts.
    pub says: String,
}

/// What could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unseen {
    /// The meter, or a pattern of meters.
    pub meter: String,
    /// Why not.
    pub why: String,
}

/// Another explanation that the evidence does not exclude.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// The cause.
    pub cause: CauseId,
    /// The host on which it would be, or `network`.
    pub host: Option<String>,
    /// The point at which it would be.
    pub point: Option<Point>,
    /// The rule it would be.
    pub rule: Option<RuleRef>,
    /// The setting it would be.
    pub setting: Option<Setting>,
    /// What would tell it apart from the others.
    pub tell: String,
}
