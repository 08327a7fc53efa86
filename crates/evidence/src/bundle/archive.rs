//! A bundle as one file: packing a folder into `.tar.zst`, and unpacking an archive from somebody else.
//!
//! What comes in is untrusted. Only regular files under plain relative paths are written, into a folder of our own; links,
//! devices and everything that points elsewhere is left out and named; sizes and counts are bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use super::{BundleError, MANIFEST};
use crate::problem::Problem;

/// Bounds on what is unpacked from an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all files together.
    pub total: u64,
    /// Bytes in one file.
    pub file: u64,
    /// Number of entries.
    pub entries: u64,
    /// How many times its own size an archive may unpack to, above [`Limits::ratio_floor`].
    pub ratio: u64,
    /// Bytes up to which the ratio does not matter: a small archive of alike texts compresses very well.
    pub ratio_floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            total: 64 << 30,
            file: 32 << 30,
            entries: 1_000_000,
            ratio: 1000,
            ratio_floor: 256 << 20,
        }
    }
}

/// The zstd level: texts of the same few formats compress well at the default already.
const LEVEL: i32 = 3;

/// Problems named one by one; an archive of a million bad entries must not become a million messages.
const PROBLEMS: usize = 100;

/// Packs a bundle folder into the archive `target`, under a temporary name that is renamed when all is written.
///
/// Entries stand in the order of their names, so that the same folder gives the same archive.
///
/// # Errors
/// A file cannot be read or written. The temporary file is removed then.
pub fn pack(folder: &Path, target: &Path) -> Result<(), BundleError> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let packed = pack_into(folder, &temporary)
        .and_then(|()| fs::rename(&temporary, target).map_err(BundleError::io("writing", target)));
    if packed.is_err() {
        // The first error is the one to report; the temporary file may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    packed
}

fn pack_into(folder: &Path, temporary: &Path) -> Result<(), BundleError> {
    let failed = || BundleError::io("writing", temporary);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // A bundle holds packets, rules and logs: for its owner alone, as tcpdump's and sosreport's files are.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(temporary).map_err(failed())?;
    let encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(failed())?;
    let mut builder = Builder::new(encoder);
    // First, so that an archive that was cut off on its way still says what it is.
    let manifest = folder.join(MANIFEST);
    if manifest.is_file() {
        append_file(&mut builder, &manifest, Path::new(MANIFEST))
            .map_err(BundleError::io("packing", &manifest))?;
    }
    append_folder(&mut builder, folder, Path::new(""))?;
    let encoder = builder.into_inner().map_err(failed())?;
    let writer = encoder.finish().map_err(failed())?;
    let file = writer
        .into_inner()
        .map_err(|error| failed()(error.into_error()))?;
    file.sync_all().map_err(failed())
}

fn append_folder<W: Write>(
    builder: &mut Builder<W>,
    folder: &Path,
    inside: &Path,
) -> Result<(), BundleError> {
    for (path, kind) in sorted_entries(folder)? {
        let inside = inside.join(path.file_name().unwrap_or_default());
        if inside == Path::new(MANIFEST) {
            continue;
        }
        if kind.is_dir() {
            append_folder(builder, &path, &inside)?;
        } else if kind.is_file() {
            append_file(builder, &path, &inside).map_err(BundleError::io("packing", &path))?;
        }
    }
    Ok(())
}

fn append_file<W: Write>(builder: &mut Builder<W>, path: &Path, inside: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    // A file that grows meanwhile is cut at the size that the header states.
    builder.append_data(&mut header, inside, file.take(size))
}

/// The entries of a folder in the order of their names; links are reported as links.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<(PathBuf, fs::FileType)>, BundleError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(BundleError::io("listing", folder))? {
        let entry = entry.map_err(BundleError::io("listing", folder))?;
        let kind = entry
            .file_type()
            .map_err(BundleError::io("listing", folder))?;
        entries.push((entry.path(), kind));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Unpacks an archive (tar, plain or compressed with gzip or zstd) into the empty folder `target`.
///
/// What is damaged, too large or not a regular file becomes a problem, and what was read until then stays.
///
/// # Errors
/// The archive cannot be opened, or the target cannot be written.
pub(crate) fn unpack(
    archive: &Path,
    target: &Path,
    limits: &Limits,
) -> Result<Vec<Problem>, BundleError> {
    let file = File::open(archive).map_err(BundleError::io("opening", archive))?;
    let packed_size = file
        .metadata()
        .map_err(BundleError::io("opening", archive))?
        .len();
    let by_ratio = packed_size
        .saturating_mul(limits.ratio)
        .max(limits.ratio_floor);
    let mut unpacker = Unpacker {
        archive,
        target,
        limits,
        budget: limits.total.min(by_ratio),
        problems: Vec::new(),
    };
    let reader = decompressed(BufReader::new(file)).map_err(BundleError::io("reading", archive))?;
    unpacker.run(reader)?;
    Ok(unpacker.problems)
}

