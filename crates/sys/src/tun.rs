//! TUN and TAP devices (Documentation/networking/tuntap.rst): whole IP packets, or Ethernet frames, to and from a program.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// TUNSETIFF, TUNSETOFFLOAD (include/uapi/linux/if_tun.h): _IOW('T', 202, int), _IOW('T', 208, unsigned int).
const TUNSETIFF: u64 = 0x4004_54ca;
const TUNSETOFFLOAD: u64 = 0x4004_54d0;
/// TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN.
const OFFLOADS: libc::c_ulong = 0x01 | 0x02 | 0x04 | 0x08;

/// Makes a TUN device of this name in the calling thread's network namespace, or takes over the persistent one that is there and
/// in nobody's use. Each read from the file is one packet that the host sends, each write one that it receives; a device that
/// was made is gone when the file is closed.
///
/// With `offloads` the device takes packets larger than its MTU and without checksums, as network cards do (checksum offload, TSO
/// for both IP versions and with ECN); reads then return them as they are.
///
/// # Errors
/// `/dev/net/tun` cannot be opened, no CAP_NET_ADMIN, or a device of that name exists that is of another kind or in use.
pub fn open_tun(name: &str, offloads: bool) -> io::Result<File> {
    let file = open(name, libc::IFF_TUN)?;
    if offloads {
        offload(&file)?;
    }
    Ok(file)
}

/// A TUN device with offloads, as [`open_tun`]'s; in front of each packet stands a `struct virtio_net_hdr` (10 bytes,
/// include/uapi/linux/virtio_net.h), which says what of its checksum and segmentation is left to do.
///
/// # Errors
/// As [`open_tun`].
pub fn open_tun_with_header(name: &str) -> io::Result<File> {
    let file = open(name, libc::IFF_TUN | libc::IFF_VNET_HDR)?;
    offload(&file)?;
    Ok(file)
}

/// The same with a TAP device: reads and writes are Ethernet frames, without their check sequence.
///
/// # Errors
/// As [`open_tun`].
pub fn open_tap(name: &str) -> io::Result<File> {
    open(name, libc::IFF_TAP)
}

/// Waits until the kernel sends by the device, where it is up: taking over a device brings its carrier up, and a worker of the
/// kernel (`linkwatch_event`) gives it its queueing discipline some time later. Until then every packet is lost. Gives up after
/// `patience`, since somebody may set the device down meanwhile.
///
/// # Errors
/// The device is gone, or no socket can be opened.
pub fn await_carrier(name: &str, patience: Duration) -> io::Result<()> {
    /// How often is looked. As long is waited once more: the state is set just before the queue is.
    const LOOK: Duration = Duration::from_millis(1);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    let began = Instant::now();
    let mut waited = false;
    loop {
        let mut request = request(name)?;
        // SAFETY: SIOCGIFFLAGS reads and writes one ifreq, which lives through the call.
        check(unsafe {
            libc::ioctl(
                socket.as_raw_fd(),
                libc::SIOCGIFFLAGS as _,
                &raw mut request,
            )
        })?;
        // SAFETY: SIOCGIFFLAGS has filled in this member of the union.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        if flags & libc::IFF_UP == 0
            || flags & libc::IFF_RUNNING != 0
            || began.elapsed() >= patience
        {
            if waited {
                std::thread::sleep(LOOK);
            }
            return Ok(());
        }
        waited = true;
        std::thread::sleep(LOOK);
    }
}

fn offload(file: &File) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes a number.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, OFFLOADS) })
}

/// A question about a device.
fn request(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: ifreq is a C structure of integers, arrays and pointers; all zeros is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}

fn open(name: &str, kind: libc::c_int) -> io::Result<File> {
    let mut request = request(name)?;
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // Both fit into a c_short.
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call and whose name ends with a zero (`request` sees to it).
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) })?;
    Ok(file)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["", "sixteen-letters-"] {
            for error in [open_tun(name, false).err(), open_tap(name).err()] {
                assert_eq!(
                    error.and_then(|error| error.raw_os_error()),
                    Some(libc::EINVAL)
                );
            }
        }
    }
}
