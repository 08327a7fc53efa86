//! Host-wide counters at one moment, by one flat name each, and their readers.
//!
//! | names | from |
//! |---|---|
//! | `IpInReceives`, `TcpExtListenDrops`, `Ip6InReceives`, `Icmp6InMsgs`, … (as `nstat` prints them) | /proc/net/{snmp,netstat,snmp6}, `nstat`, `netstat -s` |
//! | `link.IFACE.rx_packets`, `link.IFACE.tx_dropped`, … (as `ip -s -s -j link` names them) | /proc/net/dev, here; the rest from `ip` |
//! | `ethtool.IFACE.NAME` | `ethtool -S` |
//! | `softnet.{processed,dropped,time_squeeze,received_rps,flow_limit}` | /proc/net/softnet_stat, all CPUs together |
//! | `conntrack.NAME` (as `conntrack -S` names them) | `conntrack -S`, /proc/net/stat/nf_conntrack, all CPUs together |
//! | `arp_cache.NAME`, `ndisc_cache.NAME`, `rt_cache.NAME` | /proc/net/stat/…, all CPUs together |
//! | `xfrm.NAME`, `ip_vs.NAME`, `sockstat.PROTOCOL.NAME` | /proc/net/{xfrm_stat,ip_vs_stats,sockstat,sockstat6} |
//!
//! Only differences speak. A counter that ran backwards is unseen, not negative.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

mod conntrack;
mod device;
mod ethtool;
mod ipvs;
mod known;
mod mib;
mod nstat;
mod plain;
mod sentences;
mod table;

pub use conntrack::conntrack_statistics;
pub use device::{proc_net_dev, softnet_stat};
pub use ethtool::ethtool_statistics;
pub use ipvs::{IpvsDestination, IpvsService, IpvsTarget, ip_vs, ip_vs_stats};
pub use known::Family;
pub use mib::{snmp, snmp6};
pub use nstat::{nstat, nstat_json};
pub use plain::{sockstat, xfrm_stat};
pub use sentences::netstat_statistics;
pub use table::{StatTable, stat_table};

/// Counters by name, sorted.
///
/// Readings of one host have the same names again and again, so that the names are kept apart and can be shared.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Counters {
    names: Arc<[Box<str>]>,
    values: Vec<u64>,
    /// Families of which only counters that are not zero were written down, sorted.
    sparse: Vec<Family>,
}

impl Counters {
    /// No counters at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The counter's value; `None` when it was not read.
    ///
    /// A counter that every kernel has and that a tool left out because it was zero is zero.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.written(name)
            .or_else(|| (self.is_sparse(name) && known::in_every_kernel(name)).then_some(0))
    }

    /// The counters that were read, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names
            .iter()
            .map(|name| &**name)
            .zip(self.values.iter().copied())
    }

    /// The counters whose names begin with `prefix`, in the order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let start = self.names.partition_point(|name| &**name < prefix);
        let names = self.names.get(start..).unwrap_or_default();
        let values = self.values.get(start..).unwrap_or_default();
        names
            .iter()
            .map(|name| &**name)
            .zip(values.iter().copied())
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Adds the counters of `other`; a name that is here already keeps its value.
    pub fn merge(&mut self, other: Counters) {
        if self.is_empty() && self.sparse.is_empty() {
            *self = other;
            return;
        }
        self.sparse.extend(other.sparse.iter().copied());
        self.sparse.sort();
        self.sparse.dedup();
        let mut merged: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for (name, value) in self.iter().chain(other.iter()) {
            merged.entry(name.into()).or_insert(value);
        }
        let (names, values): (Vec<_>, Vec<_>) = merged.into_iter().unzip();
        self.names = names.into();
        self.values = values;
    }

    /// Shares the memory of the names with `other` where the names are the same.
    pub fn share_names(&mut self, other: &Counters) {
        if self.names == other.names {
            self.names = Arc::clone(&other.names);
        }
    }

    /// By how much every counter grew from one reading to another.
    pub fn delta<'a>(before: &'a Counters, after: &'a Counters) -> CounterDelta<'a> {
        CounterDelta { before, after }
    }

    /// Says that of these families only counters that are not zero were written down.
    pub(crate) fn set_sparse(&mut self, families: impl IntoIterator<Item = Family>) {
        self.sparse.extend(families);
        self.sparse.sort();
        self.sparse.dedup();
    }

    fn written(&self, name: &str) -> Option<u64> {
        let index = self
            .names
            .binary_search_by(|probe| (**probe).cmp(name))
            .ok()?;
        self.values.get(index).copied()
    }

    fn is_sparse(&self, name: &str) -> bool {
        !self.sparse.is_empty()
            && Family::of(name).is_some_and(|family| self.sparse.binary_search(&family).is_ok())
    }

    /// The value, where a counter that `other` shows to exist was left out because it was zero.
    fn beside(&self, other: &Counters, name: &str) -> Option<u64> {
        self.get(name)
            .or_else(|| (other.written(name).is_some() && self.is_sparse(name)).then_some(0))
    }
}

