//! The look-up: policy rules by priority, then tables (`fib_rules_lookup`, `fib_lookup`, `fib6_rule_lookup`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use transect_config::{
    HostConfig, IpVersion, NextHop, PolicyAction, PolicyRule, Prefix, Route, RouteKind,
    RouteMetrics, Table, default_policy_rules,
};

use super::source::preferred_source;
use super::table::{self, TableOutcome};
use super::{RouteAnswer, RouteDecision, RouteQuery, RouteResult};

/// Steps that one look-up may take beyond a few times the rules there are, over all the branches that uncertain rules open.
const SPARE_STEPS: usize = 4096;

/// How deep uncertain `goto`s may nest. The kernel's only lead forward; what others wrote into a file need not be sane.
const DEPTH_LIMIT: usize = 64;

/// What is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow<'a> {
    pub(super) destination: IpAddr,
    pub(super) source: Option<IpAddr>,
    /// None: `lo`, by which rules mean what the host itself sends.
    pub(super) iif: Option<&'a str>,
    pub(super) oif: Option<&'a str>,
    /// Routes over other devices than `oif` do not count; else they are only worse (IPv6).
    pub(super) strict: bool,
    pub(super) mark: Option<u32>,
    pub(super) tos: u8,
}

/// The tables and rules of one family, completed by what is known otherwise.
pub(super) struct Tables<'a> {
    pub(super) config: &'a HostConfig,
    pub(super) version: IpVersion,
    pub(super) routes: Cow<'a, [Route]>,
    pub(super) rules: Cow<'a, [PolicyRule]>,
    /// False: routes were not read, so that finding none means nothing.
    pub(super) complete: bool,
}

impl<'a> Tables<'a> {
    pub(super) fn new(config: &'a HostConfig, version: IpVersion) -> Self {
        let read = config.routes(version);
        let has_local =
            read.is_some_and(|routes| routes.iter().any(|route| route.table == Table::LOCAL));
        let routes = if has_local {
            Cow::Borrowed(read.unwrap_or_default())
        } else {
            // `ip route` alone shows table main only; addresses tell what is in table local.
            let mut routes = super::local::table_of_addresses(config, version);
            routes.extend_from_slice(read.unwrap_or_default());
            Cow::Owned(routes)
        };
        Tables {
            config,
            version,
            routes,
            rules: match config.policy_rules(version) {
                Some(rules) => Cow::Borrowed(rules),
                None => Cow::Owned(default_policy_rules(version)),
            },
            complete: read.is_some(),
        }
    }

    /// Looks a flow up: everything that may be found.
    pub(super) fn look_up<'t>(&'t self, flow: &Flow<'_>) -> Outcomes<'t> {
        let mut outcomes = Outcomes::default();
        let mut budget = Budget {
            steps: self
                .rules
                .len()
                .saturating_mul(4)
                .saturating_add(SPARE_STEPS),
            depth: DEPTH_LIMIT,
        };
        self.walk(flow, 0, &mut outcomes, &mut budget);
        outcomes
    }

