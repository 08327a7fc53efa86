//! Receiving 3: XDP programs (`bpf_prog_run_xdp`): native ones in the driver, before there is a packet for the backlog; generic ones
//! in the stack, between backlog and tap (`do_xdp_generic`).
//!
//! A program is a list of pcap filter expressions, each with an action; the first that matches decides, and what none matches
//! passes.

use transect_config::XdpMode;
use transect_packet::{LinkType, bpf};
use transect_path::{Point, Timestamp};

use crate::device::{DeviceId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::host::Host;
use crate::packet::{ChecksumState, Packet};
use crate::stack::Stack;

/// What a program does with a frame (`enum xdp_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAction {
    /// XDP_PASS: it goes on.
    Pass,
    /// XDP_DROP.
    Drop,
    /// XDP_TX: back out of the device by which it came, past its queue and tap.
    Transmit,
    /// XDP_REDIRECT: out of another device, past that one's queue and tap.
    Redirect(DeviceId),
    /// XDP_ABORTED: the program failed; it is dropped.
    Aborted,
}

/// One line of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpRule {
    /// Which frames, as a pcap filter expression; empty: every one.
    pub filter: String,
    /// What becomes of them.
    pub action: XdpAction,
}

/// An XDP program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// Its name, as `ip link` shows it.
    pub name: String,
    /// What it does, the first rule that matches first.
    pub rules: Vec<XdpRule>,
}

/// A program that is attached to a device.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) mode: XdpMode,
    pub(crate) name: String,
    /// Without a filter: every frame.
    rules: Vec<(Option<bpf::Program>, XdpAction)>,
    pub(crate) statistics: XdpStatistics,
}

/// What the driver counts of a native program (`ethtool -S`, `rx_queue_0_…`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct XdpStatistics {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Redirected to where it could not go.
    pub(crate) rx_drops: u64,
    pub(crate) redirect: u64,
    /// Dropped or aborted.
    pub(crate) drops: u64,
    pub(crate) tx: u64,
    pub(crate) tx_errors: u64,
}

impl Attached {
    fn new(program: XdpProgram, link_type: LinkType) -> Result<Self, String> {
        let rules = program.rules.into_iter().map(|rule| {
            let filter = rule.filter.trim();
            let compile = |filter| bpf::compile(filter, link_type);
            let compiled = (!filter.is_empty()).then_some(filter).map(compile);
            let compiled = compiled.transpose().map_err(|error| error.to_string())?;
            Ok((compiled, rule.action))
        });
        Ok(Attached {
            mode: program.mode,
            name: program.name,
            rules: rules.collect::<Result<_, String>>()?,
            statistics: XdpStatistics::default(),
        })
    }

    fn decide(&self, frame: &[u8]) -> XdpAction {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut rules = self.rules.iter();
        let matches = |program: &bpf::Program| program.matches(frame, length);
        let found = rules.find(|(program, _)| program.as_ref().is_none_or(matches));
        found.map_or(XdpAction::Pass, |(_, action)| *action)
    }
}

fn add(counter: &mut u64, amount: u64) {
    *counter = counter.wrapping_add(amount);
}

impl Host {
    /// Attaches a program to a device in place of the one that is there, or takes it off.
    ///
    /// # Errors
    /// A filter expression that is none; a native program on a device whose driver runs none (loopback, bridge); one for the
    /// device's hardware; one that makes loopback send what it receives to itself, which would never end.
    pub fn set_xdp(
        &mut self,
        now: Timestamp,
        device: DeviceId,
        program: Option<XdpProgram>,
    ) -> Result<(), String> {
        self.begin(now);
        let Some(known) = self.stack.link.device_mut(device) else {
            return Err(format!("there is no device {}", device.index()));
        };
        let Some(program) = program else {
            known.xdp = None;
            return Ok(());
        };
        let runs = match program.mode {
            XdpMode::Native => matches!(known.kind, DeviceKind::Ethernet | DeviceKind::Tun),
            XdpMode::Generic => true,
            XdpMode::Offload => false,
        };
        if !runs {
            return Err(format!(
                "{} runs no {} XDP programs",
                known.name, program.mode
            ));
        }
        let to_itself = |rule: &XdpRule| match rule.action {
            XdpAction::Transmit => true,
            XdpAction::Redirect(target) => target == device,
            XdpAction::Pass | XdpAction::Drop | XdpAction::Aborted => false,
        };
        // In a kernel such a frame goes round until the program is taken off.
        if known.kind == DeviceKind::Loopback && program.rules.iter().any(to_itself) {
            return Err(format!(
                "{} would receive for ever what the program sends by it",
                known.name
            ));
        }
        let link_type = match known.kind {
            DeviceKind::Tun => LinkType::RAW,
            _ => LinkType::ETHERNET,
        };
        let attached = Attached::new(program, link_type)?;
        // `veth_enable_xdp`
        if attached.mode == XdpMode::Native && known.info_kind.as_deref() == Some("veth") {
            known.features.gro = true;
        }
        known.xdp = Some(attached);
        Ok(())
    }
}

