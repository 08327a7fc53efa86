//! Commands and what becomes of them. The texts expected are those that iptables 1.8.9 and nft 1.0.6 printed for the same
//! commands (kernel 6.18).

use super::*;
use crate::rules::{
    Action, ChainKind, Family, Field, Policy, Statement, Value, write_iptables_save,
};
use transect_path::{Hook, RuleBackend};

fn shell(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.push(String::new()),
            (c, _) => words.last_mut().expect("one").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn run(lines: &[&str]) -> RuleSet {
    let mut rule_set = RuleSet::default();
    for line in lines {
        if let Err(error) = apply_command(&mut rule_set, &shell(line)) {
            panic!("{error}");
        }
    }
    rule_set
}

fn refused(rule_set: &RuleSet, line: &str) -> String {
    let mut changed = rule_set.clone();
    let error = apply_command(&mut changed, &shell(line)).expect_err(line);
    assert_eq!(
        &changed, rule_set,
        "a command that fails changes nothing: {line}"
    );
    error.what
}

#[test]
fn rules_are_printed_as_iptables_save_prints_them() {
    for (typed, printed) in [
        (
            "-A INPUT -p tcp --dport 3306 -s 172.17.0.2 -j QUEUE",
            "-A INPUT -s 172.17.0.2/32 -p tcp -m tcp --dport 3306 -j QUEUE",
        ),
        (
            "-I INPUT 1 -m state --state ESTABLISHED,NEW -j ACCEPT",
            "-A INPUT -m state --state NEW,ESTABLISHED -j ACCEPT",
        ),
        (
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,INVALID,NEW,UNTRACKED -j ACCEPT",
            "-A INPUT -m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED -j ACCEPT",
        ),
        (
            "-A OUTPUT -o eth0 -d 10.0.0.0/8 ! -p udp -j REJECT",
            "-A OUTPUT -d 10.0.0.0/8 -o eth0 ! -p udp -j REJECT --reject-with icmp-port-unreachable",
        ),
        (
            "-A INPUT -p tcp --syn -m limit --limit 5/s --limit-burst 3 -j DROP",
            "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m limit --limit 5/sec --limit-burst 3 -j DROP",
        ),
        (
            "-A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -j NFQUEUE",
            "-A INPUT -p tcp -m multiport --dports 80,443,1000:2000 -j NFQUEUE --queue-num 0",
        ),
        (
            "-A INPUT -p tcp --dport 1: -j NFQUEUE --queue-num 3 --queue-bypass",
            "-A INPUT -p tcp -m tcp --dport 1:65535 -j NFQUEUE --queue-num 3 --queue-bypass",
        ),
        (
            "-A INPUT -p icmp --icmp-type echo-request -j DROP",
            "-A INPUT -p icmp -m icmp --icmp-type 8 -j DROP",
        ),
        (
            "-A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP",
            "-A OUTPUT -p icmp -m icmp --icmp-type 3/4 -j DROP",
        ),
        (
            "-A INPUT -m statistic --mode nth --every 3 --packet 0 -j DROP",
            "-A INPUT -m statistic --mode nth --every 3 --packet 0 -j DROP",
        ),
        (
            "-A INPUT -m statistic --mode random --probability 0.1 -j DROP",
            "-A INPUT -m statistic --mode random --probability 0.10000000009 -j DROP",
        ),
        (
            "-A INPUT -i lo -s 10.0.0.1/255.255.0.0 -j LOG --log-prefix hello",
            "-A INPUT -s 10.0.0.0/16 -i lo -j LOG --log-prefix hello",
        ),
        (
            "-A INPUT -m mark --mark 1 -j MARK --set-mark 2",
            "-A INPUT -m mark --mark 0x1 -j MARK --set-xmark 0x2/0xffffffff",
        ),
        (
            "-t mangle -A OUTPUT -p tcp --sport ssh -j MARK --set-mark 0x2/0xf",
            "-A OUTPUT -p tcp -m tcp --sport 22 -j MARK --set-xmark 0x2/0xf",
        ),
        (
            "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
            "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
        ),
        (
            "-A INPUT -m comment --comment hi -p udp --dport 53 -j RETURN",
            "-A INPUT -p udp -m comment --comment hi -m udp --dport 53 -j RETURN",
        ),
        (
            "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ),
        (
            "-t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.2:8080",
            "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080",
        ),
        (
            "-A INPUT -m tcp -p tcp --dport 22 --sport 1:5",
            "-A INPUT -p tcp -m tcp --sport 1:5 --dport 22",
        ),
        ("-A INPUT -p all -s 0/0 -j DROP", "-A INPUT -j DROP"),
        ("-A INPUT -p 17 -j DROP", "-A INPUT -p udp -j DROP"),
        (
            "-A INPUT -m length --length 100:200 -m ttl --ttl-lt 5 -j DROP",
            "-A INPUT -m length --length 100:200 -m ttl --ttl-lt 5 -j DROP",
        ),
        ("-A INPUT -f -j DROP", "-A INPUT -f -j DROP"),
        (
            "-t mangle -A OUTPUT -j CONNMARK --save-mark",
            "-A OUTPUT -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        ),
    ] {
        let rule_set = run(&[&format!("iptables-legacy {typed}")]);
        let rules: Vec<_> = rule_set
            .rules()
            .map(|(_, _, rule)| rule.text.as_str())
            .collect();
        assert_eq!(rules, [printed], "{typed}");
    }
}

#[test]
fn the_legacy_program_makes_the_whole_table_and_the_other_one_a_chain() {
    let legacy =
        run(&["iptables-legacy -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 8080"]);
    let names: Vec<_> = legacy.tables[0]
        .chains
        .iter()
        .map(|chain| chain.name.as_str())
        .collect();
    assert_eq!(names, ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]);
    let nft = run(&[
        "iptables -A FORWARD -p tcp --dport 80 -j DROP",
        "iptables -P INPUT DROP",
        "iptables -N MINE",
    ]);
    let table = &nft.tables[0];
    assert_eq!(
        (table.backend, table.handle),
        (RuleBackend::IptablesNft, Some(1))
    );
    let chains: Vec<_> = table
        .chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain.handle))
        .collect();
    assert_eq!(
        chains,
        [("FORWARD", Some(1)), ("INPUT", Some(3)), ("MINE", Some(4))]
    );
    assert_eq!(table.chains[0].rules[0].handle, Some(2));
    assert_eq!(
        table.chains[1].base.as_ref().map(|base| base.policy),
        Some(Policy::Drop)
    );
}

