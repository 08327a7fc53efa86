//! A report for a person who was woken at night: first one sentence with outcome, place and cause, then the path with
//! what each meter counted, then what speaks for and against it.

mod headline;
mod journey;
mod route;
mod words;

use transect_path::{Outcome, Report, RuleRef, Setting, SettingKind, Verdict};

use crate::{Color, Page, Style};

/// The column behind the labels of a verdict's sections.
const HANG: usize = 9;

/// How many verdicts are shown in full; of the others, which are less bad, only their number is.
const SHOWN: usize = 50;

/// The report for a terminal, one verdict after the other, worst first. Ends with a line break.
///
/// Of a report with more verdicts than anybody reads, the worst fifty are shown; how many more there are, and how those ended,
/// is said. The JSON has all.
pub fn render_text(report: &Report, style: Style) -> String {
    let mut page = Page::new(style);
    if report.verdicts.len() > 1 {
        page.colored(
            0,
            &format!("Flows: {}.", tally(&report.verdicts)),
            Color::Strong,
        );
    }
    if report.verdicts.is_empty() {
        let outcome = "UNDETERMINED";
        page.entry(
            0,
            (outcome, Color::Open),
            outcome.len().saturating_add(2),
            "nothing was observed, so there is nothing to judge.",
        );
    }
    let (shown, left_out) = report.verdicts.split_at(report.verdicts.len().min(SHOWN));
    for verdict in shown {
        page.gap();
        write_verdict(&mut page, report, verdict);
    }
    if !left_out.is_empty() {
        page.gap();
        page.paragraph(
            0,
            &format!("Not shown here, but with --json: {}.", tally(left_out)),
        );
    }
    if let Some(command) = &report.command {
        page.gap();
        let end = match command.status {
            Some(0) => "ended well (status 0)".to_owned(),
            Some(status) if status > 128 => format!(
                "was ended by signal {} (status {status})",
                status.saturating_sub(128)
            ),
            Some(status) => format!("ended with status {status}"),
            None => "was still running".to_owned(),
        };
        page.entry(
            0,
            ("Command", Color::Faint),
            HANG + 2,
            &format!("{} — {end}", command.argv.join(" ")),
        );
    }
    page.finish()
}

/// How many flows ended how, worst first: `3 lost, 12 delivered`.
fn tally(verdicts: &[Verdict]) -> String {
    let mut parts = Vec::new();
    for outcome in Outcome::ALL {
        let flows = verdicts
            .iter()
            .filter(|verdict| verdict.outcome == *outcome)
            .fold(0u64, |sum, verdict| {
                sum.saturating_add(verdict.flows.max(1))
            });
        if flows > 0 {
            parts.push(format!("{flows} {}", outcome.id().replace('_', " ")));
        }
    }
    parts.join(", ")
}

fn write_verdict(page: &mut Page, report: &Report, verdict: &Verdict) {
    let headline = headline::headline(verdict);
    page.entry(
        0,
        (headline.outcome, headline.color),
        headline.outcome.len().saturating_add(2),
        &headline.sentence,
    );
    let journey = journey::journey(&report.hosts, verdict);
    if !journey.is_empty() {
        page.gap();
        journey::write(page, &journey, verdict);
    }
    page.gap();
    write_cause(page, verdict);
    write_evidence(page, verdict);
    write_beliefs(page, verdict);
    write_open_ends(page, verdict);
}

fn section(page: &mut Page, label: &str, color: Color, lines: impl IntoIterator<Item = String>) {
    let mut label = label;
    for line in lines {
        page.entry(2, (label, color), HANG, &line);
        label = "";
    }
}

fn write_cause(page: &mut Page, verdict: &Verdict) {
    if let Some(cause) = verdict.cause {
        section(
            page,
            "Cause",
            Color::Strong,
            [format!(
                "{cause} ({}), place {}",
                verdict.certainty, verdict.place_certainty
            )],
        );
    } else if verdict.between.is_some() {
        section(
            page,
            "Cause",
            Color::Strong,
            [format!("undetermined, place {}", verdict.place_certainty)],
        );
    }
    if let Some([from, to]) = &verdict.between {
        section(page, "Between", Color::Strong, [format!("{from} and {to}")]);
    }
    if let Some(rule) = &verdict.rule {
        section(page, "Rule", Color::Strong, rule_lines(rule));
    }
    if let Some(setting) = &verdict.setting {
        section(page, "Setting", Color::Strong, [setting_line(setting)]);
    }
}

