//! The kernel world from outside: every experiment ends as its file says, and nothing is left behind, however a run ends.
//!
//! Needs the right to make network namespaces; skipped without it, and then a failure in CI.

#![cfg(feature = "live")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of these tests are tests, too"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use transect_lab::{ExperimentResult, LabError, RunOptions, Selection, run};

/// Runs experiments; `None`, with the reason printed, where that is not permitted.
fn run_named(test: &str, names: &[&str]) -> Option<Vec<ExperimentResult>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let selection = Selection::Named(names);
    match run(&selection, &RunOptions::default(), &mut |_| {}) {
        Ok(results) => Some(results),
        Err(LabError::Namespace(error)) => {
            let reason = format!("skipped: {test}: network namespaces are not permitted: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
            eprintln!("{reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The tests look for what is left of this process's runs, so one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn an_experiment_and_its_twin_pass_and_leave_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(results) = run_named(
        "an_experiment_and_its_twin_pass_and_leave_nothing_behind",
        &["e1-input-drop.nft.ipv6", "e1-input-drop.legacy.ipv4.twin"],
    ) else {
        return;
    };
    for result in &results {
        assert!(result.passed, "{}: {:?}", result.name, result.problems);
    }
    assert_eq!(folders_of(std::process::id()), BTreeSet::new());
}

#[test]
fn what_goes_otherwise_than_the_file_says_is_a_problem_that_names_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text = r#"
summary = "a step that cannot succeed"
[hosts.client]
[hosts.server]
[[links]]
ends = ["client:eth0", "server:eth0"]
ipv4 = ["10.0.0.1/24", "10.0.0.2/24"]
[[steps]]
host = "client"
do.connect = { to = "${server.url}:80" }
[observe]
hosts = ["client"]
[[expect]]
outcome = "delivered"
[twin]
none = true
"#;
    std::fs::write(&path, text).unwrap();
    let Some(results) = run_named(
        "what_goes_otherwise_than_the_file_says_is_a_problem_that_names_it",
        &[path.to_str().unwrap()],
    ) else {
        return;
    };
    let problems = results[0].problems.join("\n");
    assert!(!results[0].passed);
    assert!(
        problems.contains("step 1")
            && problems.contains("expected Connected, got: Connection refused"),
        "{problems}"
    );
}

/// Not a test by itself: what `a_killed_run_leaves_no_program_behind` kills.
#[test]
#[ignore = "is started, and killed, by another test"]
fn victim() {
    run_named("victim", &["seed-3.1-exact.legacy.ipv4"]);
}

#[test]
fn a_killed_run_leaves_no_program_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Skips, with its reason, where the victim could not run.
    if run_named(
        "a_killed_run_leaves_no_program_behind",
        &["healthy-plain.ipv4"],
    )
    .is_none()
    {
        return;
    }
    let victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut victim = Killed(victim);
    let server = wait_for(|| {
        children_of(victim.0.id())
            .into_iter()
            .find(|&pid| command_of(pid).starts_with("mariadbd --no-defaults --datadir"))
    });
    let server = server.expect("the experiment's MariaDB server did not start");
    victim.0.kill().unwrap();
    victim.0.wait().unwrap();
    let gone = wait_for(|| (!Path::new(&format!("/proc/{server}")).exists()).then_some(()));
    assert!(gone.is_some(), "mariadbd, pid {server}, outlived the run");

    // Its folder is removed by the next run.
    assert!(!folders_of(victim.0.id()).is_empty());
    run_named(
        "a_killed_run_leaves_no_program_behind",
        &["healthy-plain.ipv4"],
    )
    .unwrap();
    assert_eq!(folders_of(victim.0.id()), BTreeSet::new());
}

/// A child that does not outlive a failed test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// The temporary folders of a run by its process id.
fn folders_of(pid: u32) -> BTreeSet<PathBuf> {
    let prefix = format!("transect-lab-{pid}-");
    std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
        .collect()
}

fn children_of(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap();
    pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses: state, then the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn command_of(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