#[test]
fn rules_come_and_go_at_their_places() {
    let rule_set = run(&[
        "iptables-legacy -A INPUT -s 10.0.0.1 -j DROP",
        "iptables-legacy -A INPUT -s 10.0.0.2 -j DROP",
        "iptables-legacy -I INPUT -s 10.0.0.3 -j DROP",
        "iptables-legacy -I INPUT 2 -s 10.0.0.4 -j DROP",
        "iptables-legacy -D INPUT -s 10.0.0.1 -j DROP",
        "iptables-legacy -R INPUT 3 -s 10.0.0.9 -j ACCEPT",
        "iptables-legacy -D INPUT 1",
    ]);
    let rules: Vec<_> = rule_set
        .rules()
        .map(|(_, _, rule)| (rule.number, rule.text.as_str()))
        .collect();
    assert_eq!(
        rules,
        [
            (1, "-A INPUT -s 10.0.0.4/32 -j DROP"),
            (2, "-A INPUT -s 10.0.0.9/32 -j ACCEPT")
        ]
    );
    let mut flushed = rule_set.clone();
    apply_command(&mut flushed, &shell("iptables-legacy -F INPUT")).expect("flush");
    assert_eq!(flushed.rules().count(), 0);
}

#[test]
fn a_list_of_addresses_makes_several_rules() {
    let rule_set = run(&["iptables-legacy -A INPUT -s 10.0.0.1,10.0.0.2 -j DROP"]);
    assert_eq!(
        write_iptables_save(&rule_set, RuleBackend::IptablesLegacy, Family::Ip)
            .lines()
            .filter(|line| line.contains("-A "))
            .collect::<Vec<_>>(),
        [
            "[0:0] -A INPUT -s 10.0.0.1/32 -j DROP",
            "[0:0] -A INPUT -s 10.0.0.2/32 -j DROP"
        ]
    );
}

