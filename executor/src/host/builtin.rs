//! QEMU's own commands for a server of ours.
//!
//! QEMU runs them in a coroutine, from its dispatcher (`qmp_dispatch`), and they expect to be alone. So there
//! is one coroutine at a time here, too, and a queue before it: what a client asks of QEMU waits for other
//! such requests, but never for a command of ours.
//!
//! QEMU's own monitors have another dispatcher, which knows nothing of this one: a command of theirs that
//! waits in a coroutine (few do) can be overtaken, as it can by the human monitor.
//!
//! Commands that take a file descriptor from their monitor are refused: our clients have no monitor of C's,
//! and the C code does not look.
//!
//! Threads: the main loop's. QEMU may move the coroutine; its result is brought home.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CString, c_void};
use std::ptr;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::command::{qemu_has, refused, start_at_home};
use super::object;
use crate::aio::bottom_half::run_oneshot;
use crate::aio::callback::no_unwind;
use crate::aio::context::Context;
use crate::qmp::{Arguments, Call, Error, ErrorClass, Json, Outcome};
use crate::remote::{self, Errand};

/// Returns how to call a command that QEMU has: for
/// [`Registry::set_fallback`](crate::qmp::Registry::set_fallback). Their events go to QEMU's own monitors
/// only, and they are not available out of band.
pub fn find_builtin(name: &str) -> Option<Call> {
    let c_name = CString::new(name).ok()?;
    if !qemu_has(&c_name) {
        return None;
    }
    let name: Rc<str> = name.into();
    Some(Call::Coroutine(Rc::new(move |_cx, arguments| {
        let name = Rc::clone(&name);
        Box::pin(async move { dispatch(&name, arguments).await })
    })))
}

async fn dispatch(name: &str, arguments: Arguments) -> Outcome {
    if needs_monitor(name, &arguments) {
        let why = "takes a file descriptor from a monitor of QEMU's own";
        return Err(Error::generic(format!("The command {name} {why}, which this is not")));
    }
    let request = Json::new(&json!({ "execute": name, "arguments": arguments }))?;
    let request = CString::new(request.as_str()).expect("what is not printable is escaped");
    let (errand, remote) = remote::pair();
    QUEUE.with_borrow_mut(|queue| queue.waiting.push_back(Job { request, errand }));
    start_next();
    remote.await.unwrap_or_else(|error| Err(refused(error)))
}

/// Whether C code would look into the monitor that the command came from.
fn needs_monitor(name: &str, arguments: &Arguments) -> bool {
    match name {
        "getfd" | "closefd" | "add-fd" | "add_client" => true,
        "migrate" | "migrate-incoming" | "dump-guest-memory" => arguments.values().any(names_fd),
        _ => false,
    }
}

/// Whether there is an address like `fd:name` in a value, or one of the type `fd`.
fn names_fd(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "fd" || text.starts_with("fd:"),
        Value::Array(values) => values.iter().any(names_fd),
        Value::Object(members) => members.values().any(names_fd),
        _ => false,
    }
}

/// A request, and whom to answer.
struct Job {
    request: CString,
    errand: Errand<Outcome>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Whether there is a coroutine.
    busy: bool,
}

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

impl Queue {
    fn next(&mut self) -> Option<Job> {
        let next = if self.busy { None } else { self.waiting.pop_front() };
        self.busy |= next.is_some();
        next
    }
}

/// Starts the next request, if QEMU is free, outside of any task.
fn start_next() {
    if let Some(job) = QUEUE.with_borrow_mut(Queue::next) {
        run_oneshot(&Context::iohandler(), || enter(job));
    }
}

fn enter(job: Job) {
    if job.errand.is_cancelled() {
        return finish();
    }
    let job = Box::into_raw(Box::new(job));
    // SAFETY: [opaque-is-box]: the coroutine takes the box.
    let coroutine = unsafe { aio_sys::host::qemu_coroutine_create(run, job.cast()) };
    // SAFETY: it is new, and this is a bottom half, outside of coroutines.
    unsafe { aio_sys::host::qemu_coroutine_enter(coroutine) };
}

/// The coroutine.
extern "C" fn run(opaque: *mut c_void) {
    // SAFETY: [opaque-is-box]: from `enter`, and a coroutine begins once.
    let Job { request, errand } = *unsafe { Box::from_raw(opaque.cast::<Job>()) };
    // SAFETY: in a coroutine of the main loop, under the lock; the frames above are this one and C's.
    let outcome = unsafe { ask(&request) };
    start_at_home(move || {
        errand.complete(Ok(outcome));
        finish();
    });
}

/// QEMU is free again.
fn finish() {
    QUEUE.with_borrow_mut(|queue| queue.busy = false);
    start_next();
}

/// What QEMU answers.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Return(Value),
    Error { class: String, desc: String },
}

/// # Safety
///
/// In a coroutine, which may be left and entered again meanwhile, also by another thread.
unsafe fn ask(request: &CString) -> Outcome {
    // SAFETY: it is a C string; without a place for an error there is none to free.
    let request = unsafe { aio_sys::host::qobject_from_json(request.as_ptr(), ptr::null_mut()) };
    let commands = &raw const aio_sys::host::qmp_commands;
    // SAFETY: a live object, or null, which QEMU refuses as it is no request; no monitor.
    let reply = unsafe { aio_sys::host::qmp_dispatch(commands, request, false, ptr::null_mut()) };
    // SAFETY: ours; null is nothing.
    unsafe { aio_sys::host::qdict_unref(request.cast()) };
    let failed = || Err(Error::generic("QEMU's reply could not be read"));
    no_unwind("reading a reply", failed(), || {
        // SAFETY: ours until the end of this scope.
        let outcome = unsafe { outcome(reply) };
        // SAFETY: ours, and used no more.
        unsafe { aio_sys::host::qdict_unref(reply) };
        outcome
    })
}

/// # Safety
///
/// `reply` is a live object, or null.
unsafe fn outcome(reply: *mut aio_sys::host::QDict) -> Outcome {
    if reply.is_null() {
        // The command answers with an event, or its end is the answer.
        return Json::new(&json!({}));
    }
    // SAFETY: alive by this function's contract.
    match unsafe { object::read(aio_sys::host::qobject(reply)) }? {
        Reply::Return(value) => Json::new(&value),
        Reply::Error { class, desc } => Err(Error::new(class_of(&class), desc)),
    }
}

fn class_of(name: &str) -> ErrorClass {
    let known = [
        ErrorClass::CommandNotFound,
        ErrorClass::DeviceNotActive,
        ErrorClass::DeviceNotFound,
        ErrorClass::KvmMissingCap,
    ];
    known.into_iter().find(|class| class.as_str() == name).unwrap_or(ErrorClass::GenericError)
}
