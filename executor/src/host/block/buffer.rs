//! Memory that disks can read into.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// The coarsest alignment that a disk asks for, in practice.
const ALIGNMENT: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; ALIGNMENT]);

const _: () = assert!(size_of::<Page>() == ALIGNMENT && align_of::<Page>() == ALIGNMENT);

/// Memory for a [read](super::BlockBackend::read), aligned so that QEMU need not copy, even with `O_DIRECT`.
///
/// A slice of bytes. Made once and used for one read after the other: what a read fills is the length, which
/// [`resize`](Self::resize) changes within what was allocated.
pub struct Buffer {
    pages: Vec<Page>,
    length: usize,
}

impl Buffer {
    /// `length` bytes, all zero.
    pub fn new(length: usize) -> Buffer {
        Buffer { pages: vec![Page([0; ALIGNMENT]); length.div_ceil(ALIGNMENT)], length }
    }

    /// Makes it `length` bytes long. Allocates if that is more than it ever was.
    pub fn resize(&mut self, length: usize) {
        if length > self.pages.len() * ALIGNMENT {
            self.pages.resize(length.div_ceil(ALIGNMENT), Page([0; ALIGNMENT]));
        }
        self.length = length;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: [layout]: pages are bytes, and there are at least `length` of those.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: [layout]: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.length) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("length", &self.length).finish_non_exhaustive()
    }
}
