//! Any bytes as moves of a world of two hosts: socket calls, moments, and a wire that loses, doubles, delays and damages. What
//! arrives is a prefix of what was written; nothing is left.
//!
//! `cargo fuzz run -s none calls`

#![no_main]

#[path = "../../crates/host/tests/chaos/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    world::run(data, world::Means::Calls);
});
