//! Memory for parcels: blocks of whole cache lines, some of which each thread keeps.
//!
//! Hundreds of calls may be in flight, and an allocator keeps a handful of blocks of a size at hand: beyond these
//! it takes ten times as long. A block that was kept also is in this thread's cache, and it shares no line with its
//! neighbour, which another thread may be working on.
//!
//! A block belongs to no thread: it may be given back anywhere. What a thread has kept goes with it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// The size of a cache line, and how far size classes are apart.
const LINE: usize = 64;
/// What is larger is not kept.
const CLASSES: usize = 4;
/// How many blocks of a class a thread keeps: 64 KiB of those of two lines.
const KEEP: usize = 512;

thread_local! {
    static KEPT: Kept = const { Kept { classes: [const { List::new() }; CLASSES] } };
}

struct Kept {
    classes: [List; CLASSES],
}

struct List {
    head: Cell<*mut Free>,
    length: Cell<usize>,
}

struct Free {
    next: *mut Free,
}

/// What is asked of the allocator for a value of that layout, and the class that the block is of, if it can be kept.
const fn block(value: Layout) -> (Layout, Option<usize>) {
    if value.size() == 0 || value.size() > CLASSES * LINE || value.align() > LINE {
        return (value, None);
    }
    let class = value.size().div_ceil(LINE) - 1;
    (class_layout(class), Some(class))
}

const fn class_layout(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * LINE, LINE) {
        Ok(layout) => layout,
        Err(_) => panic!("small sizes are valid"),
    }
}

impl List {
    const fn new() -> List {
        List { head: Cell::new(ptr::null_mut()), length: Cell::new(0) }
    }

    fn pop(&self) -> Option<NonNull<Free>> {
        let block = NonNull::new(self.head.get())?;
        // SAFETY: [block-kept]: it is in the list since `push`.
        self.head.set(unsafe { block.as_ref() }.next);
        self.length.set(self.length.get() - 1);
        Some(block)
    }

    /// Returns whether the block is kept.
    ///
    /// # Safety
    ///
    /// `block` is an unused one of this list's class.
    unsafe fn push(&self, block: NonNull<Free>) -> bool {
        if self.length.get() == KEEP {
            return false;
        }
        // SAFETY: [block-kept]: unused, at least a line long and as strictly aligned.
        unsafe { block.write(Free { next: self.head.get() }) };
        self.head.set(block.as_ptr());
        self.length.set(self.length.get() + 1);
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (class, list) in self.classes.iter().enumerate() {
            while let Some(block) = list.pop() {
                // SAFETY: [block-kept]: allocated with this layout, and unused.
                unsafe { dealloc(block.as_ptr().cast(), class_layout(class)) };
            }
        }
    }
}

/// Moves a value into a block. Any thread.
#[inline]
pub(super) fn put<T>(value: T) -> NonNull<T> {
    let (layout, class) = const { block(Layout::new::<T>()) };
    let kept = |class: usize| KEPT.try_with(|kept| kept.classes[class].pop()).ok().flatten();
    let memory = class.and_then(kept).map_or_else(|| new(layout), NonNull::cast);
    let place = memory.cast::<T>();
    // SAFETY: [block-kept]: unused, and allocated for a value of this layout.
    unsafe { place.write(value) };
    place
}

#[cold]
fn new(layout: Layout) -> NonNull<u8> {
    // SAFETY: [block-kept]: no layout of a block has the size 0, and parcels have nodes.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Drops the value and gives its block back. Any thread.
///
/// # Safety
///
/// `place` came from `put`, and nobody uses it any more.
#[inline]
pub(super) unsafe fn free<T>(place: NonNull<T>) {
    let (layout, class) = const { block(Layout::new::<T>()) };
    // SAFETY: forwarded.
    unsafe { ptr::drop_in_place(place.as_ptr()) };
    // SAFETY: [block-kept]: of this class, by `put`, and unused from here on.
    let keep =
        |class: usize| KEPT.try_with(|kept| unsafe { kept.classes[class].push(place.cast()) });
    if !class.is_some_and(|class| keep(class).unwrap_or(false)) {
        // SAFETY: [block-kept]: allocated with this layout, by `put`.
        unsafe { dealloc(place.as_ptr().cast(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::Layout;
    use std::ptr::NonNull;
    use std::thread;

    use super::{KEEP, LINE, block, free, put};

    /// A block that other threads may have.
    struct Sent<T>(NonNull<T>);

    // SAFETY: it is used by one thread at a time.
    unsafe impl<T: Send> Send for Sent<T> {}

    #[test]
    fn a_block_is_used_again_by_the_thread_that_gave_it_back() {
        let first = put([1_u64; 10]);
        let address = first.as_ptr() as usize;
        // SAFETY: from `put`, and used no more.
        unsafe { free(first) };
        let second = put([2_u64; 12]);
        assert_eq!(second.as_ptr() as usize, address, "both take two lines");
        assert_eq!(address % LINE, 0);
        // SAFETY: as above.
        unsafe { free(second) };
    }

    #[test]
    fn blocks_of_other_threads_and_more_than_are_kept_are_given_back() {
        let many: Vec<_> = (0..2 * KEEP).map(|i| Sent(put([i; 8]))).collect();
        let elsewhere = thread::spawn(move || {
            for (i, Sent(place)) in many.into_iter().enumerate() {
                // SAFETY: from `put`, and used by nobody else.
                assert_eq!(unsafe { place.read() }, [i; 8]);
                // SAFETY: as above, and used no more.
                unsafe { free(place) };
            }
        });
        elsewhere.join().expect("it does not panic");
    }

    #[test]
    fn what_is_large_or_strictly_aligned_is_not_kept() {
        assert_eq!(block(Layout::new::<[u8; 4 * LINE]>()).1, Some(3));
        assert_eq!(block(Layout::new::<[u8; 4 * LINE + 1]>()).1, None);
        #[repr(align(128))]
        struct Strict([u8; 1]);
        assert_eq!(block(Layout::new::<Strict>()).1, None);
        let large = put([7_u8; 1000]);
        // SAFETY: from `put`, and used by nobody else.
        assert_eq!(unsafe { large.read() }, [7; 1000]);
        // SAFETY: as above, and used no more.
        unsafe { free(large) };
        assert_eq!(Strict([0]).0, [0]);
    }
}
