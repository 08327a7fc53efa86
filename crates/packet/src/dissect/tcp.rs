//! TCP headers (RFC 9293) and the options that matter (RFC 7323, RFC 2018).

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use super::{u16_at, u32_at};

/// A TCP sequence number: 32 bits that wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SequenceNumber(pub u32);

impl SequenceNumber {
    /// How far it lies behind `origin` (negative: before it), on the shorter way around.
    pub const fn offset_from(self, origin: SequenceNumber) -> i32 {
        self.0.wrapping_sub(origin.0).cast_signed()
    }

    /// Whether it comes before `other` (RFC 9293 section 3.4).
    pub const fn is_before(self, other: SequenceNumber) -> bool {
        self.offset_from(other) < 0
    }
}

impl Add<u32> for SequenceNumber {
    type Output = SequenceNumber;

    fn add(self, bytes: u32) -> SequenceNumber {
        SequenceNumber(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SequenceNumber {
    type Output = SequenceNumber;

    fn sub(self, bytes: u32) -> SequenceNumber {
        SequenceNumber(self.0.wrapping_sub(bytes))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A TCP header's control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE.
    pub const ECE: u8 = 0x40;
    /// CWR.
    pub const CWR: u8 = 0x80;

    /// FIN is set.
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// SYN is set.
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// RST is set.
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// PSH is set.
    pub const fn psh(self) -> bool {
        self.0 & Self::PSH != 0
    }

    /// ACK is set.
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// As tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`, `.`; `none` when no bit is set.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [(u8, &str); 8] = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
            (TcpFlags::URG, "U"),
            (TcpFlags::ECE, "E"),
            (TcpFlags::CWR, "W"),
        ];
        if self.0 == 0 {
            return f.write_str("none");
        }
        LETTERS
            .iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHeader<'a> {
    /// Where it comes from.
    pub source_port: u16,
    /// Where it goes to.
    pub destination_port: u16,
    /// The first byte's sequence number (of the SYN, when it is set).
    pub sequence: SequenceNumber,
    /// The next byte expected from the peer; means something only with ACK.
    pub acknowledgment: SequenceNumber,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window as it stands in the header, unscaled.
    pub window: u16,
    /// Bytes of payload, from the IP header's length, not from what was captured.
    pub payload_length: u32,
    /// The options as they stand in the header, as far as they were captured.
    pub option_bytes: &'a [u8],
}

impl TcpHeader<'_> {
    /// The options, read on demand: most segments carry nothing but a timestamp, which nobody asks for.
    pub fn options(&self) -> TcpOptions {
        parse_options(self.option_bytes)
    }

    /// Whether a selective acknowledgement may stand in the options: false without reading them for the two layouts that
    /// nearly every segment has, none at all and NOP, NOP, timestamps (RFC 7323 appendix A).
    #[inline]
    pub const fn may_hold_sacks(&self) -> bool {
        !matches!(
            self.option_bytes,
            [] | [1, 1, 8, 10, _, _, _, _, _, _, _, _]
        )
    }

    /// How much sequence space the segment takes: payload, SYN and FIN.
    pub const fn sequence_length(&self) -> u32 {
        self.payload_length
            .saturating_add(self.flags.syn() as u32)
            .saturating_add(self.flags.fin() as u32)
    }
}

/// The options that matter to the diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Maximum segment size (only in SYNs).
    pub mss: Option<u16>,
    /// Window scale, at most 14 (only in SYNs).
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgements are permitted (only in SYNs).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<TcpTimestamps>,
    /// How many entries of `sacks` are filled.
    sack_count: u8,
    sack_blocks: [SackBlock; 4],
}

impl TcpOptions {
    /// The blocks that the peer has received behind a gap.
    pub fn sacks(&self) -> &[SackBlock] {
        self.sack_blocks
            .get(..usize::from(self.sack_count))
            .unwrap_or_default()
    }
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpTimestamps {
    /// The sender's clock.
    pub value: u32,
    /// The peer's clock as it was last heard.
    pub echo: u32,
}

/// One block of a selective acknowledgement (RFC 2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SackBlock {
    /// The first byte received.
    pub start: SequenceNumber,
    /// The first byte behind it that was not.
    pub end: SequenceNumber,
}

/// `length` is the number of bytes that IP carries from `offset` on.
#[inline(always)]
pub(super) fn dissect_tcp(data: &[u8], offset: usize, length: u32) -> Option<TcpHeader<'_>> {
    let segment = data.get(offset..)?;
    let fixed = segment.first_chunk::<20>()?;
    let header_length = u32::from(fixed[12] >> 4) * 4;
    if header_length < 20 || header_length > length {
        return None;
    }
    let &[
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        _,
        flags,
        w0,
        w1,
        ..,
    ] = fixed;
    let options_end = (header_length as usize).min(segment.len());
    Some(TcpHeader {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        sequence: SequenceNumber(u32::from_be_bytes([q0, q1, q2, q3])),
        acknowledgment: SequenceNumber(u32::from_be_bytes([a0, a1, a2, a3])),
        flags: TcpFlags(flags),
        window: u16::from_be_bytes([w0, w1]),
        payload_length: length - header_length,
        option_bytes: segment.get(20..options_end).unwrap_or_default(),
    })
}

/// Options cut off by the snap length are read as far as they go.
fn parse_options(mut bytes: &[u8]) -> TcpOptions {
    let mut options = TcpOptions::default();
    while let [kind, rest @ ..] = bytes {
        match kind {
            0 => break,
            1 => bytes = rest,
            _ => {
                let Some((&length, _)) = rest.split_first() else {
                    break;
                };
                let length = usize::from(length);
                let Some(value) = bytes.get(2..length) else {
                    break;
                };
                one_option(&mut options, *kind, value);
                bytes = bytes.get(length..).unwrap_or_default();
            }
        }
    }
    options
}

fn timestamps(value: &[u8]) -> Option<TcpTimestamps> {
    Some(TcpTimestamps {
        value: u32_at(value, 0)?,
        echo: u32_at(value, 4)?,
    })
}

fn one_option(options: &mut TcpOptions, kind: u8, value: &[u8]) {
    match (kind, value.len()) {
        (2, 2) => options.mss = u16_at(value, 0),
        // RFC 7323 section 2.3: more than 14 is taken as 14.
        (3, 1) => options.window_scale = Some(value[0].min(14)),
        (4, 0) => options.sack_permitted = true,
        (5, _) => {
            for block in value.chunks_exact(8) {
                let slot = options.sack_blocks.get_mut(usize::from(options.sack_count));
                let (Some(slot), Some(start), Some(end)) =
                    (slot, u32_at(block, 0), u32_at(block, 4))
                else {
                    return;
                };
                *slot = SackBlock {
                    start: SequenceNumber(start),
                    end: SequenceNumber(end),
                };
                options.sack_count += 1;
            }
        }
        (8, 8) => options.timestamps = timestamps(value),
        _ => {}
    }
}
