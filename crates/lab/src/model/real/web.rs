//! HTTP/1.1 with files: a server of a folder's files, and a client. One request for each connection.

use std::fs::File;
use std::io::{Read as _, Write};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use transect_host::{Shutdown, SocketAddress};

use super::service::Counts;
use crate::error::WorldError;
use crate::model::file::Date;
use crate::model::http::{Answer, LINGER, REQUEST, SERVER, request, target};
use crate::model::socket::{CallError, Socket};

/// Bytes read from a file at once.
const CHUNK: usize = 64 * 1024;
/// The longest head of an answer that is read.
const LONGEST_HEAD: usize = 64 * 1024;

/// Answers one request: with a file below the folder, or the one page where there is no folder.
pub(super) async fn answer(
    connection: &Socket,
    folder: Option<&Path>,
    counts: &Counts,
) -> Result<(), CallError> {
    let Some(line) = request(connection).await? else {
        return Ok(());
    };
    counts.received(line.len());
    let wanted = folder
        .zip(target(&line))
        .map(|(folder, target)| open(folder, target));
    let head_only = line.starts_with("HEAD ");
    match wanted {
        Some(Some((file, length))) => {
            let head = head(connection, "200 OK", "application/octet-stream", length);
            connection.write_all(head.as_bytes(), None).await?;
            counts.sent(head.len());
            if !head_only {
                send_file(connection, file, length, counts).await?;
            }
        }
        found => {
            let answer = match found {
                Some(_) => Answer::refusing("404 Not Found"),
                None => Answer::to(&line),
            };
            let head = head(
                connection,
                answer.status,
                "text/html",
                answer.body.len() as u64,
            );
            let body = if head_only { "" } else { answer.body.as_str() };
            let whole = [head.as_bytes(), body.as_bytes()].concat();
            connection.write_all(&whole, None).await?;
            counts.sent(whole.len());
            if answer.is_refusal() {
                linger(connection).await?;
            }
        }
    }
    Ok(())
}

fn head(connection: &Socket, status: &str, kind: &str, length: u64) -> String {
    format!(
        "HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        Date::of(connection.clock().now()).of_http()
    )
}

/// Reads on from a client that may still be sending, so that the answer is not lost to a reset.
async fn linger(connection: &Socket) -> Result<(), CallError> {
    connection.shutdown(Shutdown::Write)?;
    let until = connection.within(LINGER);
    while connection
        .read(REQUEST, until)
        .await
        .is_ok_and(|bytes| !bytes.is_empty())
    {}
    Ok(())
}

async fn send_file(
    connection: &Socket,
    file: File,
    length: u64,
    counts: &Counts,
) -> Result<(), CallError> {
    // As long as it was said to be, also when somebody makes it longer or shorter meanwhile.
    let mut file = file.take(length);
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let count = file
            .read(&mut buffer)
            .map_err(WorldError::doing("reading a file"))?;
        if count == 0 {
            return Err(WorldError::new("a file became shorter while it was sent").into());
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        connection.write_all(bytes, None).await?;
        counts.sent(count);
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

/// The file of a request's target, and its length. Nothing outside of the folder is opened, by whatever name.
fn open(folder: &Path, target: &str) -> Option<(File, u64)> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let decoded = PathBuf::from(decoded(path.trim_start_matches('/'))?);
    let plain = decoded
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let path = folder.join(decoded).canonicalize().ok()?;
    if !path.starts_with(&folder) {
        return None;
    }
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata.len()))
}

/// `%41` as `A` (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

/// `http://ADDRESS[:PORT]/PATH`; names are not resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) server: SocketAddress,
    /// As the request's Host says it.
    pub(super) host: String,
    pub(super) target: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected http://ADDRESS[:PORT]/PATH, with an IPv6 address in brackets";
        let rest = text.strip_prefix("http://").ok_or(expected)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(host) || !plain(path) {
            return Err(expected.to_owned());
        }
        let server = host.parse::<SocketAddr>().or_else(|_| {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            address.parse().map(|address| SocketAddr::new(address, 80))
        });
        let server = server.map_err(|_| {
            format!("\"{host}\" is no address (names are not resolved); {expected}")
        })?;
        Ok(Url {
            server: SocketAddress::new(server.ip(), server.port()),
            host: host.to_owned(),
            target: format!("/{path}"),
        })
    }
}

