//! `iptables` and `ip6tables`, legacy and nf_tables.

use transect_path::RuleBackend;

use super::super::arguments::parse_rule;
use super::super::save::base_chain;
use super::super::{
    Chain, Counter, Family, Match, Policy, Rule, RuleSet, Statement, Table, Test, Value,
};
use super::canonical::{self, Spec};
use super::{next_handle, next_table_handle, renumber};

/// One of the four programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) backend: RuleBackend,
    pub(super) family: Family,
}

impl Program {
    /// By its name; without a suffix it is the nf_tables one, as Debian installs it.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (family, rest) = match name.strip_prefix("ip6tables") {
            Some(rest) => (Family::Ip6, rest),
            None => (Family::Ip, name.strip_prefix("iptables")?),
        };
        let backend = match rest {
            "-legacy" => RuleBackend::IptablesLegacy,
            "" | "-nft" => RuleBackend::IptablesNft,
            _ => return None,
        };
        Some(Program { backend, family })
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Append(String),
    Insert(String, usize),
    Delete(String),
    DeleteNumber(String, usize),
    Replace(String, usize),
    Check(String),
    Flush(Option<String>),
    Zero(Option<String>),
    New(String),
    DeleteChain(Option<String>),
    Rename(String, String),
    Policy(String, Policy),
    /// `-L`, `-S`.
    Nothing,
}

/// A command line taken apart.
struct Line {
    table: String,
    command: Command,
    /// The words of the rule itself.
    rule: Vec<String>,
}

pub(super) fn apply(
    rule_set: &mut RuleSet,
    program: Program,
    arguments: &[String],
) -> Result<(), String> {
    let line = read(arguments)?;
    if line.command == Command::Nothing {
        return Ok(());
    }
    let at = table_at(rule_set, program, &line.table)?;
    let handle = (program.backend == RuleBackend::IptablesNft).then_some(());
    let table = rule_set
        .tables
        .get_mut(at)
        .ok_or("the table is not there")?;
    run(table, line, handle.is_some())
}

fn read(arguments: &[String]) -> Result<Line, String> {
    let mut line = Line {
        table: "filter".to_owned(),
        command: Command::Nothing,
        rule: Vec::new(),
    };
    let mut seen = false;
    let mut words = arguments.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let mut need = |what: &str| {
            words
                .next()
                .map(str::to_owned)
                .ok_or_else(|| format!("\"{word}\" needs {what}"))
        };
        let command = match word {
            "-t" | "--table" => {
                line.table = need("a table's name")?;
                continue;
            }
            "-w" | "--wait" | "-W" | "--wait-interval" => {
                words.next_if(|word| word.parse::<u32>().is_ok());
                continue;
            }
            "-n" | "--numeric" | "-v" | "--verbose" | "-4" | "-6" | "--ipv4" | "--ipv6" | "-x"
            | "--exact" | "--line-numbers" => continue,
            "-A" | "--append" => Command::Append(need("a chain")?),
            "-I" | "--insert" => {
                let chain = need("a chain")?;
                Command::Insert(chain, number(&mut words)?.unwrap_or(1))
            }
            "-D" | "--delete" => {
                let chain = need("a chain")?;
                match number(&mut words)? {
                    Some(number) => Command::DeleteNumber(chain, number),
                    None => Command::Delete(chain),
                }
            }
            "-R" | "--replace" => {
                let chain = need("a chain")?;
                let number = number(&mut words)?.ok_or("-R needs the rule's number")?;
                Command::Replace(chain, number)
            }
            "-C" | "--check" => Command::Check(need("a chain")?),
            "-F" | "--flush" => Command::Flush(name(&mut words)),
            "-Z" | "--zero" => Command::Zero(name(&mut words)),
            "-N" | "--new-chain" => Command::New(need("a chain's name")?),
            "-X" | "--delete-chain" => Command::DeleteChain(name(&mut words)),
            "-E" | "--rename-chain" => Command::Rename(need("a chain")?, need("its new name")?),
            "-P" | "--policy" => {
                let chain = need("a chain")?;
                Command::Policy(chain, policy(&need("a policy")?)?)
            }
            "-L" | "--list" | "-S" | "--list-rules" => {
                name(&mut words);
                number(&mut words)?;
                Command::Nothing
            }
            _ => {
                line.rule.push(word.to_owned());
                continue;
            }
        };
        if std::mem::replace(&mut seen, true) {
            return Err(format!("\"{word}\" is a second command on one line"));
        }
        line.command = command;
    }
    if !seen {
        return Err("no command (-A, -I, -D, -R, -F, -P, -N, -X, …)".to_owned());
    }
    Ok(line)
}