/// Puts the counters of several dumps together, reading after reading.
///
/// Dumps have the same names again and again ([`Counters::share_names`]): where each one's counters lie is found out once.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// The names of the dumps, as they were given.
    parts: Vec<Arc<[Box<str>]>>,
    /// All names together.
    names: Arc<[Box<str>]>,
    /// Where the value of each stands: in which dump, at which place.
    places: Vec<(usize, usize)>,
}

impl Gathering {
    /// All of these together; of two counters with one name the first stands.
    pub(crate) fn gather<'a>(&mut self, parts: impl Iterator<Item = &'a Counters>) -> Counters {
        let mut sparse = Vec::new();
        let parts: Vec<&Counters> = parts
            .inspect(|part| sparse.extend(part.sparse.iter().copied()))
            .filter(|part| !part.is_empty())
            .collect();
        let known = self.parts.len() == parts.len()
            && self
                .parts
                .iter()
                .zip(&parts)
                .all(|(names, part)| Arc::ptr_eq(names, &part.names));
        if !known {
            self.find_places(&parts);
        }
        let value = |(part, place): &(usize, usize)| {
            let part = parts.get(*part)?;
            part.values.get(*place).copied()
        };
        let mut all = Counters {
            names: Arc::clone(&self.names),
            values: self.places.iter().filter_map(value).collect(),
            sparse: Vec::new(),
        };
        all.set_sparse(sparse);
        all
    }

    fn find_places(&mut self, parts: &[&Counters]) {
        let mut sorted: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            for (place, name) in part.names.iter().enumerate() {
                sorted.entry(name).or_insert((number, place));
            }
        }
        let names: Arc<[Box<str>]> = sorted.keys().map(|name| Box::from(*name)).collect();
        // Readings that have the same names in other dumps share their memory as well.
        if names != self.names {
            self.names = names;
        }
        self.places = sorted.into_values().collect();
        self.parts = parts.iter().map(|part| Arc::clone(&part.names)).collect();
    }
}

