//! `make bench`: Transect beside tcptrace and tshark, on the same generated captures, in one run.
//!
//! What it is not: a test. It prints what it measures and fails only when it cannot measure at all.

mod generate;
mod host;
mod measure;
mod model;
mod table;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use transect_evidence::conversation::{LedgerOptions, read_capture};
use transect_packet::CaptureReader;

use generate::{Traffic, write_capture};
use measure::{Contestant, Pinning, measure};
use table::Requirement;

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
    /// Only the files of which the title contains this.
    #[arg(long, default_value = "")]
    only: String,
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
    /// Only takes readings of the current network namespace; prints the median and shortest time in milliseconds.
    Reading,
    /// Only measures `explain`.
    Explain,
    /// Only measures `collect` and its readings on an idle host.
    Collect,
    /// Only measures `lab run --all`.
    Lab,
    /// Only measures the model host, beside smoltcp.
    Host,
    #[command(flatten)]
    Task(model::Task),
}

/// One file to measure on.
struct Load {
    title: &'static str,
    traffic: Traffic,
    snap_length: usize,
    /// Whether the other programs are to run on it too.
    with_peers: bool,
    /// What `explain` may need at most, in MiB.
    memory: u64,
}

fn loads(quick: bool) -> [Load; 4] {
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
            memory: 64,
        },
        Load {
            title: "96-byte snaps, 100 connections",
            traffic: Traffic::Bulk {
                connections: 100,
                frames: 2_000_000 / few,
            },
            snap_length: 96,
            with_peers: true,
            memory: 64,
        },
        Load {
            title: "A million short connections, 96-byte snaps",
            traffic: Traffic::Short {
                connections: 1_000_000 / few as u32,
            },
            snap_length: 96,
            with_peers: false,
            memory: 600,
        },
        Load {
            title: "A million connections that nobody answers, 96-byte snaps",
            traffic: Traffic::Unanswered {
                connections: 1_000_000 / few as u32,
            },
            snap_length: 96,
            with_peers: false,
            memory: 600,
        },
    ]
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.part {
        Some(Part::Conversations { file }) => return conversations(file),
        Some(Part::Reading) => {
            host::take_readings();
            return Ok(());
        }
        Some(Part::Task(task)) => return model::run(task),
        _ => {}
    }
    let own = std::env::current_exe().context("finding this program")?;
    let transect = match &arguments.transect {
        Some(path) => path.clone(),
        None => own.with_file_name("transect"),
    };
    println!(
        "# Speed and memory\n\nPrinted by `make bench`. {}\n",
        table::machine()
    );
    let mut requirements = Vec::new();
    let wanted = |part: &Part| match &arguments.part {
        Some(only) => std::mem::discriminant(only) == std::mem::discriminant(part),
        None => true,
    };
    if wanted(&Part::Explain) {
        requirements.extend(explain_beside_peers(&arguments, &own, &transect)?);
    }
    if wanted(&Part::Collect) {
        requirements.extend([host::collect(&transect), host::reading(&own)]);
    }
    if wanted(&Part::Lab) {
        requirements.push(host::laboratory(&transect));
    }
    if wanted(&Part::Host) {
        let Arguments { quick, rounds, .. } = arguments;
        requirements.extend(model::measure_all(&own, &transect, quick, rounds));
    }
    print!("## Requirements\n\n{}", table::summary(&requirements));
    Ok(())
}

/// The speed and memory of `explain`, and of the ledger below it.
fn explain_beside_peers(
    arguments: &Arguments,
    own: &Path,
    transect: &Path,
) -> Result<Vec<Requirement>> {
    let (pinning, warning) = Pinning::find();
    if let Some(warning) = warning {
        println!("{warning}\n");
    }
    let mut requirements = Vec::new();
    let folder = tempfile::Builder::new()
        .prefix("transect-bench-")
        .tempdir()
        .context("making a temporary folder")?;
    let all = contestants(own, transect);
    let loads = loads(arguments.quick);
    for load in loads
        .iter()
        .filter(|load| load.title.contains(&arguments.only))
    {
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
        let outcomes = measure(&contestants, file, arguments.rounds, &pinning);
        let section = table::Section {
            title: load.title,
            frames: written.frames,
            connections: load.traffic.connections(),
            bytes: written.bytes,
            contestants: &contestants,
            outcomes: &outcomes,
        };
        print!("{}", table::render(&section));
        if load.with_peers {
            requirements.push(section.faster(TCPTRACE, 3.0));
            requirements.push(section.faster(TSHARK, 20.0));
        }
        requirements.push(section.within(load.memory));
    }
    Ok(requirements)
}

const TCPTRACE: &str = "tcptrace -n";
const TSHARK: &str = "tshark -q -z conv,tcp";

/// Who is measured; true marks the other programs.
fn contestants(own: &Path, transect: &Path) -> Vec<(bool, Contestant)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let contestant = |name: &str, argv: &[&str]| Contestant {
        name: name.to_owned(),
        argv: argv.iter().map(|&part| part.to_owned()).collect(),
    };
    vec![
        (
            false,
            contestant(
                "transect explain --json",
                &[&text(transect), "explain", "--json"],
            ),
        ),
        (
            false,
            contestant("conversations alone", &[&text(own), "conversations"]),
        ),
        (true, contestant(TCPTRACE, &["tcptrace", "-n"])),
        (
            true,
            contestant(
                TSHARK,
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
    ]
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
