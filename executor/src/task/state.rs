//! The task's state: two words, and every change to them as one named transition.
//!
//! The *local word* belongs to the home thread. It is a plain [`Cell`], so that waking, cloning and
//! dropping a waker at home costs no atomic instruction. The *remote word* belongs to everybody.
//! Each holds flags in its low bits and a share of the reference count above them: the number of
//! references is the sum of both shares, and either share alone may be negative (a waker cloned at
//! home and dropped elsewhere). Nobody needs the sum while the task lives, since the task table
//! holds a reference until the task completes. Completion folds the local share into the remote
//! word ([`State::merge`]), and from then on the remote word alone counts.
//!
//! Nothing here is unsafe and nothing here knows what a task is: the callers act on the answers.
//! Methods whose doc says "home" may run on the home thread only, [home-thread]; the type is not
//! `Sync`, and [`super::cell::Header`] says why it may be shared all the same.

#![forbid(unsafe_code)]

use crate::sync::Cell;
use crate::sync::atomic::{AtomicU32, Ordering};

/// In the run queue. Set by `wake`, `cancel` and `finish_poll`, cleared by `start_poll`; never set
/// together with `RUNNING` or `COMPLETE`, so a task on the stack is in no queue.
const QUEUED: u32 = 1 << 0;
/// Its future is being polled or dropped. Set by `start_poll`, cleared by `finish_poll` and
/// `complete`.
const RUNNING: u32 = 1 << 1;
/// Woken while `RUNNING`: `finish_poll` must queue it again. Cleared by `start_poll`.
const WOKEN: u32 = 1 << 2;
/// The future shall be dropped instead of polled. Set by `cancel`, never cleared.
const CANCELLED: u32 = 1 << 3;
/// The future is gone. Set by `complete`, never cleared.
const COMPLETE: u32 = 1 << 4;
/// A `JoinHandle` exists. Set at birth, cleared by `drop_join`.
const JOIN: u32 = 1 << 5;
/// The stage holds an output or an error. Set by `complete`, cleared by `take_result`.
const RESULT: u32 = 1 << 6;
/// The local share has been folded into the remote word. Set by `merge`, never cleared.
const MERGED: u32 = 1 << 7;
/// The result in the stage is an error. Set by `complete`, meaningful while `RESULT` is set.
const ERROR: u32 = 1 << 8;
/// The task is complete and the `JoinHandle`'s reference is the only one. Set by `merge`, never cleared.
const SOLE: u32 = 1 << 9;

/// A new task's local word.
const NEW: u32 = QUEUED | JOIN | (2 * LOCAL_REF);

const LOCAL_SHIFT: u32 = 10;
/// One reference in the local word.
const LOCAL_REF: u32 = 1 << LOCAL_SHIFT;
/// The local share is folded into the remote word before it leaves this range.
const LOCAL_LIMIT: u32 = 1 << 20;

/// In the home's inbox, or on the way there. Set by whoever may push the node, cleared by
/// `take_post`.
const POSTED: u32 = 1 << 0;
/// The post asks for a wake. Set with or after `POSTED`, cleared with it.
const POST_WAKE: u32 = 1 << 1;
/// The post asks for cancellation. Set with or after `POSTED`, cleared with it.
const POST_CANCEL: u32 = 1 << 2;
/// The remote share is the whole count, and the task is complete. Set by `merge`, never cleared.
const ALL_HERE: u32 = 1 << 3;

const REMOTE_SHIFT: u32 = 4;
/// One reference in the remote word.
const REMOTE_REF: u32 = 1 << REMOTE_SHIFT;
/// A remote share beyond this means leaked wakers by the hundred million.
const REMOTE_LIMIT: i32 = 1 << 26;

/// What the caller of [`State::wake`] or [`State::cancel`] owes the task.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterWake {
    /// Nothing: it is queued, running, or complete.
    Nothing,
    /// A place at the end of the run queue.
    Enqueue,
}

/// What to do with a task that left the run queue.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterStart {
    /// Poll its future.
    Poll,
    /// Drop its future: it was cancelled.
    Cancel,
}

/// What the caller of [`State::post`] owes the task.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterPost {
    /// Nothing: the request is on its way already, or the task is complete.
    Nothing,
    /// A place in the home's inbox; the place owns the reference that `post` has counted.
    Push,
}

/// What the caller of a function that gives up a reference owes the task.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterDrop {
    /// Nothing: others hold references.
    Alive,
    /// Its memory: this was the last reference.
    Free,
}

/// Why a task is posted to its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// It was woken on another thread.
    Wake,
    /// It was cancelled from another thread.
    Cancel,
}

/// What a post asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) wake: bool,
    pub(crate) cancel: bool,
}

/// What a completed task left in its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The future's output.
    Output,
    /// A [`super::JoinError`].
    Error,
}

/// The two words. See the module's documentation.
#[derive(Debug)]
pub(crate) struct State {
    local: Cell<u32>,
    remote: AtomicU32,
}

