//! The world's programs: asynchronous functions that wait in virtual time.
//!
//! One of them runs at a time, until it waits for something. Which one runs when is decided by the network's clock alone, so
//! that a run is a pure function of the experiment and its seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use transect_host::Host;
use transect_path::Timestamp;

use super::network::{Awaited, Network, NodeId, TaskId};
use super::wire::later;
use crate::error::WorldError;

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// What all programs share.
struct Shared {
    network: RefCell<Network>,
    /// Programs that were started and have not run yet.
    started: RefCell<Vec<(TaskId, Running)>>,
    /// The program that runs.
    current: Cell<TaskId>,
    next: Cell<TaskId>,
}

/// What a program holds of its world: the clock, and the hosts to call.
#[derive(Clone)]
pub(super) struct Clock {
    shared: Rc<Shared>,
}

/// A program that was started: its result can be waited for.
pub(super) struct Started<T> {
    task: TaskId,
    clock: Clock,
    result: Rc<RefCell<Option<T>>>,
}

/// Runs programs.
pub(super) struct Executor {
    clock: Clock,
    tasks: BTreeMap<TaskId, Running>,
}

impl Executor {
    /// For a network whose hosts are joined.
    pub(super) fn new(network: Network) -> Self {
        let shared = Shared {
            network: RefCell::new(network),
            started: RefCell::default(),
            current: Cell::new(0),
            next: Cell::new(1),
        };
        Executor {
            clock: Clock {
                shared: Rc::new(shared),
            },
            tasks: BTreeMap::new(),
        }
    }

    /// The clock, for programs.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Lets time pass until a program has ended. `stopped` is asked now and then.
    pub(super) fn run<T: 'static>(
        &mut self,
        program: impl Future<Output = Result<T, WorldError>> + 'static,
        stopped: &dyn Fn() -> bool,
    ) -> Result<T, WorldError> {
        let started = self.clock.start(program);
        let mut turns = 0_u32;
        loop {
            self.tasks
                .extend(self.clock.shared.started.borrow_mut().drain(..));
            if let Some(result) = started.result.borrow_mut().take() {
                return result;
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(1024) && stopped() {
                return Err(WorldError::new("stopped"));
            }
            let woken = self.clock.shared.network.borrow_mut().advance()?;
            if let Some(task) = woken {
                self.poll(task);
            }
        }
    }

    /// Lets happen what is due by this moment, in a world whose time passes by itself; at most so many things, so that whoever
    /// moves its frames gets a turn. Says when it wants to go on; nothing where nothing is to come.
    #[cfg(feature = "live")]
    pub(super) fn catch_up(
        &mut self,
        now: Timestamp,
        most: u32,
    ) -> Result<Option<Timestamp>, WorldError> {
        self.clock.network(|network| network.set_now(now));
        for _ in 0..most {
            self.tasks
                .extend(self.clock.shared.started.borrow_mut().drain(..));
            match self.clock.network(|network| network.next()) {
                Some(next) if next <= now => {}
                later => return Ok(later),
            }
            let woken = self.clock.shared.network.borrow_mut().advance()?;
            if let Some(task) = woken {
                self.poll(task);
            }
        }
        Ok(Some(now))
    }

    fn poll(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else {
            // It has ended since it was woken.
            return;
        };
        self.clock.shared.current.set(id);
        // Who wakes whom is the network's affair.
        let ended = task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        if ended {
            self.tasks.remove(&id);
            self.clock.shared.network.borrow_mut().ended(id);
        }
    }
}

