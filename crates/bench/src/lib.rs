//! What the benchmark's two programs share: two model hosts and the link between them.
//!
//! What it is not: the laboratory's model world. The link here has neither delay nor rate, and nothing is recorded.

mod pair;

pub use pair::{CLIENT, Pair, SERVER, server_address};
