//! One experiment from its set-up to the comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use transect_path::Verdict;

use crate::error::WorldError;
use crate::folder::RunFolder;
use crate::observation::{self, Diagnosis};
use crate::scenario::Scenario;
use crate::{ExperimentResult, RunOptions, WorldKind, check, model};

/// Runs one experiment and removes everything that it made, the kept bundle aside.
pub(crate) fn run(
    scenario: &Scenario,
    run_folder: &RunFolder,
    options: &RunOptions,
) -> ExperimentResult {
    let started = Instant::now();
    let mut result = ExperimentResult {
        name: scenario.name.clone(),
        passed: false,
        expected: scenario.expect.clone(),
        got: Vec::new(),
        problems: Vec::new(),
        seconds: 0.0,
        virtual_seconds: None,
        bundle: None,
        counters: BTreeMap::new(),
    };
    match carry_out(scenario, run_folder, options) {
        Ok(outcome) => {
            result.problems = check::problems(&scenario.expect, &outcome.verdicts);
            result.problems.extend(outcome.problems);
            result.got = outcome.verdicts;
            result.bundle = outcome.bundle;
            result.virtual_seconds = outcome.virtual_time.map(|time| time.as_secs_f64());
            result.counters = outcome.counters;
        }
        Err(error) => result.problems.push(error.to_string()),
    }
    result.passed = result.problems.is_empty();
    result.seconds = started.elapsed().as_secs_f64();
    result
}

struct Outcome {
    verdicts: Vec<Verdict>,
    problems: Vec<String>,
    bundle: Option<PathBuf>,
    virtual_time: Option<Duration>,
    counters: BTreeMap<String, BTreeMap<String, u64>>,
}

fn carry_out(
    scenario: &Scenario,
    run_folder: &RunFolder,
    options: &RunOptions,
) -> Result<Outcome, WorldError> {
    let folder = run_folder
        .experiment(&scenario.name)
        .map_err(|error| WorldError(error.to_string()))?;
    let bundle = match &options.keep {
        Some(parent) => unused(parent, &scenario.name),
        None => folder.join("bundle"),
    };
    let observed = observe(scenario, run_folder, options, &folder, &bundle);
    // The programs' data is large, and nobody needs it any more. What cannot be removed goes with the run's folder.
    let keep_bundle = options.keep.is_some();
    let outcome = observed.and_then(|virtual_time| {
        let Diagnosis {
            verdicts,
            mut problems,
            counters,
        } = observation::diagnose(&bundle, scenario)?;
        for meter in &scenario.meters {
            let moved = counters
                .get(&meter.host)
                .and_then(|all| all.get(&meter.counter))
                .copied()
                .unwrap_or(0);
            if moved != meter.moved {
                problems.push(format!(
                    "{}: {} moved by {moved}, expected {}",
                    meter.host, meter.counter, meter.moved
                ));
            }
        }
        Ok(Outcome {
            verdicts,
            problems,
            bundle: keep_bundle.then(|| bundle.clone()),
            virtual_time,
            counters: if options.counters {
                counters
            } else {
                BTreeMap::new()
            },
        })
    });
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

/// A folder of this name, or with a number behind it when a bundle from before is there.
fn unused(parent: &Path, name: &str) -> PathBuf {
    let mut path = parent.join(name);
    let mut number = 2;
    while path.exists() {
        path = parent.join(format!("{name}-{number}"));
        number += 1;
    }
    path
}

/// Builds the world, observes the steps, and takes everything down again. Gives the virtual time that passed, where time is
/// virtual.
fn observe(
    scenario: &Scenario,
    run_folder: &RunFolder,
    options: &RunOptions,
    folder: &Path,
    bundle: &Path,
) -> Result<Option<Duration>, WorldError> {
    let stop = options.stop.clone().unwrap_or_default();
    if options.world == WorldKind::Model {
        let stopped = || stop.load(Ordering::Relaxed);
        return model::observe(scenario, bundle, &stopped).map(|simulated| Some(simulated.time));
    }
    kernel_world(scenario, run_folder, folder, bundle, stop).map(|()| None)
}

#[cfg(feature = "live")]
use crate::world::observe as kernel_world;

/// The kernel world, where it was left out.
#[cfg(not(feature = "live"))]
fn kernel_world(
    _: &Scenario,
    _: &RunFolder,
    _: &Path,
    _: &Path,
    _: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> Result<(), WorldError> {
    Err(WorldError::new(
        "the kernel world was left out of this build: it needs the feature \"live\"",
    ))
}
