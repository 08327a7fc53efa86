//! Writing pcapng, with nanoseconds and directions.

use std::io::{self, Write};
use std::net::IpAddr;

use transect_path::Timestamp;

use super::{FrameDirection, MAX_FRAME_LENGTH};
use crate::{LinkType, MacAddress};

/// What a file is to say about an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceDescription {
    /// if_name.
    pub name: String,
    /// What its frames begin with.
    pub link: LinkType,
    /// How many bytes of each frame are kept at most.
    pub snap_length: u32,
    /// if_MACaddr.
    pub mac: Option<MacAddress>,
    /// if_IPv4addr and if_IPv6addr, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The filter that was in force (if_filter), as text.
    pub filter: Option<String>,
}

/// Writes one section of pcapng, little-endian, timestamps in nanoseconds. Give it a buffered writer.
#[derive(Debug)]
pub struct PcapngWriter<W: Write> {
    writer: W,
    interfaces: u32,
    /// The block under construction; reused.
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Starts the file with a section header.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn new(writer: W) -> io::Result<Self> {
        let mut file = PcapngWriter {
            writer,
            interfaces: 0,
            block: Vec::with_capacity(4096),
        };
        file.block.extend(0x1a2b_3c4d_u32.to_le_bytes());
        file.block.extend(1u16.to_le_bytes());
        file.block.extend(0u16.to_le_bytes());
        // Section length: not known.
        file.block.extend(u64::MAX.to_le_bytes());
        file.option(
            4,
            concat!("transect ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        file.end_of_options();
        file.write_block(0x0a0d_0d0a)?;
        Ok(file)
    }

    /// Describes an interface; the answer is the number by which frames refer to it.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn add_interface(&mut self, interface: &InterfaceDescription) -> io::Result<u32> {
        self.block.extend(interface.link.0.to_le_bytes());
        self.block.extend(0u16.to_le_bytes());
        self.block.extend(interface.snap_length.to_le_bytes());
        self.option(2, interface.name.as_bytes());
        for (address, prefix_length) in &interface.addresses {
            match address {
                IpAddr::V4(address) => {
                    let host_bits = 32u32.saturating_sub(u32::from(*prefix_length));
                    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                    let mut value = [0; 8];
                    value[..4].copy_from_slice(&address.octets());
                    value[4..].copy_from_slice(&mask.to_be_bytes());
                    self.option(4, &value);
                }
                IpAddr::V6(address) => {
                    let mut value = [0; 17];
                    value[..16].copy_from_slice(&address.octets());
                    value[16] = (*prefix_length).min(128);
                    self.option(5, &value);
                }
            }
        }
        if let Some(mac) = interface.mac {
            self.option(6, &mac.0);
        }
        self.option(9, &[9]);
        if let Some(filter) = &interface.filter {
            // The first byte says how the filter is written; 0: as libpcap's text.
            let mut value = vec![0];
            value.extend(filter.bytes().take(60_000));
            self.option(11, &value);
        }
        self.end_of_options();
        self.write_block(1)?;
        let number = self.interfaces;
        self.interfaces = self.interfaces.saturating_add(1);
        Ok(number)
    }

    /// Writes a frame: `data` is what was kept of its `original_length` bytes.
    ///
    /// # Errors
    /// When the writer fails, the interface is unknown, or the frame is longer than [`MAX_FRAME_LENGTH`].
    pub fn write_frame(
        &mut self,
        interface: u32,
        time: Timestamp,
        direction: Option<FrameDirection>,
        original_length: u32,
        data: &[u8],
    ) -> io::Result<()> {
        self.check_interface(interface)?;
        let captured = u32::try_from(data.len())
            .ok()
            .filter(|&length| length <= MAX_FRAME_LENGTH)
            .ok_or_else(|| {
                invalid(format!(
                    "a frame of {} bytes is longer than {MAX_FRAME_LENGTH}",
                    data.len()
                ))
            })?;
        self.block.extend(interface.to_le_bytes());
        self.time(time);
        self.block.extend(captured.to_le_bytes());
        self.block
            .extend(original_length.max(captured).to_le_bytes());
        self.block.extend(data);
        self.pad();
        if let Some(direction) = direction {
            let flags: u32 = match direction {
                FrameDirection::In => 1,
                FrameDirection::Out => 2,
            };
            self.option(2, &flags.to_le_bytes());
            self.end_of_options();
        }
        self.write_block(6)
    }

    /// Writes an interface's statistics: packets received, lost by the interface (where it tells), lost by the system.
    ///
    /// # Errors
    /// When the writer fails or the interface is unknown.
    pub fn write_statistics(
        &mut self,
        interface: u32,
        time: Timestamp,
        received: u64,
        if_dropped: Option<u64>,
        os_dropped: u64,
    ) -> io::Result<()> {
        self.check_interface(interface)?;
        self.block.extend(interface.to_le_bytes());
        self.time(time);
        self.option(4, &received.to_le_bytes());
        if let Some(dropped) = if_dropped {
            self.option(5, &dropped.to_le_bytes());
        }
        self.option(7, &os_dropped.to_le_bytes());
        self.end_of_options();
        self.write_block(5)
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Flushes and hands the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn check_interface(&self, interface: u32) -> io::Result<()> {
        if interface < self.interfaces {
            Ok(())
        } else {
            Err(invalid(format!(
                "interface {interface} was not added; there are {}",
                self.interfaces
            )))
        }
    }

    fn time(&mut self, time: Timestamp) {
        // The upper half first, whatever the byte order.
        self.block.extend(((time.0 >> 32) as u32).to_le_bytes());
        self.block.extend((time.0 as u32).to_le_bytes());
    }

    /// Adds an option; a value too long for one is cut.
    fn option(&mut self, code: u16, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.block.extend(code.to_le_bytes());
        self.block.extend(length.to_le_bytes());
        self.block
            .extend(value.get(..usize::from(length)).unwrap_or_default());
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.block.extend([0; 4]);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn write_block(&mut self, kind: u32) -> io::Result<()> {
        let length = u32::try_from(self.block.len() + 12).unwrap_or(u32::MAX);
        let written = self
            .writer
            .write_all(&kind.to_le_bytes())
            .and_then(|()| self.writer.write_all(&length.to_le_bytes()))
            .and_then(|()| self.writer.write_all(&self.block))
            .and_then(|()| self.writer.write_all(&length.to_le_bytes()));
        self.block.clear();
        written
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
