//! Models: the real code of tasks, inbox and table under every interleaving that loom finds.
//!
//! ```text
//! RUSTFLAGS="--cfg aio_loom" cargo test -p executor --no-default-features --lib loom::
//! ```
//!
//! Each model is a program of two or three threads on the code that they have in common. [`model`] runs it once for
//! each schedule with at most three preemptions, and for each value that a relaxed load may give. A model fails if an
//! assertion does, if everybody waits (a lost wake-up), if memory leaks, or if a plain cell, or the count in a cell
//! that is freed, is touched without being ordered after what others did with it.
//!
//! Each model's comment names a mutation of the code that it catches: it was tried.
//!
//! What loom cannot show: a `compare_exchange_weak` that fails for no reason; values out of thin air; the total order
//! of `SeqCst` accesses, which it takes for `AcqRel` (so what needs that order uses fences, which it knows); and what
//! is not taken from [`crate::sync`], such as the reference count of [`Home`] (but for what it
//! keeps alive: memory that nobody frees fails a model, and so does memory that is freed twice).
//!
//! The executor is not here, since it needs an event loop. [`Loop`] stands for it: the same calls in the same order as
//! `Core::run_slice`, with loom's `Notify` for the bottom half, the eventfd and the sleep.

use std::cell::Cell;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Notify;

use crate::home::{Doorbell, Home};
use crate::task::{JoinError, JoinHandle, Polled, Running, TaskLabel, spawn, write_stderr};
use crate::task_table::TaskTable;

mod arena;
mod inbox;
mod migrate;
mod remote;
mod table;
mod timers;
mod wakers;

/// Runs a model in every schedule.
fn model(program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        program();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    write_stderr(&format!("{name}: {} executions\n", runs.load(Ordering::Relaxed)));
}

/// The doorbell of a [`Loop`].
struct Bell(Arc<Notify>);

impl Doorbell for Bell {
    fn ring(&self) {
        self.0.notify();
    }
}

/// A home thread's executor without an event loop.
struct Loop {
    home: Arc<Home>,
    bell: Arc<Notify>,
    next_id: Cell<u64>,
}

impl Loop {
    fn new() -> Loop {
        let bell = Arc::new(Notify::new());
        let home = Home::new(Box::new(Bell(Arc::clone(&bell))));
        // A task that becomes ready at home is polled before the loop waits again.
        home.set_idle(false);
        Loop { home, bell, next_id: Cell::new(1) }
    }

    #[track_caller]
    fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let label = TaskLabel { id, name: None, spawned_at: Location::caller() };
        spawn(&self.home, label, future)
    }

    fn table(&self) -> &TaskTable {
        self.home.table()
    }

    /// Serves requests and polls until nothing is left to do.
    fn run(&self) {
        loop {
            let served = self.home.inbox().take().serve();
            let mut polled = 0;
            while let Some((running, cancelled)) = Running::next(&self.home) {
                self.run_task(running, cancelled);
                polled += 1;
            }
            if served + polled == 0 {
                return;
            }
        }
    }

    /// Sleeps until somebody rings, then runs.
    fn pass(&self) {
        self.bell.wait();
        self.run();
    }

    fn run_task(&self, running: Running, cancelled: bool) {
        if cancelled {
            running.drop_future().expect("no destructor panics here");
            running.fail(JoinError::cancelled());
            return self.finish(running);
        }
        match running.poll() {
            Polled::Pending => running.suspend(&self.home),
            Polled::Ready => {
                running.succeed();
                self.finish(running);
            }
            Polled::Panicked(payload) | Polled::Emptied(payload) => {
                std::panic::resume_unwind(*payload);
            }
        }
    }

    fn finish(&self, running: Running) {
        if !running.has_join() {
            running.discard_result().expect("no destructor panics here");
        }
        let task = self.table().remove(running.place());
        running.finish(task);
    }

    /// What `Core::shutdown` does: cancels everything, closes the inbox, gives the memory back.
    fn close(self) {
        for task in self.table().tasks(None) {
            task.cancel();
        }
        self.run();
        drop(self.home.inbox().close());
        crate::arena::close(&self.home);
    }
}
