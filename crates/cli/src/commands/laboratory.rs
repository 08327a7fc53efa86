//! `lab list`, `lab run` and `lab compare`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use transect_lab::{
    ComparisonReport, ExperimentInfo, ExperimentResult, LabError, LabReport, Progress, RunOptions,
    Selection, WorldKind, comparison_text, summary_text,
};
use transect_path::{Report, VERDICT_SCHEMA};
use transect_report::{clean, render_text, to_json};

use crate::args::{LabCompareArgs, LabListArgs, LabRunArgs, WorldArg};
use crate::error::Failure;
use crate::{ANSWERED, FAILED, output};

/// The name and version of the schema of `lab list --json`.
const LIST_SCHEMA: &str = "transect.lab.list/1";

/// `transect lab list`.
pub(crate) fn lab_list(args: &LabListArgs) -> Result<u8, Failure> {
    let experiments = transect_lab::list().map_err(failure)?;
    let text = if args.json {
        to_json(&ExperimentList::new(&experiments)).context("writing the list as JSON")?
    } else {
        list_text(&experiments)
    };
    output::answer(&text)?;
    Ok(ANSWERED)
}

/// `lab list --json`.
#[derive(Serialize)]
struct ExperimentList<'a> {
    schema: &'static str,
    experiments: Vec<ListedExperiment<'a>>,
}

#[derive(Serialize)]
struct ListedExperiment<'a> {
    name: &'a str,
    summary: &'a str,
    entries: &'a [String],
    slow: bool,
    twin: bool,
    expected: &'a str,
}

impl<'a> ExperimentList<'a> {
    fn new(experiments: &'a [ExperimentInfo]) -> Self {
        ExperimentList {
            schema: LIST_SCHEMA,
            experiments: experiments
                .iter()
                .map(|info| ListedExperiment {
                    name: &info.name,
                    summary: &info.summary,
                    entries: &info.entries,
                    slow: info.slow,
                    twin: info.twin,
                    expected: &info.expected,
                })
                .collect(),
        }
    }
}

fn list_text(experiments: &[ExperimentInfo]) -> String {
    let width = experiments
        .iter()
        .map(|info| info.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for info in experiments {
        let slow = if info.slow { " (slow)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:width$}  {}{slow} → {}",
            clean(&info.name),
            clean(&info.summary),
            clean(&info.expected)
        );
    }
    text
}

/// What `lab run` will do.
struct LabPlan {
    selection: Selection,
    options: RunOptions,
}

impl LabPlan {
    fn resolve(args: &LabRunArgs, stop: Arc<AtomicBool>) -> Self {
        LabPlan {
            selection: if args.all {
                Selection::All { slow: args.slow }
            } else {
                Selection::Named(args.names.clone())
            },
            options: RunOptions {
                world: match args.world {
                    WorldArg::Kernel => WorldKind::Kernel,
                    WorldArg::Model => WorldKind::Model,
                },
                jobs: usize::from(args.jobs),
                keep: args.keep.clone(),
                counters: args.counters,
                stop: Some(stop),
            },
        }
    }
}

/// `transect lab run`.
pub(crate) fn lab_run(args: &LabRunArgs) -> Result<u8, Failure> {
    if args.slow && !args.all {
        return Err(Failure::usage(
            "--slow adds the slow experiments to --all; a slow one is run alone by its full name",
        ));
    }
    let plan = LabPlan::resolve(args, stop_on_signals()?);
    let mut progress = |progress: Progress<'_>| match progress {
        Progress::Started { name } => tracing::info!("{} starts", clean(name)),
        Progress::Finished {
            result,
            done,
            total,
        } => output::tell(&format!("[{done}/{total}] {}", line(result))),
    };
    let results =
        transect_lab::run(&plan.selection, &plan.options, &mut progress).map_err(failure)?;
    let report = LabReport::new(results);
    let text = if args.json {
        to_json(&report).context("writing the results as JSON")?
    } else if args.counters {
        transect_lab::counters_document(&report.experiments)
    } else {
        results_text(&report, args.verdicts)
    };
    output::answer(&text)?;
    Ok(if report.passed() { ANSWERED } else { FAILED })
}

/// `transect lab compare`.
pub(crate) fn lab_compare(args: &LabCompareArgs) -> Result<u8, Failure> {
    let selection = if args.all {
        Selection::All { slow: false }
    } else {
        Selection::Named(args.names.clone())
    };
    let options = RunOptions {
        jobs: usize::from(args.jobs),
        keep: args.keep.clone(),
        stop: Some(stop_on_signals()?),
        ..RunOptions::default()
    };
    let mut progress = |world: WorldKind, progress: Progress<'_>| match progress {
        Progress::Started { name } => tracing::info!("{} starts ({world})", clean(name)),
        Progress::Finished {
            result,
            done,
            total,
        } => output::tell(&format!("[{world} {done}/{total}] {}", line(result))),
    };
    let runs = usize::from(args.kernel_runs);
    let compared =
        transect_lab::compare(&selection, &options, runs, &mut progress).map_err(failure)?;
    let report = ComparisonReport::new(compared);
    let text = if args.json {
        to_json(&report).context("writing the comparison as JSON")?
    } else {
        let mut text: String = report
            .experiments
            .iter()
            .flat_map(|one| comparison_lines(&comparison_text(one, args.all_rows)))
            .collect();
        text.extend(comparison_lines(&summary_text(&report.summary)));
        text
    };
    output::answer(&text)?;
    Ok(if report.agrees() { ANSWERED } else { FAILED })
}

/// Each line without what a terminal would take for commands.
fn comparison_lines(text: &str) -> Vec<String> {
    let lines = text.lines();
    lines.map(|line| format!("{}\n", clean(line))).collect()
}

/// Raised by the first ^C or SIGTERM; the second one ends the process, and the kernel removes the namespaces with it.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal meets a flag that the first has raised.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(FAILED),
            Arc::clone(&stop),
        )
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
        .context("catching SIGINT and SIGTERM")?;
    }
    Ok(stop)
}

fn failure(error: LabError) -> Failure {
    match error {
        LabError::UnknownName { .. } => Failure::usage(error),
        other => Failure::Failed(other.into()),
    }
}

fn line(result: &ExperimentResult) -> String {
    let mark = if result.passed { "ok    " } else { "FAILED" };
    let name = clean(&result.name);
    match result.virtual_seconds {
        None => format!("{mark} {name} ({:.1} s)", result.seconds),
        Some(virtual_time) => format!(
            "{mark} {name} ({:.3} s for {virtual_time:.1} s of virtual time)",
            result.seconds
        ),
    }
}

fn results_text(report: &LabReport, verdicts: bool) -> String {
    let mut text = String::new();
    for result in &report.experiments {
        let _ = writeln!(text, "{}", line(result));
        for problem in &result.problems {
            for problem in problem.lines() {
                let _ = writeln!(text, "    {}", clean(problem));
            }
        }
        if let Some(bundle) = &result.bundle {
            let bundle: PathBuf = bundle.clone();
            let _ = writeln!(text, "    bundle: {}", clean(&bundle.display().to_string()));
        }
        if verdicts {
            let report = Report {
                schema: VERDICT_SCHEMA.to_owned(),
                hosts: Vec::new(),
                command: None,
                verdicts: result.got.clone(),
            };
            let _ = writeln!(text, "\n{}", render_text(&report, output::style()));
        }
    }
    let passed = report
        .experiments
        .iter()
        .filter(|result| result.passed)
        .count();
    let failed = report.experiments.len().saturating_sub(passed);
    let _ = writeln!(text, "{passed} passed, {failed} failed");
    text
}
