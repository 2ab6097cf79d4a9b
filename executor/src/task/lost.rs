//! Panics that no handle waits for.
//!
//! A task's panic belongs to its [`JoinHandle`](super::JoinHandle). If there is none, or it is dropped
//! unread, the panic comes here, so that it is never lost: to the hook that the program set, or, by
//! default, as one line to stderr. The process goes on.

#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Waker;

/// A panic of a task that nobody joined.
///
/// # Examples
///
/// ```
/// use executor::{LocalExecutor, TaskPanic, set_task_panic_hook};
/// use std::sync::{Mutex, OnceLock};
///
/// fn log() -> &'static Mutex<Vec<String>> {
///     static LOG: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
///     LOG.get_or_init(Mutex::default)
/// }
///
/// fn write_down(panic: &TaskPanic<'_>) {
///     let code = panic.payload.downcast_ref::<u32>(); // What else than text it was.
///     log().lock().unwrap().push(format!("{}: {} {code:?}", panic.task, panic.message()));
/// }
///
/// set_task_panic_hook(write_down);
/// let executor = LocalExecutor::new()?;
/// executor.spawn_named("worker", async { panic!("no more disks") }).detach();
/// executor.run_once();
/// let lines = log().lock().unwrap();
/// assert!(lines[0].contains("`worker` spawned at") && lines[0].ends_with(": no more disks None"));
/// # Ok::<(), std::io::Error>(())
/// ```
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

/// A panic's payload inside an error, which users expect to be `Sync`: `?` turns it into a
/// `Box<dyn Error + Send + Sync>`.
pub(crate) struct Payload(Mutex<Box<dyn Any + Send>>);

impl Payload {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Payload {
        Payload(Mutex::new(payload))
    }

    pub(crate) fn into_inner(self) -> Box<dyn Any + Send> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text in it.
    pub(crate) fn message(&self) -> String {
        message(&**self.0.lock().unwrap_or_else(PoisonError::into_inner)).to_owned()
    }
}

type Hook = Arc<dyn Fn(&TaskPanic<'_>) + Send + Sync>;

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Sets what is done with the panic of a task that has no `JoinHandle`, or whose handle was dropped
/// without looking. Process-wide; any thread. The hook runs on the task's home thread, under the
/// Big QEMU Lock if that is the main loop's.
///
/// Without a hook the panic is reported on stderr, with the task's name and the line that spawned
/// it. (Rust's own panic hook has run before, as always.)
///
/// # Examples
///
/// ```
/// use executor::{LocalExecutor, set_task_panic_hook};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static LOST: AtomicU32 = AtomicU32::new(0);
///
/// set_task_panic_hook(|_panic| {
///     LOST.fetch_add(1, Ordering::Relaxed);
/// });
/// let executor = LocalExecutor::new()?;
/// executor.spawn(async { panic!("nobody joins this one") }).detach();
/// executor.run_once();
/// assert_eq!(LOST.load(Ordering::Relaxed), 1);
///
/// let joined = executor.spawn(async { panic!("its handle has this one") });
/// assert!(executor.run(joined).unwrap_err().is_panic());
/// assert_eq!(LOST.load(Ordering::Relaxed), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_task_panic_hook(hook: impl Fn(&TaskPanic<'_>) + Send + Sync + 'static) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
}

/// Reports a panic that no handle will. Does not panic itself, whatever the hook and the payload do.
pub(crate) fn report_lost_panic(task: &dyn fmt::Display, payload: Box<dyn Any + Send>) {
    let panic = TaskPanic { task, payload: &*payload };
    // Not called under the lock: a hook may set another hook, or lose a panic.
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
    match hook {
        Some(hook) => {
            // A hook that panics has no one left to tell.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(&panic))) {
                drop_payload(payload);
            }
        }
        None => write_stderr(&format!("executor: {task} panicked: {}\n", panic.message())),
    }
    drop_payload(payload);
}

/// Drops what `panic!` was called with. If its destructor panics in turn, that payload leaks: there
/// would be no end to it.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        let _leaked = ManuallyDrop::new(payload);
    }
}

/// Wakes where a panic would leave work undone. Only a waker that is not ours can panic; the panic is
/// reported.
pub(crate) fn wake_without_panic(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        report_lost_panic(&"a waker", payload);
    }
}

/// Writes to stderr if that is possible.
pub(crate) fn write_stderr(text: &str) {
    let _nobody_to_tell = std::io::stderr().lock().write_all(text.as_bytes());
}
