//! Any text as an experiment's file, which is run in the model world where it can be read.
//!
//! `cargo fuzz run -s none experiment`

#![no_main]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use transect_lab::{RunOptions, Selection, WorldKind, parse, run};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Ok(scenarios) = parse(Path::new("fuzz.toml"), &text) else {
        return;
    };
    if scenarios.len() > 4 {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("fuzz.toml");
    std::fs::write(&path, text.as_bytes()).expect("a file");
    // A world may be large without being wrong.
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
        move || {
            for _ in 0..200 {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        }
    });
    let options = RunOptions {
        world: WorldKind::Model,
        jobs: 1,
        stop: Some(stop),
        ..RunOptions::default()
    };
    let _ = run(
        &Selection::Named(vec![path.display().to_string()]),
        &options,
        &mut |_| {},
    );
    ended.store(true, Ordering::Relaxed);
    let _ = watch.join();
});
