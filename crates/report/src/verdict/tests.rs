use transect_path::*;

use super::render_text;
use crate::{Style, to_json};

fn edge(text: &str) -> HostEdge {
    text.parse().unwrap()
}

pub(crate) fn seed() -> Report {
    Report {
        schema: VERDICT_SCHEMA.to_owned(),
        hosts: vec!["client".to_owned(), "server".to_owned()],
        command: Some(CommandRun {
            argv: vec!["mysql".to_owned(), "-h172.17.0.3".to_owned()],
            status: Some(1),
        }),
        verdicts: vec![Verdict {
            outcome: Outcome::Lost,
            flow: Some(Flow {
                protocol: "tcp".to_owned(),
                client: "172.17.0.2:40122".to_owned(),
                server: "172.17.0.3:3306".to_owned(),
            }),
            flows: 1,
            symptom: Symptom::SynUnanswered,
            lost: Some(Lost {
                what: What::Syn,
                direction: Direction::ToServer,
                packets: 7,
            }),
            host: Some("server".to_owned()),
            point: Some(Point::LocalIn),
            between: Some([
                edge("server/local_in/entered"),
                edge("server/local_in/left"),
            ]),
            place_certainty: Certainty::Proven,
            cause: Some(CauseId::QueueWithoutReader),
            certainty: Certainty::Proven,
            rule: Some(RuleRef {
                backend: RuleBackend::IptablesLegacy,
                family: "ip".to_owned(),
                table: "filter".to_owned(),
                chain: "INPUT".to_owned(),
                number: Some(1),
                handle: None,
                via: vec![],
                text: "-A INPUT -s 172.17.0.2/32 -p tcp -m tcp --dport 3306 -j QUEUE".to_owned(),
            }),
            setting: None,
            reached: vec![
                Reached {
                    what: What::Syn,
                    direction: Direction::ToServer,
                    point: edge("client/tap_out/left"),
                    meter: "client/capture/eth0".to_owned(),
                },
                Reached {
                    what: What::Syn,
                    direction: Direction::ToServer,
                    point: edge("server/tap_in/left"),
                    meter: "server/capture/eth0".to_owned(),
                },
            ],
            misled: vec![],
            recovered: vec![],
            evidence: vec![
                Evidence {
                    meter: "client/capture/eth0".to_owned(),
                    edge: Some(edge("client/tap_out/left")),
                    lo: Some(7),
                    hi: Some(7),
                    says: "7 SYNs left".to_owned(),
                },
                Evidence {
                    meter: "server/capture/eth0".to_owned(),
                    edge: Some(edge("server/tap_in/left")),
                    lo: Some(7),
                    hi: Some(7),
                    says: "7 SYNs arrived".to_owned(),
                },
                Evidence {
                    meter: "server/rule".to_owned(),
                    edge: Some(edge("server/local_in/entered")),
                    lo: Some(7),
                    hi: Some(7),
                    says: "the rule's counter rose by 7".to_owned(),
                },
                Evidence {
                    meter: "server/netstat/IpInDelivers".to_owned(),
                    edge: Some(edge("server/local_in/left")),
                    lo: None,
                    hi: Some(0),
                    says: "IpInDelivers did not rise".to_owned(),
                },
            ],
            against: vec![],
            unseen: vec![Unseen {
                meter: "client/ethtool/*".to_owned(),
                why: "the driver has no statistics".to_owned(),
            }],
            alternatives: vec![],
            advice: vec![
                "Delete the rule, or start the program that should read the queue.".to_owned(),
            ],
            next: None,
        }],
    }
}

fn report(verdict: Verdict) -> Report {
    Report {
        verdicts: vec![verdict],
        command: None,
        ..seed()
    }
}

fn at_width(report: &Report, width: usize) -> String {
    render_text(
        report,
        Style {
            color: false,
            width,
        },
    )
}

#[test]
fn the_seed_in_a_wide_terminal() {
    insta::assert_snapshot!(at_width(&seed(), 120));
}

