//! The main loop: two contexts in one thread.
//!
//! Owns the main context, which nested loops run too, the iohandler context, which only
//! `main_loop_wait` runs, and the main loop's own timers, which run at the end of each turn. All
//! three live as long as the process.
//!
//! Threads: `main_loop_wait` belongs to the thread that called `qemu_init_main_loop`, which must hold
//! the BQL. The turn releases it around its sleep, and only there. Whoever else holds the BQL meanwhile
//! may run the main context in a nested loop.
//!
//! Another loop may sleep instead, see `embedding`.
//!
//! Relies on `poll` for what a context does before and after the sleep. The epoll instance of the
//! iohandler context watches that of the main context, so one system call waits for both; a nested
//! loop on the main context does not see the other.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};

use super::bottom_half::{qemu_bh_new_full, qemu_bh_schedule};
use super::bql::{bql_lock_impl, bql_locked, bql_unlock};
use super::context::{Context, soonest};
use super::current::{qemu_set_current_aio_context, thread_token};
use super::fd::Ready;
use super::timer::TimerGroup;
use super::{error, os, poll, simulation};
use crate::types::{AioContext, Error, QEMUBH};

/// The main context. Written once, before anybody else knows of it.
static MAIN: AtomicPtr<AioContext> = AtomicPtr::new(ptr::null_mut());
/// The iohandler context.
static IOHANDLER: AtomicPtr<AioContext> = AtomicPtr::new(ptr::null_mut());
/// Ends a sleep of the main loop.
static KICK: AtomicPtr<QEMUBH> = AtomicPtr::new(ptr::null_mut());
/// The thread that called `qemu_init_main_loop`.
static THREAD: AtomicUsize = AtomicUsize::new(0);

/// The timers that belong to no context.
pub(super) fn timers() -> &'static Arc<TimerGroup> {
    static TIMERS: OnceLock<Arc<TimerGroup>> = OnceLock::new();
    TIMERS.get_or_init(|| {
        let timers = TimerGroup::new();
        timers.announce(notify, ptr::null_mut());
        timers
    })
}

/// Ends a sleep of the main loop.
///
/// # Safety
///
/// None: the type is that of a callback.
unsafe extern "C" fn notify(_opaque: *mut c_void) {
    qemu_notify_event();
}

/// The callback of the bottom half that ends a sleep.
///
/// # Safety
///
/// None: the type is that of a callback.
unsafe extern "C" fn do_nothing(_opaque: *mut c_void) {}

/// Whether `ctx` is the iohandler context.
pub(super) fn is_iohandler(ctx: *mut AioContext) -> bool {
    // Acquire: pairs with the store in `iohandler_get_aio_context`.
    !ctx.is_null() && ptr::eq(ctx, IOHANDLER.load(Ordering::Acquire))
}

/// Returns the main context, or null before `qemu_init_main_loop`. Any thread may call this.
#[must_use]
pub extern "C" fn qemu_get_aio_context() -> *mut AioContext {
    // Acquire: pairs with the store in `init`.
    MAIN.load(Ordering::Acquire)
}

/// Returns the iohandler context, and makes it if it is not there yet. Any thread may call this.
#[must_use]
pub extern "C" fn iohandler_get_aio_context() -> *mut AioContext {
    static MAKE: Once = Once::new();
    MAKE.call_once(|| {
        let context = Context::create().expect("cannot create the iohandler context");
        // Release: pairs with the loads.
        IOHANDLER.store(context, Ordering::Release);
    });
    IOHANDLER.load(Ordering::Acquire)
}

/// Makes the calling thread the main loop: creates the main context and makes it current. Returns 0,
/// or a negative number and an error.
///
/// # Panics
///
/// Aborts if it was called before.
///
/// # Safety
///
/// `errp` is null or points to a null pointer. The thread lives as long as the process.
pub unsafe extern "C" fn qemu_init_main_loop(errp: *mut *mut Error) -> c_int {
    assert!(qemu_get_aio_context().is_null(), "qemu_init_main_loop was called twice");
    os::lower_timer_slack();
    match Context::create() {
        Ok(context) => {
            // SAFETY: the context lives for ever.
            unsafe { init(context) };
            0
        }
        Err(cause) => {
            // SAFETY: the caller's promise.
            unsafe { error::set(errp, &format!("cannot create the main loop: {cause}")) };
            -1
        }
    }
}

