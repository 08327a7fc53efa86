//! The base chains of a hook, in order.

use transect_config::rules::{
    Action, BaseChain, Chain, ChainKind, CtStates, Family, Policy, RuleSet, Table,
};
use transect_path::Hook;

use super::chain::{Walked, Walker};
use super::{AddressFamily, ChainOutcome, Counted, Decision, HookOutcome, PacketFacts, Ternary};

/// Connection tracking runs at this priority of PRE_ROUTING and LOCAL_OUT (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;

/// How many orders of chains of equal priority are tried: enough for four chains in every order.
const MOST_ORDERS: usize = 24;

/// A base chain that sees the packet, or may.
#[derive(Clone, Copy)]
struct Base<'a> {
    table: &'a Table,
    chain: &'a Chain,
    base: &'a BaseChain,
    /// Whether it sees the packet: chains of one device, of which the device may not be known.
    present: Ternary,
}

impl Base<'_> {
    /// Without rules and with an accepting policy its place does not matter.
    fn is_empty(&self) -> bool {
        self.chain.rules.is_empty() && self.base.policy == Policy::Accept
    }
}

pub(super) fn evaluate(rule_set: &RuleSet, hook: Hook, facts: &PacketFacts) -> HookOutcome {
    let facts = at_hook(facts, hook);
    let bases = base_chains(rule_set, hook, &facts);
    let mut outcomes = orders(&bases)
        .into_iter()
        .map(|order| in_order(&order, hook, &facts));
    // There is always at least one order, be it of no chain at all.
    let first = outcomes
        .next()
        .unwrap_or_else(|| in_order(&[], hook, &facts));
    outcomes.fold(first, combined)
}

/// The interface that there is none of at this hook, made known.
fn at_hook(facts: &PacketFacts, hook: Hook) -> PacketFacts {
    let mut facts = facts.clone();
    match hook {
        Hook::Ingress | Hook::PreRouting | Hook::LocalIn => {
            facts.out_interface = Some(String::new())
        }
        Hook::LocalOut => facts.in_interface = Some(String::new()),
        Hook::Forward | Hook::PostRouting | Hook::Egress => {}
    }
    facts
}

fn base_chains<'a>(rule_set: &'a RuleSet, hook: Hook, facts: &PacketFacts) -> Vec<Base<'a>> {
    let mut bases: Vec<Base<'a>> = rule_set
        .tables
        .iter()
        .filter(|table| !table.is_dormant() && sees(table.family, facts.family))
        .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
        .filter_map(|(table, chain)| {
            let base = chain.base.as_ref().filter(|base| base.hook == hook)?;
            Some(Base {
                table,
                chain,
                base,
                present: present(table.family, base, hook, facts),
            })
        })
        .filter(|base| base.present != Ternary::No)
        .collect();
    bases.sort_by_key(|base| base.base.priority);
    bases
}

pub(super) fn sees(family: Family, packet: AddressFamily) -> bool {
    match family {
        Family::Ip => packet == AddressFamily::Ip,
        Family::Ip6 => packet == AddressFamily::Ip6,
        Family::Inet => matches!(packet, AddressFamily::Ip | AddressFamily::Ip6),
        Family::Arp => packet == AddressFamily::Arp,
        Family::Bridge => packet == AddressFamily::Bridge,
        Family::Netdev => true,
    }
}

/// Whether the packet's device is one of the chain's.
fn present(family: Family, base: &BaseChain, hook: Hook, facts: &PacketFacts) -> Ternary {
    let device = match hook {
        Hook::Ingress => &facts.in_interface,
        Hook::Egress => &facts.out_interface,
        _ => return Ternary::Yes,
    };
    if base.devices.is_empty() && family != Family::Netdev && family != Family::Inet {
        return Ternary::Yes;
    }
    match device {
        _ if base.devices.is_empty() => Ternary::Maybe,
        None => Ternary::Maybe,
        Some(device) => {
            Ternary::from(Some(base.devices.iter().any(
                |name| match name.strip_suffix('*') {
                    Some(prefix) => device.starts_with(prefix),
                    None => name == device,
                },
            )))
        }
    }
}

