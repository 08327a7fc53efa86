//! The evidence of all hosts, asked the questions that a diagnosis asks: differences over a window, owners of addresses,
//! sockets over time.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use transect_config::{HostConfig, IpVersion, RouteKind, Socket};
use transect_evidence::conversation::Resolution;
use transect_evidence::{Evidence, HostEvidence, Reading};
use transect_packet::FrameDirection;
use transect_path::{Evidence as Line, HostEdge, Timestamp};

/// A packet that arrived so shortly before a reading began may have been counted after it.
const GUARD: Duration = Duration::from_millis(2);

/// The time in which something was lost. Counters are compared over the readings that just enclose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Window {
    /// The whole observation.
    pub(crate) const ALL: Window = Window {
        from: Timestamp::MIN,
        to: Timestamp::MAX,
    };

    /// The smallest window that holds both.
    pub(crate) fn join(self, other: Window) -> Window {
        Window {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        }
    }
}

/// Two readings, each with the part that was looked for.
pub(crate) type Bounds<'e, T> = ((&'e Reading, T), (&'e Reading, T));

/// All hosts' evidence.
#[derive(Debug, Clone)]
pub(crate) struct World<'e> {
    pub(crate) evidence: &'e Evidence,
    pub(crate) labels: Vec<String>,
    /// Hosts that have rules which change destinations.
    translates: Vec<bool>,
    /// The addresses that each host's sockets are bound to, or its routes name as the source to use.
    used_as_own: Vec<HashSet<IpAddr>>,
}

impl<'e> World<'e> {
    pub(crate) fn new(evidence: &'e Evidence) -> Self {
        let labels = evidence
            .hosts
            .iter()
            .map(|host| host.label.clone())
            .collect();
        let translates = evidence
            .hosts
            .iter()
            .map(|host| {
                let mut rules = host
                    .readings
                    .iter()
                    .filter_map(|reading| reading.rules.as_deref());
                rules.any(crate::nat::changes_destinations)
            })
            .collect();
        World {
            evidence,
            labels,
            translates,
            used_as_own: evidence.hosts.iter().map(used_as_own).collect(),
        }
    }

