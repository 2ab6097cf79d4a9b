//! Compile-time proof that both providers have the same functions, and that `host` has the same ones
//! whether it looks some of them up or is linked with them.
//!
//! Each constant holds the two functions of one name under one type; a difference does not compile.
//! Nothing here reaches the program: unused constants make no reference for the linker.

#![allow(clippy::type_complexity, reason = "the types are C's")]

use std::ffi::{c_char, c_int, c_void};

use crate::types::{
    AioContext, AioPollFn, Error, EventNotifier, EventNotifierHandler, IOHandler, IOThread,
    MemReentrancyGuard, QEMUBH, QEMUBHFunc, QEMUClockType, QEMUTimer, QEMUTimerCB,
    QEMUTimerListGroup,
};
use crate::{emulated, host};

const _: [unsafe extern "C" fn(*mut *mut Error) -> *mut AioContext; 2] =
    [host::aio_context_new, emulated::aio_context_new];
const _: [unsafe extern "C" fn(*mut AioContext); 2] =
    [host::aio_context_ref, emulated::aio_context_ref];
const _: [unsafe extern "C" fn(*mut AioContext); 2] =
    [host::aio_context_unref, emulated::aio_context_unref];
const _: [unsafe extern "C" fn(
    *mut AioContext,
    QEMUBHFunc,
    *mut c_void,
    *const c_char,
    *mut MemReentrancyGuard,
) -> *mut QEMUBH; 2] = [host::aio_bh_new_full, emulated::aio_bh_new_full];
const _: [unsafe extern "C" fn(*mut AioContext, QEMUBHFunc, *mut c_void, *const c_char); 2] =
    [host::aio_bh_schedule_oneshot_full, emulated::aio_bh_schedule_oneshot_full];
const _: [unsafe extern "C" fn(*mut AioContext); 2] = [host::aio_notify, emulated::aio_notify];
const _: [unsafe extern "C" fn(*mut QEMUBH); 2] = [host::aio_bh_call, emulated::aio_bh_call];
const _: [unsafe extern "C" fn(*mut QEMUBH); 2] =
    [host::qemu_bh_schedule, emulated::qemu_bh_schedule];
const _: [unsafe extern "C" fn(*mut QEMUBH); 2] =
    [host::qemu_bh_schedule_idle, emulated::qemu_bh_schedule_idle];
const _: [unsafe extern "C" fn(*mut QEMUBH); 2] = [host::qemu_bh_cancel, emulated::qemu_bh_cancel];
const _: [unsafe extern "C" fn(*mut QEMUBH); 2] = [host::qemu_bh_delete, emulated::qemu_bh_delete];
const _: [unsafe extern "C" fn(*mut AioContext, bool) -> bool; 2] =
    [host::aio_poll, emulated::aio_poll];
const _: [unsafe extern "C" fn(
    *mut AioContext,
    c_int,
    Option<IOHandler>,
    Option<IOHandler>,
    Option<AioPollFn>,
    Option<IOHandler>,
    *mut c_void,
); 2] = [host::aio_set_fd_handler, emulated::aio_set_fd_handler];
const _: [unsafe extern "C" fn(
    *mut AioContext,
    *mut EventNotifier,
    Option<EventNotifierHandler>,
    Option<AioPollFn>,
    Option<EventNotifierHandler>,
); 2] = [host::aio_set_event_notifier, emulated::aio_set_event_notifier];
const _: [unsafe extern "C" fn(*mut AioContext, i64, i64, i64, *mut *mut Error); 2] =
    [host::aio_context_set_poll_params, emulated::aio_context_set_poll_params];
const _: [unsafe extern "C" fn(*mut AioContext) -> *mut QEMUTimerListGroup; 2] =
    [host::aio_context_timer_group, emulated::aio_context_timer_group];
const _: [extern "C" fn() -> *mut AioContext; 2] =
    [host::qemu_get_current_aio_context, emulated::qemu_get_current_aio_context];
const _: [unsafe extern "C" fn(*mut AioContext); 2] =
    [host::qemu_set_current_aio_context, emulated::qemu_set_current_aio_context];
const _: [unsafe extern "C" fn(*mut *mut Error) -> c_int; 2] =
    [host::qemu_init_main_loop, emulated::qemu_init_main_loop];
const _: [unsafe extern "C" fn(c_int); 2] = [host::main_loop_wait, emulated::main_loop_wait];
const _: [extern "C" fn() -> *mut AioContext; 2] =
    [host::qemu_get_aio_context, emulated::qemu_get_aio_context];
const _: [extern "C" fn() -> *mut AioContext; 2] =
    [host::iohandler_get_aio_context, emulated::iohandler_get_aio_context];
const _: [extern "C" fn(); 2] = [host::qemu_notify_event, emulated::qemu_notify_event];
const _: [unsafe extern "C" fn(c_int, Option<IOHandler>, Option<IOHandler>, *mut c_void); 2] =
    [host::qemu_set_fd_handler, emulated::qemu_set_fd_handler];
