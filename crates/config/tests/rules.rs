//! Readers of rule sets against what the programs of Debian 12 (kernel 6.18) printed: fixtures/rules.
//!
//! The same rules were dumped in several forms, and every form has to mean the same.

use proptest::prelude::*;
use transect_config::rules::*;
use transect_path::{Hook, RuleBackend};

const LEGACY: &str = include_str!("fixtures/rules/iptables-legacy.save");
const LEGACY_LIST: &str = include_str!("fixtures/rules/iptables-legacy.list");
const LEGACY6: &str = include_str!("fixtures/rules/ip6tables-legacy.save");
const LEGACY6_LIST: &str = include_str!("fixtures/rules/ip6tables-legacy.list");
const XNFT: &str = include_str!("fixtures/rules/iptables-nft.save");
const XNFT6: &str = include_str!("fixtures/rules/ip6tables-nft.save");
const XNFT_JSON: &str = include_str!("fixtures/rules/iptables-nft.json");
const XNFT_TEXT: &str = include_str!("fixtures/rules/iptables-nft.nft");
const NFT_JSON: &str = include_str!("fixtures/rules/nft.json");
const NFT_TEXT: &str = include_str!("fixtures/rules/nft.nft");

fn clean(reading: Reading) -> RuleSet {
    assert_eq!(reading.complaints, []);
    reading.rule_set
}

fn save(text: &str) -> RuleSet {
    // Family and backend wrong on purpose: the header knows better.
    clean(read_iptables_save(
        text,
        Family::Arp,
        RuleBackend::IptablesLegacy,
    ))
}

fn json(text: &str) -> RuleSet {
    clean(read_nft_json(text).expect("JSON"))
}

/// Statements without words that differ from dump to dump.
fn plain(statements: &[Statement]) -> Vec<Statement> {
    statements
        .iter()
        .cloned()
        .map(|statement| match statement {
            Statement::Match(Match {
                test: Test::Unknown { .. },
                ..
            }) => Statement::Match(Match::unknown("?")),
            Statement::Other(_) => Statement::Other("?".to_owned()),
            Statement::Verdict(Action::Unknown(_)) => {
                Statement::Verdict(Action::Unknown("?".into()))
            }
            Statement::Verdict(Action::Stolen(_)) => Statement::Verdict(Action::Stolen("?".into())),
            Statement::Verdict(Action::Tproxy { accepts, .. }) => {
                Statement::Verdict(Action::Tproxy {
                    accepts,
                    text: "?".into(),
                })
            }
            other => other,
        })
        .collect()
}

/// Every rule of both is there, at the same place, and means the same.
fn same_meaning(a: &RuleSet, b: &RuleSet) {
    assert_eq!(a.rules().count(), b.rules().count());
    assert!(a.rules().count() > 0);
    for ((table, chain, rule), (_, other_chain, other)) in a.rules().zip(b.rules()) {
        assert_eq!(chain.name, other_chain.name);
        assert_eq!(chain.base, other_chain.base, "{}", chain.name);
        assert_eq!(
            plain(&rule.statements),
            plain(&other.statements),
            "{} {}: {}\n{}",
            table.name,
            chain.name,
            rule.text,
            other.text
        );
        assert_eq!(rule.counter, other.counter);
    }
}

fn outline(rule_set: &RuleSet) -> String {
    let mut text = String::new();
    for table in &rule_set.tables {
        text += &format!(
            "{} {} {} {:?}\n",
            table.backend, table.family, table.name, table.flags
        );
        for chain in &table.chains {
            let base = chain.base.as_ref().map(|b| {
                format!(
                    " {} {} {} {} {:?}",
                    b.kind, b.hook, b.priority, b.policy, b.devices
                )
            });
            text += &format!(
                "  {}{} {} rules\n",
                chain.name,
                base.unwrap_or_default(),
                chain.rules.len()
            );
        }
    }
    text
}