impl State {
    /// A task that is in the run queue and has two references: the task table's and the handle's.
    pub(crate) fn new() -> State {
        State { local: Cell::new(NEW), remote: AtomicU32::new(0) }
    }

    /// Makes the state of a task that has gone that of a new one, as `new`. Home.
    #[inline]
    pub(crate) fn begin(&self) {
        self.local.set(NEW);
        // Relaxed: whoever frees a cell comes after all others, and home after that.
        self.remote.store(0, Ordering::Relaxed);
    }

    // The local word: home thread only.

    fn set(&self, flags: u32) {
        self.local.set(self.local.get() | flags);
    }

    fn clear(&self, flags: u32) {
        self.local.set(self.local.get() & !flags);
    }

    fn has(&self, flags: u32) -> bool {
        self.local.get() & flags != 0
    }

    /// Records a wake-up. Home.
    #[inline]
    pub(crate) fn wake(&self) -> AfterWake {
        let local = self.local.get();
        if local & (QUEUED | RUNNING | COMPLETE) == 0 {
            self.local.set(local | QUEUED);
            return AfterWake::Enqueue;
        }
        // Harmless on a queued or complete task: `start_poll` clears it, nobody else looks.
        self.local.set(local | WOKEN);
        AfterWake::Nothing
    }

    /// Asks for the future to be dropped instead of polled. Home.
    pub(crate) fn cancel(&self) -> AfterWake {
        self.set(CANCELLED);
        self.wake()
    }

    /// Takes the task from the run queue onto the stack. Home.
    #[inline]
    pub(crate) fn start_poll(&self) -> AfterStart {
        let local = self.local.get();
        debug_assert!(local & (QUEUED | RUNNING | COMPLETE) == QUEUED, "only queued tasks start");
        self.local.set((local & !(QUEUED | WOKEN)) | RUNNING);
        if local & CANCELLED != 0 { AfterStart::Cancel } else { AfterStart::Poll }
    }

    /// Ends a poll that returned `Pending`. A wake-up or a cancellation during the poll asks for a
    /// place in the run queue. Home.
    #[inline]
    pub(crate) fn finish_poll(&self) -> AfterWake {
        let local = self.local.get();
        debug_assert!(local & RUNNING != 0, "only running tasks finish");
        if local & (WOKEN | CANCELLED) == 0 {
            self.local.set(local & !RUNNING);
            return AfterWake::Nothing;
        }
        self.local.set((local & !RUNNING) | QUEUED);
        AfterWake::Enqueue
    }

    /// Records that the future is gone and what the stage holds now. Home.
    pub(crate) fn complete(&self, outcome: Outcome) {
        self.clear(RUNNING);
        self.set(COMPLETE | RESULT | if outcome == Outcome::Error { ERROR } else { 0 });
    }

