//! Routes, as `ip route` shows them.

mod json;
mod text;

use std::fmt::Write as _;
use std::net::IpAddr;

use transect_path::named_enum;

use crate::parse::Parsed;
use crate::prefix::{IpVersion, Prefix};

/// Reads `ip [-j] [-4|-6] route show [table all]`; as JSON or as text.
///
/// A route that names no table belongs to `main`, as `ip` leaves that out. `version` says what `default` means where
/// nothing else in the route tells the family; None: IPv4.
pub fn read_routes(text: &str, version: Option<IpVersion>) -> Parsed<Vec<Route>> {
    if crate::json::is_json(text) {
        json::read(text, version)
    } else {
        text::read(text, version)
    }
}

/// A routing table: its number, and the names that iproute2 gives three of them.
///
/// Names from the host's own rt_tables stay names, as the number behind them is not known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// By number.
    Number(u32),
    /// By a name that the host's rt_tables gives.
    Named(String),
}

impl Table {
    /// `local`, 255.
    pub const LOCAL: Table = Table::Number(255);
    /// `main`, 254.
    pub const MAIN: Table = Table::Number(254);
    /// `default`, 253.
    pub const DEFAULT: Table = Table::Number(253);

    /// From a number or a name.
    pub fn read(text: &str) -> Self {
        match text {
            "local" => Table::LOCAL,
            "main" => Table::MAIN,
            "default" => Table::DEFAULT,
            "unspec" => Table::Number(0),
            _ => match text.parse() {
                Ok(number) => Table::Number(number),
                Err(_) => Table::Named(text.to_owned()),
            },
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Table::Number(255) => f.write_str("local"),
            Table::Number(254) => f.write_str("main"),
            Table::Number(253) => f.write_str("default"),
            Table::Number(number) => write!(f, "{number}"),
            Table::Named(name) => f.write_str(name),
        }
    }
}

/// What a route says to TCP beside its MTU (`RTAX_*`, include/uapi/linux/rtnetlink.h); 0 where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteMetrics {
    /// `mtu lock`: the path's MTU is not to be discovered.
    pub mtu_locked: bool,
    /// The segment size to announce, bytes.
    pub advmss: u32,
    /// The first congestion window, segments.
    pub initcwnd: u32,
    /// The first receive window, segments.
    pub initrwnd: u32,
    /// Every segment is acknowledged at once.
    pub quickack: bool,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The table it stands in.
    pub table: Table,
    /// What it does with a packet.
    pub kind: RouteKind,
    /// The addresses it is for.
    pub destination: Prefix,
    /// Only for packets from there (IPv6 source-specific routes, `from`).
    pub source: Option<Prefix>,
    /// Next hop; None: the destination is on the link. May be of the other family (`via inet6`).
    pub gateway: Option<IpAddr>,
    /// Device; None for error routes and where `nexthops` has several.
    pub device: Option<String>,
    /// Preferred source address.
    pub prefsrc: Option<IpAddr>,
    /// Metric (priority); 0 where the text shows none, as for IPv4. Lower is preferred.
    pub metric: u32,
    /// Only for packets with this type of service; 0: any.
    pub tos: u8,
    /// MTU metric, bytes.
    pub mtu: Option<u32>,
    /// The other metrics.
    pub metrics: RouteMetrics,
    /// `link`, `host`, `global`, … (IPv4).
    pub scope: Option<String>,
    /// Who made it: `kernel`, `static`, `dhcp`, `ra`, `bird`, ….
    pub protocol: Option<String>,
    /// IPv6 router preference (RFC 4191): `low`, `medium`, `high`.
    pub preference: Option<String>,
    /// Flags as printed: `linkdown`, `dead`, `onlink`, `offload`, ….
    pub flags: Vec<String>,
    /// Several next hops, between which the kernel chooses by hash.
    pub nexthops: Vec<NextHop>,
    /// The route as `ip route` writes it.
    pub text: String,
}

impl Route {
    /// The family, by the destination.
    pub fn version(&self) -> IpVersion {
        self.destination.version()
    }

    /// Whether the flag is set.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// A route with nothing but its kind and destination.
    pub(crate) fn new(kind: RouteKind, destination: Prefix) -> Self {
        Route {
            table: Table::MAIN,
            kind,
            destination,
            source: None,
            gateway: None,
            device: None,
            prefsrc: None,
            metric: 0,
            tos: 0,
            mtu: None,
            metrics: RouteMetrics::default(),
            scope: None,
            protocol: None,
            preference: None,
            flags: Vec::new(),
            nexthops: Vec::new(),
            text: String::new(),
        }
    }

