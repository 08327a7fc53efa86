//! Links with conditions: two TAP devices, and a thread that carries frames between them as the model's wire does, in real time.
//!
//! The development kernel has no netem; and so the same wire, drawing from the same seed, serves both worlds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use transect_host::Packet;
use transect_path::Timestamp;

use super::{HostNamespace, WorldError};
use crate::model::wire::Wire;

/// The longest frame of a device with the largest MTU.
const LONGEST: usize = 65_535 + 14;
/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Frames that are taken from one end before the other one has its turn.
const TURN: usize = 64;

/// A link that carries frames until it is dropped.
pub(crate) struct Relay {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Makes a TAP device in a namespace; it is there as long as the file is open.
pub(super) fn open(host: &HostNamespace, name: &str) -> Result<File, WorldError> {
    let doing = || format!("{}: making the device {name}", host.name());
    let owned = name.to_owned();
    let made = host.run(move || transect_sys::open_tap(&owned));
    let file = made
        .and_then(|opened| opened)
        .map_err(WorldError::doing(doing()))?;
    fcntl_getfl(&file)
        .and_then(|flags| fcntl_setfl(&file, flags | OFlags::NONBLOCK))
        .map_err(WorldError::doing(doing()))?;
    Ok(file)
}

impl Relay {
    /// Joins two devices, with a wire for each direction: the first carries what the first device sends.
    pub(super) fn start(ends: [File; 2], wires: [Wire; 2]) -> Result<Self, WorldError> {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::Builder::new()
            .name("lab-link".to_owned())
            .spawn(move || Carrier::new(ends, wires).carry_until(&seen))
            .map_err(WorldError::doing("starting a thread"))?;
        Ok(Relay {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by its own message.
            let _ = thread.join();
        }
    }
}

/// A frame on its way: when it arrives, in which order it left, at which end, its bytes.
type Under = Reverse<(Timestamp, u64, usize, Vec<u8>)>;

/// What the thread works with.
struct Carrier {
    ends: [File; 2],
    wires: [Wire; 2],
    began: Instant,
    /// The earliest is on top.
    under: BinaryHeap<Under>,
    sent: u64,
    buffer: Vec<u8>,
}

impl Carrier {
    fn new(ends: [File; 2], wires: [Wire; 2]) -> Self {
        Carrier {
            ends,
            wires,
            began: Instant::now(),
            under: BinaryHeap::new(),
            sent: 0,
            buffer: vec![0; LONGEST],
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn carry_until(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            for end in 0..self.ends.len() {
                self.take(end);
            }
            self.deliver();
            self.wait();
        }
    }

    /// Takes what a device sends.
    fn take(&mut self, end: usize) {
        for _ in 0..TURN {
            let (Some(file), now) = (self.ends.get(end), self.now()) else {
                return;
            };
            // A device that is down, or gone with its namespace, sends nothing.
            let Ok(count) = rustix::io::read(file, &mut self.buffer[..]) else {
                return;
            };
            let bytes = self.buffer.get(..count).unwrap_or_default().to_vec();
            let Some(wire) = self.wires.get_mut(end) else {
                return;
            };
            for (at, frame) in wire.carry(now, Packet::from_frame(bytes)) {
                self.sent += 1;
                let bytes = frame.frame().to_vec();
                self.under.push(Reverse((at, self.sent, 1 - end, bytes)));
            }
        }
    }

    /// Gives the devices what has arrived.
    fn deliver(&mut self) {
        let now = self.now();
        while self
            .under
            .peek()
            .is_some_and(|Reverse(first)| first.0 <= now)
        {
            let Some(Reverse((_, _, end, bytes))) = self.under.pop() else {
                return;
            };
            if let Some(file) = self.ends.get(end) {
                // What a device that is down does not take is lost, as on a wire.
                let _ = rustix::io::write(file, &bytes);
            }
        }
    }

    /// Until a frame comes or arrives.
    fn wait(&self) {
        let next = self.under.peek().map(|Reverse(first)| first.0);
        let left = next.map_or(LOOK, |at| at.since(self.now()).min(LOOK));
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut ends: Vec<PollFd<'_>> = self
            .ends
            .iter()
            .map(|file| PollFd::new(file, PollFlags::IN))
            .collect();
        // Interrupted: the next turn looks again.
        let _ = poll(&mut ends, Some(&left));
    }
}
