//! What the kernel announces: changes of links, addresses, routes, rules, queues and nftables.
//!
//! Neighbours are left out: they change with every packet. Announcements only say that another full reading is due;
//! what changed is read, not taken from them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::netlink::messages;

/// RTNLGRP_LINK, _TC, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV6_RULE.
const ROUTE_GROUPS: [u32; 8] = [1, 4, 5, 7, 8, 9, 11, 19];
/// NFNLGRP_NFTABLES.
const NFTABLES_GROUP: u32 = 7;
/// Announcements may come in bursts while nobody reads; a lost one is noticed (ENOBUFS), so this need not be large.
const BUFFER: usize = 512 << 10;
/// Different words that one drain returns at most; the rest is counted.
const WORDS: usize = 32;

/// What a message of a type says, in words.
type Words = fn(u16) -> Option<&'static str>;

/// The multicast sockets, and one descriptor that is readable when any of them is.
pub(super) struct Changes {
    any: OwnedFd,
    sockets: Vec<(Socket, Words)>,
}

impl Changes {
    /// Subscribes in the namespace of the calling thread. `nftables` says whether its group may be joined (joining
    /// would load the module).
    pub(super) fn open(nftables: bool) -> io::Result<(Self, Vec<(&'static str, io::Error)>)> {
        let any = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut changes = Changes {
            any,
            sockets: Vec::new(),
        };
        let mut refused = Vec::new();
        if let Err(error) = changes.join(NETLINK_ROUTE, &ROUTE_GROUPS, route_words) {
            refused.push(("rtnetlink", error));
        }
        if nftables
            && let Err(error) = changes.join(NETLINK_NETFILTER, &[NFTABLES_GROUP], nftables_words)
        {
            refused.push(("nftables", error));
        }
        Ok((changes, refused))
    }

    fn join(&mut self, protocol: isize, groups: &[u32], words: Words) -> io::Result<()> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        let _ = socket.set_rx_buf_sz(BUFFER);
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.set_non_blocking(true)?;
        epoll::add(
            &self.any,
            &socket,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )?;
        self.sockets.push((socket, words));
        Ok(())
    }

    /// Takes everything that was announced, in words, each kind with its number.
    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut scratch = vec![0; 64 << 10];
        for (socket, words) in &self.sockets {
            // As many datagrams as could have waited; announcements that keep coming make the next drain.
            for _ in 0..65_536 {
                match recv(socket.as_fd(), &mut scratch[..], RecvFlags::DONTWAIT) {
                    Ok((read, _)) => {
                        let datagram = scratch.get(..read).unwrap_or_default();
                        for word in messages(datagram).filter_map(|(kind, _)| words(kind)) {
                            *counts.entry(word).or_default() += 1;
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::NOBUFS) => {
                        *counts
                            .entry("changes were lost, reading everything")
                            .or_default() += 1;
                    }
                    Err(_) => break,
                }
            }
        }
        counts
            .into_iter()
            .take(WORDS)
            .map(|(word, count)| match count {
                1 => word.to_owned(),
                _ => format!("{word} ({count} times)"),
            })
            .collect()
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.any.as_fd()
    }
}

/// include/uapi/linux/rtnetlink.h.
fn route_words(kind: u16) -> Option<&'static str> {
    Some(match kind {
        16 => "a link appeared or changed",
        17 => "a link went away",
        20 => "an address appeared",
        21 => "an address went away",
        24 => "a route appeared",
        25 => "a route went away",
        32 => "a policy rule appeared",
        33 => "a policy rule went away",
        36 => "a queueing discipline appeared",
        37 => "a queueing discipline went away",
        40 => "a traffic class appeared",
        41 => "a traffic class went away",
        44 => "a traffic filter appeared",
        45 => "a traffic filter went away",
        _ => return None,
    })
}

/// include/uapi/linux/netfilter/nf_tables.h; the subsystem (10) is in the upper byte.
fn nftables_words(kind: u16) -> Option<&'static str> {
    if kind >> 8 != 10 {
        return None;
    }
    Some(match kind & 0xff {
        0 => "an nftables table appeared or changed",
        2 => "an nftables table went away",
        3 => "an nftables chain appeared or changed",
        5 => "an nftables chain went away",
        6 => "an nftables rule appeared",
        8 => "an nftables rule went away",
        9 | 12 => "an nftables set changed",
        11 | 14 => "an nftables set shrank",
        // NFT_MSG_NEWGEN ends every transaction; the messages before it say what it was.
        15 => return None,
        _ => "nftables changed",
    })
}
