//! Rule sets as the programs print them.

use transect_path::RuleBackend;

use super::{Family, RuleSet};

/// As `iptables-save -c` of this backend and family prints the rule set.
pub fn write_iptables_save(_rule_set: &RuleSet, _backend: RuleBackend, _family: Family) -> String {
    String::new()
}

/// As `nft -j list ruleset` prints it.
pub fn write_nft_json(_rule_set: &RuleSet) -> String {
    String::new()
}

/// As `nft -a list ruleset` prints it.
pub fn write_nft_text(_rule_set: &RuleSet) -> String {
    String::new()
}
