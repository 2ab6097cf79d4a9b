//! The emulation under its C names, for QEMU's own unit tests.
//!
//! Everything that `include/compat.h` declares and does not define is here: the functions of `aio_sys::emulated`, as
//! they are; those that QEMU has as inline functions or on top of its event loop; and a thread pool. The script
//! `run` compiles QEMU's tests against it.
//!
//! Threads: as the functions behind the names.

mod thread_pool;

use std::ffi::{c_char, c_int, c_void};

use aio_sys::emulated;
use aio_sys::{
    AioContext, AioPollFn, CoMutex, CoRwlock, Coroutine, CoroutineEntry, Error, EventNotifier,
    EventNotifierHandler, MemReentrancyGuard, QEMUBH, QEMUBHFunc, QEMUClockType, QEMUTimer,
    QEMUTimerCB, QEMUTimerListGroup, SCALE_NS,
};
use glib_sys::GSource;

/// Gives functions of the emulation their C names.
macro_rules! export {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        /// The emulation's.
        ///
        /// # Safety
        ///
        /// As there.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe, reason = "some are safe")]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
            // SAFETY: the caller's promise.
            unsafe { emulated::$name($($arg),*) }
        }
    )*};
}

export! {
    aio_bh_new_full(
        ctx: *mut AioContext, cb: QEMUBHFunc, opaque: *mut c_void, name: *const c_char, guard: *mut MemReentrancyGuard
    ) -> *mut QEMUBH;
    aio_bh_schedule_oneshot_full(ctx: *mut AioContext, cb: QEMUBHFunc, opaque: *mut c_void, name: *const c_char);
    qemu_bh_schedule(bh: *mut QEMUBH);
    qemu_bh_cancel(bh: *mut QEMUBH);
    qemu_bh_delete(bh: *mut QEMUBH);

    aio_context_new(errp: *mut *mut Error) -> *mut AioContext;
    aio_context_ref(ctx: *mut AioContext);
    aio_context_unref(ctx: *mut AioContext);
    aio_context_set_poll_params(ctx: *mut AioContext, max_ns: i64, grow: i64, shrink: i64, errp: *mut *mut Error);
    aio_get_g_source(ctx: *mut AioContext) -> *mut GSource;
    aio_notify(ctx: *mut AioContext);
    aio_poll(ctx: *mut AioContext, blocking: bool) -> bool;
    aio_set_event_notifier(
        ctx: *mut AioContext, notifier: *mut EventNotifier, io_read: Option<EventNotifierHandler>,
        io_poll: Option<AioPollFn>, io_poll_ready: Option<EventNotifierHandler>
    );
    qemu_get_aio_context() -> *mut AioContext;
    qemu_get_current_aio_context() -> *mut AioContext;
    qemu_set_current_aio_context(ctx: *mut AioContext);

    event_notifier_init(notifier: *mut EventNotifier, active: c_int) -> c_int;
    event_notifier_cleanup(notifier: *mut EventNotifier);
    event_notifier_set(notifier: *mut EventNotifier) -> c_int;
    event_notifier_test_and_clear(notifier: *mut EventNotifier) -> c_int;

    qemu_clock_get_ns(clock: QEMUClockType) -> i64;
    timer_init_full(
        ts: *mut QEMUTimer, group: *mut QEMUTimerListGroup, clock: QEMUClockType, scale: c_int, attributes: c_int,
        cb: QEMUTimerCB, opaque: *mut c_void
    );
    timer_mod_ns(ts: *mut QEMUTimer, expire_time: i64);
    timer_del(ts: *mut QEMUTimer);

    aio_co_schedule(ctx: *mut AioContext, co: *mut Coroutine);
    aio_co_enter(ctx: *mut AioContext, co: *mut Coroutine);
    aio_co_wake(co: *mut Coroutine);
    qemu_coroutine_create(entry: CoroutineEntry, opaque: *mut c_void) -> *mut Coroutine;
    qemu_coroutine_enter(co: *mut Coroutine);
    qemu_coroutine_entered(co: *mut Coroutine) -> bool;
    qemu_coroutine_self() -> *mut Coroutine;
    qemu_coroutine_yield();
    qemu_in_coroutine() -> bool;
    qemu_co_mutex_init(mutex: *mut CoMutex);
    qemu_co_mutex_lock(mutex: *mut CoMutex);
    qemu_co_mutex_unlock(mutex: *mut CoMutex);
    qemu_co_rwlock_init(lock: *mut CoRwlock);
    qemu_co_rwlock_rdlock(lock: *mut CoRwlock);
    qemu_co_rwlock_wrlock(lock: *mut CoRwlock);
    qemu_co_rwlock_upgrade(lock: *mut CoRwlock);
    qemu_co_rwlock_downgrade(lock: *mut CoRwlock);
    qemu_co_rwlock_unlock(lock: *mut CoRwlock);
}

/// Where functions of the tests want their errors. What fails here leaves one, and QEMU would end.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "a C name")]
pub static mut error_abort: *mut Error = std::ptr::null_mut();
/// As [`error_abort`].
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "a C name")]
pub static mut error_fatal: *mut Error = std::ptr::null_mut();

/// The emulation's, with both contexts attached to `GLib`'s default context, as in QEMU.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_init_main_loop(errp: *mut *mut Error) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { emulated::qemu_init_main_loop(errp) };
    if result == 0 {
        // SAFETY: the main loop was just made.
        unsafe { attach(emulated::qemu_get_aio_context()) };
        // SAFETY: as above.
        unsafe { attach(emulated::iohandler_get_aio_context()) };
    }
    result
}

/// # Safety
///
/// `ctx` is alive.
unsafe fn attach(ctx: *mut AioContext) {
    // SAFETY: the caller's promise.
    let source = unsafe { emulated::aio_get_g_source(ctx) };
    // SAFETY: it was just made; null is the default context.
    unsafe { glib_sys::g_source_attach(source, std::ptr::null_mut()) };
    // SAFETY: the default context has a reference now.
    unsafe { glib_sys::g_source_unref(source) };
}

/// Initialises a timer of a context. Inline in QEMU.
///
/// # Safety
///
/// As for `timer_init_full`; `ctx` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_timer_init(
    ctx: *mut AioContext,
    ts: *mut QEMUTimer,
    clock: QEMUClockType,
    scale: c_int,
    cb: QEMUTimerCB,
    opaque: *mut c_void,
) {
    // SAFETY: the caller's promise.
    let group = unsafe { emulated::aio_context_timer_group(ctx) };
    // SAFETY: the caller's promise.
    unsafe { emulated::timer_init_full(ts, group, clock, scale, 0, cb, opaque) };
}

/// `timer_mod_ns` in units of the timer's scale.
///
/// # Safety
///
/// As for `timer_mod_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn timer_mod(ts: *mut QEMUTimer, expire_time: i64) {
    // SAFETY: the caller's promise.
    let scale = unsafe { (*ts).scale };
    // SAFETY: the caller's promise.
    unsafe { emulated::timer_mod_ns(ts, expire_time * i64::from(scale / SCALE_NS)) };
}
