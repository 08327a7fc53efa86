//! Observing an experiment and asking for the diagnosis, exactly as `transect why` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use transect_collect::{HostPlan, LogPlan, NamespaceRef, Observation, Plan};
use transect_evidence::counters::Counters;
use transect_evidence::{Input, LoadOptions, Role, load};
use transect_path::Verdict;

use crate::scenario::{Scenario, Scope};
use crate::world::{World, WorldError};

/// Long enough for what is still on its way through two veth pairs.
const SETTLE: Duration = Duration::from_millis(300);

/// A running observation.
pub(crate) struct Watching {
    observation: Observation,
    settle: Duration,
}

/// Starts to observe; returns when everything is watched.
pub(crate) fn start(
    scenario: &Scenario,
    world: &World,
    bundle: &Path,
) -> Result<Watching, WorldError> {
    let mut hosts = Vec::new();
    for name in &scenario.observe.hosts {
        hosts.push(HostPlan {
            label: name.clone(),
            namespace: NamespaceRef::Path(world.host(name)?.path()),
        });
    }
    let mut plan = Plan::new(hosts, bundle.to_owned());
    plan.filter = scenario.observe.filter.clone();
    for log in &scenario.observe.logs {
        let program = scenario.programs.iter().find(|one| one.name == log.program);
        plan.logs.push(LogPlan {
            label: program.map(|one| one.host.clone()).unwrap_or_default(),
            path: world.program_file(&log.program, &log.file),
        });
    }
    let observation = Observation::start(plan).map_err(WorldError::doing("observing"))?;
    Ok(Watching {
        observation,
        settle: scenario.observe.settle.map_or(SETTLE, |span| span.0),
    })
}

impl Watching {
    /// Waits for stragglers and ends the observation.
    pub(crate) fn stop(self) -> Result<(), WorldError> {
        std::thread::sleep(self.settle);
        self.observation
            .stop()
            .map(|_| ())
            .map_err(WorldError::doing("ending the observation"))
    }
}

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