/// The orders in which the chains may run: those of equal priority in every order, as far as their place matters.
fn orders<'a>(bases: &[Base<'a>]) -> Vec<Vec<Base<'a>>> {
    let mut all: Vec<Vec<Base<'a>>> = vec![Vec::new()];
    for group in bases.chunk_by(|a, b| a.base.priority == b.base.priority) {
        let (empty, full): (Vec<Base<'a>>, Vec<Base<'a>>) =
            group.iter().partition(|base| base.is_empty());
        let mut groups = match full.len() {
            0..=4 => permutations(&full),
            _ => Vec::new(),
        };
        if groups.is_empty() || all.len().saturating_mul(groups.len()) > MOST_ORDERS {
            // As dumped, and the other way round.
            let mut reversed = full.clone();
            reversed.reverse();
            groups = vec![full, reversed];
        }
        if all.len().saturating_mul(groups.len()) > MOST_ORDERS {
            groups.truncate(1);
        }
        all = all
            .iter()
            .flat_map(|before| {
                groups.iter().map(|group| {
                    let mut order = before.clone();
                    order.extend(group);
                    order.extend(&empty);
                    order
                })
            })
            .collect();
    }
    all
}

fn permutations<'a>(of: &[Base<'a>]) -> Vec<Vec<Base<'a>>> {
    let Some((last, before)) = of.split_last() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for shorter in permutations(before) {
        // The last place first, so that the dump's own order is the first of all.
        for at in (0..=shorter.len()).rev() {
            let mut order = shorter.clone();
            order.insert(at, *last);
            all.push(order);
        }
    }
    all
}

/// The hook's outcome while it is put together.
struct Progress {
    /// Whether the packet is still on its path.
    alive: Ternary,
    certain: Option<Decision>,
    accepted: Option<Decision>,
    possible: Vec<Decision>,
    counted: Vec<Counted>,
    chains: Vec<ChainOutcome>,
    facts: PacketFacts,
    notes: Vec<String>,
}

/// Whether a NAT chain is asked about the packet (and counts it), and whether its rules say where the packet goes.
struct NatPart {
    asked: Ternary,
    translates: bool,
}

