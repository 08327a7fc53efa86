//! The packets of a capture in words that are the same in both worlds: flows are numbered, sequence numbers relative.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::IpAddr;
use std::path::Path;

use transect_packet::{
    CaptureReader, Dissection, Endpoint, IpHeader, Network, SequenceNumber, TcpHeader, Transport,
    dissect,
};
use transect_path::Timestamp;

/// The packets at each tap, by its name.
pub(super) type Taps = BTreeMap<String, Vec<Seen>>;

/// One packet at a tap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) words: String,
}

/// Reads a capture.
pub(super) fn read(path: &Path) -> Result<Taps, String> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut reader =
        CaptureReader::new(BufReader::new(file), &shown).map_err(|error| error.to_string())?;
    let mut taps: BTreeMap<(usize, String), Vec<Seen>> = BTreeMap::new();
    let mut flows = Flows::default();
    while let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
        let dissection = dissect(frame.link, frame.data, frame.original_length);
        let direction = frame
            .direction
            .map_or_else(|| "?".to_owned(), |direction| direction.to_string());
        let seen = Seen {
            at: frame.time,
            words: flows.words(&dissection),
        };
        taps.entry((frame.interface, direction))
            .or_default()
            .push(seen);
    }
    let names: Vec<String> = reader
        .interfaces()
        .iter()
        .map(|interface| interface.name.clone().unwrap_or_default())
        .collect();
    let named = taps.into_iter().map(|((interface, direction), packets)| {
        let name = names.get(interface).map(String::as_str).unwrap_or("?");
        (format!("{name} {direction}"), packets)
    });
    Ok(named.collect())
}

/// The flows of a capture in the order of their first packets.
#[derive(Debug, Default)]
struct Flows {
    known: BTreeMap<(Endpoint, Endpoint), Flow>,
}

#[derive(Debug)]
struct Flow {
    number: usize,
    /// Who spoke first.
    first: Endpoint,
    /// The first sequence number of each side, by whether it is that of who spoke first.
    origins: [Option<SequenceNumber>; 2],
}

impl Flows {
    fn words(&mut self, dissection: &Dissection<'_>) -> String {
        match &dissection.network {
            Network::Ip(ip) => self.ip(ip),
            Network::Arp(arp) => {
                format!("arp {:?} {} from {}", arp.operation, arp.target, arp.sender)
            }
            Network::Other(kind) => format!("ethertype {kind:#06x}"),
            Network::Truncated => "too short".to_owned(),
        }
    }

    fn ip(&mut self, ip: &IpHeader<'_>) -> String {
        let fragment = match &ip.fragment {
            Some(fragment) => format!(" fragment {}", fragment.offset),
            None => String::new(),
        };
        match &ip.transport {
            Transport::Tcp(tcp) => self.tcp(ip, tcp),
            Transport::Udp(udp) => {
                let ends = [
                    Endpoint::new(ip.source, udp.source_port),
                    Endpoint::new(ip.destination, udp.destination_port),
                ];
                let (flow, back) = self.flow(ends);
                let number = flow.number;
                format!(
                    "{} udp {} bytes{fragment}",
                    arrow(number, back),
                    udp.payload_length()
                )
            }
            Transport::Icmp(icmp) => format!(
                "icmp type {} code {}{}",
                icmp.kind,
                icmp.code,
                to(ip.destination)
            ),
            Transport::Fragment | Transport::Other | Transport::Truncated => format!(
                "ip protocol {} {} bytes{fragment}",
                ip.protocol,
                ip.payload_length()
            ),
        }
    }

    fn tcp(&mut self, ip: &IpHeader<'_>, tcp: &TcpHeader<'_>) -> String {
        let ends = [
            Endpoint::new(ip.source, tcp.source_port),
            Endpoint::new(ip.destination, tcp.destination_port),
        ];
        let (flow, back) = self.flow(ends);
        let [first, second] = &mut flow.origins;
        let (own, peer) = if back {
            (second, first)
        } else {
            (first, second)
        };
        if tcp.flags.syn() {
            *own = Some(tcp.sequence);
        }
        let origin = *own.get_or_insert(tcp.sequence);
        let sequence = i64::from(tcp.sequence.offset_from(origin));
        let mut words = format!(
            "{} {} {sequence}:{}",
            arrow(flow.number, back),
            tcp.flags,
            sequence.saturating_add(i64::from(tcp.payload_length))
        );
        if tcp.flags.ack() {
            let origin = *peer.get_or_insert(tcp.acknowledgment);
            words.push_str(&format!(" ack {}", tcp.acknowledgment.offset_from(origin)));
        }
        words
    }

    /// The flow between two ends, and whether this packet goes against its first one.
    fn flow(&mut self, [source, destination]: [Endpoint; 2]) -> (&mut Flow, bool) {
        let key = if source <= destination {
            (source, destination)
        } else {
            (destination, source)
        };
        let number = self.known.len() + 1;
        let flow = self.known.entry(key).or_insert(Flow {
            number,
            first: source,
            origins: [None; 2],
        });
        let back = flow.first != source;
        (flow, back)
    }
}

fn arrow(number: usize, back: bool) -> String {
    format!("#{number} {}", if back { "<" } else { ">" })
}

/// Multicast and link-local destinations are made from MAC addresses; they are the same in both worlds.
fn to(destination: IpAddr) -> String {
    format!(" to {destination}")
}
