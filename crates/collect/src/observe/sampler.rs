//! The thread that takes one host's readings: before, by the clock, at announced changes, and after.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use transect_evidence::bundle::{self, HostWriter, Phase};
use transect_path::Unseen;

use crate::namespace::join;
use crate::wait::{Event, poll_for};
use crate::{Error, Namespace, RawReading, ReadingSource, Scope};

/// How long to let changes gather: tools make them in bursts.
const GATHER: Duration = Duration::from_millis(50);
/// The shortest time between two full readings because of changes.
const REST: Duration = Duration::from_millis(250);
/// And at least this many times as long as the last one took: reading must not become the load.
const REST_FACTOR: u32 = 5;
/// So many changes are named; the rest is counted.
const NAMED: usize = 8;

/// The readings of one host, on a thread of its own inside the host's namespace.
#[derive(Debug)]
pub(super) struct Sampler {
    thread: Option<JoinHandle<Result<Sampled, Error>>>,
    ready: Receiver<()>,
    stop: Arc<Event>,
}

/// What the thread comes back with.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) writer: HostWriter,
    pub(super) readings: u32,
    pub(super) unseen: Vec<Unseen>,
}

impl Sampler {
    /// Starts reading; [`ready`](Self::ready) tells when the first reading is written.
    pub(super) fn start(
        namespace: &Arc<Namespace>,
        writer: HostWriter,
        interval: Duration,
    ) -> Result<Self, Error> {
        let stop = Arc::new(Event::new()?);
        let (announce, ready) = sync_channel(1);
        let asked = Arc::clone(&stop);
        let thread = namespace.spawn("readings", move || {
            let (source, unseen) = ReadingSource::open();
            Readings::new(source, writer, unseen).run(interval, asked.as_fd(), &announce)
        })?;
        Ok(Sampler {
            thread: Some(thread),
            ready,
            stop,
        })
    }

    /// Waits until the first reading is written.
    pub(super) fn ready(&mut self) -> Result<(), Error> {
        match self.ready.recv() {
            Ok(()) => Ok(()),
            // The thread ended before: its own error says why.
            Err(_) => self.join().map(drop),
        }
    }

    /// Asks for the last reading, without waiting for it.
    pub(super) fn ask_to_end(&self) {
        self.stop.raise();
    }

    /// Takes the last reading and ends.
    pub(super) fn finish(mut self) -> Result<Sampled, Error> {
        self.join()
    }

    fn join(&mut self) -> Result<Sampled, Error> {
        self.ask_to_end();
        match self.thread.take() {
            Some(thread) => join(thread),
            None => Err(Error::Stopped),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.ask_to_end();
        if let Some(thread) = self.thread.take() {
            // Given up: only that it ended matters.
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Readings {
    source: ReadingSource,
    writer: HostWriter,
    unseen: Vec<Unseen>,
    taken: u32,
    /// Before this moment no reading because of changes.
    rested: Instant,
}

impl Readings {
    fn new(source: ReadingSource, writer: HostWriter, unseen: Vec<Unseen>) -> Self {
        Readings {
            source,
            writer,
            unseen,
            taken: 0,
            rested: Instant::now(),
        }
    }

    fn run(
        mut self,
        interval: Duration,
        stop: BorrowedFd<'_>,
        announce: &SyncSender<()>,
    ) -> Result<Sampled, Error> {
        // What was announced until now will be in the reading; what is announced while it is taken may not be.
        self.source.drain_changes();
        self.take(Scope::Full, Phase::Before, "the observation starts")?;
        // Nobody listens any more when the start failed elsewhere; then `stop` is raised too.
        let _ = announce.send(());
        // A clock that ticks without rest would starve everything else.
        let interval = interval.max(Duration::from_millis(10));
        let mut next_sample = Instant::now() + interval;
        let mut change_due: Option<Instant> = None;
        loop {
            let until = change_due.map_or(next_sample, |due| due.min(next_sample));
            let (stopped, announced) = self.wait(stop, until, change_due.is_none())?;
            if stopped {
                break;
            }
            let now = Instant::now();
            if announced && change_due.is_none() {
                change_due = Some((now + GATHER).max(self.rested));
            }
            if change_due.is_some_and(|due| due <= now) {
                change_due = None;
                let why = in_words(&self.source.drain_changes());
                self.take(Scope::Full, Phase::Change, &why)?;
                // All that a sample holds has just been read.
                next_sample = Instant::now() + interval;
            } else if next_sample <= now {
                self.take(Scope::Sample, Phase::Sample, "the clock")?;
                next_sample = (next_sample + interval).max(Instant::now());
            }
        }
        let mut why = "the observation ends".to_owned();
        let changes = self.source.drain_changes();
        if !changes.is_empty() {
            why.push_str("; shortly before: ");
            why.push_str(&in_words(&changes));
        }
        self.take(Scope::Full, Phase::After, &why)?;
        Ok(Sampled {
            writer: self.writer,
            readings: self.taken,
            unseen: self.unseen,
        })
    }

    /// Waits until `until`; tells whether to stop, and whether changes were announced.
    fn wait(
        &self,
        stop: BorrowedFd<'_>,
        until: Instant,
        listen: bool,
    ) -> Result<(bool, bool), Error> {
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        let changes = self.source.as_fd().filter(|_| listen);
        fds.extend(changes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        poll_for(
            &mut fds,
            Some(until.saturating_duration_since(Instant::now())),
        )?;
        let readable = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok((readable(0), readable(1)))
    }

    fn take(&mut self, scope: Scope, phase: Phase, why: &str) -> Result<(), Error> {
        let began = Instant::now();
        let reading = self.source.take(scope);
        let took = began.elapsed();
        if phase == Phase::Change {
            let rest = REST.max(took.saturating_mul(REST_FACTOR));
            self.rested = Instant::now() + rest;
        }
        tracing::debug!(?phase, ?took, files = reading.files.len(), "reading taken");
        self.writer.write_reading(phase, why, for_bundle(reading))?;
        self.taken = self.taken.saturating_add(1);
        Ok(())
    }
}

fn for_bundle(reading: RawReading) -> bundle::RawReading {
    bundle::RawReading {
        started: reading.started,
        ended: reading.ended,
        files: reading
            .files
            .into_iter()
            .map(|file| bundle::RawFile {
                name: file.name,
                bytes: file.bytes,
            })
            .collect(),
        unseen: reading.unseen,
    }
}

/// The changes as one line.
fn in_words(changes: &[String]) -> String {
    let mut words = match changes.get(..NAMED) {
        Some(named) => named.join("; "),
        None => changes.join("; "),
    };
    let more = changes.len().saturating_sub(NAMED);
    if more > 0 {
        words.push_str(&format!("; and {more} more"));
    }
    if words.is_empty() {
        words.push_str("a change was announced");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_one_line() {
        let changes = |count: usize| {
            (0..count)
                .map(|number| format!("route {number}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(in_words(&[]), "a change was announced");
        assert_eq!(in_words(&changes(2)), "route 0; route 1");
        assert!(in_words(&changes(8)).ends_with("; route 7"));
        assert!(in_words(&changes(10)).ends_with("; route 7; and 2 more"));
    }
}
