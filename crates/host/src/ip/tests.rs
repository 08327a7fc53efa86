//! Hosts joined by wires, in virtual time. The counters are those that Linux 6.18 moved when the same was done in three
//! namespaces (client, router, server on veth pairs).

mod anything;
mod errors;
mod fragments;
mod netfilter;
mod sockets;

use std::collections::BTreeMap;

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, Sysctls};
use transect_path::Timestamp;

use crate::device::{DeviceId, DeviceKind, Features};
use crate::drop_reason::DropReason;
use crate::host::{DeviceSetup, Host, HostSetup};
use crate::socket::{Errno, SocketAddress, SocketId, SocketKind, SocketOption};

/// Time on a wire, in nanoseconds.
const WIRE: u64 = 5_000;

const CLIENT: usize = 0;
const ROUTER: usize = 1;
const SERVER: usize = 2;

/// One interface: name, MTU, addresses with their prefix lengths.
struct Interface {
    name: &'static str,
    mtu: u32,
    addresses: &'static [&'static str],
}

struct World {
    now: Timestamp,
    hosts: Vec<Host>,
    /// Who hears what a host's device sends.
    wires: BTreeMap<(usize, DeviceId), (usize, DeviceId)>,
}

fn setup(
    number: u16,
    interfaces: &[Interface],
    routes: [&str; 2],
    settings: &[(&str, &str)],
) -> Host {
    let mut config = HostConfig::default();
    let mut links = Vec::new();
    let mut addresses = Vec::new();
    let mut texts = [routes[0].to_owned(), routes[1].to_owned()];
    for (place, interface) in interfaces.iter().enumerate() {
        let (index, name) = (place + 2, interface.name);
        links.push(format!(
            r#"{{"ifindex":{index},"ifname":"{name}","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":{},"link_type":"ether","address":"02:00:00:00:{number:02x}:{index:02x}","linkinfo":{{"info_kind":"veth"}}}}"#,
            interface.mtu
        ));
        let own = interface.addresses.iter().map(|address| {
            let (local, length) = address.split_once('/').unwrap();
            let network: transect_config::Prefix = address.parse().unwrap();
            let v6 = local.contains(':');
            if !local.starts_with("fe80") {
                let address = network.address;
                let bits = network.length;
                let network = match address {
                    std::net::IpAddr::V4(address) => {
                        let mask = u32::MAX << (32 - u32::from(bits));
                        std::net::Ipv4Addr::from(u32::from(address) & mask).to_string()
                    }
                    std::net::IpAddr::V6(address) => {
                        let mask = u128::MAX << (128 - u32::from(bits));
                        std::net::Ipv6Addr::from(u128::from(address) & mask).to_string()
                    }
                };
                let text = &mut texts[usize::from(v6)];
                let metric = if v6 { " metric 256" } else { "" };
                text.push_str(&format!("\n{network}/{length} dev {name} proto kernel{metric}"));
            }
            let (family, scope) = match (v6, local.starts_with("fe80")) {
                (false, _) => ("inet", "global"),
                (true, false) => ("inet6", "global"),
                (true, true) => ("inet6", "link"),
            };
            let broadcast = network
                .directed_broadcast()
                .map(|address| format!(r#""broadcast":"{address}","#))
                .unwrap_or_default();
            format!(r#"{{"family":"{family}","local":"{local}","prefixlen":{length},{broadcast}"scope":"{scope}"}}"#)
        });
        let own: Vec<String> = own.collect();
        addresses.push(format!(
            r#"{{"ifindex":{index},"ifname":"{name}","addr_info":[{}]}}"#,
            own.join(",")
        ));
    }
    for text in [
        ConfigText::Ip(&format!("[{}]", links.join(","))),
        ConfigText::Ip(&format!("[{}]", addresses.join(","))),
        ConfigText::Routes(IpVersion::V4, texts[0].trim()),
        ConfigText::Routes(IpVersion::V6, texts[1].trim()),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    let given = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config.sysctls = Sysctls {
        values: given.collect(),
    };
    let devices = interfaces.iter().map(|interface| DeviceSetup {
        name: interface.name.to_owned(),
        kind: DeviceKind::Ethernet,
        features: Features::VETH,
    });
    let mut host = Host::new(HostSetup {
        number,
        devices: devices.collect(),
        config,
        rules: RuleSet::default(),
        seed: 7 + u64::from(number),
        hz: 250,
        boot: Timestamp(0),
        journeys: true,
    })
    .unwrap();
    host.keep_deaths(true);
    host
}

/// Client, router, server; the router's link to the server has an MTU of 1400.
fn world() -> World {
    world_with("", "")
}

/// The same with routes of the router's own.
fn world_with(routes4: &str, routes6: &str) -> World {
    let one = |name, mtu, addresses| Interface {
        name,
        mtu,
        addresses,
    };
    let client = setup(
        1,
        &[one(
            "v0",
            1500,
            &["10.77.0.1/24", "fd77::1/64", "fe80::11/64"],
        )],
        [
            "default via 10.77.0.2 dev v0",
            "default via fd77::2 dev v0 metric 1024",
        ],
        &[],
    );
    let router = setup(
        2,
        &[
            one("v1", 1500, &["10.77.0.2/24", "fd77::2/64", "fe80::21/64"]),
            one("w1", 1400, &["10.78.0.1/24", "fd78::1/64", "fe80::22/64"]),
        ],
        [routes4, routes6],
        &[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
        ],
    );
    let server = setup(
        3,
        &[one(
            "w2",
            1400,
            &["10.78.0.2/24", "fd78::2/64", "fe80::31/64"],
        )],
        [
            "default via 10.78.0.1 dev w2",
            "default via fd78::1 dev w2 metric 1024",
        ],
        &[],
    );
    let (eth0, eth1) = (DeviceId(1), DeviceId(2));
    let mut world = World {
        now: Timestamp(1_000_000_000),
        hosts: vec![client, router, server],
        wires: BTreeMap::new(),
    };
    for (one, other) in [
        ((CLIENT, eth0), (ROUTER, eth0)),
        ((ROUTER, eth1), (SERVER, eth0)),
    ] {
        world.wires.insert(one, other);
        world.wires.insert(other, one);
    }
    world.meet();
    world
}

impl World {
    /// Everybody learns everybody's MAC address, and what that counted is forgotten.
    fn meet(&mut self) {
        for (host, to) in [
            (CLIENT, "10.78.0.2"),
            (CLIENT, "fd78::2"),
            (SERVER, "10.77.0.1"),
            (SERVER, "fd77::1"),
        ] {
            let ping = self.ping_socket(host, to);
            self.ping(host, ping, to, 8).unwrap();
            self.run(0.01);
            assert!(self.receive(host, ping).is_ok(), "{to} does not answer");
            self.close(host, ping);
        }
        self.run(40.0);
        self.forget();
    }

    fn forget(&mut self) {
        for host in &mut self.hosts {
            host.stack.counters = Default::default();
            while host.poll_death().is_some() {}
        }
    }

    /// Lets time pass.
    fn run(&mut self, seconds: f64) {
        let end = Timestamp(self.now.0 + (seconds * 1e9) as u64);
        loop {
            let mut in_flight = Vec::new();
            for (number, host) in self.hosts.iter_mut().enumerate() {
                while let Some((device, packet)) = host.poll_transmit() {
                    in_flight.extend(self.wires.get(&(number, device)).map(|to| (*to, packet)));
                }
            }
            if !in_flight.is_empty() {
                self.now = Timestamp(self.now.0 + WIRE);
                for ((host, device), packet) in in_flight {
                    self.hosts[host].handle_frame(self.now, device, packet);
                }
                continue;
            }
            let next = self.hosts.iter().filter_map(Host::poll_timeout).min();
            match next.filter(|next| *next <= end) {
                Some(next) => {
                    self.now = self.now.max(next);
                    for host in &mut self.hosts {
                        host.handle_timeout(self.now);
                    }
                }
                None => {
                    self.now = self.now.max(end);
                    return;
                }
            }
        }
    }

    /// What moved on a host, as `nstat` names it, but for neighbour discovery.
    fn moved(&self, host: usize) -> String {
        let counters = self.hosts[host].counters();
        let all = counters.snmp(false, 64) + &counters.netstat() + &counters.snmp6();
        not_zero(&all)
    }

    /// Reasons of what died on a host.
    fn deaths(&mut self, host: usize) -> Vec<String> {
        let host = &mut self.hosts[host];
        std::iter::from_fn(|| host.poll_death())
            .map(|death| format!("{} {}", death.point, death.reason))
            .collect()
    }

    fn socket(&mut self, host: usize, kind: SocketKind, version: IpVersion) -> SocketId {
        self.hosts[host].socket(kind, version).unwrap()
    }

    fn udp(&mut self, host: usize, local: &str, port: u16) -> SocketId {
        let local = at(local, port);
        let version = IpVersion::of(local.address);
        let socket = self.socket(host, SocketKind::Udp, version);
        self.hosts[host].bind(socket, local).unwrap();
        socket
    }

    fn ping_socket(&mut self, host: usize, to: &str) -> SocketId {
        let version = IpVersion::of(at(to, 0).address);
        self.socket(host, SocketKind::Icmp, version)
    }

    fn ping(
        &mut self,
        host: usize,
        socket: SocketId,
        to: &str,
        size: usize,
    ) -> Result<usize, Errno> {
        let to = at(to, 0);
        let mut request = vec![if to.address.is_ipv4() { 8 } else { 128 }];
        request.resize(8 + size, 0);
        self.send(host, socket, &request, Some(to))
    }

    fn send(
        &mut self,
        host: usize,
        socket: SocketId,
        bytes: &[u8],
        to: Option<SocketAddress>,
    ) -> Result<usize, Errno> {
        self.hosts[host].send_to(self.now, socket, bytes, to)
    }

    fn receive(
        &mut self,
        host: usize,
        socket: SocketId,
    ) -> Result<(Vec<u8>, SocketAddress), Errno> {
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.hosts[host].receive_from(self.now, socket, &mut buffer)?;
        buffer.truncate(length);
        Ok((buffer, from))
    }

    fn option(&mut self, host: usize, socket: SocketId, option: SocketOption) {
        self.hosts[host].set_option(socket, option).unwrap();
    }

    fn close(&mut self, host: usize, socket: SocketId) {
        self.hosts[host].close(self.now, socket);
    }

    /// A raw socket that writes its own headers.
    fn raw_socket(&mut self, host: usize, version: IpVersion) -> SocketId {
        let kind = SocketKind::Raw {
            protocol: 255,
            header_included: true,
        };
        self.socket(host, kind, version)
    }
}

fn at(address: &str, port: u16) -> SocketAddress {
    SocketAddress {
        address: address.parse().unwrap(),
        port,
    }
}

/// `Name+amount` of everything that is not zero, in the order of the files, neighbour discovery left out.
fn not_zero(text: &str) -> String {
    let mut moved = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut place = 0;
    while let Some(line) = lines.get(place) {
        place += 1;
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        match first.strip_suffix(':') {
            Some(prefix) => {
                let values = lines.get(place).copied().unwrap_or_default();
                place += 1;
                for (name, value) in words.zip(values.split_whitespace().skip(1)) {
                    moved.push((format!("{prefix}{name}"), value.to_owned()));
                }
            }
            None => moved.push((first.to_owned(), words.next().unwrap_or("0").to_owned())),
        }
    }
    moved
        .into_iter()
        .filter(|(name, value)| {
            value != "0"
                && !matches!(
                    name.as_str(),
                    "IpForwarding"
                        | "IpDefaultTTL"
                        | "TcpRtoAlgorithm"
                        | "TcpRtoMin"
                        | "TcpRtoMax"
                        | "TcpMaxConn"
                )
        })
        .map(|(name, value)| format!("{name}+{value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_ping_passes_the_router_and_comes_back() {
    let mut world = world();
    for to in ["10.78.0.2", "fd78::2"] {
        let ping = world.ping_socket(CLIENT, to);
        world.ping(CLIENT, ping, to, 56).unwrap();
        world.run(0.01);
        let (reply, from) = world.receive(CLIENT, ping).unwrap();
        assert_eq!((reply.len(), from), (64, at(to, 0)));
    }
    assert_eq!(
        world.moved(SERVER),
        "IpInReceives+1 IpInDelivers+1 IpOutRequests+1 IpOutTransmits+1 IcmpInMsgs+1 IcmpInEchos+1 IcmpOutMsgs+1 IcmpOutEchoReps+1 IcmpMsgInType8+1 IcmpMsgOutType0+1 IpExtInOctets+84 IpExtOutOctets+84 IpExtInNoECTPkts+1 Ip6InReceives+1 Ip6InDelivers+1 Ip6OutRequests+1 Ip6InOctets+104 Ip6OutOctets+104 Ip6InNoECTPkts+1 Ip6OutTransmits+1 Icmp6InMsgs+1 Icmp6OutMsgs+1 Icmp6InEchos+1 Icmp6OutEchoReplies+1 Icmp6InType128+1 Icmp6OutType129+1"
    );
}

#[test]
fn a_journey_passes_the_points_of_the_path_in_their_order() {
    let mut world = world();
    let server = world.udp(SERVER, "10.78.0.2", 5000);
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    world.option(SERVER, server, SocketOption::ReceiveBuffer(1));
    for _ in 0..3 {
        world
            .send(CLIENT, client, b"datagram", Some(at("10.78.0.2", 5000)))
            .unwrap();
        world.run(0.01);
    }
    let death = world.hosts[SERVER].poll_death().unwrap();
    assert_eq!(death.reason, DropReason::SocketRcvbuff);
    let journey = death.journey.unwrap();
    let mut points: Vec<String> = journey
        .steps()
        .map(|step| format!("{}/{}", step.host, step.point))
        .collect();
    points.dedup();
    assert_eq!(
        points.join(" "),
        "1/app_send 1/send_buffer 1/transport_output 1/route_output 1/local_out 1/post_routing 1/ip_finish 1/neighbor 1/tc_egress 1/qdisc 1/tap_out 1/driver_out 1/wire_out 1/tx_completion 2/wire_in 2/nic_in 2/xdp 2/backlog 2/tap_in 2/tc_ingress 2/link_input 2/ip_input 2/pre_routing 2/route_input 2/forward 2/post_routing 2/ip_finish 2/neighbor 2/tc_egress 2/qdisc 2/tap_out 2/driver_out 2/wire_out 2/tx_completion 3/wire_in 3/nic_in 3/xdp 3/backlog 3/tap_in 3/tc_ingress 3/link_input 3/ip_input 3/pre_routing 3/route_input 3/local_in 3/raw_tap 3/transport_input 3/socket_lookup 3/socket_input 3/receive_buffer"
    );
}
