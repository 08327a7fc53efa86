//! The output of `conntrack -S`.

use crate::counters::{Counters, Sums};
use transect_config::Parsed;

use crate::text::numbered;

/// Reads what `conntrack -S` prints, one line for each CPU, as `conntrack.NAME`; the CPUs are added up.
pub fn conntrack_statistics(text: &str) -> Parsed<Counters> {
    let mut read = Parsed::default();
    let mut sums = Sums::default();
    for (number, line) in numbered(text) {
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("cpu", _)) => {}
                Some((name, value)) if is_name(name) && value.parse::<u64>().is_ok() => {
                    let value = value.parse().unwrap_or_default();
                    sums.add(format!("conntrack.{name}"), value);
                }
                _ => read.problem(number, "NAME=VALUE", word),
            }
        }
    }
    read.value = sums.finish();
    read
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpus_are_added_up() {
        let text = "cpu=0   \tfound=1 invalid=2 insert_failed=6 drop=6 chaintoolong=0 \ncpu=1   \tfound=3 invalid=1 insert_failed=0 drop=0 chaintoolong=0 \n";
        let read = conntrack_statistics(text);
        assert_eq!(read.problems, []);
        assert_eq!(read.value.get("conntrack.invalid"), Some(3));
        assert_eq!(read.value.get("conntrack.insert_failed"), Some(6));
        assert_eq!(read.value.len(), 5);
    }

    #[test]
    fn damage_is_told() {
        let read = conntrack_statistics("cpu=0 found=x\ndrop\n");
        assert_eq!(
            read.problems[0].to_string(),
            "line 1: expected NAME=VALUE, found \"found=x\""
        );
        assert_eq!(read.problems[1].line, 2);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            conntrack_statistics(&text);
        }
    }
}
