//! Round-trip times and the retransmission time-out (RFC 6298 as in `tcp_rtt_estimator`, `tcp_set_rto`).

use super::clock::Context;

/// What is known of the round trip. Times in microseconds, the time-out in ticks.
#[derive(Debug, Clone)]
pub(crate) struct RttEstimator {
    /// The time-out in force, in ticks (`icsk_rto`).
    pub(crate) rto: u64,
}

impl RttEstimator {
    /// Nothing known: one second.
    pub(crate) fn new(context: &Context<'_>) -> Self {
        RttEstimator {
            rto: u64::from(context.clock.ticks.hz()),
        }
    }
}
