//! The event loop of the QEMU that loaded this program.
//!
//! Declares the symbols that are the same in every supported release, 7.2 to 11.x; what they do is said
//! at their twins in `emulated`. The functions that differ between releases are
//! in `versioned`: they have one signature here and find QEMU's own at run time. What only QEMU has is in
//! `block`, `monitor`, `system` and, for plugins, `plugin`. With the feature `in-tree`, for a crate in QEMU's
//! source tree, `linked` declares the functions of that one release instead.
//!
//! Threads: as the twins. [`resolve`] is called once, before anything else, in QEMU's main thread.
//!
//! Relies on a QEMU that exports its symbols, as builds with modules do. The dynamic linker refuses to
//! load a program that names a symbol which is missing, and says which.
//!
//! They can be called inside QEMU only; `examples/qemu_plugin` is a program that is loaded there.

mod block;
#[cfg(feature = "plugin")]
mod exports;
#[cfg_attr(
    not(feature = "in-tree"),
    allow(dead_code, unreachable_pub, reason = "it is here to be compared with `versioned`")
)]
pub(crate) mod linked;
mod monitor;
#[cfg(not(feature = "in-tree"))]
mod plugin;
mod system;
mod version;
#[cfg(not(feature = "in-tree"))]
mod versioned;

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::types::{
    AioContext, Error, EventNotifier, IOHandler, IOThread, MemReentrancyGuard, QEMUBH, QEMUBHFunc,
    QEMUClockType, QEMUTimer, QEMUTimerCB, QEMUTimerListGroup,
};

pub use crate::types::{Coroutine, CoroutineEntry};
pub use block::{
    BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BdrvRequestFlags, BlockAIOCB, BlockBackend,
    BlockCompletionFunc, BlockDevOps, BlockDriverState, BlockPermissions, DrainCallback, IoVec,
    QEMUIOVector, bdrv_drain_all_begin, bdrv_drain_all_end, bdrv_get_aio_context, bdrv_lookup_bs,
    blk_aio_preadv, blk_dec_in_flight, blk_drain, blk_get_aio_context, blk_getlength,
    blk_inc_in_flight, blk_new_with_bs, blk_set_allow_aio_context_change, blk_set_dev_ops,
    blk_set_disable_request_queuing, blk_unref, qemu_iovec_init_external,
};
#[cfg(feature = "in-tree")]
pub use linked::{
    aio_context_acquire, aio_context_release, aio_context_set_poll_params, aio_set_event_notifier,
    aio_set_fd_handler, bql_block_unlock, bql_lock_impl, bql_locked, bql_unlock, drained_ops,
    find_job_status_event, has_monitor_init, iothread_get_aio_context, monitor_init_opts, resolve,
    stay_loaded, version,
};
pub use monitor::{
    ERROR_CLASS_COMMAND_NOT_FOUND, ERROR_CLASS_DEVICE_NOT_ACTIVE, ERROR_CLASS_DEVICE_NOT_FOUND,
    ERROR_CLASS_GENERIC_ERROR, ERROR_CLASS_KVM_MISSING_CAP, ErrorClass, GString,
    JOB_STATUS_ABORTING, JOB_STATUS_CONCLUDED, JOB_STATUS_CREATED, JOB_STATUS_NULL,
    JOB_STATUS_PENDING, JOB_STATUS_RUNNING, JOB_STATUS_WAITING, JobStatus, Monitor, QCO_ALLOW_OOB,
    QCO_COROUTINE, QCO_NO_OPTIONS, QDict, QObject, QmpCommand, QmpCommandFunc, QmpCommandList,
    QmpCommandOptions, SendJobStatus, error_propagate, error_set_internal, g_string_free,
    qdict_unref, qmp_command_is_enabled, qmp_command_name, qmp_commands, qmp_dispatch,
    qmp_find_command, qmp_for_each_command, qmp_register_command, qobject, qobject_from_json,
    qobject_to_json,
};
#[cfg(not(feature = "in-tree"))]
pub use plugin::{
    find_job_status_event, has_monitor_init, monitor_init_opts, plugin_version, stay_loaded,
};
pub use system::{
    Notifier, QemuCoSleep, QemuOpts, QemuOptsList, RunState, SHUTDOWN_ACTION_PAUSE, ShutdownAction,
    VMChangeStateEntry, VMChangeStateHandler, aio_co_reschedule_self, aio_co_schedule,
    qemu_add_vm_change_state_handler, qemu_chr_new_from_opts, qemu_co_sleep_ns_wakeable,
    qemu_coroutine_create, qemu_coroutine_enter, qemu_coroutine_get_aio_context,
    qemu_coroutine_self, qemu_coroutine_yield, qemu_del_vm_change_state_handler, qemu_find_opts,
    qemu_in_coroutine, qemu_opts_parse, qemu_register_shutdown_notifier, runstate_is_running,
    shutdown_action, timerlist_run_timers,
};
pub use version::Version;
#[cfg(not(feature = "in-tree"))]
pub use versioned::{
    aio_context_acquire, aio_context_release, aio_context_set_poll_params, aio_set_event_notifier,
    aio_set_fd_handler, bql_block_unlock, bql_lock_impl, bql_locked, bql_unlock, drained_ops,
    iothread_get_aio_context, resolve, version,
};

