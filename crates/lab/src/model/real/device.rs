//! The device at the world's edge: frames in and out.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use transect_host::{DeviceId, Packet};

use super::{AttachKind, NODE};
use crate::error::WorldError;
use crate::model::network::Network;

/// The longest IP packet, and a link header.
const LONGEST: usize = 65_535 + 14;

/// The open TUN or TAP device, and the host's device that is joined to it.
pub(super) struct Outside {
    file: File,
    kind: AttachKind,
    device: DeviceId,
    buffer: Vec<u8>,
    unsent: u64,
}

impl Outside {
    pub(super) fn new(file: File, kind: AttachKind, device: DeviceId) -> Result<Self, WorldError> {
        let doing = |error| WorldError(format!("making the device's descriptor not wait: {error}"));
        let flags = fcntl_getfl(&file).map_err(doing)?;
        fcntl_setfl(&file, flags | OFlags::NONBLOCK).map_err(doing)?;
        Ok(Outside {
            file,
            kind,
            device,
            buffer: vec![0; LONGEST],
            unsent: 0,
        })
    }

    /// Frames that the device did not take: it is down, or says that they are none.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Gives the device every frame that has left the world.
    pub(super) fn send(&mut self, network: &mut Network) -> Result<(), WorldError> {
        while let Some(frame) = network.take_departed() {
            let bytes = match self.kind {
                AttachKind::Tun => frame.network(),
                AttachKind::Tap => frame.frame(),
            };
            match rustix::io::write(&self.file, bytes) {
                Ok(_) => {}
                Err(Errno::BADFD | Errno::BADF) => return Err(gone()),
                // EIO: it is down. What else it does not take is lost, as on a wire.
                Err(_) => self.unsent = self.unsent.saturating_add(1),
            }
        }
        Ok(())
    }

    /// Takes what waits at the device, up to so many frames.
    pub(super) fn receive(&mut self, network: &mut Network, most: usize) -> Result<(), WorldError> {
        for _ in 0..most {
            let count = match rustix::io::read(&self.file, &mut self.buffer[..]) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR | Errno::IO) => return Ok(()),
                Err(Errno::BADFD | Errno::BADF) => return Err(gone()),
                Err(error) => return Err(WorldError(format!("reading a frame: {error}"))),
            };
            let bytes = self.buffer.get(..count).unwrap_or_default();
            let frame = match self.kind {
                AttachKind::Tun => Packet::from_network(bytes),
                AttachKind::Tap => Packet::from_frame(bytes.to_vec()),
            };
            network.enter_outside(NODE, self.device, frame);
        }
        Ok(())
    }
}

impl AsFd for Outside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn gone() -> WorldError {
    WorldError::new("the device is gone: somebody deleted it")
}
