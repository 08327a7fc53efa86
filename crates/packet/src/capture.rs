//! Capture files: pcap and pcapng, plain or compressed, read as a stream; pcapng written.

mod input;
mod pcap;
mod pcapng;
mod writer;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;

use thiserror::Error;
use transect_path::Timestamp;

use crate::{LinkType, MacAddress};
use input::Input;

pub use writer::{InterfaceDescription, PcapngWriter};

/// The longest frame that is read or written, in bytes: libpcap's `MAXIMUM_SNAPLEN`.
pub const MAX_FRAME_LENGTH: u32 = 262_144;

/// More interfaces than this in one file are damage.
const MAX_INTERFACES: usize = 65_536;

/// What a capture file says about one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, if the file tells.
    pub name: Option<String>,
    /// What its frames begin with.
    pub link: LinkType,
    /// How many bytes of each frame were kept at most; 0: no limit.
    pub snap_length: u32,
    /// Its MAC address, if the file tells.
    pub mac: Option<MacAddress>,
    /// Its addresses, if the file tells.
    pub addresses: Vec<IpAddr>,
    /// Packets received, as the newest statistics say.
    pub received: Option<u64>,
    /// Packets that the capture lost, as the newest statistics say: by the interface and by the system together. Nothing
    /// when the file does not tell (a classic pcap never does), which is not zero.
    pub dropped: Option<u64>,
}

impl Interface {
    fn new(link: LinkType, snap_length: u32) -> Self {
        Interface {
            name: None,
            link,
            snap_length,
            mac: None,
            addresses: Vec::new(),
            received: None,
            dropped: None,
        }
    }
}

/// Which way a frame passed the interface, seen from the host that captured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameDirection {
    /// Into the host.
    In,
    /// Out of the host.
    Out,
}

impl fmt::Display for FrameDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FrameDirection::In => "in",
            FrameDirection::Out => "out",
        })
    }
}

/// One captured frame; it borrows the reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was captured; an SPB, which has no time, repeats the time of the frame before it.
    pub time: Timestamp,
    /// Its interface: an index into [`CaptureReader::interfaces`].
    pub interface: usize,
    /// What it begins with.
    pub link: LinkType,
    /// Which way it went, where the file or the cooked header tells.
    pub direction: Option<FrameDirection>,
    /// Its length on the wire, in bytes.
    pub original_length: u32,
    /// What was kept of it.
    pub data: &'a [u8],
    /// Where its record starts in the file (in the decompressed file).
    pub offset: u64,
}

/// Why a capture cannot be read (on).
#[derive(Debug, Error)]
#[error("{name}: byte {offset}: expected {expected}, found {found}")]
pub struct CaptureError {
    /// The file's name, as it was given to the reader.
    pub name: String,
    /// Where, in bytes from the start of the (decompressed) file.
    pub offset: u64,
    /// What should stand there.
    pub expected: String,
    /// What stands there instead.
    pub found: String,
    /// The error of the operating system or of the decompressor, if that is what ended the file.
    #[source]
    pub source: Option<std::io::Error>,
}

/// The parts of a frame, without the borrow of the buffer.
#[derive(Debug, Clone, Copy)]
struct Located {
    time: Timestamp,
    interface: usize,
    link: LinkType,
    direction: Option<FrameDirection>,
    original_length: u32,
    offset: u64,
    /// Where the data lies in the input's window.
    start: usize,
    length: usize,
    /// How much of the window the record takes.
    record: usize,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::Header),
    Pcapng(pcapng::Section),
}

/// Reads a capture frame by frame. Which format it is, and whether it is compressed (gzip, zstd), the first bytes tell.
#[derive(Debug)]
pub struct CaptureReader<R: Read> {
    input: Input<R>,
    format: Format,
    interfaces: Vec<Interface>,
    last_time: Timestamp,
    /// The record behind the last frame handed out still stands in the window.
    pending: usize,
    finished: bool,
}

impl<R: Read> CaptureReader<R> {
    /// Starts to read; `name` is what errors call the file.
    ///
    /// # Errors
    /// When the file does not begin as a capture does, or its first header is damaged.
    pub fn new(reader: R, name: &str) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader, name)?;
        let mut interfaces = Vec::new();
        let magic = match input.window(4)? {
            Some(bytes) => bytes.first_chunk::<4>().copied(),
            None => None,
        };
        let Some(magic) = magic else {
            let found = match input.available() {
                0 => "an empty file".to_owned(),
                length => format!("only {length} bytes"),
            };
            return Err(input.error(0, "the first bytes of a pcap or pcapng file", found));
        };
        let format = if magic == pcapng::SECTION_HEADER {
            Format::Pcapng(pcapng::Section::default())
        } else if let Some(variant) = pcap::Variant::from_magic(magic) {
            let (header, interface) = pcap::read_header(&mut input, variant)?;
            interfaces.push(interface);
            Format::Pcap(header)
        } else {
            return Err(input.error(
                0,
                "the magic number of a pcap or pcapng file",
                format!("{:#010x}", u32::from_be_bytes(magic)),
            ));
        };
        let mut reader = CaptureReader {
            input,
            format,
            interfaces,
            last_time: Timestamp(0),
            pending: 0,
            finished: false,
        };
        if let Format::Pcapng(section) = &mut reader.format {
            pcapng::read_section_header(&mut reader.input, section)?;
        }
        Ok(reader)
    }

    /// The next frame, or nothing at the end.
    ///
    /// # Errors
    /// The first damage ends the file: after an error there are no more frames.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.finished {
            return Ok(None);
        }
        self.input.consume(std::mem::take(&mut self.pending));
        let located = match &mut self.format {
            Format::Pcap(header) => pcap::next_record(&mut self.input, header),
            Format::Pcapng(section) => pcapng::next_packet(
                &mut self.input,
                section,
                &mut self.interfaces,
                self.last_time,
            ),
        };
        let located = match located {
            Ok(Some(located)) => located,
            Ok(None) => {
                self.finished = true;
                return Ok(None);
            }
            Err(error) => {
                self.finished = true;
                return Err(error);
            }
        };
        self.pending = located.record;
        self.last_time = located.time;
        let data = self.input.buffered(located.start, located.length);
        Ok(Some(Frame {
            time: located.time,
            interface: located.interface,
            link: located.link,
            direction: located
                .direction
                .or_else(|| cooked_direction(located.link, data)),
            original_length: located.original_length,
            data,
            offset: located.offset,
        }))
    }

    /// The interfaces seen so far; their statistics usually stand at the end of a file.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The name that the reader was given.
    pub fn name(&self) -> &str {
        self.input.name()
    }
}

/// The packet type of a cooked capture tells the direction: "outgoing" left the host, all others came in.
fn cooked_direction(link: LinkType, data: &[u8]) -> Option<FrameDirection> {
    let packet_type = match link {
        LinkType::LINUX_SLL => u16::from_be_bytes([*data.first()?, *data.get(1)?]),
        LinkType::LINUX_SLL2 => u16::from(*data.get(10)?),
        _ => return None,
    };
    match packet_type {
        4 => Some(FrameDirection::Out),
        0..=3 => Some(FrameDirection::In),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
