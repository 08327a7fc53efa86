//! The tables of /proc/net/stat: a header of names and one line of hexadecimal numbers for each CPU.

use crate::counters::{Counters, Sums};
use transect_config::Parsed;

use crate::text::numbered;
use transect_path::named_enum;

named_enum! {
    /// Which table of /proc/net/stat.
    pub enum StatTable {
        /// ARP (`neigh_stat_seq_show`).
        ArpCache => "arp_cache",
        /// IPv6 neighbour discovery (`neigh_stat_seq_show`).
        NdiscCache => "ndisc_cache",
        /// IPv4 routes (`rt_cpu_seq_show`); machine-wide even inside of a network namespace.
        RtCache => "rt_cache",
        /// Connection tracking (`ct_cpu_seq_show`); its names become those of `conntrack -S`.
        NfConntrack => "nf_conntrack",
    }
}

/// Reads a table of /proc/net/stat; the CPUs are added up. `entries` is an amount that each line repeats.
pub fn stat_table(text: &str, table: StatTable) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut sums = Sums::default();
    let mut lines = numbered(text).filter(|(_, line)| !line.trim().is_empty());
    let names: Vec<String> = lines
        .next()
        .map(|(_, line)| line.split_ascii_whitespace())
        .into_iter()
        .flatten()
        .map(|name| full_name(table, name))
        .collect();
    if !names.iter().any(|name| name.ends_with(".entries")) {
        read.problem(1, "a header that begins with \"entries\"", text);
        return read;
    }
    for (number, line) in lines {
        let mut values = line.split_ascii_whitespace();
        for name in &names {
            match values.next().map(|text| u64::from_str_radix(text, 16)) {
                Some(Ok(value)) if name.ends_with(".entries") => sums.most(name.clone(), value),
                Some(Ok(value)) => sums.add(name.clone(), value),
                Some(Err(_)) | None => {
                    read.problem(
                        number,
                        format_args!("a hexadecimal number for {name}"),
                        line,
                    );
                    break;
                }
            }
        }
    }
    read.value = sums.finish();
    read
}

fn full_name(table: StatTable, name: &str) -> String {
    if table != StatTable::NfConntrack {
        return format!("{table}.{name}");
    }
    let name = match name {
        "clashres" => "clash_resolve",
        "icmp_error" => "error",
        "chainlength" => "chaintoolong",
        other => other,
    };
    format!("conntrack.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARP: &str = "\
entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
0000000d 00000005 00000000 00000000   0000001d 00000016 00000001   00000000         00000000         00000076         00000000       00000000            00000000
0000000d 00000008 00000000 00000001   0000001e 0000000d 00000003   00000000         00000000         00000000         00000000       00000002            00000001
";

    #[test]
    fn cpus_are_added_up_and_amounts_are_not() {
        let read = stat_table(ARP, StatTable::ArpCache);
        assert_eq!(read.problems, []);
        assert_eq!(read.value.get("arp_cache.res_failed"), Some(4));
        assert_eq!(read.value.get("arp_cache.entries"), Some(13));
        assert_eq!(read.value.get("arp_cache.table_fulls"), Some(1));
    }

    #[test]
    fn conntrack_has_the_names_of_its_tool() {
        let text = "entries  clashres found icmp_error\n00000002  00000001 0000000a 00000000\n00000002  00000003 00000000 00000001\n";
        let read = stat_table(text, StatTable::NfConntrack);
        insta::assert_debug_snapshot!(read.value, @r#"
        {
            "conntrack.clash_resolve": 4,
            "conntrack.entries": 2,
            "conntrack.error": 1,
            "conntrack.found": 10,
        }
        "#);
    }

    #[test]
    fn damage_is_told() {
        let read = stat_table(
            "entries in_hit in_martian_src\n1 2 3\n1 zz 3\n1\n",
            StatTable::RtCache,
        );
        assert_eq!(read.value.get("rt_cache.in_martian_src"), Some(3));
        assert_eq!(read.problems.len(), 2);
        assert_eq!((read.problems[0].line, read.problems[1].line), (3, 4));
        assert_eq!(stat_table("", StatTable::RtCache).problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(entries)?.{0,200}") {
            stat_table(&text, StatTable::NfConntrack);
        }
    }
}
