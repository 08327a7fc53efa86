//! Neighbours (ARP, ND), as `ip neighbor` shows them.

use std::net::IpAddr;

use serde_json::Value;

use transect_path::named_enum;

use crate::json::{flag, is_json, number, objects, string, strings};
use crate::parse::Parsed;
use crate::text::{Words, mac};

/// Reads `ip [-j] [-s] neighbor show`; as JSON or as text. Entries of `proxy` are marked as such.
pub fn read_neighbors(text: &str) -> Parsed<Vec<Neighbor>> {
    if is_json(text) {
        from_json(text)
    } else {
        from_text(text)
    }
}

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

fn from_json(text: &str) -> Parsed<Vec<Neighbor>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        let address = string(&map, "dst").and_then(|text| text.parse().ok());
        let device = string(&map, "dev");
        let (Some(address), Some(device)) = (address, device) else {
            // Entries of the proxy table have no device when they are for all of them.
            parsed.problem(
                place,
                "an object with \"dst\" and \"dev\"",
                &Value::Object(map).to_string(),
            );
            continue;
        };
        parsed.value.push(Neighbor {
            address,
            device: device.to_owned(),
            mac: string(&map, "lladdr").and_then(mac),
            states: strings(&map, "state")
                .iter()
                .filter_map(|state| state.parse().ok())
                .collect(),
            probes: number(&map, "probes"),
            router: flag(&map, "router"),
            proxy: flag(&map, "proxy"),
        });
    }
    parsed
}

fn from_text(text: &str) -> Parsed<Vec<Neighbor>> {
    let mut parsed: Parsed<Vec<Neighbor>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match entry(line) {
            Some(neighbor) => parsed.value.push(neighbor),
            None => parsed.problem(
                number + 1,
                "a neighbour, such as \"10.0.0.2 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE\"",
                line,
            ),
        }
    }
    parsed
}

/// `10.0.0.2 dev eth0 lladdr 02:… ref 1 used 2/2/2probes 4 REACHABLE`; the missing blank is iproute2's.
fn entry(line: &str) -> Option<Neighbor> {
    let mut words = Words::new(line);
    let mut neighbor = Neighbor {
        address: words.value()?,
        device: String::new(),
        mac: None,
        states: Vec::new(),
        probes: None,
        router: false,
        proxy: false,
    };
    while let Some(word) = words.next() {
        match word {
            "dev" => neighbor.device = words.next()?.to_owned(),
            "lladdr" => neighbor.mac = words.next().and_then(mac),
            "router" => neighbor.router = true,
            "proxy" => neighbor.proxy = true,
            _ if word.ends_with("probes") => neighbor.probes = words.value(),
            _ => {
                if let Ok(state) = word.parse() {
                    neighbor.states.push(state);
                }
            }
        }
    }
    (!neighbor.device.is_empty()).then_some(neighbor)
}
