//! Routes as the sender and the receiver get them: `walk`'s decisions with devices instead of names, kept for the next packet,
//! and the path MTUs that ICMP told (`net/ipv4/route.c`, `net/ipv6/route.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hashbrown::HashMap;
use transect_config::{IpVersion, PolicyAction, RouteMetrics};
use transect_path::Timestamp;
use transect_walk::routing::{
    InputDecision, MartianSource, RouteDecision, RouteQuery, RouteResult, input_decision, route,
};

use crate::device::DeviceId;
use crate::ip::settings::IpSettings;
use crate::ip::version_of;
use crate::socket::Errno;
use crate::stack::Stack;

/// Look-ups that are kept for each direction. Beyond that all are forgotten: they can be made again.
const MOST_ROUTES: usize = 65_536;
/// Destinations whose path MTU is kept (`FNHE_HASH_SIZE` times `FNHE_RECLAIM_DEPTH`).
const MOST_PATH_MTUS: usize = 10_240;
/// `ip_rt_mtu_expires`, `ip6_rt_mtu_expires`.
const PATH_MTU_EXPIRES: Duration = Duration::from_secs(600);
/// `ip_rt_min_pmtu`: smaller ones are not believed, and fragments are sent instead.
const LEAST_PATH_MTU_V4: u32 = 552;
/// IPv6's least MTU (RFC 8200 section 5).
const LEAST_PATH_MTU_V6: u32 = 1280;
/// `IP_MAX_MTU`.
const MAX_MTU_V4: u32 = 65_535;
/// `IP6_MAX_MTU`.
const MAX_MTU_V6: u32 = 65_575;

/// Where packets to a destination go (`struct dst_entry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// By which device.
    pub(crate) device: DeviceId,
    /// To which next hop; the destination itself where it is on the link.
    pub(crate) next_hop: IpAddr,
    /// From which address, where the sender has not chosen one; unspecified where the host has none.
    pub(crate) source: IpAddr,
    /// Where to: as it was asked for, but this host's own address where that was the unspecified one.
    pub(crate) destination: IpAddr,
    /// Path MTU in bytes: the route's, the device's, or what ICMP said.
    pub(crate) mtu: u32,
    /// "Don't fragment" is not to be set: the path MTU is smaller than what is believed (`dst_metric_locked(RTAX_MTU)`).
    pub(crate) mtu_locked: bool,
    /// What the route says to TCP.
    pub(crate) metrics: RouteMetrics,
    /// To this host itself.
    pub(crate) local: bool,
    /// To a broadcast or multicast address.
    pub(crate) group: bool,
    /// How often routes had changed when it was looked up: see [`Stack::route_is_current`].
    pub(crate) generation: u64,
    /// When the path MTU is forgotten that ICMP told; nothing where it told none.
    pub(crate) expires: Option<Timestamp>,
}

impl Route {
    /// To a broadcast address (RTCF_BROADCAST).
    pub(crate) fn is_broadcast(&self) -> bool {
        self.group && !self.destination.is_multicast()
    }
}

/// What to look up for something that this host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RouteKey {
    /// Where to.
    pub(crate) destination: IpAddr,
    /// From where, where it is chosen already.
    pub(crate) source: Option<IpAddr>,
    /// SO_BINDTODEVICE.
    pub(crate) device: Option<DeviceId>,
    /// SO_MARK.
    pub(crate) mark: u32,
    /// IP_TOS.
    pub(crate) tos: u8,
}

/// What an arriving packet's route depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct InputKey {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) device: DeviceId,
    pub(crate) mark: u32,
    pub(crate) tos: u8,
}

/// What becomes of an arriving packet: [`InputDecision`] with devices instead of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputRoute {
    /// Delivered; `group` by broadcast or multicast.
    Local { group: bool },
    /// To a group that nobody here joined.
    OtherGroup,
    /// Sent on.
    Forward {
        device: DeviceId,
        next_hop: IpAddr,
        mtu: u32,
    },
    /// Not this host's, which does not forward.
    NotLocal,
    /// No route.
    NoRoute,
    /// Silently dropped.
    Blackhole,
    /// Administratively prohibited.
    Prohibit,
    /// Unreachable.
    Unreachable,
    /// A source that cannot be.
    MartianSource(MartianSource),
    /// A destination that cannot be.
    MartianDestination,
    /// The reverse path filter.
    ReversePath,
    /// IPv6: a link-local source does not leave its link.
    BeyondScope,
}

