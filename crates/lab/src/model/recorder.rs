//! What a host's taps show, as a pcapng file like the one that `transect collect` writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use transect_config::HostConfig;
use transect_host::{DeviceId, Tapped};
use transect_packet::bpf::Program;
use transect_packet::{FrameDirection, InterfaceDescription, LinkType, MacAddress, PcapngWriter};
use transect_path::Timestamp;

use crate::error::WorldError;

/// What is written of the frames.
pub(super) struct Recording<'a> {
    /// What they begin with.
    pub(super) link: LinkType,
    /// Bytes kept of each.
    pub(super) snap_length: u32,
    /// The filter's text.
    pub(super) filter: Option<&'a str>,
    /// What is captured; everything where there is none.
    pub(super) program: Option<Program>,
}

impl Recording<'_> {
    /// What `transect collect` keeps unless it is told otherwise.
    pub(super) const SHORT: u32 = 256;
    #[cfg_attr(
        not(feature = "live"),
        expect(
            dead_code,
            reason = "only a model host on a real device has an outside"
        )
    )]
    /// More than any frame has.
    pub(super) const WHOLE: u32 = 262_144;
}

/// One interface of the file.
struct Interface {
    device: DeviceId,
    name: String,
    number: u32,
    frames: u64,
}

/// Writes one host's capture.
pub(super) struct Recorder {
    writer: PcapngWriter<BufWriter<File>>,
    interfaces: BTreeMap<DeviceId, Interface>,
    snap_length: usize,
    program: Option<Program>,
}

impl Recorder {
    /// Begins the file, with an interface for each device that is up.
    pub(super) fn create(
        path: &Path,
        config: &HostConfig,
        devices: &[(DeviceId, String)],
        recording: Recording<'_>,
    ) -> Result<Self, WorldError> {
        let writing = || WorldError::doing::<std::io::Error>(format!("writing {}", path.display()));
        let file = File::create(path).map_err(writing())?;
        let mut writer = PcapngWriter::new(BufWriter::new(file)).map_err(writing())?;
        let mut interfaces = BTreeMap::new();
        for (device, name) in devices {
            let Some(link) = config.link(name).filter(|link| link.is_up()) else {
                continue;
            };
            let addresses = config.addresses.iter().flatten();
            let description = InterfaceDescription {
                name: name.clone(),
                link: recording.link,
                snap_length: recording.snap_length,
                mac: link.mac.map(MacAddress),
                addresses: addresses
                    .filter(|address| address.device == *name)
                    .map(|address| (address.local, address.prefix_length))
                    .collect(),
                filter: recording.filter.map(str::to_owned),
            };
            let number = writer.add_interface(&description).map_err(writing())?;
            let interface = Interface {
                device: *device,
                name: name.clone(),
                number,
                frames: 0,
            };
            interfaces.insert(*device, interface);
        }
        Ok(Recorder {
            writer,
            interfaces,
            snap_length: usize::try_from(recording.snap_length).unwrap_or(usize::MAX),
            program: recording.program,
        })
    }

    /// Writes a frame, if it is one that is captured. On the loopback device a frame is written once, when it comes in, as
    /// libpcap does.
    pub(super) fn record(&mut self, tapped: &Tapped) -> Result<(), WorldError> {
        if tapped.device == DeviceId::LOOPBACK && tapped.direction == FrameDirection::Out {
            return Ok(());
        }
        let length = u32::try_from(tapped.bytes.len()).unwrap_or(u32::MAX);
        let wanted = self.program.as_ref();
        if !wanted.is_none_or(|program| program.matches(&tapped.bytes, length)) {
            return Ok(());
        }
        let Some(interface) = self.interfaces.get_mut(&tapped.device) else {
            return Ok(());
        };
        interface.frames += 1;
        let kept = tapped
            .bytes
            .get(..self.snap_length)
            .unwrap_or(&tapped.bytes);
        self.writer
            .write_frame(
                interface.number,
                tapped.at,
                Some(tapped.direction),
                length,
                kept,
            )
            .map_err(WorldError::doing(format!(
                "writing a frame of {}",
                interface.name
            )))
    }

    /// The devices that are captured.
    pub(super) fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.interfaces.values().map(|interface| interface.device)
    }

    /// Completes the file.
    pub(super) fn finish(mut self, now: Timestamp) -> Result<(), WorldError> {
        let doing = || WorldError::doing::<std::io::Error>("completing a capture");
        for interface in self.interfaces.values() {
            self.writer
                .write_statistics(interface.number, now, interface.frames, None, 0)
                .map_err(doing())?;
        }
        self.writer.into_inner().map(drop).map_err(doing())
    }
}
