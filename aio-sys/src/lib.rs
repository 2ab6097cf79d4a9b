//! The C surface of QEMU's event loop.
//!
//! Two providers offer the same functions: [`host`] declares the symbols of the QEMU that loads the
//! program, `emulated` defines them on epoll. The feature `host` chooses which of them the names at
//! the root of the crate are; `parity` proves while compiling that both have the same types. The list
//! below is the index of the surface.
//!
//! Two more features belong to the emulation: `coroutine` gives it coroutines and their locks, `glib` a `GSource` for
//! each context. The names that are not in the list are in `emulated`. With `in-tree` there is no emulation: the
//! crate is a part of QEMU's source tree, and linked with it.
//!
//! Names, argument orders and numbers are C's. Every function says from which thread it may be called
//! and where it aborts; the emulation's documentation speaks for both providers.
//!
//! # Examples
//!
//! A thread's event loop, with a bottom half, an fd handler and a timer:
//!
//! ```
//! use std::cell::RefCell;
//! use std::ffi::c_void;
//! use std::io::{Read, Write};
//! use std::os::{fd::AsRawFd, unix::net::UnixStream};
//! use std::ptr;
//!
//! use aio_sys::{
//!     AioContext, QEMU_CLOCK_REALTIME, QEMUTimer, SCALE_NS, aio_bh_schedule_oneshot_full, aio_context_new,
//!     aio_context_timer_group, aio_poll, aio_set_fd_handler, qemu_clock_get_ns,
//!     qemu_set_current_aio_context, timer_deinit, timer_init_full, timer_mod_ns,
//! };
//!
//! struct Device {
//!     socket: UnixStream,
//!     log: RefCell<Vec<&'static str>>,
//! }
//!
//! unsafe extern "C" fn bottom_half(device: *mut c_void) {
//!     // The device below, which lives for as long as its callbacks are registered, in this thread.
//!     let device = unsafe { &*device.cast::<Device>() };
//!     device.log.borrow_mut().push("bottom half");
//! }
//!
//! unsafe extern "C" fn readable(device: *mut c_void) {
//!     let device = unsafe { &*device.cast::<Device>() };
//!     (&device.socket).read_exact(&mut [0]).expect("there is a byte");
//!     device.log.borrow_mut().push("fd");
//! }
//!
//! unsafe extern "C" fn fired(device: *mut c_void) {
//!     let device = unsafe { &*device.cast::<Device>() };
//!     device.log.borrow_mut().push("timer");
//! }
//!
//! let (mut peer, socket) = UnixStream::pair()?;
//! peer.write_all(b"!")?;
//! let device = Device { socket, log: RefCell::default() };
//! let opaque: *mut c_void = ptr::from_ref(&device).cast_mut().cast();
//! let fd = device.socket.as_raw_fd();
//! let mut timer = QEMUTimer::new();
//!
//! // The promises: the context stays for as long as the thread; the device and the timer stay where they are, and
//! // are taken out of it before they go.
//! unsafe {
//!     let ctx: *mut AioContext = aio_context_new(ptr::null_mut());
//!     qemu_set_current_aio_context(ctx);
//!     aio_bh_schedule_oneshot_full(ctx, bottom_half, opaque, c"example".as_ptr());
//!     aio_set_fd_handler(ctx, fd, Some(readable), None, None, None, opaque);
//!     let (timer, timers) = (&raw mut timer, aio_context_timer_group(ctx));
//!     timer_init_full(timer, timers, QEMU_CLOCK_REALTIME, SCALE_NS, 0, fired, opaque);
//!     timer_mod_ns(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 1_000_000);
//!
//!     while device.log.borrow().len() < 3 {
//!         aio_poll(ctx, true); // Waits for something to do.
//!     }
//!     timer_deinit(timer);
//!     aio_set_fd_handler(ctx, fd, None, None, None, None, ptr::null_mut());
//! }
//! assert_eq!(*device.log.borrow(), ["bottom half", "fd", "timer"]);
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(feature = "in-tree"))]
pub mod emulated;
pub mod host;
#[cfg(not(feature = "in-tree"))]
mod parity;
mod types;

#[cfg(not(feature = "host"))]
use emulated as provider;
#[cfg(feature = "host")]
use host as provider;

pub use provider::{
    aio_bh_call, aio_bh_new_full, aio_bh_schedule_oneshot_full, aio_context_new, aio_context_ref,
    aio_context_set_poll_params, aio_context_timer_group, aio_context_unref, aio_notify, aio_poll,
    aio_set_event_notifier, aio_set_fd_handler, aio_wait_begin, aio_wait_bh_oneshot, aio_wait_end,
    aio_wait_kick, bql_block_unlock, bql_lock_impl, bql_locked, bql_unlock, cpu_disable_ticks,
    cpu_enable_ticks, error_free, error_get_pretty, event_notifier_cleanup, event_notifier_get_fd,
    event_notifier_init, event_notifier_set, event_notifier_test_and_clear, g_free,
    iohandler_get_aio_context, iothread_by_id, iothread_create, iothread_destroy,
    iothread_get_aio_context, iothread_get_id, iothread_stop, main_loop_wait, object_ref,
    object_unref, qemu_bh_cancel, qemu_bh_delete, qemu_bh_new_full, qemu_bh_schedule,
    qemu_bh_schedule_idle, qemu_clock_enable, qemu_clock_get_ns, qemu_get_aio_context,
    qemu_get_current_aio_context, qemu_in_iothread, qemu_in_main_thread, qemu_init_main_loop,
    qemu_notify_event, qemu_set_current_aio_context, qemu_set_fd_handler, timer_deinit, timer_del,
    timer_expire_time_ns, timer_init_full, timer_mod_anticipate_ns, timer_mod_ns, timer_pending,
};
#[cfg(any(feature = "coroutine", feature = "host"))]
pub use provider::{
    aio_co_schedule, qemu_coroutine_create, qemu_coroutine_enter, qemu_coroutine_self,
    qemu_coroutine_yield, qemu_in_coroutine,
};
pub use types::{
    AioContext, AioPollFn, CoMutex, CoQueue, CoRwlock, Coroutine, CoroutineEntry, Error,
    EventNotifier, EventNotifierHandler, IOHandler, IOThread, MemReentrancyGuard, QEMU_CLOCK_HOST,
    QEMU_CLOCK_MAX, QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_VIRTUAL_RT, QEMUBH,
    QEMUBHFunc, QEMUClockType, QEMUTimer, QEMUTimerCB, QEMUTimerList, QEMUTimerListGroup,
    QemuLockable, SCALE_MS, SCALE_NS, SCALE_US,
};
