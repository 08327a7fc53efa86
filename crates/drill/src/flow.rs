//! Which socket a packet belongs to, and how its numbers go from the script to the wire and back.
//!
//! A script tells no ports, and its sequence numbers begin where it likes. The socket **under test** is the one that was made last; a
//! listening one gives its place to the connection that the first packet makes. Packets of other sockets are passed over.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::options::Options;
use crate::script::{
    Body, Echoed, Flags, OptionList, Packet, Ports, SackBlock, Segment, TcpOption,
};
use crate::wire::{Ends, Live, TCP, UDP};

/// How far a socket has come, as far as packets are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Made, perhaps bound.
    New,
    /// Waits for connections.
    Listening,
    /// Its SYN is still to be seen.
    Connecting,
    /// Both ends are known.
    Open,
}

/// Where one side's sequence numbers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    /// In the script.
    script: u32,
    /// On the wire.
    wire: u32,
}

/// One socket's conversation.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    protocol: u8,
    state: State,
    /// The script's descriptor.
    pub(crate) fd: Option<i64>,
    /// Port 0: not known yet.
    pub(crate) local: SocketAddr,
    /// connect(2) was called once more: a SYN of a new connection may follow, from a new port.
    again: bool,
    pub(crate) remote: SocketAddr,
    /// The host's first sequence number; nothing before a SYN of its was seen.
    local_start: Option<Start>,
    /// The remote side's first sequence number: that of its SYN, which goes over the wire as the script writes it.
    remote_start: Option<u32>,
    /// The host's timestamps: the script's to the wire's.
    stamps: BTreeMap<u32, u32>,
    /// The first of them, by which the others are measured.
    first_stamp: Option<(u32, u32)>,
    /// The last packet that the host sent: what an ICMP error quotes.
    pub(crate) last_sent: Vec<u8>,
}

/// All sockets of a script.
#[derive(Debug)]
pub(crate) struct Flows {
    all: Vec<Flow>,
    current: Option<usize>,
    options: Options,
    next_port: u16,
}

/// Where the remote side's ports begin.
const FIRST_PORT: u16 = 40_000;

impl Flows {
    pub(crate) fn new(options: &Options) -> Self {
        Flows {
            all: Vec::new(),
            current: None,
            options: options.clone(),
            next_port: FIRST_PORT,
        }
    }

