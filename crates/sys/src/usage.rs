//! What a finished child process used: `wait4(2)`.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// What a process and its own waited-for children used, from `struct rusage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user space.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The most memory that was resident at once, in bytes.
    pub peak_resident: u64,
}

impl Usage {
    /// CPU time altogether.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// Waits for a child to end and tells what it used.
///
/// # Errors
/// When `wait4` fails; interruptions by signals are tried again.
pub fn wait_with_usage(child: Child) -> io::Result<(ExitStatus, Usage)> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live, writable values of the types that wait4 writes. `child` is owned, was not
        // waited for, and is dropped without being waited for (std reaps only in wait and try_wait), so that the process
        // id is this child's.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if waited == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: all bits zero is a valid rusage (plain integers), and wait4 has filled it in besides.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Ok((
        ExitStatus::from_raw(status),
        Usage {
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            // Linux counts in KiB.
            peak_resident: u64::try_from(usage.ru_maxrss)
                .unwrap_or(0)
                .saturating_mul(1024),
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_shell_that_counts_uses_time_and_memory() {
        let child = Command::new("sh")
            .args([
                "-c",
                "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3",
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (status, usage) = wait_with_usage(child).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(usage.cpu() > Duration::ZERO);
        assert!(usage.peak_resident > 100 * 1024, "{usage:?}");
    }
}
