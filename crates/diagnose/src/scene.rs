//! Scenes for tests: hosts made of frames, readings and dumped rules, as evidence.

use std::sync::Arc;

use transect_config::rules::{Family, read_iptables_save};
use transect_config::{HostConfig, read_addresses, read_sockets};
use transect_evidence::bundle::Phase;
use transect_evidence::conversation::{Ledger, LedgerOptions};
use transect_evidence::{Capture, Evidence, HostEvidence, Reading};
use transect_packet::{Frame, FrameDirection, LinkType, dissect};
use transect_path::{Report, RuleBackend, Timestamp};

pub(crate) const CLIENT: [u8; 4] = [10, 0, 0, 1];
pub(crate) const SERVER: [u8; 4] = [10, 0, 0, 2];
const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

/// One host of a scene.
pub(crate) struct SceneHost {
    label: &'static str,
    address: [u8; 4],
    ledger: Ledger,
    readings: Vec<Reading>,
}

impl SceneHost {
    pub(crate) fn new(label: &'static str, address: [u8; 4]) -> Self {
        SceneHost {
            label,
            address,
            ledger: Ledger::new(LedgerOptions::default()),
            readings: Vec::new(),
        }
    }

    /// A frame that came in or went out, at a time in milliseconds.
    pub(crate) fn frame(&mut self, at: u64, way: FrameDirection, data: &[u8]) -> &mut Self {
        let frame = Frame {
            time: milliseconds(at),
            interface: 0,
            link: LinkType::RAW,
            direction: Some(way),
            original_length: data.len() as u32,
            data,
            offset: 0,
        };
        let dissection = dissect(frame.link, frame.data, frame.original_length);
        self.ledger.handle_frame(&frame, &dissection);
        self
    }

    /// A reading at a time in milliseconds: counters, sockets as ss prints them, rules as iptables-save -c prints them.
    pub(crate) fn reading(
        &mut self,
        at: u64,
        counters: &[(&str, u64)],
        sockets: &str,
        rules: &str,
    ) -> &mut Self {
        let [a, b, c, d] = self.address;
        let addresses = format!(
            r#"[{{"ifindex":1,"ifname":"lo","addr_info":[{{"family":"inet","local":"127.0.0.1","prefixlen":8}}]}},
                {{"ifindex":2,"ifname":"eth0","addr_info":[{{"family":"inet","local":"{a}.{b}.{c}.{d}","prefixlen":24}}]}}]"#
        );
        let config = HostConfig {
            addresses: Some(read_addresses(&addresses).value),
            ..HostConfig::default()
        };
        let rules = read_iptables_save(rules, Family::Ip, RuleBackend::IptablesLegacy).rule_set;
        self.readings.push(Reading {
            time: milliseconds(at),
            ended: milliseconds(at + 1),
            phase: Phase::Sample,
            counters: counters
                .iter()
                .map(|&(name, value)| (name.to_owned(), value))
                .collect(),
            sockets: Some(Arc::new(read_sockets(sockets).value)),
            conntrack: None,
            config: Some(Arc::new(config)),
            rules: Some(Arc::new(rules)),
            unseen: Vec::new(),
        });
        self
    }

    fn evidence(self) -> HostEvidence {
        HostEvidence {
            label: self.label.to_owned(),
            captures: vec![Capture {
                name: "capture.pcapng".to_owned(),
                point: None,
                ledger: self.ledger,
            }],
            readings: self.readings,
            ..HostEvidence::default()
        }
    }
}

/// The report on these hosts, observed for ten seconds.
pub(crate) fn report(hosts: Vec<SceneHost>) -> Report {
    crate::explain(&Evidence {
        hosts: hosts.into_iter().map(SceneHost::evidence).collect(),
        window: Some((milliseconds(0), milliseconds(10_000))),
        ..Evidence::default()
    })
}

fn milliseconds(at: u64) -> Timestamp {
    Timestamp(1_000_000_000 + at * 1_000_000)
}

fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(payload);
    packet
}

/// A datagram of four bytes.
pub(crate) fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(from.1.to_be_bytes());
    udp.extend(to.1.to_be_bytes());
    udp.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    ipv4(17, from.0, to.0, &udp)
}

