//! The functions of QEMU that differ between releases, as 10.2 has them, for crates in QEMU's own tree.
//!
//! Stands in for `versioned` and `plugin` with the feature `in-tree`: the same names with the same types, but
//! declared instead of looked up, so that the linker of QEMU's build finds them, or says which is missing.
//!
//! A linker compares no arguments. So [`resolve`] refuses a QEMU in which one of these functions takes others.
//!
//! Threads: any.

use std::ffi::{c_char, c_int, c_void};

use super::block::{BlockDevOps, DrainCallback};
use super::monitor::{JobStatus, SendJobStatus};
use super::system::QemuOpts;
use super::version::{Version, VersionInfo, ask};
use crate::types::{
    AioContext, AioPollFn, Error, EventNotifier, EventNotifierHandler, IOHandler, IOThread,
};

/// The release whose prototypes these are.
const FIRST: Version = Version::new(10, 2, 0);
/// From here on, `aio_context_set_poll_params` has an argument more, and two functions other names.
const OTHERS: Version = Version::new(11, 0, 50);

// In the order of QEMU's headers: main-loop.h, aio.h, iothread.h, monitor.h; then the schema's.
unsafe extern "C" {
    /// Takes the BQL.
    pub fn bql_lock_impl(file: *const c_char, line: c_int);
    /// Releases the BQL.
    pub fn bql_unlock();
    /// Says whether the calling thread holds the BQL.
    pub safe fn bql_locked() -> bool;
    /// Forbids to release the BQL, or allows it again.
    pub safe fn bql_block_unlock(increase: bool);
    /// Registers callbacks for a descriptor.
    pub fn aio_set_fd_handler(
        ctx: *mut AioContext,
        fd: c_int,
        io_read: Option<IOHandler>,
        io_write: Option<IOHandler>,
        io_poll: Option<AioPollFn>,
        io_poll_ready: Option<IOHandler>,
        opaque: *mut c_void,
    );
    /// Registers callbacks for an event notifier.
    pub fn aio_set_event_notifier(
        ctx: *mut AioContext,
        notifier: *mut EventNotifier,
        io_read: Option<EventNotifierHandler>,
        io_poll: Option<AioPollFn>,
        io_poll_ready: Option<EventNotifierHandler>,
    );
    /// Sets how long a context may busy-poll.
    pub fn aio_context_set_poll_params(
        ctx: *mut AioContext,
        max_ns: i64,
        grow: i64,
        shrink: i64,
        errp: *mut *mut Error,
    );
    /// Returns the context of an iothread, borrowed from it.
    pub fn iothread_get_aio_context(iothread: *mut IOThread) -> *mut AioContext;

    #[link_name = "monitor_init_opts"]
    fn init_monitor(opts: *mut QemuOpts, errp: *mut *mut Error) -> c_int;
    fn qapi_event_send_job_status_change(id: *const c_char, status: JobStatus);
    fn qmp_query_version(errp: *mut *mut Error) -> *mut VersionInfo;
    fn qapi_free_VersionInfo(info: *mut VersionInfo);
}

/// Checks that the functions of this QEMU take the arguments that are declared here.
///
/// # Errors
///
/// A sentence that names the version of QEMU.
pub fn resolve() -> Result<(), String> {
    check(version())
}

fn check(version: Version) -> Result<(), String> {
    if (FIRST..OTHERS).contains(&version) {
        return Ok(());
    }
    Err(format!(
        "QEMU {version} is not the one whose functions are declared, {FIRST} to before {OTHERS}"
    ))
}

/// Returns the release of the QEMU that this is a part of.
#[must_use]
pub fn version() -> Version {
    // SAFETY: these are QEMU's functions.
    unsafe { ask(qmp_query_version, qapi_free_VersionInfo) }
}

/// Says whether [`monitor_init_opts`] exists.
#[must_use]
pub fn has_monitor_init() -> bool {
    true
}

/// Makes a monitor as an option of the command line asks for it.
///
/// # Safety
///
/// Main thread, under the BQL; `opts` is an option of the group `mon`; `errp` points to a null pointer.
pub unsafe fn monitor_init_opts(opts: *mut QemuOpts, errp: *mut *mut Error) {
    // SAFETY: the caller's promise.
    unsafe { init_monitor(opts, errp) };
}

/// Returns `qapi_event_send_job_status_change`.
#[must_use]
pub fn find_job_status_event() -> Option<SendJobStatus> {
    Some(qapi_event_send_job_status_change)
}

/// Says whether this code stays where it is: it is a part of QEMU.
#[must_use]
pub fn stay_loaded() -> bool {
    true
}

/// Returns what a user of a block node hears of drained sections with.
#[must_use]
pub fn drained_ops(begin: DrainCallback, end: DrainCallback) -> BlockDevOps {
    BlockDevOps::new(true, begin, end)
}

/// Does nothing: contexts have no lock.
///
/// # Safety
///
/// `ctx` is alive.
pub unsafe extern "C" fn aio_context_acquire(_ctx: *mut AioContext) {}

/// Does nothing: contexts have no lock.
///
/// # Safety
///
/// `ctx` is alive.
pub unsafe extern "C" fn aio_context_release(_ctx: *mut AioContext) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_whose_functions_take_other_arguments_is_refused() {
        assert_eq!(check(Version::new(10, 2, 2)), Ok(()));
        assert_eq!(check(Version::new(11, 0, 0)), Ok(()));
        let refused = [(10, 1, 2), (11, 0, 50), (11, 1, 0)]
            .map(|(major, minor, micro)| check(Version::new(major, minor, micro)));
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        let sentence =
            "QEMU 11.1.0 is not the one whose functions are declared, 10.2.0 to before 11.0.50";
        assert_eq!(refused[2], Err(String::from(sentence)));
    }
}
