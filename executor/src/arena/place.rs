//! Where a task is, for those who do not own a reference on it.

use std::ptr::NonNull;

use super::chunk::Chunk;
use crate::task::Header;

/// Where a task is: its cell, as those see it who do not own a reference on the task.
///
/// Valid on the home thread until the task has ended, and on any thread during [`Arena::for_each`](super::Arena::for_each) or with a reference on
/// the task, [place-in-table].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonNull<Header>);

impl Place {
    #[inline]
    pub(crate) fn of(cell: NonNull<Header>) -> Place {
        Place(cell)
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: [place-in-table]: the chunk stays meanwhile.
        unsafe { self.0.as_ref() }
    }

    /// The upper half of the id of the task that is here.
    pub(crate) fn id_high(self) -> u32 {
        Chunk::of(self.0).id_high()
    }

    /// The id of the task that is here.
    pub(crate) fn id(&self) -> Option<u64> {
        self.header().id(|| self.id_high())
    }

    #[inline]
    pub(crate) fn as_raw(self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }
}
