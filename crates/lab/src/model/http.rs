//! An HTTP/1.1 server of files with keep-alive off and an access log, which closes connections as nginx does; and a client.

use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{Shutdown, SocketAddress};

use super::file::{Date, Files};
use super::service::{Service, TcpPlan, any};
use super::socket::{CallError, Socket, Sockets};
use crate::error::WorldError;

/// The one page, as the kernel world's nginx has it.
const PAGE: (&str, &str) = ("/hello.html", "<p>hello</p>\n");
/// The longest request that is read.
pub(super) const REQUEST: usize = 8 * 1024;
/// How long a server goes on reading from a client whose request it refused, so that what still comes does not make the kernel
/// reset the connection before the answer is read (nginx's `lingering_timeout`).
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// What reading a request and finding its file takes, about.
const WORK: Duration = Duration::from_micros(100);
/// As long as the name of the server that the kernel world runs, so that answers have the same length.
pub(super) const SERVER: &str = "transect/0.1";

/// Starts the server on all addresses; `name` is the program's, whose `access.log` it writes.
pub(super) fn serve(
    sockets: &Sockets,
    name: &str,
    port: u16,
    files: &Files,
) -> Result<[Service; 2], WorldError> {
    let one = |version| {
        let plan = TcpPlan {
            name: Some(name.to_owned()),
            address: any(version),
            port,
            backlog: 511,
            receive_buffer: None,
            v6_only: true,
            filter: None,
            accepts: true,
        };
        let (name, files) = (name.to_owned(), files.clone());
        Service::tcp(sockets, &plan, move |connection, peer| {
            let (name, files) = (name.clone(), files.clone());
            async move { answer(&connection, peer, &name, &files).await }
        })
    };
    files.append(name, "access.log", "");
    Ok([one(IpVersion::V4)?, one(IpVersion::V6)?])
}

/// What a request is answered with.
pub(super) struct Answer {
    pub(super) status: &'static str,
    /// Headers beyond those that every answer has.
    headers: &'static str,
    pub(super) body: String,
}

async fn answer(
    connection: &Socket,
    peer: SocketAddress,
    name: &str,
    files: &Files,
) -> Result<(), CallError> {
    let Some(request) = request(connection).await? else {
        return Ok(connection.close()?);
    };
    let clock = connection.clock().clone();
    clock.sleep(WORK).await;
    let answer = Answer::to(&request);
    let head = format!(
        "HTTP/1.1 {}\r\nServer: {SERVER}\r\nDate: {}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        answer.status,
        Date::of(clock.now()).of_http(),
        answer.body.len(),
        answer.headers
    );
    connection
        .write_all(&[head.as_bytes(), answer.body.as_bytes()].concat(), None)
        .await?;
    if answer.is_refusal() {
        connection.shutdown(Shutdown::Write)?;
        let until = connection.within(LINGER);
        while connection
            .read(REQUEST, until)
            .await
            .is_ok_and(|bytes| !bytes.is_empty())
        {}
    }
    let line = format!(
        "{} - - [{}] \"{}\" {} {} \"-\" \"-\"\n",
        peer.address,
        Date::of(clock.now()).of_log(),
        escaped(&request),
        answer.status.get(..3).unwrap_or_default(),
        answer.body.len()
    );
    files.append(name, "access.log", &line);
    Ok(connection.close()?)
}

/// The request's first line, once the request is there in full, or as much as shows that it is none; nothing when the client
/// closes before.
pub(super) async fn request(connection: &Socket) -> Result<Option<String>, CallError> {
    let mut bytes = Vec::new();
    loop {
        let more = connection.read(REQUEST, None).await?;
        if more.is_empty() {
            return Ok(None);
        }
        bytes.extend(more);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.split_once("\r\n").map(|(line, _)| line);
        let whole = text.contains("\r\n\r\n") || bytes.len() > REQUEST;
        if let Some(line) = line
            && (whole || target(line).is_none())
        {
            return Ok(Some(line.to_owned()));
        }
    }
}

/// The target of a request line of HTTP/1 (RFC 9112, section 3).
pub(super) fn target(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let known = matches!(method, "GET" | "HEAD") && version.starts_with("HTTP/1.");
    (known && target.starts_with('/') && words.next().is_none()).then_some(target)
}

impl Answer {
    pub(super) fn to(line: &str) -> Self {
        let (path, page) = PAGE;
        match target(line) {
            Some(wanted) if wanted == path => Answer {
                status: "200 OK",
                headers: "Accept-Ranges: bytes\r\n",
                body: page.to_owned(),
            },
            Some(_) => Answer::refusing("404 Not Found"),
            None => Answer::refusing("400 Bad Request"),
        }
    }

    pub(super) fn refusing(status: &'static str) -> Self {
        Answer {
            status,
            headers: "",
            body: format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
                 <hr><center>{SERVER}</center>\r\n</body>\r\n</html>\r\n"
            ),
        }
    }

    /// Whether the client may still be sending.
    pub(super) fn is_refusal(&self) -> bool {
        self.status.starts_with("400")
    }
}

/// What is not printable, quotes and backslashes as `\xHH`, as access logs have it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c == '"' || c == '\\' || c.is_control() {
            out.push_str(&format!("\\x{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_long_as_those_of_the_kernel_worlds_server() {
        // Measured with nginx 1.22.1: 157 bytes of body.
        assert_eq!(Answer::to("GET hello.html").body.len(), 157);
        assert_eq!(Answer::to("GET /hello.html HTTP/1.1").body, PAGE.1);
        assert_eq!(Answer::to("GET /x HTTP/1.1").status, "404 Not Found");
    }

    #[test]
    fn lines_that_are_no_request_of_http_1_have_no_target() {
        assert_eq!(target("GET /a HTTP/1.1"), Some("/a"));
        for line in ["GET hello.html", "GET a HTTP/1.1", "PUT /a HTTP/1.1", ""] {
            assert_eq!(target(line), None, "{line}");
        }
        assert_eq!(escaped("a\"\u{1}"), "a\\x22\\x01");
    }
}
