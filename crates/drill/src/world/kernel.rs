//! The kernel of this machine: a network namespace of its own, a TUN device, real sockets.
//!
//! The namespace belongs to the threads that are in it, and is gone with them. Times of packets are the kernel's own, taken
//! when they reach the device; injected packets are processed before the write returns.

mod caller;
mod device;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::shell::{Step, steps};
use super::{Captured, Finished, World, WorldError};
use crate::call::{Call, Fd};
use crate::options::Options;
use crate::tcp_info::TcpInfo;
use caller::{Bell, Descriptors};
use device::Device;

/// The host's own kernel.
pub(crate) struct KernelWorld {
    device: Device,
    origin: SystemTime,
    captured: VecDeque<Captured>,
    descriptors: Descriptors,
    calls: Option<Sender<Call>>,
    ended: Receiver<Finished>,
    bell: Bell,
    tick: Duration,
    /// Where nstat keeps what it has seen.
    counters: PathBuf,
}

const PROC_CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const CONGESTION_CONTROL: &str = "net.ipv4.tcp_congestion_control";

/// How long a command of a script may run.
const COMMAND: Duration = Duration::from_secs(60);

impl KernelWorld {
    /// Moves the calling thread into a new namespace, for good, and makes the device there.
    pub(crate) fn new(options: &Options) -> Result<Self, WorldError> {
        // Without the right to it, times are less exact; nothing else changes.
        let _ = transect_sys::socket_call::run_before_others();
        let device = Device::new(options)?;
        let origin = SystemTime::now();
        let caller = caller::start(origin)?;
        let mut world = KernelWorld {
            device,
            origin,
            captured: VecDeque::new(),
            descriptors: caller.descriptors,
            calls: Some(caller.calls),
            ended: caller.ended,
            bell: caller.bell,
            tick: tick(),
            counters: counters(),
        };
        // Linux's default, whatever the machine's is.
        world.set(CONGESTION_CONTROL, "cubic")?;
        Ok(world)
    }

    /// Sets a sysctl of the namespace.
    ///
    /// Congestion control that is not for everybody (net.ipv4.tcp_allowed_congestion_control, which belongs to the whole machine)
    /// cannot be the default of a namespace, though a socket may be set to it. Then every new socket is.
    fn set(&mut self, name: &str, value: &str) -> Result<(), WorldError> {
        let set = set_sysctl(name, value);
        if name != CONGESTION_CONTROL {
            return set;
        }
        match set {
            Ok(()) => self.descriptors.set_congestion_control(None),
            Err(error) => {
                let available = "/proc/sys/net/ipv4/tcp_available_congestion_control";
                let available = std::fs::read_to_string(available).unwrap_or_default();
                if !available.split_whitespace().any(|known| known == value) {
                    return Err(error);
                }
                self.descriptors.set_congestion_control(Some(value));
            }
        }
        Ok(())
    }

    /// Takes in everything that waits, for at most so long: packets, and the bell of the calling thread.
    fn wait(&mut self, deadline: Duration) -> Result<(), WorldError> {
        let left = deadline.saturating_sub(self.now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut files = [
            PollFd::new(self.device.tap(), PollFlags::IN),
            PollFd::new(self.device.tun(), PollFlags::IN),
            PollFd::new(&self.bell, PollFlags::IN),
        ];
        match poll(&mut files, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WorldError::doing("waiting for packets")(error)),
        }
        self.bell.silence();
        let origin = self.origin;
        self.device
            .receive(&mut self.captured, |time| since(origin, time))
    }
}

/// A path for each world.
fn counters() -> PathBuf {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    let name = format!("transect-drill-{}-{number}.nstat", std::process::id());
    std::env::temp_dir().join(name)
}

/// A time of the system's clock as one of the world's.
fn since(origin: SystemTime, time: Duration) -> Duration {
    let origin = origin
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    time.saturating_sub(origin)
}

/// 1/HZ: the coarse clocks advance by ticks, and their resolution says so.
fn tick() -> Duration {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    u64::try_from(resolution.tv_nsec).map_or(Duration::from_millis(4), Duration::from_nanos)
}

impl World for KernelWorld {
    fn now(&mut self) -> Duration {
        SystemTime::now()
            .duration_since(self.origin)
            .unwrap_or_default()
    }

    fn sleep_until(&mut self, time: Duration) -> Result<(), WorldError> {
        while self.now() < time {
            self.wait(time)?;
        }
        Ok(())
    }

    fn inject(&mut self, packet: &[u8]) -> Result<(), WorldError> {
        self.device.send(packet)
    }

