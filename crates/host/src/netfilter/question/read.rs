//! Questions in the words of their programs (`iptables-save`, `nft list ruleset`).

use super::connections::ConnectionLimit;
use super::named::{HashLimit, Recent};
use super::{Bucket, FragmentField, LIMIT_SCALE, Number, Question, Rate};

impl Question {
    /// Reads a match in its program's words; none for one that the model cannot answer.
    pub(super) fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["-m", "limit", options @ ..] => read_rate(options),
            ["-m", "statistic", options @ ..] => read_statistic(options),
            ["-m", "quota", "--quota", bytes] => Some(Question::Quota {
                left: bytes.parse().ok()?,
            }),
            ["-m", "recent", options @ ..] => Recent::read(options).map(Question::Recent),
            ["-m", "hashlimit", options @ ..] => HashLimit::read(options).map(Question::HashLimit),
            ["-m", "connlimit", options @ ..] => {
                ConnectionLimit::read_connlimit(options).map(Question::Connections)
            }
            ["ct", "count", rest @ ..] => {
                ConnectionLimit::read_count(rest).map(Question::Connections)
            }
            ["quota", rest @ ..] => read_quota(rest),
            ["limit", "rate", rest @ ..] => read_bucket(rest),
            ["ip", "frag-off", rest @ ..] => read_fragment(false, rest),
            ["frag", "frag-off", rest @ ..] => read_fragment(true, rest),
            [
                "numgen",
                mode @ ("inc" | "random"),
                "mod",
                modulus,
                rest @ ..,
            ] => {
                let modulus: u32 = modulus.parse().ok().filter(|modulus| *modulus > 0)?;
                let (negated, wanted) = read_comparison(rest)?;
                Some(Question::Number(Number {
                    counts: *mode == "inc",
                    modulus,
                    counter: modulus - 1,
                    negated,
                    wanted,
                }))
            }
            _ => None,
        }
    }
}

/// Seconds of a unit of time, in either program's words.
pub(super) fn seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "second" | "sec" | "s" => 1,
        "minute" | "min" | "m" => 60,
        "hour" | "h" => 60 * 60,
        "day" | "d" => 24 * 60 * 60,
        "week" => 7 * 24 * 60 * 60,
        _ => return None,
    })
}

/// `--limit 5/sec --limit-burst 3`.
fn read_rate(options: &[&str]) -> Option<Question> {
    let (mut average, mut burst) = (LIMIT_SCALE * 60 * 60 / 3, 5);
    for option in options.chunks(2) {
        match option {
            ["--limit", rate] => {
                let (number, unit) = rate.split_once('/')?;
                let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
                average = LIMIT_SCALE * seconds(unit)? / number;
            }
            ["--limit-burst", number] => burst = number.parse().ok()?,
            _ => return None,
        }
    }
    Some(Question::Rate(Rate {
        average: u32::try_from(average).ok()?,
        burst,
        credit: None,
    }))
}

/// `--mode nth --every 3 --packet 0`, `--mode random [!] --probability 0.1`.
fn read_statistic(options: &[&str]) -> Option<Question> {
    match options {
        ["--mode", "nth", "--every", every, rest @ ..] => {
            let every: u32 = every.parse().ok().filter(|every| *every > 0)?;
            let packet: u32 = match rest {
                [] => 0,
                ["--packet", packet] => packet.parse().ok().filter(|packet| *packet < every)?,
                _ => return None,
            };
            Some(Question::Nth {
                every: every - 1,
                count: every - 1 - packet,
            })
        }
        ["--mode", "random", rest @ ..] => {
            let (inverted, text) = match rest {
                ["--probability", text] => (false, text),
                ["!", "--probability", text] => (true, text),
                _ => return None,
            };
            let chance: f64 = text.parse().ok().filter(|p| (0.0..=1.0).contains(p))?;
            Some(Question::Chance {
                threshold: (chance * 2_147_483_648.0).round() as u32,
                inverted,
            })
        }
        _ => None,
    }
}

