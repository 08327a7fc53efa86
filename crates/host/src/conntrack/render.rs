//! Connections and statistics as conntrack(8) prints them.

use std::fmt::Write as _;
use std::net::IpAddr;

use transect_packet::protocol;

use super::{Connection, Connections, ProtocolState, Status, Tuple};

impl Connections {
    /// As `conntrack -L -o extended` prints the entries, the newest place first; those that have ended are left out.
    pub(crate) fn entries_text(&self, jiffies: u64, hz: u64) -> String {
        let mut text = String::new();
        for (_, connection) in self.entries().rev() {
            if connection.timeout > jiffies {
                let seconds = (connection.timeout - jiffies) / hz.max(1);
                text.push_str(&connection.line(seconds));
                text.push('\n');
            }
        }
        text
    }

    /// As `conntrack -S` prints the statistics: the model has one processor.
    pub(crate) fn statistics_text(&self) -> String {
        let own = &self.statistics;
        format!(
            "cpu=0   \tfound={} invalid={} insert=0 insert_failed={} drop={} early_drop={} error={} search_restart=0 \
             clash_resolve=0 chaintoolong=0 \n",
            own.found, own.invalid, own.insert_failed, own.drop, own.early_drop, own.error
        )
    }
}

impl Connection {
    fn line(&self, seconds: u64) -> String {
        let network = match self.original.source {
            IpAddr::V4(_) => "ipv4     2",
            IpAddr::V6(_) => "ipv6     10",
        };
        let name = match self.original.protocol {
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            protocol::UDP_LITE => "udplite",
            protocol::ICMP => "icmp",
            protocol::ICMPV6 => "icmpv6",
            protocol::SCTP => "sctp",
            47 => "gre",
            _ => "unknown",
        };
        // Writing to a string cannot fail.
        let mut text = format!("{network} {name:<8} {} {seconds}", self.original.protocol);
        if let ProtocolState::Tcp(track) = &self.state {
            let _ = write!(text, " {}", track.state.name());
        }
        let _ = write!(text, " {}", tuple_text(&self.original));
        if !self.status.has(Status::SEEN_REPLY) {
            text.push_str(" [UNREPLIED]");
        }
        let _ = write!(text, " {}", tuple_text(&self.reply));
        if self.status.has(Status::ASSURED) {
            text.push_str(" [ASSURED]");
        }
        let _ = write!(text, " mark={} use=1", self.mark);
        text
    }
}

fn tuple_text(tuple: &Tuple) -> String {
    let mut text = format!("src={} dst={}", tuple.source, tuple.destination);
    if let Some([kind, code]) = tuple.icmp() {
        let _ = write!(text, " type={kind} code={code} id={}", tuple.source_key);
    } else if matches!(
        tuple.protocol,
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP
    ) {
        let _ = write!(
            text,
            " sport={} dport={}",
            tuple.source_key, tuple.destination_key
        );
    }
    text
}
