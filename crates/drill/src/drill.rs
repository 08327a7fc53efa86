//! From files to results.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::fast_open;
use crate::options::{IpVersion, Options, resolve};
use crate::parse::{self, Defines, ParseError};
use crate::report::{ScriptFailure, ScriptResult};
use crate::run::{Failure, Runner};
use crate::script::{Script, ScriptOption};
use crate::world::{Journal, KernelWorld, ModelWorld, World, WorldError};

/// Where scripts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorldKind {
    /// This machine's kernel, in a network namespace, in real time.
    Kernel,
    /// The model host, in virtual time.
    #[default]
    Model,
}

impl WorldKind {
    /// Its name.
    pub const fn id(self) -> &'static str {
        match self {
            WorldKind::Kernel => "kernel",
            WorldKind::Model => "model",
        }
    }
}

/// How scripts are run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrillOptions {
    /// Where.
    pub world: WorldKind,
    /// Options as scripts have them (`mtu`, `ip_version`); they come before the script's own.
    pub options: Vec<ScriptOption>,
    /// Names that stand for something else.
    pub defines: Defines,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// A path that cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The path.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// A folder without scripts.
    #[error("{0}: no file below it ends in .pkt")]
    Empty(String),
}

/// The most files that are looked at.
const MOST: usize = 100_000;

/// The scripts that are meant: files as they are, and all `*.pkt` below folders, in order of their names.
///
/// # Errors
/// A path that is not there, or a folder without scripts.
pub fn find_scripts(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FindError> {
    let mut found = Vec::new();
    for path in paths {
        let unreadable = |error| FindError::Unreadable {
            path: path.display().to_string(),
            error,
        };
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                // Links to folders are not followed: they may go round in circles.
                if entry.file_type().map_err(unreadable)?.is_dir() {
                    folders.push(entry.path());
                } else if entry.path().extension().is_some_and(|end| end == "pkt") {
                    found.push(entry.path());
                }
                if found.len() > MOST || folders.len() > MOST {
                    break;
                }
            }
        }
        if found.len() == before {
            return Err(FindError::Empty(path.display().to_string()));
        }
        if let Some(below) = found.get_mut(before..) {
            below.sort();
        }
    }
    Ok(found)
}

/// Runs one script.
pub fn run_script(path: &Path, with: &DrillOptions) -> ScriptResult {
    let begun = Instant::now();
    let mut notes = Vec::new();
    let ended = prepare(path, with, &mut notes)
        .and_then(|prepared| run_prepared(prepared, with.world, &mut notes));
    let (failure, seconds) = match ended {
        Ok(seconds) => (None, seconds),
        Err(failure) => (Some(failure), begun.elapsed().as_secs_f64()),
    };
    ScriptResult {
        path: path.display().to_string(),
        passed: failure.is_none(),
        seconds,
        failure: failure.map(|failure| ScriptFailure {
            line: failure.line,
            message: failure.message,
            time: failure.time.map(|time| time.as_secs_f64()),
        }),
        notes,
    }
}

/// Everything that happened when a script ran in the model world: packets byte by byte, system calls and what they came to, values
/// of `TCP_INFO`, with times in nanoseconds. The same script gives the same journal.
///
/// # Errors
/// A script that cannot be read, or that fails; in words.
pub fn journal(path: &Path, with: &DrillOptions) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    let in_words = |failure: Failure| format!("line {}: {}", failure.line, failure.message);
    let prepared = prepare(path, with, &mut notes).map_err(in_words)?;
    let mut world = ModelWorld::new(&prepared.options).map_err(|error| error.to_string())?;
    let mut journal = Journal::new(&mut world);
    run_in(&prepared, &mut journal, &mut notes).map_err(in_words)?;
    Ok(journal.lines)
}

