//! What XDP programs do with frames, native and generic.

use transect_config::XdpMode;

use super::*;
use crate::{XdpAction, XdpProgram, XdpRule};

fn program(mode: XdpMode, rules: &[(&str, XdpAction)]) -> Option<XdpProgram> {
    let rules = rules.iter().map(|(filter, action)| XdpRule {
        filter: (*filter).to_owned(),
        action: *action,
    });
    Some(XdpProgram {
        mode,
        name: "p".to_owned(),
        rules: rules.collect(),
    })
}

/// A host whose tapped device runs a program, and what became of one datagram to port 9: did it go up, was it shown, by
/// which devices did it leave, what died.
type Seen = (bool, usize, Vec<DeviceId>, Vec<(Point, DropReason)>);

fn run(mode: XdpMode, rules: &[(&str, XdpAction)]) -> (Host, Seen) {
    let mut host = host();
    host.set_tapped(ETH0, true);
    host.set_xdp(Timestamp(0), ETH0, program(mode, rules))
        .unwrap();
    let mut packet = datagram([10, 0, 0, 1], 10);
    crate::link::neighbor::write_header(&mut packet, OWN, PEER);
    host.stack.receive_frame(ETH0, packet);
    let up = host.stack.next_received().is_some();
    let shown = std::iter::from_fn(|| host.poll_tapped()).count();
    let left: Vec<DeviceId> = std::iter::from_fn(|| host.poll_transmit())
        .map(|(device, _)| device)
        .collect();
    let died = std::iter::from_fn(|| host.poll_death())
        .map(|death| (death.point, death.reason))
        .collect();
    (host, (up, shown, left, died))
}

fn statistics(host: &Host) -> Vec<(String, u64)> {
    let text = host.ethtool_statistics_text("eth0");
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| name.contains("rx_queue_0"))
        .filter_map(|(name, value)| Some((name.trim().to_owned(), value.parse().ok()?)))
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| (name.replace("rx_queue_0_", ""), value))
        .collect()
}

const DEAD: (Point, DropReason) = (Point::Xdp, DropReason::NotSpecified);

#[test]
fn native_programs_decide_before_the_tap() {
    let counts = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        let all = [("xdp_packets", 1), ("xdp_bytes", 38)];
        let own = |(name, value): &(&str, u64)| ((*name).to_owned(), *value);
        all.iter().chain(pairs).map(own).collect()
    };
    let mode = XdpMode::Native;
    let cases = [
        (XdpAction::Pass, (true, 1, vec![], vec![]), counts(&[])),
        (
            XdpAction::Drop,
            (false, 0, vec![], vec![DEAD]),
            counts(&[("xdp_drops", 1)]),
        ),
        (
            XdpAction::Aborted,
            (false, 0, vec![], vec![DEAD]),
            counts(&[("xdp_drops", 1)]),
        ),
        (
            XdpAction::Transmit,
            (false, 0, vec![ETH0], vec![]),
            counts(&[("xdp_tx", 1)]),
        ),
        (
            XdpAction::Redirect(ETH0),
            (false, 0, vec![ETH0], vec![]),
            counts(&[("xdp_redirect", 1)]),
        ),
        (
            XdpAction::Redirect(DeviceId::LOOPBACK),
            (false, 0, vec![], vec![DEAD]),
            [("xdp_packets", 1), ("xdp_bytes", 38), ("drops", 1)]
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        ),
    ];
    for (action, seen, counted) in cases {
        let (host, became) = run(mode, &[("udp dst port 9", action)]);
        assert_eq!(became, seen, "{action:?}");
        assert_eq!(statistics(&host), counted, "{action:?}");
        assert_eq!(
            host.statistics(ETH0).map(|s| (s.rx_dropped, s.rx_packets)),
            Some((0, 1)),
            "{action:?}"
        );
    }
}

#[test]
fn generic_programs_decide_behind_the_backlog_and_nobody_counts() {
    for (action, seen) in [
        (XdpAction::Drop, (false, 0, vec![], vec![DEAD])),
        (XdpAction::Transmit, (false, 0, vec![ETH0], vec![])),
        (XdpAction::Pass, (true, 1, vec![], vec![])),
    ] {
        let (host, became) = run(XdpMode::Generic, &[("udp dst port 9", action)]);
        assert_eq!(became, seen, "{action:?}");
        assert_eq!(statistics(&host), []);
        assert!(host.softnet_stat().starts_with("00000001 00000000"));
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [("udp dst port 9", XdpAction::Pass), ("", XdpAction::Drop)];
    let (_, (up, ..)) = run(XdpMode::Native, &rules);
    assert!(up);
    let (_, (up, ..)) = run(XdpMode::Native, &rules[1..]);
    assert!(!up);
}

#[test]
fn what_cannot_be_attached_is_refused_in_words() {
    let mut host = host();
    let mut refusal = |device, mode, filter| {
        let program = program(mode, &[(filter, XdpAction::Drop)]);
        host.set_xdp(Timestamp(0), device, program).unwrap_err()
    };
    assert_eq!(
        refusal(DeviceId::LOOPBACK, XdpMode::Native, ""),
        "lo runs no native XDP programs"
    );
    assert_eq!(
        refusal(ETH0, XdpMode::Offload, ""),
        "eth0 runs no offload XDP programs"
    );
    assert!(refusal(ETH0, XdpMode::Native, "port what").contains("what"));
}

#[test]
fn loopback_sends_nothing_to_itself() {
    let mut host = host();
    let lo = DeviceId::LOOPBACK;
    let mut attach = |action| {
        let program = program(XdpMode::Generic, &[("", XdpAction::Pass), ("", action)]);
        host.set_xdp(Timestamp(0), lo, program)
    };
    for action in [XdpAction::Transmit, XdpAction::Redirect(lo)] {
        let error = attach(action).unwrap_err();
        assert!(error.contains("for ever"), "{error}");
    }
    for action in [XdpAction::Drop, XdpAction::Redirect(ETH0)] {
        attach(action).unwrap();
    }
}
