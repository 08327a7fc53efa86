//! What a reading costs in the current network namespace, and what is in it.
//!
//! `cargo run --release -p transect-collect --example reading_cost [FOLDER]`; with FOLDER, one full reading and one sample
//! are written there, as files.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use transect_collect::{RawReading, ReadingSource, Scope};

const ROUNDS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut source, unseen) = ReadingSource::open();
    for one in &unseen {
        println!("unseen: {}: {}", one.meter, one.why);
    }
    for (scope, name) in [(Scope::Full, "full"), (Scope::Sample, "sample")] {
        let reading = source.take(scope);
        let bytes: usize = reading.files.iter().map(|file| file.bytes.len()).sum();
        println!("{name}: {} files, {bytes} bytes", reading.files.len());
        for one in &reading.unseen {
            println!("  unseen: {}: {}", one.meter, one.why);
        }
        if let Some(folder) = std::env::args_os().nth(1) {
            write(&Path::new(&folder).join(name), &reading)?;
        }
        let (own, children, started) = (own_time(), children_time(), Instant::now());
        for _ in 0..ROUNDS {
            source.take(scope);
        }
        println!(
            "  each: {:.2} ms by the clock, {:.2} ms of CPU here, {:.2} ms of CPU in tools",
            milliseconds(started.elapsed()),
            milliseconds(own_time().saturating_sub(own)),
            milliseconds(children_time().saturating_sub(children)),
        );
    }
    Ok(())
}

fn milliseconds(whole: Duration) -> f64 {
    whole.as_secs_f64() * 1e3 / f64::from(ROUNDS)
}

/// CPU time of this process.
fn own_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// CPU time of ended children: `cutime` and `cstime` of /proc/self/stat, in hundredths of a second.
fn children_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn write(folder: &Path, reading: &RawReading) -> std::io::Result<()> {
    for file in &reading.files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &file.bytes)?;
    }
    Ok(())
}
