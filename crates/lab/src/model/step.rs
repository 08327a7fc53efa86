//! Carrying out an experiment's steps in virtual time, one after another or in the background.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use transect_config::{IpVersion, SocketProtocol, SocketState, read_sockets};
use transect_host::Host;

use super::client::{self, time};
use super::command;
use super::file::Files;
use super::inject;
use super::service::Service;
use super::socket::{Socket, Sockets};
use super::task::{Clock, Started};
use super::wire::later;
use crate::error::WorldError;
use crate::scenario::{Action, Connect, Run, Status, Step, Wait, WaitFor};

/// Where a step's own time is not stated.
const RUN: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(10);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// From the end of one step to the beginning of the next: what the runner's own work takes in the kernel world, about.
const BETWEEN: Duration = Duration::from_micros(100);

/// What steps share.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) version: IpVersion,
    pub(super) files: Files,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    services: Vec<Service>,
    /// Open connections by name.
    connections: BTreeMap<String, Socket>,
}

type Background = Started<Result<(), WorldError>>;

impl Stage {
    /// With nothing open yet.
    pub(super) fn new(clock: Clock, version: IpVersion) -> Self {
        Stage {
            clock,
            version,
            files: Files::default(),
            state: Rc::default(),
        }
    }

    /// Keeps a service until it is stopped by its name.
    pub(super) fn keep(&self, service: Service) {
        self.state.borrow_mut().services.push(service);
    }

    /// A host's system calls.
    pub(super) fn sockets(&self, host: &str) -> Result<Sockets, WorldError> {
        Ok(Sockets {
            clock: self.clock.clone(),
            node: self.clock.network(|network| network.node(host))?,
        })
    }

    /// Carries out the steps; returns when all are done, those in the background too.
    pub(super) async fn perform(&self, steps: &[Step]) -> Result<(), WorldError> {
        let mut background: Vec<(usize, Background)> = Vec::new();
        let mut result = Ok(());
        for (index, step) in steps.iter().enumerate() {
            self.clock.sleep(BETWEEN).await;
            if let Some(delay) = step.delay {
                self.clock.sleep(delay.0).await;
            }
            let work = {
                let (stage, step) = (self.clone(), step.clone());
                async move { stage.perform_one(&step).await }
            };
            if step.background {
                background.push((index, self.clock.start(work)));
                continue;
            }
            result = numbered(index, work.await);
            if result.is_err() {
                break;
            }
        }
        for (index, started) in background {
            result = result.and(numbered(index, started.ended().await));
        }
        result
    }

    async fn perform_one(&self, step: &Step) -> Result<(), WorldError> {
        let of_host = || {
            let name = step.host.as_deref();
            self.sockets(name.ok_or_else(|| WorldError::new("the step needs a `host`"))?)
        };
        let done = match &step.action {
            Action::TcpListen(plan) => {
                self.keep(Service::built_in(&of_host()?, plan, self.version)?);
                Ok(())
            }
            Action::UdpListen(plan) => {
                self.keep(Service::udp(&of_host()?, plan, self.version)?);
                Ok(())
            }
            Action::Stop(plan) => self.stop(&plan.name),
            Action::Run(plan) => run(&of_host()?, plan).await,
            Action::Connect(plan) => self.connect(&of_host()?, plan).await,
            Action::Send(plan) => client::send(&self.connection(&plan.name)?, plan).await,
            Action::Receive(plan) => client::receive(&self.connection(&plan.name)?, plan).await,
            Action::Close(plan) => {
                let connection = self.connection(&plan.name)?;
                self.state.borrow_mut().connections.remove(&plan.name);
                connection.close()
            }
            Action::Exchange(plan) => client::exchange(&of_host()?, plan).await,
            Action::Datagrams(plan) => client::datagrams(&of_host()?, plan).await,
            Action::Inject(plan) => inject::inject(&of_host()?, plan).await,
            Action::Wait(plan) => self.wait(step.host.as_deref(), plan).await,
        };
        done.map_err(|error| match &step.host {
            Some(host) => WorldError(format!("{host}: {error}")),
            None => error,
        })
    }

    async fn connect(&self, sockets: &Sockets, plan: &Connect) -> Result<(), WorldError> {
        for _ in 0..plan.count.unwrap_or(1) {
            let socket = client::connect(sockets, &plan.to, plan.timeout, plan.end).await?;
            // Those without a name stay open, too.
            if let (Some(name), Some(socket)) = (&plan.name, socket) {
                let mut state = self.state.borrow_mut();
                if let Some(before) = state.connections.insert(name.clone(), socket) {
                    drop(state);
                    before.close()?;
                }
            }
        }
        Ok(())
    }

