//! Two whole hosts on one wire: what resolution looks like to both, held against a recording of Linux 6.18 between two namespaces.

use super::*;
use crate::socket::{SocketAddress, SocketId, SocketKind};

/// Two hosts, and everything that crosses the wire between them.
struct Wire {
    hosts: [Host; 2],
    now: Timestamp,
    seen: Vec<(f64, String)>,
}

impl Wire {
    fn new() -> Self {
        let host = |own: u8| {
            let text = |text: &str| {
                text.replace("10.0.0.1", &format!("10.0.0.{own}"))
                    .replace("::1", &format!("::{own}"))
                    .replace("00:01", &format!("00:0{own}"))
            };
            let mut config = HostConfig::default();
            let routes6 = "fd00::/64 dev eth0 proto kernel metric 256
fe80::/64 dev eth0 proto kernel metric 256
local fd00::1 dev eth0 table local proto kernel metric 0
local fe80::1 dev eth0 table local proto kernel metric 0
multicast ff00::/8 dev eth0 table local proto kernel metric 256";
            for part in [
                ConfigText::Ip(&text(LINKS)),
                ConfigText::Ip(&text(ADDRESSES)),
                ConfigText::Routes(IpVersion::V4, &text(ROUTES)),
                ConfigText::Routes(IpVersion::V6, &text(routes6)),
            ] {
                assert_eq!(config.absorb(part), []);
            }
            config.policy_rules4 = Some(transect_config::default_policy_rules(IpVersion::V4));
            config.policy_rules6 = Some(transect_config::default_policy_rules(IpVersion::V6));
            host_of(config, Features::VETH)
        };
        Wire {
            hosts: [host(1), host(2)],
            now: Timestamp(0),
            seen: Vec::new(),
        }
    }

    /// Carries what is there until both are silent.
    fn carry(&mut self) {
        loop {
            let mut quiet = true;
            for side in 0..2 {
                while let Some((device, packet)) = self.hosts[side].poll_transmit() {
                    quiet = false;
                    self.seen
                        .push((self.now.as_secs_f64(), describe(packet.frame())));
                    self.hosts[1 - side].handle_frame(self.now, device, packet);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn run_until(&mut self, seconds: f64) {
        let end = Timestamp((seconds * 1e9) as u64);
        loop {
            let next = self.hosts.iter().filter_map(Host::poll_timeout).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for host in &mut self.hosts {
                host.handle_timeout(self.now);
            }
            self.carry();
        }
        self.now = end;
    }

    fn open(&mut self, side: usize, version: IpVersion, port: u16) -> SocketId {
        let host = &mut self.hosts[side];
        let socket = host.socket(SocketKind::Udp, version).unwrap();
        let any: IpAddr = match version {
            IpVersion::V4 => "0.0.0.0".parse().unwrap(),
            IpVersion::V6 => "::".parse().unwrap(),
        };
        host.bind(socket, SocketAddress::new(any, port)).unwrap();
        socket
    }

    fn send(&mut self, side: usize, socket: SocketId, to: &str, port: u16) {
        let to: IpAddr = to.parse().unwrap();
        self.hosts[side]
            .send_to(
                self.now,
                socket,
                b"hello",
                Some(SocketAddress::new(to, port)),
            )
            .unwrap();
        self.carry();
    }

    fn frames(&mut self) -> Vec<(f64, String)> {
        std::mem::take(&mut self.seen)
    }
}

/// Asks, is answered, and is asked in turn five seconds later, by itself.
fn a_question_and_its_answer(version: IpVersion, addresses: [&str; 2]) -> Vec<(f64, String)> {
    let mut wire = Wire::new();
    let client = wire.open(0, version, 40_000);
    let server = wire.open(1, version, 9);
    wire.send(0, client, addresses[1], 9);
    wire.send(1, server, addresses[0], 40_000);
    wire.run_until(8.0);
    let mut buffer = [0; 100];
    let read = wire.hosts[0].receive_from(wire.now, client, &mut buffer);
    assert_eq!(read.map(|(length, _)| length), Ok(5));
    wire.frames()
}

#[test]
fn arp_as_linux_does_it() {
    let seen = a_question_and_its_answer(IpVersion::V4, ["10.0.0.1", "10.0.0.2"]);
    let frames: Vec<&str> = seen.iter().map(|(_, frame)| frame.as_str()).collect();
    assert_eq!(
        frames,
        [
            "ff:ff:ff:ff:ff:ff ARP Request 10.0.0.1 02:00:00:00:00:01 for 10.0.0.2",
            "02:00:00:00:00:01 ARP Reply 10.0.0.2 02:00:00:00:00:02 for 10.0.0.1",
            "02:00:00:00:00:02 IP 10.0.0.2 47 bytes",
            "02:00:00:00:00:01 IP 10.0.0.1 47 bytes",
            // Five seconds later the server makes sure of the client, which it only knows from its question.
            "02:00:00:00:00:01 ARP Request 10.0.0.2 02:00:00:00:00:02 for 10.0.0.1",
            "02:00:00:00:00:02 ARP Reply 10.0.0.1 02:00:00:00:00:01 for 10.0.0.2",
        ]
    );
    let asked = seen.get(4).map_or(0.0, |(at, _)| *at);
    assert!((5.0..5.27).contains(&asked), "{asked}");
}

#[test]
fn neighbour_discovery_as_linux_does_it() {
    let seen = a_question_and_its_answer(IpVersion::V6, ["fd00::1", "fd00::2"]);
    let frames: Vec<&str> = seen.iter().map(|(_, frame)| frame.as_str()).collect();
    assert_eq!(
        frames,
        [
            "33:33:ff:00:00:02 IP ff02::1:ff00:2 86 bytes",
            "02:00:00:00:00:01 IP fd00::1 86 bytes",
            "02:00:00:00:00:02 IP fd00::2 67 bytes",
            "02:00:00:00:00:01 IP fd00::1 67 bytes",
            // From the link-local address; the answer to a question that was not to a group tells no address.
            "02:00:00:00:00:01 IP fd00::1 86 bytes",
            "02:00:00:00:00:02 IP fe80::2 78 bytes",
        ]
    );
}

#[test]
fn an_absent_neighbour_costs_what_linux_counts() {
    use crate::counters::{Icmp6Counter, IcmpCounter, IpCounter};
    let mut wire = Wire::new();
    let v4 = wire.open(0, IpVersion::V4, 40_000);
    let v6 = wire.open(0, IpVersion::V6, 40_001);
    wire.send(0, v4, "10.0.0.99", 9);
    wire.send(0, v6, "fd00::99", 9);
    wire.run_until(6.0);
    let counters = wire.hosts[0].counters();
    let ip4 = [
        IpCounter::OutRequests,
        IpCounter::OutTransmits,
        IpCounter::InReceives,
    ];
    assert_eq!(ip4.map(|counter| counters.ip4.of(counter)), [2, 2, 1]);
    assert_eq!(counters.icmp.of(IcmpCounter::OutDestUnreachs), 1);
    assert_eq!(counters.icmp.of(IcmpCounter::InDestUnreachs), 1);
    // The datagram, three solicitations, the error.
    assert_eq!(counters.ip6.of(IpCounter::OutRequests), 5);
    assert_eq!(counters.icmp6.of(Icmp6Counter::OutNeighborSolicits), 3);
    assert_eq!(counters.icmp6.of(Icmp6Counter::InDestUnreachs), 1);
    assert!(
        wire.hosts[0]
            .arp_cache_text()
            .contains("\n00000001 00000001 00000000 00000000")
    );
}
