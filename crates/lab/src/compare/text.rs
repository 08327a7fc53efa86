//! A comparison for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Both, Comparison, HostComparison, PacketRow};

/// So many packets in agreement are shown before and behind each difference.
const CONTEXT: usize = 2;

/// One comparison as text: what differs, and with `all` everything else as well.
pub fn comparison_text(comparison: &Comparison, all: bool) -> String {
    let mut text = String::new();
    let mark = if comparison.agrees() {
        "same  "
    } else {
        "DIFFER"
    };
    let again = match comparison.kernel_runs {
        0 | 1 => String::new(),
        runs => match comparison.kernel_differs {
            None => format!(" (the closest of {runs} runs of the kernel)"),
            Some(0) => {
                format!(" (the closest of {runs} runs of the kernel, two of which are alike)")
            }
            Some(least) => format!(
                " (the closest of {runs} runs of the kernel, which differ in {least} at least from each other)"
            ),
        },
    };
    let _ = writeln!(text, "{mark} {}{again}", comparison.name);
    let both = &comparison.problems;
    for (world, problems) in [("kernel", &both.kernel), ("model", &both.model)] {
        for problem in problems {
            let _ = writeln!(text, "    {world} world: {problem}");
        }
    }
    verdicts(&mut text, &comparison.verdicts, all);
    for (label, host) in &comparison.hosts {
        if all || !host.agrees() {
            host_text(&mut text, label, host, all);
        }
    }
    text
}

fn verdicts(text: &mut String, verdicts: &Both<Vec<String>>, all: bool) {
    if verdicts.agree() {
        for verdict in verdicts.kernel.iter().filter(|_| all) {
            let _ = writeln!(text, "    verdict: {verdict}");
        }
        return;
    }
    for (world, verdicts) in [("kernel", &verdicts.kernel), ("model", &verdicts.model)] {
        for verdict in verdicts {
            let _ = writeln!(text, "    verdict, {world} world: {verdict}");
        }
    }
}

fn host_text(text: &mut String, label: &str, host: &HostComparison, all: bool) {
    let _ = writeln!(text, "    {label}:");
    for (title, amounts) in [
        ("counter", &host.counters),
        ("sockets", &host.sockets),
        ("rule", &host.rules),
    ] {
        amounts_text(text, title, amounts, all);
    }
    for (tap, rows) in &host.taps {
        tap_text(text, tap, rows, all);
    }
}

fn amounts_text(text: &mut String, title: &str, amounts: &BTreeMap<String, Both<u64>>, all: bool) {
    for (name, both) in amounts {
        if all || !both.agree() {
            let sign = if both.agree() { ' ' } else { '!' };
            let _ = writeln!(
                text,
                "      {sign} {title} {name}: kernel {}, model {}",
                both.kernel, both.model
            );
        }
    }
}

fn tap_text(text: &mut String, tap: &str, rows: &[PacketRow], all: bool) {
    let differing = rows.iter().filter(|row| !row.agrees()).count();
    if differing == 0 && !all {
        return;
    }
    let _ = writeln!(
        text,
        "      {tap}: {} packets, {differing} differ ({:>12} {:>12})",
        rows.len(),
        "kernel s",
        "model s"
    );
    let mut skipped = false;
    for (index, row) in rows.iter().enumerate() {
        let near = rows
            .iter()
            .skip(index.saturating_sub(CONTEXT))
            .take(2 * CONTEXT + 1)
            .any(|other| !other.agrees());
        if !all && !near {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            let _ = writeln!(text, "          …");
        }
        let time = |time: Option<f64>| {
            time.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.6}"))
        };
        let sign = if row.agrees() { ' ' } else { '!' };
        let _ = writeln!(
            text,
            "        {sign} {:>12} {:>12}  {}",
            time(row.kernel),
            time(row.model),
            row.packet
        );
    }
}
