//! Wire formats: captures read and written, frames dissected, flows named, filter programs run.
//!
//! Everything here is pure and streaming: bytes in, plain values out, no allocation per frame, no panic whatever the
//! bytes. What it is not: it opens no socket and no device, keeps no state from one frame to the next (that is
//! `transect-evidence`'s conversations), and takes no view of what a frame means for the host.

mod address;
pub mod bpf;
mod capture;
mod checksum;
mod dissect;
mod flow;
mod link;

pub use address::MacAddress;
pub use capture::{
    CaptureError, CaptureReader, Frame, FrameDirection, Interface, InterfaceDescription,
    MAX_FRAME_LENGTH, PcapngWriter,
};
pub use checksum::transport_checksum;
pub use dissect::{
    ArpOperation, ArpPacket, Dissection, Fragment, IcmpMessage, IcmpVersion, IpHeader, LinkHeader,
    NeighborDiscovery, Network, PacketType, Quoted, SackBlock, SequenceNumber, TcpFlags, TcpHeader,
    TcpOptions, TcpTimestamps, Transport, UdpHeader, dissect,
};
pub use flow::{Endpoint, Tuple, protocol, protocol_name};
pub use link::LinkType;
