//! From files to evidence: bundles, folders of dumps, captures, dumps and logs, each recognised by its content.
//!
//! What is damaged or unknown becomes a [`Problem`], and everything else is used. The same files give the same evidence,
//! in whatever order a folder lists them.

mod bundle;
mod dump;
mod file;
mod folder;
mod loose;
mod series;
mod slot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use transect_packet::bpf::Program;

use crate::bundle::{Bundle, BundleError, FilterProgram, Limits};
use crate::input::{Input, Role};
use crate::model::{Evidence, HostEvidence};
use crate::problem::Problem;
use crate::recognize::{Kind, recognize};

use loose::Loose;

/// How inputs are read.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The filter that selects the flows in question, for input that is no bundle: the expression and, compiled, one program
    /// for each link type. A bundle has its own.
    pub filter: Option<(String, Vec<Program>)>,
    /// Bounds on what is unpacked from archives.
    pub limits: Limits,
}

/// Why there is no evidence at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Two bundles have a host of the same label, and nothing says whether it is the same host.
    #[error("two bundles have a host \"{0}\"; name them apart: LABEL=PATH")]
    SameLabel(String),
    /// A host would be called `network`, which means everything between the hosts.
    #[error("{}: \"network\" is no label for a host; name it: LABEL=PATH", .0.display())]
    NetworkLabel(PathBuf),
    /// A bundle cannot be opened.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Nothing that was named could be used.
    #[error("nothing to explain: {}", listed(.0))]
    Nothing(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "the input holds no capture, no dump and no log".to_owned();
    }
    let all: Vec<String> = problems.iter().take(10).map(Problem::to_string).collect();
    all.join("; ")
}

/// Reads all inputs into one body of evidence.
///
/// Inputs of the same label are one host. Hosts stand in the order in which they were named.
///
/// # Errors
/// See [`LoadError`]; a single damaged or missing file among others is none.
pub fn load(inputs: &[Input], options: &LoadOptions) -> Result<Evidence, LoadError> {
    let mut loader = Loader {
        options,
        several: inputs.len() > 1,
        evidence: Evidence::default(),
        bundle_hosts: BTreeMap::new(),
        loose: Vec::new(),
        unpacked: Vec::new(),
    };
    if let Some((filter, programs)) = &options.filter {
        loader.evidence.filter = Some(filter.clone());
        loader.evidence.programs.clone_from(programs);
    }
    for input in inputs {
        loader.input(input)?;
    }
    loader.finish()
}

struct Loader<'a> {
    options: &'a LoadOptions,
    /// More than one input was named, so that a file inside of one is named with it.
    several: bool,
    evidence: Evidence,
    /// Which bundle each host came from, by label.
    bundle_hosts: BTreeMap<String, PathBuf>,
    /// The hosts that loose files speak of, in the order in which they were named.
    loose: Vec<(String, Loose)>,
    /// Unpacked archives of dumps, whose captures are read at the end.
    unpacked: Vec<folder::Unpacked>,
}

