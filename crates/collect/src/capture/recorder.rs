//! The thread that captures on one host: opens taps as interfaces come, writes their frames as one file.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::thread::CapabilitySet;
use transect_packet::{FrameDirection, InterfaceDescription, LinkType, PcapngWriter};
use transect_path::{Timestamp, Unseen};

use super::interface::{Link, Links};
use super::merge::{HOLD, HeldFrame, Merge};
use super::tap::{Counts, Taken, Tap};
use super::{CaptureOptions, CaptureSummary, InterfaceSummary};
use crate::Error;
use crate::filter::{Filter, Way};
use crate::wait::{self, poll_for};

/// The shortest time from one look at the taps to the next: a busy host must not be woken for every frame. The kernel's
/// buffers hold many times more than comes in meanwhile.
const PAUSE: Duration = Duration::from_millis(4);

/// What the kernel needs at least for one frame in a tap's buffer: bounds how much can lie there at the end.
const SMALLEST_SLOT: u32 = 128;

/// One interface of the host.
struct Interface {
    link: Link,
    /// Its taps while it is captured.
    taps: Vec<Tap>,
    /// Its number in the file, and what its frames begin with, once it was captured.
    recorded: Option<(u32, LinkType)>,
    frames: u64,
    /// What taps that are closed had taken in.
    counts: Counts,
    /// Why it is not captured.
    refused: Option<String>,
}

/// Captures on one host. Lives on a thread inside the host's namespace.
pub(super) struct Recorder {
    filter: Arc<Filter>,
    options: CaptureOptions,
    path: PathBuf,
    writer: PcapngWriter<BufWriter<File>>,
    links: Option<Links>,
    interfaces: Vec<Interface>,
    merge: Merge,
    unseen: Vec<Unseen>,
}

impl Recorder {
    /// Opens the file, and taps on all interfaces that there are.
    pub(super) fn open(
        filter: Arc<Filter>,
        options: CaptureOptions,
        path: PathBuf,
    ) -> Result<Self, Error> {
        let writer = File::create(&path)
            .and_then(|file| PcapngWriter::new(BufWriter::with_capacity(1 << 18, file)))
            .map_err(Error::system(format!("writing {}", path.display())))?;
        let mut unseen = Vec::new();
        let links = open_links(&mut unseen);
        let mut recorder = Recorder {
            filter,
            options,
            path,
            writer,
            links,
            interfaces: Vec::new(),
            merge: Merge::default(),
            unseen,
        };
        recorder.follow_links()?;
        Ok(recorder)
    }

    /// The names of the interfaces that are captured now.
    pub(super) fn interfaces(&self) -> Vec<String> {
        self.interfaces
            .iter()
            .filter(|interface| !interface.taps.is_empty())
            .map(|interface| interface.link.name.clone())
            .collect()
    }

    /// Captures until `stop` is readable, then takes what is left and completes the file.
    pub(super) fn run(mut self, stop: BorrowedFd<'_>) -> Result<CaptureSummary, Error> {
        loop {
            let woken = self.wait(stop)?;
            if woken.stop {
                break;
            }
            let now = wait::now();
            let mut any = false;
            for index in woken.taps {
                any |= self.read(index, 1);
            }
            // After the frames: those of an interface that went away are taken before its taps are closed.
            if woken.links && self.links.as_mut().is_some_and(Links::changed) {
                self.follow_links()?;
            }
            if self.merge.is_due(now) {
                self.release(now)?;
            }
            if any {
                self.pause(stop)?;
            }
        }
        self.finish()
    }

