//! What to observe, and what an observation comes back with.

use std::path::PathBuf;
use std::time::Duration;

use transect_path::{CommandRun, Unseen};

use crate::{CaptureOptions, CaptureSummary, Error, HostPlan};

/// What to observe.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The hosts, at least one; no two with the same label or namespace.
    pub hosts: Vec<HostPlan>,
    /// The pcap filter expression that selects the flows in question; `None` and blank select everything.
    pub filter: Option<String>,
    /// The command to run meanwhile, where Transect was started. Only [`run`](super::run) looks at it.
    pub command: Option<Vec<String>>,
    /// Where the command's standard output goes besides into the bundle.
    pub command_output: CommandOutput,
    /// The longest time to observe. `None`: until the command ends, or until asked to stop.
    pub duration: Option<Duration>,
    /// How long to go on after the command ended.
    pub settle: Duration,
    /// The time from one sample of the counters to the next.
    pub sample_interval: Duration,
    /// How to capture.
    pub capture: CaptureOptions,
    /// Applications' logs to keep the new part of.
    pub logs: Vec<LogPlan>,
    /// The folder for the bundle; made when it is not there, and empty of bundles.
    pub folder: PathBuf,
}

impl Plan {
    /// How long to go on after the command ended, unless the user says otherwise.
    pub const SETTLE: Duration = Duration::from_secs(2);
    /// The time between samples, unless the user says otherwise.
    pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

    /// A plan that observes these hosts with everything else at its default.
    pub fn new(hosts: Vec<HostPlan>, folder: PathBuf) -> Self {
        Plan {
            hosts,
            filter: None,
            command: None,
            command_output: CommandOutput::Through,
            duration: None,
            settle: Plan::SETTLE,
            sample_interval: Plan::SAMPLE_INTERVAL,
            capture: CaptureOptions::default(),
            logs: Vec::new(),
            folder,
        }
    }
}

/// Where the command's standard output goes besides into the bundle. Its standard error always goes to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommandOutput {
    /// To our standard output.
    #[default]
    Through,
    /// To our standard error: our standard output is for the answer alone.
    ToStderr,
    /// Nowhere, and its standard error neither.
    Kept,
}

/// An application's log whose new part is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// The label of the host that the application runs on.
    pub label: String,
    /// The file, as Transect's own mount namespace shows it.
    pub path: PathBuf,
}

impl LogPlan {
    /// Reads `LABEL=PATH`, or `PATH` alone where one host is observed.
    ///
    /// # Errors
    /// No such host, or a path alone while several hosts are observed.
    pub fn parse(text: &str, hosts: &[HostPlan]) -> Result<Self, Error> {
        let known = |label: &str| hosts.iter().any(|host| host.label == label);
        match (text.split_once('='), hosts) {
            (Some((label, path)), _) if known(label) => Ok(LogPlan {
                label: label.to_owned(),
                path: PathBuf::from(path),
            }),
            // A file name may hold a "=", a label never a "/".
            (None, [only]) => Ok(LogPlan {
                label: only.label.clone(),
                path: PathBuf::from(text),
            }),
            (Some((label, _)), [only]) if label.contains('/') => Ok(LogPlan {
                label: only.label.clone(),
                path: PathBuf::from(text),
            }),
            (Some((label, path)), _) => Err(Error::LogOfUnknownHost {
                label: label.to_owned(),
                path: PathBuf::from(path),
                known: labels(hosts),
            }),
            (None, _) => Err(Error::HostName {
                text: text.to_owned(),
                reason: format!(
                    "several hosts are observed: write LABEL=PATH (observed: {})",
                    labels(hosts)
                ),
            }),
        }
    }
}

pub(super) fn labels(hosts: &[HostPlan]) -> String {
    let labels: Vec<_> = hosts.iter().map(|host| host.label.as_str()).collect();
    labels.join(", ")
}

/// What an observation came back with; the evidence itself is in the bundle's folder.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The bundle's folder.
    pub folder: PathBuf,
    /// The hosts in the order of the plan.
    pub hosts: Vec<HostSummary>,
    /// The command and how it ended.
    pub command: Option<CommandRun>,
    /// It was ended by a signal or by the program, before its time.
    pub interrupted: bool,
}

/// What was observed of one host.
#[derive(Debug, Clone)]
pub struct HostSummary {
    /// The host's label.
    pub label: String,
    /// What was captured.
    pub capture: CaptureSummary,
    /// How many readings were taken.
    pub readings: u32,
    /// What could not be seen during the whole observation.
    pub unseen: Vec<Unseen>,
}

/// What an observation is doing, for people who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Everything is watched from now on: host by host, the interfaces that are captured.
    Watching(Vec<(String, Vec<String>)>),
    /// The command was started.
    CommandStarted,
    /// The command ended, with this status (128 + N: by signal N).
    CommandEnded(Option<i32>),
    /// Waiting for stragglers.
    Settling(Duration),
    /// Taking the last readings.
    Finishing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_given_to_hosts() {
        let hosts = HostPlan::parse_all(&["client", "server"]).unwrap();
        let log = LogPlan::parse("server=/var/log/a=b.log", &hosts).unwrap();
        assert_eq!(log.label, "server");
        assert_eq!(log.path, PathBuf::from("/var/log/a=b.log"));

        let error = LogPlan::parse("router=/x", &hosts).unwrap_err();
        assert!(error.is_usage());
        assert_eq!(
            error.to_string(),
            "the log /x is said to belong to \"router\", which is not observed (observed: client, server)"
        );
        let error = LogPlan::parse("/x", &hosts).unwrap_err();
        assert!(error.is_usage());
        assert!(error.to_string().contains("LABEL=PATH"), "{error}");

        let one = HostPlan::parse_all(&["server"]).unwrap();
        for path in ["/var/log/x", "/var/log/a=b.log"] {
            let log = LogPlan::parse(path, &one).unwrap();
            assert_eq!(
                (log.label.as_str(), log.path),
                ("server", PathBuf::from(path))
            );
        }
    }
}
