//! Connection tracking: entries by flow, their states and time-outs, translations.

/// What connection tracking knows of a packet (`skb->_nfct`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// It has not been asked yet, or no rule set needs it.
    #[default]
    None,
    /// A rule took it out (NOTRACK).
    Untracked,
    /// It makes no sense of it.
    Invalid,
    /// It belongs to an entry.
    Entry {
        /// Which one.
        entry: u32,
        /// Whether it goes in the direction opposite to the first packet's.
        reply: bool,
        /// Whether it is the entry's first packet, which is not confirmed yet.
        new: bool,
    },
}
