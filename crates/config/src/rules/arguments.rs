//! One rule in iptables' words: `-s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j DROP`.
//!
//! The words are those that `iptables-save` prints (which differ from what one may type: one spelling for each option).

mod matches;
mod targets;

use std::net::IpAddr;

use super::names;
use super::{Action, Counter, Family, Field, Match, Statement, Value};

pub(super) use targets::CONTINUE as CONTINUE_TARGETS;

/// What became of a rule's words.
#[derive(Debug, Clone, Default)]
pub(super) struct ParsedRule {
    /// The steps.
    pub(super) statements: Vec<Statement>,
    /// The counter of `-c PACKETS BYTES`.
    pub(super) counter: Option<Counter>,
}

/// Splits a line into words as a shell would: double quotes, and the backslash inside of them.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut begun) = (false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            '\\' if quoted => word.extend(chars.next()),
            c if c.is_whitespace() && !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The words of a rule, read one by one.
pub(super) struct Words<'a> {
    words: &'a [String],
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    /// The words up to the next option.
    fn arguments(&mut self) -> Vec<&'a str> {
        let mut taken = Vec::new();
        while let Some(word) = self.peek() {
            if word == "!" || (word.starts_with('-') && word.parse::<f64>().is_err()) {
                break;
            }
            taken.push(word);
            self.next += 1;
        }
        taken
    }
}

/// Reads the words behind `-A CHAIN`.
///
/// `is_chain` says whether a target is a chain of the same table.
pub(super) fn parse_rule(
    family: Family,
    all: &[String],
    is_chain: &dyn Fn(&str) -> bool,
) -> ParsedRule {
    let mut words = Words {
        words: all,
        next: 0,
    };
    let mut rule = ParsedRule::default();
    let mut decided = false;
    let mut module = String::new();
    let mut negated = false;
    while let Some(word) = words.take() {
        match word {
            "!" => {
                negated = true;
                continue;
            }
            "-c" | "--set-counters" => rule.counter = counter(&mut words),
            "-m" | "--match" => {
                module = words.take().unwrap_or_default().to_owned();
                if let Some(test) = matches::whole(&module, &mut words) {
                    rule.push(test);
                }
            }
            "-j" | "--jump" => {
                let name = words.take().unwrap_or_default();
                let target = targets::parse(name, &mut words, is_chain);
                rule.statements.push(Statement::Counter);
                rule.statements.extend(target);
                decided = true;
            }
            "-g" | "--goto" => {
                rule.statements.push(Statement::Counter);
                let chain = words.take().unwrap_or_default().to_owned();
                rule.statements
                    .push(Statement::Verdict(Action::Goto(chain)));
                decided = true;
            }
            _ => {
                for test in option(family, &module, word, negated, &mut words) {
                    rule.push(test);
                }
            }
        }
        negated = false;
    }
    if !decided {
        rule.statements.push(Statement::Counter);
    }
    rule
}

impl ParsedRule {
    /// Matches stand before the counter, whatever the order of the words.
    fn push(&mut self, test: Match) {
        let at = self
            .statements
            .iter()
            .position(|s| !matches!(s, Statement::Match(_)))
            .unwrap_or(self.statements.len());
        self.statements.insert(at, Statement::Match(test));
    }
}

fn counter(words: &mut Words<'_>) -> Option<Counter> {
    Some(Counter {
        packets: words.take()?.parse().ok()?,
        bytes: words.take()?.parse().ok()?,
    })
}

