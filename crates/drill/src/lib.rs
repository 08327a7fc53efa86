//! Runs packetdrill scripts: packets in and out, system calls, and assertions, each with its time.
//!
//! The language is the public one of <https://github.com/google/packetdrill>: `< S 0:0(0) win 1000 <mss 1460>` is a packet from the
//! remote side, `> S. 0:0(0) ack 1 <...>` one that the host under test must send, `socket(..., SOCK_STREAM, IPPROTO_TCP) = 3` a
//! system call and what it must return.

mod parse;
mod script;
mod snippet;
mod symbols;
mod tcp_info;
mod wire;

pub use parse::*;
pub use script::*;
