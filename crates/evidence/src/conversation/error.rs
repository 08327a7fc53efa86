//! ICMP errors, kept with the conversation that they are about.

use std::net::IpAddr;

use transect_packet::{IcmpMessage, IcmpVersion, IpHeader, SequenceNumber};
use transect_path::{Direction, Timestamp};

use super::chunks::NONE;
use super::record::Books;

/// So many different errors (by kind, reporter, tap) are kept for one conversation.
const LIMIT: usize = 64;

/// Errors of one kind from one reporter at one tap.
#[derive(Debug, Clone)]
pub(super) struct ErrorRecord {
    pub(super) tap: u16,
    pub(super) version: IcmpVersion,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) mtu: Option<u32>,
    pub(super) reporter: IpAddr,
    pub(super) receiver: IpAddr,
    pub(super) direction: Direction,
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) sequence: Option<SequenceNumber>,
    pub(super) next: u32,
}

impl ErrorRecord {
    pub(super) fn new(
        tap: u16,
        time: Timestamp,
        ip: &IpHeader,
        message: &IcmpMessage,
        direction: Direction,
    ) -> Self {
        ErrorRecord {
            tap,
            version: message.version,
            kind: message.kind,
            code: message.code,
            mtu: message.mtu,
            reporter: ip.source,
            receiver: ip.destination,
            direction,
            count: 1,
            first: time,
            last: time,
            sequence: message.quoted.and_then(|quoted| quoted.sequence),
            next: NONE,
        }
    }

    fn is_like(&self, other: &ErrorRecord) -> bool {
        self.tap == other.tap
            && self.version == other.version
            && (self.kind, self.code, self.mtu) == (other.kind, other.code, other.mtu)
            && (self.reporter, self.receiver) == (other.reporter, other.receiver)
            && self.direction == other.direction
    }
}

impl Books {
    /// Adds an error to a conversation, or counts it with its like.
    pub(super) fn add_error(&mut self, conversation: u32, error: ErrorRecord) {
        let Some(record) = self.conversations.get(conversation) else {
            return;
        };
        let (mut at, mut last, mut length) = (record.errors, NONE, 0);
        while let Some(known) = self.errors.get_mut(at) {
            if known.is_like(&error) {
                known.count += 1;
                known.last = known.last.max(error.last);
                known.first = known.first.min(error.first);
                return;
            }
            (last, at, length) = (at, known.next, length + 1);
        }
        if length >= LIMIT {
            return;
        }
        let Some(new) = self.errors.push(error) else {
            return;
        };
        if let Some(last) = self.errors.get_mut(last) {
            last.next = new;
        } else if let Some(record) = self.conversations.get_mut(conversation) {
            record.errors = new;
        }
    }
}