/// One option that is a match: those of iptables itself here, those of a module there.
fn option(
    family: Family,
    module: &str,
    word: &str,
    negated: bool,
    words: &mut Words<'_>,
) -> Vec<Match> {
    let field = match word {
        "-s" | "--source" | "--src" => Field::Source,
        "-d" | "--destination" | "--dst" => Field::Destination,
        "-i" | "--in-interface" => Field::InInterface,
        "-o" | "--out-interface" => Field::OutInterface,
        "-p" | "--protocol" | "--proto" => Field::Protocol,
        "-f" | "--fragment" => {
            return vec![Match::field(
                Field::FragmentOffset,
                [Value::Number(0)],
                !negated,
            )];
        }
        _ => return matches::option(family, module, word, negated, words),
    };
    let Some(argument) = words.take() else {
        return vec![Match::unknown(word)];
    };
    let values: Vec<Value> = match field {
        Field::Source | Field::Destination => argument.split(',').map(network).collect(),
        Field::Protocol => match names::protocol(argument) {
            Some(0) if !negated => return Vec::new(),
            Some(number) => vec![Value::Number(number.into())],
            None => vec![Value::Unknown(argument.to_owned())],
        },
        _ => vec![interface(argument)],
    };
    vec![Match::field(field, values, negated)]
}

