//! A host: an anonymous network namespace.
//!
//! It has no name in /run/netns. This process alone holds it, by a file descriptor and by the threads in it, so the kernel
//! removes it with its links, rules and sockets when this process ends, whatever ends it. Programs in it die with it: they are
//! started by a thread that lives as long as the host and carry PR_SET_PDEATHSIG.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread that lives in it.
pub(crate) struct HostNamespace {
    name: String,
    file: File,
    // An option, so that `drop` can close the channel before it joins the thread.
    jobs: Option<Sender<Job>>,
    resident: Option<JoinHandle<()>>,
}

impl HostNamespace {
    /// Makes a new, empty namespace. `name` is for messages.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        let (jobs, incoming) = channel::<Job>();
        let (made, result) = channel();
        let resident = std::thread::Builder::new()
            .name(format!("lab-{name}"))
            .spawn(move || {
                let opened =
                    unshare_network().and_then(|()| File::open("/proc/thread-self/ns/net"));
                let failed = opened.is_err();
                if made.send(opened).is_err() || failed {
                    return;
                }
                for job in incoming {
                    job();
                }
            })?;
        let file = result
            .recv()
            .map_err(|_| io::Error::other("the namespace's thread ended"))??;
        Ok(HostNamespace {
            name: name.to_owned(),
            file,
            jobs: Some(jobs),
            resident: Some(resident),
        })
    }

    /// The host's name in the experiment.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path by which this process and its children can open the namespace.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// Starts a thread in the namespace.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let file = self.file.try_clone()?;
        std::thread::Builder::new()
            .name(format!("lab-{}-work", self.name))
            .spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })
    }

    /// Runs `work` on a thread in the namespace and waits for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.spawn(work)?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread in the namespace panicked")))
    }

    /// Starts a program in the namespace; it dies with the host.
    pub(crate) fn start(&self, mut command: Command) -> io::Result<Child> {
        let (started, result) = channel();
        let job: Job = Box::new(move || {
            transect_sys::die_with_parent(&mut command);
            // Nobody waits for the answer any more only when the whole experiment is being torn down.
            let _ = started.send(command.spawn());
        });
        let gone = || io::Error::other("the namespace's thread has ended");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }
}

impl Drop for HostNamespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(resident) = self.resident.take() {
            // It ends when the channel is closed; a panic in it has been reported by its own message.
            let _ = resident.join();
        }
    }
}

#[expect(
    deprecated,
    reason = "rustix deprecates unshare() for its flag FILES alone, which is not used here"
)]
fn unshare_network() -> io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNET).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::testing::needs_namespaces;
    use std::process::Stdio;

    #[test]
    fn a_host_has_only_a_loopback_and_its_programs_die_with_it() {
        if needs_namespaces("a_host_has_only_a_loopback_and_its_programs_die_with_it") {
            return;
        }
        let host = HostNamespace::create("h").unwrap();
        let links = host
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
            .unwrap();
        let names: Vec<_> = links
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        assert_eq!(names, ["lo"]);

        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null());
        let mut child = host.start(command).unwrap();
        drop(host);
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
    }
}
