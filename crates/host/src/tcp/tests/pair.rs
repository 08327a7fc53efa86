//! The two hosts, the link between them, and a trace like tcpdump's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion};
use transect_packet::{LinkType, Network, SequenceNumber, TcpHeader, Transport, dissect};
use transect_path::Timestamp;

use crate::device::{DeviceId, DeviceKind, Features};
use crate::host::{DeviceSetup, Host, HostSetup};
use crate::ip::bytes::{finish_ipv4_header, fold, ones_sum, pseudo_header};
use crate::packet::Packet;
use crate::socket::{Errno, Event, SocketAddress, SocketId, SocketKind, SocketOption};

pub(super) const ETH0: DeviceId = DeviceId(1);
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// What a frame is to the one who decides whether it is lost: the direction's number (from 0), and the header.
pub(super) struct Frame<'a> {
    pub(super) from: usize,
    pub(super) number: usize,
    pub(super) tcp: TcpHeader<'a>,
    /// IPv6's flow label.
    pub(super) label: u32,
}

/// A segment to be made.
pub(super) struct Craft<'a> {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) seq: i32,
    pub(super) ack: i32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) damaged: bool,
}

impl Craft<'_> {
    pub(super) const fn new(from: u16, seq: i32, ack: i32, flags: u8) -> Self {
        Craft {
            from,
            to: 80,
            seq,
            ack,
            flags,
            window: 1000,
            options: &[],
            payload: &[],
            damaged: false,
        }
    }
}

/// What the link does to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It arrives in its time.
    Carried,
    /// It never arrives.
    Lost,
    /// It arrives so much later.
    Late(Duration),
    /// It arrives, and again so much later.
    Twice(Duration),
    /// It arrives with this bit of its payload or header turned, counted from behind the link header.
    Damaged(usize),
}

type Treat = Box<dyn FnMut(&Frame<'_>) -> Treatment>;

pub(super) struct Pair {
    pub(super) hosts: [Host; 2],
    pub(super) now: Timestamp,
    pub(super) delay: Duration,
    /// Frames on their way, by arrival.
    flying: BTreeMap<(Timestamp, u64), (usize, Packet)>,
    frames: u64,
    count: [usize; 2],
    treat: Treat,
    /// One line for each segment, as it leaves.
    pub(super) trace: Vec<String>,
    origins: BTreeMap<(usize, u16, u16), SequenceNumber>,
    pub(super) events: [BTreeSet<String>; 2],
    start: Timestamp,
}

fn config(own: u8, peer: u8) -> HostConfig {
    let links = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
        "mtu":1500,"link_type":"ether","address":"02:00:00:00:00:0{own}","linkinfo":{{"info_kind":"veth"}}}}]"#
    );
    let addresses = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","addr_info":[
        {{"family":"inet","local":"10.0.0.{own}","prefixlen":24,"broadcast":"10.0.0.255","scope":"global"}},
        {{"family":"inet6","local":"fd00::{own}","prefixlen":64,"scope":"global"}}]}}]"#
    );
    let routes4 = format!(
        "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.{own}
local 10.0.0.{own} dev eth0 table local proto kernel scope host src 10.0.0.{own}"
    );
    let routes6 = format!(
        "fd00::/64 dev eth0 proto kernel metric 256 pref medium
local fd00::{own} dev eth0 table local proto kernel metric 0 pref medium"
    );
    let neighbors = format!(
        "10.0.0.{peer} dev eth0 lladdr 02:00:00:00:00:0{peer} PERMANENT
fd00::{peer} dev eth0 lladdr 02:00:00:00:00:0{peer} PERMANENT"
    );
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(&links),
        ConfigText::Ip(&addresses),
        ConfigText::Routes(IpVersion::V4, &routes4),
        ConfigText::Routes(IpVersion::V6, &routes6),
        ConfigText::Ip(&neighbors),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    config.policy_rules4 = Some(transect_config::default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(transect_config::default_policy_rules(IpVersion::V6));
    config
}

