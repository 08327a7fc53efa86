//! What idle connections need, by an allocator that counts. A program of its own, because counting takes time.

use std::alloc::System;

use anyhow::{Context, Result};
use cap::Cap;
use transect_bench::Pair;
use transect_host::{Features, Host};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Connections to one port of the server: fewer than half of the ports that the client has for one destination.
const PER_PORT: usize = 10_000;

/// Prints the bytes that so many idle connections hold at the client, and at the server.
fn main() -> Result<()> {
    let connections: usize = std::env::args()
        .nth(1)
        .context("how many connections")?
        .parse()
        .context("how many connections: a number")?;
    let mut pair = Pair::new(Features::VETH, false)?;
    let mut made = 0;
    while made < connections {
        let port = 1000 + (made / PER_PORT) as u16;
        let listener = pair.listen(port, 128)?;
        for _ in 0..PER_PORT.min(connections - made) {
            pair.connect(listener, port, &[])?;
            made += 1;
        }
    }
    let Pair {
        hosts: [client, server],
        ..
    } = pair;
    println!("{} {}", held(client), held(server));
    Ok(())
}

/// What a host holds, in bytes: it shows when the host is put away.
fn held(host: Host) -> usize {
    let before = ALLOCATOR.allocated();
    drop(host);
    before.saturating_sub(ALLOCATOR.allocated())
}
