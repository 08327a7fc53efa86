//! Observing the model world: the bundle folder that `transect collect` would have written of it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use transect_evidence::bundle::{
    BundleError, BundleWriter, FORMAT, FilterProgram, HostRecord, HostWriter, LogRecord, Manifest,
    Phase,
};
use transect_host::DeviceId;
use transect_packet::LinkType;
use transect_packet::bpf::Program;
use transect_path::Timestamp;

use super::file::Files;
use super::network::{Awaited, NodeId};
use super::reading::{self, Scope};
use super::recorder::{Recorder, Recording};
use super::task::Clock;
use super::wire::later;
use super::{HZ, KERNEL};
use crate::error::WorldError;
use crate::scenario::Scenario;

/// From one sample to the next.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long changes gather: tools make them in bursts.
const GATHER: Duration = Duration::from_millis(50);
/// The shortest time between two full readings because of changes.
const REST: Duration = Duration::from_millis(250);

/// FILTER, compiled for Ethernet.
pub(super) struct FilterPrograms {
    /// The expression.
    pub(super) text: Option<String>,
    /// The flows in question.
    pub(super) alone: Option<Program>,
    /// Those, and what is captured besides.
    pub(super) captured: Option<Program>,
}

/// An observation that is going on.
pub(super) struct Watching {
    clock: Clock,
    writer: BundleWriter,
    filter: FilterPrograms,
    started: Timestamp,
    hosts: Vec<Watched>,
    over: Rc<Cell<bool>>,
}

/// One host that is observed.
#[derive(Clone)]
struct Watched {
    label: String,
    node: NodeId,
    writer: Rc<RefCell<HostWriter>>,
    /// How often the host had been touched when it was last read.
    touched: Rc<Cell<u64>>,
    /// What went wrong while nobody asked.
    failed: Rc<RefCell<Option<WorldError>>>,
}

impl Watching {
    /// Begins: on return all captures stand and the first readings are written.
    pub(super) fn start(
        clock: &Clock,
        scenario: &Scenario,
        filter: FilterPrograms,
        bundle: &Path,
    ) -> Result<Self, WorldError> {
        let writer = BundleWriter::create(bundle).map_err(doing("beginning the bundle"))?;
        let mut hosts = Vec::new();
        for label in &scenario.observe.hosts {
            let node = clock.network(|network| network.node(label))?;
            let part = writer.host(label).map_err(doing("beginning the bundle"))?;
            capture(clock, node, &part.capture_path(), &filter)?;
            hosts.push(Watched {
                label: label.clone(),
                node,
                writer: Rc::new(RefCell::new(part)),
                touched: Rc::default(),
                failed: Rc::default(),
            });
        }
        let watching = Watching {
            clock: clock.clone(),
            writer,
            filter,
            started: clock.now(),
            hosts,
            over: Rc::default(),
        };
        for host in &watching.hosts {
            clock.network(|network| network.changes(host.node));
            host.take(clock, Scope::Full, Phase::Before, "the observation starts")?;
            let (host, clock) = (host.clone(), clock.clone());
            let over = Rc::clone(&watching.over);
            watching.clock.start(async move {
                if let Err(error) = host.sample(&clock, &over).await {
                    *host.failed.borrow_mut() = Some(error);
                }
            });
        }
        Ok(watching)
    }

    /// Takes the last readings, ends the captures and completes the bundle.
    pub(super) fn stop(self, scenario: &Scenario, files: &Files) -> Result<(), WorldError> {
        self.over.set(true);
        for host in &self.hosts {
            if let Some(error) = host.failed.borrow_mut().take() {
                return Err(error);
            }
            let mut why = "the observation ends".to_owned();
            let changes = self.clock.network(|network| network.changes(host.node));
            if !changes.is_empty() {
                why.push_str("; shortly before: ");
                why.push_str(&in_words(&changes));
            }
            host.take(&self.clock, Scope::Full, Phase::After, &why)?;
        }
        let now = self.clock.now();
        for host in &self.hosts {
            let recorder = self
                .clock
                .network(|network| network.take_recorder(host.node));
            if let Some(recorder) = recorder {
                recorder.finish(now)?;
            }
        }
        self.write_logs(scenario, files)?;
        self.write_manifest(now)
    }