/// # Safety
///
/// `context` lives for ever.
unsafe fn init(context: *mut AioContext) {
    THREAD.store(thread_token(), Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { qemu_set_current_aio_context(context) };
    // Release: pairs with `qemu_get_aio_context`.
    MAIN.store(context, Ordering::Release);
    let name = c"qemu_notify_event".as_ptr();
    // SAFETY: the callback does nothing with its argument.
    let kick = unsafe { qemu_bh_new_full(do_nothing, ptr::null_mut(), name, ptr::null_mut()) };
    // Release: pairs with `qemu_notify_event`.
    KICK.store(kick, Ordering::Release);
    // SAFETY: both contexts live for ever.
    let iohandler = unsafe { Context::from_raw(iohandler_get_aio_context()) };
    // SAFETY: as above.
    let main = unsafe { Context::from_raw(context) };
    iohandler.monitor.watch_nested(&main.monitor).expect("epoll instances may be nested");
}

/// Ends a sleep of the main loop, or the next one. Any thread may call this; nothing happens before
/// `qemu_init_main_loop`.
pub extern "C" fn qemu_notify_event() {
    // Acquire: pairs with the store in `init`.
    let kick = KICK.load(Ordering::Acquire);
    if !kick.is_null() {
        // SAFETY: the bottom half lives for ever.
        unsafe { qemu_bh_schedule(kick) };
    }
}

/// The two contexts, in the hands of the thread that may run both.
pub(super) struct Contexts {
    main: &'static Context,
    pub(super) iohandler: &'static Context,
}

impl Contexts {
    /// # Panics
    ///
    /// Unless the thread called `qemu_init_main_loop` and holds the BQL.
    pub(super) fn lend_to(caller: &str) -> Self {
        assert!(
            THREAD.load(Ordering::Relaxed) == thread_token(),
            "{caller} must be called by the thread that called qemu_init_main_loop"
        );
        assert!(bql_locked(), "{caller}: the thread does not hold the BQL");
        // SAFETY: the two contexts live for ever.
        let main = unsafe { Context::from_raw(qemu_get_aio_context()) };
        // SAFETY: as above.
        let iohandler = unsafe { Context::from_raw(iohandler_get_aio_context()) };
        Self { main, iohandler }
    }

    /// Announces a sleep, and says how long it may last (-1: for ever).
    pub(super) fn prepare(&self) -> i64 {
        [poll::prepare(self.main), poll::prepare(self.iohandler), timers().deadline_ns()]
            .into_iter()
            .fold(-1, soonest)
    }

    /// Takes an announcement back.
    pub(super) fn stay_awake(&self) {
        self.main.doorbell.end_main_loop_sleep();
        self.iohandler.doorbell.end_main_loop_sleep();
    }

    /// Asks the kernel about the descriptors of both, without waiting.
    pub(super) fn collect(&self) -> [Ready; 2] {
        let mut iohandler_ready = Ready::default();
        // Interrupted or not: whatever is ready now is ready in the next turn too.
        let _ = self.iohandler.monitor.wait(0, &mut iohandler_ready);
        self.collect_more(iohandler_ready)
    }

    /// The same, if the monitor that watches both has answered already.
    #[inline]
    fn collect_more(&self, iohandler_ready: Ready) -> [Ready; 2] {
        let mut main_ready = Ready::default();
        if iohandler_ready.nested {
            // As in `collect`.
            let _ = self.main.monitor.wait(0, &mut main_ready);
        }
        [main_ready, iohandler_ready]
    }

    /// Runs what is due after a sleep, which found `ready` in the main and in the iohandler context.
    #[inline]
    pub(super) fn dispatch(&self, ready: [Ready; 2]) {
        let [main_ready, iohandler_ready] = ready;
        poll::dispatch(self.main, main_ready);
        poll::dispatch(self.iohandler, iohandler_ready);
        timers().run();
    }
}

/// Runs one turn of the main loop: sleeps, unless `nonblocking`, until something is due, then runs
/// both contexts once and the main loop's own timers.
///
/// # Panics
///
/// Aborts unless the thread called `qemu_init_main_loop` and holds the BQL.
///
/// # Safety
///
/// Nothing that the BQL protects is borrowed.
pub unsafe extern "C" fn main_loop_wait(nonblocking: c_int) {
    let contexts = Contexts::lend_to("main_loop_wait");
    let timeout_ns = contexts.prepare();
    let timeout_ns = if nonblocking == 0 { timeout_ns } else { 0 };
    let mut iohandler_ready = Ready::default();
    // SAFETY: the caller's promise.
    unsafe { sleep_without_bql(&contexts, timeout_ns, &mut iohandler_ready) };
    contexts.dispatch(contexts.collect_more(iohandler_ready));
}

/// Waits for the descriptors of both contexts; the monitor of the iohandler context watches both.
///
/// # Safety
///
/// The BQL may be released.
unsafe fn sleep_without_bql(contexts: &Contexts, timeout_ns: i64, ready: &mut Ready) {
    // SAFETY: the caller's promise.
    unsafe { bql_unlock() };
    simulation::preempt();
    let Contexts { main, iohandler } = contexts;
    if timeout_ns != 0 || main.monitor.has_handlers() || iohandler.monitor.has_handlers() {
        // An interrupted sleep is over: the caller loops.
        let _ = iohandler.monitor.wait(timeout_ns, ready);
    }
    // SAFETY: the file name is a NUL-terminated string.
    unsafe { bql_lock_impl(c"main_loop.rs".as_ptr(), line!() as c_int) };
}
