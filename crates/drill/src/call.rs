//! System calls with their arguments as values: what both worlds carry out.

mod address;
mod arguments;
mod control;
mod lower;
mod verify;

pub(crate) use address::{Endpoints, address_of, endpoint};
pub(crate) use arguments::{int, integer};
pub(crate) use control::{Clock, read as control_messages};
pub(crate) use lower::{Lowering, lower};
pub(crate) use verify::{Expectation, verify};

/// A descriptor of a world; not the script's number for it. Negative: none.
pub(crate) type Fd = i32;

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    /// The address is a `sockaddr`, as the kernel reads it; so it is for all.
    Bind {
        fd: Fd,
        address: Vec<u8>,
    },
    Listen {
        fd: Fd,
        backlog: i32,
    },
    Accept {
        fd: Fd,
        flags: i32,
    },
    Connect {
        fd: Fd,
        address: Vec<u8>,
    },
    /// read(2) and readv(2), into pieces of these sizes.
    Read {
        fd: Fd,
        pieces: Vec<usize>,
    },
    /// recv(2), recvfrom(2), recvmsg(2); the room for control messages in bytes.
    Receive {
        fd: Fd,
        pieces: Vec<usize>,
        control: usize,
        flags: i32,
    },
    /// write(2) and writev(2).
    Write {
        fd: Fd,
        pieces: Vec<Vec<u8>>,
    },
    /// send(2), sendto(2), sendmsg(2).
    Send {
        fd: Fd,
        pieces: Vec<Vec<u8>>,
        address: Vec<u8>,
        control: Vec<u8>,
        flags: i32,
    },
    /// The calls that send, with `NULL` for so many bytes of data.
    SendFromNowhere {
        fd: Fd,
        length: usize,
        address: Vec<u8>,
        flags: i32,
    },
    /// The calls that receive, with `NULL` for a buffer of so many bytes.
    ReceiveIntoNowhere {
        fd: Fd,
        length: usize,
        flags: i32,
    },
    Close {
        fd: Fd,
    },
    Shutdown {
        fd: Fd,
        how: i32,
    },
    SetOption {
        fd: Fd,
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    /// The value is what the buffer holds before.
    GetOption {
        fd: Fd,
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    Fcntl {
        fd: Fd,
        command: i32,
        argument: i32,
    },
    Ioctl {
        fd: Fd,
        request: u64,
        value: i32,
    },
    SocketName {
        fd: Fd,
    },
    PeerName {
        fd: Fd,
    },
    /// Descriptors with what is asked of each; the time-out in milliseconds.
    Poll {
        files: Vec<(Fd, i16)>,
        timeout: i32,
    },
    EpollCreate {
        flags: i32,
    },
    EpollControl {
        epoll: Fd,
        operation: i32,
        fd: Fd,
        events: u32,
        data: u64,
    },
    EpollWait {
        epoll: Fd,
        most: i32,
        timeout: i32,
    },
    Open {
        path: String,
        flags: i32,
    },
    Pipe {
        flags: i32,
    },
    Duplicate {
        fd: Fd,
    },
    SendFile {
        out: Fd,
        input: Fd,
        offset: Option<u64>,
        length: usize,
    },
    Splice {
        input: Fd,
        out: Fd,
        length: usize,
        flags: u32,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// What it returned; -1 where it failed. A new descriptor is the world's.
    pub(crate) value: i64,
    /// Why it failed, as errno(3) numbers it; 0 where it did not.
    pub(crate) errno: i32,
    /// What else it told.
    pub(crate) output: Output,
}

/// What a call tells besides its result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Output {
    #[default]
    None,
    /// A `sockaddr`.
    Address(Vec<u8>),
    /// An option's value.
    Bytes(Vec<u8>),
    /// An ioctl's int.
    Integer(i32),
    /// What was received.
    Message {
        data: Vec<u8>,
        address: Vec<u8>,
        control: Vec<u8>,
        flags: i32,
    },
    /// What came, for each descriptor.
    Polled(Vec<i16>),
    /// Events and data.
    Events(Vec<(u32, u64)>),
    /// Both ends of a pipe.
    Pipe(Fd, Fd),
}

impl Outcome {
    /// It succeeded.
    pub(crate) fn of(value: i64) -> Self {
        Outcome {
            value,
            ..Outcome::default()
        }
    }

    /// It succeeded, and told something.
    pub(crate) fn telling(value: i64, output: Output) -> Self {
        Outcome {
            value,
            errno: 0,
            output,
        }
    }

    /// It failed.
    pub(crate) fn failed(errno: i32) -> Self {
        Outcome {
            value: -1,
            errno,
            output: Output::None,
        }
    }
}
