//! The link layer: from the next hop's address to the wire, and from the wire to the IP layer.

use transect_config::HostConfig;

use crate::device::{Device, DeviceId};
use crate::hooks::{Passed, PostRouting};
use crate::host::DeviceSetup;
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::Stack;

/// Devices, neighbours, queues.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) devices: Vec<Device>,
    outbox: std::collections::VecDeque<(DeviceId, Packet)>,
}

impl Link {
    pub(crate) fn new(_config: &HostConfig, _devices: &[DeviceSetup]) -> Result<Self, String> {
        Ok(Link {
            devices: Vec::new(),
            outbox: std::collections::VecDeque::new(),
        })
    }

    /// The configuration changed: static neighbours may be new.
    pub(crate) fn reconfigured(&mut self, _config: &HostConfig) {}

    pub(crate) fn poll_transmit(&mut self) -> Option<(DeviceId, Packet)> {
        self.outbox.pop_front()
    }
}

impl Stack {
    /// Sending 8 to 14: resolves the next hop, and hands the packet to its device. `out_device` and `next_hop` are decided.
    pub(crate) fn neighbor_output(&mut self, _packet: Passed<PostRouting>) -> Result<(), Errno> {
        Ok(())
    }

    /// A packet socket's frame joins at `tc_egress` (Sending 9); with `bypass` it goes on at `driver_out`.
    pub(crate) fn frame_output(&mut self, _packet: Packet, _bypass: bool) -> Result<(), Errno> {
        Ok(())
    }

    /// Receiving 1 to 3: the frame is in the ring, and waits for [`Stack::next_received`].
    pub(crate) fn receive_frame(&mut self, _device: DeviceId, _frame: Packet) {}

    /// Receiving 4 to 7: the next packet for the IP layer.
    pub(crate) fn next_received(&mut self) -> Option<Packet> {
        None
    }

    /// A neighbour solicitation or advertisement that came through IPv6 (`ndisc_rcv`).
    pub(crate) fn neighbor_discovery_input(&mut self, _packet: &Packet) {}

    /// A deadline of address resolution.
    pub(crate) fn handle_neighbor_timer(&mut self, _entry: u32) {}

    /// A queueing discipline may send again.
    pub(crate) fn run_qdisc(&mut self, _device: DeviceId) {}
}
