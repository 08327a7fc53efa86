//! Routing: what the kernel would look up, and what it would do with a packet that arrives.
//!
//! Pure and three-valued. An answer lists every decision that the configuration allows; one decision means that it is
//! certain, more than one that it depends on what [`RouteAnswer::depends`] names (a mark that is not known, a setting that was
//! not read, the hash over several next hops), none that the configuration needed was not read at all.
//!
//! It does not look at netfilter (which may change mark, TOS and addresses before), at the per-destination cache of path MTUs
//! and redirects, nor at the sockets' own ideas.

mod input;
mod local;
mod lookup;
mod source;
mod table;

use std::net::IpAddr;

use transect_path::named_enum;

pub use input::{input_decision, source_validation};
pub use local::local_address;
pub use lookup::route;

/// What to look up (`struct flowi`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuery<'a> {
    /// Where to.
    pub destination: IpAddr,
    /// From where; None while a sender has not chosen one (`connect` without `bind`). Rules with `from` do not match then.
    pub source: Option<IpAddr>,
    /// Where it came in; None: the host itself sends it (which policy rules see as `iif lo`).
    pub in_interface: Option<&'a str>,
    /// The device the sender is bound to.
    pub out_interface: Option<&'a str>,
    /// The packet's mark; None: not known.
    pub mark: Option<u32>,
    /// Type of service.
    pub tos: u8,
}

impl<'a> RouteQuery<'a> {
    /// What the host itself sends, unmarked, to a destination.
    pub fn output(destination: IpAddr, source: Option<IpAddr>) -> Self {
        RouteQuery {
            destination,
            source,
            in_interface: None,
            out_interface: None,
            mark: Some(0),
            tos: 0,
        }
    }

    /// What arrived on a device, unmarked.
    pub fn input(source: IpAddr, destination: IpAddr, in_interface: &'a str) -> Self {
        RouteQuery {
            destination,
            source: Some(source),
            in_interface: Some(in_interface),
            out_interface: None,
            mark: Some(0),
            tos: 0,
        }
    }
}

/// What a look-up may end in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteAnswer {
    /// Every result the configuration allows, without duplicates; empty: what is needed was not read.
    pub results: Vec<RouteResult>,
    /// What it depends on, in words.
    pub depends: Vec<String>,
}

impl RouteAnswer {
    /// The result, when there is only one.
    pub fn certain(&self) -> Option<&RouteResult> {
        match self.results.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The decision in which all results agree, by whichever rule or route; None when they differ or there are none.
    pub fn decision(&self) -> Option<&RouteDecision> {
        let (first, rest) = self.results.split_first()?;
        rest.iter()
            .all(|result| result.decision == first.decision)
            .then_some(&first.decision)
    }

    /// Whether all results agree with a statement; None when they differ or there are none.
    pub fn all(&self, test: impl Fn(&RouteResult) -> bool) -> Option<bool> {
        let mut verdicts = self.results.iter().map(test);
        let first = verdicts.next()?;
        verdicts.all(|verdict| verdict == first).then_some(first)
    }
}

/// One result of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteResult {
    /// What is done.
    pub decision: RouteDecision,
    /// Priority of the policy rule that led there.
    pub rule: Option<u32>,
    /// The route, or the policy rule where that decided by itself, as `ip` writes it. None: nothing matched.
    pub text: Option<String>,
}

/// What a look-up says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteDecision {
    /// Send it there.
    Unicast {
        /// Device.
        device: String,
        /// Next hop; None: the destination is on the link.
        gateway: Option<IpAddr>,
        /// Source address a sender would get; None when it cannot be told.
        prefsrc: Option<IpAddr>,
        /// MTU of the route, else of the device, bytes.
        mtu: Option<u32>,
        /// What else the route says to TCP.
        metrics: transect_config::RouteMetrics,
    },
    /// The host's own address.
    Local,
    /// A broadcast address of one of the host's networks.
    Broadcast {
        /// Device.
        device: Option<String>,
    },
    /// A multicast address.
    Multicast {
        /// Device.
        device: Option<String>,
    },
    /// Dropped in silence; a sender gets EINVAL.
    Blackhole,
    /// Host (IPv6: destination) unreachable; a sender gets EHOSTUNREACH (policy rules: ENETUNREACH).
    Unreachable,
    /// Administratively prohibited; a sender gets EACCES.
    Prohibit,
    /// Nothing matched: network unreachable; a sender gets ENETUNREACH.
    NoRoute,
}