/// What ICMP said of a destination (`struct fib_nh_exception`).
#[derive(Debug, Clone, Copy)]
struct PathMtu {
    mtu: u32,
    locked: bool,
    expires: Timestamp,
}

/// Looked-up routes. Never iterated: no order shows.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    output: HashMap<(RouteKey, bool), Result<Route, Errno>>,
    input: HashMap<InputKey, InputRoute>,
    /// What was looked up last in either direction: packets come in rows.
    last_output: Option<((RouteKey, bool), Result<Route, Errno>)>,
    last_input: Option<(InputKey, InputRoute)>,
    path_mtus: BTreeMap<IpAddr, PathMtu>,
    generation: u64,
}

impl Routes {
    pub(crate) fn forget(&mut self) {
        self.output.clear();
        self.input.clear();
        self.last_output = None;
        self.last_input = None;
        self.generation += 1;
    }
}

impl Stack {
    /// Sending 4: the route for something that this host sends (`ip_route_output_flow`, `ip6_dst_lookup_flow`). Counts
    /// nothing: the caller knows whether IpOutNoRoutes is due.
    pub(crate) fn route(&mut self, key: &RouteKey) -> Result<Route, Errno> {
        self.route_from(key, false)
    }

    /// The same; with `any_source` the source need not be this host's (`FLOWI_FLAG_ANYSRC`).
    pub(crate) fn route_from(&mut self, key: &RouteKey, any_source: bool) -> Result<Route, Errno> {
        let asked = (*key, any_source);
        let mut route = match &self.ip.routes.last_output {
            Some((known, found)) if *known == asked => (*found)?,
            _ => self.known_route(asked)?,
        };
        route.generation = self.ip.routes.generation;
        if let Some(known) = self.ip.routes.path_mtus.get(&route.destination)
            && known.expires > self.now
        {
            route.mtu = route.mtu.min(known.mtu);
            route.mtu_locked = known.locked;
            route.expires = Some(known.expires);
        }
        Ok(route)
    }

    /// Of the routes that were looked up before, or looked up now.
    fn known_route(&mut self, asked: (RouteKey, bool)) -> Result<Route, Errno> {
        let found = match self.ip.routes.output.get(&asked) {
            Some(found) => *found,
            None => {
                let found = self.look_up(&asked.0, asked.1);
                let slow = &mut self.ip.statistics.out_slow_tot;
                *slow = slow.wrapping_add(1);
                let routes = &mut self.ip.routes.output;
                if routes.len() >= MOST_ROUTES {
                    routes.clear();
                }
                routes.insert(asked, found);
                found
            }
        };
        self.ip.routes.last_output = Some((asked, found));
        found
    }

    /// Whether a route that somebody kept still holds (`dst_check`).
    pub(crate) fn route_is_current(&self, route: &Route) -> bool {
        route.generation == self.ip.routes.generation
            && route.expires.is_none_or(|expires| expires > self.now)
    }

    /// The settings of IP.
    pub(crate) fn ip_settings(&mut self) -> IpSettings {
        *self.known_ip_settings()
    }

    /// The same, without a copy.
    pub(crate) fn known_ip_settings(&mut self) -> &IpSettings {
        self.ip
            .settings
            .get_or_insert_with(|| IpSettings::read(&self.settings))
    }

    /// The path MTU to a destination became smaller, an ICMP error says (`__ip_rt_update_pmtu`, `__ip6_rt_update_pmtu`).
    pub(crate) fn update_path_mtu(&mut self, key: &RouteKey, mtu: u32) {
        let Ok(route) = self.route(key) else {
            return;
        };
        // ip_mtu_locked: by the route, or since ICMP has named an MTU that is too small to be believed.
        if route.mtu_locked {
            return;
        }
        let known = self.ip.routes.path_mtus.get(&route.destination);
        let fresh = known.is_some_and(|known| self.now + PATH_MTU_EXPIRES / 2 < known.expires);
        if mtu > route.mtu || mtu == route.mtu && (fresh || known.is_none()) {
            return;
        }
        if route.destination.is_ipv6() && mtu < LEAST_PATH_MTU_V6 {
            // RFC 8201 section 4: not believed.
            return;
        }
        let (mtu, locked) = match version_of(route.destination) {
            IpVersion::V4 if mtu < LEAST_PATH_MTU_V4 => (route.mtu.min(LEAST_PATH_MTU_V4), true),
            _ => (mtu, false),
        };
        let now = self.now;
        let expires = now + PATH_MTU_EXPIRES;
        let known = &mut self.ip.routes.path_mtus;
        if known.len() >= MOST_PATH_MTUS && !known.contains_key(&route.destination) {
            known.retain(|_, one| one.expires > now);
            if known.len() >= MOST_PATH_MTUS {
                known.pop_first();
            }
        }
        known.insert(
            route.destination,
            PathMtu {
                mtu,
                locked,
                expires,
            },
        );
        // Whoever kept a route looks it up again.
        self.ip.routes.generation += 1;
    }

