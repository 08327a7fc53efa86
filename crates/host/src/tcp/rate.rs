//! How fast segments are delivered (net/ipv4/tcp_rate.c): what RACK's reordering window adapts by, and what `ss` shows as
//! `delivery_rate`.

use transect_packet::SequenceNumber;

use super::clock::Clock;
use super::segment::{Marks, Segment, after};

/// The connection's part of the estimate.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryRate {
    /// When the segment that was delivered last was sent, in microseconds (`first_tx_mstamp`).
    first_sent_us: u64,
    /// When something was delivered last, in microseconds (`delivered_mstamp`).
    delivered_us: u64,
    /// Until so many segments are delivered the samples say nothing of the network (`app_limited`); 0: they do.
    app_limited: u32,
    /// The estimate: segments in an interval (`rate_delivered`, `rate_interval_us`).
    segments: u32,
    interval_us: u64,
    /// … and whether it says nothing of the network (`rate_app_limited`).
    pub(crate) rate_app_limited: bool,
}

/// A sample that grows while an acknowledgement is taken in (`struct rate_sample`).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RateSample {
    /// `delivered` when the youngest segment was sent; 0: no sample.
    pub(super) prior_delivered: u32,
    prior_us: u64,
    last_end_seq: SequenceNumber,
    interval_us: u64,
    app_limited: bool,
}

impl Default for DeliveryRate {
    fn default() -> Self {
        DeliveryRate {
            first_sent_us: 0,
            delivered_us: 0,
            app_limited: u32::MAX,
            segments: 0,
            interval_us: 0,
            rate_app_limited: true,
        }
    }
}

impl DeliveryRate {
    /// A segment is sent (`tcp_rate_skb_sent`).
    pub(super) fn sent(&mut self, segment: &mut Segment, packets_out: u32, delivered: u32) {
        if packets_out == 0 {
            self.first_sent_us = segment.sent_us;
            self.delivered_us = segment.sent_us;
        }
        segment.first_sent_us = self.first_sent_us;
        segment.delivered_us = self.delivered_us;
        segment.delivered = delivered;
        segment.app_limited = self.app_limited != 0;
    }

    /// A segment was acknowledged or reported (`tcp_rate_skb_delivered`).
    pub(super) fn delivered(&mut self, segment: &mut Segment, sample: &mut RateSample) {
        if segment.delivered_us == 0 {
            return;
        }
        let younger = segment.sent_us > self.first_sent_us
            || (segment.sent_us == self.first_sent_us
                && after(segment.end_seq, sample.last_end_seq));
        if sample.prior_delivered == 0 || younger {
            self.first_sent_us = segment.sent_us;
            *sample = RateSample {
                prior_delivered: segment.delivered,
                prior_us: segment.delivered_us,
                last_end_seq: segment.end_seq,
                interval_us: segment.sent_us.saturating_sub(segment.first_sent_us),
                app_limited: segment.app_limited,
            };
        }
        if segment.marks.any(Marks::SACKED) {
            segment.delivered_us = 0;
        }
    }

    /// The acknowledgement is taken in (`tcp_rate_gen`). `newly`: segments that it delivered.
    pub(super) fn generate(
        &mut self,
        clock: &Clock,
        sample: &RateSample,
        newly: u32,
        delivered: u32,
        min_rtt_us: u32,
        reneging: bool,
    ) {
        if self.app_limited != 0 && delivered.wrapping_sub(self.app_limited).cast_signed() > 0 {
            self.app_limited = 0;
        }
        if newly > 0 {
            self.delivered_us = clock.us();
        }
        if sample.prior_us == 0 || reneging {
            return;
        }
        let acked_us = clock.us().saturating_sub(sample.prior_us);
        let interval_us = sample.interval_us.max(acked_us);
        if interval_us < u64::from(min_rtt_us) {
            return;
        }
        let segments = delivered.wrapping_sub(sample.prior_delivered);
        let faster = u128::from(segments) * u128::from(self.interval_us)
            >= u128::from(self.segments) * u128::from(interval_us);
        if !sample.app_limited || faster {
            self.segments = segments;
            self.interval_us = interval_us;
            self.rate_app_limited = sample.app_limited;
        }
    }

    /// The program has nothing more to send, and neither has the network (`tcp_rate_check_app_limited`, whose conditions the caller
    /// checked).
    pub(super) fn limit_by_application(&mut self, delivered: u32, in_flight: u32) {
        self.app_limited = delivered.wrapping_add(in_flight).max(1);
    }

    /// Bytes per second (`tcp_compute_delivery_rate`); 0: unknown.
    pub(crate) fn bytes_per_second(&self, mss: u32) -> u64 {
        (u64::from(self.segments) * u64::from(mss))
            .saturating_mul(1_000_000)
            .checked_div(self.interval_us)
            .unwrap_or(0)
    }
}
