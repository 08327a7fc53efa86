//! Routes from the text of `ip route`.

use std::net::IpAddr;

use super::{NextHop, Route, RouteKind, Table};
use crate::parse::Parsed;
use crate::prefix::{IpVersion, Prefix};
use crate::text::Words;

/// Words that stand for themselves.
const FLAGS: &[&str] = &[
    "dead",
    "onlink",
    "pervasive",
    "offload",
    "trap",
    "notify",
    "linkdown",
    "unresolved",
    "rt_offload",
    "rt_trap",
    "rt_offload_failed",
];

pub(super) fn read(text: &str, version: Option<IpVersion>) -> Parsed<Vec<Route>> {
    let mut parsed: Parsed<Vec<Route>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        // -o puts a backslash where the next hops' lines would begin.
        for piece in line.split('\\') {
            let trimmed = piece.trim();
            if trimmed.is_empty() {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix("nexthop ") {
                match parsed.value.last_mut() {
                    Some(route) => {
                        add_hop(route, rest);
                        route.text = format!("{} {trimmed}", route.text);
                    }
                    None => parsed.problem(number + 1, "a route before its next hops", line),
                }
                continue;
            }
            match route(trimmed, version) {
                Some(mut route) => {
                    route.text = trimmed.to_owned();
                    parsed.value.push(route);
                }
                None => parsed.problem(
                    number + 1,
                    "a route, such as \"10.0.0.0/8 via 10.1.0.1 dev eth0\"",
                    line,
                ),
            }
        }
    }
    parsed
}

fn route(line: &str, version: Option<IpVersion>) -> Option<Route> {
    let mut words = Words::new(line);
    let mut first = words.next()?;
    let kind = match first.parse::<RouteKind>() {
        Ok(kind) => {
            first = words.next()?;
            kind
        }
        Err(_) => RouteKind::Unicast,
    };
    let everything = matches!(first, "default" | "all");
    let destination = if everything {
        Prefix::everything(version.unwrap_or(IpVersion::V4))
    } else {
        first.parse().ok()?
    };
    let mut route = Route::new(kind, destination);
    details(&mut route, &mut words)?;
    if everything {
        let known = route
            .prefsrc
            .or(route.gateway)
            .or_else(|| route.nexthops.iter().find_map(|hop| hop.gateway));
        route.destination =
            Prefix::everything(super::guess(version, known, route.preference.is_some()));
    }
    Some(route)
}

fn details(route: &mut Route, words: &mut Words<'_>) -> Option<()> {
    while let Some(word) = words.next() {
        match word {
            "via" => route.gateway = via(words),
            "dev" => route.device = Some(words.next()?.to_owned()),
            "table" => route.table = Table::read(words.next()?),
            "from" => route.source = words.value(),
            "src" => route.prefsrc = words.value(),
            "metric" => route.metric = words.value()?,
            "tos" | "dsfield" => route.tos = super::tos(words.next()?),
            "mtu" => {
                if words.peek() == Some("lock") {
                    words.next();
                    route.metrics.mtu_locked = true;
                }
                route.mtu = words.value();
            }
            "advmss" => route.metrics.advmss = words.value()?,
            "initcwnd" => route.metrics.initcwnd = words.value()?,
            "initrwnd" => route.metrics.initrwnd = words.value()?,
            "quickack" => route.metrics.quickack = words.value::<u32>()? != 0,
            "scope" => route.scope = Some(words.next()?.to_owned()),
            "proto" => route.protocol = Some(words.next()?.to_owned()),
            "pref" => route.preference = Some(words.next()?.to_owned()),
            "nexthop" => {
                let rest: Vec<&str> = words.by_ref().collect();
                for hop in rest.join(" ").split("nexthop") {
                    add_hop(route, hop);
                }
            }
            _ if FLAGS.contains(&word) => route.flags.push(word.to_owned()),
            // Metrics, times and ids that no decision needs.
            _ => {}
        }
    }
    Some(())
}

/// `10.0.0.1`, or `inet6 fe80::1` where the family differs from the route's.
fn via(words: &mut Words<'_>) -> Option<IpAddr> {
    if matches!(words.peek(), Some("inet" | "inet6")) {
        words.next();
    }
    words.value()
}

fn add_hop(route: &mut Route, line: &str) {
    let mut hop = NextHop {
        weight: 1,
        ..NextHop::default()
    };
    let mut words = Words::new(line);
    while let Some(word) = words.next() {
        match word {
            "via" => hop.gateway = via(&mut words),
            "dev" => hop.device = words.next().map(str::to_owned),
            "weight" => hop.weight = words.value().unwrap_or(1),
            _ if FLAGS.contains(&word) => hop.flags.push(word.to_owned()),
            _ => {}
        }
    }
    route.nexthops.push(hop);
}
