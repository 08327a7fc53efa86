//! Answers that belong to no connection (`tcp_v4_send_reset`, `tcp_v4_send_ack`): resets, and ACKs of handshakes and remainders.

use std::num::NonZeroU32;

use transect_config::IpVersion;
use transect_packet::{SequenceNumber, TcpFlags, TcpTimestamps};

use super::Tcp;
use super::connection::Connection;
use super::incoming::Incoming;
use super::listener::{Listener, Request};
use super::options::OptionBytes;
use super::output::{Header, PROTOCOL};
use super::socket_options::SocketOptions;
use crate::counters::{IpCounter, TcpCounter};
use crate::device::DeviceId;
use crate::ip::{FlowHash, Outgoing, RouteKey};
use crate::packet::ChecksumState;
use crate::socket::Errno;
use crate::stack::Stack;

/// What a socket that stands behind an answer says of its packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answer {
    /// SO_MARK.
    pub(super) mark: u32,
    /// SO_PRIORITY.
    pub(super) priority: u32,
    /// SO_BINDTODEVICE.
    pub(super) device: Option<DeviceId>,
    /// The TOS; nothing: as the packet had it.
    pub(super) tos: Option<u8>,
    /// What its flow label is made from; nothing: the flow itself.
    pub(super) flow_hash: Option<NonZeroU32>,
}

impl Tcp {
    /// A reset in answer to a segment; never to a reset.
    pub(super) fn send_reset(&mut self, stack: &mut Stack, segment: &Incoming, answer: &Answer) {
        if segment.flags.rst() || segment.received.group {
            return;
        }
        let (seq, ack, flags) = if segment.flags.ack() {
            (segment.ack, SequenceNumber(0), TcpFlags::RST)
        } else {
            (
                SequenceNumber(0),
                segment.end_seq,
                TcpFlags::RST | TcpFlags::ACK,
            )
        };
        let header = Header {
            from: segment.local,
            to: segment.peer,
            seq,
            ack,
            flags,
            window: 0,
        };
        if reply(stack, segment, &header, &OptionBytes::default(), answer) {
            stack.counters.tcp.count(TcpCounter::OutSegs);
            stack.counters.tcp.count(TcpCounter::OutRsts);
        }
    }
}

/// An ACK that is no connection's (`tcp_v4_send_ack`).
pub(super) fn send_ack(
    stack: &mut Stack,
    segment: &Incoming,
    (seq, ack, window): (SequenceNumber, SequenceNumber, u16),
    timestamps: Option<TcpTimestamps>,
    answer: &Answer,
) {
    let header = Header {
        from: segment.local,
        to: segment.peer,
        seq,
        ack,
        flags: TcpFlags::ACK,
        window,
    };
    let options = OptionBytes::established(timestamps, &[]);
    if reply(stack, segment, &header, &options, answer) {
        stack.counters.tcp.count(TcpCounter::OutSegs);
    }
}

/// A handshake's ACK for what was out of its window (`tcp_v4_reqsk_send_ack`).
pub(super) fn send_ack_for_request(
    stack: &mut Stack,
    listener: &Listener,
    request: &Request,
    segment: &Incoming,
) {
    acknowledge_request(
        stack,
        &listener.options,
        request,
        request.snt_isn + 1,
        segment,
    );
}

/// … of a child that fast open made: with the number that it sends next.
pub(super) fn send_ack_for_child(
    stack: &mut Stack,
    options: &SocketOptions,
    request: &Request,
    seq: SequenceNumber,
    segment: &Incoming,
) {
    acknowledge_request(stack, options, request, seq, segment);
}

fn acknowledge_request(
    stack: &mut Stack,
    options: &SocketOptions,
    request: &Request,
    seq: SequenceNumber,
    segment: &Incoming,
) {
    let timestamps = request.timestamps.then(|| TcpTimestamps {
        value: Connection::clock(stack)
            .ms()
            .wrapping_add(request.ts_offset),
        echo: request.ts_recent,
    });
    let window = request.rcv_wnd >> request.rcv_wscale;
    let window = u16::try_from(window).unwrap_or(u16::MAX);
    let answer = Answer {
        mark: options.mark,
        priority: options.priority,
        device: options.device,
        tos: Some(options.tos),
        flow_hash: request.flow_hash,
    };
    send_ack(
        stack,
        segment,
        (seq, request.rcv_nxt, window),
        timestamps,
        &answer,
    );
}

/// Sends a segment without payload back where another came from (`ip_send_unicast_reply`, `tcp_v6_send_response`); whether it
/// counts as sent. Over IPv4 that is said before there is a route, over IPv6 behind it.
fn reply(
    stack: &mut Stack,
    segment: &Incoming,
    header: &Header,
    options: &OptionBytes,
    answer: &Answer,
) -> bool {
    let (mut bytes, length) = header.write(options);
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    let checksum = if header.to.address.is_ipv6() {
        header.partial_checksum(bytes, length);
        ChecksumState::Partial
    } else {
        header.full_checksum(bytes);
        ChecksumState::None
    };
    let tos = answer.tos.unwrap_or(segment.received.tos) & !3;
    let key = RouteKey {
        destination: header.to.address,
        source: Some(header.from.address),
        device: answer.device,
        mark: answer.mark,
        tos,
    };
    let v6 = header.to.address.is_ipv6();
    let route = match stack.route(&key) {
        Ok(route) => route,
        Err(errno) => {
            if v6 && errno == Errno::Enetunreach {
                stack.count_ip(IpVersion::V6, IpCounter::OutNoRoutes);
            }
            return !v6;
        }
    };
    let sent = stack.ip_output(&Outgoing {
        source: header.from.address,
        destination: header.to.address,
        protocol: PROTOCOL,
        ttl: None,
        tos,
        flow_hash: FlowHash::of(answer.flow_hash),
        identification: None,
        dont_fragment: true,
        may_fragment: false,
        mark: answer.mark,
        priority: answer.priority,
        header: bytes,
        payload: [&[], &[]],
        checksum,
        segmentation: None,
        owner: None,
        route: &route,
    });
    if sent.is_err() && !v6 {
        // `ip_send_skb`
        stack.count_ip(IpVersion::V4, IpCounter::OutDiscards);
    }
    true
}
