//! QEMU as a whole: coroutines, its end, its guest.
//!
//! The emulation has no twin of these, but for the coroutines.
//!
//! Threads: said at each function. A coroutine of the main context runs in whichever thread holds the
//! BQL and runs that context.

use std::ffi::{c_char, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::size_of;

use crate::types::{AioContext, Coroutine, CoroutineEntry, Error, QEMUClockType, QEMUTimerList};

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

/// A registration of a run-state handler.
#[derive(Debug)]
#[repr(C)]
pub struct VMChangeStateEntry {
    _bytes: [u8; 0],
    _hidden: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The options of one kind that the command line has.
#[derive(Debug)]
#[repr(C)]
pub struct QemuOptsList {
    _bytes: [u8; 0],
    _hidden: PhantomData<(*mut u8, PhantomPinned)>,
}

/// One of them.
#[derive(Debug)]
#[repr(C)]
pub struct QemuOpts {
    _bytes: [u8; 0],
    _hidden: PhantomData<(*mut u8, PhantomPinned)>,
}

/// What the guest is doing: the numbers differ between releases.
pub type RunState = c_uint;

/// A function that is called when the guest is stopped or started, under the BQL.
pub type VMChangeStateHandler =
    unsafe extern "C" fn(opaque: *mut c_void, running: bool, state: RunState);

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

    /// Finds the options of a kind. Main thread.
    pub fn qemu_find_opts(group: *const c_char) -> *mut QemuOptsList;
    /// Adds an option as the command line does; null and an error if it is wrong. Main thread, while QEMU
    /// starts.
    pub fn qemu_opts_parse(
        list: *mut QemuOptsList,
        params: *const c_char,
        permit_abbrev: bool,
        errp: *mut *mut Error,
    ) -> *mut QemuOpts;

    /// Makes a character device; null and an error if that fails. Main thread.
    pub fn qemu_chr_new_from_opts(
        opts: *mut QemuOpts,
        context: *mut c_void,
        errp: *mut *mut Error,
    ) -> *mut c_void;

    /// Says whether the guest runs. Under the BQL.
    pub safe fn runstate_is_running() -> bool;
    /// Calls a handler whenever the guest is stopped or started. Under the BQL.
    pub fn qemu_add_vm_change_state_handler(
        cb: VMChangeStateHandler,
        opaque: *mut c_void,
    ) -> *mut VMChangeStateEntry;
    /// Takes that back. Under the BQL.
    pub fn qemu_del_vm_change_state_handler(e: *mut VMChangeStateEntry);

    /// Calls the callbacks of the timers whose time has come. Home thread of the list.
    pub fn timerlist_run_timers(timer_list: *mut QEMUTimerList) -> bool;
}