    fn connection(&self, name: &str) -> Result<Socket, WorldError> {
        let state = self.state.borrow();
        let connection = state.connections.get(name).cloned();
        connection.ok_or_else(|| WorldError(format!("no open connection is called {name}")))
    }

    fn stop(&self, name: &str) -> Result<(), WorldError> {
        let mut stopped = Vec::new();
        let mut kept = Vec::new();
        for service in std::mem::take(&mut self.state.borrow_mut().services) {
            if service.name.as_deref() == Some(name) {
                stopped.push(service);
            } else {
                kept.push(service);
            }
        }
        self.state.borrow_mut().services = kept;
        if stopped.is_empty() {
            return Err(WorldError(format!("nothing is called {name}")));
        }
        stopped.into_iter().try_for_each(Service::stop)
    }

    /// Looks again and again until it has happened or the time is over.
    async fn wait(&self, host: Option<&str>, plan: &Wait) -> Result<(), WorldError> {
        let timeout = time(plan.timeout, WAIT);
        let deadline = later(self.clock.now(), timeout);
        while !self.has_happened(host, &plan.what)? {
            if self.clock.now() > deadline {
                return Err(WorldError(format!(
                    "did not happen within {timeout:?}: {:?}",
                    plan.what
                )));
            }
            self.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    fn has_happened(&self, host: Option<&str>, what: &WaitFor) -> Result<bool, WorldError> {
        if let WaitFor::Log {
            program,
            file,
            contains,
        } = what
        {
            let bytes = self.files.read(program, file);
            return Ok(String::from_utf8_lossy(&bytes).contains(contains));
        }
        let host = host.ok_or_else(|| WorldError::new("the step needs a `host`"))?;
        let node = self.clock.network(|network| network.node(host))?;
        let states = || {
            let text = self
                .clock
                .network(|network| network.look(node, Host::sockets_text))?;
            let sockets = read_sockets(&text).value.into_iter();
            Ok::<Vec<_>, WorldError>(
                sockets
                    .filter(|socket| socket.protocol == SocketProtocol::Tcp)
                    .collect(),
            )
        };
        let with_port = |socket: &transect_config::Socket, port: u16| {
            socket.local.port == Some(port) || socket.peer.port == Some(port)
        };
        Ok(match what {
            WaitFor::Log { .. } => false,
            WaitFor::Socket(wanted) => {
                let state = Some(kernel_state(&wanted.state)?);
                let fitting = states()?
                    .into_iter()
                    .filter(|one| with_port(one, wanted.port) && one.state == state);
                fitting.count() >= usize::try_from(wanted.count.unwrap_or(1)).unwrap_or(usize::MAX)
            }
            WaitFor::NoSocket { port } => !states()?
                .iter()
                .any(|one| with_port(one, *port) && !one.is_listening()),
            WaitFor::Counter(wanted) => {
                let value = self.clock.network(|network| {
                    network.look(node, |host| host.counters().named(&wanted.name))
                })?;
                value.is_some_and(|value| value >= wanted.at_least)
            }
        })
    }
}

/// The TCP state that a file names as `ss -t state` does.
fn kernel_state(name: &str) -> Result<SocketState, WorldError> {
    let state = match name {
        "established" => SocketState::Established,
        "syn-sent" => SocketState::SynSent,
        "syn-recv" => SocketState::SynRecv,
        "fin-wait-1" => SocketState::FinWait1,
        "fin-wait-2" => SocketState::FinWait2,
        "time-wait" => SocketState::TimeWait,
        "close" => SocketState::Unconnected,
        "close-wait" => SocketState::CloseWait,
        "last-ack" => SocketState::LastAck,
        "listening" => SocketState::Listen,
        "closing" => SocketState::Closing,
        _ => {
            return Err(WorldError(format!(
                "unknown TCP state \"{name}\"; expected one as `ss` names it, such as syn-recv"
            )));
        }
    };
    Ok(state)
}

fn numbered(index: usize, result: Result<(), WorldError>) -> Result<(), WorldError> {
    result.map_err(|error| WorldError(format!("step {}: {error}", index + 1)))
}

async fn run(sockets: &Sockets, plan: &Run) -> Result<(), WorldError> {
    let limit = time(plan.timeout, RUN);
    let began = sockets.clock.now();
    let ended = command::run(sockets, &plan.command).await?;
    if sockets.clock.now().since(began) > limit {
        return Err(WorldError(format!(
            "{}: still running after {limit:?}",
            plan.command
        )));
    }
    let fits = match plan.status {
        Status::Success => ended.status == 0,
        Status::Failure => ended.status != 0,
        Status::Any => true,
    };
    if fits {
        return Ok(());
    }
    Err(WorldError(format!(
        "{}: ended with status {}, expected {:?}; it printed:\n{}",
        plan.command, ended.status, plan.status, ended.output
    )))
}