/// An interface's name; a `+` at its end means every name that begins so.
fn interface(name: &str) -> Value {
    match name.strip_suffix('+') {
        Some(prefix) => Value::NamePrefix(prefix.to_owned()),
        None => Value::Name(name.to_owned()),
    }
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fd00::/8`.
pub(super) fn network(text: &str) -> Value {
    read_network(text).unwrap_or_else(|| Value::Unknown(text.to_owned()))
}

fn read_network(text: &str) -> Option<Value> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(Value::address);
    };
    let address: IpAddr = address.parse().ok()?;
    let length = match length.parse::<u8>() {
        Ok(length) => length,
        Err(_) => mask_length(length.parse().ok()?)?,
    };
    Value::prefix(address, length)
}

/// The length of a netmask, when its ones stand together.
fn mask_length(mask: IpAddr) -> Option<u8> {
    let (ones, zeros, width) = match mask {
        IpAddr::V4(mask) => {
            let bits = u32::from(mask);
            (bits.leading_ones(), bits.trailing_zeros(), 32)
        }
        IpAddr::V6(mask) => {
            let bits = u128::from(mask);
            (bits.leading_ones(), bits.trailing_zeros(), 128)
        }
    };
    (ones + zeros == width).then_some(ones as u8)
}

/// `22`, `1024:65535`, `:1023`, `1024:` with ports or other numbers up to `most`.
pub(super) fn range(text: &str, most: u64) -> Value {
    let read = |part: &str, default| match part {
        "" => Some(default),
        part => names::number(part),
    };
    let value = match text.split_once(':') {
        Some((first, last)) => match (read(first, 0), read(last, most)) {
            (Some(first), Some(last)) => Some(Value::Numbers(first, last)),
            _ => None,
        },
        None => names::number(text).map(Value::Number),
    };
    value.unwrap_or_else(|| Value::Unknown(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{CtStates, Elements, Key, Nat, NatKind, Test};

    fn parse(text: &str) -> Vec<Statement> {
        parse_rule(Family::Ip, &words(text), &|name| name == "MINE").statements
    }

    fn one(text: &str) -> Match {
        match parse(text).swap_remove(0) {
            Statement::Match(test) => test,
            other => panic!("{text}: no match but {other:?}"),
        }
    }

    #[test]
    fn words_keep_what_quotes_hold_together() {
        assert_eq!(
            words(r#"-m comment --comment "a \"b\" c" -j X"#),
            ["-m", "comment", "--comment", "a \"b\" c", "-j", "X"]
        );
        assert_eq!(words(r#"--log-prefix "" x"#), ["--log-prefix", "", "x"]);
    }

    #[test]
    fn networks_and_masks() {
        let net = |a: &str, b: &str| {
            Value::Addresses(a.parse().expect("address"), b.parse().expect("address"))
        };
        assert_eq!(network("10.1.2.3/8"), net("10.0.0.0", "10.255.255.255"));
        assert_eq!(
            network("10.0.0.0/255.255.0.0"),
            net("10.0.0.0", "10.0.255.255")
        );
        assert_eq!(
            network("fd00::/16"),
            net("fd00::", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        );
        assert_eq!(
            network("::/0"),
            net("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        );
        assert!(matches!(network("10.0.0.0/255.0.0.255"), Value::Unknown(_)));
        assert!(matches!(network("10.0.0.0/33"), Value::Unknown(_)));
    }

    #[test]
    fn ports_can_be_open_at_either_end() {
        assert_eq!(range(":1023", 65535), Value::Numbers(0, 1023));
        assert_eq!(range("1024:", 65535), Value::Numbers(1024, 65535));
        assert_eq!(range("22", 65535), Value::Number(22));
    }

    #[test]
    fn negation_belongs_to_the_next_option_only() {
        let all = parse("! -s 10.0.0.1 -p tcp -m tcp ! --dport 80 -j DROP");
        let negated: Vec<bool> = all
            .iter()
            .filter_map(|s| match s {
                Statement::Match(m) => Some(m.negated),
                _ => None,
            })
            .collect();
        assert_eq!(negated, [true, false, true]);
        assert_eq!(all.last(), Some(&Statement::Verdict(Action::Drop)));
    }

    #[test]
    fn tcp_flags_are_bits_under_a_mask() {
        for text in [
            "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
            "-m tcp --syn",
            "-m tcp --tcp-flags 0x17 0x02",
        ] {
            assert_eq!(
                one(text).test,
                Test::In {
                    key: vec![Key {
                        field: Field::TcpFlags,
                        mask: Some(0x17)
                    }],
                    elements: Elements::Inline(vec![vec![Value::Number(2)]])
                },
                "{text}"
            );
        }
    }

    #[test]
    fn states_in_both_spellings() {
        for text in [
            "-m conntrack --ctstate NEW,INVALID",
            "-m state --state NEW,INVALID",
        ] {
            assert_eq!(
                one(text),
                Match::field(
                    Field::CtState,
                    [CtStates::NEW, CtStates::INVALID].map(|s| Value::Number(s.0.into())),
                    false
                )
            );
        }
    }

    #[test]
    fn unknown_modules_stay_as_words_and_lose_nothing_behind_them() {
        let all = parse("-m hashlimit --hashlimit-upto 5/sec ! --foo a -p tcp -j DROP");
        assert!(
            matches!(&all[0], Statement::Match(Match { test: Test::Unknown { text }, .. })
                if text == "-m hashlimit --hashlimit-upto 5/sec ! --foo a"),
            "{all:?}"
        );
        assert_eq!(all.len(), 4);
        assert_eq!(all.last(), Some(&Statement::Verdict(Action::Drop)));
    }

    #[test]
    fn targets() {
        let action = |text: &str| parse(text).last().cloned();
        let verdict = |action| Some(Statement::Verdict(action));
        assert_eq!(
            action("-j NFQUEUE --queue-balance 1:3 --queue-bypass"),
            verdict(Action::Queue {
                first: 1,
                last: 3,
                bypass: true
            })
        );
        assert_eq!(
            action("-j QUEUE"),
            verdict(Action::Queue {
                first: 0,
                last: 0,
                bypass: false
            })
        );
        assert_eq!(action("-j MINE"), verdict(Action::Jump("MINE".into())));
        assert_eq!(action("-g MINE"), verdict(Action::Goto("MINE".into())));
        assert_eq!(
            action("-j NEVERHEARD --x 1"),
            verdict(Action::Unknown("-j NEVERHEARD --x 1".into()))
        );
        assert_eq!(
            action("-p tcp -j DNAT --to-destination [fd00::2]:80-81"),
            verdict(Action::Nat(Nat {
                kind: NatKind::Destination,
                addresses: Some((
                    "fd00::2".parse().expect("address"),
                    "fd00::2".parse().expect("address")
                )),
                ports: Some((80, 81)),
                computed: false
            }))
        );
        assert_eq!(
            action("-j MARK --set-xmark 0x10/0xff"),
            Some(Statement::SetMark {
                value: Some(0x10),
                mask: 0xff
            })
        );
        assert_eq!(
            action("-j CT --notrack"),
            Some(Statement::NoTrack { certain: true })
        );
        assert_eq!(action("-p tcp"), Some(Statement::Counter));
    }
}
