//! Reading and writing, and what else is done to files.

use transect_host::{Errno, OptionName, OptionValue, SendFlags, SocketAddress, SocketId};

use super::ModelWorld;
use super::calls::{Progress, Turn, errno, given, told};
use super::error_queue::control_message;
use super::files::{File, SocketFile};
use crate::call::{Call, Fd, Outcome, Output};

/// SIOCOUTQNSD, SIOCATMARK (include/uapi/linux/sockios.h).
const SIOCOUTQNSD: u64 = 0x894b;
const SIOCATMARK: u64 = 0x8905;
/// What connect(2) is given that only asks how far it got.
const NOWHERE: SocketAddress = SocketAddress {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    port: 0,
};
/// `TCP_CM_INQ` (include/uapi/linux/tcp.h).
const TCP_CM_INQ: i32 = super::options::INQ;
/// The largest file that is read.
const LARGEST_FILE: u64 = 256 << 20;
/// What a pipe holds (`PIPE_DEF_BUFFERS` pages).
const PIPE: usize = 65_536;

/// So many bytes went.
pub(super) fn count(length: usize) -> Outcome {
    Outcome::of(i64::try_from(length).unwrap_or(i64::MAX))
}

/// These bytes came.
pub(super) fn read(data: Vec<u8>) -> Outcome {
    let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
    received(length, data, Vec::new(), 0)
}

fn received(length: i64, data: Vec<u8>, address: Vec<u8>, flags: i32) -> Outcome {
    Outcome::telling(
        length,
        Output::Message {
            data,
            address,
            control: Vec::new(),
            flags,
        },
    )
}

fn failed(error: Errno) -> Turn {
    Turn::Ended(Err(errno(error)))
}

/// What a segment holds of pieces that are not copied (`MAX_SKB_FRAGS`, `net.core.max_skb_frags`).
const MOST_FRAGMENTS: usize = 17;

/// Where segments end that hold no more pieces; not the last one's (`skb_zerocopy_iter_stream`).
fn segment_ends(pieces: &[Vec<u8>]) -> Vec<usize> {
    let mut written = 0_usize;
    let mut ends = Vec::new();
    for piece in pieces.chunks(MOST_FRAGMENTS) {
        written = written.saturating_add(piece.iter().map(Vec::len).sum());
        ends.push(written);
    }
    ends.pop();
    ends
}

