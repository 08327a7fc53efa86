//! Receive buffers of datagram sockets: accounting, overflow, reading (`__udp_enqueue_schedule_skb`, `sock_queue_rcv_skb_reason`,
//! `udp_recvmsg`).

use transect_packet::protocol;
use transect_path::Point;

use crate::counters::UdpCounter;
use crate::drop_reason::DropReason;
use crate::ip::Received;
use crate::ip::bytes::{addresses, fold, ones_sum, pseudo_header};
use crate::packet::Packet;
use crate::socket::{Errno, Event, SocketAddress, SocketId, SocketKind};
use crate::stack::Stack;
use crate::transport::memory::{truesize, written};
use crate::transport::{Datagram, Socket, Transport};

/// What a socket's queue may hold, whatever its buffer: small datagrams could be millions.
const MOST_DATAGRAMS: usize = 1 << 20;

/// A datagram on its way into a socket.
pub(super) struct Arrival {
    pub(super) packet: Packet,
    pub(super) from: SocketAddress,
    /// What the program is given, counted from the network header.
    pub(super) start: usize,
    pub(super) unverified: bool,
}

impl Socket {
    /// Puts a datagram into the receive buffer. Back comes what finds no room.
    pub(super) fn enqueue(&mut self, stack: &mut Stack, arrival: Arrival) -> Option<Packet> {
        let Arrival {
            mut packet,
            from,
            start,
            unverified,
        } = arrival;
        let version = packet.version().unwrap_or(self.version);
        let cost = match packet.in_device {
            Some(device) if stack.is_tun(device) => u64::from(written(packet.len()).truesize),
            _ => truesize(packet.len(), version),
        };
        let buffer = u64::from(self.receive_buffer);
        stack.enter(&mut packet, Point::ReceiveBuffer);
        let full = match self.kind {
            // An empty queue takes one datagram of any size.
            SocketKind::Udp => self.received > 0 && self.received + cost > buffer,
            _ => self.received >= buffer,
        };
        if full || self.queue.len() >= MOST_DATAGRAMS {
            self.drops += 1;
            return Some(packet);
        }
        self.received += cost;
        self.queue.push_back(Datagram {
            from: self.shown(from),
            packet,
            start,
            cost,
            unverified,
        });
        stack.events.push_back(Event::Readable(self.id));
        None
    }
}

impl Transport {
    /// `recvfrom(2)`: how many bytes of the next datagram found room in the buffer, and from whom it is. The rest of it is gone.
    pub(crate) fn receive_from(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddress), Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        while let Some(datagram) = socket.queue.pop_front() {
            socket.received = socket.received.saturating_sub(datagram.cost);
            let mut packet = datagram.packet;
            let version = packet.version().unwrap_or(socket.version);
            if datagram.unverified && !checksum_ok(&packet, datagram.start) {
                let udp = stack.counters.udp(version);
                udp.count(UdpCounter::InCsumErrors);
                udp.count(UdpCounter::InErrors);
                socket.drops += 1;
                stack.drop_packet(packet, Point::AppReceive, DropReason::UdpCsum);
                continue;
            }
            if socket.kind == SocketKind::Udp {
                stack.counters.udp(version).count(UdpCounter::InDatagrams);
            }
            stack.cross(&mut packet, Point::ReceiveBuffer, Point::AppReceive);
            stack.leave(&mut packet, Point::AppReceive);
            let bytes = packet.network().get(datagram.start..).unwrap_or_default();
            let length = bytes.len().min(buffer.len());
            if let (Some(room), Some(bytes)) = (buffer.get_mut(..length), bytes.get(..length)) {
                room.copy_from_slice(bytes);
            }
            packet.consume();
            return Ok((length, datagram.from));
        }
        Err(Errno::Eagain)
    }
}

/// UDP's checksum of a datagram that was queued without a look at it; `start` is where its payload begins.
fn checksum_ok(packet: &Packet, start: usize) -> bool {
    let network = packet.network();
    let (source, destination) = addresses(network);
    let segment = network.get(start.saturating_sub(8)..).unwrap_or_default();
    let pseudo = pseudo_header(source, destination, protocol::UDP, segment.len());
    fold(ones_sum(pseudo, segment)) == 0xffff
}

impl Received {
    /// Source and port, as a program is told.
    pub(super) fn sender(&self, port: u16) -> SocketAddress {
        SocketAddress::new(self.source, port)
    }
}