/// QEMU's `AioWait`.
#[repr(C)]
struct AioWait {
    num_waiters: AtomicU32,
}

// In the order of QEMU's headers: aio.h, main-loop.h, aio-wait.h, event_notifier.h, timer.h,
// iothread.h, object.h, error.h; then GLib.
unsafe extern "C" {
    /// Makes an event loop.
    pub fn aio_context_new(errp: *mut *mut Error) -> *mut AioContext;
    /// Takes a reference on an event loop.
    pub fn aio_context_ref(ctx: *mut AioContext);
    /// Gives a reference on an event loop back.
    pub fn aio_context_unref(ctx: *mut AioContext);
    /// Makes a bottom half.
    pub fn aio_bh_new_full(
        ctx: *mut AioContext,
        cb: QEMUBHFunc,
        opaque: *mut c_void,
        name: *const c_char,
        guard: *mut MemReentrancyGuard,
    ) -> *mut QEMUBH;
    /// Runs a callback once in the home thread of a context.
    pub fn aio_bh_schedule_oneshot_full(
        ctx: *mut AioContext,
        cb: QEMUBHFunc,
        opaque: *mut c_void,
        name: *const c_char,
    );
    /// Makes an event loop look at all its work again.
    pub fn aio_notify(ctx: *mut AioContext);
    /// Calls the callback of a bottom half at once.
    pub fn aio_bh_call(bh: *mut QEMUBH);
    /// Runs a bottom half in the next poll of its context.
    pub fn qemu_bh_schedule(bh: *mut QEMUBH);
    /// Runs a bottom half soon, without counting as progress.
    pub fn qemu_bh_schedule_idle(bh: *mut QEMUBH);
    /// Takes back `qemu_bh_schedule`.
    pub fn qemu_bh_cancel(bh: *mut QEMUBH);
    /// Frees a bottom half in a later poll.
    pub fn qemu_bh_delete(bh: *mut QEMUBH);
    /// Runs one pass of an event loop.
    pub fn aio_poll(ctx: *mut AioContext, blocking: bool) -> bool;
    /// Returns the context of the calling thread.
    pub safe fn qemu_get_current_aio_context() -> *mut AioContext;
    /// Makes a context current, for the rest of the thread's life.
    pub fn qemu_set_current_aio_context(ctx: *mut AioContext);

    /// Makes the calling thread the main loop. QEMU has done that.
    pub fn qemu_init_main_loop(errp: *mut *mut Error) -> c_int;
    /// Runs one turn of the main loop.
    pub fn main_loop_wait(nonblocking: c_int);
    /// Returns the main context.
    pub safe fn qemu_get_aio_context() -> *mut AioContext;
    /// Returns the context that only the main loop runs.
    pub safe fn iohandler_get_aio_context() -> *mut AioContext;
    /// Ends a sleep of the main loop.
    pub safe fn qemu_notify_event();
    /// Registers callbacks for a descriptor with the iohandler context.
    pub fn qemu_set_fd_handler(
        fd: c_int,
        fd_read: Option<IOHandler>,
        fd_write: Option<IOHandler>,
        opaque: *mut c_void,
    );
    /// Says whether the calling thread may do what only the main loop may.
    pub safe fn qemu_in_main_thread() -> bool;
    /// Makes a bottom half of the main context.
    pub fn qemu_bh_new_full(
        cb: QEMUBHFunc,
        opaque: *mut c_void,
        name: *const c_char,
        guard: *mut MemReentrancyGuard,
    ) -> *mut QEMUBH;
    /// Says whether the current context of the thread is another one than the main context.
    pub safe fn qemu_in_iothread() -> bool;

    /// Makes those who wait check their condition again.
    pub safe fn aio_wait_kick();
    /// Runs a callback in the home thread of a context and waits for it.
    pub fn aio_wait_bh_oneshot(ctx: *mut AioContext, cb: QEMUBHFunc, opaque: *mut c_void);
    static global_aio_wait: AioWait;

    /// Opens a notifier.
    pub fn event_notifier_init(notifier: *mut EventNotifier, active: c_int) -> c_int;
    /// Closes a notifier.
    pub fn event_notifier_cleanup(notifier: *mut EventNotifier);
    /// Returns the descriptor of a notifier.
    pub fn event_notifier_get_fd(notifier: *const EventNotifier) -> c_int;
    /// Makes a notifier readable.
    pub fn event_notifier_set(notifier: *mut EventNotifier) -> c_int;
    /// Makes a notifier unreadable.
    pub fn event_notifier_test_and_clear(notifier: *mut EventNotifier) -> c_int;

    static mut main_loop_tlg: QEMUTimerListGroup;
    /// Returns the time of a clock in nanoseconds.
    pub safe fn qemu_clock_get_ns(clock: QEMUClockType) -> i64;
    /// Lets the timers of a clock fire, or stops them.
    pub fn qemu_clock_enable(clock: QEMUClockType, enabled: bool);
    /// Initialises a timer.
    pub fn timer_init_full(
        ts: *mut QEMUTimer,
        timer_list_group: *mut QEMUTimerListGroup,
        clock: QEMUClockType,
        scale: c_int,
        attributes: c_int,
        cb: QEMUTimerCB,
        opaque: *mut c_void,
    );
    /// Ends the use of a timer.
    pub fn timer_deinit(ts: *mut QEMUTimer);
    /// Disarms a timer.
    pub fn timer_del(ts: *mut QEMUTimer);
    /// Arms a timer.
    pub fn timer_mod_ns(ts: *mut QEMUTimer, expire_time: i64);
    /// Arms a timer, unless it is armed for an earlier time.
    pub fn timer_mod_anticipate_ns(ts: *mut QEMUTimer, expire_time: i64);
    /// Says whether a timer is armed.
    pub fn timer_pending(ts: *const QEMUTimer) -> bool;
    /// Returns when a timer fires.
    pub fn timer_expire_time_ns(ts: *const QEMUTimer) -> u64;
    /// Lets the guest's time run.
    pub safe fn cpu_enable_ticks();
    /// Freezes the guest's time.
    pub safe fn cpu_disable_ticks();

    /// Makes an iothread.
    pub fn iothread_create(id: *const c_char, errp: *mut *mut Error) -> *mut IOThread;
    /// Finds an iothread.
    pub fn iothread_by_id(id: *const c_char) -> *mut IOThread;
    /// Returns a copy of the id of an iothread.
    pub fn iothread_get_id(iothread: *mut IOThread) -> *mut c_char;
    /// Ends an iothread.
    pub fn iothread_stop(iothread: *mut IOThread);
    /// Takes an iothread out of the object tree.
    pub fn iothread_destroy(iothread: *mut IOThread);

    /// Takes a reference on an object.
    pub fn object_ref(obj: *mut c_void) -> *mut c_void;
    /// Gives a reference on an object back.
    pub fn object_unref(obj: *mut c_void);

    /// Returns the message of an error.
    pub fn error_get_pretty(err: *const Error) -> *const c_char;
    /// Frees an error.
    pub fn error_free(err: *mut Error);

    /// Frees memory of `GLib`.
    pub fn g_free(mem: *mut c_void);
}

fn waiters() -> &'static AtomicU32 {
    // SAFETY: [layout]: QEMU's struct has this one field, and changes it atomically.
    unsafe { &global_aio_wait.num_waiters }
}

/// Announces that the calling thread checks a condition from now on, and sleeps in between.
pub extern "C" fn aio_wait_begin() {
    // SeqCst: pairs with the barrier in QEMU's `aio_wait_kick`.
    waiters().fetch_add(1, Ordering::SeqCst);
}

/// Ends what [`aio_wait_begin`] began.
pub extern "C" fn aio_wait_end() {
    // SeqCst: as in `aio_wait_begin`.
    waiters().fetch_sub(1, Ordering::SeqCst);
}

/// Returns the timer lists of the main loop for its iohandler context, and null for others: QEMU
/// runs those lists when it runs that context, whereas nested loops on the main context do not, and
/// the place of the other lists is known to QEMU alone.
///
/// # Safety
///
/// `ctx` is alive.
#[must_use]
pub unsafe extern "C" fn aio_context_timer_group(ctx: *mut AioContext) -> *mut QEMUTimerListGroup {
    if ptr::eq(ctx, iohandler_get_aio_context()) { &raw mut main_loop_tlg } else { ptr::null_mut() }
}
