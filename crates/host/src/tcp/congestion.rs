//! The congestion window, and the algorithms that move it.

/// The congestion window.
#[derive(Debug)]
pub(crate) struct Congestion {
    /// The window in segments (`snd_cwnd`).
    pub(crate) snd_cwnd: u32,
    /// The slow-start threshold in segments (`snd_ssthresh`).
    pub(crate) snd_ssthresh: u32,
}

impl Congestion {
    /// An algorithm by its name; what is not known becomes cubic.
    pub(crate) fn new(_name: &str) -> Self {
        Congestion {
            snd_cwnd: 10,
            snd_ssthresh: 0x7fff_ffff,
        }
    }
}
