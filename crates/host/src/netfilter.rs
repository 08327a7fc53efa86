//! The host's own rules, with connection tracking and translation as live state; the hooks that run them.
//!
//! A hook (`nf_hook_slow`) is a list of [`plan::Step`]s in the kernel's order: reassembly at -400, base chains by priority (at
//! equal priority the one registered last first), connection tracking at -200, translation at -100 and 100, and at the very end
//! the confirmation of new connections. Where no chain and no connection tracking is wanted the list is empty, and a packet
//! passes without being looked at.

mod bridge;
pub(crate) mod checksum;
mod facts;
mod mangle;
mod plan;
mod question;
mod reject;
mod run;
mod translate;

use transect_config::rules::RuleSet;
use transect_path::Timestamp;

use crate::conntrack::Connections;
use crate::device::DeviceId;
use crate::host::Host;
use plan::{Plan, Registered};
use question::Questions;

/// Rules, their counters, tracked connections.
#[derive(Debug)]
pub(crate) struct Netfilter {
    pub(crate) rules: RuleSet,
    /// What runs at each hook.
    plan: Plan,
    /// What is hooked, in the order of registration.
    registered: Vec<Registered>,
    /// What rules keep of their own: rates, counts.
    questions: Questions,
    /// The tracked connections.
    pub(crate) connections: Connections,
}

impl Netfilter {
    pub(crate) fn new(rules: RuleSet) -> Result<Self, String> {
        let mut netfilter = Netfilter {
            rules: RuleSet::default(),
            plan: Plan::default(),
            registered: Vec::new(),
            questions: Questions::default(),
            connections: Connections::default(),
        };
        netfilter.replace(rules)?;
        Ok(netfilter)
    }

    /// Puts other rules in the place of those that are there. Nothing changes where the model cannot run them.
    fn replace(&mut self, rules: RuleSet) -> Result<(), String> {
        let questions = self.questions.of(&self.rules, &rules)?;
        plan::check(&rules)?;
        let mut registered = std::mem::take(&mut self.registered);
        self.plan = Plan::new(&rules, &mut registered);
        self.registered = registered;
        self.questions = questions;
        self.rules = rules;
        Ok(())
    }

    /// Whether nothing at all is at a hook, for neither family: it is only passed.
    #[inline]
    pub(crate) fn is_silent(&self, hook: transect_path::Hook) -> bool {
        self.plan.is_silent(hook)
    }

    /// Whether any chain of a device's hook is there: the cheap question before [`crate::stack::Stack::run_device_hook`].
    #[inline]
    pub(crate) fn has_device_chains(&self, egress: bool) -> bool {
        !self.plan.device(egress).is_empty()
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
        self.stack.netfilter.replace(rules)
    }

    /// As `conntrack -L -o extended` prints the tracked connections, newest first.
    pub fn conntrack_entries_text(&self) -> String {
        let jiffies = self.stack.ticks.at(self.stack.now);
        let hz = u64::from(self.stack.ticks.hz());
        self.stack.netfilter.connections.entries_text(jiffies, hz)
    }

    /// Forgets every tracked connection, as `conntrack -F` does.
    pub fn flush_connections(&mut self, now: Timestamp) {
        self.begin(now);
        self.stack.netfilter.connections.clear();
    }

    /// As `conntrack -S` prints the statistics.
    pub fn conntrack_stats_text(&self) -> String {
        self.stack.netfilter.connections.statistics_text()
    }
}

impl crate::stack::Stack {
    /// Runs the chains of a device (`nf_ingress`, `nf_egress`). None: the packet is gone, freed and counted.
    #[inline]
    pub(crate) fn run_device_hook(
        &mut self,
        device: DeviceId,
        egress: bool,
        packet: crate::packet::Packet,
    ) -> Option<crate::packet::Packet> {
        match self.netfilter.has_device_chains(egress) {
            true => self.traverse_device(device, egress, packet),
            false => Some(packet),
        }
    }
}
