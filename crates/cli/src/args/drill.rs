//! `transect drill`.

use std::path::PathBuf;

use clap::Args;

use super::WorldArg;

pub(crate) const EXAMPLES: &str = "\
Examples:
  transect drill handshake.pkt
  transect drill scripts/ --world kernel
  transect drill scripts/ --option ip_version=ipv6 --option mtu=1520
  transect drill -D CC=reno cwnd.pkt --json

Exit status: 0 all passed, 1 some did not, 2 wrong usage.";

/// Which scripts, where, and with what.
#[derive(Debug, Clone, Args)]
pub(crate) struct DrillArgs {
    /// Scripts, and folders of scripts: all files below them that end in .pkt
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub(crate) paths: Vec<PathBuf>,

    /// In which world: a model host in virtual time, or this machine's kernel in a network namespace (needs root)
    #[arg(long, value_enum, value_name = "WORLD", default_value_t = WorldArg::Model)]
    pub(crate) world: WorldArg,

    /// Name that stands for something else in the scripts; again for more
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) define: Vec<(String, String)>,

    /// What `--NAME=VALUE` at a script's top says, instead of the script; again for more
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = setting)]
    pub(crate) option: Vec<(String, String)>,

    /// How many run side by side; in the kernel world they mostly wait
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,

    /// Print one JSON object (transect.drill/1) on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let name = name.trim_start_matches('-');
    match name.is_empty() {
        true => Err("expected NAME or NAME=VALUE, such as mtu=1400".to_owned()),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}
