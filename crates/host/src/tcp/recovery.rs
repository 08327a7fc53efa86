//! Loss recovery (`tcp_fastretrans_alert`).

use transect_path::named_enum;

use super::clock::Context;

named_enum! {
    /// The state of congestion avoidance (`enum tcp_ca_state`), as `ss` would name it.
    pub enum CaState {
        /// Nothing unusual.
        Open => "open",
        /// Something was reported out of order.
        Disorder => "disorder",
        /// The window shrinks for ECN or a local queue.
        Cwr => "cwr",
        /// Fast recovery.
        Recovery => "recovery",
        /// After a time-out.
        Loss => "loss",
    }
}

/// Loss recovery.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// The state (`icsk_ca_state`).
    pub(crate) state: CaState,
}

impl Recovery {
    pub(super) fn new(_context: &Context<'_>) -> Self {
        Recovery {
            state: CaState::Open,
        }
    }
}
