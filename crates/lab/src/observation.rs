//! Asking for the diagnosis of an experiment's bundle, exactly as `transect why` does.

use std::collections::BTreeMap;
use std::path::Path;

use transect_evidence::counters::Counters;
use transect_evidence::{Input, LoadOptions, Role, load};
use transect_path::Verdict;

use crate::error::WorldError;
use crate::scenario::{Scenario, Scope};

/// What the diagnosis said, and the counters that it rests on.
pub(crate) struct Diagnosis {
    pub(crate) verdicts: Vec<Verdict>,
    /// Damaged or unreadable evidence: our own bundle must have none.
    pub(crate) problems: Vec<String>,
    /// Host → counter → how far it moved.
    pub(crate) counters: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Diagnoses a bundle folder, or as much of it as the experiment shows.
pub(crate) fn diagnose(bundle: &Path, scenario: &Scenario) -> Result<Diagnosis, WorldError> {
    let inputs = match scenario.observe.scope {
        Scope::Full => vec![Input {
            label: None,
            role: Role::Any,
            path: bundle.to_owned(),
        }],
        Scope::Captures => scenario
            .observe
            .hosts
            .iter()
            .map(|host| Input {
                label: Some(host.clone()),
                role: Role::Any,
                path: bundle.join("hosts").join(host).join("capture.pcapng"),
            })
            .collect(),
    };
    let evidence =
        load(&inputs, &LoadOptions::default()).map_err(WorldError::doing("reading the bundle"))?;
    let problems = evidence
        .problems
        .iter()
        .map(|problem| format!("damaged evidence: {problem}"))
        .collect();
    let mut counters = BTreeMap::new();
    for host in &evidence.hosts {
        if let (Some(before), Some(after)) = (host.first(), host.last()) {
            let moved = Counters::delta(&before.counters, &after.counters);
            let moved = moved.grown().map(|(name, by)| (name.to_owned(), by));
            counters.insert(host.label.clone(), moved.collect());
        }
    }
    Ok(Diagnosis {
        verdicts: transect_diagnose::explain(&evidence).verdicts,
        problems,
        counters,
    })
}
