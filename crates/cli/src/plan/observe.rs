//! The plan of `why` and `collect`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use transect_collect::{CaptureOptions, CommandOutput, HostPlan, LogPlan, Plan};

use crate::args::ObserveArgs;
use crate::error::Failure;

/// Resolves the arguments; the bundle goes to `folder`.
///
/// # Errors
/// A host, label or log that cannot be: usage errors that say what to write.
pub(crate) fn observation(
    args: &ObserveArgs,
    command_output: CommandOutput,
    folder: PathBuf,
) -> Result<Plan, Failure> {
    let hosts = HostPlan::parse_all(&args.netns).map_err(failure)?;
    let logs = args
        .log
        .iter()
        .map(|text| LogPlan::parse(text, &hosts).map_err(failure))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = Plan::new(hosts, folder);
    plan.filter = filter(&args.filter);
    plan.command = (!args.command.is_empty()).then(|| args.command.clone());
    plan.command_output = command_output;
    plan.duration = args.duration.map(|span| span.0);
    plan.settle = args.settle.0;
    if args.sample.0.is_zero() {
        return Err(Failure::Usage(
            "--sample 0 would read without a pause; write a time such as 1s".to_owned(),
        ));
    }
    plan.sample_interval = args.sample.0;
    plan.capture.snap_length = NonZeroU32::new(args.snaplen).unwrap_or(CaptureOptions::SNAP_LENGTH);
    plan.logs = logs;
    Ok(plan)
}

/// The words of the filter as one expression; nothing when they are blank.
fn filter(words: &[String]) -> Option<String> {
    let text = words.join(" ");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// An error of the collectors: wrong usage or a failure, with a hint where one is likely to help.
pub(crate) fn failure(error: transect_collect::Error) -> Failure {
    match &error {
        transect_collect::Error::Filter { .. } => Failure::usage(format!(
            "{error}\n(a command to run goes behind --: transect why FILTER -- COMMAND)"
        )),
        _ if error.is_usage() => Failure::usage(error),
        _ => Failure::Failed(error.into()),
    }
}

/// For how long it will be observed, and how to end it, as the end of a sentence.
pub(crate) fn wait_for(plan: &Plan) -> String {
    match (&plan.command, plan.duration) {
        (Some(_), Some(longest)) => format!(
            "until the command has ended and {:?} more, at most {longest:?}; ^C ends it earlier",
            plan.settle
        ),
        (Some(_), None) => format!(
            "until the command has ended and {:?} more; ^C ends it earlier",
            plan.settle
        ),
        (None, Some(longest)) => format!("for {longest:?}; ^C ends it earlier"),
        (None, None) => "until ^C".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;
    use std::time::Duration;

    fn resolved(words: &[&str]) -> Result<Plan, Failure> {
        let cli = Cli::try_parse_from(["transect", "why"].iter().chain(words)).unwrap();
        let Command::Why(why) = cli.command else {
            panic!("not why");
        };
        observation(
            &why.observe,
            CommandOutput::Through,
            PathBuf::from("/nowhere"),
        )
    }

    fn usage(words: &[&str]) -> String {
        match resolved(words) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_words_it_is_the_current_host_until_interrupted() {
        let plan = resolved(&[]).unwrap();
        assert_eq!(plan.hosts, [HostPlan::current()]);
        assert_eq!(plan.filter, None);
        assert_eq!(plan.command, None);
        assert_eq!(plan.duration, None);
        assert_eq!(plan.settle, Plan::SETTLE);
        assert_eq!(plan.sample_interval, Plan::SAMPLE_INTERVAL);
        assert_eq!(plan.capture, CaptureOptions::default());
        assert_eq!(wait_for(&plan), "until ^C");
    }

    #[test]
    fn every_word_finds_its_place() {
        let plan = resolved(&[
            "--netns",
            "client",
            "--netns",
            "server=pid:7",
            "--for",
            "10s",
            "--settle",
            "500ms",
            "--sample",
            "250ms",
            "--snaplen",
            "1000",
            "--log",
            "server=/var/log/x",
            "tcp",
            "port",
            "80",
            "--",
            "curl",
            "-v",
        ])
        .unwrap();
        assert_eq!(plan.filter.as_deref(), Some("tcp port 80"));
        assert_eq!(plan.command.as_deref().unwrap(), ["curl", "-v"]);
        assert_eq!(plan.duration, Some(Duration::from_secs(10)));
        assert_eq!(plan.settle, Duration::from_millis(500));
        assert_eq!(plan.sample_interval, Duration::from_millis(250));
        assert_eq!(plan.capture.snap_length.get(), 1000);
        assert_eq!(plan.hosts.len(), 2);
        assert_eq!(plan.logs[0].label, "server");
        assert_eq!(
            wait_for(&plan),
            "until the command has ended and 500ms more, at most 10s; ^C ends it earlier"
        );
    }

    #[test]
    fn usage_errors_say_what_to_write() {
        assert!(usage(&["--netns", "a", "--netns", "a=pid:1"]).contains("LABEL="));
        assert!(usage(&["--netns", "network"]).contains("LABEL="));
        assert!(usage(&["--netns", "a", "--log", "b=/x"]).contains("observed: a"));
        assert!(usage(&["--sample", "0s"]).contains("1s"));
    }
}
