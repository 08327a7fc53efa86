//! Policy rules, as `ip rule` shows them.

use crate::prefix::Prefix;
use crate::route::Table;

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
