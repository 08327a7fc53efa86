//! The observation: captures and readings of all hosts from before COMMAND to after it, written as a bundle's folder.
//!
//! The captures stand before the first reading is taken and go on until the last one is written, so that every packet that a
//! counter counted between two readings had its chance to be captured.

mod command;
mod host;
mod log;
mod plan;
mod sampler;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use transect_evidence::bundle::{
    BundleWriter, CommandRecord, CommandStream, FORMAT, FilterProgram, HostRecord, Manifest,
};
use transect_packet::LinkType;
use transect_path::{CommandRun, Timestamp};

use self::command::RunningCommand;
use self::host::{HostObservation, HostResult};
pub use self::plan::{CommandOutput, HostSummary, LogPlan, Plan, Progress, Summary};
use crate::wait;
use crate::{Error, Filter, Namespace, StopSignal, Urgency};

/// How long a command that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// An observation that is going on. Dropping it ends it without a result.
#[derive(Debug)]
pub struct Observation {
    plan: Plan,
    filter: Arc<Filter>,
    writer: BundleWriter,
    hosts: Vec<HostObservation>,
    started: Timestamp,
}

impl Observation {
    /// Begins to observe: on return all captures stand and the first readings are written. COMMAND and duration of the plan are
    /// for [`run`] and do not matter here.
    ///
    /// # Errors
    /// The plan is wrong ([`Error::is_usage`]), a namespace cannot be entered, or the folder cannot be written. What merely
    /// cannot be seen is no error; it is said in the bundle.
    pub fn start(plan: Plan) -> Result<Self, Error> {
        let filter = Arc::new(Filter::new(plan.filter.as_deref())?);
        let namespaces = open_namespaces(&plan)?;
        let logs = open_logs(&plan)?;
        let started = wait::now();
        let writer = BundleWriter::create(&plan.folder)?;
        let mut hosts = Vec::new();
        for (host, namespace) in plan.hosts.iter().zip(namespaces) {
            let capture = plan.capture;
            let part = writer.host(&host.label)?;
            hosts.push(HostObservation::start(
                host, namespace, &filter, capture, part,
            )?);
        }
        for (index, log) in logs {
            if let Some(host) = hosts.get_mut(index) {
                host.add_log(log);
            }
        }
        // All hosts open their taps at the same time, then all take their first readings at the same time.
        for host in &mut hosts {
            host.captures_ready()?;
        }
        for host in &mut hosts {
            host.start_readings(plan.sample_interval)?;
        }
        for host in &mut hosts {
            host.readings_ready()?;
        }
        let observation = Observation {
            plan,
            filter,
            writer,
            hosts,
            started,
        };
        // An observation that is killed leaves a bundle that can be read all the same.
        observation.write_manifest(None, Vec::new(), &BTreeSet::from([LinkType::ETHERNET]))?;
        Ok(observation)
    }

    /// What is captured: host by host, the interfaces.
    pub fn watching(&self) -> Vec<(String, Vec<String>)> {
        let of = |host: &HostObservation| (host.label().to_owned(), host.interfaces().to_vec());
        self.hosts.iter().map(of).collect()
    }

    /// Takes the last readings, ends the captures when all that arrived is written, and completes the bundle.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn stop(self) -> Result<Summary, Error> {
        self.stop_with(None)
    }

    fn stop_with(mut self, command: Option<CommandRecord>) -> Result<Summary, Error> {
        // Each step on all hosts at the same time.
        for host in &self.hosts {
            host.ask_for_last_reading();
        }
        let mut readings = Vec::new();
        for host in &mut self.hosts {
            readings.push(host.finish_readings()?);
        }
        for host in &self.hosts {
            host.ask_capture_to_end();
        }
        let mut results = Vec::new();
        for (host, sampled) in std::mem::take(&mut self.hosts).into_iter().zip(readings) {
            results.push(host.finish(sampled)?);
        }
        let records = results.iter().map(HostResult::record).collect();
        let mut link_types: BTreeSet<LinkType> = results
            .iter()
            .flat_map(|result| result.summary.capture.interfaces.iter())
            .map(|interface| interface.link_type)
            .collect();
        link_types.insert(LinkType::ETHERNET);
        self.write_manifest(command.clone(), records, &link_types)?;
        Ok(Summary {
            folder: self.plan.folder,
            hosts: results.into_iter().map(|result| result.summary).collect(),
            command: command.map(|record| CommandRun {
                argv: record.argv,
                status: record.status,
            }),
            interrupted: false,
        })
    }

    fn write_manifest(
        &self,
        command: Option<CommandRecord>,
        finished: Vec<HostRecord>,
        link_types: &BTreeSet<LinkType>,
    ) -> Result<(), Error> {
        let now = wait::now();
        let programs = link_types.iter().filter_map(|&link_type| {
            let program = self.filter.program(link_type)?;
            Some(FilterProgram {
                link_type: link_type.0,
                instructions: program.instructions.into_iter().map(Into::into).collect(),
            })
        });
        let hosts = if finished.is_empty() {
            self.hosts.iter().map(HostObservation::record).collect()
        } else {
            finished
        };
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            transect: env!("CARGO_PKG_VERSION").to_owned(),
            created: now,
            filter: self.filter.text().map(str::to_owned),
            programs: programs.collect(),
            command,
            started: self.started,
            ended: now,
            hosts,
        };
        Ok(self.writer.write_manifest(&manifest)?)
    }
}

