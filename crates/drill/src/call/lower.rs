//! From a call as it is written to one that can be carried out.

use super::arguments::Arguments;
use super::control;
use super::{Call, Endpoints, Fd, address};
use crate::options::IpVersion;
use crate::parse::Defines;
use crate::script::{CallSpec, Expression};

/// What is needed to read a call's arguments.
pub(crate) struct Lowering<'a> {
    pub(crate) defines: &'a Defines,
    pub(crate) endpoints: Endpoints,
    /// The world's descriptor for the script's number; negative where there is none.
    pub(crate) descriptor: &'a dyn Fn(i64) -> Fd,
}

/// Room for control messages where a script expects some, or says nothing.
const CONTROL: usize = 1024;

/// The call with its arguments as values.
pub(crate) fn lower(call: &CallSpec, with: &Lowering<'_>) -> Result<Call, String> {
    let arguments = Arguments {
        call,
        defines: with.defines,
    };
    let arguments = &arguments;
    let fd = |index: usize| Ok::<Fd, String>((with.descriptor)(arguments.integer(index)?));
    match call.name.as_str() {
        "socket" | "bind" | "listen" | "accept" | "accept4" | "connect" | "getsockname"
        | "getpeername" | "shutdown" => connection(arguments, with, &fd),
        "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => receive(arguments, &fd),
        "write" | "writev" | "send" | "sendto" | "sendmsg" => send(arguments, with, &fd),
        "setsockopt" | "getsockopt" => option(arguments, &fd),
        "poll" | "epoll_create" | "epoll_create1" | "epoll_ctl" | "epoll_wait" => {
            waiting(arguments, with, &fd)
        }
        _ => file(arguments, &fd),
    }
}

type Descriptor<'a> = &'a dyn Fn(usize) -> Result<Fd, String>;

fn connection(
    arguments: &Arguments<'_>,
    with: &Lowering<'_>,
    fd: Descriptor<'_>,
) -> Result<Call, String> {
    let version = with.endpoints.version;
    let count = |counts: &[usize]| arguments.count(counts);
    Ok(match arguments.call.name.as_str() {
        "socket" => {
            count(&[3])?;
            let family = if version == IpVersion::V4 {
                libc::AF_INET
            } else {
                libc::AF_INET6
            };
            Call::Socket {
                domain: arguments.int_or(0, family)?,
                kind: arguments.int(1)?,
                protocol: arguments.int_or(2, 0)?,
            }
        }
        "bind" => {
            count(&[3])?;
            Call::Bind {
                fd: fd(0)?,
                address: address::argument(arguments, 1, with.endpoints.bind, version)?,
            }
        }
        "connect" => {
            count(&[3])?;
            Call::Connect {
                fd: fd(0)?,
                address: address::argument(arguments, 1, with.endpoints.connect, version)?,
            }
        }
        "listen" => {
            count(&[2])?;
            Call::Listen {
                fd: fd(0)?,
                backlog: arguments.int(1)?,
            }
        }
        "accept" => {
            count(&[3])?;
            Call::Accept {
                fd: fd(0)?,
                flags: 0,
            }
        }
        "accept4" => {
            count(&[4])?;
            Call::Accept {
                fd: fd(0)?,
                flags: arguments.int(3)?,
            }
        }
        "shutdown" => {
            count(&[2])?;
            Call::Shutdown {
                fd: fd(0)?,
                how: arguments.int(1)?,
            }
        }
        name => {
            count(&[3])?;
            let fd = fd(0)?;
            match name {
                "getsockname" => Call::SocketName { fd },
                _ => Call::PeerName { fd },
            }
        }
    })
}

