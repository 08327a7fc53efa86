//! Writing a bundle folder, while the observation runs.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use transect_path::{Timestamp, Unseen};

use super::{
    BundleError, CAPTURE, COMMAND_OUTPUT_LIMIT, HOSTS, LOGS, LogRecord, MANIFEST, Manifest, Phase,
    READING, READINGS, ReadingRecord, folder_name,
};

/// One file of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The path inside the reading's folder, such as `net/snmp` or `ethtool/eth0.features.txt`.
    pub name: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// What one reading of a host found, as raw texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReading {
    /// When the first file was read, by the real-time clock.
    pub started: Timestamp,
    /// When the last file was read.
    pub ended: Timestamp,
    /// The files. What does not exist on the host is absent.
    pub files: Vec<RawFile>,
    /// What could not be read, and what to do about it; kept as the reading's `unseen.json`.
    pub unseen: Vec<Unseen>,
}

/// Which output of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Writes a bundle folder.
#[derive(Debug)]
pub struct BundleWriter {
    folder: PathBuf,
}

impl BundleWriter {
    /// Begins a bundle in `folder`, which is made when it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, or it holds a bundle already.
    pub fn create(folder: &Path) -> Result<Self, BundleError> {
        let hosts = folder.join(HOSTS);
        fs::create_dir_all(folder).map_err(BundleError::io("making", folder))?;
        fs::create_dir(&hosts).map_err(BundleError::io("making", &hosts))?;
        Ok(BundleWriter {
            folder: folder.to_owned(),
        })
    }

    /// The bundle's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins the part of the host with this label. The writer that is returned may go to another thread.
    ///
    /// # Errors
    /// The folder cannot be made, or the label was begun already.
    pub fn host(&self, label: &str) -> Result<HostWriter, BundleError> {
        let folder = self.folder.join(HOSTS).join(folder_name(label));
        fs::create_dir(&folder).map_err(BundleError::io("making", &folder))?;
        for part in [READINGS, LOGS] {
            let part = folder.join(part);
            fs::create_dir(&part).map_err(BundleError::io("making", &part))?;
        }
        Ok(HostWriter {
            folder,
            next: 1,
            newest: HashMap::new(),
        })
    }

    /// Writes what the command printed; what goes over [`COMMAND_OUTPUT_LIMIT`] is cut off.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_command_output(
        &self,
        stream: CommandStream,
        bytes: &[u8],
    ) -> Result<(), BundleError> {
        let path = self.folder.join(match stream {
            CommandStream::Stdout => "command.stdout",
            CommandStream::Stderr => "command.stderr",
        });
        let kept = bytes.get(..COMMAND_OUTPUT_LIMIT).unwrap_or(bytes);
        fs::write(&path, kept).map_err(BundleError::io("writing", &path))
    }

    /// Writes the manifest under a temporary name and renames it, so that a manifest is there in full or not at all.
    ///
    /// May be called again: at the start, so that an observation that was killed can still be read, and at the end.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), BundleError> {
        write_json_atomically(&self.folder.join(MANIFEST), manifest)
    }
}

/// Writes one host's part of a bundle.
#[derive(Debug)]
pub struct HostWriter {
    folder: PathBuf,
    next: u32,
    /// The newest content of each file of the readings.
    newest: HashMap<String, Vec<u8>>,
}

impl HostWriter {
    /// The host's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the host's capture belongs.
    pub fn capture_path(&self) -> PathBuf {
        self.folder.join(CAPTURE)
    }

    /// Writes one reading. Files that did not change since the newest reading that had them are only named.
    ///
    /// The record is written last, under a temporary name: a reading without a record was interrupted.
    ///
    /// # Errors
    /// A file cannot be written, or its name is not a plain relative path.
    pub fn write_reading(
        &mut self,
        phase: Phase,
        why: &str,
        reading: RawReading,
    ) -> Result<(), BundleError> {
        let folder = self.folder.join(READINGS).join(format!("{:06}", self.next));
        self.next = self.next.saturating_add(1);
        fs::create_dir(&folder).map_err(BundleError::io("making", &folder))?;

        let mut unchanged = Vec::new();
        let mut made = HashSet::new();
        let unseen = unseen_file(&reading.unseen, &folder)?;
        for file in reading.files.into_iter().chain(unseen) {
            if self.newest.get(&file.name) == Some(&file.bytes) {
                unchanged.push(file.name);
            } else {
                write_inside(&folder, &file, &mut made)?;
                self.newest.insert(file.name, file.bytes);
            }
        }
        unchanged.sort();
        let record = ReadingRecord {
            time: reading.started,
            ended: reading.ended,
            phase,
            unchanged,
            why: why.to_owned(),
        };
        write_json_atomically(&folder.join(READING), &record)
    }

    /// Writes the part of a log that was written during the observation, as `logs/NAME.log` with `NAME.json` beside it.
    ///
    /// `name` is chosen by the caller, one for each log of the host; it is made a plain file name.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_log(
        &self,
        name: &str,
        record: &LogRecord,
        bytes: &[u8],
    ) -> Result<(), BundleError> {
        let name = folder_name(name);
        let text = self.folder.join(LOGS).join(format!("{name}.log"));
        fs::write(&text, bytes).map_err(BundleError::io("writing", &text))?;
        write_json_atomically(&self.folder.join(LOGS).join(format!("{name}.json")), record)
    }
}

fn unseen_file(unseen: &[Unseen], folder: &Path) -> Result<Option<RawFile>, BundleError> {
    if unseen.is_empty() {
        return Ok(None);
    }
    let name = "unseen.json".to_owned();
    let bytes = serde_json::to_vec(unseen)
        .map_err(|error| BundleError::io("writing", &folder.join(&name))(error.into()))?;
    Ok(Some(RawFile { name, bytes }))
}

/// `made`: folders that are there for certain.
fn write_inside(
    folder: &Path,
    file: &RawFile,
    made: &mut HashSet<PathBuf>,
) -> Result<(), BundleError> {
    let relative = Path::new(&file.name);
    let plain = !file.name.is_empty()
        && relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
    if !plain {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "not a plain relative path");
        return Err(BundleError::io("writing", relative)(reason));
    }
    let path = folder.join(relative);
    if let Some(parent) = path.parent()
        && parent != folder
        && !made.contains(parent)
    {
        fs::create_dir_all(parent).map_err(BundleError::io("making", parent))?;
        made.insert(parent.to_owned());
    }
    fs::write(&path, &file.bytes).map_err(BundleError::io("writing", &path))
}

fn write_json_atomically<T: Serialize>(path: &Path, value: &T) -> Result<(), BundleError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| BundleError::io("writing", path)(error.into()))?;
    text.push(b'\n');
    let temporary = path.with_extension("json.tmp");
    let written = File::create(&temporary).and_then(|mut file| file.write_all(&text));
    written.map_err(BundleError::io("writing", &temporary))?;
    fs::rename(&temporary, path).map_err(BundleError::io("renaming to", path))
}
