//! One TCP connection that carries so many bytes: between two model hosts, and between two sockets of smoltcp.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Loopback, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use transect_bench::{CLIENT, Pair, SERVER};
use transect_host::{Errno, Event, Features};

/// Who carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    /// Two model hosts that leave nothing to their devices; every packet carries its journey.
    Journeys,
    /// The same without journeys.
    Plain,
    /// Two model hosts with a veth's offloads, and GRO; every packet carries its journey.
    Offloads,
    /// smoltcp's loopback, which computes and verifies checksums.
    Smoltcp,
    /// smoltcp's loopback as it is: without checksums.
    SmoltcpUnchecked,
}

impl Carrier {
    /// What the tables call it.
    pub(crate) fn described(self) -> &'static str {
        match self {
            Carrier::Journeys => "model hosts, offloads off, journeys on",
            Carrier::Plain => "model hosts, offloads off, journeys off",
            Carrier::Offloads => "model hosts, GSO and GRO, journeys on",
            Carrier::Smoltcp => "smoltcp",
            Carrier::SmoltcpUnchecked => "smoltcp without checksums",
        }
    }
}

/// What a program gives to `write` or takes from `read` at once.
const CHUNK: usize = 64 << 10;

/// Carries so many MiB; an error where not all of them arrive.
pub(crate) fn transfer(carrier: Carrier, mebibytes: u64) -> Result<()> {
    let bytes = mebibytes << 20;
    let offloads = Features {
        gro: true,
        ..Features::VETH
    };
    match carrier {
        Carrier::Journeys => by_hosts(Features::NONE, true, bytes),
        Carrier::Plain => by_hosts(Features::NONE, false, bytes),
        Carrier::Offloads => by_hosts(offloads, true, bytes),
        Carrier::Smoltcp => by_smoltcp(ChecksumCapabilities::default(), bytes),
        Carrier::SmoltcpUnchecked => by_smoltcp(ChecksumCapabilities::ignored(), bytes),
    }
}

fn by_hosts(features: Features, journeys: bool, bytes: u64) -> Result<()> {
    let mut pair = Pair::new(features, journeys)?;
    let listener = pair.listen(80, 16)?;
    let (client, server) = pair.connect(listener, 80, &[])?;
    let chunk = vec![0xa5; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let (mut sent, mut received) = (0, 0);
    while received < bytes {
        let before = (sent, received);
        let length = (bytes - sent).min(CHUNK as u64) as usize;
        if length > 0 {
            match pair.hosts[CLIENT].write(pair.now, client, &chunk[..length]) {
                Ok(written) => sent += written as u64,
                Err(Errno::Eagain) => {}
                Err(errno) => anyhow::bail!("write: {}", errno.id()),
            }
        }
        pair.settle_with(|hosts, now, whose, event| {
            if whose == SERVER && event == Event::Readable(server) {
                while let Ok(length @ 1..) = hosts[SERVER].read(now, server, &mut buffer) {
                    received += length as u64;
                }
            }
        });
        if (sent, received) == before {
            pair.advance()?;
        }
    }
    ensure!(received == bytes, "{received} of {bytes} bytes arrived");
    Ok(())
}

/// smoltcp's loopback with another MTU, and with or without checksums.
struct Wire {
    loopback: Loopback,
    checksum: ChecksumCapabilities,
}

impl Device for Wire {
    type RxToken<'a> = <Loopback as Device>::RxToken<'a>;
    type TxToken<'a> = <Loopback as Device>::TxToken<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.loopback.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.loopback.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.loopback.capabilities();
        // smoltcp counts the Ethernet header.
        capabilities.max_transmission_unit = 1514;
        capabilities.checksum = self.checksum.clone();
        capabilities
    }
}

/// As smoltcp's own example `loopback_benchmark` does it, with its buffers of 64 KiB.
fn by_smoltcp(checksum: ChecksumCapabilities, bytes: u64) -> Result<()> {
    let mut device = Wire {
        loopback: Loopback::new(Medium::Ethernet),
        checksum,
    };
    let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
    let mut interface = Interface::new(config, &mut device, Instant::now());
    interface.update_ip_addrs(|addresses| {
        // A list of one has room for one.
        let _ = addresses.push(IpCidr::new(IpAddress::v4(127, 0, 0, 1), 8));
    });
    let socket = || {
        Socket::new(
            SocketBuffer::new(vec![0; 65536]),
            SocketBuffer::new(vec![0; 65536]),
        )
    };
    let mut sockets = SocketSet::new(Vec::new());
    let server = sockets.add(socket());
    let client = sockets.add(socket());
    sockets.get_mut::<Socket>(server).listen(1234)?;
    let remote = (IpAddress::v4(127, 0, 0, 1), 1234);
    sockets
        .get_mut::<Socket>(client)
        .connect(interface.context(), remote, 65000)?;
    let chunk = vec![0xa5; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let (mut sent, mut received) = (0, 0);
    while received < bytes {
        interface.poll(Instant::now(), &mut device, &mut sockets);
        let socket = sockets.get_mut::<Socket>(server);
        while socket.can_recv() {
            received += socket.recv_slice(&mut buffer)? as u64;
        }
        let socket = sockets.get_mut::<Socket>(client);
        while socket.can_send() && sent < bytes {
            let length = (bytes - sent).min(CHUNK as u64) as usize;
            sent += socket.send_slice(&chunk[..length])? as u64;
        }
    }
    ensure!(received == bytes, "{received} of {bytes} bytes arrived");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_carries_everything() {
        for carrier in Carrier::value_variants() {
            transfer(*carrier, 2).unwrap();
        }
    }
}
