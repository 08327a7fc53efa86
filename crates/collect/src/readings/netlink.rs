//! Netlink as bytes: requests, dumps, attributes.
//!
//! The typed crates drop attributes they do not know; a reading wants all of them, cheaply, so messages are walked as they
//! are (RFC 3549, include/uapi/linux/netlink.h). Every length is checked: what is cut off ends the walk.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use rustix::net::{RecvFlags, recv};

/// The most that one dump may take up; a host with more of anything gets a truncated reading and is told so.
const DUMP_LIMIT: usize = 64 << 20;
/// How long the kernel may take for one part of a dump before it is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a dump that changed under our hands is asked for again.
const ATTEMPTS: u32 = 3;
/// Room for one datagram; the kernel builds dumps in parts of at most 32 KiB, single answers of a link may be larger.
const DATAGRAM: usize = 128 << 10;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_MULTI: u16 = 0x2;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`: answer with everything.
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// The nested flag and the byte-order flag of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;

/// One netlink socket, in the namespace of the thread that opened it.
pub(crate) struct Connection {
    socket: Socket,
    sequence: u32,
    scratch: Vec<u8>,
}

/// The answer to one request: messages one after the other.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// Why the answer is not whole.
    pub(crate) incomplete: Option<&'static str>,
}

impl Connection {
    /// Opens a socket for a netlink protocol (`NETLINK_ROUTE`, …).
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A larger buffer lets the kernel answer in fewer parts; being refused costs nothing but time.
        let _ = socket.set_rx_buf_sz(1 << 20);
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(ANSWER_TIMEOUT),
        )?;
        Ok(Connection {
            socket,
            sequence: 0,
            scratch: vec![0; DATAGRAM],
        })
    }

    /// Sends one request and collects the answer to its end. `flags` are those beside `NLM_F_REQUEST`; for a dump
    /// [`NLM_F_DUMP`]. A dump that the kernel says changed while it was made is repeated.
    pub(crate) fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Answer> {
        let mut answer = Answer::default();
        for _ in 0..ATTEMPTS {
            answer = self.ask_once(kind, flags, body)?;
            if answer.incomplete != Some(INTERRUPTED) {
                break;
            }
        }
        Ok(answer)
    }

    fn ask_once(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend_from_slice(&length.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        self.socket.send(&request, 0)?;

        let mut answer = Answer::default();
        loop {
            let (read, whole) = recv(self.socket.as_fd(), &mut self.scratch[..], RecvFlags::TRUNC)?;
            if whole > read {
                answer.incomplete = Some("an answer was larger than its buffer");
            }
            let datagram = self.scratch.get(..read).unwrap_or_default();
            if !collect(datagram, self.sequence, &mut answer)? {
                return Ok(answer);
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const INTERRUPTED: &str = "it changed while it was read";

/// Takes the messages of one datagram into the answer; false when the answer is complete.
fn collect(datagram: &[u8], sequence: u32, answer: &mut Answer) -> io::Result<bool> {
    for message in raw_messages(datagram) {
        if u32_at(message, 8) != Some(sequence) {
            // The rest of a request that was given up.
            continue;
        }
        let kind = u16_at(message, 4).unwrap_or_default();
        let flags = u16_at(message, 6).unwrap_or_default();
        if flags & NLM_F_DUMP_INTR != 0 {
            answer.incomplete = Some(INTERRUPTED);
        }
        match kind {
            NLMSG_DONE | NLMSG_ERROR => {
                let code = u32_at(message, HEADER).unwrap_or_default().cast_signed();
                return match code {
                    0.. => Ok(false),
                    _ => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            _ if answer.bytes.len() + message.len() > DUMP_LIMIT => {
                answer.incomplete = Some("there was more than a reading may hold");
            }
            _ => {
                answer.bytes.extend_from_slice(message);
                // Alignment, so that the stored messages can be walked like a datagram.
                answer
                    .bytes
                    .resize(answer.bytes.len().next_multiple_of(4), 0);
            }
        }
        if flags & NLM_F_MULTI == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Answer {
    /// The messages: type and payload.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u16, &[u8])> {
        messages(&self.bytes)
    }
}

/// The messages of a datagram: type and payload.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    raw_messages(datagram).map(|message| {
        (
            u16_at(message, 4).unwrap_or_default(),
            message.get(HEADER..).unwrap_or_default(),
        )
    })
}

fn raw_messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        if length < HEADER {
            return None;
        }
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a stretch of bytes (type without its flags, value), up to the first damaged one.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// Appends an attribute to a request.
pub(crate) fn push_attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

macro_rules! at {
    ($name:ident, $type:ty, $read:ident, $order:literal) => {
        #[doc = concat!("A number in ", $order, " byte order at an offset, when it is there.")]
        pub(crate) fn $name(bytes: &[u8], offset: usize) -> Option<$type> {
            let field = bytes.get(offset..)?.first_chunk()?;
            Some(<$type>::$read(*field))
        }
    };
}
at!(u16_at, u16, from_ne_bytes, "the host's");
at!(u32_at, u32, from_ne_bytes, "the host's");
at!(u64_at, u64, from_ne_bytes, "the host's");
at!(be16_at, u16, from_be_bytes, "network");
at!(be32_at, u32, from_be_bytes, "network");
at!(be64_at, u64, from_be_bytes, "network");

/// A byte at an offset, when it is there.
pub(crate) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

/// A number attribute in the host's byte order, whatever its size (1, 2, 4 or 8 bytes).
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        1 => u8_at(value, 0).map(u64::from),
        2 => u16_at(value, 0).map(u64::from),
        4 => u32_at(value, 0).map(u64::from),
        8 => u64_at(value, 0),
        _ => None,
    }
}

/// A text attribute, without the zero at its end.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// An address attribute of 4 or 16 bytes.
pub(crate) fn address(value: &[u8]) -> Option<std::net::IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(std::net::IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(std::net::IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_at_the_first_damaged_one() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 3, b"eth0\0");
        push_attribute(&mut bytes, 4 | 0x8000, &1500u32.to_ne_bytes());
        bytes.extend_from_slice(&[200, 0, 9, 0, 1]);
        let found: Vec<_> = attributes(&bytes).map(|(kind, _)| kind).collect();
        assert_eq!(found, [3, 4]);
        assert_eq!(attribute(&bytes, 3).map(text).as_deref(), Some("eth0"));
        assert_eq!(attribute(&bytes, 4).and_then(number), Some(1500));
    }

    #[test]
    fn no_length_leads_out_of_the_bytes() {
        for length in 0..40u8 {
            let bytes = [
                length, 0, 0, 0, 3, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
            ];
            let _ = messages(&bytes).count();
            let _ = attributes(&bytes).count();
            let mut answer = Answer::default();
            let _ = collect(&bytes, 1, &mut answer);
        }
    }

    #[test]
    fn an_error_message_is_an_error() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&20u32.to_ne_bytes());
        bytes.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&0u16.to_ne_bytes());
        bytes.extend_from_slice(&7u32.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&(-2i32).to_ne_bytes());
        let error = collect(&bytes, 7, &mut Answer::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(2));
        // Somebody else's answer is passed over.
        assert!(collect(&bytes, 8, &mut Answer::default()).unwrap());
    }
}
