//! The machine: what there is only one of, and what the Big QEMU Lock protects.
//!
//! Owns whether the guest runs, and whether the program is to end. Both are in cells that open for a
//! `&Bql` only, so the lock is not a matter of discipline: a handler gets its `&Bql` from `cx.bql(…)` or from
//! its `&mut NoCoroutine`, a vCPU's thread from `with_bql`, and whoever has none cannot look.
//!
//! [`Machine::shutdown_requested`] shows how a task waits for such data: look and leave a waker in one
//! scope of the lock, so that no change is missed; let go of the lock; be woken.
//!
//! Threads: any, with the lock.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use executor::qmp::EventSink;
use executor::{Bql, BqlCell, BqlRefCell, MainCx, clock};
use serde::{Deserialize, Serialize};

/// The machine of this process.
pub(crate) static MACHINE: Machine = Machine {
    run_state: BqlCell::new(RunState::Running),
    shutdown: BqlRefCell::new(Shutdown { cause: None, waiting: None }),
};

/// See the module's documentation.
pub(crate) struct Machine {
    /// Replaced as a whole: a `BqlCell`.
    run_state: BqlCell<RunState>,
    /// Changed in place: a `BqlRefCell`.
    shutdown: BqlRefCell<Shutdown>,
}

/// Whether the guest runs (`RunState`).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunState {
    Running,
    Paused,
}

/// Who wants the program to end (`ShutdownCause`).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ShutdownCause {
    HostQmpQuit,
    HostSignal,
}

struct Shutdown {
    cause: Option<ShutdownCause>,
    waiting: Option<Waker>,
}

/// The data of `SHUTDOWN`.
#[derive(Deserialize, Serialize)]
pub(crate) struct ShutdownInfo {
    guest: bool,
    reason: ShutdownCause,
}

impl Machine {
    /// Returns whether the guest runs.
    pub(crate) fn run_state(&self, bql: &Bql) -> RunState {
        self.run_state.get(bql)
    }

    /// Stops the guest and its time, and tells the clients. Nothing happens to a guest that stands still.
    pub(crate) fn stop(&self, bql: &Bql, events: &EventSink) {
        if self.run_state.replace(bql, RunState::Paused) == RunState::Running {
            clock::pause_virtual(bql);
            events.emit("STOP", ());
        }
    }

    /// Lets the guest run on. Nothing happens to a guest that runs.
    pub(crate) fn resume(&self, bql: &Bql, events: &EventSink) {
        if self.run_state.replace(bql, RunState::Running) == RunState::Paused {
            clock::resume_virtual(bql);
            events.emit("RESUME", ());
        }
    }

    /// Asks the program to end. The first cause counts.
    pub(crate) fn request_shutdown(&self, bql: &Bql, cause: ShutdownCause, events: &EventSink) {
        let waiting = self.shutdown.with_mut(bql, |shutdown| {
            if shutdown.cause.is_some() {
                return None;
            }
            shutdown.cause = Some(cause);
            events.emit("SHUTDOWN", ShutdownInfo { guest: false, reason: cause });
            shutdown.waiting.take()
        });
        // Woken when the cell is free again: a waker is code of somebody else's.
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until somebody wants the program to end. For the one task that ends it.
    pub(crate) async fn shutdown_requested(&self, cx: &MainCx) -> ShutdownCause {
        poll_fn(|task| {
            let waker = task.waker().clone();
            let (cause, _replaced) = cx.bql(|bql| {
                self.shutdown
                    .with_mut(bql, |shutdown| (shutdown.cause, shutdown.waiting.replace(waker)))
            });
            cause.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
