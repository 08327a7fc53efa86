//! Sending packets past the sockets, as the kernel world does it (`world/inject.rs`).

use std::net::{IpAddr, SocketAddr};

use transect_config::IpVersion;
use transect_host::{Errno, SocketAddress, SocketKind, SocketOption};
use transect_packet::MacAddress;

use super::client::{check_refused, parse_address};
use super::socket::{CallError, Socket, Sockets};
use crate::error::WorldError;
use crate::packet::{PacketPlan, build};
use crate::scenario::{Inject, Via};

const FIRST_PORT: u16 = 40000;
/// `IPPROTO_RAW`: the program brings the IP header along.
const IPPROTO_RAW: u8 = 255;

/// Sends what the step says.
pub(super) async fn inject(sockets: &Sockets, plan: &Inject) -> Result<(), WorldError> {
    let failing = format!("inject to {}", plan.to);
    let to = parse_address(&plan.to)?;
    let from = match &plan.from {
        Some(text) => text
            .parse()
            .map_err(WorldError::doing(format!("\"{text}\" is no IP address")))?,
        None => own_address(sockets, to)
            .await
            .map_err(|error| error.doing("finding the own address"))?,
    };
    let sender = Sender::open(sockets, plan, to).map_err(|error| error.doing(&failing))?;
    let sent = send_all(&sender, plan, from, to).await;
    sender.socket.close()?;
    sent.map_err(|error| error.doing(&failing))
}

async fn send_all(
    sender: &Sender,
    plan: &Inject,
    from: IpAddr,
    to: SocketAddress,
) -> Result<(), CallError> {
    let first = plan.source_port.unwrap_or(FIRST_PORT);
    let mut refused = 0;
    for number in 0..plan.count.unwrap_or(1) {
        if number > 0
            && let Some(pause) = plan.interval
        {
            sender.socket.clock().sleep(pause.0).await;
        }
        let step = if plan.distinct_ports {
            u16::try_from(number % 20_000).unwrap_or(0)
        } else {
            0
        };
        let packet = build(&PacketPlan {
            from: SocketAddr::new(from, first.wrapping_add(step)),
            to: SocketAddr::new(to.address, to.port),
            segment: plan.segment,
            bytes: plan.bytes.unwrap_or(32),
            bad_checksum: plan.bad_checksum,
        })
        .ok_or_else(|| {
            WorldError::new("the packet cannot be built: mixed address families, or too long")
        })?;
        match sender.send(&packet).await {
            Ok(()) => {}
            Err(CallError::Errno(Errno::Eperm)) => refused += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(check_refused(plan.refused, refused)?)
}

/// The source address that the kernel would choose: that of a connected UDP socket, which sends nothing.
async fn own_address(sockets: &Sockets, to: SocketAddress) -> Result<IpAddr, CallError> {
    let socket = sockets.open(SocketKind::Udp, IpVersion::of(to.address))?;
    let connected = socket.connect(to, None).await;
    let address = socket.local_address()?;
    socket.close()?;
    connected?;
    Ok(address
        .map(|own| own.address)
        .ok_or_else(|| WorldError::new("the socket has no address"))?)
}

/// The socket, and what goes before the packet or beside it.
struct Sender {
    socket: Socket,
    to: Option<SocketAddress>,
    /// For a packet socket: destination, source, EtherType.
    header: Vec<u8>,
}

impl Sender {
    fn open(sockets: &Sockets, plan: &Inject, to: SocketAddress) -> Result<Self, CallError> {
        let version = IpVersion::of(to.address);
        if plan.via == Via::Raw {
            let kind = SocketKind::Raw {
                protocol: IPPROTO_RAW,
                header_included: true,
            };
            return Ok(Sender {
                socket: sockets.open(kind, version)?,
                to: Some(SocketAddress::new(to.address, 0)),
                header: Vec::new(),
            });
        }
        let needs = |what: &str| WorldError(format!("`packet` needs `{what}`"));
        let dev = plan.dev.as_deref().ok_or_else(|| needs("dev"))?;
        let to_mac = plan.to_mac.as_deref().ok_or_else(|| needs("to_mac"))?;
        let own = sockets.clock.call(sockets.node, |host, _| {
            host.config().link(dev).and_then(|link| link.mac)
        })?;
        let own = own.ok_or_else(|| WorldError(format!("there is no interface {dev}")))?;
        let socket = sockets.open(
            SocketKind::Packet {
                bypass: plan.via == Via::PacketBypass,
            },
            version,
        )?;
        socket.set(SocketOption::BindToDevice(dev.to_owned()))?;
        let ether_type: u16 = match version {
            IpVersion::V4 => 0x0800,
            IpVersion::V6 => 0x86dd,
        };
        let mut header = mac(to_mac)?.to_vec();
        header.extend(own);
        header.extend(ether_type.to_be_bytes());
        Ok(Sender {
            socket,
            to: None,
            header,
        })
    }

    async fn send(&self, packet: &[u8]) -> Result<(), CallError> {
        let bytes = [&self.header, packet].concat();
        self.socket.send_to(&bytes, self.to).await
    }
}

fn mac(text: &str) -> Result<[u8; 6], WorldError> {
    let address: MacAddress = text
        .parse()
        .map_err(WorldError::doing(format!("\"{text}\"")))?;
    Ok(address.0)
}
