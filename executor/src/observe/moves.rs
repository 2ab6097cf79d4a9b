//! What is on its way from one executor to another, as long as somebody looks on.
//!
//! Whoever sends something names it by an address that is its own until it has come, that of its result's slot. So
//! nothing travels along for observers, and nothing is kept when there are none.
//!
//! Owns the table of departures. Threads: any.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{OBSERVING, POLLED, What, labels, report, report_by, spawned};
use crate::aio::context::Context;
use crate::task::TaskLabel;
use crate::thread_id;

/// Where something was sent from.
///
/// ```
/// use std::sync::Mutex;
///
/// use executor::observe::{observe, Departure, Event, Observer, What};
/// use executor::{block_on, reschedule_to, run_main, IoThread, MainCx};
///
/// struct Moves(Mutex<Vec<(Departure, u32)>>);
///
/// impl Observer for Moves {
///     fn observe(&self, event: &Event<'_>) {
///         if let What::Moved { from, .. } = event.what {
///             self.0.lock().unwrap().push((from, event.thread));
///         }
///     }
/// }
///
/// static MOVES: Moves = Moves(Mutex::new(Vec::new()));
///
/// observe(&MOVES);
/// run_main(|nc| {
///     let io0 = IoThread::create(nc, "io0").expect("there are threads left");
///     let io = io0.io();
///     block_on(nc, async |_: &MainCx| reschedule_to(&io, async {}).await.expect("no panic"));
///     io0.destroy(nc).expect("it was not destroyed before");
/// });
/// let moves = MOVES.0.lock().unwrap();
/// assert!(matches!(moves[..], [(from, to), ..] if from.thread != to));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// Which move: a number that is never used twice in a process.
    pub number: u64,
    /// The thread, as in [`Event::thread`](super::Event::thread).
    pub thread: u32,
    /// The task that sent it: of a [`Migratable`](crate::Migratable) itself. 0 for none.
    pub task: u64,
}

/// A departure, and the task that moves, 0 if it becomes one there.
type UnderWay = (Departure, u64);

static UNDER_WAY: Mutex<BTreeMap<usize, UnderWay>> = Mutex::new(BTreeMap::new());

/// Something is about to be sent to another executor: `task`, or what becomes one there (0).
#[cold]
pub(crate) fn sent(address: usize, task: u64) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if OBSERVING.get() {
        return;
    }
    // Relaxed: only uniqueness matters.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let from = Departure { number, thread: thread_id::get_or_assign(), task: POLLED.get() };
    under_way().insert(address, (from, task));
    report(task, What::Sent { number });
}

/// It has come, and is about to be spawned. Home.
#[cold]
pub(crate) fn arrived(address: usize, label: &TaskLabel, context: &Context) {
    let sent = under_way().remove(&address);
    // Nobody looked on when it was sent.
    let Some((from, task)) = sent else { return spawned(label, context) };
    if task == 0 {
        labels::know(label);
        report_by(from.task, label.id, What::Spawned { label, context });
    }
    report_by(from.task, label.id, What::Moved { label, context, from });
}

/// It does not come, if it has not. Any thread.
#[cold]
pub(crate) fn lost(address: usize) {
    let sent = under_way().remove(&address);
    let Some((from, task)) = sent else { return };
    report(task, What::Dropped { number: from.number });
    // The poll that has sent it ends with its name.
    if POLLED.get() != task {
        labels::forget(task);
    }
}

fn under_way() -> MutexGuard<'static, BTreeMap<usize, UnderWay>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}
