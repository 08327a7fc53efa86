//! Runs packetdrill scripts: packets in and out, system calls, and assertions, each with its time.
//!
//! The language is the public one of <https://github.com/google/packetdrill>: `< S 0:0(0) win 1000 <mss 1460>` is a packet from the
//! remote side, `> S. 0:0(0) ack 1 <...>` one that the host under test must send, `socket(..., SOCK_STREAM, IPPROTO_TCP) = 3` a
//! system call and what it must return. [`Script`] is a script as it is written; [`run_script`] runs one in a **world**: the
//! machine's kernel in a network namespace of its own, with a TUN device for a wire, or the model host in virtual time. Both are
//! behind one trait, and everything else is shared: what a script means does not depend on where it runs.
//!
//! What it is not: it knows nothing of TCP beyond its header. Whether a host is right is the script's to say.

mod call;
mod compare;
mod drill;
mod fast_open;
mod flow;
mod options;
mod parse;
mod report;
mod run;
mod script;
mod snippet;
mod symbols;
mod tcp_info;
mod wire;
mod world;

pub use drill::{DrillOptions, FindError, WorldKind, find_scripts, journal, run_script};
pub use options::{IpVersion, Options};
pub use parse::{Defines, ParseError};
pub use report::{DRILL_SCHEMA, DrillReport, ScriptFailure, ScriptResult};
pub use script::*;
pub use snippet::Snippet;
