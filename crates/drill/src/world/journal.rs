//! A world that writes down what happens in it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Captured, Finished, World, WorldError};
use crate::call::{Call, Fd};
use crate::tcp_info::TcpInfo;

/// Another world, with a line for each packet, call and command, in order; times are in nanoseconds of the world's clock.
pub(crate) struct Journal<'a> {
    world: &'a mut dyn World,
    pub(crate) lines: Vec<String>,
}

impl<'a> Journal<'a> {
    pub(crate) fn new(world: &'a mut dyn World) -> Self {
        Journal {
            world,
            lines: Vec::new(),
        }
    }

    fn note(&mut self, time: Duration, what: &str) {
        self.lines.push(format!("{} {what}", time.as_nanos()));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl World for Journal<'_> {
    fn now(&mut self) -> Duration {
        self.world.now()
    }

    fn sleep_until(&mut self, time: Duration) -> Result<(), WorldError> {
        self.world.sleep_until(time)
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), WorldError> {
        let now = self.world.now();
        self.note(now, &format!("< {}", hex(packet)));
        self.world.inject(packet)
    }

    fn capture(&mut self, deadline: Duration) -> Result<Option<Captured>, WorldError> {
        let captured = self.world.capture(deadline)?;
        if let Some(captured) = &captured {
            let line = format!("> {}", hex(&captured.bytes));
            self.note(captured.time, &line);
        }
        Ok(captured)
    }

    fn start(&mut self, call: Call) -> Result<(), WorldError> {
        let now = self.world.now();
        self.note(now, &format!("{call:?}"));
        self.world.start(call)
    }

    fn finished(&mut self, deadline: Duration) -> Result<Option<Finished>, WorldError> {
        let finished = self.world.finished(deadline)?;
        if let Some(finished) = &finished {
            let line = format!("{:?}", finished.outcome);
            self.note(finished.ended, &line);
        }
        Ok(finished)
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo, String> {
        let info = self.world.tcp_info(fd);
        let now = self.world.now();
        self.note(now, &format!("{info:?}"));
        info
    }

    fn command(&mut self, text: &str, folder: &Path) -> Result<Vec<String>, WorldError> {
        let now = self.world.now();
        self.note(now, text);
        self.world.command(text, folder)
    }

    fn at_real_time(&self, time: Duration) -> Option<Duration> {
        self.world.at_real_time(time)
    }

    fn tick(&self) -> Duration {
        self.world.tick()
    }

    fn grace(&self) -> Duration {
        self.world.grace()
    }
}
