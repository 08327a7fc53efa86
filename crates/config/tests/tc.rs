//! What `tc` really printed, as JSON and as text, reads the same.

use transect_config::{read_filters, read_qdiscs};

#[test]
fn qdiscs_of_json_and_text_agree() {
    let from_json = read_qdiscs(include_str!("fixtures/net/tc_qdisc.json"));
    let from_text = read_qdiscs(include_str!("fixtures/net/tc_qdisc.txt"));
    let detailed = read_qdiscs(include_str!("fixtures/net/tc_qdisc_d.txt"));
    for parsed in [&from_json, &from_text, &detailed] {
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.value.len(), 7);
    }
    for (json, text) in from_json.value.iter().zip(&from_text.value) {
        assert_eq!(
            (&json.device, &json.kind, &json.handle, &json.parent),
            (&text.device, &text.kind, &text.handle, &text.parent)
        );
        // Taken a moment apart, so only that both have statistics.
        assert_eq!(json.statistics.is_some(), text.statistics.is_some());
    }
    let pfifo = from_json
        .value
        .iter()
        .find(|qdisc| qdisc.kind == "pfifo")
        .unwrap();
    assert_eq!(
        (pfifo.parent.as_str(), pfifo.options.as_str()),
        ("1:10", "{\"limit\":50}")
    );
    assert!(
        pfifo
            .counters()
            .iter()
            .any(|(name, packets)| name == "qdisc.eth0.pfifo.10:.packets" && *packets > 0)
    );
    assert_eq!(
        from_text
            .value
            .iter()
            .find(|qdisc| qdisc.kind == "pfifo")
            .unwrap()
            .options,
        "limit 50p"
    );
}

#[test]
fn qdisc_that_drops() {
    let parsed = read_qdiscs(
        "qdisc tbf 8001: root refcnt 2 rate 1Mbit burst 10Kb lat 50ms
 Sent 1514 bytes 1 pkt (dropped 97, overlimits 120 requeues 3)
 backlog 12Kb 8p requeues 3
qdisc fq_codel 0: parent :1 limit 10240p flows 1024
 Sent 5 bytes 1 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
  maxpacket 0 drop_overlimit 0 new_flow_count 0 ecn_mark 0
  new_flows_len 0 old_flows_len 0
",
    );
    assert_eq!(parsed.problems, []);
    let tbf = parsed.value[0].statistics.unwrap();
    assert_eq!(
        (
            tbf.drops,
            tbf.overlimits,
            tbf.requeues,
            tbf.backlog,
            tbf.qlen
        ),
        (97, 120, 3, 12288, 8)
    );
    assert_eq!(parsed.value[0].device, "");
    assert_eq!(parsed.value[1].parent, ":1");
}

#[test]
fn filters_of_json_and_text_agree() {
    for (json, text) in [
        (
            include_str!("fixtures/net/tc_filter_ingress.json"),
            include_str!("fixtures/net/tc_filter_ingress.txt"),
        ),
        (
            include_str!("fixtures/net/tc_filter_egress.json"),
            include_str!("fixtures/net/tc_filter_egress.txt"),
        ),
        (
            include_str!("fixtures/net/tc_filter_parent1.json"),
            include_str!("fixtures/net/tc_filter_parent1.txt"),
        ),
    ] {
        let from_json = read_filters(json, Some("eth0"), Some("ingress"));
        let from_text = read_filters(text, Some("eth0"), Some("ingress"));
        assert_eq!(
            (&from_json.problems[..], &from_text.problems[..]),
            (&[][..], &[][..])
        );
        assert!(!from_json.value.is_empty());
        assert_eq!(from_json.value.len(), from_text.value.len());
        for (json, text) in from_json.value.iter().zip(&from_text.value) {
            assert_eq!(
                (json.pref, &json.protocol, &json.kind, &json.handle),
                (text.pref, &text.protocol, &text.kind, &text.handle)
            );
            assert_eq!(json.bpf, text.bpf);
            assert_eq!(json.can_drop(), text.can_drop());
            let actions = |filter: &transect_config::TcFilter| -> Vec<_> {
                filter
                    .actions
                    .iter()
                    .map(|action| {
                        (
                            action.kind.clone(),
                            action.control.clone(),
                            action.target.clone(),
                        )
                    })
                    .collect()
            };
            assert_eq!(actions(json), actions(text));
        }
    }
}