/// What source validation says of a packet that arrives (`fib_validate_source`; IPv4 only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceVerdict {
    /// Nothing against it.
    Valid,
    /// A source that cannot be: no counter moves but rt_cache's in_martian_src.
    Martian(MartianSource),
    /// The reverse path filter drops it (TcpExtIPReversePathFilter).
    ReversePath {
        /// The mode in force: the greater of `all` and the interface.
        mode: RpFilter,
        /// The way back that was found, when there is one: over another device.
        way_back: Option<String>,
    },
    /// Cannot be told; why.
    Depends(Vec<String>),
}

named_enum! {
    /// Why a source address cannot be (`ip_route_input_slow`, `fib_validate_source`).
    pub enum MartianSource {
        /// Multicast, or 255.255.255.255.
        NotUnicast => "not_unicast",
        /// 0.0.0.0 (before Linux 5.3 all of 0.0.0.0/8).
        Zero => "zero",
        /// 127.0.0.0/8 from outside, without route_localnet. IPv6: ::1.
        Loopback => "loopback",
        /// One of the host's own addresses, without accept_local.
        OwnAddress => "own_address",
        /// A broadcast address, or another that is no unicast address here.
        InvalidSource => "invalid_source",
    }
}

named_enum! {
    /// Mode of the reverse path filter (RFC 3704; `rp_filter`).
    pub enum RpFilter {
        /// Off.
        Off => "off",
        /// The way back must use the same interface.
        Strict => "strict",
        /// There must be a way back.
        Loose => "loose",
    }
}

/// What may become of a packet that arrives, at route_input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputAnswer {
    /// Every decision the configuration allows, without duplicates; empty: what is needed was not read.
    pub decisions: Vec<InputDecision>,
    /// What it depends on, in words.
    pub depends: Vec<String>,
}

impl InputAnswer {
    /// The decision, when there is only one.
    pub fn certain(&self) -> Option<&InputDecision> {
        match self.decisions.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// What becomes of a packet that arrives (`ip_route_input_slow`, `ip6_route_input`, `ip6_forward`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputDecision {
    /// Delivered to this host.
    Local,
    /// Delivered to this host as broadcast.
    Broadcast,
    /// Delivered to this host if it joined the group, which the configuration does not tell.
    Multicast,
    /// Sent on.
    Forward {
        /// Device.
        device: String,
        /// Next hop; None: on the link.
        gateway: Option<IpAddr>,
        /// MTU of the route, else of the device, bytes.
        mtu: Option<u32>,
        /// The route, as `ip` writes it.
        route: Option<String>,
    },
    /// Not this host's address, and forwarding is off (IpInAddrErrors, Ip6InAddrErrors); silent.
    NotLocal {
        /// The setting that says so, `net.ipv4.conf.eth0.forwarding`.
        setting: String,
    },
    /// No route (IpExtInNoRoutes, Ip6InNoRoutes); the sender is told "network unreachable".
    NoRoute,
    /// A blackhole route; silent, no counter.
    Blackhole {
        /// The route or policy rule, as `ip` writes it.
        text: Option<String>,
    },
    /// A prohibit route or rule; the sender is told.
    Prohibit {
        /// The route or policy rule, as `ip` writes it.
        text: Option<String>,
    },
    /// An unreachable route or rule; the sender is told.
    Unreachable {
        /// The route or policy rule, as `ip` writes it.
        text: Option<String>,
    },
    /// A source that cannot be.
    MartianSource(MartianSource),
    /// A destination that cannot be: 0.0.0.0, or 127.0.0.0/8 from outside.
    MartianDestination,
    /// The reverse path filter.
    ReversePath {
        /// The mode in force.
        mode: RpFilter,
        /// The way back that was found, when there is one: over another device.
        way_back: Option<String>,
    },
    /// IPv6: the source has link-local scope and the packet would have to leave the link (RFC 4291 section 2.5.6); the sender
    /// is told "beyond scope of source address".
    BeyondScope,
}

#[cfg(test)]
mod tests;