/// `[over|until] 10 mbytes [used …]`.
fn read_quota(words: &[&str]) -> Option<Question> {
    let (over, words) = match words {
        ["over", rest @ ..] => (true, rest),
        ["until", rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let bytes = |number: &str, unit: &str| number.parse::<u64>().ok()?.checked_mul(scale(unit)?);
    let (limit, consumed) = match words {
        [number, unit] => (bytes(number, unit)?, 0),
        [number, unit, "used", used, its] => (bytes(number, unit)?, bytes(used, its)?),
        _ => return None,
    };
    Some(Question::Consumption {
        limit,
        over,
        consumed,
    })
}

/// Bytes of a unit of nft's.
fn scale(unit: &str) -> Option<u64> {
    match unit {
        "bytes" => Some(1),
        "kbytes" => Some(1024),
        "mbytes" => Some(1024 * 1024),
        _ => None,
    }
}

/// `[over] 5/second [burst 9 packets]`, `[over] 10 kbytes/second [burst 5 kbytes]`.
fn read_bucket(words: &[&str]) -> Option<Question> {
    let (over, words) = match words {
        ["over", rest @ ..] => (true, rest),
        words => (false, words),
    };
    let (rate, unit, factor, rest) = match words {
        [rate, rest @ ..] if rate.contains('/') => {
            let (rate, unit) = rate.split_once('/')?;
            (rate, unit, None, rest)
        }
        [rate, unit, rest @ ..] => {
            let (bytes, unit) = unit.split_once('/')?;
            (*rate, unit, Some(scale(bytes)?), rest)
        }
        _ => return None,
    };
    let burst: Option<u64> = match rest {
        [] => None,
        ["burst", number, "packets"] => Some(number.parse().ok()?),
        ["burst", number, unit] => Some(number.parse::<u64>().ok()?.checked_mul(scale(unit)?)?),
        _ => return None,
    };
    Some(Question::Bucket(Bucket {
        rate: rate.parse::<u64>().ok()?.checked_mul(factor.unwrap_or(1))?,
        unit: seconds(unit)?.checked_mul(1_000_000_000)?,
        // `NFT_LIMIT_PKT_BURST_DEFAULT`
        burst: burst
            .filter(|burst| *burst > 0)
            .unwrap_or(if factor.is_some() { 0 } else { 5 }),
        bytes: factor.is_some(),
        over,
        tokens: None,
    }))
}

/// `[& MASK] COMPARISON`.
fn read_fragment(v6: bool, words: &[&str]) -> Option<Question> {
    let (mask, rest) = match words {
        ["&", mask, rest @ ..] => (number(mask)?, rest),
        rest => (u32::MAX, rest),
    };
    let (negated, wanted) = read_comparison(rest)?;
    Some(Question::Fragment(FragmentField {
        v6,
        mask,
        negated,
        wanted,
    }))
}

/// A number, decimal or with 0x.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `13`, `!= 13`, `< 5`, `0-4`, `{ 1, 2 }`.
fn read_comparison(words: &[&str]) -> Option<(bool, Vec<(u32, u32)>)> {
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|number| (number, number)),
    };
    let one = |range| Some((false, vec![range]));
    match words {
        ["<", bound] => match number(bound)?.checked_sub(1) {
            Some(last) => one((0, last)),
            None => Some((false, Vec::new())),
        },
        ["<=", bound] => one((0, number(bound)?)),
        [">", bound] => one((number(bound)?.checked_add(1)?, u32::MAX)),
        [">=", bound] => one((number(bound)?, u32::MAX)),
        ["!=", rest @ ..] => read_comparison(rest).map(|(_, wanted)| (true, wanted)),
        ["==", rest @ ..] => read_comparison(rest),
        ["{", inner @ .., "}"] => {
            let parts = inner.iter().map(|word| word.trim_end_matches(','));
            let wanted: Option<Vec<_>> = parts.filter(|word| !word.is_empty()).map(range).collect();
            wanted.map(|wanted| (false, wanted))
        }
        [word] => one(range(word)?),
        _ => None,
    }
}