    /// What ICMP said of the path to a destination, in bytes, as long as it holds.
    pub(crate) fn path_mtu(&self, destination: IpAddr) -> Option<u32> {
        let known = self.ip.routes.path_mtus.get(&destination)?;
        (known.expires > self.now).then_some(known.mtu)
    }

    /// What becomes of a packet that arrives (`ip_route_input_noref`, `ip6_route_input`).
    pub(crate) fn route_input(&mut self, key: &InputKey) -> InputRoute {
        if let Some((known, found)) = &self.ip.routes.last_input
            && known == key
        {
            return *found;
        }
        if let Some(found) = self.ip.routes.input.get(key) {
            self.ip.routes.last_input = Some((*key, *found));
            return *found;
        }
        let found = self.look_up_input(key);
        let slow = &mut self.ip.statistics.in_slow_tot;
        *slow = slow.wrapping_add(1);
        let routes = &mut self.ip.routes.input;
        if routes.len() >= MOST_ROUTES {
            routes.clear();
        }
        routes.insert(*key, found);
        found
    }

    /// The device of this name.
    pub(crate) fn device_named(&self, name: &str) -> Option<DeviceId> {
        self.link.named(name)
    }

    /// The broadcast addresses of this host's networks.
    #[inline]
    pub(crate) fn broadcasts(&mut self) -> &[Ipv4Addr] {
        let config = &self.config;
        self.ip.broadcasts.get_or_insert_with(|| {
            let addresses = config.addresses.as_deref().unwrap_or_default();
            addresses
                .iter()
                .filter(|own| own.local.is_ipv4())
                .flat_map(|own| {
                    let told = own.broadcast.and_then(|address| match address {
                        IpAddr::V4(address) => Some(address),
                        IpAddr::V6(_) => None,
                    });
                    [told, own.prefix().directed_broadcast()]
                })
                .flatten()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        })
    }

    /// A device's MTU as IP sees it, in bytes.
    fn device_mtu(&self, device: DeviceId, version: IpVersion) -> u32 {
        let own = self.link.device(device);
        let most = match version {
            IpVersion::V4 => MAX_MTU_V4,
            IpVersion::V6 => MAX_MTU_V6,
        };
        own.map_or(1500, |device| device.mtu).min(most)
    }