    /// Whether the future is gone. Home.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.has(COMPLETE)
    }

    /// Whether a `JoinHandle` exists. Home.
    pub(crate) fn has_join(&self) -> bool {
        self.has(JOIN)
    }

    /// Records that the `JoinHandle` is gone. Home.
    pub(crate) fn drop_join(&self) {
        self.clear(JOIN);
    }

    /// Gives the right to move the result out of the stage, once. Home.
    pub(crate) fn take_result(&self) -> Option<Outcome> {
        if !self.has(RESULT) {
            return None;
        }
        self.clear(RESULT);
        Some(if self.has(ERROR) { Outcome::Error } else { Outcome::Output })
    }

    // The reference count.

    /// Counts a new reference. Home.
    #[inline]
    pub(crate) fn add_local_ref(&self) {
        debug_assert!(!self.has(SOLE), "the handle is alone, and makes no copies");
        if self.has(MERGED) {
            self.add_remote_ref();
        } else {
            self.add_to_local_share(LOCAL_REF);
        }
    }

    /// Gives up a reference. Home.
    #[inline]
    pub(crate) fn drop_local_ref(&self) -> AfterDrop {
        if self.has(MERGED | SOLE) {
            return if self.has(SOLE) { AfterDrop::Free } else { self.drop_remote_ref() };
        }
        // No look at the sum: the task table holds a reference until `merge`.
        self.add_to_local_share(LOCAL_REF.wrapping_neg());
        AfterDrop::Alive
    }

    #[inline]
    fn add_to_local_share(&self, difference: u32) {
        self.local.set(self.local.get().wrapping_add(difference));
        if self.local_share().unsigned_abs() >= LOCAL_LIMIT {
            self.fold();
        }
    }

    /// The shift keeps the sign, so a negative share comes out negative.
    fn local_share(&self) -> i32 {
        (self.local.get() as i32) >> LOCAL_SHIFT
    }

    /// Moves the local share to the remote word.
    #[cold]
    fn fold(&self) {
        let share = self.local_share();
        self.local.set(self.local.get() & (LOCAL_REF - 1));
        let remote = (share as u32) << REMOTE_SHIFT;
        // Relaxed: only moves counts between the shares; `merge` publishes.
        let before = self.remote.fetch_add(remote, Ordering::Relaxed);
        // Clones made at home and leaked arrive here, in portions: they must not wrap the count either.
        if remote_share(before) >= REMOTE_LIMIT {
            too_many_references();
        }
    }

    /// Ends the split of the count when the task is complete, giving up one reference (the task
    /// table's) on the way. Home, once.
    ///
    /// Most tasks never leave their thread, and end without an atomic read-modify-write.
    pub(crate) fn merge(&self) -> AfterDrop {
        debug_assert!(
            self.has(COMPLETE) && !self.has(MERGED | SOLE),
            "merged once, after completion"
        );
        let rest = self.local_share() - 1;
        // Acquire: pairs with the Release of the droppers, as there.
        if rest <= 1 && self.remote.load(Ordering::Acquire) == 0 {
            // The sum is `rest`. A reference that another thread owned and gave back made all it did to
            // the remote word visible here, so that an old 0 cannot hide a clone.
            if rest == 0 {
                return AfterDrop::Free;
            }
            if self.has(JOIN) {
                self.set(SOLE);
                return AfterDrop::Alive;
            }
        }
        self.merge_shares(rest)
    }

    fn merge_shares(&self, rest: i32) -> AfterDrop {
        self.local.set((self.local.get() & (LOCAL_REF - 1)) | MERGED);
        let moved = (rest as u32) << REMOTE_SHIFT;
        // Release: pairs with the Acquire in `drop_remote_ref`; what the home thread did to the cell
        // happens before whoever frees it. Acquire: for this thread, if it frees. The flag cannot carry,
        // since the bit is clear.
        let before = self.remote.fetch_add(moved.wrapping_add(ALL_HERE), Ordering::AcqRel);
        let share = remote_share(before);
        if share >= REMOTE_LIMIT {
            too_many_references();
        }
        if share + rest == 0 { AfterDrop::Free } else { AfterDrop::Alive }
    }

    /// Counts a new reference. Any thread.
    #[inline]
    pub(crate) fn add_remote_ref(&self) {
        // Relaxed: the caller owns a reference, as with `Arc`.
        let before = self.remote.fetch_add(REMOTE_REF, Ordering::Relaxed);
        if remote_share(before) >= REMOTE_LIMIT {
            too_many_references();
        }
    }

    /// Gives up a reference. Any thread.
    #[inline]
    pub(crate) fn drop_remote_ref(&self) -> AfterDrop {
        // Release: what this thread did with the task happens before the free. Acquire: pairs with
        // the Release of the other droppers and of `merge`, for the thread that frees.
        let before = self.remote.fetch_sub(REMOTE_REF, Ordering::AcqRel);
        if before & ALL_HERE != 0 && remote_share(before) == 1 {
            AfterDrop::Free
        } else {
            AfterDrop::Alive
        }
    }

    // Requests from other threads.

    /// Asks the home thread to wake or cancel the task. Any thread.
    ///
    /// Always a read-modify-write, also if the same request is on its way: the standard library promises that each
    /// `wake` happens before the poll that it leads to, also when several of them lead to one.
    pub(crate) fn post(&self, post: Post) -> AfterPost {
        let reason = if post == Post::Wake { POST_WAKE } else { POST_CANCEL };
        // Release: pairs with the Acquire in `take_post`; what led to the wake is seen by the poll. Acquire: keeps
        // the push after the decision. On a task that has gone the bits mean nothing.
        let before = self.remote.fetch_or(POSTED | reason, Ordering::AcqRel);
        if before & (ALL_HERE | POSTED) != 0 {
            return AfterPost::Nothing;
        }
        // Relaxed: as in `add_remote_ref`; the caller's own reference keeps the task until this one is counted.
        self.remote.fetch_add(REMOTE_REF, Ordering::Relaxed);
        AfterPost::Push
    }

    /// Takes what a post asked for. The caller now owns the reference that `post` counted. Home.
    pub(crate) fn take_post(&self) -> Posted {
        let bits = POSTED | POST_WAKE | POST_CANCEL;
        // Acquire: pairs with the Release of each `post` since the last time, as they form one chain.
        let before = self.remote.fetch_and(!bits, Ordering::AcqRel);
        Posted { wake: before & POST_WAKE != 0, cancel: before & POST_CANCEL != 0 }
    }

    /// Fails the model if somebody used the state, and not before this.
    #[cfg(aio_loom)]
    pub(super) fn retire(&mut self) {
        self.remote.with_mut(|_| ());
    }
}

fn remote_share(word: u32) -> i32 {
    (word as i32) >> REMOTE_SHIFT
}

#[cold]
fn too_many_references() -> ! {
    // An unwinding panic could be caught by a program that goes on leaking until the count wraps.
    super::abort("a task has more than 67 million wakers: something leaks them")
}

#[cfg(test)]
mod tests;
