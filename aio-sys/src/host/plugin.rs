//! What a plugin has to know of the QEMU that loads it.
//!
//! Owns what is looked up by name besides the table of `versioned`: which interface this QEMU accepts, and what
//! may be missing.
//!
//! Threads: said at each function.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use crate::types::Error;

use super::monitor::SendJobStatus;
use super::system::QemuOpts;
use super::versioned::find;

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

type InitMonitor = unsafe extern "C" fn(opts: *mut QemuOpts, errp: *mut *mut Error) -> c_int;

/// The function got another name in 11.1.
fn find_monitor_init() -> Option<InitMonitor> {
    let names = [c"monitor_init_opts", c"monitor_new_opts"];
    // SAFETY: that is the prototype of both names, but for what they return, which nobody looks at.
    names.into_iter().find_map(|name| unsafe { find(name) })
}

/// Says whether this QEMU exports what [`monitor_init_opts`] needs.
#[must_use]
pub fn has_monitor_init() -> bool {
    find_monitor_init().is_some()
}

/// Makes a monitor as an option of the command line asks for it.
///
/// # Panics
///
/// If QEMU does not export the function.
///
/// # Safety
///
/// Main thread, under the BQL; `opts` is an option of the group `mon`; `errp` points to a null pointer.
pub unsafe fn monitor_init_opts(opts: *mut QemuOpts, errp: *mut *mut Error) {
    let init = find_monitor_init().expect("the caller asked for it");
    // SAFETY: the caller's promise.
    unsafe { init(opts, errp) };
}

/// Returns `qapi_event_send_job_status_change`, if this QEMU exports it.
#[must_use]
pub fn find_job_status_event() -> Option<SendJobStatus> {
    // SAFETY: that is its prototype.
    unsafe { find(c"qapi_event_send_job_status_change") }
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
