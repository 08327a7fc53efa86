//! /proc/net/dev and /proc/net/softnet_stat.

use crate::counters::{Counters, Sums};
use transect_config::Parsed;

use crate::text::numbered;

/// The columns of /proc/net/dev (`dev_seq_printf_stats`), by the names of `ip -s -s -j link` where they mean the same.
///
/// Three columns are sums there, so that they have names of their own here: a drop on receipt also counts what was missed.
const COLUMNS: [(&str, &str, &str); 16] = [
    ("bytes", "", "rx_bytes"),
    ("packets", "", "rx_packets"),
    ("errs", "", "rx_errors"),
    ("drop", "", "rx_dropped_or_missed"),
    ("fifo", "", "rx_fifo_errors"),
    ("frame", "", "rx_frame_or_length_errors"),
    ("compressed", "", "rx_compressed"),
    ("multicast", "", "rx_multicast"),
    ("bytes", "tx", "tx_bytes"),
    ("packets", "tx", "tx_packets"),
    ("errs", "tx", "tx_errors"),
    ("drop", "tx", "tx_dropped"),
    ("fifo", "tx", "tx_fifo_errors"),
    ("colls", "tx", "tx_collisions"),
    ("carrier", "tx", "tx_carrier_or_aborted_errors"),
    ("compressed", "tx", "tx_compressed"),
];

/// Reads /proc/net/dev as `link.IFACE.NAME`; the columns are found by the header.
pub fn proc_net_dev(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut counters = Vec::new();
    let mut columns: Vec<Option<&str>> = Vec::new();
    for (number, line) in numbered(text) {
        if line.contains('|') {
            columns = header(line);
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let Some((interface, values)) = line.rsplit_once(':') else {
            read.problem(number, "\"IFACE: NUMBERS\"", line);
            continue;
        };
        let interface = interface.trim();
        let values: Vec<&str> = values.split_ascii_whitespace().collect();
        if columns.is_empty() || values.len() != columns.len() {
            read.problem(
                number,
                format_args!("{} numbers, as the header names", columns.len()),
                line,
            );
            continue;
        }
        for (name, value) in columns.iter().zip(values) {
            match (name, value.parse()) {
                (Some(name), Ok(value)) => {
                    counters.push((format!("link.{interface}.{name}"), value));
                }
                (None, _) => {}
                (Some(name), Err(_)) => {
                    read.problem(number, format_args!("a number for {name}"), value)
                }
            }
        }
    }
    read.value = counters.into_iter().collect();
    read
}

/// The names of the columns, `None` for those that are not known; empty for the first line of the header.
fn header(line: &str) -> Vec<Option<&'static str>> {
    let mut parts = line.split('|').skip(1);
    let (receive, transmit) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let side = |names: &str, side: &str| -> Vec<Option<&'static str>> {
        names
            .split_ascii_whitespace()
            .map(|word| {
                COLUMNS
                    .iter()
                    .find(|(name, of, _)| *name == word && *of == side)
                    .map(|(_, _, full)| *full)
            })
            .collect()
    };
    let mut columns = side(receive, "");
    columns.extend(side(transmit, "tx"));
    if columns.iter().all(Option::is_none) {
        columns.clear();
    }
    columns
}

/// Reads /proc/net/softnet_stat (`softnet_seq_show`) as `softnet.NAME`; one line of hexadecimal numbers for each CPU,
/// added up. Machine-wide even inside of a network namespace.
pub fn softnet_stat(text: &str) -> Parsed<Counters> {
    const NAMES: [(usize, &str); 5] = [
        (0, "processed"),
        (1, "dropped"),
        (2, "time_squeeze"),
        (9, "received_rps"),
        (10, "flow_limit"),
    ];
    let mut read = Parsed::default();
    let mut sums = Sums::default();
    for (number, line) in numbered(text) {
        let values: Result<Vec<u64>, _> = line
            .split_ascii_whitespace()
            .map(|word| u64::from_str_radix(word, 16))
            .collect();
        match values {
            Ok(values) if values.is_empty() => {}
            Ok(values) if values.len() >= 3 => {
                for (column, name) in NAMES {
                    if let Some(&value) = values.get(column) {
                        sums.add(format!("softnet.{name}"), value);
                    }
                }
            }
            _ => read.problem(number, "at least three hexadecimal numbers", line),
        }
    }
    read.value = sums.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0:107319032    4502    0    7    0     0          0         0   381022    3199    0    2    0     0       0          0
";

    #[test]
    fn devices_have_the_names_of_ip() {
        let read = proc_net_dev(DEV);
        assert_eq!(read.problems, []);
        assert_eq!(read.value.get("link.lo.rx_packets"), Some(29));
        assert_eq!(read.value.get("link.eth0.rx_bytes"), Some(107_319_032));
        assert_eq!(read.value.get("link.eth0.rx_dropped_or_missed"), Some(7));
        assert_eq!(read.value.get("link.eth0.tx_dropped"), Some(2));
        assert_eq!(read.value.len(), 32);
    }

    #[test]
    fn a_line_of_another_length_is_told() {
        let cut = &DEV[..DEV.len() - 20];
        let read = proc_net_dev(cut);
        assert_eq!(read.value.len(), 16);
        assert_eq!(read.problems[0].expected, "16 numbers, as the header names");
    }

    #[test]
    fn softnet_adds_up_the_cpus() {
        let line = "00001245 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000004 00000000 00000001";
        let read = softnet_stat(&format!("{line}\n{line}\n"));
        insta::assert_debug_snapshot!(read.value, @r#"
        {
            "softnet.dropped": 2,
            "softnet.flow_limit": 8,
            "softnet.processed": 9354,
            "softnet.received_rps": 6,
            "softnet.time_squeeze": 4,
        }
        "#);
        assert_eq!(softnet_stat("0001 xyz 3\n1 2\n").problems.len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            softnet_stat(&text);
            proc_net_dev(&text);
            proc_net_dev(&format!("{DEV}{text}"));
        }
    }
}
