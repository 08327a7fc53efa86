//! Recorded runs of the experiments, diagnosed again: what was found once must be found for ever, also where experiments
//! cannot run. `scripts/record-experiments` makes the bundles; the experiments' own files say what they must end in.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is the test's own message, in its helpers too"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use transect_evidence::{Input, LoadOptions, load};
use transect_path::{Certainty, Outcome, Report, Verdict};

fn bundles() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut bundles: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .collect();
    bundles.sort();
    bundles
}

fn name(bundle: &Path) -> String {
    let name = bundle.file_name().unwrap().to_string_lossy();
    name.trim_end_matches(".tar.zst").to_owned()
}

fn diagnose(bundle: &Path) -> Report {
    let input: Input = bundle.to_string_lossy().parse().unwrap();
    let evidence = load(&[input], &LoadOptions::default()).unwrap();
    assert!(
        evidence.problems.is_empty(),
        "{}: {:?}",
        bundle.display(),
        evidence.problems
    );
    transect_diagnose::explain(&evidence)
}

/// One line: what the verdict says, without what differs from run to run.
fn line(verdict: &Verdict) -> String {
    let mut line = format!("{} {}", verdict.outcome, verdict.symptom);
    if let Some(lost) = &verdict.lost {
        write!(line, " | {} {}", lost.what, lost.direction).unwrap();
    }
    let place = match (&verdict.host, verdict.point) {
        (Some(host), Some(point)) => format!("{host}/{point}"),
        (Some(host), None) => format!("{host}/?"),
        (None, _) => "?".to_owned(),
    };
    if verdict.outcome != Outcome::Delivered {
        write!(line, " | {place} ({})", verdict.place_certainty).unwrap();
        let cause = verdict.cause.map_or("?", |cause| cause.id());
        write!(line, " | {cause} ({})", verdict.certainty).unwrap();
    }
    if let Some(rule) = &verdict.rule {
        write!(
            line,
            " | {} {} {} {}",
            rule.backend, rule.family, rule.chain, rule.text
        )
        .unwrap();
    }
    if let Some(setting) = &verdict.setting {
        write!(line, " | {} {}", setting.kind, setting.name).unwrap();
    }
    for alternative in &verdict.alternatives {
        write!(line, " | or {}", alternative.cause).unwrap();
    }
    if !verdict.misled.is_empty() {
        line += " | misled";
    }
    if !verdict.recovered.is_empty() {
        line += " | recovered";
    }
    line
}

#[test]
fn every_recorded_experiment_ends_as_it_did() {
    let bundles = bundles();
    assert!(!bundles.is_empty());
    let mut table = String::new();
    for bundle in &bundles {
        for verdict in &diagnose(bundle).verdicts {
            check(&name(bundle), verdict);
            writeln!(table, "{}: {}", name(bundle), line(verdict)).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// What holds for every verdict, whatever it says.
fn check(name: &str, verdict: &Verdict) {
    if let (Some(point), Some([from, to])) = (verdict.point, &verdict.between) {
        let (first, last) = (from.edge.point, to.edge.point);
        // A forwarded packet passes a host's receiving points before its sending ones.
        if from.host == to.host && first <= last {
            assert!(
                first <= point && point <= last,
                "{name}: {from} {to} {point}"
            );
        }
    }
    let named = verdict.cause.is_some();
    assert_eq!(
        named,
        verdict.certainty != Certainty::Undetermined,
        "{name}"
    );
    assert!(
        named || verdict.rule.is_none(),
        "{name}: a rule is blamed without a cause"
    );
}

#[test]
fn the_same_evidence_gives_the_same_report() {
    for bundle in bundles().into_iter().take(5) {
        let (one, two) = (diagnose(&bundle), diagnose(&bundle));
        assert_eq!(
            serde_json::to_string(&one).unwrap(),
            serde_json::to_string(&two).unwrap()
        );
    }
}