    /// The route as `ip route` writes it, on one line.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if self.kind != RouteKind::Unicast {
            let _ = write!(text, "{} ", self.kind);
        }
        match self.destination.length {
            0 => text.push_str("default"),
            _ => text.push_str(&self.destination.shortest()),
        }
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(text, " {name} {value}");
            }
        };
        word("from", self.source.map(|source| source.to_string()));
        word(
            "tos",
            (self.tos != 0).then(|| format!("0x{:02x}", self.tos)),
        );
        word("via", self.gateway.map(|gateway| gateway.to_string()));
        word("dev", self.device.clone());
        word(
            "table",
            (self.table != Table::MAIN).then(|| self.table.to_string()),
        );
        word("proto", self.protocol.clone());
        word("scope", self.scope.clone());
        word("src", self.prefsrc.map(|source| source.to_string()));
        word(
            "metric",
            (self.metric != 0).then(|| self.metric.to_string()),
        );
        let metrics = self.metrics;
        let mtu = if metrics.mtu_locked {
            "mtu lock"
        } else {
            "mtu"
        };
        word(mtu, self.mtu.map(|mtu| mtu.to_string()));
        for (name, value) in [
            ("advmss", metrics.advmss),
            ("initcwnd", metrics.initcwnd),
            ("initrwnd", metrics.initrwnd),
            ("quickack", metrics.quickack.into()),
        ] {
            word(name, (value != 0).then(|| value.to_string()));
        }
        for hop in &self.nexthops {
            word("nexthop", Some(format!("weight {}", hop.weight)));
            word("via", hop.gateway.map(|gateway| gateway.to_string()));
            word("dev", hop.device.clone());
        }
        for flag in &self.flags {
            let _ = write!(text, " {flag}");
        }
        text
    }

    /// All ways out: the several next hops, or the one of the route itself.
    pub fn ways(&self) -> Vec<NextHop> {
        if self.nexthops.is_empty() {
            vec![NextHop {
                gateway: self.gateway,
                device: self.device.clone(),
                weight: 1,
                flags: self.flags.clone(),
            }]
        } else {
            self.nexthops.clone()
        }
    }
}

/// One way out of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NextHop {
    /// Next hop; None: on the link.
    pub gateway: Option<IpAddr>,
    /// Device.
    pub device: Option<String>,
    /// Share of the flows it gets.
    pub weight: u32,
    /// Flags as printed: `linkdown`, `dead`, ….
    pub flags: Vec<String>,
}

named_enum! {
    /// What a route does with a packet (RTN_*).
    pub enum RouteKind {
        /// Sends it on.
        Unicast => "unicast",
        /// It is the host's own.
        Local => "local",
        /// A broadcast address of the host's networks.
        Broadcast => "broadcast",
        /// The host's own when received, unicast when sent (IPv6 router anycast is this too).
        Anycast => "anycast",
        /// Multicast.
        Multicast => "multicast",
        /// Silently dropped; a local sender gets EINVAL.
        Blackhole => "blackhole",
        /// Dropped with "host unreachable" (IPv6: no route); a local sender gets EHOSTUNREACH (IPv6: ENETUNREACH).
        Unreachable => "unreachable",
        /// Dropped with "administratively prohibited"; a local sender gets EACCES.
        Prohibit => "prohibit",
        /// The look-up goes on with the next policy rule.
        Throw => "throw",
        /// Stateless NAT; no longer supported by the kernel.
        Nat => "nat",
    }
}

/// The family of `default`: what was asked for, else that of another address of the route; router preferences exist in
/// IPv6 only.
fn guess(version: Option<IpVersion>, known: Option<IpAddr>, has_preference: bool) -> IpVersion {
    match (version, known) {
        (Some(version), _) => version,
        (None, Some(address)) => IpVersion::of(address),
        (None, None) if has_preference => IpVersion::V6,
        (None, None) => IpVersion::V4,
    }
}

/// A type of service, as a number (iproute2 writes hexadecimal) or by the names of rt_dsfield that are in use.
pub(crate) fn tos(text: &str) -> u8 {
    match text {
        "lowdelay" => 0x10,
        "throughput" => 0x08,
        "reliability" => 0x04,
        _ => crate::text::fitting(text).unwrap_or(0),
    }
}
