//! Rule sets of the three programs that fill Netfilter's hooks, as one kind of data.
//!
//! `iptables-legacy`, `iptables-nft` and `nft` print different words for the same thing: tables of chains of rules, some of
//! the chains hooked into the path at a priority. The readers here turn what each program prints into one [`RuleSet`];
//! what they do not know stays in its place as [`Test::Unknown`] or [`Statement::Other`], so that one unknown word never
//! costs the rest of the rule set. Nothing here decides anything about a packet: that is `transect-walk`.
//!
//! A host's rule set is put together from all its dumps with [`RuleSet::merge`]: nft's JSON (exact, but without the arguments
//! of iptables' matches), nft's text (the user's words), `iptables-nft-save` and `ip6tables-nft-save` (iptables' words for the
//! same rules), the legacy tables. A reading that holds nft's JSON alone takes the words of an earlier one with
//! [`RuleSet::adopt`]; [`counter_deltas`] then follows every rule through the readings.

mod action;
mod arguments;
mod command;
mod delta;
mod list;
mod merge;
mod names;
mod nft_json;
mod nft_lower;
mod nft_render;
mod nft_text;
mod nft_words;
mod save;
mod test;
mod value;
mod write;

use std::fmt;

use serde::{Deserialize, Serialize};
use transect_path::{Hook, RuleBackend, RuleRef, named_enum};

pub use action::{Action, MapEntries, Nat, NatKind, Statement};
pub use command::{CommandError, apply_command};
pub use delta::{RuleDelta, RuleId, RuleKey, RuleStep, counter_deltas};
pub use list::read_iptables_list;
pub use nft_json::read_nft_json;
pub use nft_text::read_nft_text;
pub use save::read_iptables_save;
pub use test::{Elements, Field, Key, Match, Test};
pub use value::{AddressKind, CtStates, Element, PacketKind, TcpFlags, Value};
pub use write::{write_iptables_save, write_nft_json, write_nft_text};

named_enum! {
    /// The address family of a table (`NFPROTO_*`).
    pub enum Family {
        /// IPv4.
        Ip => "ip",
        /// IPv6.
        Ip6 => "ip6",
        /// IPv4 and IPv6 together.
        Inet => "inet",
        /// ARP.
        Arp => "arp",
        /// Frames that pass a bridge.
        Bridge => "bridge",
        /// Frames at one device's ingress or egress.
        Netdev => "netdev",
    }
}

named_enum! {
    /// What a base chain is for.
    pub enum ChainKind {
        /// Lets pass or drops.
        Filter => "filter",
        /// Chooses the translation of a new connection: only its first packet comes here.
        Nat => "nat",
        /// At LOCAL_OUT: the packet is routed again when the chain changed its mark, TOS or addresses.
        Route => "route",
    }
}

named_enum! {
    /// What becomes of a packet that no rule of a base chain decided.
    pub enum Policy {
        /// It goes on.
        Accept => "accept",
        /// It is dropped.
        Drop => "drop",
    }
}

/// All tables of one network namespace, in the order in which the dumps list them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSet {
    /// The tables.
    pub tables: Vec<Table>,
}

/// A table: a name space for chains and sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The program that manages it.
    pub backend: RuleBackend,
    /// The packets that it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// nft's handle; never used again in the same network namespace.
    pub handle: Option<u64>,
    /// nft's flags (`dormant`: its base chains are not hooked; `owner`, `persist`).
    pub flags: Vec<String>,
    /// Its chains, in the order of the dump.
    pub chains: Vec<Chain>,
    /// Its named sets and maps.
    pub sets: Vec<Set>,
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// nft's handle.
    pub handle: Option<u64>,
    /// Where it is hooked; none for a chain that is only jumped to.
    pub base: Option<BaseChain>,
    /// The packets that the policy decided. iptables shows them, legacy and nf_tables alike; nft itself does not.
    pub policy_counter: Option<Counter>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a chain is hooked into the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseChain {
    /// What it is for.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// Its place in the hook; the smallest number runs first.
    pub priority: i32,
    /// What becomes of the packets that no rule decided.
    pub policy: Policy,
    /// The devices whose packets it sees (ingress and egress). Empty: not bound to devices; of a netdev table: not known
    /// (nft 1.0.6's JSON leaves them out).
    pub devices: Vec<String>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its place in its chain, from 1.
    pub number: u32,
    /// nft's handle.
    pub handle: Option<u64>,
    /// As its own program prints it, without the counter's values: `-A INPUT -p tcp … -j DROP` for iptables, the line that
    /// `nft -s list ruleset` prints for nft.
    pub text: String,
    /// Whether `text` was put together by the reader, because the dump does not hold the program's own words (nft's JSON,
    /// `iptables -L`).
    pub rendered: bool,
    /// What it has counted; none for an nft rule without counter.
    pub counter: Option<Counter>,
    /// What it does, in order.
    pub statements: Vec<Statement>,
}