    fn look_up(&self, key: &RouteKey, any_source: bool) -> Result<Route, Errno> {
        let version = version_of(key.destination);
        let source = key.source.filter(|source| !source.is_unspecified());
        if let Some(source) = source {
            self.check_source(source, version, any_source)?;
        }
        let device = match key.device {
            Some(id) => {
                let device = self.link.device(id);
                let device = device.filter(|device| device.up);
                Some((id, device.ok_or(Errno::Enetunreach)?))
            }
            None => None,
        };
        let mut destination = key.destination;
        if destination.is_unspecified() {
            // "To nowhere" is to this host.
            destination = source.unwrap_or(match version {
                IpVersion::V4 => Ipv4Addr::LOCALHOST.into(),
                IpVersion::V6 => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let query = RouteQuery {
            destination,
            source,
            in_interface: None,
            out_interface: device.map(|(_, device)| device.name.as_str()),
            mark: Some(key.mark),
            tos: key.tos,
        };
        if destination.is_loopback() && self.link.device(DeviceId::LOOPBACK).is_some_and(|lo| lo.up)
        {
            // Whether or not the configuration lists what every host has.
            return Ok(self.local_route(destination, source));
        }
        let answer = route(&self.config, &query);
        let chosen = choose(&answer.results, source, destination).ok_or(Errno::Enetunreach)?;
        self.route_of(chosen, destination, source, device.map(|(id, _)| id))
    }

    /// Which sources a sender may use (`ip_route_output_key_hash_rcu`).
    fn check_source(
        &self,
        source: IpAddr,
        version: IpVersion,
        any_source: bool,
    ) -> Result<(), Errno> {
        if version_of(source) != version || source.is_multicast() {
            return Err(Errno::Einval);
        }
        if let IpAddr::V4(address) = source {
            let zero = address.octets()[0] == 0;
            if address.is_broadcast() || zero || !any_source && !self.is_local(source) {
                return Err(Errno::Einval);
            }
        }
        Ok(())
    }

    fn route_of(
        &self,
        result: &RouteResult,
        destination: IpAddr,
        source: Option<IpAddr>,
        bound: Option<DeviceId>,
    ) -> Result<Route, Errno> {
        let version = version_of(destination);
        let group = |device: &Option<String>| {
            let device = device
                .as_deref()
                .and_then(|name| self.device_named(name))
                .or(bound)
                .ok_or(Errno::Enetunreach)?;
            let address = source
                .or_else(|| self.address_of(device, version))
                .unwrap_or(version.unspecified());
            Ok(Route {
                device,
                next_hop: destination,
                source: address,
                destination,
                mtu: self.device_mtu(device, version),
                mtu_locked: false,
                metrics: RouteMetrics::default(),
                local: false,
                group: true,
                generation: 0,
                expires: None,
            })
        };
        match &result.decision {
            RouteDecision::Local => Ok(self.local_route(destination, source)),
            RouteDecision::Broadcast { device } | RouteDecision::Multicast { device } => {
                group(device)
            }
            RouteDecision::Unicast {
                device,
                gateway,
                prefsrc,
                mtu,
                metrics,
            } => {
                let device = self.device_named(device).ok_or(Errno::Enetunreach)?;
                let up = self.link.device(device);
                if !up.is_some_and(|device| device.up) {
                    return Err(Errno::Enetunreach);
                }
                let source = match (source.or(*prefsrc), version) {
                    (Some(source), _) => source,
                    (None, IpVersion::V4) => version.unspecified(),
                    // `ipv6_dev_get_saddr`.
                    (None, IpVersion::V6) => return Err(Errno::Eaddrnotavail),
                };
                Ok(Route {
                    device,
                    next_hop: gateway.unwrap_or(destination),
                    source,
                    destination,
                    mtu: mtu
                        .unwrap_or(u32::MAX)
                        .min(self.device_mtu(device, version)),
                    mtu_locked: metrics.mtu_locked,
                    metrics: *metrics,
                    local: false,
                    group: false,
                    generation: 0,
                    expires: None,
                })
            }
            RouteDecision::Blackhole => Err(Errno::Einval),
            RouteDecision::Prohibit => Err(Errno::Eacces),
            RouteDecision::Unreachable if self.by_rule(result, version) => Err(Errno::Enetunreach),
            RouteDecision::Unreachable => Err(Errno::Ehostunreach),
            RouteDecision::NoRoute => Err(Errno::Enetunreach),
        }
    }

    /// Whether a policy rule decided by itself, rather than a route (`fib4_rule_action`).
    fn by_rule(&self, result: &RouteResult, version: IpVersion) -> bool {
        let rules = self.config.policy_rules(version).unwrap_or_default();
        rules.iter().any(|rule| {
            Some(rule.priority) == result.rule && rule.action == PolicyAction::Unreachable
        })
    }

    /// To this host: by `lo`, from the address itself, or from the one that table local names for its network (127.0.0.1).
    fn local_route(&self, destination: IpAddr, source: Option<IpAddr>) -> Route {
        let own = |address: IpAddr| {
            let addresses = self.config.addresses.as_deref().unwrap_or_default();
            addresses.iter().any(|known| known.local == address)
        };
        let version = version_of(destination);
        let source = source.unwrap_or(match destination {
            IpAddr::V4(address) if address.is_loopback() && !own(destination) => {
                Ipv4Addr::LOCALHOST.into()
            }
            _ => destination,
        });
        Route {
            device: DeviceId::LOOPBACK,
            next_hop: destination,
            source,
            destination,
            mtu: self.device_mtu(DeviceId::LOOPBACK, version),
            mtu_locked: false,
            metrics: RouteMetrics::default(),
            local: true,
            group: false,
            generation: 0,
            expires: None,
        }
    }

    /// A device's first address (`inet_select_addr`; for IPv6 its link-local one, by which groups are addressed).
    pub(crate) fn address_of(&self, device: DeviceId, version: IpVersion) -> Option<IpAddr> {
        let name = &self.link.device(device)?.name;
        let addresses = self.config.addresses.as_deref().unwrap_or_default();
        let mut own = addresses.iter().filter(|address| {
            address.device == *name && address.version() == version && address.is_usable()
        });
        match version {
            IpVersion::V4 => own.next(),
            IpVersion::V6 => {
                let first = own.clone().next();
                own.find(|address| address.scope == "link").or(first)
            }
        }
        .map(|address| address.local)
    }

    fn look_up_input(&self, key: &InputKey) -> InputRoute {
        let Some(device) = self.link.device(key.device) else {
            return InputRoute::NoRoute;
        };
        let query = RouteQuery {
            destination: key.destination,
            source: Some(key.source),
            in_interface: Some(&device.name),
            out_interface: None,
            mark: Some(key.mark),
            tos: key.tos,
        };
        let answer = input_decision(&self.config, &query);
        let flow = flow_hash(key.source, key.destination);
        let index = flow.checked_rem(answer.decisions.len()).unwrap_or(0);
        match answer.decisions.get(index) {
            None => InputRoute::NoRoute,
            Some(InputDecision::Local) => InputRoute::Local { group: false },
            Some(InputDecision::Broadcast) => InputRoute::Local { group: true },
            Some(InputDecision::Multicast) if self.joined(key.destination) => {
                InputRoute::Local { group: true }
            }
            Some(InputDecision::Multicast) => InputRoute::OtherGroup,
            Some(InputDecision::Forward {
                device,
                gateway,
                mtu,
                ..
            }) => match self.device_named(device) {
                Some(device) => InputRoute::Forward {
                    device,
                    next_hop: gateway.unwrap_or(key.destination),
                    mtu: mtu
                        .unwrap_or(u32::MAX)
                        .min(self.device_mtu(device, version_of(key.destination))),
                },
                None => InputRoute::NoRoute,
            },
            Some(InputDecision::NotLocal { .. }) => InputRoute::NotLocal,
            Some(InputDecision::NoRoute) => InputRoute::NoRoute,
            Some(InputDecision::Blackhole { .. }) => InputRoute::Blackhole,
            Some(InputDecision::Prohibit { .. }) => InputRoute::Prohibit,
            Some(InputDecision::Unreachable { .. }) => InputRoute::Unreachable,
            Some(InputDecision::MartianSource(kind)) => InputRoute::MartianSource(*kind),
            Some(InputDecision::MartianDestination) => InputRoute::MartianDestination,
            Some(InputDecision::ReversePath { .. }) => InputRoute::ReversePath,
            Some(InputDecision::BeyondScope) => InputRoute::BeyondScope,
        }
    }

    /// Whether this host takes packets to a group: all systems, all nodes, and the solicited-node groups of its addresses
    /// (RFC 4291 section 2.7.1). Programs join none in the model.
    fn joined(&self, group: IpAddr) -> bool {
        match group {
            IpAddr::V4(group) => group == Ipv4Addr::new(224, 0, 0, 1),
            IpAddr::V6(group) => {
                let segments = group.segments();
                let all_nodes = matches!(segments, [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1]);
                let all_routers = matches!(segments, [0xff02, 0, 0, 0, 0, 0, 0, 2])
                    && self
                        .config
                        .sysctls
                        .of_interface(IpVersion::V6, "all", "forwarding")
                        == Some(1);
                let octets = group.octets();
                let solicited = octets[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
                let addresses = self.config.addresses.as_deref().unwrap_or_default();
                all_nodes
                    || all_routers
                    || solicited
                        && addresses.iter().any(|own| match own.local {
                            IpAddr::V6(own) => own.octets()[13..] == octets[13..],
                            IpAddr::V4(_) => false,
                        })
            }
        }
    }
}

/// Of several ways the one that the flow's addresses choose (`fib_multipath_hash`, policy 0).
fn choose(
    results: &[RouteResult],
    source: Option<IpAddr>,
    destination: IpAddr,
) -> Option<&RouteResult> {
    let source = source.unwrap_or(version_of(destination).unspecified());
    let index = flow_hash(source, destination).checked_rem(results.len())?;
    results.get(index)
}

/// A number of a flow's two addresses, the same in every run (FNV-1a).
fn flow_hash(source: IpAddr, destination: IpAddr) -> usize {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for address in [source, destination] {
        let bits = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        for byte in bits.to_be_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    (hash >> 32) as usize
}
