//! QEMU's own commands for a server of ours.
//!
//! QEMU runs them in a coroutine, from its dispatcher (`qmp_dispatch`), and they expect to be alone. So there
//! is one coroutine at a time here, too, and a queue before it: what a client asks of QEMU waits for other
//! such requests, but never for a command of ours.
//!
//! QEMU's own monitors have another dispatcher, which knows nothing of this one: a command of theirs that
//! waits in a coroutine (few do) can be overtaken, as it can by the human monitor.
//!
//! Commands that look into their monitor are refused: our clients have no monitor of C's, and the C code does not
//! check. All others that name a file descriptor (`netdev_add`, `chardev-add`, `object-add`,
//! `migrate-incoming`, …) do check: without a monitor they take a number, for a descriptor of the process.
//!
//! Threads: the main loop's. QEMU may move the coroutine; its result is brought home.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::rc::Rc;

use aio_sys::host::QmpCommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::command::{qemu_has, start_at_home};
use super::{events, object};
use crate::aio::bottom_half::run_oneshot;
use crate::aio::callback::no_unwind;
use crate::aio::context::Context;
use crate::qmp::{Arguments, Call, Error, ErrorClass, Json, Outcome};
use crate::remote::{self, Errand};

/// Returns how to call a command that QEMU has: for
/// [`Registry::set_fallback`](crate::qmp::Registry::set_fallback). They are not available out of band, and their
/// events come if [`forward_events`](super::Loading::forward_events) was called.
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

/// Returns the names of the commands that QEMU has, ours among them: for
/// [`Registry::set_fallback`](crate::qmp::Registry::set_fallback).
pub fn builtin_names() -> Vec<String> {
    /// # Safety
    ///
    /// `command` is one of QEMU's; `names` is the list below.
    unsafe extern "C" fn add(command: *const QmpCommand, names: *mut c_void) {
        // SAFETY: by this function's contract.
        if unsafe { aio_sys::host::qmp_command_is_enabled(command) } {
            // SAFETY: by this function's contract.
            let name = unsafe { aio_sys::host::qmp_command_name(command) };
            // SAFETY: a C string, which lives as long as the command.
            let name = unsafe { CStr::from_ptr(name) };
            // SAFETY: by this function's contract; nobody else uses it meanwhile.
            unsafe { &mut *names.cast::<Vec<String>>() }.push(name.to_string_lossy().into_owned());
        }
    }
    let mut names = Vec::new();
    let commands = &raw const aio_sys::host::qmp_commands;
    // SAFETY: the list lives for ever, and nothing is added to it meanwhile; `add` gets what it expects.
    unsafe { aio_sys::host::qmp_for_each_command(commands, add, (&raw mut names).cast()) };
    names
}

async fn dispatch(name: &str, arguments: Arguments) -> Outcome {
    if let Some(why) = needs_monitor(name, &arguments) {
        return Err(Error::generic(format!("The command {name} {why}")));
    }
    let request = Json::new(&json!({ "execute": name, "arguments": arguments }))?;
    let request = CString::new(request.as_str()).expect("what is not printable is escaped");
    let (errand, remote) = remote::pair();
    QUEUE.with_borrow_mut(|queue| queue.waiting.push_back(Job { request, errand }));
    start_next();
    remote.await.unwrap_or_else(|error| Err(Error::without_outcome(error)))
}

/// Why a command cannot run without a monitor of C's, if so: each of these follows the pointer to its monitor
/// without a look whether there is one.
fn needs_monitor(name: &str, arguments: &Arguments) -> Option<&'static str> {
    const FD: &str = "takes a file descriptor from a monitor of QEMU's own, which this is not";
    const STATE: &str = "is about a monitor of QEMU's own, which this is not";
    let begins_with_fd = |member| {
        let value: Option<&Value> = arguments.get(member);
        value.and_then(Value::as_str).is_some_and(|address| address.starts_with("fd:"))
    };
    match name {
        // The descriptors that a client has passed.
        "getfd" | "closefd" | "add-fd" | "add_client" => Some(FD),
        "migrate" if begins_with_fd("uri") || has_fd_channel(arguments) => Some(FD),
        "dump-guest-memory" if begins_with_fd("protocol") => Some(FD),
        // The commands that it has, the processor that it has chosen.
        "qmp_capabilities" | "query-commands" | "inject-nmi" => Some(STATE),
        _ => None,
    }
}

/// Whether one of the `channels` of a migration is a file descriptor.
fn has_fd_channel(arguments: &Arguments) -> bool {
    let channels = arguments.get("channels").and_then(Value::as_array);
    channels.is_some_and(|channels| channels.iter().any(|it| it["addr"]["type"] == "fd"))
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
    // SAFETY: [co-once]: it is new; this is a bottom half, outside of coroutines.
    unsafe { aio_sys::host::qemu_coroutine_enter(coroutine) };
}

/// The coroutine.
extern "C" fn run(opaque: *mut c_void) {
    // SAFETY: [opaque-is-box]: from `enter`, and a coroutine begins once.
    let Job { request, errand } = *unsafe { Box::from_raw(opaque.cast::<Job>()) };
    // SAFETY: [co-frames]: in a coroutine of the main loop, under the lock; the frames above are this one and C's.
    let outcome = unsafe { ask(&request) };
    start_at_home(move || {
        events::drain();
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
