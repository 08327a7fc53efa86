//! A packet's way through a hook.

use std::net::IpAddr;
use std::sync::Arc;

use transect_config::IpVersion;
use transect_config::rules::{Action, Chain, ChainKind, Counter, Nat, Policy, Table};
use transect_path::{Hook, Point, RuleBackend};
use transect_walk::netfilter::{Ended, PacketFacts, RulePlace, RuleState, run, sees};

use super::mangle::Mangling;
use super::plan::{ChainAt, Step};
use super::question::{Asked, Circumstances};
use super::reject::Answer;
use crate::conntrack::Tracking;
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::hooks::Stopped;
use crate::ip::User;
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::Stack;

/// What a step of a hook says (`NF_ACCEPT`, `NF_DROP`, `NF_QUEUE` that found nobody, `NF_STOLEN`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Freed; the sender is told EPERM.
    Drop,
    /// Freed because nobody reads the queue; the sender is told success (`nf_queue`).
    Unread,
    /// A NAT chain chose a translation.
    Translate(Nat),
}

/// What the rules of one chain did beside deciding.
struct Effects<'a> {
    asked: Asked<'a>,
    counted: Vec<RulePlace>,
    manglings: Vec<Mangling>,
}

impl RuleState for Effects<'_> {
    fn passes(&mut self, at: RulePlace, statement: usize, _text: &str) -> bool {
        self.asked.answer(at, statement)
    }

    fn count(&mut self, at: RulePlace) {
        self.counted.push(at);
    }

    fn other(&mut self, _at: RulePlace, text: &str) {
        if let Ok(Some(mangling)) = Mangling::read(text) {
            self.manglings.push(mangling);
        }
    }
}

/// What a route depends on: mark, TOS, addresses.
fn route_of(packet: &Packet) -> (u32, Option<(u8, IpAddr, IpAddr)>) {
    (
        packet.mark,
        packet.ip(|ip| (ip.tos, ip.source, ip.destination)),
    )
}

impl Stack {
    /// The steps of a hook, one after another. The packet comes back where it passed.
    pub(crate) fn traverse(&mut self, hook: Hook, mut packet: Packet) -> Result<Packet, Stopped> {
        let point = hook.point();
        self.enter(&mut packet, point);
        let Some(version) = packet.version() else {
            self.leave(&mut packet, point);
            return Ok(packet);
        };
        let steps = self.netfilter.plan.steps(hook, version);
        if steps.is_empty() {
            self.leave(&mut packet, point);
            return Ok(packet);
        }
        let steps = Arc::clone(steps);
        for step in steps.iter() {
            let verdict = match step {
                Step::Defragment => match self.defragment(packet) {
                    Some(whole) => {
                        packet = whole;
                        Verdict::Accept
                    }
                    None => return Err(Stopped { errno: None }),
                },
                Step::Track => self.track(hook, &mut packet),
                Step::Chain(at) => self.filter(hook, *at, &mut packet),
                Step::Translate => self.translate(hook, version, &mut packet),
                Step::Confirm => self.confirm(&mut packet),
            };
            packet = self.obey(verdict, point, packet)?;
        }
        self.leave(&mut packet, point);
        Ok(packet)
    }

    /// Carries out a verdict: the packet comes back, or is freed.
    pub(super) fn obey(
        &mut self,
        verdict: Verdict,
        point: Point,
        packet: Packet,
    ) -> Result<Packet, Stopped> {
        match verdict {
            Verdict::Accept | Verdict::Translate(_) => Ok(packet),
            Verdict::Drop => {
                self.drop_packet(packet, point, DropReason::NetfilterDrop);
                let errno = Some(Errno::Eperm);
                Err(Stopped { errno })
            }
            Verdict::Unread => {
                self.drop_packet(packet, point, DropReason::NotSpecified);
                Err(Stopped { errno: None })
            }
        }
    }