fn receive(arguments: &Arguments<'_>, fd: Descriptor<'_>) -> Result<Call, String> {
    let lengths = |vector| -> Result<Vec<usize>, String> {
        let pieces = arguments.pieces(vector)?;
        Ok(pieces.into_iter().map(|(_, length)| length).collect())
    };
    if let Some(length) = nowhere(arguments)? {
        return Ok(Call::ReceiveIntoNowhere {
            fd: fd(0)?,
            length,
            flags: match arguments.call.arguments.len() {
                3 => 0,
                _ => arguments.int_or(3, 0)?,
            },
        });
    }
    match arguments.call.name.as_str() {
        "read" => {
            arguments.count(&[3])?;
            Ok(Call::Read {
                fd: fd(0)?,
                pieces: vec![arguments.length(2)?],
            })
        }
        "readv" => {
            arguments.count(&[3])?;
            Ok(Call::Read {
                fd: fd(0)?,
                pieces: lengths(arguments.get(1)?)?,
            })
        }
        "recvmsg" => {
            arguments.count(&[3])?;
            let message = fields(arguments.get(1)?)?;
            let pieces = match field(message, "msg_iov") {
                Some(vector) => lengths(vector)?,
                None => Vec::new(),
            };
            Ok(Call::Receive {
                fd: fd(0)?,
                pieces,
                control: CONTROL,
                flags: arguments.int(2)?,
            })
        }
        name => {
            arguments.count(if name == "recv" { &[4] } else { &[6] })?;
            Ok(Call::Receive {
                fd: fd(0)?,
                pieces: vec![arguments.length(2)?],
                control: 0,
                flags: arguments.int_or(3, 0)?,
            })
        }
    }
}

/// Where the data or the buffer is `NULL`: how many bytes are said to be there.
fn nowhere(arguments: &Arguments<'_>) -> Result<Option<usize>, String> {
    let plain = !matches!(
        arguments.call.name.as_str(),
        "readv" | "writev" | "sendmsg" | "recvmsg"
    );
    match arguments.get(1)? {
        Expression::Word(word) if plain && word == "NULL" => match arguments.length(2)? {
            0 => Ok(None),
            length => Ok(Some(length)),
        },
        _ => Ok(None),
    }
}

fn send(
    arguments: &Arguments<'_>,
    with: &Lowering<'_>,
    fd: Descriptor<'_>,
) -> Result<Call, String> {
    let Endpoints {
        connect, version, ..
    } = with.endpoints;
    if let Some(length) = nowhere(arguments)? {
        let count = arguments.call.arguments.len();
        return Ok(Call::SendFromNowhere {
            fd: fd(0)?,
            length,
            address: match count {
                6 => address::argument(arguments, 4, connect, version)?,
                _ => Vec::new(),
            },
            flags: if count > 3 {
                arguments.int_or(3, 0)?
            } else {
                0
            },
        });
    }
    let data = |vector| -> Result<Vec<Vec<u8>>, String> {
        let pieces = arguments.pieces(vector)?;
        let data = |(data, length)| arguments.data(data, length);
        pieces.into_iter().map(data).collect()
    };
    let one = || {
        Ok::<_, String>(vec![
            arguments.data(arguments.get(1)?, arguments.length(2)?)?,
        ])
    };
    Ok(match arguments.call.name.as_str() {
        "write" => {
            arguments.count(&[3])?;
            Call::Write {
                fd: fd(0)?,
                pieces: one()?,
            }
        }
        "writev" => {
            arguments.count(&[3])?;
            Call::Write {
                fd: fd(0)?,
                pieces: data(arguments.get(1)?)?,
            }
        }
        "send" => {
            arguments.count(&[4])?;
            Call::Send {
                fd: fd(0)?,
                pieces: one()?,
                address: Vec::new(),
                control: Vec::new(),
                flags: arguments.int_or(3, 0)?,
            }
        }
        "sendto" => {
            arguments.count(&[6])?;
            Call::Send {
                fd: fd(0)?,
                pieces: one()?,
                address: address::argument(arguments, 4, connect, version)?,
                control: Vec::new(),
                flags: arguments.int_or(3, 0)?,
            }
        }
        _ => {
            arguments.count(&[3])?;
            let message = fields(arguments.get(1)?)?;
            let address = match field(message, "msg_name") {
                Some(Expression::Ellipsis) => super::address_of(connect, version),
                _ => Vec::new(),
            };
            let control = match field(message, "msg_control") {
                Some(Expression::List(items)) => control::bytes(arguments, items)?,
                _ => Vec::new(),
            };
            Call::Send {
                fd: fd(0)?,
                pieces: match field(message, "msg_iov") {
                    Some(vector) => data(vector)?,
                    None => Vec::new(),
                },
                address,
                control,
                flags: arguments.int_or(2, 0)?,
            }
        }
    })
}

/// Names and values of a structure.
pub(super) type Fields = [(Option<String>, Expression)];

