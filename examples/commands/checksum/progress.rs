//! How far a checksum has come, as the clients are told.
//!
//! Owns the rate of the event `X_FILE_CHECKSUM_PROGRESS`: the first one after 100 ms, so that short work
//! makes no noise, then about one every 100 ms. The reply says that it is done.
//!
//! Threads: any; an `EventSink` goes everywhere.

use std::time::{Duration, Instant};

use executor::qmp::EventSink;
use serde::Serialize;

const PERIOD: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub(super) struct Progress {
    events: EventSink,
    info: ProgressInfo,
    told: Instant,
}

/// The data of the event.
#[derive(Clone, Copy, Serialize)]
struct ProgressInfo {
    /// What `x-task-cancel` takes.
    task: u64,
    /// In bytes.
    done: u64,
    /// In bytes.
    total: u64,
}

impl Progress {
    pub(super) fn new(events: EventSink, task: u64, total: u64) -> Self {
        Self { events, info: ProgressInfo { task, done: 0, total }, told: Instant::now() }
    }

    /// Notes that `bytes` more are done, and tells it if it is time.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.info.done += bytes as u64;
        if self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            self.events.emit("X_FILE_CHECKSUM_PROGRESS", self.info);
        }
    }
}