/// Names that scripts write without defining them: the runners of the public suites do, by IP version and addresses. What the
/// command line or the script defines comes first.
fn usual_names(options: &Options, all: &[ScriptOption], mut defines: Defines) -> Defines {
    let usual = |v4: &str, v6: &str| match options.ip_version {
        IpVersion::V4 => v4.to_owned(),
        IpVersion::V4Mapped | IpVersion::V6 => v6.to_owned(),
    };
    let code = match options.is_ipv6() {
        true => "address_unreachable",
        false => "host_unreachable",
    };
    let cookie = |key| fast_open::cookie(key, options.remote_ip, options.local_ip);
    let names = [
        ("CMSG_LEVEL_IP", usual("SOL_IP", "SOL_IPV6")),
        ("CMSG_TYPE_RECVERR", usual("IP_RECVERR", "IPV6_RECVERR")),
        ("CODE", code.to_owned()),
        ("TFO_COOKIE", cookie(fast_open::USUAL_KEY)),
        ("TFO_COOKIE_ZERO", cookie([0; 2])),
    ];
    let own = |name: &str| {
        let mut options = all.iter().filter(|option| option.name == "define");
        options.any(|option| option.value.starts_with(&format!("{name}=")))
    };
    for (name, value) in names {
        if !own(name) {
            defines.entry(name.to_owned()).or_insert(value);
        }
    }
    defines
}

/// A script that has been read.
struct Prepared {
    script: Script,
    options: Options,
    folder: PathBuf,
}

fn prepare(path: &Path, with: &DrillOptions, notes: &mut Vec<String>) -> Result<Prepared, Failure> {
    let failure = |line, message| Failure {
        line,
        message,
        time: None,
    };
    let text = std::fs::read(path).map_err(|error| failure(0, format!("reading it: {error}")))?;
    let text = String::from_utf8_lossy(&text);
    let unread = |error: ParseError| failure(error.line, error.message);
    let given = |name: &str| with.options.iter().any(|option| option.name == name);
    let own = parse::head(&text).map_err(unread)?;
    let own = own.into_iter().filter(|option| !given(&option.name));
    let all: Vec<ScriptOption> = own.chain(with.options.iter().cloned()).collect();
    let (options, said) = resolve(&all).map_err(|(line, message)| failure(line, message))?;
    let defines = with.defines.clone();
    let script =
        Script::parse_with(&text, &usual_names(&options, &all, defines)).map_err(unread)?;
    notes.extend(said);
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Prepared {
        script,
        options,
        folder,
    })
}

fn run_prepared(
    prepared: Prepared,
    world: WorldKind,
    notes: &mut Vec<String>,
) -> Result<f64, Failure> {
    if prepared.options.dry_run {
        return Ok(0.0);
    }
    match world {
        WorldKind::Model => {
            let mut world = ModelWorld::new(&prepared.options).map_err(broken)?;
            run_in(&prepared, &mut world, notes)
        }
        WorldKind::Kernel => {
            // A thread of its own: it moves into a namespace, and the namespace ends with it.
            let thread = std::thread::Builder::new()
                .name("drill".to_owned())
                .spawn(move || {
                    let made = KernelWorld::new(&prepared.options);
                    let mut world = made.map_err(broken)?;
                    let mut notes = Vec::new();
                    let ended = run_in(&prepared, &mut world, &mut notes);
                    Ok((ended, notes))
                });
            let joined = thread
                .map_err(|error| broken(WorldError(format!("starting a thread: {error}"))))?
                .join();
            match joined {
                Ok(Ok((ended, said))) => {
                    notes.extend(said);
                    ended
                }
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(broken(WorldError(
                    "the thread of the script panicked".to_owned(),
                ))),
            }
        }
    }
}

fn broken(error: WorldError) -> Failure {
    Failure {
        line: 0,
        message: error.to_string(),
        time: None,
    }
}

fn run_in(
    prepared: &Prepared,
    world: &mut dyn World,
    notes: &mut Vec<String>,
) -> Result<f64, Failure> {
    let begun = world.now();
    let mut runner = Runner::new(&prepared.script, &prepared.options, &prepared.folder, world);
    let ended = runner.run();
    notes.append(&mut runner.notes);
    ended?;
    Ok(world.now().saturating_sub(begun).as_secs_f64())
}
