//! /proc/net/snmp, /proc/net/netstat and /proc/net/snmp6.

use crate::counters::Counters;
use transect_config::Parsed;

use crate::text::numbered;

/// Reads /proc/net/snmp or /proc/net/netstat (`snmp_seq_show`, `netstat_seq_show`): pairs of lines, names and values, each
/// with the family in front. Names and values are matched by the header, never by position, since kernels add columns.
///
/// `TcpMaxConn` is -1 where there is no limit; what is negative is left out.
pub fn snmp(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut counters = Vec::new();
    let mut header: Option<(usize, &str, &str)> = None;
    for (number, line) in numbered(text) {
        if line.trim().is_empty() {
            continue;
        }
        let Some((family, rest)) = line.split_once(':') else {
            read.problem(number, "\"FAMILY: …\"", line);
            continue;
        };
        match header.take() {
            Some((_, of, names)) if of == family => {
                pair(&mut read, &mut counters, number, family, names, rest);
            }
            other => {
                if let Some((number, of, _)) = other {
                    read.problem(
                        number,
                        format_args!("the values of {of} below its names"),
                        line,
                    );
                }
                header = Some((number, family, rest));
            }
        }
    }
    if let Some((number, family, rest)) = header {
        read.problem(
            number,
            format_args!("the values of {family} below its names"),
            rest,
        );
    }
    read.value = counters.into_iter().collect();
    read
}

fn pair(
    read: &mut Parsed<Counters>,
    counters: &mut Vec<(String, u64)>,
    number: usize,
    family: &str,
    names: &str,
    values: &str,
) {
    let mut values = values.split_ascii_whitespace();
    for name in names.split_ascii_whitespace() {
        let Some(text) = values.next() else {
            read.problem(
                number,
                format_args!("a value for {family}{name}"),
                "the end of the line",
            );
            return;
        };
        match text.parse::<u64>() {
            Ok(value) => counters.push(([family, name].concat(), value)),
            Err(_) if text.parse::<i64>().is_ok() => {}
            Err(_) => read.problem(number, format_args!("a number for {family}{name}"), text),
        }
    }
    if let Some(extra) = values.next() {
        read.problem(
            number,
            format_args!("as many values as {family} has names"),
            extra,
        );
    }
}

/// Reads /proc/net/snmp6 (`snmp6_seq_show`): one name and one value on each line.
pub fn snmp6(text: &str) -> Parsed<Counters> {
    super::plain::name_and_value(text, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_are_found_by_name() {
        let text = "Tcp: RtoAlgorithm MaxConn New InSegs\nTcp: 1 -1 7 42\nUdp: NoPorts\nUdp: 3\n";
        let read = snmp(text);
        assert_eq!(read.problems, []);
        insta::assert_debug_snapshot!(read.value, @r#"
        {
            "TcpInSegs": 42,
            "TcpNew": 7,
            "TcpRtoAlgorithm": 1,
            "UdpNoPorts": 3,
        }
        "#);
    }

    #[test]
    fn damage_is_told_and_the_rest_is_used() {
        let text = "Ip: A B C\nIp: 1 x\nTcp: D\nUdp: E\nUdp: 5 6\nwhat\nIcmp: F\n";
        let read = snmp(text);
        assert_eq!(
            read.value.iter().collect::<Vec<_>>(),
            [("IpA", 1), ("UdpE", 5)]
        );
        let faults: Vec<String> = read.problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(faults.join("\n"), @r#"
        line 2: expected a number for IpB, found "x"
        line 2: expected a value for IpC, found "the end of the line"
        line 3: expected the values of Tcp below its names, found "Udp: E"
        line 5: expected as many values as Udp has names, found "6"
        line 6: expected "FAMILY: …", found "what"
        line 7: expected the values of Icmp below its names, found " F"
        "#);
    }

    #[test]
    fn snmp6_is_names_and_values() {
        let read = snmp6("Ip6InReceives                   \t12\nIcmp6InType135\t4\n");
        assert_eq!(
            read.value.iter().collect::<Vec<_>>(),
            [("Icmp6InType135", 4), ("Ip6InReceives", 12)]
        );
        assert_eq!(read.problems, []);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            snmp(&text);
            snmp6(&text);
        }

        #[test]
        fn what_the_kernel_writes_reads_back(values in proptest::collection::vec(any::<u64>(), 1..20)) {
            let names: Vec<String> = (0..values.len()).map(|index| format!("N{index:02}")).collect();
            let shown: Vec<String> = values.iter().map(u64::to_string).collect();
            let text = format!("TcpExt: {}\nTcpExt: {}\n", names.join(" "), shown.join(" "));
            let read = snmp(&text);
            prop_assert!(read.problems.is_empty());
            let found: Vec<u64> = read.value.iter().map(|(_, value)| value).collect();
            prop_assert_eq!(found, values);
        }
    }
}
