//! The token bucket filter (sch_tbf.c): a rate, a bucket, and a bfifo behind it.

use transect_path::Timestamp;

use super::Waiting;
use super::fifo::Fifo;
use super::options::{OptionError, Options};

/// Tokens are nanoseconds of sending time, as in the kernel.
#[derive(Debug)]
pub(super) struct Tbf {
    /// Bytes per second.
    rate: u64,
    /// The bucket in bytes: no packet may be longer (`max_size`).
    burst: u64,
    /// The bucket in nanoseconds (`buffer`).
    buffer: i64,
    tokens: i64,
    /// When `tokens` was right (`t_c`).
    checked: Timestamp,
    queue: Fifo,
}

impl Tbf {
    /// `tbf_change`: the bucket is full at first.
    pub(super) fn of_options(options: &Options<'_>, now: Timestamp) -> Result<Self, OptionError> {
        let rate = options.rate("rate")?.filter(|rate| *rate > 0);
        let rate = rate.ok_or_else(|| options.missing("rate"))?;
        let burst = options.size("burst")?.filter(|burst| *burst > 0);
        let burst = burst.ok_or_else(|| options.missing("burst"))?;
        let limit = match (options.size("limit")?, options.time("lat")?) {
            (Some(limit), _) => limit,
            // tc shows the longest wait instead: what drains in that time, and the bucket.
            (None, Some(nanoseconds)) => {
                let drained = u128::from(rate) * u128::from(nanoseconds) / 1_000_000_000;
                u64::try_from(drained)
                    .unwrap_or(u64::MAX)
                    .saturating_add(burst)
            }
            (None, None) => return Err(options.missing("limit")),
        };
        let buffer = sending_time(rate, burst);
        Ok(Tbf {
            rate,
            burst,
            buffer,
            tokens: buffer,
            checked: now,
            queue: Fifo::bytes(limit),
        })
    }

    /// As `tc -j qdisc` prints them: the longest wait, or the limit where that is less than the bucket.
    pub(super) fn options(&self) -> serde_json::Value {
        let limit = self.queue.limit();
        match limit.checked_sub(self.burst) {
            Some(behind) => serde_json::json!({
                "rate": self.rate, "burst": self.burst, "lat": sending_time(self.rate, behind) / 1000,
            }),
            None => {
                serde_json::json!({ "rate": self.rate, "burst": self.burst, "limit": limit })
            }
        }
    }

    /// `tbf_enqueue`. What has no room, or never will, comes back.
    pub(super) fn enqueue(&mut self, waiting: Waiting) -> Option<Waiting> {
        if waiting.length > self.burst {
            return Some(waiting);
        }
        self.queue.enqueue(waiting)
    }

    /// Whether the whole is too long but its segments are not.
    pub(super) fn must_cut(&self, length: u64, segment: u64) -> bool {
        length > self.burst && segment <= self.burst
    }

    /// `tbf_dequeue`; an error is the moment at which there will be tokens enough for the next packet.
    pub(super) fn dequeue(&mut self, now: Timestamp) -> Result<Option<Waiting>, Timestamp> {
        let Some(length) = self.queue.peek_length() else {
            return Ok(None);
        };
        let passed = i64::try_from(now.0.saturating_sub(self.checked.0)).unwrap_or(i64::MAX);
        let tokens = passed
            .min(self.buffer)
            .saturating_add(self.tokens)
            .min(self.buffer)
            .saturating_sub(sending_time(self.rate, length));
        if tokens < 0 {
            return Err(Timestamp(now.0.saturating_add(tokens.unsigned_abs())));
        }
        self.checked = now;
        self.tokens = tokens;
        Ok(self.queue.dequeue())
    }

    pub(super) fn purge(&mut self) -> Vec<Waiting> {
        self.queue.purge()
    }
}

/// How long that many bytes take, in nanoseconds (`psched_l2t_ns`).
pub(super) fn sending_time(rate: u64, bytes: u64) -> i64 {
    let time = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    i64::try_from(time).unwrap_or(i64::MAX)
}
