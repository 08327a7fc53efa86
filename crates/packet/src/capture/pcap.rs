//! Classic pcap files (draft-ietf-opsawg-pcap).

use std::io::Read;

use transect_path::Timestamp;

use super::input::Input;
use super::{CaptureError, FrameDirection, Interface, Located, MAX_FRAME_LENGTH};
use crate::LinkType;

/// Length of the file header in bytes.
const FILE_HEADER: usize = 24;

/// What the magic number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    big_endian: bool,
    nanoseconds: bool,
    /// Alexey Kuznetsov's "modified" pcap of old Linux distributions: longer record headers.
    modified: bool,
}

impl Variant {
    pub(super) fn from_magic(bytes: [u8; 4]) -> Option<Self> {
        let (number, big_endian) = match bytes[0] {
            0xa1 => (u32::from_be_bytes(bytes), true),
            _ => (u32::from_le_bytes(bytes), false),
        };
        let (nanoseconds, modified) = match number {
            0xa1b2_c3d4 => (false, false),
            0xa1b2_3c4d => (true, false),
            0xa1b2_cd34 => (false, true),
            _ => return None,
        };
        Some(Variant {
            big_endian,
            nanoseconds,
            modified,
        })
    }

    #[inline]
    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }
}

/// What holds for every record of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    variant: Variant,
    link: LinkType,
}

pub(super) fn read_header<R: Read>(
    input: &mut Input<R>,
    variant: Variant,
) -> Result<(Header, Interface), CaptureError> {
    let Some(header) = input
        .window(FILE_HEADER)?
        .and_then(|window| window.first_chunk::<FILE_HEADER>().copied())
    else {
        return Err(input.cut_off("a pcap file header", FILE_HEADER as u64));
    };
    let word =
        |at: usize| variant.u32([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let snap_length = word(16);
    // The upper half holds flags about a frame check sequence at each frame's end; IP lengths leave it aside.
    let link = LinkType((word(20) & 0xffff) as u16);
    input.consume(FILE_HEADER);
    Ok((Header { variant, link }, Interface::new(link, snap_length)))
}

#[inline]
pub(super) fn next_record<R: Read>(
    input: &mut Input<R>,
    header: &Header,
) -> Result<Option<Located>, CaptureError> {
    let variant = header.variant;
    let header_length = if variant.modified { 24 } else { 16 };
    let Some(window) = input.window(header_length)? else {
        return match input.end_of_records()? {
            true => Ok(None),
            false => Err(input.cut_off("a pcap record header", header_length as u64)),
        };
    };
    let Some(
        [
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            c0,
            c1,
            c2,
            c3,
            o0,
            o1,
            o2,
            o3,
        ],
    ) = window.first_chunk::<16>().copied()
    else {
        return Ok(None);
    };
    // Interface index, protocol, packet type, padding.
    let direction = match (variant.modified, window.get(22)) {
        (true, Some(4)) => Some(FrameDirection::Out),
        (true, Some(0..=3)) => Some(FrameDirection::In),
        _ => None,
    };
    let seconds = variant.u32([s0, s1, s2, s3]);
    let fraction = u64::from(variant.u32([f0, f1, f2, f3]));
    let captured = variant.u32([c0, c1, c2, c3]);
    let original = variant.u32([o0, o1, o2, o3]);
    if captured > MAX_FRAME_LENGTH {
        return Err(input.error(
            8,
            &format!("a captured length of at most {MAX_FRAME_LENGTH} bytes"),
            captured.to_string(),
        ));
    }
    let length = captured as usize;
    let record = header_length + length;
    let offset = input.position();
    if input.window(record)?.is_none() {
        return Err(input.cut_off("a pcap record", record as u64));
    }
    let nanoseconds = if variant.nanoseconds {
        fraction
    } else {
        fraction.saturating_mul(1000)
    };
    Ok(Some(Located {
        time: Timestamp::from_parts(u64::from(seconds), nanoseconds),
        interface: 0,
        link: header.link,
        direction,
        // Some writers leave it smaller than what they kept.
        original_length: original.max(captured),
        offset,
        start: header_length,
        length,
        record,
    }))
}
