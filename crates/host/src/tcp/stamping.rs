//! Times of transmissions for programs (SO_TIMESTAMPING; Documentation/networking/timestamping.rst): when the last byte of a write
//! reached the queueing discipline (SCHED), the driver (SND), and was acknowledged (ACK).

use std::collections::VecDeque;

use transect_config::SocketState;
use transect_packet::SequenceNumber;

use super::connection::Connection;
use super::segment::{Segment, after};
use crate::error_queue::{ErrorOrigin, QueuedError};
use crate::socket::{Errno, Event};
use crate::stack::Stack;

/// `SOF_TIMESTAMPING_*` (include/uapi/linux/net_tstamp.h), those that the model knows.
const TX_SOFTWARE: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;
const OPT_CMSG: u32 = 1 << 10;
const OPT_TSONLY: u32 = 1 << 11;
const OPT_ID_TCP: u32 = 1 << 16;
const ANY_TX: u32 = TX_SOFTWARE | TX_SCHED | TX_ACK;
/// What may be set; OPT_CMSG adds nothing to what a transmission tells.
const KNOWN: u32 = ANY_TX | SOFTWARE | OPT_ID | OPT_CMSG | OPT_TSONLY | OPT_ID_TCP;

/// Which time it is (`SCM_TSTAMP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Sent = 0,
    Scheduled = 1,
    Acknowledged = 2,
}

/// A byte whose times are asked for (`tx_flags` and `tskey` of its `sk_buff`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    key: SequenceNumber,
    flags: u32,
    /// Payload of the segment that carried it.
    length: u32,
}

/// What a connection keeps for it.
#[derive(Debug, Default)]
pub(super) struct Stamping {
    /// Where the numbers of bytes begin (`sk_tskey`).
    first: SequenceNumber,
    /// One for each segment at most, by sequence number.
    requests: VecDeque<Request>,
}

/// Whether the flags may be set on a socket in this state (`sock_set_timestamping`).
pub(super) fn check(flags: u32, current: u32, state: SocketState) -> Result<(), Errno> {
    if flags & !KNOWN != 0 || flags & OPT_ID_TCP != 0 && flags & OPT_ID == 0 {
        return Err(Errno::Einval);
    }
    let numbers = flags & OPT_ID != 0 && current & OPT_ID == 0;
    let unconnected = matches!(state, SocketState::Unconnected | SocketState::Listen);
    match numbers && unconnected {
        true => Err(Errno::Einval),
        false => Ok(()),
    }
}

impl Connection {
    /// SO_TIMESTAMPING was set; `before`: what it was. Bytes are counted from here on (`sock_set_timestamping`).
    pub(super) fn begin_stamping(&mut self, before: u32) {
        let flags = self.options.timestamping;
        let stamping = self.stamping.get_or_insert_default();
        if flags & OPT_ID != 0 && before & OPT_ID == 0 {
            stamping.first = match flags & OPT_ID_TCP != 0 {
                true => self.send_buffer.write_seq,
                false => self.sender.snd_una,
            };
        }
    }

    /// The last byte of a write is to be stamped (`tcp_tx_timestamp`). A segment has one such byte: the last.
    pub(super) fn stamp_written(&mut self) {
        let flags = self.options.timestamping & ANY_TX;
        if flags == 0 {
            return;
        }
        let tail = self.send_buffer.tail().or_else(|| self.sender.queue.tail());
        let Some(tail) = tail else {
            return;
        };
        // The option may be older than the connection: set before connect(2), or the listener's.
        let stamping = self.stamping.get_or_insert_default();
        let mut request = Request {
            key: self.send_buffer.write_seq - 1,
            flags,
            length: tail.len(),
        };
        while let Some(last) = stamping.requests.back()
            && !last.key.is_before(tail.seq)
        {
            request.flags |= last.flags;
            stamping.requests.pop_back();
        }
        stamping.requests.push_back(request);
    }

    /// A segment was handed down, and came so far (`__dev_queue_xmit`, `skb_tx_timestamp`).
    pub(super) fn stamp_transmission(
        &mut self,
        stack: &mut Stack,
        segment: &Segment,
        result: Result<(), Errno>,
    ) {
        let Some(stamping) = &mut self.stamping else {
            return;
        };
        let carried = |request: &&mut Request| {
            !request.key.is_before(segment.seq) && request.key.is_before(segment.end_seq)
        };
        let Some(request) = stamping.requests.iter_mut().find(carried) else {
            return;
        };
        request.length = segment.len();
        let request = *request;
        let whole = self.network_header() + self.header_length() + segment.len();
        let scheduled = matches!(result, Ok(()) | Err(Errno::Enobufs));
        if scheduled && request.flags & TX_SCHED != 0 {
            self.tell_stamp(stack, Stamp::Scheduled, request.key, whole);
        }
        if result.is_ok() && request.flags & TX_SOFTWARE != 0 {
            self.tell_stamp(stack, Stamp::Sent, request.key, whole);
        }
    }

    /// What the peer has acknowledged (`tcp_ack_tstamp`).
    pub(super) fn stamp_acknowledged(&mut self, stack: &mut Stack) {
        let una = self.sender.snd_una;
        while let Some(stamping) = &mut self.stamping
            && let Some(request) = stamping.requests.front().copied()
            && after(una, request.key)
        {
            stamping.requests.pop_front();
            if request.flags & TX_ACK != 0 {
                self.tell_stamp(stack, Stamp::Acknowledged, request.key, request.length);
            }
        }
    }

    /// Tells the program (`__skb_tstamp_tx`, `__skb_complete_tx_timestamp`).
    fn tell_stamp(&mut self, stack: &mut Stack, stamp: Stamp, key: SequenceNumber, length: u32) {
        let flags = self.options.timestamping;
        let Some(stamping) = &self.stamping else {
            return;
        };
        let number = key.offset_from(stamping.first).cast_unsigned();
        let length = if flags & OPT_TSONLY != 0 { 0 } else { length };
        let told = QueuedError {
            errno: None,
            origin: ErrorOrigin::Timestamping,
            kind: (0, 0),
            info: stamp as u32,
            data: if flags & OPT_ID != 0 { number } else { 0 },
            time: (flags & SOFTWARE != 0).then_some(stack.now),
            destination: None,
            offender: None,
            payload: vec![0; length as usize],
        };
        self.queue_error(stack, told);
    }

    /// Puts a message into the error queue (`sock_queue_err_skb`).
    pub(super) fn queue_error(&mut self, stack: &mut Stack, error: QueuedError) {
        let room = u64::from(self.receive.rcvbuf);
        if self.error_queue.push(error, room) {
            stack.events.push_back(Event::Failed(self.id));
        }
    }
}
