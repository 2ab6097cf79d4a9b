//! C coroutines and futures, in each other.
//!
//! | from | to | |
//! |---|---|---|
//! | a task | C code that must run in a coroutine (`coroutine_fn`) | [`call`] |
//! | C code in a coroutine, such as a block driver's callback | a future | [`InCoroutine::wait`] |
//! | a task | a migratable task that a C coroutine drives | [`spawn_migratable`] |
//! | C code in a coroutine | a migratable task that this coroutine drives | [`InCoroutine::migrate`] |
//!
//! *Nothing is entered from a poll.* `qemu_coroutine_enter` runs C code on the stack of its caller, which may
//! do anything: lend a capability, run for long, change what the task that is polled looks at. So a coroutine
//! begins, and goes on, in a bottom half of its context (`aio_co_schedule`). And a future is polled in a
//! coroutine, but a poll never leaves it: only the root loop between two polls does.
//!
//! *A coroutine may be entered in another thread than the one it left*: QEMU's main context is run by whoever
//! holds the Big QEMU Lock, and `aio_co_reschedule_self` exists. The compiler does not know. What is built
//! here alone, around a future that is `Send`, is safe. What leaves a coroutine below code of the caller's is
//! `unsafe`, with a promise about that code.
//!
//! Threads: as said at each. A coroutine cannot be cancelled; who drops the handle does not wait for it.
//!
//! `examples/qemu_plugin/selftest/coroutine.rs` does each of these, inside QEMU.
//!
//! Data flows one way: `sleeper` → `travel` → here.

mod sleeper;
mod travel;

use std::ffi::c_void;
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};

use aio_sys::host::CoroutineEntry;

use crate::aio::callback::no_unwind;
use crate::aio::context::Context;
use crate::bql;
use crate::current;
use crate::cx::MainCx;
use crate::in_coroutine::InCoroutine;
use crate::main_loop::main_core;
use crate::migrate::{Migratable, pack};
use crate::remote::{self, Errand, Remote};
use crate::task::JoinError;
use crate::task_fn::SendTaskFn;

use sleeper::Sleeper;

/// Runs `function` in a new C coroutine of the main context, where C code that is a `coroutine_fn` may be
/// called, and gives the handle on its result.
///
/// It begins in a bottom half, never inside this call. Whoever holds the Big QEMU Lock may run the main
/// context, so the thread can be a vCPU's; the lock is held when it begins.
///
/// A C coroutine cannot be cancelled. When the handle is dropped before the coroutine has begun, `function`
/// is dropped instead of called; later, it runs to its end in peace, with what it owns, and its result is
/// dropped. A panic is an error of the handle.
///
/// QEMU keeps the coroutine, not us: when QEMU ends meanwhile, the handle says that it was cancelled or
/// never answers.
#[track_caller]
pub fn call<R, F>(_cx: &MainCx, function: F) -> Remote<R>
where
    F: for<'c> FnOnce(&'c mut InCoroutine) -> R + Send + 'static,
    R: Send + 'static,
{
    let (errand, remote) = remote::pair();
    let call = Box::new(Call { function, errand, called_at: Location::caller() });
    // SAFETY: [opaque-is-box]: the coroutine takes the box.
    unsafe { begin(&Context::main(), Call::<F, R>::begin, Box::into_raw(call).cast()) };
    remote
}

/// As [`MainCx::spawn_migratable`], with a C coroutine for a root: the same body, moved by
/// `aio_co_reschedule_self` between polls. For bodies that are to look like coroutines to C; a task is
/// cheaper.
///
/// It begins on the main loop, and when the body has ended the coroutine goes back there before the handle
/// says so. Where the body is polled, timers and descriptors are served by the executor of that thread. In
/// nested event loops it stands still while it is on the main loop.
///
/// A coroutine cannot be taken out of an event loop that has ended: whoever moves one to an iothread keeps
/// the [`IoThread`](crate::IoThread) until it is back, as in C. A body that wants to move to an iothread that
/// has ended ends as cancelled.
#[track_caller]
pub fn spawn_migratable<F, T>(_cx: &MainCx, task: F) -> Remote<T>
where
    F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    let (luggage, remote) = pack(&main_core(), Location::caller(), task);
    let luggage = Box::into_raw(Box::new(luggage));
    // SAFETY: [opaque-is-box]: the coroutine takes the box.
    unsafe { begin(&Context::iohandler(), travel::begin::<T>, luggage.cast()) };
    remote
}

