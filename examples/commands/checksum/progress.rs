//! How far a checksum has come, as the clients are told.
//!
//! Owns the rate of such an event (`X_FILE_CHECKSUM_PROGRESS` for one command): the first one after 100 ms, so that short work
//! makes no noise, then about one every 100 ms. The reply says that it is done.
//!
//! Threads: any; an `EventSink` goes everywhere.

use std::time::{Duration, Instant};

use executor::qmp::EventSink;
use serde::{Deserialize, Serialize};

const PERIOD: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub(crate) struct Progress {
    events: EventSink,
    name: &'static str,
    info: ProgressInfo,
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
    /// Tells of `total` bytes with the event `name`.
    pub(crate) fn new(events: EventSink, name: &'static str, task: u64, total: u64) -> Self {
        Self { events, name, info: ProgressInfo { task, done: 0, total }, told: Instant::now() }
    }

    /// Notes that `bytes` more are done, and tells it if it is time.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.info.done += bytes as u64;
        if self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            self.events.emit(self.name, self.info);
        }
    }
}
