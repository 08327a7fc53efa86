//! Two model hosts and a link without delay, as fast as they go.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, default_policy_rules};
use transect_host::{
    DeviceId, DeviceKind, DeviceSetup, Errno, Event, Features, Host, HostSetup, Packet,
    SocketAddress, SocketId, SocketKind, SocketOption,
};
use transect_path::Timestamp;

/// The host that connects, as an index of [`Pair::hosts`].
pub const CLIENT: usize = 0;
/// The host that listens.
pub const SERVER: usize = 1;
/// `eth0` of either host.
const DEVICE: DeviceId = DeviceId(1);
/// What the clock moves on with every exchange of frames: nothing takes time here, but no two exchanges are one moment.
const STEP: Duration = Duration::from_micros(10);

/// Where the server's sockets are.
pub fn server_address(port: u16) -> SocketAddress {
    SocketAddress::new(Ipv4Addr::new(10, 0, 0, 2), port)
}

/// Two hosts on one link.
#[derive(Debug)]
pub struct Pair {
    /// Client and server.
    pub hosts: [Host; 2],
    /// The time at both.
    pub now: Timestamp,
    /// How many frames have arrived at either host.
    pub frames: u64,
    batch: Vec<Packet>,
}

impl Pair {
    /// Hosts as they have just booted: Linux's defaults, an MTU of 1500, no rules. The neighbours are known.
    ///
    /// # Errors
    /// A configuration that the hosts refuse.
    pub fn new(features: Features, journeys: bool) -> Result<Self> {
        let boot = Timestamp(1_000_000_000_000);
        Ok(Pair {
            hosts: [
                host(1, 2, features, journeys, boot)?,
                host(2, 1, features, journeys, boot)?,
            ],
            now: boot + Duration::from_secs(300),
            frames: 0,
            batch: Vec::new(),
        })
    }

    /// A TCP socket of the server's that listens.
    ///
    /// # Errors
    /// What the host says.
    pub fn listen(&mut self, port: u16, backlog: u32) -> Result<SocketId> {
        let now = self.now;
        let server = &mut self.hosts[SERVER];
        let listener = told(server.socket(SocketKind::Tcp, IpVersion::V4))?;
        let any = SocketAddress::new(Ipv4Addr::UNSPECIFIED, port);
        told(server.bind(listener, any))?;
        told(server.listen(now, listener, backlog))?;
        Ok(listener)
    }

    /// A connection, established and accepted: the client's socket and the server's.
    ///
    /// # Errors
    /// What the hosts say; a handshake that does not end.
    pub fn connect(
        &mut self,
        listener: SocketId,
        port: u16,
        options: &[SocketOption],
    ) -> Result<(SocketId, SocketId)> {
        let now = self.now;
        let host = &mut self.hosts[CLIENT];
        let client = told(host.socket(SocketKind::Tcp, IpVersion::V4))?;
        for option in options {
            told(host.set_option(client, option.clone()))?;
        }
        match host.connect(now, client, server_address(port)) {
            Ok(()) | Err(Errno::Einprogress) => {}
            Err(errno) => return Err(failed(errno)),
        }
        self.settle();
        let (server, _) = told(self.hosts[SERVER].accept(self.now, listener))?;
        Ok((client, server))
    }

    /// Carries frames, all that wait at a host in one batch, until none is under way; events are thrown away.
    pub fn settle(&mut self) {
        self.settle_with(|_, _, _, _| {});
    }

