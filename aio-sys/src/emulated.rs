//! QEMU's event loop, emulated on epoll.
//!
//! The functions here have the names, signatures and effects of QEMU's, for programs and tests that
//! run without QEMU. They are ordinary Rust functions with the C calling convention; their names are
//! not exported to the linker, so a program that loads into QEMU never mixes the two.
//!
//! Faithful: the order and the return values of `aio_poll`, the flags and slices of bottom halves, the
//! wake-up protocol, timers and clocks, the two main contexts, the BQL, the rules of current contexts,
//! and every assertion, as a message that ends the process.
//!
//! Different, and allowed by QEMU's rules: one fd monitor (epoll, always); busy polling without
//! `io_poll_begin` and `io_poll_end`; handlers with `io_poll` alone are asked from their registration on. The
//! emulation is a machine that was not started: the guest's clock stands until [`cpu_enable_ticks`] and
//! [`qemu_clock_enable`]. `main_loop_wait` keeps nanoseconds where `GLib` rounds up to milliseconds.
//! A blocking `aio_poll` of the iohandler context, which QEMU only does while it shuts down, returns
//! early while the main context has something ready.
//!
//! With the feature `simulation` a seed can decide what QEMU leaves open, see `simulation`; with `testing` a test can
//! stop the clocks.
//!
//! Not here: icount and replay, the thread pool, RCU.
//!
//! Data flows one way: `os` ← `doorbell`, `clock` ← `timer`, `fd`, `bottom_half` ← `context` ← `poll` ←
//! `main_loop` ← `embedding`; `iothread`, `wait`, `coroutine`.
//!
//! # Examples
//!
//! A program is a main loop, which runs under the BQL, and other threads, which leave work to it:
//!
//! ```
//! use std::ffi::c_void;
//! use std::ptr;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::thread;
//!
//! use aio_sys::emulated::{
//!     aio_bh_schedule_oneshot_full, bql_lock_impl, bql_locked, bql_unlock, main_loop_wait,
//!     qemu_get_aio_context, qemu_init_main_loop,
//! };
//!
//! static DONE: AtomicBool = AtomicBool::new(false);
//!
//! unsafe extern "C" fn in_the_main_loop(_opaque: *mut c_void) {
//!     DONE.store(bql_locked(), Ordering::Relaxed);
//! }
//!
//! // The promises: the names are static; the main loop's context lives for ever; the callback uses no argument.
//! unsafe {
//!     bql_lock_impl(c"main.rs".as_ptr(), 1);
//!     assert_eq!(qemu_init_main_loop(ptr::null_mut()), 0);
//!     let worker = thread::spawn(|| unsafe {
//!         let ctx = qemu_get_aio_context();
//!         aio_bh_schedule_oneshot_full(ctx, in_the_main_loop, ptr::null_mut(), c"done".as_ptr());
//!     });
//!     while !DONE.load(Ordering::Relaxed) {
//!         main_loop_wait(0); // Gives up the lock while it sleeps.
//!     }
//!     worker.join().expect("it does not panic");
//!     bql_unlock();
//! }
//! assert!(DONE.load(Ordering::Relaxed));
//! ```

mod bottom_half;
mod bql;
mod busy_poll;
mod clock;
mod context;
#[cfg(feature = "coroutine")]
mod coroutine;
mod current;
mod doorbell;
mod embedding;
mod error;
mod event_notifier;
mod fd;
#[cfg(feature = "glib")]
mod g_source;
mod iothread;
#[cfg(all(test, aio_loom))]
mod loom;
mod main_loop;
mod os;
mod poll;
#[cfg(any(feature = "simulation", feature = "testing"))]
pub mod simulation;
#[cfg(not(any(feature = "simulation", feature = "testing")))]
#[path = "emulated/simulation/off.rs"]
mod simulation;
mod sync;
mod timer;
mod wait;

pub use bottom_half::{
    aio_bh_call, aio_bh_new_full, aio_bh_schedule_oneshot_full, qemu_bh_cancel, qemu_bh_delete,
    qemu_bh_new_full, qemu_bh_schedule, qemu_bh_schedule_idle,
};
pub use bql::{
    bql_block_unlock, bql_lock_impl, bql_locked, bql_unlock, qemu_in_main_thread,
    set_bql_borrow_reporter, set_bql_observer,
};
pub use busy_poll::aio_context_set_poll_params;
pub use clock::{cpu_disable_ticks, cpu_enable_ticks, qemu_clock_get_ns};
pub use context::{
    aio_context_new, aio_context_ref, aio_context_timer_group, aio_context_unref, aio_notify,
};
#[cfg(feature = "coroutine")]
pub use coroutine::{
    CO_QUEUE_WAIT_FRONT, aio_co_enter, aio_co_reschedule_self, aio_co_schedule, aio_co_wake,
    qemu_aio_coroutine_enter, qemu_co_enter_all_impl, qemu_co_enter_next_impl, qemu_co_mutex_init,
    qemu_co_mutex_lock, qemu_co_mutex_unlock, qemu_co_queue_empty, qemu_co_queue_init,
    qemu_co_queue_next, qemu_co_queue_restart_all, qemu_co_queue_wait_impl,
    qemu_co_rwlock_downgrade, qemu_co_rwlock_init, qemu_co_rwlock_rdlock, qemu_co_rwlock_unlock,
    qemu_co_rwlock_upgrade, qemu_co_rwlock_wrlock, qemu_coroutine_create, qemu_coroutine_enter,
    qemu_coroutine_enter_if_inactive, qemu_coroutine_entered, qemu_coroutine_get_aio_context,
    qemu_coroutine_self, qemu_coroutine_yield, qemu_in_coroutine,
};
pub use current::{
    forget_current_aio_context, qemu_get_current_aio_context, qemu_in_iothread,
    qemu_set_current_aio_context,
};
pub use embedding::{
    main_loop_dispatch, main_loop_embed, main_loop_is_rung, main_loop_prepare, main_loop_unembed,
};
pub use error::{error_free, error_get_pretty, g_free};
pub use event_notifier::{
    event_notifier_cleanup, event_notifier_get_fd, event_notifier_init, event_notifier_set,
    event_notifier_test_and_clear,
};
pub use fd::{aio_set_event_notifier, aio_set_fd_handler, qemu_set_fd_handler};
#[cfg(feature = "glib")]
pub use g_source::aio_get_g_source;
pub use iothread::{
    iothread_by_id, iothread_create, iothread_destroy, iothread_get_aio_context, iothread_get_id,
    iothread_stop, object_ref, object_unref,
};
pub use main_loop::{
    iohandler_get_aio_context, main_loop_wait, qemu_get_aio_context, qemu_init_main_loop,
    qemu_notify_event,
};
pub use poll::aio_poll;
pub use timer::{
    qemu_clock_enable, timer_deinit, timer_del, timer_expire_time_ns, timer_init_full,
    timer_mod_anticipate_ns, timer_mod_ns, timer_pending,
};
pub use wait::{aio_wait_begin, aio_wait_bh_oneshot, aio_wait_end, aio_wait_kick};
