//! All of a host's configuration but its rule sets.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::feature::{Feature, read_features};
use crate::filter::{TcFilter, read_filters};
use crate::ip::{IpOutput, read_ip};
use crate::link::Link;
use crate::neighbor::Neighbor;
use crate::parse::{Parsed, ReadProblem};
use crate::policy::PolicyRule;
use crate::prefix::IpVersion;
use crate::qdisc::{Qdisc, read_qdiscs};
use crate::route::Route;
use crate::sysctl::{Sysctls, read_sysctls};

/// One host's configuration at one time. `None` is "not read", an empty list is "read, and there is none".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostConfig {
    /// Devices.
    pub links: Option<Vec<Link>>,
    /// Addresses, both families.
    pub addresses: Option<Vec<Address>>,
    /// IPv4 routes of every table that was read.
    pub routes4: Option<Vec<Route>>,
    /// IPv6 routes of every table that was read.
    pub routes6: Option<Vec<Route>>,
    /// IPv4 policy rules, by priority.
    pub policy_rules4: Option<Vec<PolicyRule>>,
    /// IPv6 policy rules, by priority.
    pub policy_rules6: Option<Vec<PolicyRule>>,
    /// Neighbours, both families.
    pub neighbors: Option<Vec<Neighbor>>,
    /// Queueing disciplines.
    pub qdiscs: Option<Vec<Qdisc>>,
    /// Traffic control filters.
    pub filters: Option<Vec<TcFilter>>,
    /// Settings; each that is missing was not read.
    pub sysctls: Sysctls,
    /// Offload features by device; a device that is missing was not read.
    pub features: BTreeMap<String, Vec<Feature>>,
}

impl HostConfig {
    /// Routes of one family.
    pub fn routes(&self, version: IpVersion) -> Option<&[Route]> {
        match version {
            IpVersion::V4 => self.routes4.as_deref(),
            IpVersion::V6 => self.routes6.as_deref(),
        }
    }

    /// Policy rules of one family.
    pub fn policy_rules(&self, version: IpVersion) -> Option<&[PolicyRule]> {
        match version {
            IpVersion::V4 => self.policy_rules4.as_deref(),
            IpVersion::V6 => self.policy_rules6.as_deref(),
        }
    }

    /// The device of that name; None when it is not there or links were not read.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.as_deref()?.iter().find(|link| link.name == name)
    }

    /// The neighbour entry for an address on a device.
    pub fn neighbor(&self, device: &str, address: std::net::IpAddr) -> Option<&Neighbor> {
        self.neighbors
            .as_deref()?
            .iter()
            .find(|neighbor| neighbor.device == device && neighbor.address == address)
    }
}

