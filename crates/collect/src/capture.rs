//! Capture on every interface of one host, into one pcapng file.
//!
//! Each interface has two taps, one for each direction, because libpcap does not say the direction of an Ethernet frame
//! but does filter by it. On the loopback interface libpcap shows every packet once, as incoming.

use std::num::NonZeroU32;

use transect_path::Unseen;

/// How to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Bytes kept of each frame. The default, 256, holds link, IP and TCP headers with all options, and the headers that an
    /// ICMP error quotes; more only for those who want the payload.
    pub snap_length: NonZeroU32,
    /// Bytes of kernel memory for each tap (an interface has two). The default, 2 MiB, holds about 5900 frames of 256 bytes.
    pub buffer: NonZeroU32,
}

impl CaptureOptions {
    /// Bytes kept of each frame unless the user says otherwise.
    pub const SNAP_LENGTH: NonZeroU32 = NonZeroU32::new(256).unwrap();
    /// Bytes of buffer for each tap unless the user says otherwise.
    pub const BUFFER: NonZeroU32 = NonZeroU32::new(2 << 20).unwrap();
}

impl Default for CaptureOptions {
    fn default() -> Self {
        CaptureOptions {
            snap_length: CaptureOptions::SNAP_LENGTH,
            buffer: CaptureOptions::BUFFER,
        }
    }
}

/// What was captured on one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureSummary {
    /// The interfaces, in the order in which the file numbers them.
    pub interfaces: Vec<InterfaceSummary>,
    /// What could not be captured, and what to do about it.
    pub unseen: Vec<Unseen>,
}

/// What was captured on one interface, both directions together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSummary {
    /// The interface's name when it was opened.
    pub name: String,
    /// The link type of its frames (`LINKTYPE_…`).
    pub link_type: u16,
    /// Frames in the file.
    pub frames: u64,
    /// Frames that passed the kernel's filter, lost ones included.
    pub received: u64,
    /// Frames lost because the buffer was full.
    pub dropped: u64,
}
