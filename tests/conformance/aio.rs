//! A thin, safe-looking layer over `aio_sys`, for tests of its behaviour.
//!
//! Closures stand in for callback and opaque. The layer does not enforce lifetimes: a test keeps what it
//! registers alive until it has removed it, which the borrow of most closures shows. Whatever this
//! layer hides is one call of the surface, with the same name.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a module of several tests, each of which uses a part"
)]

use std::cell::{RefCell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::panic::resume_unwind;
use std::ptr;
use std::thread;

use aio_sys::{AioContext, EventNotifier, MemReentrancyGuard, QEMUBH, QEMUClockType};
use aio_sys::{AioPollFn, QEMUBHFunc, QEMUTimer, QEMUTimerListGroup};

mod threads;

#[cfg(not(feature = "host"))]
pub use threads::start_main_loop;
pub use threads::{Io, become_main_loop, lock_bql, turn, unlock_bql, with_bql};

/// What happened, in order.
#[derive(Default)]
pub struct Trace(RefCell<Vec<String>>);

impl Trace {
    pub fn log(&self, event: impl Into<String>) {
        self.0.borrow_mut().push(event.into());
    }

    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// Splits a closure into a callback and its opaque.
fn callback<F: Fn()>(closure: &F) -> (QEMUBHFunc, *mut c_void) {
    /// # Safety
    ///
    /// `closure` is an `F` that lives.
    unsafe extern "C" fn call<F: Fn()>(closure: *mut c_void) {
        // SAFETY: the test keeps the closure alive.
        let closure = unsafe { &*closure.cast_const().cast::<F>() };
        closure();
    }
    (call::<F>, ptr::from_ref(closure).cast_mut().cast())
}

/// An event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loop(pub *mut AioContext);

// SAFETY: contexts may be scheduled on from any thread.
unsafe impl Send for Loop {}
// SAFETY: as above.
unsafe impl Sync for Loop {}

impl Loop {
    /// Makes a loop, which is current nowhere.
    pub fn new() -> Self {
        // SAFETY: a null `errp` is allowed.
        Self(unsafe { aio_sys::aio_context_new(ptr::null_mut()) })
    }

    /// The loop of the calling thread.
    pub fn current() -> Self {
        Self(aio_sys::qemu_get_current_aio_context())
    }

    /// The main loop's context.
    pub fn main() -> Self {
        Self(aio_sys::qemu_get_aio_context())
    }

    /// The context that only the main loop runs.
    pub fn iohandler() -> Self {
        Self(aio_sys::iohandler_get_aio_context())
    }

    pub fn make_current(self) {
        // SAFETY: the test unrefs the loop at the end of the thread.
        unsafe { aio_sys::qemu_set_current_aio_context(self.0) };
    }

    pub fn add_ref(self) {
        // SAFETY: the test has a reference.
        unsafe { aio_sys::aio_context_ref(self.0) };
    }

    pub fn unref(self) {
        // SAFETY: the test has a reference.
        unsafe { aio_sys::aio_context_unref(self.0) };
    }

    pub fn poll(self, blocking: bool) -> bool {
        // SAFETY: the loop is alive.
        unsafe { aio_sys::aio_poll(self.0, blocking) }
    }

    pub fn notify(self) {
        // SAFETY: the loop is alive.
        unsafe { aio_sys::aio_notify(self.0) };
    }

    pub fn bh<F: Fn()>(self, closure: &F) -> Bh {
        self.guarded_bh(closure, ptr::null_mut())
    }

    pub fn guarded_bh<F: Fn()>(self, closure: &F, guard: *mut MemReentrancyGuard) -> Bh {
        let (cb, opaque) = callback(closure);
        // SAFETY: the loop is alive, and the test keeps the closure.
        Bh(unsafe { aio_sys::aio_bh_new_full(self.0, cb, opaque, c"test".as_ptr(), guard) })
    }

    pub fn oneshot<F: Fn()>(self, closure: &F) {
        let (cb, opaque) = callback(closure);
        // SAFETY: the loop is alive, and the test keeps the closure.
        unsafe {
            aio_sys::aio_bh_schedule_oneshot_full(self.0, cb, opaque, c"test oneshot".as_ptr());
        }
    }

    /// A oneshot that owns its closure, for answers to threads that do not wait for its end.
    pub fn send<F: FnOnce() + Send>(self, closure: F) {
        /// # Safety
        ///
        /// `closure` is a boxed `F`, which is given away.
        unsafe extern "C" fn call<F: FnOnce()>(closure: *mut c_void) {
            // SAFETY: the box below, and a oneshot runs once.
            let closure = unsafe { Box::from_raw(closure.cast::<F>()) };
            closure();
        }
        let opaque = Box::into_raw(Box::new(closure)).cast();
        let name = c"test send".as_ptr();
        // SAFETY: the loop is alive, and the closure is the callback's.
        unsafe { aio_sys::aio_bh_schedule_oneshot_full(self.0, call::<F>, opaque, name) };
    }

    /// `aio_wait_bh_oneshot`: runs the closure in the loop's thread and waits.
    pub fn run_and_wait<F: Fn() + Sync>(self, closure: &F) {
        let (cb, opaque) = callback(closure);
        #[cfg(feature = "host")]
        let _locked = super::qemu_locks::Acquired::new(self);
        // SAFETY: the loop is alive, and the closure outlives the call.
        unsafe { aio_sys::aio_wait_bh_oneshot(self.0, cb, opaque) };
    }

    /// Registers the callbacks that `handler` has.
    pub fn set_fd(self, fd: RawFd, handler: &Handler<'_>) {
        let read = handler.read.is_some().then_some(on_read as QEMUBHFunc);
        let write = handler.write.is_some().then_some(on_write as QEMUBHFunc);
        let poll = handler.poll.is_some().then_some(on_poll as AioPollFn);
        let ready = handler.ready.is_some().then_some(on_ready as QEMUBHFunc);
        let opaque = ptr::from_ref(handler).cast_mut().cast();
        // SAFETY: the loop is alive, and the test keeps the handler.
        unsafe { aio_sys::aio_set_fd_handler(self.0, fd, read, write, poll, ready, opaque) };
    }

    pub fn remove_fd(self, fd: RawFd) {
        // SAFETY: the loop is alive.
        unsafe {
            aio_sys::aio_set_fd_handler(self.0, fd, None, None, None, None, ptr::null_mut());
        }
    }

    /// Makes a timer of this loop that counts nanoseconds.
    pub fn timer<F: Fn()>(self, clock: QEMUClockType, closure: &F) -> Timer {
        let mut group = timer_group(self, clock);
        Timer::new(&raw mut group, clock, closure)
    }

    pub fn set_poll_max(self, max_ns: i64) {
        // SAFETY: the loop is alive.
        unsafe { aio_sys::aio_context_set_poll_params(self.0, max_ns, 0, 0, ptr::null_mut()) };
    }
}

/// The timer lists of a loop, of which only the one for `clock` need be there.
#[cfg(not(feature = "host"))]
fn timer_group(home: Loop, _clock: QEMUClockType) -> QEMUTimerListGroup {
    // SAFETY: the loop is alive.
    let group = unsafe { aio_sys::aio_context_timer_group(home.0) };
    // SAFETY: it is the loop's, and its pointers are constant.
    unsafe { QEMUTimerListGroup { tl: (*group).tl } }
}

#[cfg(feature = "host")]
use super::qemu_timers::timer_group;

/// Runs a test in a thread with a loop of its own; checks that nothing is left at the end.
pub fn on_loop(test: impl FnOnce(Loop) + Send) {
    thread::scope(|scope| {
        let home = scope.spawn(|| {
            let home = Loop::new();
            home.make_current();
            test(home);
            home.poll(false);
            home.unref();
        });
        home.join().unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// Makes a loop poll for as long as it likes, and lets an event come soon after it began to wait, so that it
/// polls from now on.
pub fn warm_up(home: Loop, event: &Notifier) {
    // Longer than any scheduling delay, so that the poll time grows.
    home.set_poll_max(i64::MAX);
    home.poll(false);
    let start = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            event.set();
        });
        start.wait();
        while !home.poll(true) {}
    });
    // With io_uring a pass in which the kernel is told to watch again does not poll.
    home.poll(false);
}

/// A bottom half.
#[derive(Clone, Copy)]
pub struct Bh(pub *mut QEMUBH);

// SAFETY: bottom halves may be scheduled from any thread.
unsafe impl Send for Bh {}
// SAFETY: as above.
unsafe impl Sync for Bh {}

impl Bh {
    pub fn schedule(self) {
        // SAFETY: the test has not deleted it.
        unsafe { aio_sys::qemu_bh_schedule(self.0) };
    }

    pub fn schedule_idle(self) {
        // SAFETY: the test has not deleted it.
        unsafe { aio_sys::qemu_bh_schedule_idle(self.0) };
    }

    pub fn cancel(self) {
        // SAFETY: the test has not deleted it.
        unsafe { aio_sys::qemu_bh_cancel(self.0) };
    }

    pub fn delete(self) {
        // SAFETY: the test has not deleted it.
        unsafe { aio_sys::qemu_bh_delete(self.0) };
    }

    pub fn call(self) {
        // SAFETY: the test has not deleted it.
        unsafe { aio_sys::aio_bh_call(self.0) };
    }
}

type Action<'a> = Option<Box<dyn Fn() + 'a>>;

/// The callbacks of a descriptor.
#[derive(Default)]
pub struct Handler<'a> {
    pub read: Action<'a>,
    pub write: Action<'a>,
    pub poll: Option<Box<dyn Fn() -> bool + 'a>>,
    pub ready: Action<'a>,
}

