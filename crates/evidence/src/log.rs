//! Logs of applications: access logs of nginx and Apache, and any other text whose lines begin with a time.
//!
//! A log is the one witness of what the application itself did: a request that stands in it was received *and* processed.

use std::net::IpAddr;

use transect_path::Timestamp;

mod access;
mod when;

/// How much of one line is kept, in bytes.
const LINE_LIMIT: usize = 16 << 10;

/// How many lines of one log are kept, from its start.
const LINES_LIMIT: usize = 1_000_000;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogLine {
    /// When it was written, or for some formats when the request began; `None` where the line does not say.
    ///
    /// A time without a zone is taken as UTC.
    pub time: Option<Timestamp>,
    /// The client's address, where the line names one.
    pub client: Option<IpAddr>,
    /// The request line (`GET / HTTP/1.1`), of access logs only.
    pub request: Option<String>,
    /// The status of the answer, of access logs only.
    pub status: Option<u16>,
    /// How many bytes the answer had, of access logs only.
    pub bytes: Option<u64>,
    /// The whole line as it stands; foreign text.
    pub text: String,
}

/// How the lines of a log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// The common or combined format of nginx and Apache.
    Access,
    /// A time and a text.
    Timed,
}

/// Reads a log. Every line is kept, also one without a time; what is too long is cut off.
///
/// `around` is a moment of the observation: formats without a year take the one that leads closest to it.
pub fn read_log(text: &str, around: Option<Timestamp>) -> Vec<LogLine> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .take(LINES_LIMIT)
        .map(|line| read_line(line, around))
        .collect()
}

/// The format of a log by its first lines; `None` when they look like no log.
pub fn log_format(text: &str) -> Option<LogFormat> {
    let mut lines = 0_u32;
    let mut access = 0_u32;
    let mut timed = 0_u32;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(50) {
        lines = lines.saturating_add(1);
        if access::read(line).is_some() {
            access = access.saturating_add(1);
        } else if when::leading(line, None).is_some() {
            timed = timed.saturating_add(1);
        }
    }
    // Lines that go on without a time (a stack trace) and one that is cut off belong to logs too.
    if access > 0 && access >= lines.div_ceil(2) {
        Some(LogFormat::Access)
    } else if timed > 0 && timed.saturating_add(access) >= lines.div_ceil(4) {
        Some(LogFormat::Timed)
    } else {
        None
    }
}

fn read_line(line: &str, around: Option<Timestamp>) -> LogLine {
    let mut end = line.len().min(LINE_LIMIT);
    while !line.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let line = line.get(..end).unwrap_or_default();
    access::read(line).unwrap_or_else(|| LogLine {
        time: when::leading(line, around),
        client: client(line),
        text: line.to_owned(),
        ..LogLine::default()
    })
}

/// The client that error logs name: `client: ADDRESS,` (nginx) or `[client ADDRESS:PORT]` (Apache).
fn client(line: &str) -> Option<IpAddr> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    if let Some(rest) = after(" client: ") {
        let word = rest.split([',', ' ']).next()?;
        return word.parse().ok();
    }
    let word = after("[client ")?.split(']').next()?;
    word.parse().ok().or_else(|| {
        let (address, _) = word.rsplit_once(':')?;
        address.trim_matches(['[', ']']).parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_is_kept() {
        let text =
            "2026-11-22T10:33:01Z started\n  at some.function\n\n2026-11-22T10:33:02Z stopped";
        let lines = read_log(text, None);
        let found: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.time.map(|time| time.0 / 1_000_000_000),
                    line.text.as_str(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (Some(1_795_343_581), "2026-11-22T10:33:01Z started"),
                (None, "  at some.function"),
                (Some(1_795_343_582), "2026-11-22T10:33:02Z stopped"),
            ]
        );
        assert_eq!(log_format(text), Some(LogFormat::Timed));
    }

    #[test]
    fn error_logs_name_the_client() {
        let nginx = "2026/11/22 10:33:01 [error] 7#7: *1 open() \"/x\" failed (2: No such file), client: 10.0.0.9, server: _";
        let apache = "[Sun Nov 22 10:33:01.123456 2026] [core:error] [pid 1] [client 2001:db8::1:5555] AH00126";
        let lines = read_log(&format!("{nginx}\n{apache}"), None);
        assert_eq!(lines[0].client, Some("10.0.0.9".parse().unwrap()));
        // Without brackets address and port cannot be told apart; the whole is an address.
        assert_eq!(lines[1].client, Some("2001:db8::1:5555".parse().unwrap()));
        assert_eq!(
            lines[0].time.map(|time| time.0),
            Some(1_795_343_581_000_000_000)
        );
        assert_eq!(
            lines[1].time.map(|time| time.0),
            Some(1_795_343_581_123_456_000)
        );
    }

    #[test]
    fn prose_is_no_log() {
        assert_eq!(
            log_format("Dear Sir or Madam,\nthe connection fails.\n"),
            None
        );
        assert_eq!(log_format(""), None);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = read_log(&"é".repeat(20_000), None);
        assert_eq!(lines[0].text.len(), LINE_LIMIT);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}", around in any::<Option<u64>>()) {
            read_log(&text, around.map(Timestamp));
            log_format(&text);
        }
    }
}
