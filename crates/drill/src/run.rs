//! Runs a script in a world: event by event, each at its time, until one goes wrong.

mod calls;
mod packets;
mod timing;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::call::Fd;
use crate::flow::Flows;
use crate::options::Options;
use crate::script::{Action, CallSpec, Event, EventTime, Script};
use crate::snippet::{Names, Snippet, Value};
use crate::symbols;
use crate::tcp_info::TcpInfo;
use crate::world::{World, WorldError};
use timing::Moment;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The line of the event.
    pub(crate) line: u32,
    /// What was expected and what happened.
    pub(crate) message: String,
    /// The script's clock, where it had started.
    pub(crate) time: Option<Duration>,
}

/// A call that the script lets go on while other things happen.
struct Pending {
    line: u32,
    spec: CallSpec,
    /// The world's clock when it must have ended.
    until: Option<Moment>,
}

/// A script on its way.
pub(crate) struct Runner<'a> {
    script: &'a Script,
    options: &'a Options,
    folder: &'a Path,
    world: &'a mut dyn World,
    flows: Flows,
    /// The world's descriptors by the script's numbers.
    descriptors: BTreeMap<i64, Fd>,
    /// The world's clock when the script's began.
    zero: Option<Duration>,
    /// When the last event happened.
    previous: Moment,
    /// When the host last sent something: its timers count from there.
    last_sent: Option<Duration>,
    pending: Option<Pending>,
    values: BTreeMap<String, Value>,
    /// What there is to tell: printed texts, remarks.
    pub(crate) notes: Vec<String>,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        script: &'a Script,
        options: &'a Options,
        folder: &'a Path,
        world: &'a mut dyn World,
    ) -> Self {
        Runner {
            script,
            options,
            folder,
            world,
            flows: Flows::new(options),
            descriptors: BTreeMap::new(),
            zero: None,
            previous: Moment::default(),
            last_sent: None,
            pending: None,
            values: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Runs the whole script.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        for command in &self.options.init_scripts {
            self.command(command).map_err(|message| Failure {
                line: 0,
                message,
                time: None,
            })?;
        }
        let script = self.script;
        for event in &script.events {
            if event.time != EventTime::Before && self.zero.is_none() {
                let now = self.world.now();
                self.zero = Some(now);
                self.previous = Moment::at(now);
            }
            self.look_at_pending()?;
            let happened = match self.event(event) {
                Ok(happened) => happened,
                Err(message) if self.is_forgiven(event) => {
                    self.notes.push(format!("line {}: {message}", event.line));
                    continue;
                }
                Err(message) => return Err(self.failure(event.line, message)),
            };
            if let Some(moment) = happened {
                self.previous = moment;
            }
        }
        self.await_pending()
    }

    fn failure(&mut self, line: u32, message: String) -> Failure {
        let now = self.world.now();
        Failure {
            line,
            message,
            time: self.zero.map(|zero| now.saturating_sub(zero)),
        }
    }

    /// Whether the script goes on when this goes wrong.
    fn is_forgiven(&self, event: &Event) -> bool {
        match event.action {
            Action::Packet(_) => self.options.non_fatal_packets,
            Action::Call(_) => self.options.non_fatal_calls,
            Action::Command(_) | Action::Snippet(_) => false,
        }
    }

    /// One event; when it happened.
    fn event(&mut self, event: &Event) -> Result<Option<Moment>, String> {
        match &event.action {
            Action::Packet(packet) => match packet.direction {
                crate::script::Direction::In => self.inject(event, packet).map(Some),
                crate::script::Direction::Out => self.expect(event, packet).map(Some),
            },
            Action::Call(spec) => self.call(event, spec).map(Some),
            Action::Command(text) => {
                if event.time == EventTime::Before {
                    self.command(text)?;
                    return Ok(None);
                }
                let started = self.wait_for(event)?;
                self.command(text)?;
                let ended = self.world.now();
                Ok(Some(Moment { started, ended }))
            }
            Action::Snippet(snippet) => {
                let started = self.wait_for(event)?;
                self.snippet(snippet)?;
                Ok(Some(Moment::at(started)))
            }
        }
    }

    /// Waits until an event is to be made to happen; the world's clock then.
    fn wait_for(&mut self, event: &Event) -> Result<Duration, String> {
        if let Some(time) = self.due(event.time) {
            self.world.sleep_until(time).map_err(in_words)?;
        }
        Ok(self.world.now())
    }

    fn command(&mut self, text: &str) -> Result<(), String> {
        let notes = self.world.command(text, self.folder).map_err(in_words)?;
        self.notes.extend(notes);
        Ok(())
    }

    fn snippet(&mut self, snippet: &Snippet) -> Result<(), String> {
        let fd = self
            .flows
            .descriptor()
            .and_then(|number| self.descriptors.get(&number))
            .copied();
        // Only asked for when a name needs it.
        let info = std::cell::OnceCell::<Result<TcpInfo, String>>::new();
        let world = std::cell::RefCell::new(&mut *self.world);
        let defines = &self.script.defines;
        let look_up = |name: &str| -> Result<i64, String> {
            if !name.starts_with("tcpi_") && !name.starts_with("SK_MEMINFO_") {
                return symbols::value(name, defines)
                    .ok_or_else(|| format!("`{name}` is no name that is known"));
            }
            let info = info.get_or_init(|| match fd {
                Some(fd) => world.borrow_mut().tcp_info(fd),
                None => Err("there is no TCP socket whose values could be read".to_owned()),
            });
            match info {
                Ok(info) => info
                    .get(name)
                    .copied()
                    .ok_or_else(|| format!("this host tells no `{name}`")),
                Err(error) => Err(error.clone()),
            }
        };
        let mut names = Names {
            own: &mut self.values,
            look_up: &look_up,
        };
        match snippet.run(&mut names) {
            Ok(printed) => {
                self.notes.extend(printed);
                Ok(())
            }
            Err(failure) if failure.line == 0 => Err(failure.message),
            Err(failure) => Err(format!(
                "line {} of the snippet: {}",
                failure.line.saturating_add(1),
                failure.message
            )),
        }
    }
}

fn in_words(error: WorldError) -> String {
    error.0
}
