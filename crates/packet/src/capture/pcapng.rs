//! pcapng files (draft-ietf-opsawg-pcapng).

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_path::Timestamp;

use super::input::{Input, MAX_WINDOW};
use super::{CaptureError, FrameDirection, Interface, Located, MAX_FRAME_LENGTH, MAX_INTERFACES};
use crate::{LinkType, MacAddress};

/// The block type of a section header, the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// What holds until the next section header.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
    /// Where its interfaces start among those of the whole file.
    base: usize,
    clocks: Vec<Clock>,
}

/// How an interface writes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    resolution: u8,
    /// Seconds to add (if_tsoffset).
    offset: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            resolution: 6,
            offset: 0,
        }
    }
}

impl Clock {
    #[inline]
    fn timestamp(self, ticks: u64) -> Timestamp {
        let nanoseconds = match self.resolution {
            9 => ticks,
            6 => ticks.saturating_mul(1000),
            other => scaled(ticks, other),
        };
        match self.offset {
            0 => Timestamp(nanoseconds),
            seconds => {
                let shift = i128::from(seconds) * 1_000_000_000;
                let moved = (i128::from(nanoseconds) + shift).clamp(0, i128::from(u64::MAX));
                Timestamp(u64::try_from(moved).unwrap_or(u64::MAX))
            }
        }
    }
}

