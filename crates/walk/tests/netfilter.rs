//! What rules would do with a packet, read from the words of the programs.

use proptest::prelude::*;
use transect_config::rules::*;
use transect_path::{Hook, RuleBackend};
use transect_walk::netfilter::*;

fn legacy(text: &str) -> RuleSet {
    let reading = read_iptables_save(text, Family::Ip, RuleBackend::IptablesLegacy);
    assert_eq!(reading.complaints, []);
    reading.rule_set
}

fn nft(text: &str) -> RuleSet {
    let reading = read_nft_text(text);
    assert_eq!(reading.complaints, []);
    reading.rule_set
}

fn filter(rules: &str) -> RuleSet {
    legacy(&format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n{rules}\nCOMMIT\n"
    ))
}

fn syn() -> PacketFacts {
    PacketFacts {
        protocol: Some(6),
        source: "10.0.0.1".parse().ok(),
        destination: "10.0.0.2".parse().ok(),
        source_port: Some(40000),
        destination_port: Some(3306),
        tcp_flags: Some(TcpFlags::SYN),
        in_interface: Some("eth0".to_owned()),
        length: Some(60),
        ttl: Some(64),
        mark: Some(0),
        ct_states: CtStates::NEW,
        first_of_connection: Some(true),
        fragment_offset: Some(0),
        ..PacketFacts::new(AddressFamily::Ip)
    }
}

fn text(decision: &Option<Decision>) -> &str {
    decision.as_ref().map_or("-", |d| d.rule.text.as_str())
}

