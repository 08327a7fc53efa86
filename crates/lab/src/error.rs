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
    /// The build is without the kernel world.
    #[error(
        "the kernel world was left out of this build: it needs the feature \"live\"; `--world model` needs nothing"
    )]
    KernelWorldLeftOut,
    /// A host in real time could not do what it was to. The text says what was being done.
    #[error("{0}")]
    Host(String),
    /// The runner's temporary folder.
    #[error("making the temporary folder {path}: {source}")]
    Temporary {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Why an experiment could not be carried out as its file says. The text says what was being done and what came of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WorldError(pub(crate) String);

impl From<transect_host::namespace::ChangeError> for WorldError {
    fn from(error: transect_host::namespace::ChangeError) -> Self {
        WorldError(error.to_string())
    }
}

impl WorldError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        WorldError(text.into())
    }

    /// For `map_err`: what was being done, then the error.
    pub(crate) fn doing<E: std::fmt::Display>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> WorldError {
        let what = what.into();
        move |error| WorldError(format!("{what}: {error}"))
    }
}