#[test]
fn legacy_tables_and_their_hooks() {
    insta::assert_snapshot!(outline(&save(LEGACY)), @r#"
    iptables-legacy ip raw []
      PREROUTING filter pre_routing -300 accept [] 2 rules
      OUTPUT filter local_out -300 accept [] 0 rules
    iptables-legacy ip mangle []
      PREROUTING filter pre_routing -150 accept [] 3 rules
      INPUT filter local_in -150 accept [] 0 rules
      FORWARD filter forward -150 accept [] 1 rules
      OUTPUT route local_out -150 accept [] 0 rules
      POSTROUTING filter post_routing -150 accept [] 0 rules
    iptables-legacy ip nat []
      PREROUTING nat pre_routing -100 accept [] 2 rules
      INPUT nat local_in 100 accept [] 0 rules
      OUTPUT nat local_out -100 accept [] 0 rules
      POSTROUTING nat post_routing 100 accept [] 2 rules
      DOCKER 1 rules
    iptables-legacy ip filter []
      INPUT filter local_in 0 drop [] 17 rules
      FORWARD filter forward 0 accept [] 0 rules
      OUTPUT filter local_out 0 accept [] 0 rules
      LOGDROP 3 rules
    "#);
}

#[test]
fn legacy_rules_keep_their_words() {
    for text in [LEGACY, LEGACY6, XNFT, XNFT6] {
        let words: Vec<&str> = text
            .lines()
            .filter_map(|line| Some(line.split_once("] ")?.1))
            .filter(|line| line.starts_with("-A "))
            .collect();
        let rule_set = save(text);
        // Tables come in the order of the dump, rules in that of their chain: sort both.
        let mut read: Vec<&str> = rule_set
            .rules()
            .map(|(_, _, rule)| rule.text.as_str())
            .collect();
        let mut words = words.clone();
        read.sort_unstable();
        words.sort_unstable();
        assert_eq!(read, words);
    }
}

#[test]
fn what_is_not_known_of_the_legacy_rules() {
    let unknown = |rule_set: &RuleSet| -> Vec<String> {
        rule_set
            .rules()
            .flat_map(|(_, _, rule)| rule.statements.clone())
            .filter_map(|statement| match statement {
                Statement::Match(Match {
                    test: Test::Unknown { text },
                    ..
                }) => Some(text),
                Statement::Verdict(Action::Unknown(text)) => Some(text),
                _ => None,
            })
            .collect()
    };
    insta::assert_debug_snapshot!(unknown(&save(LEGACY)), @r#"
    [
        "-m limit --limit 5/sec",
        "-m recent --set --name SSH --mask 255.255.255.255 --rsource",
    ]
    "#);
    insta::assert_debug_snapshot!(unknown(&save(LEGACY6)), @r#"
    [
        "-m frag --fragid 3",
        "-m rt --rt-type 0",
    ]
    "#);
}

#[test]
fn the_listing_means_the_same_as_the_save() {
    for (list, saved, family) in [
        (LEGACY_LIST, LEGACY, Family::Ip),
        (LEGACY6_LIST, LEGACY6, Family::Ip6),
    ] {
        let list = clean(read_iptables_list(
            list,
            family,
            RuleBackend::IptablesLegacy,
            None,
        ));
        let mut saved = save(saved);
        // The save was put together in another order of tables.
        saved.tables.sort_by(|a, b| a.name.cmp(&b.name));
        let mut list = list;
        list.tables.sort_by(|a, b| a.name.cmp(&b.name));
        let names = |set: &RuleSet| {
            set.tables
                .iter()
                .map(|t| t.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&list), names(&saved));
        same_meaning(&list, &saved);
        let policies = |set: &RuleSet| {
            set.tables
                .iter()
                .flat_map(|t| t.chains.iter().map(|c| c.policy_counter.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(policies(&list), policies(&saved));
    }
}

#[test]
fn a_listing_is_spelled_like_a_save() {
    let list = clean(read_iptables_list(
        LEGACY_LIST,
        Family::Ip,
        RuleBackend::IptablesLegacy,
        None,
    ));
    let texts: Vec<&str> = list
        .rules()
        .map(|(_, _, rule)| rule.text.as_str())
        .collect();
    for expected in [
        "-A INPUT -s 172.17.0.2 -p 6 -m tcp --dport 3306 -j QUEUE",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        "-A PREROUTING -p 6 -m tcp --dport 81 -j REDIRECT --to-ports 8081",
        "-A LOGDROP -p 6 -j REJECT --reject-with tcp-reset",
    ] {
        assert!(texts.contains(&expected), "{expected}\n{texts:#?}");
    }
}

#[test]
fn nft_text_means_the_same_as_its_json() {
    let text = clean(read_nft_text(NFT_TEXT));
    let json = json(NFT_JSON);
    let mut same = text.clone();
    for base in same
        .tables
        .iter_mut()
        .flat_map(|t| &mut t.chains)
        .filter_map(|c| c.base.as_mut())
    {
        // nft 1.0.6 leaves the device out of its JSON.
        base.devices.clear();
    }
    same_meaning(&json, &same);
    for (a, b) in json.tables.iter().zip(&text.tables) {
        assert_eq!(
            (&a.name, a.handle, &a.flags, a.backend),
            (&b.name, b.handle, &b.flags, b.backend)
        );
        for (a, b) in a.sets.iter().zip(&b.sets) {
            assert_eq!((&a.name, a.map, &a.elements), (&b.name, b.map, &b.elements));
        }
    }
    let handles = |set: &RuleSet| {
        set.rules()
            .map(|(_, _, rule)| rule.handle)
            .collect::<Vec<_>>()
    };
    assert_eq!(handles(&json), handles(&text));
    assert!(handles(&json).iter().all(Option::is_some));
}

#[test]
fn nft_tables_and_their_hooks() {
    insta::assert_snapshot!(outline(&json(NFT_JSON)), @r#"
    nft inet fw []
      smtp 2 rules
      input filter local_in 0 drop [] 59 rules
      fw filter forward 0 accept [] 4 rules
      out filter local_out -5 accept [] 8 rules
    nft ip nat []
      pre nat pre_routing -100 accept [] 4 rules
      post nat post_routing 100 accept [] 5 rules
    nft netdev nd []
      ing filter ingress -500 accept [] 2 rules
    nft bridge br []
      f filter forward 0 accept [] 1 rules
    nft arp a []
      i filter local_in 0 accept [] 1 rules
    nft ip mg ["dormant"]
      pre filter pre_routing -155 accept [] 2 rules
    "#);
}

#[test]
fn what_is_not_known_of_the_nft_rules() {
    let unknown: Vec<String> = json(NFT_JSON)
        .rules()
        .flat_map(|(_, _, rule)| rule.statements.clone())
        .filter_map(|statement| match statement {
            Statement::Match(Match {
                test: Test::Unknown { text },
                ..
            }) => Some(text),
            Statement::Verdict(Action::Unknown(text)) => Some(text),
            _ => None,
        })
        .collect();
    insta::assert_debug_snapshot!(unknown, @r#"
    [
        "limit rate 5/second burst 9 packets",
        "quota name \"q1\"",
        "add @dyn { ip saddr limit rate 10/second }",
        "ct status dnat",
        "ct direction original",
        "ct original ip saddr 1.2.3.4",
        "meta skuid 0",
        "socket transparent 1",
        "numgen random mod 2 0",
        "tcp option maxseg size 1-500",
        "vlan id 3",
        "exthdr frag exists",
        "arp operation request",
    ]
    "#);
}

#[test]
fn rendered_words_are_nft_s_own_where_it_is_simple() {
    let text = clean(read_nft_text(NFT_TEXT));
    let json = json(NFT_JSON);
    let different: Vec<(String, String)> = json
        .rules()
        .zip(text.rules())
        .map(|(a, b)| (a.2.text.clone(), b.2.text.clone()))
        .filter(|(a, b)| a != b)
        .collect();
    insta::assert_debug_snapshot!(different, @r#"
    [
        (
            "iifname . tcp dport { eth1 . 22, eth0 . 80 } counter",
            "iifname . tcp dport { \"eth1\" . 22, \"eth0\" . 80 } counter",
        ),
        (
            "udp dport 7 fwd to lo",
            "udp dport 7 fwd to \"lo\"",
        ),
    ]
    "#);
}

#[test]
fn iptables_nft_is_one_rule_set_from_four_dumps() {
    let saved: Vec<RuleSet> = vec![save(XNFT), save(XNFT6)];
    let mut merged = json(XNFT_JSON);
    merged.merge(clean(read_nft_text(XNFT_TEXT)));
    for one in saved.clone() {
        merged.merge(one);
    }
    let rules: usize = saved.iter().map(|set| set.rules().count()).sum();
    assert_eq!(merged.rules().count(), rules);
    for (table, _, rule) in merged.rules() {
        assert_eq!(table.backend, RuleBackend::IptablesNft);
        assert!(
            rule.handle.is_some() && rule.text.starts_with("-A "),
            "{rule:?}"
        );
    }
    for one in &saved {
        for (table, chain, rule) in one.rules() {
            let own = merged
                .table(RuleBackend::IptablesNft, table.family, &table.name)
                .and_then(|table| table.chain(&chain.name))
                .and_then(|chain| chain.rules.iter().find(|own| own.text == rule.text))
                .expect("the rule");
            assert_eq!(own.statements, rule.statements);
        }
    }
}

#[test]
fn a_merge_in_another_order_is_the_same() {
    let dumps = [
        json(XNFT_JSON),
        clean(read_nft_text(XNFT_TEXT)),
        save(XNFT),
        save(XNFT6),
    ];
    let mut one = RuleSet::default();
    let mut other = RuleSet::default();
    for dump in &dumps {
        one.merge(dump.clone());
    }
    for dump in dumps.iter().rev() {
        other.merge(dump.clone());
    }
    let key = |table: &Table| (table.family, table.name.clone());
    one.tables.sort_by_key(key);
    other.tables.sort_by_key(key);
    for (a, b) in one.tables.iter_mut().zip(&mut other.tables) {
        a.chains.sort_by(|x, y| x.name.cmp(&y.name));
        b.chains.sort_by(|x, y| x.name.cmp(&y.name));
    }
    assert_eq!(one, other);
}

#[test]
fn damage_costs_only_its_own_line() {
    let text = "*filter\n:INPUT DROP [x:y]\nnonsense\n[1:60 -A INPUT -j DROP\n-A MISSING -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let reading = read_iptables_save(text, Family::Ip, RuleBackend::IptablesLegacy);
    let complaints: Vec<String> = reading.complaints.iter().map(ToString::to_string).collect();
    insta::assert_debug_snapshot!(complaints, @r#"
    [
        "line 3: expected a chain, a rule or COMMIT, found \"nonsense\"",
        "line 4: expected [PACKETS:BYTES] before -A, found \"[1:60 -A INPUT -j DROP\"",
        "line 5: expected a rule of a chain that was announced before, found \"-A MISSING -j DROP\"",
    ]
    "#);
    assert_eq!(reading.rule_set.rules().count(), 1);
}

#[test]
fn an_unknown_object_costs_nothing() {
    let text = r#"{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "t", "handle": 1}},
        {"hologram": {"family": "ip"}}, {"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1,
        "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}, 5,
        {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2,
            "expr": [{"teleport": {"to": "mars"}}, {"counter": {"packets": 1, "bytes": 60}}, {"drop": null}]}}]}"#;
    let reading = read_nft_json(text).expect("JSON");
    assert_eq!(reading.complaints.len(), 1);
    let (_, _, rule) = reading.rule_set.rules().next().expect("the rule");
    assert_eq!(rule.text, "teleport to mars counter drop");
    assert!(matches!(
        &rule.statements[0],
        Statement::Match(Match {
            test: Test::Unknown { .. },
            ..
        })
    ));
    assert_eq!(rule.action(), Action::Drop);
    assert!(read_nft_json("[]").is_err());
    assert_eq!(
        read_nft_json("{\"nftables\": [\n{\"table\": x}]}")
            .expect_err("no JSON")
            .line,
        2
    );
}

#[test]
fn an_ingress_chain_has_its_device() {
    let mut json = json(NFT_JSON);
    json.merge(clean(read_nft_text(NFT_TEXT)));
    let base = json
        .tables
        .iter()
        .flat_map(|table| &table.chains)
        .filter_map(|chain| chain.base.as_ref())
        .find(|base| base.hook == Hook::Ingress)
        .expect("an ingress chain");
    assert_eq!(
        (base.priority, &base.devices[..]),
        (-500, &["lo".to_owned()][..])
    );
}

/// The statements of one rule, from nft's text and from its JSON.
fn both(text: &str, expressions: &str) -> [Vec<Statement>; 2] {
    let text = format!("table inet t {{\nchain c {{\n{text}\n}}\n}}\n");
    let json = format!(
        r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "handle": 1}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 2, "expr": {expressions}}}}}]}}"#
    );
    [clean(read_nft_text(&text)), self::json(&json)].map(|set| {
        let (_, _, rule) = set.rules().next().expect("the rule");
        rule.statements.clone()
    })
}