#[test]
fn what_iptables_would_refuse_is_refused_with_its_word() {
    let empty = RuleSet::default();
    for (line, part) in [
        ("iptables-legacy -A INPUT --dport 80 -j DROP", "--dport"),
        (
            "iptables-legacy -A INPUT -p tcp --dport eighty -j DROP",
            "eighty",
        ),
        ("iptables-legacy -A NOWHERE -j DROP", "NOWHERE"),
        ("iptables-legacy -A INPUT -j NOWHERE", "NOWHERE"),
        (
            "iptables-legacy -A INPUT -s example.org -j DROP",
            "example.org",
        ),
        ("iptables-legacy -A INPUT -m nosuch -j DROP", "nosuch"),
        ("iptables-legacy -A INPUT -s fd00::1 -j DROP", "fd00::1"),
        ("iptables-legacy -A INPUT -j MASQUERADE", "MASQUERADE"),
        ("iptables-nft -A INPUT -j QUEUE", "QUEUE"),
        ("iptables-legacy -I INPUT 2 -j DROP", "place 2"),
        ("iptables-legacy -D INPUT 1", "no rule 1"),
        ("iptables-legacy -P INPUT REJECT", "REJECT"),
        ("iptables-legacy -A INPUT -j DROP extra", "extra"),
        ("iptables-legacy -t nonsense -F", "nonsense"),
        ("iptables-legacy", "no command"),
        ("ebtables -A INPUT -j DROP", "ebtables"),
    ] {
        let error = refused(&empty, line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn nft_tables_chains_and_rules() {
    let rule_set = run(&[
        "nft add table inet secret",
        "nft add chain inet secret forward '{ type filter hook forward priority 0; }'",
        "nft add rule inet secret forward tcp dport 80 drop",
        "nft add rule inet secret forward ip saddr 10.0.0.1 tcp dport 3306 counter drop",
        "nft insert rule inet secret forward tcp dport 80 counter reject with icmpx type port-unreachable",
        "nft add rule inet secret forward numgen inc mod 20 == 13 drop",
    ]);
    let table = &rule_set.tables[0];
    assert_eq!(
        (table.backend, table.family),
        (RuleBackend::Nft, Family::Inet)
    );
    let base = table.chains[0].base.as_ref().expect("base");
    assert_eq!(
        (base.kind, base.hook, base.priority, base.policy),
        (ChainKind::Filter, Hook::Forward, 0, Policy::Accept)
    );
    let rules: Vec<_> = rule_set
        .rules()
        .map(|(_, _, rule)| (rule.handle, rule.text.as_str()))
        .collect();
    assert_eq!(
        rules,
        [
            (Some(4), "tcp dport 80 counter reject"),
            (Some(2), "tcp dport 80 drop"),
            (Some(3), "ip saddr 10.0.0.1 tcp dport 3306 counter drop"),
            (Some(5), "numgen inc mod 20 13 drop"),
        ]
    );
    let rule = &table.chains[0].rules[0];
    assert_eq!(rule.counter, Some(Default::default()));
    assert_eq!(rule.action(), Action::Reject { with: None });
    assert_eq!(table.chains[0].rules[1].counter, None);
}

#[test]
fn nft_changes_and_deletes() {
    let rule_set = run(&[
        "nft add table ip t; add chain ip t c '{ type filter hook input priority filter - 5; policy drop; }'; add chain ip t d",
        "nft add rule t c ct state new jump d",
        "nft add rule t c counter",
        "nft 'replace rule t c handle 4 accept'",
        "nft add rule t c handle 3 tcp dport 1 accept",
        "nft add chain t c '{ policy accept; }'",
    ]);
    let table = &rule_set.tables[0];
    let base = table.chains[0].base.as_ref().expect("base");
    assert_eq!((base.priority, base.policy), (-5, Policy::Accept));
    let texts: Vec<_> = rule_set
        .rules()
        .map(|(_, _, rule)| rule.text.as_str())
        .collect();
    assert_eq!(
        texts,
        ["ct state new jump d", "tcp dport 1 accept", "accept"]
    );
    assert!(refused(&rule_set, "nft delete chain t d").contains("jumps"));
    assert!(refused(&rule_set, "nft delete rule t c handle 99").contains("no such rule"));
    assert!(refused(&rule_set, "nft add rule t c tcp dport 80 flibber").contains("flibber"));
    assert!(refused(&rule_set, "nft add rule inet t c drop").contains("no table"));
    let mut gone = rule_set.clone();
    for line in [
        "nft flush chain t c",
        "nft delete chain t d",
        "nft delete table t",
    ] {
        apply_command(&mut gone, &shell(line)).expect(line);
    }
    assert_eq!(gone, RuleSet::default());
}

#[test]
fn sets_and_their_elements() {
    let rule_set = run(&[
        "nft add table inet t",
        "nft add set inet t s '{ type ipv4_addr; flags interval; elements = { 10.0.0.1, 10.1.0.0/16 }; }'",
        "nft add element inet t s '{ 10.2.0.0-10.2.0.9 }'",
        "nft delete element inet t s '{ 10.0.0.1 }'",
        "nft add map inet t m '{ type inet_service : verdict; elements = { 22 : accept, 23 : drop }; }'",
        "nft add chain inet t c '{ type filter hook input priority 0; }'",
        "nft add rule inet t c ip saddr @s counter drop",
        "nft add rule inet t c tcp dport vmap @m",
    ]);
    let table = &rule_set.tables[0];
    let set = table.set("s").expect("set");
    assert_eq!(set.key, [Field::Source]);
    let address = |text: &str| text.parse().expect("address");
    let keys: Vec<_> = set
        .elements
        .iter()
        .map(|element| element.key.clone())
        .collect();
    assert_eq!(
        keys,
        [
            vec![Value::Addresses(
                address("10.1.0.0"),
                address("10.1.255.255")
            )],
            vec![Value::Addresses(address("10.2.0.0"), address("10.2.0.9"))],
        ]
    );
    let map = table.set("m").expect("map");
    assert!(map.verdicts);
    assert_eq!(map.elements[1].verdict, Some(Action::Drop));
    assert!(refused(&rule_set, "nft add rule inet t c ip saddr @nothere drop").contains("nothere"));
}

#[test]
fn a_block_is_added_whole() {
    let rule_set = run(&[
        "nft 'table inet t { chain a { tcp dport { 1, 2 } drop ; } chain c { type filter hook input priority 0; policy drop; ct state established accept; jump a; } }'",
    ]);
    let texts: Vec<_> = rule_set
        .rules()
        .map(|(_, chain, rule)| (chain.name.as_str(), rule.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            ("a", "tcp dport { 1, 2 } drop"),
            ("c", "ct state established accept"),
            ("c", "jump a")
        ]
    );
    let base = rule_set.tables[0].chains[1].base.as_ref().expect("base");
    assert_eq!((base.hook, base.policy), (Hook::LocalIn, Policy::Drop));
    let statements = &rule_set.tables[0].chains[1].rules[0].statements;
    assert!(matches!(
        statements.as_slice(),
        [Statement::Match(_), Statement::Verdict(Action::Accept)]
    ));
}

/// Typed, and as nft 1.0.6 listed it then.
#[test]
fn rules_are_printed_as_nft_prints_them() {
    for (typed, printed) in [
        ("limit rate 5/second drop", "limit rate 5/second drop"),
        (
            "limit rate 5/second burst 9 packets drop",
            "limit rate 5/second burst 9 packets drop",
        ),
        ("limit rate 10 kbytes/second", "limit rate 10 kbytes/second"),
        (
            "limit rate over 10 kbytes/second burst 5 kbytes",
            "limit rate over 10 kbytes/second burst 5 kbytes",
        ),
        (
            "ip frag-off & 0x3fff == 0x2000 drop",
            "ip frag-off & 16383 == 8192 drop",
        ),
        (
            "ip frag-off & 0x1fff != 0 drop",
            "ip frag-off & 8191 != 0 drop",
        ),
        ("frag frag-off 0 drop", "frag frag-off 0 drop"),
        ("frag frag-off != 0 drop", "frag frag-off != 0 drop"),
        ("numgen inc mod 20 == 13 drop", "numgen inc mod 20 13 drop"),
        (
            "numgen random mod 20 < 13 drop",
            "numgen random mod 20 < 13 drop",
        ),
        ("oif lo drop", "oif \"lo\" drop"),
        (
            "ct state established,related accept",
            "ct state established,related accept",
        ),
        (
            "tcp dport 80 ct state new accept",
            "tcp dport 80 ct state new accept",
        ),
        ("reject with icmpx type port-unreachable", "reject"),
        ("meta mark set 1", "meta mark set 0x00000001"),
        ("reject", "reject"),
        ("ip protocol icmp drop", "ip protocol icmp drop"),
        (
            "ip saddr { 10.0.0.2,10.0.0.1 } drop",
            "ip saddr { 10.0.0.1, 10.0.0.2 } drop",
        ),
        ("tcp flags syn drop", "tcp flags syn drop"),
        (
            "tcp dport {80,22} log prefix \"ab\" drop",
            "tcp dport { 22, 80 } log prefix \"ab\" drop",
        ),
        (
            "meta l4proto tcp counter drop",
            "meta l4proto tcp counter drop",
        ),
        ("icmp type echo-request drop", "icmp type echo-request drop"),
        ("ct mark set 0x5 accept", "ct mark set 0x00000005 accept"),
        ("ip ttl set 5", "ip ttl set 5"),
        (
            "tcp flags syn tcp option maxseg size set rt mtu",
            "tcp flags syn tcp option maxseg size set rt mtu",
        ),
        ("fib daddr type local accept", "fib daddr type local accept"),
        (
            "reject with tcp reset",
            "meta l4proto tcp reject with tcp reset",
        ),
        ("iif != lo drop", "iif != \"lo\" drop"),
        (
            "ip daddr 10.0.0.0/8 tcp sport 1024-65535 drop",
            "ip daddr 10.0.0.0/8 tcp sport 1024-65535 drop",
        ),
        (
            "meta l4proto { tcp, udp } th dport 53 accept",
            "meta l4proto { tcp, udp } th dport 53 accept",
        ),
        (
            "ip6 saddr fd00::1 icmpv6 type echo-request drop",
            "ip6 saddr fd00::1 icmpv6 type echo-request drop",
        ),
        ("counter comment \"hi\"", "counter comment \"hi\""),
        ("return", "return"),
        ("meta mark 0x5 drop", "meta mark 0x00000005 drop"),
        (
            "ct mark & 0xff == 1 drop",
            "ct mark & 0x000000ff == 0x00000001 drop",
        ),
        ("ct state != new drop", "ct state != new drop"),
        (
            "meta l4proto tcp counter drop",
            "meta l4proto tcp counter drop",
        ),
    ] {
        let mut words = vec!["nft".to_owned()];
        words.push(format!("add rule inet x c {typed}"));
        let mut rule_set = run(&["nft add table inet x; add chain inet x c"]);
        if let Err(error) = apply_command(&mut rule_set, &words) {
            panic!("{error}");
        }
        let (_, _, rule) = rule_set.rules().next().expect("one rule");
        assert_eq!(rule.text, printed, "{typed}");
    }
}

mod any_words {
    use super::*;
    use proptest::prelude::*;

    /// Words that commands are made of.
    const WORDS: &[&str] = &[
        "iptables",
        "ip6tables-legacy",
        "nft",
        "-t",
        "filter",
        "nat",
        "-A",
        "-I",
        "-D",
        "-R",
        "-F",
        "-P",
        "-N",
        "-X",
        "-E",
        "INPUT",
        "OUTPUT",
        "MINE",
        "-s",
        "10.0.0.1",
        "fd00::/8",
        "-p",
        "tcp",
        "udp",
        "--dport",
        "80",
        "1:",
        "!",
        "-m",
        "limit",
        "--limit",
        "5/s",
        "state",
        "--state",
        "NEW",
        "-j",
        "DROP",
        "REJECT",
        "MARK",
        "--set-mark",
        "0x1/0xf",
        "DNAT",
        "--to-destination",
        "10.0.0.2:80",
        "1",
        "0",
        "99999999999",
        "add",
        "insert",
        "delete",
        "flush",
        "table",
        "chain",
        "rule",
        "set",
        "element",
        "ruleset",
        "inet",
        "ip",
        "t",
        "c",
        "{",
        "}",
        ";",
        "type",
        "filter",
        "hook",
        "input",
        "priority",
        "policy",
        "drop",
        "accept",
        "handle",
        "index",
        "dport",
        "counter",
        "ct",
        "vmap",
        ":",
        ",",
        "@s",
        "ipv4_addr",
        "\"",
        "",
    ];

    proptest! {
        #[test]
        fn never_panic(picked in proptest::collection::vec(0..WORDS.len(), 0..24), rest in ".{0,12}") {
            let mut rule_set = run(&[
                "nft add table inet t; add chain inet t c",
                "iptables-legacy -A INPUT -p tcp -j DROP",
            ]);
            let mut words: Vec<String> = picked.iter().map(|at| WORDS[*at].to_owned()).collect();
            words.push(rest);
            for program in ["iptables-legacy", "nft"] {
                let before = rule_set.clone();
                let mut words = words.clone();
                words.insert(0, program.to_owned());
                if apply_command(&mut rule_set, &words).is_err() {
                    prop_assert_eq!(&rule_set, &before);
                }
            }
        }
    }
}