/// A text that holds a part of a host's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigText<'a> {
    /// `ip link`, `address` or `neighbor`, or another of `ip` of which the family is not known.
    Ip(&'a str),
    /// `ip route` of one family; an empty text means that there are none.
    Routes(IpVersion, &'a str),
    /// `ip rule` of one family.
    PolicyRules(IpVersion, &'a str),
    /// `tc qdisc`.
    Qdiscs(&'a str),
    /// `tc filter`, with the device and the place asked for where the text does not say.
    Filters(&'a str, Option<&'a str>, Option<&'a str>),
    /// `ethtool -k` of a device.
    Features(&'a str, &'a str),
    /// `sysctl -a`.
    Sysctls(&'a str),
}

impl HostConfig {
    /// Takes in a text. Lists of the same kind replace what was there, except filters, features and settings, which add.
    pub fn absorb(&mut self, text: ConfigText<'_>) -> Vec<ReadProblem> {
        match text {
            ConfigText::Ip(text) => {
                let parsed = read_ip(text, None);
                self.absorb_ip(parsed.value);
                parsed.problems
            }
            ConfigText::Routes(version, text) => {
                let field = match version {
                    IpVersion::V4 => &mut self.routes4,
                    IpVersion::V6 => &mut self.routes6,
                };
                replace(field, crate::route::read_routes(text, Some(version)))
            }
            ConfigText::PolicyRules(version, text) => {
                let field = match version {
                    IpVersion::V4 => &mut self.policy_rules4,
                    IpVersion::V6 => &mut self.policy_rules6,
                };
                replace(field, crate::policy::read_policy_rules(text))
            }
            ConfigText::Qdiscs(text) => replace(&mut self.qdiscs, read_qdiscs(text)),
            ConfigText::Filters(text, device, parent) => {
                let parsed = read_filters(text, device, parent);
                self.filters.get_or_insert_default().extend(parsed.value);
                parsed.problems
            }
            ConfigText::Features(device, text) => {
                let parsed = read_features(text);
                self.features.insert(device.to_owned(), parsed.value);
                parsed.problems
            }
            ConfigText::Sysctls(text) => {
                let parsed = read_sysctls(text);
                self.sysctls.values.extend(parsed.value.values);
                parsed.problems
            }
        }
    }

    fn absorb_ip(&mut self, output: IpOutput) {
        match output {
            IpOutput::Links(links) => self.links = Some(links),
            IpOutput::Addresses(links, addresses) => {
                // `ip link` tells more of the devices, whichever was read first.
                if self.links.is_none() {
                    self.links = Some(links);
                }
                self.addresses = Some(addresses);
            }
            IpOutput::Routes(routes) => {
                // `ip route show table all` without a family holds both.
                let (v4, v6): (Vec<_>, Vec<_>) = routes
                    .into_iter()
                    .partition(|route| route.version() == IpVersion::V4);
                for (field, routes) in [(&mut self.routes4, v4), (&mut self.routes6, v6)] {
                    if !routes.is_empty() {
                        *field = Some(routes);
                    }
                }
            }
            IpOutput::PolicyRules(rules) => match rules.iter().find_map(PolicyRule::version) {
                Some(IpVersion::V6) => self.policy_rules6 = Some(rules),
                // IPv4 alone has the rule for table `default`, and without any sign it is what `ip rule` shows.
                _ => self.policy_rules4 = Some(rules),
            },
            IpOutput::Neighbors(neighbors) => self.neighbors = Some(neighbors),
            IpOutput::Nothing => {}
        }
    }
}

fn replace<T>(field: &mut Option<Vec<T>>, parsed: Parsed<Vec<T>>) -> Vec<ReadProblem> {
    *field = Some(parsed.value);
    parsed.problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_read_differs_from_none() {
        let mut config = HostConfig::default();
        assert_eq!(config.routes(IpVersion::V6), None);
        assert_eq!(config.absorb(ConfigText::Routes(IpVersion::V6, "")), []);
        assert_eq!(config.routes(IpVersion::V6), Some(&[][..]));
        assert_eq!(config.absorb(ConfigText::Ip("nonsense")).len(), 1);
        assert_eq!(config.links, None);
    }

    #[test]
    fn takes_in_a_whole_host() {
        let mut config = HostConfig::default();
        for text in [
            ConfigText::Ip(include_str!("../tests/fixtures/net/ip_link.json")),
            ConfigText::Ip(include_str!("../tests/fixtures/net/ip_address.json")),
            ConfigText::Ip(include_str!("../tests/fixtures/net/ip_neighbor.json")),
            ConfigText::Ip(include_str!("../tests/fixtures/net/ip_route_all.txt")),
            ConfigText::PolicyRules(
                IpVersion::V4,
                include_str!("../tests/fixtures/net/ip_rule.txt"),
            ),
            ConfigText::PolicyRules(
                IpVersion::V6,
                include_str!("../tests/fixtures/net/ip_rule6.txt"),
            ),
            ConfigText::Qdiscs(include_str!("../tests/fixtures/net/tc_qdisc.json")),
            ConfigText::Filters(
                include_str!("../tests/fixtures/net/tc_filter_ingress.json"),
                Some("eth0"),
                Some("ingress"),
            ),
            ConfigText::Filters(
                include_str!("../tests/fixtures/net/tc_filter_egress.txt"),
                Some("eth0"),
                Some("egress"),
            ),
            ConfigText::Features("eth0", include_str!("../tests/fixtures/net/ethtool_k.txt")),
            ConfigText::Sysctls(include_str!("../tests/fixtures/net/sysctl.txt")),
        ] {
            assert_eq!(config.absorb(text), []);
        }
        assert_eq!(
            config.link("p0").and_then(|link| link.master.as_deref()),
            Some("br0")
        );
        // ip link's statistics survive ip address, which has none.
        assert!(
            config
                .link("eth0")
                .is_some_and(|link| !link.statistics.is_empty())
        );
        assert_eq!(config.routes(IpVersion::V4).map(<[Route]>::len), Some(19));
        assert_eq!(config.routes(IpVersion::V6).map(<[Route]>::len), Some(16));
        assert!(
            config
                .neighbor("eth0", "10.0.0.9".parse().unwrap())
                .is_some_and(Neighbor::is_unresolved)
        );
        assert_eq!(config.filters.as_ref().map(Vec::len), Some(3));
    }
}
