//! Where sockets are found (net/ipv4/inet_hashtables.c): connections by both ends, listeners by score, ports that are taken, and the
//! search for a free one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use hashbrown::HashMap;
use transect_config::IpVersion;

use super::secrets::Secrets;
use crate::device::DeviceId;
use crate::settings::Settings;
use crate::socket::{Errno, SocketAddress, SocketId};

/// Both ends of a connection, as this host sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ends {
    pub(super) local: SocketAddress,
    pub(super) peer: SocketAddress,
}

/// What stands for a pair of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Entry {
    /// A connection.
    Connection(SocketId),
    /// A handshake of a listener (`TCP_NEW_SYN_RECV`), by its number.
    Request(SocketId, u64),
    /// A remainder in TIME_WAIT or FIN_WAIT_2, by its number.
    TimeWait(u64),
}

/// Who holds a port (an entry of `bhash`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    /// A socket, or a remainder.
    pub(super) owner: Entry,
    /// The address that it is bound to; unspecified for all.
    pub(super) address: IpAddr,
    /// An IPv6 socket that does not take IPv4.
    pub(super) v6_only: bool,
    pub(super) device: Option<DeviceId>,
    pub(super) reuse: bool,
    pub(super) listens: bool,
    /// Taken by bind(2), not by connect(2) (`fastreuse` is not -1).
    pub(super) bound: bool,
}

impl Holder {
    /// Whether two of one port get in each other's way (`inet_bind_conflict`).
    fn conflicts(&self, other: &Holder) -> bool {
        let devices = match (self.device, other.device) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        let shared = self.reuse && other.reuse && !other.listens;
        devices && !shared && self.same_address(other)
    }

    /// `inet_rcv_saddr_equal`, wildcards matching all.
    fn same_address(&self, other: &Holder) -> bool {
        let families = self.address.is_ipv4() == other.address.is_ipv4();
        if families {
            return self.address == other.address
                || self.address.is_unspecified()
                || other.address.is_unspecified();
        }
        // An IPv6 wildcard takes IPv4 too, unless it was told not to.
        let six = if self.address.is_ipv6() { self } else { other };
        six.address.is_unspecified() && !six.v6_only
    }
}

/// A listener, as look-ups see it.
#[derive(Debug, Clone, Copy)]
struct Listening {
    id: SocketId,
    address: IpAddr,
    v6_only: bool,
    device: Option<DeviceId>,
}

/// A local port that somebody holds (`struct inet_bind_bucket`).
#[derive(Debug, Default)]
struct Port {
    holders: BTreeMap<Entry, Holder>,
    /// How many of them took it by bind(2).
    bound: usize,
}

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Table {
    connections: HashMap<Ends, Entry>,
    listeners: HashMap<u16, Vec<Listening>>,
    ports: BTreeMap<u16, Port>,
    perturb: BTreeMap<u8, u32>,
}

impl Table {
    /// Who has these ends (`__inet_lookup_established`).
    pub(super) fn connection(&self, ends: &Ends) -> Option<Entry> {
        self.connections.get(ends).copied()
    }

    /// Gives ends to somebody; who had them.
    pub(super) fn insert(&mut self, ends: Ends, entry: Entry) -> Option<Entry> {
        self.connections.insert(ends, entry)
    }

    /// Takes the ends away, if they are still this one's.
    pub(super) fn remove(&mut self, ends: &Ends, entry: Entry) {
        if self.connections.get(ends) == Some(&entry) {
            self.connections.remove(ends);
        }
    }

