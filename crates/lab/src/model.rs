//! The model world: an experiment's hosts as model hosts, joined by wires, in virtual time.
//!
//! A run is a pure function of the experiment and its seed: the hosts do no I/O, know no clock, and draw from the seed; the
//! programs are asynchronous functions that one virtual clock moves. What comes out is a bundle folder as `transect collect`
//! writes it, so that the diagnosis does not know which world it came from.

mod agenda;
mod client;
mod command;
mod file;
mod http;
mod inject;
mod mysql;
mod network;
mod reading;
#[cfg(feature = "live")]
pub(crate) mod real;
mod recorder;
mod service;
mod socket;
mod step;
mod task;
mod topology;
mod watch;
pub(crate) mod wire;

use std::path::Path;
use std::time::Duration;

use transect_config::IpVersion;
use transect_packet::{LinkType, bpf};
use transect_path::Timestamp;

use crate::error::WorldError;
use crate::scenario::{Program, ProgramKind, Scenario};
use network::Limits;
use step::Stage;
use task::Executor;
use watch::{FilterPrograms, Watching};

/// When every world begins: midnight, 1 January 2026, UTC.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// How long every host has been up then: long enough for its tick to be none of the special ones near zero.
const UPTIME: Duration = Duration::from_secs(300);
/// The timer frequency of the model's kernel.
const HZ: u32 = 250;
/// What the model's kernel calls itself: the one that it behaves like.
const KERNEL: &str = "6.18-transect-model";
/// The seed of a run; of the kernel world's, too, as far as its links have conditions.
pub(crate) const SEED: u64 = 0x7472_616e_7365_6374;

/// From the links' coming up to the set-up, from there to the preparing steps, and from those to the observation.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the observation goes on after the last step unless the experiment says otherwise.
const SETTLE: Duration = Duration::from_millis(300);

/// What is captured besides the flows in question, as `transect collect` does: neighbour discovery, errors that may speak of
/// them, and fragments after the first.
const BESIDES: &str = "arp or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or (ip6[6] == 44)";

/// How much was simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simulated {
    /// Virtual time.
    pub(crate) time: Duration,
    /// Frames that arrived, deadlines that came, programs that woke.
    pub(crate) events: u64,
}

/// Builds the world, observes the steps, and leaves the bundle. `stopped` is asked now and then whether to end early.
pub(crate) fn observe(
    scenario: &Scenario,
    bundle: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<Simulated, WorldError> {
    let filter = compile(scenario.observe.filter.as_deref())?;
    let network = topology::build(scenario, EPOCH, SEED, Limits::default())?;
    let mut executor = Executor::new(network);
    let clock = executor.clock().clone();
    let version = if scenario.ipv6 {
        IpVersion::V6
    } else {
        IpVersion::V4
    };
    let stage = Stage::new(clock.clone(), version);
    let work = {
        let (stage, scenario, bundle) = (stage, scenario.clone(), bundle.to_owned());
        async move { perform(&stage, &scenario, filter, &bundle).await }
    };
    executor.run(work, stopped)?;
    Ok(clock.network(|network| Simulated {
        time: network.age(),
        events: network.events(),
    }))
}

async fn perform(
    stage: &Stage,
    scenario: &Scenario,
    filter: FilterPrograms,
    bundle: &Path,
) -> Result<(), WorldError> {
    // What the links say as they come up is over before there are rules and queues.
    stage.clock.sleep(PAUSE).await;
    set_up(stage, scenario)?;
    stage.clock.sleep(PAUSE).await;
    stage.perform(&scenario.prepare).await?;
    stage.clock.sleep(PAUSE).await;
    let watching = Watching::start(&stage.clock, scenario, filter, bundle)?;
    let performed = stage.perform(&scenario.steps).await;
    let settle = scenario.observe.settle.map_or(SETTLE, |span| span.0);
    stage.clock.sleep(settle).await;
    // Also after a step that failed: the bundle shows why.
    let ended = watching.stop(scenario, &stage.files);
    performed.and(ended)
}

/// Rules, tc programs, servers: everything that stands before the first step.
fn set_up(stage: &Stage, scenario: &Scenario) -> Result<(), WorldError> {
    for drop in &scenario.tc_drops {
        topology::drop_at_tc(&stage.sockets(&drop.host)?, drop)?;
    }
    for drop in &scenario.xdp_drops {
        topology::drop_at_xdp(&stage.sockets(&drop.host)?, drop)?;
    }
    for setup in &scenario.setup {
        let sockets = stage.sockets(&setup.host)?;
        for text in &setup.run {
            let words = crate::words::split(text).map_err(WorldError)?;
            command::configure(&stage.clock, sockets.node, &words)
                .map_err(|error| WorldError(format!("{}: {text}: {error}", setup.host)))?;
        }
    }
    for program in &scenario.programs {
        start(stage, program)?;
    }
    Ok(())
}

fn start(stage: &Stage, program: &Program) -> Result<(), WorldError> {
    let sockets = stage.sockets(&program.host)?;
    match program.kind {
        ProgramKind::Mariadb => {
            let both = mysql::serve(&sockets, &program.name, program.port)?;
            both.into_iter().for_each(|service| stage.keep(service));
        }
        ProgramKind::Nginx => {
            let both = http::serve(&sockets, &program.name, program.port, &stage.files)?;
            both.into_iter().for_each(|service| stage.keep(service));
        }
        ProgramKind::Command => {
            return Err(WorldError(format!(
                "the program {}: the model world runs no commands as servers; it has mariadb and nginx",
                program.name
            )));
        }
    }
    Ok(())
}

fn compile(text: Option<&str>) -> Result<FilterPrograms, WorldError> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let compiled = |expression: &str| {
        bpf::compile(expression, LinkType::ETHERNET).map_err(|error| WorldError(error.to_string()))
    };
    Ok(FilterPrograms {
        text: text.map(str::to_owned),
        alone: text.map(compiled).transpose()?,
        captured: text
            .map(|text| compiled(&format!("({text}) or {BESIDES}")))
            .transpose()?,
    })
}
