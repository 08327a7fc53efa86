//! The packets that are sent, and what is known about them.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use transect_config::rules::{AddressKind, CtStates, PacketKind, TcpFlags};
use transect_walk::netfilter::{AddressFamily, PacketFacts};

use super::lab::{ADDRESS, INTERFACE, MAC, Side};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Udp { six: bool, from: u16, to: u16 },
    Syn { six: bool, to: u16 },
    Echo { six: bool },
}

/// The data of a datagram.
const DATA: &[u8] = b"oracle";

impl Packet {
    pub(crate) fn all(six: bool, rule_set: u16) -> Vec<Packet> {
        // Ports of their own, so that no packet belongs to an earlier one's connection.
        let from = 20000 + (rule_set % 20000) * 2;
        vec![
            Packet::Udp { six, from, to: 53 },
            Packet::Udp {
                six,
                from: from + 1,
                to: 3306,
            },
            Packet::Syn { six, to: 22 },
            Packet::Syn { six, to: 3306 },
            Packet::Echo { six },
        ]
    }

    pub(crate) fn order(&self) -> String {
        match self {
            Packet::Udp { six, from, to } => format!("udp {six} {from} {to}"),
            Packet::Syn { six, to } => format!("syn {six} {to}"),
            Packet::Echo { six } => format!("echo {six}"),
        }
    }

    pub(crate) fn read(order: &str) -> Option<Packet> {
        let words: Vec<&str> = order.split(' ').collect();
        Some(match words.as_slice() {
            ["udp", six, from, to] => Packet::Udp {
                six: six.parse().ok()?,
                from: from.parse().ok()?,
                to: to.parse().ok()?,
            },
            ["syn", six, to] => Packet::Syn {
                six: six.parse().ok()?,
                to: to.parse().ok()?,
            },
            _ => return None,
        })
    }

    fn six(&self) -> bool {
        match self {
            Packet::Udp { six, .. } | Packet::Syn { six, .. } | Packet::Echo { six } => *six,
        }
    }

    fn address(&self, side: usize, port: u16) -> SocketAddr {
        let address = ADDRESS[side][usize::from(self.six())];
        SocketAddr::new(address.parse().expect("address"), port)
    }

    /// Sends it, from inside of the sender's namespace. That rules may forbid it is no error.
    pub(crate) fn send(&self) {
        match self {
            Packet::Udp { from, to, .. } => {
                let socket = UdpSocket::bind(self.address(0, *from)).expect("a socket");
                let _ = socket.send_to(DATA, self.address(1, *to));
            }
            Packet::Syn { to, .. } => {
                // Less than the first retransmission.
                let _ =
                    TcpStream::connect_timeout(&self.address(1, *to), Duration::from_millis(60));
            }
            // `ping` sends it.
            Packet::Echo { .. } => {}
        }
    }

    pub(crate) fn facts(&self, side: Side) -> PacketFacts {
        let six = self.six();
        let header = if six { 40 } else { 20 };
        let receiver = side == Side::Receiver;
        let mut facts = PacketFacts {
            source: Some(self.address(0, 0).ip()),
            destination: Some(self.address(1, 0).ip()),
            in_interface: Some(if receiver {
                INTERFACE[1].to_owned()
            } else {
                String::new()
            }),
            out_interface: (!receiver).then(|| INTERFACE[0].to_owned()),
            ttl: Some(64),
            dscp: Some(0),
            mark: Some(0),
            connection_mark: Some(0),
            ct_states: CtStates::NEW,
            first_of_connection: Some(true),
            fragment_offset: Some(0),
            source_kind: Some(if receiver {
                AddressKind::Unicast
            } else {
                AddressKind::Local
            }),
            destination_kind: Some(if receiver {
                AddressKind::Local
            } else {
                AddressKind::Unicast
            }),
            packet_kind: receiver.then_some(PacketKind::Host),
            source_mac: receiver.then(|| mac(MAC[0])),
            destination_mac: receiver.then(|| mac(MAC[1])),
            reverse_path: receiver.then_some(true),
            reverse_path_loose: receiver.then_some(true),
            ..PacketFacts::new(if six {
                AddressFamily::Ip6
            } else {
                AddressFamily::Ip
            })
        };
        match self {
            Packet::Udp { from, to, .. } => {
                facts.protocol = Some(17);
                facts.source_port = Some(*from);
                facts.destination_port = Some(*to);
                facts.length = Some(header + 8 + DATA.len() as u32);
            }
            Packet::Syn { to, .. } => {
                facts.protocol = Some(6);
                facts.destination_port = Some(*to);
                facts.tcp_flags = Some(TcpFlags::SYN);
                // MSS, SACK, timestamps, window scale: 20 bytes of options.
                facts.length = Some(header + 40);
            }
            Packet::Echo { .. } => {
                facts.protocol = Some(if six { 58 } else { 1 });
                facts.icmp_type = Some(if six { 128 } else { 8 });
                facts.icmp_code = Some(0);
                facts.length = Some(header + 8 + 8);
            }
        }
        facts
    }
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    bytes.try_into().expect("six bytes")
}
