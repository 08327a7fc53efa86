//! The part of an application's log that is written during the observation.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use transect_evidence::bundle::LogRecord;

/// The most that is kept of one log.
const LIMIT: u64 = 64 << 20;

/// A log, from the start of the observation on.
#[derive(Debug)]
pub(super) struct LogWatch {
    path: PathBuf,
    /// As it was at the start; `None` when there was no such file yet. Held open, so that its end can be read after it was
    /// rotated away.
    file: Option<File>,
    offset: u64,
}

/// What was written to a log.
#[derive(Debug)]
pub(super) struct LogPart {
    pub(super) record: LogRecord,
    pub(super) bytes: Vec<u8>,
    /// What is missing in `bytes`, and why.
    pub(super) missing: Option<String>,
}

impl LogWatch {
    /// Begins at the log's present end. A log that does not exist yet is read from its beginning; one that cannot be read is
    /// an error now rather than a surprise at the end.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let offset = match &file {
            Some(file) => {
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "not a regular file",
                    ));
                }
                metadata.len()
            }
            None => 0,
        };
        Ok(LogWatch {
            path: path.to_owned(),
            file,
            offset,
        })
    }

    /// Reads what was written since, across one rotation or truncation.
    pub(super) fn end(mut self) -> LogPart {
        let mut part = LogPart {
            record: LogRecord {
                path: self.path.display().to_string(),
                offset: self.offset,
                rotated: false,
            },
            bytes: Vec::new(),
            missing: None,
        };
        if let Err(error) = self.read_into(&mut part) {
            part.missing = Some(format!("reading {}: {error}", self.path.display()));
        }
        part
    }

    fn read_into(&mut self, part: &mut LogPart) -> io::Result<()> {
        let old = self.file.take();
        let new = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let same = match (&old, &new) {
            (Some(old), Some(new)) => identity(old)? == identity(new)?,
            _ => false,
        };
        if let Some(mut old) = old {
            let truncated = old.metadata()?.len() < self.offset;
            part.record.rotated = truncated || !same;
            let from = if truncated { 0 } else { self.offset };
            old.seek(SeekFrom::Start(from))?;
            append(old, part)?;
        }
        match new {
            Some(new) if !same => append(new, part),
            None if part.record.rotated => {
                part.missing = Some("the log was moved away and no new one was begun".to_owned());
                Ok(())
            }
            None => {
                part.missing = Some(format!("{} does not exist", self.path.display()));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn append(file: File, part: &mut LogPart) -> io::Result<()> {
    let held = u64::try_from(part.bytes.len()).unwrap_or(u64::MAX);
    let room = LIMIT.saturating_sub(held);
    let read = file.take(room).read_to_end(&mut part.bytes)?;
    if u64::try_from(read).is_ok_and(|read| read >= room) {
        part.missing = Some(format!("only the first {} MiB are kept", LIMIT >> 20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn watched(before: &str) -> (tempfile::TempDir, PathBuf, LogWatch) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, before).unwrap();
        let watch = LogWatch::begin(&path).unwrap();
        (folder, path, watch)
    }

    fn append_to(path: &Path, text: &str) {
        use std::io::Write;
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn only_what_was_written_since_is_kept() {
        let (_folder, path, watch) = watched("old\n");
        append_to(&path, "new\n");
        let part = watch.end();
        assert_eq!(part.bytes, b"new\n");
        assert_eq!((part.record.offset, part.record.rotated), (4, false));
        assert_eq!(part.missing, None);
    }

    #[test]
    fn a_rotated_log_is_read_to_its_end_and_then_the_new_one() {
        let (folder, path, watch) = watched("old\n");
        append_to(&path, "one\n");
        fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        fs::write(&path, "two\n").unwrap();
        let part = watch.end();
        assert_eq!(part.bytes, b"one\ntwo\n");
        assert!(part.record.rotated);
    }

    #[test]
    fn a_truncated_log_is_read_from_its_beginning() {
        let (_folder, path, watch) = watched("old and long\n");
        fs::write(&path, "new\n").unwrap();
        let part = watch.end();
        assert_eq!(part.bytes, b"new\n");
        assert!(part.record.rotated);
    }

    #[test]
    fn a_log_may_appear_later_or_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (first, second) = (
            LogWatch::begin(&path).unwrap(),
            LogWatch::begin(&path).unwrap(),
        );
        assert!(first.end().missing.unwrap().contains("does not exist"));
        fs::write(&path, "new\n").unwrap();
        let part = second.end();
        assert_eq!(part.bytes, b"new\n");
        assert!(!part.record.rotated);
    }

    #[test]
    fn a_folder_is_no_log() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LogWatch::begin(folder.path()).is_err());
    }
}