#[test]
fn direct_action_program_and_mirror() {
    let parsed = read_filters(
        include_str!("fixtures/net/tc_filter_ingress.json"),
        Some("eth0"),
        Some("ingress"),
    );
    let [mirror, program] = &parsed.value[..] else {
        panic!("two filters: {:?}", parsed.value)
    };
    assert!(!mirror.can_drop());
    assert_eq!(mirror.actions[0].target.as_deref(), Some("mirror br0"));
    assert!(
        mirror
            .counters()
            .iter()
            .any(|(name, packets)| name == "filter.eth0.ingress.30.packets" && *packets > 0)
    );
    assert!(program.can_drop());
    assert_eq!(
        program.bpf.as_ref().unwrap().name.as_deref(),
        Some("shot_all")
    );
    assert!(program.counters().is_empty());
    assert_eq!(program.is_ingress(), Some(true));
}

/// This machine's kernel has neither gact nor police; the texts are as iproute2 6.1 writes them (tc/m_gact.c, tc/m_police.c).
#[test]
fn drops_and_policers() {
    let parsed = read_filters(
        "filter protocol ip pref 10 u32 chain 0
filter protocol ip pref 10 u32 chain 0 fh 800: ht divisor 1
filter protocol ip pref 10 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 terminal flowid not_in_hw
  match 00000051/0000ffff at 20
	action order 1: gact action drop
	 random type none pass val 0
	 index 1 ref 1 bind 1 installed 9 sec used 3 sec firstused 5 sec
	Action statistics:
	Sent 180 bytes 3 pkt (dropped 3, overlimits 0 requeues 0)
	backlog 0b 0p requeues 0

filter protocol ip pref 20 u32 chain 0 fh 801::800 order 2048 key ht 801 bkt 0 terminal flowid not_in_hw
  match 00000052/0000ffff at 20
	action order 1:  police 0x1 rate 1Mbit burst 10Kb mtu 2Kb action drop overhead 0b
	ref 1 bind 1  installed 4 sec used 4 sec
	Action statistics:
	Sent 0 bytes 0 pkt (dropped 0, overlimits 7 requeues 0)
filter protocol all pref 49152 matchall chain 0
filter protocol all pref 49152 matchall chain 0 handle 0x1
  not_in_hw
	action order 1: gact action pass
",
        Some("eth0"),
        Some("ingress"),
    );
    assert_eq!(parsed.problems, []);
    let [drop, police, pass] = &parsed.value[..] else {
        panic!("three filters: {:?}", parsed.value)
    };
    assert!(drop.can_drop() && police.can_drop() && !pass.can_drop());
    assert!(
        drop.counters()
            .contains(&("filter.eth0.ingress.10.drops".to_owned(), 3))
    );
    assert_eq!(police.actions[0].statistics.unwrap().overlimits, 7);
    assert!(drop.text.contains("match 00000051/0000ffff at 20"));
    let json = read_filters(
        r#"[{"dev":"eth0","parent":"ffff:fff2","protocol":"ip","pref":10,"kind":"u32","chain":0,"options":{"fh":"800::800",
        "actions":[{"order":1,"kind":"gact","control_action":{"type":"drop"},"stats":{"bytes":180,"packets":3,"drops":3}}]}}]"#,
        None,
        None,
    );
    assert_eq!(json.problems, []);
    assert!(json.value[0].can_drop());
    assert_eq!(json.value[0].is_ingress(), Some(true));
    assert_eq!(
        json.value[0].counters(),
        [
            ("filter.eth0.ffff:fff2.10.packets".to_owned(), 3),
            ("filter.eth0.ffff:fff2.10.drops".to_owned(), 3)
        ]
    );
}