const _: [extern "C" fn() -> bool; 2] = [host::qemu_in_main_thread, emulated::qemu_in_main_thread];
const _: [extern "C" fn() -> bool; 2] = [host::qemu_in_iothread, emulated::qemu_in_iothread];
const _: [unsafe extern "C" fn(
    QEMUBHFunc,
    *mut c_void,
    *const c_char,
    *mut MemReentrancyGuard,
) -> *mut QEMUBH; 2] = [host::qemu_bh_new_full, emulated::qemu_bh_new_full];
const _: [extern "C" fn(); 2] = [host::aio_wait_begin, emulated::aio_wait_begin];
const _: [extern "C" fn(); 2] = [host::aio_wait_end, emulated::aio_wait_end];
const _: [extern "C" fn(); 2] = [host::aio_wait_kick, emulated::aio_wait_kick];
const _: [unsafe extern "C" fn(*mut AioContext, QEMUBHFunc, *mut c_void); 2] =
    [host::aio_wait_bh_oneshot, emulated::aio_wait_bh_oneshot];
const _: [unsafe extern "C" fn(*mut EventNotifier, c_int) -> c_int; 2] =
    [host::event_notifier_init, emulated::event_notifier_init];
const _: [unsafe extern "C" fn(*mut EventNotifier); 2] =
    [host::event_notifier_cleanup, emulated::event_notifier_cleanup];
const _: [unsafe extern "C" fn(*const EventNotifier) -> c_int; 2] =
    [host::event_notifier_get_fd, emulated::event_notifier_get_fd];
const _: [unsafe extern "C" fn(*mut EventNotifier) -> c_int; 2] =
    [host::event_notifier_set, emulated::event_notifier_set];
const _: [unsafe extern "C" fn(*mut EventNotifier) -> c_int; 2] =
    [host::event_notifier_test_and_clear, emulated::event_notifier_test_and_clear];
const _: [extern "C" fn(QEMUClockType) -> i64; 2] =
    [host::qemu_clock_get_ns, emulated::qemu_clock_get_ns];
const _: [unsafe extern "C" fn(QEMUClockType, bool); 2] =
    [host::qemu_clock_enable, emulated::qemu_clock_enable];
const _: [unsafe extern "C" fn(
    *mut QEMUTimer,
    *mut QEMUTimerListGroup,
    QEMUClockType,
    c_int,
    c_int,
    QEMUTimerCB,
    *mut c_void,
); 2] = [host::timer_init_full, emulated::timer_init_full];
const _: [unsafe extern "C" fn(*mut QEMUTimer); 2] = [host::timer_deinit, emulated::timer_deinit];
const _: [unsafe extern "C" fn(*mut QEMUTimer); 2] = [host::timer_del, emulated::timer_del];
const _: [unsafe extern "C" fn(*mut QEMUTimer, i64); 2] =
    [host::timer_mod_ns, emulated::timer_mod_ns];
const _: [unsafe extern "C" fn(*mut QEMUTimer, i64); 2] =
    [host::timer_mod_anticipate_ns, emulated::timer_mod_anticipate_ns];
const _: [unsafe extern "C" fn(*const QEMUTimer) -> bool; 2] =
    [host::timer_pending, emulated::timer_pending];
const _: [unsafe extern "C" fn(*const QEMUTimer) -> u64; 2] =
    [host::timer_expire_time_ns, emulated::timer_expire_time_ns];
const _: [extern "C" fn(); 2] = [host::cpu_enable_ticks, emulated::cpu_enable_ticks];
const _: [extern "C" fn(); 2] = [host::cpu_disable_ticks, emulated::cpu_disable_ticks];
const _: [unsafe extern "C" fn(*const c_char, *mut *mut Error) -> *mut IOThread; 2] =
    [host::iothread_create, emulated::iothread_create];
const _: [unsafe extern "C" fn(*const c_char) -> *mut IOThread; 2] =
    [host::iothread_by_id, emulated::iothread_by_id];
const _: [unsafe extern "C" fn(*mut IOThread) -> *mut c_char; 2] =
    [host::iothread_get_id, emulated::iothread_get_id];
const _: [unsafe extern "C" fn(*mut IOThread) -> *mut AioContext; 2] =
    [host::iothread_get_aio_context, emulated::iothread_get_aio_context];
const _: [unsafe extern "C" fn(*mut IOThread); 2] = [host::iothread_stop, emulated::iothread_stop];
const _: [unsafe extern "C" fn(*mut IOThread); 2] =
    [host::iothread_destroy, emulated::iothread_destroy];
const _: [unsafe extern "C" fn(*mut c_void) -> *mut c_void; 2] =
    [host::object_ref, emulated::object_ref];
