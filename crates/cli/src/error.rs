//! Why a command could not answer, and the exit status for it.

use std::fmt::Display;
use std::io;

use crate::{ANSWERED, FAILED, USAGE};

/// Why a command could not answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user typed something that cannot be; the text says what to type.
    Usage(String),
    /// Something failed; the text says what was being done, to what, and what to do.
    Failed(anyhow::Error),
    /// Whoever read our output has enough.
    ClosedPipe,
}

impl Failure {
    /// Wrong usage, in the words of an error.
    pub(crate) fn usage(error: impl Display) -> Self {
        Failure::Usage(error.to_string())
    }

    /// A failure, in words of our own.
    pub(crate) fn failed(text: impl Display) -> Self {
        Failure::Failed(anyhow::anyhow!("{text}"))
    }

    /// Tells it on standard error; the exit status.
    pub(crate) fn report(self) -> u8 {
        use std::io::Write as _;
        let mut stderr = io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        match self {
            Failure::Usage(text) => {
                let _ = writeln!(
                    stderr,
                    "error: {}\n\nFor more information, try '--help'.",
                    transect_report::clean(&text)
                );
                USAGE
            }
            Failure::Failed(error) => {
                let _ = writeln!(stderr, "error: {}", transect_report::clean(&chain(&error)));
                FAILED
            }
            Failure::ClosedPipe => ANSWERED,
        }
    }
}

/// The error and its sources in one sentence; a source that the text before it quotes already is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for source in error.chain().skip(1) {
        let source = source.to_string();
        if !text.contains(&source) {
            text.push_str(": ");
            text.push_str(&source);
        }
    }
    text
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Failed(error)
    }
}

/// An error in writing the answer.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(
                anyhow::Error::from(error).context("writing the answer to standard output"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn no_source_is_said_twice() {
        let gone = || anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        let quoted = gone().context(format!("reading /x: {}", gone()));
        assert_eq!(chain(&quoted), "reading /x: entity not found");
        let plain = Err::<(), _>(gone()).context("reading /x").unwrap_err();
        assert_eq!(chain(&plain), "reading /x: entity not found");
    }
}
