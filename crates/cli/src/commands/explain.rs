//! `explain`, and the half of `why` that is the same: evidence in, answer out.

use anyhow::Context as _;
use transect_evidence::{Evidence, Input, LoadError, LoadOptions, load};
use transect_packet::bpf::Program;
use transect_path::{Outcome, Report};
use transect_report::{clean, render_text, to_json};

use crate::args::{AnswerArgs, ExplainArgs};
use crate::error::Failure;
use crate::{ANSWERED, TROUBLE, output};

/// `transect explain`.
pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let mut inputs = Vec::new();
    for text in &args.inputs {
        inputs.push(text.parse::<Input>().map_err(Failure::usage)?);
    }
    for text in &args.log {
        inputs.push(Input::log(text).map_err(Failure::usage)?);
    }
    let mut options = LoadOptions::default();
    if let Some(filter) = args
        .filter
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        options.filter = Some((filter.trim().to_owned(), compiled(filter)?));
    }
    let evidence = load(&inputs, &options).map_err(failure)?;
    answer(&evidence, args.answer)
}

/// The evidence in a bundle's folder.
#[cfg(feature = "live")]
pub(crate) fn evidence_of_bundle(folder: &std::path::Path) -> Result<Evidence, Failure> {
    let bundle = Input {
        label: None,
        role: transect_evidence::Role::Any,
        path: folder.to_owned(),
    };
    load(&[bundle], &LoadOptions::default()).map_err(failure)
}

fn failure(error: LoadError) -> Failure {
    match error {
        LoadError::SameLabel(_) | LoadError::NetworkLabel(_) => Failure::usage(error),
        other => Failure::Failed(other.into()),
    }
}

/// The filter as one program for each link type that captures have. Link types on which it means nothing are left out.
#[cfg(feature = "live")]
fn compiled(filter: &str) -> Result<Vec<Program>, Failure> {
    use transect_packet::LinkType;

    let filter = transect_collect::Filter::new(Some(filter)).map_err(Failure::usage)?;
    let link_types = [
        LinkType::ETHERNET,
        LinkType::RAW,
        LinkType::RAW_BSD,
        LinkType::RAW_OPENBSD,
        LinkType::IPV4,
        LinkType::IPV6,
        LinkType::LINUX_SLL,
        LinkType::LINUX_SLL2,
        LinkType::NULL,
        LinkType::LOOP,
    ];
    Ok(link_types
        .into_iter()
        .filter_map(|link_type| filter.program(link_type))
        .collect())
}

/// libpcap compiles filters, and this build is without it.
#[cfg(not(feature = "live"))]
fn compiled(_: &str) -> Result<Vec<Program>, Failure> {
    Err(Failure::failed(
        "--filter needs libpcap, which this build was made without (feature \"live\")",
    ))
}

/// Diagnoses and answers; the exit status.
pub(crate) fn answer(evidence: &Evidence, args: AnswerArgs) -> Result<u8, Failure> {
    for problem in &evidence.problems {
        let place = problem
            .offset
            .map(|offset| format!(" at byte {offset}"))
            .unwrap_or_default();
        output::tell(&format!(
            "warning: {}{place}: {}",
            clean(&problem.file),
            clean(&problem.message)
        ));
    }
    let report = transect_diagnose::explain(evidence);
    let text = if args.json {
        to_json(&report).context("writing the verdict as JSON")?
    } else {
        render_text(&report, output::style())
    };
    output::answer(&text)?;
    Ok(if args.exit_code && in_trouble(&report) {
        TROUBLE
    } else {
        ANSWERED
    })
}

/// Whether any flow was lost, refused, stalled or not sent.
fn in_trouble(report: &Report) -> bool {
    report.verdicts.iter().any(|verdict| {
        matches!(
            verdict.outcome,
            Outcome::Lost | Outcome::Refused | Outcome::Stalled | Outcome::NotSent
        )
    })
}