fn in_order(order: &[Base<'_>], hook: Hook, facts: &PacketFacts) -> HookOutcome {
    let mut now = Progress {
        alive: Ternary::Yes,
        certain: None,
        accepted: None,
        possible: Vec::new(),
        counted: Vec::new(),
        chains: Vec::new(),
        facts: facts.clone(),
        notes: Vec::new(),
    };
    for base in order {
        now.chain(base, hook);
        if now.alive == Ternary::No {
            break;
        }
    }
    let certain = match now.alive {
        Ternary::Yes => now.certain.or(now.accepted),
        _ => now.certain,
    };
    HookOutcome {
        passes: now.alive,
        certain,
        possible: now.possible,
        counted: now.counted,
        chains: now.chains,
        leaving: now.facts,
        notes: now.notes,
    }
}

impl Progress {
    fn chain(&mut self, base: &Base<'_>, hook: Hook) {
        let nat = nat_part(base.base.kind, &self.facts);
        if nat.asked == Ternary::No && !nat.translates {
            return;
        }
        let before_conntrack = matches!(hook, Hook::PreRouting | Hook::LocalOut)
            && base.base.priority <= CONNTRACK
            || hook == Hook::Ingress;
        let mut seen = self.facts.clone();
        // A packet from loopback still has the entry that it got when it was sent.
        if before_conntrack
            && self.facts.ct_states != CtStates::UNTRACKED
            && self.facts.in_interface.as_deref() != Some("lo")
        {
            // Both programs call INVALID what connection tracking has not seen (`nft_ct_get_eval`, `state_mt`).
            seen.ct_states = CtStates::INVALID;
        }
        let walked = Walker::new(base.table, hook, &seen).walk(base.chain, base.base.policy);
        self.go_on(base, walked.leaving.as_ref(), &nat, before_conntrack);
        let sure = self.alive.and(base.present).and(nat.asked);
        if nat.asked != Ternary::No {
            self.conclude(base, walked, sure);
        }
    }

    /// The packet as it goes on behind a base chain.
    fn go_on(
        &mut self,
        base: &Base<'_>,
        leaving: Option<&PacketFacts>,
        nat: &NatPart,
        before_conntrack: bool,
    ) {
        let Some(leaving) = leaving else {
            return;
        };
        let mut leaving = leaving.clone();
        if before_conntrack {
            let untracked = leaving.ct_states.intersection(CtStates::UNTRACKED);
            leaving.ct_states = match leaving.ct_states {
                CtStates::UNTRACKED => untracked,
                _ => self.facts.ct_states.union(untracked),
            };
        }
        self.facts = match (base.present, nat.translates) {
            (Ternary::Yes, _) => leaving,
            _ => self.facts.merged(&leaving),
        };
    }

    fn conclude(&mut self, base: &Base<'_>, walked: Walked, sure: Ternary) {
        self.notes.extend(walked.notes);
        self.counted
            .extend(walked.counted.into_iter().map(|mut counted| {
                counted.certain &= sure == Ternary::Yes;
                counted
            }));
        self.chains.push(ChainOutcome {
            chain: base.table.policy_ref(base.chain, base.base.policy),
            priority: base.base.priority,
            certain: walked.certain.clone(),
            possible: walked.possible.clone(),
        });
        let mut comes_through = false;
        let mut may_end = false;
        for mut decision in walked.certain.into_iter().chain(walked.possible) {
            let (ends, goes_on) = match decision.action {
                Action::Drop | Action::Reject { .. } | Action::Stolen(_) => (true, false),
                Action::Queue { .. } | Action::Unknown(_) => (true, true),
                _ => (false, true),
            };
            comes_through |= goes_on;
            may_end |= ends;
            let certain = sure == Ternary::Yes && decision.unknowns.is_empty();
            if !ends {
                self.accepted = certain.then_some(decision);
            } else if certain && self.certain.is_none() {
                self.certain = Some(decision);
            } else {
                if decision.unknowns.is_empty() {
                    decision.unknowns.push(match self.alive {
                        Ternary::Yes => "whether the chain sees the packet".to_owned(),
                        _ => "whether the packet comes so far".to_owned(),
                    });
                }
                self.possible.push(decision);
            }
        }
        // Where the chain may not see the packet, the packet may pass it by.
        let passed_by = base.present != Ternary::Yes
            || base.base.kind == ChainKind::Nat && sure != Ternary::Yes;
        self.alive = match (comes_through || passed_by, may_end) {
            (false, _) => Ternary::No,
            (true, true) => Ternary::Maybe,
            (true, false) => self.alive,
        };
    }
}

/// `nf_nat_inet_fn`: the chains are asked about the first packet of an entry (NEW, RELATED); later ones are translated alike
/// without counting; what is not tracked is not translated.
fn nat_part(kind: ChainKind, facts: &PacketFacts) -> NatPart {
    if kind != ChainKind::Nat {
        return NatPart {
            asked: Ternary::Yes,
            translates: true,
        };
    }
    let beginning = CtStates::NEW.union(CtStates::RELATED);
    let states = facts.ct_states;
    let asked =
        if states.intersection(beginning).is_empty() || facts.first_of_connection == Some(false) {
            Ternary::No
        } else if beginning.contains(states) && facts.first_of_connection == Some(true) {
            Ternary::Yes
        } else {
            Ternary::Maybe
        };
    NatPart {
        asked,
        translates: !states
            .intersection(beginning.union(CtStates::ESTABLISHED))
            .is_empty(),
    }
}

/// What two orders of the same chains agree on.
fn combined(first: HookOutcome, other: HookOutcome) -> HookOutcome {
    let mut both = first;
    if both.certain != other.certain || both.possible != other.possible {
        let named = |decision: Decision| {
            let mut decision = decision;
            let order = "which of the chains of equal priority runs first".to_owned();
            if !decision.unknowns.contains(&order) {
                decision.unknowns.push(order);
            }
            decision
        };
        let ends = |decision: &Decision| {
            decision.action.kills()
                || matches!(decision.action, Action::Queue { .. } | Action::Stolen(_))
        };
        let mut possible: Vec<Decision> = Vec::new();
        let certain = [both.certain.take(), other.certain];
        let all = certain.into_iter().flatten().filter(ends);
        for decision in all
            .chain(both.possible.drain(..))
            .chain(other.possible)
            .map(named)
        {
            if !possible.iter().any(|known| known.rule == decision.rule) {
                possible.push(decision);
            }
        }
        both.possible = possible;
        let note = "chains of equal priority: the one registered last runs first, and a dump does not show which that is";
        if !both.notes.iter().any(|known| known == note) {
            both.notes.push(note.to_owned());
        }
    }
    both.passes = match (both.passes, other.passes) {
        (a, b) if a == b => a,
        _ => Ternary::Maybe,
    };
    for counted in &mut both.counted {
        let same = other.counted.iter().find(|c| c.rule == counted.rule);
        counted.certain &= same.is_some_and(|same| same.certain);
    }
    let new: Vec<Counted> = other
        .counted
        .into_iter()
        .filter(|counted| !both.counted.iter().any(|known| known.rule == counted.rule))
        .map(|counted| Counted {
            certain: false,
            ..counted
        })
        .collect();
    both.counted.extend(new);
    both.leaving = both.leaving.merged(&other.leaving);
    both
}
