//! The wish to end an observation: ^C, SIGTERM, or the program's own decision.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Error;
use crate::wait::Event;

/// How urgently to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody asked.
    None,
    /// End the observation, and still give the result.
    Finish,
    /// Asked again: stop at once, without a result.
    AtOnce,
}

/// The wish to end an observation. Clones share it; raising it is final.
#[derive(Debug, Clone)]
pub struct StopSignal {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    raised: AtomicU8,
    /// The number of the first signal, 0 when it was none.
    signal: AtomicI32,
    /// Readable from the first wish on, for good: nobody reads them.
    finish: Event,
    at_once: Event,
}

impl StopSignal {
    /// A wish that only the program itself raises.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new() -> Result<Self, Error> {
        Ok(StopSignal {
            state: Arc::new(State {
                raised: AtomicU8::new(0),
                signal: AtomicI32::new(0),
                finish: Event::new()?,
                at_once: Event::new()?,
            }),
        })
    }

    /// A wish that SIGINT (^C), SIGTERM and SIGHUP raise, for the rest of the process's life.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn on_signals() -> Result<Self, Error> {
        let stop = StopSignal::new()?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(Error::system("catching SIGINT, SIGTERM and SIGHUP"))?;
        let raised = stop.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    raised.raise_by(signal);
                }
            })
            .map_err(Error::system("starting the thread signals"))?;
        Ok(stop)
    }

    /// Asks to stop: the first time to finish, from the second time on to stop at once.
    pub fn raise(&self) {
        self.raise_by(0);
    }

    fn raise_by(&self, signal: i32) {
        let more = |count: u8| Some(count.saturating_add(1));
        let (Ok(before) | Err(before)) =
            self.state
                .raised
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        if before == 0 {
            self.state.signal.store(signal, Ordering::SeqCst);
        }
        if before == 0 {
            self.state.finish.raise();
        } else {
            self.state.at_once.raise();
        }
    }

    /// How urgently to stop now.
    pub fn urgency(&self) -> Urgency {
        match self.state.raised.load(Ordering::SeqCst) {
            0 => Urgency::None,
            1 => Urgency::Finish,
            _ => Urgency::AtOnce,
        }
    }

    /// The signal that raised it first, when it was one.
    pub fn signal(&self) -> Option<i32> {
        match self.state.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Readable once somebody asked to finish.
    pub fn finish_fd(&self) -> BorrowedFd<'_> {
        self.state.finish.as_fd()
    }

    /// Readable once somebody asked to stop at once.
    pub fn at_once_fd(&self) -> BorrowedFd<'_> {
        self.state.at_once.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn readable(fd: BorrowedFd<'_>) -> bool {
        crate::wait::readable([fd], Some(Duration::ZERO)).unwrap() == [true]
    }

    #[test]
    fn the_second_wish_is_more_urgent_than_the_first() {
        let stop = StopSignal::new().unwrap();
        let other = stop.clone();
        assert_eq!(stop.urgency(), Urgency::None);
        assert!(!readable(stop.finish_fd()));
        other.raise();
        assert_eq!(stop.urgency(), Urgency::Finish);
        assert!(readable(stop.finish_fd()));
        assert!(!readable(stop.at_once_fd()));
        other.raise();
        assert_eq!(stop.urgency(), Urgency::AtOnce);
        assert!(readable(stop.at_once_fd()));
        for _ in 0..1000 {
            other.raise();
            assert_eq!(stop.urgency(), Urgency::AtOnce);
        }
    }
}
