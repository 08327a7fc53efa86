//! A packet finds its connection, or begins one (`nf_conntrack_in`), and a new one is confirmed (`__nf_conntrack_confirm`).

use transect_packet::{IpHeader, Network, Transport, protocol};
use transect_path::Hook;

use super::icmp::Seen;
use super::tcp::{self, Segment, TcpVerdict};
use super::{Connection, ConnectionId, Connections, Info, ProtocolState, Status, Tracking, Tuple};
use crate::netfilter::checksum;
use crate::packet::Packet;
use crate::settings::Settings;
use crate::stack::Stack;

/// What tracking needs beside the table.
struct Around<'a> {
    settings: &'a Settings,
    jiffies: u64,
    hz: u64,
    random: &'a mut fastrand::Rng,
    /// Whether the packet's checksum holds, as far as it is looked at.
    checksum_holds: bool,
}

/// What became of a packet.
enum Tracked {
    /// This is what is known of it.
    As(Tracking),
    /// Nothing is: INVALID.
    Invalid,
    /// The table is full.
    Full,
}

impl Stack {
    /// Tracks a packet. False: it is to be dropped.
    pub(crate) fn track_connection(&mut self, hook: Hook, packet: &mut Packet) -> bool {
        // Over loopback a packet keeps what it got when it was sent.
        if !matches!(packet.tracking, Tracking::None) {
            return true;
        }
        let verify = hook == Hook::PreRouting
            && self.settings.number("net.netfilter.nf_conntrack_checksum") != 0;
        let mut around = Around {
            settings: &self.settings,
            jiffies: self.ticks.at(self.now),
            hz: u64::from(self.ticks.hz()),
            random: &mut self.random,
            checksum_holds: !verify || checksum::holds(hook, packet),
        };
        let connections = &mut self.netfilter.connections;
        let tracked = match &packet.dissect().network {
            Network::Ip(ip) => connections.track(ip, packet.network(), &mut around),
            _ => Tracked::Invalid,
        };
        match tracked {
            Tracked::As(tracking) => packet.tracking = tracking,
            Tracked::Invalid => {}
            Tracked::Full => {
                connections.statistics.drop += 1;
                return false;
            }
        }
        true
    }

    /// Confirms a new connection. False: another one has its place meanwhile, and the packet is to be dropped.
    pub(crate) fn confirm_connection(&mut self, packet: &mut Packet) -> bool {
        let Tracking::Apart { connection, info } = &packet.tracking else {
            return true;
        };
        // What REJECT sends about a connection's first packet carries the connection, and does not confirm it.
        if connection.status.has(Status::CONFIRMED) || info.is_reply() || info.is_related() {
            return true;
        }
        let jiffies = self.ticks.at(self.now);
        let mut confirmed = connection.clone();
        let info = *info;
        confirmed.timeout = confirmed.timeout.saturating_add(jiffies);
        confirmed.status.set(Status::CONFIRMED);
        let connections = &mut self.netfilter.connections;
        match connections.insert(confirmed, jiffies) {
            Some(id) => {
                packet.tracking = Tracking::Entry { id, info };
                true
            }
            None => {
                connections.statistics.drop += 1;
                connections.statistics.insert_failed += 1;
                false
            }
        }
    }

    /// REJECT has sent a reset in the peer's name (`nf_ct_set_closing`).
    pub(crate) fn connection_closing(&mut self, tracking: &Tracking) {
        let (jiffies, hz) = (self.ticks.at(self.now), u64::from(self.ticks.hz()));
        if let Tracking::Entry { id, .. } = tracking
            && let Some(connection) = self.netfilter.connections.get_mut(*id)
        {
            connection.close(&self.settings, jiffies, hz);
        }
    }
}

impl Connections {
    fn track(&mut self, ip: &IpHeader<'_>, network: &[u8], around: &mut Around<'_>) -> Tracked {
        let is_icmp = matches!(ip.protocol, protocol::ICMP | protocol::ICMPV6);
        if let (Transport::Icmp(icmp), true) = (&ip.transport, is_icmp) {
            let seen = match around.checksum_holds {
                true => self.look_at_icmp(ip, icmp, network, around.jiffies),
                false => Seen::Nothing,
            };
            match seen {
                Seen::Message => {}
                Seen::Settled(tracking) => return Tracked::As(tracking),
                Seen::Nothing => {
                    self.statistics.error += 1;
                    return Tracked::Invalid;
                }
            }
        }
        let tracked = match Tuple::of(ip) {
            Some(tuple) => self.resolve(&tuple, ip, around),
            None => Tracked::Invalid,
        };
        if matches!(tracked, Tracked::Invalid) {
            self.statistics.invalid += 1;
        }
        tracked
    }

