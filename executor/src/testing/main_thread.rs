//! The thread that is the main loop of a process full of tests.
//!
//! A process has one main loop, which belongs to one thread for good, and the tests of a program run in threads of their
//! own, at the same time. So there is a thread for the main loop, and tests queue for it.
//!
//! Owns that thread, and a panic hook that notes where it panics: the test that waits says so again, in its own thread,
//! where the test harness can see it.

#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::aio::paused;
use crate::main_loop;

type Program = Box<dyn FnOnce() + Send>;

/// What a program came to: its result, or where it panicked and with what.
type Outcome<R> = Result<R, (Option<String>, Box<dyn Any + Send>)>;

thread_local! {
    /// In the main loop's thread: where the last panic was.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `f` in the one thread of this process that is the main loop of its tests, and waits for it. A panic is the
/// caller's. In that thread itself, or if the caller has the main loop, `f` is called at once.
///
/// For tests of the main loop in real time; [`run`](super::run) is for all others.
///
/// ```
/// use executor::testing::on_main_thread;
/// use executor::{MainCx, block_on, run_main};
///
/// let answer = on_main_thread(|| run_main(|nc| block_on(nc, async |_: &MainCx| 42)));
/// assert_eq!(answer, 42);
/// ```
///
/// # Panics
///
/// If `f` does.
#[track_caller]
pub fn on_main_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    if main_loop::is_home() {
        return f();
    }
    assert!(
        paused::program().is_none(),
        "a test on the main loop inside of a test, which has the main loop, or makes it wait"
    );
    match call(f) {
        Ok(result) => result,
        Err((place, payload)) => panic_again(place.as_deref(), payload),
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's thread has nothing else to do")]
fn call<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> Outcome<R> {
    let (send, receive) = channel();
    let program = move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        let result = result.map_err(|payload| (PANICKED_AT.take(), payload));
        send.send(result).expect("the test waits");
    };
    let sent = programs().lock().unwrap_or_else(PoisonError::into_inner).send(Box::new(program));
    sent.expect("the main loop's thread lives as long as the process");
    receive.recv().expect("the program answers")
}

fn programs() -> &'static Mutex<Sender<Program>> {
    static PROGRAMS: OnceLock<Mutex<Sender<Program>>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let (send, receive) = channel::<Program>();
        let serve = move || receive.into_iter().for_each(|program| program());
        let thread = thread::Builder::new().name("main loop".to_owned());
        let main_loop = thread.spawn(serve).expect("the system has threads");
        note_panics_of(main_loop.thread().id());
        Mutex::new(send)
    })
}

/// Notes where that thread panics, and does what was done about panics before.
fn note_panics_of(main_loop: thread::ThreadId) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if thread::current().id() == main_loop {
            let place = info.location().map(ToString::to_string);
            let _thread_ends = PANICKED_AT.try_with(|at| at.replace(place));
        }
        before(info);
    }));
}

/// Panics with the same words, which say where it was; what are no words is passed on.
#[track_caller]
fn panic_again(place: Option<&str>, payload: Box<dyn Any + Send>) -> ! {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    match (text.or_else(|| payload.downcast_ref::<&str>().copied()), place) {
        (Some(text), Some(place)) => panic!("{text}\n(at {place}, in the main loop's thread)"),
        _ => resume_unwind(payload),
    }
}
