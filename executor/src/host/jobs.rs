//! Changes of our jobs for QEMU's monitors.
//!
//! QEMU knows nothing of our jobs, and `query-jobs` has none of them; what we send is its event alone. It goes to
//! all monitors, and with [`forward_events`](super::Loading::forward_events) to the clients of our server, too.
//!
//! Threads: the main loop's.

use std::ffi::CString;

use aio_sys::host as qemu;

use super::{Loading, events};
use crate::bql;
use crate::qmp::{JobStatus, JobStatusChange, Jobs};

impl Loading<'_> {
    /// Returns a list of jobs whose changes the clients of QEMU's monitors get, as `JOB_STATUS_CHANGE`: all but those
    /// of a QEMU that does not export the function which sends that, who get nothing.
    ///
    /// ```no_run
    /// use executor::host::Loading;
    /// use executor::qmp::Registry;
    ///
    /// fn install(loading: &mut Loading<'_>, register: fn(&mut Registry, executor::qmp::Jobs)) {
    ///     let (mut registry, jobs) = (Registry::new(), loading.jobs());
    ///     register(&mut registry, jobs);
    ///     loading.register(registry, None).expect("QEMU has no commands of these names");
    /// }
    /// # let _ = install;
    /// ```
    pub fn jobs(&mut self) -> Jobs {
        match qemu::find_job_status_event() {
            None => Jobs::telling(|_| ()),
            Some(send) => Jobs::telling(move |change| tell(send, change)),
        }
    }
}

/// Returns when the event is on its way to everybody.
fn tell(send: qemu::SendJobStatus, change: &JobStatusChange) {
    // A kind with a NUL is nothing that C can say; without the lock the thread is at its end, and QEMU with it.
    let Ok(id) = CString::new(&*change.id) else { return };
    if !bql::is_locked() {
        return;
    }
    // SAFETY: a C string; jobs begin and end on the main loop, and this thread holds the lock.
    unsafe { send(id.as_ptr(), number(change.status)) };
    events::drain();
}

fn number(status: JobStatus) -> qemu::JobStatus {
    match status {
        JobStatus::Created => qemu::JOB_STATUS_CREATED,
        JobStatus::Running => qemu::JOB_STATUS_RUNNING,
        JobStatus::Waiting => qemu::JOB_STATUS_WAITING,
        JobStatus::Pending => qemu::JOB_STATUS_PENDING,
        JobStatus::Aborting => qemu::JOB_STATUS_ABORTING,
        JobStatus::Concluded => qemu::JOB_STATUS_CONCLUDED,
        JobStatus::Null => qemu::JOB_STATUS_NULL,
    }
}
