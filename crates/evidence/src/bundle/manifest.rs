//! The JSON files of a bundle: the manifest, each reading's record and each log's record.

use serde::{Deserialize, Serialize};
use transect_path::{Timestamp, Unseen};

/// The name and version of the format, as the manifest states it.
pub const FORMAT: &str = "transect.bundle/1";

/// `manifest.json`: what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// The version of Transect that wrote the bundle.
    pub transect: String,
    /// When the manifest was written.
    pub created: Timestamp,
    /// The pcap filter expression that selects the flows in question.
    pub filter: Option<String>,
    /// That expression, compiled, for each link type that was captured.
    #[serde(default)]
    pub programs: Vec<FilterProgram>,
    /// The command that ran during the observation.
    pub command: Option<CommandRecord>,
    /// When the observation began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The observed hosts in the order in which they were named.
    pub hosts: Vec<HostRecord>,
}

/// The filter as classic BPF for one link type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterProgram {
    /// The link type (`LINKTYPE_…`).
    pub link_type: u16,
    /// The instructions: code, jump if true, jump if false, k (`struct sock_filter`).
    pub instructions: Vec<(u16, u8, u8, u32)>,
}

/// The command that ran during the observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The exit status; 128 + N when signal N ended it; null when it was still running.
    pub status: Option<i32>,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended, or the observation did.
    pub ended: Timestamp,
}

/// One observed host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The label.
    pub label: String,
    /// The network namespace, as it was named; null for the one in which Transect ran.
    pub netns: Option<String>,
    /// The kernel's release (`uname -r`).
    pub kernel: Option<String>,
    /// The host's own name.
    pub hostname: Option<String>,
    /// The clock of all times: `realtime`.
    pub clock: String,
    /// The kernel's timer frequency (`CONFIG_HZ`), where known.
    pub hz: Option<u32>,
    /// What could not be seen during the whole observation.
    #[serde(default)]
    pub unseen: Vec<Unseen>,
}

/// When in the observation a reading was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the first packet.
    Before,
    /// In between, by the clock.
    Sample,
    /// In between, because the kernel announced a change of configuration.
    Change,
    /// After the last packet.
    After,
}

/// `reading.json`: one reading of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingRecord {
    /// When the first file was read.
    pub time: Timestamp,
    /// When the last file was read.
    pub ended: Timestamp,
    /// When in the observation.
    pub phase: Phase,
    /// The files that are byte for byte those of the newest earlier reading that has them, and so are not written again.
    #[serde(default)]
    pub unchanged: Vec<String>,
    /// Why this reading was taken: "the clock", or what changed.
    #[serde(default)]
    pub why: String,
}

/// `logs/NAME.json`: from where the log's part was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The log's path as the user named it.
    pub path: String,
    /// The size at the start of the observation: the part begins there.
    pub offset: u64,
    /// The log was rotated or truncated meanwhile, so that lines may be missing.
    pub rotated: bool,
}
