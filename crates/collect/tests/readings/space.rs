//! A network namespace for one test, removed when it goes out of scope.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace under /run/netns, named by the process, so that tests of several checkouts run side by side.
pub(crate) struct Space {
    name: String,
}

impl Space {
    /// Makes one. Where that is not permitted the test is skipped, with a word; in CI it fails.
    pub(crate) fn new(what: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{what}-{number}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let why = match made {
            Ok(output) if output.status.success() => return Some(Space { name }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no network namespace can be made: {why}"
        );
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        eprintln!("skipped: {test}: no network namespace can be made: {why}");
        None
    }

    /// Runs a command in it, words separated by spaces (a space inside a word is `\x20`), and returns what it prints.
    pub(crate) fn run(&self, command: &str) -> String {
        let words = command.split(' ').map(|word| word.replace("\\x20", " "));
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(words)
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a function on a thread that is inside it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&space),
                    Some(LinkNameSpaceType::Network),
                )
                .unwrap();
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}
