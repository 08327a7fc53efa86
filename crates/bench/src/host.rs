//! What observing costs a host that does nothing, and how long all experiments take.
//!
//! The host is a network namespace of its own, made by `unshare`, with a pair of interfaces and a rule, so that nothing else
//! on the machine is observed or touched.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use transect_collect::{ReadingSource, Scope};
use transect_sys::wait_with_usage;

use crate::table::Requirement;

/// How often a reading is taken.
const READINGS: usize = 51;

/// Sets up the idle host and becomes the program that is given as arguments.
const IDLE_HOST: &str = "set -e
ip link set lo up
ip link add idle0 type veth peer name idle1
ip link set idle0 up
ip link set idle1 up
ip address add 192.0.2.1/24 dev idle0
ip address add 2001:db8::1/64 dev idle0 nodad
nft add table inet idle
nft 'add chain inet idle input { type filter hook input priority 0; policy accept; }'
nft add rule inet idle input tcp dport 9 counter drop
exec \"$@\"";

fn on_idle_host(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["-n", "sh", "-c", IDLE_HOST, "sh"])
        .arg(program)
        .args(arguments);
    command
}

/// The CPU time of `transect collect` on an idle host, its children's included.
///
/// A short and a long observation are compared: starting, stopping and packing are in both.
pub(crate) fn collect(transect: &Path) -> Requirement {
    const SHORT: u64 = 2;
    const LONG: u64 = 22;
    let share = observe(transect, SHORT).and_then(|short| {
        let long = observe(transect, LONG)?;
        let watched = Duration::from_secs(LONG - SHORT).as_secs_f64();
        Ok((long.saturating_sub(short).as_secs_f64() / watched, short))
    });
    Requirement::new(
        "`collect` on an idle host: under 1 % of one core",
        share.map(|(share, short)| {
            let text = format!(
                "{:.2} % ({:.0} ms of CPU to start, stop and pack)",
                share * 100.0,
                (short.as_secs_f64() - share * SHORT as f64).max(0.0) * 1e3
            );
            (text, share < 0.01)
        }),
    )
}

fn observe(transect: &Path, seconds: u64) -> Result<Duration> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let bundle = folder.path().join("idle.tar.zst");
    let bundle = bundle.to_str().context("the temporary folder's name")?;
    let length = format!("{seconds}s");
    let child = on_idle_host(transect, &["collect", "--for", &length, "-o", bundle])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting unshare")?;
    let (status, usage) = wait_with_usage(child)?;
    if !status.success() {
        bail!("collecting in a new network namespace ended with {status}");
    }
    Ok(usage.cpu())
}

/// How long one reading of everything takes on the idle host; `own` is this program.
pub(crate) fn reading(own: &Path) -> Requirement {
    Requirement::new(
        "one reading of everything: under 100 ms per host",
        readings_apart(own).map(|(times, cpu)| {
            let text = format!(
                "{:.1} ms (median of {READINGS}; the shortest {:.1} ms; {cpu:.1} ms of CPU each)",
                times.median, times.shortest
            );
            (text, times.median < 100.0)
        }),
    )
}

/// Wall times in milliseconds.
struct Times {
    median: f64,
    shortest: f64,
}

/// Readings in a process of its own: their times, and the CPU time of each in milliseconds, tools included.
fn readings_apart(own: &Path) -> Result<(Times, f64)> {
    let mut child = on_idle_host(own, &["reading"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting unshare")?;
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text)?;
    }
    let (status, usage) = wait_with_usage(child)?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[median, shortest] = numbers.as_slice() else {
        bail!("reading in a new network namespace ended with {status}");
    };
    let cpu = usage.cpu().as_secs_f64() * 1e3 / READINGS as f64;
    Ok((Times { median, shortest }, cpu))
}

/// Takes full readings of the namespace that this process is in; prints their median and shortest time in milliseconds.
pub(crate) fn take_readings() {
    let (mut source, _) = ReadingSource::open();
    let mut times: Vec<f64> = (0..READINGS)
        .map(|_| {
            let started = Instant::now();
            source.take(Scope::Full);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    if let (Some(median), Some(shortest)) = (times.get(READINGS / 2), times.first()) {
        println!("{median:.3} {shortest:.3}");
    }
}

/// All experiments but the slow ones.
pub(crate) fn laboratory(transect: &Path) -> Requirement {
    let started = Instant::now();
    let output = Command::new(transect)
        .args(["lab", "run", "--all"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("starting transect");
    let spent = started.elapsed();
    let told = output.and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.lines().last() {
            Some(last) if last.contains(" passed") => Ok(last.to_owned()),
            _ => bail!("lab run --all ended with {}", output.status),
        }
    });
    Requirement::new(
        "`lab run --all`, slow ones left out: under 4 minutes on two cores",
        told.map(|told| {
            let text = format!("{:.0} s ({told})", spent.as_secs_f64());
            (text, spent < Duration::from_secs(240))
        }),
    )
}