/// The fields of a structure.
pub(super) fn fields(value: &Expression) -> Result<&Fields, String> {
    match value {
        Expression::Structure(fields) => Ok(fields),
        other => Err(format!("`{other}` is no structure")),
    }
}

/// One of them.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Expression> {
    let found = fields
        .iter()
        .find(|(known, _)| known.as_deref() == Some(name));
    found.map(|(_, value)| value)
}

fn option(arguments: &Arguments<'_>, fd: Descriptor<'_>) -> Result<Call, String> {
    arguments.count(&[5])?;
    let (level, name) = (arguments.int(1)?, arguments.int(2)?);
    let size = match arguments.get(4)? {
        Expression::Ellipsis => None,
        Expression::List(items) if matches!(items.as_slice(), [Expression::Ellipsis]) => None,
        _ => Some(arguments.length(4)?.min(1 << 16)),
    };
    let value = arguments.get(3)?;
    let mut bytes = match value {
        Expression::Ellipsis => vec![0; size.unwrap_or(4)],
        value => option_value(arguments, value)?,
    };
    if arguments.call.name == "setsockopt" {
        bytes.resize(size.unwrap_or(bytes.len()), 0);
        return Ok(Call::SetOption {
            fd: fd(0)?,
            level,
            name,
            value: bytes,
        });
    }
    // A text's buffer may be longer than the text that is expected.
    let room = match value {
        Expression::Text(..) => size.unwrap_or(64),
        Expression::List(items) if matches!(items.as_slice(), [Expression::Text(..)]) => {
            size.unwrap_or(64)
        }
        _ => size.unwrap_or(bytes.len()),
    };
    Ok(Call::GetOption {
        fd: fd(0)?,
        level,
        name,
        value: vec![0; room],
    })
}

/// The bytes of an option's value: numbers as ints, texts as they are, structures by their fields.
pub(super) fn option_value(
    arguments: &Arguments<'_>,
    value: &Expression,
) -> Result<Vec<u8>, String> {
    match value {
        Expression::Text(text, _) => Ok(text.clone()),
        Expression::List(items) => {
            let values: Result<Vec<_>, String> = items
                .iter()
                .map(|item| option_value(arguments, item))
                .collect();
            Ok(values?.concat())
        }
        Expression::Structure(fields) => {
            let mut bytes = Vec::new();
            for (name, value) in fields {
                match name.as_deref() {
                    Some("tv_sec" | "tv_usec") => {
                        bytes.extend_from_slice(&arguments.integer_of(value)?.to_ne_bytes());
                    }
                    Some("onoff" | "linger" | "l_onoff" | "l_linger") => {
                        bytes.extend(option_value(arguments, value)?);
                    }
                    other => {
                        return Err(format!(
                            "`{}` is no field of an option's value that is known; linger has onoff and linger, a time has \
                             tv_sec and tv_usec",
                            other.unwrap_or("a value without a name")
                        ));
                    }
                }
            }
            Ok(bytes)
        }
        Expression::Ellipsis => Ok(vec![0; 4]),
        number => {
            let value = arguments.integer_of(number)?;
            Ok(match super::arguments::int(value) {
                Some(value) => value.to_ne_bytes().to_vec(),
                None => value.to_ne_bytes().to_vec(),
            })
        }
    }
}

/// The structures of `poll` and `epoll_wait`: one, or a list of them.
pub(super) fn structures(value: &Expression) -> Result<Vec<&Fields>, String> {
    match value {
        Expression::List(items) => items.iter().map(fields).collect(),
        Expression::Ellipsis => Ok(Vec::new()),
        one => Ok(vec![fields(one)?]),
    }
}

/// What an epoll event carries for the program: `fd`, `ptr`, `u32` or `u64`.
pub(super) fn event_data(arguments: &Arguments<'_>, fields: &Fields) -> Result<u64, String> {
    let names = ["fd", "ptr", "u32", "u64"];
    match names.iter().find_map(|name| field(fields, name)) {
        Some(Expression::Ellipsis) | None => Ok(0),
        Some(value) => arguments.integer_of(value).map(i64::cast_unsigned),
    }
}