#[test]
fn statements_that_the_fixtures_machine_cannot_load() {
    // Its kernel has no nft queue; the JSON is that of libnftables-json(5).
    let queue = |first, last, bypass| {
        Statement::Verdict(Action::Queue {
            first,
            last,
            bypass,
        })
    };
    for (text, expressions, expected) in [
        (
            "queue num 3 bypass",
            r#"[{"queue": {"num": 3, "flags": "bypass"}}]"#,
            queue(3, 3, true),
        ),
        (
            "queue flags bypass,fanout to 1-3",
            r#"[{"queue": {"num": {"range": [1, 3]}, "flags": ["bypass", "fanout"]}}]"#,
            queue(1, 3, true),
        ),
        (
            "queue to 7",
            r#"[{"queue": {"num": 7}}]"#,
            queue(7, 7, false),
        ),
        ("queue", r#"[{"queue": {}}]"#, queue(0, 0, false)),
        ("queue", r#"[{"queue": null}]"#, queue(0, 0, false)),
    ] {
        assert_eq!(
            both(text, expressions),
            [vec![expected.clone()], vec![expected]],
            "{text}"
        );
    }
}

#[test]
fn other_versions_write_flags_in_other_ways() {
    let mask = |mask, values: &[u64], negated| {
        Statement::Match(Match {
            negated,
            test: Test::In {
                key: vec![Key {
                    field: Field::TcpFlags,
                    mask: Some(mask),
                }],
                elements: Elements::Inline(
                    values.iter().map(|v| vec![Value::Number(*v)]).collect(),
                ),
            },
        })
    };
    for (expressions, expected) in [
        // nft 1.0.9 and later join flags by `|`.
        (
            r#"[{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}},
                {"|": [{"|": ["fin", "syn"]}, "ack"]}]}, "right": "syn"}}]"#,
            mask(0x13, &[2], false),
        ),
        (
            r#"[{"match": {"op": "in", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": ["syn", "rst"]}}]"#,
            mask(6, &[0], true),
        ),
        (
            r#"[{"match": {"op": "!", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": "syn"}}]"#,
            mask(2, &[0], false),
        ),
    ] {
        let [_, json] = both("accept", expressions);
        assert_eq!(json[1], expected, "{expressions}");
    }
    // What `!=` means for a list differs between versions: not guessed.
    let [_, json] = both(
        "accept",
        r#"[{"match": {"op": "!=", "left": {"ct": {"key": "state"}}, "right": ["new", "established"]}}]"#,
    );
    assert!(matches!(
        &json[0],
        Statement::Match(Match {
            test: Test::Unknown { .. },
            ..
        })
    ));
}

