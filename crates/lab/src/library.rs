//! The experiments inside the binary, and which of them a name means.

use std::path::Path;

use crate::run::Selection;
use crate::scenario::{self, Scenario};
use crate::{ExperimentInfo, LabError};

/// File name and text of every experiment, by name.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/experiments.rs"));

/// All experiments of all files.
pub(crate) fn all() -> Result<Vec<Scenario>, LabError> {
    let mut scenarios = Vec::new();
    for (name, text) in FILES {
        scenarios.extend(scenario::parse(Path::new(name), text)?);
    }
    Ok(scenarios)
}

/// What `lab list` shows.
pub(crate) fn info(scenario: &Scenario) -> ExperimentInfo {
    let expected: Vec<_> = scenario.expect.iter().map(|one| one.in_words()).collect();
    ExperimentInfo {
        name: scenario.name.clone(),
        summary: scenario.summary.clone(),
        entries: scenario.entries.clone(),
        slow: scenario.slow,
        twin: scenario.twin,
        expected: expected.join("; "),
    }
}

/// The experiments of the files whose names these begin with; of all files, where one of them is a pattern over several, or wrong.
/// An experiment has its file's name, and the values of its variants behind it.
fn known(names: &[String]) -> Result<Vec<Scenario>, LabError> {
    let begins = |name: &str, file: &str| {
        let stem = file.strip_suffix(".toml").unwrap_or(file);
        let rest = name.strip_prefix(stem);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let inside = || names.iter().filter(|name| !name.ends_with(".toml"));
    if !inside().all(|name| FILES.iter().any(|(file, _)| begins(name, file))) {
        return all();
    }
    let mut scenarios = Vec::new();
    for (file, text) in FILES {
        if inside().any(|name| begins(name, file)) {
            scenarios.extend(scenario::parse(Path::new(file), text)?);
        }
    }
    Ok(scenarios)
}

/// The experiments that are meant, each once, in the order of the names.
pub(crate) fn select(selection: &Selection) -> Result<Vec<Scenario>, LabError> {
    let names = match selection {
        Selection::All { slow } => {
            let known = all()?.into_iter();
            return Ok(known.filter(|one| *slow || !one.slow).collect());
        }
        Selection::Named(names) => names,
    };
    let known = known(names)?;
    let mut chosen: Vec<Scenario> = Vec::new();
    for name in names {
        let meant = if name.ends_with(".toml") {
            let path = Path::new(name);
            let text = read(path)?;
            scenario::parse(path, &text)?
        } else {
            by_name(&known, name)
        };
        if meant.is_empty() {
            return Err(LabError::UnknownName {
                name: name.clone(),
                hint: hint(&known, name),
            });
        }
        for one in meant {
            if !chosen.iter().any(|other| other.name == one.name) {
                chosen.push(one);
            }
        }
    }
    Ok(chosen)
}

/// The text of a file.
fn read(path: &Path) -> Result<String, LabError> {
    let bytes = std::fs::read(path).map_err(|source| LabError::Read {
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let path = path.display();
        LabError::Scenario(format!(
            "{path}:{line}: byte {valid} of the file is no UTF-8; expected text"
        ))
    })
}

/// By exact name; else by pattern or prefix. What is slow must be named exactly, by its file's name, or by a pattern that finds
/// nothing else.
fn by_name(known: &[Scenario], name: &str) -> Vec<Scenario> {
    if let Some(exact) = known.iter().find(|one| one.name == name) {
        return vec![exact.clone()];
    }
    let prefix = format!("{name}.");
    let fits = |one: &&Scenario| one.name.starts_with(&prefix) || matches(name, &one.name);
    let (slow, quick): (Vec<_>, Vec<_>) =
        known.iter().filter(fits).cloned().partition(|one| one.slow);
    if quick.is_empty() { slow } else { quick }
}

/// Whether `text` fits `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// The names that contain what was asked for, or that it begins like.
fn hint(known: &[Scenario], name: &str) -> String {
    let start: String = name.chars().take(4).collect();
    let mut stems: Vec<&str> = known
        .iter()
        .map(|one| one.name.as_str())
        .filter(|known| known.contains(name) || known.starts_with(&start))
        .collect();
    stems.truncate(3);
    if stems.is_empty() {
        return String::new();
    }
    format!("; did you mean {}", stems.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("e1*ipv6", "e1.nft.ipv6", true),
            ("e1*ipv6", "e1.nft.ipv6.twin", false),
            ("*nft*", "e1.nft.ipv6", true),
            ("*.twin", "e1.twin", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn every_embedded_experiment_is_valid_and_has_a_name_of_its_own() {
        let all = all().unwrap();
        let mut names: Vec<_> = all.iter().map(|one| &one.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for one in &all {
            assert!(
                one.twin || !one.expect.is_empty(),
                "{} expects nothing",
                one.name
            );
        }
    }

    #[test]
    fn a_name_means_all_variants_and_an_unknown_one_is_an_error_with_a_hint() {
        let named = |name: &str| select(&Selection::Named(vec![name.to_owned()]));
        let variants = named("seed-3.1-local-in").unwrap();
        assert!(variants.len() > 3 && variants.iter().all(|one| !one.slow));
        assert!(named("seed-3.1-exact").unwrap().iter().all(|one| one.slow));
        let error = named("seed-3.9").unwrap_err().to_string();
        assert!(error.contains("did you mean seed-3.1"), "{error}");
    }
}