    /// The chains at a device.
    pub(super) fn traverse_device(
        &mut self,
        device: DeviceId,
        egress: bool,
        mut packet: Packet,
    ) -> Option<Packet> {
        let (hook, point) = match egress {
            true => (Hook::Egress, Point::TcEgress),
            false => (Hook::Ingress, Point::TcIngress),
        };
        let chains = Arc::clone(self.netfilter.plan.device(egress));
        let (came, leaves) = (packet.in_device, packet.out_device);
        match egress {
            true => packet.out_device = Some(device),
            false => packet.in_device = Some(device),
        }
        for at in chains.iter() {
            if !self.is_bound(*at, device, &packet) {
                continue;
            }
            let verdict = self.filter(hook, *at, &mut packet);
            if verdict != Verdict::Accept {
                let reason = match verdict {
                    Verdict::Unread => DropReason::NotSpecified,
                    _ => DropReason::NetfilterDrop,
                };
                self.drop_packet(packet, point, reason);
                return None;
            }
        }
        (packet.in_device, packet.out_device) = (came, leaves);
        Some(packet)
    }

    /// Whether a chain is hooked at a device, and sees packets of this kind. A chain without devices, as some dumps show it, is
    /// taken for one of every device.
    fn is_bound(&self, at: ChainAt, device: DeviceId, packet: &Packet) -> bool {
        let Some(table) = self.netfilter.rules.tables.get(at.table) else {
            return false;
        };
        let base = table
            .chains
            .get(at.chain)
            .and_then(|chain| chain.base.as_ref());
        let name = self.device_name(device);
        let family = match packet.version() {
            Some(IpVersion::V4) => transect_walk::netfilter::AddressFamily::Ip,
            Some(IpVersion::V6) => transect_walk::netfilter::AddressFamily::Ip6,
            None => transect_walk::netfilter::AddressFamily::Arp,
        };
        sees(table.family, family)
            && base.is_some_and(|base| {
                base.devices.is_empty()
                    || base.devices.iter().any(|own| match own.strip_suffix('*') {
                        Some(prefix) => name.starts_with(prefix),
                        None => own == name,
                    })
            })
    }

    /// One base chain (`ipt_do_table`, `nft_do_chain`) that is no NAT chain; a route chain says whether the route is to be
    /// looked up again (`ipt_mangle_out`, `nf_route_table_hook4`).
    pub(super) fn filter(&mut self, hook: Hook, at: ChainAt, packet: &mut Packet) -> Verdict {
        let before = (at.kind == ChainKind::Route).then(|| route_of(packet));
        let verdict = self.run_chain(hook, at, packet);
        if verdict == Verdict::Accept && before.is_some_and(|before| before != route_of(packet)) {
            packet.reroute = true;
        }
        verdict
    }

    /// Sends the packet through a base chain, counts, and carries out what the chain says.
    pub(super) fn run_chain(&mut self, hook: Hook, at: ChainAt, packet: &mut Packet) -> Verdict {
        let length = packet.len();
        if let Some(verdict) = self.empty_chain(at, length) {
            return verdict;
        }
        let mut facts = match self.is_bridge_table(at) {
            true => self.frame_facts(hook, packet),
            false => self.packet_facts(hook, packet),
        };
        let now = self.now;
        let jiffies = self.ticks.at(now);
        let netfilter = &mut self.netfilter;
        let Some(table) = netfilter.rules.tables.get(at.table) else {
            return Verdict::Accept;
        };
        let connection = netfilter.connections.of(&packet.tracking);
        let about = Circumstances {
            ticks: (jiffies, self.ticks.hz()),
            now,
            network: packet.network(),
            ports: facts.source_port.zip(facts.destination_port),
            tuple: connection.map(|connection| connection.original),
            connections: &netfilter.connections,
            random: &mut self.random,
        };
        let mut effects = Effects {
            asked: netfilter.questions.ask(at.table, about),
            counted: Vec::new(),
            manglings: Vec::new(),
        };
        let ended = run(table, at.chain, &mut facts, &mut effects);
        let (verdict, reject) = decide(table, &ended);
        let by_policy = matches!(ended, Ended::Policy(_));
        let Effects {
            counted, manglings, ..
        } = effects;
        self.count(at, &counted, by_policy, length);
        self.carry_over(packet, &facts);
        for mangling in &manglings {
            self.mangle(mangling, packet);
        }
        if let Some(answer) = reject {
            self.reject(hook, packet, answer);
        }
        verdict
    }

