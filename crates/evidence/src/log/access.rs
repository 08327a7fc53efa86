//! The common and combined log formats (Apache's mod_log_config, nginx's `combined`).

use super::{LogLine, when};

/// Reads one line: `[VHOST[:PORT] ]CLIENT IDENTITY USER [TIME] "REQUEST" STATUS BYTES …`; `None` when it is no such line.
pub(super) fn read(line: &str) -> Option<LogLine> {
    let (front, rest) = line.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let time = when::common_log(time)?;
    let (request, rest) = quoted(rest.trim_start())?;
    let mut words = rest.split_ascii_whitespace();
    let status = words.next()?.parse().ok()?;
    let bytes = words.next().and_then(|word| word.parse().ok());
    // With the virtual host in front, the client is the second word. A name instead of an address stays unread.
    let client = front
        .split_ascii_whitespace()
        .take(2)
        .find_map(|word| word.parse().ok());
    if front.split_ascii_whitespace().count() < 2 {
        return None;
    }
    Some(LogLine {
        time: Some(time),
        client,
        request: Some(request),
        status: Some(status),
        bytes,
        text: line.to_owned(),
    })
}

/// A quoted text with its escapes left as they are, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    for (index, char) in text.char_indices() {
        match char {
            '"' if !escaped => {
                let (inside, rest) = text.split_at(index);
                return Some((inside.to_owned(), rest.get(1..).unwrap_or_default()));
            }
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_path::Timestamp;

    #[test]
    fn combined() {
        let line = read(
            r#"172.17.0.2 - - [22/Nov/2026:11:33:01 +0100] "GET /a\"b HTTP/1.1" 200 612 "-" "curl/7.88.1""#,
        )
        .unwrap();
        assert_eq!(line.time, Some(Timestamp(1_795_343_581_000_000_000)));
        assert_eq!(line.client, Some("172.17.0.2".parse().unwrap()));
        assert_eq!(line.request.as_deref(), Some(r#"GET /a\"b HTTP/1.1"#));
        assert_eq!((line.status, line.bytes), (Some(200), Some(612)));
    }

    #[test]
    fn common_with_host_in_front_and_no_bytes() {
        let line = read(
            r#"www.example.org:80 2001:db8::9 - alice [22/Nov/2026:10:33:01 +0000] "POST / HTTP/1.0" 304 -"#,
        )
        .unwrap();
        assert_eq!(line.client, Some("2001:db8::9".parse().unwrap()));
        assert_eq!((line.status, line.bytes), (Some(304), None));
        let named =
            read(r#"client.example.org - - [22/Nov/2026:10:33:01 +0000] "-" 408 0"#).unwrap();
        assert_eq!((named.client, named.status), (None, Some(408)));
    }

    #[test]
    fn other_lines_are_not_taken_for_it() {
        for line in [
            "",
            "[22/Nov/2026:10:33:01 +0000] text",
            r#"a - - [22/Nov/2026:10:33:01 +0000] "GET / HTTP/1.1"#,
            r#"a - - [22/Nov/2026:10:33:01 +0000] "GET / HTTP/1.1" ok"#,
            r#"a - - [yesterday] "GET / HTTP/1.1" 200 1"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