impl ModelWorld {
    /// read(2), recvmsg(2), write(2), sendmsg(2).
    pub(super) fn transfer(&mut self, call: &Call, progress: &mut Progress) -> Turn {
        let none = Vec::new();
        let (fd, room, flags, control) = match call {
            Call::Read { fd, pieces } => (*fd, pieces.iter().sum(), 0, 0),
            Call::Receive {
                fd,
                pieces,
                control,
                flags,
            } => (*fd, pieces.iter().sum(), *flags, *control),
            Call::Write { fd, pieces } => {
                return self.write(*fd, pieces, &none, 0, progress);
            }
            Call::Send {
                fd,
                pieces,
                address,
                flags,
                ..
            } => return self.write(*fd, pieces, address, *flags, progress),
            _ => return Turn::Ended(Err(libc::ENOSYS)),
        };
        let socket = match self.files.get_mut(fd) {
            Ok(File::Socket(_)) if flags & libc::MSG_ERRQUEUE != 0 => {
                return self.read_error_queue(fd, room).into();
            }
            Ok(File::Socket(socket)) => socket.clone(),
            Ok(File::Regular { content, at }) => {
                let rest = content.get(*at..).unwrap_or_default();
                let data = rest.get(..room).unwrap_or(rest).to_vec();
                *at = at.saturating_add(data.len());
                return Turn::Ended(Ok(read(data)));
            }
            Ok(File::Pipe(content)) => {
                let data: Vec<u8> = content.drain(..room.min(content.len())).collect();
                return match data.is_empty() {
                    true => Turn::Waits(None),
                    false => Turn::Ended(Ok(read(data))),
                };
            }
            Ok(File::Epoll(_)) => return Turn::Ended(Err(libc::EINVAL)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        if socket.kind == libc::SOCK_STREAM {
            let turn = self.read_stream(&socket, room, flags, progress);
            if control > 0 && socket.tells_queued {
                return self.with_queued(socket.id, turn);
            }
            turn
        } else {
            self.read_datagram(&socket, room, flags)
        }
    }

    /// TCP_INQ: how much is left, as a control message (`tcp_recvmsg`).
    fn with_queued(&self, id: SocketId, turn: Turn) -> Turn {
        let Turn::Ended(Ok(mut outcome)) = turn else {
            return turn;
        };
        if let (Output::Message { control, .. }, Ok(queued)) =
            (&mut outcome.output, self.host.queued(id))
        {
            let left = i32::try_from(queued.hint).unwrap_or(i32::MAX);
            *control = control_message(libc::SOL_TCP, TCP_CM_INQ, &left.to_ne_bytes());
        }
        Turn::Ended(Ok(outcome))
    }

    fn read_stream(
        &mut self,
        socket: &SocketFile,
        room: usize,
        flags: i32,
        progress: &mut Progress,
    ) -> Turn {
        if flags & libc::MSG_OOB != 0 {
            let peeks = flags & libc::MSG_PEEK != 0;
            return match self.host.receive_urgent(self.now, socket.id, peeks) {
                Ok(byte) => {
                    let data: Vec<u8> = byte.into_iter().take(room).collect();
                    let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                    Turn::Ended(Ok(received(length, data, Vec::new(), libc::MSG_OOB)))
                }
                Err(error) => failed(error),
            };
        }
        let waits = !socket.nonblocking && flags & libc::MSG_DONTWAIT == 0;
        let peeks = flags & libc::MSG_PEEK != 0;
        let target = self.least_to_read(socket.id, room, flags);
        let got = loop {
            let mut buffer = vec![0; room.saturating_sub(progress.read.len())];
            let got = if peeks {
                self.host.peek(self.now, socket.id, &mut buffer)
            } else {
                self.host.read(self.now, socket.id, &mut buffer)
            };
            let Ok(length) = got else { break got };
            buffer.truncate(length);
            progress.read.append(&mut buffer);
            // Zero is the end.
            if peeks || length == 0 || progress.read.len() >= target {
                break got;
            }
        };
        match got {
            Ok(_) => {
                let data = std::mem::take(&mut progress.read);
                let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                // With MSG_TRUNC nothing is copied.
                let data = if flags & libc::MSG_TRUNC != 0 {
                    Vec::new()
                } else {
                    data
                };
                Turn::Ended(Ok(received(length, data, Vec::new(), 0)))
            }
            Err(Errno::Eagain) if waits => Turn::Waits(socket.receive_timeout),
            Err(_) if !progress.read.is_empty() => {
                Turn::Ended(Ok(read(std::mem::take(&mut progress.read))))
            }
            Err(error) => failed(error),
        }
    }

    /// How much must be there before a call that waits returns (`sock_rcvlowat`).
    fn least_to_read(&mut self, id: SocketId, room: usize, flags: i32) -> usize {
        if flags & libc::MSG_WAITALL != 0 {
            return room;
        }
        match self.host.option(id, OptionName::ReceiveLowWatermark) {
            Ok(OptionValue::Number(number)) => {
                usize::try_from(number).unwrap_or(1).clamp(1, room.max(1))
            }
            _ => 1,
        }
    }

    fn read_datagram(&mut self, socket: &SocketFile, room: usize, flags: i32) -> Turn {
        // The largest datagram, to know how long it is.
        let mut buffer = vec![0; 65_535];
        let got = if flags & libc::MSG_PEEK != 0 {
            let peeked = self.host.peek(self.now, socket.id, &mut buffer);
            peeked.map(|length| (length, None))
        } else {
            let got = self.host.receive_from(self.now, socket.id, &mut buffer);
            got.map(|(length, from)| (length, Some(from)))
        };
        let waits = !socket.nonblocking && flags & libc::MSG_DONTWAIT == 0;
        match got {
            Ok((length, from)) => {
                buffer.truncate(length.min(room));
                let cut = length > room;
                let told_length = if flags & libc::MSG_TRUNC != 0 {
                    length
                } else {
                    buffer.len()
                };
                let address = from.map_or(Vec::new(), |from| told(from, socket.family));
                let flags = if cut { libc::MSG_TRUNC } else { 0 };
                let length = i64::try_from(told_length).unwrap_or(i64::MAX);
                Turn::Ended(Ok(received(length, buffer, address, flags)))
            }
            Err(Errno::Eagain) if waits => Turn::Waits(socket.receive_timeout),
            Err(error) => failed(error),
        }
    }

    fn write(
        &mut self,
        fd: Fd,
        pieces: &[Vec<u8>],
        address: &[u8],
        flags: i32,
        progress: &mut Progress,
    ) -> Turn {
        let data = &pieces.concat();
        let socket = match self.files.get_mut(fd) {
            Ok(File::Socket(socket)) => socket.clone(),
            Ok(File::Pipe(content)) => {
                let room = PIPE.saturating_sub(content.len()).min(data.len());
                content.extend(data.get(..room).unwrap_or_default());
                return Turn::Ended(Ok(count(room)));
            }
            Ok(_) => return Turn::Ended(Err(libc::EINVAL)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let urgent = flags & libc::MSG_OOB != 0 && socket.kind != libc::SOCK_STREAM;
        let fast = flags & libc::MSG_FASTOPEN != 0;
        if urgent || fast && socket.kind != libc::SOCK_STREAM {
            return Turn::Ended(Err(libc::EOPNOTSUPP));
        }
        let waits = !socket.nonblocking && flags & libc::MSG_DONTWAIT == 0;
        if socket.kind != libc::SOCK_STREAM {
            let to = match address {
                [] => None,
                address => match given(address, socket.family) {
                    Ok(address) => Some(address),
                    Err(errno) => return Turn::Ended(Err(errno)),
                },
            };
            return match self.host.send_to(self.now, socket.id, data, to) {
                Ok(length) => Turn::Ended(Ok(count(length))),
                Err(Errno::Eagain) if waits => Turn::Waits(socket.send_timeout),
                Err(error) => failed(error),
            };
        }
        let zero_copy = flags & libc::MSG_ZEROCOPY != 0;
        let flags = SendFlags {
            more: flags & libc::MSG_MORE != 0,
            urgent: flags & libc::MSG_OOB != 0,
            end_of_record: flags & libc::MSG_EOR != 0,
            waits,
        };
        let to = (fast && !progress.connecting).then_some(address);
        let ends = match zero_copy && socket.error_queue.zero_copy {
            true => segment_ends(pieces),
            false => Vec::new(),
        };
        let turn = match self.write_connected(&socket, (data, &ends), flags, (to, progress)) {
            Ok(outcome) => Turn::Ended(Ok(outcome)),
            Err(Errno::Eagain) if waits => Turn::Waits(socket.send_timeout),
            Err(_) if progress.written > 0 => Turn::Ended(Ok(count(progress.written))),
            Err(error) => failed(error),
        };
        if let Turn::Ended(Ok(_)) = &turn
            && let Ok(socket) = self.files.socket_mut(fd)
        {
            socket.error_queue.wrote(progress.written, zero_copy);
        }
        turn
    }

    /// … first of all the handshake that the write itself begins, where fast open lets it (`tcp_sendmsg_fastopen`). `to`: the
    /// destination of a first try with MSG_FASTOPEN.
    fn write_connected(
        &mut self,
        socket: &SocketFile,
        (data, ends): (&[u8], &[usize]),
        flags: SendFlags,
        (to, progress): (Option<&[u8]>, &mut Progress),
    ) -> Result<Outcome, Errno> {
        let id = socket.id;
        if progress.connecting {
            match self.host.connect(self.now, id, NOWHERE) {
                Err(Errno::Ealready) => return Err(Errno::Eagain),
                Ok(()) | Err(Errno::Eisconn) => progress.connecting = false,
                Err(error) => {
                    // Nothing of it arrived.
                    progress.written = 0;
                    return Err(error);
                }
            }
            if progress.written >= data.len() {
                return Ok(count(progress.written));
            }
            return self.write_stream(id, (data, ends), flags, progress);
        }
        let deferred = self.host.is_deferred(id);
        let sent = match to {
            Some(address) => {
                let to = match (address, given(address, socket.family)) {
                    ([], _) => None,
                    (_, Ok(address)) => Some(address),
                    (_, Err(errno)) if errno == libc::EINVAL => return Err(Errno::Einval),
                    (_, Err(_)) => return Err(Errno::Eopnotsupp),
                };
                self.host.send_fast_open(self.now, id, data, to, flags)
            }
            None if deferred => self.host.send(self.now, id, data, flags),
            None => return self.write_stream(id, (data, ends), flags, progress),
        };
        let taken = match sent {
            Ok(taken) => taken,
            Err(Errno::Einprogress) if flags.waits => 0,
            Err(Errno::Ealready) if flags.waits => 0,
            Err(error) => return Err(error),
        };
        progress.written = taken;
        if !self.host.is_opening(id) {
            if taken >= data.len() {
                return Ok(count(taken));
            }
            return self.write_stream(id, (data, ends), flags, progress);
        }
        if flags.waits {
            progress.connecting = true;
            return Err(Errno::Eagain);
        }
        Ok(count(taken))
    }

    /// Writes what there is room for, until all is written (`tcp_sendmsg_locked`); EAGAIN where something is left.
    fn write_stream(
        &mut self,
        id: SocketId,
        (data, ends): (&[u8], &[usize]),
        flags: SendFlags,
        progress: &mut Progress,
    ) -> Result<Outcome, Errno> {
        loop {
            let written = progress.written;
            let end = ends.iter().copied().find(|end| *end > written);
            let rest = data.get(written..end.unwrap_or(data.len()));
            let flags = SendFlags {
                end_of_record: flags.end_of_record || end.is_some(),
                ..flags
            };
            let rest = rest.unwrap_or_default();
            let taken = self.host.send(self.now, id, rest, flags)?;
            progress.written = progress.written.saturating_add(taken);
            if progress.written >= data.len() {
                return Ok(count(progress.written));
            }
        }
    }

    /// Calls on files of any kind.
    pub(super) fn file(&mut self, call: &Call, progress: &mut Progress) -> Turn {
        match call {
            Call::SendFile {
                out,
                input,
                offset,
                length,
            } => self.send_file((*out, *input), *offset, *length, progress),
            Call::Splice {
                input, out, length, ..
            } => self.splice((*input, *out), *length, progress),
            other => self.control(other).into(),
        }
    }

    fn control(&mut self, call: &Call) -> Result<Outcome, i32> {
        match call {
            Call::Fcntl {
                fd,
                command,
                argument,
            } => self.file_control(*fd, *command, *argument),
            Call::Ioctl { fd, request, value } => self.input_output_control(*fd, *request, *value),
            // What a program would see of it: whatever is asked of the socket, its buffer is not there.
            Call::SendFromNowhere { fd, .. } | Call::ReceiveIntoNowhere { fd, .. } => {
                self.files.get_mut(*fd)?;
                Err(libc::EFAULT)
            }
            Call::Duplicate { fd } => {
                let id = self.files.id(*fd)?;
                Ok(Outcome::of(self.files.describe(id).into()))
            }
            Call::Open { path, .. } => {
                let failed = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
                let known = std::fs::metadata(path).map_err(failed)?;
                if !known.is_file() || known.len() > LARGEST_FILE {
                    return Err(libc::ENODEV);
                }
                let content = std::fs::read(path).map_err(failed)?;
                let fd = self.files.add(File::Regular { content, at: 0 });
                Ok(Outcome::of(fd.into()))
            }
            Call::Pipe { .. } => {
                let read = self.files.add(File::Pipe(Vec::new()));
                let id = self.files.id(read)?;
                let write = self.files.describe(id);
                Ok(Outcome::telling(0, Output::Pipe(read, write)))
            }
            _ => Err(libc::ENOSYS),
        }
    }

    fn file_control(&mut self, fd: Fd, command: i32, argument: i32) -> Result<Outcome, i32> {
        match (command, self.files.get_mut(fd)?) {
            (libc::F_GETFL, File::Socket(socket)) => {
                let flags = if socket.nonblocking {
                    libc::O_NONBLOCK
                } else {
                    0
                };
                Ok(Outcome::of((libc::O_RDWR | flags).into()))
            }
            (libc::F_SETFL, File::Socket(socket)) => {
                socket.nonblocking = argument & libc::O_NONBLOCK != 0;
                Ok(Outcome::of(0))
            }
            (libc::F_GETFL, _) => Ok(Outcome::of(libc::O_RDWR.into())),
            (libc::F_SETFL | libc::F_SETFD, _) => Ok(Outcome::of(0)),
            (libc::F_GETFD, _) => Ok(Outcome::of(libc::FD_CLOEXEC.into())),
            _ => Err(libc::EINVAL),
        }
    }

    fn input_output_control(&mut self, fd: Fd, request: u64, value: i32) -> Result<Outcome, i32> {
        let socket = self.files.socket_mut(fd)?;
        if request == libc::FIONBIO {
            socket.nonblocking = value != 0;
            return Ok(Outcome::of(0));
        }
        let (id, stream) = (socket.id, socket.kind == libc::SOCK_STREAM);
        let tell = |number: u32| {
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            Ok(Outcome::telling(0, Output::Integer(number)))
        };
        match (request, stream) {
            // SIOCINQ is FIONREAD, SIOCOUTQ is TIOCOUTQ.
            (libc::FIONREAD, true) => tell(self.host.queued(id).map_err(errno)?.unread),
            (libc::TIOCOUTQ, true) => tell(self.host.queued(id).map_err(errno)?.unacknowledged),
            (SIOCOUTQNSD, true) => tell(self.host.queued(id).map_err(errno)?.unsent),
            (SIOCATMARK, true) => tell(self.host.queued(id).map_err(errno)?.at_mark.into()),
            (libc::FIONREAD, false) => {
                let mut buffer = vec![0; 65_535];
                let next = self.host.peek(self.now, id, &mut buffer).unwrap_or(0);
                tell(u32::try_from(next).unwrap_or(u32::MAX))
            }
            (libc::TIOCOUTQ, false) => tell(0),
            _ => Err(libc::ENOTTY),
        }
    }

    /// sendfile(2).
    fn send_file(
        &mut self,
        (out, input): (Fd, Fd),
        offset: Option<u64>,
        length: usize,
        progress: &mut Progress,
    ) -> Turn {
        let data = match self.files.get_mut(input) {
            Ok(File::Regular { content, at }) => {
                let from = match offset {
                    Some(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
                    None => *at,
                };
                let rest = content.get(from..).unwrap_or_default();
                rest.get(..length).unwrap_or(rest).to_vec()
            }
            Ok(_) => return Turn::Ended(Err(libc::EINVAL)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let turn = self.write(out, &[data], &[], 0, progress);
        if let (Turn::Ended(Ok(outcome)), None) = (&turn, offset)
            && let Ok(File::Regular { at, .. }) = self.files.get_mut(input)
        {
            *at = at.saturating_add(usize::try_from(outcome.value).unwrap_or(0));
        }
        turn
    }

    /// splice(2): one end is a pipe.
    fn splice(&mut self, (input, out): (Fd, Fd), length: usize, progress: &mut Progress) -> Turn {
        if matches!(self.files.get_mut(out), Ok(File::Pipe(_))) {
            return self.splice_into_pipe((input, out), length.min(PIPE), progress);
        }
        let data = match self.files.get_mut(input) {
            Ok(File::Pipe(content)) => content.get(..length).unwrap_or(content).to_vec(),
            Ok(_) => return Turn::Ended(Err(libc::EINVAL)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let turn = self.write(out, &[data], &[], 0, progress);
        if let Turn::Ended(Ok(outcome)) = &turn
            && let Ok(File::Pipe(content)) = self.files.get_mut(input)
        {
            let written = usize::try_from(outcome.value).unwrap_or(0);
            content.drain(..written.min(content.len()));
        }
        turn
    }

    /// … into a pipe: from a TCP socket as it stands, else as read(2) does.
    fn splice_into_pipe(
        &mut self,
        (input, out): (Fd, Fd),
        length: usize,
        progress: &mut Progress,
    ) -> Turn {
        let data = match self.files.socket(input) {
            Ok(socket) if socket.kind == libc::SOCK_STREAM => {
                let (id, timeout) = (socket.id, socket.receive_timeout);
                // SPLICE_F_NONBLOCK is the pipe's affair.
                let waits = !socket.nonblocking;
                let mut data = vec![0; length];
                match self.host.splice(self.now, id, &mut data, waits) {
                    Ok(taken) => data.truncate(taken),
                    Err(Errno::Eagain) if waits => return Turn::Waits(timeout),
                    Err(error) => return failed(error),
                }
                data
            }
            _ => {
                let pieces = vec![length];
                match self.transfer(&Call::Read { fd: input, pieces }, progress) {
                    Turn::Ended(Ok(Outcome {
                        output: Output::Message { data, .. },
                        ..
                    })) => data,
                    other => return other,
                }
            }
        };
        if let Ok(File::Pipe(content)) = self.files.get_mut(out) {
            content.extend(&data);
        }
        Turn::Ended(Ok(count(data.len())))
    }
}
