//! The `transect` command: arguments, wiring, exit statuses.
//!
//! [`main`] reads arguments as they were typed, resolves them into a plan, does what the plan says with the other crates, and
//! prints the answer on standard output; progress and logs go to standard error. Exit status: 0 answered, 1 failed, 2 wrong
//! usage; with `--exit-code`, 3 for lost, refused, stalled or not_sent.
//!
//! What it is not: it observes, parses, concludes and renders nothing itself. `doctor` is the exception: it looks at the
//! host on which it runs.
//!
//! With the feature `live` (on by default) `why`, `collect` and the kernel world of `lab` work; without it they say that they
//! were left out, and everything that works on files and in the model world builds with Rust and a C linker only.

mod args;
mod commands;
mod doctor;
mod error;
mod output;
mod plan;
mod reference;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, LabCommand};
use error::Failure;

pub use reference::command_line_markdown;

/// Answered.
const ANSWERED: u8 = 0;
/// Could not be done.
const FAILED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// With `--exit-code`: the verdict is lost, refused, stalled or not_sent.
const TROUBLE: u8 = 3;

/// The whole program.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version are answers; everything else is a usage error. A closed pipe is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { ANSWERED };
        }
    };
    output::start_logging(cli.verbose);
    match dispatch(cli.command) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Why(args) => commands::why(&args),
        Command::Collect(args) => commands::collect(&args),
        Command::Explain(args) => commands::explain(&args),
        Command::Host(args) => commands::host(&args),
        Command::Lab(LabCommand::List(args)) => commands::lab_list(&args),
        Command::Lab(LabCommand::Run(args)) => commands::lab_run(&args),
        Command::Lab(LabCommand::Compare(args)) => commands::lab_compare(&args),
        Command::Drill(args) => commands::drill(&args),
        Command::Map(args) => commands::map(&args),
        Command::Doctor(args) => commands::doctor(&args),
    }
}
