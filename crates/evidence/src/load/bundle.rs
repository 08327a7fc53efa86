//! A bundle as evidence.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use transect_packet::CaptureReader;
use transect_packet::bpf::Program;
use transect_path::{CommandRun, Point};

use super::dump::{Dump, read_dump, read_unseen};
use super::series::{Dumps, Series};
use super::slot::kind_of_file;
use super::{LoadError, Loader, file, located, programs};
use crate::bundle::{Bundle, BundleHost, BundleLog, Manifest};
use crate::conversation::{LedgerOptions, read_capture};
use crate::input::{Input, Role};
use crate::log::read_log;
use crate::model::{Capture, Log, Reading};
use crate::problem::Problem;

impl Loader<'_> {
    /// Reads the bundle at `path`, which is the input's own or the folder that it was unpacked to.
    pub(super) fn bundle(&mut self, input: &Input, path: &Path) -> Result<(), LoadError> {
        let bundle = Bundle::open(path, &self.options.limits)?;
        if input.role != Role::Any {
            self.problem(
                input.path.display().to_string(),
                "a bundle says itself what its files are; \".before\", \".after\", \"@POINT\" and --log are for single files"
                    .to_owned(),
            );
        }
        self.problems(&input.path, bundle.problems.iter().cloned());
        if let Some(manifest) = &bundle.manifest {
            self.manifest(input, manifest);
            let output = bundle.command_output();
            self.evidence.command_output.push_str(&output);
        }
        let own = bundle
            .manifest
            .as_ref()
            .map_or(&[][..], |manifest| &manifest.programs);
        let programs = programs(own);
        for host in &bundle.hosts {
            let label = match &input.label {
                None => host.label.clone(),
                Some(label) if bundle.hosts.len() == 1 => label.clone(),
                Some(label) => format!("{label}-{}", host.label),
            };
            if label == "network" {
                return Err(LoadError::NetworkLabel(input.path.clone()));
            }
            if self
                .bundle_hosts
                .insert(label.clone(), input.path.clone())
                .is_some()
            {
                return Err(LoadError::SameLabel(label));
            }
            self.bundle_host(input, &bundle, host, label, &programs);
        }
        Ok(())
    }

    fn manifest(&mut self, input: &Input, manifest: &Manifest) {
        let evidence = &mut self.evidence;
        let window = (manifest.started, manifest.ended);
        evidence.window = Some(match evidence.window {
            None => window,
            Some((started, ended)) => (started.min(window.0), ended.max(window.1)),
        });
        if let Some(command) = &manifest.command
            && evidence.command.is_none()
        {
            evidence.command = Some(CommandRun {
                argv: command.argv.clone(),
                status: command.status,
            });
            evidence.command_time = Some((command.started, command.ended));
        }
        let first = self.bundle_hosts.is_empty() && self.options.filter.is_none();
        if first {
            evidence.filter.clone_from(&manifest.filter);
            evidence.programs = programs(&manifest.programs);
            if evidence.programs.len() < manifest.programs.len() {
                let message =
                    "manifest.json: a compiled filter is damaged: expected classic BPF; without it every packet counts"
                        .to_owned();
                self.problem(input.path.display().to_string(), message);
            }
        } else if evidence.filter != manifest.filter {
            let said = |filter: &Option<String>| match filter {
                Some(filter) => format!("\"{filter}\""),
                None => "all packets".to_owned(),
            };
            let message = format!(
                "it was collected with another filter ({}); flows are selected by {}",
                said(&manifest.filter),
                said(&evidence.filter)
            );
            self.problem(input.path.display().to_string(), message);
        }
    }

    fn bundle_host(
        &mut self,
        input: &Input,
        bundle: &Bundle,
        from: &BundleHost,
        label: String,
        programs: &[Program],
    ) {
        let record = bundle
            .manifest
            .iter()
            .flat_map(|manifest| &manifest.hosts)
            .find(|record| record.label == from.label);
        let mut problems = Vec::new();
        let capture = from.capture.as_ref().and_then(|path| {
            let name = bundle.shown(path);
            capture(path, name, None, programs, &mut problems)
        });
        let readings = readings(bundle, from, &mut problems);
        let window = self.evidence.window;
        let logs: Vec<Log> = from
            .logs
            .iter()
            .filter_map(|from| {
                let around = window.map(|(started, _)| started);
                log(bundle, from, around, &mut problems)
            })
            .collect();

        let host = self.host_evidence(label);
        host.captures.extend(capture);
        host.readings = readings;
        host.logs.extend(logs);
        if let Some(record) = record {
            host.kernel.clone_from(&record.kernel);
            host.unseen.extend(record.unseen.iter().cloned());
        }
        self.problems(&input.path, problems);
    }
}

