//! Neighbours (ARP, ND), as `ip neighbor` shows them.

use std::net::IpAddr;

use transect_path::named_enum;

/// One entry of the neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its IP address.
    pub address: IpAddr,
    /// The device it is on.
    pub device: String,
    /// Its link-layer address; None: not resolved.
    pub mac: Option<[u8; 6]>,
    /// States; one in practice.
    pub states: Vec<NeighborState>,
    /// Probes sent since the state was entered (`-s`).
    pub probes: Option<u32>,
    /// It is a router (IPv6).
    pub router: bool,
    /// An answer given on somebody else's behalf (`ip neigh show proxy`).
    pub proxy: bool,
}

impl Neighbor {
    /// Whether it is in that state.
    pub fn is(&self, state: NeighborState) -> bool {
        self.states.contains(&state)
    }

    /// Not resolved: incomplete or failed (RFC 4861 section 7.3.2; `NUD_INCOMPLETE`, `NUD_FAILED`).
    pub fn is_unresolved(&self) -> bool {
        self.is(NeighborState::Incomplete) || self.is(NeighborState::Failed)
    }
}

named_enum! {
    /// State of a neighbour entry (NUD_*; RFC 4861 section 7.3.2).
    pub enum NeighborState {
        /// Just made, nothing asked yet.
        None => "NONE",
        /// Asked, not answered.
        Incomplete => "INCOMPLETE",
        /// Lately confirmed.
        Reachable => "REACHABLE",
        /// Known, not lately confirmed.
        Stale => "STALE",
        /// Used while stale; about to be asked.
        Delay => "DELAY",
        /// Being asked again.
        Probe => "PROBE",
        /// Asked in vain.
        Failed => "FAILED",
        /// Needs no resolution.
        Noarp => "NOARP",
        /// Set by hand.
        Permanent => "PERMANENT",
    }
}