fn decompressed<'a>(mut reader: BufReader<File>) -> io::Result<Box<dyn Read + 'a>> {
    use std::io::BufRead;
    let head = reader.fill_buf()?;
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::Decoder::with_buffer(reader)?))
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else {
        Ok(Box::new(reader))
    }
}

struct Unpacker<'a> {
    archive: &'a Path,
    target: &'a Path,
    limits: &'a Limits,
    /// Bytes that may still be read of the unpacked stream.
    budget: u64,
    problems: Vec<Problem>,
}

impl Unpacker<'_> {
    fn run(&mut self, reader: Box<dyn Read + '_>) -> Result<(), BundleError> {
        // The bound is on the stream, so that sparse entries and long headers count as well.
        let bounded = reader.take(self.budget);
        let mut tar = Archive::new(bounded);
        let entries = match tar.entries() {
            Ok(entries) => entries,
            Err(error) => {
                self.problem(None, format!("cannot be read as a tar archive: {error}"));
                return Ok(());
            }
        };
        let mut count = 0_u64;
        let mut unpacked = 0_u64;
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.damaged(unpacked, &error);
                    return Ok(());
                }
            };
            count = count.saturating_add(1);
            if count > self.limits.entries {
                let most = self.limits.entries;
                self.problem(
                    None,
                    format!("more than {most} entries; the rest is not read"),
                );
                return Ok(());
            }
            let kind = entry.header().entry_type();
            let offset = entry.raw_header_position();
            let path = entry.path_bytes().into_owned();
            let shown = String::from_utf8_lossy(&path).into_owned();
            if kind == EntryType::Directory {
                continue;
            }
            if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
                self.problem(
                    Some(offset),
                    format!("\"{shown}\" is not a regular file; left out"),
                );
                continue;
            }
            let Some(relative) = plain_path(&shown) else {
                self.problem(
                    Some(offset),
                    format!("\"{shown}\" is not a plain path inside the archive; left out"),
                );
                continue;
            };
            let size = entry.size();
            if size > self.limits.file || size > self.budget.saturating_sub(unpacked) {
                self.problem(
                    Some(offset),
                    format!("\"{shown}\" states {size} bytes, which is over the limit; nothing more is read"),
                );
                return Ok(());
            }
            unpacked = unpacked.saturating_add(size);
            let target = self.target.join(&relative);
            if let Err(error) = self.write_entry(&mut entry, &target)? {
                self.problem(
                    Some(offset),
                    format!("\"{shown}\" is damaged or cut off: {error}; the part that could be read is used"),
                );
                return Ok(());
            }
        }
        Ok(())
    }

    /// The outer error is ours (the target cannot be written), the inner one the archive's.
    fn write_entry(
        &self,
        entry: &mut impl Read,
        target: &Path,
    ) -> Result<Result<(), io::Error>, BundleError> {
        if let Some(parent) = target.parent() {
            // Fails where an entry uses as a folder what an earlier one made a file.
            if let Err(error) = fs::create_dir_all(parent) {
                return Ok(Err(error));
            }
        }
        // `create_new`: an archive that names a file twice does not overwrite, and no link can be there to be followed.
        let opened = OpenOptions::new().write(true).create_new(true).open(target);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let read = match entry.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            let part = buffer.get(..read).unwrap_or_default();
            file.write_all(part)
                .map_err(BundleError::io("unpacking to", target))?;
        }
    }

    fn damaged(&mut self, unpacked: u64, error: &io::Error) {
        let message = if unpacked >= self.budget {
            format!(
                "unpacks to more than {} bytes, far over its own size; the rest is not read",
                self.budget
            )
        } else {
            format!("cut off or damaged: {error}; expected the next entry of a tar archive")
        };
        self.problem(None, message);
    }

    fn problem(&mut self, offset: Option<u64>, message: String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem {
                file: self.archive.display().to_string(),
                offset,
                message,
            });
        }
    }
}

