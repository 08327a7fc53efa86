//! The link layer on its own: frames in, frames out, in virtual time.

mod any;
mod bridges;
mod neighbors;
mod receiving;
mod sending;
mod wire;
mod xdp;

use std::net::IpAddr;

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, NeighborState};
use transect_packet::{LinkType, MacAddress, Network, dissect};
use transect_path::{Point, Timestamp};

use crate::device::{DeviceId, DeviceKind, Features};
use crate::drop_reason::DropReason;
use crate::host::{DeviceSetup, Host, HostSetup};
use crate::ip::bytes::finish_ipv4_header;
use crate::packet::{ChecksumState, Packet, Segmentation};
use crate::socket::Errno;

const ETH0: DeviceId = DeviceId(1);
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

const LINKS: &str = r#"[{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],
"mtu":1500,"link_type":"ether","address":"02:00:00:00:00:01","linkinfo":{"info_kind":"veth"}}]"#;
const ADDRESSES: &str = r#"[{"ifindex":2,"ifname":"eth0","addr_info":[
{"family":"inet","local":"10.0.0.1","prefixlen":24,"broadcast":"10.0.0.255","scope":"global"},
{"family":"inet6","local":"fd00::1","prefixlen":64,"scope":"global"},
{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
const ROUTES: &str = "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1
local 10.0.0.1 dev eth0 table local proto kernel scope host src 10.0.0.1
broadcast 10.0.0.255 dev eth0 table local proto kernel scope link src 10.0.0.1";

fn config() -> HostConfig {
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(LINKS),
        ConfigText::Ip(ADDRESSES),
        ConfigText::Routes(IpVersion::V4, ROUTES),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    config.policy_rules4 = Some(transect_config::default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(transect_config::default_policy_rules(IpVersion::V6));
    config
}

fn host_of(config: HostConfig, features: Features) -> Host {
    let names = config.links.iter().flatten().map(|link| link.name.clone());
    let devices = names.filter(|name| name != "lo").map(|name| DeviceSetup {
        kind: if name.starts_with("br") {
            DeviceKind::Bridge
        } else {
            DeviceKind::Ethernet
        },
        name,
        features,
    });
    let mut host = Host::new(HostSetup {
        number: 0,
        devices: devices.collect(),
        config,
        rules: RuleSet::default(),
        seed: 7,
        hz: 250,
        boot: Timestamp(0),
        journeys: true,
    })
    .unwrap();
    host.keep_deaths(true);
    host
}

fn host() -> Host {
    host_of(config(), Features::VETH)
}

/// A UDP datagram of that many bytes of payload.
fn datagram(destination: [u8; 4], payload: usize) -> Packet {
    let length = u16::try_from(28 + payload).unwrap().to_be_bytes();
    let mut bytes = vec![
        0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1,
    ];
    bytes.extend(destination);
    let length = u16::try_from(8 + payload).unwrap().to_be_bytes();
    bytes.extend([0x30, 0x39, 0, 9, length[0], length[1], 0, 0]);
    bytes.resize(28 + payload, 0xab);
    finish_ipv4_header(&mut bytes);
    let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp(0));
    packet.checksum = ChecksumState::Partial;
    packet
}

/// A TCP segment with timestamps-sized options.
fn segment(sequence: u32, flags: u8, payload: usize) -> Packet {
    let length = u16::try_from(52 + payload).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![
        0x45, 0, length[0], length[1], 0xff, 0xff, 0x40, 0, 64, 6, 0, 0,
    ];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend((0..payload).map(|number| (number % 251) as u8));
    finish_ipv4_header(&mut bytes);
    let mut packet = Packet::outgoing(IpVersion::V4, &bytes, Timestamp(0));
    packet.checksum = ChecksumState::Partial;
    packet
}

fn send(host: &mut Host, seconds: f64, to: [u8; 4], packet: Packet) -> Result<(), Errno> {
    host.begin(Timestamp((seconds * 1e9) as u64));
    host.stack.resolve(ETH0, IpAddr::from(to), packet)
}

/// The frames that have left, described.
fn sent(host: &mut Host) -> Vec<String> {
    std::iter::from_fn(|| host.poll_transmit())
        .map(|(_, packet)| describe(packet.frame()))
        .collect()
}

fn describe(frame: &[u8]) -> String {
    let dissection = dissect(LinkType::ETHERNET, frame, frame.len() as u32);
    let to = dissection.link.destination.unwrap();
    match dissection.network {
        Network::Arp(arp) => {
            format!(
                "{to} ARP {:?} {} {} for {}",
                arp.operation, arp.sender, arp.sender_mac, arp.target
            )
        }
        Network::Ip(ip) => format!("{to} IP {} {} bytes", ip.destination, frame.len()),
        other => format!("{to} {other:?}"),
    }
}

/// Runs every deadline until the moment, and tells when frames left.
fn run_until(host: &mut Host, seconds: f64) -> Vec<(f64, String)> {
    let end = Timestamp((seconds * 1e9) as u64);
    let mut all = Vec::new();
    while let Some(at) = host.poll_timeout().filter(|at| *at <= end) {
        host.handle_timeout(at);
        all.extend(
            sent(host)
                .into_iter()
                .map(|frame| (at.as_secs_f64(), frame)),
        );
    }
    all
}

fn deaths(host: &mut Host) -> Vec<(Point, DropReason)> {
    std::iter::from_fn(|| host.poll_death())
        .map(|death| (death.point, death.reason))
        .collect()
}

fn know_peer(host: &mut Host) {
    host.reconfigure(Timestamp(0), |config| {
        let text = "10.0.0.2 dev eth0 lladdr 02:00:00:00:00:02 PERMANENT";
        assert_eq!(config.absorb(ConfigText::Ip(text)), []);
    });
}

#[test]
fn neighbours_features_and_counters_are_read_back() {
    let mut host = host();
    know_peer(&mut host);
    send(&mut host, 0.0, [10, 0, 0, 9], datagram([10, 0, 0, 9], 10)).unwrap();
    let read = transect_config::read_neighbors(&host.neighbor_json());
    assert_eq!(read.problems, []);
    let states: Vec<_> = read
        .value
        .iter()
        .map(|one| (one.mac, one.states.clone()))
        .collect();
    assert_eq!(
        states,
        [
            (Some(PEER.0), vec![NeighborState::Permanent]),
            (None, vec![NeighborState::Incomplete]),
        ]
    );
    let features = transect_config::read_features(&host.features_text("eth0"));
    assert_eq!(features.problems, []);
    let on = |name: &str| {
        features
            .value
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.on)
    };
    assert_eq!(on("tcp-segmentation-offload"), Some(true));
    assert_eq!(on("generic-receive-offload"), Some(false));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let setup = |name: &str, config: HostConfig| HostSetup {
        number: 0,
        config,
        rules: RuleSet::default(),
        devices: vec![DeviceSetup {
            name: name.to_owned(),
            kind: DeviceKind::Ethernet,
            features: Features::VETH,
        }],
        seed: 0,
        hz: 250,
        boot: Timestamp(0),
        journeys: false,
    };
    let error = |name: &str, config| Host::new(setup(name, config)).unwrap_err().to_string();
    assert_eq!(
        error("eth1", config()),
        "the configuration has no link eth1"
    );
    assert_eq!(error("lo", config()), "there are two devices called lo");
    let mut wrong = config();
    wrong.qdiscs = Some(vec![transect_config::Qdisc {
        device: "eth0".into(),
        kind: "fq".into(),
        parent: "root".into(),
        ..transect_config::Qdisc::default()
    }]);
    assert_eq!(
        error("eth0", wrong),
        "qdisc fq on eth0: the model knows noqueue, pfifo_fast, pfifo, bfifo, tbf and htb"
    );
}
