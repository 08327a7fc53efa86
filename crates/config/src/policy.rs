//! Policy rules, as `ip rule` shows them.

mod json;
mod text;

use std::fmt::Write as _;

use crate::parse::Parsed;
use crate::prefix::{IpVersion, Prefix};
use crate::route::Table;

/// Reads `ip [-j] [-4|-6] rule`; as JSON or as text. Ordered by priority, as the kernel walks them.
pub fn read_policy_rules(text: &str) -> Parsed<Vec<PolicyRule>> {
    let mut parsed = if crate::json::is_json(text) {
        json::read(text)
    } else {
        text::read(text)
    };
    parsed.value.sort_by_key(|rule| rule.priority);
    parsed
}

/// The rules a network namespace starts with (`fib_default_rules_init`, `fib6_rules_net_init`).
pub fn default_policy_rules(version: IpVersion) -> Vec<PolicyRule> {
    let rule = |priority, table: Table| PolicyRule {
        text: format!("from all lookup {table}"),
        ..PolicyRule::new(priority, PolicyAction::Lookup(table))
    };
    let mut rules = vec![rule(0, Table::LOCAL), rule(32766, Table::MAIN)];
    if version == IpVersion::V4 {
        rules.push(rule(32767, Table::DEFAULT));
    }
    rules
}

/// One policy rule: which packets look up their route where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Place in the order; lower comes first.
    pub priority: u32,
    /// The rule is for what does *not* match (`not`).
    pub not: bool,
    /// Source; None: any.
    pub from: Option<Prefix>,
    /// Destination; None: any.
    pub to: Option<Prefix>,
    /// Only what came in there; `lo` means what the host itself sends.
    pub iif: Option<String>,
    /// Only for sockets bound to that device.
    pub oif: Option<String>,
    /// Only packets whose mark, under the mask, has this value.
    pub fwmark: Option<Mark>,
    /// Only this type of service; None: any.
    pub tos: Option<u8>,
    /// What the text says beyond that (`ipproto tcp`, `sport`, `dport`, `uidrange`, `tun_id`, `l3mdev`): not
    /// evaluated, so that the rule only *may* match.
    pub others: Vec<String>,
    /// What is done.
    pub action: PolicyAction,
    /// Results whose prefix is this long or shorter do not count (`suppress_prefixlength`).
    pub suppress_prefix_length: Option<u8>,
    /// Results over a device of this group do not count (`suppress_ifgroup`).
    pub suppress_group: Option<String>,
    /// The rule as `ip rule` writes it, without its priority.
    pub text: String,
}

impl PolicyRule {
    /// A rule for every packet.
    pub(crate) fn new(priority: u32, action: PolicyAction) -> Self {
        PolicyRule {
            priority,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            tos: None,
            others: Vec::new(),
            action,
            suppress_prefix_length: None,
            suppress_group: None,
            text: String::new(),
        }
    }

    /// The rule as `ip rule` writes it, without its priority.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if self.not {
            text.push_str("not ");
        }
        let or_all =
            |prefix: Option<Prefix>| prefix.map_or_else(|| "all".to_owned(), Prefix::shortest);
        let _ = write!(text, "from {}", or_all(self.from));
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(text, " {name} {value}");
            }
        };
        word("to", self.to.map(Prefix::shortest));
        word("tos", self.tos.map(|tos| format!("0x{tos:02x}")));
        word(
            "fwmark",
            self.fwmark.map(|mark| match mark.mask {
                u32::MAX => format!("{:#x}", mark.value),
                mask => format!("{:#x}/{mask:#x}", mark.value),
            }),
        );
        word("iif", self.iif.clone());
        word("oif", self.oif.clone());
        for other in &self.others {
            let _ = write!(text, " {other}");
        }
        let _ = match &self.action {
            PolicyAction::Lookup(table) => write!(text, " lookup {table}"),
            PolicyAction::Goto(target) => write!(text, " goto {target}"),
            PolicyAction::Nop => write!(text, " nop"),
            PolicyAction::Blackhole => write!(text, " blackhole"),
            PolicyAction::Unreachable => write!(text, " unreachable"),
            PolicyAction::Prohibit => write!(text, " prohibit"),
            PolicyAction::Other(other) => write!(text, " {other}"),
        };
        if let Some(length) = self.suppress_prefix_length {
            let _ = write!(text, " suppress_prefixlength {length}");
        }
        if let Some(group) = &self.suppress_group {
            let _ = write!(text, " suppress_ifgroup {group}");
        }
        text
    }

    /// The family, where source or destination tell it.
    pub fn version(&self) -> Option<IpVersion> {
        self.from.or(self.to).map(Prefix::version)
    }
}

/// A mark and the bits of it that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Value.
    pub value: u32,
    /// Bits compared.
    pub mask: u32,
}

/// What a policy rule does (FR_ACT_*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAction {
    /// Look up there; without a result, the next rule.
    Lookup(Table),
    /// Go on at the rule of this priority.
    Goto(u32),
    /// Nothing: the next rule.
    Nop,
    /// Silently dropped.
    Blackhole,
    /// Dropped with "network unreachable".
    Unreachable,
    /// Dropped with "administratively prohibited".
    Prohibit,
    /// Something else.
    Other(String),
}