/// Asks for the target on a connection, and writes the body; how many bytes it has.
pub(super) async fn fetch(
    connection: &Socket,
    url: &Url,
    output: &mut dyn Write,
) -> Result<u64, CallError> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {SERVER}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.target, url.host
    );
    connection.write_all(request.as_bytes(), None).await?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let more = connection.read(CHUNK, None).await?;
        if more.is_empty() || bytes.len() > LONGEST_HEAD {
            return Err(WorldError::new("the answer has no head of HTTP").into());
        }
        bytes.extend(more);
    };
    let length = body_length(&String::from_utf8_lossy(
        bytes.get(..end).unwrap_or_default(),
    ))?;
    let mut chunk = bytes.split_off(end.saturating_add(4).min(bytes.len()));
    let mut received = 0_u64;
    loop {
        received = received.saturating_add(chunk.len() as u64);
        output
            .write_all(&chunk)
            .map_err(WorldError::doing("writing what was fetched"))?;
        if length.is_some_and(|length| received >= length) {
            break;
        }
        chunk = connection.read(CHUNK, None).await?;
        if chunk.is_empty() {
            break;
        }
    }
    match length {
        Some(length) if length != received => Err(WorldError(format!(
            "the answer has {received} bytes instead of {length}"
        ))
        .into()),
        _ => Ok(received),
    }
}

/// The length of a body that is to be taken; nothing where the connection's end tells it.
fn body_length(head: &str) -> Result<Option<u64>, WorldError> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let code = status.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with("HTTP/1.") || code != "200" {
        return Err(WorldError(format!("the server answered \"{status}\"")));
    }
    let field = |wanted: &str| {
        lines.clone().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    if let Some(coding) = field("transfer-encoding") {
        return Err(WorldError(format!(
            "the answer is in the transfer coding \"{coding}\", which this client does not know"
        )));
    }
    field("content-length")
        .map(|text| {
            text.parse()
                .map_err(|_| WorldError(format!("\"{text}\" is no length")))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_folder_are_opened() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("www");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        std::fs::write(folder.join("a b"), "12345").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        let length = |target: &str| open(&folder, target).map(|(_, length)| length);
        assert_eq!(length("/a%20b"), Some(5));
        assert_eq!(length("/a%20b?x=/.."), Some(5));
        for target in [
            "/",
            "/../secret",
            "/%2e%2e/secret",
            "/link",
            "/none",
            "/a%2",
            "/%ff",
        ] {
            assert_eq!(length(target), None, "{target}");
        }
    }

    #[test]
    fn addresses_of_pages() {
        let url = Url::parse("http://10.9.0.1:8080/a/b?c").unwrap();
        assert_eq!(url.server, SocketAddress::new([10, 9, 0, 1], 8080));
        assert_eq!(
            (url.host.as_str(), url.target.as_str()),
            ("10.9.0.1:8080", "/a/b?c")
        );
        let url = Url::parse("http://[fd00::1]").unwrap();
        assert_eq!((url.server.port, url.target.as_str()), (80, "/"));
        for text in [
            "https://10.0.0.1/",
            "http://example.org/",
            "http://10.0.0.1/a b",
            "10.0.0.1",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn heads_of_answers() {
        let length = |head: &str| body_length(head).map_err(|error| error.to_string());
        assert_eq!(length("HTTP/1.1 200 OK\r\nContent-length: 7"), Ok(Some(7)));
        assert_eq!(length("HTTP/1.0 200 OK\r\nX: y"), Ok(None));
        for (head, says) in [
            ("HTTP/1.1 404 Not Found", "404"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "chunked"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x", "no length"),
            ("220 mail", "220 mail"),
        ] {
            assert!(length(head).unwrap_err().contains(says), "{head}");
        }
    }
}