    /// The socket under test.
    pub(crate) fn current(&self) -> Option<usize> {
        self.current
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Flow> {
        self.all.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Flow> {
        self.all.get_mut(index)
    }

    /// The descriptor of the socket under test, or of the one before it that has one.
    pub(crate) fn descriptor(&self) -> Option<i64> {
        let current = self.current.and_then(|current| self.all.get(current));
        current.and_then(|flow| flow.fd).or_else(|| {
            let open = |flow: &&Flow| flow.fd.is_some() && flow.state != State::Listening;
            self.all.iter().rev().find(open).and_then(|flow| flow.fd)
        })
    }

    fn of(&mut self, fd: i64) -> Option<&mut Flow> {
        self.all.iter_mut().rev().find(|flow| flow.fd == Some(fd))
    }

    fn add(&mut self, flow: Flow) -> usize {
        self.all.push(flow);
        let index = self.all.len().saturating_sub(1);
        self.current = Some(index);
        index
    }

    fn flow(&self, protocol: u8, state: State) -> Flow {
        Flow {
            protocol,
            state,
            fd: None,
            local: SocketAddr::new(self.options.local_ip, 0),
            again: false,
            remote: SocketAddr::new(self.options.remote_ip, 0),
            local_start: None,
            remote_start: None,
            stamps: BTreeMap::new(),
            first_stamp: None,
            last_sent: Vec::new(),
        }
    }

    /// A socket was made; the kind is as socket(2) takes it.
    pub(crate) fn opened(&mut self, fd: i64, kind: i32) {
        let protocol = match kind & 0xf {
            libc::SOCK_STREAM => TCP,
            libc::SOCK_DGRAM => UDP,
            _ => 0,
        };
        let flow = Flow {
            fd: Some(fd),
            ..self.flow(protocol, State::New)
        };
        self.add(flow);
    }

    /// A socket was bound. The unspecified address is the host's.
    pub(crate) fn bound(&mut self, fd: i64, mut address: SocketAddr) {
        if address.ip().is_unspecified() {
            address.set_ip(self.options.local_ip);
        }
        if let Some(flow) = self.of(fd) {
            flow.local = address;
        }
    }

    /// A socket listens.
    pub(crate) fn listening(&mut self, fd: i64) {
        if let Some(flow) = self.of(fd) {
            flow.state = State::Listening;
        }
    }

    /// A socket connects; its SYN, if it is TCP's, tells its port.
    pub(crate) fn connecting(&mut self, fd: i64, remote: SocketAddr) {
        let Some(index) = self.all.iter().rposition(|flow| flow.fd == Some(fd)) else {
            return;
        };
        if let Some(flow) = self.all.get_mut(index) {
            if flow.protocol == TCP && flow.state != State::New {
                // It may as well only ask how far the first one has come.
                flow.again = true;
            } else {
                flow.remote = remote;
                flow.local_start = None;
                flow.remote_start = None;
                flow.state = State::Connecting;
            }
        }
        self.current = Some(index);
    }

    /// A connection was accepted: the script's descriptor for it.
    pub(crate) fn accepted(&mut self, fd: i64, peer: Option<SocketAddr>) {
        let found = match peer {
            Some(peer) => self.all.iter_mut().rev().find(|flow| flow.remote == peer),
            None => None,
        };
        if let Some(flow) = found {
            flow.fd = Some(fd);
        }
    }

    /// The script's number stands for nothing any more.
    pub(crate) fn closed(&mut self, fd: i64) {
        for flow in &mut self.all {
            if flow.fd == Some(fd) {
                flow.fd = None;
                if flow.state == State::Listening {
                    flow.state = State::Open;
                }
            }
        }
    }

    /// The flow to which a packet from the remote side belongs; it may be a new one.
    pub(crate) fn inbound(&mut self, packet: &Packet) -> usize {
        let protocol = match packet.body {
            Body::Tcp(_) => TCP,
            Body::Udp(_) => UDP,
            Body::Icmp(_) => {
                return match self.current {
                    Some(current) => current,
                    None => self.add(self.flow(0, State::Open)),
                };
            }
        };
        if let Some(ports) = packet.ports {
            return self.with_ports(protocol, ports.destination, ports.source);
        }
        let current = self.current.filter(|index| {
            self.all
                .get(*index)
                .is_some_and(|flow| flow.protocol == protocol)
        });
        let state = current
            .and_then(|index| self.all.get(index))
            .map(|flow| flow.state);
        match (current, state) {
            (Some(index), Some(State::Open | State::Connecting)) => index,
            (Some(index), Some(State::Listening)) => self.child(index),
            // Made, and not used yet: a listener from before it may be meant.
            (index, _) => {
                let listener = self
                    .all
                    .iter()
                    .rposition(|flow| flow.state == State::Listening && flow.protocol == protocol);
                match (listener, index) {
                    (Some(listener), _) if protocol == TCP => self.child(listener),
                    (_, Some(index)) => self.open(index),
                    (_, None) => {
                        let mut flow = self.flow(protocol, State::New);
                        flow.local = self.options.bind_address();
                        let index = self.add(flow);
                        self.open(index)
                    }
                }
            }
        }
    }

    fn with_ports(&mut self, protocol: u8, local: u16, remote: u16) -> usize {
        let known = self.all.iter().rposition(|flow| {
            flow.protocol == protocol && flow.local.port() == local && flow.remote.port() == remote
        });
        if let Some(index) = known {
            self.current = Some(index);
            return index;
        }
        let mut flow = self.flow(protocol, State::Open);
        flow.local.set_port(local);
        flow.remote.set_port(remote);
        self.add(flow)
    }

    fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }

    /// A connection to a listener.
    fn child(&mut self, listener: usize) -> usize {
        let port = self.port();
        let mut flow = self.flow(TCP, State::Open);
        if let Some(listener) = self.all.get(listener) {
            flow.local = listener.local;
        }
        flow.remote.set_port(port);
        self.add(flow)
    }

    /// A socket gets its remote end.
    fn open(&mut self, index: usize) -> usize {
        let port = self.port();
        if let Some(flow) = self.all.get_mut(index) {
            flow.state = State::Open;
            if flow.remote.port() == 0 {
                flow.remote.set_port(port);
            }
        }
        index
    }

    /// The flow to which a packet of the host belongs.
    pub(crate) fn outbound(&mut self, live: &Live) -> Option<usize> {
        let Ends {
            source,
            destination,
        } = live.ends;
        let protocol = match &live.packet.body {
            Body::Tcp(_) => TCP,
            Body::Udp(_) => UDP,
            Body::Icmp(_) => {
                let Some(quoted) = live.quoted else {
                    // Not what the host tells its neighbours, such as router solicitations.
                    let current = self.current?;
                    let remote = self.all.get(current)?.remote.ip();
                    return (remote == destination.ip()).then_some(current);
                };
                return self.all.iter().rposition(|flow| {
                    flow.local == quoted.destination && flow.remote == quoted.source
                });
            }
        };
        let begins = match &live.packet.body {
            Body::Tcp(segment) if segment.flags.has(Flags::ACK) => None,
            Body::Tcp(segment) => segment.flags.has(Flags::SYN).then_some(segment.sequence),
            _ => Some(0),
        };
        let exact = self.all.iter().rposition(|flow| {
            let known = flow.state != State::Connecting || flow.local_start.is_some();
            // A SYN with another number is another connection's.
            let anew = begins
                .is_some_and(|number| flow.local_start.is_some_and(|start| start.wire != number));
            let ends = flow.local == source && flow.remote == destination;
            known && !anew && flow.protocol == protocol && ends
        });
        if exact.is_some() {
            return exact;
        }
        begins?;
        let index = self.all.iter().rposition(|flow| {
            // A socket that was connected before may get another port.
            let connecting = flow.again || flow.state == State::Connecting;
            let local = connecting || flow.local.port() == 0 || flow.local.port() == source.port();
            let remote = flow.again || flow.remote.port() == 0 || flow.remote == destination;
            let waiting = match protocol {
                TCP => connecting,
                _ => flow.state != State::Open || flow.local.port() == 0,
            };
            waiting && flow.protocol == protocol && local && remote
        })?;
        let flow = self.all.get_mut(index)?;
        flow.local = source;
        flow.remote = destination;
        if std::mem::take(&mut flow.again) {
            flow.local_start = None;
            flow.remote_start = None;
            flow.state = State::Connecting;
        }
        if protocol == UDP {
            flow.state = State::Open;
        }
        Some(index)
    }
}

impl Flow {
    /// From the remote side to the host.
    pub(crate) fn ends(&self) -> Ends {
        Ends {
            source: self.remote,
            destination: self.local,
        }
    }

