//! Reading a bundle: a folder, or an archive that is unpacked into a temporary folder first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::archive::{sorted_entries, unpack};
use super::{
    BundleError, CAPTURE, FORMAT, HOSTS, LOGS, Limits, LogRecord, MANIFEST, Manifest, READING,
    READINGS, ReadingRecord, folder_name,
};
use crate::problem::Problem;

/// The largest JSON record that is read; a manifest with thousands of hosts stays below.
const RECORD_LIMIT: u64 = 16 << 20;

/// How deep files of a reading lie at most (`net/stat/arp_cache`).
const DEPTH: usize = 4;

/// A bundle, opened.
///
/// An archive's temporary folder lives as long as this value.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    /// What was observed; `None` where the manifest is missing or damaged, as after a kill.
    pub manifest: Option<Manifest>,
    /// The hosts, in the order of the manifest, then those that only have a folder.
    pub hosts: Vec<BundleHost>,
    /// What was damaged.
    pub problems: Vec<Problem>,
}

/// One host's part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleHost {
    /// The label.
    pub label: String,
    /// The capture, if there is one.
    pub capture: Option<PathBuf>,
    /// The readings in their order.
    pub readings: Vec<BundleReading>,
    /// The logs, by file name.
    pub logs: Vec<BundleLog>,
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleReading {
    /// Its record.
    pub record: ReadingRecord,
    /// The files of this reading by their names inside it; those named `unchanged` lead to an earlier reading's folder.
    pub files: BTreeMap<String, PathBuf>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleLog {
    /// Its record.
    pub record: LogRecord,
    /// The part that was written during the observation.
    pub text: PathBuf,
}

impl Bundle {
    /// Opens a bundle folder or archive (`.tar.zst`; plain tar and gzip are understood too).
    ///
    /// Damage inside is listed in `problems`, and the rest is used.
    ///
    /// # Errors
    /// The path cannot be read, or the manifest is of a version that this one does not know.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, BundleError> {
        let metadata = fs::metadata(path).map_err(BundleError::io("opening", path))?;
        if metadata.is_dir() {
            return Self::from_folder(path.to_owned(), None, Vec::new());
        }
        let temporary = tempfile::Builder::new()
            .prefix("transect-bundle-")
            .tempdir()
            .map_err(BundleError::io("making a temporary folder for", path))?;
        let problems = unpack(path, temporary.path(), limits)?;
        Self::from_folder(temporary.path().to_owned(), Some(temporary), problems)
    }

    /// The bundle's folder, or the temporary folder of its unpacked archive.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path of this bundle as it should be shown: relative to the bundle.
    pub fn shown(&self, path: &Path) -> String {
        shown(&self.folder, path)
    }

    /// What the command printed: standard output, then standard error; empty where nothing was kept.
    pub fn command_output(&self) -> String {
        let mut text = String::new();
        for name in ["command.stdout", "command.stderr"] {
            let path = self.folder.join(name);
            if is_file(&path)
                && let Ok(bytes) = fs::read(&path)
            {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        text
    }

    /// Whether a folder is a bundle's: by its manifest, else (that may be damaged or lost) by its layout.
    pub(crate) fn is_at(folder: &Path) -> bool {
        let has_readings = |host: &Path| {
            sorted_entries(&host.join(READINGS)).is_ok_and(|readings| {
                let mut readings = readings.iter();
                readings.any(|(reading, _)| is_file(&reading.join(READING)))
            })
        };
        is_file(&folder.join(MANIFEST))
            || sorted_entries(&folder.join(HOSTS)).is_ok_and(|hosts| {
                let mut hosts = hosts.iter();
                hosts.any(|(host, kind)| kind.is_dir() && has_readings(host))
            })
    }

    fn from_folder(
        folder: PathBuf,
        temporary: Option<tempfile::TempDir>,
        problems: Vec<Problem>,
    ) -> Result<Self, BundleError> {
        let mut bundle = Bundle {
            folder,
            _temporary: temporary,
            manifest: None,
            hosts: Vec::new(),
            problems,
        };
        let path = bundle.folder.join(MANIFEST);
        match read_record::<Manifest>(&path, &check_format) {
            Ok(manifest) => bundle.manifest = Some(manifest),
            Err(error @ BundleError::Version { .. }) => return Err(error),
            Err(error) => bundle.problem(&path, &error),
        }
        bundle.read_hosts();
        Ok(bundle)
    }

    fn read_hosts(&mut self) {
        let hosts = self.folder.join(HOSTS);
        let found: Vec<String> = match sorted_entries(&hosts) {
            Ok(entries) => entries
                .into_iter()
                .filter(|(_, kind)| kind.is_dir())
                .filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned()))
                .collect(),
            Err(error) => {
                self.problem(&hosts, &error);
                Vec::new()
            }
        };
        let mut named = BTreeSet::new();
        let labels: Vec<String> = self
            .manifest
            .iter()
            .flat_map(|manifest| &manifest.hosts)
            .map(|host| host.label.clone())
            .collect();
        for label in labels {
            let folder = folder_name(&label);
            if named.insert(folder.clone()) {
                self.read_host(label, &hosts.join(folder));
            }
        }
        for folder in found {
            if named.insert(folder.clone()) {
                self.read_host(folder.clone(), &hosts.join(&folder));
            }
        }
    }

    fn read_host(&mut self, label: String, folder: &Path) {
        let capture = folder.join(CAPTURE);
        if !is_file(&capture) && fs::symlink_metadata(&capture).is_ok() {
            self.stray(&capture, "a regular file");
        }
        let readings = self.read_readings(&folder.join(READINGS));
        let logs = self.read_logs(&folder.join(LOGS));
        self.hosts.push(BundleHost {
            label,
            capture: is_file(&capture).then_some(capture),
            readings,
            logs,
        });
    }

    fn read_readings(&mut self, folder: &Path) -> Vec<BundleReading> {
        let mut numbered = Vec::new();
        for (path, kind) in self.entries(folder) {
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.parse::<u32>().ok());
            match number {
                Some(number) if kind.is_dir() => numbered.push((number, path)),
                _ => self.stray(&path, "a folder named by a number"),
            }
        }
        numbered.sort();

        let mut newest: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut readings = Vec::new();
        for (_, folder) in numbered {
            let path = folder.join(READING);
            let record = match read_record::<ReadingRecord>(&path, &|_, _| Ok(())) {
                Ok(record) => record,
                Err(error) => {
                    self.problem(&path, &error);
                    continue;
                }
            };
            let mut files = BTreeMap::new();
            self.list_files(&folder, "", DEPTH, &mut files);
            files.remove(READING);
            for name in &record.unchanged {
                if files.contains_key(name) {
                    continue;
                }
                match newest.get(name) {
                    Some(earlier) => {
                        files.insert(name.clone(), earlier.clone());
                    }
                    None => self.problems.push(Problem {
                        file: self.shown(&path),
                        offset: None,
                        message: format!(
                            "\"{name}\" is said to be unchanged, but no earlier reading has it"
                        ),
                    }),
                }
            }
            newest.extend(
                files
                    .iter()
                    .map(|(name, path)| (name.clone(), path.clone())),
            );
            readings.push(BundleReading { record, files });
        }
        readings
    }

    fn list_files(
        &mut self,
        folder: &Path,
        prefix: &str,
        depth: usize,
        files: &mut BTreeMap<String, PathBuf>,
    ) {
        for (path, kind) in self.entries(folder) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                self.stray(&path, "a name in UTF-8");
                continue;
            };
            let name = format!("{prefix}{name}");
            if kind.is_file() {
                files.insert(name, path);
            } else if kind.is_dir() && depth > 0 {
                self.list_files(&path, &format!("{name}/"), depth.saturating_sub(1), files);
            } else {
                self.stray(&path, "a regular file");
            }
        }
    }

    fn read_logs(&mut self, folder: &Path) -> Vec<BundleLog> {
        let mut logs = Vec::new();
        for (path, kind) in self.entries(folder) {
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            if !kind.is_file() {
                self.stray(&path, "a regular file");
                continue;
            }
            let record = path.with_extension("json");
            let record = match read_record::<LogRecord>(&record, &|_, _| Ok(())) {
                Ok(record) => record,
                Err(error) => {
                    self.problem(&record, &error);
                    LogRecord {
                        path: self.shown(&path),
                        offset: 0,
                        rotated: false,
                    }
                }
            };
            logs.push(BundleLog { record, text: path });
        }
        logs
    }

    /// The entries of a folder; a missing folder is an empty one.
    fn entries(&mut self, folder: &Path) -> Vec<(PathBuf, fs::FileType)> {
        if !fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
            return Vec::new();
        }
        sorted_entries(folder).unwrap_or_else(|error| {
            self.problem(folder, &error);
            Vec::new()
        })
    }

    fn stray(&mut self, path: &Path, expected: &str) {
        let file = self.shown(path);
        self.problems.push(Problem {
            file,
            offset: None,
            message: format!("left out: expected {expected}"),
        });
    }

    fn problem(&mut self, path: &Path, error: &BundleError) {
        let file = self.shown(path);
        let message = match error {
            BundleError::Io { action, source, .. } => format!("{action}: {source}"),
            BundleError::Malformed { expected, .. } => expected.clone(),
            other => other.to_string(),
        };
        self.problems.push(Problem {
            file,
            offset: error.offset(),
            message,
        });
    }
}