    /// The listener for a packet (`__inet_lookup_listener`, `compute_score`): the exact address before the wildcard, the bound
    /// device before none, IPv4's own before dual-stack ones, the older one last (it was hashed first).
    pub(super) fn listener(&self, local: SocketAddress, device: DeviceId) -> Option<SocketId> {
        let candidates = self.listeners.get(&local.port)?;
        let score = |listener: &Listening| {
            let family = local.address.is_ipv4() == listener.address.is_ipv4();
            let exact = family && listener.address == local.address;
            let wildcard = listener.address.is_unspecified()
                && (family || listener.address.is_ipv6() && !listener.v6_only);
            if !(exact || wildcard) || listener.device.is_some_and(|own| own != device) {
                return None;
            }
            Some((exact, listener.device.is_some(), family))
        };
        candidates
            .iter()
            .filter_map(|listener| Some((score(listener)?, listener.id)))
            .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)))
            .map(|(_, id)| id)
    }

    /// Begins to listen.
    pub(super) fn listen(
        &mut self,
        id: SocketId,
        local: SocketAddress,
        v6_only: bool,
        device: Option<DeviceId>,
    ) {
        self.listeners
            .entry(local.port)
            .or_default()
            .push(Listening {
                id,
                address: local.address,
                v6_only,
                device,
            });
        self.set_listening(local.port, id, true);
    }

    /// Ceases to.
    pub(super) fn unlisten(&mut self, id: SocketId, port: u16) {
        if let Some(listeners) = self.listeners.get_mut(&port) {
            listeners.retain(|listener| listener.id != id);
            if listeners.is_empty() {
                self.listeners.remove(&port);
            }
        }
        self.set_listening(port, id, false);
    }

    fn set_listening(&mut self, port: u16, id: SocketId, listens: bool) {
        self.update_holder(port, id, |holder| holder.listens = listens);
    }

    /// Changes what a holder says of reuse or device (options set behind bind(2)).
    pub(super) fn update_holder(&mut self, port: u16, id: SocketId, change: impl Fn(&mut Holder)) {
        let holder = self
            .ports
            .get_mut(&port)
            .and_then(|port| port.holders.get_mut(&Entry::Connection(id)));
        if let Some(holder) = holder {
            change(holder);
        }
    }

    /// Whether a port is free for a holder (`inet_csk_bind_conflict`); its own entry does not count.
    pub(super) fn is_free(&self, port: u16, wanted: &Holder) -> bool {
        !self
            .ports
            .get(&port)
            .into_iter()
            .flat_map(|port| port.holders.values())
            .any(|holder| holder.owner != wanted.owner && wanted.conflicts(holder))
    }

    /// Takes a port.
    pub(super) fn hold(&mut self, port: u16, holder: Holder) {
        let port = self.ports.entry(port).or_default();
        port.bound += usize::from(holder.bound);
        if let Some(old) = port.holders.insert(holder.owner, holder) {
            port.bound = port.bound.saturating_sub(usize::from(old.bound));
        }
    }

    /// Gives a port back; what was held.
    pub(super) fn release(&mut self, number: u16, owner: Entry) -> Option<Holder> {
        let port = self.ports.get_mut(&number)?;
        let holder = port.holders.remove(&owner)?;
        port.bound = port.bound.saturating_sub(usize::from(holder.bound));
        if port.holders.is_empty() {
            self.ports.remove(&number);
        }
        Some(holder)
    }

    /// A port of the range for bind(2) with port 0 (`inet_csk_find_open_port`): odd ones first, from a random place on.
    pub(super) fn open_port(
        &self,
        settings: &Settings,
        random: &mut fastrand::Rng,
        range: (u16, u16),
        wanted: &Holder,
    ) -> Result<u16, Errno> {
        let (low, count) = own_port_range(settings, range);
        let start = random.u32(..count) | 1;
        for parity in [0, 1] {
            let start = start.wrapping_sub(parity);
            let half = count.div_ceil(2);
            for step in 0..half {
                let offset = (start.wrapping_add(2 * step)) % count.max(1);
                let Ok(port) = u16::try_from(low + offset) else {
                    continue;
                };
                if self.is_free(port, wanted) {
                    return Ok(port);
                }
            }
        }
        Err(Errno::Eaddrinuse)
    }

    /// A port of the range for connect(2) (`__inet_hash_connect`): even ones first, from a place that depends on the destination
    /// and moves on with every use. `may_take` says of a remainder in TIME_WAIT whether its ends may be used again.
    pub(super) fn connect_port(
        &mut self,
        settings: &Settings,
        secrets: &Secrets,
        random: &mut fastrand::Rng,
        range: (u16, u16),
        (local, peer): (IpAddr, SocketAddress),
        may_take: impl Fn(u64) -> bool,
    ) -> Result<(u16, Option<u64>), Errno> {
        let (low, count) = own_port_range(settings, range);
        let hash = secrets.port_offset(local, peer);
        let bucket = hash as u8;
        let perturb = *self.perturb.entry(bucket).or_insert_with(|| random.u32(..));
        let start = (perturb.wrapping_add((hash >> 32) as u32) % count) & !1;
        for parity in [0, 1] {
            for step in 0..count.div_ceil(2) {
                let offset = (start + parity + 2 * step) % (count + count % 2);
                let Some(port) = u16::try_from(low + offset).ok().filter(|_| offset < count) else {
                    continue;
                };
                let Some(taken) = self.ends_free(port, (local, peer), &may_take) else {
                    continue;
                };
                let moved = (2 * step).max(2 * random.u32(..8)) + 2;
                self.perturb.insert(bucket, perturb.wrapping_add(moved));
                return Ok((port, taken));
            }
        }
        Err(Errno::Eaddrnotavail)
    }

    /// Whether connect(2) may use a port: nobody bound it, and the ends are free, or a remainder's that gives way (inner option).
    fn ends_free(
        &self,
        port: u16,
        (local, peer): (IpAddr, SocketAddress),
        may_take: &impl Fn(u64) -> bool,
    ) -> Option<Option<u64>> {
        if self.ports.get(&port).is_some_and(|port| port.bound > 0) {
            return None;
        }
        let ends = Ends {
            local: SocketAddress::new(local, port),
            peer,
        };
        self.check_ends(&ends, may_take)
    }

    /// `__inet_check_established`.
    pub(super) fn check_ends(
        &self,
        ends: &Ends,
        may_take: impl Fn(u64) -> bool,
    ) -> Option<Option<u64>> {
        match self.connection(ends) {
            None => Some(None),
            Some(Entry::TimeWait(number)) if may_take(number) => Some(Some(number)),
            Some(_) => None,
        }
    }
}

