//! TCP Fast Open (RFC 7413; net/ipv4/tcp_fastopen.c): data in the SYN. Here are the option, the cookie and what a connection
//! keeps of it; `server` takes SYNs with data, `client` sends them, `black_hole` ceases to where they get lost.

mod black_hole;
mod client;
mod server;

use std::hash::Hasher as _;
use std::net::IpAddr;

use super::listener::Request;
use crate::settings::FastOpenKey;
use crate::socket::SocketId;
use crate::stack::Stack;

pub(crate) use black_hole::BlackHole;
pub(super) use client::Begun;
pub(super) use server::Queue;

/// `TCPOPT_FASTOPEN`.
const KIND: u8 = 34;
/// `TCPOPT_EXP`, and `TCPOPT_FASTOPEN_MAGIC`: the option before it had a number of its own.
const KIND_EXPERIMENTAL: u8 = 254;
const MAGIC: [u8; 2] = [0xf9, 0x89];
/// `TCP_FASTOPEN_COOKIE_MIN`, `TCP_FASTOPEN_COOKIE_MAX`: lengths of a cookie, in bytes.
const COOKIE_LENGTHS: std::ops::RangeInclusive<usize> = 4..=16;

/// `TFO_CLIENT_ENABLE` of `net.ipv4.tcp_fastopen`.
pub(super) const CLIENT: u32 = 0x1;
/// `TFO_SERVER_ENABLE`
pub(super) const SERVER: u32 = 0x2;
/// `TFO_CLIENT_NO_COOKIE`
const CLIENT_NO_COOKIE: u32 = 0x4;
/// `TFO_SERVER_COOKIE_NOT_REQD`
const SERVER_NO_COOKIE: u32 = 0x200;
/// `TFO_SERVER_WO_SOCKOPT1`: every listener takes part.
pub(super) const EVERY_LISTENER: u32 = 0x400;

/// A cookie (`struct tcp_fastopen_cookie`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cookie {
    bytes: [u8; 16],
    length: u8,
}

impl Cookie {
    /// Of these bytes; nothing where they are too few or too many.
    pub(super) fn new(cookie: &[u8]) -> Option<Self> {
        if !COOKIE_LENGTHS.contains(&cookie.len()) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes.get_mut(..cookie.len())?.copy_from_slice(cookie);
        Some(Cookie {
            bytes,
            length: cookie.len() as u8,
        })
    }

    /// What a server gives to a client (`__tcp_fastopen_cookie_gen_cipher`): SipHash-2-4 of both addresses as the SYN has them.
    pub(super) fn generate(key: FastOpenKey, client: IpAddr, server: IpAddr) -> Self {
        #[expect(
            deprecated,
            reason = "the one of the standard library whose key can be chosen; it is deprecated for hash tables"
        )]
        let mut hash = std::hash::SipHasher::new_with_keys(key.0[0], key.0[1]);
        for address in [client, server] {
            match address {
                IpAddr::V4(address) => hash.write(&address.octets()),
                IpAddr::V6(address) => hash.write(&address.octets()),
            }
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&hash.finish().to_le_bytes());
        Cookie { bytes, length: 8 }
    }

    /// Its bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// The option of a SYN or SYN-ACK: a cookie, or the wish for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FastOpenOption {
    /// Nothing: one is asked for.
    pub(super) cookie: Option<Cookie>,
    /// It has the form that it had before it had a number.
    pub(super) experimental: bool,
}

impl FastOpenOption {
    /// Reads it from a SYN's options (`tcp_parse_fastopen_option`); nothing where there is none, or none that is valid.
    pub(super) fn read(mut options: &[u8]) -> Option<Self> {
        let mut found = None;
        while let [kind, rest @ ..] = options {
            match (*kind, rest) {
                (0, _) | (_, []) => break,
                (1, _) => options = rest,
                (kind, [length, ..]) => {
                    let length = usize::from(*length);
                    let body = options.get(2..length).filter(|_| length >= 2);
                    let (Some(body), Some(behind)) = (body, options.get(length..)) else {
                        break;
                    };
                    let (cookie, experimental) = match (kind, body.strip_prefix(&MAGIC)) {
                        (KIND, _) => (body, false),
                        (KIND_EXPERIMENTAL, Some(cookie)) => (cookie, true),
                        _ => (&[0][..], false),
                    };
                    // One of an odd length is no such option.
                    if cookie.len() % 2 == 0 {
                        let known = Cookie::new(cookie);
                        found = (cookie.is_empty() || known.is_some()).then_some(FastOpenOption {
                            cookie: known,
                            experimental,
                        });
                    }
                    options = behind;
                }
            }
        }
        found
    }

    /// Its bytes, padded to whole words (`tcp_options_write`), and how many those are.
    pub(super) fn write(&self) -> ([u8; 20], usize) {
        const NOP: u8 = 1;
        let cookie = self.cookie.unwrap_or_default();
        let head = if self.experimental { 4 } else { 2 };
        let length = head + cookie.as_slice().len();
        let mut bytes = [NOP; 20];
        bytes[0] = if self.experimental {
            KIND_EXPERIMENTAL
        } else {
            KIND
        };
        bytes[1] = length as u8;
        if self.experimental {
            bytes[2..4].copy_from_slice(&MAGIC);
        }
        if let Some(room) = bytes.get_mut(head..length) {
            room.copy_from_slice(cookie.as_slice());
        }
        (bytes, length.next_multiple_of(4).min(20))
    }
}