#[test]
fn elements_may_carry_counters_and_time_outs() {
    let text = "table ip t {\nset s {\ntype ipv4_addr\nflags timeout\nelements = { 10.0.0.1 timeout 1m expires 30s counter packets 1 bytes 60,\n10.0.0.2 comment \"a, b\" }\n}\n}\n";
    let json = r#"{"nftables": [{"table": {"family": "ip", "name": "t"}}, {"set": {"family": "ip", "table": "t", "name": "s",
        "type": {"typeof": {"payload": {"protocol": "ip", "field": "saddr"}}}, "flags": ["timeout"], "elem": [
        {"elem": {"val": "10.0.0.1", "timeout": 60, "expires": 30}}, {"elem": {"val": "10.0.0.2", "comment": "a, b"}}]}}]}"#;
    let sets =
        [clean(read_nft_text(text)), self::json(json)].map(|set| set.tables[0].sets[0].clone());
    assert_eq!(sets[0].elements, sets[1].elements);
    assert_eq!(
        sets[0].elements[1].key,
        [Value::address("10.0.0.2".parse().expect("address"))]
    );
    assert!(sets.iter().all(Set::is_volatile));
}

/// Cuts and splices of real dumps: closer to what may come than noise alone.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    (0..text.len(), 0..text.len(), any::<Vec<u8>>()).prop_map(move |(a, b, noise)| {
        let bytes = text.as_bytes();
        let mut out = bytes[..a].to_vec();
        out.extend(noise);
        out.extend(&bytes[b..]);
        String::from_utf8_lossy(&out).into_owned()
    })
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        damaged(LEGACY),
        damaged(LEGACY_LIST),
        damaged(LEGACY6_LIST),
        damaged(NFT_TEXT),
        damaged(NFT_JSON),
        damaged(XNFT_JSON),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_reader_panic(a in anything(), b in anything()) {
        let mut all = RuleSet::default();
        for text in [&a, &b] {
            all.merge(read_iptables_save(text, Family::Ip, RuleBackend::IptablesLegacy).rule_set);
            all.merge(read_iptables_list(text, Family::Ip6, RuleBackend::IptablesNft, None).rule_set);
            all.merge(read_nft_text(text).rule_set);
            if let Ok(reading) = read_nft_json(text) {
                all.merge(reading.rule_set);
            }
        }
        let deltas = counter_deltas(&[(transect_path::Timestamp(1), &all), (transect_path::Timestamp(2), &all)]);
        prop_assert!(deltas.iter().all(|delta| delta.packets.unwrap_or(0) == 0 && !delta.ran_backwards));
    }
}