    /// Likewise, with what programs do about events: called with the hosts, the moment, whose event it is, and the event.
    pub fn settle_with(
        &mut self,
        mut program: impl FnMut(&mut [Host; 2], Timestamp, usize, Event),
    ) {
        loop {
            let mut moved = false;
            for from in [CLIENT, SERVER] {
                while let Some((_, packet)) = self.hosts[from].poll_transmit() {
                    self.batch.push(packet);
                }
                let to = 1 - from;
                if !self.batch.is_empty() {
                    moved = true;
                    self.frames += self.batch.len() as u64;
                    self.hosts[to].handle_frames(self.now, DEVICE, self.batch.drain(..));
                }
                for host in [from, to] {
                    while let Some(event) = self.hosts[host].poll_event() {
                        program(&mut self.hosts, self.now, host, event);
                    }
                }
            }
            if !moved {
                return;
            }
            self.now = self.now + STEP;
            self.handle_timeouts();
        }
    }

    /// Lets the clock go on to the next deadline of either host, and what comes of it.
    ///
    /// # Errors
    /// There is no deadline: nothing will ever happen again.
    pub fn advance(&mut self) -> Result<()> {
        let next = self.hosts.iter().filter_map(Host::poll_timeout).min();
        self.now = self.now.max(next.context("both hosts wait for ever")?);
        self.handle_timeouts();
        Ok(())
    }

    fn handle_timeouts(&mut self) {
        for host in &mut self.hosts {
            if host.poll_timeout().is_some_and(|due| due <= self.now) {
                host.handle_timeout(self.now);
            }
        }
    }
}

/// An error of a host's, as one of this program's.
fn told<T>(result: Result<T, Errno>) -> Result<T> {
    result.map_err(failed)
}

fn failed(errno: Errno) -> anyhow::Error {
    anyhow!("the model host says {}", errno.id())
}

fn host(own: u8, peer: u8, features: Features, journeys: bool, boot: Timestamp) -> Result<Host> {
    let setup = HostSetup {
        number: u16::from(own),
        config: configuration(own, peer)?,
        rules: RuleSet::default(),
        devices: vec![DeviceSetup {
            name: "eth0".to_owned(),
            kind: DeviceKind::Ethernet,
            features,
        }],
        seed: u64::from(own),
        hz: 250,
        boot,
        journeys,
    };
    Ok(Host::new(setup)?)
}

fn configuration(own: u8, peer: u8) -> Result<HostConfig> {
    let links = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
        "mtu":1500,"link_type":"ether","address":"02:00:00:00:00:0{own}","linkinfo":{{"info_kind":"veth"}}}}]"#
    );
    let addresses = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","addr_info":[{{"family":"inet","local":"10.0.0.{own}",
        "prefixlen":24,"broadcast":"10.0.0.255","scope":"global"}}]}}]"#
    );
    let routes = format!(
        "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.{own}
local 10.0.0.{own} dev eth0 table local proto kernel scope host src 10.0.0.{own}"
    );
    let neighbors = format!("10.0.0.{peer} dev eth0 lladdr 02:00:00:00:00:0{peer} PERMANENT");
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(&links),
        ConfigText::Ip(&addresses),
        ConfigText::Routes(IpVersion::V4, &routes),
        ConfigText::Ip(&neighbors),
    ] {
        let problems = config.absorb(text);
        ensure!(problems.is_empty(), "the configuration: {problems:?}");
    }
    config.policy_rules4 = Some(default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(default_policy_rules(IpVersion::V6));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_and_both_hosts_come_to_rest() {
        let mut pair = Pair::new(Features::NONE, true).unwrap();
        let listener = pair.listen(80, 10).unwrap();
        let (client, server) = pair.connect(listener, 80, &[]).unwrap();
        let now = pair.now;
        assert_eq!(pair.hosts[CLIENT].write(now, client, b"hello"), Ok(5));
        pair.settle();
        let mut buffer = [0; 16];
        assert_eq!(
            pair.hosts[SERVER].read(pair.now, server, &mut buffer),
            Ok(5)
        );
        assert_eq!(&buffer[..5], b"hello");
        // Handshake, data, and its acknowledgement (delayed or not).
        while pair.frames < 5 {
            pair.advance().unwrap();
            pair.settle();
        }
        assert_eq!(pair.frames, 5);
    }
}
