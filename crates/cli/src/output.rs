//! Standard output for answers, standard error for everything else.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::LevelFilter;
use transect_report::Style;

use crate::error::Failure;

/// The page's width where the terminal does not say.
const USUAL_WIDTH: usize = 100;

/// Writes the answer, whole, with a line break at its end.
///
/// # Errors
/// Standard output cannot be written; a closed pipe is [`Failure::ClosedPipe`].
pub(crate) fn answer(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    Ok(())
}

/// Tells something on standard error. Text from others must have been cleaned.
pub(crate) fn tell(text: &str) {
    // Progress that nobody can read is no failure.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// How standard output wants its text: colours on a terminal unless `NO_COLOR` is set (no-color.org), as wide as the
/// terminal or `COLUMNS`.
pub(crate) fn style() -> Style {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let stated = std::env::var("COLUMNS")
        .ok()
        .and_then(|value| value.parse().ok());
    let measured = || {
        rustix::termios::tcgetwinsize(&stdout)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
    };
    Style {
        color: terminal && !unwanted && !dumb,
        width: stated.or_else(measured).unwrap_or(USUAL_WIDTH),
    }
}

/// Starts writing logs to standard error: warnings, with `-v` what is being done, with `-vv` everything.
pub(crate) fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // Fails only when logging has been started before, as in tests.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 1)
        .without_time()
        .try_init();
}
