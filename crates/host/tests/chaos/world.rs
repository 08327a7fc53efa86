//! A world whose every move is read from bytes: two hosts, sockets on both, a wire that does anything to frames, and frames that
//! nobody sent. The fuzz targets `frames` and `calls` run it (fuzz/fuzz_targets), and tests/chaos.rs does so where there is no
//! fuzzer.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use transect_config::IpVersion;
use transect_config::rules::{RuleSet, read_nft_text};
use transect_host::{
    DeviceId, Features, Holdings, Host, OptionName, Packet, SendFlags, Shutdown, SocketAddress,
    SocketId, SocketKind,
};
use transect_path::Timestamp;

use choices::{SETTINGS, address, option, version};
use input::Input;
use setup::{ETH0, RULES, TUN0, host};

mod choices;
mod frame;
mod input;
mod setup;

/// Moves in one run: time enough for anything to go wrong.
const MOST_MOVES: usize = 600;
/// Frames that wait on the wire at most; the oldest are lost.
const MOST_FLYING: usize = 200;
/// Deadlines handled in one stretch of time: more would mean that time stands still.
const MOST_DEADLINES: usize = 200_000;
/// Long enough for every connection and every entry to be over: nf_conntrack_tcp_timeout_established is five days.
const FOREVER: Duration = Duration::from_secs(8 * 86_400);

/// What may be done to hosts beside socket calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// Calls, time, and a wire that loses, doubles, delays and turns single bits.
    Calls,
    /// The same, and frames that nobody sent, rules, translation, forwarding, settings.
    Everything,
}

/// A socket, and how far its stream is.
struct Held {
    id: SocketId,
    written: u64,
    read: u64,
}

struct World {
    hosts: [Host; 2],
    sockets: [Vec<Held>; 2],
    now: Timestamp,
    /// Host and device at which a frame arrives next, oldest first.
    flying: VecDeque<(usize, DeviceId, Packet)>,
    /// Frames seen, to be sent again with changes.
    seen: VecDeque<Vec<u8>>,
    means: Means,
}

/// What came of a run, for comparing two of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) lines: Vec<String>,
}

/// Runs the moves that the bytes say.
///
/// # Panics
/// When something does not hold: bytes that arrive are not a prefix of those written (where nobody forges any), time stands still,
/// or something is left when everything is closed and its time is over.
pub(crate) fn run(bytes: &[u8], means: Means) -> Journal {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input, means);
    for _ in 0..MOST_MOVES {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end()
}

/// The byte at a place of the stream that a socket with this port writes.
fn byte_of(port: u16, place: u64) -> u8 {
    (place.wrapping_mul(31).wrapping_add(place >> 8) % 251) as u8 ^ port.to_be_bytes()[1]
}

impl World {
    fn new(input: &mut Input<'_>, means: Means) -> Self {
        let choice = input.byte();
        let everything = means == Means::Everything;
        let features = match choice & 3 {
            0 => Features::VETH,
            1 => Features {
                gro: true,
                ..Features::VETH
            },
            2 => Features {
                gso: true,
                ..Features::NONE
            },
            _ => Features::NONE,
        };
        let rules = match everything && choice & 4 != 0 {
            true => {
                let reading = read_nft_text(RULES);
                assert!(reading.complaints.is_empty(), "{:?}", reading.complaints);
                reading.rule_set
            }
            false => RuleSet::default(),
        };
        let forwards = everything && choice & 8 != 0;
        let mut world = World {
            hosts: [0, 1].map(|number| host(number, rules.clone(), forwards, features)),
            sockets: [Vec::new(), Vec::new()],
            now: Timestamp(1_000_000_000_000),
            flying: VecDeque::new(),
            seen: VecDeque::new(),
            means,
        };
        if choice & 16 == 0 {
            world.prepare();
        }
        world
    }

