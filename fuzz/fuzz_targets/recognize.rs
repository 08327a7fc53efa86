//! Any bytes as the beginning of a file whose kind is to be found out, as a log, and as what a user names as input.
//!
//! `cargo fuzz run -s none recognize`

#![no_main]

use libfuzzer_sys::fuzz_target;
use transect_evidence::{Input, log, recognize};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let found = recognize::recognize(data, "fuzz");
    if let Err(unknown) = &found {
        assert!(!unknown.to_string().contains('\u{1b}'));
    }
    if log::log_format(&text).is_some() {
        let lines = log::read_log(&text, None);
        assert!(!lines.is_empty());
    }
    let _ = text.parse::<Input>();
    let _ = Input::log(&text);
});
