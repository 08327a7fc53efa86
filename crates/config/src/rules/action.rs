//! What a rule does with a packet that it matches.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Key, Match, SetElement};

/// One step of a rule. Steps run in order; the first match that fails ends the rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// Goes on only with packets that pass the test.
    Match(Match),
    /// Counts the packet.
    Counter,
    /// Sets the packet's mark: the bits of `mask` are cleared, then `value` is xored in. `value` none: not known beforehand.
    SetMark {
        /// What is xored in.
        value: Option<u32>,
        /// The bits that are cleared before.
        mask: u32,
    },
    /// Sets the connection's mark, likewise.
    SetConnectionMark {
        /// What is xored in.
        value: Option<u32>,
        /// The bits that are cleared before.
        mask: u32,
    },
    /// Copies the connection's mark to the packet's.
    RestoreMark,
    /// Copies the packet's mark to the connection's.
    SaveMark,
    /// Takes the packet out of connection tracking: its state is UNTRACKED from here on.
    NoTrack {
        /// Whether it does so for sure; a dump of nft alone does not show what iptables' `CT` target does.
        certain: bool,
    },
    /// Decides.
    Verdict(Action),
    /// Looks the verdict up; goes on when the key is not there.
    VerdictMap {
        /// The parts of the key.
        key: Vec<Key>,
        /// The map.
        entries: MapEntries,
    },
    /// Anything that neither decides nor changes what later rules look at: logging, MSS clamping, adding to a set.
    Other(String),
}

/// Where the entries of a verdict map stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapEntries {
    /// In the rule itself.
    Inline(Vec<SetElement>),
    /// In the table's map of this name.
    Named(String),
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// The packet has passed this base chain; the next one of the hook comes.
    Accept,
    /// The packet is freed, and nobody is told.
    Drop,
    /// The packet is freed, and its sender is told.
    Reject {
        /// With what, in the program's words (`tcp-reset`, `icmp-port-unreachable`); none: the program's default.
        with: Option<String>,
    },
    /// The packet is handed to a program (`nf_queue`). Without one it is dropped, or accepted when `bypass` is set.
    Queue {
        /// The first queue.
        first: u16,
        /// The last queue; the same as the first without balancing. 0 to 65535: the dump does not say.
        last: u16,
        /// Whether the packet goes on when nobody reads the queue.
        bypass: bool,
    },
    /// On to a chain, and back behind this rule when that chain ends.
    Jump(String),
    /// On to a chain, and not back here.
    Goto(String),
    /// Back to the calling chain; in a base chain, to the policy.
    Return,
    /// On to the next rule.
    Continue,
    /// Chooses the connection's translation, and accepts.
    Nat(Nat),
    /// Hands the packet to a local socket without changing it, and accepts where iptables does.
    Tproxy {
        /// Whether the rule ends the chain (iptables), or a verdict has to follow (nft).
        accepts: bool,
        /// In the program's words.
        text: String,
    },
    /// Takes the packet away from this path: to another device (`fwd`), to a program of the kernel (`synproxy`, `STEAL`).
    Stolen(String),
    /// A word that the reader does not know: it may do anything.
    Unknown(String),
}

impl Action {
    /// Whether the walk through the base chain ends here for sure.
    pub fn is_terminal(&self) -> bool {
        match self {
            Action::Accept
            | Action::Drop
            | Action::Reject { .. }
            | Action::Queue { .. }
            | Action::Nat(_)
            | Action::Stolen(_) => true,
            Action::Tproxy { accepts, .. } => *accepts,
            Action::Jump(_)
            | Action::Goto(_)
            | Action::Return
            | Action::Continue
            | Action::Unknown(_) => false,
        }
    }

    /// Whether the packet is gone, as far as its path is concerned: dropped or rejected.
    pub fn kills(&self) -> bool {
        matches!(self, Action::Drop | Action::Reject { .. })
    }
}

/// Which translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NatKind {
    /// Another destination.
    Destination,
    /// Another source.
    Source,
    /// The outgoing interface's address as source.
    Masquerade,
    /// This host as destination.
    Redirect,
}

/// A translation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// The first and the last address to choose from; none: unchanged, or not known beforehand (`computed`).
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The first and the last port to choose from; none: unchanged where possible.
    pub ports: Option<(u16, u16)>,
    /// Whether address or port come out of a map or a hash, so that the rule alone does not tell them.
    pub computed: bool,
}