    /// Walks the rules from a place on; an uncertain rule opens two branches.
    fn walk<'t>(
        &'t self,
        flow: &Flow<'_>,
        from: usize,
        outcomes: &mut Outcomes<'t>,
        budget: &mut Budget,
    ) {
        let mut place = from;
        while let Some(rule) = self.rules.get(place) {
            place += 1;
            if budget.steps == 0 {
                outcomes.depend("policy rules that lead further than is followed".to_owned());
                return;
            }
            budget.steps -= 1;
            let sure = match self.matches(rule, flow) {
                Match::No => continue,
                Match::Yes => true,
                Match::Maybe(why) => {
                    outcomes.depend(format!(
                        "policy rule {}: {} ({why})",
                        rule.priority, rule.text
                    ));
                    false
                }
            };
            if let PolicyAction::Goto(target) = rule.action {
                match self.forward_target(target, place) {
                    Some(target) if sure => place = target,
                    Some(target) if budget.depth > 0 => {
                        budget.depth -= 1;
                        self.walk(flow, target, outcomes, budget);
                        budget.depth += 1;
                    }
                    Some(_) => outcomes
                        .depend("policy rules that lead further than is followed".to_owned()),
                    None => {}
                }
                continue;
            }
            if self.act(rule, flow, outcomes) && sure {
                return;
            }
        }
        if self.complete {
            outcomes.push(Outcome {
                found: Found::Nothing,
                rule: None,
            });
        } else {
            outcomes.depend(format!(
                "{} routes, which were not read",
                family(self.version)
            ));
        }
    }

    /// Where a `goto` leads: to the first rule of that priority, if it stands further on. One without a target does nothing.
    fn forward_target(&self, target: u32, next: usize) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.priority == target)
            .filter(|place| *place >= next)
    }

    /// Does what a rule says. True: it decides, no further rule is asked.
    fn act<'t>(
        &'t self,
        rule: &'t PolicyRule,
        flow: &Flow<'_>,
        outcomes: &mut Outcomes<'t>,
    ) -> bool {
        let priority = Some(rule.priority);
        match &rule.action {
            PolicyAction::Lookup(table) => match table::look_up(self, table, flow) {
                TableOutcome::Nothing | TableOutcome::Throw => false,
                TableOutcome::Found(hits) => {
                    let suppressed = |route: &Route| {
                        rule.suppress_prefix_length
                            .is_some_and(|length| route.destination.length <= length)
                    };
                    if hits.iter().any(|hit| suppressed(hit.route)) {
                        return false;
                    }
                    if hits.len() > 1 {
                        outcomes.depend(format!(
                            "which of {} next hops the flow's hash chooses",
                            hits.len()
                        ));
                    }
                    for hit in hits {
                        outcomes.push(Outcome {
                            found: Found::Route(hit.route, hit.way),
                            rule: priority,
                        });
                    }
                    if let Some(group) = &rule.suppress_group {
                        outcomes.depend(format!("whether the device belongs to group {group}"));
                        return false;
                    }
                    true
                }
            },
            PolicyAction::Goto(_) | PolicyAction::Nop | PolicyAction::Other(_) => false,
            PolicyAction::Blackhole | PolicyAction::Unreachable | PolicyAction::Prohibit => {
                outcomes.push(Outcome {
                    found: Found::Rule(rule),
                    rule: priority,
                });
                true
            }
        }
    }

    /// Whether a rule is for a flow (`fib_rule_match`, `fib4_rule_match`, `fib6_rule_match`).
    fn matches(&self, rule: &PolicyRule, flow: &Flow<'_>) -> Match {
        let mut maybe: Option<String> = None;
        let mut fits = rule.from.is_none_or(|from| {
            flow.source.is_some_and(|source| from.contains(source)) || from.length == 0
        }) && rule.to.is_none_or(|to| to.contains(flow.destination))
            && rule
                .iif
                .as_deref()
                .is_none_or(|iif| iif == flow.iif.unwrap_or("lo"))
            && rule.oif.as_deref().is_none_or(|oif| flow.oif == Some(oif))
            && rule.tos.is_none_or(|tos| tos == flow.tos);
        if let Some(own) = rule.fwmark {
            match flow.mark {
                Some(mark) => fits &= (mark ^ own.value) & own.mask == 0,
                None => maybe = Some("the packet's mark is not known".to_owned()),
            }
        }
        if !rule.others.is_empty() {
            let links = self.config.links.as_deref();
            if rule.others.iter().any(|other| other == "l3mdev") && links.is_some_and(no_vrf) {
                fits = false;
            }
            maybe = Some(format!("{} is not evaluated", rule.others.join(" ")));
        }
        match (fits, maybe) {
            (true, Some(why)) => Match::Maybe(why),
            (fits, _) if fits != rule.not => Match::Yes,
            _ => Match::No,
        }
    }
}

/// Without a VRF device no packet belongs to one.
fn no_vrf(links: &[transect_config::Link]) -> bool {
    links.iter().all(|link| link.kind.as_deref() != Some("vrf"))
}

/// What a look-up may still spend.
struct Budget {
    steps: usize,
    depth: usize,
}

enum Match {
    Yes,
    No,
    Maybe(String),
}

/// What may be found.
#[derive(Default)]
pub(super) struct Outcomes<'t> {
    pub(super) list: Vec<Outcome<'t>>,
    pub(super) depends: Vec<String>,
}

