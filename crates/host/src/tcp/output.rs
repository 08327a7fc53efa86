//! Segments out (net/ipv4/tcp_output.c): the header, and handing to IP (`__tcp_transmit_skb`).

use transect_config::SocketState;
use transect_packet::{SackBlock, SequenceNumber, TcpFlags, TcpTimestamps};

use super::clock::Context;
use super::connection::Connection;
use super::incoming::HEADER;
use super::options::{OptionBytes, SynOptions};
use super::segment::Segment;
use crate::counters::{TcpCounter, TcpExtCounter};
use crate::ip::bytes::{fold, ones_sum, pseudo_header, put};
use crate::ip::{FlowHash, Outgoing, Route};
use crate::packet::{ChecksumState, Segmentation};
use crate::socket::{Errno, SocketAddress};
use crate::stack::Stack;

/// TCP's protocol number.
pub(super) const PROTOCOL: u8 = 6;
/// ECN-capable transport, ECT(0) (RFC 3168).
const ECT_0: u8 = 2;
/// The fixed part of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) from: SocketAddress,
    pub(super) to: SocketAddress,
    pub(super) seq: SequenceNumber,
    pub(super) ack: SequenceNumber,
    pub(super) flags: u8,
    pub(super) window: u16,
}

impl Header {
    /// Its bytes with the options behind it, and their length. The checksum field is 0.
    pub(super) fn write(&self, options: &OptionBytes) -> ([u8; 60], usize) {
        let options = options.as_slice();
        let length = (HEADER + options.len()).min(60);
        let mut bytes = [0; 60];
        put(&mut bytes, 0, &self.from.port.to_be_bytes());
        put(&mut bytes, 2, &self.to.port.to_be_bytes());
        put(&mut bytes, 4, &self.seq.0.to_be_bytes());
        put(&mut bytes, 8, &self.ack.0.to_be_bytes());
        put(&mut bytes, 12, &[(length as u8 / 4) << 4, self.flags]);
        put(&mut bytes, 14, &self.window.to_be_bytes());
        put(&mut bytes, HEADER, options);
        (bytes, length)
    }

    /// Fills in the pseudo header's sum, to be finished by the device (`__tcp_v4_send_check`, CHECKSUM_PARTIAL).
    pub(super) fn partial_checksum(&self, header: &mut [u8], length: usize) {
        let sum = pseudo_header(self.from.address, self.to.address, PROTOCOL, length);
        put(header, 16, &fold(sum).to_be_bytes());
    }

    /// Fills in the whole checksum of a segment without payload.
    pub(super) fn full_checksum(&self, header: &mut [u8]) {
        let sum = pseudo_header(self.from.address, self.to.address, PROTOCOL, header.len());
        let sum = !fold(ones_sum(sum, header));
        put(header, 16, &sum.to_be_bytes());
    }
}

/// How much one packet may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gso {
    pub(super) size: u32,
    pub(super) segments: u32,
}

/// TCP makes large packets whatever the device takes: what it does not segment is segmented before it (`sk_setup_caps`). They hold
/// 64 KiB less the room for headers (`sk_gso_max_size`), and `GSO_MAX_SEGS`.
pub(super) const GSO: Gso = Gso {
    size: 65_536 - 321,
    segments: 65_535,
};

impl Connection {
    /// The SACK blocks that the next segment has room for (`tcp_established_options`).
    pub(super) fn sack_blocks(&self) -> ([SackBlock; 4], usize) {
        if !self.sender.sack {
            return Default::default();
        }
        self.receive
            .sack_blocks(if self.timestamps.ok { 3 } else { 4 })
    }

    /// The sequence number for a segment that takes none: within the peer's window (`tcp_acceptable_seq`).
    pub(super) fn acceptable_seq(&self) -> SequenceNumber {
        let (next, end) = (self.sender.snd_nxt, self.sender.wnd_end());
        let beyond = next.offset_from(end);
        let within_scale =
            self.wscale_ok && i64::from(beyond) < 1_i64 << self.receive.rcv_wscale.min(14);
        if beyond <= 0 || within_scale {
            next
        } else {
            end
        }
    }

