//! Capture on every interface of one host, into one pcapng file.
//!
//! Each interface has two taps, one for each direction, because libpcap does not say the direction of an Ethernet frame
//! but does filter by it. On the loopback interface libpcap shows every packet once, as incoming.

mod interface;
mod merge;
mod recorder;
mod tap;

use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use transect_packet::LinkType;
use transect_path::Unseen;

use self::recorder::Recorder;
use crate::filter::Filter;
use crate::namespace::join;
use crate::wait::Event;
use crate::{Error, Namespace};

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
    /// What its frames begin with.
    pub link_type: LinkType,
    /// Frames in the file.
    pub frames: u64,
    /// Frames that passed the kernel's filter, lost ones included.
    pub received: u64,
    /// Frames lost because the buffer was full.
    pub dropped: u64,
}

/// The capture of one host, on a thread of its own inside the host's namespace.
#[derive(Debug)]
pub(crate) struct RunningCapture {
    thread: Option<JoinHandle<Result<CaptureSummary, Error>>>,
    ready: Receiver<Vec<String>>,
    stop: Arc<Event>,
}

impl RunningCapture {
    /// Starts the capture into the file `path`. [`ready`](Self::ready) tells when it stands.
    pub(crate) fn start(
        namespace: &Arc<Namespace>,
        filter: Arc<Filter>,
        options: CaptureOptions,
        path: PathBuf,
    ) -> Result<Self, Error> {
        let stop = Arc::new(Event::new()?);
        let (announce, ready) = sync_channel(1);
        let asked = Arc::clone(&stop);
        let thread = namespace.spawn("capture", move || {
            let recorder = Recorder::open(filter, options, path)?;
            // Nobody listens any more when the start failed elsewhere; then `stop` is raised too.
            let _ = announce.send(recorder.interfaces());
            recorder.run(asked.as_fd())
        })?;
        Ok(RunningCapture {
            thread: Some(thread),
            ready,
            stop,
        })
    }

    /// Waits until every interface's taps are open; the answer is the interfaces' names.
    pub(crate) fn ready(&mut self) -> Result<Vec<String>, Error> {
        match self.ready.recv() {
            Ok(interfaces) => Ok(interfaces),
            // The thread ended before it was ready: its own error says why.
            Err(_) => self.join().map(|_| Vec::new()),
        }
    }

    /// Takes what arrived until now, completes the file, and ends.
    pub(crate) fn finish(mut self) -> Result<CaptureSummary, Error> {
        self.join()
    }

    /// Asks the thread to end, without waiting for it.
    pub(crate) fn ask_to_end(&self) {
        self.stop.raise();
    }

    fn join(&mut self) -> Result<CaptureSummary, Error> {
        self.ask_to_end();
        match self.thread.take() {
            Some(thread) => join(thread),
            None => Ok(CaptureSummary::default()),
        }
    }
}

impl Drop for RunningCapture {
    fn drop(&mut self) {
        self.ask_to_end();
        if let Some(thread) = self.thread.take() {
            // Given up: whether it ended well does not matter any more, only that it ended.
            let _ = thread.join();
        }
    }
}