impl Clock {
    /// The moment.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.network.borrow().now()
    }

    /// Looks at the network, or changes it. Must not wait inside.
    pub(super) fn network<T>(&self, look: impl FnOnce(&mut Network) -> T) -> T {
        look(&mut self.shared.network.borrow_mut())
    }

    /// Makes a system call on a host, or anything like it.
    pub(super) fn call<T>(
        &self,
        node: NodeId,
        call: impl FnOnce(&mut Host, Timestamp) -> T,
    ) -> Result<T, WorldError> {
        self.network(|network| network.with(node, call))
    }

    /// Starts a program beside the one that runs.
    pub(super) fn start<T: 'static>(
        &self,
        program: impl Future<Output = T> + 'static,
    ) -> Started<T> {
        let task = self.shared.next.get();
        self.shared.next.set(task + 1);
        let result = Rc::new(RefCell::new(None));
        let place = Rc::clone(&result);
        let running = Box::pin(async move {
            let value = program.await;
            *place.borrow_mut() = Some(value);
        });
        self.shared.started.borrow_mut().push((task, running));
        self.network(|network| network.start(task));
        Started {
            task,
            clock: self.clone(),
            result,
        }
    }

    /// Waits for this, but not beyond a moment. May return earlier, too: whoever waits looks again at what it waited for.
    pub(super) async fn wait(&self, what: Option<Awaited>, until: Option<Timestamp>) {
        let mut waited = false;
        std::future::poll_fn(|_| {
            let task = self.shared.current.get();
            if std::mem::replace(&mut waited, true) {
                self.network(|network| network.wait(task, None, None));
                return Poll::Ready(());
            }
            self.network(|network| network.wait(task, what, until));
            Poll::Pending
        })
        .await;
    }

    /// Waits until a moment.
    pub(super) async fn until(&self, moment: Timestamp) {
        while self.now() < moment {
            self.wait(None, Some(moment)).await;
        }
    }

    /// Lets some time pass.
    pub(super) async fn sleep(&self, time: Duration) {
        self.until(later(self.now(), time)).await;
    }
}

impl<T> Started<T> {
    /// Waits for its end.
    pub(super) async fn ended(self) -> T {
        loop {
            let result = self.result.borrow_mut().take();
            if let Some(result) = result {
                return result;
            }
            self.clock.wait(Some(Awaited::End(self.task)), None).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::Limits;

    fn executor(limits: Limits) -> Executor {
        Executor::new(Network::new(Timestamp::from_parts(100, 0), limits))
    }

    #[test]
    fn time_passes_only_while_somebody_waits_and_programs_take_turns() {
        let mut executor = executor(Limits::default());
        let clock = executor.clock().clone();
        let order = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&order);
        let program = async move {
            let mut started = Vec::new();
            for (name, wait) in [("slow", 3), ("quick", 1)] {
                let (clock, told) = (clock.clone(), Rc::clone(&told));
                let inner = clock.clone();
                started.push(clock.start(async move {
                    inner.sleep(Duration::from_secs(wait)).await;
                    told.borrow_mut().push((name, inner.now()));
                    wait
                }));
            }
            let mut sum = 0;
            for one in started {
                sum += one.ended().await;
            }
            Ok(sum)
        };
        assert_eq!(executor.run(program, &|| false).unwrap(), 4);
        assert_eq!(
            *order.borrow(),
            [
                ("quick", Timestamp::from_parts(101, 0)),
                ("slow", Timestamp::from_parts(103, 0))
            ]
        );
    }

    #[test]
    fn a_world_that_would_run_for_ever_names_the_limit_that_stops_it() {
        let forever = |limits: Limits, pause: Duration| {
            let mut executor = executor(limits);
            let clock = executor.clock().clone();
            let program = async move {
                loop {
                    clock.sleep(pause).await;
                }
                #[expect(unreachable_code, reason = "says what the program would give")]
                Ok::<(), WorldError>(())
            };
            executor.run(program, &|| false).unwrap_err().to_string()
        };
        let limits = Limits {
            time: Duration::from_secs(60),
            events: 1000,
            ..Limits::default()
        };
        assert_eq!(
            forever(limits, Duration::from_secs(7)),
            "the world's limit of 60 s of virtual time is reached"
        );
        assert_eq!(
            forever(limits, Duration::from_millis(1)),
            "the world's limit of 1000 events is reached after 1.000 s of virtual time"
        );
    }

    #[test]
    fn what_can_never_happen_is_no_endless_wait() {
        let mut executor = executor(Limits::default());
        let clock = executor.clock().clone();
        let program = async move {
            clock.wait(None, None).await;
            Ok(())
        };
        let error = executor.run(program, &|| false).unwrap_err().to_string();
        assert!(error.contains("nothing can happen any more"), "{error}");
    }
}