/// `ticks` of 10^-n or, with the top bit set, 2^-n seconds, in nanoseconds; saturates.
fn scaled(ticks: u64, resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let nanoseconds = if resolution & 0x80 != 0 {
        (u128::from(ticks) * 1_000_000_000) >> exponent
    } else if exponent <= 9 {
        u128::from(ticks) * 10u128.pow(9 - exponent)
    } else {
        match 10u128.checked_pow(exponent - 9) {
            Some(divisor) => u128::from(ticks) / divisor,
            None => 0,
        }
    };
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

impl Section {
    #[inline]
    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    #[inline]
    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn u64(&self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// Calls `each` with the code and value of every option; stops at what is no option.
    #[inline]
    fn options(&self, mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) {
        while let (Some(code), Some(length)) = (self.u16(bytes, 0), self.u16(bytes, 2)) {
            let length = usize::from(length);
            let Some(value) = bytes.get(4..4 + length) else {
                return;
            };
            if code == 0 {
                return;
            }
            each(code, value);
            bytes = bytes
                .get(4 + length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

/// Reads the section header at the window's start and makes `section` the new section.
pub(super) fn read_section_header<R: Read>(
    input: &mut Input<R>,
    section: &mut Section,
) -> Result<(), CaptureError> {
    let Some(start) = input
        .window(16)?
        .and_then(|window| window.first_chunk::<16>().copied())
    else {
        return Err(input.cut_off("a pcapng section header block", 28));
    };
    let magic = [start[8], start[9], start[10], start[11]];
    let big_endian = match magic {
        _ if u32::from_be_bytes(magic) == BYTE_ORDER_MAGIC => true,
        _ if u32::from_le_bytes(magic) == BYTE_ORDER_MAGIC => false,
        _ => {
            return Err(input.error(
                8,
                "the byte-order magic 0x1a2b3c4d",
                format!("{:#010x}", u32::from_be_bytes(magic)),
            ));
        }
    };
    let base = section.base + section.clocks.len();
    *section = Section {
        big_endian,
        base,
        clocks: Vec::new(),
    };
    let length = section.u32(&start, 4).unwrap_or(0);
    let version = section.u16(&start, 12).unwrap_or(0);
    if version != 1 {
        return Err(input.error(12, "pcapng version 1", format!("version {version}")));
    }
    check_length(input, length, 28)?;
    skip_block(input, section, length, "a pcapng section header block")
}

fn check_length<R: Read>(
    input: &mut Input<R>,
    length: u32,
    at_least: u32,
) -> Result<(), CaptureError> {
    if length < at_least || !length.is_multiple_of(4) {
        return Err(input.error(
            4,
            &format!("a block length of at least {at_least}, divisible by 4"),
            length.to_string(),
        ));
    }
    Ok(())
}

/// Moves over a block that is not looked into, and checks that its length stands at its end too.
fn skip_block<R: Read>(
    input: &mut Input<R>,
    section: &Section,
    length: u32,
    what: &str,
) -> Result<(), CaptureError> {
    if !input.skip(u64::from(length) - 4) {
        return Err(input.cut_off(what, u64::from(length)));
    }
    let Some(window) = input.window(4)? else {
        return Err(input.cut_off("the block's length at its end", 4));
    };
    let again = section.u32(window, 0).unwrap_or(0);
    if again != length {
        return Err(input.error(
            0,
            &format!("the block's length {length} again"),
            again.to_string(),
        ));
    }
    input.consume(4);
    Ok(())
}

/// The next packet, reading every other block before it.
#[inline]
pub(super) fn next_packet<R: Read>(
    input: &mut Input<R>,
    section: &mut Section,
    interfaces: &mut Vec<Interface>,
    last_time: Timestamp,
) -> Result<Option<Located>, CaptureError> {
    loop {
        let Some(window) = input.window(12)? else {
            return match input.end_of_records()? {
                true => Ok(None),
                false => Err(input.cut_off("a pcapng block", 12)),
            };
        };
        if window.starts_with(&SECTION_HEADER) {
            read_section_header(input, section)?;
            continue;
        }
        let kind = section.u32(window, 0).unwrap_or(0);
        let length = section.u32(window, 4).unwrap_or(0);
        check_length(input, length, 12)?;
        match kind {
            ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET => {
                let block = whole_block(input, section, length)?;
                let packet = match kind {
                    ENHANCED_PACKET => enhanced(section, block),
                    SIMPLE_PACKET => simple(section, block, interfaces, last_time),
                    _ => obsolete(section, block),
                };
                return match packet {
                    Ok(packet) => locate(input, section, interfaces, packet, length).map(Some),
                    Err(expected) => Err(input.error(0, expected, "none".to_owned())),
                };
            }
            INTERFACE_DESCRIPTION | INTERFACE_STATISTICS => {
                let block = whole_block(input, section, length)?;
                let done = match kind {
                    INTERFACE_DESCRIPTION => describe(section, block, interfaces),
                    _ => statistics(section, block, interfaces),
                };
                if let Err(expected) = done {
                    return Err(input.error(0, expected, "none".to_owned()));
                }
                input.consume(length as usize);
            }
            // Names, secrets, journals, custom blocks.
            _ => skip_block(input, section, length, "a pcapng block")?,
        }
    }
}

/// The whole block, its length at both ends checked.
#[inline]
fn whole_block<'a, R: Read>(
    input: &'a mut Input<R>,
    section: &Section,
    length: u32,
) -> Result<&'a [u8], CaptureError> {
    let whole = length as usize;
    if whole > MAX_WINDOW {
        return Err(input.error(
            4,
            &format!("a block length of at most {MAX_WINDOW}"),
            length.to_string(),
        ));
    }
    let Some(window) = input.window(whole)? else {
        return Err(input.cut_off("a pcapng block", u64::from(length)));
    };
    let again = section.u32(window, whole - 4).unwrap_or(0);
    if again != length {
        return Err(input.error(
            u64::from(length) - 4,
            &format!("the block's length {length} again"),
            again.to_string(),
        ));
    }
    Ok(input.buffered(0, whole))
}

/// A packet block's fields.
struct Packet {
    interface: usize,
    /// Ticks of the interface's clock; nothing in a simple packet.
    ticks: Option<u64>,
    fallback: Timestamp,
    captured: u32,
    original: u32,
    start: usize,
    direction: Option<FrameDirection>,
    /// Packets lost since the packet before this one.
    dropped: u64,
}

fn locate<R: Read>(
    input: &mut Input<R>,
    section: &Section,
    interfaces: &mut [Interface],
    packet: Packet,
    length: u32,
) -> Result<Located, CaptureError> {
    let index = section.base + packet.interface;
    let (Some(interface), Some(clock)) = (
        interfaces.get_mut(index),
        section.clocks.get(packet.interface),
    ) else {
        return Err(input.error(
            8,
            &format!("one of the section's {} interfaces", section.clocks.len()),
            format!("interface {}", packet.interface),
        ));
    };
    if packet.captured > MAX_FRAME_LENGTH {
        return Err(input.error(
            8,
            &format!("a captured length of at most {MAX_FRAME_LENGTH} bytes"),
            packet.captured.to_string(),
        ));
    }
    if packet.dropped > 0 {
        // Statistics at the end of the file know better and replace this sum.
        let sum = interface.dropped.unwrap_or(0);
        interface.dropped = Some(sum.saturating_add(packet.dropped));
    }
    Ok(Located {
        time: packet
            .ticks
            .map_or(packet.fallback, |ticks| clock.timestamp(ticks)),
        interface: index,
        link: interface.link,
        direction: packet.direction,
        original_length: packet.original.max(packet.captured),
        offset: input.position(),
        start: packet.start,
        length: packet.captured as usize,
        record: length as usize,
    })
}

/// Bits 0 and 1 of epb_flags and pack_flags.
fn direction(flags: u32) -> Option<FrameDirection> {
    match flags & 3 {
        1 => Some(FrameDirection::In),
        2 => Some(FrameDirection::Out),
        _ => None,
    }
}

/// The options behind a packet's data, if the data fits into the block.
#[inline]
fn options_behind(block: &[u8], start: usize, captured: u32) -> Result<&[u8], &'static str> {
    let end = start.saturating_add(captured as usize);
    if end > block.len() - 4 {
        return Err("a block that holds as many bytes as its captured length says");
    }
    let options = start.saturating_add((captured as usize).next_multiple_of(4));
    Ok(block.get(options..block.len() - 4).unwrap_or_default())
}

const SHORT: &str = "a packet block with all its fields";

#[inline]
fn enhanced(section: &Section, block: &[u8]) -> Result<Packet, &'static str> {
    let fields = block.get(8..28).ok_or(SHORT)?;
    let word = |at: usize| section.u32(fields, at).ok_or(SHORT);
    let captured = word(12)?;
    let mut packet = Packet {
        interface: word(0)? as usize,
        ticks: Some(u64::from(word(4)?) << 32 | u64::from(word(8)?)),
        fallback: Timestamp(0),
        captured,
        original: word(16)?,
        start: 28,
        direction: None,
        dropped: 0,
    };
    let options = options_behind(block, 28, captured)?;
    section.options(options, |code, value| match code {
        2 => packet.direction = section.u32(value, 0).and_then(direction),
        4 => packet.dropped = section.u64(value, 0).unwrap_or(0),
        _ => {}
    });
    Ok(packet)
}

fn simple(
    section: &Section,
    block: &[u8],
    interfaces: &[Interface],
    last_time: Timestamp,
) -> Result<Packet, &'static str> {
    let original = section.u32(block, 8).ok_or(SHORT)?;
    let held = u32::try_from(block.len().saturating_sub(16)).unwrap_or(u32::MAX);
    let limit = match interfaces.get(section.base).map(|first| first.snap_length) {
        None | Some(0) => u32::MAX,
        Some(limit) => limit,
    };
    Ok(Packet {
        interface: 0,
        ticks: None,
        fallback: last_time,
        captured: original.min(limit).min(held),
        original,
        start: 12,
        direction: None,
        dropped: 0,
    })
}

fn obsolete(section: &Section, block: &[u8]) -> Result<Packet, &'static str> {
    let fields = block.get(8..28).ok_or(SHORT)?;
    let word = |at: usize| section.u32(fields, at).ok_or(SHORT);
    let captured = word(12)?;
    let mut packet = Packet {
        interface: usize::from(section.u16(fields, 0).ok_or(SHORT)?),
        ticks: Some(u64::from(word(4)?) << 32 | u64::from(word(8)?)),
        fallback: Timestamp(0),
        captured,
        original: word(16)?,
        start: 28,
        direction: None,
        // 0xffff: unknown.
        dropped: match section.u16(fields, 2) {
            None | Some(0xffff) => 0,
            Some(dropped) => u64::from(dropped),
        },
    };
    let options = options_behind(block, 28, captured)?;
    section.options(options, |code, value| {
        if code == 2 {
            packet.direction = section.u32(value, 0).and_then(direction);
        }
    });
    Ok(packet)
}

