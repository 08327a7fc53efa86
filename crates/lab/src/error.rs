//! What can go wrong before an experiment runs.

use std::path::PathBuf;

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The file could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not a valid experiment. The text names file, line, and what was expected.
    #[error("{0}")]
    Scenario(String),
    /// No experiment has this name.
    #[error("no experiment is called \"{name}\"{hint}; `transect lab list` shows all")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// `; did you mean …`, or empty.
        hint: String,
    },
    /// Namespaces cannot be made here.
    #[error(
        "making a network namespace: {0}; experiments need CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root"
    )]
    Namespace(std::io::Error),
    /// The runner's temporary folder.
    #[error("making the temporary folder {path}: {source}")]
    Temporary {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
