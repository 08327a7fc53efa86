//! TCP Fast Open's cookies (RFC 7413) as Linux makes them: scripts that send one must know it.

use std::hash::Hasher as _;
use std::net::IpAddr;

/// `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4`, the `net.ipv4.tcp_fastopen_key` of the public suites.
pub(crate) const USUAL_KEY: [u64; 2] = [0xb2b2_b2b2_a1a1_a1a1, 0xd4d4_d4d4_c3c3_c3c3];

/// The cookie of a client, in hexadecimal: SipHash of both addresses (`__tcp_fastopen_cookie_gen_cipher`).
pub(crate) fn cookie(key: [u64; 2], client: IpAddr, server: IpAddr) -> String {
    #[expect(
        deprecated,
        reason = "the one of the standard library whose key can be chosen; it is deprecated for hash tables"
    )]
    let mut hash = std::hash::SipHasher::new_with_keys(key[0], key[1]);
    for address in [client, server] {
        match address {
            IpAddr::V4(address) => hash.write(&address.octets()),
            IpAddr::V6(address) => hash.write(&address.octets()),
        }
    }
    let bytes = hash.finish().to_le_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn cookies_are_linuxs() {
        // As Linux 6.18 gives them out.
        let v4 = (ip("192.0.2.1"), ip("192.168.0.1"));
        let v6 = (ip("fd3d:fa7b:d17d::1"), ip("fd3d:0a0b:17d6::1"));
        assert_eq!(cookie(USUAL_KEY, v4.0, v4.1), "3021b9d889017eeb");
        assert_eq!(cookie([0; 2], v4.0, v4.1), "b7c12350a90dc8f5");
        assert_eq!(cookie(USUAL_KEY, v6.0, v6.1), "c1d1e9742a47a9bc");
    }
}
