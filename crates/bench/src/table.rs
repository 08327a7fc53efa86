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

fn rate(frames: u64, cost: &Cost) -> f64 {
    frames as f64 / cost.wall.as_secs_f64().max(1e-9)
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
    text.push_str("| program | wall s | CPU s | packets/s | first row is faster by | peak MiB |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    let first = match section.outcomes.first() {
        Some(Outcome::Measured(cost)) => Some(rate(section.frames, cost)),
        _ => None,
    };
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
                    cost.peak_resident as f64 / f64::from(1 << 20),
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

/// The machine, in one line.
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
        "Machine: {model}, {cores} cores, {memory} GiB of memory, Linux {}.",
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        insta::assert_snapshot!(render(&section), @r"
        ### A file

        1000 frames in 10 connections, 2 MB

        | program | wall s | CPU s | packets/s | first row is faster by | peak MiB |
        |---|---:|---:|---:|---:|---:|
        | transect | 2.00 | 2.00 | 500 | 1.0x | 3 |
        | tcptrace | 7.00 | 7.00 | 143 | 3.5x | 3 |
        | tshark | not measured: tshark is not installed | | | | |
        ");
    }
}
