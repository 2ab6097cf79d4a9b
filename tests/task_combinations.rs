//! Every combination of how a task ends, who panics, what becomes of its handle and of its waker.
//!
//! One oracle for all of them: the number of polls, of drops of the future and of the output, of wakes of the
//! joiner, of panics that nobody joined, and of frees of the memory that the cell is in. Alone in its process, since the allocator
//! and the panic hook are the process's.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use common::probe::{Counted, CountedOutput, Counts};
use common::{CountingWaker, poll_once};
use executor::{JoinError, JoinHandle, LocalExecutor, set_task_panic_hook};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    AtOnce,
    AfterTwoWakes,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Panics {
    Nowhere,
    InLastPoll,
    InFutureDrop,
    InOutputDrop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Handle {
    Awaited,
    DroppedEarly,
    Detached,
    DroppedLate,
    AbortedBeforeFirstPoll,
    AbortedWhileIdle,
    AbortedWhileQueued,
    AbortedFromInside,
    AbortedLate,
}

/// What becomes of a clone of the task's waker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Dropped,
    WokenAtHome,
    WokenAbroad,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wakes {
    AtHome,
    Abroad,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    ending: Ending,
    panics: Panics,
    handle: Handle,
    kept: Kept,
    wakes: Wakes,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Output,
    Cancelled,
    Panicked,
}

/// What must have happened.
#[derive(Debug, PartialEq)]
struct Expected {
    polls: usize,
    outcome: Outcome,
    outputs: usize,
    lost_panics: usize,
}

impl Case {
    /// Whether the first poll ends the future's life of its own.
    fn ends_in_first_poll(self) -> bool {
        self.ending == Ending::AtOnce
            || (self.ending == Ending::Never && self.panics == Panics::InLastPoll)
    }

    fn polls(self) -> usize {
        use Handle::{
            AbortedBeforeFirstPoll, AbortedFromInside, AbortedWhileIdle, AbortedWhileQueued,
        };
        match self.handle {
            AbortedBeforeFirstPoll => 0,
            _ if self.ends_in_first_poll() => 1,
            AbortedWhileIdle | AbortedWhileQueued | AbortedFromInside => 1,
            _ => 3,
        }
    }

    /// How it would end if destructors did not panic.
    fn ending_of_poll(self) -> Outcome {
        let polled_to_the_end = self.ends_in_first_poll() && self.polls() == 1
            || self.polls() == 3 && self.ending == Ending::AfterTwoWakes;
        match (polled_to_the_end, self.panics) {
            (true, Panics::InLastPoll) => Outcome::Panicked,
            (true, _) => Outcome::Output,
            (false, _) => Outcome::Cancelled,
        }
    }

    fn is_joined(self) -> bool {
        !matches!(self.handle, Handle::DroppedEarly | Handle::Detached | Handle::DroppedLate)
    }

    fn expected(self) -> Expected {
        let natural = self.ending_of_poll();
        let outcome = if self.panics == Panics::InFutureDrop { Outcome::Panicked } else { natural };
        let executor_drops_output = matches!(self.handle, Handle::DroppedEarly | Handle::Detached)
            && self.panics == Panics::InOutputDrop
            && natural == Outcome::Output;
        let lost = outcome == Outcome::Panicked && !self.is_joined();
        Expected {
            polls: self.polls(),
            outcome,
            outputs: usize::from(natural == Outcome::Output),
            lost_panics: usize::from(lost || executor_drops_output),
        }
    }
}

/// Counts the blocks that cells are in: each executor here has one task, so one block.
struct Allocator;

static BLOCKS_MADE: AtomicUsize = AtomicUsize::new(0);
static BLOCKS_FREED: AtomicUsize = AtomicUsize::new(0);

/// Nothing else is aligned so strictly.
fn has_cells(layout: Layout) -> bool {
    layout.align() == 16 * 1024
}

// SAFETY: everything is the system allocator's; counting does not allocate.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS_MADE.fetch_add(usize::from(has_cells(layout)), Ordering::SeqCst);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS_FREED.fetch_add(usize::from(has_cells(layout)), Ordering::SeqCst);
        // SAFETY: forwarded.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

static LOST_PANICS: AtomicUsize = AtomicUsize::new(0);

type Joined = JoinHandle<CountedOutput>;

/// What the future and the test share.
#[derive(Default)]
struct Shared {
    waker: RefCell<Option<Waker>>,
    handle: RefCell<Option<Joined>>,
}

fn poll_of(
    case: Case,
    counts: &Arc<Counts>,
    shared: &Shared,
    cx: &Context<'_>,
) -> Poll<CountedOutput> {
    *shared.waker.borrow_mut() = Some(cx.waker().clone());
    if case.handle == Handle::AbortedFromInside {
        shared.handle.borrow().as_ref().expect("kept until the end").abort();
    }
    let is_last =
        case.ends_in_first_poll() || (case.ending == Ending::AfterTwoWakes && counts.polls() == 3);
    if !is_last {
        return Poll::Pending;
    }
    assert!(case.panics != Panics::InLastPoll, "the poll panics");
    let panic = case.panics == Panics::InOutputDrop;
    Poll::Ready(CountedOutput { counts: Arc::clone(counts), panic })
}

fn spawn(
    executor: &LocalExecutor,
    case: Case,
    counts: &Arc<Counts>,
    shared: &Rc<Shared>,
) -> Joined {
    let (in_poll, its_counts) = (Rc::clone(shared), Arc::clone(counts));
    let poll = move |cx: &mut Context<'_>| poll_of(case, &its_counts, &in_poll, cx);
    let on_drop = move || {
        assert!(case.panics != Panics::InFutureDrop, "the future's destructor panics");
    };
    executor.spawn(Counted::new(counts, poll, on_drop))
}

/// Wakes the task with a clone of the waker that it was polled with last.
fn wake(case: Case, shared: &Shared) {
    let waker = shared.waker.borrow().clone().expect("it was polled");
    match case.wakes {
        Wakes::AtHome => waker.wake(),
        Wakes::Abroad => std::thread::spawn(|| waker.wake()).join().unwrap(),
    }
}

/// Drops the handle. The output's destructor may panic in it.
fn drop_handle(shared: &Shared) {
    let handle = shared.handle.take();
    let _panic_of_the_output = catch_unwind(AssertUnwindSafe(|| drop(handle)));
}

fn abort(shared: &Shared) {
    shared.handle.borrow().as_ref().expect("kept until the end").abort();
}

/// Lives the task's life up to the join.
fn live(executor: &LocalExecutor, case: Case, shared: &Shared) {
    match case.handle {
        Handle::DroppedEarly => drop_handle(shared),
        Handle::Detached => shared.handle.take().expect("just made").detach(),
        Handle::AbortedBeforeFirstPoll => abort(shared),
        _ => {}
    }
    executor.run_once();
    if shared.waker.borrow().is_some() {
        if case.handle == Handle::AbortedWhileQueued {
            wake(case, shared);
        }
        if matches!(case.handle, Handle::AbortedWhileQueued | Handle::AbortedWhileIdle) {
            abort(shared);
        }
        for _ in 0..2 {
            executor.run_once();
            wake(case, shared);
            executor.run_once();
        }
    }
    match case.handle {
        Handle::DroppedLate => drop_handle(shared),
        Handle::AbortedLate => abort(shared),
        _ => {}
    }
    executor.run_once();
}

fn outcome_of(result: &Result<CountedOutput, JoinError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Output,
        Err(error) if error.is_cancelled() => Outcome::Cancelled,
        Err(error) => {
            assert!(error.is_panic());
            Outcome::Panicked
        }
    }
}

