//! One table's look-up: longest prefix, then metric (`fib_table_lookup`, `fib6_table_lookup`).

use std::cmp::Reverse;

use transect_config::{IpVersion, NextHop, Route, RouteKind, Table};

use super::lookup::{Flow, Tables};

/// The bits of the type of service that IPv4 routes compare (`INET_DSCP_LEGACY_TOS_MASK`).
const TOS_MASK: u8 = 0x1c;

/// What a table says.
pub(super) enum TableOutcome<'t> {
    /// Nothing: the next rule is asked.
    Nothing,
    /// A `throw` route: the next rule is asked.
    Throw,
    /// One route, with each of its ways out that may be chosen; or several routes alike.
    Found(Vec<Hit<'t>>),
}

/// A route and one of its ways out.
pub(super) struct Hit<'t> {
    pub(super) route: &'t Route,
    pub(super) way: NextHop,
}

pub(super) fn look_up<'t>(
    tables: &'t Tables<'_>,
    table: &Table,
    flow: &Flow<'_>,
) -> TableOutcome<'t> {
    let mut candidates: Vec<&Route> = tables
        .routes
        .iter()
        .filter(|route| route.table == *table && route.destination.contains(flow.destination))
        .collect();
    // Sorting is stable: among equals the order of the listing, which is the kernel's, stays.
    candidates.sort_by_key(|route| {
        (
            Reverse(route.destination.length),
            Reverse(route.source.map_or(0, |source| source.length)),
            Reverse(route.tos),
            route.metric,
        )
    });
    match tables.version {
        IpVersion::V4 => v4(tables, &candidates, flow),
        IpVersion::V6 => v6(tables, &candidates, flow),
    }
}

/// The first route that fits wins; an error route needs no device.
fn v4<'t>(tables: &Tables<'_>, candidates: &[&'t Route], flow: &Flow<'_>) -> TableOutcome<'t> {
    for route in candidates {
        if route.tos != 0 && route.tos != flow.tos & TOS_MASK {
            continue;
        }
        match route.kind {
            RouteKind::Throw => return TableOutcome::Throw,
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
                return TableOutcome::Found(vec![Hit {
                    route,
                    way: NextHop::default(),
                }]);
            }
            _ => {}
        }
        let hits: Vec<Hit<'t>> = ways(tables, route, flow.oif)
            .map(|way| Hit { route, way })
            .collect();
        if !hits.is_empty() {
            return TableOutcome::Found(hits);
        }
    }
    TableOutcome::Nothing
}

/// Of the routes of one prefix those with the lowest metric that has a usable one are compared: router preference first, then
/// whether they use the wanted device (`rt6_select`, `rt6_score_route`). Of routes that score alike any may be chosen.
fn v6<'t>(tables: &Tables<'_>, candidates: &[&'t Route], flow: &Flow<'_>) -> TableOutcome<'t> {
    let usable = candidates.iter().copied().filter(|route| {
        route.source.is_none_or(|source| {
            source.length == 0 || flow.source.is_some_and(|address| source.contains(address))
        })
    });
    let strict = flow.oif.filter(|_| flow.strict);
    let mut level: Option<(u8, Option<u8>, u32)> = None;
    let mut best: Option<(u8, bool)> = None;
    let mut hits: Vec<Hit<'t>> = Vec::new();
    for route in usable {
        let own_level = (
            route.destination.length,
            route.source.map(|source| source.length),
            route.metric,
        );
        if level != Some(own_level) {
            if !hits.is_empty() {
                break;
            }
            level = Some(own_level);
            best = None;
        }
        for way in ways(tables, route, strict) {
            let preference = match route.preference.as_deref() {
                Some("low") => 0,
                Some("high") => 2,
                _ => 1,
            };
            let score = (
                preference,
                flow.oif.is_some() && way.device.as_deref() == flow.oif,
            );
            if best.is_none_or(|best| score > best) {
                best = Some(score);
                hits.clear();
            }
            if best == Some(score) {
                hits.push(Hit { route, way });
            }
        }
    }
    if hits.iter().any(|hit| hit.route.kind == RouteKind::Throw) {
        return TableOutcome::Throw;
    }
    // One error or local route is as good as another; only the ways of unicast routes differ.
    if hits
        .first()
        .is_some_and(|hit| !matches!(hit.route.kind, RouteKind::Unicast | RouteKind::Multicast))
    {
        hits.truncate(1);
    }
    if hits.is_empty() {
        TableOutcome::Nothing
    } else {
        TableOutcome::Found(hits)
    }
}

/// A route's ways out that are alive and use the device, when one is demanded.
fn ways<'t>(
    tables: &'t Tables<'_>,
    route: &'t Route,
    device: Option<&'t str>,
) -> impl Iterator<Item = NextHop> + 't {
    route.ways().into_iter().filter(move |way| {
        let flag = |name: &str| way.flags.iter().any(|flag| flag == name) || route.has_flag(name);
        let down = flag("linkdown")
            && way.device.as_deref().is_some_and(|own| {
                tables
                    .config
                    .sysctls
                    .ignore_routes_with_linkdown(tables.version, own)
                    == Some(true)
            });
        !flag("dead") && !down && device.is_none_or(|device| way.device.as_deref() == Some(device))
    })
}
