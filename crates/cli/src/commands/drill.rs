//! `drill`: packetdrill's scripts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use anyhow::Context as _;
use transect_drill::{
    DRILL_SCHEMA, DrillOptions, DrillReport, ScriptOption, ScriptResult, WorldKind, find_scripts,
    run_script,
};
use transect_report::{clean, to_json};

use crate::args::{DrillArgs, WorldArg};
use crate::error::Failure;
use crate::{ANSWERED, FAILED, output};

/// `transect drill`.
pub(crate) fn drill(args: &DrillArgs) -> Result<u8, Failure> {
    let scripts = find_scripts(&args.paths).map_err(Failure::usage)?;
    let options = DrillOptions {
        world: match args.world {
            WorldArg::Kernel => WorldKind::Kernel,
            WorldArg::Model => WorldKind::Model,
        },
        options: args
            .option
            .iter()
            .map(|(name, value)| ScriptOption {
                line: 0,
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        defines: args.define.iter().cloned().collect(),
    };
    let report = DrillReport {
        schema: DRILL_SCHEMA,
        world: options.world.id(),
        scripts: run(&scripts, &options, usize::from(args.jobs)),
    };
    let text = if args.json {
        to_json(&report).context("writing the report as JSON")?
    } else {
        cleaned(&report.text())
    };
    output::answer(&text)?;
    Ok(if report.passed() { ANSWERED } else { FAILED })
}

/// Runs them, so many side by side; the results in the scripts' order.
fn run(scripts: &[PathBuf], options: &DrillOptions, jobs: usize) -> Vec<ScriptResult> {
    let next = AtomicUsize::new(0);
    let (done, ended) = channel();
    let mut results: Vec<(usize, ScriptResult)> = std::thread::scope(|scope| {
        for _ in 0..jobs.min(scripts.len()) {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some((index, script)) = take(scripts, next) {
                    let result = run_script(script, options);
                    tracing::info!("{}", clean(&result.text()));
                    if done.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        ended.iter().collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'a>(scripts: &'a [PathBuf], next: &AtomicUsize) -> Option<(usize, &'a PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    scripts.get(index).map(|script| (index, script))
}

/// Each line without control characters: names of files, and what scripts and commands say, stand in it.
fn cleaned(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| clean(line).into_owned()).collect();
    lines.join("\n")
}
