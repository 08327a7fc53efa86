//! The namespace, its TUN device, and the tap that sees what the host sends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::thread::UnshareFlags;
use transect_sys::socket_call;

use super::super::{Captured, WorldError};
use super::set_sysctl;
use crate::call::control_messages;
use crate::options::Options;
use crate::wire::TCP;

/// The name that public scripts use.
const NAME: &str = "tun0";

/// What a new namespace inherits depends on the machine; scripts must not.
const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.ip_forward", "0"),
];
const SYSCTLS_V6: &[(&str, &str)] = &[
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
    ("net.ipv6.conf.default.addr_gen_mode", "1"),
];

/// Bytes of `struct virtio_net_hdr`.
const HEADER: usize = 10;

/// The largest packet, with offloads on: 64 KiB of payload and headers; some room more.
const LARGEST: usize = 128 * 1024;

/// The device and its tap.
pub(super) struct Device {
    tun: File,
    tap: OwnedFd,
    room: Vec<u8>,
    mss: Option<u16>,
    pieces: [Vec<u8>; 1],
}

impl Device {
    /// Moves the calling thread into a new namespace and makes the device in it.
    pub(super) fn new(options: &Options) -> Result<Self, WorldError> {
        unshare_network().map_err(WorldError::doing(
            "making a network namespace (root or CAP_SYS_ADMIN is needed; `--world model` needs no rights)",
        ))?;
        let v6 = if options.is_ipv6() { SYSCTLS_V6 } else { &[] };
        for (name, value) in SYSCTLS.iter().chain(v6) {
            set_sysctl(name, value)?;
        }
        let tun =
            transect_sys::open_tun_with_header(NAME).map_err(WorldError::doing("making tun0"))?;
        fcntl_setfl(&tun, OFlags::RDWR | OFlags::NONBLOCK)
            .map_err(WorldError::doing("making tun0 non-blocking"))?;
        let tap = tap().map_err(WorldError::doing("opening a packet socket"))?;
        set_up(options)?;
        Ok(Device {
            tun,
            tap,
            room: vec![0; LARGEST],
            mss: options.mss,
            pieces: [vec![0; LARGEST]],
        })
    }

    pub(super) fn tun(&self) -> &File {
        &self.tun
    }

    pub(super) fn tap(&self) -> &OwnedFd {
        &self.tap
    }

    /// Gives the host a packet.
    pub(super) fn send(&mut self, packet: &[u8]) -> Result<(), WorldError> {
        let header = self
            .mss
            .and_then(|mss| segmented(packet, mss))
            .unwrap_or_default();
        // One write is one packet, which goes whole or not at all.
        self.tun
            .write_all(&[&header, packet].concat())
            .map_err(WorldError::doing("writing a packet to tun0"))
    }

    /// Takes in everything that waits; `clock` turns the kernel's times into the world's.
    pub(super) fn receive(
        &mut self,
        captured: &mut VecDeque<Captured>,
        clock: impl Fn(Duration) -> Duration,
    ) -> Result<(), WorldError> {
        // The device's own queue only has to be kept empty: the tap has seen it all.
        loop {
            match self.tun.read(&mut self.room) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(WorldError::doing("reading from tun0")(error)),
            }
        }
        loop {
            let Device { tap, pieces, .. } = self;
            let got = socket_call::receive_message(tap.as_fd(), pieces, 256, libc::MSG_DONTWAIT);
            let got = match got {
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Down, while it is set up.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(error) => return Err(WorldError::doing("reading from the tap")(error)),
            };
            // struct sockaddr_ll: the packet's type at 10; 4 is PACKET_OUTGOING.
            if got.address.get(10) != Some(&4) {
                continue;
            }
            let stamp = control_messages(&got.control)
                .into_iter()
                .find(|(level, kind, _)| {
                    *level == libc::SOL_SOCKET && *kind == libc::SCM_TIMESTAMPNS
                })
                .and_then(|(_, _, data)| timespec(data));
            let bytes = self
                .pieces
                .first()
                .and_then(|piece| piece.get(..got.length));
            if let (Some(time), Some(bytes)) = (stamp, bytes) {
                captured.push_back(Captured {
                    time: clock(time),
                    bytes: bytes.to_vec(),
                });
            }
        }
    }
}

