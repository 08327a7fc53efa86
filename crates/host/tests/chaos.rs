//! Any order of calls, frames and moments: nothing panics, what arrives is a prefix of what was written, nothing is left, and the
//! same moves give the same journal.

// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "chaos/world.rs"]
mod world;

use proptest::prelude::*;
use world::{Means, run};

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_in_any_order(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        run(&bytes, Means::Calls);
    }

    #[test]
    fn frames_and_changes_in_any_order(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        run(&bytes, Means::Everything);
    }

    #[test]
    fn the_same_moves_give_the_same_journal(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(run(&bytes, Means::Everything), run(&bytes, Means::Everything));
    }
}

/// What the fuzzer found, and what a run is to begin from (fuzz/corpus).
#[test]
fn the_fuzzers_corpus() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    for (target, means) in [("calls", Means::Calls), ("frames", Means::Everything)] {
        let files = std::fs::read_dir(format!("{corpus}/{target}")).unwrap();
        for file in files {
            run(&std::fs::read(file.unwrap().path()).unwrap(), means);
        }
    }
}
