//! The model host's speed and memory, beside smoltcp's in the same run.
//!
//! Everything is a process of its own, so that CPU time and memory are those of one thing.

mod connections;
mod datagrams;
mod transfer;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use transfer::Carrier;

use crate::measure::{Contestant, Outcome, Pinning, measure};
use crate::table::Requirement;

/// What one process measures.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Only carries so many MiB over one TCP connection.
    Transfer {
        /// Who carries.
        #[arg(value_enum)]
        carrier: Carrier,
        /// How much.
        mebibytes: u64,
    },
    /// Only sends so many thousand UDP datagrams of 18 bytes from one model host to another.
    Datagrams {
        /// Packets carry their journeys.
        #[arg(long)]
        journeys: bool,
        /// How many thousand.
        thousands: u64,
    },
    /// Only exchanges messages over connections drawn by chance; prints nanoseconds for each frame.
    Frames {
        /// How many connections there are.
        connections: usize,
    },
}

/// Does what the process is for.
pub(crate) fn run(task: &Task) -> Result<()> {
    match *task {
        Task::Transfer { carrier, mebibytes } => transfer::transfer(carrier, mebibytes),
        Task::Datagrams {
            journeys,
            thousands,
        } => datagrams::datagrams(thousands, journeys),
        Task::Frames { connections } => {
            println!("{:.0}", connections::time_per_frame(connections)?);
            Ok(())
        }
    }
}

/// Measures everything of the model host and prints its tables. `own` is this program, `transect` the product.
pub(crate) fn measure_all(
    own: &Path,
    transect: &Path,
    quick: bool,
    rounds: usize,
) -> Vec<Requirement> {
    let (pinning, warning) = Pinning::find();
    if let Some(warning) = warning {
        println!("{warning}\n");
    }
    let bench = Bench {
        own,
        transect,
        rounds,
        pinning,
    };
    let mebibytes = if quick { 64 } else { 1024 };
    let mut requirements = bench.transfers(mebibytes);
    requirements.extend(bench.datagrams(if quick { 200 } else { 3000 }));
    requirements.push(bench.experiments());
    requirements.extend(bench.memory(if quick { 10_000 } else { 100_000 }));
    requirements.push(bench.events());
    requirements
}

struct Bench<'a> {
    own: &'a Path,
    transect: &'a Path,
    rounds: usize,
    pinning: Pinning,
}