#[test]
fn the_seed_in_a_narrow_terminal() {
    let text = at_width(&seed(), 60);
    assert!(
        text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let plain = at_width(&seed(), 100);
    let colored = render_text(
        &seed(),
        Style {
            color: true,
            width: 100,
        },
    );
    assert!(colored.starts_with("\u{1b}[1;31mLOST\u{1b}[0m  7 SYNs"));
    let mut bare = colored;
    for code in ["1;31", "1;32", "1;33", "1;35", "1", "2", "0"] {
        bare = bare.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(bare, plain);
}

#[test]
fn an_answer_that_died_on_its_way_out() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.lost = Some(Lost {
        what: What::Data,
        direction: Direction::ToClient,
        packets: 1,
    });
    verdict.symptom = Symptom::DataUnacknowledged;
    verdict.point = Some(Point::LocalOut);
    verdict.between = Some([
        edge("server/local_out/entered"),
        edge("server/local_out/left"),
    ]);
    verdict.cause = Some(CauseId::NetfilterDrop);
    verdict.certainty = Certainty::Strong;
    verdict.rule = Some(RuleRef {
        backend: RuleBackend::Nft,
        family: "inet".to_owned(),
        table: "fw".to_owned(),
        chain: "answers".to_owned(),
        number: Some(2),
        handle: Some(9),
        via: vec!["jump answers".to_owned()],
        text: "tcp sport 8080 drop".to_owned(),
    });
    verdict.evidence.truncate(2);
    verdict.evidence.push(Evidence {
        meter: "server/rule".to_owned(),
        edge: Some(edge("server/local_out/entered")),
        lo: Some(1),
        hi: Some(3),
        says: "the rule's counter rose by 3".to_owned(),
    });
    verdict.against.push(Contradiction {
        meter: "server/netstat/IpOutDiscards".to_owned(),
        says: "did not move".to_owned(),
    });
    verdict.misled.push(Misled {
        host: "client".to_owned(),
        believes: "The server has not received the request".to_owned(),
        truth: "nginx has logged it: \"GET hello.html\" 400".to_owned(),
    });
    insta::assert_snapshot!(at_width(&report(verdict), 100));
}

#[test]
fn a_wide_bracket_with_alternatives() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.host = None;
    verdict.point = None;
    verdict.between = Some([edge("client/tap_out/left"), edge("server/tap_in/left")]);
    verdict.place_certainty = Certainty::Strong;
    verdict.cause = None;
    verdict.certainty = Certainty::Undetermined;
    verdict.rule = None;
    verdict.flows = 3;
    verdict.evidence.truncate(1);
    verdict.reached.truncate(1);
    verdict.advice.clear();
    verdict.alternatives = vec![
        Alternative {
            cause: CauseId::NetworkLoss,
            host: Some("network".to_owned()),
            point: Some(Point::Network),
            rule: None,
            setting: None,
            tell: "the server's device counters".to_owned(),
        },
        Alternative {
            cause: CauseId::XdpDrop,
            host: Some("server".to_owned()),
            point: Some(Point::Xdp),
            rule: None,
            setting: Some(Setting {
                kind: SettingKind::Xdp,
                name: "eth0".to_owned(),
                value: "id 12".to_owned(),
            }),
            tell: "the program's own statistics".to_owned(),
        },
    ];
    verdict.next = Some("Observe the server in full: --netns server".to_owned());
    insta::assert_snapshot!(at_width(&report(verdict), 100));
}

