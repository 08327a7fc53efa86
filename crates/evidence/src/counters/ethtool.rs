//! The output of `ethtool -S`.

use crate::counters::{Counters, Sums};
use transect_config::Parsed;

use crate::text::numbered;

/// Reads what `ethtool -S IFACE` prints as `ethtool.IFACE.NAME`; the names are the driver's own.
pub fn ethtool_statistics(text: &str, interface: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut sums = Sums::default();
    for (number, line) in numbered(text) {
        let line = line.trim();
        if line.is_empty() || line == "NIC statistics:" || line.starts_with("no stats available") {
            continue;
        }
        match line.rsplit_once(':') {
            Some((name, value)) if !name.is_empty() && value.trim().parse::<u64>().is_ok() => {
                let value = value.trim().parse().unwrap_or_default();
                // Some drivers repeat a name for each queue without its number.
                sums.add(format!("ethtool.{interface}.{}", name.trim()), value);
            }
            Some((_, value)) if value.trim().parse::<i64>().is_ok() => {}
            _ => read.problem(number, "NAME: VALUE", line),
        }
    }
    read.value = sums.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_the_drivers() {
        let text = "NIC statistics:\n     peer_ifindex: 17\n     rx_queue_0_xdp_drops: 3\n     [0]: rx: 5\n";
        let read = ethtool_statistics(text, "eth0");
        assert_eq!(read.problems, []);
        insta::assert_debug_snapshot!(read.value, @r#"
        {
            "ethtool.eth0.[0]: rx": 5,
            "ethtool.eth0.peer_ifindex": 17,
            "ethtool.eth0.rx_queue_0_xdp_drops": 3,
        }
        "#);
        let read = ethtool_statistics("no stats available\n", "lo");
        assert_eq!((read.value.len(), read.problems.len()), (0, 0));
        assert_eq!(ethtool_statistics("x", "lo").problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            ethtool_statistics(&text, "e");
        }
    }
}
