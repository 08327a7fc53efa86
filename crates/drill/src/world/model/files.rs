//! The descriptors of the script's program, and what they stand for.

use std::collections::BTreeMap;
use std::time::Duration;

use transect_host::{Event, SocketId};

use super::error_queue::ErrorQueue;
use super::polling::Epoll;
use crate::call::Fd;

/// A number of what a descriptor stands for; several descriptors may stand for the same.
pub(super) type FileId = u64;

/// A socket, as the program's side of it.
#[derive(Debug, Clone)]
pub(super) struct SocketFile {
    pub(super) id: SocketId,
    /// AF_INET or AF_INET6.
    pub(super) family: i32,
    /// SOCK_STREAM and the like.
    pub(super) kind: i32,
    pub(super) protocol: i32,
    /// O_NONBLOCK
    pub(super) nonblocking: bool,
    /// SO_RCVTIMEO and SO_SNDTIMEO.
    pub(super) receive_timeout: Option<Duration>,
    pub(super) send_timeout: Option<Duration>,
    pub(super) error_queue: ErrorQueue,
    /// TCP_INQ
    pub(super) tells_queued: bool,
    /// Options that are only remembered.
    pub(super) remembered: BTreeMap<(i32, i32), i32>,
}

/// What a descriptor stands for.
#[derive(Debug)]
pub(super) enum File {
    Socket(SocketFile),
    Epoll(Epoll),
    /// A file's bytes, and where the next read begins.
    Regular {
        content: Vec<u8>,
        at: usize,
    },
    /// Both ends of a pipe are the same to it.
    Pipe(Vec<u8>),
}

/// The open files.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: BTreeMap<Fd, FileId>,
    files: BTreeMap<FileId, File>,
    next_fd: Fd,
    next_file: FileId,
}

impl Files {
    /// A new file with a descriptor.
    pub(super) fn add(&mut self, file: File) -> Fd {
        let id = self.next_file;
        self.next_file = self.next_file.saturating_add(1);
        self.files.insert(id, file);
        self.describe(id)
    }

    /// Another descriptor for a file.
    pub(super) fn describe(&mut self, id: FileId) -> Fd {
        let fd = self.next_fd;
        self.next_fd = self.next_fd.saturating_add(1);
        self.open.insert(fd, id);
        fd
    }

    /// The file of a descriptor; EBADF.
    pub(super) fn id(&self, fd: Fd) -> Result<FileId, i32> {
        self.open.get(&fd).copied().ok_or(libc::EBADF)
    }

    pub(super) fn get_mut(&mut self, fd: Fd) -> Result<&mut File, i32> {
        let id = self.id(fd)?;
        self.files.get_mut(&id).ok_or(libc::EBADF)
    }

    pub(super) fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(&id)
    }

    /// The socket of a descriptor; EBADF, ENOTSOCK.
    pub(super) fn socket(&self, fd: Fd) -> Result<&SocketFile, i32> {
        match self.files.get(&self.id(fd)?) {
            Some(File::Socket(socket)) => Ok(socket),
            Some(_) => Err(libc::ENOTSOCK),
            None => Err(libc::EBADF),
        }
    }

    pub(super) fn socket_mut(&mut self, fd: Fd) -> Result<&mut SocketFile, i32> {
        match self.get_mut(fd)? {
            File::Socket(socket) => Ok(socket),
            _ => Err(libc::ENOTSOCK),
        }
    }

    /// Takes a descriptor away; the file with it where it was the last one.
    pub(super) fn close(&mut self, fd: Fd) -> Result<Option<File>, i32> {
        let id = self.open.remove(&fd).ok_or(libc::EBADF)?;
        if self.open.values().any(|other| *other == id) {
            return Ok(None);
        }
        for file in self.files.values_mut() {
            if let File::Epoll(epoll) = file {
                epoll.forget(id);
            }
        }
        Ok(self.files.remove(&id))
    }

    /// The sockets whose error queue waits for acknowledgements.
    pub(super) fn waiting_for_acknowledgements(&self) -> Vec<SocketId> {
        let sockets = self.files.values().filter_map(|file| match file {
            File::Socket(socket) if socket.error_queue.waits() => Some(socket.id),
            _ => None,
        });
        sockets.collect()
    }

    /// So many bytes of a socket are not acknowledged; whether its error queue has something new.
    pub(super) fn unacknowledged(&mut self, id: SocketId, bytes: u32) -> bool {
        let mut files = self.files.values_mut();
        let news = files.any(|file| match file {
            File::Socket(socket) if socket.id == id => socket.error_queue.unacknowledged(bytes),
            _ => false,
        });
        if news {
            self.tell(Event::Failed(id));
        }
        news
    }

    /// Something happened to a socket: who watches it looks again.
    pub(super) fn tell(&mut self, event: Event) {
        let (socket, events) = match event {
            Event::Readable(id) => (id, libc::EPOLLIN | libc::EPOLLRDNORM | libc::EPOLLRDHUP),
            Event::Writable(id) => (id, libc::EPOLLOUT | libc::EPOLLWRNORM),
            Event::Acceptable(id) => (id, libc::EPOLLIN | libc::EPOLLRDNORM),
            Event::Failed(id) => (id, libc::EPOLLERR | libc::EPOLLHUP),
        };
        let ids: Vec<FileId> = self
            .files
            .iter()
            .filter(|(_, file)| matches!(file, File::Socket(own) if own.id == socket))
            .map(|(id, _)| *id)
            .collect();
        for file in self.files.values_mut() {
            if let File::Epoll(epoll) = file {
                for id in &ids {
                    epoll.wake(*id, events.cast_unsigned());
                }
            }
        }
    }
}
