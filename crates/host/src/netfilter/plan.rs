//! What runs at each hook, and in which order.

use std::sync::Arc;

use transect_config::IpVersion;
use transect_config::rules::{
    Action, Chain, ChainKind, Elements, Family, Field, Key, MapEntries, Match, Policy, Rule,
    RuleSet, SetElement, Statement, Table, Test, Value,
};
use transect_path::{Hook, RuleBackend};
use transect_walk::netfilter::{AddressFamily, sees};

use super::mangle::Mangling;

/// A base chain, by position in the rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainAt {
    pub(super) table: usize,
    pub(super) chain: usize,
    pub(super) kind: ChainKind,
}

/// One thing that a hook does with every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Reassembly (`nf_defrag_ipv4`, `nf_defrag_ipv6`).
    Defragment,
    /// Connection tracking (`nf_conntrack_in`).
    Track,
    /// A base chain of rules.
    Chain(ChainAt),
    /// Translation (`nf_nat_inet_fn`), which asks the NAT chains.
    Translate,
    /// A new connection is confirmed (`nf_confirm`).
    Confirm,
}

/// One thing that a bridge's hook does with every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BridgeStep {
    /// A base chain of the family `bridge`.
    Chain(ChainAt),
    /// The hook of the same name of IP, where a setting asks for it (`br_netfilter`).
    Ip,
}

/// Something that is hooked, by what stays the same when rules change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Registered {
    Chain {
        backend: RuleBackend,
        family: Family,
        table: String,
        handle: Option<u64>,
        chain: String,
    },
    Track(IpVersion),
    Translate(IpVersion),
}

/// The steps of every hook.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    steps: [[Arc<[Step]>; 2]; 5],
    /// The NAT chains that translation asks, in order.
    asked: [[Arc<[ChainAt]>; 2]; 5],
    /// The chains at the devices: ingress, egress.
    devices: [Arc<[ChainAt]>; 2],
    /// What a bridge's hooks do with every frame.
    bridges: [Arc<[BridgeStep]>; 5],
    /// Whether any rule asks what kind of address one is.
    pub(super) kinds: bool,
    /// Whether any rule asks for the route back.
    pub(super) reverse_path: bool,
}

const HOOKS: [Hook; 5] = [
    Hook::PreRouting,
    Hook::LocalIn,
    Hook::Forward,
    Hook::LocalOut,
    Hook::PostRouting,
];

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// A hook's place in [`HOOKS`]; those of devices have lists of their own.
#[inline]
fn index(hook: Hook) -> usize {
    match hook {
        Hook::PreRouting | Hook::Ingress | Hook::Egress => 0,
        Hook::LocalIn => 1,
        Hook::Forward => 2,
        Hook::LocalOut => 3,
        Hook::PostRouting => 4,
    }
}

fn family(version: IpVersion) -> AddressFamily {
    match version {
        IpVersion::V4 => AddressFamily::Ip,
        IpVersion::V6 => AddressFamily::Ip6,
    }
}

impl Plan {
    /// What the rules mean; `registered` is brought up to date.
    pub(super) fn new(rules: &RuleSet, registered: &mut Vec<Registered>) -> Self {
        let hooked: Vec<(ChainAt, &Table, &Chain)> = base_chains(rules).collect();
        let mut wanted: Vec<Registered> = hooked
            .iter()
            .map(|(_, table, chain)| name(table, chain))
            .collect();
        for version in VERSIONS {
            let nat = |(at, table, _): &(ChainAt, &Table, &Chain)| {
                at.kind == ChainKind::Nat && sees(table.family, family(version))
            };
            if hooked.iter().any(nat) {
                wanted.push(Registered::Translate(version));
            }
            if tracks(rules, version) {
                wanted.push(Registered::Track(version));
            }
        }
        registered.retain(|own| wanted.contains(own));
        for new in wanted {
            if !registered.contains(&new) {
                registered.push(new);
            }
        }
        let asks = |fields: &[Field]| any_key(rules, &|key| fields.contains(&key.field));
        let mut plan = Plan {
            kinds: asks(&[Field::SourceKind, Field::DestinationKind]),
            reverse_path: any_test(rules, &|test| matches!(test, Test::ReversePath { .. })),
            ..Plan::default()
        };
        for version in VERSIONS {
            for hook in HOOKS {
                plan.fill(&hooked, registered, hook, version);
            }
        }
        for (slot, hook) in plan.devices.iter_mut().zip([Hook::Ingress, Hook::Egress]) {
            let chains = in_order(&hooked, registered, |table, at| {
                at == hook && table.family != Family::Bridge
            });
            *slot = chains.into_iter().map(|(_, at)| at).collect();
        }
        for (slot, hook) in plan.bridges.iter_mut().zip(HOOKS) {
            let chains = in_order(&hooked, registered, |table, at| {
                at == hook && table.family == Family::Bridge
            });
            *slot = bridge_steps(hook, &chains);
        }
        plan
    }