impl<'t> Outcomes<'t> {
    fn push(&mut self, outcome: Outcome<'t>) {
        if !self.list.contains(&outcome) {
            self.list.push(outcome);
        }
    }

    fn depend(&mut self, on: String) {
        if !self.depends.contains(&on) {
            self.depends.push(on);
        }
    }
}

/// One thing found, and the policy rule that led to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome<'t> {
    pub(super) found: Found<'t>,
    pub(super) rule: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found<'t> {
    /// A route and one of its ways out.
    Route(&'t Route, NextHop),
    /// A rule that drops by itself.
    Rule(&'t PolicyRule),
    /// Nothing.
    Nothing,
}

impl Outcome<'_> {
    /// What was found, as `ip` writes it.
    pub(super) fn text(&self) -> Option<String> {
        match &self.found {
            Found::Route(route, _) => Some(route.text.clone()),
            Found::Rule(rule) => Some(format!("{}: {}", rule.priority, rule.text)),
            Found::Nothing => None,
        }
    }

    /// The decision, without the details of a unicast route.
    pub(super) fn kind(&self) -> Option<RouteKind> {
        match &self.found {
            Found::Route(route, _) => Some(route.kind),
            Found::Rule(rule) => match rule.action {
                PolicyAction::Blackhole => Some(RouteKind::Blackhole),
                PolicyAction::Prohibit => Some(RouteKind::Prohibit),
                _ => Some(RouteKind::Unreachable),
            },
            Found::Nothing => None,
        }
    }
}

/// What the host would do with a packet: `ip route get`.
///
/// With `in_interface` None it is one that the host itself sends; it is not checked that `source` is one of its addresses.
pub fn route(config: &HostConfig, query: &RouteQuery<'_>) -> RouteAnswer {
    if let Some(decision) = by_device(config, query) {
        let result = RouteResult {
            decision,
            rule: None,
            text: None,
        };
        return RouteAnswer {
            results: vec![result],
            depends: Vec::new(),
        };
    }
    let version = IpVersion::of(query.destination);
    let tables = Tables::new(config, version);
    let flow = Flow {
        destination: query.destination,
        source: query.source.filter(|source| !source.is_unspecified()),
        iif: query.in_interface,
        oif: query.out_interface,
        strict: true,
        mark: query.mark,
        tos: query.tos,
    };
    let flow = if version == IpVersion::V6 {
        arriving_v6(flow)
    } else {
        flow
    };
    let outcomes = tables.look_up(&flow);
    let mut answer = RouteAnswer {
        results: Vec::new(),
        depends: outcomes.depends,
    };
    for outcome in outcomes.list {
        let result = RouteResult {
            decision: decision(&tables, &outcome, query),
            rule: outcome.rule,
            text: outcome.text(),
        };
        if !answer.results.contains(&result) {
            answer.results.push(result);
        }
    }
    answer
}

/// What the host sends to an IPv4 group or to 255.255.255.255 leaves by the bound device, else by the one that has the source
/// address, whatever the routes say (`ip_route_output_key_hash_rcu`).
fn by_device(config: &HostConfig, query: &RouteQuery<'_>) -> Option<RouteDecision> {
    let IpAddr::V4(destination) = query.destination else {
        return None;
    };
    let is_group = destination.is_multicast();
    if query.in_interface.is_some() || !is_group && !destination.is_broadcast() {
        return None;
    }
    let holder = || {
        let source = query.source?;
        let addresses = config.addresses.as_deref()?;
        addresses
            .iter()
            .find(|address| address.local == source)
            .map(|address| address.device.clone())
    };
    let device = query.out_interface.map(str::to_owned).or_else(holder)?;
    Some(if is_group {
        RouteDecision::Multicast {
            device: Some(device),
        }
    } else {
        RouteDecision::Broadcast {
            device: Some(device),
        }
    })
}