    /// The evidence of one host.
    pub(crate) fn host(&self, host: usize) -> &'e HostEvidence {
        &self.evidence.hosts[host]
    }

    /// Whether the host has rules that change destinations.
    pub(crate) fn translates(&self, host: usize) -> bool {
        self.translates[host]
    }

    /// Indexes of all hosts.
    pub(crate) fn hosts(&self) -> std::ops::Range<usize> {
        0..self.evidence.hosts.len()
    }

    /// The readings that hold what `part` looks for and just enclose the window.
    ///
    /// None when there is no such pair: with one reading nothing can be said about a difference.
    pub(crate) fn bounds<T>(
        &self,
        host: usize,
        window: Window,
        part: impl Fn(&'e Reading) -> Option<T>,
    ) -> Option<Bounds<'e, T>> {
        let mut first = None;
        let mut last = None;
        for reading in &self.host(host).readings {
            let Some(value) = part(reading) else { continue };
            // Loose dumps have no times, only an order.
            let timed = reading.time != Timestamp::MIN;
            if first.is_none() || timed && reading.ended + GUARD <= window.from {
                first = Some((reading, value));
                continue;
            }
            last = Some((reading, value));
            if timed && reading.time >= window.to + GUARD {
                break;
            }
        }
        Some((first?, last?))
    }

    /// By how much a counter rose over the window. None: not read twice, or it ran backwards (unseen, not zero).
    pub(crate) fn delta(&self, host: usize, name: &str, window: Window) -> Option<u64> {
        let ((_, before), (_, after)) =
            self.bounds(host, window, |reading| reading.counters.get(name))?;
        after.checked_sub(before)
    }

    /// The counters whose names begin and end like this and that rose over the window, with their differences.
    pub(crate) fn moved(
        &self,
        host: usize,
        prefix: &str,
        suffix: &str,
        window: Window,
    ) -> Vec<(String, u64)> {
        let names = match self.host(host).readings.iter().rev().find(|reading| {
            reading
                .counters
                .iter()
                .any(|(name, _)| name.starts_with(prefix))
        }) {
            Some(reading) => reading.counters.iter().map(|(name, _)| name),
            None => return Vec::new(),
        };
        names
            .filter(|name| name.starts_with(prefix) && name.ends_with(suffix))
            .filter_map(|name| Some((name.to_owned(), self.delta(host, name, window)?)))
            .filter(|&(_, delta)| delta > 0)
            .collect()
    }

    /// The newest configuration at the end of the window.
    pub(crate) fn config(&self, host: usize, window: Window) -> Option<&'e HostConfig> {
        self.host(host).config_at(window.to)
    }

    /// The first configuration that was read: as the host was before anything happened.
    pub(crate) fn any_config(&self, host: usize) -> Option<&'e HostConfig> {
        self.host(host)
            .readings
            .iter()
            .find_map(|reading| reading.config.as_deref())
    }

    /// Whether the address is one of this host's own: by its addresses or its local routes, else by what its captures say of
    /// their interfaces; else a route or a socket may show that it is. None: not known.
    pub(crate) fn owns(&self, host: usize, address: IpAddr) -> Option<bool> {
        if let Some(configured) = self.configured(host, address) {
            return Some(configured);
        }
        let captures = self.host(host).captures.iter();
        let mut addresses = captures
            .flat_map(|capture| capture.ledger.interfaces())
            .flat_map(|interface| interface.addresses.iter())
            .peekable();
        if addresses.peek().is_some() {
            return Some(addresses.any(|own| *own == address));
        }
        self.used_as_own[host].contains(&address).then_some(true)
    }

    /// Whether the addresses that were dumped, or the table of local routes, hold an address.
    fn configured(&self, host: usize, address: IpAddr) -> Option<bool> {
        let configs = || {
            let readings = self.host(host).readings.iter();
            readings.filter_map(|reading| reading.config.as_deref())
        };
        if let Some(addresses) = configs().find_map(|config| config.addresses.as_ref()) {
            return Some(addresses.iter().any(|own| own.local == address));
        }
        let version = match address {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        };
        let mut local = configs()
            .find_map(|config| config.routes(version))?
            .iter()
            .filter(|route| route.kind == RouteKind::Local)
            .peekable();
        // Every host has 127.0.0.1 there: without a local route the table was not dumped.
        local.peek()?;
        Some(local.any(|route| route.destination.contains(address)))
    }

    /// The observed hosts that have this address.
    pub(crate) fn owners(&self, address: IpAddr) -> Vec<usize> {
        self.hosts()
            .filter(|&host| self.owns(host, address) == Some(true))
            .collect()
    }

    /// What a host asked its neighbours about an address, and what they answered.
    pub(crate) fn resolutions(
        &self,
        host: usize,
        target: IpAddr,
    ) -> impl Iterator<Item = &'e Resolution> {
        let captures = self
            .host(host)
            .captures
            .iter()
            .filter(|capture| capture.point.is_none());
        captures
            .flat_map(|capture| capture.ledger.resolutions())
            .filter(move |resolution| {
                // What came in was asked by somebody else.
                resolution.target == target && resolution.direction != Some(FrameDirection::In)
            })
    }

    /// Every sighting of every socket, with the time of the reading.
    pub(crate) fn sockets(&self, host: usize) -> impl Iterator<Item = (Timestamp, &'e Socket)> {
        self.host(host).readings.iter().flat_map(|reading| {
            let sockets = reading
                .sockets
                .as_deref()
                .map(Vec::as_slice)
                .unwrap_or_default();
            sockets.iter().map(move |socket| (reading.time, socket))
        })
    }

    /// How many readings in the window hold sockets.
    pub(crate) fn socket_readings(&self, host: usize, window: Window) -> usize {
        self.host(host)
            .readings
            .iter()
            .filter(|reading| reading.sockets.is_some())
            .filter(|reading| reading.time >= window.from && reading.time <= window.to)
            .count()
    }

    /// `HOST/KIND/NAME`.
    pub(crate) fn meter(&self, host: usize, kind: &str, name: &str) -> String {
        let label = &self.labels[host];
        if name.is_empty() {
            format!("{label}/{kind}")
        } else {
            format!("{label}/{kind}/{name}")
        }
    }
}

/// The addresses that a host's sockets are bound to, or its routes name as the source to use.
fn used_as_own(host: &HostEvidence) -> HashSet<IpAddr> {
    let mut own = HashSet::new();
    for reading in &host.readings {
        let sockets = reading.sockets.as_deref().into_iter().flatten();
        own.extend(sockets.filter_map(|socket| socket.local.address.map(crate::flow::plain)));
        if let Some(config) = &reading.config {
            let routes = config.routes4.iter().chain(&config.routes6).flatten();
            own.extend(routes.filter_map(|route| route.prefsrc));
        }
    }
    own.retain(|address| !address.is_unspecified() && !address.is_multicast());
    own
}

/// The kernel's name of an IP counter: `IpInReceives` or `Ip6InReceives`.
pub(crate) fn ip_counter(v6: bool, name: &str) -> String {
    format!("{}{name}", if v6 { "Ip6" } else { "Ip" })
}

/// A line of evidence without a bound.
pub(crate) fn says(meter: String, text: impl Into<String>) -> Line {
    Line {
        meter,
        edge: None,
        lo: None,
        hi: None,
        says: text.into(),
    }
}

/// A line of evidence that bounds how many passed an edge.
pub(crate) fn bounds_line(
    meter: String,
    edge: HostEdge,
    lo: Option<u64>,
    hi: Option<u64>,
    text: impl Into<String>,
) -> Line {
    Line {
        meter,
        edge: Some(edge),
        lo,
        hi,
        says: text.into(),
    }
}

/// `1 packet`, `7 packets`, `3 echo replies`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix("ly")) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}lies"),
        (_, None) => format!("{number} {noun}s"),
    }
}
