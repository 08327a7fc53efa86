//! `make bench`: Transect beside tcptrace and tshark, on the same generated captures, in one run.
//!
//! What it is not: a test. It prints what it measures and fails only when it cannot measure at all.

mod generate;
mod measure;
mod table;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use transect_evidence::conversation::{LedgerOptions, read_capture};
use transect_packet::CaptureReader;

use generate::{Traffic, write_capture};
use measure::{Contestant, Pinning, measure};

/// Measures Transect beside tcptrace and tshark, and prints Markdown tables.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Small files, for a first impression: ratios of short runs say little.
    #[arg(long)]
    quick: bool,
    /// How often each program runs on each file.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The transect binary; by default the one beside this program.
    #[arg(long)]
    transect: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Only rebuilds a capture's conversations, without diagnosis; prints how many there are.
    Conversations {
        /// The capture.
        file: PathBuf,
    },
}

/// One file to measure on.
struct Load {
    title: &'static str,
    traffic: Traffic,
    snap_length: usize,
    /// Whether the other programs are to run on it too.
    with_peers: bool,
}

fn loads(quick: bool) -> [Load; 3] {
    let few = if quick { 20 } else { 1 };
    [
        Load {
            title: "MTU-size frames, captured whole, 100 connections",
            traffic: Traffic::Bulk {
                connections: 100,
                frames: 1_000_000 / few,
            },
            snap_length: 1514,
            with_peers: true,
        },
        Load {
            title: "96-byte snaps, 100 connections",
            traffic: Traffic::Bulk {
                connections: 100,
                frames: 5_000_000 / few,
            },
            snap_length: 96,
            with_peers: true,
        },
        Load {
            title: "Short connections, 96-byte snaps",
            traffic: Traffic::Short {
                connections: 1_000_000 / few as u32,
            },
            snap_length: 96,
            with_peers: false,
        },
    ]
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Conversations { file }) = &arguments.part {
        return conversations(file);
    }
    println!("{}\n", table::machine());
    let (pinning, warning) = Pinning::find();
    if let Some(warning) = warning {
        println!("{warning}\n");
    }
    explain_beside_peers(&arguments, &pinning)
    // Other measurements (the idle cost of `collect`, the time of a snapshot, `lab run --all`) follow here, each a function
    // of its own that prints its table.
}

/// The speed and memory of `explain`, and of the ledger below it.
fn explain_beside_peers(arguments: &Arguments, pinning: &Pinning) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("transect-bench-")
        .tempdir()
        .context("making a temporary folder")?;
    let all = contestants(arguments)?;
    for load in loads(arguments.quick) {
        let path = folder.path().join("load.pcap");
        // Writing leaves the file in the page cache: nobody waits for the disk.
        let written = write_capture(&path, load.traffic, load.snap_length)
            .with_context(|| format!("writing {}", path.display()))?;
        let file = path.to_str().context("the temporary folder's name")?;
        let contestants: Vec<Contestant> = all
            .iter()
            .filter(|(peer, _)| load.with_peers || !peer)
            .map(|(_, contestant)| contestant.clone())
            .collect();
        let outcomes = measure(&contestants, file, arguments.rounds, pinning);
        let section = table::Section {
            title: load.title,
            frames: written.frames,
            connections: load.traffic.connections(),
            bytes: written.bytes,
            contestants: &contestants,
            outcomes: &outcomes,
        };
        print!("{}", table::render(&section));
    }
    Ok(())
}

/// Who is measured; true marks the other programs.
fn contestants(arguments: &Arguments) -> Result<Vec<(bool, Contestant)>> {
    let own = std::env::current_exe().context("finding this program")?;
    let transect = match &arguments.transect {
        Some(path) => path.clone(),
        None => own.with_file_name("transect"),
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let contestant = |name: &str, argv: &[&str]| Contestant {
        name: name.to_owned(),
        argv: argv.iter().map(|&part| part.to_owned()).collect(),
    };
    Ok(vec![
        (
            false,
            contestant(
                "transect explain --json",
                &[&text(&transect), "explain", "--json"],
            ),
        ),
        (
            false,
            contestant("conversations alone", &[&text(&own), "conversations"]),
        ),
        (true, contestant("tcptrace -n", &["tcptrace", "-n"])),
        (
            true,
            contestant(
                "tshark -q -z conv,tcp",
                &[
                    "tshark",
                    "-n",
                    "-q",
                    "-z",
                    "conv,tcp",
                    "--disable-protocol",
                    "http",
                    "-r",
                ],
            ),
        ),
    ])
}

fn conversations(path: &Path) -> Result<()> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("opening {name}"))?;
    let mut reader = CaptureReader::new(file, &name)?;
    let (ledger, damage) = read_capture(&mut reader, LedgerOptions::default());
    let clean = ledger.briefs().filter(|brief| brief.clean).count();
    println!("{} conversations, {clean} of them clean", ledger.len());
    match damage {
        Some(damage) => Err(damage.into()),
        None => Ok(()),
    }
}