fn waiting(
    arguments: &Arguments<'_>,
    with: &Lowering<'_>,
    fd: Descriptor<'_>,
) -> Result<Call, String> {
    Ok(match arguments.call.name.as_str() {
        "poll" => {
            arguments.count(&[3])?;
            let mut files = Vec::new();
            for fields in structures(arguments.get(0)?)? {
                let number = field(fields, "fd").ok_or("an entry of poll() has an fd")?;
                let events = match field(fields, "events") {
                    Some(events) => arguments.small(events)?,
                    None => 0,
                };
                files.push(((with.descriptor)(arguments.integer_of(number)?), events));
            }
            Call::Poll {
                files,
                timeout: arguments.int(2)?,
            }
        }
        "epoll_create" | "epoll_create1" => {
            arguments.count(&[1])?;
            let new = arguments.call.name == "epoll_create1";
            Call::EpollCreate {
                flags: if new { arguments.int(0)? } else { 0 },
            }
        }
        "epoll_ctl" => {
            arguments.count(&[4])?;
            let (events, data) = match arguments.get(3)? {
                Expression::Structure(fields) => {
                    let events = field(fields, "events").ok_or("an epoll event has events")?;
                    let bits = arguments.integer_of(events)? & 0xffff_ffff;
                    let bits = u32::try_from(bits).unwrap_or(0);
                    (bits, event_data(arguments, fields)?)
                }
                _ => (0, 0),
            };
            Call::EpollControl {
                epoll: fd(0)?,
                operation: arguments.int(1)?,
                fd: fd(2)?,
                events,
                data,
            }
        }
        _ => {
            arguments.count(&[4])?;
            Call::EpollWait {
                epoll: fd(0)?,
                most: arguments.int(2)?,
                timeout: arguments.int(3)?,
            }
        }
    })
}

fn file(arguments: &Arguments<'_>, fd: Descriptor<'_>) -> Result<Call, String> {
    Ok(match arguments.call.name.as_str() {
        "close" => {
            arguments.count(&[1])?;
            Call::Close { fd: fd(0)? }
        }
        "dup" => {
            arguments.count(&[1])?;
            Call::Duplicate { fd: fd(0)? }
        }
        "fcntl" => {
            arguments.count(&[2, 3])?;
            Call::Fcntl {
                fd: fd(0)?,
                command: arguments.int(1)?,
                argument: match arguments.call.arguments.len() {
                    2 => 0,
                    _ => arguments.int_or(2, 0)?,
                },
            }
        }
        "ioctl" => {
            arguments.count(&[2, 3])?;
            Call::Ioctl {
                fd: fd(0)?,
                request: arguments.integer(1)?.cast_unsigned(),
                value: match arguments.call.arguments.len() {
                    2 => 0,
                    _ => arguments.int_or(2, 0)?,
                },
            }
        }
        "open" => {
            arguments.count(&[2, 3])?;
            let Expression::Text(path, _) = arguments.get(0)? else {
                return Err("open() takes a path in quotation marks".to_owned());
            };
            Call::Open {
                path: String::from_utf8_lossy(path).into_owned(),
                flags: arguments.int(1)?,
            }
        }
        "pipe" => {
            arguments.count(&[1])?;
            Call::Pipe { flags: 0 }
        }
        "sendfile" => {
            arguments.count(&[4])?;
            let offset = match arguments.get(2)? {
                Expression::Word(word) if word == "NULL" => None,
                Expression::Ellipsis => None,
                _ => Some(arguments.integer(2)?.cast_unsigned()),
            };
            Call::SendFile {
                out: fd(0)?,
                input: fd(1)?,
                offset,
                length: arguments.length(3)?,
            }
        }
        "splice" => {
            arguments.count(&[6])?;
            Call::Splice {
                input: fd(0)?,
                out: fd(2)?,
                length: arguments.length(4)?,
                flags: arguments.int(5)?.cast_unsigned(),
            }
        }
        other => {
            return Err(format!(
                "{other}() is no system call that a script can make; these are: accept, accept4, bind, close, connect, dup, \
                 epoll_create, epoll_create1, epoll_ctl, epoll_wait, fcntl, getpeername, getsockname, getsockopt, ioctl, listen, \
                 open, pipe, poll, read, readv, recv, recvfrom, recvmsg, send, sendfile, sendmsg, sendto, setsockopt, shutdown, \
                 socket, splice, write, writev"
            ));
        }
    })
}