impl<'a> Handler<'a> {
    pub fn on_read(read: impl Fn() + 'a) -> Self {
        Self { read: Some(Box::new(read)), ..Self::default() }
    }

    pub fn on_write(write: impl Fn() + 'a) -> Self {
        Self { write: Some(Box::new(write)), ..Self::default() }
    }

    pub fn and_write(self, write: impl Fn() + 'a) -> Self {
        Self { write: Some(Box::new(write)), ..self }
    }

    pub fn and_poll(self, poll: impl Fn() -> bool + 'a, ready: impl Fn() + 'a) -> Self {
        Self { poll: Some(Box::new(poll)), ready: Some(Box::new(ready)), ..self }
    }
}

fn run(action: &Action<'_>) {
    action.as_ref().expect("only callbacks that are there were registered")();
}

/// # Safety
///
/// `handler` is a [`Handler`] that lives.
unsafe extern "C" fn on_read(handler: *mut c_void) {
    // SAFETY: the test keeps the handler.
    run(&unsafe { &*handler.cast_const().cast::<Handler<'_>>() }.read);
}

/// # Safety
///
/// `handler` is a [`Handler`] that lives.
unsafe extern "C" fn on_write(handler: *mut c_void) {
    // SAFETY: the test keeps the handler.
    run(&unsafe { &*handler.cast_const().cast::<Handler<'_>>() }.write);
}

/// # Safety
///
/// `handler` is a [`Handler`] that lives.
unsafe extern "C" fn on_ready(handler: *mut c_void) {
    // SAFETY: the test keeps the handler.
    run(&unsafe { &*handler.cast_const().cast::<Handler<'_>>() }.ready);
}

/// # Safety
///
/// `handler` is a [`Handler`] that lives.
unsafe extern "C" fn on_poll(handler: *mut c_void) -> bool {
    // SAFETY: the test keeps the handler.
    let handler = unsafe { &*handler.cast_const().cast::<Handler<'_>>() };
    handler.poll.as_ref().expect("only callbacks that are there were registered")()
}

/// An event notifier, open as long as it lives.
pub struct Notifier(Box<UnsafeCell<EventNotifier>>);

// SAFETY: notifiers may be set and cleared from any thread.
unsafe impl Send for Notifier {}
// SAFETY: as above.
unsafe impl Sync for Notifier {}

impl Notifier {
    pub fn new() -> Self {
        Self::with_state(false)
    }

    pub fn with_state(active: bool) -> Self {
        let notifier = Self(Box::new(UnsafeCell::new(EventNotifier::new())));
        // SAFETY: it is not open yet.
        let result = unsafe { aio_sys::event_notifier_init(notifier.0.get(), c_int::from(active)) };
        assert_eq!(result, 0);
        notifier
    }

    pub fn as_ptr(&self) -> *mut EventNotifier {
        self.0.get()
    }

    pub fn set(&self) {
        // SAFETY: it is open.
        assert_eq!(unsafe { aio_sys::event_notifier_set(self.0.get()) }, 0);
    }

    pub fn clear(&self) -> bool {
        // SAFETY: it is open.
        unsafe { aio_sys::event_notifier_test_and_clear(self.0.get()) != 0 }
    }

    pub fn fd(&self) -> RawFd {
        // SAFETY: it is open.
        unsafe { aio_sys::event_notifier_get_fd(self.0.get()) }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // SAFETY: the test has removed its handler.
        unsafe { aio_sys::event_notifier_cleanup(self.0.get()) };
    }
}

/// A timer; disarmed when dropped.
pub struct Timer(Box<UnsafeCell<QEMUTimer>>);

// SAFETY: timers may be armed from any thread.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    pub fn new<F: Fn()>(group: *mut QEMUTimerListGroup, clock: QEMUClockType, closure: &F) -> Self {
        let timer = Self(Box::new(UnsafeCell::new(QEMUTimer::new())));
        let (cb, opaque) = callback(closure);
        // SAFETY: the box pins it, and the test keeps the closure and the loop.
        unsafe { aio_sys::timer_init_full(timer.0.get(), group, clock, 1, 0, cb, opaque) };
        timer
    }

    pub fn arm(&self, expire_ns: i64) {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_mod_ns(self.0.get(), expire_ns) };
    }

    pub fn anticipate(&self, expire_ns: i64) {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_mod_anticipate_ns(self.0.get(), expire_ns) };
    }

    pub fn disarm(&self) {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_del(self.0.get()) };
    }

    pub fn deinit(&self) {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_deinit(self.0.get()) };
    }

    pub fn is_pending(&self) -> bool {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_pending(self.0.get()) }
    }

    pub fn expires(&self) -> u64 {
        // SAFETY: it is initialised.
        unsafe { aio_sys::timer_expire_time_ns(self.0.get()) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.is_pending() {
            self.disarm();
        }
    }
}

pub fn now(clock: QEMUClockType) -> i64 {
    aio_sys::qemu_clock_get_ns(clock)
}

pub fn text(message: *const std::ffi::c_char) -> String {
    // SAFETY: the test passes a string.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}
