//! The commands of experiments, done to a model host: `ip`, `bridge`, `tc`, `sysctl`, `iptables`, `nft`, and the stand-ins for programs.
//!
//! What is not understood is an error that says so; nothing is passed over.

mod bridge;
mod ip;
mod tc;

use std::time::Duration;

use transect_config::rules::apply_command;

pub(super) use ip::prefix;

use super::mysql;
use super::network::NodeId;
use super::socket::Sockets;
use super::task::Clock;
use crate::error::WorldError;
use crate::words;

/// What starting a program and its work take, about.
const PROGRAM: Duration = Duration::from_millis(2);

/// How a command ended.
pub(super) struct Ended {
    /// Its exit status.
    pub(super) status: i32,
    /// What it printed.
    pub(super) output: String,
}

impl Ended {
    fn well() -> Self {
        Ended {
            status: 0,
            output: String::new(),
        }
    }
}

/// Runs a command to its end.
pub(super) async fn run(sockets: &Sockets, text: &str) -> Result<Ended, WorldError> {
    let words = words::split(text).map_err(WorldError)?;
    let program = words.first().map(String::as_str).unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    sockets.clock.sleep(PROGRAM).await;
    match program {
        "mariadb" | "mysql" => return mysql::client(sockets, &words).await,
        "sleep" => {
            let time = words.get(1).and_then(|text| text.parse().ok());
            let seconds: f64 = time.ok_or_else(|| WorldError(format!("{text}: for how long?")))?;
            let time = Duration::try_from_secs_f64(seconds).map_err(WorldError::doing(text))?;
            sockets.clock.sleep(time).await;
            return Ok(Ended::well());
        }
        _ => {}
    }
    configure(&sockets.clock, sockets.node, &words)
        .map_err(|error| WorldError(format!("{text}: {error}")))?;
    Ok(Ended::well())
}

/// Carries out a command that changes the configuration, at once.
pub(super) fn configure(clock: &Clock, node: NodeId, words: &[String]) -> Result<(), WorldError> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match program {
        "true" => Ok(()),
        "ip" => ip::run(clock, node, &arguments),
        "bridge" => bridge::run(clock, node, &arguments),
        "tc" => tc::run(clock, node, &arguments),
        "sysctl" => sysctl(clock, node, &arguments),
        "conntrack" if arguments == ["-F"] => {
            clock.call(node, |host, now| host.flush_connections(now))
        }
        "nft" => {
            rules(clock, node, words)?;
            clock.network(|network| network.announce(node, "nftables"));
            Ok(())
        }
        _ if program.starts_with("iptables") || program.starts_with("ip6tables") => {
            rules(clock, node, words)?;
            // The kernel announces changes of nftables, which `iptables` is on top of unless it is the legacy one.
            if !program.ends_with("-legacy") {
                clock.network(|network| network.announce(node, "nftables"));
            }
            Ok(())
        }
        _ => Err(WorldError(format!(
            "the model world has no program \"{program}\"; it has ip, bridge, tc, sysctl, conntrack -F, iptables, ip6tables, nft, mariadb and sleep"
        ))),
    }
}

fn rules(clock: &Clock, node: NodeId, words: &[String]) -> Result<(), WorldError> {
    clock
        .call(node, |host, now| {
            host.change_rules(now, |rules| apply_command(rules, words))
        })?
        .map_err(WorldError)
}

/// `sysctl -w name=value …`.
fn sysctl(clock: &Clock, node: NodeId, arguments: &[&str]) -> Result<(), WorldError> {
    for argument in arguments
        .iter()
        .filter(|one| **one != "-w" && **one != "-q")
    {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| WorldError(format!("\"{argument}\": expected name=value")))?;
        set_sysctl(clock, node, name.trim(), value.trim())?;
    }
    Ok(())
}

/// Sets one setting.
pub(super) fn set_sysctl(
    clock: &Clock,
    node: NodeId,
    name: &str,
    value: &str,
) -> Result<(), WorldError> {
    clock
        .call(node, |host, _| host.set_sysctl(name, value))?
        .map_err(|error| WorldError(error.to_string()))
}
