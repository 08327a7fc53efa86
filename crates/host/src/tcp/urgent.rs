//! Urgent data (`tcp_check_urg`, `tcp_urg`, `tcp_recv_urg`, `tcp_mark_urg`; RFC 9293 section 3.8.5, RFC 6093): one byte that the
//! pointer names, taken out of the stream unless the program wants it there.

use transect_packet::{SequenceNumber, TcpFlags};

use super::connection::Connection;
use super::incoming::Incoming;
use super::segment::{Segment, after};
use super::{Socket, Tcp};
use crate::host::Host;
use crate::socket::{Errno, SocketId};
use crate::stack::Stack;
use transect_path::Timestamp;

/// The byte (`urg_data`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum UrgentByte {
    /// Nobody has spoken of one.
    #[default]
    None,
    /// The pointer is known, the byte has not come (`TCP_URG_NOTYET`).
    Awaited,
    /// It is here (`TCP_URG_VALID`).
    Here(u8),
    /// The program has it (`TCP_URG_READ`).
    Taken,
}

/// What a connection knows of urgent data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Urgent {
    byte: UrgentByte,
    /// Where it is in the stream (`urg_seq`).
    seq: SequenceNumber,
    /// Behind the last urgent byte that was written (`snd_up`); nothing once it is acknowledged.
    sent_up: Option<SequenceNumber>,
}

impl Urgent {
    /// The mark lies ahead, or the reader stands at it.
    pub(super) fn is_marked(&self) -> bool {
        self.byte != UrgentByte::None
    }

    /// The byte can be read (POLLPRI).
    pub(super) fn is_here(&self) -> bool {
        matches!(self.byte, UrgentByte::Here(_))
    }

    /// What is written from now on is behind the mark (`tcp_mark_urg`).
    pub(super) fn mark_sent(&mut self, write_seq: SequenceNumber) {
        self.sent_up = Some(write_seq);
    }

    /// There is urgent data that is not acknowledged (`tcp_urg_mode`).
    pub(super) fn is_sending(&self) -> bool {
        self.sent_up.is_some()
    }

    /// Everything before `una` is acknowledged.
    pub(super) fn acknowledged(&mut self, una: SequenceNumber) {
        self.sent_up = self.sent_up.filter(|up| after(*up, una));
    }

    /// The pointer for a segment, where it has to have one (`__tcp_transmit_skb`).
    pub(super) fn pointer(&self, segment: &Segment, snd_nxt: SequenceNumber) -> Option<u16> {
        let up = self.sent_up.filter(|up| after(*up, segment.seq))?;
        match u16::try_from(up.offset_from(segment.seq)) {
            Ok(pointer) => Some(pointer),
            Err(_) => after(segment.seq + 0xffff, snd_nxt).then_some(u16::MAX),
        }
    }
}

impl Connection {
    /// Whether the reader stands at the mark (SIOCATMARK).
    pub(super) fn is_at_mark(&self) -> bool {
        self.urgent.is_marked() && self.urgent.seq == self.receive.copied_seq
    }

    /// Bytes up to the mark, where reading stops; nothing where there is none ahead (`tcp_inq`).
    pub(super) fn before_mark(&self) -> Option<usize> {
        if !self.urgent.is_marked() {
            return None;
        }
        let ahead = self.urgent.seq.offset_from(self.receive.copied_seq);
        usize::try_from(ahead).ok().filter(|ahead| *ahead > 0)
    }

    /// The reader stands at the mark, and the byte is not its business.
    pub(super) fn steps_over_mark(&self) -> bool {
        self.is_at_mark() && !self.options.urgent_inline
    }

    /// The reader is beyond the mark: it is forgotten.
    pub(super) fn pass_mark(&mut self) {
        if self.urgent.is_marked() && after(self.receive.copied_seq, self.urgent.seq) {
            self.urgent.byte = UrgentByte::None;
        }
    }

    /// Looks for urgent data in a segment (`tcp_urg`).
    pub(super) fn receive_urgent(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) {
        if segment.flags.0 & TcpFlags::URG != 0 {
            self.note_pointer(stack, segment);
        }
        if self.urgent.byte != UrgentByte::Awaited {
            return;
        }
        let first = segment.seq + u32::from(segment.flags.syn());
        let byte = usize::try_from(self.urgent.seq.offset_from(first))
            .ok()
            .and_then(|place| payload.get(place));
        if let Some(byte) = byte {
            self.urgent.byte = UrgentByte::Here(*byte);
            self.data_ready(stack);
        }
    }

