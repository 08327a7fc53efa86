//! Connection tracking: entries by flow, their states and time-outs, translations.

/// What connection tracking knows of a packet (`skb->_nfct`, `enum ip_conntrack_info`).
#[derive(Debug, Clone, Default)]
pub(crate) enum Tracking {
    /// It has not been asked yet, or no rule set needs it; or it makes no sense of the packet (INVALID).
    #[default]
    None,
    /// A rule took it out (NOTRACK), or it is of a kind that is never tracked (neighbour discovery).
    Untracked,
}

impl Tracking {
    /// What an error message or a reset about a packet has of the packet's own (`nf_ct_attach`): it is RELATED, in the other
    /// direction.
    pub(crate) fn related(&self) -> Tracking {
        Tracking::None
    }
}
