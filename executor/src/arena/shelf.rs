//! A shelf: the chunks of one size class that have free cells.
//!
//! A doubly linked list through the chunks' heads. Home thread only.

#![forbid(unsafe_code)]

use super::chunk::Chunk;
use crate::sync::Cell;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shelf {
    front: Cell<Option<Chunk>>,
    back: Cell<Option<Chunk>>,
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf { front: Cell::new(None), back: Cell::new(None) }
    }
}

impl Shelf {
    /// The chunk that gives the next cell.
    #[inline]
    pub(super) fn front(&self) -> Option<Chunk> {
        self.front.get()
    }

    pub(super) fn back(&self) -> Option<Chunk> {
        self.back.get()
    }

    pub(super) fn push_front(&self, chunk: Chunk) {
        let second = self.front.replace(Some(chunk));
        match second {
            Some(second) => second.before().set(Some(chunk)),
            None => self.back.set(Some(chunk)),
        }
        chunk.before().set(None);
        chunk.behind().set(second);
        chunk.set_listed(true);
    }

    pub(super) fn push_back(&self, chunk: Chunk) {
        let other = self.back.replace(Some(chunk));
        match other {
            Some(other) => other.behind().set(Some(chunk)),
            None => self.front.set(Some(chunk)),
        }
        chunk.before().set(other);
        chunk.behind().set(None);
        chunk.set_listed(true);
    }

    pub(super) fn remove(&self, chunk: Chunk) {
        debug_assert!(chunk.is_listed(), "it is on this shelf");
        let (before, behind) = (chunk.before().get(), chunk.behind().get());
        match before {
            Some(before) => before.behind().set(behind),
            None => self.front.set(behind),
        }
        match behind {
            Some(behind) => behind.before().set(before),
            None => self.back.set(before),
        }
        chunk.set_listed(false);
    }
}
