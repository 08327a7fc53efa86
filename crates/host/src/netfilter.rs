//! The host's own rules, with connection tracking and translation as live state; the hooks that run them.

use transect_config::rules::RuleSet;
use transect_path::Timestamp;

use crate::device::DeviceId;
use crate::host::Host;
use crate::packet::Packet;
use crate::stack::Stack;

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

impl Stack {
    /// Runs the chains of a device (`nf_hook_ingress`, `nf_hook_egress`). None: the packet is gone, freed and counted.
    pub(crate) fn run_device_hook(
        &mut self,
        _device: DeviceId,
        _egress: bool,
        packet: Packet,
    ) -> Option<Packet> {
        Some(packet)
    }
}

impl Host {
    /// The rules with their counters as they stand.
    pub fn rules(&self) -> &RuleSet {
        &self.stack.netfilter.rules
    }

    /// Changes the rules. Nothing is changed where the change fails, or where the model cannot run what comes out of it.
    ///
    /// # Errors
    /// What the change says, or the rule that the model cannot run.
    pub fn change_rules<E: std::fmt::Display>(
        &mut self,
        now: Timestamp,
        change: impl FnOnce(&mut RuleSet) -> Result<(), E>,
    ) -> Result<(), String> {
        self.begin(now);
        let mut rules = self.stack.netfilter.rules.clone();
        change(&mut rules).map_err(|error| error.to_string())?;
        self.stack.netfilter.rules = rules;
        Ok(())
    }

    /// As `conntrack -L -o extended` prints the tracked connections.
    pub fn conntrack_entries_text(&self) -> String {
        String::new()
    }

    /// As `conntrack -S` prints the statistics.
    pub fn conntrack_stats_text(&self) -> String {
        String::new()
    }
}