#[test]
fn first_lines_of_the_other_outcomes() {
    let flow = seed().verdicts[0].flow.clone();
    let mut verdicts = Vec::new();

    let mut refused = Verdict::bare(Outcome::Refused, Symptom::ConnectionRefused);
    refused.flow = flow.clone();
    refused.host = Some("server".to_owned());
    refused.point = Some(Point::SocketLookup);
    refused.lost = Some(Lost {
        what: What::Syn,
        direction: Direction::ToServer,
        packets: 1,
    });
    refused.cause = Some(CauseId::NoListener);
    refused.certainty = Certainty::Strong;
    verdicts.push(refused);

    let mut stalled = Verdict::bare(Outcome::Stalled, Symptom::WindowClosed);
    stalled.flow = flow.clone();
    stalled.host = Some("server".to_owned());
    stalled.point = Some(Point::AppReceive);
    stalled.cause = Some(CauseId::ReceiverWindowClosed);
    stalled.certainty = Certainty::Likely;
    verdicts.push(stalled);

    let mut not_sent = Verdict::bare(Outcome::NotSent, Symptom::SendFailed);
    not_sent.flow = flow.clone();
    not_sent.host = Some("client".to_owned());
    not_sent.point = Some(Point::RouteOutput);
    not_sent.cause = Some(CauseId::NoRoute);
    not_sent.certainty = Certainty::Proven;
    verdicts.push(not_sent);

    verdicts.push(Verdict::bare(Outcome::Undetermined, Symptom::NoPacketSeen));

    let mut unfinished = Verdict::bare(Outcome::Undetermined, Symptom::Unfinished);
    unfinished.flow = flow.clone();
    verdicts.push(unfinished);

    let mut delivered = Verdict::bare(Outcome::Delivered, Symptom::None);
    delivered.flow = flow;
    delivered.flows = 2;
    delivered.recovered.push(Recovered {
        what: What::Data,
        direction: Direction::ToServer,
        packets: 12,
        between: None,
    });
    verdicts.push(delivered);

    let text = at_width(
        &Report {
            verdicts,
            command: None,
            ..seed()
        },
        160,
    );
    insta::assert_snapshot!(text);
}

#[test]
fn one_named_point_of_a_wide_bracket() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.between = Some([
        edge("server/tap_in/left"),
        edge("server/transport_input/left"),
    ]);
    verdict.place_certainty = Certainty::Likely;
    verdict.evidence.truncate(2);
    let repeated = verdict.evidence[1].clone();
    verdict.evidence.push(repeated);
    let text = at_width(&report(verdict), 100);
    let path: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains("● tap_in"))
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(
        path,
        [
            "         ● tap_in                   7 passed (capture/eth0)",
            "         │ tc_ingress … route_input",
            "         ✗ local_in                 probably died here",
            "         ┆ raw_tap … app_receive    never came here",
        ]
    );
}

#[test]
fn a_host_that_stands_in_the_evidence_alone_is_drawn_on_its_side() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.reached.clear();
    let text = at_width(&report(verdict), 100);
    assert!(
        text.contains("  client │ app_send … qdisc\n         ● tap_out"),
        "{text}"
    );
    assert!(text.contains("  server │ wire_in … backlog"), "{text}");
}

#[test]
fn a_host_that_talks_to_itself_sends_and_then_receives() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.between = Some([edge("server/tap_out/left"), edge("server/tap_in/left")]);
    verdict.point = None;
    verdict.reached.clear();
    verdict.evidence.clear();
    verdict.alternatives.clear();
    let text = at_width(&report(verdict), 100);
    let path = "
  server │ app_send … tap_out
         ? driver_out … tap_in      died here or at another point marked ?
         ┆ tc_ingress … app_receive never came here
";
    assert!(text.contains(path), "{text}");
}

#[test]
fn from_one_capture_alone_the_server_or_its_answer_may_have_died() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.between = Some([edge("server/tap_in/left"), edge("network/network/left")]);
    verdict.host = None;
    verdict.point = None;
    verdict.cause = None;
    verdict.reached.remove(0);
    verdict.evidence = vec![verdict.evidence[1].clone()];
    verdict.alternatives = vec![Alternative {
        cause: CauseId::NoListener,
        host: Some("server".to_owned()),
        point: Some(Point::SocketLookup),
        rule: None,
        setting: None,
        tell: "ss -l".to_owned(),
    }];
    let text = at_width(&report(verdict), 100);
    let path = "
  server │ wire_in … backlog
         ● tap_in                   7 passed (capture/eth0)
         ? tc_ingress … app_receive died here or at another point marked ?
         ? app_send … wire_out      died here or at another point marked ?
         ? network                  died here or at another point marked ?
