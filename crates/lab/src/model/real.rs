//! A model host in real time, at a TUN or TAP device of this machine: the kernel's own programs talk to it.
//!
//! It is the same world as that of experiments, with one host and one wire, whose other end is the device: the host, its
//! programs, loss and reordering are moved by the same clock, which follows the machine's instead of jumping to whatever
//! is next.

mod device;
mod errand;
mod iperf;
mod plan;
mod report;
mod service;
mod setup;
mod web;

use std::fs::File;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use transect_collect::StopSignal;
use transect_path::Timestamp;

pub use errand::{ErrandPlan, ErrandReport};
pub use plan::{AttachKind, AttachPlan};
pub use report::{HOST_SCHEMA, HostReport, Left};
pub use service::{ServiceKind, ServicePlan, ServiceReport};

use super::network::{Limits, Network, NodeId, Pace};
use super::task::Executor;
use crate::error::{LabError, WorldError};
use device::Outside;
use errand::Errand;
use service::Serving;

/// The one host of this world.
const NODE: NodeId = 0;
/// Frames taken from the device before the host works them off, as the kernel's own NAPI takes no more at once.
const BATCH: usize = 64;
/// Things that happen before the device gets a turn again.
const TURN: u32 = 4096;
/// The longest sleep where nothing is to come.
const IDLE: Duration = Duration::from_secs(3600);
/// How long connections may take to end once all errands are done.
const PARTING: Duration = Duration::from_secs(3);

/// The machine's clock: the moment of its beginning on the wall, and from there on monotonic.
struct RealClock {
    began: Timestamp,
    since: Instant,
}

impl RealClock {
    fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = wall.map_or(0, |wall| wall.as_nanos());
        RealClock {
            began: Timestamp(u64::try_from(nanoseconds).unwrap_or(0)),
            since: Instant::now(),
        }
    }

    fn now(&self) -> Timestamp {
        let passed = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.began.0.saturating_add(passed))
    }
}

/// Runs a host at the device until its errands are done (if it has errands and serves nothing), its time is over, or `stop`
/// is raised; says what became of it.
///
/// `device` is the open TUN or TAP device (`transect_sys::open_tun`, `transect_sys::open_tap`) of the kind that the plan names.
///
/// # Errors
/// A plan that cannot be carried out: an address, setting or rule that the model does not know, a port twice, a file that
/// cannot be written; and a device that vanishes.
pub fn attach(plan: &AttachPlan, device: File, stop: &StopSignal) -> Result<HostReport, LabError> {
    run(plan, device, stop).map_err(|error| LabError::Host(error.0))
}

fn run(plan: &AttachPlan, device: File, stop: &StopSignal) -> Result<HostReport, WorldError> {
    let clock = RealClock::start();
    let mut network = Network::new(clock.began, Limits::NONE);
    network.set_pace(Pace::REAL);
    let id = setup::build(&mut network, plan)?;
    let outside = Outside::new(device, plan.kind, id)?;
    let executor = Executor::new(network);
    let sockets = super::socket::Sockets {
        clock: executor.clock().clone(),
        node: NODE,
    };
    let serving = plan
        .services
        .iter()
        .map(|service| Serving::start(&sockets, service))
        .collect::<Result<Vec<_>, _>>()?;
    let errands = plan.errands.iter().map(|errand| {
        let errand = Errand::new(errand.clone());
        executor.clock().start(errand.clone().run(sockets.clone()));
        errand
    });
    let errands = errands.collect();
    let mut attached = Attached {
        clock,
        outside,
        executor,
        errands,
        ends_with_errands: plan.services.is_empty() && !plan.errands.is_empty(),
        parting: None,
    };
    attached.carry_on(plan.duration, stop)?;
    attached.report(plan, &serving)
}

/// The host, its device and its programs.
struct Attached {
    clock: RealClock,
    outside: Outside,
    executor: Executor,
    errands: Vec<Errand>,
    ends_with_errands: bool,
    /// When all errands were done.
    parting: Option<Instant>,
}

impl Attached {
    fn carry_on(
        &mut self,
        duration: Option<Duration>,
        stop: &StopSignal,
    ) -> Result<(), WorldError> {
        let end = duration.and_then(|duration| self.clock.since.checked_add(duration));
        loop {
            let now = self.clock.now();
            let next = self.executor.catch_up(now, TURN)?;
            self.executor
                .clock()
                .network(|network| self.outside.send(network))?;
            if self.is_over() || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
            let mut sleep = next.map_or(IDLE, |next| next.since(self.clock.now()));
            if let Some(end) = end {
                sleep = sleep.min(end.saturating_duration_since(Instant::now()));
            }
            if self.parting.is_some() {
                sleep = sleep.min(Duration::from_millis(20));
            }
            if self.wait(sleep, stop)? {
                return Ok(());
            }
            let now = self.clock.now();
            self.executor.clock().network(|network| {
                network.set_now(now);
                self.outside.receive(network, BATCH)
            })?;
        }
    }

    /// Waits for a frame, a moment or the end; says whether the end was asked for.
    fn wait(&self, sleep: Duration, stop: &StopSignal) -> Result<bool, WorldError> {
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: sleep.subsec_nanos().into(),
        };
        let mut fds = [
            PollFd::new(&self.outside, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.finish_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            // A signal that is handled meanwhile raises `stop`.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WorldError(format!("waiting for frames: {error}"))),
        }
        Ok(!fds[1].revents().is_empty())
    }

    /// Whether everything that was to be done is done, and connections have ended.
    fn is_over(&mut self) -> bool {
        if !self.ends_with_errands || self.errands.iter().any(|errand| !errand.is_done()) {
            return false;
        }
        let parting = *self.parting.get_or_insert_with(Instant::now);
        parting.elapsed() >= PARTING || !self.has_connections()
    }

    /// Whether TCP still has something to send or to hear, TIME_WAIT aside.
    fn has_connections(&self) -> bool {
        let sockets = self
            .executor
            .clock()
            .call(NODE, |host, _| host.sockets_text());
        sockets.is_ok_and(|text| {
            text.lines()
                .any(|line| line.starts_with("tcp") && !line.contains("TIME-WAIT"))
        })
    }

    fn report(self, plan: &AttachPlan, serving: &[Serving]) -> Result<HostReport, WorldError> {
        let now = self.clock.now();
        let clock = self.executor.clock();
        if let Some(recorder) = clock.network(|network| network.take_recorder(NODE)) {
            recorder.finish(now)?;
        }
        clock.network(|network| network.set_now(now));
        let mut report = clock.call(NODE, |host, now| {
            // Where nothing has happened for a while, the host does not know how late it is: tracked connections are over.
            host.handle_timeout(now);
            report::of_host(host, plan)
        })??;
        report.seconds = now.since(self.clock.began).as_secs_f64();
        report.unsent = self.outside.unsent();
        report.services = serving.iter().map(Serving::report).collect();
        report.errands = self.errands.iter().map(Errand::report).collect();
        Ok(report)
    }
}