/// A SYN.
pub(crate) fn syn(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.1.to_be_bytes());
    tcp.extend(to.1.to_be_bytes());
    tcp.extend([0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4(6, from.0, to.0, &tcp)
}

mod tests {
    use super::*;
    use FrameDirection::{In, Out};
    use transect_path::{CauseId, Certainty, Outcome, Point};

    /// Three questions and their answers, seen at both ends; the client's counters before and behind.
    fn answered(before: &[(&str, u64)], after: &[(&str, u64)], rules: [&str; 2]) -> Report {
        let mut client = SceneHost::new("client", CLIENT);
        let mut server = SceneHost::new("server", SERVER);
        client.reading(0, before, "", rules[0]);
        server.reading(0, &[], "", "");
        let question = datagram((CLIENT, 4000), (SERVER, 53));
        let answer = datagram((SERVER, 53), (CLIENT, 4000));
        for at in [1000, 2000, 3000] {
            client.frame(at, Out, &question).frame(at + 3, In, &answer);
            server
                .frame(at + 1, In, &question)
                .frame(at + 2, Out, &answer);
        }
        client.reading(9000, after, "", rules[1]);
        server.reading(9000, &[], "", "");
        report(vec![client, server])
    }

    const QUEUE: &str = "qdisc.eth0.tbf.8001:.drops";

    #[test]
    fn another_flows_full_queue_is_no_loss_of_this_one() {
        let before = [("UdpSndbufErrors", 0), ("UdpOutDatagrams", 0), (QUEUE, 0)];
        let after = [
            ("UdpSndbufErrors", 70),
            ("UdpOutDatagrams", 33),
            (QUEUE, 70),
        ];
        let report = answered(&before, &after, ["", ""]);
        assert_eq!(report.verdicts[0].outcome, Outcome::Delivered);
        assert_eq!(report.verdicts[0].cause, None);
    }

    fn save(rule: &str, packets: u64) -> String {
        format!("*filter\n:INPUT ACCEPT [9:9]\n[{packets}:99] -A INPUT {rule}\nCOMMIT\n")
    }

    #[test]
    fn answers_that_the_clients_own_rule_ends_were_not_delivered() {
        let rule = "-p udp -m udp --sport 53 -j DROP";
        let report = answered(&[], &[], [&save(rule, 5), &save(rule, 8)]);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.outcome, Outcome::Lost);
        assert_eq!(verdict.host.as_deref(), Some("client"));
        assert_eq!(verdict.point, Some(Point::LocalIn));
        assert_eq!(verdict.cause, Some(CauseId::NetfilterDrop));
        assert_eq!(verdict.certainty, Certainty::Proven);
    }

    #[test]
    fn a_rule_that_may_have_counted_others_does_not_undo_a_delivery() {
        let rule = "-p udp -m conntrack --ctstate INVALID -j DROP";
        let report = answered(&[], &[], [&save(rule, 5), &save(rule, 8)]);
        assert_eq!(report.verdicts[0].outcome, Outcome::Delivered);
    }

    #[test]
    fn loopback_is_at_home_where_it_was_captured() {
        let mut client = SceneHost::new("client", CLIENT);
        let mut server = SceneHost::new("server", SERVER);
        let rule = "-i lo -p tcp -m tcp --dport 80 -j DROP";
        client.reading(0, &[], "", "").reading(9000, &[], "", "");
        server.reading(0, &[], "", &save(rule, 0));
        let first = syn((LOCALHOST, 4000), (LOCALHOST, 80));
        for at in [1000, 2000, 3000] {
            server.frame(at, Out, &first).frame(at, In, &first);
        }
        server.reading(9000, &[], "", &save(rule, 3));
        let report = report(vec![client, server]);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.host.as_deref(), Some("server"));
        assert_eq!(verdict.cause, Some(CauseId::NetfilterDrop));
    }

    /// Counters, sockets and rules of one reading.
    type Moment<'a> = (&'a [(&'a str, u64)], &'a str, &'a str);

    /// Three SYNs that came to the server and were not answered; its own readings.
    fn unanswered(readings: [Moment<'_>; 2]) -> Report {
        let mut server = SceneHost::new("server", SERVER);
        let [(before, sockets, rules), after] = readings;
        server.reading(0, before, sockets, rules);
        let first = syn((CLIENT, 4000), (SERVER, 80));
        for at in [1000, 2000, 3000] {
            server.frame(at, In, &first);
            server.reading(at + 500, before, sockets, rules);
        }
        server.readings.truncate(1);
        server.reading(3500, after.0, after.1, after.2);
        server.reading(9000, after.0, after.1, after.2);
        report(vec![server])
    }

    #[test]
    fn a_listener_that_drops_without_a_counter_has_a_filter() {
        let still = [
            "TcpExtListenDrops",
            "TcpExtListenOverflows",
            "TcpExtTCPMD5NotFound",
            "TcpExtTCPMD5Unexpected",
            "TcpExtTCPMD5Failure",
            "TcpExtTCPBacklogDrop",
        ];
        let counters: Vec<(&str, u64)> = still.iter().map(|&name| (name, 4)).collect();
        let listener = |drops: u64| {
            format!(
                "tcp LISTEN 0 16 0.0.0.0:80 0.0.0.0:* ino:1 sk:1 <-> skmem:(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d{drops})\n"
            )
        };
        let report = unanswered([(&counters, &listener(2), ""), (&counters, &listener(5), "")]);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.cause, Some(CauseId::SocketFilter));
        assert_eq!(verdict.certainty, Certainty::Strong);
        assert_eq!(verdict.point, Some(Point::SocketInput));
    }

    #[test]
    fn a_rule_about_invalid_packets_takes_no_blame_for_syns_by_others_packets() {
        let rule = "-m conntrack --ctstate INVALID -j DROP";
        let listener = "tcp LISTEN 0 16 0.0.0.0:80 0.0.0.0:* ino:1 sk:1\n";
        let report = unanswered([
            (&[], listener, &save(rule, 0)),
            (&[], listener, &save(rule, 40)),
        ]);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.outcome, Outcome::Lost);
        assert_eq!(verdict.cause, None);
        let named = |alternative: &transect_path::Alternative| {
            alternative.cause == CauseId::ConntrackInvalid
        };
        assert!(verdict.alternatives.iter().any(named));
    }
}
