//! Panics that no handle waits for.
//!
//! A task's panic belongs to its [`JoinHandle`](super::JoinHandle). If there is none, or it is dropped
//! unread, the panic comes here, so that it is never lost: to the hook that the program set, or, by
//! default, as one line to stderr. The process goes on.

#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};

/// A panic of a task that nobody joined.
pub struct TaskPanic<'a> {
    /// What was running.
    pub task: &'a dyn fmt::Display,
    /// What `panic!` was called with.
    pub payload: &'a (dyn Any + Send),
}

impl TaskPanic<'_> {
    /// The panic's message, if it has one.
    pub fn message(&self) -> &str {
        message(self.payload)
    }
}

impl fmt::Debug for TaskPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskPanic({}: {})", self.task, self.message())
    }
}

/// The text in a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(the panic's payload is no string)"
    }
}

type Hook = Box<dyn Fn(&TaskPanic<'_>) + Send + Sync>;

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Sets what is done with the panic of a task that has no `JoinHandle`, or whose handle was dropped
/// without looking. Process-wide; any thread. The hook runs on the task's home thread, under the
/// Big QEMU Lock if that is the main loop's.
///
/// Without a hook the panic is reported on stderr, with the task's name and the line that spawned
/// it. (Rust's own panic hook has run before, as always.)
pub fn set_task_panic_hook(hook: impl Fn(&TaskPanic<'_>) + Send + Sync + 'static) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
}

/// Reports a panic that no handle will.
pub(crate) fn report_lost_panic(task: &dyn fmt::Display, payload: &(dyn Any + Send)) {
    let panic = TaskPanic { task, payload };
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner);
    match &*hook {
        // A hook that panics has no one left to tell.
        Some(hook) => drop(catch_unwind(AssertUnwindSafe(|| hook(&panic)))),
        None => write_stderr(&format!("executor: {task} panicked: {}\n", panic.message())),
    }
}

/// Writes to stderr if that is possible.
pub(super) fn write_stderr(text: &str) {
    let _nobody_to_tell = std::io::stderr().lock().write_all(text.as_bytes());
}
