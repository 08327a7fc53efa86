//! The captures that are measured on: made, not recorded, so that every run has the same ones.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_PSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
/// Ethernet, IPv4 and TCP with the timestamps option.
const HEADERS: usize = 14 + 20 + 32;
/// Payload of a full frame of 1514 bytes.
const FULL_PAYLOAD: u32 = 1448;

/// What a capture holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// So many connections that transfer data side by side, in segments of full size, until there are so many frames.
    Bulk {
        /// Connections.
        connections: u32,
        /// Frames altogether, handshakes included.
        frames: u64,
    },
    /// So many short connections: handshake, a request, a response, FINs; a few hundred of them at the same time.
    Short {
        /// Connections.
        connections: u32,
    },
    /// So many SYNs, each sent twice, and nothing in answer.
    Unanswered {
        /// Connections.
        connections: u32,
    },
}

impl Traffic {
    /// How many connections it holds.
    pub(crate) fn connections(self) -> u32 {
        match self {
            Traffic::Bulk { connections, .. }
            | Traffic::Short { connections }
            | Traffic::Unanswered { connections } => connections,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    /// Frames.
    pub(crate) frames: u64,
    /// The file's length in bytes.
    pub(crate) bytes: u64,
}

/// A classic pcap file in microseconds (every peer reads that one) of little-endian records.
struct PcapFile<W: Write> {
    writer: W,
    snap_length: usize,
    time: u64,
    written: Written,
}

/// One end's view of a connection.
#[derive(Debug, Clone, Copy)]
struct End {
    address: [u8; 4],
    port: u16,
    next: u32,
}

/// Writes a capture of Ethernet frames, of which `snap_length` bytes are kept.
pub(crate) fn write_capture(path: &Path, traffic: Traffic, snap_length: usize) -> Result<Written> {
    let mut file = PcapFile::new(
        BufWriter::with_capacity(1 << 20, File::create(path)?),
        snap_length,
    )?;
    match traffic {
        Traffic::Bulk {
            connections,
            frames,
        } => bulk(&mut file, connections, frames)?,
        Traffic::Short { connections } => short(&mut file, connections)?,
        Traffic::Unanswered { connections } => unanswered(&mut file, connections)?,
    }
    file.writer.flush()?;
    Ok(file.written)
}

impl<W: Write> PcapFile<W> {
    fn new(mut writer: W, snap_length: usize) -> Result<Self> {
        writer.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        writer.write_all(&2u16.to_le_bytes())?;
        writer.write_all(&4u16.to_le_bytes())?;
        writer.write_all(&[0; 8])?;
        writer.write_all(&(snap_length as u32).to_le_bytes())?;
        writer.write_all(&1u32.to_le_bytes())?;
        Ok(PcapFile {
            writer,
            snap_length,
            time: 1_700_000_000_000_000,
            written: Written {
                frames: 0,
                bytes: 24,
            },
        })
    }

    /// Writes one segment and moves the sender's sequence number on.
    fn segment(&mut self, from: &mut End, to: &End, flags: u8, payload: u32) -> Result<()> {
        // About 1.2 Gbit/s of full frames; the exact rate matters to nobody.
        self.time += 10;
        let frame = frame(from, to, flags, payload, self.time as u32 / 1000);
        let phantom = u32::from(flags & (FLAG_SYN | FLAG_FIN) != 0);
        from.next = from.next.wrapping_add(payload + phantom);
        let length = HEADERS + payload as usize;
        let kept = length.min(self.snap_length);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&((self.time / 1_000_000) as u32).to_le_bytes());
        header[4..8].copy_from_slice(&((self.time % 1_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(kept as u32).to_le_bytes());
        header[12..].copy_from_slice(&(length as u32).to_le_bytes());
        self.writer.write_all(&header)?;
        self.writer.write_all(&frame[..kept.min(HEADERS)])?;
        if kept > HEADERS {
            self.writer.write_all(&PAYLOAD[..kept - HEADERS])?;
        }
        self.written.frames += 1;
        self.written.bytes += 16 + kept as u64;
        Ok(())
    }
}

/// Nothing that a heuristic dissector would take for a protocol.
static PAYLOAD: [u8; FULL_PAYLOAD as usize] = [0xa5; FULL_PAYLOAD as usize];

fn frame(from: &End, to: &End, flags: u8, payload: u32, clock: u32) -> [u8; HEADERS] {
    let mut frame = [0; HEADERS];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(20 + 32 + payload as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&(from.next as u16).to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 6;
    ip[12..16].copy_from_slice(&from.address);
    ip[16..20].copy_from_slice(&to.address);
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let tcp = &mut frame[34..];
    tcp[..2].copy_from_slice(&from.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port.to_be_bytes());
    tcp[4..8].copy_from_slice(&from.next.to_be_bytes());
    if flags & FLAG_ACK != 0 {
        tcp[8..12].copy_from_slice(&to.next.to_be_bytes());
    }
    tcp[12] = 8 << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&64_000u16.to_be_bytes());
    // The checksum stays unfinished, as it does with offload.
    tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
    tcp[24..28].copy_from_slice(&clock.to_be_bytes());
    tcp[28..32].copy_from_slice(&clock.wrapping_sub(1).to_be_bytes());
    frame
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The ends of connection `number`: every one has its own addresses and port.
fn ends(number: u32) -> (End, End) {
    // Fibonacci hashing spreads the initial sequence numbers.
    let spread = number.wrapping_mul(0x9e37_79b9);
    let [_, high, middle, low] = (number / 20_000).to_be_bytes();
    let client = End {
        address: [10, high, middle, low],
        port: 20_000 + (number % 20_000) as u16,
        next: spread,
    };
    let server = End {
        address: [192, 168, 0, (number % 200) as u8 + 1],
        port: 5001,
        next: spread.rotate_left(16),
    };
    (client, server)
}

fn open<W: Write>(file: &mut PcapFile<W>, client: &mut End, server: &mut End) -> Result<()> {
    file.segment(client, server, FLAG_SYN, 0)?;
    file.segment(server, client, FLAG_SYN | FLAG_ACK, 0)?;
    file.segment(client, server, FLAG_ACK, 0)
}

fn close<W: Write>(file: &mut PcapFile<W>, client: &mut End, server: &mut End) -> Result<()> {
    file.segment(client, server, FLAG_FIN | FLAG_ACK, 0)?;
    file.segment(server, client, FLAG_FIN | FLAG_ACK, 0)?;
    file.segment(client, server, FLAG_ACK, 0)
}

fn bulk<W: Write>(file: &mut PcapFile<W>, connections: u32, frames: u64) -> Result<()> {
    let mut all: Vec<(End, End)> = (0..connections).map(ends).collect();
    for (client, server) in &mut all {
        open(file, client, server)?;
    }
    let closing = 3 * u64::from(connections);
    // Bursts of four segments and an acknowledgement for every second one, the connections by turns.
    'transfer: loop {
        for (client, server) in &mut all {
            for _ in 0..2 {
                if file.written.frames + closing + 3 > frames {
                    break 'transfer;
                }
                file.segment(server, client, FLAG_ACK, FULL_PAYLOAD)?;
                file.segment(server, client, FLAG_ACK | FLAG_PSH, FULL_PAYLOAD)?;
                file.segment(client, server, FLAG_ACK, 0)?;
            }
        }
    }
    for (client, server) in &mut all {
        close(file, client, server)?;
    }
    Ok(())
}

fn short<W: Write>(file: &mut PcapFile<W>, connections: u32) -> Result<()> {
    const AT_ONCE: u32 = 400;
    let mut first = 0;
    while first < connections {
        let last = connections.min(first + AT_ONCE);
        let mut all: Vec<(End, End)> = (first..last).map(ends).collect();
        for (client, server) in &mut all {
            open(file, client, server)?;
        }
        for (client, server) in &mut all {
            file.segment(client, server, FLAG_ACK | FLAG_PSH, 180)?;
            file.segment(server, client, FLAG_ACK, 0)?;
        }
        for (client, server) in &mut all {
            file.segment(server, client, FLAG_ACK | FLAG_PSH, 900)?;
            file.segment(client, server, FLAG_ACK, 0)?;
            close(file, client, server)?;
        }
        first = last;
    }
    Ok(())
}

fn unanswered<W: Write>(file: &mut PcapFile<W>, connections: u32) -> Result<()> {
    // As many as one second holds at the rate of `segment`.
    const PER_SECOND: u32 = 100_000;
    let mut first = 0;
    while first < connections {
        let last = connections.min(first + PER_SECOND);
        for _ in 0..2 {
            for number in first..last {
                let (mut client, server) = ends(number);
                file.segment(&mut client, &server, FLAG_SYN, 0)?;
            }
        }
        first = last;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use transect_evidence::conversation::{Ledger, LedgerOptions, read_capture};
    use transect_packet::CaptureReader;
    use transect_path::Direction;

    use super::*;

    fn ledger(traffic: Traffic, snap_length: usize) -> (Written, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        let written = write_capture(&path, traffic, snap_length).unwrap();
        assert_eq!(written.bytes, path.metadata().unwrap().len());
        let mut reader = CaptureReader::new(File::open(&path).unwrap(), "a.pcap").unwrap();
        let (ledger, damage) = read_capture(&mut reader, LedgerOptions::default());
        assert!(damage.is_none());
        assert_eq!(written.frames, ledger.taps()[0].frames);
        (written, ledger)
    }

    #[test]
    fn what_is_measured_on_is_ordinary_traffic() {
        let bulk = Traffic::Bulk {
            connections: 3,
            frames: 500,
        };
        for snap_length in [1514, 96] {
            let (written, ledger) = ledger(bulk, snap_length);
            assert!((480..=500).contains(&written.frames));
            assert_eq!(ledger.len(), 3);
            for conversation in ledger.conversations() {
                assert!(conversation.clean);
                assert!(conversation.unacknowledged(Direction::ToClient).is_empty());
            }
        }
        let (_, short) = ledger(Traffic::Short { connections: 1000 }, 96);
        assert_eq!(short.len(), 1000);
        assert!(short.briefs().all(|brief| brief.clean));
        let (written, ledger) = ledger(Traffic::Unanswered { connections: 500 }, 96);
        assert_eq!((written.frames, ledger.len()), (1000, 500));
        assert!(ledger.briefs().all(|brief| !brief.clean));
    }
}