    /// One hook of one family.
    fn fill(
        &mut self,
        hooked: &[(ChainAt, &Table, &Chain)],
        registered: &[Registered],
        hook: Hook,
        version: IpVersion,
    ) {
        let mut steps: Vec<(i32, std::cmp::Reverse<usize>, Step)> = Vec::new();
        let mut asked: Vec<(i32, std::cmp::Reverse<usize>, ChainAt)> = Vec::new();
        for (at, table, chain) in hooked {
            let Some(base) = chain.base.as_ref().filter(|base| base.hook == hook) else {
                continue;
            };
            if !sees(table.family, family(version)) {
                continue;
            }
            let number = place(registered, &name(table, chain)).unwrap_or(usize::MAX);
            let number = std::cmp::Reverse(number);
            match at.kind {
                ChainKind::Nat => asked.push((base.priority, number, *at)),
                _ if does_nothing(chain) => {}
                _ => steps.push((base.priority, number, Step::Chain(*at))),
            }
        }
        if let Some(number) = place(registered, &Registered::Track(version)) {
            let number = std::cmp::Reverse(number);
            match hook {
                Hook::PreRouting | Hook::LocalOut => {
                    steps.push((-400, number, Step::Defragment));
                    steps.push((-200, number, Step::Track));
                }
                Hook::LocalIn | Hook::PostRouting => steps.push((i32::MAX, number, Step::Confirm)),
                _ => {}
            }
        }
        if let Some(number) = place(registered, &Registered::Translate(version)) {
            let priority = match hook {
                Hook::PreRouting | Hook::LocalOut => Some(-100),
                Hook::LocalIn | Hook::PostRouting => Some(100),
                _ => None,
            };
            let step = |priority| (priority, std::cmp::Reverse(number), Step::Translate);
            steps.extend(priority.map(step));
        }
        steps.sort_by_key(|(priority, number, _)| (*priority, *number));
        asked.sort_by_key(|(priority, number, _)| (*priority, *number));
        let six = usize::from(version == IpVersion::V6);
        self.steps[index(hook)][six] = steps.into_iter().map(|(_, _, step)| step).collect();
        self.asked[index(hook)][six] = asked.into_iter().map(|(_, _, at)| at).collect();
    }

    /// The steps of a hook.
    #[inline]
    pub(super) fn steps(&self, hook: Hook, version: IpVersion) -> &Arc<[Step]> {
        &self.steps[index(hook)][usize::from(version == IpVersion::V6)]
    }

    /// Whether neither family has any step at a hook.
    #[inline]
    pub(super) fn is_silent(&self, hook: Hook) -> bool {
        self.steps[index(hook)].iter().all(|steps| steps.is_empty())
    }

    /// The NAT chains that translation asks at a hook.
    pub(super) fn asked(&self, hook: Hook, version: IpVersion) -> &Arc<[ChainAt]> {
        &self.asked[index(hook)][usize::from(version == IpVersion::V6)]
    }

    /// What a bridge's hook does.
    #[inline]
    pub(super) fn bridge(&self, hook: Hook) -> &Arc<[BridgeStep]> {
        &self.bridges[index(hook)]
    }

    /// The chains at the devices.
    #[inline]
    pub(super) fn device(&self, egress: bool) -> &Arc<[ChainAt]> {
        &self.devices[usize::from(egress)]
    }
}