    /// The ports, for messages.
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            source: self.local.port(),
            destination: self.remote.port(),
        }
    }

    /// What is added to the script's numbers of the host's bytes. In a SYN they are as they are written, in all other packets they
    /// count from the SYN.
    fn local_offset(&self, syn: bool) -> u32 {
        match self.local_start {
            Some(start) if syn => start.wire.wrapping_sub(start.script),
            Some(start) => start.wire,
            None => 0,
        }
    }

    /// The same for the remote side's.
    fn remote_offset(&self, syn: bool) -> u32 {
        match self.remote_start {
            Some(start) if !syn => start,
            _ => 0,
        }
    }

    /// The remote side's first SYN: where its numbers begin.
    pub(crate) fn hear(&mut self, packet: &Packet) {
        if let Body::Tcp(segment) = &packet.body
            && segment.flags.has(Flags::SYN)
        {
            self.remote_start.get_or_insert(segment.sequence);
        }
    }

    /// A packet from the remote side with the numbers of the wire: acknowledgments and SACK blocks count the host's bytes, and the
    /// echoed timestamp is one of the host's.
    pub(crate) fn to_live(&self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        match &mut packet.body {
            Body::Tcp(segment) => {
                let syn = segment.flags.has(Flags::SYN);
                let (local, remote) = (self.local_offset(syn), self.remote_offset(syn));
                segment.sequence = segment.sequence.wrapping_add(remote);
                if segment.flags.has(Flags::ACK) {
                    segment.ack = segment.ack.map(|ack| ack.wrapping_add(local));
                }
                let blocks = self.local_offset(false);
                each_block(segment, |number| number.wrapping_add(blocks));
                each_stamp(segment, |value, echo| (value, self.echoed_stamp(echo)));
            }
            Body::Icmp(icmp) => {
                if let Some(Echoed::Tcp { sequence, .. }) = &mut icmp.echoed {
                    *sequence = sequence.wrapping_add(self.local_offset(false));
                }
            }
            Body::Udp(_) => {}
        }
        packet
    }

    /// A timestamp of the host on the wire: that of the last one that the script has named, and so many ticks more.
    fn echoed_stamp(&self, script: u32) -> u32 {
        let known = self.stamps.range(..=script).next_back();
        known.map_or(script, |(known, wire)| {
            wire.wrapping_add(script.wrapping_sub(*known))
        })
    }

    /// The host's first packets, where the script expects them: where its sequence numbers and timestamps begin.
    pub(crate) fn learn(&mut self, expected: &Packet, actual: &Packet) {
        if let (Some(script), Some(wire)) = (packet_stamp(expected), packet_stamp(actual)) {
            self.first_stamp.get_or_insert((script, wire));
        }
        let (Body::Tcp(expected), Body::Tcp(actual)) = (&expected.body, &actual.body) else {
            return;
        };
        if expected.flags.has(Flags::SYN) && actual.flags.has(Flags::SYN) {
            self.local_start.get_or_insert(Start {
                script: expected.sequence,
                wire: actual.sequence,
            });
        }
    }

    /// A packet of the host with the numbers of the script.
    pub(crate) fn to_script(&self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        match &mut packet.body {
            Body::Tcp(segment) => {
                let syn = segment.flags.has(Flags::SYN);
                let (local, remote) = (self.local_offset(syn), self.remote_offset(syn));
                segment.sequence = segment.sequence.wrapping_sub(local);
                segment.ack = segment.ack.map(|ack| ack.wrapping_sub(remote));
                let blocks = self.remote_offset(false);
                each_block(segment, |number| number.wrapping_sub(blocks));
                if let Some((script, live)) = self.first_stamp {
                    each_stamp(segment, |value, echo| {
                        (value.wrapping_sub(live).wrapping_add(script), echo)
                    });
                }
            }
            // What it quotes came from the remote side.
            Body::Icmp(message) => {
                if let Some(Echoed::Tcp { sequence, .. }) = &mut message.echoed {
                    *sequence = sequence.wrapping_sub(self.remote_offset(false));
                }
            }
            Body::Udp(_) => {}
        }
        packet
    }

    /// The expected packet came: its timestamp stands for the script's from now on. The actual one has the numbers of the wire.
    pub(crate) fn confirm(&mut self, expected: &Packet, actual: &Packet) {
        if let (Some(script), Some(wire)) = (packet_stamp(expected), packet_stamp(actual)) {
            self.stamps.insert(script, wire);
        }
        if self.state == State::Connecting && self.local_start.is_some() {
            self.state = State::Open;
        }
    }
}

/// The timestamp of a packet.
fn packet_stamp(packet: &Packet) -> Option<u32> {
    let Body::Tcp(segment) = &packet.body else {
        return None;
    };
    let OptionList::These(options) = &segment.options else {
        return None;
    };
    options.iter().find_map(|option| match option {
        TcpOption::Timestamps { value, .. } => Some(*value),
        _ => None,
    })
}

fn each_stamp(segment: &mut Segment, change: impl Fn(u32, u32) -> (u32, u32)) {
    let OptionList::These(options) = &mut segment.options else {
        return;
    };
    for option in options {
        if let TcpOption::Timestamps { value, echo } = option {
            (*value, *echo) = change(*value, *echo);
        }
    }
}

fn each_block(segment: &mut Segment, change: impl Fn(u32) -> u32) {
    let OptionList::These(options) = &mut segment.options else {
        return;
    };
    for option in options {
        if let TcpOption::Sack(blocks) = option {
            for SackBlock { left, right } in blocks {
                (*left, *right) = (change(*left), change(*right));
            }
        }
    }
}