/// The path, if it is relative and has only plain components (a leading `./` is common and harmless).
fn plain_path(text: &str) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    let usable = !plain.as_os_str().is_empty() && !text.contains('\0') && text.len() < 4096;
    usable.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive entry as bytes, with whatever name and type; the `tar` crate refuses to write evil names itself.
    fn entry(name: &str, kind: EntryType, link: &str, body: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    struct Unpacked {
        folder: tempfile::TempDir,
        messages: Vec<String>,
    }

    fn unpacked(archive: &[u8], limits: &Limits) -> Unpacked {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        fs::write(&path, archive).unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let problems = unpack(&path, &target, limits).unwrap();
        Unpacked {
            folder,
            messages: problems
                .into_iter()
                .map(|problem| problem.message)
                .collect(),
        }
    }

    impl Unpacked {
        fn files(&self) -> Vec<String> {
            let mut names = Vec::new();
            let mut folders = vec![self.folder.path().to_owned()];
            while let Some(folder) = folders.pop() {
                for (path, kind) in sorted_entries(&folder).unwrap() {
                    if kind.is_dir() {
                        folders.push(path);
                    } else {
                        let name = path.strip_prefix(self.folder.path()).unwrap();
                        names.push(name.display().to_string());
                    }
                }
            }
            names.sort();
            names
        }
    }

    #[test]
    fn names_that_lead_out_of_the_archive_are_left_out() {
        let mut archive = entry("../evil", EntryType::Regular, "", b"x");
        archive.extend(entry("a/../../evil", EntryType::Regular, "", b"x"));
        archive.extend(entry("/tmp/evil", EntryType::Regular, "", b"x"));
        archive.extend(entry("./fine", EntryType::Regular, "", b"x"));
        let unpacked = unpacked(&archive, &Limits::default());
        assert_eq!(unpacked.files(), ["a.tar", "target/fine"]);
        assert_eq!(
            unpacked.messages[0],
            "\"../evil\" is not a plain path inside the archive; left out"
        );
        assert_eq!(unpacked.messages.len(), 3);
    }

    #[test]
    fn links_and_devices_are_neither_made_nor_followed() {
        let outside = tempfile::tempdir().unwrap();
        let link = outside.path().display().to_string();
        let mut archive = entry("hosts", EntryType::Symlink, &link, b"");
        archive.extend(entry("hosts/evil", EntryType::Regular, "", b"x"));
        archive.extend(entry("hard", EntryType::Link, "/etc/passwd", b""));
        archive.extend(entry("device", EntryType::Char, "", b""));
        archive.extend(entry("pipe", EntryType::Fifo, "", b""));
        let unpacked = unpacked(&archive, &Limits::default());
        assert_eq!(unpacked.files(), ["a.tar", "target/hosts/evil"]);
        assert_eq!(unpacked.messages.len(), 4);
        assert!(sorted_entries(outside.path()).unwrap().is_empty());
    }

    #[test]
    fn an_archive_that_names_a_file_twice_does_not_overwrite_it() {
        let mut archive = entry("a", EntryType::Regular, "", b"first");
        archive.extend(entry("a", EntryType::Regular, "", b"second"));
        let unpacked = unpacked(&archive, &Limits::default());
        let kept = fs::read(unpacked.folder.path().join("target/a")).unwrap();
        assert_eq!(kept, b"first");
        assert_eq!(unpacked.messages.len(), 1);
    }

    #[test]
    fn a_cut_archive_gives_what_came_before_the_cut() {
        let mut archive = entry("a", EntryType::Regular, "", b"whole");
        archive.extend(entry("b", EntryType::Regular, "", &[7; 3000]));
        for cut in [512 + 512 + 100, 512 + 512 + 512 + 1000] {
            let unpacked = unpacked(&archive[..cut], &Limits::default());
            let kept = fs::read(unpacked.folder.path().join("target/a")).unwrap();
            assert_eq!(kept, b"whole");
            assert_eq!(unpacked.messages.len(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let limits = Limits {
            ratio: 10,
            ratio_floor: 4096,
            ..Limits::default()
        };
        let zeros = entry("zeros", EntryType::Regular, "", &vec![0; 8 << 20]);
        let bomb = zstd::encode_all(&zeros[..], 3).unwrap();
        assert!(bomb.len() < 4096);
        let unpacked = unpacked(&bomb, &limits);
        assert_eq!(unpacked.files(), ["a.tar"]);
        insta::assert_snapshot!(unpacked.messages[0], @r#""zeros" states 8388608 bytes, which is over the limit; nothing more is read"#);
    }

    #[test]
    fn many_small_entries_count_against_the_same_limit() {
        let limits = Limits {
            entries: 3,
            ..Limits::default()
        };
        let archive: Vec<u8> = (0..9)
            .flat_map(|index| entry(&index.to_string(), EntryType::Regular, "", b""))
            .collect();
        let unpacked = unpacked(&archive, &limits);
        assert_eq!(unpacked.files().len(), 4);
        assert_eq!(
            unpacked.messages,
            ["more than 3 entries; the rest is not read"]
        );
    }

    #[test]
    fn a_failed_packing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.tar.zst");
        assert!(pack(&folder.path().join("missing"), &target).is_err());
        assert!(sorted_entries(folder.path()).unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_unpacking_fail(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            unpacked(&bytes, &Limits::default());
        }
    }
}
