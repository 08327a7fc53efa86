//! One experiment in both worlds, side by side: what the model does otherwise than the kernel.

mod alignment;
mod meters;
mod packets;
mod summary;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use transect_evidence::{Evidence, HostEvidence, Input, LoadOptions, Role, load};
use transect_path::Verdict;

use crate::run::{self, Progress, RunOptions, Selection, WorldKind};
use crate::{ExperimentResult, LabError};

pub use summary::{Differences, Summary, summary_text};
pub use text::comparison_text;

/// The name and version of the schema of [`ComparisonReport`].
pub const COMPARE_SCHEMA: &str = "transect.lab.compare/1";

/// The answer of `lab compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// Always [`COMPARE_SCHEMA`].
    pub schema: String,
    /// All of them in numbers.
    pub summary: Summary,
    /// One for each experiment, in the order in which they were asked for.
    pub experiments: Vec<Comparison>,
}

impl ComparisonReport {
    /// Wraps comparisons in the published schema.
    pub fn new(experiments: Vec<Comparison>) -> Self {
        ComparisonReport {
            schema: COMPARE_SCHEMA.to_owned(),
            summary: Summary::of(&experiments),
            experiments,
        }
    }

    /// Whether no experiment shows a difference.
    pub fn agrees(&self) -> bool {
        self.experiments.iter().all(Comparison::agrees)
    }
}

/// What both worlds say of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both<T> {
    /// In the kernel world.
    pub kernel: T,
    /// In the model world.
    pub model: T,
}

impl<T: PartialEq> Both<T> {
    /// Whether they say the same.
    pub fn agree(&self) -> bool {
        self.kernel == self.model
    }
}

/// One experiment in both worlds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Its full name.
    pub name: String,
    /// How often the kernel world ran it; what is shown is the run that differs least.
    pub kernel_runs: usize,
    /// In how much the two of the kernel world's runs differ that differ least, counted as between the worlds. Where that is not 0,
    /// the kernel itself does something else each time. Null where a run agrees with the model, or there was one only.
    #[serde(default)]
    pub kernel_differs: Option<usize>,
    /// What went wrong when it was run, and what its file expects otherwise.
    pub problems: Both<Vec<String>>,
    /// The verdicts in a few words each, worst first.
    pub verdicts: Both<Vec<String>>,
    /// The observed hosts by label.
    pub hosts: BTreeMap<String, HostComparison>,
}

impl Comparison {
    /// Whether there is no difference.
    pub fn agrees(&self) -> bool {
        self.differences() == 0
    }

    /// How many differences there are, of all kinds. A verdict that is another one weighs more than anything else.
    pub fn differences(&self) -> usize {
        const VERDICT: usize = 1000;
        let verdicts = usize::from(!self.verdicts.agree()) * VERDICT;
        let problems = self.problems.kernel.len() + self.problems.model.len();
        let hosts = self.hosts.values().map(HostComparison::differences);
        verdicts + problems * VERDICT + hosts.sum::<usize>()
    }
}

/// One host in both worlds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostComparison {
    /// The packets at each tap, by its name (`eth0 in`), aligned.
    pub taps: BTreeMap<String, Vec<PacketRow>>,
    /// How far each counter moved that moved in either world.
    pub counters: BTreeMap<String, Both<u64>>,
    /// How many sockets there are of each kind and state at the end.
    pub sockets: BTreeMap<String, Both<u64>>,
    /// How many packets each rule counted.
    pub rules: BTreeMap<String, Both<u64>>,
}

impl HostComparison {
    /// Whether there is no difference.
    pub fn agrees(&self) -> bool {
        self.differences() == 0
    }

    fn differences(&self) -> usize {
        let rows = self.taps.values().flatten();
        let amounts = [&self.counters, &self.sockets, &self.rules];
        let amounts = amounts.into_iter().flat_map(BTreeMap::values);
        rows.filter(|row| !row.agrees()).count() + amounts.filter(|both| !both.agree()).count()
    }
}