/// The base chains that are wanted, each with its priority, in the order in which they run.
fn in_order(
    hooked: &[(ChainAt, &Table, &Chain)],
    registered: &[Registered],
    wanted: impl Fn(&Table, Hook) -> bool,
) -> Vec<(i32, ChainAt)> {
    let mut chains: Vec<(i32, std::cmp::Reverse<usize>, ChainAt)> = hooked
        .iter()
        .filter_map(|(at, table, chain)| {
            let base = chain
                .base
                .as_ref()
                .filter(|base| wanted(table, base.hook))?;
            let number = place(registered, &name(table, chain)).unwrap_or(usize::MAX);
            Some((base.priority, std::cmp::Reverse(number), *at))
        })
        .collect();
    chains.sort_by_key(|(priority, number, _)| (*priority, *number));
    let chains = chains.into_iter();
    chains.map(|(priority, _, at)| (priority, at)).collect()
}

/// A bridge's chains, and among them IP's hook (`br_nf_ops`), which stands there since the first bridge: of equals the one
/// registered last runs first.
fn bridge_steps(hook: Hook, chains: &[(i32, ChainAt)]) -> Arc<[BridgeStep]> {
    let ip = match hook {
        Hook::PreRouting => Some(0),
        Hook::Forward => Some(-1),
        Hook::PostRouting => Some(i32::MAX),
        _ => None,
    };
    let mut steps: Vec<BridgeStep> = chains
        .iter()
        .map(|(_, at)| BridgeStep::Chain(*at))
        .collect();
    if let Some(own) = ip {
        let before = chains.partition_point(|(priority, _)| *priority <= own);
        steps.insert(before, BridgeStep::Ip);
    }
    steps.into()
}

fn place(registered: &[Registered], what: &Registered) -> Option<usize> {
    registered.iter().position(|own| own == what)
}

fn name(table: &Table, chain: &Chain) -> Registered {
    Registered::Chain {
        backend: table.backend,
        family: table.family,
        table: table.name.clone(),
        handle: table.handle,
        chain: chain.name.clone(),
    }
}

/// Every base chain that is hooked.
fn base_chains(rules: &RuleSet) -> impl Iterator<Item = (ChainAt, &Table, &Chain)> {
    let tables = rules.tables.iter().enumerate();
    tables
        .filter(|(_, table)| !table.is_dormant())
        .flat_map(|(number, table)| {
            table
                .chains
                .iter()
                .enumerate()
                .filter_map(move |(at, chain)| {
                    let base = chain.base.as_ref()?;
                    let at = ChainAt {
                        table: number,
                        chain: at,
                        kind: base.kind,
                    };
                    Some((at, table, chain))
                })
        })
}

/// Whether a chain neither decides nor counts anything.
fn does_nothing(chain: &Chain) -> bool {
    let accepts = chain
        .base
        .as_ref()
        .is_none_or(|base| base.policy == Policy::Accept);
    chain.rules.is_empty() && accepts && chain.policy_counter.is_none()
}

fn any_test(rules: &RuleSet, wanted: &dyn Fn(&Test) -> bool) -> bool {
    rules
        .rules()
        .any(|(_, _, rule)| rule.matches().any(|test| wanted(&test.test)))
}

fn keys(statement: &Statement) -> &[Key] {
    match statement {
        Statement::Match(Match {
            test: Test::In { key, .. },
            ..
        })
        | Statement::VerdictMap { key, .. } => key,
        _ => &[],
    }
}

fn any_key(rules: &RuleSet, wanted: &dyn Fn(&Key) -> bool) -> bool {
    rules
        .rules()
        .any(|(_, _, rule)| rule.statements.iter().flat_map(keys).any(wanted))
}

/// Whether the rules need connection tracking of a family (`nf_ct_netns_get`): a match on state or connection mark, a
/// statement that changes that mark, a translation. Rules that no base chain leads to count as well.
fn tracks(rules: &RuleSet, version: IpVersion) -> bool {
    let needs = |statement: &Statement| match statement {
        Statement::SetConnectionMark { .. } | Statement::RestoreMark | Statement::SaveMark => true,
        Statement::Verdict(action) => matches!(action, Action::Nat(_)),
        // Connections are counted among those that are tracked (`nf_conncount_init`).
        Statement::Match(Match {
            test: Test::Unknown { text },
            ..
        }) => text.starts_with("-m connlimit") || text.starts_with("ct count"),
        statement => keys(statement)
            .iter()
            .any(|key| matches!(key.field, Field::CtState | Field::ConnectionMark)),
    };
    rules
        .rules()
        .filter(|(table, _, _)| sees(table.family, family(version)))
        .any(|(_, _, rule)| rule.statements.iter().any(needs))
}

