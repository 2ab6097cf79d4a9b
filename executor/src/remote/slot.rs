//! The slot between the two ends of a piece of work: one allocation, one atomic word, no lock.
//!
//! Owns the result on its way back, a waker of each end, and the memory of both, which goes with the end that
//! leaves last. The memory may be part of something larger ([`mod@super::parcel`]), which the slot does not
//! know: it is freed by a function that whoever made it gave along.
//!
//! Each end changes the word in a few named steps; what a step found decides who owns what:
//!
//! - the result: the far end's, until it sets `FINISHED`; then the near end's, or, if that one had left by then,
//!   the far end's again;
//! - the waker `awaiting`: the near end's, while `AWAITED` is not set; then of the first to change the word: the
//!   near end that clears `AWAITED`, or the far end that sets `FINISHED`;
//! - the waker `working`: the same with `LISTENING`, the far end, and `CANCELLED` in the place of `FINISHED`.
//!
//! Mostly nobody waits yet when the work is done, and nobody has listened: then the far end leaves with the same
//! step that hands over the result, and the near end, when it sees that, has the slot to itself. That is one
//! atomic read-modify-write for both.
//!
//! Threads: each end is one thread's at a time, and the two need not be the same. It runs no foreign code but the
//! wakers', and those after the step, not in between.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::task::{Poll, RawWakerVTable, Waker};

use crate::sync::Cell;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::task::JoinError;

/// The result is there, or was. Set by the far end, never cleared.
const FINISHED: u32 = 1 << 0;
/// There is a waker in `awaiting`. Set and cleared by the near end.
const AWAITED: u32 = 1 << 1;
/// Nobody wants the result any more. Set by the near end, never cleared.
const CANCELLED: u32 = 1 << 2;
/// There is a waker in `working`. Set and cleared by the far end.
const LISTENING: u32 = 1 << 3;
/// The far end is gone.
const FAR_GONE: u32 = 1 << 4;
/// The near end is gone.
const NEAR_GONE: u32 = 1 << 5;

/// See the module's documentation.
///
/// What every piece of work touches is at the end, so that it is beside a parcel's content: a cache line goes over and
/// comes back, and the one before it mostly stays where it is.
#[repr(C)]
pub(super) struct Slot<T> {
    awaiting: Cell<Option<Waker>>,
    working: Cell<Option<Waker>>,
    free: unsafe fn(NonNull<Slot<T>>),
    _rest_of_line: [usize; 3],
    state: AtomicU32,
    result: Cell<Option<Result<T, JoinError>>>,
}

impl<T> Slot<T> {
    /// A slot with both its ends. `free` gets it when both are gone.
    pub(super) fn new(free: unsafe fn(NonNull<Slot<T>>)) -> Slot<T> {
        Slot {
            awaiting: Cell::new(None),
            working: Cell::new(None),
            free,
            _rest_of_line: [0; 3],
            state: AtomicU32::new(0),
            result: Cell::new(None),
        }
    }

    /// A slot in memory of its own.
    pub(super) fn alone() -> (FarEnd<T>, NearEnd<T>) {
        let slot = NonNull::from(Box::leak(Box::new(Slot::new(free_alone))));
        // SAFETY: [slot-two-ends]: just made, and freed by `free_alone` alone.
        unsafe { ends(slot) }
    }
}

/// The ends of a new slot.
///
/// # Safety
///
/// - It is called once for `slot`, which stays where it is until `free` is called with that pointer.
/// - Whoever moves an end to another thread sees to it that `T` may go there; the ends' `Send` asks for it.
pub(super) unsafe fn ends<T>(slot: NonNull<Slot<T>>) -> (FarEnd<T>, NearEnd<T>) {
    (FarEnd { slot, known: Identity::NONE }, NearEnd { slot, known: Identity::NONE })
}

/// # Safety
///
/// `slot` came from `Slot::alone`, and both ends are gone.
unsafe fn free_alone<T>(slot: NonNull<Slot<T>>) {
    // SAFETY: [slot-two-ends]: made by `Box::leak`, and nobody uses it any more.
    drop(unsafe { Box::from_raw(slot.as_ptr()) });
}

/// # Safety
///
/// Both ends are gone but for the caller, who does not use the slot afterwards.
unsafe fn free<T>(mut slot: NonNull<Slot<T>>) {
    // SAFETY: [slot-two-ends]: ours alone.
    let slot_ref = unsafe { slot.as_mut() };
    #[cfg(aio_loom)]
    slot_ref.state.with_mut(|_| ());
    let free = slot_ref.free;
    // SAFETY: [slot-two-ends]: forwarded; `ends` was told that this function frees the slot.
    unsafe { free(slot) };
}

