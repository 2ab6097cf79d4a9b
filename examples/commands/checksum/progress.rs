//! How far a checksum has come, as the clients are told.
//!
//! Whoever asks is told by the command's job. This also tells those who do not ask, and owns the rate of such an event
//! (`X_FILE_CHECKSUM_PROGRESS` for one command): the first one after 100 ms, so that short work
//! makes no noise, then about one every 100 ms. The reply says that it is done.
//!
//! Threads: any; an `EventSink` goes everywhere, and so does what a job counts with.

use std::time::{Duration, Instant};

use executor::qmp::{self, EventSink, Job};
use serde::{Deserialize, Serialize};

const PERIOD: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub(crate) struct Progress {
    counts: qmp::Progress,
    events: EventSink,
    name: &'static str,
    task: u64,
    told: Instant,
}

/// The data of the event.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct ProgressInfo {
    /// What `x-task-cancel` takes.
    task: u64,
    /// In bytes.
    done: u64,
    /// In bytes.
    total: u64,
}

impl Progress {
    /// Tells of the bytes of `job` with the event `name`.
    pub(crate) fn new(events: EventSink, name: &'static str, job: &Job) -> Self {
        let counts = job.progress().clone();
        Self { counts, events, name, task: job.task(), told: Instant::now() }
    }

    /// Notes that `bytes` more are done, and tells it if it is time.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.counts.advance(bytes as u64);
        if self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            let (done, total) = (self.counts.current(), self.counts.total());
            self.events.emit(self.name, ProgressInfo { task: self.task, done, total });
        }
    }
}