/// Packets and bytes that a rule or a policy has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counter {
    /// Packets (a GRO or GSO packet counts once).
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// nft's handle.
    pub handle: Option<u64>,
    /// The parts of its key: for each a field whose values it can hold.
    pub key: Vec<Field>,
    /// Whether it maps its keys to data or verdicts.
    pub map: bool,
    /// Whether it maps them to verdicts.
    pub verdicts: bool,
    /// Flags: `interval`, `dynamic`, `timeout`, `constant`.
    pub flags: Vec<String>,
    /// Its elements at the time of the dump.
    pub elements: Vec<SetElement>,
}

impl Set {
    /// Whether packets or time change its elements, so that the dump says little about the next packet.
    pub fn is_volatile(&self) -> bool {
        self.flags.iter().any(|f| f == "dynamic" || f == "timeout")
    }
}

/// One element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetElement {
    /// The key: one value for each part of a concatenation.
    pub key: Element,
    /// The verdict to which a verdict map leads.
    pub verdict: Option<Action>,
    /// The value to which a data map leads.
    pub data: Option<Value>,
}

/// What a reader made of its input: the rule set, and what it could not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Everything that could be read.
    pub rule_set: RuleSet,
    /// What could not, in order.
    pub complaints: Vec<Complaint>,
}

/// A part of a dump that could not be read. The rest was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found \"{found}\"")]
pub struct Complaint {
    /// The line, from 1; for JSON, that of the parser's message, or the number of the object in the list.
    pub line: usize,
    /// What was expected there.
    pub expected: String,
    /// What stood there, cut to 80 characters.
    pub found: String,
}

impl Complaint {
    pub(crate) fn new(line: usize, expected: impl Into<String>, found: &str) -> Self {
        Complaint {
            line,
            expected: expected.into(),
            found: found.chars().take(80).collect(),
        }
    }
}

impl Table {
    /// A table without chains.
    pub fn new(backend: RuleBackend, family: Family, name: impl Into<String>) -> Self {
        Table {
            backend,
            family,
            name: name.into(),
            handle: None,
            flags: Vec::new(),
            chains: Vec::new(),
            sets: Vec::new(),
        }
    }

    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The set or map of this name.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// Whether its base chains are hooked (`flags dormant` unhooks them).
    pub fn is_dormant(&self) -> bool {
        self.flags.iter().any(|flag| flag == "dormant")
    }

    /// Names one of its rules for a verdict; `via` are the texts of the jumps that led to `chain`.
    pub fn rule_ref(&self, chain: &Chain, rule: &Rule, via: &[String]) -> RuleRef {
        RuleRef {
            backend: self.backend,
            family: self.family.id().to_owned(),
            table: self.name.clone(),
            chain: chain.name.clone(),
            number: Some(rule.number),
            handle: rule.handle,
            via: via.to_vec(),
            text: rule.text.clone(),
        }
    }

    /// Names the policy of one of its base chains for a verdict.
    pub fn policy_ref(&self, chain: &Chain, policy: Policy) -> RuleRef {
        RuleRef {
            backend: self.backend,
            family: self.family.id().to_owned(),
            table: self.name.clone(),
            chain: chain.name.clone(),
            number: None,
            handle: None,
            via: Vec::new(),
            text: policy_text(&chain.name, policy),
        }
    }
}

/// A policy in words: `-P INPUT DROP`.
pub(crate) fn policy_text(chain: &str, policy: Policy) -> String {
    format!("-P {chain} {}", policy.id().to_ascii_uppercase())
}

impl Rule {
    /// What the rule does with a packet that it matches: its first verdict, else [`Action::Continue`].
    ///
    /// A rule that ends in a verdict map has no single action: [`Action::Unknown`] with the map's words.
    pub fn action(&self) -> Action {
        self.statements
            .iter()
            .find_map(|statement| match statement {
                Statement::Verdict(action) => Some(action.clone()),
                Statement::VerdictMap { .. } => Some(Action::Unknown("vmap".to_owned())),
                _ => None,
            })
            .unwrap_or(Action::Continue)
    }

    /// The rule's matches, in order.
    pub fn matches(&self) -> impl Iterator<Item = &Match> {
        self.statements
            .iter()
            .filter_map(|statement| match statement {
                Statement::Match(test) => Some(test),
                _ => None,
            })
    }
}

impl RuleSet {
    /// The table of this program, family and name.
    pub fn table(&self, backend: RuleBackend, family: Family, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| table.backend == backend && table.family == family && table.name == name)
    }

    /// Every rule, with its table and chain.
    pub fn rules(&self) -> impl Iterator<Item = (&Table, &Chain, &Rule)> {
        self.tables.iter().flat_map(|table| {
            table
                .chains
                .iter()
                .flat_map(move |chain| chain.rules.iter().map(move |rule| (table, chain, rule)))
        })
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.packets, self.bytes)
    }
}
