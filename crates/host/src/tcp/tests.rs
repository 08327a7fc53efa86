//! Two hosts on a link, in virtual time: what Linux puts on the wire, and what its counters say. The expected sequences are
//! those of Linux 6.18 between two namespaces on a veth pair (cubic).

mod attacks;
mod calls;
mod closing;
mod early;
mod flow_labels;
mod handshake;
mod local_drops;
mod loss;
mod pair;
mod path_mtu;
mod properties;
mod transfer;