/// Packets of both worlds that stand for each other, or one that stands alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PacketRow {
    /// What it is: flow, flags, relative numbers, length.
    pub packet: String,
    /// When, in seconds since the tap's first packet; null where the world has no such packet here.
    pub kernel: Option<f64>,
    /// Likewise.
    pub model: Option<f64>,
    /// Whether the times since the row before fit each other, as far as timers can tell.
    pub in_time: bool,
}

impl PacketRow {
    /// Whether both worlds have it, in time.
    pub fn agrees(&self) -> bool {
        self.kernel.is_some() && self.model.is_some() && self.in_time
    }
}

/// Runs experiments in both worlds and compares what came of it.
///
/// The model's run is always the same; the kernel's depends on which processor was free when. Where the two differ, the kernel
/// world runs the experiment again, up to `kernel_runs` times in all, and the run that differs least is the one that is kept:
/// what is left is what the kernel did otherwise every time.
///
/// # Errors
/// As [`crate::run`].
pub fn compare(
    selection: &Selection,
    options: &RunOptions,
    kernel_runs: usize,
    progress: &mut dyn FnMut(WorldKind, Progress<'_>),
) -> Result<Vec<Comparison>, LabError> {
    let temporary = tempfile::tempdir().map_err(|source| LabError::Temporary {
        path: std::env::temp_dir(),
        source,
    })?;
    let folder = options.keep.as_deref().unwrap_or(temporary.path());
    let mut in_world = |world: WorldKind, of: &Selection, folder: &Path| {
        let options = RunOptions {
            world,
            keep: Some(folder.to_owned()),
            ..options.clone()
        };
        run::run(of, &options, &mut |event| progress(world, event))
    };
    let model = in_world(WorldKind::Model, selection, &folder.join("model"))?;
    let kernel = in_world(WorldKind::Kernel, selection, &folder.join("kernel"))?;
    let pairs = kernel.iter().zip(&model);
    let mut compared: Vec<Comparison> = pairs.map(|(kernel, model)| pair(kernel, model)).collect();
    let mut runs: BTreeMap<String, Vec<ExperimentResult>> = BTreeMap::new();
    for one in kernel {
        runs.entry(one.name.clone()).or_default().push(one);
    }
    for round in 2..=kernel_runs {
        let differing = compared.iter().filter(|one| !one.agrees());
        // Files of the caller's are named by their paths, which results do not have.
        let names: Vec<String> = match selection {
            Selection::Named(names) if names.iter().any(|name| name.ends_with(".toml")) => break,
            _ => differing.map(|one| one.name.clone()).collect(),
        };
        if names.is_empty() || stopped(options) {
            break;
        }
        let folder = folder.join(format!("kernel-{round}"));
        for again in in_world(WorldKind::Kernel, &Selection::Named(names), &folder)? {
            let same = |one: &&ExperimentResult| one.name == again.name;
            let Some(model) = model.iter().find(same) else {
                continue;
            };
            let mut new = pair(&again, model);
            new.kernel_runs = round;
            for old in compared.iter_mut().filter(|old| old.name == again.name) {
                if new.differences() < old.differences() {
                    *old = new.clone();
                }
                old.kernel_runs = round;
            }
            runs.entry(again.name.clone()).or_default().push(again);
        }
    }
    for one in compared.iter_mut().filter(|one| !one.agrees()) {
        one.kernel_differs = runs.get(&one.name).and_then(|runs| closest(runs));
    }
    Ok(compared)
}

/// In how much those two runs differ that differ least.
fn closest(runs: &[ExperimentResult]) -> Option<usize> {
    let pairs = runs
        .iter()
        .enumerate()
        .flat_map(|(index, one)| runs.iter().skip(index + 1).map(move |other| (one, other)));
    pairs
        .map(|(one, other)| pair(one, other).differences())
        .min()
}

fn stopped(options: &RunOptions) -> bool {
    let stop = options.stop.as_ref();
    stop.is_some_and(|stop| stop.load(std::sync::atomic::Ordering::Relaxed))
}

fn pair(kernel: &ExperimentResult, model: &ExperimentResult) -> Comparison {
    let mut problems = Both {
        kernel: kernel.problems.clone(),
        model: model.problems.clone(),
    };
    let read = |result: &ExperimentResult, problems: &mut Vec<String>| {
        let bundle = result.bundle.as_deref()?;
        match evidence(bundle) {
            Ok(evidence) => Some(evidence),
            Err(error) => {
                problems.push(error);
                None
            }
        }
    };
    let evidence = Both {
        kernel: read(kernel, &mut problems.kernel).unwrap_or_default(),
        model: read(model, &mut problems.model).unwrap_or_default(),
    };
    let labels: BTreeSet<&str> = [&evidence.kernel, &evidence.model]
        .into_iter()
        .flat_map(|evidence| &evidence.hosts)
        .map(|host| host.label.as_str())
        .collect();
    let hosts = labels.into_iter().map(|label| {
        let captures = Both {
            kernel: capture(kernel, label, &mut problems.kernel),
            model: capture(model, label, &mut problems.model),
        };
        let both = Both {
            kernel: evidence.kernel.host(label),
            model: evidence.model.host(label),
        };
        (label.to_owned(), host(&both, &captures))
    });
    let hosts = hosts.collect();
    Comparison {
        name: kernel.name.clone(),
        kernel_runs: 1,
        kernel_differs: None,
        verdicts: Both {
            kernel: kernel.got.iter().map(in_words).collect(),
            model: model.got.iter().map(in_words).collect(),
        },
        hosts,
        problems,
    }
}

fn evidence(bundle: &Path) -> Result<Evidence, String> {
    let input = Input {
        label: None,
        role: Role::Any,
        path: bundle.to_owned(),
    };
    load(&[input], &LoadOptions::default()).map_err(|error| error.to_string())
}

fn capture(result: &ExperimentResult, label: &str, problems: &mut Vec<String>) -> packets::Taps {
    let Some(bundle) = &result.bundle else {
        return packets::Taps::default();
    };
    let path = bundle.join("hosts").join(label).join("capture.pcapng");
    packets::read(&path).unwrap_or_else(|error| {
        problems.push(error);
        packets::Taps::default()
    })
}

fn host(both: &Both<Option<&HostEvidence>>, captures: &Both<packets::Taps>) -> HostComparison {
    let taps: BTreeSet<&String> = captures
        .kernel
        .keys()
        .chain(captures.model.keys())
        .collect();
    let none = Vec::new();
    let aligned = taps.into_iter().map(|tap| {
        let kernel = captures.kernel.get(tap).unwrap_or(&none);
        let model = captures.model.get(tap).unwrap_or(&none);
        (tap.clone(), alignment::align(kernel, model))
    });
    HostComparison {
        taps: aligned.collect(),
        counters: meters::counters(both),
        sockets: meters::sockets(both),
        rules: meters::rules(both),
    }
}

/// A verdict as far as both worlds must agree.
fn in_words(verdict: &Verdict) -> String {
    let mut words = format!(
        "{} {} {}/{} {}",
        verdict.outcome,
        verdict.symptom,
        verdict.host.as_deref().unwrap_or("?"),
        verdict.point.map_or("?", |point| point.id()),
        verdict.cause.map_or("no cause", |cause| cause.id()),
    );
    if let Some(lost) = &verdict.lost {
        words.push_str(&format!(
            ", {} x {} {}",
            lost.packets, lost.what, lost.direction
        ));
    }
    words.push_str(&format!(
        ", place {}, cause {}",
        verdict.place_certainty, verdict.certainty
    ));
    if verdict.flows > 1 {
        words.push_str(&format!(", {} flows", verdict.flows));
    }
    words
}
