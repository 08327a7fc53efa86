//! The model host in virtual time: the same script, without rights, in milliseconds.
//!
//! Nothing passes by itself: the clock moves when the script waits, from one deadline of the host to the next. A packet and a
//! system call take a fixed, small time, as they do on a real host; else round trips of no length at all would be measured.

mod calls;
mod command;
mod error_queue;
mod files;
mod info;
mod nstat;
mod options;
mod polling;
mod setup;
mod transfer;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use transect_host::{Counters, DeviceId, Host, Packet};
use transect_path::Timestamp;

use super::shell::{Step, steps};
use super::{Captured, Finished, World, WorldError};
use crate::call::{Call, Fd, Outcome};
use crate::options::Options;
use crate::tcp_info::TcpInfo;
use calls::{Progress, Turn};
use files::Files;

/// What a packet or a system call takes.
const COST: Duration = Duration::from_micros(10);
/// When a script begins, in the host's own time.
const BEGINNING: Duration = Duration::from_secs(1_700_000_000);
/// How long the host is up by then. On a real host scripts begin anywhere between two ticks: here in the middle.
const UPTIME: Duration = Duration::from_micros(3_000_002_000);
/// Deadlines of the host in one wait, before it is given up: a wait is a few minutes, a tick 4 ms.
const MOST_STEPS: u32 = 10_000_000;

/// A model host with a TUN device.
pub(crate) struct ModelWorld {
    host: Host,
    device: DeviceId,
    /// Larger packets are taken for segments of this size that were put together on their way up.
    mss: Option<u16>,
    now: Timestamp,
    captured: VecDeque<Captured>,
    files: Files,
    /// The counters when nstat was called last.
    counted: Option<Counters>,
    pending: Option<Pending>,
    finished: Option<Finished>,
}

/// The call that is under way.
struct Pending {
    call: Call,
    started: Duration,
    progress: Progress,
    /// When it gives up.
    until: Option<Timestamp>,
}