impl Bench<'_> {
    /// CPU seconds of each command line of this program, the last argument apart.
    fn cpu(&self, program: &Path, commands: &[&[&str]], last: &str) -> Vec<Result<f64>> {
        let contestants: Vec<Contestant> = commands
            .iter()
            .map(|arguments| Contestant {
                name: arguments.join(" "),
                argv: std::iter::once(program.to_string_lossy().into_owned())
                    .chain(arguments.iter().map(|&argument| argument.to_owned()))
                    .collect(),
            })
            .collect();
        measure(&contestants, last, self.rounds, &self.pinning)
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Measured(cost) => Ok(cost.cpu.as_secs_f64()),
                Outcome::Missing(why) => bail!("{why}"),
            })
            .collect()
    }

    /// TCP, as fast as it goes.
    fn transfers(&self, mebibytes: u64) -> Vec<Requirement> {
        let names: Vec<String> = Carrier::value_variants()
            .iter()
            .filter_map(|carrier| Some(carrier.to_possible_value()?.get_name().to_owned()))
            .collect();
        let commands: Vec<[&str; 2]> = names.iter().map(|name| ["transfer", name]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
        let seconds = self.cpu(self.own, &commands, &mebibytes.to_string());
        println!("### {mebibytes} MiB over one TCP connection, MTU 1500\n");
        println!(
            "| carried by | CPU s | Gbit per CPU s | of smoltcp | of smoltcp without checksums |"
        );
        println!("|---|---:|---:|---:|---:|");
        let of = |carrier: Carrier| {
            let found = Carrier::value_variants()
                .iter()
                .position(|known| *known == carrier);
            match found.and_then(|index| seconds.get(index)) {
                Some(Ok(seconds)) => Ok(*seconds),
                Some(Err(error)) => bail!("{error:#}"),
                None => bail!("it did not run"),
            }
        };
        let ratio = |own: Carrier, peer: Carrier| Ok(of(peer)? / of(own)?);
        for carrier in Carrier::value_variants() {
            let times = |peer| match ratio(*carrier, peer) {
                Ok(ratio) => format!("{ratio:.2}x"),
                Err(_) => "-".to_owned(),
            };
            match of(*carrier) {
                Ok(seconds) => println!(
                    "| {} | {seconds:.2} | {:.2} | {} | {} |",
                    carrier.described(),
                    (mebibytes << 23) as f64 / 1e9 / seconds,
                    times(Carrier::Smoltcp),
                    times(Carrier::SmoltcpUnchecked),
                ),
                Err(error) => {
                    println!(
                        "| {} | not measured: {error:#} | | | |",
                        carrier.described()
                    );
                }
            }
        }
        println!();
        [
            (
                "offloads off, journeys on",
                Carrier::Journeys,
                Carrier::Smoltcp,
                0.3,
            ),
            (
                "offloads off, journeys off",
                Carrier::Plain,
                Carrier::Smoltcp,
                0.45,
            ),
            (
                "GSO and GRO, journeys on",
                Carrier::Offloads,
                Carrier::SmoltcpUnchecked,
                1.0,
            ),
        ]
        .map(|(what, own, peer, least)| {
            Requirement::new(
                format!("a transfer, {what}: at least {least}x {}", peer.described()),
                ratio(own, peer).map(|ratio| (format!("{ratio:.2}x"), ratio >= least)),
            )
        })
        .into()
    }

    /// UDP, from socket to socket.
    fn datagrams(&self, thousands: u64) -> [Requirement; 2] {
        let commands: [&[&str]; 2] = [&["datagrams"], &["datagrams", "--journeys"]];
        let mut seconds = self
            .cpu(self.own, &commands, &thousands.to_string())
            .into_iter();
        ["journeys off", "journeys on"].map(|what| {
            let seconds = seconds.next().unwrap_or_else(|| bail!("it did not run"));
            Requirement::new(
                format!(
                    "datagrams of 18 bytes from `sendto` to `recvfrom`, both hosts' paths counted, {what}: \
                     at least 1.5 million per CPU second"
                ),
                seconds.map(|seconds| {
                    let millions = thousands as f64 / 1e3 / seconds;
                    (format!("{millions:.2} million"), millions >= 1.5)
                }),
            )
        })
    }

    /// The three experiments of the seed's article with Linux's own numbers of retries, in the model world: 368 virtual seconds.
    fn experiments(&self) -> Requirement {
        let command: &[&str] = &[
            "lab",
            "run",
            "--world",
            "model",
            // One core, one thread.
            "--jobs",
            "1",
            "seed-3.1-exact.legacy.ipv4",
            "seed-3.2-exact.legacy.ipv4",
        ];
        let seconds = self
            .cpu(
                self.transect,
                &[command],
                "seed-4.3-default-retries.legacy.ipv4",
            )
            .into_iter()
            .next()
            .unwrap_or_else(|| bail!("it did not run"));
        Requirement::new(
            "the seed's three experiments in the model world (368 virtual seconds), the program's start included: under 100 ms of CPU time",
            seconds.map(|seconds| (format!("{:.0} ms", seconds * 1e3), seconds < 0.1)),
        )
    }

    /// Idle connections, each end counted apart.
    fn memory(&self, connections: u64) -> [Requirement; 2] {
        let program = self.own.with_file_name("transect-bench-memory");
        let held = output(&program, &[&connections.to_string()]).and_then(|text| {
            let numbers: Vec<u64> = text
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            match numbers[..] {
                [client, server] => Ok((client, server)),
                _ => bail!("{} printed {text:?}", program.display()),
            }
        });
        let each = held
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error:#}"))
            .map(|(client, server)| {
                let most = (*client).max(*server) / connections;
                let text = format!(
                    "{} bytes at the client, {} at the server",
                    client / connections,
                    server / connections
                );
                (text, most < 2048)
            });
        let whole = held.map(|(client, server)| {
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let text = format!(
                "{:.0} MiB at the client, {:.0} MiB at the server",
                mebibytes(client),
                mebibytes(server)
            );
            (text, client.max(server) < 400 << 20)
        });
        [
            Requirement::new("an idle connection: under 2 KiB at either end", each),
            Requirement::new(
                format!("{connections} connections on one host: under 400 MiB"),
                whole,
            ),
        ]
    }

    /// How the time of an event grows with the number of connections.
    fn events(&self) -> Requirement {
        const COUNTS: [&str; 3] = ["1000", "10000", "100000"];
        let times: Result<Vec<f64>> = COUNTS
            .iter()
            .map(|count| {
                let text = output(self.own, &["frames", count])?;
                text.trim().parse().context("nanoseconds: a number")
            })
            .collect();
        Requirement::new(
            "an event costs O(log n): a frame with 100,000 connections takes less than 4 times what it takes with 1,000",
            times.and_then(|times| match times[..] {
                [few, some, many] => Ok((
                    format!("{few:.0} ns, {some:.0} ns with 10,000, {many:.0} ns with 100,000"),
                    many < 4.0 * few,
                )),
                _ => bail!("it did not run"),
            }),
        )
    }
}

/// What a program prints, if it succeeds.
fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    if !output.status.success() {
        bail!("{} ended with {}", program.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
