//! Running the tools of the host where netlink gives no text: bounded in time and output.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest that one tool may take; a rule set of 100,000 rules takes nft about a second.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that one tool may print.
const OUTPUT: usize = 64 << 20;
/// The most that is kept of what it complains about.
const COMPLAINT: usize = 4096;

/// A tool that was started, in the namespace of the thread that started it.
pub(super) struct Running {
    name: String,
    child: Child,
    deadline: Instant,
}

/// Why a tool gave nothing.
#[derive(Debug)]
pub(super) enum ToolError {
    /// It is not installed.
    Missing,
    /// It failed, and this is why.
    Failed(String),
}

/// Starts a tool. Its language is C, its input empty.
pub(super) fn start(program: &str, arguments: &[&str]) -> Result<Running, ToolError> {
    let child = Command::new(find(program))
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ToolError::Missing,
            _ => ToolError::Failed(format!("{program} cannot be started: {error}")),
        })?;
    Ok(Running {
        name: format!("{program} {}", arguments.join(" ")),
        child,
        deadline: Instant::now() + TIMEOUT,
    })
}

/// The tool's path. Users other than root often lack the `sbin` folders in PATH; those come first in any case, so that
/// what is started as root does not depend on the folder of somebody else.
fn find(program: &str) -> PathBuf {
    [
        "/usr/sbin",
        "/sbin",
        "/usr/bin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
    ]
    .into_iter()
    .map(|folder| Path::new(folder).join(program))
    .find(|path| path.is_file())
    .unwrap_or_else(|| PathBuf::from(program))
}

impl Running {
    /// Waits for its end and takes what it printed.
    pub(super) fn output(mut self) -> Result<Vec<u8>, ToolError> {
        let result = self.read();
        if result.is_err() {
            // Too long or too much: it is ours to end.
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        let (output, complaint) = result?;
        match status {
            Ok(status) if status.success() => Ok(output),
            Ok(status) => Err(ToolError::Failed(format!(
                "`{}` ended with {status}: {}",
                self.name,
                String::from_utf8_lossy(&complaint).trim()
            ))),
            Err(error) => Err(ToolError::Failed(format!("`{}`: {error}", self.name))),
        }
    }

    /// Reads both pipes to their ends.
    fn read(&mut self) -> Result<(Vec<u8>, Vec<u8>), ToolError> {
        let failed = |what: String| ToolError::Failed(what);
        let mut stdout = self.child.stdout.take();
        let mut stderr = self.child.stderr.take();
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let mut scratch = vec![0; 64 << 10];
        while stdout.is_some() || stderr.is_some() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!(
                    "`{}` took longer than {} s",
                    self.name,
                    TIMEOUT.as_secs()
                )));
            }
            let (ready_out, ready_err) = {
                let mut polled = Vec::with_capacity(2);
                let out_fd = stdout.as_ref().map(|pipe| pipe.as_fd());
                let err_fd = stderr.as_ref().map(|pipe| pipe.as_fd());
                for fd in [&out_fd, &err_fd].into_iter().flatten() {
                    polled.push(PollFd::from_borrowed_fd(*fd, PollFlags::IN));
                }
                let timeout = Timespec::try_from(left).ok();
                match poll(&mut polled, timeout.as_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(failed(format!("`{}`: {error}", self.name))),
                }
                let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
                (
                    out_fd.is_some() && ready.next().unwrap_or_default(),
                    err_fd.is_some() && ready.next().unwrap_or_default(),
                )
            };
            if ready_out && !take(&mut stdout, &mut scratch, &mut output, OUTPUT + 1) {
                stdout = None;
            }
            if ready_err && !take(&mut stderr, &mut scratch, &mut complaint, COMPLAINT) {
                stderr = None;
            }
            if output.len() > OUTPUT {
                return Err(failed(format!("`{}` printed more than 64 MiB", self.name)));
            }
        }
        Ok((output, complaint))
    }
}

/// One read from a pipe; false at its end. What goes beyond `most` is dropped.
fn take(pipe: &mut Option<impl Read>, scratch: &mut [u8], into: &mut Vec<u8>, most: usize) -> bool {
    let Some(pipe) = pipe else {
        return false;
    };
    match pipe.read(scratch) {
        Ok(0) => false,
        Ok(read) => {
            let room = most.saturating_sub(into.len());
            into.extend_from_slice(scratch.get(..read.min(room)).unwrap_or_default());
            true
        }
        Err(error) => error.kind() == io::ErrorKind::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure_are_told_apart() {
        let output = start("sh", &["-c", "echo out; echo err >&2"])
            .unwrap()
            .output()
            .unwrap();
        assert_eq!(output, b"out\n");
        let Err(ToolError::Failed(why)) = start("sh", &["-c", "echo no >&2; exit 3"])
            .unwrap()
            .output()
        else {
            panic!("it should have failed");
        };
        assert!(
            why.contains("exit status: 3") && why.ends_with("no"),
            "{why}"
        );
        assert!(matches!(
            start("/nonexistent/tool", &[]),
            Err(ToolError::Missing)
        ));
    }

    #[test]
    fn a_large_output_is_whole() {
        let output = start("sh", &["-c", "yes 0123456789 | head -c 3000000"])
            .unwrap()
            .output()
            .unwrap();
        assert_eq!(output.len(), 3_000_000);
    }

    #[test]
    fn a_tool_that_hangs_is_ended() {
        let mut running = start("sleep", &["1000"]).unwrap();
        running.deadline = Instant::now();
        let id = running.child.id();
        assert!(matches!(running.output(), Err(ToolError::Failed(_))));
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