/// Why data did not go with the SYN (`enum tcp_fastopen_client_fail`), as `tcpi_fastopen_client_fail` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ClientFail {
    /// `TFO_STATUS_UNSPEC`
    #[default]
    Unspecified,
    /// `TFO_COOKIE_UNAVAILABLE`
    CookieUnavailable,
    /// `TFO_DATA_NOT_ACKED`
    DataNotAcked,
    /// `TFO_SYN_RETRANSMITTED`
    SynRetransmitted,
}

/// What a connection keeps of it; most have none.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the kernel's own"
)]
pub(super) struct FastOpen {
    /// The handshake of a listener's child that was made for the SYN alone (`fastopen_rsk`).
    pub(super) request: Option<Pending>,
    /// A child has left its listener's queue, which is to be told.
    pub(super) left: Option<Left>,
    /// What the next SYN carries (`fastopen_req->cookie`).
    pub(super) offer: Option<FastOpenOption>,
    /// connect(2) waits for the first write (`DEFER_CONNECT`).
    pub(super) deferred: bool,
    /// connect(2) asked for a cookie (`fastopen_req` stays).
    pub(super) asked: bool,
    /// The SYN had data (`syn_data`), and it was acknowledged, or the peer's was taken (`syn_data_acked`).
    pub(super) syn_data: bool,
    pub(super) syn_data_acked: bool,
    /// The SYN had the option (`syn_fastopen`), in its old form (`syn_fastopen_exp`).
    pub(super) syn_option: bool,
    pub(super) syn_experimental: bool,
    /// Whether it works tells whether fast open is a black hole no more (`syn_fastopen_ch`).
    pub(super) checks: bool,
    /// A listener's child (`syn_fastopen_child`).
    pub(super) child: bool,
    pub(super) client_fail: ClientFail,
}

/// A listener's child whose SYN-ACK is not acknowledged.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) listener: SocketId,
    pub(super) request: Request,
}

/// How a child left its listener's queue (`reqsk_fastopen_remove`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) listener: SocketId,
    /// By a reset, when a program had it already: it counts for another minute.
    pub(super) lingers: bool,
}

impl Stack {
    /// A listener takes part, and no key was chosen: one is drawn (`tcp_fastopen_init_key_once`).
    pub(super) fn need_fast_open_key(&mut self) {
        if self.settings.tcp.fastopen_keys.is_empty() {
            let key = FastOpenKey([self.random.u64(..), self.random.u64(..)]);
            // It has the form that the setting wants.
            let _ = self
                .settings
                .set("net.ipv4.tcp_fastopen_key", &key.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_linuxs() {
        // As Linux 6.18 gives them out.
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let key = FastOpenKey([0xb2b2_b2b2_a1a1_a1a1, 0xd4d4_d4d4_c3c3_c3c3]);
        let cookie = Cookie::generate(key, ip("192.0.2.1"), ip("192.168.0.1"));
        assert_eq!(
            cookie.as_slice(),
            [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb]
        );
        let cookie = Cookie::generate(key, ip("fd3d:fa7b:d17d::1"), ip("fd3d:0a0b:17d6::1"));
        assert_eq!(
            cookie.as_slice(),
            [0xc1, 0xd1, 0xe9, 0x74, 0x2a, 0x47, 0xa9, 0xbc]
        );
    }

    #[test]
    fn options_are_written_as_they_are_read() {
        let cookie = Cookie::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for experimental in [false, true] {
            for cookie in [None, cookie, Cookie::new(&[9; 4]), Cookie::new(&[7; 16])] {
                let option = FastOpenOption {
                    cookie,
                    experimental,
                };
                let (bytes, length) = option.write();
                assert_eq!(length % 4, 0);
                assert_eq!(FastOpenOption::read(&bytes[..length]), Some(option));
            }
        }
        let asks = FastOpenOption::default();
        assert_eq!(asks.write().0[..4], [34, 2, 1, 1]);
    }

    #[test]
    fn what_is_no_cookie_is_none() {
        let read = FastOpenOption::read;
        // Odd, too short, too long, cut off, without its magic number.
        assert_eq!(read(&[34, 7, 1, 2, 3, 4, 5]), None);
        assert_eq!(read(&[34, 4, 1, 2]), None);
        assert_eq!(
            read(&[34, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
            None
        );
        assert_eq!(read(&[34, 10, 1, 2]), None);
        assert_eq!(read(&[254, 4, 1, 2]), None);
        assert_eq!(read(&[34, 0]), None);
        assert_eq!(read(&[34]), None);
        assert_eq!(
            read(&[2, 4, 5, 180, 1, 34, 2]),
            Some(FastOpenOption::default())
        );
    }
}