    /// Servers, and clients that are on their way to them: what random moves would seldom bring about.
    fn prepare(&mut self) {
        for (kind, port) in [(SocketKind::Tcp, 80), (SocketKind::Udp, 53)] {
            let id = self.hosts[1].socket(kind, IpVersion::V6).unwrap();
            let any = SocketAddress::new(Ipv6Addr::UNSPECIFIED, port);
            self.hosts[1].bind(id, any).unwrap();
            let _ = self.hosts[1].listen(self.now, id, 5);
            self.hold(1, id);
        }
        for address in ["10.0.0.2", "fd00::2", "10.0.0.2"] {
            let peer = SocketAddress::new(address.parse::<IpAddr>().unwrap(), 80);
            let version = IpVersion::of(peer.address);
            let id = self.hosts[0].socket(SocketKind::Tcp, version).unwrap();
            let _ = self.hosts[0].connect(self.now, id, peer);
            self.hold(0, id);
        }
        self.settle();
        self.exchange();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte() & 1);
        match input.byte() % 16 {
            0 => self.open(which, input),
            1 => self.bind(which, input),
            2 => self.connect(which, input),
            3 => self.listen(which, input),
            4 => self.accept(which, input),
            5 => self.write(which, input),
            6 => self.read(which, input),
            7 => self.close(which, input),
            8 => self.set(which, input),
            9 => self.datagram(which, input),
            10 => self.ask(which, input),
            11 => self.pass_time(input),
            12 | 13 => self.arrive(input),
            14 if self.means == Means::Everything => self.forge(which, input),
            15 if self.means == Means::Everything => self.change(which, input),
            _ => self.exchange(),
        }
        self.settle();
    }

    /// What the hosts give, taken.
    fn settle(&mut self) {
        for which in 0..2 {
            while let Some((device, packet)) = self.hosts[which].poll_transmit() {
                if self.seen.len() < 32 {
                    self.seen.push_back(packet.frame().to_vec());
                }
                self.flying.push_back((1 - which, device, packet));
                if self.flying.len() > MOST_FLYING {
                    self.flying.pop_front();
                }
            }
            while self.hosts[which].poll_event().is_some() {}
            while self.hosts[which].poll_tapped().is_some() {}
            while self.hosts[which].poll_death().is_some() {}
        }
    }

    fn pick(&mut self, which: usize, input: &mut Input<'_>) -> Option<usize> {
        let count = self.sockets[which].len();
        (count > 0).then(|| input.below(count))
    }

    fn hold(&mut self, which: usize, id: SocketId) {
        self.sockets[which].push(Held {
            id,
            written: 0,
            read: 0,
        });
    }

    fn open(&mut self, which: usize, input: &mut Input<'_>) {
        if self.sockets[which].len() >= 24 {
            return;
        }
        let version = version(input);
        let kind = match input.byte() % 10 {
            0..=5 => SocketKind::Tcp,
            6 => SocketKind::Udp,
            7 => SocketKind::Icmp,
            8 => SocketKind::Raw {
                protocol: input.byte(),
                header_included: input.byte() & 1 != 0,
            },
            _ => SocketKind::Packet {
                bypass: input.byte() & 1 != 0,
            },
        };
        if let Ok(id) = self.hosts[which].socket(kind, version) {
            self.hold(which, id);
        }
    }

    fn bind(&mut self, which: usize, input: &mut Input<'_>) {
        if let Some(at) = self.pick(which, input) {
            let address = address(input);
            let id = self.sockets[which][at].id;
            let _ = self.hosts[which].bind(id, address);
        }
    }

    fn connect(&mut self, which: usize, input: &mut Input<'_>) {
        if let Some(at) = self.pick(which, input) {
            let held = &self.sockets[which][at];
            // A stream that is begun stays the same stream: AF_UNSPEC and connect(2) again would be another one.
            if held.written == 0 && held.read == 0 {
                let peer = address(input);
                let _ = self.hosts[which].connect(self.now, held.id, peer);
            }
        }
    }

    fn listen(&mut self, which: usize, input: &mut Input<'_>) {
        let backlog = u32::from(input.byte() % 6);
        if let Some(at) = self.pick(which, input) {
            let id = self.sockets[which][at].id;
            let _ = self.hosts[which].listen(self.now, id, backlog);
        }
    }

    fn accept(&mut self, which: usize, input: &mut Input<'_>) {
        if let Some(at) = self.pick(which, input) {
            let id = self.sockets[which][at].id;
            if let Ok((child, _)) = self.hosts[which].accept(self.now, id) {
                self.hold(which, child);
            }
        }
    }

    fn write(&mut self, which: usize, input: &mut Input<'_>) {
        let Some(at) = self.pick(which, input) else {
            return;
        };
        let count = 1 + input.below(9000) as u64;
        let choice = input.byte();
        let flags = SendFlags {
            more: choice & 7 == 0,
            end_of_record: choice & 0x38 == 0,
            ..SendFlags::default()
        };
        let id = self.sockets[which][at].id;
        let fresh = self.sockets[which][at].written == 0 && self.sockets[which][at].read == 0;
        let fast = choice >= 0xc0 && fresh;
        if fast {
            // What is written depends on the port.
            for any in ["::", "0.0.0.0"] {
                let any = SocketAddress::new(any.parse::<IpAddr>().unwrap(), 0);
                let _ = self.hosts[which].bind(id, any);
            }
        }
        let port = self.hosts[which]
            .local_address(id)
            .map_or(0, |own| own.port);
        let from = self.sockets[which][at].written;
        let bytes: Vec<u8> = (from..from + count)
            .map(|place| byte_of(port, place))
            .collect();
        let host = &mut self.hosts[which];
        let sent = if fast {
            let peers = [["10.0.0.2", "10.0.0.1"], ["fd00::2", "fd00::1"]];
            let peer = peers[usize::from(choice & 1)][which];
            let peer = SocketAddress::new(peer.parse::<IpAddr>().unwrap(), 80);
            host.send_fast_open(self.now, id, &bytes, Some(peer), flags)
        } else {
            host.send(self.now, id, &bytes, flags)
        };
        if let Ok(sent) = sent {
            assert!(sent <= bytes.len());
            self.sockets[which][at].written += sent as u64;
        }
    }

    fn read(&mut self, which: usize, input: &mut Input<'_>) {
        let Some(at) = self.pick(which, input) else {
            return;
        };
        let mut buffer = vec![0; 1 + input.below(9000)];
        let id = self.sockets[which][at].id;
        let port = self.hosts[which].peer_address(id).map(|peer| peer.port);
        let peeked = match input.byte() & 3 {
            0 => {
                let mut ahead = buffer.clone();
                let count = self.hosts[which].peek(self.now, id, &mut ahead);
                count.ok().map(|count| {
                    ahead.truncate(count);
                    ahead
                })
            }
            _ => None,
        };
        let Ok(count) = self.hosts[which].read(self.now, id, &mut buffer) else {
            return;
        };
        if let Some(peeked) = peeked {
            assert_eq!(
                peeked.get(..),
                buffer.get(..count),
                "MSG_PEEK saw it otherwise"
            );
        }
        let from = self.sockets[which][at].read;
        self.sockets[which][at].read += count as u64;
        if let (Means::Calls, Some(port)) = (self.means, port) {
            for (byte, place) in buffer.iter().take(count).zip(from..) {
                assert_eq!(
                    *byte,
                    byte_of(port, place),
                    "at {place} of what port {port} wrote"
                );
            }
        }
    }

    fn close(&mut self, which: usize, input: &mut Input<'_>) {
        let Some(at) = self.pick(which, input) else {
            return;
        };
        let id = self.sockets[which][at].id;
        match input.byte() % 5 {
            0 => drop(self.hosts[which].shutdown(self.now, id, Shutdown::Write)),
            1 => drop(self.hosts[which].shutdown(self.now, id, Shutdown::Read)),
            2 => drop(self.hosts[which].shutdown(self.now, id, Shutdown::Both)),
            _ => {
                self.hosts[which].close(self.now, id);
                self.sockets[which].swap_remove(at);
            }
        }
    }

    fn set(&mut self, which: usize, input: &mut Input<'_>) {
        let Some(at) = self.pick(which, input) else {
            return;
        };
        let id = self.sockets[which][at].id;
        let option = option(input);
        let _ = self.hosts[which].set_option(id, option);
    }

    fn datagram(&mut self, which: usize, input: &mut Input<'_>) {
        let Some(at) = self.pick(which, input) else {
            return;
        };
        let id = self.sockets[which][at].id;
        if self.hosts[which].tcp_info(id).is_some() {
            return;
        }
        let mut buffer = vec![0; 2000];
        if input.byte() & 3 == 0 {
            let _ = self.hosts[which].receive_from(self.now, id, &mut buffer);
            return;
        }
        let to = (input.byte() & 3 != 0).then(|| address(input));
        let count = input.below(4000);
        let mut bytes = input.take(count.min(64)).to_vec();
        bytes.resize(count, 0xa5);
        let _ = self.hosts[which].send_to(self.now, id, &bytes, to);
    }

    /// Questions, which change nothing.
    fn ask(&mut self, which: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[which];
        let before = host.holdings();
        if let Some(held) = self.sockets[which].get(usize::from(input.byte() % 8)) {
            let id = held.id;
            let _ = (host.readiness(id), host.queued(id), host.tcp_info(id));
            let _ = (host.is_connecting(id), host.is_closing(id));
            for name in [
                OptionName::Mtu,
                OptionName::MaxSegment,
                OptionName::Congestion,
                OptionName::UserTimeout,
                OptionName::Listens,
            ] {
                let _ = host.option(id, name);
            }
        }
        let _ = texts(host);
        assert_eq!(before, host.holdings());
    }

    fn pass_time(&mut self, input: &mut Input<'_>) {
        let amount = u64::from(input.byte());
        let unit = [10_000, 1_000_000, 40_000_000, 1_000_000_000][usize::from(input.byte() & 3)];
        self.until(Timestamp(self.now.0 + amount * unit));
    }

    /// Lets time pass: every deadline in its turn. What is sent meanwhile waits on the wire.
    fn until(&mut self, end: Timestamp) {
        for _ in 0..MOST_DEADLINES {
            let next = (0..2).filter_map(|which| Some((self.hosts[which].poll_timeout()?, which)));
            match next.min() {
                Some((at, which)) if at <= end => {
                    self.now = self.now.max(at);
                    self.hosts[which].handle_timeout(self.now);
                    self.settle();
                }
                _ => {
                    self.now = end;
                    for host in &mut self.hosts {
                        // Without a deadline nothing else tells it the moment.
                        host.handle_timeout(end);
                    }
                    return;
                }
            }
        }
        panic!("time stands still: {MOST_DEADLINES} deadlines before {end:?}");
    }

    /// A frame arrives, or not.
    fn arrive(&mut self, input: &mut Input<'_>) {
        let fate = input.byte();
        let at = match fate & 0xc0 {
            0 => input.below(self.flying.len()),
            _ => 0,
        };
        let Some((to, device, mut packet)) = self.flying.remove(at) else {
            return;
        };
        match fate & 0x0f {
            // Lost.
            0 => return,
            // Twice, the second time later.
            1 => self.flying.push_back((to, device, packet.clone())),
            2 => {
                let bits = packet.frame().len() * 8;
                packet.flip_bit(input.below(bits));
            }
            _ => {}
        }
        self.hosts[to].handle_frame(self.now, device, packet);
    }

    /// Everything arrives, and what it brings about, for a while.
    fn exchange(&mut self) {
        for _ in 0..100 {
            let Some((to, device, packet)) = self.flying.pop_front() else {
                break;
            };
            self.now = Timestamp(self.now.0 + 5_000);
            self.hosts[to].handle_frame(self.now, device, packet);
            self.settle();
        }
    }

    /// A frame that nobody sent.
    fn forge(&mut self, which: usize, input: &mut Input<'_>) {
        let device = if input.byte() & 3 == 0 { TUN0 } else { ETH0 };
        let mut bytes = match input.byte() & 3 {
            0 => {
                let length = input.below(400);
                input.take(length).to_vec()
            }
            1 => frame::make(input),
            _ => {
                let at = input.below(self.seen.len());
                let mut bytes = self.seen.get(at).cloned().unwrap_or_default();
                for _ in 0..input.byte() % 8 {
                    let place = input.below(bytes.len().min(120));
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte = input.byte();
                    }
                }
                bytes.truncate(bytes.len().saturating_sub(usize::from(input.byte() % 4)));
                bytes
            }
        };
        if input.byte() & 3 != 0 {
            frame::mend(&mut bytes);
        }
        let packet = match device {
            TUN0 => Packet::from_network(bytes.get(14..).unwrap_or_default()),
            _ => Packet::from_frame(bytes),
        };
        self.hosts[which].handle_frames(self.now, device, [packet.clone(), packet]);
    }

    /// Settings, rules, links.
    fn change(&mut self, which: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[which];
        match input.byte() % 8 {
            0 => host.flush_connections(self.now),
            1 => host.set_carrier(self.now, ETH0, input.byte() & 1 != 0),
            2 => host.set_features(
                ETH0,
                Features {
                    gro: input.byte() & 1 != 0,
                    tso: input.byte() & 1 != 0,
                    ..Features::VETH
                },
            ),
            3 => {
                let mtu = 68 + u32::from(input.word()) % 3000;
                host.reconfigure(self.now, |config| {
                    for link in config.links.iter_mut().flatten() {
                        link.mtu = Some(mtu);
                    }
                });
            }
            4 => {
                let rules = read_nft_text(RULES).rule_set;
                let _ = host.change_rules(self.now, |all| {
                    *all = rules;
                    Ok::<(), String>(())
                });
            }
            5 => host.set_ring(ETH0, Some(u32::from(input.byte() % 8))),
            _ => {
                let setting = input.one_of(&SETTINGS);
                if let Some((name, values)) = setting {
                    let value = input.one_of(values).unwrap_or("0");
                    let _ = host.set_sysctl(name, value);
                }
            }
        }
        host.handle_transmitted(self.now, ETH0);
    }

    /// Closes everything and waits until everything is over.
    fn end(mut self) -> Journal {
        for which in 0..2 {
            for held in std::mem::take(&mut self.sockets[which]) {
                self.hosts[which].close(self.now, held.id);
            }
        }
        self.settle();
        self.exchange();
        for host in &mut self.hosts {
            host.set_ring(ETH0, None);
            host.set_carrier(self.now, ETH0, true);
        }
        self.until(Timestamp(
            self.now.0 + u64::try_from(FOREVER.as_nanos()).unwrap(),
        ));
        let mut lines = Vec::new();
        for host in &self.hosts {
            let held = host.holdings();
            let expected = Holdings {
                timers: held.timers,
                ..Holdings::default()
            };
            assert_eq!(held, expected, "{}", host.sockets_text());
            lines.extend(texts(host));
        }
        Journal { lines }
    }
}

fn texts(host: &Host) -> Vec<String> {
    vec![
        host.sockets_text(),
        host.conntrack_entries_text(),
        host.conntrack_stats_text(),
        host.link_json(),
        host.neighbor_json(),
        host.qdisc_json(),
        host.proc_net_dev(),
        host.arp_cache_text(),
        host.sockstat_text(IpVersion::V4),
        host.counters().snmp(false, 64),
        host.counters().netstat(),
        host.counters().snmp6(),
    ]
}
