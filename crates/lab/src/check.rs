//! Comparing what the diagnosis said with what the experiment's file says it must.

use std::fmt::Display;

use transect_path::{Outcome, Verdict};

use crate::scenario::{
    AlternativeExpectation, Expectation, NullField, RuleExpectation, SettingExpectation,
};

/// Everything that is wrong with the verdicts, in sentences; empty when nothing is.
pub(crate) fn problems(expected: &[Expectation], verdicts: &[Verdict]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut left: Vec<(usize, &Verdict)> = verdicts.iter().enumerate().collect();
    for (index, expectation) in expected.iter().enumerate() {
        // The first expectation is about the worst verdict; the others may come in any order.
        let candidates = if index == 0 { 1 } else { left.len() };
        let best = left
            .iter()
            .take(candidates)
            .enumerate()
            .map(|(at, (_, verdict))| (mismatches(expectation, verdict), at))
            .min_by_key(|(wrong, _)| wrong.len());
        let Some((wrong, at)) = best else {
            problems.push(format!("no verdict for: {}", expectation.in_words()));
            continue;
        };
        let (number, _) = left.remove(at);
        problems.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("verdict {}: {wrong}", number + 1)),
        );
    }
    for (number, verdict) in left {
        if verdict.outcome != Outcome::Delivered {
            problems.push(format!(
                "verdict {}: nobody expected {}",
                number + 1,
                in_words(verdict)
            ));
        }
    }
    problems
}

/// A verdict in a few words.
fn in_words(verdict: &Verdict) -> String {
    format!(
        "{} {}/{} {} ({})",
        verdict.outcome,
        verdict.host.as_deref().unwrap_or("?"),
        verdict.point.map_or("?", |point| point.id()),
        verdict.cause.map_or("no cause", |cause| cause.id()),
        verdict.certainty
    )
}

fn mismatches(expected: &Expectation, got: &Verdict) -> Vec<String> {
    let mut wrong = Vec::new();
    let lost = got.lost.as_ref();
    same(&mut wrong, "outcome", expected.outcome, Some(got.outcome));
    same(&mut wrong, "symptom", expected.symptom, Some(got.symptom));
    same(
        &mut wrong,
        "host",
        expected.host.as_ref(),
        got.host.as_ref(),
    );
    same(&mut wrong, "point", expected.point, got.point);
    same(&mut wrong, "cause", expected.cause, got.cause);
    same(
        &mut wrong,
        "what",
        expected.what,
        lost.map(|lost| lost.what),
    );
    same(
        &mut wrong,
        "direction",
        expected.direction,
        lost.map(|lost| lost.direction),
    );
    for (name, least, got) in [
        (
            "place_certainty",
            expected.place_certainty,
            got.place_certainty,
        ),
        ("certainty", expected.certainty, got.certainty),
    ] {
        if least.is_some_and(|least| got < least) {
            differs(&mut wrong, name, &format!("at least {}", shown(least)), got);
        }
    }
    if let Some(packets) = expected.packets {
        let count = lost.map_or(0, |lost| lost.packets);
        let fits = packets.exact.is_none_or(|exact| count == exact)
            && packets.min.is_none_or(|min| count >= min)
            && packets.max.is_none_or(|max| count <= max);
        if !fits {
            differs(&mut wrong, "packets lost", &format!("{packets:?}"), count);
        }
    }
    if let Some(rule) = &expected.rule {
        rule_mismatches(rule, got, &mut wrong);
    }
    if let Some(setting) = &expected.setting {
        setting_mismatches(setting, got, &mut wrong);
    }
    if let Some(host) = &expected.misled
        && !got.misled.iter().any(|misled| misled.host == *host)
    {
        wrong.push(format!("misled: {host} is not among them"));
    }
    for text in &expected.evidence {
        let says = got.evidence.iter().any(|one| one.says.contains(text));
        let truth = got.misled.iter().any(|one| one.truth.contains(text));
        if !says && !truth {
            wrong.push(format!("evidence: none says \"{text}\""));
        }
    }
    for alternative in &expected.alternatives {
        if !got.alternatives.iter().any(|one| is(alternative, one)) {
            wrong.push(format!(
                "alternatives: {} is not among them",
                alternative.cause
            ));
        }
    }
    let recovered: u64 = got.recovered.iter().map(|one| one.packets).sum();
    if expected.recovered.is_some_and(|least| recovered < least) {
        differs(
            &mut wrong,
            "recovered",
            &format!("at least {}", shown(expected.recovered)),
            recovered,
        );
    }
    for field in &expected.null {
        if let Some(value) = value_of(*field, got) {
            differs(
                &mut wrong,
                &format!("{field:?}").to_lowercase(),
                "null",
                value,
            );
        }
    }
    if let Some(cause) = got.cause
        && expected.not_cause.contains(&cause)
    {
        wrong.push(format!("cause: accuses {cause}, which is not there"));
    }
    wrong
}

fn rule_mismatches(expected: &RuleExpectation, verdict: &Verdict, wrong: &mut Vec<String>) {
    let Some(got) = &verdict.rule else {
        wrong.push("rule: none is named".to_owned());
        return;
    };
    same(wrong, "rule.backend", expected.backend, Some(got.backend));
    same(
        wrong,
        "rule.family",
        expected.family.as_ref(),
        Some(&got.family),
    );
    same(
        wrong,
        "rule.table",
        expected.table.as_ref(),
        Some(&got.table),
    );
    same(
        wrong,
        "rule.chain",
        expected.chain.as_ref(),
        Some(&got.chain),
    );
    same(wrong, "rule.number", expected.number, got.number);
    contains(wrong, "rule.text", expected.text.as_ref(), &got.text);
}

