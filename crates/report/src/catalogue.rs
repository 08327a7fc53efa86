//! The catalogue of causes as a page of the documentation (`docs/causes.md`).

mod data;

use std::fmt::Write as _;

use transect_path::CauseId;

/// What the page says before the first cause.
pub const CATALOGUE_INTRODUCTION: &str = "\
<!-- Made by `make docs` from crates/path and crates/report. Do not edit. -->
# Causes: what kills packets, and what each leaves behind

Every cause has one stable id, used in verdicts, experiments and documents. A cause is accepted by its own evidence, best
when the amounts agree, and refused by contradiction. Counter names are those that `nstat` prints; for IPv6 read `Ip6…`,
`Icmp6…`, `Udp6…` where the name begins with `Ip`, `Icmp`, `Udp`; `TcpExt…` and `Tcp…` count both families. Entries are
those of the team's catalogue of measurements (A link, B XDP and tc, C routing, D MTU and fragments, E Netfilter,
F handshake, G established, H UDP and others). `S` is the server or receiver, `C` the client or sender.
";

/// What a cause leaves behind, and what tells it from its look-alikes.
pub fn traces(cause: CauseId) -> (&'static str, &'static str) {
    data::traces(cause)
}

/// The whole page.
pub fn catalogue_markdown() -> String {
    let mut out = String::from(CATALOGUE_INTRODUCTION);
    out.push_str("\n| id | dies at | what happened |\n|---|---|---|\n");
    for cause in CauseId::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| [`{cause}`](#{cause}) | {} | {} |",
            points(*cause),
            cause.facts().summary
        );
    }
    for cause in CauseId::ALL {
        let facts = cause.facts();
        let (leaves, tell) = traces(*cause);
        let _ = write!(
            out,
            "\n## {cause}\n\n{}. Dies at {}; entries {}.\n\n- Leaves behind: {leaves}\n- To tell it from others: {tell}\n",
            sentence(facts.summary),
            points(*cause),
            facts.entries.join(", "),
        );
    }
    out
}

fn points(cause: CauseId) -> String {
    cause
        .facts()
        .points
        .iter()
        .map(|point| format!("[`{point}`](path.md)"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// With a capital at its start.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_section_with_both_texts() {
        let page = catalogue_markdown();
        for cause in CauseId::ALL {
            assert!(page.contains(&format!("\n## {cause}\n")), "{cause}");
            let (leaves, tell) = traces(*cause);
            assert!(leaves.len() > 10 && tell.len() > 10, "{cause}");
        }
    }

    #[test]
    fn no_two_causes_are_told_apart_by_the_same_words() {
        let mut seen = std::collections::BTreeMap::new();
        for cause in CauseId::ALL {
            if let Some(other) = seen.insert(traces(*cause).1, *cause) {
                panic!("{cause} and {other}");
            }
        }
    }
}
