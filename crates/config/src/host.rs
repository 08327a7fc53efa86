//! All of a host's configuration but its rule sets.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::feature::Feature;
use crate::filter::TcFilter;
use crate::link::Link;
use crate::neighbor::Neighbor;
use crate::policy::PolicyRule;
use crate::prefix::IpVersion;
use crate::qdisc::Qdisc;
use crate::route::Route;
use crate::sysctl::Sysctls;

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
