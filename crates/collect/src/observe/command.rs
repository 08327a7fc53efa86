//! COMMAND: run where Transect was started, its output passed on and kept.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use transect_evidence::bundle::{COMMAND_OUTPUT_LIMIT, CommandRecord};
use transect_path::Timestamp;

use super::CommandOutput;
use crate::Error;
use crate::wait::{self, Event};

/// The command, running or just ended.
#[derive(Debug)]
pub(super) struct RunningCommand {
    argv: Vec<String>,
    child: Child,
    pid: Pid,
    /// It has a process group of its own, which signals are sent to.
    own_group: bool,
    started: Timestamp,
    /// Raised when it ended; it can be waited for without blocking then.
    ended: Arc<Event>,
    /// Raised when what it printed until now is all that is wanted.
    enough: Arc<Event>,
    outputs: [Output; 2],
}

/// How the command ended and what it printed.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) record: CommandRecord,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// One output of the command: what of it is kept, and the thread that passes it on.
#[derive(Debug)]
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl RunningCommand {
    /// Starts the command with our standard input. It dies when the calling thread does.
    ///
    /// Where there is a controlling terminal the command shares our process group, so that ^C reaches it too and it may ask
    /// for a password. Elsewhere it gets a group of its own, so that its children are reached as well.
    pub(super) fn start(argv: &[String], output: CommandOutput) -> Result<Self, Error> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        let failed = |source: io::Error| Error::Command {
            program: program.to_owned(),
            source,
        };
        let own_group = File::open("/dev/tty").is_err();
        let mut command = Command::new(program);
        command
            .args(argv.get(1..).unwrap_or_default())
            .stdin(Stdio::inherit())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if own_group {
            command.process_group(0);
        }
        transect_sys::die_with_parent(&mut command);
        let (ended, enough) = (Arc::new(Event::new()?), Arc::new(Event::new()?));
        let started = wait::now();
        let mut child = command.spawn().map_err(failed)?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(io::Error::other("its output has no pipe")));
        };
        let (to_out, to_err) = match output {
            CommandOutput::Through => (Some(Sink::Stdout), Some(Sink::Stderr)),
            CommandOutput::ToStderr => (Some(Sink::Stderr), Some(Sink::Stderr)),
            CommandOutput::Kept => (None, None),
        };
        let outputs = [
            Output::start(OwnedFd::from(stdout).into(), to_out, &enough)?,
            Output::start(OwnedFd::from(stderr).into(), to_err, &enough)?,
        ];
        let pid = Pid::from_child(&child);
        announce_end(pid, &ended)?;
        Ok(RunningCommand {
            argv: argv.to_vec(),
            child,
            pid,
            own_group,
            started,
            ended,
            enough,
            outputs,
        })
    }

    /// Readable when the command ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// The exit status, 128 + N for signal N; `None` while it runs.
    pub(super) fn status(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(status_number)
    }

    /// A ^C at the terminal has reached it already.
    pub(super) fn shares_terminal(&self) -> bool {
        !self.own_group
    }

    /// Sends it a signal, unless it ended.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.status().is_some() {
            return;
        }
        // It may end at any moment, but its number stays its own until we have waited for it.
        let _ = if self.own_group {
            rustix::process::kill_process_group(self.pid, signal)
        } else {
            rustix::process::kill_process(self.pid, signal)
        };
    }

    /// Ends the command if it still runs (`status` is `None` then) and takes what it printed.
    pub(super) fn finish(mut self) -> Finished {
        let status = self.status();
        self.kill();
        let ended = wait::now();
        self.enough.raise();
        let [stdout, stderr] = self.outputs.map(Output::finish);
        Finished {
            record: CommandRecord {
                argv: self.argv,
                status,
                started: self.started,
                ended,
            },
            stdout,
            stderr,
        }
    }

    /// Ends the command at once; what it printed does not matter.
    pub(super) fn abandon(mut self) {
        self.kill();
        self.enough.raise();
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        // SIGKILL cannot be ignored, so this does not wait long.
        let _ = self.child.wait();
    }
}

fn status_number(status: ExitStatus) -> i32 {
    let by_signal = || status.signal().map(|signal| signal.saturating_add(128));
    status.code().or_else(by_signal).unwrap_or(-1)
}