/// Which waker this is, as `Waker::will_wake` tells it, for one that is somewhere else now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    data: *const (),
    vtable: *const RawWakerVTable,
}

impl Identity {
    const NONE: Identity = Identity { data: std::ptr::null(), vtable: std::ptr::null() };

    fn of(waker: &Waker) -> Identity {
        Identity { data: waker.data(), vtable: std::ptr::from_ref(waker.vtable()) }
    }
}

/// The end that works.
pub(super) struct FarEnd<T> {
    slot: NonNull<Slot<T>>,
    /// The waker in `working`, if it is there.
    known: Identity,
}

/// The end that waits.
pub(super) struct NearEnd<T> {
    slot: NonNull<Slot<T>>,
    /// The waker in `awaiting`, if it is there.
    known: Identity,
}

// SAFETY: [slot-two-ends]: the cells are the obstacle; the state's steps say whose each is. A result that is dropped on
// this thread, or arrives on it, asks for `T: Send`; wakers are `Send`.
unsafe impl<T: Send> Send for FarEnd<T> {}
// SAFETY: [slot-two-ends]: what `&FarEnd` allows is a look at the state.
unsafe impl<T: Send> Sync for FarEnd<T> {}
// SAFETY: [slot-two-ends]: as for `FarEnd`.
unsafe impl<T: Send> Send for NearEnd<T> {}
// SAFETY: [slot-two-ends]: as for `FarEnd`; cancelling, too, takes what the state gives to one caller only.
unsafe impl<T: Send> Sync for NearEnd<T> {}

// No foreign code runs between the steps, so a panic finds each end as it was before or after one.
impl<T> UnwindSafe for FarEnd<T> {}
impl<T> RefUnwindSafe for FarEnd<T> {}
impl<T> UnwindSafe for NearEnd<T> {}
impl<T> RefUnwindSafe for NearEnd<T> {}

impl<T> FarEnd<T> {
    /// The far end again, after it went through a place that knows no types.
    ///
    /// # Safety
    ///
    /// The end that came from `ends` for this slot was not used, and is not used any more.
    pub(super) unsafe fn again(slot: NonNull<Slot<T>>) -> FarEnd<T> {
        FarEnd { slot, known: Identity::NONE }
    }

    fn slot(&self) -> &Slot<T> {
        // SAFETY: [slot-two-ends]: our end keeps it.
        unsafe { self.slot.as_ref() }
    }

    /// The slot's address, which no other has while this end is there.
    pub(super) fn address(&self) -> usize {
        self.slot.as_ptr() as usize
    }

    /// Whether nobody wants the result any more.
    pub(super) fn is_cancelled(&self) -> bool {
        // Acquire: pairs with the Release in `cancel`.
        self.slot().state.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// Lets a later cancellation wake `waker`. One that came before must be asked for afterwards.
    pub(super) fn listen(&mut self, waker: &Waker) {
        if self.known == Identity::of(waker) {
            return;
        }
        let new = Some(waker.clone());
        let slot = self.slot();
        // AcqRel, here and below: who finds the bit set, or sets it, takes the waker with it.
        if self.known != Identity::NONE
            && slot.state.fetch_and(!LISTENING, Ordering::AcqRel) & CANCELLED != 0
        {
            // Whoever cancelled has the old one.
            return;
        }
        let old = slot.working.replace(new);
        let before = slot.state.fetch_or(LISTENING, Ordering::AcqRel);
        let late = if before & CANCELLED == 0 { None } else { slot.working.take() };
        self.known = Identity::of(waker);
        drop((old, late));
    }

    /// Hands over the result. Wakes whoever waits for it; drops it here if nobody will ever look.
    pub(super) fn finish(self, result: Result<T, JoinError>) {
        let slot = self.slot();
        slot.result.set(Some(result));
        // Release: pairs with the Acquire in `poll` and in the near end's `drop`; the result goes along.
        if slot
            .state
            .compare_exchange(0, FINISHED | FAR_GONE, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.finish_slowly();
        }
    }

    fn finish_slowly(self) {
        let slot = self.slot();
        // AcqRel: as in `listen`, and as the Release in `finish`.
        let before = slot.state.fetch_or(FINISHED, Ordering::AcqRel);
        let awaiting = if before & AWAITED == 0 { None } else { slot.awaiting.take() };
        let listening = before & (LISTENING | CANCELLED) == LISTENING;
        let working = if listening { slot.working.take() } else { None };
        let unwanted = if before & NEAR_GONE == 0 { None } else { slot.result.take() };
        self.leave();
        drop(working);
        if let Some(awaiting) = awaiting {
            awaiting.wake();
        }
        report(unwanted);
    }

    fn leave(self) {
        // Release: pairs with the Acquire of the end that frees. Acquire: for this one, if it does.
        let before = self.slot().state.fetch_or(FAR_GONE, Ordering::AcqRel);
        if before & NEAR_GONE != 0 {
            // SAFETY: [slot-two-ends]: both are gone, and we were the last.
            unsafe { free(self.slot) };
        }
    }
}

impl<T> NearEnd<T> {
    fn slot(&self) -> &Slot<T> {
        // SAFETY: [slot-two-ends]: our end keeps it.
        unsafe { self.slot.as_ref() }
    }

