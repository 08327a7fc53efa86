//! Commands in a host: no shell, bounded time, output kept for the report.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{HostNamespace, WorldError};
use crate::words;

/// How a command ended.
pub(super) struct Ended {
    /// Its status; 128 + N when signal N ended it.
    pub(super) status: i32,
    /// What it printed, standard output first, bounded.
    pub(super) output: String,
}

/// How long a command may run.
#[derive(Clone, Copy)]
pub(super) struct Limit<'a> {
    time: Duration,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Limit<'a> {
    /// So long.
    pub(super) fn time(time: Duration) -> Self {
        Limit { time, stop: None }
    }

    /// So long, but no longer than until `stop` is set.
    pub(super) fn or_stop(time: Duration, stop: &'a AtomicBool) -> Self {
        Limit {
            time,
            stop: Some(stop),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// Between two looks at whether the run was stopped.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// So much of a command's output is kept.
const OUTPUT: u64 = 16 * 1024;

/// Time for a command of a set-up.
const SETUP: Duration = Duration::from_secs(30);

/// Numbers the output files.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// A command as it is run in every experiment.
pub(super) fn prepare(text: &str, folder: &Path) -> Result<Command, WorldError> {
    let words = words::split(text).map_err(WorldError)?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| WorldError::new("the command is empty"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("PATH", path())
        // Its lock file is one for the whole machine by default; tables are one set for each namespace.
        .env("XTABLES_LOCKFILE", folder.join("xtables.lock"))
        .stdin(Stdio::null());
    Ok(command)
}

/// The system's programs are found even where the user's PATH lacks the sbin folders.
fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Runs a command to its end.
pub(super) fn run(
    host: &HostNamespace,
    folder: &Path,
    text: &str,
    limit: Limit<'_>,
) -> Result<Ended, WorldError> {
    let failing = || format!("{}: {text}", host.name());
    let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let names = ["out", "err"].map(|kind| folder.join(format!("command-{number}.{kind}")));
    let [out, err] = &names;
    let mut command = prepare(text, folder)?;
    command
        .stdout(File::create(out).map_err(WorldError::doing(failing()))?)
        .stderr(File::create(err).map_err(WorldError::doing(failing()))?);
    let mut child = host
        .start(command)
        .map_err(|error| start_error(text, &error))?;
    let status = wait(&mut child, limit).map_err(WorldError::doing(failing()))?;
    let output = names.map(|name| read_bounded(&name)).concat();
    let Some(status) = status else {
        return Err(WorldError(format!(
            "{}: still running after {:?}, or stopped; it printed:\n{output}",
            failing(),
            limit.time
        )));
    };
    Ok(Ended {
        status: code(status),
        output,
    })
}

/// Runs a command that must succeed.
pub(super) fn run_successfully(
    host: &HostNamespace,
    folder: &Path,
    text: &str,
) -> Result<(), WorldError> {
    let ended = run(host, folder, text, Limit::time(SETUP))?;
    if ended.status == 0 {
        return Ok(());
    }
    Err(WorldError(format!(
        "{}: {text}: ended with status {}; it printed:\n{}",
        host.name(),
        ended.status,
        ended.output
    )))
}

/// A program that is not there is the commonest reason; say what to install.
pub(super) fn start_error(text: &str, error: &std::io::Error) -> WorldError {
    let program = text.split_whitespace().next().unwrap_or_default();
    if error.kind() != std::io::ErrorKind::NotFound {
        return WorldError(format!("starting {program}: {error}"));
    }
    let package = match program.rsplit('/').next().unwrap_or_default() {
        "mariadbd" | "mariadb-install-db" => "mariadb-server",
        "mariadb" => "mariadb-client",
        "nginx" => "nginx-light",
        "nft" => "nftables",
        "ip" | "tc" | "ss" | "bridge" => "iproute2",
        "curl" => "curl",
        name if name.starts_with("ip") => "iptables",
        name => name,
    };
    WorldError(format!(
        "{program} is not installed: apt-get install {package} (`make test` does it)"
    ))
}

/// Waits for the child's end; kills it and gives `None` when the limit is reached.
fn wait(child: &mut Child, limit: Limit<'_>) -> std::io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other("the child has no process id"))?;
    // The pid cannot have been reused: it is reaped below, by this function.
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit.time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let slice = Timespec::try_from(left.min(STOP_LOOK)).map_err(std::io::Error::other)?;
        if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&slice))? > 0 {
            return child.wait().map(Some);
        }
        if left.is_zero() || limit.is_stopped() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    let by_signal = || status.signal().map_or(-1, |signal| 128 + signal);
    status.code().unwrap_or_else(by_signal)
}

/// The beginning of a file; empty when it cannot be read.
pub(super) fn read_bounded(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read until an error is still worth showing.
        let _ = file.take(OUTPUT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::testing::needs_namespaces;

    #[test]
    fn output_status_and_time_are_kept() {
        if needs_namespaces("output_status_and_time_are_kept") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let host = HostNamespace::create("h").unwrap();
        let run = |text: &str, time| run(&host, folder.path(), text, Limit::time(time));
        let ended = run("sh -c 'echo one; echo two >&2; exit 7'", SETUP).unwrap();
        assert_eq!((ended.status, ended.output.as_str()), (7, "one\ntwo\n"));
        let error = run("sleep 100", Duration::from_millis(50)).err().unwrap();
        assert!(error.0.contains("still running"), "{error}");
        let error = run("nft-is-not-here", SETUP).err().unwrap();
        assert!(error.0.contains("not installed"), "{error}");
    }
}
