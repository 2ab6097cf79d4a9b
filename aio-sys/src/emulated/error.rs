//! Errors that travel through an `Error **` argument, and memory of the C allocator.
//!
//! Owns the message. As in C a null `errp` means that the caller does not care.
//!
//! Threads: an error belongs to whoever it was returned to.

use std::ffi::{CString, c_char, c_void};

use super::os;
use crate::types::Error;

/// What stands behind an [`Error`] pointer.
struct Message(CString);

/// Returns an error through `errp`.
///
/// # Safety
///
/// `errp` is null or points to a null pointer.
pub(super) unsafe fn set(errp: *mut *mut Error, message: &str) {
    if errp.is_null() {
        return;
    }
    let text = CString::new(message.replace('\0', " ")).expect("the zeros were replaced");
    let error = Box::into_raw(Box::new(Message(text)));
    // SAFETY: the caller's promise.
    unsafe { errp.write(error.cast()) };
}

/// Returns the message, which lives as long as the error.
///
/// # Safety
///
/// `err` came from a function of this provider and was not freed.
#[must_use]
pub unsafe extern "C" fn error_get_pretty(err: *const Error) -> *const c_char {
    let message: *const Message = err.cast();
    // SAFETY: the caller's promise.
    unsafe { &*message }.0.as_ptr()
}

/// Frees an error; nothing happens if it is null.
///
/// # Safety
///
/// `err` is null, or came from a function of this provider and is not used any more.
pub unsafe extern "C" fn error_free(err: *mut Error) {
    let message: *mut Message = err.cast();
    if !message.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(message) });
    }
}

/// Frees memory that a function of this provider returned to be freed so.
///
/// # Safety
///
/// `mem` is null or such memory, and is not used any more.
pub unsafe extern "C" fn g_free(mem: *mut c_void) {
    // SAFETY: [c-allocated]: the caller's promise.
    unsafe { os::free(mem) };
}