fn host(number: u16, config: HostConfig, features: Features) -> Host {
    let mut host = Host::new(HostSetup {
        number,
        devices: vec![DeviceSetup {
            name: "eth0".to_owned(),
            kind: DeviceKind::Ethernet,
            features,
        }],
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

impl Pair {
    pub(super) fn new() -> Self {
        Self::with(Features::VETH, &[])
    }

    /// Both hosts with these features and sysctls.
    pub(super) fn with(features: Features, sysctls: &[(&str, &str)]) -> Self {
        let mut hosts = [
            host(0, config(1, 2), features),
            host(1, config(2, 1), features),
        ];
        for host in &mut hosts {
            for (name, value) in sysctls {
                host.set_sysctl(name, value).unwrap();
            }
        }
        let start = Timestamp(1_000_000_000_000);
        Pair {
            hosts,
            now: start,
            delay: Duration::from_micros(20),
            flying: BTreeMap::new(),
            frames: 0,
            count: [0; 2],
            treat: Box::new(|_| Treatment::Carried),
            trace: Vec::new(),
            origins: BTreeMap::new(),
            events: Default::default(),
            start,
        }
    }

    /// Loses frames from now on, and counts them from 0 again.
    pub(super) fn lose(&mut self, mut lose: impl FnMut(&Frame<'_>) -> bool + 'static) {
        self.treat(move |frame| {
            if lose(frame) {
                Treatment::Lost
            } else {
                Treatment::Carried
            }
        });
    }

    /// Does anything to frames from now on, and counts them from 0 again.
    pub(super) fn treat(&mut self, treat: impl FnMut(&Frame<'_>) -> Treatment + 'static) {
        self.treat = Box::new(treat);
        self.count = [0; 2];
    }

    pub(super) fn address(which: usize, port: u16) -> SocketAddress {
        let last = if which == CLIENT { 1 } else { 2 };
        SocketAddress::new(std::net::Ipv4Addr::new(10, 0, 0, last), port)
    }

    /// A listener on the server.
    pub(super) fn listen(&mut self, port: u16, backlog: u32, options: &[SocketOption]) -> SocketId {
        let host = &mut self.hosts[SERVER];
        let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
        for option in options {
            host.set_option(id, option.clone()).unwrap();
        }
        host.bind(
            id,
            SocketAddress::new(std::net::Ipv4Addr::UNSPECIFIED, port),
        )
        .unwrap();
        host.listen(self.now, id, backlog).unwrap();
        id
    }

    /// A connection from the client, its SYN sent.
    pub(super) fn connect(&mut self, port: u16, options: &[SocketOption]) -> SocketId {
        let host = &mut self.hosts[CLIENT];
        let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
        for option in options {
            host.set_option(id, option.clone()).unwrap();
        }
        let result = host.connect(self.now, id, Self::address(SERVER, port));
        assert_eq!(result, Err(Errno::Einprogress));
        self.collect();
        id
    }

    /// A connection, established and accepted: the client's end and the server's.
    pub(super) fn connected(&mut self) -> (SocketId, SocketId) {
        let listener = self.listen(80, 10, &[]);
        let client = self.connect(80, &[]);
        self.run_for(Duration::from_millis(1));
        let (server, _) = self.hosts[SERVER].accept(self.now, listener).unwrap();
        (client, server)
    }

    pub(super) fn write(
        &mut self,
        which: usize,
        id: SocketId,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let result = self.hosts[which].write(self.now, id, bytes);
        self.collect();
        result
    }

    pub(super) fn read(&mut self, which: usize, id: SocketId) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; 1 << 20];
        let result = self.hosts[which].read(self.now, id, &mut buffer);
        self.collect();
        result.map(|length| {
            buffer.truncate(length);
            buffer
        })
    }

    pub(super) fn close(&mut self, which: usize, id: SocketId) {
        self.hosts[which].close(self.now, id);
        self.collect();
    }

    /// A segment that nobody sent arrives at the server, from the client's address: relative numbers, as the trace writes them.
    pub(super) fn inject(&mut self, craft: &Craft<'_>) {
        let key = (CLIENT, craft.from, craft.to);
        let zero = SequenceNumber(0);
        let own = *self.origins.get(&key).unwrap_or(&zero);
        let other = *self
            .origins
            .get(&(SERVER, craft.to, craft.from))
            .unwrap_or(&zero);
        let mut tcp = Vec::new();
        tcp.extend(craft.from.to_be_bytes());
        tcp.extend(craft.to.to_be_bytes());
        tcp.extend(own.0.wrapping_add_signed(craft.seq).to_be_bytes());
        tcp.extend(other.0.wrapping_add_signed(craft.ack).to_be_bytes());
        let header = 20 + craft.options.len();
        tcp.extend([((header / 4) as u8) << 4, craft.flags]);
        tcp.extend(craft.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(craft.options);
        tcp.extend(craft.payload);
        let addresses = [Self::address(CLIENT, 0), Self::address(SERVER, 0)];
        let pseudo = pseudo_header(addresses[0].address, addresses[1].address, 6, tcp.len());
        let sum = !fold(ones_sum(pseudo, &tcp)) ^ u16::from(craft.damaged);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut ip = vec![0x45, 0];
        ip.extend(((20 + tcp.len()) as u16).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        finish_ipv4_header(&mut ip);
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend(ip);
        frame.extend(tcp);
        self.hosts[SERVER].handle_frame(self.now, ETH0, Packet::from_frame(frame));
        self.collect();
    }

    /// The client's port, and the first timestamps option's value of a segment of its own at the server's moment.
    pub(super) fn client_port(&self, id: SocketId) -> u16 {
        self.hosts[CLIENT].local_address(id).unwrap().port
    }

    /// What died on a host since the last time, with its reason.
    pub(super) fn deaths(&mut self, which: usize) -> Vec<String> {
        std::iter::from_fn(|| self.hosts[which].poll_death())
            .map(|death| format!("{} {}", death.point.id(), death.reason.id()))
            .collect()
    }

    /// Changes a host's rules by a command line.
    pub(super) fn rule(&mut self, which: usize, command: &str) {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        self.hosts[which]
            .change_rules(self.now, |rules| {
                transect_config::rules::apply_command(rules, &words)
            })
            .unwrap();
    }

    /// An ICMP message tells the client that its oldest segment did not fit.
    pub(super) fn too_big(&mut self, id: SocketId, mtu: u32) {
        let (local, peer) = (
            self.hosts[CLIENT].local_address(id).unwrap(),
            Self::address(SERVER, 80),
        );
        let una = self.origins[&(CLIENT, local.port, 80)] + 1;
        let mut transport = Vec::new();
        transport.extend(local.port.to_be_bytes());
        transport.extend(peer.port.to_be_bytes());
        transport.extend(una.0.to_be_bytes());
        let host = &mut self.hosts[CLIENT];
        host.begin(self.now);
        let error = crate::tcp::IcmpError {
            source: local.address,
            destination: peer.address,
            offender: peer.address,
            transport: &transport,
            kind: 3,
            code: 4,
            mtu,
            device: Some(ETH0),
        };
        host.tcp.handle_icmp(&mut host.stack, &error);
        host.run();
        self.collect();
    }

    /// Takes in what the hosts have to send and to tell.
    pub(super) fn collect(&mut self) {
        for which in [CLIENT, SERVER] {
            while let Some((device, packet)) = self.hosts[which].poll_transmit() {
                assert_eq!(device, ETH0);
                match self.note(which, &packet) {
                    Treatment::Carried => self.carry(which, packet, Duration::ZERO),
                    Treatment::Lost => {}
                    Treatment::Late(by) => self.carry(which, packet, by),
                    Treatment::Twice(by) => {
                        self.carry(which, packet.clone(), Duration::ZERO);
                        self.carry(which, packet, by);
                    }
                    Treatment::Damaged(bit) => {
                        let mut packet = packet;
                        let bits = (packet.frame().len() - 14) * 8;
                        packet.flip_bit(14 * 8 + bit % bits);
                        self.carry(which, packet, Duration::ZERO);
                    }
                }
            }
            while let Some(event) = self.hosts[which].poll_event() {
                let text = match event {
                    Event::Readable(_) => "readable",
                    Event::Writable(_) => "writable",
                    Event::Acceptable(_) => "acceptable",
                    Event::Failed(_) => "failed",
                };
                self.events[which].insert(text.to_owned());
            }
        }
    }

    fn carry(&mut self, from: usize, packet: Packet, longer: Duration) {
        self.frames += 1;
        let at = self.now + self.delay + longer;
        self.flying.insert((at, self.frames), (1 - from, packet));
    }

    /// Writes a frame into the trace. What the link does to it.
    fn note(&mut self, from: usize, packet: &Packet) -> Treatment {
        let frame = packet.frame();
        let dissection = dissect(LinkType::ETHERNET, frame, frame.len() as u32);
        let Network::Ip(ip) = &dissection.network else {
            return Treatment::Carried;
        };
        let Transport::Tcp(tcp) = &ip.transport else {
            return Treatment::Carried;
        };
        let number = self.count[from];
        self.count[from] += 1;
        let treatment = (self.treat)(&Frame {
            from,
            number,
            tcp: *tcp,
            label: crate::ip::flow_label::label_of(packet.network()),
        });
        let mut line = self.describe(from, tcp);
        if treatment == Treatment::Lost {
            line.push_str(" LOST");
        }
        self.trace.push(line);
        treatment
    }

    /// As tcpdump writes it, with relative numbers.
    fn describe(&mut self, from: usize, tcp: &TcpHeader<'_>) -> String {
        let (source, destination) = (tcp.source_port, tcp.destination_port);
        let key = (from, source, destination);
        if tcp.flags.syn() {
            self.origins.insert(key, tcp.sequence);
        }
        let zero = SequenceNumber(0);
        let own = *self.origins.entry(key).or_insert(zero);
        let other = *self
            .origins
            .entry((1 - from, destination, source))
            .or_insert(zero);
        let seq = tcp.sequence.offset_from(own);
        let milliseconds = (self.now.0 - self.start.0) as f64 / 1e6;
        let who = if from == CLIENT { "C" } else { "S" };
        let mut line = format!("{milliseconds:.3} {who} {} {seq}", tcp.flags);
        if tcp.payload_length > 0 {
            line.push_str(&format!(
                ":{}",
                seq.wrapping_add(tcp.payload_length.cast_signed())
            ));
        }
        if tcp.flags.ack() {
            line.push_str(&format!(" ack {}", tcp.acknowledgment.offset_from(other)));
        }
        line.push_str(&format!(" win {}", tcp.window));
        let sacks: Vec<String> = tcp
            .options()
            .sacks()
            .iter()
            .map(|block| {
                format!(
                    "{}:{}",
                    block.start.offset_from(other),
                    block.end.offset_from(other)
                )
            })
            .collect();
        if !sacks.is_empty() {
            line.push_str(&format!(" sack {}", sacks.join(",")));
        }
        line
    }

    /// The next moment at which something happens.
    fn next(&self) -> Option<Timestamp> {
        let frame = self.flying.keys().next().map(|(at, _)| *at);
        let timers = self.hosts.iter().filter_map(Host::poll_timeout).min();
        match (frame, timers) {
            (Some(frame), Some(timer)) => Some(frame.min(timer)),
            (frame, timer) => frame.or(timer),
        }
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while let Some(entry) = self.flying.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, packet) = entry.remove();
                self.hosts[to].handle_frame(self.now, ETH0, packet);
                self.collect();
            }
            for which in [CLIENT, SERVER] {
                self.hosts[which].handle_timeout(self.now);
                self.collect();
            }
        }
        self.now = end;
    }

    /// A counter of TcpExt or Tcp, by its nstat name.
    pub(super) fn counter(&self, which: usize, name: &str) -> u64 {
        let counters = self.hosts[which].counters();
        match name.strip_prefix("TcpExt") {
            Some(name) => counters.tcp_ext.named(name),
            None => counters.tcp.named(name.strip_prefix("Tcp").unwrap_or(name)),
        }
        .unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Everything of Tcp and TcpExt that is not zero, and not in `skip`.
    pub(super) fn moved(&self, which: usize, names: &[&str]) -> Vec<(String, u64)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), self.counter(which, name)))
            .filter(|(_, value)| *value > 0)
            .collect()
    }

    /// The trace without its times, as one text.
    pub(super) fn sequence(&self) -> Vec<String> {
        self.trace
            .iter()
            .map(|line| {
                line.split_once(' ')
                    .map_or(line.clone(), |(_, rest)| rest.to_owned())
            })
            .collect()
    }

    /// The trace without times and windows.
    pub(super) fn without_windows(&self) -> Vec<String> {
        self.sequence()
            .iter()
            .map(|line| match line.split_once(" win ") {
                Some((before, after)) => match after.split_once(' ') {
                    Some((_, rest)) => format!("{before} {rest}"),
                    None => before.to_owned(),
                },
                None => line.clone(),
            })
            .collect()
    }

    /// The times of segments that fit, in milliseconds.
    pub(super) fn times(&self, fits: impl Fn(&str) -> bool) -> Vec<f64> {
        self.trace
            .iter()
            .filter(|line| fits(line))
            .filter_map(|line| line.split(' ').next()?.parse().ok())
            .collect()
    }

    /// The one line of `ss` that contains a text.
    pub(super) fn ss(&self, which: usize, contains: &str) -> String {
        self.hosts[which]
            .sockets_text()
            .lines()
            .find(|line| line.contains(contains))
            .unwrap_or_default()
            .to_owned()
    }
}