/// Whether the model can run the rules: nothing in them may be left open.
///
/// # Errors
/// The first rule that it cannot run, and what of it.
pub(super) fn check(rules: &RuleSet) -> Result<(), String> {
    for (table, chain, rule) in rules.rules() {
        if table.family == Family::Bridge
            && let Some(what) = rule.statements.iter().find_map(not_in_bridges)
        {
            return Err(refused(table, chain, rule, what));
        }
        for statement in &rule.statements {
            if let Err(what) = check_statement(table, statement) {
                return Err(refused(table, chain, rule, &what));
            }
        }
    }
    Ok(())
}

/// What no bridge's chain can do here, nor in a kernel without `nf_conntrack_bridge` and `nft_reject_bridge`.
fn not_in_bridges(statement: &Statement) -> Option<&'static str> {
    let needs_ip = |key: &Key| {
        matches!(
            key.field,
            Field::CtState | Field::ConnectionMark | Field::SourceKind | Field::DestinationKind
        )
    };
    match statement {
        Statement::Verdict(Action::Reject { .. }) => Some("a rejection in a bridge's chain"),
        Statement::Verdict(Action::Nat(_)) => Some("a translation in a bridge's chain"),
        Statement::SetConnectionMark { .. }
        | Statement::RestoreMark
        | Statement::SaveMark
        | Statement::NoTrack { .. } => Some("connection tracking in a bridge's chain"),
        Statement::Match(Match {
            test: Test::ReversePath { .. },
            ..
        }) => Some("routes in a bridge's chain"),
        statement if keys(statement).iter().any(needs_ip) => {
            Some("connection tracking or routes in a bridge's chain")
        }
        _ => None,
    }
}

/// The words with which a rule is refused.
pub(super) fn refused(table: &Table, chain: &Chain, rule: &Rule, what: &str) -> String {
    format!(
        "table {} {}, chain {}, rule {} (\"{}\"): the model cannot run {what}",
        table.family, table.name, chain.name, rule.number, rule.text
    )
}

fn check_statement(table: &Table, statement: &Statement) -> Result<(), String> {
    match statement {
        Statement::Match(Match {
            test: Test::In { key, elements },
            ..
        }) => {
            check_key(key)?;
            match elements {
                Elements::Inline(elements) => elements.iter().try_for_each(|e| check_values(e)),
                Elements::Named(name) => {
                    let set = table
                        .set(name)
                        .ok_or_else(|| format!("without set {name}"))?;
                    if set.is_volatile() {
                        return Err(format!("set {name}, which packets or time change"));
                    }
                    set.elements
                        .iter()
                        .try_for_each(|element| check_values(&element.key))
                }
            }
        }
        Statement::Match(Match {
            test: Test::EitherPort(elements),
            ..
        }) => elements
            .iter()
            .try_for_each(|element| check_values(element)),
        // `question` says whether it can answer.
        Statement::Match(_) => Ok(()),
        Statement::SetMark { value: None, .. }
        | Statement::SetConnectionMark { value: None, .. } => {
            Err("a mark that is computed".to_owned())
        }
        Statement::NoTrack { certain: false } => Err("the target CT of unknown options".to_owned()),
        Statement::Verdict(action) => check_action(table, action),
        Statement::VerdictMap { key, entries } => {
            check_key(key)?;
            let elements: &[SetElement] = match entries {
                MapEntries::Inline(elements) => elements,
                MapEntries::Named(name) => {
                    let set = table
                        .set(name)
                        .ok_or_else(|| format!("without map {name}"))?;
                    if set.is_volatile() {
                        return Err(format!("map {name}, which packets or time change"));
                    }
                    &set.elements
                }
            };
            for element in elements {
                check_values(&element.key)?;
                if let Some(action) = &element.verdict {
                    check_action(table, action)?;
                }
            }
            Ok(())
        }
        Statement::Other(text) => Mangling::read(text).map(drop),
        _ => Ok(()),
    }
}

fn check_key(key: &[Key]) -> Result<(), String> {
    match key.iter().any(|part| part.field == Field::Unknown) {
        true => Err("an expression that it does not know".to_owned()),
        false => Ok(()),
    }
}

