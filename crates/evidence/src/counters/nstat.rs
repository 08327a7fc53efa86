//! The output of `nstat`, as text and as JSON.

use crate::counters::{Counters, Family};
use transect_config::Parsed;

use crate::text::numbered;

/// Reads the text that `nstat` prints: a header (`#kernel`, or the sampling of its daemon), then name, value and rate.
///
/// Without `-z`, counters that are zero are left out. Without `-a`, `nstat` prints what was added since its own last
/// call; nothing in the text tells the two apart, so that the values are taken as they stand.
pub fn nstat(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut counters = Vec::new();
    for (number, line) in numbered(text) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        match words.next().map(str::parse::<u64>) {
            Some(Ok(value)) if Family::of(name).is_some() => {
                counters.push((name.to_owned(), value));
            }
            // `lnstat`-like extra lines of other kernels' families are kept out of the flat names.
            Some(Ok(_)) => {}
            _ => read.problem(number, "NAME VALUE RATE", line),
        }
    }
    read.value = finished(counters);
    read
}

/// Reads the JSON that `nstat -j` prints: an object with the source (`kernel`) and in it names and values.
///
/// Text that is not JSON, or not of that shape, gives no counters and a problem.
pub fn nstat_json(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            read.problem(error.line(), "JSON", &error.to_string());
            return read;
        }
    };
    let Some(sources) = value.as_object() else {
        read.problem(1, "an object {\"kernel\": {\"IpInReceives\": …}}", text);
        return read;
    };
    let counters = sources
        .values()
        .filter_map(serde_json::Value::as_object)
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .filter(|(name, _)| Family::of(name).is_some())
        .collect();
    read.value = finished(counters);
    read
}

fn finished(counters: Vec<(String, u64)>) -> Counters {
    // With -z there are always some that are zero.
    let sparse = !counters.is_empty() && counters.iter().all(|&(_, value)| value > 0);
    let mut counters: Counters = counters.into_iter().collect();
    if sparse {
        counters.set_sparse(Family::ALL.iter().copied());
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_with_and_without_zeros() {
        let all = nstat(
            "#kernel\nIpInReceives                    4525               0.0\nTcpExtListenDrops               0                  0.0\n",
        );
        assert_eq!(all.value.get("IpInReceives"), Some(4525));
        assert_eq!(all.value.get("TcpExtListenDrops"), Some(0));
        assert_eq!(all.value.get("TcpExtListenOverflows"), None);
        let some = nstat(
            "#29856.1804289383 sampling_interval=1 time_const=60\nIpInReceives                    4525               12.3\n",
        );
        assert_eq!(some.value.get("TcpExtListenDrops"), Some(0));
        assert_eq!((all.problems, some.problems), (vec![], vec![]));
    }

    #[test]
    fn json() {
        let counters = nstat_json(r#"{"kernel":{"IpInReceives":4525,"Icmp6InType135":2}}"#).value;
        assert_eq!(counters.get("Icmp6InType135"), Some(2));
        assert_eq!(counters.get("IpInDelivers"), Some(0));
        assert_eq!(nstat_json("[1]").problems[0].line, 1);
        insta::assert_snapshot!(nstat_json("{\"kernel\":\n{").problems[0], @r#"line 2: expected JSON, found "EOF while parsing an object at line 2 column 1""#);
    }

    #[test]
    fn damage_is_told() {
        let read = nstat("#kernel\nIpInReceives\nIpInDelivers x 0.0\nIpOutRequests 3 0.0\n");
        assert_eq!(
            read.value.iter().collect::<Vec<_>>(),
            [("IpOutRequests", 3)]
        );
        assert_eq!(read.problems.len(), 2);
        assert_eq!(
            read.problems[0].to_string(),
            "line 2: expected NAME VALUE RATE, found \"IpInReceives\""
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            nstat(&text);
            nstat_json(&text);
        }
    }
}
