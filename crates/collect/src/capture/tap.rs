//! One tap: the frames that go one way on one interface, through libpcap.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};

use pcap::{Active, Capture, Direction, Precision};
use rustix::io::FdFlags;
use socket2::{SockFilter, SockRef};
use transect_packet::{LinkType, MAX_FRAME_LENGTH};
use transect_path::Timestamp;

use super::CaptureOptions;
use crate::filter::{Filter, TapPrograms, Way};

/// How many frames to take before somebody else gets a turn.
const BATCH: usize = 1024;

/// `DLT_RAW` on Linux; in files it is LINKTYPE_RAW.
const DLT_RAW: i32 = 12;

/// An open tap.
pub(super) struct Tap {
    handle: Capture<Active>,
    way: Way,
    link_type: LinkType,
    programs: TapPrograms,
    /// The kernel's program does not say all that is to be said.
    match_always: bool,
    /// Match each frame here too: always, or until those are taken that came in before the kernel's program did.
    match_now: bool,
    /// libpcap's counts when the tap was ready.
    before: Counts,
}

/// What a tap took in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Frames that passed the kernel's filter, lost ones included.
    pub(super) received: u64,
    /// Frames that the kernel had no room for.
    pub(super) dropped: u64,
}

/// One frame as a tap delivers it.
pub(super) struct Taken<'a> {
    pub(super) time: Timestamp,
    pub(super) original_length: u32,
    pub(super) data: &'a [u8],
}

impl Tap {
    /// Opens a tap. From the return on, every frame that goes this way and matches is taken; some from shortly before too.
    pub(super) fn open(
        device: &str,
        way: Way,
        filter: &Filter,
        options: &CaptureOptions,
    ) -> Result<Self, pcap::Error> {
        let snap_length = options.snap_length.get().min(MAX_FRAME_LENGTH);
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let handle = Capture::from_device(device)?
            .promisc(false)
            .snaplen(number(snap_length))
            .buffer_size(number(options.buffer.get()))
            // Each frame can be read as soon as it is there, so nothing is left in the kernel at the end; and an idle tap
            // costs no timer.
            .immediate_mode(true)
            .precision(Precision::Nano)
            .open()?
            .setnonblock()?;
        // libpcap lets programs that are started inherit its sockets, and a daemon would keep them open.
        rustix::io::fcntl_setfd(&handle, FdFlags::CLOEXEC)
            .map_err(|error| pcap::Error::PcapError(format!("marking its socket: {error}")))?;
        handle.direction(match way {
            Way::In => Direction::In,
            Way::Out => Direction::Out,
        })?;
        let link_type = match handle.get_datalink().0 {
            DLT_RAW => LinkType::RAW,
            other => LinkType(u16::try_from(other).unwrap_or(u16::MAX)),
        };
        let snap_length = NonZeroU32::new(snap_length).unwrap_or(CaptureOptions::SNAP_LENGTH);
        let programs = filter.tap_programs(link_type, way, snap_length);
        let kernel: Vec<SockFilter> = programs
            .kernel
            .iter()
            .map(|one| SockFilter::new(one.code, one.jt, one.jf, one.k))
            .collect();
        // A program too large for the kernel is run here instead.
        let attached = SockRef::from(&handle).attach_filter(&kernel).is_ok();
        let mut tap = Tap {
            handle,
            way,
            link_type,
            match_always: !(attached && programs.matches_in_kernel),
            match_now: true,
            programs,
            before: Counts::default(),
        };
        tap.before = tap.counts_of_handle();
        Ok(tap)
    }

    /// Which way its frames go.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// What its frames begin with.
    pub(super) fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Takes frames that are there; false when none is left.
    pub(super) fn take(&mut self, mut each: impl FnMut(Taken<'_>)) -> Result<bool, pcap::Error> {
        let (programs, match_here) = (&self.programs, self.match_now);
        let taken = self.handle.dispatch(Some(BATCH), |packet| {
            let header = packet.header;
            let unwanted =
                |program: &transect_packet::bpf::Program| !program.matches(packet.data, header.len);
            if match_here && programs.captured.as_ref().is_some_and(unwanted) {
                return;
            }
            let longest = usize::try_from(MAX_FRAME_LENGTH).unwrap_or(usize::MAX);
            each(Taken {
                time: Timestamp::from_parts(
                    u64::try_from(header.ts.tv_sec).unwrap_or_default(),
                    // Nanoseconds, since that precision was asked for.
                    u64::try_from(header.ts.tv_usec).unwrap_or_default(),
                ),
                original_length: header.len,
                data: packet.data.get(..longest).unwrap_or(packet.data),
            });
        })?;
        if taken < BATCH {
            self.match_now = self.match_always;
        }
        Ok(taken == BATCH)
    }

    /// What it took in since it was ready.
    pub(super) fn counts(&mut self) -> Counts {
        let now = self.counts_of_handle();
        Counts {
            received: now.received.saturating_sub(self.before.received),
            dropped: now.dropped.saturating_sub(self.before.dropped),
        }
    }

    fn counts_of_handle(&mut self) -> Counts {
        match self.handle.stats() {
            Ok(stats) => Counts {
                received: stats.received.into(),
                dropped: stats.dropped.into(),
            },
            Err(_) => Counts::default(),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}
