//! The deadline queue of one executor.
//!
//! Owns, for each of QEMU's clocks, the deadlines of all pending sleeps and the wakers that wait
//! for them. The executor keeps one loop timer per clock armed for the earliest deadline and calls
//! [`fire`](TimerQueue::fire) when it goes off: what a sleep costs does not depend on how many
//! timers the loop has.
//!
//! The structure is an indexed heap: four children per node, so that it is half as deep as a binary
//! one and the children of a node share cache lines. Every timer's slot knows its place in the
//! heap, so cancelling removes it at once, in logarithmic time; nothing is left behind that would
//! have to be skipped later, and a program that creates and drops time-outs all day stays small.
//!
//! Threads: inserting is for the home thread of the executor, since only it can arm the loop timer.
//! Updating and cancelling are for any thread, because a [`Sleep`](super::Sleep) may be moved or
//! dropped anywhere. The lock is therefore uncontended in practice, and no foreign code ever runs
//! under it: wakers are cloned before, and woken and dropped after.
//!
//! It knows no executor and no loop, and it never reads a clock.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::PoisonError;
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::clock::Clock;
use crate::sync::{Mutex, MutexGuard};
use crate::task::wake_without_panic;

mod heap;
#[cfg(test)]
mod tests;

use heap::Heap;

/// How many wakers `fire` carries out of the lock at a time.
const BATCH: usize = 32;

/// Names one timer of one queue.
///
/// It stays valid for ever in the sense that it never names another timer: the slot's generation
/// is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    clock: Clock,
    slot: u32,
    generation: u32,
}

/// The pending deadlines of one executor.
#[derive(Debug)]
pub(crate) struct TimerQueue {
    clocks: [CachePadded<Mutex<ClockQueue>>; 4],
}

/// The pending deadlines on one clock.
#[derive(Debug)]
struct ClockQueue {
    heap: Heap,
    closed: bool,
}

impl TimerQueue {
    /// Creates an empty queue.
    pub(crate) fn new() -> Self {
        let clock =
            |_| CachePadded::new(Mutex::new(ClockQueue { heap: Heap::new(), closed: false }));
        Self { clocks: Clock::ALL.map(clock) }
    }

    /// Adds a timer that wakes `waker` once `clock` has reached `deadline` (in nanoseconds).
    ///
    /// The second value says whether the new deadline is the earliest on its clock; then the
    /// caller must re-arm the loop timer. Call it on the home thread only. A timer that is added
    /// after [`close`](Self::close) never fires.
    pub(crate) fn insert(&self, clock: Clock, deadline: i64, waker: &Waker) -> (TimerKey, bool) {
        let waker = waker.clone();
        let added = self.lock(clock).insert(deadline, waker);
        match added {
            Ok((slot, generation, earliest)) => (TimerKey { clock, slot, generation }, earliest),
            // No slot has this number, so the key names nothing.
            Err(_refused) => (TimerKey { clock, slot: u32::MAX, generation: 0 }, false),
        }
    }

    /// Makes a pending timer wake `waker` instead of the waker it has. Callable from any thread.
    ///
    /// Returns whether the timer is still pending; it is not once it has fired or the queue was
    /// closed.
    pub(crate) fn update(&self, key: &TimerKey, waker: &Waker) -> bool {
        match self.lock(key.clock).heap.waker(key.slot, key.generation) {
            None => return false,
            Some(known) if known.will_wake(waker) => return true,
            Some(_) => {}
        }
        self.replace(key, waker.clone())
    }

    /// Removes a timer. Callable from any thread. Does nothing if the timer has fired.
    ///
    /// The loop timer stays armed: going off for nothing once is cheaper than re-arming it for
    /// every time-out that did not happen.
    pub(crate) fn cancel(&self, key: TimerKey) {
        let removed = self.lock(key.clock).heap.remove(key.slot, key.generation);
        // Here the lock is free again: dropping a waker can run anything.
        drop(removed);
    }

    /// Wakes what was due on `clock` at `now` and returns how many timers that were.
    ///
    /// Earlier deadlines come first, equal ones in the order of their insertion. What the woken
    /// insert while this runs is left for the next call if it would make this one endless.
    pub(crate) fn fire(&self, clock: Clock, now: i64) -> usize {
        let most = self.lock(clock).heap.len();
        let mut fired = 0;
        while fired < most {
            let mut batch = [const { None }; BATCH];
            let room = &mut batch[..BATCH.min(most - fired)];
            let due = self.lock(clock).heap.take_due(now, room);
            batch.into_iter().flatten().for_each(wake_without_panic);
            fired += due;
            if due < BATCH {
                break;
            }
        }
        fired
    }

    /// Returns the earliest deadline on `clock`.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self, clock: Clock) -> Option<i64> {
        self.lock(clock).heap.earliest()
    }

    /// Returns when the loop is to come back for `clock`: at the earliest deadline; or, if that one and a few
    /// more are within `window`, at its end, for all of them.
    pub(crate) fn next_call(&self, clock: Clock, window: &Range<i64>) -> Option<i64> {
        self.lock(clock).heap.next_call(window)
    }

    /// Returns the number of pending timers on all clocks.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        Clock::ALL.into_iter().map(|clock| self.lock(clock).heap.len()).sum()
    }

    /// Removes all timers for good and wakes whoever waited for them, so that they can find out.
    pub(crate) fn close(&self) {
        for clock in Clock::ALL {
            let mut queue = self.lock(clock);
            queue.closed = true;
            let heap = std::mem::replace(&mut queue.heap, Heap::new());
            drop(queue);
            heap.into_wakers().for_each(wake_without_panic);
        }
    }

    /// The slow path of [`update`](Self::update), which looked the timer up before.
    fn replace(&self, key: &TimerKey, waker: Waker) -> bool {
        let mut queue = self.lock(key.clock);
        let Some(known) = queue.heap.waker(key.slot, key.generation) else { return false };
        let replaced = std::mem::replace(known, waker);
        drop(queue);
        drop(replaced);
        true
    }

    /// Locks one clock's queue. No foreign code runs under the lock, so it cannot be poisoned in a
    /// state that matters.
    fn lock(&self, clock: Clock) -> MutexGuard<'_, ClockQueue> {
        self.clocks[clock as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClockQueue {
    /// Gives the waker back if the queue is closed, for it must not be dropped under the lock.
    fn insert(&mut self, deadline: i64, waker: Waker) -> Result<(u32, u32, bool), Waker> {
        if self.closed { Err(waker) } else { Ok(self.heap.insert(deadline, waker)) }
    }
}