    /// Finds or begins the connection, and lets its protocol look at the packet (`resolve_normal_ct`).
    fn resolve(&mut self, tuple: &Tuple, ip: &IpHeader<'_>, around: &mut Around<'_>) -> Tracked {
        // A connection that was over is deleted, and the packet begins another.
        for _ in 0..2 {
            let Some((id, reply)) = self.find(tuple, around.jiffies) else {
                return self.begin(tuple, ip, around);
            };
            let Some(connection) = self.get_mut(id) else {
                return Tracked::Invalid;
            };
            let info = match (reply, connection.status.has(Status::SEEN_REPLY)) {
                (true, _) => Info::EstablishedReply,
                (false, true) => Info::Established,
                (false, false) => Info::New,
            };
            let verdict = connection.handle(ip, reply, around);
            if matches!(verdict, TcpVerdict::Accept | TcpVerdict::Kill) && reply {
                connection.status.set(Status::SEEN_REPLY);
            }
            match verdict {
                TcpVerdict::Accept => return Tracked::As(Tracking::Entry { id, info }),
                TcpVerdict::Invalid => return Tracked::Invalid,
                TcpVerdict::Kill => return self.ended_by(id, info),
                TcpVerdict::Repeat => drop(self.remove(id)),
            }
        }
        Tracked::Invalid
    }

    /// The packet takes the connection with it that it ended.
    fn ended_by(&mut self, id: ConnectionId, info: Info) -> Tracked {
        match self.remove(id) {
            Some(connection) => Tracked::As(Tracking::Apart { connection, info }),
            None => Tracked::Invalid,
        }
    }

    fn begin(&mut self, tuple: &Tuple, ip: &IpHeader<'_>, around: &mut Around<'_>) -> Tracked {
        let Some(reply) = tuple.inverted() else {
            return Tracked::Invalid;
        };
        let most = around.settings.number("net.netfilter.nf_conntrack_max");
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        if !self.make_room(most, around.jiffies, around.hz, around.random) {
            return Tracked::Full;
        }
        let state = match (&ip.transport, ip.protocol) {
            (Transport::Tcp(header), protocol::TCP) => {
                let segment = Segment {
                    header,
                    reply: false,
                };
                if !tcp::flags_make_sense(header) || !around.checksum_holds {
                    return Tracked::Invalid;
                }
                match tcp::begin(&segment, around.settings) {
                    Some(track) => ProtocolState::Tcp(Box::new(track)),
                    None => return Tracked::Invalid,
                }
            }
            (Transport::Udp(_), protocol::UDP | protocol::UDP_LITE) => ProtocolState::Udp {
                stream_from: around.jiffies.saturating_add(2 * around.hz),
            },
            // Only questions begin a connection.
            (Transport::Icmp(icmp), protocol::ICMP) if !matches!(icmp.kind, 8 | 13 | 15 | 17) => {
                return Tracked::Invalid;
            }
            (Transport::Icmp(icmp), protocol::ICMPV6) if !matches!(icmp.kind, 128 | 139) => {
                return Tracked::Invalid;
            }
            _ => ProtocolState::Other,
        };
        let mut connection = Box::new(Connection {
            original: *tuple,
            reply,
            status: Status::default(),
            mark: 0,
            timeout: 0,
            state,
            masquerade: None,
        });
        match connection.handle(ip, false, around) {
            TcpVerdict::Invalid => Tracked::Invalid,
            _ => Tracked::As(Tracking::Apart {
                connection,
                info: Info::New,
            }),
        }
    }
}

impl Connection {
    /// Lets the connection's protocol look at a packet (`nf_conntrack_handle_packet`).
    fn handle(&mut self, ip: &IpHeader<'_>, reply: bool, around: &Around<'_>) -> TcpVerdict {
        let (settings, jiffies, hz) = (around.settings, around.jiffies, around.hz);
        let seconds = |name: &str| {
            let name = format!("net.netfilter.nf_conntrack_{name}");
            u64::try_from(settings.number(&name))
                .unwrap_or(0)
                .saturating_mul(hz)
        };
        match (&ip.transport, ip.protocol) {
            (Transport::Tcp(header), protocol::TCP) => {
                if !tcp::flags_make_sense(header) || !around.checksum_holds {
                    return TcpVerdict::Invalid;
                }
                tcp::follow(self, &Segment { header, reply }, settings, jiffies, hz)
            }
            (Transport::Udp(header), protocol::UDP | protocol::UDP_LITE) => {
                let length = u32::from(header.length);
                let fits = ip.protocol == protocol::UDP_LITE
                    || (8..=ip.payload_length()).contains(&length);
                if !fits || header.checksum != 0 && !around.checksum_holds {
                    return TcpVerdict::Invalid;
                }
                let ProtocolState::Udp { stream_from } = self.state else {
                    return TcpVerdict::Accept;
                };
                let stream = self.status.has(Status::SEEN_REPLY) && jiffies > stream_from;
                self.refresh(
                    seconds(if stream {
                        "udp_timeout_stream"
                    } else {
                        "udp_timeout"
                    }),
                    jiffies,
                );
                if stream {
                    self.status.set(Status::ASSURED);
                }
                TcpVerdict::Accept
            }
            (_, protocol::ICMP) => {
                self.refresh(seconds("icmp_timeout"), jiffies);
                TcpVerdict::Accept
            }
            (_, protocol::ICMPV6) => {
                self.refresh(seconds("icmpv6_timeout"), jiffies);
                TcpVerdict::Accept
            }
            _ => {
                self.refresh(seconds("generic_timeout"), jiffies);
                TcpVerdict::Accept
            }
        }
    }
}

#[cfg(test)]
mod tests;
