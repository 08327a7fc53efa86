//! poll(2) and epoll(7).

use std::time::Duration;

use transect_host::Readiness;

use super::ModelWorld;
use super::calls::Turn;
use super::files::{File, FileId};
use crate::call::{Fd, Outcome, Output};

/// What is watched by an epoll file (`struct epitem`), in the order in which it came to be ready.
#[derive(Debug, Default)]
pub(super) struct Epoll {
    watched: Vec<Watched>,
    /// Files that may be ready, in order (`rdllist`).
    ready: Vec<FileId>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    file: FileId,
    events: u32,
    data: u64,
}

const ERROR: u32 = libc::EPOLLERR.cast_unsigned();
const HANG_UP: u32 = libc::EPOLLHUP.cast_unsigned();
const ONE_SHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
const EDGE: u32 = libc::EPOLLET.cast_unsigned();

impl Epoll {
    pub(super) fn forget(&mut self, file: FileId) {
        self.watched.retain(|watched| watched.file != file);
        self.ready.retain(|ready| *ready != file);
    }

    /// `ep_poll_callback`: something happened that may be of interest.
    pub(super) fn wake(&mut self, file: FileId, events: u32) {
        let interested = self.watched.iter().any(|watched| {
            // Behind EPOLLONESHOT nothing is of interest; else errors always are.
            let shot = watched.events & !(ONE_SHOT | EDGE) == 0;
            watched.file == file && !shot && (watched.events | ERROR | HANG_UP) & events != 0
        });
        if interested {
            self.list(file);
        }
    }

    fn list(&mut self, file: FileId) {
        if !self.ready.contains(&file) {
            self.ready.push(file);
        }
    }
}

/// The bits of poll(2).
pub(super) fn bits(readiness: Readiness) -> u32 {
    let bit = |on: bool, bits: i32| if on { bits.cast_unsigned() } else { 0 };
    bit(readiness.readable, libc::EPOLLIN | libc::EPOLLRDNORM)
        | bit(readiness.urgent, libc::EPOLLPRI)
        | bit(readiness.writable, libc::EPOLLOUT | libc::EPOLLWRNORM)
        | bit(readiness.read_ended, libc::EPOLLRDHUP)
        | bit(readiness.hung_up, libc::EPOLLHUP)
        | bit(readiness.failed, libc::EPOLLERR)
}

/// A time-out in milliseconds; negative: none.
fn timeout(milliseconds: i32) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

impl ModelWorld {
    fn state(&mut self, file: FileId) -> u32 {
        match self.files.file(file) {
            Some(File::Socket(socket)) => {
                let (id, told) = (socket.id, !socket.error_queue.is_empty());
                let bits = self.host.readiness(id).map_or(0, bits);
                if told { bits | ERROR } else { bits }
            }
            Some(File::Pipe(content)) if content.is_empty() => libc::EPOLLOUT.cast_unsigned(),
            Some(File::Regular { .. } | File::Pipe(_)) => {
                (libc::EPOLLIN | libc::EPOLLOUT).cast_unsigned()
            }
            Some(File::Epoll(epoll)) if !epoll.ready.is_empty() => libc::EPOLLIN.cast_unsigned(),
            _ => 0,
        }
    }

    /// poll(2).
    pub(super) fn poll(&mut self, files: &[(Fd, i16)], milliseconds: i32) -> Turn {
        let came: Vec<i16> = files
            .iter()
            .map(|(fd, events)| match self.files.id(*fd) {
                Ok(file) => {
                    let asked = *events | libc::POLLERR | libc::POLLHUP;
                    // The bits are those of poll(2), in the lower half.
                    let state = i16::try_from(self.state(file) & 0x7fff).unwrap_or(0);
                    state & asked
                }
                Err(_) if *fd < 0 => 0,
                Err(_) => libc::POLLNVAL,
            })
            .collect();
        let ready = came.iter().filter(|came| **came != 0).count();
        if ready > 0 || milliseconds == 0 {
            let ready = i64::try_from(ready).unwrap_or(i64::MAX);
            return Turn::Ended(Ok(Outcome::telling(ready, Output::Polled(came))));
        }
        Turn::Waits(timeout(milliseconds))
    }

    /// epoll_ctl(2).
    pub(super) fn epoll_control(
        &mut self,
        (epoll, operation): (Fd, i32),
        fd: Fd,
        (events, data): (u32, u64),
    ) -> Result<Outcome, i32> {
        let file = self.files.id(fd)?;
        let state = self.state(file);
        let File::Epoll(epoll) = self.files.get_mut(epoll)? else {
            return Err(libc::EINVAL);
        };
        let known = epoll
            .watched
            .iter()
            .position(|watched| watched.file == file);
        let watched = Watched { file, events, data };
        match (operation, known) {
            (libc::EPOLL_CTL_ADD, Some(_)) => return Err(libc::EEXIST),
            (libc::EPOLL_CTL_ADD, None) => epoll.watched.push(watched),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, None) => return Err(libc::ENOENT),
            (libc::EPOLL_CTL_MOD, Some(at)) => {
                if let Some(known) = epoll.watched.get_mut(at) {
                    *known = watched;
                }
            }
            (libc::EPOLL_CTL_DEL, Some(_)) => {
                epoll.forget(file);
                return Ok(Outcome::of(0));
            }
            _ => return Err(libc::EINVAL),
        }
        if state & (events | ERROR | HANG_UP) != 0 {
            epoll.list(file);
        }
        Ok(Outcome::of(0))
    }

    /// epoll_wait(2) (`ep_send_events`).
    pub(super) fn epoll_wait(&mut self, fd: Fd, most: i32, milliseconds: i32) -> Turn {
        let most = match usize::try_from(most) {
            Ok(most) if most > 0 => most,
            _ => return Turn::Ended(Err(libc::EINVAL)),
        };
        let (ready, watched) = match self.files.get_mut(fd) {
            Ok(File::Epoll(epoll)) => (std::mem::take(&mut epoll.ready), epoll.watched.clone()),
            Ok(_) => return Turn::Ended(Err(libc::EINVAL)),
            Err(errno) => return Turn::Ended(Err(errno)),
        };
        let mut events = Vec::new();
        let mut again = Vec::new();
        let mut shot = Vec::new();
        for file in ready {
            let Some(entry) = watched.iter().find(|watched| watched.file == file) else {
                continue;
            };
            if events.len() >= most {
                again.push(file);
                continue;
            }
            let came = self.state(file) & (entry.events | ERROR | HANG_UP);
            if came == 0 || entry.events & !(ONE_SHOT | EDGE) == 0 {
                continue;
            }
            events.push((came, entry.data));
            if entry.events & ONE_SHOT != 0 {
                shot.push(file);
            } else if entry.events & EDGE == 0 {
                again.push(file);
            }
        }
        if let Ok(File::Epoll(epoll)) = self.files.get_mut(fd) {
            epoll.ready = again;
            for watched in &mut epoll.watched {
                if shot.contains(&watched.file) {
                    watched.events &= ONE_SHOT | EDGE;
                }
            }
        }
        if events.is_empty() && milliseconds != 0 {
            return Turn::Waits(timeout(milliseconds));
        }
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        Turn::Ended(Ok(Outcome::telling(count, Output::Events(events))))
    }
}
