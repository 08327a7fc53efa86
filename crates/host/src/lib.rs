//! The model host: every layer of a Linux host's network stack as our own code, from the system call to the wire and back.
//!
//! **What it is**: a state machine. Real frames, system calls and moments go in ([`Host::handle_frame`], the socket calls such as
//! [`Host::connect`], [`Host::handle_timeout`]); frames, events and the next deadline come out ([`Host::poll_transmit`],
//! [`Host::poll_event`], [`Host::poll_timeout`], to be asked in this order behind every call that passes a moment). The same
//! inputs give the same outputs. It behaves like Linux 6.18: each function names the one of the kernel that it mirrors.
//!
//! **What it is not**: it opens nothing, knows no clock and draws no randomness but from the seed that it was given. It runs no
//! programs and joins no hosts: that is the laboratory's model world. It is no stack to build a product on: it copies where a
//! fast stack would not, and counts where nobody would.
//!
//! # One packet out
//!
//! A TCP connection's bytes, point by point (docs/path.md has all of them).
//!
//! 1. `app_send`, `send_buffer`: [`Host::write`] finds the socket ([`tcp/calls.rs`](../src/transect_host/tcp/calls.rs.html)) and copies to the end of the send buffer
//!    ([`tcp/send_buffer.rs`](../src/transect_host/tcp/send_buffer.rs.html)), as far as `SO_SNDBUF` has room.
//! 2. `transport_output`: [`tcp/output.rs`](../src/transect_host/tcp/output.rs.html) asks the windows, Nagle and the congestion control ([`tcp/congestion.rs`](../src/transect_host/tcp/congestion.rs.html),
//!    [`tcp/cubic.rs`](../src/transect_host/tcp/cubic.rs.html)) what may go; [`tcp/transmit.rs`](../src/transect_host/tcp/transmit.rs.html) builds the header with its options. What was sent waits in the
//!    retransmission queue ([`tcp/scoreboard.rs`](../src/transect_host/tcp/scoreboard.rs.html)) for its acknowledgement or its timer ([`tcp/timers.rs`](../src/transect_host/tcp/timers.rs.html)).
//! 3. `route_output`: [`ip/route.rs`](../src/transect_host/ip/route.rs.html) asks `transect-walk` for the way and remembers the answer; [`ip/output.rs`](../src/transect_host/ip/output.rs.html) puts the IP
//!    header in front.
//! 4. `local_out`, `post_routing`: [`hooks.rs`](../src/transect_host/hooks.rs.html). Nothing behind a hook takes a packet that the hook did not hand out: the type
//!    says which hook let it pass, and only the hooks can make a value of it. What a hook decides, [`netfilter/run.rs`](../src/transect_host/netfilter/run.rs.html) carries
//!    out from the host's own rules, with connection tracking ([`conntrack.rs`](../src/transect_host/conntrack.rs.html)) and translation ([`conntrack/nat.rs`](../src/transect_host/conntrack/nat.rs.html)).
//! 5. `ip_finish`: what is too long is cut or refused ([`ip/output.rs`](../src/transect_host/ip/output.rs.html), [`ip/fragment.rs`](../src/transect_host/ip/fragment.rs.html)).
//! 6. `neighbor`: the next hop's MAC address ([`link/neighbor.rs`](../src/transect_host/link/neighbor.rs.html)); until it is known the packet waits there.
//! 7. `tc_egress`, `qdisc`: [`link/output.rs`](../src/transect_host/link/output.rs.html) and the disciplines of [`qdisc.rs`](../src/transect_host/qdisc.rs.html).
//! 8. `tap_out`, `driver_out`, `wire_out`: [`link/driver.rs`](../src/transect_host/link/driver.rs.html) shows the frame to the tap, splits and checksums what the device
//!    does not ([`link/offload.rs`](../src/transect_host/link/offload.rs.html)), and puts it where [`Host::poll_transmit`] takes it from.
//!
//! # One packet in
//!
//! 1. `wire_in`, `nic_in`, `xdp`: [`Host::handle_frame`]; [`link/driver.rs`](../src/transect_host/link/driver.rs.html), [`link/xdp.rs`](../src/transect_host/link/xdp.rs.html).
//! 2. `backlog`, `tap_in`, `tc_ingress`, `link_input`: [`link/input.rs`](../src/transect_host/link/input.rs.html), with GRO ([`link/gro.rs`](../src/transect_host/link/gro.rs.html)) and bridges
//!    ([`link/bridge.rs`](../src/transect_host/link/bridge.rs.html)). Another host's frame ends here; ARP goes to the neighbours.
//! 3. `ip_input`: the header's checks ([`ip/input.rs`](../src/transect_host/ip/input.rs.html)) and fragments ([`ip/reassembly.rs`](../src/transect_host/ip/reassembly.rs.html)).
//! 4. `pre_routing`, `route_input`: the hook, then `transect-walk` says whether the packet is for this host, for another one, or
//!    cannot be ([`ip/input.rs`](../src/transect_host/ip/input.rs.html)). What goes on to another host passes [`ip/forward.rs`](../src/transect_host/ip/forward.rs.html) and joins the way out at
//!    `post_routing`.
//! 5. `local_in`, `raw_tap`: [`ip/deliver.rs`](../src/transect_host/ip/deliver.rs.html).
//! 6. `transport_input`, `socket_lookup`: [`tcp/incoming.rs`](../src/transect_host/tcp/incoming.rs.html) verifies, [`tcp/table.rs`](../src/transect_host/tcp/table.rs.html) finds the connection, the listener or
//!    nobody ([`tcp/reset.rs`](../src/transect_host/tcp/reset.rs.html)). UDP: [`transport/udp.rs`](../src/transect_host/transport/udp.rs.html); ICMP: [`transport/icmp_input.rs`](../src/transect_host/transport/icmp_input.rs.html).
//! 7. `socket_input`: [`tcp/listener.rs`](../src/transect_host/tcp/listener.rs.html) and [`tcp/passive.rs`](../src/transect_host/tcp/passive.rs.html) for handshakes, [`tcp/validate.rs`](../src/transect_host/tcp/validate.rs.html) and [`tcp/input.rs`](../src/transect_host/tcp/input.rs.html)
//!    for connections, [`tcp/time_wait.rs`](../src/transect_host/tcp/time_wait.rs.html) for what remains of them; [`tcp/ack.rs`](../src/transect_host/tcp/ack.rs.html) with [`tcp/sack.rs`](../src/transect_host/tcp/sack.rs.html), [`tcp/rack.rs`](../src/transect_host/tcp/rack.rs.html) and
//!    [`tcp/recovery.rs`](../src/transect_host/tcp/recovery.rs.html) for what the peer acknowledges.
//! 8. `receive_buffer`, `app_receive`: [`tcp/receive_buffer.rs`](../src/transect_host/tcp/receive_buffer.rs.html), [`tcp/out_of_order.rs`](../src/transect_host/tcp/out_of_order.rs.html), and the window that they advertise
//!    ([`tcp/receive_window.rs`](../src/transect_host/tcp/receive_window.rs.html)); [`Host::read`] takes the bytes out.
//!
//! Wherever a packet dies, [`DropReason`] says why in the kernel's words, the kernel's counter moves ([`Counters`]), and the
//! packet's [`Journey`] ends there.

mod conntrack;
mod counters;
mod device;
mod drop_reason;
mod error_queue;
mod holdings;
mod hooks;
mod host;
mod inquiry;
mod ip;
mod journey;
mod link;
pub mod namespace;
mod netfilter;
mod packet;
mod qdisc;
mod settings;
mod socket;
mod sockets;
mod spare;
mod stack;
mod tcp;
mod timer;
mod transport;

pub use counters::*;
pub use device::{DeviceId, DeviceKind, Features, LinkStatistics, PortFlags};
pub use drop_reason::DropReason;
pub use error_queue::{ErrorOrigin, QueuedError};
pub use holdings::Holdings;
pub use host::{DeviceSetup, Host, HostSetup, SetupError};
pub use inquiry::{OptionName, OptionValue, QueuedBytes, Readiness, SendFlags};
pub use journey::{Journey, Step, StepKind};
pub use link::{XdpAction, XdpProgram, XdpRule};
pub use packet::{ChecksumState, Packet, Segmentation};
pub use settings::{FastOpenKey, SettingError, Settings, TcpSettings};
pub use socket::*;
pub use stack::{Death, Tapped};
pub use tcp::{SocketMemory, TcpInfo};
pub use timer::Ticks;
