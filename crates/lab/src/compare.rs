//! One experiment in both worlds, side by side: what the model does otherwise than the kernel.

mod alignment;
mod meters;
mod packets;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use transect_evidence::{Evidence, HostEvidence, Input, LoadOptions, Role, load};
use transect_path::Verdict;

use crate::run::{self, Progress, RunOptions, Selection, WorldKind};
use crate::{ExperimentResult, LabError};

pub use text::comparison_text;

/// The name and version of the schema of [`ComparisonReport`].
pub const COMPARE_SCHEMA: &str = "transect.lab.compare/1";

/// The answer of `lab compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// Always [`COMPARE_SCHEMA`].
    pub schema: String,
    /// One for each experiment, in the order in which they were asked for.
    pub experiments: Vec<Comparison>,
}

impl ComparisonReport {
    /// Wraps comparisons in the published schema.
    pub fn new(experiments: Vec<Comparison>) -> Self {
        ComparisonReport {
            schema: COMPARE_SCHEMA.to_owned(),
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
        self.verdicts.agree()
            && self.problems.kernel.is_empty()
            && self.problems.model.is_empty()
            && self.hosts.values().all(HostComparison::agrees)
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
        self.taps.values().flatten().all(PacketRow::agrees)
            && [&self.counters, &self.sockets, &self.rules]
                .into_iter()
                .flat_map(BTreeMap::values)
                .all(Both::agree)
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
/// # Errors
/// As [`crate::run`].
pub fn compare(
    selection: &Selection,
    options: &RunOptions,
    progress: &mut dyn FnMut(WorldKind, Progress<'_>),
) -> Result<Vec<Comparison>, LabError> {
    let temporary = tempfile::tempdir().map_err(|source| LabError::Temporary {
        path: std::env::temp_dir(),
        source,
    })?;
    let mut results = Vec::new();
    for world in [WorldKind::Kernel, WorldKind::Model] {
        let folder = options.keep.as_deref().unwrap_or(temporary.path());
        let options = RunOptions {
            world,
            keep: Some(folder.join(world.id())),
            ..options.clone()
        };
        results.push(run::run(selection, &options, &mut |event| {
            progress(world, event);
        })?);
    }
    let mut results = results.into_iter();
    let (kernel, model) = (results.next(), results.next());
    let pairs = kernel
        .into_iter()
        .flatten()
        .zip(model.into_iter().flatten());
    Ok(pairs.map(|(kernel, model)| pair(&kernel, &model)).collect())
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
