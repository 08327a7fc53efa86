//! Commands that change rules, applied to a rule set: `iptables`, `ip6tables`, `nft`.
//!
//! What the programs would ask the kernel for is done to the plain data instead, with the programs' own rules about words,
//! positions, names and handles. The rules' texts come out as `iptables-save` and `nft -s list ruleset` print them.

mod canonical;
mod iptables;
mod nft;

use super::RuleSet;

/// A command that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{command}: {what}")]
pub struct CommandError {
    /// The command.
    pub command: String,
    /// What was not understood, or why it cannot be done.
    pub what: String,
}

/// Applies one command, as its words stand behind a shell's splitting: `iptables[-legacy|-nft] …`, `ip6tables… …`, `nft …`.
/// A path before the program's name is left out of account.
///
/// # Errors
/// A word that is not understood, or something that the kernel would refuse; the rule set is then unchanged.
pub fn apply_command(rule_set: &mut RuleSet, words: &[String]) -> Result<(), CommandError> {
    let error = |what: String| CommandError {
        command: words.join(" "),
        what,
    };
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| error("a program's name is missing".to_owned()))?;
    let name = program.rsplit('/').next().unwrap_or_default();
    let mut changed = rule_set.clone();
    let done = match name {
        "nft" => nft::apply(&mut changed, arguments),
        _ => match iptables::Program::of(name) {
            Some(program) => iptables::apply(&mut changed, program, arguments),
            None => Err(format!(
                "\"{name}\" is none of iptables, ip6tables (-legacy, -nft) and nft"
            )),
        },
    };
    done.map_err(error)?;
    *rule_set = changed;
    Ok(())
}

/// Numbers a chain's rules anew, from 1.
fn renumber(chain: &mut super::Chain) {
    for (number, rule) in (1..).zip(&mut chain.rules) {
        rule.number = number;
    }
}

/// The next handle in a table (`nf_tables_alloc_handle`): one more than any that it has.
fn next_handle(table: &super::Table) -> u64 {
    let chains = table.chains.iter().flat_map(|chain| {
        let rules = chain.rules.iter().filter_map(|rule| rule.handle);
        rules.chain(chain.handle)
    });
    let sets = table.sets.iter().filter_map(|set| set.handle);
    chains.chain(sets).max().unwrap_or(0).saturating_add(1)
}

/// The next table's handle.
fn next_table_handle(rule_set: &RuleSet) -> u64 {
    let handles = rule_set.tables.iter().filter_map(|table| table.handle);
    handles.max().unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests;