impl Stack {
    /// Runs the device's native program. Nothing: the frame went elsewhere, or died.
    pub(super) fn run_native_xdp(&mut self, id: DeviceId, mut packet: Packet) -> Option<Packet> {
        self.enter(&mut packet, Point::Xdp);
        let Some(action) = self.ask_xdp(id, XdpMode::Native, &packet) else {
            self.leave(&mut packet, Point::Xdp);
            return Some(packet);
        };
        let length = packet.len() as u64;
        // A frame that goes elsewhere has been received as well (`veth_xdp_rcv`).
        if action != XdpAction::Pass {
            self.count_frame(id, &packet);
        }
        let target = match action {
            XdpAction::Redirect(target) => target,
            _ => id,
        };
        let sent = match action {
            XdpAction::Pass | XdpAction::Drop | XdpAction::Aborted => false,
            XdpAction::Transmit | XdpAction::Redirect(_) => self.takes_frames(target, &packet),
        };
        let attached = self.link.device_mut(id)?.xdp.as_mut()?;
        let statistics = &mut attached.statistics;
        add(&mut statistics.packets, 1);
        add(&mut statistics.bytes, length);
        match (action, sent) {
            (XdpAction::Pass, _) => {
                self.leave(&mut packet, Point::Xdp);
                return Some(packet);
            }
            (XdpAction::Drop | XdpAction::Aborted, _) => add(&mut statistics.drops, 1),
            (XdpAction::Transmit, true) => add(&mut statistics.tx, 1),
            (XdpAction::Transmit, false) => add(&mut statistics.tx_errors, 1),
            (XdpAction::Redirect(_), true) => add(&mut statistics.redirect, 1),
            (XdpAction::Redirect(_), false) => add(&mut statistics.rx_drops, 1),
        }
        match sent {
            true => self.send_frame(target, packet),
            // No kind of XDP gives a reason (measured: NOT_SPECIFIED at `veth_xdp_rcv_skb`, `do_xdp_generic`).
            false => self.drop_packet(packet, Point::Xdp, DropReason::NotSpecified),
        }
        None
    }

    /// Runs the device's generic program (`do_xdp_generic`). Nothing: the packet went elsewhere, or died; nobody counts it.
    pub(super) fn run_generic_xdp(&mut self, id: DeviceId, mut packet: Packet) -> Option<Packet> {
        let Some(action) = self.ask_xdp(id, XdpMode::Generic, &packet) else {
            return Some(packet);
        };
        self.enter(&mut packet, Point::Xdp);
        let target = match action {
            XdpAction::Pass => {
                self.leave(&mut packet, Point::Xdp);
                return Some(packet);
            }
            XdpAction::Drop | XdpAction::Aborted => None,
            XdpAction::Transmit => Some(id),
            XdpAction::Redirect(target) => Some(target),
        };
        // `generic_xdp_tx`: straight to the driver.
        match target.filter(|target| self.link.device(*target).is_some_and(|it| it.is_running())) {
            Some(target) => {
                self.leave(&mut packet, Point::Xdp);
                packet.out_device = Some(target);
                self.enter(&mut packet, Point::DriverOut);
                // Nobody is told.
                let _ = self.start_driver(target, packet);
            }
            None => self.drop_packet(packet, Point::Xdp, DropReason::NotSpecified),
        }
        None
    }

    /// What the device's program of that kind says; nothing where there is none.
    fn ask_xdp(&self, id: DeviceId, mode: XdpMode, packet: &Packet) -> Option<XdpAction> {
        let device = self.link.device(id)?;
        let attached = device.xdp.as_ref().filter(|own| own.mode == mode)?;
        Some(attached.decide(device.frame(packet)))
    }

    /// Whether a device sends frames that no stack has made (`ndo_xdp_xmit`, `xdp_ok_fwd_dev`).
    fn takes_frames(&self, id: DeviceId, packet: &Packet) -> bool {
        self.link.device(id).is_some_and(|device| {
            matches!(device.kind, DeviceKind::Ethernet | DeviceKind::Tun)
                && device.is_running()
                && device.fits(packet)
                && device.ring.as_ref().is_none_or(|ring| ring.free > 0)
        })
    }

    /// Out of a device, past everything but its driver. What nobody knows of the bytes any more nobody finishes: a checksum that
    /// was left to the device stays as it is.
    fn send_frame(&mut self, id: DeviceId, mut packet: Packet) {
        self.leave(&mut packet, Point::Xdp);
        packet.checksum = ChecksumState::None;
        packet.segmentation = None;
        packet.out_device = Some(id);
        self.enter(&mut packet, Point::DriverOut);
        // Asked before: only a world that fetches nothing makes it fail, and the driver counts that.
        let _ = self.start_driver(id, packet);
    }
}