    fn capture(&mut self, deadline: Duration) -> Result<Option<Captured>, WorldError> {
        loop {
            // What has come already, first.
            if let Some(captured) = self.captured.pop_front() {
                return Ok(Some(captured));
            }
            let late = self.now() >= deadline;
            self.wait(deadline)?;
            if late && self.captured.is_empty() {
                return Ok(None);
            }
        }
    }

    fn start(&mut self, call: Call) -> Result<(), WorldError> {
        let sent = self.calls.as_ref().map(|calls| calls.send(call));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(WorldError(
                "the thread for system calls has ended".to_owned(),
            )),
        }
    }

    fn finished(&mut self, deadline: Duration) -> Result<Option<Finished>, WorldError> {
        loop {
            if let Ok(finished) = self.ended.try_recv() {
                return Ok(Some(finished));
            }
            if self.now() >= deadline {
                return Ok(None);
            }
            self.wait(deadline)?;
        }
    }

    fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo, String> {
        self.descriptors.tcp_info(fd)
    }

    fn command(&mut self, text: &str, folder: &Path) -> Result<Vec<String>, WorldError> {
        let mut notes = Vec::new();
        self.do_steps(steps(text, folder, true), folder, &mut notes)?;
        Ok(notes)
    }

    fn at_real_time(&self, time: Duration) -> Option<Duration> {
        Some(since(self.origin, time))
    }

    fn tick(&self) -> Duration {
        self.tick
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(20)
    }
}

impl KernelWorld {
    fn do_steps(
        &mut self,
        steps: Vec<Step>,
        folder: &Path,
        notes: &mut Vec<String>,
    ) -> Result<(), WorldError> {
        let mut steps = steps.into_iter().peekable();
        let mut failed = false;
        while let Some(step) = steps.next() {
            let done = match step {
                Step::Otherwise(steps) => match std::mem::take(&mut failed) {
                    true => self.do_steps(steps, folder, notes),
                    false => Ok(()),
                },
                Step::Note(note) => {
                    notes.push(note);
                    Ok(())
                }
                Step::Shell(text) => self.shell(&text, folder),
                Step::Sysctl { name, value } => self.set(&name, &value),
            };
            failed |= done.is_err();
            match done {
                // The last step decides.
                Err(error) if steps.peek().is_some() => notes.push(error.to_string()),
                done => done?,
            }
        }
        Ok(())
    }

    /// Runs a command by a shell in the namespace; it must succeed.
    fn shell(&mut self, text: &str, folder: &Path) -> Result<(), WorldError> {
        let congestion_control = || std::fs::read_to_string(PROC_CONGESTION_CONTROL).ok();
        let before = congestion_control();
        let ended = self.run_shell(text, folder);
        // The command has chosen one that may be the namespace's default.
        if congestion_control() != before {
            self.descriptors.set_congestion_control(None);
        }
        ended
    }

    fn run_shell(&mut self, text: &str, folder: &Path) -> Result<(), WorldError> {
        let bash = Path::new("/bin/bash");
        let shell = if bash.exists() {
            bash
        } else {
            Path::new("/bin/sh")
        };
        let own = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(shell);
        command
            .arg("-c")
            .arg(text)
            .current_dir(folder)
            .env(
                "PATH",
                format!("{own}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"),
            )
            .env("PACKETDRILL_PID", std::process::id().to_string())
            // nstat compares with what it has seen before, in a file of the user's: that of another namespace, else.
            .env("NSTAT_HISTORY", &self.counters)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        transect_sys::die_with_parent(&mut command);
        let doing = format!("running `{}`", text.trim());
        let mut child = command.spawn().map_err(WorldError::doing(&doing))?;
        let deadline = self.now().saturating_add(COMMAND);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(WorldError::doing(&doing))? {
                break status;
            }
            let now = self.now();
            if now >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(WorldError(format!(
                    "{doing}: still running after {COMMAND:?}"
                )));
            }
            self.sleep_until(now.saturating_add(Duration::from_millis(1)))?;
        };
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            use std::io::Read as _;
            // What it said is a help, and no more.
            let _ = stderr.take(4096).read_to_string(&mut said);
        }
        let said = said.trim();
        Err(WorldError(format!(
            "{doing}: {status}{}{said}",
            if said.is_empty() { "" } else { ": " }
        )))
    }
}

/// Sets a sysctl of the namespace. /proc/sys/net shows the namespace of the thread that opens it.
pub(super) fn set_sysctl(name: &str, value: &str) -> Result<(), WorldError> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value)
        .map_err(|error| WorldError(format!("setting {name} = {value}: {error}")))
}

impl Drop for KernelWorld {
    fn drop(&mut self) {
        // The calling thread ends when there are no calls to come; one that waits in the kernel is woken by the end of what it
        // waits for.
        self.calls = None;
        self.descriptors.shut_down();
        // Only there when the script has called nstat.
        let _ = std::fs::remove_file(&self.counters);
    }
}
