//! The border between C and Rust: no panic crosses it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::task::report_lost_panic;

/// Runs `callback`; a panic is reported, and `otherwise` returned, [no-unwind].
///
/// Tasks catch their own panics long before. What arrives here is a panic of a waker that is not ours,
/// or of an `opaque` closure: nobody waits for it, and the loop must go on.
pub(crate) fn no_unwind<R>(what: &'static str, otherwise: R, callback: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(result) => result,
        Err(payload) => {
            report_lost_panic(&what, payload);
            otherwise
        }
    }
}

/// A number as an `opaque` pointer.
pub(crate) fn to_opaque(number: usize) -> *mut c_void {
    number as *mut c_void
}

/// The number in an `opaque` pointer.
pub(crate) fn from_opaque(opaque: *mut c_void) -> usize {
    opaque as usize
}