fn write_evidence(page: &mut Page, verdict: &Verdict) {
    section(
        page,
        "For",
        Color::Strong,
        verdict
            .evidence
            .iter()
            .map(|item| match (&item.edge, words::bounds(item.lo, item.hi)) {
                (Some(edge), Some(bounds)) => {
                    format!("{} — {} ({edge}: {bounds})", item.meter, item.says)
                }
                _ => format!("{} — {}", item.meter, item.says),
            }),
    );
    section(
        page,
        "Against",
        Color::Warn,
        verdict
            .against
            .iter()
            .map(|item| format!("{} — {}", item.meter, item.says)),
    );
    section(
        page,
        "Repaired",
        Color::Strong,
        verdict.recovered.iter().map(|item| {
            let place = item
                .between
                .as_ref()
                .map(|[from, to]| format!(", lost between {from} and {to}"))
                .unwrap_or_default();
            format!(
                "{} {} sent again{place}",
                words::count(item.packets, item.what),
                words::towards(item.direction),
            )
        }),
    );
}

fn write_beliefs(page: &mut Page, verdict: &Verdict) {
    section(
        page,
        "Misled",
        Color::Warn,
        verdict.misled.iter().map(|item| {
            format!(
                "{} believes that {}; in truth, {}",
                item.host,
                words::lower_first(&item.believes),
                words::lower_first(&item.truth)
            )
        }),
    );
}

fn write_open_ends(page: &mut Page, verdict: &Verdict) {
    section(
        page,
        "Unseen",
        Color::Faint,
        verdict
            .unseen
            .iter()
            .map(|item| format!("{} — {}", item.meter, item.why)),
    );
    section(
        page,
        "Or",
        Color::Open,
        verdict.alternatives.iter().flat_map(|item| {
            let place = match (&item.host, item.point) {
                (Some(host), Some(point)) => format!(" at {host}/{point}"),
                (Some(host), None) => format!(" on {host}"),
                (None, Some(point)) => format!(" at {point}"),
                (None, None) => String::new(),
            };
            let mut lines = vec![format!(
                "{}{place}: {}. To tell: {}",
                item.cause,
                item.cause.facts().summary,
                item.tell
            )];
            if let Some(rule) = &item.rule {
                lines.extend(rule_lines(rule));
            }
            if let Some(setting) = &item.setting {
                lines.push(setting_line(setting));
            }
            lines
        }),
    );
    section(page, "Do", Color::Good, verdict.advice.iter().cloned());
    section(page, "Next", Color::Open, verdict.next.iter().cloned());
}

/// The rule in its own program's words, where it stands, and how evaluation gets there.
fn rule_lines(rule: &RuleRef) -> Vec<String> {
    let mut place = format!(
        "{} {} {} {}",
        rule.backend, rule.family, rule.table, rule.chain
    );
    if let Some(number) = rule.number {
        place.push_str(&format!(", rule {number}"));
    } else if rule.text.starts_with("-P") || rule.text.contains("policy") {
        place.push_str(", the chain's policy");
    }
    if let Some(handle) = rule.handle {
        place.push_str(&format!(", handle {handle}"));
    }
    let mut lines = vec![rule.text.clone(), format!("({place})")];
    lines.extend(rule.via.iter().map(|jump| format!("by way of {jump}")));
    lines
}

fn setting_line(setting: &Setting) -> String {
    let kind = match setting.kind {
        SettingKind::Sysctl => "sysctl",
        SettingKind::Route => "route",
        SettingKind::Qdisc => "qdisc",
        SettingKind::TcFilter => "tc filter",
        SettingKind::Xdp => "XDP program",
        SettingKind::Socket => "socket",
        SettingKind::Link => "link",
        SettingKind::Neighbor => "neighbour",
    };
    if setting.value.is_empty() {
        format!("{kind} {}", setting.name)
    } else {
        format!("{kind} {} = {}", setting.name, setting.value)
    }
}

#[cfg(test)]
mod tests;
