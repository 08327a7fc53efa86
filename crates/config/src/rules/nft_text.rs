//! `nft [-a] list ruleset`.

use super::Reading;

/// Reads what `nft [-a] list ruleset` prints.
pub fn read_nft_text(text: &str) -> Reading {
    let _ = text;
    Reading::default()
}
