//! Why an observation could not be made.

use std::io;
use std::path::PathBuf;

use transect_evidence::bundle::BundleError;

/// Why an observation could not be made, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A host was named in a way that is not understood.
    #[error("\"{text}\" does not name a host: {reason}")]
    HostName {
        /// What was typed.
        text: String,
        /// What is wrong with it and what was expected.
        reason: String,
    },
    /// Two hosts got the same label.
    #[error(
        "\"{first}\" and \"{second}\" are both labelled \"{label}\": give one of them another label with LABEL="
    )]
    LabelTaken {
        /// The label.
        label: String,
        /// The host that has it.
        first: String,
        /// The host that would get it too.
        second: String,
    },
    /// The same namespace was named twice; everything in it would be counted twice.
    #[error("\"{first}\" and \"{second}\" are the same network namespace: name it once")]
    SameNamespace {
        /// The host that was named first.
        first: String,
        /// The one that is the same.
        second: String,
    },
    /// A log belongs to a host that is not observed.
    #[error("the log {} is said to belong to \"{label}\", which is not observed (observed: {known})", path.display())]
    LogOfUnknownHost {
        /// The label given with the log.
        label: String,
        /// The log.
        path: PathBuf,
        /// The labels of the hosts that are observed.
        known: String,
    },
    /// The filter expression does not compile.
    #[error("the filter \"{filter}\" does not compile: {reason}")]
    Filter {
        /// The expression.
        filter: String,
        /// libpcap's reason.
        reason: String,
    },
    /// A network namespace could not be found or opened.
    #[error("opening the network namespace of \"{name}\": {reason}")]
    NamespaceMissing {
        /// How it was named.
        name: String,
        /// The system's reason, and what to do.
        reason: String,
    },
    /// A network namespace could not be entered.
    #[error(
        "entering the network namespace of \"{name}\": {source} (needs CAP_SYS_ADMIN: run as root)"
    )]
    NamespaceEnter {
        /// How it was named.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// COMMAND could not be started.
    #[error("starting \"{program}\": {source}")]
    Command {
        /// The program.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The bundle's folder could not be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The system refused something that every observation needs.
    #[error("{doing}: {source}")]
    System {
        /// What was being done, to what.
        doing: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The user asked a second time to stop: there is no result.
    #[error("stopped at once, as asked: the observation is not complete")]
    Stopped,
}

impl Error {
    /// The user typed something wrong, as opposed to: something failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::HostName { .. }
                | Error::LabelTaken { .. }
                | Error::SameNamespace { .. }
                | Error::LogOfUnknownHost { .. }
                | Error::Filter { .. }
        )
    }

    /// For `map_err`: a refused system call with what was being done.
    pub(crate) fn system<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
        let doing = doing.into();
        move |source| Error::System {
            doing,
            source: source.into(),
        }
    }
}
