//! The link layer: from the next hop's address to the wire, and from the wire to the IP layer.
//!
//! | file | Sending | Receiving |
//! |---|---|---|
//! | `neighbor` | 8, resolution by ARP and ND | answers to both |
//! | `output` | 9 to 11: tc, queueing discipline, tap | |
//! | `offload` | what the device leaves to the stack: segmentation, checksums | |
//! | `driver` | 12 to 14 | 1 and 2 |
//! | `input` | | 3 to 7 |
//! | `bridge` | a bridge's own frames | 7 for a bridge's ports |
//! | `xdp` | | 3, and between 4 and 5 |
//! | `gro` | | 4 where the device merges |

mod bridge;
mod calls;
mod driver;
mod gro;
mod input;
mod neighbor;
mod offload;
mod output;
mod render;
mod setup;
mod xdp;

use std::collections::VecDeque;

use transect_config::HostConfig;

use crate::device::{Device, DeviceId, Features};
use crate::host::DeviceSetup;
use crate::packet::Packet;
use crate::stack::Stack;
use bridge::Forwarding;
use neighbor::Neighbors;
pub(crate) use neighbor::solicited_node;
pub(crate) use offload::finish_checksum;
pub(crate) use xdp::Attached;
pub use xdp::{XdpAction, XdpProgram, XdpRule};

/// Devices, neighbours, queues.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) devices: Vec<Device>,
    neighbors: Neighbors,
    /// What bridges have learned.
    forwarding: Forwarding,
    /// Frames on their way to the wire.
    outbox: VecDeque<(DeviceId, Packet)>,
    /// The per-CPU backlog: received, and not yet shown to anybody (`softnet_data.input_pkt_queue`).
    backlog: VecDeque<Packet>,
    /// Some device may hold segments (GRO).
    holding: bool,
    /// `/proc/net/softnet_stat`.
    softnet: Softnet,
    /// Frames that the taps lost because nobody fetched them.
    taps_lost: u64,
    /// The next number for a queueing discipline's handle.
    next_handle: u16,
}

/// `/proc/net/softnet_stat`, as far as it can move here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Softnet {
    processed: u64,
    dropped: u64,
}

/// Frames that may wait for the world to fetch them: far more than one call can make.
const MOST_WAITING: usize = 1 << 17;

impl Link {
    pub(crate) fn new(config: &HostConfig, devices: &[DeviceSetup]) -> Result<Self, String> {
        let mut link = Link {
            devices: Vec::new(),
            neighbors: Neighbors::default(),
            forwarding: Forwarding::default(),
            outbox: VecDeque::new(),
            backlog: VecDeque::new(),
            holding: false,
            softnet: Softnet::default(),
            taps_lost: 0,
            next_handle: 0x8001,
        };
        link.add_devices(config, devices)?;
        Ok(link)
    }

    /// Whether a frame waits for [`Stack::next_received`], or segments are held.
    #[inline]
    pub(crate) fn has_received(&self) -> bool {
        self.holding || !self.backlog.is_empty()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(DeviceId, Packet)> {
        self.outbox.pop_front()
    }

    /// The numbers of all devices.
    pub(crate) fn device_ids(&self) -> Vec<DeviceId> {
        (0u32..)
            .map(DeviceId)
            .zip(&self.devices)
            .map(|(id, _)| id)
            .collect()
    }

    /// The device of that number.
    #[inline]
    pub(crate) fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(id.0 as usize)
    }

    /// Likewise, to be changed.
    #[inline]
    pub(crate) fn device_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.devices.get_mut(id.0 as usize)
    }

    /// The device of that name.
    pub(crate) fn named(&self, name: &str) -> Option<DeviceId> {
        let index = self.devices.iter().position(|device| device.name == name)?;
        Some(DeviceId(u32::try_from(index).ok()?))
    }
}

impl Stack {
    /// What a device offers; nothing where there is no such device.
    #[inline]
    pub(crate) fn device_features(&self, id: DeviceId) -> Features {
        self.link
            .device(id)
            .map_or(Features::NONE, |device| device.features)
    }

    /// Whether packets at a device come from a program (TUN).
    pub(crate) fn is_tun(&self, id: DeviceId) -> bool {
        let device = self.link.device(id);
        device.is_some_and(|device| device.kind == crate::device::DeviceKind::Tun)
    }

    /// A device's name; empty where there is no such device.
    pub(crate) fn device_name(&self, id: DeviceId) -> &str {
        self.link.device(id).map_or("", |device| &device.name)
    }
}

#[cfg(test)]
mod tests;
