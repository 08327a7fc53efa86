//! What was observed: hosts, their captures, their readings over time, their logs.
//!
//! The same types come out of a live observation, a bundle, and loose files; the diagnosis never knows which it was.

use std::sync::Arc;

use transect_config::rules::RuleSet;
use transect_config::{ConntrackEntry, HostConfig, Socket};
use transect_packet::bpf::Program;
use transect_path::{CommandRun, Point, Timestamp, Unseen};

use crate::bundle::Phase;
use crate::conversation::Ledger;
use crate::counters::Counters;
use crate::log::LogLine;
use crate::problem::Problem;

/// Everything that one diagnosis rests on.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The observed hosts, in the order in which they were named.
    pub hosts: Vec<HostEvidence>,
    /// The pcap filter expression that selects the flows in question; `None` selects all.
    pub filter: Option<String>,
    /// The same filter compiled, for each link type: to ask whether a packet that nobody captured would have matched.
    pub programs: Vec<Program>,
    /// The command that ran during the observation.
    pub command: Option<CommandRun>,
    /// When the command started and ended, where one ran.
    pub command_time: Option<(Timestamp, Timestamp)>,
    /// What the command printed (standard output, standard error), bounded.
    pub command_output: String,
    /// From the first to the last moment of the observation, where known.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Input that was damaged or not understood; the rest was used all the same.
    pub problems: Vec<Problem>,
}

/// What is known of one host.
#[derive(Debug, Default)]
pub struct HostEvidence {
    /// The host's label.
    pub label: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// Captures, one for each file.
    pub captures: Vec<Capture>,
    /// Readings in the order of their times.
    pub readings: Vec<Reading>,
    /// Logs of applications on this host.
    pub logs: Vec<Log>,
    /// What could not be seen on this host during the whole observation.
    pub unseen: Vec<Unseen>,
}

/// One capture file, condensed to its conversations.
#[derive(Debug)]
pub struct Capture {
    /// The file's name, for messages.
    pub name: String,
    /// Where the capture was taken, when not at the link-layer taps.
    pub point: Option<Point>,
    /// The conversations, by tap.
    pub ledger: Ledger,
}

/// All meters of one host at one moment. A part that was not read is `None`.
#[derive(Debug, Clone)]
pub struct Reading {
    /// When the reading began. Zero where a loose file does not say.
    pub time: Timestamp,
    /// When it was complete.
    pub ended: Timestamp,
    /// When in the observation it was taken.
    pub phase: Phase,
    /// Host-wide counters.
    pub counters: Counters,
    /// Sockets.
    pub sockets: Option<Arc<Vec<Socket>>>,
    /// Connection tracking entries.
    pub conntrack: Option<Arc<Vec<ConntrackEntry>>>,
    /// Configuration: as last read at this moment.
    pub config: Option<Arc<HostConfig>>,
    /// Rule sets with their counters: as read at this moment, parts that this reading lacks taken from the one before.
    pub rules: Option<Arc<RuleSet>>,
    /// What this reading could not get.
    pub unseen: Vec<Unseen>,
}

/// One application's log, as far as it was written during the observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The file's path as the user named it.
    pub path: String,
    /// The lines.
    pub lines: Vec<LogLine>,
}

impl Evidence {
    /// The host with this label.
    pub fn host(&self, label: &str) -> Option<&HostEvidence> {
        self.hosts.iter().find(|host| host.label == label)
    }
}

impl HostEvidence {
    /// The first reading, if at least two moments were read; the base of all differences.
    pub fn first(&self) -> Option<&Reading> {
        self.readings.first()
    }

    /// The last reading.
    pub fn last(&self) -> Option<&Reading> {
        self.readings.last()
    }

    /// The newest configuration known at `time`: the last reading at or before it, else the first one.
    pub fn config_at(&self, time: Timestamp) -> Option<&HostConfig> {
        let known = |reading: &&Reading| reading.config.is_some();
        self.readings
            .iter()
            .filter(known)
            .take_while(|reading| reading.time <= time)
            .last()
            .or_else(|| self.readings.iter().find(known))
            .and_then(|reading| reading.config.as_deref())
    }
}
