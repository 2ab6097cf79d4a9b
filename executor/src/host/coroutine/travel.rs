//! A C coroutine as the root of a migratable task.
//!
//! The loop of `migrate`, with other means: between two polls, when the future is below the coroutine's root
//! and nothing of it on the stack, the coroutine moves itself with `aio_co_reschedule_self`, and polls in the
//! other thread. At the end it drops the future where that is, goes back to the context that it was entered
//! in, and only then says that it has ended: who waits may take the iothread down.
//!
//! Threads: the main loop's stop is in the iohandler context, which only the main loop's own thread runs, so
//! a poll is always in the home thread of an executor, which serves the future's timers and descriptors.
//! What the loop keeps across a yield is `Send`; whatever looks at thread-locals is not inlined, [co-frames].

use std::ffi::c_void;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use crate::aio::callback::no_unwind;
use crate::aio::context::Context;
use crate::local_executor::Core;
use crate::main_loop::main_core;
use crate::migrate::{After, Luggage, Migratable, Place, pack};
use crate::remote::{Errand, Remote};
use crate::task::JoinError;
use crate::task_fn::SendTaskFn;

use super::sleeper::{Sleeper, context, move_to};

type Ended<T> = (Errand<T>, Result<T, JoinError>);

/// The coroutine that is nothing but a root.
pub(super) extern "C" fn begin<T: Send + 'static>(opaque: *mut c_void) {
    // SAFETY: [opaque-is-box]: from `spawn_migratable`, and a coroutine begins once.
    let luggage = *unsafe { Box::from_raw(opaque.cast::<Luggage<T>>()) };
    // SAFETY: [co-frames]: there is no other frame. Nobody else knows the coroutine.
    let (errand, result) = unsafe { travel(luggage) };
    no_unwind("the end of a coroutine", (), || errand.complete(result));
}

/// Packs a task and travels with it, in the coroutine of the caller.
///
/// # Safety
///
/// In a coroutine that nobody else enters; [co-frames].
pub(super) unsafe fn here<F, T>(
    called_at: &'static Location<'static>,
    task: F,
) -> Result<T, JoinError>
where
    F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    let entered_in = context();
    // SAFETY: by this function's contract; the main loop runs.
    unsafe { move_to(&Context::iohandler()) };
    let (luggage, remote) = pack_at_home(called_at, task);
    // SAFETY: by this function's contract.
    let (errand, result) = unsafe { travel(luggage) };
    // SAFETY: by this function's contract; its loop waits for us.
    unsafe { move_to(&entered_in) };
    drop((errand, remote));
    result
}

#[inline(never)]
fn pack_at_home<F, T>(called_at: &'static Location<'static>, task: F) -> (Luggage<T>, Remote<T>)
where
    F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    pack(&main_core(), called_at, task)
}

/// Polls to the end, on the main loop and wherever the future wants to go.
///
/// # Safety
///
/// In a coroutine in the iohandler context that nobody else enters; [co-frames].
unsafe fn travel<T: Send + 'static>(mut luggage: Luggage<T>) -> Ended<T> {
    const { assert_send::<Ended<T>>() };
    const { assert_send::<Luggage<T>>() };
    let entered_in = context();
    let mut place = Place::Main;
    let result = loop {
        // SAFETY: by this function's contract.
        match unsafe { stay(&mut luggage, &place) } {
            After::Finish(result) => break result,
            After::Move(to) if to.has_ended() => break Err(JoinError::cancelled()),
            After::Move(to) => place = to,
        }
        // SAFETY: by this function's contract. The loop runs: it has not ended, and who moves a coroutine
        // there keeps it. No waker can enter the coroutine, since the one of the stay waits no more.
        unsafe { move_to(&place.context()) };
        arrive(&luggage, &place);
    };
    let ended = unpack(luggage, result);
    // SAFETY: as above.
    unsafe { move_to(&entered_in) };
    ended
}

/// What is kept across a yield.
const fn assert_send<S: Send>() {}

/// Polls at one place, until the future is ready or wants to go elsewhere.
///
/// # Safety
///
/// In a coroutine that nobody else enters, in the context of `place`; [co-frames].
unsafe fn stay<T: Send + 'static>(luggage: &mut Luggage<T>, place: &Place) -> After<T> {
    let sleeper = Sleeper::of_this_coroutine();
    loop {
        sleeper.begin_poll();
        if let Poll::Ready(after) = poll(luggage, place, sleeper.waker()) {
            return after;
        }
        // SAFETY: by this function's contract.
        unsafe { sleeper.sleep() };
    }
}

#[inline(never)]
fn poll<T: Send + 'static>(
    luggage: &mut Luggage<T>,
    place: &Place,
    waker: &Waker,
) -> Poll<After<T>> {
    let cancelled = || Poll::Ready(After::Finish(Err(JoinError::cancelled())));
    no_unwind("a poll in a coroutine", cancelled(), || match core_of(place) {
        Some(core) => core.poll_guest(|| luggage.poll(&mut TaskContext::from_waker(waker))),
        None => cancelled(),
    })
}

/// The executor of the place, which is where we are. `None` if it was shut down.
fn core_of(place: &Place) -> Option<Rc<Core>> {
    let core = match place {
        Place::Main => Some(main_core()),
        Place::Io(io) => io.core_here(),
    };
    core.filter(|core| !core.is_closed())
}

#[inline(never)]
fn arrive<T: Send + 'static>(luggage: &Luggage<T>, place: &Place) {
    no_unwind("an arrival of a coroutine", (), || luggage.arrive(place.clone()));
}

#[inline(never)]
fn unpack<T: Send + 'static>(luggage: Luggage<T>, result: Result<T, JoinError>) -> Ended<T> {
    luggage.unpack(result)
}

impl Place {
    /// The context that a coroutine polls in, when it is there.
    fn context(&self) -> Context {
        match self {
            Place::Main => Context::iohandler(),
            Place::Io(io) => io.context().clone(),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Place::Io(io) if io.has_ended())
    }
}
