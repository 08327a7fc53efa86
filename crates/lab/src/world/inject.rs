//! Sending packets past the sockets: through a raw IP socket, or an `AF_PACKET` socket with or without the qdisc.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::{HostNamespace, WorldError, client};
use crate::packet::{PacketPlan, build};
use crate::scenario::{Inject, Via};

const FIRST_PORT: u16 = 40000;

/// Sends what the step says.
pub(super) fn inject(host: &HostNamespace, plan: &Inject) -> Result<(), WorldError> {
    let plan = plan.clone();
    let failing = || format!("{}: inject to {}", host.name(), plan.to);
    let theirs = plan.clone();
    host.run(move || send_all(&theirs))
        .map_err(WorldError::doing(failing()))?
        .map_err(WorldError::doing(failing()))
}

fn send_all(plan: &Inject) -> Result<(), WorldError> {
    let to = client::parse_address(&plan.to)?;
    let from = match &plan.from {
        Some(text) => text
            .parse()
            .map_err(WorldError::doing(format!("\"{text}\" is no IP address")))?,
        None => own_address(to).map_err(WorldError::doing("finding the own address"))?,
    };
    let sender = Sender::open(plan, to)?;
    let first = plan.source_port.unwrap_or(FIRST_PORT);
    let mut refused = 0;
    for number in 0..plan.count.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            std::thread::sleep(pause.0);
        }
        let step = if plan.distinct_ports {
            u16::try_from(number % 20_000).unwrap_or(0)
        } else {
            0
        };
        let packet = build(&PacketPlan {
            from: SocketAddr::new(from, first.wrapping_add(step)),
            to,
            segment: plan.segment,
            bytes: plan.bytes.unwrap_or(32),
            bad_checksum: plan.bad_checksum,
        })
        .ok_or_else(|| {
            WorldError::new("the packet cannot be built: mixed address families, or too long")
        })?;
        match sender.send(&packet) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused += 1,
            Err(error) => return Err(WorldError::doing("sending")(error)),
        }
    }
    client::check_refused(plan.refused, refused)
}

/// The source address that the kernel would choose: that of a connected UDP socket, which sends nothing.
fn own_address(to: SocketAddr) -> io::Result<IpAddr> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

enum Sender {
    Raw {
        socket: Socket,
        to: SocketAddr,
    },
    Packet {
        socket: transect_sys::PacketSocket,
        /// Destination, source, EtherType.
        header: [u8; 14],
    },
}

impl Sender {
    fn open(plan: &Inject, to: SocketAddr) -> Result<Self, WorldError> {
        if plan.via == Via::Raw {
            let protocol = Protocol::from(libc::IPPROTO_RAW);
            let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))
                .map_err(WorldError::doing("opening a raw socket"))?;
            // raw(7): the packet brings its own header; the port must be 0 (ipv6(7)).
            return Ok(Sender::Raw {
                socket,
                to: SocketAddr::new(to.ip(), 0),
            });
        }
        let dev = plan
            .dev
            .as_deref()
            .ok_or_else(|| WorldError::new("`packet` needs `dev`"))?;
        let to_mac = plan
            .to_mac
            .as_deref()
            .ok_or_else(|| WorldError::new("`packet` needs `to_mac`"))?;
        let link = Link::find(dev)?;
        let socket = transect_sys::PacketSocket::open(link.index, plan.via == Via::PacketBypass)
            .map_err(WorldError::doing(format!(
                "opening a packet socket on {dev}"
            )))?;
        let mut header = [0; 14];
        header[..6].copy_from_slice(&parse_mac(to_mac)?);
        header[6..12].copy_from_slice(&link.mac);
        let ether_type: u16 = if to.is_ipv4() { 0x0800 } else { 0x86dd };
        header[12..].copy_from_slice(&ether_type.to_be_bytes());
        Ok(Sender::Packet { socket, header })
    }

    fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self {
            Sender::Raw { socket, to } => {
                socket.send_to(packet, &(*to).into())?;
                Ok(())
            }
            Sender::Packet { socket, header } => socket.send(&[header, packet].concat()),
        }
    }
}

/// An interface of the calling thread's namespace.
struct Link {
    index: u32,
    mac: [u8; 6],
}

impl Link {
    /// By name. /sys shows the namespace in which it was mounted, so it is of no use here.
    fn find(name: &str) -> Result<Self, WorldError> {
        let output = std::process::Command::new("ip")
            .args(["-j", "link", "show", "dev", name])
            .output()
            .map_err(|error| super::command::start_error("ip", &error))?;
        let parsed: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(WorldError::doing(format!("ip -j link show dev {name}")))?;
        let index = parsed[0]["ifindex"].as_u64();
        let index = index.and_then(|index| u32::try_from(index).ok());
        let mac = parsed[0]["address"].as_str();
        match (index, mac) {
            (Some(index), Some(mac)) => Ok(Link {
                index,
                mac: parse_mac(mac)?,
            }),
            _ => Err(WorldError(format!("there is no interface {name}"))),
        }
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], WorldError> {
    let wrong = || {
        WorldError(format!(
            "\"{text}\" is no MAC address; expected six hexadecimal bytes with colons"
        ))
    };
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}
