//! Connections in turn, tracked by Netfilter at both ends, leave nothing behind: the virtual-time twin of `scripts/proof connections`.
//! `cargo test --release -p transect-host --test in_turn` makes all ten thousand.

// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

// What only the other tests use.
#[allow(dead_code)]
#[path = "chaos/setup.rs"]
mod setup;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use setup::{ETH0, RULES, host};
use transect_config::IpVersion;
use transect_config::rules::read_nft_text;
use transect_host::{Errno, Features, Holdings, Host, SocketAddress, SocketId, SocketKind};
use transect_path::Timestamp;

/// A build without optimization takes two minutes for ten thousand.
const CONNECTIONS: usize = if cfg!(debug_assertions) {
    1_000
} else {
    10_000
};
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// A frame's way.
const FLIGHT: Duration = Duration::from_micros(50);
/// TIME_WAIT is over after 60 s (TCP_TIMEWAIT_LEN), its tracked connection after nf_conntrack_tcp_timeout_time_wait, 120 s.
const OVER: Duration = Duration::from_secs(125);

struct Pair {
    hosts: [Host; 2],
    now: Timestamp,
}

impl Pair {
    fn new() -> Self {
        let rules = read_nft_text(RULES).rule_set;
        let mut hosts =
            [CLIENT, SERVER].map(|which| host(which as u8, rules.clone(), false, Features::VETH));
        for host in &mut hosts {
            // Nobody takes what the tap would keep.
            host.set_tapped(ETH0, false);
        }
        Pair {
            hosts,
            now: Timestamp(1_000_000_000_000),
        }
    }

    /// Carries frames until none is under way.
    fn settle(&mut self) {
        loop {
            let mut carried = false;
            for from in [CLIENT, SERVER] {
                while let Some((device, packet)) = self.hosts[from].poll_transmit() {
                    carried = true;
                    self.now = self.now + FLIGHT;
                    self.hosts[1 - from].handle_frame(self.now, device, packet);
                }
                while self.hosts[from].poll_event().is_some() {}
                while self.hosts[from].poll_death().is_some() {}
            }
            if !carried {
                return;
            }
        }
    }

    /// Lets time pass, every deadline in its turn.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, which)) = [CLIENT, SERVER]
            .into_iter()
            .filter_map(|which| Some((self.hosts[which].poll_timeout()?, which)))
            .min()
            .filter(|(at, _)| *at <= end)
        {
            self.now = self.now.max(at);
            self.hosts[which].handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.max(end);
        for host in &mut self.hosts {
            host.handle_timeout(end);
        }
    }

    fn read(&mut self, which: usize, socket: SocketId) -> Result<Vec<u8>, Errno> {
        let mut buffer = [0; 64];
        let count = self.hosts[which].read(self.now, socket, &mut buffer)?;
        Ok(buffer[..count].to_vec())
    }

    fn write(&mut self, which: usize, socket: SocketId, bytes: &[u8]) {
        let written = self.hosts[which].write(self.now, socket, bytes);
        assert_eq!(written, Ok(bytes.len()));
        self.settle();
    }

    /// A request and its answer; whoever is named closes first, and keeps the TIME_WAIT. Gives the client's port.
    fn exchange(&mut self, listener: SocketId, server: SocketAddress, closes_first: usize) -> u16 {
        let version = IpVersion::of(server.address);
        let client = self.hosts[CLIENT].socket(SocketKind::Tcp, version).unwrap();
        let connecting = self.hosts[CLIENT].connect(self.now, client, server);
        assert!(
            matches!(connecting, Ok(()) | Err(Errno::Einprogress)),
            "{connecting:?}"
        );
        self.settle();
        let (accepted, peer) = self.hosts[SERVER].accept(self.now, listener).unwrap();
        let sockets = [client, accepted];
        self.write(CLIENT, client, b"request");
        assert_eq!(self.read(SERVER, accepted), Ok(b"request".to_vec()));
        self.write(SERVER, accepted, b"answer");
        assert_eq!(self.read(CLIENT, client), Ok(b"answer".to_vec()));
        for which in [closes_first, 1 - closes_first] {
            if which != closes_first {
                assert_eq!(self.read(which, sockets[which]), Ok(Vec::new()));
            }
            self.hosts[which].close(self.now, sockets[which]);
            self.settle();
        }
        peer.port
    }
}

#[test]
fn connections_in_turn_leave_nothing_behind() {
    let mut pair = Pair::new();
    let listener = pair.hosts[SERVER]
        .socket(SocketKind::Tcp, IpVersion::V6)
        .unwrap();
    let any = SocketAddress::new("::".parse::<IpAddr>().unwrap(), 80);
    pair.hosts[SERVER].bind(listener, any).unwrap();
    pair.hosts[SERVER].listen(pair.now, listener, 128).unwrap();
    let addresses: [IpAddr; 2] = ["10.0.0.2", "fd00::2"].map(|text| text.parse().unwrap());
    let mut most = [0; 2];
    let mut ports = BTreeSet::new();
    for number in 0..CONNECTIONS {
        let server = SocketAddress::new(addresses[number & 1], 80);
        let port = pair.exchange(listener, server, (number >> 1) & 1);
        ports.insert((number & 1, port));
        pair.pass(Duration::from_millis(2));
        for which in [CLIENT, SERVER] {
            if number % 100 == 99 {
                most[which] = most[which].max(pair.hosts[which].holdings().time_wait);
            }
        }
    }
    // They were there: the check below would otherwise pass for a host that keeps nothing.
    assert!(most.iter().all(|most| *most > CONNECTIONS / 4), "{most:?}");
    for host in &pair.hosts {
        // A port that is used again is the same tracked connection.
        assert_eq!(host.holdings().tracked, ports.len(), "every one is tracked");
    }

    pair.pass(OVER);

    pair.hosts[SERVER].close(pair.now, listener);
    for host in &pair.hosts {
        let held = host.holdings();
        let expected = Holdings {
            // A neighbour's entry has one.
            timers: held.timers,
            ..Holdings::default()
        };
        assert_eq!(held, expected, "{}", host.sockets_text());
        assert!(held.timers < 10, "{}", held.timers);
    }
}