    /// The options of a segment.
    fn segment_options(&mut self, stack: &mut Stack, flags: u8) -> OptionBytes {
        let value = self.timestamp_value(stack);
        let timestamps = TcpTimestamps {
            value,
            echo: self.timestamps.recent,
        };
        if flags & TcpFlags::SYN == 0 {
            let (blocks, count) = self.sack_blocks();
            return OptionBytes::established(
                self.timestamps.ok.then_some(timestamps),
                blocks.get(..count).unwrap_or_default(),
            );
        }
        let settings = &stack.settings.tcp;
        let mss = match self.route {
            Some(route) => self.advertised_mss(&route),
            None => self.advmss,
        };
        // The SYN-ACK of a simultaneous open says what the SYN said (tcp_send_synack resends that very segment).
        let mut offered = SynOptions {
            mss: u16::try_from(mss).unwrap_or(u16::MAX),
            sack_permitted: settings.sack,
            timestamps: (settings.timestamps != 0).then_some(timestamps),
            window_scale: settings.window_scaling.then_some(self.receive.rcv_wscale),
            fast_open: None,
        };
        let written = OptionBytes::syn(&offered);
        offered.fast_open = self.fast_open_offer(written.room());
        match offered.fast_open {
            None => written,
            Some(_) => OptionBytes::syn(&offered),
        }
    }

    /// The window field, and ECN's bits (`tcp_select_window`, `tcp_ecn_send`); IP's TOS.
    fn window_and_ecn(&mut self, stack: &mut Stack, segment: &Segment) -> (u16, u8, u8) {
        let mut flags = segment.flags;
        let mut tos = self.options.tos & !3;
        if segment.pcount > 1 {
            // What stands for several segments is pushed, so that GRO at the receiver does not wait for more.
            flags |= TcpFlags::PSH;
        }
        if flags & TcpFlags::SYN != 0 {
            let window = u16::try_from(self.receive.rcv_wnd).unwrap_or(u16::MAX);
            return (window, flags, tos);
        }
        let window = self.receive.select_window(&mut Context::of(stack));
        if self.receive.take_clear_quick() {
            self.acks.stop_quick();
        }
        if self.ecn.ok {
            let new = segment.len() > 0 && !segment.seq.is_before(self.sender.snd_nxt);
            if new {
                tos |= ECT_0;
                if std::mem::take(&mut self.ecn.queue_cwr) {
                    flags |= TcpFlags::CWR;
                }
            }
            if self.ecn.demand_cwr {
                flags |= TcpFlags::ECE;
            }
        }
        (window, flags, tos)
    }

    /// Hands a segment to IP (`__tcp_transmit_skb`). An error is what the layers below said: EPERM of a rule, ENOBUFS of a queue, or
    /// that there is no route.
    pub(super) fn transmit(&mut self, stack: &mut Stack, segment: &Segment) -> Result<(), Errno> {
        let route = self.route(stack).map_err(|_| Errno::Ehostunreach)?;
        let options = self.segment_options(stack, segment.flags);
        let (window, flags, tos) = self.window_and_ecn(stack, segment);
        let header = Header {
            from: self.local,
            to: self.peer,
            seq: segment.seq,
            ack: if flags & TcpFlags::ACK == 0 {
                SequenceNumber(0)
            } else {
                self.receive.rcv_nxt
            },
            flags,
            window,
        };
        let (mut bytes, length) = header.write(&options);
        let payload = segment.len() as usize;
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        if let Some(pointer) = self.urgent.pointer(segment, self.sender.snd_nxt) {
            put(bytes, 13, &[flags | TcpFlags::URG]);
            put(bytes, 18, &pointer.to_be_bytes());
        }
        header.partial_checksum(bytes, length + payload);
        self.count_transmission(stack, segment, flags);
        let result = self.hand_down(stack, segment, (bytes, tos), &route);
        self.stamp_transmission(stack, segment, result);
        if result == Err(Errno::Enobufs) {
            // NET_XMIT_DROP: the local queue is congested.
            self.sender.enter_cwr(&mut Context::of(stack));
        }
        result
    }