fn texts(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().map(|d| d.rule.text.as_str()).collect()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = filter(
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 3306 -j QUEUE\n-A INPUT -j DROP",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    let decision = outcome.certain.expect("a decision");
    assert_eq!(decision.rule.number, Some(2));
    assert!(matches!(
        decision.action,
        Action::Queue { bypass: false, .. }
    ));
    assert_eq!(outcome.passes, Ternary::Maybe, "the reader may accept it");
    assert_eq!(outcome.possible, []);
}

#[test]
fn jumps_are_named_and_return_goes_back() {
    let rules = filter(
        "-A INPUT -p tcp -j A\n-A INPUT -j ACCEPT\n-A A -p udp -j DROP\n-A A -m tcp -p tcp --dport 3306 -j B\n-A A -j DROP\n-A B -s 10.0.0.9/32 -j DROP\n-A B -j RETURN\n-A B -j DROP",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    let decision = outcome.certain.expect("a decision");
    assert_eq!(
        (decision.rule.chain.as_str(), decision.rule.number),
        ("A", Some(3))
    );
    assert_eq!(decision.rule.via, ["-A INPUT -p tcp -j A"]);
    let counted: Vec<&str> = outcome
        .counted
        .iter()
        .map(|c| c.rule.text.as_str())
        .collect();
    assert_eq!(
        counted,
        [
            "-A INPUT -p tcp -j A",
            "-A A -p tcp -m tcp --dport 3306 -j B",
            "-A B -j RETURN",
            "-A A -j DROP"
        ]
        .map(|t| if t.contains("--dport") {
            "-A A -m tcp -p tcp --dport 3306 -j B"
        } else {
            t
        })
    );
}

#[test]
fn goto_does_not_come_back() {
    let rules = filter("-A INPUT -p tcp -g A\n-A INPUT -j DROP\n-A A -p udp -j DROP");
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(text(&outcome.certain), "-P INPUT ACCEPT");
    assert_eq!(outcome.passes, Ternary::Yes);
}

#[test]
fn goto_out_of_a_jumped_chain_goes_back_to_the_caller() {
    let rules =
        filter("-A INPUT -j A\n-A INPUT -j DROP\n-A A -g B\n-A A -j ACCEPT\n-A B -p udp -j ACCEPT");
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(text(&outcome.certain), "-A INPUT -j DROP");
}

#[test]
fn what_is_not_known_makes_a_rule_possible_and_no_more() {
    let rules = filter(
        "-A INPUT -m limit --limit 5/sec -j ACCEPT\n-A INPUT -p tcp -j DROP\n-A INPUT -j ACCEPT",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(outcome.certain, None);
    assert_eq!(texts(&outcome.possible), ["-A INPUT -p tcp -j DROP"]);
    assert_eq!(
        outcome.possible[0].unknowns,
        ["that no earlier rule decides"]
    );
    assert_eq!(outcome.passes, Ternary::Maybe);
    let accept = &outcome.chains[0].possible[0];
    assert_eq!(accept.unknowns, ["-m limit --limit 5/sec"]);
}

#[test]
fn an_unknown_jump_that_always_comes_back_leaves_the_rest_certain() {
    let rules = filter(
        "-A INPUT -m limit --limit 5/sec -j A\n-A INPUT -p tcp -j DROP\n-A A -j LOG\n-A A -m mark --mark 0x5 -j RETURN",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(text(&outcome.certain), "-A INPUT -p tcp -j DROP");
    let log = outcome
        .counted
        .iter()
        .find(|c| c.rule.text == "-A A -j LOG")
        .expect("counted");
    assert!(!log.certain);
}

#[test]
fn an_unknown_return_keeps_the_caller_possible() {
    let rules = filter(
        "-A INPUT -j A\n-A INPUT -j ACCEPT\n-A A -m limit --limit 5/sec -j RETURN\n-A A -j DROP",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(outcome.certain, None);
    assert_eq!(texts(&outcome.possible), ["-A A -j DROP"]);
    assert_eq!(outcome.passes, Ternary::Maybe);
}

#[test]
fn every_way_ends_in_a_drop() {
    let rules = filter("-A INPUT -m limit --limit 5/sec -j DROP\n-A INPUT -j DROP");
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(
        (outcome.certain.is_none(), outcome.passes),
        (true, Ternary::No)
    );
    assert_eq!(outcome.possible.len(), 2);
}

#[test]
fn a_target_that_is_not_known_may_do_anything() {
    let rules = filter("-A INPUT -j WEIRD\n-A INPUT -j ACCEPT");
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(texts(&outcome.possible), ["-A INPUT -j WEIRD"]);
    assert_eq!(outcome.passes, Ternary::Maybe);
}

#[test]
fn a_drop_of_invalid_is_told_apart() {
    let rules = filter(
        "-A INPUT -m conntrack --ctstate INVALID -j A\n-A INPUT -p tcp -j ACCEPT\n-A A -j DROP",
    );
    let facts = PacketFacts {
        ct_states: CtStates::INVALID,
        ..syn()
    };
    let decision = evaluate(&rules, Hook::LocalIn, &facts)
        .certain
        .expect("a decision");
    assert!(decision.is_about_invalid());
    let vmap = nft(
        "table inet t {\nchain c {\ntype filter hook input priority filter; policy accept;\nct state vmap { invalid : drop, established : accept }\ncounter drop\n}\n}\n",
    );
    let decision = evaluate(&vmap, Hook::LocalIn, &facts)
        .certain
        .expect("a decision");
    assert!(decision.is_about_invalid() && !decision.has_counter);
    let new = evaluate(&vmap, Hook::LocalIn, &syn())
        .certain
        .expect("a decision");
    assert!(!new.is_about_invalid() && new.has_counter);
}

#[test]
fn accept_in_one_table_does_not_save_from_the_next() {
    let mut rules = filter("-A INPUT -p tcp -j ACCEPT");
    rules.merge(nft(
        "table inet t {\nchain c {\ntype filter hook input priority 10; policy accept;\ntcp dport 3306 counter drop\n}\n}\n",
    ));
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(text(&outcome.certain), "tcp dport 3306 counter drop");
    assert_eq!(outcome.chains.len(), 2);
}

#[test]
fn at_equal_priority_the_order_is_open_only_where_it_decides() {
    let chain = "table inet t {\nchain c {\ntype filter hook input priority filter; policy accept;\ntcp dport 3306 counter drop\n}\n}\n";
    let mut both = filter("-A INPUT -p tcp -j DROP");
    both.merge(nft(chain));
    let outcome = evaluate(&both, Hook::LocalIn, &syn());
    assert_eq!(outcome.certain, None);
    assert_eq!(texts(&outcome.possible).len(), 2);
    assert_eq!((outcome.passes, outcome.notes.len()), (Ternary::No, 1));
    assert!(outcome.counted.iter().all(|counted| !counted.certain));
    let mut one = filter("-A INPUT -p tcp -j ACCEPT");
    one.merge(nft(chain));
    let outcome = evaluate(&one, Hook::LocalIn, &syn());
    assert_eq!(text(&outcome.certain), "tcp dport 3306 counter drop");
    let accept = outcome
        .counted
        .iter()
        .find(|c| c.rule.text.ends_with("ACCEPT"))
        .expect("counted");
    assert!(!accept.certain, "it is met only if its chain runs first");
}

#[test]
fn marks_go_from_chain_to_chain() {
    let rules = legacy(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j MARK --set-xmark 0x10/0xff\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m mark --mark 0x110/0x1ff -j DROP\nCOMMIT\n",
    );
    let facts = PacketFacts {
        mark: Some(0x122),
        ..syn()
    };
    let outcome = evaluate(&rules, Hook::LocalIn, &facts);
    assert_eq!(
        text(&outcome.certain),
        "-A INPUT -m mark --mark 0x110/0x1ff -j DROP"
    );
    let unknown = evaluate(
        &rules,
        Hook::LocalIn,
        &PacketFacts {
            mark: None,
            ..syn()
        },
    );
    assert_eq!(unknown.possible[0].unknowns, ["the packet's mark"]);
}

#[test]
fn a_translated_packet_is_another_for_the_next_hook() {
    let rules = legacy(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         -A PREROUTING -p tcp -m tcp --dport 3306 -j DNAT --to-destination 10.0.0.7:13306\nCOMMIT\n",
    );
    let outcome = evaluate(&rules, Hook::PreRouting, &syn());
    assert_eq!(outcome.leaving.destination, "10.0.0.7".parse().ok());
    assert_eq!(outcome.leaving.destination_port, Some(13306));
    assert!(outcome.counted[0].certain);
    // A retransmitted SYN is translated too, and not counted.
    let again = PacketFacts {
        first_of_connection: Some(false),
        ..syn()
    };
    let outcome = evaluate(&rules, Hook::PreRouting, &again);
    assert_eq!(outcome.leaving.destination_port, Some(13306));
    assert_eq!(outcome.counted, []);
    let untracked = PacketFacts {
        ct_states: CtStates::INVALID,
        ..syn()
    };
    assert_eq!(
        evaluate(&rules, Hook::PreRouting, &untracked)
            .leaving
            .destination_port,
        Some(3306)
    );
}

#[test]
fn notrack_makes_later_chains_see_untracked() {
    let rules = legacy(
        "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -j NOTRACK\nCOMMIT\n\
         *mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP\nCOMMIT\n",
    );
    let outcome = evaluate(&rules, Hook::PreRouting, &syn());
    assert!(text(&outcome.certain).contains("UNTRACKED"));
}

#[test]
fn a_chain_of_another_device_does_not_see_it() {
    let text = |device: &str| {
        format!(
            "table netdev t {{\nchain c {{\ntype filter hook ingress device \"{device}\" priority 0; policy accept;\nip saddr 10.0.0.1 drop\n}}\n}}\n"
        )
    };
    let own = evaluate(&nft(&text("eth0")), Hook::Ingress, &syn());
    assert!(own.certain.is_some_and(|d| d.action == Action::Drop));
    let other = evaluate(&nft(&text("eth1")), Hook::Ingress, &syn());
    assert_eq!(other.passes, Ternary::Yes);
    let unknown = PacketFacts {
        in_interface: None,
        ..syn()
    };
    let maybe = evaluate(&nft(&text("eth0")), Hook::Ingress, &unknown);
    assert_eq!((maybe.passes, maybe.possible.len()), (Ternary::Maybe, 1));
}

#[test]
fn loops_end() {
    let rules = nft(
        "table ip t {\nchain c {\ntype filter hook input priority 0; policy accept;\njump d\n}\nchain d {\nlimit rate 5/second jump e\nlimit rate 5/second jump e\n}\nchain e {\nlimit rate 5/second jump d\nlimit rate 5/second jump d\n}\n}\n",
    );
    let outcome = evaluate(&rules, Hook::LocalIn, &syn());
    assert_eq!(outcome.passes, Ternary::Maybe);
    assert!(!outcome.notes.is_empty());
}

/// Rules of a small language, which hits the jumps and the marks more often than noise does.
fn rule() -> impl Strategy<Value = String> {
    let chain = prop_oneof![Just("INPUT"), Just("A"), Just("B")];
    let test = prop_oneof![
        Just(""),
        Just("-p tcp "),
        Just("! -p udp "),
        Just("-m limit --limit 1/sec "),
        Just("-m mark --mark 0x1 "),
        Just("-m conntrack --ctstate NEW,INVALID "),
        Just("-p tcp -m tcp --dport 3306 "),
        Just("-i wlan+ ")
    ];
    let target = prop_oneof![
        Just("-j ACCEPT"),
        Just("-j DROP"),
        Just("-j RETURN"),
        Just("-j A"),
        Just("-g B"),
        Just("-j MARK --set-xmark 0x1/0xffffffff"),
        Just("-j LOG"),
        Just("-j NFQUEUE --queue-num 1"),
        Just("-j STRANGE"),
        Just("")
    ];
    (chain, test, target).prop_map(|(chain, test, target)| format!("-A {chain} {test}{target}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn knowing_more_never_contradicts(rules in proptest::collection::vec(rule(), 0..14), mark in 0u32..2) {
        let rules = filter(&rules.join("\n"));
        let vague = evaluate(&rules, Hook::LocalIn, &PacketFacts { mark: None, ct_states: CtStates::ALL, ..syn() });
        let exact = evaluate(&rules, Hook::LocalIn, &PacketFacts { mark: Some(mark), ..syn() });
        if vague.passes != Ternary::Maybe {
            prop_assert_eq!(vague.passes, exact.passes);
        }
        if let Some(certain) = &vague.certain {
            prop_assert_eq!(Some(&certain.rule), exact.certain.as_ref().map(|d| &d.rule));
        }
        for counted in vague.counted.iter().filter(|c| c.certain) {
            prop_assert!(exact.counted.iter().any(|c| c.certain && c.rule == counted.rule), "{counted:?}");
        }
        if let Some(certain) = exact.certain.filter(|d| d.action.kills()) {
            let named = vague.certain.iter().chain(&vague.possible).any(|d| d.rule == certain.rule);
            prop_assert!(named || !vague.notes.is_empty(), "{certain:?}");
        }
    }

    #[test]
    fn no_rule_set_makes_it_panic(text in any::<String>(), rules in proptest::collection::vec(rule(), 0..30)) {
        let mut all = filter(&rules.join("\n"));
        all.merge(read_nft_text(&text).rule_set);
        for &hook in Hook::ALL {
            evaluate(&all, hook, &syn());
            evaluate(&all, hook, &PacketFacts::new(AddressFamily::Ip6));
        }
    }
}
