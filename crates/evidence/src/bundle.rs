//! The bundle: everything that one observation saw, as a folder of plain files, and that folder as one `.tar.zst`.
//!
//! ```text
//! manifest.json                       what was observed, when, with which filter and command
//! command.stdout, command.stderr      what the command printed
//! hosts/LABEL/capture.pcapng          all interfaces of the host
//! hosts/LABEL/readings/NNNNNN/        one folder for each reading: reading.json and the raw texts
//! hosts/LABEL/logs/NAME.log           the part of an application's log written meanwhile, with NAME.json beside it
//! ```
//!
//! Every file is in the format of a well-known tool, so that people can read a bundle without Transect. A file of a reading
//! that is byte for byte the one of an earlier reading is not written again; `reading.json` names it in `unchanged`.

use std::io;
use std::path::{Path, PathBuf};

mod archive;
mod manifest;
mod read;
mod write;

pub use archive::{Limits, pack};
pub(crate) use archive::{sorted_entries, unpack};
pub use manifest::{
    CommandRecord, FORMAT, FilterProgram, HostRecord, LogRecord, Manifest, Phase, ReadingRecord,
};
pub use read::{Bundle, BundleHost, BundleLog, BundleReading};
pub use write::{BundleWriter, CommandStream, HostWriter, RawFile, RawReading};

/// How many bytes of each of the command's outputs a bundle keeps.
pub const COMMAND_OUTPUT_LIMIT: usize = 1 << 20;

const MANIFEST: &str = "manifest.json";
const HOSTS: &str = "hosts";
const READINGS: &str = "readings";
const LOGS: &str = "logs";
const CAPTURE: &str = "capture.pcapng";
const READING: &str = "reading.json";

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The system refused an operation on a file.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, such as "reading".
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the bundle does not hold what the format says.
    #[error("{}: {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes, when known.
        offset: Option<u64>,
        /// What was found and what was expected.
        expected: String,
    },
    /// The bundle was made by a version that this one does not know.
    #[error("{}: the format is \"{found}\"; this version of Transect reads \"{FORMAT}\"", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The format that it states.
        found: String,
    },
    /// The archive goes over a limit, as a decompression bomb does.
    #[error("{}: {what}; nothing more of it is read", path.display())]
    Limit {
        /// The archive.
        path: PathBuf,
        /// Which limit.
        what: String,
    },
}

impl BundleError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
        let path = path.to_owned();
        move |source| BundleError::Io {
            action,
            path,
            source,
        }
    }

    /// The offset of the damage in the file, when known.
    pub fn offset(&self) -> Option<u64> {
        match self {
            BundleError::Malformed { offset, .. } => *offset,
            _ => None,
        }
    }
}

/// The folder name of a label: one plain path component, whatever the label holds.
///
/// Letters, digits, `-`, `_` and inner dots stay; every other byte becomes `%XX`, so that two labels never meet in one folder.
pub fn folder_name(label: &str) -> String {
    let mut name = String::with_capacity(label.len());
    for (index, byte) in label.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || (byte == b'.' && index > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_become_plain_folder_names() {
        assert_eq!(folder_name("server"), "server");
        assert_eq!(folder_name("10.0.0.1"), "10.0.0.1");
        assert_eq!(folder_name(".."), "%2E.");
        assert_eq!(folder_name("a/b"), "a%2Fb");
        assert_eq!(folder_name("a%2Fb"), "a%252Fb");
        assert_eq!(folder_name(""), "%");
    }

    proptest! {
        #[test]
        fn a_folder_name_is_one_component_and_belongs_to_one_label(a in ".{0,20}", b in ".{0,20}") {
            let name = folder_name(&a);
            let components: Vec<_> = Path::new(&name).components().collect();
            prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
            prop_assert_eq!(a == b, name == folder_name(&b));
        }
    }
}
