//! `why` and `collect`: observe into a bundle's folder, then diagnose it, or pack it.
//!
//! `why` diagnoses the folder that it has just written, with the same code as `explain`, so that a bundle explains to
//! the same JSON by construction.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;
use transect_collect::{CommandOutput, Plan, Progress, StopSignal, Summary};
use transect_report::clean;

use super::explain::{answer, evidence_of_bundle};
use crate::args::{CollectArgs, WhyArgs};
use crate::error::Failure;
use crate::plan::{failure, observation, wait_for};
use crate::{ANSWERED, output};

/// `transect why`.
pub(crate) fn why(args: &WhyArgs) -> Result<u8, Failure> {
    let folder = temporary_folder()?;
    let command_output = if args.answer.json {
        CommandOutput::ToStderr
    } else {
        CommandOutput::Through
    };
    let plan = observation(&args.observe, command_output, folder.path().join("bundle"))?;
    if let Some(target) = &args.output {
        check_target(target)?;
    }
    let summary = observe(&plan)?;
    if let Some(target) = &args.output {
        pack(&summary, target)?;
    }
    let evidence = evidence_of_bundle(&summary.folder)?;
    answer(&evidence, args.answer)
}

/// `transect collect`.
pub(crate) fn collect(args: &CollectArgs) -> Result<u8, Failure> {
    let folder = temporary_folder()?;
    let plan = observation(
        &args.observe,
        CommandOutput::Through,
        folder.path().join("bundle"),
    )?;
    check_target(&args.output)?;
    let summary = observe(&plan)?;
    pack(&summary, &args.output)?;
    Ok(ANSWERED)
}

fn temporary_folder() -> Result<TempDir, Failure> {
    Ok(tempfile::Builder::new()
        .prefix("transect-")
        .tempdir()
        .with_context(|| {
            format!(
                "making a temporary folder below {} (TMPDIR names another place)",
                std::env::temp_dir().display()
            )
        })?)
}

/// Says before the observation what would be bad news after it.
fn check_target(target: &Path) -> Result<(), Failure> {
    if target.file_name().is_none() || target.is_dir() {
        return Err(Failure::Usage(format!(
            "-o {} is a folder; write the name of a file, such as {}",
            target.display(),
            target.join("incident.tar.zst").display()
        )));
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Failure::failed(format!(
            "writing {}: there is no folder {}",
            target.display(),
            folder.display()
        )));
    }
    Ok(())
}

/// Observes as planned, telling on standard error what happens and how to end it.
fn observe(plan: &Plan) -> Result<Summary, Failure> {
    let stop = StopSignal::on_signals().map_err(failure)?;
    let summary = transect_collect::run_with(plan.clone(), &stop, &mut |progress| {
        tell(plan, &progress);
    })
    .map_err(failure)?;
    for host in &summary.hosts {
        let frames: u64 = host
            .capture
            .interfaces
            .iter()
            .fold(0, |sum, interface| sum.saturating_add(interface.frames));
        let dropped: u64 = host
            .capture
            .interfaces
            .iter()
            .fold(0, |sum, interface| sum.saturating_add(interface.dropped));
        output::tell(&format!(
            "{}: {frames} packets captured, {dropped} dropped by the capture, {} readings",
            clean(&host.label),
            host.readings
        ));
    }
    Ok(summary)
}

fn tell(plan: &Plan, progress: &Progress) {
    match progress {
        Progress::Watching(hosts) => {
            for (label, interfaces) in hosts {
                let interfaces = match interfaces.as_slice() {
                    [] => "no interface".to_owned(),
                    names => names.join(", "),
                };
                output::tell(&format!(
                    "Observing {} ({})",
                    clean(label),
                    clean(&interfaces)
                ));
            }
            let filter = plan.filter.as_deref().unwrap_or("everything");
            output::tell(&format!(
                "Filter: {}. Observing {}.",
                clean(filter),
                wait_for(plan)
            ));
        }
        Progress::CommandStarted => tracing::info!("the command was started"),
        Progress::CommandEnded(Some(status)) => {
            output::tell(&format!("The command ended with status {status}."));
        }
        Progress::CommandEnded(None) => output::tell("The command is still running."),
        Progress::Settling(length) => {
            output::tell(&format!(
                "Waiting {length:?} for stragglers; ^C ends the wait."
            ));
        }
        Progress::Finishing => output::tell("Taking the last readings."),
    }
}

fn pack(summary: &Summary, target: &Path) -> Result<(), Failure> {
    transect_evidence::bundle::pack(&summary.folder, target)
        .with_context(|| format!("writing the bundle {}", target.display()))?;
    output::tell(&format!(
        "Bundle: {} (read it with: transect explain {})",
        clean(&target.display().to_string()),
        clean(&target.display().to_string())
    ));
    Ok(())
}
