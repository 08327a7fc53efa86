//! System calls: those that end at once, and those that the script lets wait.

use std::time::Duration;

use super::timing::Moment;
use super::{Failure, Pending, Runner, in_words};
use crate::call::{
    Call, Clock, Endpoints, Expectation, Fd, Lowering, Outcome, Output, endpoint, integer, lower,
    verify,
};
use crate::script::{CallSpec, Event, EventTime, Expression};
use crate::world::Finished;

/// How long a call is waited for that ought to end at once, before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

impl Runner<'_> {
    /// Makes a system call; one with an end time goes on by itself.
    pub(super) fn call(&mut self, event: &Event, spec: &CallSpec) -> Result<Moment, String> {
        // One at a time: the program under test is one thread.
        self.await_pending()
            .map_err(|failure| format!("(line {}) {}", failure.line, failure.message))?;
        let base = self.previous;
        let call = self.lowered(spec)?;
        let started = self.wait_for(event)?;
        self.before(spec, &call)?;
        self.world.start(call).map_err(in_words)?;
        if let Some(until) = spec.until {
            let until = match event.time {
                EventTime::After(_) | EventTime::AfterBetween(..) => base.after(until),
                _ => Moment::at(self.zero.unwrap_or_default()).after(until),
            };
            self.pending = Some(Pending {
                line: event.line,
                spec: spec.clone(),
                until: Some(until),
            });
            return Ok(Moment::at(started));
        }
        let deadline = started.saturating_add(PATIENCE);
        match self.world.finished(deadline).map_err(in_words)? {
            Some(finished) => {
                let took = finished.ended.saturating_sub(finished.started);
                let most = self.options.tolerance.saturating_add(self.world.grace());
                self.settle(spec, &finished)?;
                if took > most {
                    return Err(format!(
                        "{}() blocked for {:.6} seconds; a call that may block has an end time: `+0...{:.3} {}(…)`",
                        spec.name,
                        took.as_secs_f64(),
                        took.as_secs_f64(),
                        spec.name
                    ));
                }
                Ok(Moment {
                    started: finished.started,
                    ended: finished.ended,
                })
            }
            None => Err(format!(
                "{}() still blocks after {} seconds",
                spec.name,
                PATIENCE.as_secs()
            )),
        }
    }

    fn lowered(&mut self, spec: &CallSpec) -> Result<Call, String> {
        let current = self.flows.current().and_then(|index| self.flows.get(index));
        // A datagram socket that was spoken to answers there.
        let connect = match current.filter(|flow| flow.remote.port() != 0 && flow.local.port() != 0)
        {
            Some(flow) if spec.name.starts_with("send") => flow.remote,
            _ => self.options.connect_address(),
        };
        let descriptors = &self.descriptors;
        let with = Lowering {
            defines: &self.script.defines,
            endpoints: Endpoints {
                bind: self.options.bind_address(),
                connect,
                version: self.options.ip_version,
            },
            descriptor: &|number| descriptors.get(&number).copied().unwrap_or(-1),
        };
        lower(spec, &with)
    }

    /// The script's number of the call's descriptor.
    fn number(&self, spec: &CallSpec) -> Option<i64> {
        let first = spec.arguments.first()?;
        integer(first, &self.script.defines).ok()
    }

    /// What must be known before packets come.
    fn before(&mut self, spec: &CallSpec, call: &Call) -> Result<(), String> {
        let Some(number) = self.number(spec) else {
            return Ok(());
        };
        match call {
            Call::Connect { address, .. } => {
                if let Some(remote) = endpoint(address) {
                    self.flows.connecting(number, remote);
                }
            }
            // TCP Fast Open connects by sending.
            Call::Send { address, flags, .. } | Call::SendFromNowhere { address, flags, .. }
                if flags & libc::MSG_FASTOPEN != 0 =>
            {
                if let Some(remote) = endpoint(address) {
                    self.flows.connecting(number, remote);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares how a call ended with what the script says, and keeps what it made.
    fn settle(&mut self, spec: &CallSpec, finished: &Finished) -> Result<(), String> {
        let outcome = &finished.outcome;
        self.keep(spec, outcome);
        let zero = self.zero.unwrap_or_default();
        let world = &*self.world;
        let script_time = |time| {
            let time = world.at_real_time(time)?;
            Some(time.saturating_sub(zero))
        };
        let with = Expectation {
            call: spec,
            defines: &self.script.defines,
            clock: Clock {
                script_time: &script_time,
                tolerance: self.options.tolerance,
            },
        };
        verify(&with, outcome).map_err(|message| format!("{}(): {message}", spec.name))
    }

    /// Descriptors and sockets.
    fn keep(&mut self, spec: &CallSpec, outcome: &Outcome) {
        if outcome.errno != 0 {
            return;
        }
        let defines = &self.script.defines;
        // The script's number for what was made; where it says none, the world's.
        let made = integer(&spec.result, defines).unwrap_or(outcome.value);
        let value = Fd::try_from(outcome.value).unwrap_or(-1);
        let number = self.number(spec);
        let argument = |index: usize| {
            let argument = spec.arguments.get(index)?;
            integer(argument, defines).ok()
        };
        match (spec.name.as_str(), number) {
            ("socket", _) => {
                self.descriptors.insert(made, value);
                let kind = argument(1).and_then(|kind| i32::try_from(kind).ok());
                self.flows.opened(made, kind.unwrap_or(0));
            }
            ("accept" | "accept4", _) => {
                self.descriptors.insert(made, value);
                let peer = match &outcome.output {
                    Output::Address(bytes) => endpoint(bytes),
                    _ => None,
                };
                self.flows.accepted(made, peer);
            }
            ("open" | "dup" | "epoll_create" | "epoll_create1", _) => {
                self.descriptors.insert(made, value);
            }
            ("pipe", _) => {
                if let (Output::Pipe(read, write), Some(Expression::List(numbers))) =
                    (&outcome.output, spec.arguments.first())
                {
                    for (number, fd) in numbers.iter().zip([read, write]) {
                        if let Ok(number) = integer(number, defines) {
                            self.descriptors.insert(number, *fd);
                        }
                    }
                }
            }
            ("bind", Some(number)) => {
                if let Ok(Call::Bind { address, .. }) = self.lowered(spec)
                    && let Some(address) = endpoint(&address)
                {
                    self.flows.bound(number, address);
                }
            }
            ("listen", Some(number)) => self.flows.listening(number),
            ("close", Some(number)) => {
                self.descriptors.remove(&number);
                self.flows.closed(number);
            }
            _ => {}
        }
    }

    /// Whether the call that the script lets wait has ended meanwhile.
    pub(super) fn look_at_pending(&mut self) -> Result<(), Failure> {
        if self.pending.is_none() {
            return Ok(());
        }
        let now = self.world.now();
        let finished = self.world.finished(now);
        self.end_pending(finished.map_err(in_words), false)
    }

    /// Waits for the call that the script lets wait.
    pub(super) fn await_pending(&mut self) -> Result<(), Failure> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let until = pending.until.unwrap_or_default().ended;
        let deadline = until
            .max(self.world.now())
            .saturating_add(self.tolerance(until))
            .saturating_add(PATIENCE);
        let finished = self.world.finished(deadline);
        self.end_pending(finished.map_err(in_words), true)
    }

    fn end_pending(
        &mut self,
        finished: Result<Option<Finished>, String>,
        must: bool,
    ) -> Result<(), Failure> {
        let finished = match finished {
            Ok(None) if !must => return Ok(()),
            other => other,
        };
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let ended = match finished {
            Ok(Some(finished)) => self.settle(&pending.spec, &finished).and_then(|()| {
                let window = pending.until.map(|until| {
                    let length = until.ended.saturating_sub(finished.started);
                    let tolerance = self.tolerance(length);
                    let late =
                        tolerance.saturating_add(super::timing::wheel(length, self.world.tick()));
                    (
                        until.started.saturating_sub(tolerance),
                        until.ended.saturating_add(late),
                    )
                });
                let what = format!("{}() ended", pending.spec.name);
                self.in_time(&what, window, finished.ended)
            }),
            Ok(None) => Err(format!("{}() still blocks", pending.spec.name)),
            Err(error) => Err(error),
        };
        ended.map_err(|message| self.failure(pending.line, message))
    }
}
