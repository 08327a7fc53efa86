//! Queueing disciplines from the text of `tc qdisc`.

use super::{Qdisc, TcStatistics};
use crate::parse::Parsed;
use crate::text::Words;

pub(super) fn read(text: &str) -> Parsed<Vec<Qdisc>> {
    let mut parsed: Parsed<Vec<Qdisc>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("qdisc ") {
            match header(rest) {
                Some(qdisc) => parsed.value.push(qdisc),
                None => parsed.problem(
                    number + 1,
                    "a qdisc, such as \"qdisc noqueue 0: dev lo root\"",
                    line,
                ),
            }
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        match parsed.value.last_mut() {
            Some(qdisc) if line.starts_with(char::is_whitespace) => {
                if line.trim_start().starts_with("Sent ") && qdisc.statistics.is_none() {
                    qdisc.statistics = Some(TcStatistics::default());
                }
                if let Some(statistics) = &mut qdisc.statistics
                    && statistics_line(statistics, line).is_none()
                {
                    parsed.problem(
                        number + 1,
                        "statistics, such as \"Sent 0 bytes 0 pkt (dropped 0, …\"",
                        line,
                    );
                }
            }
            _ => parsed.problem(number + 1, "a line that begins with \"qdisc\"", line),
        }
    }
    parsed
}

/// `htb 1: dev eth0 root refcnt 3 r2q 10 …`
fn header(rest: &str) -> Option<Qdisc> {
    let mut words = Words::new(rest);
    let mut qdisc = Qdisc {
        kind: words.next()?.to_owned(),
        handle: words
            .next()
            .filter(|handle| handle.contains(':'))?
            .to_owned(),
        ..Qdisc::default()
    };
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "dev" if qdisc.device.is_empty() => qdisc.device = words.next()?.to_owned(),
            "root" => qdisc.parent = "root".to_owned(),
            "parent" => qdisc.parent = words.next()?.to_owned(),
            "refcnt" => {
                words.next();
            }
            _ => options.push(word),
        }
    }
    qdisc.options = options.join(" ");
    Some(qdisc)
}

/// `Sent 1396 bytes 14 pkt (dropped 0, overlimits 0 requeues 0)` and `backlog 0b 0p requeues 0`, into statistics. Other lines,
/// which are the discipline's own, change nothing. None: one of the two, but not as expected.
pub(crate) fn statistics_line(statistics: &mut TcStatistics, line: &str) -> Option<()> {
    let plain = line.replace(['(', ')', ','], " ");
    let mut words = Words::new(&plain);
    match words.next() {
        Some("Sent") => {
            statistics.bytes = words.value()?;
            words.next();
            statistics.packets = words.value()?;
            while let Some(word) = words.next() {
                match word {
                    "dropped" => statistics.drops = words.value()?,
                    "overlimits" => statistics.overlimits = words.value()?,
                    "requeues" => statistics.requeues = words.value()?,
                    _ => {}
                }
            }
        }
        Some("backlog") => {
            statistics.backlog = size(words.next()?)?;
            if let Some(qlen) = words.peek().and_then(|word| word.strip_suffix('p')) {
                statistics.qlen = qlen.parse().ok()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// `0b`, `1514b`, `12Kb`, `3Mb`: rounded by `tc` beyond 1 KiB.
fn size(text: &str) -> Option<u64> {
    let text = text.strip_suffix('b')?;
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1024.0),
        b'M' => (&text[..text.len() - 1], 1024.0 * 1024.0),
        b'G' => (&text[..text.len() - 1], 1024.0 * 1024.0 * 1024.0),
        _ => return text.parse().ok(),
    };
    let value: f64 = digits.parse().ok()?;
    // A float beyond u64 saturates, a negative one becomes 0.
    Some((value * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backlogs() {
        assert_eq!(size("0b"), Some(0));
        assert_eq!(size("1514b"), Some(1514));
        assert_eq!(size("12Kb"), Some(12288));
        assert_eq!(size("b"), None);
        assert_eq!(size("xKb"), None);
    }
}