fn describe(
    section: &mut Section,
    block: &[u8],
    interfaces: &mut Vec<Interface>,
) -> Result<(), &'static str> {
    const FIELDS: &str = "an interface description with all its fields";
    let link = section.u16(block, 8).ok_or(FIELDS)?;
    let snap_length = section.u32(block, 12).ok_or(FIELDS)?;
    if block.len() < 20 {
        return Err(FIELDS);
    }
    if interfaces.len() >= MAX_INTERFACES {
        return Err("fewer than 65536 interfaces");
    }
    let mut interface = Interface::new(LinkType(link), snap_length);
    let mut clock = Clock::default();
    let options = block.get(16..block.len() - 4).unwrap_or_default();
    section.options(options, |code, value| match (code, value) {
        (2, name) if interface.name.is_none() => {
            let name = String::from_utf8_lossy(name);
            interface.name = Some(name.trim_end_matches('\0').to_owned());
        }
        (4, &[a, b, c, d, ..]) => interface
            .addresses
            .push(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        (5, value) => {
            if let Some(address) = value.first_chunk::<16>() {
                interface
                    .addresses
                    .push(IpAddr::V6(Ipv6Addr::from(*address)));
            }
        }
        (6, &[a, b, c, d, e, f]) => interface.mac = Some(MacAddress([a, b, c, d, e, f])),
        (9, &[resolution, ..]) => clock.resolution = resolution,
        (14, value) => {
            clock.offset = section.u64(value, 0).unwrap_or(0).cast_signed();
        }
        _ => {}
    });
    section.clocks.push(clock);
    interfaces.push(interface);
    Ok(())
}