";
    assert!(text.contains(path), "{text}");
}

#[test]
fn a_router_is_passed_once() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.between = Some([edge("router/tap_in/left"), edge("router/tap_out/left")]);
    verdict.host = Some("router".to_owned());
    verdict.point = Some(Point::Forward);
    verdict.reached.remove(1);
    verdict.evidence.truncate(1);
    let text = at_width(&report(verdict), 100);
    let path = "
  client │ app_send … qdisc
         ● tap_out                 7 passed (capture/eth0)
         │ driver_out … wire_out
         │ network
  router │ wire_in … route_input
         ✗ forward                 died here
         ┆ post_routing … wire_out never came here
";
    assert!(text.contains(path), "{text}");
}

#[test]
fn many_verdicts_are_counted_and_the_least_bad_left_out() {
    let lost = seed().verdicts.remove(0);
    let mut delivered = Verdict::bare(Outcome::Delivered, Symptom::None);
    delivered.flows = 4;
    let mut many = seed();
    many.command = None;
    many.verdicts = std::iter::repeat_n(lost, 49)
        .chain(std::iter::repeat_n(delivered, 3))
        .collect();
    let text = at_width(&many, 80);
    let first = text.lines().next().unwrap_or_default();
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(first, "Flows: 49 lost, 12 delivered.");
    assert_eq!(last, "Not shown here, but with --json: 8 delivered.");
    assert_eq!(text.matches("\nDELIVERED").count(), 1);
}

#[test]
fn many_candidates_are_counted() {
    let mut verdict = seed().verdicts.remove(0);
    verdict.cause = None;
    verdict.alternatives = CauseId::ALL[..6]
        .iter()
        .map(|cause| Alternative {
            cause: *cause,
            host: None,
            point: None,
            rule: None,
            setting: None,
            tell: "x".to_owned(),
        })
        .collect();
    let text = at_width(&report(verdict), 400);
    assert!(
        text.contains(
            "it may be nic_ring_overrun, link_errors, oversize_frame or one of 3 more causes."
        ),
        "{text}"
    );
}

#[test]
fn nothing_observed_is_said() {
    let mut empty = seed();
    empty.verdicts.clear();
    empty.command = None;
    insta::assert_snapshot!(at_width(&empty, 80), @"UNDETERMINED  nothing was observed, so there is nothing to judge.");
}

#[test]
fn hostile_text_in_every_field_reaches_no_terminal() {
    // Every string of the report is poisoned, whatever fields are added later.
    fn poison(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                let closed = text.parse::<Outcome>().is_ok()
                    || text.parse::<Symptom>().is_ok()
                    || text.parse::<What>().is_ok()
                    || text.parse::<Direction>().is_ok()
                    || text.parse::<Point>().is_ok()
                    || text.parse::<Certainty>().is_ok()
                    || text.parse::<CauseId>().is_ok()
                    || text.parse::<RuleBackend>().is_ok()
                    || text.parse::<HostEdge>().is_ok();
                if !closed {
                    text.push_str("\u{1b}[2J\u{9b}1m\u{7}\r\nDELIVERED\u{202e}");
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(poison),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(poison),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(seed()).unwrap();
    poison(&mut value);
    let report: Report = serde_json::from_value(value).unwrap();
    for width in [0, 40, 80, 200] {
        let text = at_width(&report, width);
        assert!(
            text.chars()
                .all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')),
            "{text:?}"
        );
        assert!(
            !text.lines().any(|line| line.starts_with("DELIVERED")),
            "{text}"
        );
    }
}

#[test]
fn json_is_one_line_and_reads_back() {
    let json = to_json(&seed()).unwrap();
    assert!(!json.contains('\n'));
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), seed());
}
