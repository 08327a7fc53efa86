//! Connection tracking entries, as `conntrack -L` and /proc/net/nf_conntrack show them.

use std::net::IpAddr;

use crate::parse::Parsed;
use crate::prefix::IpVersion;
use crate::text::{Words, fitting};

/// Reads `conntrack -L [-o extended]`, `conntrack -E`'s entries without their event, and /proc/net/nf_conntrack.
pub fn read_conntrack(text: &str) -> Parsed<Vec<ConntrackEntry>> {
    let mut parsed: Parsed<Vec<ConntrackEntry>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        // "conntrack v1.4.7 (conntrack-tools): 6 flow entries have been shown."
        if line.trim().is_empty() || line.starts_with("conntrack v") {
            continue;
        }
        match entry(line) {
            Some(entry) => parsed.value.push(entry),
            None => parsed.problem(
                number + 1,
                "an entry, such as \"tcp 6 119 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 …\"",
                line,
            ),
        }
    }
    parsed
}

/// One tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// Network layer, by the addresses.
    pub version: IpVersion,
    /// IP protocol number.
    pub protocol: u8,
    /// Seconds until it expires; None for one that does not say.
    pub timeout: Option<u64>,
    /// Protocol state: `SYN_SENT`, `ESTABLISHED`, …; None for protocols without.
    pub state: Option<String>,
    /// As the first packet went.
    pub original: ConntrackTuple,
    /// As the answers come; differs from the reversed original where addresses are translated.
    pub reply: Option<ConntrackTuple>,
    /// `UNREPLIED`, `ASSURED`, `OFFLOAD`, ….
    pub flags: Vec<String>,
    /// Connection mark.
    pub mark: Option<u32>,
    /// Zone.
    pub zone: Option<u16>,
    /// References.
    pub uses: Option<u32>,
}

/// One direction of a tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// ICMP echo identifier.
    pub icmp_id: Option<u16>,
    /// Packets seen (with nf_conntrack_acct).
    pub packets: Option<u64>,
    /// Bytes seen.
    pub bytes: Option<u64>,
}

impl ConntrackEntry {
    /// Whether the flag is set (`UNREPLIED`, `ASSURED`).
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// The source is rewritten: answers do not go to the original source.
    pub fn is_source_translated(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| {
            reply.destination != self.original.source
                || reply.destination_port != self.original.source_port
        })
    }

    /// The destination is rewritten: answers do not come from the original destination.
    pub fn is_destination_translated(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| {
            reply.source != self.original.destination
                || reply.source_port != self.original.destination_port
        })
    }
}

/// `[ipv4 2] tcp 6 [119] [SYN_SENT] src=… dst=… … [UNREPLIED] src=… dst=… … [ASSURED] mark=0 use=1`
fn entry(line: &str) -> Option<ConntrackEntry> {
    let mut words = Words::new(line);
    if matches!(words.peek(), Some("ipv4" | "ipv6")) {
        words.next();
        words.next();
    }
    let _name = words.next()?;
    let protocol = words.value()?;
    let timeout = match words.peek().and_then(|word| word.parse().ok()) {
        Some(timeout) => {
            words.next();
            Some(timeout)
        }
        None => None,
    };
    let mut state = None;
    let mut flags = Vec::new();
    let mut tuples: Vec<Fields> = Vec::new();
    let (mut mark, mut zone, mut uses) = (None, None, None);
    for word in words {
        if let Some(flag) = word.strip_prefix('[') {
            flags.push(flag.trim_end_matches(']').to_owned());
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            if tuples.is_empty() {
                state = Some(word.to_owned());
            }
            continue;
        };
        match key {
            "src" => tuples.push(Fields {
                source: Some(value.parse().ok()?),
                ..Fields::default()
            }),
            "mark" => mark = fitting(value),
            // Of one direction only where it stands inside a tuple (`zone-orig`, `zone-reply`).
            "zone" => zone = fitting(value),
            "use" => uses = fitting(value),
            _ => tuples.last_mut()?.take(key, value)?,
        }
    }
    let mut tuples = tuples.into_iter();
    let original = tuples.next()?.tuple()?;
    Some(ConntrackEntry {
        version: IpVersion::of(original.source),
        protocol,
        timeout,
        state,
        original,
        reply: tuples.next().and_then(Fields::tuple),
        flags,
        mark,
        zone,
        uses,
    })
}

/// A tuple being read.
#[derive(Default)]
struct Fields {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    icmp_id: Option<u16>,
    packets: Option<u64>,
    bytes: Option<u64>,
}

impl Fields {
    /// Takes one field; None: a number that is none.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "dst" => self.destination = Some(value.parse().ok()?),
            "sport" => self.source_port = Some(value.parse().ok()?),
            "dport" => self.destination_port = Some(value.parse().ok()?),
            "type" => self.icmp_type = Some(value.parse().ok()?),
            "code" => self.icmp_code = Some(value.parse().ok()?),
            // `-o id` puts the entry's own id, beyond 16 bits, at the very end.
            "id" if self.icmp_id.is_none() => self.icmp_id = value.parse().ok(),
            "packets" => self.packets = Some(value.parse().ok()?),
            "bytes" => self.bytes = Some(value.parse().ok()?),
            _ => {}
        }
        Some(())
    }

    fn tuple(self) -> Option<ConntrackTuple> {
        Some(ConntrackTuple {
            source: self.source?,
            destination: self.destination?,
            source_port: self.source_port,
            destination_port: self.destination_port,
            // Ports are there for other protocols; an id beside ports is the entry's own.
            icmp_id: self.icmp_id.filter(|_| self.icmp_type.is_some()),
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            packets: self.packets,
            bytes: self.bytes,
        })
    }
}
