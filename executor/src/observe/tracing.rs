//! Tasks as spans of the crate `tracing`, named and shaped as tokio's are, so that tools for tokio's show ours, too.
//!
//! Owns a span per live task. Threads: any.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Span, trace, trace_span};

use super::{Departure, Event, Observer, Outcome, What};
use crate::task::TaskLabel;

/// An [`Observer`] that tells the program's `tracing` subscriber: a span per task, entered for each poll, and an
/// event per wake; moves between threads are events with the target `executor::moves`, and the Big QEMU Lock's are
/// with `executor::bql`.
///
/// It must be observing when a task is spawned, and spans are told to the subscriber of the thread that the task is
/// spawned on.
///
/// tokio-console shows the tasks, with their names, lines, polls and wakes, if the program's subscriber has the layer
/// of the crate `console-subscriber`:
///
/// ```ignore
/// tracing_subscriber::registry().with(console_subscriber::spawn()).init();
/// observe(Box::leak(Box::new(Tracing::default())));
/// ```
///
/// `tests/console` is such a program; it has the flag that the crate needs where there is no tokio. Wakers are cloned
/// and dropped without a word; the console is told of one per task, so that it takes none for lost.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use executor::LocalExecutor;
/// use executor::observe::{Tracing, observe};
/// use tracing::span::{Attributes, Id, Record};
/// use tracing::{Metadata, Subscriber};
///
/// static POLLS: AtomicU32 = AtomicU32::new(0);
///
/// /// A program's own; `tracing-subscriber` has better ones.
/// struct CountPolls;
///
/// impl Subscriber for CountPolls {
///     fn enabled(&self, about: &Metadata<'_>) -> bool {
///         about.name() == "runtime.spawn"
///     }
///     fn new_span(&self, _: &Attributes<'_>) -> Id {
///         Id::from_u64(1)
///     }
///     fn enter(&self, _: &Id) {
///         POLLS.fetch_add(1, Ordering::Relaxed);
///     }
/// #   fn record(&self, _: &Id, _: &Record<'_>) {}
/// #   fn record_follows_from(&self, _: &Id, _: &Id) {}
/// #   fn event(&self, _: &tracing::Event<'_>) {}
///     fn exit(&self, _: &Id) {}
///     // …
/// }
///
/// tracing::subscriber::set_global_default(CountPolls)?;
/// observe(Box::leak(Box::new(Tracing::default())));
/// let executor = LocalExecutor::new()?;
/// executor.run(executor.spawn(async {}))?;
/// assert_eq!(POLLS.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Tracing {
    tasks: Mutex<HashMap<u64, Task>>,
    /// The spans that each thread has entered, the innermost last: a task that moves may be entered elsewhere before
    /// it is left here.
    entered: Mutex<HashMap<u32, Vec<Span>>>,
}

#[derive(Debug)]
struct Task {
    span: Span,
    /// Whether a wake was told that will be reported at home again.
    told: bool,
}

impl Tracing {
    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task's span. Subscribers are other people's code: they are called without the lock.
    fn span(&self, task: u64) -> Option<Span> {
        self.tasks().get(&task).map(|task| task.span.clone())
    }

    fn spawned(&self, label: &TaskLabel) {
        let TaskLabel { id, name, spawned_at } = label;
        let span = trace_span!(
            target: "tokio::task",
            parent: None,
            "runtime.spawn",
            kind = "task",
            task.name = name.as_deref().unwrap_or_default(),
            task.id = *id,
            loc.file = spawned_at.file(),
            loc.line = spawned_at.line(),
            loc.col = spawned_at.column(),
        );
        if let Some(id) = span.id() {
            // tokio-console takes a waiting task without wakers for lost, and here wakers are cloned and dropped in
            // silence. This one stands for all of them.
            trace!(target: "tokio::task::waker", op = "waker.clone", task.id = id.into_u64());
        }
        self.tasks().insert(*id, Task { span, told: false });
    }

    fn woken(&self, task: u64, elsewhere: bool) {
        let told = |task: &mut Task| std::mem::replace(&mut task.told, elsewhere);
        if self.tasks().get_mut(&task).is_some_and(told) {
            return;
        }
        if let Some(id) = self.span(task).and_then(|span| span.id()) {
            trace!(target: "tokio::task::waker", op = "waker.wake_by_ref", task.id = id.into_u64());
        }
    }

    fn begins(&self, task: u64, thread: u32) {
        let span = self.span(task).unwrap_or_else(Span::none);
        span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        self.entered(|entered| entered.entry(thread).or_default().push(span));
    }

    fn ends(&self, task: u64, thread: u32, outcome: Outcome) {
        let span = self.entered(|entered| entered.get_mut(&thread)?.pop());
        if let Some(span) = span {
            span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        }
        if outcome.is_end() {
            self.forget(task);
        }
    }

    fn entered<R>(&self, change: impl FnOnce(&mut HashMap<u32, Vec<Span>>) -> R) -> R {
        change(&mut self.entered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn forget(&self, task: u64) {
        let gone = self.tasks().remove(&task);
        drop(gone);
    }
}

impl Observer for Tracing {
    fn observe(&self, event: &Event<'_>) {
        match event.what {
            What::Spawned { label, .. } => self.spawned(label),
            What::Ready => self.woken(event.task, false),
            What::WokenElsewhere => self.woken(event.task, true),
            What::PollBegins => self.begins(event.task, event.thread),
            What::PollEnds { outcome } => self.ends(event.task, event.thread, outcome),
            What::Sent { number } => {
                trace!(target: "executor::moves", op = "send", number, task = event.by);
            }
            What::Moved { label, from, .. } => {
                let Departure { number, thread: from, .. } = from;
                let (task, to) = (label.id, event.thread);
                trace!(target: "executor::moves", op = "move", number, task, from, to);
            }
            What::Dropped { number } => {
                trace!(target: "executor::moves", op = "drop", number);
                self.forget(event.task);
            }
            What::BqlTaken => trace!(target: "executor::bql", op = "take", thread = event.thread),
            What::BqlReleased => {
                trace!(target: "executor::bql", op = "release", thread = event.thread);
            }
            What::RunBegins { .. } | What::RunEnds => {}
        }
    }
}
