//! Which interfaces a host has, now and later: rtnetlink link and address dumps, and the announcements of changes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::{RecvFlags, recv};
use transect_packet::MacAddress;

use crate::readings::netlink::{Connection, NLM_F_DUMP, address, attribute, u8_at, u32_at};

// <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>, <linux/if.h>
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTMGRP_LINK: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
/// `struct ifinfomsg` and `struct ifaddrmsg`: what stands before the attributes.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`: names and flags are wanted, not the statistics.
const WITHOUT_STATISTICS: [u8; 8] = {
    let [a, b] = 8_u16.to_ne_bytes();
    let [c, d] = 29_u16.to_ne_bytes();
    let [e, f, g, h] = 8_u32.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
};

/// One interface, as rtnetlink tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) loopback: bool,
    pub(super) mac: Option<MacAddress>,
}

/// The interfaces of the namespace in which it was opened.
pub(super) struct Links {
    connection: Connection,
    announcements: Socket,
}

impl Links {
    /// Listens to announcements from now on, so that no change between this and the first dump is missed.
    pub(super) fn open() -> io::Result<Self> {
        let mut announcements = Socket::new(NETLINK_ROUTE)?;
        announcements.set_non_blocking(true)?;
        announcements.bind(&SocketAddr::new(0, RTMGRP_LINK))?;
        Ok(Links {
            connection: Connection::open(NETLINK_ROUTE)?,
            announcements,
        })
    }

    /// The interfaces there are now.
    pub(super) fn list(&mut self) -> io::Result<Vec<Link>> {
        let mut body = vec![0; LINK_HEADER];
        body.extend(WITHOUT_STATISTICS);
        let answer = self.connection.ask(RTM_GETLINK, NLM_F_DUMP, &body)?;
        let links = answer
            .messages()
            .filter(|(kind, _)| *kind == RTM_NEWLINK)
            .filter_map(|(_, message)| link(message))
            .collect();
        Ok(links)
    }

    /// The addresses by interface index, each with its prefix length.
    pub(super) fn addresses(&mut self) -> io::Result<HashMap<u32, Vec<(IpAddr, u8)>>> {
        let body = [0; ADDRESS_HEADER];
        let answer = self.connection.ask(RTM_GETADDR, NLM_F_DUMP, &body)?;
        let mut addresses: HashMap<u32, Vec<(IpAddr, u8)>> = HashMap::new();
        for (_, message) in answer.messages().filter(|(kind, _)| *kind == RTM_NEWADDR) {
            if let Some((index, address, prefix_length)) = link_address(message) {
                let all = addresses.entry(index).or_default();
                all.push((address, prefix_length));
            }
        }
        Ok(addresses)
    }

    /// Readable when an interface appeared, changed or went away.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.announcements.as_fd()
    }

    /// Takes all announcements; true when there was one. What they say is not looked at: the list is read again.
    pub(super) fn changed(&mut self) -> bool {
        let mut scratch = [0; 4096];
        let mut any = false;
        loop {
            match recv(
                self.announcements.as_fd(),
                &mut scratch[..],
                RecvFlags::DONTWAIT,
            ) {
                Ok(_) => any = true,
                // The kernel's buffer was full and announcements are lost: that is a change too.
                Err(rustix::io::Errno::NOBUFS) => any = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }
}

fn link(message: &[u8]) -> Option<Link> {
    let flags = u32_at(message, 8)?;
    let attributes = message.get(LINK_HEADER..)?;
    let name = attribute(attributes, IFLA_IFNAME)?;
    let name = name.split(|&byte| byte == 0).next()?;
    let mac = attribute(attributes, IFLA_ADDRESS)
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
        .map(MacAddress);
    Some(Link {
        index: u32_at(message, 4)?,
        name: String::from_utf8_lossy(name).into_owned(),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        mac,
    })
}

fn link_address(message: &[u8]) -> Option<(u32, IpAddr, u8)> {
    let attributes = message.get(ADDRESS_HEADER..)?;
    // On a point-to-point link IFA_ADDRESS is the peer's, and IFA_LOCAL the own.
    let value = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    Some((u32_at(message, 4)?, address(value)?, u8_at(message, 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let mut links = Links::open().unwrap();
        let list = links.list().unwrap();
        let lo = list.iter().find(|link| link.loopback).unwrap();
        assert_eq!(lo.name, "lo");
        assert!(lo.index > 0);
        if lo.up {
            let addresses = links.addresses().unwrap();
            let local = (IpAddr::from([127, 0, 0, 1]), 8);
            assert!(addresses[&lo.index].contains(&local));
        }
        assert!(!links.changed());
    }

    #[test]
    fn messages_that_are_cut_off_are_left_out() {
        let mut links = Links::open().unwrap();
        let body = [0; LINK_HEADER];
        let answer = links
            .connection
            .ask(RTM_GETLINK, NLM_F_DUMP, &body)
            .unwrap();
        let (_, whole) = answer.messages().next().unwrap();
        assert!(link(whole).is_some());
        // The name comes first, and no name is shorter than one byte and its end.
        for length in 0..LINK_HEADER + 6 {
            assert_eq!(link(&whole[..length]), None);
        }
    }
}
