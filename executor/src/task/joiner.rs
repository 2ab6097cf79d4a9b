//! Who waits for a task's result, in one word.
//!
//! It mostly is another task of ours, and then its reference is all there is to keep: half of a `Waker`, and
//! no call through a vtable to wake it. Any other waker goes into a box.
//!
//! Threads: home, [home-thread], and whoever frees the cell.

use std::task::Waker;

use super::cell::TaskRef;
use super::{wake_without_panic, waker};
use crate::sync::Cell;

/// Whoever waits.
#[derive(Debug)]
pub(super) enum Joiner {
    Task(TaskRef),
    Foreign(Box<Waker>),
}

impl Joiner {
    #[inline]
    pub(super) fn wake(self) {
        match self {
            Joiner::Task(task) => task.wake(),
            Joiner::Foreign(waker) => wake_without_panic(*waker),
        }
    }
}

impl From<&Waker> for Joiner {
    #[inline]
    fn from(waker: &Waker) -> Joiner {
        match waker::task_of(waker) {
            Some(task) => Joiner::Task(TaskRef::clone(&task)),
            None => Joiner::Foreign(Box::new(waker.clone())),
        }
    }
}

/// A place for a [`Joiner`]: null, the address of a task's header, or that of a boxed waker plus one.
#[derive(Debug)]
pub(super) struct JoinerSlot(Cell<*const ()>);

/// Both are aligned to more than a byte.
const FOREIGN: usize = 1;

impl JoinerSlot {
    pub(super) fn new() -> JoinerSlot {
        JoinerSlot(Cell::new(std::ptr::null()))
    }

    /// Whether this is who waits. Runs no foreign code.
    #[inline]
    pub(super) fn is(&self, waker: &Waker) -> bool {
        let known = self.0.get();
        match waker::task_of(waker) {
            Some(task) => known == task.header.as_ptr().cast_const().cast(),
            None => self.foreign().is_some_and(|known| known.will_wake(waker)),
        }
    }

    fn foreign(&self) -> Option<&Waker> {
        let known = self.0.get();
        if known as usize & FOREIGN == 0 {
            return None;
        }
        let waker = known.wrapping_byte_sub(FOREIGN).cast::<Waker>();
        // SAFETY: [joiner-tagged]: the tag says that it is a box, which only `replace` and `take` take away;
        // the borrow ends before anything can.
        Some(unsafe { &*waker })
    }

    /// Returns who waited before.
    #[inline]
    pub(super) fn replace(&self, joiner: Joiner) -> Option<Joiner> {
        let word = match joiner {
            Joiner::Task(task) => task.into_raw(),
            Joiner::Foreign(waker) => {
                let waker = Box::into_raw(waker).cast_const().cast::<()>();
                // Stays inside the box, which is larger than a byte.
                waker.wrapping_byte_add(FOREIGN)
            }
        };
        unpack(self.0.replace(word))
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Joiner> {
        unpack(self.0.replace(std::ptr::null()))
    }
}

#[inline]
fn unpack(word: *const ()) -> Option<Joiner> {
    if word.is_null() {
        return None;
    }
    if word as usize & FOREIGN == 0 {
        // SAFETY: [joiner-tagged]: `replace` stored a reference, which is the caller's now.
        return Some(Joiner::Task(unsafe { TaskRef::from_raw(word) }));
    }
    let waker = word.wrapping_byte_sub(FOREIGN).cast_mut().cast::<Waker>();
    // SAFETY: [joiner-tagged]: `replace` stored a box, which is the caller's now.
    Some(Joiner::Foreign(unsafe { Box::from_raw(waker) }))
}

// A slot owns what is in it; the cell that it is part of empties it when it is freed.
const _: () = assert!(!std::mem::needs_drop::<JoinerSlot>());
const _: () = assert!(align_of::<Waker>() > FOREIGN);
