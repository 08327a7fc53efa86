//! The host's own rules, with connection tracking and translation as live state; the hooks that run them.

use transect_config::rules::RuleSet;

/// Rules, their counters, tracked connections.
#[derive(Debug)]
pub(crate) struct Netfilter {
    pub(crate) rules: RuleSet,
}

impl Netfilter {
    pub(crate) fn new(rules: RuleSet) -> Result<Self, String> {
        Ok(Netfilter { rules })
    }
}