    /// Whether the far end has handed over the result.
    pub(super) fn is_finished(&self) -> bool {
        // Acquire: pairs with the Release in `finish`.
        self.slot().state.load(Ordering::Acquire) & FINISHED != 0
    }

    /// Says that nobody wants the result any more, and wakes the far end if it listens.
    pub(super) fn cancel(&self) {
        let slot = self.slot();
        // AcqRel: as in `listen`.
        let before = slot.state.fetch_or(CANCELLED, Ordering::AcqRel);
        if before & (LISTENING | CANCELLED | FINISHED) == LISTENING {
            if let Some(working) = slot.working.take() {
                working.wake();
            }
        }
    }

    /// Takes the result, or has `waker` woken when it is there. Gives nothing for one that was taken before.
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Option<Result<T, JoinError>>> {
        if !self.is_finished() && (self.known == Identity::of(waker) || self.wait(waker)) {
            return Poll::Pending;
        }
        Poll::Ready(self.slot().result.take())
    }

    /// Returns whether there is something to wait for.
    fn wait(&mut self, waker: &Waker) -> bool {
        let new = Some(waker.clone());
        let slot = self.slot();
        // AcqRel, here and below: as in `listen`.
        if self.known != Identity::NONE
            && slot.state.fetch_and(!AWAITED, Ordering::AcqRel) & FINISHED != 0
        {
            return false;
        }
        let old = slot.awaiting.replace(new);
        let before = slot.state.fetch_or(AWAITED, Ordering::AcqRel);
        let finished = before & FINISHED != 0;
        let late = if finished { slot.awaiting.take() } else { None };
        self.known = Identity::of(waker);
        drop((old, late));
        !finished
    }

    /// Leaves while the far end is there. Returns the result if it came all the same.
    #[cold]
    fn leave(&mut self) -> Option<Result<T, JoinError>> {
        let slot = self.slot();
        // AcqRel: as in `listen`.
        let mut state = slot.state.fetch_and(!AWAITED, Ordering::AcqRel) & !AWAITED;
        let waits = self.known != Identity::NONE && state & FINISHED == 0;
        let awaiting = if waits { slot.awaiting.take() } else { None };
        let mut unread = None;
        loop {
            if state & FINISHED != 0 {
                unread = unread.or_else(|| slot.result.take());
            }
            // Release, Acquire: as in the far end's `leave`; also when it fails, for the result.
            match slot.state.compare_exchange(
                state,
                state | NEAR_GONE,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & FAR_GONE != 0 {
            // SAFETY: [slot-two-ends]: both are gone, and we were the last.
            unsafe { free(self.slot) };
        }
        drop(awaiting);
        unread
    }
}

impl<T> Drop for NearEnd<T> {
    #[inline]
    fn drop(&mut self) {
        // Acquire: pairs with the Release with which the far end left.
        if self.slot().state.load(Ordering::Acquire) & FAR_GONE == 0 {
            return report(self.leave());
        }
        let unread = self.slot().result.take();
        // SAFETY: [slot-two-ends]: the far end is gone, and so are we.
        unsafe { free(self.slot) };
        report(unread);
    }
}

/// Drops a result that nobody reads. A panic is reported.
fn report<T>(unread: Option<Result<T, JoinError>>) {
    if let Some(Err(error)) = unread {
        error.report_if_panic();
    }
}