/// The `struct virtio_net_hdr` of a TCP packet that is to look as if it had been put together from segments of this size on its
/// way up; the kernel takes no notice of it where the payload fits into one.
fn segmented(packet: &[u8], mss: u16) -> Option<[u8; HEADER]> {
    let kind = match packet.first()? >> 4 {
        4 if *packet.get(9)? == TCP => 1,
        6 if *packet.get(6)? == TCP => 4,
        _ => return None,
    };
    let [low, high] = mss.to_ne_bytes();
    // Flags, kind, length of the headers, size of the segments; where a checksum is to be put in, which there is already.
    Some([0, kind, 0, 0, low, high, 0, 0, 0, 0])
}

fn timespec(data: &[u8]) -> Option<Duration> {
    let part = |offset: usize| -> Option<u64> {
        let bytes: [u8; 8] = data.get(offset..offset + 8)?.try_into().ok()?;
        u64::try_from(i64::from_ne_bytes(bytes)).ok()
    };
    Duration::from_secs(part(0)?).checked_add(Duration::from_nanos(part(8)?))
}

/// A packet socket on the device, with the kernel's times.
fn tap() -> std::io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let tap = socket_call::socket(libc::AF_PACKET, kind, 0)?;
    let on = 1_i32.to_ne_bytes();
    socket_call::set_option(tap.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    let room = (32_i32 << 20).to_ne_bytes();
    socket_call::set_option(tap.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &room)?;
    let index = rustix::net::netdevice::name_to_index(&tap, NAME)?;
    // struct sockaddr_ll: family, protocol (every one, ETH_P_ALL), index; the rest is for sending.
    let mut address = [0; 20];
    let parts = [
        (0, &(libc::AF_PACKET as u16).to_ne_bytes()[..]),
        (2, &(libc::ETH_P_ALL as u16).to_be_bytes()[..]),
        (4, &index.to_ne_bytes()[..]),
    ];
    for (offset, part) in parts {
        if let Some(place) = address.get_mut(offset..offset + part.len()) {
            place.copy_from_slice(part);
        }
    }
    socket_call::bind(tap.as_fd(), &address)?;
    Ok(tap)
}

/// Addresses and routes.
fn set_up(options: &Options) -> Result<(), WorldError> {
    let Options {
        local_ip,
        prefix,
        mtu,
        ..
    } = options;
    let (family, nodad) = if options.is_ipv6() {
        ("-6", " nodad")
    } else {
        ("-4", "")
    };
    let batch = format!(
        "link set lo up\n\
         link set {NAME} mtu {mtu}\n\
         address add {local_ip}/{prefix} dev {NAME}{nodad}\n\
         link set {NAME} up\n\
         route add default dev {NAME}\n"
    );
    let doing = "setting up tun0 by `ip`";
    let mut ip = Command::new("ip")
        .args([family, "-batch", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(WorldError::doing(doing))?;
    if let Some(mut input) = ip.stdin.take() {
        input
            .write_all(batch.as_bytes())
            .map_err(WorldError::doing(doing))?;
    }
    let ended = ip.wait_with_output().map_err(WorldError::doing(doing))?;
    if ended.status.success() {
        return match local_ip {
            IpAddr::V6(address) => wait_for_address(*address),
            IpAddr::V4(_) => Ok(()),
        };
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(WorldError(format!("{doing}: {}", said.trim())))
}

/// How long an address may take to become the host's.
const ADDRESS: Duration = Duration::from_secs(2);

/// An IPv6 address is the host's a little later than `ip` says: work in the background gives it its route (`addrconf_dad_work`).
/// Packets to it find none before.
fn wait_for_address(address: Ipv6Addr) -> Result<(), WorldError> {
    let digits: String = address
        .octets()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let route = format!("{digits} 80 ");
    let deadline = Instant::now() + ADDRESS;
    loop {
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route")
            .map_err(WorldError::doing("reading the routes"))?;
        if routes.lines().any(|line| line.starts_with(&route)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(WorldError(format!(
                "tun0: {address} is no address of the host after {ADDRESS:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[expect(
    deprecated,
    reason = "rustix deprecates unshare() for its flag FILES alone, which is not used here"
)]
fn unshare_network() -> std::io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNET).map_err(std::io::Error::from)
}
