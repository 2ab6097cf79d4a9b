//! Lists of coroutines, linked through the coroutines themselves.
//!
//! A coroutine is in one list at most: it waits for one thing, or is about to be entered.
//!
//! Threads: a list belongs to whoever owns it, or has its lock; so do the links of those in it.
//!
//! Relies on `[co-alive]`: what waits has not ended.

use std::cell::Cell;
use std::ptr;

use super::Coroutine;

/// First in, first out.
#[repr(C)]
pub(super) struct Queue {
    first: Cell<*const Coroutine>,
    last: Cell<*const Coroutine>,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { first: Cell::new(ptr::null()), last: Cell::new(ptr::null()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// The one that [`pop_front`](Self::pop_front) would return.
    pub(super) fn front<'a>(&self) -> Option<&'a Coroutine> {
        // SAFETY: [co-alive].
        unsafe { self.first.get().as_ref() }
    }

    pub(super) fn push_back(&self, coroutine: &Coroutine) {
        coroutine.next.set(ptr::null());
        // SAFETY: [co-alive].
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(coroutine),
            None => self.first.set(coroutine),
        }
        self.last.set(coroutine);
    }

    pub(super) fn push_front(&self, coroutine: &Coroutine) {
        coroutine.next.set(self.first.get());
        if self.is_empty() {
            self.last.set(coroutine);
        }
        self.first.set(coroutine);
    }

    pub(super) fn pop_front<'a>(&self) -> Option<&'a Coroutine> {
        let first = self.front()?;
        self.first.set(first.next.get());
        if self.is_empty() {
            self.last.set(ptr::null());
        }
        Some(first)
    }

    /// Takes all of `other` and puts it before what is here.
    pub(super) fn prepend(&self, other: &Self) {
        // SAFETY: [co-alive].
        let Some(last) = (unsafe { other.last.get().as_ref() }) else { return };
        last.next.set(self.first.get());
        if self.is_empty() {
            self.last.set(last);
        }
        self.first.set(other.first.replace(ptr::null()));
        other.last.set(ptr::null());
    }
}
