//! The few unsafe system calls that no library wraps, each behind a safe function that states its invariant.
//!
//! What it is not: a wrapper of libc. What rustix, socket2 or the standard library offers is used from there.

mod bpf;
mod child;
mod ethtool;
mod packet_socket;
pub mod socket_call;
mod tun;
mod usage;

pub use bpf::{BpfProgram, bpf_program};
pub use child::die_with_parent;
pub use ethtool::{Ethtool, OffloadFeature};
pub use packet_socket::PacketSocket;
pub use tun::{await_carrier, open_tap, open_tun, open_tun_with_header};
pub use usage::{Usage, wait_with_usage};