fn open_namespaces(plan: &Plan) -> Result<Vec<Arc<Namespace>>, Error> {
    let mut seen = HashMap::new();
    let mut labels = HashMap::new();
    let mut namespaces = Vec::new();
    for host in &plan.hosts {
        let named = host.namespace.to_string();
        if let Some(first) = labels.insert(host.label.as_str(), named.clone()) {
            return Err(Error::LabelTaken {
                label: host.label.clone(),
                first,
                second: named,
            });
        }
        let namespace = host.namespace.open()?;
        if let Some(first) = seen.insert(namespace.id(), named.clone()) {
            return Err(Error::SameNamespace {
                first,
                second: named,
            });
        }
        namespaces.push(Arc::new(namespace));
    }
    Ok(namespaces)
}

/// Opens the logs; each with the index of its host.
fn open_logs(plan: &Plan) -> Result<Vec<(usize, log::LogWatch)>, Error> {
    let mut logs = Vec::new();
    for planned in &plan.logs {
        let belongs = |host: &crate::HostPlan| host.label == planned.label;
        let Some(index) = plan.hosts.iter().position(belongs) else {
            return Err(Error::LogOfUnknownHost {
                label: planned.label.clone(),
                path: planned.path.clone(),
                known: plan::labels(&plan.hosts),
            });
        };
        let watch = log::LogWatch::begin(&planned.path).map_err(Error::system(format!(
            "opening the log {}",
            planned.path.display()
        )))?;
        logs.push((index, watch));
    }
    Ok(logs)
}

/// Observes as planned: until COMMAND ended and the settle time is over, until the plan's duration is over, or until asked to
/// stop.
///
/// A COMMAND that runs longer than that is told to end (the signal that ended the observation, else SIGTERM) and killed after
/// two seconds. Asked to stop a second time, everything ends at once.
///
/// Call it from a thread that lives on, best the main one: COMMAND dies with the thread that started it.
///
/// # Errors
/// As [`Observation::start`] and [`Observation::stop`]; COMMAND cannot be started; or [`Error::Stopped`].
pub fn run(plan: Plan, stop: &StopSignal) -> Result<Summary, Error> {
    run_with(plan, stop, &mut |_| {})
}

/// As [`run`], and says meanwhile what it is doing.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    plan: Plan,
    stop: &StopSignal,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, Error> {
    let (argv, output) = (plan.command.clone(), plan.command_output);
    let (duration, settle) = (plan.duration, plan.settle);
    let observation = Observation::start(plan)?;
    progress(Progress::Watching(observation.watching()));
    let deadline = duration.and_then(|duration| Instant::now().checked_add(duration));
    let finished = match argv {
        Some(argv) => {
            let mut command = RunningCommand::start(&argv, output)?;
            progress(Progress::CommandStarted);
            let watched = watch_command(&mut command, deadline, settle, stop, progress);
            if let Err(error) = watched {
                command.abandon();
                return Err(error);
            }
            Some(command.finish())
        }
        None => {
            wait::readable([stop.finish_fd()], left(deadline))?;
            None
        }
    };
    if stop.urgency() == Urgency::AtOnce {
        return Err(Error::Stopped);
    }
    progress(Progress::Finishing);
    let mut record = None;
    if let Some(finished) = finished {
        let writer = &observation.writer;
        writer.write_command_output(CommandStream::Stdout, &finished.stdout)?;
        writer.write_command_output(CommandStream::Stderr, &finished.stderr)?;
        record = Some(finished.record);
    }
    let mut summary = observation.stop_with(record)?;
    summary.interrupted = stop.urgency() != Urgency::None;
    Ok(summary)
}

/// Waits for the command and settles, or tells it to end.
fn watch_command(
    command: &mut RunningCommand,
    deadline: Option<Instant>,
    settle: Duration,
    stop: &StopSignal,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let [ended, asked] = wait::readable([command.ended(), stop.finish_fd()], left(deadline))?;
    if ended {
        progress(Progress::CommandEnded(command.status()));
        let settle = left(deadline).map_or(settle, |left| left.min(settle));
        progress(Progress::Settling(settle));
        wait::readable([stop.finish_fd()], Some(settle))?;
    } else {
        let signal = stop
            .signal()
            .filter(|_| asked)
            .and_then(Signal::from_named_raw);
        let signal = signal.unwrap_or(Signal::TERM);
        if !(signal == Signal::INT && command.shares_terminal()) {
            command.signal(signal);
        }
        let [ended, _] = wait::readable([command.ended(), stop.at_once_fd()], Some(GRACE))?;
        if ended {
            progress(Progress::CommandEnded(command.status()));
        }
    }
    match stop.urgency() {
        Urgency::AtOnce => Err(Error::Stopped),
        Urgency::None | Urgency::Finish => Ok(()),
    }
}

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}
