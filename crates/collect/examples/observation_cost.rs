//! What an observation costs: the time to start and to stop, and the CPU time while it goes on.
//!
//! `cargo run --release -p transect-collect --example observation_cost -- SECONDS [FILTER|-] [NETNS…] [-- COMMAND…]`

use std::time::{Duration, Instant};

use transect_collect::{HostPlan, Plan, Progress, StopSignal, run_with};

fn cpu_time() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(usage.tv_sec).unwrap_or_default(),
        u32::try_from(usage.tv_nsec).unwrap_or_default(),
    )
}

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.iter().position(|word| word == "--").map(|at| {
        let command = arguments.split_off(at);
        command.into_iter().skip(1).collect()
    });
    let mut arguments = arguments.into_iter();
    let seconds: f64 = arguments.next().unwrap_or("10".to_owned()).parse()?;
    let filter = arguments.next().filter(|filter| filter != "-");
    let hosts: Vec<String> = arguments.collect();
    let folder = tempfile::tempdir()?;
    let mut plan = Plan::new(HostPlan::parse_all(&hosts)?, folder.path().join("bundle"));
    plan.filter = filter;
    plan.command = command;
    plan.duration = Some(Duration::from_secs_f64(seconds));

    let began = Instant::now();
    let (mut ready, mut ending) = ((began, cpu_time()), (began, cpu_time()));
    let stop = StopSignal::on_signals()?;
    let summary = run_with(plan, &stop, &mut |progress| match progress {
        Progress::Watching(hosts) => {
            ready = (Instant::now(), cpu_time());
            for (host, interfaces) in hosts {
                eprintln!("{host}: {}", interfaces.join(" "));
            }
        }
        Progress::Finishing => ending = (Instant::now(), cpu_time()),
        other => eprintln!("{other:?}"),
    })?;
    let stopped = (Instant::now(), cpu_time());

    let watched = ending.0 - ready.0;
    let used = ending.1 - ready.1;
    println!("start   {:?}, CPU {:?}", ready.0 - began, ready.1);
    println!(
        "watch   {watched:?}, CPU {used:?}: {:.3} % of a core",
        used.as_secs_f64() / watched.as_secs_f64() * 100.0
    );
    println!(
        "stop    {:?}, CPU {:?}",
        stopped.0 - ending.0,
        stopped.1 - ending.1
    );
    println!(
        "command {:?}, interrupted {}",
        summary.command, summary.interrupted
    );
    for host in summary.hosts {
        println!(
            "{}: {} readings, unseen {:?}",
            host.label, host.readings, host.unseen
        );
        for interface in host.capture.interfaces {
            println!("  {interface:?}");
        }
    }
    Ok(())
}
