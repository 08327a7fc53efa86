//! Queueing disciplines, as `tc -s qdisc` shows them.

mod json;
mod text;

use crate::parse::Parsed;

pub(crate) use json::statistics as statistics_of_json;
pub(crate) use text::statistics_line;

/// Reads `tc [-j] [-s] [-d] qdisc show`; as JSON or as text. `tc qdisc show dev eth0` does not repeat the device: it stays
/// empty then.
pub fn read_qdiscs(text: &str) -> Parsed<Vec<Qdisc>> {
    if crate::json::is_json(text) {
        json::read(text)
    } else {
        text::read(text)
    }
}

/// One queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qdisc {
    /// Device.
    pub device: String,
    /// Kind: `noqueue`, `pfifo_fast`, `fq_codel`, `htb`, `tbf`, `clsact`, ….
    pub kind: String,
    /// Handle, `1:`.
    pub handle: String,
    /// Where it hangs: `root`, or `1:10`, `ffff:fff1`.
    pub parent: String,
    /// Its parameters as `tc` writes them (JSON: as compact JSON).
    pub options: String,
    /// Statistics; None where the text has none (`tc qdisc` without `-s`).
    pub statistics: Option<TcStatistics>,
}

impl Qdisc {
    /// The statistics under the names of the flat counter map: `qdisc.IFACE.KIND.HANDLE.drops`.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let Some(statistics) = &self.statistics else {
            return Vec::new();
        };
        let name = |field: &str| {
            format!(
                "qdisc.{}.{}.{}.{field}",
                self.device, self.kind, self.handle
            )
        };
        vec![
            (name("packets"), statistics.packets),
            (name("bytes"), statistics.bytes),
            (name("drops"), statistics.drops),
            (name("overlimits"), statistics.overlimits),
            (name("requeues"), statistics.requeues),
        ]
    }
}

/// What `tc -s` prints for a qdisc or an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcStatistics {
    /// Bytes passed.
    pub bytes: u64,
    /// Packets passed. For an action: packets it was applied to.
    pub packets: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Times a limit was reached.
    pub overlimits: u64,
    /// Packets the device gave back.
    pub requeues: u64,
    /// Bytes waiting.
    pub backlog: u64,
    /// Packets waiting.
    pub qlen: u64,
}
