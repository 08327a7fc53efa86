//! Traffic control filters, as `tc -s filter` shows them.

mod json;
mod text;

use crate::parse::Parsed;
use crate::qdisc::TcStatistics;

/// Reads `tc [-j] [-s] filter show`; as JSON or as text. Several places' output may follow one another.
///
/// `device` and `parent` are what was asked for, where the text does not say it.
pub fn read_filters(
    text: &str,
    device: Option<&str>,
    parent: Option<&str>,
) -> Parsed<Vec<TcFilter>> {
    let mut parsed = if crate::json::is_json(text) {
        json::read(text)
    } else {
        text::read(text)
    };
    for filter in &mut parsed.value {
        if filter.device.is_empty() {
            filter.device = device.unwrap_or("").to_owned();
        }
        if filter.parent.is_empty() {
            filter.parent = parent.unwrap_or("").to_owned();
        }
    }
    parsed
}

/// One filter. An u32 filter's hash tables are no filters and are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcFilter {
    /// Device; empty where the text does not say (`tc filter show dev X` does not repeat it).
    pub device: String,
    /// Where it hangs: `ingress`, `egress`, `root`, `1:`, `ffff:fff2`. Empty where the text does not say.
    pub parent: String,
    /// Preference; lower comes first.
    pub pref: u32,
    /// Link-layer protocol it is for: `all`, `ip`, `ipv6`, ….
    pub protocol: String,
    /// Kind of classifier: `u32`, `bpf`, `matchall`, `flower`, `basic`, `fw`.
    pub kind: String,
    /// Handle.
    pub handle: Option<String>,
    /// For `bpf`: the program.
    pub bpf: Option<BpfProgram>,
    /// Actions in order.
    pub actions: Vec<TcAction>,
    /// The filter as `tc` writes it (JSON: as compact JSON), without statistics.
    pub text: String,
}

impl TcFilter {
    /// Whether it can drop packets: an action that drops, or a BPF program that decides itself.
    pub fn can_drop(&self) -> bool {
        self.actions.iter().any(TcAction::can_drop)
            || self
                .bpf
                .as_ref()
                .is_some_and(|program| program.direct_action)
    }

    /// Whether it stands on the receiving side; None where the text does not say.
    pub fn is_ingress(&self) -> Option<bool> {
        match self.parent.as_str() {
            "" => None,
            "ingress" | "ffff:fff2" | "ffff:" => Some(true),
            _ => Some(false),
        }
    }

    /// The statistics under the names of the flat counter map: `filter.IFACE.PARENT.PREF.drops`, actions summed.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut all = self
            .actions
            .iter()
            .filter_map(|action| action.statistics.as_ref())
            .peekable();
        if all.peek().is_none() {
            return Vec::new();
        }
        let (mut packets, mut drops) = (0u64, 0u64);
        for statistics in all {
            packets = packets.saturating_add(statistics.packets);
            drops = drops.saturating_add(statistics.drops);
        }
        let name = |field: &str| {
            format!(
                "filter.{}.{}.{}.{field}",
                self.device, self.parent, self.pref
            )
        };
        vec![(name("packets"), packets), (name("drops"), drops)]
    }
}

/// A BPF classifier's program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BpfProgram {
    /// Its name, `prog.o:[section]` or what the loader gave.
    pub name: Option<String>,
    /// Program id.
    pub id: Option<u32>,
    /// Its return value is the verdict (`direct-action`).
    pub direct_action: bool,
}

/// One action of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcAction {
    /// Kind: `gact`, `police`, `mirred`, `bpf`, `pedit`, `skbedit`, ….
    pub kind: String,
    /// What happens to the packet then: `drop`, `pass`, `pipe`, `continue`, `shot`, `stolen`, …; of a policer, what
    /// happens to what exceeds its rate.
    pub control: Option<String>,
    /// For `mirred`: `mirror` or `redirect`, and the device.
    pub target: Option<String>,
    /// Statistics.
    pub statistics: Option<TcStatistics>,
}

impl TcAction {
    /// Whether a packet can die of it.
    pub fn can_drop(&self) -> bool {
        self.kind == "police"
            && self.control.as_deref() != Some("pass")
            && self.control.as_deref() != Some("ok")
            || matches!(self.control.as_deref(), Some("drop" | "shot"))
            || self.kind == "bpf"
    }
}
