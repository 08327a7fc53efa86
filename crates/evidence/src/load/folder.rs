//! A folder of dumps: captures, texts of tools, perhaps a sosreport.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::loose::natural;
use super::{LoadError, Loader, file};
use crate::bundle::{Bundle, BundleError, Limits, sorted_entries, unpack};
use crate::input::{Input, Role, stem};
use crate::problem::Problem;
use crate::recognize::Kind;

/// How deep folders are followed.
const DEPTH: usize = 10;

/// How many files of a folder are looked at.
const FILES: usize = 20_000;

/// How many unknown files are named one by one.
const UNKNOWN: usize = 20;

/// The folders of a sosreport that hold what is read here; the rest of it is other things.
const SOSREPORT: [&str; 7] = [
    "sos_commands/networking",
    "sos_commands/firewall_tables",
    "sos_commands/firewalld",
    "sos_commands/nftables",
    "sos_commands/kernel/sysctl_-a",
    "proc/net",
    "proc/sys/net",
];

/// Folder names that say what lies in them and not whose it is.
const LAYOUT: [&str; 14] = [
    "proc",
    "sys",
    "net",
    "stat",
    "ip",
    "tc",
    "nft",
    "iptables",
    "ethtool",
    "conntrack",
    "etc",
    "var",
    "sos_commands",
    "dumps",
];

/// An archive, unpacked into a temporary folder that lives as long as this value.
pub(super) struct Unpacked {
    folder: tempfile::TempDir,
    pub(super) problems: Vec<Problem>,
    root: PathBuf,
}

impl Unpacked {
    pub(super) fn open(archive: &Path, limits: &Limits) -> Result<Self, BundleError> {
        let folder = tempfile::Builder::new()
            .prefix("transect-archive-")
            .tempdir()
            .map_err(|source| BundleError::Io {
                action: "making a temporary folder for",
                path: archive.to_owned(),
                source,
            })?;
        let problems = unpack(archive, folder.path(), limits)?;
        let mut root = folder.path().to_owned();
        // Archives are often made of one folder.
        if !Bundle::is_at(&root)
            && let Ok(entries) = sorted_entries(&root)
            && let [(only, kind)] = entries.as_slice()
            && kind.is_dir()
        {
            root.clone_from(only);
        }
        Ok(Unpacked {
            folder,
            problems,
            root,
        })
    }

    pub(super) fn root(&self) -> &Path {
        debug_assert!(self.root.starts_with(self.folder.path()));
        &self.root
    }
}

/// One file of a folder.
struct Found {
    path: PathBuf,
    /// Its path inside the folder.
    name: String,
}

impl Loader<'_> {
    /// Reads a folder that is no bundle.
    pub(super) fn folder(&mut self, input: &Input, folder: &Path) -> Result<(), LoadError> {
        self.folder_of(input, folder, None)
    }

    /// Reads a folder, which may be that of an unpacked archive.
    pub(super) fn folder_of(
        &mut self,
        input: &Input,
        folder: &Path,
        unpacked: Option<&Unpacked>,
    ) -> Result<(), LoadError> {
        let sosreport = folder.join("sos_commands").is_dir();
        if let Some(unpacked) = unpacked
            && !sosreport
        {
            self.problems(&input.path, unpacked.problems.iter().cloned());
        }
        let label = self.label(input)?;
        let mut found = Vec::new();
        let mut walk_problems = Vec::new();
        walk(folder, folder, DEPTH, &mut found, &mut walk_problems);
        self.problems(&input.path, walk_problems);
        if sosreport {
            found.retain(|file| SOSREPORT.iter().any(|part| file.name.starts_with(part)));
        }
        found.sort_by(|a, b| natural(&a.name, &b.name));

        let mut known: Vec<(Found, Kind)> = Vec::new();
        let mut unknown = Vec::new();
        for file in found {
            match file::kind_of(&file.path, &file.name) {
                Ok(Ok(Kind::Empty)) => {}
                Ok(Ok(kind)) if is_dump(kind, sosreport) => known.push((file, kind)),
                Ok(Ok(kind)) => unknown.push((
                    file.name,
                    format!("a {kind} inside of a folder is left out"),
                )),
                Ok(Err(error)) => unknown.push((file.name, error.to_string())),
                Err(error) => unknown.push((file.name, format!("cannot be read: {error}"))),
            }
        }
        if sosreport {
            unknown.clear();
        }
        let left = unknown.len().saturating_sub(UNKNOWN);
        let unknown = unknown.into_iter().take(UNKNOWN).map(|(file, message)| {
            let message = match message.strip_prefix(&format!("{file}: ")) {
                Some(short) => short.to_owned(),
                None => message,
            };
            Problem {
                file,
                offset: None,
                message,
            }
        });
        let unknown: Vec<Problem> = unknown.collect();
        self.problems(&input.path, unknown);
        if left > 0 {
            let shown = input.path.display().to_string();
            self.problem(shown, format!("{left} more files are of no known kind"));
        }

        let labels = if input.label.is_some() || sosreport {
            BTreeSet::new()
        } else {
            labels(&known)
        };
        for (file, kind) in known {
            let own = labels
                .iter()
                .filter(|label| belongs(&file.name, label))
                .max_by_key(|label| label.len());
            let label = own.unwrap_or(&label).clone();
            if label == "network" {
                return Err(LoadError::NetworkLabel(file.path));
            }
            let role = match input.role {
                Role::Any if sosreport => Role::Any,
                Role::Any => moment(&file.name),
                said => said,
            };
            // An application's log is no meter of the host's moment.
            let role = if kind == Kind::Capture {
                Role::Any
            } else {
                role
            };
            let shown = if self.several {
                format!("{}/{}", input.path.display(), file.name)
            } else {
                file.name.clone()
            };
            let host = self.host(label);
            host.one_moment |= sosreport;
            if let Err(message) = host.file(file.path, shown.clone(), kind, role) {
                self.problem(shown, message);
            }
        }
        Ok(())
    }
}