    /// What changes with every attempt to send (`tcp_event_ack_sent`, `tcp_event_data_sent`).
    fn count_transmission(&mut self, stack: &mut Stack, segment: &Segment, flags: u8) {
        let clock = Self::clock(stack);
        if flags & TcpFlags::ACK != 0 {
            let spared = self.acks.sent(&clock);
            stack
                .counters
                .tcp_ext
                .add(TcpExtCounter::TCPAckCompressed, u64::from(spared));
            self.receive.acknowledged();
        }
        if segment.len() > 0 {
            let quiet = clock.jiffies().saturating_sub(self.acks.received_at);
            if quiet < self.acks.ato {
                self.acks.answered();
            }
        }
        let new = self.sender.snd_nxt.is_before(segment.end_seq);
        let count = u64::from(segment.pcount.max(1));
        if new || segment.end_seq == segment.seq {
            stack.counters.tcp.add(TcpCounter::OutSegs, count);
        }
        self.segs_out = self.segs_out.wrapping_add(count as u32);
    }

    fn hand_down(
        &mut self,
        stack: &mut Stack,
        segment: &Segment,
        (header, tos): (&[u8], u8),
        route: &Route,
    ) -> Result<(), Errno> {
        let length = segment.len();
        let (first, second) = self.send_buffer.payload(segment.payload_seq(), length);
        let count = segment.pcount.max(1);
        let identification = self.identification;
        self.identification = identification.wrapping_add(count);
        let bytes = 14 + self.network_header() as usize + header.len() + length as usize;
        let gso = self.options.dont_fragment(route.mtu_locked);
        let out = Outgoing {
            source: self.local.address,
            destination: self.peer.address,
            protocol: PROTOCOL,
            ttl: self.options.ttl,
            tos,
            flow_hash: FlowHash::of(self.flow_hash),
            identification: Some(identification),
            dont_fragment: gso,
            may_fragment: !gso,
            mark: self.options.mark,
            priority: self.options.priority,
            header,
            payload: [first, second],
            checksum: ChecksumState::Partial,
            segmentation: (count > 1 && segment.gso_size > 0).then_some(Segmentation {
                size: segment.gso_size,
                segments: count,
            }),
            owner: Some(self.id),
            route,
        };
        let result = stack.ip_output(&out);
        self.below += bytes as u64;
        result
    }

    /// A pure ACK (`tcp_send_ack`).
    pub(super) fn send_ack(&mut self, stack: &mut Stack) {
        if self.state == SocketState::Unconnected {
            return;
        }
        let segment = Segment::control(self.acceptable_seq(), TcpFlags::ACK);
        // An ACK that is lost is no error: the next one says the same.
        let _ = self.transmit(stack, &segment);
    }

    /// A reset of our own accord (`tcp_send_active_reset`).
    pub(super) fn send_active_reset(&mut self, stack: &mut Stack) {
        stack.counters.tcp.count(TcpCounter::OutRsts);
        let segment = Segment::control(self.acceptable_seq(), TcpFlags::ACK | TcpFlags::RST);
        if self.transmit(stack, &segment).is_err() {
            self.count(stack, TcpExtCounter::TCPAbortFailed);
        }
    }

    /// A segment that makes the peer answer: one before what it acknowledged (`tcp_xmit_probe_skb`).
    pub(super) fn send_probe(
        &mut self,
        stack: &mut Stack,
        counter: TcpExtCounter,
    ) -> Result<(), Errno> {
        let segment = Segment::control(self.sender.snd_una - 1, TcpFlags::ACK);
        self.count(stack, counter);
        self.transmit(stack, &segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_header_has_its_fields_in_place_and_its_checksum_holds() {
        let header = Header {
            from: SocketAddress::new(Ipv4Addr::new(192, 0, 2, 1), 80),
            to: SocketAddress::new(Ipv4Addr::new(192, 0, 2, 2), 40_000),
            seq: SequenceNumber(0x0102_0304),
            ack: SequenceNumber(0x0506_0708),
            flags: TcpFlags::RST | TcpFlags::ACK,
            window: 0,
        };
        let (mut bytes, length) = header.write(&OptionBytes::default());
        let bytes = &mut bytes[..length];
        header.full_checksum(bytes);
        assert_eq!(bytes[..4], [0, 80, 0x9c, 0x40]);
        assert_eq!(bytes[4..12], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[12..14], [0x50, 0x14]);
        let sum = pseudo_header(header.from.address, header.to.address, PROTOCOL, 20);
        assert_eq!(fold(ones_sum(sum, bytes)), 0xffff);
    }
}