/// A rule's number, when the next word is one.
fn number<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Result<Option<usize>, String> {
    match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        Some(word) => match word.parse::<usize>() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(format!("\"{word}\" is no rule's number")),
        },
        None => Ok(None),
    }
}

/// A chain's name, when the next word is no option.
fn name<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Option<String> {
    words
        .next_if(|word| !word.starts_with('-'))
        .map(str::to_owned)
}

fn policy(word: &str) -> Result<Policy, String> {
    match word {
        "ACCEPT" => Ok(Policy::Accept),
        "DROP" => Ok(Policy::Drop),
        _ => Err(format!("\"{word}\" is no policy: ACCEPT or DROP")),
    }
}

/// The builtin chains of a table, in the order in which the program lists them.
fn builtin(table: &str) -> Option<&'static [&'static str]> {
    Some(match table {
        "raw" => &["PREROUTING", "OUTPUT"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "filter" | "security" => &["INPUT", "FORWARD", "OUTPUT"],
        _ => return None,
    })
}

/// The table, made with its builtin chains where it is not there: the legacy program makes them all, the other one each when
/// it is asked for (measured, 1.8.9).
fn table_at(rule_set: &mut RuleSet, program: Program, name: &str) -> Result<usize, String> {
    let builtin = builtin(name)
        .ok_or_else(|| format!("\"{name}\" is no table: filter, nat, mangle, raw or security"))?;
    let in_nf_tables = program.backend == RuleBackend::IptablesNft;
    let found = rule_set.tables.iter().position(|table| {
        table.family == program.family
            && table.name == name
            && (table.backend != RuleBackend::IptablesLegacy) == in_nf_tables
    });
    if let Some(at) = found {
        return Ok(at);
    }
    let mut table = Table::new(program.backend, program.family, name);
    if in_nf_tables {
        table.handle = Some(next_table_handle(rule_set));
    } else {
        for chain in builtin {
            add_builtin(&mut table, chain, false);
        }
    }
    rule_set.tables.push(table);
    Ok(rule_set.tables.len() - 1)
}

fn add_builtin(table: &mut Table, chain: &str, handle: bool) -> bool {
    let Some(base) = base_chain(table.family, &table.name, chain, Policy::Accept) else {
        return false;
    };
    let handle = handle.then(|| next_handle(table));
    table.chains.push(Chain {
        name: chain.to_owned(),
        handle,
        base: Some(base),
        policy_counter: Some(Counter::default()),
        rules: Vec::new(),
    });
    true
}

/// The chain of this name, made where it is a builtin one of iptables-nft that nobody has asked for before.
fn chain_at(table: &mut Table, name: &str, handles: bool) -> Result<usize, String> {
    if let Some(at) = table.chains.iter().position(|chain| chain.name == name) {
        return Ok(at);
    }
    let is_builtin = builtin(&table.name).is_some_and(|names| names.contains(&name));
    if is_builtin && add_builtin(table, name, handles) {
        return Ok(table.chains.len() - 1);
    }
    Err(format!("no chain \"{name}\" in table {}", table.name))
}

fn run(table: &mut Table, line: Line, handles: bool) -> Result<(), String> {
    let takes_rule = matches!(
        line.command,
        Command::Append(_)
            | Command::Insert(..)
            | Command::Delete(_)
            | Command::Replace(..)
            | Command::Check(_)
    );
    if let (false, Some(word)) = (takes_rule, line.rule.first()) {
        return Err(format!("\"{word}\" is not understood here"));
    }
    match line.command {
        Command::Append(chain) => {
            let at = chain_at(table, &chain, handles)?;
            for rule in rules(table, &chain, &line.rule)? {
                place(table, at, usize::MAX, rule, handles);
            }
        }
        Command::Insert(chain, number) => {
            let at = chain_at(table, &chain, handles)?;
            let length = table.chains.get(at).map_or(0, |chain| chain.rules.len());
            if number > length + 1 {
                return Err(format!("no place {number} in a chain of {length} rules"));
            }
            // Of several rules (`-s A,B`) each is inserted at the same place.
            for rule in rules(table, &chain, &line.rule)? {
                place(table, at, number - 1, rule, handles);
            }
        }
        Command::Replace(chain, number) => {
            let at = chain_at(table, &chain, handles)?;
            let mut all = rules(table, &chain, &line.rule)?;
            let (Some(rule), true) = (all.pop(), all.is_empty()) else {
                return Err("one rule can be replaced by one rule only".to_owned());
            };
            remove(table, at, number)?;
            place(table, at, number - 1, rule, handles);
        }
        Command::Delete(chain) => {
            let at = chain_at(table, &chain, handles)?;
            for rule in rules(table, &chain, &line.rule)? {
                let number = find(table, at, &rule).ok_or("no such rule in the chain")?;
                remove(table, at, number)?;
            }
        }
        Command::DeleteNumber(chain, number) => {
            let at = chain_at(table, &chain, handles)?;
            remove(table, at, number)?;
        }
        Command::Check(chain) => {
            let at = chain_at(table, &chain, handles)?;
            for rule in rules(table, &chain, &line.rule)? {
                find(table, at, &rule).ok_or("no such rule in the chain")?;
            }
        }
        other => return run_on_chains(table, other, handles),
    }
    Ok(())
}

fn run_on_chains(table: &mut Table, command: Command, handles: bool) -> Result<(), String> {
    match command {
        Command::Flush(chain) => {
            for chain in chosen(table, chain)? {
                chain.rules.clear();
            }
        }
        Command::Zero(chain) => {
            for chain in chosen(table, chain)? {
                if let Some(counter) = &mut chain.policy_counter {
                    *counter = Counter::default();
                }
                for counter in chain
                    .rules
                    .iter_mut()
                    .filter_map(|rule| rule.counter.as_mut())
                {
                    *counter = Counter::default();
                }
            }
        }
        Command::New(chain) => {
            if chain_at(table, &chain, handles).is_ok() {
                return Err(format!("chain \"{chain}\" is there already"));
            }
            if chain.is_empty() || chain.len() > 28 || chain.contains(char::is_whitespace) {
                return Err(format!("\"{chain}\" is no chain's name"));
            }
            let handle = handles.then(|| next_handle(table));
            table.chains.push(Chain {
                name: chain,
                handle,
                base: None,
                policy_counter: None,
                rules: Vec::new(),
            });
        }
        Command::DeleteChain(chain) => delete_chains(table, chain, handles)?,
        Command::Rename(from, to) => {
            if table.chain(&to).is_some() {
                return Err(format!("chain \"{to}\" is there already"));
            }
            let chain = table
                .chains
                .iter_mut()
                .find(|chain| chain.name == from && chain.base.is_none())
                .ok_or_else(|| format!("no chain \"{from}\" that can be renamed"))?;
            chain.name = to;
        }
        Command::Policy(chain, policy) => {
            let at = chain_at(table, &chain, handles)?;
            let base = table
                .chains
                .get_mut(at)
                .and_then(|chain| chain.base.as_mut());
            base.ok_or("only builtin chains have a policy")?.policy = policy;
        }
        _ => {}
    }
    Ok(())
}

/// The chain of this name, or all of them.
fn chosen(table: &mut Table, name: Option<String>) -> Result<Vec<&mut Chain>, String> {
    let Some(name) = name else {
        return Ok(table.chains.iter_mut().collect());
    };
    let is_builtin = builtin(&table.name).is_some_and(|names| names.contains(&name.as_str()));
    let found: Vec<&mut Chain> = table
        .chains
        .iter_mut()
        .filter(|chain| chain.name == name)
        .collect();
    if found.is_empty() && !is_builtin {
        return Err(format!("no chain \"{name}\""));
    }
    Ok(found)
}

fn is_used(table: &Table, name: &str) -> bool {
    let jumps = |rule: &Rule| {
        rule.statements.iter().any(|statement| {
            matches!(statement, Statement::Verdict(
                super::super::Action::Jump(to) | super::super::Action::Goto(to)) if to == name)
        })
    };
    table
        .chains
        .iter()
        .any(|chain| chain.rules.iter().any(jumps))
}

fn delete_chains(table: &mut Table, name: Option<String>, handles: bool) -> Result<(), String> {
    // Without a name, iptables-nft also takes away builtin chains that do nothing (measured).
    let goes = |chain: &Chain| match &name {
        Some(name) => chain.name == *name,
        None => match &chain.base {
            None => true,
            Some(base) => handles && chain.rules.is_empty() && base.policy == Policy::Accept,
        },
    };
    let (mut gone, mut stay) = (Vec::new(), Vec::new());
    for chain in &table.chains {
        if goes(chain) {
            gone.push(chain.clone())
        } else {
            stay.push(chain.clone())
        }
    }
    if let (Some(name), true) = (&name, gone.is_empty()) {
        return Err(format!("no chain \"{name}\""));
    }
    for chain in &gone {
        if name.is_some() && chain.base.is_some() {
            return Err(format!("{} is a builtin chain", chain.name));
        }
        if !chain.rules.is_empty() {
            return Err(format!("chain {} is not empty", chain.name));
        }
        if is_used(table, &chain.name) {
            return Err(format!("a rule jumps to chain {}", chain.name));
        }
    }
    table.chains = stay;
    Ok(())
}

/// The rules that the words mean: several where an address is a list.
fn rules(table: &Table, chain: &str, words: &[String]) -> Result<Vec<Rule>, String> {
    let is_chain = |name: &str| {
        table
            .chains
            .iter()
            .any(|chain| chain.name == name && chain.base.is_none())
    };
    let spec = Spec::read(table.family, table.backend, words, &is_chain)?;
    canonical::check_target(&table.name, chain, &spec)?;
    spec.split()
        .iter()
        .map(|spec| {
            let words = spec.words();
            let parsed = parse_rule(table.family, &words, &is_chain);
            understood(&parsed.statements)?;
            Ok(Rule {
                number: 0,
                handle: None,
                text: format!("-A {chain} {}", canonical::quoted(&words))
                    .trim_end()
                    .to_owned(),
                rendered: false,
                counter: Some(spec.counter.unwrap_or_default()),
                statements: parsed.statements,
            })
        })
        .collect()
}

/// Whether every word means something: a name or number that no reader knows would be refused by the program.
fn understood(statements: &[Statement]) -> Result<(), String> {
    use super::super::{Action, Elements};
    for statement in statements {
        match statement {
            Statement::Match(Match {
                test: Test::Unknown { text },
                ..
            }) if !canonical::is_known_module(text) => {
                return Err(format!("\"{text}\" is not understood"));
            }
            Statement::Match(Match { test, .. }) => {
                let values: &[Vec<Value>] = match test {
                    Test::In {
                        elements: Elements::Inline(all),
                        ..
                    }
                    | Test::EitherPort(all) => all,
                    _ => &[],
                };
                for value in values.iter().flatten() {
                    if let Value::Unknown(text) = value {
                        return Err(format!("\"{text}\" is not understood"));
                    }
                }
            }
            Statement::Verdict(Action::Unknown(text)) => {
                return Err(format!("\"{text}\": no chain and no target of this name"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn place(table: &mut Table, at: usize, index: usize, mut rule: Rule, handles: bool) {
    rule.handle = handles.then(|| next_handle(table));
    if let Some(chain) = table.chains.get_mut(at) {
        let index = index.min(chain.rules.len());
        chain.rules.insert(index, rule);
        renumber(chain);
    }
}

fn remove(table: &mut Table, at: usize, number: usize) -> Result<(), String> {
    let chain = table.chains.get_mut(at).ok_or("no such chain")?;
    if number == 0 || number > chain.rules.len() {
        return Err(format!("no rule {number} in chain {}", chain.name));
    }
    chain.rules.remove(number - 1);
    renumber(chain);
    Ok(())
}

/// The number of the first rule that does the same.
fn find(table: &Table, at: usize, rule: &Rule) -> Option<usize> {
    let rules = &table.chains.get(at)?.rules;
    let same = |own: &Rule| own.text == rule.text || own.statements == rule.statements;
    rules.iter().position(same).map(|at| at + 1)
}
