//! Carrying out steps, one after another or in the background.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::command::{self, Limit};
use super::listener::Listener;
use super::sockets::{State, counter, tcp_sockets};
use super::{HostNamespace, World, WorldError, client, inject};
use crate::scenario::{Action, Connect, Run, Status, Step, Wait, WaitFor};

/// Where a step's own time is not stated.
const RUN: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(10);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

type Background = JoinHandle<Result<(), WorldError>>;

impl World {
    /// Carries out the steps; returns when all are done, those in the background too.
    pub(crate) fn perform(&mut self, steps: &[Step]) -> Result<(), WorldError> {
        let mut background: Vec<(usize, Background)> = Vec::new();
        let mut result = Ok(());
        for (index, step) in steps.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                result = Err(WorldError::new("stopped"));
                break;
            }
            if let Some(delay) = step.delay {
                std::thread::sleep(delay.0);
            }
            result = self
                .perform_one(step)
                .map(|started| {
                    background.extend(started.map(|thread| (index, thread)));
                })
                .map_err(|error| WorldError(format!("step {}: {error}", index + 1)));
            if result.is_err() {
                break;
            }
        }
        for (index, thread) in background {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(WorldError::new("it panicked")))
                .map_err(|error| WorldError(format!("step {}: {error}", index + 1)));
            result = result.and(ended);
        }
        result
    }

    fn perform_one(&mut self, step: &Step) -> Result<Option<Background>, WorldError> {
        match &step.action {
            Action::TcpListen(plan) => {
                let listener = Listener::tcp(&*self.host_of(step)?, plan, self.ipv6)?;
                self.listeners.push((plan.name.clone(), listener));
                return Ok(None);
            }
            Action::UdpListen(plan) => {
                let listener = Listener::udp(&*self.host_of(step)?, plan, self.ipv6)?;
                self.listeners.push((plan.name.clone(), listener));
                return Ok(None);
            }
            Action::Stop(plan) => {
                let count = self.listeners.len() + self.programs.len();
                self.listeners
                    .retain(|(name, _)| name.as_ref() != Some(&plan.name));
                self.programs.retain(|program| program.name != plan.name);
                if count == self.listeners.len() + self.programs.len() {
                    return Err(WorldError(format!("nothing is called {}", plan.name)));
                }
                return Ok(None);
            }
            _ => {}
        }
        let work = self.work(step)?;
        if step.background {
            let thread = std::thread::Builder::new()
                .name("lab-step".to_owned())
                .spawn(work)
                .map_err(WorldError::doing("starting a thread"))?;
            return Ok(Some(thread));
        }
        work().map(|()| None)
    }

    /// The step's work with everything that it needs, so that another thread can do it.
    fn work(
        &self,
        step: &Step,
    ) -> Result<Box<dyn FnOnce() -> Result<(), WorldError> + Send>, WorldError> {
        Ok(match step.action.clone() {
            Action::Run(plan) => {
                let (host, folder) = (self.host_of(step)?, self.folder.clone());
                let stop = Arc::clone(&self.stop);
                Box::new(move || run(&host, &folder, &plan, &stop))
            }
            Action::Connect(plan) => {
                let host = self.host_of(step)?;
                let (named, unnamed) = (Arc::clone(&self.connections), Arc::clone(&self.unnamed));
                Box::new(move || {
                    for socket in connect(&host, &plan)? {
                        match &plan.name {
                            Some(name) => {
                                let mut named =
                                    named.lock().unwrap_or_else(PoisonError::into_inner);
                                named.insert(name.clone(), Arc::new(socket));
                            }
                            None => unnamed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(socket),
                        }
                    }
                    Ok(())
                })
            }
            Action::Send(plan) => {
                let socket = self.connection(&plan.name)?;
                Box::new(move || client::send(&socket, &plan))
            }
            Action::Receive(plan) => {
                let socket = self.connection(&plan.name)?;
                Box::new(move || client::receive(&socket, &plan))
            }
            Action::Close(plan) => {
                let named = Arc::clone(&self.connections);
                self.connection(&plan.name)?;
                Box::new(move || {
                    let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
                    named.remove(&plan.name);
                    Ok(())
                })
            }
            Action::Exchange(plan) => {
                let host = self.host_of(step)?;
                Box::new(move || client::exchange(&host, &plan))
            }
            Action::Datagrams(plan) => {
                let host = self.host_of(step)?;
                Box::new(move || client::datagrams(&host, &plan))
            }
            Action::Inject(plan) => {
                let host = self.host_of(step)?;
                Box::new(move || inject::inject(&host, &plan))
            }
            Action::Wait(plan) => self.wait_work(step, plan)?,
            Action::TcpListen(_) | Action::UdpListen(_) | Action::Stop(_) => Box::new(|| Ok(())),
        })
    }

    fn wait_work(
        &self,
        step: &Step,
        plan: Wait,
    ) -> Result<Box<dyn FnOnce() -> Result<(), WorldError> + Send>, WorldError> {
        let timeout = client::time(plan.timeout, WAIT);
        let stop = Arc::clone(&self.stop);
        if let WaitFor::Log {
            program,
            file,
            contains,
        } = &plan.what
        {
            let path = self.program_file(program, file);
            let contains = contains.clone();
            return Ok(Box::new(move || {
                until(timeout, &stop, &plan.what, || {
                    log_contains(&path, &contains)
                })
            }));
        }
        if let WaitFor::Socket(wanted) = &plan.what
            && !State::is_known(&wanted.state)
        {
            return Err(WorldError(format!(
                "unknown TCP state \"{}\"; expected one as `ss` names it, such as syn-recv",
                wanted.state
            )));
        }
        let host = self.host_of(step)?;
        Ok(Box::new(move || {
            host.run(move || until(timeout, &stop, &plan.what, || has_happened(&plan.what)))
                .map_err(WorldError::doing("waiting"))?
        }))
    }

    fn host_of(&self, step: &Step) -> Result<Arc<HostNamespace>, WorldError> {
        let name = step
            .host
            .as_deref()
            .ok_or_else(|| WorldError::new("the step needs a `host`"))?;
        self.host(name)
    }

    fn connection(&self, name: &str) -> Result<Arc<Socket>, WorldError> {
        let named = self.connections.lock();
        named
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
            .ok_or_else(|| WorldError(format!("no open connection is called {name}")))
    }
}