/// Checks the kept waker after the end: it keeps the memory and nothing else.
fn outlive(case: Case, shared: &Shared, made: usize) {
    let freed = |n: usize, when: &str| {
        assert_eq!(BLOCKS_FREED.load(Ordering::SeqCst), made - 1 + n, "{when} {case:?}");
    };
    let Some(waker) = shared.waker.take() else {
        return freed(1, "without a waker");
    };
    freed(0, "with a waker");
    match case.kept {
        Kept::Dropped => drop(waker),
        Kept::WokenAtHome => waker.wake(),
        Kept::WokenAbroad => std::thread::spawn(|| waker.wake()).join().unwrap(),
    }
    freed(1, "after the waker");
}

fn check(case: Case) {
    let expected = case.expected();
    let executor = LocalExecutor::new().unwrap();
    let (counts, shared) = (Counts::new(), Rc::<Shared>::default());
    let lost_before = LOST_PANICS.load(Ordering::SeqCst);
    let handle = spawn(&executor, case, &counts, &shared);
    let made = BLOCKS_MADE.load(Ordering::SeqCst);
    *shared.handle.borrow_mut() = Some(handle);
    let (joiner, joiner_waker) = CountingWaker::new();
    if case.handle == Handle::Awaited {
        let pending = poll_once(shared.handle.borrow_mut().as_mut().unwrap(), &joiner_waker);
        assert!(pending.is_pending());
    }

    live(&executor, case, &shared);
    let survivors = executor.shutdown();

    assert!(survivors.is_empty(), "{case:?}");
    if let Some(mut handle) = shared.handle.take() {
        assert!(handle.is_finished(), "{case:?}");
        let Poll::Ready(result) = poll_once(&mut handle, &joiner_waker) else {
            panic!("finished and not ready: {case:?}");
        };
        assert_eq!(outcome_of(&result), expected.outcome, "{case:?}");
        let _panic_of_the_output = catch_unwind(AssertUnwindSafe(|| drop(result)));
    }
    assert_eq!(joiner.wakes(), usize::from(case.handle == Handle::Awaited), "{case:?}");
    assert_eq!(counts.polls(), expected.polls, "{case:?}");
    assert_eq!(counts.future_drops(), 1, "{case:?}");
    assert_eq!(counts.output_drops(), expected.outputs, "{case:?}");
    let lost = LOST_PANICS.load(Ordering::SeqCst) - lost_before;
    assert_eq!(lost, expected.lost_panics, "{case:?}");
    drop(executor);
    outlive(case, &shared, made);
}

