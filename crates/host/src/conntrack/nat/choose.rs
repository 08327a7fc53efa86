//! A translation is chosen so that answers can be told apart (`get_unique_tuple`).

use std::net::IpAddr;

use transect_packet::protocol;

use super::super::tuple::Tuple;
use super::super::{Connection, Connections};
use super::{Choice, Manipulation};

/// How many ports are tried at first (`NF_NAT_MAX_ATTEMPTS`).
const ATTEMPTS: u32 = 128;

impl Connections {
    /// Settles one end of a new connection (`nf_nat_setup_info`).
    pub(crate) fn settle(
        &mut self,
        connection: &mut Connection,
        what: Manipulation,
        choice: &Choice,
        jiffies: u64,
        random: &mut fastrand::Rng,
    ) {
        if connection.is_settled(what) {
            return;
        }
        // As the packet looks now: the answers, turned around.
        let Some(current) = connection.reply.inverted() else {
            return;
        };
        let mut search = Search {
            connections: self,
            connection,
            what,
            choice,
            jiffies,
            random,
        };
        let chosen = search.unique(&current);
        if chosen != current
            && let Some(reply) = chosen.inverted()
        {
            connection.reply = reply;
            connection.status.set(what.status());
        }
        connection.status.set(what.done());
    }
}

struct Search<'a> {
    connections: &'a mut Connections,
    connection: &'a Connection,
    what: Manipulation,
    choice: &'a Choice,
    jiffies: u64,
    random: &'a mut fastrand::Rng,
}

impl Search<'_> {
    fn is_used(&mut self, tuple: &Tuple) -> bool {
        tuple.inverted().is_none_or(|reply| {
            self.connections
                .is_taken(&reply, &self.connection.original, self.jiffies)
        })
    }

    fn unique(&mut self, current: &Tuple) -> Tuple {
        if self.what == Manipulation::Source {
            if self.is_in_range(current) {
                if !self.is_used(current) {
                    return *current;
                }
            } else if let Some(alike) = self.like_others(current)
                && !self.is_used(&alike)
            {
                return alike;
            }
        }
        let mut tuple = *current;
        self.choose_address(&mut tuple);
        let kept = match self.choice.ports {
            Some((first, last)) => {
                (first..=last).contains(&self.key(&tuple))
                    && (first == last || !self.is_used(&tuple))
            }
            None => !self.is_used(&tuple),
        };
        if !kept {
            self.choose_key(&mut tuple);
        }
        tuple
    }

    /// The port that is translated; ICMP's identifier, which stands in the source's place for both ends.
    fn key(&self, tuple: &Tuple) -> u16 {
        match self.what {
            Manipulation::Destination if tuple.icmp().is_none() => tuple.destination_key,
            _ => tuple.source_key,
        }
    }

    fn set_key(&self, tuple: &mut Tuple, key: u16) {
        match self.what {
            Manipulation::Destination if tuple.icmp().is_none() => tuple.destination_key = key,
            _ => tuple.source_key = key,
        }
    }

    /// Whether a source needs no translation at all (`nf_in_range`).
    fn is_in_range(&self, tuple: &Tuple) -> bool {
        let address = self
            .choice
            .addresses
            .is_none_or(|(first, last)| (first..=last).contains(&tuple.source));
        let port = self
            .choice
            .ports
            .is_none_or(|(first, last)| (first..=last).contains(&tuple.source_key));
        address && port
    }

    /// The source that another connection from the same address and port got (`find_appropriate_src`).
    fn like_others(&mut self, current: &Tuple) -> Option<Tuple> {
        let ids = self.connections.of_source(self.connection).to_vec();
        ids.into_iter().find_map(|id| {
            let other = self.connections.get(id)?;
            let alike = Tuple {
                source: other.reply.destination,
                source_key: match other.reply.icmp() {
                    Some(_) => other.reply.source_key,
                    None => other.reply.destination_key,
                },
                ..*current
            };
            self.is_in_range(&alike).then_some(alike)
        })
    }

    /// One address of the range, always the same for the same source and destination (`find_best_ips_proto`).
    fn choose_address(&self, tuple: &mut Tuple) {
        let Some((first, last)) = self.choice.addresses else {
            return;
        };
        let chosen = match first == last {
            true => first,
            false => spread(tuple, first, last),
        };
        match self.what {
            Manipulation::Source => tuple.source = chosen,
            Manipulation::Destination => tuple.destination = chosen,
        }
    }

    /// Another port, or identifier (`nf_nat_l4proto_unique_tuple`). Where none is free the last one tried stays, and the
    /// connection will not be confirmed.
    fn choose_key(&mut self, tuple: &mut Tuple) {
        let icmp = tuple.icmp().is_some();
        let ports = matches!(
            tuple.protocol,
            protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP
        );
        if !icmp && !ports {
            return;
        }
        let (first, last) = match (self.choice.ports, self.key(tuple)) {
            (Some((first, last)), _) => (first.min(last), first.max(last)),
            (None, _) if icmp => (0, u16::MAX),
            // A destination port is nobody's to choose.
            (None, _) if self.what == Manipulation::Destination => return,
            // Programs that trust low ports keep low ports.
            (None, 0..512) => (1, 511),
            (None, 512..1024) => (600, 1023),
            (None, _) => (1024, u16::MAX),
        };
        let size = u32::from(last - first) + 1;
        let mut offset = match self.what {
            Manipulation::Destination if !icmp => 0,
            _ => u32::from(self.random.u16(..)),
        };
        let mut attempts = size.min(ATTEMPTS);
        loop {
            for _ in 0..attempts {
                let key = u32::from(first) + offset % size;
                self.set_key(tuple, u16::try_from(key).unwrap_or(last));
                if !self.is_used(tuple) {
                    return;
                }
                offset += 1;
            }
            if attempts >= size || attempts < 16 {
                return;
            }
            attempts /= 2;
            offset = u32::from(self.random.u16(..));
        }
    }
}

/// One address of a range by the hash of source and destination (`jhash2`), the highest words alone for IPv6.
fn spread(tuple: &Tuple, first: IpAddr, last: IpAddr) -> IpAddr {
    let words = |address: IpAddr| -> [u32; 4] {
        match address {
            IpAddr::V4(address) => [u32::from(address).swap_bytes(), 0, 0, 0],
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).swap_bytes())
            }
        }
    };
    let salt = match tuple.destination {
        IpAddr::V4(_) => words(tuple.destination)[0],
        IpAddr::V6(_) => words(tuple.destination)[3],
    };
    let hash = jhash(words(tuple.source), salt);
    let scale = |size: u128| (u128::from(hash) * size) >> 32;
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (u32::from(first), u32::from(last));
            let size = u128::from(last.saturating_sub(first)) + 1;
            let step = u32::try_from(scale(size)).unwrap_or(0);
            IpAddr::V4(first.saturating_add(step).into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (u128::from(first), u128::from(last));
            let size = last
                .saturating_sub(first)
                .saturating_add(1)
                .min(u128::from(u64::MAX));
            IpAddr::V6(first.saturating_add(scale(size)).into())
        }
        _ => first,
    }
}

/// Jenkins' hash of four words, as the kernel computes it (lookup3, 2006).
fn jhash(words: [u32; 4], salt: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(salt);
    let [mut a, mut b, mut c] = [start; 3];
    let [w0, w1, w2, w3] = words;
    a = a.wrapping_add(w0);
    b = b.wrapping_add(w1);
    c = c.wrapping_add(w2);
    // Mixed...
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    // ... and finished with the last word.
    a = a.wrapping_add(w3);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
