//! The model host: every layer of a Linux host's network stack as our own code, from the system call to the wire and back.
//!
//! What it is: a state machine. Real frames, system calls and moments go in ([`Host::handle_frame`], the socket calls,
//! [`Host::handle_timeout`]); frames, events and the next deadline come out ([`Host::poll_transmit`], [`Host::poll_event`],
//! [`Host::poll_timeout`]). The same inputs give the same outputs.
//!
//! What it is not: it opens nothing, knows no clock and draws no randomness but from the seed it was given. It runs no
//! programs and joins no hosts: that is the laboratory's world.

mod conntrack;
mod counters;
mod device;
mod drop_reason;
mod hooks;
mod host;
mod ip;
mod journey;
mod link;
mod netfilter;
mod packet;
mod qdisc;
mod settings;
mod socket;
mod sockets;
mod stack;
mod tcp;
mod timer;
mod transport;

pub use counters::*;
pub use device::{DeviceId, DeviceKind, Features, LinkStatistics};
pub use drop_reason::DropReason;
pub use host::{DeviceSetup, Host, HostSetup, SetupError};
pub use journey::{Journey, Step, StepKind};
pub use packet::{ChecksumState, Packet, Segmentation};
pub use settings::{SettingError, Settings, TcpSettings};
pub use socket::*;
pub use stack::{Death, Tapped};
pub use tcp::TcpInfo;
pub use timer::Ticks;
