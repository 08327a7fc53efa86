//! `AF_PACKET` sockets for sending: packet(7). No library gives a safe way to bind one to an interface or to bypass the qdisc.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A packet socket that sends whole frames through one interface and receives nothing.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket for the interface with this index, in the calling thread's network namespace.
    ///
    /// With `qdisc_bypass` (PACKET_QDISC_BYPASS) frames go straight to the driver: past the queueing discipline, and past the
    /// taps of other packet sockets.
    ///
    /// # Errors
    /// No CAP_NET_RAW, or no such interface.
    pub fn open(interface: u32, qdisc_bypass: bool) -> io::Result<Self> {
        // Protocol 0: nothing is received, so nothing fills a buffer that nobody reads.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket(2) takes three numbers.
        let raw = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the call above has just made this descriptor, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        if qdisc_bypass {
            let on: libc::c_int = 1;
            // SAFETY: the option's value is a c_int, and the length passed is its size.
            check(unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_QDISC_BYPASS,
                    std::ptr::from_ref(&on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            })?;
        }
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: i32::try_from(interface)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is a complete sockaddr_ll that outlives the call, and the length passed is its size.
        check(unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })?;
        Ok(PacketSocket { socket })
    }

    /// Sends one frame, link-layer header included.
    ///
    /// # Errors
    /// What send(2) says: ENOBUFS when the queue is full, EMSGSIZE when the frame is longer than the MTU allows.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let sent = rustix::io::write(&self.socket, frame)?;
        if sent == frame.len() {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::WriteZero))
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_through_an_interface_or_says_why_not() {
        // lo has index 1 in every namespace.
        match PacketSocket::open(1, true) {
            Ok(socket) => {
                // An EtherType for local experiments (IEEE 802): nobody listens.
                let mut frame = [0; 60];
                frame[12..14].copy_from_slice(&[0x88, 0xb5]);
                match socket.send(&frame) {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN)),
                }
                let missing = PacketSocket::open(u32::MAX >> 1, false).unwrap_err();
                assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
    }
}