/// Reads a capture into its conversations. Damage is told, and what came before it stands.
pub(super) fn capture(
    path: &Path,
    name: String,
    point: Option<Point>,
    programs: &[Program],
    problems: &mut Vec<Problem>,
) -> Option<Capture> {
    let mut problem = |offset, message| {
        problems.push(Problem {
            file: name.clone(),
            offset,
            message,
        });
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            problem(None, format!("cannot be opened: {error}"));
            return None;
        }
    };
    let mut reader = match CaptureReader::new(file, &name) {
        Ok(reader) => reader,
        Err(error) => {
            problem(Some(error.offset), expected(&error));
            return None;
        }
    };
    let options = LedgerOptions {
        filter: programs.to_vec(),
        ..LedgerOptions::default()
    };
    let (ledger, damage) = read_capture(&mut reader, options);
    if let Some(error) = damage {
        problem(Some(error.offset), expected(&error));
    }
    Some(Capture {
        name,
        point,
        ledger,
    })
}

fn expected(error: &transect_packet::CaptureError) -> String {
    match &error.source {
        Some(source) => format!("expected {}: {source}", error.expected),
        None => format!("expected {}, found {}", error.expected, error.found),
    }
}

fn readings(bundle: &Bundle, host: &BundleHost, problems: &mut Vec<Problem>) -> Vec<Reading> {
    let mut series = Series::default();
    // Files that did not change are the same path again, and so the same dump.
    let mut known: HashMap<&Path, Arc<Dump>> = HashMap::new();
    let mut newest: HashMap<&str, Arc<Dump>> = HashMap::new();
    for reading in &host.readings {
        let mut dumps = Dumps::new();
        for (name, path) in &reading.files {
            if let Some(dump) = known.get(path.as_path()) {
                dumps.insert(name.clone(), Arc::clone(dump));
                continue;
            }
            let Some(mut dump) = read_file(bundle, name, path, problems) else {
                continue;
            };
            if let Some(before) = newest.get(name.as_str()) {
                dump.counters.share_names(&before.counters);
            }
            let dump = Arc::new(dump);
            newest.insert(name, Arc::clone(&dump));
            known.insert(path, Arc::clone(&dump));
            dumps.insert(name.clone(), dump);
        }
        let record = &reading.record;
        series.push(record.time, record.ended, record.phase, &dumps);
    }
    series.finish()
}

/// Reads one file of a reading; `None` for files that this version does not know.
fn read_file(
    bundle: &Bundle,
    name: &str,
    path: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Dump> {
    let kind = kind_of_file(name);
    if kind.is_none() && name != "unseen.json" {
        return None;
    }
    let shown = bundle.shown(path);
    let text = text(path, &shown, problems)?;
    let read = match kind {
        Some(kind) => read_dump(kind, name, &text),
        None => read_unseen(&text),
    };
    problems.extend(located(&shown, &text, read.problems));
    Some(read.dump)
}

/// Reads a text; what is wrong with the file becomes a problem.
pub(super) fn text(path: &Path, shown: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let mut problem = |offset, message| {
        problems.push(Problem {
            file: shown.to_owned(),
            offset,
            message,
        });
    };
    let read = match file::read_text(path) {
        Ok(read) => read,
        Err(error) => {
            problem(None, format!("cannot be read: {error}"));
            return None;
        }
    };
    if read.cut {
        let limit = file::TEXT_LIMIT;
        problem(
            Some(limit),
            format!("longer than {limit} bytes; the rest is left out"),
        );
    }
    if let Some(error) = read.damage {
        problem(
            Some(read.text.len() as u64),
            format!("damaged or cut off: {error}; what came before is used"),
        );
    }
    Some(read.text)
}

fn log(
    bundle: &Bundle,
    from: &BundleLog,
    around: Option<transect_path::Timestamp>,
    problems: &mut Vec<Problem>,
) -> Option<Log> {
    let shown = bundle.shown(&from.text);
    let text = text(&from.text, &shown, problems)?;
    if from.record.rotated {
        problems.push(Problem {
            file: shown,
            offset: None,
            message:
                "the log was rotated or truncated during the observation: lines may be missing"
                    .to_owned(),
        });
    }
    Some(Log {
        path: from.record.path.clone(),
        lines: read_log(&text, around),
    })
}
