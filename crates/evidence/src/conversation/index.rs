//! From a packet's addresses and ports to its conversation, whichever way the packet goes.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;

/// A packet's five values, in its own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) protocol: u8,
    pub(super) ipv6: bool,
    pub(super) source: u128,
    pub(super) destination: u128,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

/// An address as a number; IPv4 in the lowest 32 bits.
#[inline]
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Key {
    #[inline]
    pub(super) fn new(
        protocol: u8,
        source: IpAddr,
        source_port: u16,
        destination: IpAddr,
        destination_port: u16,
    ) -> Self {
        Key {
            protocol,
            ipv6: source.is_ipv6(),
            source: bits(source),
            destination: bits(destination),
            source_port,
            destination_port,
        }
    }

    pub(super) const fn reversed(self) -> Self {
        Key {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

/// Which conversation is the newest one of each five-tuple.
#[derive(Debug)]
pub(super) struct Index {
    table: HashTable<u32>,
    seed: [u64; 3],
}

impl Default for Index {
    fn default() -> Self {
        // Captures are untrusted: with fixed seeds one could be made whose flows all collide. Nothing but the speed
        // depends on the seeds.
        let random = RandomState::new();
        Index {
            table: HashTable::new(),
            seed: [1u8, 2, 3].map(|number| random.hash_one(number)),
        }
    }
}

#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Index {
    #[inline]
    fn endpoint(&self, ipv6: bool, address: u128, port: u16) -> u64 {
        let [first, second, third] = self.seed;
        if !ipv6 {
            return mix(
                ((address as u64) | (u64::from(port) << 32)) ^ first,
                third | 1,
            );
        }
        let host = mix(
            (address as u64) ^ first,
            ((address >> 64) as u64) ^ second | 1,
        );
        mix(host ^ u64::from(port), third | 1)
    }

    /// The same for both directions.
    #[inline]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        let ends = self
            .endpoint(key.ipv6, key.source, key.source_port)
            .wrapping_add(self.endpoint(key.ipv6, key.destination, key.destination_port));
        mix(ends ^ u64::from(key.protocol), self.seed[0] | 1)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.table.find(hash, is_it).copied()
    }

    /// Enters a conversation, in place of an older one of the same five-tuple. `key_of` gives the key of any entry.
    pub(super) fn enter(
        &mut self,
        hash: u64,
        conversation: u32,
        older: Option<u32>,
        key_of: impl Fn(u32) -> Option<Key>,
    ) {
        if let Some(older) = older
            && let Some(entry) = self.table.find_mut(hash, |entry| *entry == older)
        {
            *entry = conversation;
            return;
        }
        // Growing the table asks for the hashes of all entries again.
        let Index { table, seed } = self;
        let hasher = Index {
            table: HashTable::new(),
            seed: *seed,
        };
        table.insert_unique(hash, conversation, |entry| {
            key_of(*entry).map_or(0, |key| hasher.hash(&key))
        });
    }
}
