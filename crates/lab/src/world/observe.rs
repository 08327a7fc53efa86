//! Observing an experiment, exactly as `transect why` does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use transect_collect::{HostPlan, LogPlan, NamespaceRef, Observation, Plan};

use super::{World, WorldError};
use crate::folder::RunFolder;
use crate::scenario::Scenario;

/// Long enough for what is still on its way through two veth pairs.
const SETTLE: Duration = Duration::from_millis(300);

/// Builds the world in `folder`, observes the steps, and takes everything down again.
pub(crate) fn observe(
    scenario: &Scenario,
    run_folder: &RunFolder,
    folder: &Path,
    bundle: &Path,
    stop: Arc<AtomicBool>,
) -> Result<(), WorldError> {
    let mut world = World::build(scenario, run_folder, folder.to_owned(), stop)?;
    world.perform(&scenario.prepare)?;
    let observation = start(scenario, &world, bundle)?;
    let performed = world.perform(&scenario.steps);
    // Also after a step that failed: the bundle shows why.
    let ended = observation.stop();
    performed.and(ended)
}

/// A running observation.
struct Watching {
    observation: Observation,
    settle: Duration,
}

/// Starts to observe; returns when everything is watched.
fn start(scenario: &Scenario, world: &World, bundle: &Path) -> Result<Watching, WorldError> {
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
    fn stop(self) -> Result<(), WorldError> {
        std::thread::sleep(self.settle);
        self.observation
            .stop()
            .map(|_| ())
            .map_err(WorldError::doing("ending the observation"))
    }
}
