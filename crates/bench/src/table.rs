//! The results as a Markdown table.

use std::fmt::Write;

use crate::measure::{Contestant, Cost, Outcome};

/// What was measured on one file.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// What the file holds.
    pub(crate) title: &'a str,
    /// Its frames.
    pub(crate) frames: u64,
    /// Its connections.
    pub(crate) connections: u32,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// Who was measured; the first one is what the others are compared with.
    pub(crate) contestants: &'a [Contestant],
    /// Likewise, in the same order.
    pub(crate) outcomes: &'a [Outcome],
}

/// Frames per second of CPU time: on a core of its own that is the speed, and it holds on a machine that has other work.
fn rate(frames: u64, cost: &Cost) -> f64 {
    frames as f64 / cost.cpu.as_secs_f64().max(1e-9)
}

/// What was asked for, what was measured.
#[derive(Debug)]
pub(crate) struct Requirement {
    what: String,
    measured: String,
    met: Option<bool>,
}

impl Requirement {
    /// `measured` is the number as text and whether it is good enough, or why there is none.
    pub(crate) fn new(what: impl Into<String>, measured: anyhow::Result<(String, bool)>) -> Self {
        let (measured, met) = match measured {
            Ok((measured, met)) => (measured, Some(met)),
            Err(error) => (format!("not measured: {error:#}"), None),
        };
        Requirement {
            what: what.into(),
            measured,
            met,
        }
    }
}

/// The table of all requirements.
pub(crate) fn summary(requirements: &[Requirement]) -> String {
    let mut text = String::from("| required | measured | met |\n|---|---|---|\n");
    for Requirement {
        what,
        measured,
        met,
    } in requirements
    {
        let met = match met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "?",
        };
        // A String cannot fail to be written to.
        let _ = writeln!(text, "| {what} | {measured} | {met} |");
    }
    text
}

impl Section<'_> {
    fn cost(&self, name: &str) -> anyhow::Result<Cost> {
        let of = self
            .contestants
            .iter()
            .zip(self.outcomes)
            .find(|(contestant, _)| contestant.name == name);
        match of {
            Some((_, Outcome::Measured(cost))) => Ok(*cost),
            Some((_, Outcome::Missing(why))) => Err(anyhow::anyhow!("{why}")),
            None => Err(anyhow::anyhow!("{name} did not run")),
        }
    }

    /// The first row must handle so many times the packets per second of another one.
    pub(crate) fn faster(&self, than: &str, times: f64) -> Requirement {
        let measured = self.first().and_then(|own| {
            let ratio = rate(self.frames, &own) / rate(self.frames, &self.cost(than)?);
            Ok((format!("{ratio:.1}x"), ratio >= times))
        });
        Requirement::new(
            format!("{}: at least {times}x `{than}`", self.title),
            measured,
        )
    }

    /// The first row must need less memory than so many MiB.
    pub(crate) fn within(&self, limit: u64) -> Requirement {
        let measured = self.first().map(|own| {
            let text = format!("{:.0} MiB", mebibytes(own.peak_resident));
            (text, own.peak_resident < limit << 20)
        });
        Requirement::new(
            format!("{}: memory under {limit} MiB", self.title),
            measured,
        )
    }

    fn first(&self) -> anyhow::Result<Cost> {
        let name = self.contestants.first().map_or("", |first| &first.name);
        self.cost(name)
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One table: packets per second, how many times slower than the first row, memory.
pub(crate) fn render(section: &Section) -> String {
    let mut text = format!(
        "### {}\n\n{} frames in {} connections, {:.0} MB\n\n",
        section.title,
        section.frames,
        section.connections,
        section.bytes as f64 / 1e6
    );
    text.push_str(
        "| program | wall s | CPU s | packets per CPU s | first row is faster by | peak MiB |\n",
    );
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    let first = section.first().ok().map(|cost| rate(section.frames, &cost));
    for (contestant, outcome) in section.contestants.iter().zip(section.outcomes) {
        // A String cannot fail to be written to.
        let _ = match outcome {
            Outcome::Measured(cost) => {
                let own = rate(section.frames, cost);
                let ratio =
                    first.map_or_else(|| "-".to_owned(), |first| format!("{:.1}x", first / own));
                writeln!(
                    text,
                    "| {} | {:.2} | {:.2} | {:.0} | {ratio} | {:.0} |",
                    contestant.name,
                    cost.wall.as_secs_f64(),
                    cost.cpu.as_secs_f64(),
                    own,
                    mebibytes(cost.peak_resident),
                )
            }
            Outcome::Missing(why) => {
                writeln!(
                    text,
                    "| {} | not measured: {why} | | | | |",
                    contestant.name
                )
            }
        };
    }
    text.push('\n');
    text
}

/// The machine, in one line; the peers, and the day.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib >> 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}. Machine: {model}, {cores} cores, {memory} GiB of memory, Linux {}. Peers: {}; {}.",
        time::OffsetDateTime::now_utc().date(),
        kernel.trim(),
        version("tcptrace", "-version"),
        version("tshark", "--version"),
    )
}

/// What a program calls itself.
fn version(program: &str, option: &str) -> String {
    let output = std::process::Command::new(program).arg(option).output();
    let Ok(output) = output else {
        return format!("{program} is not installed");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("Version: ")
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn ratios_are_against_the_first_row() {
        let contestant = |name: &str| Contestant {
            name: name.to_owned(),
            argv: Vec::new(),
        };
        let cost = |seconds| {
            Outcome::Measured(Cost {
                wall: Duration::from_secs(seconds),
                cpu: Duration::from_secs(seconds),
                peak_resident: 3 << 20,
            })
        };
        let contestants = ["transect", "tcptrace", "tshark"].map(contestant);
        let section = Section {
            title: "A file",
            frames: 1000,
            connections: 10,
            bytes: 2_000_000,
            contestants: &contestants,
            outcomes: &[
                cost(2),
                cost(7),
                Outcome::Missing("tshark is not installed".to_owned()),
            ],
        };
        assert_snapshot!(render(&section), @r"
        ### A file

        1000 frames in 10 connections, 2 MB

        | program | wall s | CPU s | packets per CPU s | first row is faster by | peak MiB |
        |---|---:|---:|---:|---:|---:|
        | transect | 2.00 | 2.00 | 500 | 1.0x | 3 |
        | tcptrace | 7.00 | 7.00 | 143 | 3.5x | 3 |
        | tshark | not measured: tshark is not installed | | | | |
        ");
        let requirements = [
            section.faster("tcptrace", 3.0),
            section.faster("tcptrace", 4.0),
            section.faster("tshark", 20.0),
            section.within(64),
            section.within(3),
        ];
        assert_snapshot!(summary(&requirements), @r"
        | required | measured | met |
        |---|---|---|
        | A file: at least 3x `tcptrace` | 3.5x | yes |
        | A file: at least 4x `tcptrace` | 3.5x | **no** |
        | A file: at least 20x `tshark` | not measured: tshark is not installed | ? |
        | A file: memory under 64 MiB | 3 MiB | yes |
        | A file: memory under 3 MiB | 3 MiB | **no** |
        ");
    }
}