/// Raises `ended` when the process has ended, and leaves it to be waited for: waitid(2) with WNOWAIT.
fn announce_end(pid: Pid, ended: &Arc<Event>) -> Result<(), Error> {
    let ended = Arc::clone(ended);
    std::thread::Builder::new()
        .name("command-end".to_owned())
        .spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) =
                rustix::process::waitid(WaitId::Pid(pid), options)
            {}
            ended.raise();
        })
        .map(drop)
        .map_err(Error::system("starting the thread command-end"))
}

/// Where output is passed on to.
#[derive(Debug, Clone, Copy)]
enum Sink {
    Stdout,
    Stderr,
}

impl Sink {
    /// Passes bytes on. Whether anybody still listens there is not the command's business, nor ours.
    fn write(self, bytes: &[u8]) {
        let _ = match self {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Sink::Stderr => io::stderr().lock().write_all(bytes),
        };
    }
}

impl Output {
    fn start(pipe: File, sink: Option<Sink>, enough: &Arc<Event>) -> Result<Self, Error> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (keep, enough) = (Arc::clone(&kept), Arc::clone(enough));
        let thread = std::thread::Builder::new()
            .name("command-output".to_owned())
            .spawn(move || pass_on(pipe, sink, &keep, enough.as_fd()))
            .map_err(Error::system("starting the thread command-output"))?;
        Ok(Output { kept, thread })
    }

    fn finish(self) -> Vec<u8> {
        // A panic in the thread leaves what it kept until then.
        let _ = self.thread.join();
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Passes a pipe on to its end; once it is enough, only what lies in the pipe. A process that the command left behind may hold
/// the pipe open for ever.
fn pass_on(mut pipe: File, sink: Option<Sink>, keep: &Mutex<Vec<u8>>, enough: BorrowedFd<'_>) {
    let mut buffer = vec![0; 64 << 10];
    // As much as a pipe may hold (pipe-max-size), so that a process that goes on printing cannot hold us up.
    let mut left = 16;
    loop {
        let Ok([there, done]) = wait::readable([pipe.as_fd(), enough], None) else {
            return;
        };
        if done {
            let now = Some(Duration::ZERO);
            left -= 1;
            if left == 0 || wait::readable([pipe.as_fd()], now).map_or(true, |[there]| !there) {
                return;
            }
        } else if !there {
            continue;
        }
        let read = match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if let Some(sink) = sink {
            sink.write(read);
        }
        let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
        let room = COMMAND_OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend_from_slice(read.get(..room).unwrap_or(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> RunningCommand {
        let argv = ["sh", "-c", script].map(str::to_owned);
        RunningCommand::start(&argv, CommandOutput::Kept).unwrap()
    }

    fn end(command: RunningCommand) -> Finished {
        assert_eq!(wait::readable([command.ended()], None).unwrap(), [true]);
        command.finish()
    }

    #[test]
    fn output_and_status_are_kept() {
        let finished = end(start("echo out; echo err >&2; exit 3"));
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(finished.stderr, b"err\n");
        assert_eq!(finished.record.status, Some(3));
        assert!(finished.record.started < finished.record.ended);
    }

    #[test]
    fn a_signal_shows_in_the_status() {
        let mut command = start("echo ready; exec sleep 1000");
        command.signal(Signal::TERM);
        assert_eq!(end(command).record.status, Some(128 + 15));
    }

    #[test]
    fn a_command_that_still_runs_is_ended_without_a_status() {
        let command = start("exec sleep 1000");
        let pid = command.pid;
        let finished = command.finish();
        assert_eq!(finished.record.status, None);
        assert_eq!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        );
    }

    #[test]
    fn what_the_command_leaves_behind_does_not_hold_us_up() {
        let finished = end(start("sleep 1000 & echo $!"));
        let left_behind: i32 = String::from_utf8(finished.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let pid = Pid::from_raw(left_behind).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn output_is_bounded() {
        let finished = end(start("head -c 3000000 /dev/zero"));
        assert_eq!(finished.stdout.len(), COMMAND_OUTPUT_LIMIT);
    }

    #[test]
    fn a_missing_program_is_named() {
        let argv = ["/no/such/program".to_owned()];
        let error = RunningCommand::start(&argv, CommandOutput::Kept).unwrap_err();
        insta::assert_snapshot!(error, @"starting \"/no/such/program\": No such file or directory (os error 2)");
    }
}
