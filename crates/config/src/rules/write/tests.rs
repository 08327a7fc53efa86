//! What is written is read back as it was: every recorded rule set.

use super::*;
use crate::rules::{read_iptables_save, read_nft_json, read_nft_text};

const LEGACY: &str = include_str!("../../../tests/fixtures/rules/iptables-legacy.save");
const LEGACY6: &str = include_str!("../../../tests/fixtures/rules/ip6tables-legacy.save");
const XNFT: &str = include_str!("../../../tests/fixtures/rules/iptables-nft.save");
const XNFT6: &str = include_str!("../../../tests/fixtures/rules/ip6tables-nft.save");
const NFT_JSON: &str = include_str!("../../../tests/fixtures/rules/nft.json");
const NFT_TEXT: &str = include_str!("../../../tests/fixtures/rules/nft.nft");

#[test]
fn what_iptables_printed_comes_back() {
    for (text, family, backend) in [
        (LEGACY, Family::Ip, RuleBackend::IptablesLegacy),
        (LEGACY6, Family::Ip6, RuleBackend::IptablesLegacy),
        (XNFT, Family::Ip, RuleBackend::IptablesNft),
        (XNFT6, Family::Ip6, RuleBackend::IptablesNft),
    ] {
        let mut read = read_iptables_save(text, family, backend).rule_set;
        read.tables.iter_mut().for_each(|table| {
            table.backend = backend;
            // Without `-c` the dump has no rule's counter.
            for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
                rule.counter = Some(rule.counter.unwrap_or_default());
            }
        });
        let written = write_iptables_save(&read, backend, family);
        let again = read_iptables_save(&written, family, backend);
        assert_eq!(again.complaints, []);
        assert_eq!(again.rule_set, read);
    }
}

#[test]
fn what_nft_printed_comes_back_as_text() {
    let read = read_nft_text(NFT_TEXT).rule_set;
    let again = read_nft_text(&write_nft_text(&read));
    assert_eq!(again.complaints, []);
    for (a, b) in again.rule_set.tables.iter().zip(&read.tables) {
        assert_eq!(a, b);
    }
    assert_eq!(again.rule_set, read);
}

#[test]
fn what_nft_printed_comes_back_as_json() {
    let read = read_nft_json(NFT_JSON).expect("JSON").rule_set;
    let again = read_nft_json(&write_nft_json(&read)).expect("JSON");
    assert_eq!(again.complaints, []);
    for (a, b) in again.rule_set.rules().zip(read.rules()) {
        assert_eq!(a.2, b.2, "{}", b.2.text);
    }
    assert_eq!(again.rule_set, read);
}

#[test]
fn json_and_text_of_one_rule_set_are_put_together_again() {
    let read = read_nft_text(NFT_TEXT).rule_set;
    let mut merged = read_nft_json(&write_nft_json(&read))
        .expect("JSON")
        .rule_set;
    merged.merge(read_nft_text(&write_nft_text(&read)).rule_set);
    for (a, b) in merged.rules().zip(read.rules()) {
        assert_eq!(
            (&a.2.text, a.2.counter, a.2.handle),
            (&b.2.text, b.2.counter, b.2.handle)
        );
    }
}
