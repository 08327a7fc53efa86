//! Output of `ip` of which it is not known what was asked for.

use serde_json::{Map, Value};

use crate::address::{Address, read_addresses};
use crate::link::{Link, read_links};
use crate::neighbor::{Neighbor, read_neighbors};
use crate::parse::Parsed;
use crate::policy::{PolicyRule, read_policy_rules};
use crate::prefix::IpVersion;
use crate::route::{Route, read_routes};

/// What a text of `ip` turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum IpOutput {
    /// `ip link`.
    Links(Vec<Link>),
    /// `ip address`, which shows the devices too (without statistics, unless `-s` was given).
    Addresses(Vec<Link>, Vec<Address>),
    /// `ip route`.
    Routes(Vec<Route>),
    /// `ip rule`.
    PolicyRules(Vec<PolicyRule>),
    /// `ip neighbor`.
    Neighbors(Vec<Neighbor>),
    /// Nothing, or nothing that can be told apart: an empty list.
    Nothing,
}

/// Reads any output of `ip`, JSON or text, recognising which it is. `version`: as for [`read_routes`].
pub fn read_ip(text: &str, version: Option<IpVersion>) -> Parsed<IpOutput> {
    match recognize(text) {
        Some(Kind::Link) => read_links(text).map(IpOutput::Links),
        Some(Kind::Address) => {
            let links = read_links(text).value;
            read_addresses(text).map(|addresses| IpOutput::Addresses(links, addresses))
        }
        Some(Kind::Route) => read_routes(text, version).map(IpOutput::Routes),
        Some(Kind::Rule) => read_policy_rules(text).map(IpOutput::PolicyRules),
        Some(Kind::Neighbor) => read_neighbors(text).map(IpOutput::Neighbors),
        None => {
            let mut parsed = Parsed {
                value: IpOutput::Nothing,
                problems: Vec::new(),
            };
            let rest = text.trim();
            if !rest.is_empty() && rest != "[]" {
                parsed.problem(
                    1,
                    "output of ip link, address, route, rule or neighbor",
                    rest,
                );
            }
            parsed
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Link,
    Address,
    Route,
    Rule,
    Neighbor,
}

fn recognize(text: &str) -> Option<Kind> {
    if crate::json::is_json(text) {
        return crate::json::objects(text)
            .value
            .iter()
            .find_map(|(_, map)| of_object(map));
    }
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .take(50)
        .find_map(|line| of_line(line, text))
}

fn of_object(map: &Map<String, Value>) -> Option<Kind> {
    let has = |key: &str| map.contains_key(key);
    if has("addr_info") {
        Some(Kind::Address)
    } else if has("ifname") {
        Some(Kind::Link)
    } else if has("priority") {
        Some(Kind::Rule)
    } else if has("state") && has("dst") {
        Some(Kind::Neighbor)
    } else if has("dst") {
        Some(Kind::Route)
    } else {
        None
    }
}

fn of_line(line: &str, text: &str) -> Option<Kind> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if let Some(index) = first.strip_suffix(':')
        && index.parse::<u32>().is_ok()
    {
        let second = words.next()?;
        // `0: from all lookup local`, `0: not from …`; no device is called so and followed by that.
        if matches!(second, "from" | "not") && !line.contains('<') {
            return Some(Kind::Rule);
        }
        let shows_addresses = text
            .lines()
            .any(|line| line.trim_start().starts_with("inet"))
            || line.contains(" inet");
        return Some(if shows_addresses {
            Kind::Address
        } else {
            Kind::Link
        });
    }
    let is_state = |word: &str| word.parse::<crate::neighbor::NeighborState>().is_ok();
    if line.split_whitespace().any(is_state) && line.contains(" dev ") {
        return Some(Kind::Neighbor);
    }
    let is_target = |word: &str| word == "default" || word.parse::<crate::prefix::Prefix>().is_ok();
    let is_kind = first.parse::<crate::route::RouteKind>().is_ok();
    if is_target(first) || is_kind && words.next().is_some_and(is_target) {
        return Some(Kind::Route);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match read_ip(text, None).value {
            IpOutput::Links(_) => "links",
            IpOutput::Addresses(..) => "addresses",
            IpOutput::Routes(_) => "routes",
            IpOutput::PolicyRules(_) => "rules",
            IpOutput::Neighbors(_) => "neighbors",
            IpOutput::Nothing => "nothing",
        }
    }

    #[test]
    fn recognises_text_and_json() {
        for (text, expected) in [
            (include_str!("../tests/fixtures/net/ip_link.txt"), "links"),
            (include_str!("../tests/fixtures/net/ip_link.json"), "links"),
            (
                include_str!("../tests/fixtures/net/ip_address.txt"),
                "addresses",
            ),
            (
                include_str!("../tests/fixtures/net/ip_address.json"),
                "addresses",
            ),
            (include_str!("../tests/fixtures/net/ip_route.txt"), "routes"),
            (
                include_str!("../tests/fixtures/net/ip_route6.txt"),
                "routes",
            ),
            (
                include_str!("../tests/fixtures/net/ip_route.json"),
                "routes",
            ),
            (include_str!("../tests/fixtures/net/ip_rule.txt"), "rules"),
            (include_str!("../tests/fixtures/net/ip_rule6.json"), "rules"),
            (
                include_str!("../tests/fixtures/net/ip_neigh.txt"),
                "neighbors",
            ),
            (
                include_str!("../tests/fixtures/net/ip_neigh_s.txt"),
                "neighbors",
            ),
            (
                include_str!("../tests/fixtures/net/ip_neighbor.json"),
                "neighbors",
            ),
            ("[]", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(
                kind(text),
                expected,
                "{}",
                text.lines().next().unwrap_or("")
            );
            assert_eq!(read_ip(text, None).problems, []);
        }
        assert_eq!(read_ip("hello", None).problems.len(), 1);
    }
}
