//! `map` and `doctor`: what there is to know before anything is observed.

use anyhow::Context as _;
use transect_report::to_json;

use crate::args::{DoctorArgs, MapArgs};
use crate::doctor::{System, examine};
use crate::error::Failure;
use crate::{ANSWERED, output};

/// `transect map`.
pub(crate) fn map(args: &MapArgs) -> Result<u8, Failure> {
    let map = transect_report::map();
    let text = if args.json {
        to_json(&map).context("writing the map as JSON")?
    } else if args.markdown {
        map.markdown()
    } else {
        map.text(output::style())
    };
    output::answer(&text)?;
    Ok(ANSWERED)
}

/// `transect doctor`. What is missing is an answer, not a failure.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let findings = examine(&System::this());
    let text = if args.json {
        to_json(&findings).context("writing the findings as JSON")?
    } else {
        findings.text(output::style())
    };
    output::answer(&text)?;
    Ok(ANSWERED)
}
