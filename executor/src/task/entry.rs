//! What the table of tasks tells of a task: two words in its header, and its kind.
//!
//! They are a *sequence lock* whose sequence is the task's id: the home thread writes without a lock and without an
//! atomic read-modify-write, and a reader who finds the same id before and after it has read the rest has read what
//! belongs together. All is atomic, so that a reader who comes too late reads stale values, not torn ones.
//!
//! The id is the lower half of it; the upper one is in the chunk, for all of its tasks. An id is never used twice, and
//! no lower half is 0, which means that nobody is there.
//!
//! Threads: home writes, any reads.

use std::ptr;

use super::cell::Header;
use super::kind::Kind;
use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Entry {
    id_low: AtomicU32,
    /// Twice the number of polls, and whether there is a name for the id.
    polls: AtomicU32,
}

const NAMED: u32 = 1;
const POLL: u32 = 2;

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) id: u64,
    pub(crate) kind: &'static Kind,
    /// Modulo 2^31.
    pub(crate) polls: u32,
    pub(crate) is_named: bool,
}

impl Entry {
    pub(super) fn vacant() -> Entry {
        Entry { id_low: AtomicU32::new(0), polls: AtomicU32::new(0) }
    }
}

impl Header {
    /// Enters a new task. Home.
    #[inline]
    pub(super) fn enter(&self, id_low: u32, kind: &'static Kind, is_named: bool) {
        debug_assert!(id_low != 0, "0 is nobody's");
        // Pairs with the fence in `read`: who reads one of these finds the id 0, or the new one.
        fence(Ordering::Release);
        // SAFETY: [header-first]: kinds are static, and a new task is in no inbox.
        unsafe { self.node.set_vtable(ptr::from_ref(kind).cast()) };
        self.entry.polls.store(if is_named { NAMED } else { 0 }, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`.
        self.entry.id_low.store(id_low, Ordering::Release);
    }

    /// Nobody is listed here any more. Home.
    #[inline]
    pub(crate) fn leave(&self) {
        self.entry.id_low.store(0, Ordering::Relaxed);
    }

    /// Counts a poll. Home.
    #[inline]
    pub(crate) fn count_poll(&self) {
        let polls = &self.entry.polls;
        // Not a read-modify-write: only this thread writes.
        polls.store(polls.load(Ordering::Relaxed).wrapping_add(POLL), Ordering::Relaxed);
    }

    /// Whether there is a name for the id. Home.
    #[inline]
    pub(crate) fn is_named(&self) -> bool {
        self.entry.polls.load(Ordering::Relaxed) & NAMED != 0
    }

    /// The id of whoever is listed here. `high` gives its upper half. Any thread.
    pub(crate) fn id(&self, high: impl FnOnce() -> u32) -> Option<u64> {
        let low = self.entry.id_low.load(Ordering::Relaxed);
        (low != 0).then(|| whole(high(), low))
    }

    /// Who is listed here. `high` gives the upper half of the id. Any thread.
    pub(crate) fn read(&self, high: impl FnOnce() -> u32) -> Option<Glance> {
        // Acquire: pairs with the Release in `enter`.
        let low = self.entry.id_low.load(Ordering::Acquire);
        if low == 0 {
            return None;
        }
        // Not looked at yet: it can be a later task's, which this thread does not yet know.
        let kind = self.node.vtable_address();
        let polls = self.entry.polls.load(Ordering::Relaxed);
        let id = whole(high(), low);
        // Pairs with the fence in `enter`: if one of these is a later task's, so is the id now.
        fence(Ordering::Acquire);
        if self.entry.id_low.load(Ordering::Relaxed) != low {
            return None;
        }
        // SAFETY: [header-first] [place-in-table]: the kind of the task of that id, and made before it.
        let kind = unsafe { &*kind.cast::<Kind>() };
        Some(Glance { id, kind, polls: polls / POLL, is_named: polls & NAMED != 0 })
    }
}

fn whole(high: u32, low: u32) -> u64 {
    u64::from(high) << u32::BITS | u64::from(low)
}