/// `ip_local_port_range`: the first port, and how many there are.
fn port_range(settings: &Settings) -> (u32, u32) {
    let text = settings
        .sysctls()
        .text("net.ipv4.ip_local_port_range")
        .unwrap_or_default();
    let mut numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse::<u16>().ok());
    let low = u32::from(numbers.next().unwrap_or(32_768));
    let high = u32::from(numbers.next().unwrap_or(60_999));
    (low, high.saturating_sub(low) + 1)
}

/// … narrowed by IP_LOCAL_PORT_RANGE, as far as its ends lie within (`inet_sk_get_local_port_range`).
fn own_port_range(settings: &Settings, (own_low, own_high): (u16, u16)) -> (u32, u32) {
    let (low, count) = port_range(settings);
    let high = low + count - 1;
    let within = |port: u16, other: u32| match u32::from(port) {
        port if (low..=high).contains(&port) => port,
        _ => other,
    };
    let (low, high) = (within(own_low, low), within(own_high, high));
    (low, high.saturating_sub(low) + 1)
}

/// The wildcard address of a family.
pub(super) fn unspecified(version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// IPv4 in IPv6's clothes (`::ffff:192.0.2.1`) as what it is.
pub(super) fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use transect_config::Sysctls;

    fn settings(range: &str) -> Settings {
        let mut settings = Settings::new(std::iter::empty(), &Sysctls::default()).unwrap();
        settings.set("net.ipv4.ip_local_port_range", range).unwrap();
        settings
    }

    fn holder(id: u64, address: IpAddr) -> Holder {
        Holder {
            owner: Entry::Connection(SocketId(id)),
            address,
            v6_only: false,
            device: None,
            reuse: false,
            listens: false,
            bound: true,
        }
    }

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn ports_conflict_by_address_reuse_and_family() {
        let mut table = Table::default();
        table.hold(80, holder(1, ONE));
        assert!(!table.is_free(80, &holder(2, ANY)));
        assert!(!table.is_free(80, &holder(2, ONE)));
        assert!(table.is_free(80, &holder(2, TWO)));
        assert!(table.is_free(80, &holder(1, ANY)));
        let six = holder(2, IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        assert!(!table.is_free(80, &six));
        assert!(table.is_free(
            80,
            &Holder {
                v6_only: true,
                ..six
            }
        ));
        // SO_REUSEADDR on both lets them share, unless one listens.
        let mut table = Table::default();
        table.hold(
            80,
            Holder {
                reuse: true,
                ..holder(1, ANY)
            },
        );
        let wanted = Holder {
            reuse: true,
            ..holder(2, ANY)
        };
        assert!(table.is_free(80, &wanted));
        table.listen(SocketId(1), SocketAddress::new(ANY, 80), false, None);
        assert!(!table.is_free(80, &wanted));
    }

    #[test]
    fn the_best_listener_wins() {
        let mut table = Table::default();
        let eth0 = DeviceId(1);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        table.listen(SocketId(1), SocketAddress::new(any, 80), false, None);
        let at = SocketAddress::new(ONE, 80);
        assert_eq!(table.listener(at, eth0), Some(SocketId(1)));
        table.listen(SocketId(2), SocketAddress::new(ANY, 80), false, None);
        assert_eq!(table.listener(at, eth0), Some(SocketId(2)));
        table.listen(SocketId(3), SocketAddress::new(ANY, 80), false, Some(eth0));
        assert_eq!(table.listener(at, eth0), Some(SocketId(3)));
        assert_eq!(table.listener(at, DeviceId(2)), Some(SocketId(2)));
        table.listen(SocketId(4), SocketAddress::new(ONE, 80), false, None);
        assert_eq!(table.listener(at, eth0), Some(SocketId(4)));
        table.unlisten(SocketId(4), 80);
        assert_eq!(table.listener(at, eth0), Some(SocketId(3)));
        assert_eq!(table.listener(SocketAddress::new(ONE, 81), eth0), None);
    }

    #[test]
    fn ports_for_connections_are_even_first_and_run_out() {
        let settings = settings("40000 40003");
        let mut random = fastrand::Rng::with_seed(3);
        let secrets = Secrets::new(&mut random);
        let mut table = Table::default();
        let peer = SocketAddress::new(TWO, 80);
        let mut seen = Vec::new();
        for id in 0..4 {
            let (port, taken) = table
                .connect_port(
                    &settings,
                    &secrets,
                    &mut random,
                    (0, 0),
                    (ONE, peer),
                    |_| false,
                )
                .unwrap();
            assert_eq!(taken, None);
            let ends = Ends {
                local: SocketAddress::new(ONE, port),
                peer,
            };
            table.insert(ends, Entry::Connection(SocketId(id)));
            seen.push(port);
        }
        assert!(seen[..2].iter().all(|port| port % 2 == 0), "{seen:?}");
        seen.sort_unstable();
        assert_eq!(seen, [40_000, 40_001, 40_002, 40_003]);
        let full = table.connect_port(
            &settings,
            &secrets,
            &mut random,
            (0, 0),
            (ONE, peer),
            |_| false,
        );
        assert_eq!(full, Err(Errno::Eaddrnotavail));
        // Another destination has ports of its own.
        let other = SocketAddress::new(TWO, 81);
        assert!(
            table
                .connect_port(
                    &settings,
                    &secrets,
                    &mut random,
                    (0, 0),
                    (ONE, other),
                    |_| false
                )
                .is_ok()
        );
    }
}