fn shown(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// True for a regular file; a link is none, wherever it leads.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn check_format(path: &Path, value: &serde_json::Value) -> Result<(), BundleError> {
    match value.get("format").and_then(serde_json::Value::as_str) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(BundleError::Version {
            path: path.to_owned(),
            found: found.to_owned(),
        }),
        None => Err(BundleError::Malformed {
            path: path.to_owned(),
            offset: None,
            expected: format!("expected a manifest with \"format\": \"{FORMAT}\""),
        }),
    }
}

type Check<'a> = &'a dyn Fn(&Path, &serde_json::Value) -> Result<(), BundleError>;

fn read_record<T: DeserializeOwned>(path: &Path, check: Check<'_>) -> Result<T, BundleError> {
    let metadata = fs::symlink_metadata(path).map_err(BundleError::io("reading", path))?;
    let malformed = |offset, expected| BundleError::Malformed {
        path: path.to_owned(),
        offset,
        expected,
    };
    if !metadata.is_file() || metadata.len() > RECORD_LIMIT {
        let expected = format!("expected a regular file of at most {RECORD_LIMIT} bytes");
        return Err(malformed(None, expected));
    }
    let bytes = fs::read(path).map_err(BundleError::io("reading", path))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
        let offset = offset_of(&bytes, error.line(), error.column());
        malformed(Some(offset), format!("expected JSON: {error}"))
    })?;
    check(path, &value)?;
    serde_json::from_value(value)
        .map_err(|error| malformed(None, format!("not as the format says: {error}")))
}