/// Makes a coroutine and enters it in a bottom half of `context`. Main loop's thread.
///
/// # Safety
///
/// `opaque` is what `entry` expects.
unsafe fn begin(context: &Context, entry: CoroutineEntry, opaque: *mut c_void) {
    // SAFETY: by this function's contract.
    let coroutine = unsafe { aio_sys::host::qemu_coroutine_create(entry, opaque) };
    // SAFETY: [ctx-ref], [co-once]: it is new, so nobody else enters it.
    unsafe { aio_sys::host::aio_co_schedule(context.as_raw(), coroutine) };
}

/// What a coroutine is to call.
struct Call<F, R> {
    function: F,
    errand: Errand<R>,
    called_at: &'static Location<'static>,
}

impl<F, R> Call<F, R>
where
    F: for<'c> FnOnce(&'c mut InCoroutine) -> R,
{
    /// The coroutine.
    extern "C" fn begin(opaque: *mut c_void) {
        // SAFETY: [opaque-is-box]: from `call`, and a coroutine begins once.
        let call = *unsafe { Box::from_raw(opaque.cast::<Self>()) };
        no_unwind("a coroutine", (), || call.run());
    }

    fn run(self) {
        let Self { function, errand, called_at } = self;
        errand.call(called_at, || InCoroutine::lend(function));
    }
}

impl InCoroutine {
    /// Lends the right to `f`: for `coroutine_fn`s in Rust that C calls, such as a block driver's.
    ///
    /// # Safety
    ///
    /// - The caller is what C calls in a coroutine, directly: there is no poll between, and no frame that
    ///   has an `InCoroutine` that it uses before `f` returns.
    /// - Nobody enters the coroutine before `f` has returned, except for what `f` itself waits for.
    ///
    /// # Panics
    ///
    /// If this is no coroutine.
    #[track_caller]
    pub unsafe fn assume<R>(f: impl for<'c> FnOnce(&'c mut InCoroutine) -> R) -> R {
        assert!(
            aio_sys::host::qemu_in_coroutine(),
            "a `coroutine_fn` was called outside of coroutines: use `host::coroutine::call`"
        );
        InCoroutine::lend(f)
    }

    /// Polls `future` to its end, here; the coroutine yields while it has to wait, and is entered again in
    /// the context that it is in. The `.await` of code that C calls in a coroutine.
    ///
    /// There is no executor here, as any thread may run the context: sockets and timers are for tasks.
    /// Spawn one ([`MainHandle::run`](crate::MainHandle::run)) and wait for its handle.
    ///
    /// # Safety
    ///
    /// No frame between this one and the C code that called into Rust holds something that must stay on
    /// this thread (an `Rc`, a `MutexGuard`, a reference into a thread-local), or relies on nothing else
    /// running on this thread meanwhile (a scoped thread-local): the coroutine may be entered in another
    /// one, [co-frames].
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code, and if `future` panics.
    #[track_caller]
    pub unsafe fn wait<F: Future + Send>(&mut self, future: F) -> F::Output {
        bql::assert_nothing_borrowed("a coroutine was about to wait");
        let sleeper = Sleeper::of_this_coroutine();
        let mut future = pin!(future);
        loop {
            sleeper.begin_poll();
            if let Poll::Ready(output) = poll(future.as_mut(), sleeper.waker()) {
                return output;
            }
            // SAFETY: [co-frames]: by this function's contract.
            unsafe { sleeper.sleep() };
        }
    }

    /// Polls a migratable task to its end, here: the coroutine moves as the task asks for, with
    /// `aio_co_reschedule_self`, and returns to the context that it is in now. It begins on the main loop.
    ///
    /// See [`spawn_migratable`] for what is different from a task.
    ///
    /// # Errors
    ///
    /// If the task panics, or wants to move to an iothread that has ended.
    ///
    /// # Safety
    ///
    /// As for [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code.
    #[track_caller]
    pub unsafe fn migrate<F, T>(&mut self, task: F) -> Result<T, JoinError>
    where
        F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
        T: Send + 'static,
    {
        bql::assert_nothing_borrowed("a coroutine was about to wait");
        // SAFETY: [co-frames]: by this function's contract.
        unsafe { travel::here(Location::caller(), task) }
    }
}

/// Not inlined: the address of a thread-local must not survive a yield, [co-frames].
#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    current::polling(|_| future.poll(&mut task::Context::from_waker(waker)))
}
