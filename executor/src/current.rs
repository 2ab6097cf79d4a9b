//! What this thread is doing: which executors live here, which one runs, which task is polled.
//!
//! Callbacks from C find their executor here by number; `sleep` and `AsyncFd` find the executor they
//! are polled by; `block_on` and the bindings of `no_coroutine_fn`s find out whether they are inside a
//! poll. Everything answers "nothing" while thread-locals are being destroyed.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::async_fd::Reactor;
use crate::local_executor::Core;
use crate::task::TaskLabel;
use crate::task_table::Place;
use crate::time::TimerQueue;

thread_local! {
    static HERE: RefCell<Vec<(usize, Weak<Core>)>> = const { RefCell::new(Vec::new()) };
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
    /// The journey of the migratable task that is polled, 0 for none.
    static JOURNEY: Cell<usize> = const { Cell::new(0) };
    static POLL: Poll = const { Poll { depth: Cell::new(0), place: Cell::new(None) } };
}

struct Poll {
    /// Polls on the stack, nested loops included.
    depth: Cell<u32>,
    /// The innermost task, unless that is the future of a `block_on`.
    place: Cell<Option<Place>>,
}

/// A number for a new executor. Unique in the process; never 0.
pub(crate) fn new_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    // Relaxed: only uniqueness matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Lets `find` find an executor of this thread.
pub(crate) fn register(core: &Rc<Core>) {
    HERE.with_borrow_mut(|here| here.push((core.number(), Rc::downgrade(core))));
}

pub(crate) fn unregister(number: usize) {
    let _thread_ends = HERE.try_with(|here| here.borrow_mut().retain(|(n, _)| *n != number));
}

/// The executor of that number, if it lives on this thread and is open.
pub(crate) fn find(number: usize) -> Option<Rc<Core>> {
    let find = |here: &RefCell<Vec<(usize, Weak<Core>)>>| {
        here.borrow().iter().find(|(n, _)| *n == number).and_then(|(_, core)| core.upgrade())
    };
    HERE.try_with(find).ok().flatten()
}

/// The executors of this thread that are open.
#[cfg(feature = "testing")]
pub(crate) fn cores() -> Vec<Rc<Core>> {
    let open = |here: &RefCell<Vec<(usize, Weak<Core>)>>| {
        here.borrow().iter().filter_map(|(_, core)| core.upgrade()).collect()
    };
    HERE.try_with(open).unwrap_or_default()
}

/// The executor that is running on this thread.
pub(crate) fn core() -> Option<Rc<Core>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Makes `core` the running executor until the guard is dropped.
pub(crate) fn enter(core: &Rc<Core>) -> Entered {
    let core = Some(Rc::clone(core));
    Entered { outer: CURRENT.try_with(|current| current.replace(core)).ok().flatten() }
}

/// See [`enter`].
#[derive(Debug)]
pub(crate) struct Entered {
    outer: Option<Rc<Core>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let outer = self.outer.take();
        // The executor that leaves may go with this reference, outside of the borrow.
        drop(CURRENT.try_with(|current| current.replace(outer)));
    }
}

/// Lets `poll` poll (or drop) futures, and say whose.
#[inline]
pub(crate) fn polling<R>(poll: impl FnOnce(&Polling<'_>) -> R) -> R {
    POLL.with(|here| {
        let polling = Polling { here, outer: here.place.take() };
        here.depth.set(here.depth.get() + 1);
        poll(&polling)
    })
}

/// See [`polling`].
pub(crate) struct Polling<'a> {
    here: &'a Poll,
    outer: Option<Place>,
}

impl Polling<'_> {
    /// Says which task's future comes next.
    #[inline]
    pub(crate) fn of(&self, place: Place) {
        self.here.place.set(Some(place));
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.here.depth.set(self.here.depth.get() - 1);
        self.here.place.set(self.outer);
    }
}

/// Says which journey's future is being polled until the guard is dropped.
pub(crate) fn enter_journey(number: usize) -> InJourney {
    InJourney { outer: JOURNEY.replace(number) }
}

/// See [`enter_journey`].
pub(crate) struct InJourney {
    outer: usize,
}

impl Drop for InJourney {
    fn drop(&mut self) {
        JOURNEY.set(self.outer);
    }
}

/// The journey whose future is being polled on this thread.
pub(crate) fn journey() -> Option<usize> {
    Some(JOURNEY.get()).filter(|number| *number != 0)
}

/// Whether a future is being polled on this thread: what `qemu_in_coroutine` asks in C.
pub(crate) fn in_poll() -> bool {
    POLL.with(|poll| poll.depth.get() > 0)
}

/// The task that is being polled on this thread.
pub(crate) fn task() -> Option<TaskLabel> {
    core()?.table().label(POLL.with(|poll| poll.place.get())?)
}

/// Its id.
pub(crate) fn task_id() -> Option<u64> {
    let place = POLL.try_with(|poll| poll.place.get()).ok()??;
    Some(core()?.table().id(place))
}

/// The task that is being polled, for a message.
pub(crate) fn describe_task() -> String {
    task().map_or_else(|| "the future of a `block_on`".to_owned(), |task| task.to_string())
}

fn expect_core(what: &str) -> Rc<Core> {
    core().unwrap_or_else(|| {
        panic!(
            "no executor polls on this thread: {what} must be used inside a task or a `block_on`"
        )
    })
}

/// The timer queue of the executor that polls on this thread.
pub(crate) fn timers() -> Arc<TimerQueue> {
    #[cfg(test)]
    if let Some((timers, _)) = test_parts::get() {
        return timers;
    }
    Arc::clone(expect_core("a timer").timers())
}

/// The fd reactor of the executor that polls on this thread.
pub(crate) fn reactor() -> io::Result<Arc<Reactor>> {
    #[cfg(test)]
    if let Some((_, reactor)) = test_parts::get() {
        return Ok(reactor);
    }
    expect_core("an `AsyncFd`").reactor()
}

/// A clock of the running executor got a new earliest deadline.
pub(crate) fn timers_changed() {
    if let Some(core) = core() {
        core.timers_changed();
    }
}

#[cfg(test)]
pub(crate) use test_parts::with_parts;

/// The timers and fds of the unit tests, which turn them by hand instead of running an event loop.
#[cfg(test)]
mod test_parts {
    use super::{Arc, Reactor, RefCell, TimerQueue};

    type Parts = (Arc<TimerQueue>, Arc<Reactor>);

    thread_local! {
        static PARTS: RefCell<Option<Parts>> = const { RefCell::new(None) };
    }

    pub(super) fn get() -> Option<Parts> {
        PARTS.with_borrow(Clone::clone)
    }

    /// Runs `f` as if an executor with these parts polled on this thread.
    pub(crate) fn with_parts<R>(
        timers: &Arc<TimerQueue>,
        reactor: &Arc<Reactor>,
        f: impl FnOnce() -> R,
    ) -> R {
        let before = PARTS.replace(Some((Arc::clone(timers), Arc::clone(reactor))));
        let result = f();
        PARTS.set(before);
        result
    }
}
