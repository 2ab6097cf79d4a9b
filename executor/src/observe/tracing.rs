//! Tasks as spans of the crate `tracing`, named and shaped as tokio's are, so that tools for tokio's show ours, too.
//!
//! Owns a span per live task. Threads: any.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Span, trace, trace_span};

use super::{Event, Observer, Outcome, What};
use crate::task::TaskLabel;

/// An [`Observer`] that tells the program's `tracing` subscriber: a span per task, entered for each poll, and an
/// event per wake. tokio-console shows the tasks.
///
/// ```no_run
/// use executor::observe::{observe, Tracing};
///
/// // After the program has set its subscriber.
/// observe(Box::leak(Box::new(Tracing::default())));
/// ```
#[derive(Debug, Default)]
pub struct Tracing {
    tasks: Mutex<HashMap<u64, Task>>,
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
        self.tasks().insert(*id, Task { span, told: false });
    }

    fn woken(&self, task: u64, elsewhere: bool) {
        let told = |task: &mut Task| std::mem::replace(&mut task.told, elsewhere);
        if self.tasks().get_mut(&task).is_some_and(told) {
            return;
        }
        if let Some(id) = self.span(task).and_then(|span| span.id()) {
            trace!(target: "tokio::task::waker", op = "waker.wake", task.id = id.into_u64());
        }
    }

    fn begins(&self, task: u64) {
        if let Some(span) = self.span(task) {
            span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        }
    }

    fn ends(&self, task: u64, outcome: Outcome) {
        if let Some(span) = self.span(task) {
            span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        }
        if outcome != Outcome::Pending {
            let gone = self.tasks().remove(&task);
            drop(gone);
        }
    }
}

impl Observer for Tracing {
    fn observe(&self, event: &Event<'_>) {
        match event.what {
            What::Spawned { label } => self.spawned(label),
            What::Ready => self.woken(event.task, false),
            What::WokenElsewhere => self.woken(event.task, true),
            What::PollBegins => self.begins(event.task),
            What::PollEnds { outcome } => self.ends(event.task, outcome),
            What::RunBegins | What::RunEnds => {}
        }
    }
}
