//! Texts of names and values: /proc/net/sockstat, sockstat6, xfrm_stat.

use crate::counters::Counters;
use transect_config::Parsed;

use crate::text::numbered;

/// Reads /proc/net/xfrm_stat (`xfrm_statistics_seq_show`) as `xfrm.NAME`.
pub fn xfrm_stat(text: &str) -> Parsed<Counters> {
    name_and_value(text, "xfrm.")
}

/// Reads /proc/net/sockstat or sockstat6 (`sockstat_seq_show`) as `sockstat.PROTOCOL.NAME`.
///
/// These are amounts, not counters: they also go down.
pub fn sockstat(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut counters = Vec::new();
    for (number, line) in numbered(text) {
        if line.trim().is_empty() {
            continue;
        }
        let Some((protocol, rest)) = line.split_once(':') else {
            read.problem(number, "\"PROTOCOL: NAME VALUE …\"", line);
            continue;
        };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        for pair in words.chunks(2) {
            match pair {
                [name, value] if value.parse::<u64>().is_ok() => {
                    let value = value.parse().unwrap_or_default();
                    counters.push((format!("sockstat.{protocol}.{name}"), value));
                }
                // Memory in pages may be shown below zero for a moment: per-CPU parts are not flushed.
                [_, value] if value.parse::<i64>().is_ok() => {}
                _ => read.problem(number, "a name and a number", &pair.join(" ")),
            }
        }
    }
    read.value = counters.into_iter().collect();
    read
}

/// One name and one value on each line.
pub(super) fn name_and_value(text: &str, prefix: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut counters = Vec::new();
    for (number, line) in numbered(text) {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some(name), Some(value), None) => match value.parse::<u64>() {
                Ok(value) => counters.push(([prefix, name].concat(), value)),
                Err(_) if value.parse::<i64>().is_ok() => {}
                Err(_) => read.problem(number, "a name and a number", line),
            },
            _ => read.problem(number, "a name and a number", line),
        }
    }
    read.value = counters.into_iter().collect();
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sockstat_names_hold_the_protocol() {
        let text = "sockets: used 28\nTCP: inuse 1 orphan 0 tw 0 alloc 8 mem 159\nFRAG: inuse 2 memory 4096\n";
        let read = sockstat(text);
        assert_eq!(read.problems, []);
        assert_eq!(read.value.get("sockstat.TCP.mem"), Some(159));
        assert_eq!(read.value.get("sockstat.FRAG.memory"), Some(4096));
        assert_eq!(read.value.get("sockstat.sockets.used"), Some(28));
        let read = sockstat("TCP6: inuse\nnothing");
        assert_eq!((read.problems[0].line, read.problems[1].line), (1, 2));
    }

    #[test]
    fn xfrm_counters_keep_the_kernels_names() {
        let read = xfrm_stat("XfrmInError             \t0\nXfrmInNoStates          \t3\n");
        assert_eq!(read.value.get("xfrm.XfrmInNoStates"), Some(3));
        let read = xfrm_stat("XfrmInError three\n");
        assert_eq!(
            read.problems[0].to_string(),
            "line 1: expected a name and a number, found \"XfrmInError three\""
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            sockstat(&text);
            xfrm_stat(&text);
        }
    }
}
