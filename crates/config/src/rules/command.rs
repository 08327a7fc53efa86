//! Commands that change rules, applied to a rule set: `iptables`, `ip6tables`, `nft`.

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
///
/// # Errors
/// A word that is not understood, or something that the kernel would refuse; the rule set is then unchanged.
pub fn apply_command(_rule_set: &mut RuleSet, words: &[String]) -> Result<(), CommandError> {
    Err(CommandError {
        command: words.join(" "),
        what: "not built yet".to_owned(),
    })
}