const _: [unsafe extern "C" fn(*mut c_void); 2] = [host::object_unref, emulated::object_unref];
const _: [unsafe extern "C" fn(*const c_char, c_int); 2] =
    [host::bql_lock_impl, emulated::bql_lock_impl];
const _: [unsafe extern "C" fn(); 2] = [host::bql_unlock, emulated::bql_unlock];
const _: [extern "C" fn() -> bool; 2] = [host::bql_locked, emulated::bql_locked];
const _: [extern "C" fn(bool); 2] = [host::bql_block_unlock, emulated::bql_block_unlock];
const _: [unsafe extern "C" fn(*const Error) -> *const c_char; 2] =
    [host::error_get_pretty, emulated::error_get_pretty];
const _: [unsafe extern "C" fn(*mut Error); 2] = [host::error_free, emulated::error_free];
const _: [unsafe extern "C" fn(*mut c_void); 2] = [host::g_free, emulated::g_free];

#[cfg(feature = "coroutine")]
mod coroutine {
    use super::{AioContext, c_void, emulated, host};
    use crate::types::{Coroutine, CoroutineEntry};

    const _: [unsafe extern "C" fn(*mut AioContext, *mut Coroutine); 2] =
        [host::aio_co_schedule, emulated::aio_co_schedule];
    const _: [unsafe extern "C" fn(CoroutineEntry, *mut c_void) -> *mut Coroutine; 2] =
        [host::qemu_coroutine_create, emulated::qemu_coroutine_create];
    const _: [unsafe extern "C" fn(*mut Coroutine); 2] =
        [host::qemu_coroutine_enter, emulated::qemu_coroutine_enter];
    const _: [unsafe extern "C" fn(); 2] =
        [host::qemu_coroutine_yield, emulated::qemu_coroutine_yield];
    const _: [extern "C" fn() -> *mut Coroutine; 2] =
        [host::qemu_coroutine_self, emulated::qemu_coroutine_self];
    const _: [extern "C" fn() -> bool; 2] = [host::qemu_in_coroutine, emulated::qemu_in_coroutine];
}

mod linked {
    use super::{
        AioContext, AioPollFn, Error, EventNotifier, EventNotifierHandler, IOHandler, IOThread,
        c_char, c_int, c_void, host,
    };
    use crate::host::{BlockDevOps, DrainCallback, QemuOpts, SendJobStatus, Version, linked};

    const _: [fn() -> Result<(), String>; 2] = [host::resolve, linked::resolve];
    const _: [fn() -> Version; 2] = [host::version, linked::version];
    const _: [unsafe extern "C" fn(*const c_char, c_int); 2] =
        [host::bql_lock_impl, linked::bql_lock_impl];
    const _: [unsafe extern "C" fn(); 2] = [host::bql_unlock, linked::bql_unlock];
    const _: [extern "C" fn() -> bool; 2] = [host::bql_locked, linked::bql_locked];
    const _: [extern "C" fn(bool); 2] = [host::bql_block_unlock, linked::bql_block_unlock];
    const _: [unsafe extern "C" fn(*mut AioContext); 2] =
        [host::aio_context_acquire, linked::aio_context_acquire];
    const _: [unsafe extern "C" fn(*mut AioContext); 2] =
        [host::aio_context_release, linked::aio_context_release];
    const _: [unsafe extern "C" fn(
        *mut AioContext,
        c_int,
        Option<IOHandler>,
        Option<IOHandler>,
        Option<AioPollFn>,
        Option<IOHandler>,
        *mut c_void,
    ); 2] = [host::aio_set_fd_handler, linked::aio_set_fd_handler];
    const _: [unsafe extern "C" fn(
        *mut AioContext,
        *mut EventNotifier,
        Option<EventNotifierHandler>,
        Option<AioPollFn>,
        Option<EventNotifierHandler>,
    ); 2] = [host::aio_set_event_notifier, linked::aio_set_event_notifier];
    const _: [unsafe extern "C" fn(*mut AioContext, i64, i64, i64, *mut *mut Error); 2] =
        [host::aio_context_set_poll_params, linked::aio_context_set_poll_params];
    const _: [unsafe extern "C" fn(*mut IOThread) -> *mut AioContext; 2] =
        [host::iothread_get_aio_context, linked::iothread_get_aio_context];
    const _: [fn(DrainCallback, DrainCallback) -> BlockDevOps; 2] =
        [host::drained_ops, linked::drained_ops];
    const _: [fn() -> bool; 2] = [host::has_monitor_init, linked::has_monitor_init];
    const _: [unsafe fn(*mut QemuOpts, *mut *mut Error); 2] =
        [host::monitor_init_opts, linked::monitor_init_opts];
    const _: [fn() -> Option<SendJobStatus>; 2] =
        [host::find_job_status_event, linked::find_job_status_event];
    const _: [fn() -> bool; 2] = [host::stay_loaded, linked::stay_loaded];
}
