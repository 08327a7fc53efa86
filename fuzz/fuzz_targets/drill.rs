//! Any text as a packetdrill script: it is read, not run, since scripts may hold commands for the shell.
//!
//! `cargo fuzz run -s none drill`

#![no_main]

use libfuzzer_sys::fuzz_target;
use transect_drill::Script;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Script::parse(&text) {
        assert!(error.line >= 1, "{error}");
    }
});
