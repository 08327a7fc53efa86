//! The thread that makes the script's system calls: they may block while packets come and go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::event::{EventfdFlags, eventfd};
use transect_sys::socket_call::{self, Outgoing, SocketEnd};

use super::super::{Finished, WorldError};
use crate::call::{Call, Fd, Outcome, Output};
use crate::tcp_info::{self, TcpInfo};

/// The descriptors that the script has opened, by the world's numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Descriptors(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<Fd, Arc<OwnedFd>>,
    next: Fd,
    /// What new TCP sockets are set to, where the namespace's own default cannot be.
    congestion_control: Option<String>,
}

impl Descriptors {
    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        // Nothing is left half done where a thread panicked.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, file: OwnedFd) -> Fd {
        self.with(|table| {
            let number = table.next;
            table.next = table.next.saturating_add(1);
            table.open.insert(number, Arc::new(file));
            number
        })
    }

    fn get(&self, fd: Fd) -> io::Result<Arc<OwnedFd>> {
        self.with(|table| table.open.get(&fd).cloned())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// Takes a descriptor away; it is closed when the last call that uses it has ended.
    fn take(&self, fd: Fd) -> io::Result<Arc<OwnedFd>> {
        self.with(|table| table.open.remove(&fd))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// What new TCP sockets are set to; nothing where the namespace's default is as it must be.
    pub(super) fn set_congestion_control(&self, name: Option<&str>) {
        self.with(|table| table.congestion_control = name.map(str::to_owned));
    }

    /// Makes a socket.
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> io::Result<Fd> {
        let made = socket_call::socket(domain, kind | libc::SOCK_CLOEXEC, protocol)?;
        let is_tcp = kind & 0xf == libc::SOCK_STREAM
            && matches!(domain, libc::AF_INET | libc::AF_INET6)
            && matches!(protocol, 0 | libc::IPPROTO_TCP);
        if let Some(name) = self.with(|table| table.congestion_control.clone())
            && is_tcp
        {
            let name = name.as_bytes();
            socket_call::set_option(made.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, name)?;
        }
        Ok(self.add(made))
    }

    /// `TCP_INFO` of a socket.
    pub(super) fn tcp_info(&self, fd: Fd) -> Result<TcpInfo, String> {
        let mut bytes = vec![0; tcp_info::LENGTH];
        let length = self
            .get(fd)
            .and_then(|file| {
                socket_call::option(file.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)
            })
            .map_err(|error| format!("getsockopt(TCP_INFO): {error}"))?;
        bytes.truncate(length);
        let mut info = tcp_info::read(&bytes);
        let mut memory = vec![0; tcp_info::MEMORY_LENGTH];
        let length = self.get(fd).and_then(|file| {
            socket_call::option(
                file.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                &mut memory,
            )
        });
        // An older kernel has no such option, and the script no such names.
        memory.truncate(length.unwrap_or(0));
        tcp_info::add_memory(&mut info, &memory);
        Ok(info)
    }

    /// Ends every conversation, so that nobody waits for one.
    pub(super) fn shut_down(&self) {
        let open: Vec<_> = self.with(|table| table.open.values().cloned().collect());
        for file in open {
            // What is no socket, or not connected, has nothing to end.
            let _ = socket_call::shutdown(file.as_fd(), libc::SHUT_RDWR);
        }
    }
}

/// Rings when a call has ended.
#[derive(Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// It has been heard.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The thread's ends.
pub(super) struct Caller {
    pub(super) descriptors: Descriptors,
    pub(super) calls: Sender<Call>,
    pub(super) ended: Receiver<Finished>,
    pub(super) bell: Bell,
}

/// Starts the thread; it is in the namespace of the one that starts it, and ends with the channel.
pub(super) fn start(origin: SystemTime) -> Result<Caller, WorldError> {
    let doing = "starting the thread for system calls";
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(WorldError::doing(doing))?;
    let bell = Arc::new(bell);
    let descriptors = Descriptors::default();
    let (calls, incoming) = channel::<Call>();
    let (done, ended) = channel();
    let (own, ringing) = (descriptors.clone(), Arc::clone(&bell));
    std::thread::Builder::new()
        .name("drill-calls".to_owned())
        .spawn(move || {
            let _ = socket_call::run_before_others();
            let now = || SystemTime::now().duration_since(origin).unwrap_or_default();
            for call in incoming {
                let started = now();
                let outcome = match carry_out(&own, call) {
                    Ok(outcome) => outcome,
                    Err(error) => Outcome::failed(error.raw_os_error().unwrap_or(libc::EINVAL)),
                };
                let finished = Finished {
                    started,
                    ended: now(),
                    outcome,
                };
                if done.send(finished).is_err() {
                    break;
                }
                let _ = rustix::io::write(&*ringing, &1_u64.to_ne_bytes());
            }
        })
        .map_err(WorldError::doing(doing))?;
    Ok(Caller {
        descriptors,
        calls,
        ended,
        bell: Bell(bell),
    })
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn buffers(pieces: &[usize]) -> Vec<Vec<u8>> {
    pieces.iter().map(|length| vec![0; *length]).collect()
}

/// What was read, in one piece.
fn gathered(pieces: &[Vec<u8>], length: usize) -> Vec<u8> {
    pieces.iter().flatten().copied().take(length).collect()
}

fn carry_out(files: &Descriptors, call: Call) -> io::Result<Outcome> {
    match call {
        Call::Socket { .. }
        | Call::Bind { .. }
        | Call::Listen { .. }
        | Call::Accept { .. }
        | Call::Connect { .. }
        | Call::Shutdown { .. }
        | Call::SocketName { .. }
        | Call::PeerName { .. } => connection(files, call),
        Call::Read { .. } | Call::Receive { .. } | Call::Write { .. } | Call::Send { .. } => {
            transfer(files, call)
        }
        Call::SendFromNowhere {
            fd,
            length,
            address,
            flags,
        } => {
            let flags = flags | libc::MSG_NOSIGNAL;
            let file = files.get(fd)?;
            let sent = socket_call::send_from_nowhere(file.as_fd(), length, &address, flags)?;
            Ok(Outcome::of(count(sent)))
        }
        Call::ReceiveIntoNowhere { fd, length, flags } => {
            let got = socket_call::receive_into_nowhere(files.get(fd)?.as_fd(), length, flags)?;
            Ok(Outcome::of(count(got)))
        }
        Call::SetOption {
            fd,
            level,
            name,
            value,
        } => {
            socket_call::set_option(files.get(fd)?.as_fd(), level, name, &value)?;
            Ok(Outcome::of(0))
        }
        Call::GetOption {
            fd,
            level,
            name,
            mut value,
        } => {
            let length = socket_call::option(files.get(fd)?.as_fd(), level, name, &mut value)?;
            value.truncate(length);
            Ok(Outcome::telling(0, Output::Bytes(value)))
        }
        Call::Poll { .. }
        | Call::EpollCreate { .. }
        | Call::EpollControl { .. }
        | Call::EpollWait { .. } => waiting(files, call),
        other => file(files, other),
    }
}

fn connection(files: &Descriptors, call: Call) -> io::Result<Outcome> {
    match call {
        Call::Socket {
            domain,
            kind,
            protocol,
        } => Ok(Outcome::of(files.socket(domain, kind, protocol)?.into())),
        Call::Bind { fd, address } => {
            socket_call::bind(files.get(fd)?.as_fd(), &address)?;
            Ok(Outcome::of(0))
        }
        Call::Listen { fd, backlog } => {
            socket_call::listen(files.get(fd)?.as_fd(), backlog)?;
            Ok(Outcome::of(0))
        }
        Call::Accept { fd, flags } => {
            let flags = flags | libc::SOCK_CLOEXEC;
            let (made, peer) = socket_call::accept(files.get(fd)?.as_fd(), flags)?;
            Ok(Outcome::telling(
                files.add(made).into(),
                Output::Address(peer),
            ))
        }
        Call::Connect { fd, address } => {
            socket_call::connect(files.get(fd)?.as_fd(), &address)?;
            Ok(Outcome::of(0))
        }
        Call::Shutdown { fd, how } => {
            socket_call::shutdown(files.get(fd)?.as_fd(), how)?;
            Ok(Outcome::of(0))
        }
        Call::SocketName { fd } => name(files, fd, SocketEnd::Local),
        Call::PeerName { fd } => name(files, fd, SocketEnd::Peer),
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn name(files: &Descriptors, fd: Fd, end: SocketEnd) -> io::Result<Outcome> {
    let address = socket_call::socket_name(files.get(fd)?.as_fd(), end)?;
    Ok(Outcome::telling(0, Output::Address(address)))
}

fn transfer(files: &Descriptors, call: Call) -> io::Result<Outcome> {
    match call {
        Call::Read { fd, pieces } => {
            let mut pieces = buffers(&pieces);
            let file = files.get(fd)?;
            let mut vectors: Vec<_> = pieces
                .iter_mut()
                .map(|piece| io::IoSliceMut::new(piece))
                .collect();
            let length = match vectors.as_mut_slice() {
                [one] => rustix::io::read(&*file, &mut **one)?,
                many => rustix::io::readv(&*file, many)?,
            };
            let output = Output::Message {
                data: gathered(&pieces, length),
                address: Vec::new(),
                control: Vec::new(),
                flags: 0,
            };
            Ok(Outcome::telling(count(length), output))
        }
        Call::Receive {
            fd,
            pieces,
            control,
            flags,
        } => {
            let mut pieces = buffers(&pieces);
            let file = files.get(fd)?;
            let got = socket_call::receive_message(file.as_fd(), &mut pieces, control, flags)?;
            let output = Output::Message {
                data: gathered(&pieces, got.length),
                address: got.address,
                control: got.control,
                flags: got.flags,
            };
            Ok(Outcome::telling(count(got.length), output))
        }
        Call::Write { fd, pieces } => {
            let file = files.get(fd)?;
            let vectors: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
            let written = match vectors.as_slice() {
                [one] => rustix::io::write(&*file, one)?,
                many => rustix::io::writev(&*file, many)?,
            };
            Ok(Outcome::of(count(written)))
        }
        Call::Send {
            fd,
            pieces,
            address,
            control,
            flags,
        } => {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let message = Outgoing {
                address: &address,
                pieces: &pieces,
                control: &control,
                // A script that reads EPIPE wants no signal.
                flags: flags | libc::MSG_NOSIGNAL,
            };
            let sent = socket_call::send_message(files.get(fd)?.as_fd(), message)?;
            Ok(Outcome::of(count(sent)))
        }
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn waiting(files: &Descriptors, call: Call) -> io::Result<Outcome> {
    match call {
        Call::Poll {
            files: asked,
            timeout,
        } => {
            let open: io::Result<Vec<_>> = asked
                .iter()
                .map(|(fd, events)| Ok((files.get(*fd)?, *events)))
                .collect();
            let open = open?;
            let mut polled: Vec<_> = open
                .iter()
                .map(|(file, events)| (file.as_fd(), *events, 0))
                .collect();
            let ready = socket_call::poll(&mut polled, timeout)?;
            let came = polled.iter().map(|(_, _, came)| *came).collect();
            Ok(Outcome::telling(count(ready), Output::Polled(came)))
        }
        Call::EpollCreate { flags } => {
            let made = socket_call::epoll_create(flags | libc::EPOLL_CLOEXEC)?;
            Ok(Outcome::of(files.add(made).into()))
        }
        Call::EpollControl {
            epoll,
            operation,
            fd,
            events,
            data,
        } => {
            let (epoll, file) = (files.get(epoll)?, files.get(fd)?);
            socket_call::epoll_control(epoll.as_fd(), operation, file.as_fd(), events, data)?;
            Ok(Outcome::of(0))
        }
        Call::EpollWait {
            epoll,
            most,
            timeout,
        } => {
            let events = socket_call::epoll_wait(files.get(epoll)?.as_fd(), most, timeout)?;
            Ok(Outcome::telling(
                count(events.len()),
                Output::Events(events),
            ))
        }
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn file(files: &Descriptors, call: Call) -> io::Result<Outcome> {
    match call {
        Call::Close { fd } => {
            // With SO_LINGER this is where it waits.
            drop(files.take(fd)?);
            Ok(Outcome::of(0))
        }
        Call::Duplicate { fd } => {
            let copy = files.get(fd)?.try_clone()?;
            Ok(Outcome::of(files.add(copy).into()))
        }
        Call::Fcntl {
            fd,
            command,
            argument,
        } => {
            let result = socket_call::file_control(files.get(fd)?.as_fd(), command, argument)?;
            Ok(Outcome::of(result.into()))
        }
        Call::Ioctl { fd, request, value } => {
            let (result, value) =
                socket_call::control_integer(files.get(fd)?.as_fd(), request, value)?;
            Ok(Outcome::telling(result.into(), Output::Integer(value)))
        }
        Call::Open { path, flags } => {
            let write = flags & libc::O_ACCMODE;
            let opened = File::options()
                .read(write != libc::O_WRONLY)
                .write(write != libc::O_RDONLY)
                .create(flags & libc::O_CREAT != 0 && write != libc::O_RDONLY)
                .truncate(flags & libc::O_TRUNC != 0 && write != libc::O_RDONLY)
                .open(path)?;
            Ok(Outcome::of(files.add(opened.into()).into()))
        }
        Call::Pipe { .. } => {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let (read, write) = (files.add(read), files.add(write));
            Ok(Outcome::telling(0, Output::Pipe(read, write)))
        }
        Call::SendFile {
            out,
            input,
            mut offset,
            length,
        } => {
            let (out, input) = (files.get(out)?, files.get(input)?);
            let sent = rustix::fs::sendfile(&*out, &*input, offset.as_mut(), length)?;
            Ok(Outcome::of(count(sent)))
        }
        Call::Splice {
            input,
            out,
            length,
            flags,
        } => {
            let (input, out) = (files.get(input)?, files.get(out)?);
            let flags = rustix::pipe::SpliceFlags::from_bits_retain(flags);
            let moved = rustix::pipe::splice(&*input, None, &*out, None, length, flags)?;
            Ok(Outcome::of(count(moved)))
        }
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}