fn statistics(
    section: &Section,
    block: &[u8],
    interfaces: &mut [Interface],
) -> Result<(), &'static str> {
    const FIELDS: &str = "interface statistics with all their fields";
    let index = section.u32(block, 8).ok_or(FIELDS)? as usize;
    if block.len() < 24 {
        return Err(FIELDS);
    }
    if index >= section.clocks.len() {
        return Err("statistics of one of the section's interfaces");
    }
    let Some(interface) = interfaces.get_mut(section.base.saturating_add(index)) else {
        return Err("statistics of one of the section's interfaces");
    };
    let (mut by_interface, mut by_system) = (None, None);
    let options = block.get(20..block.len() - 4).unwrap_or_default();
    section.options(options, |code, value| match code {
        4 => interface.received = section.u64(value, 0).or(interface.received),
        5 => by_interface = section.u64(value, 0),
        7 => by_system = section.u64(value, 0),
        _ => {}
    });
    if by_interface.is_some() || by_system.is_some() {
        let sum = by_interface
            .unwrap_or(0)
            .saturating_add(by_system.unwrap_or(0));
        interface.dropped = Some(sum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_comes_out_in_nanoseconds() {
        let at = |resolution, offset, ticks| Clock { resolution, offset }.timestamp(ticks).0;
        assert_eq!(at(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(at(9, 0, 1_500_000), 1_500_000);
        assert_eq!(at(3, 0, 1_500), 1_500_000_000);
        assert_eq!(at(0, 0, 2), 2_000_000_000);
        assert_eq!(at(12, 0, 1_500_000), 1_500);
        assert_eq!(at(0x80 | 10, 0, 1536), 1_500_000_000);
        assert_eq!(at(6, 10, 1), 10_000_001_000);
        assert_eq!(at(6, -10, 11_000_000), 1_000_000_000);
        assert_eq!(at(6, -10, 0), 0);
        assert_eq!(at(127, 0, u64::MAX), 0);
        assert_eq!(at(0x80 | 127, 0, u64::MAX), 0);
        assert_eq!(at(0, i64::MAX, u64::MAX), u64::MAX);
    }
}
