//! What was felt, and when.
//!
//! Owns the list that all who measure add to. Times are counted from the list's making.
//!
//! Threads: any.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often everybody does what is measured. `guest.rs` has the same.
pub(crate) const PERIOD: Duration = Duration::from_millis(10);

/// Who feels something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    /// A second client of QEMU's monitor, at `query-status`.
    Monitor,
    /// A client of the plugin's server, at `query-status`.
    Server,
    /// The guest, when it reads its disk.
    GuestDisk,
    /// The guest, when it sleeps: how late it wakes.
    GuestTimer,
}

impl Who {
    pub(crate) const ALL: [Self; 4] =
        [Self::Monitor, Self::Server, Self::GuestDisk, Self::GuestTimer];
}

/// Something that took a while, in seconds since the list was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) who: Who,
    pub(crate) begun: f64,
    pub(crate) took: f64,
}

/// How far the guest's work had come at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Milestone {
    pub(crate) at: f64,
    pub(crate) steps: f64,
}

/// Everything that was felt.
pub(crate) struct Felt {
    epoch: Instant,
    lists: Mutex<Lists>,
}

/// Everything that was felt during a time.
#[derive(Default)]
pub(crate) struct Lists {
    pub(crate) samples: Vec<Sample>,
    pub(crate) milestones: Vec<Milestone>,
}

impl Felt {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), lists: Mutex::default() }
    }

    /// Seconds since the list was made.
    pub(crate) fn now(&self) -> f64 {
        self.epoch.elapsed().as_secs_f64()
    }

    pub(crate) fn add(&self, sample: Sample) {
        self.lists().samples.push(sample);
    }

    /// Adds what the guest has reported.
    pub(crate) fn add_all(&self, samples: &[Sample], milestone: Option<Milestone>) {
        let mut lists = self.lists();
        lists.samples.extend(samples);
        lists.milestones.extend(milestone);
    }

    /// The latest time at which everybody has felt something.
    pub(crate) fn everybody_has(&self) -> f64 {
        let lists = self.lists();
        let last = |who| {
            let mut theirs = lists.samples.iter().rev().filter(|sample| sample.who == who);
            theirs.next().map_or(0.0, |sample| sample.begun + sample.took)
        };
        Who::ALL.into_iter().map(last).fold(f64::INFINITY, f64::min)
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Lists {
        std::mem::take(&mut self.lists())
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