/// The first of two counters with one name stands.
impl FromIterator<(String, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(counters: I) -> Self {
        let counters = counters.into_iter();
        let mut sorted: Vec<(Box<str>, u64)> = counters
            .map(|(name, value)| (name.into_boxed_str(), value))
            .collect();
        // Stable: of equals the first one stays in front.
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted.dedup_by(|(later, _), (earlier, _)| later == earlier);
        let (names, values): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        Counters {
            names: names.into(),
            values,
            sparse: Vec::new(),
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The growth of counters between two readings.
#[derive(Debug, Clone, Copy)]
pub struct CounterDelta<'a> {
    before: &'a Counters,
    after: &'a Counters,
}

impl<'a> CounterDelta<'a> {
    /// By how much the counter grew; `None` when one of the readings lacks it or it ran backwards.
    pub fn get(&self, name: &str) -> Option<u64> {
        let before = self.before.beside(self.after, name)?;
        let after = self.after.beside(self.before, name)?;
        after.checked_sub(before)
    }

    /// True when both readings have the counter and it ran backwards: it was reset, and what it counted is unseen.
    pub fn ran_backwards(&self, name: &str) -> bool {
        matches!((self.before.beside(self.after, name), self.after.beside(self.before, name)),
            (Some(before), Some(after)) if after < before)
    }

    /// Every counter of the later reading with its growth, `None` as in [`CounterDelta::get`].
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<u64>)> {
        let delta = *self;
        self.after
            .iter()
            .map(move |(name, _)| (name, delta.get(name)))
    }

    /// The counters that grew, with their growth.
    pub fn grown(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.iter()
            .filter_map(|(name, grown)| Some((name, grown.filter(|&grown| grown > 0)?)))
    }
}

/// Adds up counters of the same name, as those of several CPUs; saturates.
#[derive(Debug, Default)]
struct Sums(BTreeMap<String, u64>);

impl Sums {
    fn add(&mut self, name: String, value: u64) {
        let sum = self.0.entry(name).or_default();
        *sum = sum.saturating_add(value);
    }

    /// The largest value counts: for a number that every CPU's line repeats.
    fn most(&mut self, name: String, value: u64) {
        let most = self.0.entry(name).or_default();
        *most = value.max(*most);
    }

    fn finish(self) -> Counters {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(pairs: &[(&str, u64)]) -> Counters {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn only_differences_speak_and_backwards_is_unseen() {
        let before = counters(&[("A", 5), ("B", 5), ("C", 1)]);
        let after = counters(&[("A", 7), ("B", 4), ("D", 9)]);
        let delta = Counters::delta(&before, &after);
        assert_eq!(delta.get("A"), Some(2));
        assert_eq!(delta.get("B"), None);
        assert!(delta.ran_backwards("B") && !delta.ran_backwards("A"));
        assert_eq!((delta.get("C"), delta.get("D")), (None, None));
        assert_eq!(delta.grown().collect::<Vec<_>>(), [("A", 2)]);
    }

    #[test]
    fn a_counter_that_a_tool_left_out_for_being_zero_is_zero() {
        let mut before = counters(&[("TcpInSegs", 5)]);
        before.set_sparse([Family::Tcp, Family::TcpExt, Family::Ip]);
        let mut after = counters(&[
            ("TcpInSegs", 6),
            ("TcpExtListenDrops", 2),
            ("IpOutTransmits", 3),
        ]);
        after.set_sparse([Family::Tcp, Family::TcpExt, Family::Ip]);
        let delta = Counters::delta(&before, &after);
        assert_eq!(delta.get("TcpExtListenDrops"), Some(2));
        assert_eq!(delta.get("TcpExtListenOverflows"), Some(0));
        assert_eq!(delta.get("IpOutTransmits"), Some(3));
        // Not every kernel has it, so that its absence in both says nothing.
        assert_eq!(
            Counters::delta(&before, &before).get("IpOutTransmits"),
            None
        );
        assert_eq!(delta.get("Ip6InReceives"), None);
        assert_eq!(delta.get("TcpExtNoSuchThing"), None);
    }

    #[test]
    fn merging_keeps_what_is_there() {
        let mut all = counters(&[("A", 1), ("C", 3)]);
        all.merge(counters(&[("A", 9), ("B", 2)]));
        assert_eq!(
            all.iter().collect::<Vec<_>>(),
            [("A", 1), ("B", 2), ("C", 3)]
        );
    }

    #[test]
    fn a_prefix_selects_a_range() {
        let all = counters(&[
            ("link.a.rx", 1),
            ("link.b.rx", 2),
            ("link.b.tx", 3),
            ("m", 4),
        ]);
        let found: Vec<_> = all.with_prefix("link.b.").collect();
        assert_eq!(found, [("link.b.rx", 2), ("link.b.tx", 3)]);
        assert_eq!(all.with_prefix("z").count(), 0);
    }

    #[test]
    fn gathered_counters_are_the_same_whether_their_places_are_known_or_not() {
        let first = [
            counters(&[("A", 1), ("C", 3)]),
            counters(&[("B", 2), ("C", 9)]),
        ];
        let mut second = [
            counters(&[("A", 4), ("C", 5)]),
            counters(&[("B", 6), ("C", 7)]),
        ];
        for (later, earlier) in second.iter_mut().zip(&first) {
            later.share_names(earlier);
        }
        let other = [counters(&[("B", 8)]), counters(&[("D", 1)])];
        let mut gathering = Gathering::default();
        let mut told = Vec::new();
        for parts in [&first, &second, &other, &first] {
            let all = gathering.gather(parts.iter());
            let fresh = Gathering::default().gather(parts.iter());
            assert_eq!(all, fresh);
            told.push(format!("{all:?}"));
        }
        assert_eq!(
            told,
            [
                r#"{"A": 1, "B": 2, "C": 3}"#,
                r#"{"A": 4, "B": 6, "C": 5}"#,
                r#"{"B": 8, "D": 1}"#,
                r#"{"A": 1, "B": 2, "C": 3}"#,
            ]
        );
    }

    #[test]
    fn equal_names_share_their_memory() {
        let first = counters(&[("A", 1)]);
        let mut second = counters(&[("A", 2)]);
        second.share_names(&first);
        assert!(Arc::ptr_eq(&first.names, &second.names));
        assert_eq!(second.get("A"), Some(2));
    }
}