/// Which recognised kinds are taken from a folder. A sosreport holds many logs, of everything.
fn is_dump(kind: Kind, sosreport: bool) -> bool {
    match kind {
        Kind::Archive | Kind::Compressed | Kind::Manifest => false,
        Kind::Log => !sosreport,
        _ => true,
    }
}

/// Lists the regular files of a folder; links are not followed.
fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    found: &mut Vec<Found>,
    problems: &mut Vec<Problem>,
) {
    let shown = |path: &Path| {
        let inside = path.strip_prefix(root).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    };
    let entries = match sorted_entries(folder) {
        Ok(entries) => entries,
        Err(error) => return tell(problems, shown(folder), error.to_string()),
    };
    for (path, kind) in entries {
        if found.len() >= FILES {
            let message = format!("more than {FILES} files; the rest is left out");
            return tell(problems, shown(folder), message);
        }
        let name = shown(&path);
        // What was read inside of other network namespaces belongs to other hosts.
        let elsewhere = name.contains("ip_netns_exec_") || name.contains("/namespaces/");
        if elsewhere {
            continue;
        }
        if kind.is_file() {
            found.push(Found { path, name });
        } else if kind.is_dir() {
            match depth.checked_sub(1) {
                Some(depth) => walk(root, &path, depth, found, problems),
                None => tell(problems, name, "too deep; left out".to_owned()),
            }
        }
    }
}

fn tell(problems: &mut Vec<Problem>, file: String, message: String) {
    if problems.len() < UNKNOWN {
        problems.push(Problem {
            file,
            offset: None,
            message,
        });
    }
}

/// The labels that a folder's own names give: its subfolders, and its captures where there are several.
fn labels(files: &[(Found, Kind)]) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    let mut captures = BTreeSet::new();
    for (file, kind) in files {
        match file.name.split_once('/') {
            Some((folder, _)) => {
                let plain = !LAYOUT.contains(&folder) && moment(folder) == Role::Any;
                if plain {
                    labels.insert(folder.to_owned());
                }
            }
            None if *kind == Kind::Capture => {
                let stem = stem(Path::new(&file.name));
                if !is_interface(&stem) {
                    captures.insert(stem);
                }
            }
            None => {}
        }
    }
    if captures.len() > 1 || !labels.is_empty() {
        labels.extend(captures);
    }
    labels
}

/// Whether a capture is called after the interface that it was taken on, and so says nothing of the host.
fn is_interface(stem: &str) -> bool {
    const KINDS: [&str; 16] = [
        "eth", "eno", "ens", "enp", "em", "wlan", "wlp", "bond", "br", "br-", "veth", "docker",
        "tun", "tap", "wg", "team",
    ];
    let numbered = |kind: &str| {
        stem.strip_prefix(kind)
            .is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
    };
    matches!(stem, "any" | "lo") || KINDS.into_iter().any(numbered)
}

/// Whether the file's name begins with the label, as a word of its own or as a folder.
fn belongs(name: &str, label: &str) -> bool {
    name.strip_prefix(label)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_', '/']))
}

/// What a name says of the moment: `before` or `after` as a word of it.
fn moment(name: &str) -> Role {
    let mut words = name
        .split(|char: char| !char.is_ascii_alphanumeric())
        .map(str::to_ascii_lowercase);
    match words.find(|word| word == "before" || word == "after") {
        Some(word) if word == "before" => Role::Before,
        Some(_) => Role::After,
        None => Role::Any,
    }
}
