//! What happened in a run, in the order in which it did. There is one, since one thread runs at a time.

use std::sync::{Mutex, PoisonError};

use aio_sys::emulated::simulation;
use executor::clock::Clock;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Output,
    Cancelled,
    Panicked,
}

/// What a poll of a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A time of the real-time clock, and on which clock it was asked for.
    Until(i64, u8),
    Event(usize),
    Task(usize),
    Link(usize),
    NestedLoop,
    /// An arrival in a thread.
    Arrival(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollEnd {
    Pending,
    Ready,
    Panicked,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Spawned(usize),
    PollBegins(usize, bool),
    PollEnds(usize, PollEnd),
    /// Said when the poll is about to return because of it.
    Blocked(usize, Block),
    /// The task goes on with its next step.
    Unblocked(usize),
    Woken(usize),
    EventSet(usize),
    CancelRequested(usize),
    /// The future is gone; whether its destructor panics.
    FutureDropped(usize, bool),
    OutputMade(usize),
    OutputDropped(usize),
    Joined(usize, Outcome),
    /// A cancelled task gave no output.
    Withdrawn(usize),
    Sent(usize, usize),
    Received(usize, usize),
    /// Work of so many nanoseconds.
    Spent(u32),
    NestedLoopBegins,
    NestedLoopEnds,
    /// Nobody can go on.
    AtRest,
    /// Everything that is left is about to be cancelled.
    End,
}

/// Something that happened, when and in which thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) what: What,
    pub(crate) at_ns: i64,
    pub(crate) thread: usize,
}

#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<Happened>>);

impl History {
    pub(crate) fn add(&self, what: What) {
        simulation::note(format_args!("{what:?}"));
        let thread = simulation::thread_number().expect("everything happens in a simulation");
        let happened = Happened { what, at_ns: Clock::Realtime.now(), thread };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(happened);
    }

    pub(crate) fn take(&self) -> Vec<Happened> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
