//! Any bytes as moves of a world of two hosts: frames that nobody sent, rules, translation, forwarding, settings, and all that `calls`
//! does.
//!
//! `cargo fuzz run -s none frames`

#![no_main]

#[path = "../../crates/host/tests/chaos/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    world::run(data, world::Means::Everything);
});
