//! The scripts beside this crate: each holds on the kernel and on the model host, and the model host does the same again.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests are tests, too"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use transect_drill::{DrillOptions, ScriptResult, WorldKind, find_scripts, journal, run_script};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// All scripts, in order.
fn scripts() -> Vec<PathBuf> {
    find_scripts(&[folder()]).unwrap()
}

/// Those that hold on the kernel only: `NAME.pkt: REASON`, a line each.
fn kernel_only() -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join("kernel-only.txt")).unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Works through all of them, so many at once; those that did not pass, with what went wrong.
fn failures(
    scripts: Vec<PathBuf>,
    at_once: usize,
    run: impl Fn(&PathBuf) -> Option<String> + Sync,
) -> Vec<String> {
    let left = Mutex::new(scripts.into_iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(path) = next else { return };
                    if let Some(why) = run(&path) {
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("{}: {why}", name(&path)));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn every_script_holds_on_the_model_host_twice_the_same() {
    let kernel_only = kernel_only();
    let known: BTreeSet<String> = scripts().iter().map(|path| name(path)).collect();
    assert!(known.len() >= 120, "{} scripts", known.len());
    let gone: Vec<_> = kernel_only.difference(&known).collect();
    assert!(
        gone.is_empty(),
        "kernel-only.txt names no scripts: {gone:?}"
    );
    let of_both = scripts()
        .into_iter()
        .filter(|path| !kernel_only.contains(&name(path)))
        .collect();
    let failed = failures(of_both, 2, |path| {
        let options = DrillOptions::default();
        let first = match journal(path, &options) {
            Ok(first) => first,
            Err(why) => return Some(why),
        };
        let second = journal(path, &options).unwrap();
        let differs = first
            .iter()
            .zip(&second)
            .find(|(first, second)| first != second);
        differs
            .map(|(first, second)| format!("first {first}\nthen {second}"))
            .or_else(|| (first.len() != second.len()).then(|| "one is longer".to_owned()))
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The kernel's times are those of a machine that does other things, too: a script may try again.
const TRIES: usize = 4;

#[test]
fn every_script_holds_on_the_kernel() {
    let options = DrillOptions {
        world: WorldKind::Kernel,
        ..DrillOptions::default()
    };
    let run = |path: &PathBuf| run_script(path, &options);
    if let Some(reason) = refusal(&run(&folder().join("handshake-passive.pkt"))) {
        let reason = format!("skipped: network namespaces are not permitted: {reason}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        eprintln!("{reason}");
        return;
    }
    // They wait for most of their time.
    let failed = failures(scripts(), 6, |path| {
        let mut last = None;
        for _ in 0..TRIES {
            last = run(path).failure;
            last.as_ref()?;
        }
        last.map(|failure| format!("line {}: {}", failure.line, failure.message))
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What the world says where it cannot be made for want of rights or of the device.
fn refusal(result: &ScriptResult) -> Option<String> {
    let failure = result.failure.as_ref()?;
    let refused = [
        "Operation not permitted",
        "Permission denied",
        "No such file or directory",
    ];
    let no_line = failure.line == 0;
    (no_line && refused.iter().any(|words| failure.message.contains(words)))
        .then(|| failure.message.clone())
}
