//! Any text as the output of a tool that shows a host's configuration, or as a log; the first byte chooses which.
//!
//! `cargo fuzz run -s none config`

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&tool, rest)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match tool % 12 {
        0 => drop(transect_config::read_links(&text)),
        1 => drop(transect_config::read_addresses(&text)),
        2 => drop(transect_config::read_neighbors(&text)),
        3 => drop(transect_config::read_qdiscs(&text)),
        4 => drop(transect_config::read_routes(&text, None)),
        5 => drop(transect_config::read_sockets(&text)),
        6 => drop(transect_config::read_conntrack(&text)),
        7 => drop(transect_config::read_sysctls(&text)),
        8 => drop(transect_config::rules::read_nft_text(&text)),
        9 => drop(transect_config::rules::read_nft_json(&text)),
        10 => drop(transect_evidence::log::read_log(&text, None)),
        _ => drop(transect_evidence::recognize::recognize(rest, "fuzz")),
    }
});
