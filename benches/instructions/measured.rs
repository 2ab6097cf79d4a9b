//! The one function inside which instructions are counted.

use std::hint::black_box;

/// Does `work`, which is counted.
///
/// Not inlined, so that callgrind finds it, and not generic, so that there is one of it.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    // Keeps the call from becoming a jump, which would end this function before its work.
    black_box(());
}
