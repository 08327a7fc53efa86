//! What a child process does to itself between fork and exec.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Makes the child that `command` will start die (SIGKILL) when this process does, however it dies: prctl(2),
/// PR_SET_PDEATHSIG.
///
/// The kernel sends the signal when the *thread* that started the child ends, so start it from one that lives as long as
/// the child may. A set-user-ID program clears the setting, and grandchildren do not inherit it.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the call took effect; then nobody would send the signal.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The hook makes two system calls (prctl,
    // getppid) and builds an error from a number; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn the_child_ends_with_the_thread_that_started_it() {
        // The pipe's writing end is held by the child alone: reading to the end returns when it is gone.
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("1000").stdout(Stdio::piped());
            die_with_parent(&mut command);
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        let mut output = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut output)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
    }
}
