//! Numbers that others must not guess: initial sequence numbers, timestamp offsets, port choices, SYN cookies
//! (net/core/secure_seq.c, net/ipv4/syncookies.c). A keyed hash (SipHash-1-3, as the kernel's HalfSipHash kin) over the host's seed:
//! the same seed gives the same numbers.

use std::net::IpAddr;

use transect_path::Timestamp;

use crate::socket::SocketAddress;

/// The keys, drawn once from the host's seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secrets {
    sequence: (u64, u64),
    timestamp: (u64, u64),
    port: (u64, u64),
    cookie: [(u64, u64); 2],
}

/// How long a cookie's counter stands (`COUNTER 60 s`).
const COOKIE_PERIOD: u64 = 60_000_000_000;
/// Periods for which a cookie is good (`MAX_SYNCOOKIE_AGE`).
const COOKIE_AGE: u32 = 2;
/// Bits of a cookie that hold the data.
const COOKIE_BITS: u32 = 24;
const COOKIE_MASK: u32 = (1 << COOKIE_BITS) - 1;

/// The segment sizes that a cookie can tell, IPv4 (`msstab`).
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
/// … and IPv6.
const MSS_V6: [u16; 4] = [1220, 1420, 1440, 8940];

impl Secrets {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let mut key = || (random.u64(..), random.u64(..));
        Secrets {
            sequence: key(),
            timestamp: key(),
            port: key(),
            cookie: [key(), key()],
        }
    }

    /// The first sequence number of a connection: a hash, and a clock of 64 ns (`secure_tcp_seq`; RFC 6528).
    pub(super) fn sequence(
        &self,
        local: SocketAddress,
        peer: SocketAddress,
        now: Timestamp,
    ) -> u32 {
        let hash = hash_ends(self.sequence, local, peer, 0) as u32;
        hash.wrapping_add((now.0 >> 6) as u32)
    }

    /// What is added to the clock in timestamps, by the pair of addresses (`secure_tcp_ts_off`).
    pub(super) fn timestamp_offset(&self, local: IpAddr, peer: IpAddr) -> u32 {
        let (local, peer) = (SocketAddress::new(local, 0), SocketAddress::new(peer, 0));
        hash_ends(self.timestamp, local, peer, 0) as u32
    }

    /// Where the search for a port begins (`secure_ipv4_port_ephemeral`).
    pub(super) fn port_offset(&self, local: IpAddr, peer: SocketAddress) -> u64 {
        hash_ends(self.port, SocketAddress::new(local, 0), peer, 0)
    }

    fn cookie_hash(&self, which: usize, ends: (SocketAddress, SocketAddress), count: u32) -> u32 {
        let key = self.cookie.get(which).copied().unwrap_or_default();
        hash_ends(key, ends.0, ends.1, u64::from(count)) as u32
    }

    /// A cookie as sequence number (`__cookie_v4_init_sequence`, `secure_tcp_syn_cookie`), with the segment size that it tells.
    pub(super) fn cookie(
        &self,
        local: SocketAddress,
        peer: SocketAddress,
        sequence: u32,
        mss: u16,
        now: Timestamp,
    ) -> (u32, u16) {
        let table = table(peer);
        let index = table
            .iter()
            .rposition(|entry| *entry <= mss)
            .unwrap_or_default();
        let count = (now.0 / COOKIE_PERIOD) as u32;
        let data = self
            .cookie_hash(1, (local, peer), count)
            .wrapping_add(index as u32)
            & COOKIE_MASK;
        let cookie = self
            .cookie_hash(0, (local, peer), 0)
            .wrapping_add(sequence)
            .wrapping_add(count << COOKIE_BITS)
            .wrapping_add(data);
        (cookie, table.get(index).copied().unwrap_or(536))
    }

    /// The segment size that a cookie tells; nothing where it is not ours, or too old (`check_tcp_syn_cookie`).
    pub(super) fn check_cookie(
        &self,
        local: SocketAddress,
        peer: SocketAddress,
        sequence: u32,
        cookie: u32,
        now: Timestamp,
    ) -> Option<u16> {
        let count = (now.0 / COOKIE_PERIOD) as u32;
        let bare = cookie
            .wrapping_sub(self.cookie_hash(0, (local, peer), 0))
            .wrapping_sub(sequence);
        let age = count.wrapping_sub(bare >> COOKIE_BITS) & (u32::MAX >> COOKIE_BITS);
        if age >= COOKIE_AGE {
            return None;
        }
        let index = bare.wrapping_sub(self.cookie_hash(1, (local, peer), count.wrapping_sub(age)))
            & COOKIE_MASK;
        table(peer).get(index as usize).copied()
    }
}

fn table(peer: SocketAddress) -> &'static [u16; 4] {
    if peer.address.is_ipv4() {
        &MSS_V4
    } else {
        &MSS_V6
    }
}

/// Both ends and a number, hashed.
pub(crate) fn hash_ends(
    key: (u64, u64),
    local: SocketAddress,
    peer: SocketAddress,
    extra: u64,
) -> u64 {
    let mut hash = SipHash::new(key);
    for address in [local.address, peer.address] {
        match address {
            IpAddr::V4(address) => hash.word(u64::from(u32::from(address))),
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                hash.word((bits >> 64) as u64);
                hash.word(bits as u64);
            }
        }
    }
    hash.word(u64::from(local.port) << 16 | u64::from(peer.port));
    hash.word(extra);
    hash.finish()
}

/// SipHash-1-3 over whole words (Aumasson and Bernstein, 2012).
struct SipHash([u64; 4]);

impl SipHash {
    fn new((first, second): (u64, u64)) -> Self {
        SipHash([
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ])
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ends() -> (SocketAddress, SocketAddress) {
        (
            SocketAddress::new(Ipv4Addr::new(192, 0, 2, 1), 80),
            SocketAddress::new(Ipv4Addr::new(192, 0, 2, 2), 40_000),
        )
    }

    #[test]
    fn a_cookie_tells_its_segment_size_for_two_minutes() {
        let secrets = Secrets::new(&mut fastrand::Rng::with_seed(7));
        let (local, peer) = ends();
        let start = Timestamp(1_000 * COOKIE_PERIOD);
        for (offered, told) in [(1460, 1460), (1459, 1440), (100, 536), (9000, 1460)] {
            let (cookie, mss) = secrets.cookie(local, peer, 77, offered, start);
            assert_eq!(mss, told);
            let check = |sequence, after: u64| {
                let now = Timestamp(start.0 + after * 1_000_000_000);
                secrets.check_cookie(local, peer, sequence, cookie, now)
            };
            assert_eq!(check(77, 0), Some(told));
            assert_eq!(check(77, 119), Some(told));
            assert_eq!(check(77, 120), None);
            assert_eq!(check(177, 0), None);
        }
    }

    #[test]
    fn sequence_numbers_grow_with_time_and_differ_by_ends() {
        let secrets = Secrets::new(&mut fastrand::Rng::with_seed(7));
        let (local, peer) = ends();
        let first = secrets.sequence(local, peer, Timestamp(0));
        let later = secrets.sequence(local, peer, Timestamp(64_000));
        assert_eq!(later.wrapping_sub(first), 1000);
        let other = SocketAddress::new(peer.address, 40_001);
        assert_ne!(secrets.sequence(local, other, Timestamp(0)), first);
        let same = Secrets::new(&mut fastrand::Rng::with_seed(7));
        assert_eq!(same.sequence(local, peer, Timestamp(0)), first);
    }
}
