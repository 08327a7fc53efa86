//! Running one program on one file, again and again, beside the others.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use transect_sys::wait_with_usage;

/// A program to measure, with its arguments; the file comes last.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    /// What the table calls it.
    pub(crate) name: String,
    /// The program's path or name, and its arguments before the file.
    pub(crate) argv: Vec<String>,
}

/// What one run, or the median of several, took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// From start to end.
    pub(crate) wall: Duration,
    /// CPU time, user and system.
    pub(crate) cpu: Duration,
    /// Peak resident memory in bytes.
    pub(crate) peak_resident: u64,
}

/// What became of a contestant on one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The medians of its runs.
    Measured(Cost),
    /// It could not be measured, and why.
    Missing(String),
}

/// How runs are pinned to one core, if they are.
#[derive(Debug, Clone)]
pub(crate) struct Pinning(Option<String>);

impl Pinning {
    /// Pins to the last core of those that this process may use, by `taskset`; where that is missing, says so.
    pub(crate) fn find() -> (Self, Option<String>) {
        let last = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
        let works = Command::new("taskset")
            .args(["-c", &last.to_string(), "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if works {
            (Pinning(Some(last.to_string())), None)
        } else {
            let why = "taskset is missing or not permitted: the runs are not pinned to one core";
            (Pinning(None), Some(why.to_owned()))
        }
    }

    fn command(&self, argv: &[String]) -> Option<Command> {
        let (program, arguments) = argv.split_first()?;
        let mut command = match &self.0 {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core, program]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments);
        Some(command)
    }
}

/// Whether a program can be started at all.
pub(crate) fn is_installed(program: &str) -> bool {
    let started = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !matches!(started, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Runs every contestant `rounds` times on the file, by turns, and takes the medians.
pub(crate) fn measure(
    contestants: &[Contestant],
    file: &str,
    rounds: usize,
    pinning: &Pinning,
) -> Vec<Outcome> {
    let mut runs: Vec<Result<Vec<Cost>, String>> = contestants
        .iter()
        .map(|contestant| match contestant.argv.first() {
            Some(program) if is_installed(program) => Ok(Vec::new()),
            Some(program) => Err(format!("{program} is not installed")),
            None => Err("no program".to_owned()),
        })
        .collect();
    for _ in 0..rounds {
        for (contestant, costs) in contestants.iter().zip(&mut runs) {
            let Ok(list) = costs else { continue };
            match run_once(contestant, file, pinning) {
                Ok(cost) => list.push(cost),
                Err(error) => *costs = Err(format!("{error:#}")),
            }
        }
    }
    runs.into_iter()
        .map(|costs| match costs {
            Ok(costs) => median(&costs)
                .map_or_else(|| Outcome::Missing("not run".to_owned()), Outcome::Measured),
            Err(why) => Outcome::Missing(why),
        })
        .collect()
}

fn run_once(contestant: &Contestant, file: &str, pinning: &Pinning) -> Result<Cost> {
    let mut argv = contestant.argv.clone();
    argv.push(file.to_owned());
    let mut command = pinning.command(&argv).context("no program")?;
    let started = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", contestant.name))?;
    let (status, usage) = wait_with_usage(child)?;
    let wall = started.elapsed();
    if !status.success() {
        bail!("{} ended with {status}", contestant.name);
    }
    Ok(Cost {
        wall,
        cpu: usage.cpu(),
        peak_resident: usage.peak_resident,
    })
}

fn median(costs: &[Cost]) -> Option<Cost> {
    fn middle<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    }
    Some(Cost {
        wall: middle(costs.iter().map(|cost| cost.wall))?,
        cpu: middle(costs.iter().map(|cost| cost.cpu))?,
        peak_resident: middle(costs.iter().map(|cost| cost.peak_resident))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(argv: &[&str]) -> Contestant {
        Contestant {
            name: argv[0].to_owned(),
            argv: argv.iter().map(|&part| part.to_owned()).collect(),
        }
    }

    #[test]
    fn a_missing_peer_is_named_and_a_failing_one_too() {
        let contestants = [
            contestant(&["cat"]),
            contestant(&["no-such-program-here"]),
            contestant(&["false"]),
        ];
        let outcomes = measure(&contestants, "/dev/null", 2, &Pinning(None));
        assert!(matches!(outcomes[0], Outcome::Measured(cost) if cost.peak_resident > 0));
        assert_eq!(
            outcomes[1],
            Outcome::Missing("no-such-program-here is not installed".to_owned())
        );
        assert!(matches!(&outcomes[2], Outcome::Missing(why) if why.contains("exit status: 1")));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let cost = |number| Cost {
            wall: Duration::from_millis(number),
            cpu: Duration::from_millis(10 - number),
            peak_resident: number,
        };
        let middle = median(&[cost(9), cost(1), cost(2)]);
        let expected = Cost {
            wall: Duration::from_millis(2),
            cpu: Duration::from_millis(8),
            peak_resident: 2,
        };
        assert_eq!(middle, Some(expected));
        assert_eq!(median(&[]), None);
    }
}
