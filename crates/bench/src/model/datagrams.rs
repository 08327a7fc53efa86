//! Small packets: UDP datagrams from a socket of one host to a socket of the other.

use anyhow::{Result, ensure};
use transect_bench::{CLIENT, Pair, SERVER, server_address};
use transect_config::IpVersion;
use transect_host::{Features, SocketAddress, SocketKind};

/// Payload bytes: with the headers of UDP, IPv4 and Ethernet a frame of the least length, 60 bytes without its check sequence.
const PAYLOAD: usize = 18;
/// What the client sends before the server reads: fits a socket's receive buffer.
const BATCH: u64 = 64;

/// Sends so many thousand datagrams, one call each, through everything that both hosts have: `sendto`, the sender's whole path, a
/// link, the receiver's whole path, `recvfrom`. An error where not all of them arrive.
pub(crate) fn datagrams(thousands: u64, journeys: bool) -> Result<()> {
    let count = thousands * 1000;
    let mut pair = Pair::new(Features::NONE, journeys)?;
    let told = |errno: transect_host::Errno| anyhow::anyhow!("a call: {}", errno.id());
    let server = pair.hosts[SERVER]
        .socket(SocketKind::Udp, IpVersion::V4)
        .map_err(told)?;
    let any = SocketAddress::new(std::net::Ipv4Addr::UNSPECIFIED, 9);
    pair.hosts[SERVER].bind(server, any).map_err(told)?;
    let client = pair.hosts[CLIENT]
        .socket(SocketKind::Udp, IpVersion::V4)
        .map_err(told)?;
    pair.hosts[CLIENT]
        .connect(pair.now, client, server_address(9))
        .map_err(told)?;
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; PAYLOAD];
    while sent < count {
        for _ in 0..BATCH.min(count - sent) {
            pair.hosts[CLIENT]
                .send_to(pair.now, client, &[0xa5; PAYLOAD], None)
                .map_err(told)?;
            sent += 1;
        }
        pair.settle();
        while let Ok((PAYLOAD, _)) = pair.hosts[SERVER].receive_from(pair.now, server, &mut buffer)
        {
            received += 1;
        }
    }
    ensure!(received == count, "{received} of {count} datagrams arrived");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_arrives() {
        datagrams(1, true).unwrap();
        datagrams(1, false).unwrap();
    }
}