    fn wait(&self, stop: BorrowedFd<'_>) -> Result<Woken, Error> {
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        let links = self.links.as_ref().map(Links::as_fd);
        let first_tap = fds.len() + usize::from(links.is_some());
        fds.extend(links.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let mut owners = Vec::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            for tap in &interface.taps {
                fds.push(PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN));
                owners.push(index);
            }
        }
        let timeout = (!self.merge.is_empty()).then_some(HOLD);
        poll_for(&mut fds, timeout)?;
        let readable = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut taps: Vec<usize> = fds
            .iter()
            .skip(first_tap)
            .zip(owners)
            .filter(|(fd, _)| readable(fd))
            .map(|(_, owner)| owner)
            .collect();
        taps.dedup();
        Ok(Woken {
            stop: fds.first().is_some_and(readable),
            links: links.is_some() && fds.get(1).is_some_and(readable),
            taps,
        })
    }

    /// Lets frames gather, unless something else happens.
    fn pause(&self, stop: BorrowedFd<'_>) -> Result<(), Error> {
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        let links = self.links.as_ref().map(Links::as_fd);
        fds.extend(links.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        poll_for(&mut fds, Some(PAUSE))
    }

    /// Takes frames of one interface, at most `rounds` batches of each tap; true when there were some. Taps that fail
    /// are closed.
    fn read(&mut self, index: usize, rounds: u32) -> bool {
        let Some(interface) = self.interfaces.get_mut(index) else {
            return false;
        };
        let Some((number, _)) = interface.recorded else {
            return false;
        };
        let before = interface.frames;
        let mut failed = None;
        for tap in &mut interface.taps {
            let direction = match tap.way() {
                Way::In => FrameDirection::In,
                Way::Out => FrameDirection::Out,
            };
            for _ in 0..rounds {
                let taken = tap.take(|frame: Taken<'_>| {
                    interface.frames = interface.frames.saturating_add(1);
                    self.merge.push(HeldFrame {
                        time: frame.time,
                        interface: number,
                        direction,
                        original_length: frame.original_length,
                        data: frame.data.into(),
                    });
                });
                match taken {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = failed {
            tracing::debug!(interface = interface.link.name, %error, "capture ended");
            interface.close();
            interface.refused = Some(format!("the capture ended: {error}"));
        }
        interface.frames > before
    }

    /// Opens taps on interfaces that appeared or came up, and closes those of interfaces that are gone.
    fn follow_links(&mut self) -> Result<(), Error> {
        let Some(links) = &mut self.links else {
            return Ok(());
        };
        let (list, addresses) = match (links.list(), links.addresses()) {
            (Ok(list), Ok(addresses)) => (list, addresses),
            (Err(error), _) | (_, Err(error)) => {
                self.note(
                    "capture/*",
                    &format!("interfaces cannot be listed: {error}"),
                );
                return Ok(());
            }
        };
        let gone = |interface: &Interface| !list.iter().any(|link| same(link, &interface.link));
        for index in 0..self.interfaces.len() {
            if self.interfaces.get(index).is_some_and(gone) {
                self.read(index, u32::MAX);
                if let Some(interface) = self.interfaces.get_mut(index) {
                    interface.close();
                    // It was captured while it was there, or was never up: nothing passed unseen.
                    interface.refused = None;
                }
            }
        }
        for link in list {
            let addresses = addresses.get(&link.index).cloned().unwrap_or_default();
            self.follow(link, addresses)?;
        }
        Ok(())
    }

    fn follow(&mut self, link: Link, addresses: Vec<(std::net::IpAddr, u8)>) -> Result<(), Error> {
        let known = |interface: &Interface| same(&interface.link, &link);
        let index = match self.interfaces.iter().position(known) {
            Some(index) => index,
            None => {
                self.interfaces.push(Interface::new(link.clone()));
                self.interfaces.len().saturating_sub(1)
            }
        };
        let Some(interface) = self.interfaces.get_mut(index) else {
            return Ok(());
        };
        interface.link.up = link.up;
        if !interface.taps.is_empty() {
            return Ok(());
        }
        if !link.up {
            if interface.recorded.is_none() {
                interface.refused = Some("the interface was down".to_owned());
            }
            return Ok(());
        }
        let taps = match open_taps(&link, &self.filter, &self.options) {
            Ok(taps) => taps,
            Err(error) => {
                interface.refused = Some(error.to_string());
                return Ok(());
            }
        };
        let link_type = taps.first().map_or(LinkType::ETHERNET, Tap::link_type);
        if interface.recorded.is_none() {
            let description = InterfaceDescription {
                name: link.name.clone(),
                link: link_type,
                snap_length: self.options.snap_length.get(),
                mac: link.mac,
                addresses,
                filter: self.filter.text().map(str::to_owned),
            };
            let number = self
                .writer
                .add_interface(&description)
                .map_err(Error::system(format!("writing {}", self.path.display())))?;
            interface.recorded = Some((number, link_type));
        }
        interface.refused = None;
        interface.taps = taps;
        Ok(())
    }

    fn release(&mut self, now: Timestamp) -> Result<(), Error> {
        write(&mut self.writer, self.merge.release(now))
            .map_err(Error::system(format!("writing {}", self.path.display())))
    }

    fn finish(mut self) -> Result<CaptureSummary, Error> {
        let rounds = self.options.buffer.get() / SMALLEST_SLOT / 1024 + 1;
        for index in 0..self.interfaces.len() {
            self.read(index, rounds);
        }
        for interface in &mut self.interfaces {
            interface.close();
        }
        let failed = || Error::system(format!("writing {}", self.path.display()));
        write(&mut self.writer, self.merge.finish()).map_err(failed())?;
        let now = wait::now();
        let mut summaries = Vec::new();
        for interface in &self.interfaces {
            let Some((number, link_type)) = interface.recorded else {
                continue;
            };
            let Counts { received, dropped } = interface.counts;
            self.writer
                .write_statistics(number, now, received, None, dropped)
                .map_err(failed())?;
            summaries.push((number, interface.summary(link_type)));
        }
        self.writer.flush().map_err(failed())?;
        summaries.sort_by_key(|(number, _)| *number);
        let mut unseen = self.unseen;
        unseen.extend(self.interfaces.iter().filter_map(Interface::unseen));
        Ok(CaptureSummary {
            interfaces: summaries.into_iter().map(|(_, summary)| summary).collect(),
            unseen,
        })
    }

    fn note(&mut self, meter: &str, why: &str) {
        if !self.unseen.iter().any(|unseen| unseen.meter == meter) {
            self.unseen.push(Unseen {
                meter: meter.to_owned(),
                why: why.to_owned(),
            });
        }
    }
}

/// What a wait ended with.
struct Woken {
    stop: bool,
    links: bool,
    /// Interfaces with frames or with an error.
    taps: Vec<usize>,
}

impl Interface {
    fn new(link: Link) -> Self {
        Interface {
            link,
            taps: Vec::new(),
            recorded: None,
            frames: 0,
            counts: Counts::default(),
            refused: None,
        }
    }

    /// Closes the taps and keeps what they counted.
    fn close(&mut self) {
        for mut tap in self.taps.drain(..) {
            let counts = tap.counts();
            self.counts.received = self.counts.received.saturating_add(counts.received);
            self.counts.dropped = self.counts.dropped.saturating_add(counts.dropped);
        }
    }

    fn summary(&self, link_type: LinkType) -> InterfaceSummary {
        InterfaceSummary {
            name: self.link.name.clone(),
            link_type,
            frames: self.frames,
            received: self.counts.received,
            dropped: self.counts.dropped,
        }
    }

    fn unseen(&self) -> Option<Unseen> {
        // A loopback interface that is down is what every new namespace has; nothing is missed there.
        if self.link.loopback && !self.link.up {
            return None;
        }
        self.refused.as_ref().map(|why| Unseen {
            meter: format!("capture/{}", self.link.name),
            why: why.clone(),
        })
    }
}

/// Indexes are not used again soon, names are: an interface that was made anew is another one.
fn same(one: &Link, other: &Link) -> bool {
    one.index == other.index
}

fn open_links(unseen: &mut Vec<Unseen>) -> Option<Links> {
    let mut note = |why: String| {
        unseen.push(Unseen {
            meter: "capture/*".to_owned(),
            why,
        });
        None
    };
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_RAW));
    if !capable {
        return note("needs CAP_NET_RAW: run as root".to_owned());
    }
    match Links::open() {
        Ok(links) => Some(links),
        Err(error) => note(format!("interfaces cannot be listed: {error}")),
    }
}

fn open_taps(
    link: &Link,
    filter: &Filter,
    options: &CaptureOptions,
) -> Result<Vec<Tap>, pcap::Error> {
    // libpcap leaves out what goes out on the loopback interface: it comes in there as well.
    let ways: &[Way] = if link.loopback {
        &[Way::In]
    } else {
        &[Way::In, Way::Out]
    };
    ways.iter()
        .map(|&way| Tap::open(&link.name, way, filter, options))
        .collect()
}

fn write(
    writer: &mut PcapngWriter<BufWriter<File>>,
    frames: std::vec::Drain<'_, HeldFrame>,
) -> std::io::Result<()> {
    for frame in frames {
        writer.write_frame(
            frame.interface,
            frame.time,
            Some(frame.direction),
            frame.original_length,
            &frame.data,
        )?;
    }
    Ok(())
}
