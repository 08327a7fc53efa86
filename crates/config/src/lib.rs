//! One host's configuration as plain data, and its readers.
//!
//! Everything here is pure: text in, data out. The readers understand what the well-known tools print (`ip`, `tc`, `ss`,
//! `netstat`, `conntrack`, `ethtool`, `sysctl`, iptables, nft), as JSON or as text, of any host. They never fail as a whole: each
//! returns [`Parsed`], what was understood and the places that were not.
//!
//! This crate is not a collector (that is `transect-collect`), does not decide what the kernel would do with a packet
//! (`transect-walk`) and knows no counters but those that stand in the middle of configuration (a qdisc's drops, a device's
//! statistics).
//!
//! | reader | of |
//! |---|---|
//! | `read_links`, `read_addresses`, `read_routes`, `read_policy_rules`, `read_neighbors` | `ip [-j] [-d] [-s] link / address / route / rule / neighbor` |
//! | `read_ip` | any of these: recognises which |
//! | `read_qdiscs`, `read_filters` | `tc [-j] [-s] qdisc / filter show` |
//! | `read_sockets` | `ss`, `netstat -an`, /proc/net/{tcp,udp,raw}{,6} |
//! | `read_conntrack` | `conntrack -L`, /proc/net/nf_conntrack |
//! | `read_features`, `read_sysctls` | `ethtool -k`, `sysctl -a` |

mod address;
mod block;
mod conntrack;
mod feature;
mod filter;
mod host;
mod ip;
mod json;
mod link;
mod neighbor;
mod parse;
mod policy;
mod prefix;
mod qdisc;
mod route;
pub mod rules;
mod socket;
mod sysctl;
mod text;

pub use address::{Address, read_addresses};
pub use conntrack::{ConntrackEntry, ConntrackTuple, read_conntrack};
pub use feature::{Feature, features_device, read_features};
pub use filter::{BpfProgram, TcAction, TcFilter, read_filters};
pub use host::{ConfigText, HostConfig};
pub use ip::{IpOutput, read_ip};
pub use link::{BridgePortState, Link, OperState, XdpMode, XdpProgram, read_links};
pub use neighbor::{Neighbor, NeighborState, read_neighbors};
pub use parse::{Parsed, ReadProblem};
pub use policy::{Mark, PolicyAction, PolicyRule, default_policy_rules, read_policy_rules};
pub use prefix::{IpVersion, Prefix};
pub use qdisc::{Qdisc, TcStatistics, read_qdiscs};
pub use route::{NextHop, Route, RouteKind, RouteMetrics, Table, read_routes};
pub use socket::{
    Socket, SocketAddress, SocketMemory, SocketProtocol, SocketState, SocketTimer, TcpInfo,
    TimerKind, read_proc_sockets, read_sockets, timer_text,
};
pub use sysctl::{Sysctls, read_sysctls};