fn setting_mismatches(expected: &SettingExpectation, verdict: &Verdict, wrong: &mut Vec<String>) {
    let Some(got) = &verdict.setting else {
        wrong.push("setting: none is named".to_owned());
        return;
    };
    same(wrong, "setting.kind", expected.kind, Some(got.kind));
    contains(wrong, "setting.name", expected.name.as_ref(), &got.name);
    contains(wrong, "setting.value", expected.value.as_ref(), &got.value);
}

fn is(expected: &AlternativeExpectation, got: &transect_path::Alternative) -> bool {
    got.cause == expected.cause
        && (expected.host.is_none() || expected.host == got.host)
        && (expected.point.is_none() || expected.point == got.point)
}

/// What stands in a field that may be null.
fn value_of(field: NullField, verdict: &Verdict) -> Option<String> {
    match field {
        NullField::Host => verdict.host.clone(),
        NullField::Point => verdict.point.map(|point| point.to_string()),
        NullField::Cause => verdict.cause.map(|cause| cause.to_string()),
        NullField::Rule => verdict.rule.as_ref().map(|rule| rule.text.clone()),
        NullField::Setting => verdict.setting.as_ref().map(|setting| setting.name.clone()),
        NullField::Lost => verdict.lost.as_ref().map(|lost| lost.packets.to_string()),
    }
}

/// What is not expected is not compared.
fn same<T: PartialEq + Display>(
    wrong: &mut Vec<String>,
    name: &str,
    expected: Option<T>,
    got: Option<T>,
) {
    if expected.is_some() && expected != got {
        differs(wrong, name, &shown(expected), shown(got));
    }
}

fn contains(wrong: &mut Vec<String>, name: &str, expected: Option<&String>, got: &str) {
    if let Some(part) = expected
        && !got.contains(part.as_str())
    {
        differs(wrong, name, &format!("…{part}…"), got);
    }
}

fn differs(wrong: &mut Vec<String>, name: &str, expected: &str, got: impl Display) {
    wrong.push(format!("{name}: expected {expected}, got {got}"));
}

fn shown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_path::{
        CauseId, Certainty, Direction, Lost, Point, RuleBackend, RuleRef, Symptom, What,
    };

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict::bare(outcome, Symptom::None)
    }

    fn dropped() -> Verdict {
        Verdict {
            host: Some("server".to_owned()),
            point: Some(Point::LocalIn),
            cause: Some(CauseId::NetfilterDrop),
            certainty: Certainty::Strong,
            lost: Some(Lost {
                what: What::Syn,
                direction: Direction::ToServer,
                packets: 3,
            }),
            rule: Some(RuleRef {
                backend: RuleBackend::Nft,
                family: "inet".to_owned(),
                table: "f".to_owned(),
                chain: "i".to_owned(),
                number: Some(1),
                handle: Some(4),
                via: Vec::new(),
                text: "tcp dport 80 drop".to_owned(),
            }),
            ..verdict(Outcome::Lost)
        }
    }

    fn expectation(text: &str) -> Expectation {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_fits_is_no_problem_and_each_difference_is_named() {
        let fitting = "outcome = \"lost\"\nhost = \"server\"\npoint = \"local_in\"\ncause = \"netfilter_drop\"\n\
             certainty = \"likely\"\nwhat = \"syn\"\npackets = { min = 2 }\nrule = { backend = \"nft\", text = \"dport 80\" }";
        assert_eq!(problems(&[expectation(fitting)], &[dropped()]), [""; 0]);
        for (wrong, part) in [
            (
                "outcome = \"delivered\"",
                "outcome: expected delivered, got lost",
            ),
            ("host = \"client\"", "host: expected client, got server"),
            (
                "certainty = \"proven\"",
                "certainty: expected at least proven, got strong",
            ),
            ("packets = { exact = 7 }", "packets lost: expected"),
            (
                "rule = { text = \"dport 81\" }",
                "rule.text: expected …dport 81…",
            ),
            ("setting = { kind = \"sysctl\" }", "setting: none is named"),
            ("misled = \"client\"", "misled: client"),
            ("evidence = [\"GET\"]", "none says \"GET\""),
            (
                "alternatives = [{ cause = \"xdp_drop\" }]",
                "alternatives: xdp_drop",
            ),
            ("recovered = 1", "recovered: expected at least 1, got 0"),
            ("null = [\"host\"]", "host: expected null, got server"),
            ("not_cause = [\"netfilter_drop\"]", "accuses netfilter_drop"),
        ] {
            let problems = problems(&[expectation(wrong)], &[dropped()]);
            assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
            assert!(problems[0].contains(part), "{problems:?}");
        }
    }

    #[test]
    fn the_first_is_about_the_worst_and_nothing_else_may_accuse() {
        let delivered = [Expectation::delivered()];
        let both = [dropped(), verdict(Outcome::Delivered)];
        let first = problems(&delivered, &both);
        assert!(first[0].starts_with("verdict 1: outcome"), "{first:?}");
        let lost = [expectation("outcome = \"lost\"")];
        assert_eq!(problems(&lost, &both), [""; 0]);
        let twice = problems(&lost, &[dropped(), dropped()]);
        assert_eq!(
            twice,
            ["verdict 2: nobody expected lost server/local_in netfilter_drop (strong)"]
        );
        assert_eq!(problems(&delivered, &[]), ["no verdict for: delivered"]);
    }
}