/// The byte offset of a line and column, both counted from one.
pub(crate) fn offset_of(bytes: &[u8], line: usize, column: usize) -> u64 {
    let before: usize = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before
        .saturating_add(column.saturating_sub(1))
        .min(bytes.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::*;
    use transect_path::{Timestamp, Unseen};

    fn manifest(labels: &[&str]) -> Manifest {
        let host = |label: &&str| HostRecord {
            label: (*label).to_owned(),
            netns: None,
            kernel: Some("6.18.5".to_owned()),
            hostname: None,
            clock: "realtime".to_owned(),
            hz: Some(250),
            unseen: Vec::new(),
        };
        Manifest {
            format: FORMAT.to_owned(),
            transect: "0.1.0".to_owned(),
            created: Timestamp(9),
            filter: Some("tcp port 3306".to_owned()),
            programs: vec![FilterProgram {
                link_type: 1,
                instructions: vec![(6, 0, 0, 262_144)],
            }],
            command: None,
            started: Timestamp(1),
            ended: Timestamp(8),
            hosts: labels.iter().map(host).collect(),
        }
    }

    fn reading(time: u64, files: &[(&str, &str)]) -> RawReading {
        RawReading {
            started: Timestamp(time),
            ended: Timestamp(time + 1),
            files: files
                .iter()
                .map(|(name, text)| RawFile {
                    name: (*name).to_owned(),
                    bytes: text.as_bytes().to_vec(),
                })
                .collect(),
            unseen: Vec::new(),
        }
    }

    fn written(folder: &Path) {
        let writer = BundleWriter::create(folder).unwrap();
        let mut host = writer.host("a/b").unwrap();
        fs::write(host.capture_path(), b"pcapng").unwrap();
        let both = [("net/snmp", "1"), ("ip/link.json", "[]")];
        host.write_reading(Phase::Before, "the start", reading(2, &both))
            .unwrap();
        host.write_reading(Phase::Sample, "the clock", reading(3, &[("net/snmp", "2")]))
            .unwrap();
        let mut last = reading(4, &[("net/snmp", "2"), ("ip/link.json", "[]")]);
        last.unseen.push(Unseen {
            meter: "sockets".to_owned(),
            why: "no rights".to_owned(),
        });
        host.write_reading(Phase::After, "the end", last).unwrap();
        let record = LogRecord {
            path: "/var/log/nginx/access.log".to_owned(),
            offset: 17,
            rotated: false,
        };
        host.write_log("../access", &record, b"line\n").unwrap();
        writer
            .write_command_output(CommandStream::Stdout, b"out\n")
            .unwrap();
        writer
            .write_command_output(CommandStream::Stderr, b"err\n")
            .unwrap();
        writer.write_manifest(&manifest(&["a/b"])).unwrap();
    }

    fn content(bundle: &Bundle, reading: usize, name: &str) -> String {
        fs::read_to_string(&bundle.hosts[0].readings[reading].files[name]).unwrap()
    }

    fn check(bundle: &Bundle) {
        assert_eq!(bundle.problems, []);
        assert_eq!(bundle.manifest.as_ref(), Some(&manifest(&["a/b"])));
        assert_eq!(bundle.command_output(), "out\nerr\n");
        let host = &bundle.hosts[0];
        assert_eq!(host.label, "a/b");
        assert_eq!(
            bundle.shown(host.capture.as_ref().unwrap()),
            "hosts/a%2Fb/capture.pcapng"
        );
        let names: Vec<Vec<&String>> = host
            .readings
            .iter()
            .map(|reading| reading.files.keys().collect())
            .collect();
        assert_eq!(names[0], ["ip/link.json", "net/snmp"]);
        assert_eq!(names[1], ["net/snmp"]);
        assert_eq!(names[2], ["ip/link.json", "net/snmp", "unseen.json"]);
        assert_eq!(
            host.readings[2].record.unchanged,
            ["ip/link.json", "net/snmp"]
        );
        assert_eq!(host.readings[2].record.phase, Phase::After);
        assert_eq!(content(bundle, 0, "net/snmp"), "1");
        assert_eq!(content(bundle, 2, "net/snmp"), "2");
        assert_eq!(content(bundle, 2, "ip/link.json"), "[]");
        assert_eq!(host.logs[0].record.offset, 17);
        assert_eq!(fs::read_to_string(&host.logs[0].text).unwrap(), "line\n");
    }

    #[test]
    fn what_was_written_reads_back_from_the_folder_and_from_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        written(&bundle);
        check(&Bundle::open(&bundle, &Limits::default()).unwrap());

        let archive = folder.path().join("b.tar.zst");
        pack(&bundle, &archive).unwrap();
        check(&Bundle::open(&archive, &Limits::default()).unwrap());

        let again = folder.path().join("c.tar.zst");
        pack(&bundle, &again).unwrap();
        assert_eq!(fs::read(&archive).unwrap(), fs::read(&again).unwrap());
    }

    #[test]
    fn the_temporary_folder_goes_with_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        written(&bundle);
        let archive = folder.path().join("b.tar.zst");
        pack(&bundle, &archive).unwrap();
        let opened = Bundle::open(&archive, &Limits::default()).unwrap();
        let temporary = opened.folder().to_owned();
        assert!(temporary.exists());
        drop(opened);
        assert!(!temporary.exists());
    }

    #[test]
    fn damage_is_told_and_the_rest_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        written(&bundle);
        let host = bundle.join("hosts/a%2Fb");
        fs::write(
            bundle.join(MANIFEST),
            b"{\"format\":\n \"transect.bundle/1\"",
        )
        .unwrap();
        fs::remove_file(host.join("readings/000002/reading.json")).unwrap();
        fs::remove_file(host.join("readings/000001/ip/link.json")).unwrap();
        fs::remove_file(host.join("capture.pcapng")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", host.join("capture.pcapng")).unwrap();

        let opened = Bundle::open(&bundle, &Limits::default()).unwrap();
        assert_eq!(opened.manifest, None);
        assert_eq!(opened.hosts[0].label, "a%2Fb");
        assert_eq!(opened.hosts[0].capture, None);
        assert_eq!(opened.hosts[0].readings.len(), 2);
        let problems: Vec<String> = opened
            .problems
            .iter()
            .map(|problem| format!("{} {:?}: {}", problem.file, problem.offset, problem.message))
            .collect();
        insta::assert_snapshot!(problems.join("\n"), @r#"
        manifest.json Some(30): expected JSON: EOF while parsing an object at line 2 column 20
        hosts/a%2Fb/capture.pcapng None: left out: expected a regular file
        hosts/a%2Fb/readings/000002/reading.json None: reading: No such file or directory (os error 2)
        hosts/a%2Fb/readings/000003/reading.json None: "ip/link.json" is said to be unchanged, but no earlier reading has it
        "#);
    }

    #[test]
    fn a_future_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(HOSTS)).unwrap();
        fs::write(
            folder.path().join(MANIFEST),
            br#"{"format": "transect.bundle/2"}"#,
        )
        .unwrap();
        let error = Bundle::open(folder.path(), &Limits::default()).unwrap_err();
        assert!(error.to_string().ends_with(
            "the format is \"transect.bundle/2\"; this version of Transect reads \"transect.bundle/1\""
        ));
    }

    #[test]
    fn offsets_are_those_of_the_line_and_column() {
        assert_eq!(offset_of(b"ab\ncd", 2, 2), 4);
        assert_eq!(offset_of(b"ab\ncd", 1, 1), 0);
        assert_eq!(offset_of(b"ab", 9, 9), 2);
    }
}
