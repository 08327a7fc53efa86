//! Captures and dumps as people take them: a plain pcap on each host, perhaps counters before and after. Recorded in network
//! namespaces on Linux 6.18; whatever is left out, nobody may be accused who did nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is the test's own message"
)]

use std::path::Path;

use transect_evidence::{Input, LoadOptions, load};
use transect_path::{CauseId, Certainty, Outcome, Point, Report, Verdict};

/// Explains `LABEL=FILE`, the files being those beside this test.
fn explain(inputs: &[&str]) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|input| {
            let (label, file) = input.split_once('=').unwrap();
            let path = folder.join(file);
            format!("{label}={}", path.display()).parse().unwrap()
        })
        .collect();
    transect_diagnose::explain(&load(&inputs, &LoadOptions::default()).unwrap())
}

fn between(verdict: &Verdict) -> String {
    let [first, last] = verdict.between.as_ref().unwrap();
    format!("{first} {last}")
}

fn is_asked_for_addresses(verdict: &Verdict) -> bool {
    verdict
        .next
        .as_ref()
        .is_some_and(|next| next.contains("ip -j address"))
}

#[test]
fn one_capture_without_directions_accuses_nobody() {
    for (input, outcome) in [
        ("client=blocked-client.pcap", Outcome::Lost),
        ("server=blocked-server.pcap", Outcome::Lost),
        ("client=refused-client.pcap", Outcome::Refused),
        ("client=routed-client.pcap", Outcome::Lost),
        ("client=full-client.pcap", Outcome::Lost),
    ] {
        let report = explain(&[input]);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.outcome, outcome, "{input}");
        assert_eq!(verdict.host, None, "{input}");
        assert_eq!(verdict.place_certainty, Certainty::Undetermined, "{input}");
        assert!(
            is_asked_for_addresses(verdict),
            "{input}: {:?}",
            verdict.next
        );
        let open = |why: &str| why.contains("at which end it was taken stays open");
        assert!(
            verdict.unseen.iter().any(|unseen| open(&unseen.why)),
            "{input}"
        );
    }
}

#[test]
fn two_captures_without_directions_tell_the_ends_apart() {
    // Whatever they are called, and in whatever order they are named.
    for inputs in [
        ["client=blocked-client.pcap", "server=blocked-server.pcap"],
        ["server=blocked-server.pcap", "client=blocked-client.pcap"],
        ["client=refused-client.pcap", "server=refused-server.pcap"],
        ["server=refused-server.pcap", "client=refused-client.pcap"],
    ] {
        let report = explain(&inputs);
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.host.as_deref(), Some("server"), "{inputs:?}");
        assert!(
            between(verdict).starts_with("server/tap_in/left"),
            "{inputs:?}"
        );
        assert_eq!(verdict.place_certainty, Certainty::Likely, "{inputs:?}");
    }
}

#[test]
fn clocks_that_disagree_tell_no_ends_apart() {
    // The client's clock is 50 ms ahead, and nothing but clocks would tell who saw the SYNs first.
    let report = explain(&[
        "client=blocked-client-ahead.pcap",
        "server=blocked-server.pcap",
    ]);
    let verdict = &report.verdicts[0];
    assert_eq!(verdict.outcome, Outcome::Lost);
    assert_eq!(verdict.host, None);
    assert!(is_asked_for_addresses(verdict), "{:?}", verdict.next);
    // Answers do, whatever the clocks say.
    let report = explain(&[
        "client=refused-client-ahead.pcap",
        "server=refused-server.pcap",
    ]);
    assert_eq!(report.verdicts[0].host.as_deref(), Some("server"));
}

#[test]
fn a_silent_capture_is_the_other_end() {
    let report = explain(&["client=vanished-client.pcap", "server=vanished-server.pcap"]);
    let verdict = &report.verdicts[0];
    assert_eq!(between(verdict), "client/tap_out/left server/tap_in/left");
    assert_eq!(verdict.host, None);
    let causes: Vec<CauseId> = verdict
        .alternatives
        .iter()
        .map(|other| other.cause)
        .collect();
    assert_eq!(causes, [CauseId::NetworkLoss]);
}

#[test]
fn directions_settle_what_addresses_would() {
    let report = explain(&[
        "client=blocked-client-any.pcap",
        "server=blocked-server-any.pcap",
    ]);
    let verdict = &report.verdicts[0];
    assert_eq!(verdict.host.as_deref(), Some("server"));
    assert_eq!(between(verdict), "server/tap_in/left server/tap_out/left");
    assert_eq!(verdict.place_certainty, Certainty::Strong);
    assert!(!is_asked_for_addresses(verdict));
}

#[test]
fn a_capture_behind_the_hooks_says_that_the_packets_came_there() {
    let report = explain(&[
        "client=blocked-client-any.pcap",
        "box@raw_tap=blocked-server.pcap",
    ]);
    let verdict = &report.verdicts[0];
    let [first, _] = verdict.between.as_ref().unwrap();
    assert_eq!(first.to_string(), "box/raw_tap/left");
}

#[test]
fn counters_without_times_count() {
    let report = explain(&[
        "client=full-client.pcap",
        "server=full-server.pcap",
        "server.before=full-before.txt",
        "server.after=full-after.txt",
    ]);
    let [lost, stalled] = &report.verdicts[..] else {
        panic!("{:#?}", report.verdicts);
    };
    assert_eq!(lost.host.as_deref(), Some("server"));
    assert_eq!(lost.cause, Some(CauseId::AcceptQueueFull));
    assert_eq!(lost.point, Some(Point::SocketInput));
    assert_eq!(stalled.host.as_deref(), Some("server"));
    assert_eq!(stalled.cause, Some(CauseId::ReceiverWindowClosed));

    let report = explain(&[
        "client=refused-client.pcap",
        "server=refused-server.pcap",
        "server.before=refused-before.txt",
        "server.after=refused-after.txt",
    ]);
    let verdict = &report.verdicts[0];
    assert_eq!(verdict.cause, Some(CauseId::NoListener));
    assert_eq!(verdict.host.as_deref(), Some("server"));
}

#[test]
fn a_router_that_only_receives_is_still_no_end() {
    let report = explain(&[
        "client=routed-client-any.pcap",
        "router=routed-router-any.pcap",
        "server=routed-server-any.pcap",
        "router.before=routed-nft-before.json",
        "router.after=routed-nft-after.json",
    ]);
    let verdict = &report.verdicts[0];
    assert_eq!(verdict.host.as_deref(), Some("router"));
    assert_eq!(verdict.cause, Some(CauseId::NetfilterDrop));
    assert_eq!(verdict.certainty, Certainty::Likely);
    assert_eq!(verdict.rule.as_ref().unwrap().text, "tcp sport 8080 drop");
}

#[test]
fn ttls_tell_a_routers_interfaces_apart() {
    // The SYN-ACKs came to the router by eth1 and did not go on by eth0.
    let report = explain(&[
        "client=routed-client.pcap",
        "router=routed-router-eth0.pcap",
        "router=routed-router-eth1.pcap",
        "server=routed-server.pcap",
    ]);
    let verdict = &report.verdicts[0];
    assert_eq!(verdict.outcome, Outcome::Lost);
    assert_ne!(verdict.host.as_deref(), Some("client"));
    assert_ne!(verdict.host.as_deref(), Some("server"));
    let [first, _] = verdict.between.as_ref().unwrap();
    assert!(
        ["router", "server"].contains(&first.host.as_str()),
        "{first}"
    );
}