    /// A pointer that is newer than what is known (`tcp_check_urg`).
    fn note_pointer(&mut self, stack: &mut Stack, segment: &Incoming) {
        // It names the byte behind the urgent one, as all the world understands it; RFC 1122 wanted it to name the byte itself.
        let strict = stack.settings.number("net.ipv4.tcp_stdurg") != 0;
        let pointer = u32::from(segment.urgent);
        let pointer = segment.seq + pointer.saturating_sub(u32::from(!strict));
        let read = after(self.receive.copied_seq, pointer);
        let known = self.urgent.is_marked() && !after(pointer, self.urgent.seq);
        if read || pointer.is_before(self.receive.rcv_nxt) || known {
            return;
        }
        // The byte before was not read, and a new one comes: it is lost, as ever.
        if self.steps_over_mark() && self.receive.readable() > 0 {
            self.skip_urgent(stack);
        }
        self.urgent.byte = UrgentByte::Awaited;
        self.urgent.seq = pointer;
        self.fast_path = false;
    }

    /// Takes the byte at the mark out of the stream.
    pub(super) fn skip_urgent(&mut self, stack: &mut Stack) {
        let mut byte = [0];
        self.receive
            .read(&mut super::clock::Context::of(stack), &mut byte);
    }

    /// `tcp_recv_urg`; nothing at the end of the stream.
    fn take_urgent(&mut self, peek: bool) -> Result<Option<u8>, Errno> {
        use transect_config::SocketState;
        let closed = self.state == SocketState::Unconnected;
        match self.urgent.byte {
            _ if self.options.urgent_inline => Err(Errno::Einval),
            UrgentByte::None | UrgentByte::Taken => Err(Errno::Einval),
            _ if closed && !self.fin_received => Err(Errno::Enotconn),
            UrgentByte::Here(byte) => {
                if !peek {
                    self.urgent.byte = UrgentByte::Taken;
                }
                Ok(Some(byte))
            }
            UrgentByte::Awaited if closed || self.shut_read || self.fin_received => Ok(None),
            UrgentByte::Awaited => Err(Errno::Eagain),
        }
    }
}

impl Tcp {
    /// `recv(2)` with MSG_OOB.
    pub(crate) fn receive_urgent(&mut self, id: SocketId, peek: bool) -> Result<Option<u8>, Errno> {
        match self.sockets.get_mut(&id) {
            Some(Socket::Connection(connection)) => connection.take_urgent(peek),
            Some(_) => Err(Errno::Enotconn),
            None => Err(Errno::Ebadf),
        }
    }
}

impl Host {
    /// `recv(2)` with MSG_OOB on a TCP socket: the urgent byte; nothing at the end of the stream. With `peek` it stays.
    ///
    /// # Errors
    /// EINVAL where there is none, or it stays in the stream (SO_OOBINLINE); EAGAIN where it has been announced and not come;
    /// ENOTCONN, EBADF.
    pub fn receive_urgent(
        &mut self,
        now: Timestamp,
        socket: SocketId,
        peek: bool,
    ) -> Result<Option<u8>, Errno> {
        self.begin(now);
        self.tcp.receive_urgent(socket, peek)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_has_sixteen_bits() {
        let mut urgent = Urgent::default();
        let segment = |seq| Segment::control(SequenceNumber(seq), TcpFlags::ACK);
        let next = SequenceNumber(80_000);
        assert_eq!(urgent.pointer(&segment(0), next), None);
        urgent.mark_sent(SequenceNumber(70_000));
        // Too far ahead to say, while more is sent; then as far as can be said.
        assert_eq!(urgent.pointer(&segment(0), next), None);
        assert_eq!(
            urgent.pointer(&segment(0), SequenceNumber(60_000)),
            Some(0xffff)
        );
        assert_eq!(urgent.pointer(&segment(69_900), next), Some(100));
        assert_eq!(urgent.pointer(&segment(70_000), next), None);
        urgent.acknowledged(SequenceNumber(69_999));
        assert!(urgent.is_sending());
        urgent.acknowledged(SequenceNumber(70_000));
        assert!(!urgent.is_sending());
    }
}
