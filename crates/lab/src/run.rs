//! Running experiments: selection, side by side, progress, results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use transect_path::named_enum;

use crate::folder::RunFolder;
use crate::scenario::Scenario;
use crate::{ExperimentResult, LabError, experiment, library};

/// What `lab list` shows of one experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentInfo {
    /// The full name: the file's stem and the values of its axes, joined by dots; a twin ends in `.twin`.
    pub name: String,
    /// One sentence: what is broken, and where.
    pub summary: String,
    /// The entries of the catalogue of causes that it shows (`E1`).
    pub entries: Vec<String>,
    /// Left out of `--all` unless asked for.
    pub slow: bool,
    /// The experiment without its fault.
    pub twin: bool,
    /// What it must end in, in a few words: `lost server/local_in netfilter_drop`.
    pub expected: String,
}

/// Which experiments to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that are inside the binary.
    All {
        /// Those marked slow too.
        slow: bool,
    },
    /// By full name, by a prefix of its dot-separated parts (`seed-3.1-local-in` is all variants of it that are not slow; `*` matches
    /// anything), or by the path of a `.toml` file.
    Named(Vec<String>),
}

named_enum! {
    /// In which world experiments run.
    #[derive(Default)]
    pub enum WorldKind {
        /// Network namespaces of the running kernel; needs root.
        #[default]
        Kernel => "kernel",
        /// Model hosts in virtual time; needs nothing.
        Model => "model",
    }
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Where.
    pub world: WorldKind,
    /// How many experiments run side by side; in the kernel world they mostly wait.
    pub jobs: usize,
    /// Keep each bundle folder below this folder.
    pub keep: Option<PathBuf>,
    /// Report the counters that moved, too.
    pub counters: bool,
    /// Set by the caller (^C) to end early: running experiments are torn down, the others are not started.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            world: WorldKind::Kernel,
            jobs: 8,
            keep: None,
            counters: false,
            stop: None,
        }
    }
}

/// What happens during a run, in order; experiments interleave.
#[derive(Debug)]
pub enum Progress<'a> {
    /// An experiment starts.
    Started {
        /// Its full name.
        name: &'a str,
    },
    /// An experiment ended.
    Finished {
        /// How.
        result: &'a ExperimentResult,
        /// How many have ended, this one included.
        done: usize,
        /// How many run in all.
        total: usize,
    },
}

/// All experiments that are inside the binary, by name.
///
/// # Errors
/// When an experiment's file is not valid; cannot happen in a tested build.
pub fn list() -> Result<Vec<ExperimentInfo>, LabError> {
    Ok(library::all()?.iter().map(library::info).collect())
}

/// Runs experiments in namespaces of their own or in the model world, side by side, and removes everything that it made.
///
/// The results come in the order of the selection. An experiment that cannot be run (a program is missing, a right is lacking) is a
/// result that did not pass and says what to do; it is no error.
///
/// # Errors
/// An unknown name, a file that cannot be read or is not valid, or no right to make a network namespace.
pub fn run(
    selection: &Selection,
    options: &RunOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<ExperimentResult>, LabError> {
    let scenarios = library::select(selection)?;
    if options.world == WorldKind::Kernel {
        check_kernel_world()?;
    }
    let folder = RunFolder::create(options.world)?;
    let stopped = || {
        let stop = options.stop.as_ref();
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    };
    let next = AtomicUsize::new(0);
    let (events, incoming) = channel();
    let mut results: Vec<Option<ExperimentResult>> = vec![None; scenarios.len()];
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, scenarios.len().max(1)) {
            let events = events.clone();
            let (next, scenarios, folder) = (&next, &scenarios, &folder);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(index) else {
                        break;
                    };
                    if stopped() || events.send(Event::Started(index)).is_err() {
                        break;
                    }
                    let result = experiment::run(scenario, folder, options);
                    if events
                        .send(Event::Finished(index, Box::new(result)))
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
        // The threads hold the other ends; the loop ends with the last of them.
        drop(events);
        let mut done = 0;
        for event in incoming {
            match event {
                Event::Started(index) => progress(Progress::Started {
                    name: &scenarios[index].name,
                }),
                Event::Finished(index, result) => {
                    done += 1;
                    progress(Progress::Finished {
                        result: &result,
                        done,
                        total: scenarios.len(),
                    });
                    results[index] = Some(*result);
                }
            }
        }
    });
    let all = scenarios
        .iter()
        .zip(results)
        .map(|(scenario, result)| result.unwrap_or_else(|| not_run(scenario)));
    Ok(all.collect())
}

/// Whether namespaces can be made.
#[cfg(feature = "live")]
fn check_kernel_world() -> Result<(), LabError> {
    crate::world::HostNamespace::create("probe")
        .map(drop)
        .map_err(LabError::Namespace)
}

#[cfg(not(feature = "live"))]
fn check_kernel_world() -> Result<(), LabError> {
    Err(LabError::KernelWorldLeftOut)
}

enum Event {
    Started(usize),
    Finished(usize, Box<ExperimentResult>),
}

/// The result of an experiment that was not started because the run was stopped.
fn not_run(scenario: &Scenario) -> ExperimentResult {
    ExperimentResult {
        name: scenario.name.clone(),
        passed: false,
        expected: scenario.expect.clone(),
        got: Vec::new(),
        problems: vec!["not run: stopped".to_owned()],
        seconds: 0.0,
        virtual_seconds: None,
        bundle: None,
        counters: BTreeMap::new(),
    }
}
