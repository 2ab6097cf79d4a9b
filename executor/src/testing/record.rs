//! What the executors of a test do, poll by poll.
//!
//! An observer for all tests of the process; it notes what the threads of the one test do that has the [`Kit`](super::Kit).
//!
//! Threads: those of a test, one at a time, and others, which the observer leaves alone.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use crate::aio::paused;
use crate::current;
use crate::observe::{self, Event, Observer, Outcome, What};
use crate::task::TaskLabel;

/// What one [step](super::Kit::step) has done.
///
/// ```
/// use executor::observe::Outcome;
/// use executor::MainCx;
///
/// executor::testing::run(|kit| {
///     kit.spawn(async |_: &MainCx| {}).detach();
///
///     let step = kit.step();
///
///     assert_eq!(step.polled.len(), 1);
///     assert_eq!(step.polled[0].thread, "main loop");
///     assert_eq!(step.polled[0].outcome, Outcome::Completed);
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// Which tasks were polled, in that order: of the main loop one at most; of iothreads, which have whole turns, any
    /// number.
    pub polled: Vec<Polled>,
    /// Nobody can go on before time does.
    pub is_idle: bool,
    /// How far time would have to go on then.
    pub next_deadline: Option<Duration>,
}

/// One poll of a task, of which a [`Step`] has some; it prints as a line.
///
/// ```
/// use executor::MainCx;
///
/// executor::testing::run(|kit| {
///     kit.spawn(async |_: &MainCx| {}).detach();
///     assert_eq!(kit.step().polled[0].to_string(), "main loop: a task Completed");
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Polled {
    /// Which task.
    pub task: TaskLabel,
    /// How the poll ended.
    pub outcome: Outcome,
    /// The name of the thread: `main loop`, or `IO` and the iothread's id.
    pub thread: String,
}

impl fmt::Display for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.task.name.as_deref().unwrap_or("a task");
        write!(f, "{}: {name} {:?}", self.thread, self.outcome)
    }
}

/// What is noted of a test.
struct Record {
    /// The number of the test's pause.
    program: u64,
    labels: HashMap<u64, TaskLabel>,
    /// In the order in which they were queued.
    ready: Vec<u64>,
    polled: Vec<Polled>,
}

/// Of the test that has the kit.
static RECORD: Mutex<Option<Record>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Record>> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_record<R>(look: impl FnOnce(&mut Record) -> R) -> Option<R> {
    lock().as_mut().map(look)
}

thread_local! {
    /// Whether this thread, which goes step by step, may poll one more task; `None` if it does not.
    static MAY_POLL: Cell<Option<bool>> = const { Cell::new(None) };
}

/// How many tasks a run may poll that would poll up to `polls`.
#[inline]
pub(crate) fn most_polls(polls: u32) -> u32 {
    match MAY_POLL.get() {
        None => polls,
        Some(may) => u32::from(may),
    }
}

/// Notes what a test does until it is dropped.
pub(super) struct Recording;

impl Recording {
    pub(super) fn begin() -> Recording {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| observe::observe(&Recorder));
        let program = assert_test();
        let (labels, ready, polled) = Default::default();
        *lock() = Some(Record { program, labels, ready, polled });
        Recording
    }

    /// Runs `pass`, in which this thread polls one task at most. Returns who was polled.
    pub(super) fn step(&self, pass: impl FnOnce()) -> Vec<Polled> {
        with_record(|record| record.polled.clear());
        let stepping = Stepping::begin();
        pass();
        drop(stepping);
        with_record(|record| std::mem::take(&mut record.polled)).unwrap_or_default()
    }

    /// Who is queued, in that order.
    pub(super) fn ready(&self) -> Vec<TaskLabel> {
        with_record(Record::ready).unwrap_or_default()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let record = lock().take();
        drop(record);
    }
}

struct Stepping;

impl Stepping {
    fn begin() -> Stepping {
        MAY_POLL.set(Some(true));
        Stepping
    }
}

impl Drop for Stepping {
    fn drop(&mut self) {
        MAY_POLL.set(None);
    }
}

/// The number of this thread's test.
#[track_caller]
pub(super) fn assert_test() -> u64 {
    paused::program().expect("the kit is used in the thread of its test, whose clock is paused")
}

struct Recorder;

impl Observer for Recorder {
    fn observe(&self, event: &Event<'_>) {
        let Some(program) = paused::program() else { return };
        with_record(|record| {
            if record.program == program {
                record.note(event);
            }
        });
    }
}

impl Record {
    fn note(&mut self, event: &Event<'_>) {
        match event.what {
            What::Spawned { label, .. } => {
                self.labels.insert(event.task, label.clone());
                self.ready.push(event.task);
            }
            What::Ready => self.ready.push(event.task),
            What::PollBegins => {
                self.ready.retain(|id| *id != event.task);
                if MAY_POLL.get().is_some() {
                    MAY_POLL.set(Some(false));
                }
            }
            What::PollEnds { outcome } => self.poll_ends(event.task, outcome),
            _ => {}
        }
    }

    fn ready(&mut self) -> Vec<TaskLabel> {
        self.ready.iter().filter_map(|id| self.labels.get(id).cloned()).collect()
    }

    fn poll_ends(&mut self, task: u64, outcome: Outcome) {
        let label = match outcome {
            Outcome::Pending => self.labels.get(&task).cloned(),
            _ => self.labels.remove(&task),
        };
        if let Some(task) = label.or_else(current::task) {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            self.polled.push(Polled { task, outcome, thread });
        }
    }
}