fn all_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ending in [Ending::AtOnce, Ending::AfterTwoWakes, Ending::Never] {
        for panics in
            [Panics::Nowhere, Panics::InLastPoll, Panics::InFutureDrop, Panics::InOutputDrop]
        {
            for handle in HANDLES {
                for kept in [Kept::Dropped, Kept::WokenAtHome, Kept::WokenAbroad] {
                    for wakes in [Wakes::AtHome, Wakes::Abroad] {
                        cases.push(Case { ending, panics, handle, kept, wakes });
                    }
                }
            }
        }
    }
    cases
}

const HANDLES: [Handle; 9] = [
    Handle::Awaited,
    Handle::DroppedEarly,
    Handle::Detached,
    Handle::DroppedLate,
    Handle::AbortedBeforeFirstPoll,
    Handle::AbortedWhileIdle,
    Handle::AbortedWhileQueued,
    Handle::AbortedFromInside,
    Handle::AbortedLate,
];

#[test]
fn every_combination_of_a_tasks_life_ends_as_it_must() {
    set_task_panic_hook(|_panic| {
        LOST_PANICS.fetch_add(1, Ordering::SeqCst);
    });
    std::panic::set_hook(Box::new(|info| {
        // The panics of the cases are expected; those of the assertions are not.
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("");
        if !text.ends_with("panics") {
            eprintln!("{info}");
        }
    }));
    let checked = Cell::new(0);

    for case in all_cases() {
        check(case);
        checked.set(checked.get() + 1);
    }

    assert_eq!(checked.get(), 3 * 4 * 9 * 3 * 2);
}
