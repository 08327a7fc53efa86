//! The error queue of a socket (recvmsg(2) with MSG_ERRQUEUE): what the host keeps there, and what MSG_ZEROCOPY tells.
//!
//! The model copies, as a TUN device makes the kernel do: each notification says so. A send is done with when all of it is
//! acknowledged; notifications that follow one another become one (`__msg_zerocopy_callback`, `skb_zerocopy_notify_extend`).

use std::collections::VecDeque;

use transect_host::{QueuedError, SocketAddress};

use super::ModelWorld;
use super::calls::{errno, told};
use crate::call::{Fd, Outcome, Output};

/// `SO_EE_ORIGIN_ZEROCOPY`, `SO_EE_CODE_ZEROCOPY_COPIED` (include/uapi/linux/errqueue.h).
const ORIGIN: u8 = 5;
const COPIED: u8 = 1;
/// `struct sockaddr_in` and `sockaddr_in6`, which follow the error: nobody offended.
const ADDRESS: (usize, usize) = (16, 28);

/// What a socket keeps of its sends without copies.
#[derive(Debug, Clone, Default)]
pub(super) struct ErrorQueue {
    /// SO_ZEROCOPY
    pub(super) zero_copy: bool,
    /// Bytes that the program has written.
    written: u64,
    /// The number of the next send (`sk_zckey`).
    next: u32,
    /// Sends that are not acknowledged: where each ends, counted like `written`, and its number.
    waiting: VecDeque<(u64, u32)>,
    /// First and last number of what is done with.
    done: VecDeque<(u32, u32)>,
}

impl ErrorQueue {
    /// Of a connection that is accepted: what the listener was told stays.
    pub(super) fn inherited(&self) -> Self {
        ErrorQueue {
            zero_copy: self.zero_copy,
            ..ErrorQueue::default()
        }
    }

    /// So many bytes found room.
    pub(super) fn wrote(&mut self, length: usize, zero_copy: bool) {
        self.written = self.written.saturating_add(length as u64);
        if zero_copy && self.zero_copy && length > 0 {
            self.waiting.push_back((self.written, self.next));
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Whether anything is to come.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes in that so many bytes are not acknowledged yet; whether that is news.
    pub(super) fn unacknowledged(&mut self, bytes: u32) -> bool {
        let acknowledged = self.written.saturating_sub(u64::from(bytes));
        let mut news = false;
        while let Some((end, number)) = self.waiting.front().copied() {
            if end > acknowledged {
                break;
            }
            self.waiting.pop_front();
            news = true;
            match self.done.back_mut() {
                Some((_, last)) if last.wrapping_add(1) == number => *last = number,
                _ => self.done.push_back((number, number)),
            }
        }
        news
    }

    /// Whether there is something to read (POLLERR).
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// The next notification as a control message (`ip_recv_error`, `ipv6_recv_error`).
    pub(super) fn take(&mut self, family: i32) -> Option<Vec<u8>> {
        let (first, last) = self.done.pop_front()?;
        let error = extended_error([0], [ORIGIN, 0, COPIED], [first, last]);
        Some(receive_error(family, error, None))
    }
}

/// `struct sock_extended_err`: errno; origin, type, code, padding; info, data.
fn extended_error(errno: [i32; 1], [origin, kind, code]: [u8; 3], numbers: [u32; 2]) -> Vec<u8> {
    let mut bytes = errno.map(i32::to_ne_bytes).concat();
    bytes.extend([origin, kind, code, 0]);
    bytes.extend(numbers.map(u32::to_ne_bytes).concat());
    bytes
}

/// IP_RECVERR or IPV6_RECVERR: the error, and behind it who offended (`SO_EE_OFFENDER`).
fn receive_error(family: i32, mut error: Vec<u8>, offender: Option<SocketAddress>) -> Vec<u8> {
    let (level, kind, length) = match family {
        libc::AF_INET6 => (libc::SOL_IPV6, libc::IPV6_RECVERR, ADDRESS.1),
        _ => (libc::SOL_IP, libc::IP_RECVERR, ADDRESS.0),
    };
    let mut address = offender.map_or(Vec::new(), |offender| told(offender, family));
    address.resize(length, 0);
    error.extend(address);
    control_message(level, kind, &error)
}

/// `struct cmsghdr`: length, level, type; then the data. Each message fills whole words.
pub(super) fn control_message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let length = size_of::<usize>() + 8 + data.len();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&level.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend(data);
    message.resize(message.len().next_multiple_of(size_of::<usize>()), 0);
    message
}

/// The control messages of what the host's queue has: the time first, where there is one (`__sock_recv_timestamp`).
fn control_messages(family: i32, error: &QueuedError) -> Vec<u8> {
    let mut messages = Vec::new();
    if let Some(time) = error.time {
        // struct scm_timestamping: three times, of which the first is the software's.
        let parts = [time.0 / 1_000_000_000, time.0 % 1_000_000_000, 0, 0, 0, 0];
        let data = parts.map(u64::to_ne_bytes).concat();
        messages = control_message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &data);
    }
    let errno = error.errno.map_or(libc::ENOMSG, errno);
    let (kind, code) = error.kind;
    let origin = [error.origin.number(), kind, code];
    let extended = extended_error([errno], origin, [error.info, error.data]);
    messages.extend(receive_error(family, extended, error.offender));
    messages
}

impl ModelWorld {
    /// recvmsg(2) with MSG_ERRQUEUE: errors and times from the host, and what MSG_ZEROCOPY tells.
    pub(super) fn read_error_queue(&mut self, fd: Fd, room: usize) -> Result<Outcome, i32> {
        let socket = self.files.socket_mut(fd)?;
        let (id, family) = (socket.id, socket.family);
        if let Some(control) = socket.error_queue.take(family) {
            return Ok(message(Vec::new(), Vec::new(), control, libc::MSG_ERRQUEUE));
        }
        let error = self.host.take_queued_error(id).ok_or(libc::EAGAIN)?;
        let control = control_messages(family, &error);
        let address = error
            .destination
            .map_or(Vec::new(), |address| told(address, family));
        let cut = error.payload.len() > room;
        let mut data = error.payload;
        data.truncate(room);
        let flags = if cut { libc::MSG_TRUNC } else { 0 };
        Ok(message(data, address, control, libc::MSG_ERRQUEUE | flags))
    }
}

fn message(data: Vec<u8>, address: Vec<u8>, control: Vec<u8>, flags: i32) -> Outcome {
    let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
    let output = Output::Message {
        data,
        address,
        control,
        flags,
    };
    Outcome::telling(length, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_that_follow_one_another_become_one() {
        let mut queue = ErrorQueue {
            zero_copy: true,
            ..ErrorQueue::default()
        };
        queue.wrote(100, true);
        queue.wrote(100, false);
        queue.wrote(100, true);
        queue.wrote(0, true);
        assert!(!queue.unacknowledged(201));
        assert!(queue.unacknowledged(200));
        assert!(queue.unacknowledged(0));
        assert!(!queue.waits());
        let message = queue.take(libc::AF_INET).unwrap();
        let messages = crate::call::control_messages(&message);
        let [(level, kind, data)] = messages.as_slice() else {
            panic!("{messages:?}");
        };
        assert_eq!(
            (*level, *kind, data.len()),
            (libc::SOL_IP, libc::IP_RECVERR, 32)
        );
        assert_eq!(data[8..16], [0, 0, 0, 0, 1, 0, 0, 0]);
        assert!(queue.is_empty());
    }
}