impl ModelWorld {
    fn do_steps(&mut self, steps: Vec<Step>, notes: &mut Vec<String>) -> Result<(), WorldError> {
        let mut failed = false;
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            let done = match step {
                Step::Otherwise(steps) => match std::mem::take(&mut failed) {
                    true => self.do_steps(steps, notes),
                    false => Ok(()),
                },
                Step::Note(note) => {
                    notes.push(note);
                    Ok(())
                }
                Step::Shell(text) => self.program(&text).map(|said| notes.extend(said)),
                Step::Sysctl { name, value } => self
                    .set_sysctl(&name, &value)
                    .map(|said| notes.extend(said)),
            };
            // One command may set several; it may fail where something is done otherwise, and nothing else may.
            let same = |step: &&Step| !matches!(step, Step::Sysctl { .. });
            let next = steps.as_slice().iter().find(same);
            match done {
                Err(error) if matches!(next, Some(Step::Otherwise(_))) => {
                    failed = true;
                    notes.push(error.to_string());
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// A host that has just booted, with the device up.
    pub(crate) fn new(options: &Options) -> Result<Self, WorldError> {
        let now = Timestamp(nanos(BEGINNING));
        let boot = Timestamp(nanos(BEGINNING.saturating_sub(UPTIME)));
        let (host, device) = setup::host(options, boot)?;
        let mut world = ModelWorld {
            host,
            device,
            mss: options.mss,
            now,
            captured: VecDeque::new(),
            files: Files::default(),
            counted: None,
            pending: None,
            finished: None,
        };
        world.host.handle_timeout(now);
        world.collect();
        // Whatever a host says when its device comes up is nobody's business.
        world.captured.clear();
        Ok(world)
    }

    fn clock(&self) -> Duration {
        clock_at(self.now)
    }

    /// The moment of a time of the world's clock.
    fn moment(time: Duration) -> Timestamp {
        Timestamp(nanos(BEGINNING).saturating_add(nanos(time)))
    }

    /// Takes what the host sent and said, and lets the call under way go on where that concerns it.
    fn collect(&mut self) {
        loop {
            while let Some((device, packet)) = self.host.poll_transmit() {
                if device == self.device {
                    self.captured.push_back(Captured {
                        time: clock_at(self.now),
                        bytes: packet.network().to_vec(),
                    });
                }
            }
            let mut told = false;
            for socket in self.files.waiting_for_acknowledgements() {
                // A connection that is gone has nothing out any more.
                let queued = self.host.queued(socket).unwrap_or_default();
                told |= self.files.unacknowledged(socket, queued.unacknowledged);
            }
            while let Some(event) = self.host.poll_event() {
                self.files.tell(event);
                told = true;
            }
            if !told || !self.turn() {
                return;
            }
        }
    }

    /// Lets the call under way try; whether there is one.
    fn turn(&mut self) -> bool {
        let Some(mut pending) = self.pending.take() else {
            return false;
        };
        let outcome = match self.attempt(&pending.call, &mut pending.progress) {
            Turn::Ended(outcome) => outcome,
            Turn::Waits(timeout) => {
                let started = Self::moment(pending.started);
                pending.until = timeout.and_then(|timeout| {
                    let nanos = u64::try_from(timeout.as_nanos()).ok()?;
                    started.0.checked_add(nanos).map(Timestamp)
                });
                self.pending = Some(pending);
                return true;
            }
        };
        self.end(pending.started, outcome);
        true
    }

    /// Lets a close() under way try: nobody is told of what happens to a closed socket.
    fn look_at_lingering(&mut self) {
        let lingers = |pending: &Pending| pending.progress.lingers();
        if self.pending.as_ref().is_some_and(lingers) {
            self.turn();
        }
    }

    fn end(&mut self, started: Duration, outcome: Result<Outcome, i32>) {
        self.finished = Some(Finished {
            started,
            ended: self.clock(),
            outcome: outcome.unwrap_or_else(Outcome::failed),
        });
    }

    /// Lets time pass until then, or until it is enough.
    fn pass(&mut self, until: Timestamp, enough: impl Fn(&Self) -> bool) -> Result<(), WorldError> {
        for _ in 0..MOST_STEPS {
            if enough(self) {
                return Ok(());
            }
            let call = self.pending.as_ref().and_then(|pending| pending.until);
            let next = [self.host.poll_timeout(), call].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = self.now.max(until);
                return Ok(());
            };
            self.now = self.now.max(next);
            self.host.handle_timeout(self.now);
            self.collect();
            if self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.until.is_some_and(|until| until <= self.now))
                && let Some(mut pending) = self.pending.take()
            {
                let outcome = self.expire(&pending.call, &mut pending.progress);
                self.end(pending.started, outcome);
                self.collect();
            } else {
                self.look_at_lingering();
            }
        }
        Err(WorldError(format!(
            "the model host did not come to rest in {MOST_STEPS} steps"
        )))
    }

    /// What something takes.
    fn spend(&mut self) -> Result<(), WorldError> {
        let until = Timestamp(self.now.0.saturating_add(nanos(COST)));
        self.pass(until, |_| false)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn clock_at(moment: Timestamp) -> Duration {
    Duration::from_nanos(moment.0.saturating_sub(nanos(BEGINNING)))
}

impl World for ModelWorld {
    fn now(&mut self) -> Duration {
        self.clock()
    }

    fn sleep_until(&mut self, time: Duration) -> Result<(), WorldError> {
        self.pass(Self::moment(time), |_| false)
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), WorldError> {
        let mut frame = Packet::from_network(packet);
        if let Some(mss) = self.mss {
            frame.put_together(mss);
        }
        self.host.handle_frame(self.now, self.device, frame);
        self.collect();
        self.look_at_lingering();
        self.spend()
    }

    fn capture(&mut self, deadline: Duration) -> Result<Option<Captured>, WorldError> {
        self.pass(Self::moment(deadline), |world| !world.captured.is_empty())?;
        Ok(self.captured.pop_front())
    }

    fn start(&mut self, call: Call) -> Result<(), WorldError> {
        self.finished = None;
        self.pending = Some(Pending {
            call,
            started: self.clock(),
            progress: Progress::default(),
            until: None,
        });
        self.turn();
        self.collect();
        self.spend()
    }

    fn finished(&mut self, deadline: Duration) -> Result<Option<Finished>, WorldError> {
        self.pass(Self::moment(deadline), |world| world.finished.is_some())?;
        Ok(self.finished.take())
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo, String> {
        let socket = self.files.socket(fd).map_err(|errno| {
            format!(
                "getsockopt(TCP_INFO): {}",
                crate::symbols::error_name(errno)
            )
        })?;
        let id = socket.id;
        // Ages count from the moment that the host knows.
        self.host.handle_timeout(self.now);
        let info = self.host.tcp_info(id);
        let memory = self.host.tcp_memory(id);
        info.map(|info| info::named(&info, memory))
            .ok_or_else(|| "getsockopt(TCP_INFO): no TCP socket".to_owned())
    }

    fn command(&mut self, text: &str, folder: &Path) -> Result<Vec<String>, WorldError> {
        let mut notes = Vec::new();
        self.do_steps(steps(text, folder, false), &mut notes)?;
        self.collect();
        Ok(notes)
    }

    fn at_real_time(&self, time: Duration) -> Option<Duration> {
        time.checked_sub(BEGINNING)
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(1) / setup::HZ
    }

    fn grace(&self) -> Duration {
        Duration::ZERO
    }
}
