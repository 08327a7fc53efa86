//! What an event costs where there are many connections.

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use transect_bench::{CLIENT, Pair, SERVER};
use transect_host::{Features, SocketId, SocketOption};

/// Connections to one port of the server: fewer than half of the ports that the client has for one destination. Linux looks at
/// the other half only when it has tried every port of the first one, which is another thing than is measured here.
const PER_PORT: usize = 10_000;
/// Messages of one byte that are measured, each to a connection drawn by chance.
const MESSAGES: u64 = 200_000;

/// So many connections, each with the client's keep-alive timer running: time in nanoseconds for each frame that is handled.
pub(crate) fn time_per_frame(connections: usize) -> Result<f64> {
    let mut pair = Pair::new(Features::VETH, false)?;
    let mut sockets: Vec<(SocketId, SocketId)> = Vec::with_capacity(connections);
    while sockets.len() < connections {
        let port = 1000 + (sockets.len() / PER_PORT) as u16;
        let listener = pair.listen(port, 128)?;
        for _ in 0..PER_PORT.min(connections - sockets.len()) {
            sockets.push(pair.connect(listener, port, &[SocketOption::KeepAlive(true)])?);
        }
    }
    let mut chance: u64 = 1;
    let mut buffer = [0; 16];
    let frames = pair.frames;
    let started = cpu_nanoseconds();
    for _ in 0..MESSAGES {
        // Knuth's generator of MMIX: its high bits are as good as this needs.
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = ((chance >> 33) % connections as u64) as usize;
        let (client, server) = sockets[drawn];
        let wrote = pair.hosts[CLIENT].write(pair.now, client, b"x");
        ensure!(wrote == Ok(1), "write: {wrote:?}");
        pair.settle();
        let read = pair.hosts[SERVER].read(pair.now, server, &mut buffer);
        ensure!(read == Ok(1), "read: {read:?}");
        pair.settle();
    }
    let spent = cpu_nanoseconds() - started;
    Ok(spent / (pair.frames - frames).max(1) as f64)
}

/// The CPU time of this process.
fn cpu_nanoseconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
