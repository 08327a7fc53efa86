//! How many connections there are already (`nf_conncount`): of an address (`xt_connlimit`), of all that come to the rule
//! (`nft_connlimit`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::named::masked;
use crate::conntrack::{Connections, Tuple};
use crate::ip::bytes::addresses;

/// `-m connlimit`, `ct count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectionLimit {
    limit: usize,
    /// Passes where there are more; else where there are not.
    over: bool,
    /// Whose connections are counted together; nothing for all.
    of: Option<(Side, u8)>,
    /// Those that came to the rule, and had not ended when it last looked.
    seen: BTreeMap<Option<IpAddr>, Vec<Tuple>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// No rule remembers more connections of one address than this.
const MOST_CONNECTIONS: usize = 65536;
/// No rule remembers connections of more addresses than this.
const MOST_ADDRESSES: usize = 65536;

impl ConnectionLimit {
    /// `[!] --connlimit-above|-upto N [--connlimit-mask BITS] [--connlimit-saddr|-daddr]`.
    pub(super) fn read_connlimit(options: &[&str]) -> Option<Self> {
        let (mut limit, mut over, mut inverted) = (None, true, false);
        let (mut side, mut mask) = (Side::Source, 128);
        let mut words = options.iter();
        while let Some(word) = words.next() {
            match *word {
                "!" => inverted = true,
                "--connlimit-above" => limit = words.next()?.parse().ok(),
                "--connlimit-upto" => {
                    limit = words.next()?.parse().ok();
                    over = false;
                }
                "--connlimit-mask" => mask = words.next()?.parse().ok()?,
                "--connlimit-saddr" => side = Side::Source,
                "--connlimit-daddr" => side = Side::Destination,
                _ => return None,
            }
        }
        Some(ConnectionLimit {
            limit: limit?,
            over: over != inverted,
            of: Some((side, mask)),
            seen: BTreeMap::new(),
        })
    }

    /// `[over] N`.
    pub(super) fn read_count(words: &[&str]) -> Option<Self> {
        let (over, number) = match words {
            ["over", number] => (true, number),
            [number] => (false, number),
            _ => return None,
        };
        Some(ConnectionLimit {
            limit: number.parse().ok()?,
            over,
            of: None,
            seen: BTreeMap::new(),
        })
    }

    /// `connlimit_mt`, `nft_connlimit_do_eval`. `tuple` is that of the packet's connection, as its first packet went.
    pub(super) fn passes(
        &mut self,
        connections: &Connections,
        jiffies: u64,
        tuple: Option<Tuple>,
        network: &[u8],
    ) -> bool {
        let (source, destination) = addresses(network);
        let key = self.of.map(|(side, mask)| match side {
            Side::Source => masked(source, mask),
            Side::Destination => masked(destination, mask),
        });
        // What has ended, or never came to be, is no more (`find_or_evict`, `already_closed`).
        let is_there = |one: &Tuple| {
            Some(*one) == tuple
                || connections
                    .known(one, jiffies)
                    .is_some_and(|connection| !connection.is_closed())
        };
        if self.seen.len() >= MOST_ADDRESSES && !self.seen.contains_key(&key) {
            // An address without connections is forgotten (`tree_nodes_free`); the others have room again once theirs end.
            self.seen.retain(|_, own| own.iter().any(is_there));
            if self.seen.len() >= MOST_ADDRESSES {
                return (usize::from(tuple.is_some()) > self.limit) == self.over;
            }
        }
        let own = self.seen.entry(key).or_default();
        own.retain(is_there);
        if let Some(tuple) = tuple.filter(|tuple| !own.contains(tuple))
            && own.len() < MOST_CONNECTIONS
        {
            own.push(tuple);
        }
        (own.len() > self.limit) == self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: 6,
            source_key: port,
            destination_key: 80,
        }
    }

    #[test]
    fn what_is_not_in_the_table_any_more_does_not_count() {
        let mut limit = ConnectionLimit::read_count(&["over", "1"]).unwrap();
        let network = [&[0x45; 12][..], &[10, 0, 0, 1, 10, 0, 0, 2]].concat();
        let nobody = Connections::default();
        for port in 1..5 {
            assert!(!limit.passes(&nobody, 1, Some(tuple(port)), &network));
        }
        assert_eq!(limit.seen[&None], [tuple(4)]);
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let mut limit = ConnectionLimit::read_connlimit(&["--connlimit-above", "1"]).unwrap();
        let nobody = Connections::default();
        for number in 0..=MOST_ADDRESSES as u32 {
            let source = number.to_be_bytes();
            let network = [&[0x45; 12][..], &source, &[10, 0, 0, 2]].concat();
            assert!(!limit.passes(&nobody, 1, Some(tuple(1)), &network));
            assert!(limit.seen.len() <= MOST_ADDRESSES);
        }
    }

    #[test]
    fn words() {
        let read = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            ConnectionLimit::read_connlimit(&words)
        };
        let above = read("--connlimit-above 2 --connlimit-mask 24 --connlimit-daddr").unwrap();
        assert_eq!((above.limit, above.over), (2, true));
        assert_eq!(above.of, Some((Side::Destination, 24)));
        assert_eq!(
            read("! --connlimit-above 2"),
            read("--connlimit-upto 2"),
            "inverted"
        );
        assert_eq!(read("--connlimit-mask 24"), None);
        assert_eq!(
            ConnectionLimit::read_count(&["3"]).map(|own| own.over),
            Some(false)
        );
    }
}
