//! Any bytes as a capture: read, dissected, entered into a ledger, and every conversation looked at.
//!
//! `cargo fuzz run -s none capture`

#![no_main]

use libfuzzer_sys::fuzz_target;
use transect_evidence::conversation::{LedgerOptions, read_capture};
use transect_packet::CaptureReader;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = CaptureReader::new(data, "fuzz") else {
        return;
    };
    let options = LedgerOptions {
        verify_checksums: true,
        ..LedgerOptions::default()
    };
    let (ledger, _) = read_capture(&mut reader, options);
    for conversation in ledger.conversations() {
        assert!(conversation.first <= conversation.last);
        for tally in &conversation.tallies {
            let direction = tally.direction;
            let _ = conversation.unacknowledged(direction);
            let _ = conversation.acked_unseen(direction);
            let _ = conversation.fin_acknowledged(direction);
        }
        let _ = (conversation.handshake(), conversation.reset());
    }
});
