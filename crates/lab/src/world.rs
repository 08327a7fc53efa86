//! The kernel world: an experiment's hosts as network namespaces of the running kernel.

mod bpf_object;
mod client;
mod command;
mod inject;
mod listener;
mod namespace;
mod observe;
mod program;
mod relay;
mod sockets;
mod step;
mod topology;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::Socket;

pub(crate) use namespace::HostNamespace;
pub(crate) use observe::observe;

use crate::error::WorldError;
use crate::folder::RunFolder;
use crate::scenario::{Scenario, TcDrop, XdpDrop};
use listener::Listener;
use program::RunningProgram;

/// A running experiment. Dropping it ends its programs and listeners and removes its namespaces.
pub(crate) struct World {
    // Fields are dropped in this order: what runs in the namespaces goes before them.
    programs: Vec<RunningProgram>,
    listeners: Vec<(Option<String>, Listener)>,
    /// Open connections by name; shared with steps in the background.
    connections: Arc<Mutex<HashMap<String, Arc<Socket>>>>,
    /// Connections without a name, kept open.
    unnamed: Arc<Mutex<Vec<Socket>>>,
    /// Links with conditions.
    _relays: Vec<relay::Relay>,
    hosts: BTreeMap<String, Arc<HostNamespace>>,
    ipv6: bool,
    folder: PathBuf,
    /// Set when the run is to end early.
    stop: Arc<AtomicBool>,
}

/// Real programs read their files and start within milliseconds; this is for a machine that is busy with other experiments.
const PROGRAM_START: Duration = Duration::from_secs(60);

impl World {
    /// Makes namespaces, links, addresses, routes, rules, programs: everything but the steps. `folder` is the experiment's own.
    pub(crate) fn build(
        scenario: &Scenario,
        run_folder: &RunFolder,
        folder: PathBuf,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, WorldError> {
        let mut hosts = BTreeMap::new();
        for name in scenario.hosts.keys() {
            let host = HostNamespace::create(name)
                .map_err(WorldError::doing(format!("making the namespace of {name}")))?;
            hosts.insert(name.clone(), Arc::new(host));
        }
        let relays = topology::build(scenario, &hosts, &folder)?;
        let mut world = World {
            programs: Vec::new(),
            listeners: Vec::new(),
            connections: Arc::default(),
            unnamed: Arc::default(),
            _relays: relays,
            hosts,
            ipv6: scenario.ipv6,
            folder,
            stop,
        };
        for drop in &scenario.tc_drops {
            world.drop_at_tc(drop)?;
        }
        for drop in &scenario.xdp_drops {
            world.drop_at_xdp(drop)?;
        }
        for setup in &scenario.setup {
            let host = world.host(&setup.host)?;
            for text in &setup.run {
                command::run_successfully(&host, &world.folder, text)?;
            }
        }
        for program in &scenario.programs {
            let host = world.host(&program.host)?;
            let running = RunningProgram::start(program, &host, run_folder, &world.folder)?;
            running.wait_until_listening(&host, PROGRAM_START)?;
            world.programs.push(running);
        }
        Ok(world)
    }

    fn drop_at_tc(&self, plan: &TcDrop) -> Result<(), WorldError> {
        let host = self.host(&plan.host)?;
        let path = self.folder.join(format!("drop-{}.o", plan.port));
        std::fs::write(&path, bpf_object::dropping_at_tc(plan.port))
            .map_err(WorldError::doing(format!("writing {}", path.display())))?;
        let add = format!(
            "tc filter add dev {} {} bpf direct-action object-file {} section {}",
            plan.dev,
            plan.hook.word(),
            path.display(),
            bpf_object::TC
        );
        let qdisc = format!("tc qdisc replace dev {} clsact", plan.dev);
        for text in [qdisc, add] {
            command::run_successfully(&host, &self.folder, &text)?;
        }
        Ok(())
    }

    fn drop_at_xdp(&self, plan: &XdpDrop) -> Result<(), WorldError> {
        let host = self.host(&plan.host)?;
        let path = self.folder.join(format!("xdp-{}.o", plan.port));
        std::fs::write(&path, bpf_object::dropping_at_xdp(plan.port))
            .map_err(WorldError::doing(format!("writing {}", path.display())))?;
        let attach = format!(
            "ip link set dev {} {} object {} section {}",
            plan.dev,
            plan.mode.word(),
            path.display(),
            bpf_object::XDP
        );
        command::run_successfully(&host, &self.folder, &attach)
    }

    pub(crate) fn host(&self, name: &str) -> Result<Arc<HostNamespace>, WorldError> {
        self.hosts
            .get(name)
            .cloned()
            .ok_or_else(|| WorldError::new(format!("there is no host {name}")))
    }

    /// The path of a file in a program's folder.
    pub(crate) fn program_file(&self, program: &str, file: &str) -> PathBuf {
        program::folder(&self.folder, program).join(file)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    /// Whether the test must be skipped because namespaces are not permitted; says so. In CI that is a failure.
    pub(crate) fn needs_namespaces(test: &str) -> bool {
        let Err(error) = super::HostNamespace::create("probe") else {
            return false;
        };
        let reason = format!("skipped: {test}: network namespaces are not permitted: {error}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        eprintln!("{reason}");
        true
    }
}