    fn write_logs(&self, scenario: &Scenario, files: &Files) -> Result<(), WorldError> {
        for log in &scenario.observe.logs {
            let program = scenario.programs.iter().find(|one| one.name == log.program);
            let label = program.map(|one| one.host.as_str()).unwrap_or_default();
            let Some(host) = self.hosts.iter().find(|host| host.label == label) else {
                continue;
            };
            let record = LogRecord {
                path: format!("/model/{}/{}", log.program, log.file),
                offset: 0,
                rotated: false,
            };
            let stem = Path::new(&log.file).file_stem().unwrap_or_default();
            host.writer
                .borrow()
                .write_log(
                    &stem.to_string_lossy(),
                    &record,
                    &files.read(&log.program, &log.file),
                )
                .map_err(doing("writing a log"))?;
        }
        Ok(())
    }

    fn write_manifest(&self, now: Timestamp) -> Result<(), WorldError> {
        let programs = self.filter.alone.iter().map(|program| FilterProgram {
            link_type: LinkType::ETHERNET.0,
            instructions: program
                .instructions
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
        });
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            transect: env!("CARGO_PKG_VERSION").to_owned(),
            created: now,
            filter: self.filter.text.clone(),
            programs: programs.collect(),
            command: None,
            started: self.started,
            ended: now,
            hosts: self.hosts.iter().map(|host| record(&host.label)).collect(),
        };
        self.writer
            .write_manifest(&manifest)
            .map_err(doing("completing the bundle"))
    }
}

impl Watched {
    fn take(&self, clock: &Clock, scope: Scope, phase: Phase, why: &str) -> Result<(), WorldError> {
        let reading = clock.call(self.node, |host, now| reading::read(host, now, scope))?;
        self.touched
            .set(clock.network(|network| network.touched(self.node)));
        self.writer
            .borrow_mut()
            .write_reading(phase, why, reading)
            .map_err(doing("writing a reading"))
    }

    /// Readings by the clock, and a little after each change that the host announces.
    async fn sample(&self, clock: &Clock, over: &Cell<bool>) -> Result<(), WorldError> {
        let mut next = later(clock.now(), SAMPLE);
        let mut rested = clock.now();
        let mut due: Option<Timestamp> = None;
        loop {
            let until = due.map_or(next, |due| due.min(next));
            let change = due.is_none().then_some(Awaited::Change(self.node));
            clock.wait(change, Some(until)).await;
            if over.get() {
                return Ok(());
            }
            let now = clock.now();
            if due.is_none() && clock.network(|network| network.has_changes(self.node)) {
                due = Some(later(now, GATHER).max(rested));
            }
            if due.is_some_and(|due| due <= now) {
                due = None;
                let changes = clock.network(|network| network.changes(self.node));
                self.take(clock, Scope::Full, Phase::Change, &in_words(&changes))?;
                rested = later(now, REST);
                next = later(now, SAMPLE);
            } else if next <= now {
                // A host that slept through has nothing new to tell: two minutes of time-outs are a dozen readings.
                if clock.network(|network| network.touched(self.node)) != self.touched.get() {
                    self.take(clock, Scope::Sample, Phase::Sample, "the clock")?;
                }
                next = later(next, SAMPLE);
            }
        }
    }
}

/// Begins a capture of all of a host's devices.
fn capture(
    clock: &Clock,
    node: NodeId,
    path: &Path,
    filter: &FilterPrograms,
) -> Result<(), WorldError> {
    let devices = clock.call(node, |host, _| {
        let links = host.config().links.iter().flatten();
        links
            .filter_map(|link| Some((host.device(&link.name)?, link.name.clone())))
            .collect::<Vec<(DeviceId, String)>>()
    })?;
    let recorder = clock.call(node, |host, _| {
        Recorder::create(
            path,
            host.config(),
            &devices,
            Recording {
                link: LinkType::ETHERNET,
                snap_length: Recording::SHORT,
                filter: filter.text.as_deref(),
                program: filter.captured.clone(),
            },
        )
    })??;
    clock.call(node, |host, _| {
        for device in recorder.devices() {
            host.set_tapped(device, true);
        }
    })?;
    clock.network(|network| network.record(node, recorder));
    Ok(())
}

fn record(label: &str) -> HostRecord {
    HostRecord {
        label: label.to_owned(),
        netns: None,
        kernel: Some(KERNEL.to_owned()),
        hostname: Some(label.to_owned()),
        clock: "realtime".to_owned(),
        hz: Some(HZ),
        unseen: Vec::new(),
    }
}

fn in_words(changes: &[String]) -> String {
    let mut words: Vec<&str> = changes.iter().map(String::as_str).collect();
    words.dedup();
    words.join("; ")
}

fn doing(what: &str) -> impl FnOnce(BundleError) -> WorldError {
    WorldError::doing(what)
}