    /// A chain without rules: its policy alone.
    fn empty_chain(&mut self, at: ChainAt, length: usize) -> Option<Verdict> {
        let table = self.netfilter.rules.tables.get_mut(at.table)?;
        let chain = table.chains.get_mut(at.chain)?;
        if !chain.rules.is_empty() {
            return None;
        }
        count_policy(table.backend, chain, length);
        Some(match chain.base.as_ref().map(|base| base.policy) {
            Some(Policy::Drop) => Verdict::Drop,
            _ => Verdict::Accept,
        })
    }

    /// Moves the counters.
    fn count(&mut self, at: ChainAt, counted: &[RulePlace], by_policy: bool, length: usize) {
        let Some(table) = self.netfilter.rules.tables.get_mut(at.table) else {
            return;
        };
        for place in counted {
            let chain = table.chains.get_mut(place.chain);
            let rule = chain.and_then(|chain| chain.rules.get_mut(place.rule));
            if let Some(counter) = rule.and_then(|rule| rule.counter.as_mut()) {
                add(counter, length);
            }
        }
        if by_policy && let Some(chain) = table.chains.get_mut(at.chain) {
            count_policy(table.backend, chain, length);
        }
    }

    /// What the rules changed in the facts is changed in the packet and its connection.
    fn carry_over(&mut self, packet: &mut Packet, facts: &PacketFacts) {
        packet.mark = facts.mark.unwrap_or(packet.mark);
        if facts.ct_states == transect_config::rules::CtStates::UNTRACKED {
            packet.tracking = Tracking::Untracked;
        }
        if let Some(mark) = facts.connection_mark
            && let Some(connection) = self.netfilter.connections.of_mut(&mut packet.tracking)
        {
            connection.mark = mark;
        }
    }

    /// Reassembly before connection tracking (`nf_ct_ipv4_gather_frags`). None: the fragment is kept.
    fn defragment(&mut self, packet: Packet) -> Option<Packet> {
        let is_fragment = packet.ip(|ip| ip.fragment.is_some()).unwrap_or(false);
        match (is_fragment, packet.version()) {
            (false, _) | (_, None) => Some(packet),
            (true, Some(IpVersion::V4)) => self.reassemble(packet, 0, User::Tracking),
            (true, Some(IpVersion::V6)) => match fragment_header(packet.network()) {
                Some(at) => self.reassemble(packet, at, User::Tracking),
                None => Some(packet),
            },
        }
    }
}

/// Where IPv6's fragment header begins (RFC 8200 section 4.5): only headers of the way stand before it.
pub(super) fn fragment_header(network: &[u8]) -> Option<usize> {
    let mut next = *network.get(6)?;
    let mut at = 40;
    while matches!(next, 0 | 43 | 60) {
        next = *network.get(at)?;
        at += (usize::from(*network.get(at + 1)?) + 1) * 8;
    }
    (next == 44).then_some(at)
}

/// iptables-nft writes a policy's counter, and it stays 0: a chain of nftables has none.
fn count_policy(backend: RuleBackend, chain: &mut Chain, length: usize) {
    if backend != RuleBackend::IptablesNft
        && let Some(counter) = &mut chain.policy_counter
    {
        add(counter, length);
    }
}

/// What the end of a walk means.
fn decide(table: &Table, ended: &Ended<'_>) -> (Verdict, Option<Answer>) {
    let verdict = match ended {
        Ended::Policy(Policy::Accept) => Verdict::Accept,
        Ended::Policy(Policy::Drop) => Verdict::Drop,
        Ended::Rule(_, action) => match action {
            Action::Reject { with } => {
                let answer = Answer::of(table.family, with.as_deref()).ok();
                return (Verdict::Drop, answer);
            }
            Action::Queue { bypass: false, .. } => Verdict::Unread,
            Action::Nat(nat) => Verdict::Translate(nat.clone()),
            Action::Drop | Action::Stolen(_) | Action::Unknown(_) => Verdict::Drop,
            _ => Verdict::Accept,
        },
    };
    (verdict, None)
}

fn add(counter: &mut Counter, length: usize) {
    counter.packets = counter.packets.saturating_add(1);
    counter.bytes = counter.bytes.saturating_add(length as u64);
}