fn check_values(values: &[Value]) -> Result<(), String> {
    let unknown = values.iter().find_map(|value| match value {
        Value::Unknown(text) => Some(text),
        _ => None,
    });
    match unknown {
        Some(text) => Err(format!("the value \"{text}\"")),
        None => Ok(()),
    }
}

fn check_action(table: &Table, action: &Action) -> Result<(), String> {
    match action {
        Action::Jump(to) | Action::Goto(to) if table.chain(to).is_none() => {
            Err(format!("a jump to {to}, which is not there"))
        }
        Action::Nat(nat) if nat.computed => Err("a translation that is computed".to_owned()),
        Action::Tproxy { text, .. } | Action::Stolen(text) | Action::Unknown(text) => {
            Err(format!("\"{text}\""))
        }
        Action::Reject { with } => {
            super::reject::Answer::of(table.family, with.as_deref()).map(drop)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_config::rules::apply_command;

    fn rules(lines: &[&str]) -> RuleSet {
        let mut rules = RuleSet::default();
        for line in lines {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            apply_command(&mut rules, &words).unwrap();
        }
        rules
    }

    fn order(plan: &Plan, hook: Hook) -> Vec<Step> {
        plan.steps(hook, IpVersion::V4).to_vec()
    }

    #[test]
    fn nothing_is_hooked_where_nothing_is_asked_for() {
        let empty = Plan::new(&rules(&["nft add table ip t"]), &mut Vec::new());
        assert!(HOOKS.iter().all(|hook| order(&empty, *hook).is_empty()));
        let six = rules(&["ip6tables-legacy -A INPUT -m state --state NEW -j ACCEPT"]);
        let six = Plan::new(&six, &mut Vec::new());
        assert!(
            order(&six, Hook::PreRouting).is_empty(),
            "IPv4 is not tracked"
        );
        assert_eq!(
            six.steps(Hook::PreRouting, IpVersion::V6).to_vec(),
            [Step::Defragment, Step::Track]
        );
    }

    #[test]
    fn a_translation_brings_tracking_and_confirmation() {
        let rules = rules(&[
            "iptables-legacy -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
            "iptables-legacy -t raw -A PREROUTING -j NOTRACK",
        ]);
        let plan = Plan::new(&rules, &mut Vec::new());
        let kinds = |hook| {
            order(&plan, hook)
                .iter()
                .map(|step| match step {
                    Step::Defragment => 'd',
                    Step::Track => 't',
                    Step::Chain(_) => 'c',
                    Step::Translate => 'n',
                    Step::Confirm => 'o',
                })
                .collect::<String>()
        };
        assert_eq!(kinds(Hook::PreRouting), "dctn");
        assert_eq!(kinds(Hook::PostRouting), "no");
        assert_eq!(plan.asked(Hook::PostRouting, IpVersion::V4).len(), 1);
    }

    #[test]
    fn at_equal_priority_the_one_registered_last_runs_first() {
        let mut registered = Vec::new();
        let first = rules(&[
            "nft add table ip a; add chain ip a c { type filter hook input priority 0; policy drop; }",
            "nft add table ip b; add chain ip b c { type filter hook input priority 0; policy drop; }",
        ]);
        let plan = Plan::new(&first, &mut registered);
        let tables = |plan: &Plan| -> Vec<usize> {
            order(plan, Hook::LocalIn)
                .iter()
                .filter_map(|step| match step {
                    Step::Chain(at) => Some(at.table),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(tables(&plan), [1, 0]);
        // Made anew, the first one is the last.
        let mut changed = first.clone();
        changed.tables[0].handle = Some(9);
        assert_eq!(tables(&Plan::new(&changed, &mut registered)), [0, 1]);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_rule() {
        let mut rules = rules(&["iptables-legacy -A INPUT -p tcp -j DROP"]);
        rules.tables[0].chains[0].rules[0].statements =
            vec![Statement::Verdict(Action::Unknown("-j X".into()))];
        let error = check(&rules).unwrap_err();
        assert_eq!(
            error,
            "table ip filter, chain INPUT, rule 1 (\"-A INPUT -p tcp -j DROP\"): the model cannot run \"-j X\""
        );
    }
}
