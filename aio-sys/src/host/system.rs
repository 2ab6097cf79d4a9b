//! QEMU as a whole: coroutines, its end, and how it accepts plugins.
//!
//! The emulation has no twin of these, but for the coroutines.
//!
//! Threads: said at each function. A coroutine of the main context runs in whichever thread holds the
//! BQL and runs that context.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::{MaybeUninit, size_of};

use crate::types::{AioContext, Coroutine, CoroutineEntry, QEMUClockType, QEMUTimerList};

use super::versioned::find;

/// A function that is called when something happens, linked into a list of them.
#[derive(Debug)]
#[repr(C)]
pub struct Notifier {
    /// The function to call.
    pub notify: Option<unsafe extern "C" fn(notifier: *mut Notifier, data: *mut c_void)>,
    /// The next of the list.
    pub next: *mut Notifier,
    /// Where the list points here.
    pub previous: *mut *mut Notifier,
}

const _: () = assert!(size_of::<Notifier>() == 24);

/// What QEMU does when the guest has shut down: the numbers of `ShutdownAction`.
pub type ShutdownAction = c_uint;
/// It stops the guest and goes on.
pub const SHUTDOWN_ACTION_PAUSE: ShutdownAction = 1;

/// A coroutine that sleeps on a clock.
#[derive(Debug)]
#[repr(C)]
pub struct QemuCoSleep {
    /// Who is to be woken; null while nobody sleeps.
    pub to_wake: *mut Coroutine,
}

unsafe extern "C" {
    /// Says whether the caller runs in a coroutine.
    pub safe fn qemu_in_coroutine() -> bool;
    /// Returns the coroutine of the caller.
    pub safe fn qemu_coroutine_self() -> *mut Coroutine;
    /// Makes a coroutine that will run `entry`, once it is entered.
    pub fn qemu_coroutine_create(entry: CoroutineEntry, opaque: *mut c_void) -> *mut Coroutine;
    /// Goes on with a coroutine, until it yields or ends. In the context of the caller.
    pub fn qemu_coroutine_enter(co: *mut Coroutine);
    /// Leaves the coroutine until somebody enters it again.
    pub fn qemu_coroutine_yield();
    /// Returns the context that a coroutine was entered in last.
    pub fn qemu_coroutine_get_aio_context(co: *mut Coroutine) -> *mut AioContext;
    /// Enters a coroutine in a bottom half of `ctx`. Any thread; once until it runs.
    pub fn aio_co_schedule(ctx: *mut AioContext, co: *mut Coroutine);
    /// Moves the coroutine of the caller to another context. Does nothing if that is the context of the
    /// thread, which the iohandler context never is: its thread's is the main context.
    pub fn aio_co_reschedule_self(new_ctx: *mut AioContext);

    /// Lets the coroutine of the caller sleep, unless it is woken before (`coroutine_fn`).
    pub fn qemu_co_sleep_ns_wakeable(sleep: *mut QemuCoSleep, clock: QEMUClockType, ns: i64);

    /// Calls a notifier when QEMU has been asked to end, in the main loop, before it takes anything
    /// down. Main loop's thread.
    pub fn qemu_register_shutdown_notifier(notifier: *mut Notifier);
    /// What is done when the guest has shut down. Changed under the BQL.
    pub static mut shutdown_action: ShutdownAction;

    /// Calls the callbacks of the timers whose time has come. Home thread of the list.
    pub fn timerlist_run_timers(timer_list: *mut QEMUTimerList) -> bool;
}

/// Returns the version of the plugin interface to ask for.
///
/// What is used of the interface, the way in, is the same in all of them, but each release accepts a
/// range: 1 at most up to 8.2, at least 2 then, at least 7 in 11.1. So it is told by the functions that came
/// with a version. Needs nothing that [`resolve`](super::resolve) does, and can be asked before QEMU looks.
#[must_use]
pub fn plugin_version() -> c_int {
    let since = [(7, c"qemu_plugin_set_pc"), (2, c"qemu_plugin_num_vcpus")];
    // SAFETY: a pointer that is only compared; none of them is called.
    let is_there = |name| unsafe { find::<*const c_void>(name) }.is_some();
    since.into_iter().find(|(_, name)| is_there(name)).map_or(1, |(version, _)| version)
}

/// Keeps the library that this code is in loaded until the process ends, whatever QEMU does to its
/// plugin. C keeps pointers to our functions, and there is no way to take them all back. Says whether that
/// worked.
#[must_use]
pub fn stay_loaded() -> bool {
    let inside: fn() -> bool = stay_loaded;
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked for; `found` is filled unless the answer is 0.
    if unsafe { libc::dladdr(inside as *const c_void, found.as_mut_ptr()) } == 0 {
        return false;
    }
    // SAFETY: filled, as just seen.
    let found = unsafe { found.assume_init() };
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: the name is the linker's own, of a library that is loaded, so no constructor runs.
    !unsafe { libc::dlopen(found.dli_fname, flags) }.is_null()
}