fn run(
    host: &HostNamespace,
    folder: &Path,
    plan: &Run,
    stop: &AtomicBool,
) -> Result<(), WorldError> {
    let limit = Limit::or_stop(client::time(plan.timeout, RUN), stop);
    let ended = command::run(host, folder, &plan.command, limit)?;
    let fits = match plan.status {
        Status::Success => ended.status == 0,
        Status::Failure => ended.status != 0,
        Status::Any => true,
    };
    if fits {
        return Ok(());
    }
    Err(WorldError(format!(
        "{}: {}: ended with status {}, expected {:?}; it printed:\n{}",
        host.name(),
        plan.command,
        ended.status,
        plan.status,
        ended.output
    )))
}

fn connect(host: &HostNamespace, plan: &Connect) -> Result<Vec<Socket>, WorldError> {
    let mut opened = Vec::new();
    for _ in 0..plan.count.unwrap_or(1) {
        opened.extend(client::connect(host, &plan.to, plan.timeout, plan.end)?);
    }
    Ok(opened)
}

/// Looks again and again until it has happened or the time is over.
fn until(
    timeout: Duration,
    stop: &AtomicBool,
    what: &WaitFor,
    mut happened: impl FnMut() -> std::io::Result<bool>,
) -> Result<(), WorldError> {
    let deadline = Instant::now() + timeout;
    while !happened().map_err(WorldError::doing(format!("waiting for {what:?}")))? {
        if Instant::now() > deadline || stop.load(Ordering::Relaxed) {
            return Err(WorldError(format!(
                "did not happen within {timeout:?}: {what:?}"
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn log_contains(path: &Path, text: &str) -> std::io::Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).contains(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// In the calling thread's namespace.
fn has_happened(what: &WaitFor) -> std::io::Result<bool> {
    Ok(match what {
        WaitFor::Log { .. } => false,
        WaitFor::Socket(wanted) => {
            let fits = tcp_sockets()?.into_iter().filter(|one| {
                (one.local_port == wanted.port || one.remote_port == wanted.port)
                    && one.state.name() == wanted.state
            });
            fits.count() >= usize::try_from(wanted.count.unwrap_or(1)).unwrap_or(usize::MAX)
        }
        WaitFor::NoSocket { port } => !tcp_sockets()?.into_iter().any(|one| {
            (one.local_port == *port || one.remote_port == *port) && one.state != State::LISTEN
        }),
        WaitFor::Counter(wanted) => {
            counter(&wanted.name)?.is_some_and(|value| value >= wanted.at_least)
        }
    })
}