/// IPv6 prefers routes over the device of arrival, and insists on it for addresses that have a meaning on one link only
/// (`ip6_pol_route_input`, `rt6_need_strict`).
pub(super) fn arriving_v6(flow: Flow<'_>) -> Flow<'_> {
    match (flow.iif, flow.oif) {
        (Some(iif), None) => Flow {
            oif: Some(iif),
            strict: needs_link(flow.destination),
            ..flow
        },
        _ => flow,
    }
}

/// Link-local, multicast and loopback addresses.
fn needs_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(address) => {
            address.is_multicast() || address.is_loopback() || address.is_unicast_link_local()
        }
        IpAddr::V4(_) => false,
    }
}

fn decision(tables: &Tables<'_>, outcome: &Outcome<'_>, query: &RouteQuery<'_>) -> RouteDecision {
    let kind = match (
        outcome.kind(),
        tables.version,
        query.out_interface,
        query.in_interface,
    ) {
        // "Apparently, routing tables are wrong. Assume, that the destination is on link."
        (
            None | Some(RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit),
            IpVersion::V4,
            Some(device),
            None,
        ) => {
            return unicast(tables, query, device, None, None, None);
        }
        (None, ..) => return RouteDecision::NoRoute,
        (Some(kind), ..) => kind,
    };
    let Found::Route(route, way) = &outcome.found else {
        return match kind {
            RouteKind::Blackhole => RouteDecision::Blackhole,
            RouteKind::Prohibit => RouteDecision::Prohibit,
            _ => RouteDecision::Unreachable,
        };
    };
    match kind {
        RouteKind::Local => RouteDecision::Local,
        RouteKind::Anycast if query.in_interface.is_some() => RouteDecision::Local,
        RouteKind::Broadcast => RouteDecision::Broadcast {
            device: way.device.clone(),
        },
        RouteKind::Multicast => RouteDecision::Multicast {
            device: way.device.clone(),
        },
        RouteKind::Blackhole => RouteDecision::Blackhole,
        RouteKind::Prohibit => RouteDecision::Prohibit,
        RouteKind::Unreachable | RouteKind::Throw | RouteKind::Nat => RouteDecision::Unreachable,
        RouteKind::Unicast | RouteKind::Anycast => {
            let device = way.device.as_deref().unwrap_or("");
            match query.destination {
                // What a unicast route says of these is the device only (`__mkroute_output`).
                IpAddr::V4(Ipv4Addr::BROADCAST) => RouteDecision::Broadcast {
                    device: way.device.clone(),
                },
                destination if destination.is_multicast() => RouteDecision::Multicast {
                    device: way.device.clone(),
                },
                _ => unicast(
                    tables,
                    query,
                    device,
                    way.gateway,
                    route.prefsrc,
                    Some(route),
                ),
            }
        }
    }
}

fn unicast(
    tables: &Tables<'_>,
    query: &RouteQuery<'_>,
    device: &str,
    gateway: Option<IpAddr>,
    prefsrc: Option<IpAddr>,
    route: Option<&Route>,
) -> RouteDecision {
    RouteDecision::Unicast {
        device: device.to_owned(),
        gateway,
        prefsrc: prefsrc.or_else(|| {
            let scope = route.and_then(|route| route.scope.as_deref());
            preferred_source(tables.config, query.destination, device, gateway, scope)
        }),
        mtu: mtu(tables.config, route, device),
        metrics: route.map(|route| route.metrics).unwrap_or_default(),
    }
}

/// The route's MTU, else the device's.
pub(super) fn mtu(config: &HostConfig, route: Option<&Route>, device: &str) -> Option<u32> {
    route
        .and_then(|route| route.mtu)
        .or_else(|| config.link(device)?.mtu)
}

/// `IPv4` or `IPv6`.
pub(super) fn family(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "IPv4",
        IpVersion::V6 => "IPv6",
    }
}

/// A route of table local.
pub(super) fn local_route(kind: RouteKind, destination: Prefix, device: &str) -> Route {
    Route {
        table: Table::LOCAL,
        kind,
        destination,
        source: None,
        gateway: None,
        device: Some(device.to_owned()),
        prefsrc: None,
        metric: 0,
        tos: 0,
        mtu: None,
        metrics: RouteMetrics::default(),
        scope: None,
        protocol: Some("kernel".to_owned()),
        preference: None,
        flags: Vec::new(),
        nexthops: Vec::new(),
        text: format!("{kind} {} dev {device} table local", destination.shortest()),
    }
}
