//! What a socket is told beside its data: ICMP errors and time stamps (`sk_error_queue`; recvmsg(2) with MSG_ERRQUEUE, ip(7)).

use std::collections::VecDeque;

use transect_path::Timestamp;

use crate::host::Host;
use crate::socket::{Errno, SocketAddress, SocketId};

/// Who found the error (`SO_EE_ORIGIN_*`, include/uapi/linux/errqueue.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This host: a datagram that is too long (`SO_EE_ORIGIN_LOCAL`).
    Local,
    /// An ICMP message (`SO_EE_ORIGIN_ICMP`).
    Icmp,
    /// An ICMPv6 message (`SO_EE_ORIGIN_ICMP6`).
    Icmp6,
    /// No error: the time of a transmission (`SO_EE_ORIGIN_TIMESTAMPING`).
    Timestamping,
}

impl ErrorOrigin {
    /// The number in `ee_origin`.
    pub fn number(self) -> u8 {
        match self {
            ErrorOrigin::Local => 1,
            ErrorOrigin::Icmp => 2,
            ErrorOrigin::Icmp6 => 3,
            ErrorOrigin::Timestamping => 4,
        }
    }

    /// `is_icmp_err_skb`
    fn is_icmp(self) -> bool {
        matches!(self, ErrorOrigin::Icmp | ErrorOrigin::Icmp6)
    }
}

/// One message of an error queue (`struct sock_exterr_skb`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedError {
    /// `ee_errno`; nothing stands for ENOMSG: a time stamp.
    pub errno: Option<Errno>,
    /// `ee_origin`
    pub origin: ErrorOrigin,
    /// ICMP's type and code (`ee_type`, `ee_code`).
    pub kind: (u8, u8),
    /// `ee_info`: the path's MTU, or which time stamp (`SCM_TSTAMP_*`).
    pub info: u32,
    /// `ee_data`: which byte was stamped (SOF_TIMESTAMPING_OPT_ID).
    pub data: u32,
    /// When (SCM_TIMESTAMPING), where the program asked to be told.
    pub time: Option<Timestamp>,
    /// Where the packet was going (`msg_name`).
    pub destination: Option<SocketAddress>,
    /// Who sent the ICMP message (`SO_EE_OFFENDER`).
    pub offender: Option<SocketAddress>,
    /// What is read: the payload that the message quotes. Of a stamped packet only the length counts: the bytes are zeros.
    pub payload: Vec<u8>,
}

/// What an entry costs beside its payload, in bytes: a `struct sk_buff` and a small head.
const OVERHEAD: u64 = 768;

/// The error queue of one socket.
#[derive(Debug, Default)]
pub(crate) struct ErrorQueue {
    entries: VecDeque<QueuedError>,
    held: u64,
}

impl ErrorQueue {
    /// Appends, unless the receive buffer is full (`sock_queue_err_skb`); whether it did.
    pub(crate) fn push(&mut self, error: QueuedError, receive_buffer: u64) -> bool {
        let cost = OVERHEAD.saturating_add(error.payload.len() as u64);
        if self.held.saturating_add(cost) >= receive_buffer {
            return false;
        }
        self.held = self.held.saturating_add(cost);
        self.entries.push_back(error);
        true
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next message; `error` (`sk_err`) becomes that of the ICMP error behind it, or is cleared with the last one
    /// (`sock_dequeue_err_skb`).
    pub(crate) fn take(&mut self, error: &mut Option<Errno>) -> Option<QueuedError> {
        let taken = self.entries.pop_front()?;
        let cost = OVERHEAD.saturating_add(taken.payload.len() as u64);
        self.held = self.held.saturating_sub(cost);
        match self.entries.front().filter(|next| next.origin.is_icmp()) {
            Some(next) => *error = next.errno,
            None if taken.origin.is_icmp() => *error = None,
            None => {}
        }
        Some(taken)
    }
}

impl Host {
    /// The next message of a socket's error queue (recvmsg(2) with MSG_ERRQUEUE); nothing: EAGAIN.
    pub fn take_queued_error(&mut self, socket: SocketId) -> Option<QueuedError> {
        if self.tcp.owns(socket) {
            self.tcp.take_queued_error(socket)
        } else {
            self.transport.take_queued_error(socket)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(errno: Option<Errno>, origin: ErrorOrigin) -> QueuedError {
        QueuedError {
            errno,
            origin,
            kind: (3, 3),
            info: 0,
            data: 0,
            time: None,
            destination: None,
            offender: None,
            payload: vec![0; 100],
        }
    }

    #[test]
    fn the_sockets_error_is_that_of_the_next_icmp_message() {
        let mut queue = ErrorQueue::default();
        assert!(queue.push(entry(Some(Errno::Econnrefused), ErrorOrigin::Icmp), 3000));
        assert!(queue.push(entry(Some(Errno::Ehostunreach), ErrorOrigin::Icmp), 3000));
        assert!(queue.push(entry(None, ErrorOrigin::Timestamping), 3000));
        assert!(!queue.push(entry(None, ErrorOrigin::Timestamping), 3000));
        let mut error = Some(Errno::Ehostunreach);
        assert!(queue.take(&mut error).is_some());
        assert_eq!(error, Some(Errno::Ehostunreach));
        assert!(queue.take(&mut error).is_some());
        assert_eq!(error, None);
        error = Some(Errno::Econnreset);
        assert!(queue.take(&mut error).is_some());
        assert_eq!(error, Some(Errno::Econnreset));
        assert!(queue.is_empty() && queue.take(&mut error).is_none());
        assert_eq!(queue.held, 0);
    }
}