impl Loader<'_> {
    fn input(&mut self, input: &Input) -> Result<(), LoadError> {
        let path = &input.path;
        let shown = path.display().to_string();
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.problem(shown, format!("cannot be opened: {error}"));
                return Ok(());
            }
        };
        if metadata.is_dir() {
            return if Bundle::is_at(path) {
                self.bundle(input, path)
            } else {
                self.folder(input, path)
            };
        }
        if input.role == Role::Log {
            match file::kind_of(path, &shown) {
                Err(error) => self.problem(shown, format!("cannot be read: {error}")),
                Ok(Ok(kind @ (Kind::Capture | Kind::Archive))) => {
                    self.problem(shown, format!("is a {kind}, not a log"));
                }
                Ok(_) => {
                    let label = self.label(input)?;
                    self.host(label).log(path.clone(), shown);
                }
            }
            return Ok(());
        }
        match file::kind_of(path, &shown) {
            Err(error) => self.problem(shown, format!("cannot be read: {error}")),
            Ok(Err(unknown)) => {
                let message = unknown.to_string();
                let message = message
                    .strip_prefix(&format!("{shown}: "))
                    .unwrap_or(&message);
                self.problem(shown, message.to_owned());
            }
            Ok(Ok(Kind::Archive)) => return self.archive(input),
            Ok(Ok(Kind::Manifest)) => {
                let folder = path.parent().unwrap_or(Path::new("."));
                return self.bundle(input, folder);
            }
            Ok(Ok(kind)) => {
                let label = self.label(input)?;
                let told = self
                    .host(label)
                    .file(path.clone(), shown.clone(), kind, input.role);
                if let Err(message) = told {
                    self.problem(shown, message);
                }
            }
        }
        Ok(())
    }

    /// A tar archive is a bundle when it has a manifest, else a folder of dumps.
    fn archive(&mut self, input: &Input) -> Result<(), LoadError> {
        let unpacked = folder::Unpacked::open(&input.path, &self.options.limits)?;
        if Bundle::is_at(unpacked.root()) {
            self.problems(&input.path, unpacked.problems.iter().cloned());
            return self.bundle(input, unpacked.root());
        }
        // A sosreport's archive is full of links, which is no damage.
        self.folder_of(input, unpacked.root(), Some(&unpacked))?;
        self.unpacked.push(unpacked);
        Ok(())
    }

    fn label(&self, input: &Input) -> Result<String, LoadError> {
        let label = input.label_or_stem();
        if label == "network" {
            return Err(LoadError::NetworkLabel(input.path.clone()));
        }
        Ok(label)
    }

    /// What loose files say of this host.
    fn host(&mut self, label: String) -> &mut Loose {
        self.host_evidence(label.clone());
        let index = self.loose.iter().position(|(known, _)| *known == label);
        let index = index.unwrap_or_else(|| {
            self.loose.push((label, Loose::default()));
            self.loose.len().saturating_sub(1)
        });
        &mut self.loose[index].1
    }

    /// The evidence of this host; it keeps the place at which it was first named.
    fn host_evidence(&mut self, label: String) -> &mut HostEvidence {
        let hosts = &mut self.evidence.hosts;
        let index = hosts.iter().position(|host| host.label == label);
        let index = index.unwrap_or_else(|| {
            hosts.push(HostEvidence {
                label,
                ..HostEvidence::default()
            });
            hosts.len().saturating_sub(1)
        });
        &mut hosts[index]
    }

    fn problem(&mut self, file: String, message: String) {
        self.evidence.problems.push(Problem {
            file,
            offset: None,
            message,
        });
    }

    /// Adds problems of files inside of an input.
    fn problems(&mut self, input: &Path, problems: impl IntoIterator<Item = Problem>) {
        for mut problem in problems {
            if self.several && problem.file != input.display().to_string() {
                problem.file = format!("{}: {}", input.display(), problem.file);
            }
            self.evidence.problems.push(problem);
        }
    }

    fn finish(mut self) -> Result<Evidence, LoadError> {
        let programs = self.evidence.programs.clone();
        for (label, loose) in std::mem::take(&mut self.loose) {
            let around = self.evidence.window.map(|(started, _)| started);
            let mut problems = Vec::new();
            let host = self.host_evidence(label);
            loose.read_into(host, &programs, around, &mut problems);
            self.evidence.problems.append(&mut problems);
        }
        self.evidence.hosts.retain(|host| {
            !(host.captures.is_empty()
                && host.readings.is_empty()
                && host.logs.is_empty()
                && host.unseen.is_empty())
        });
        if self.evidence.hosts.is_empty() {
            return Err(LoadError::Nothing(self.evidence.problems));
        }
        Ok(self.evidence)
    }
}

/// The filter programs as the ledger wants them; one that is damaged is left out, so that everything matches.
fn programs(records: &[FilterProgram]) -> Vec<Program> {
    records
        .iter()
        .map(|record| Program {
            link_type: transect_packet::LinkType(record.link_type),
            instructions: record
                .instructions
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
        })
        .filter(|program| program.validate().is_ok())
        .collect()
}

/// The problems of a text's lines, with their offsets in the file.
fn located(
    file: &str,
    text: &str,
    places: Vec<(Option<usize>, String)>,
) -> impl Iterator<Item = Problem> {
    let file = file.to_owned();
    let starts = line_starts(text, &places);
    places
        .into_iter()
        .zip(starts)
        .map(move |((_, message), offset)| Problem {
            file: file.clone(),
            offset,
            message,
        })
}

/// The offset of each place's line; a text on one line counts elements, so that only the first line is a line.
fn line_starts(text: &str, places: &[(Option<usize>, String)]) -> Vec<Option<u64>> {
    places
        .iter()
        .map(|(line, _)| {
            let line = (*line)?;
            let mut lines = text.split_inclusive('\n');
            let before = line.saturating_sub(1);
            let mut offset = 0_u64;
            for _ in 0..before {
                offset = offset.saturating_add(lines.next()?.len() as u64);
            }
            lines.next().map(|_| offset)
        })
        .collect()
}

/// Recognises a text that was read already.
fn kind_of_text(text: &str, name: &str) -> Result<Kind, crate::recognize::Unrecognized> {
    let head = text
        .as_bytes()
        .get(..crate::recognize::HEAD)
        .unwrap_or(text.as_bytes());
    recognize(head, name)
}
