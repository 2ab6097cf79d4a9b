//! Event notifiers: an eventfd in a struct that callers embed.
//!
//! Owns nothing: the caller owns the struct, and the descriptor from `event_notifier_init` to
//! `event_notifier_cleanup`.
//!
//! Threads: setting and clearing from any; init and cleanup by the owner.

use std::ffi::c_int;

use super::os;
use crate::types::EventNotifier;

/// Opens a notifier, set already if `active` is not 0. Returns 0 or a negative errno.
///
/// # Safety
///
/// `notifier` is writable and not open.
pub unsafe extern "C" fn event_notifier_init(notifier: *mut EventNotifier, active: c_int) -> c_int {
    match os::open_event_fd(u32::from(active != 0)) {
        Ok(fd) => {
            let open = EventNotifier { rfd: fd, wfd: fd, initialized: true };
            // SAFETY: the caller's promise.
            unsafe { notifier.write(open) };
            0
        }
        Err(error) => -(error as c_int),
    }
}

/// Closes a notifier; nothing happens if it is not open.
///
/// # Safety
///
/// `notifier` is writable, and no handler is registered for it.
pub unsafe extern "C" fn event_notifier_cleanup(notifier: *mut EventNotifier) {
    // SAFETY: the caller's promise.
    let notifier = unsafe { &mut *notifier };
    if notifier.initialized {
        os::close(notifier.rfd);
        *notifier = EventNotifier::new();
    }
}

/// Makes the notifier readable. Returns 0, or a negative errno; -1 if it is not open.
///
/// # Safety
///
/// `notifier` is readable.
pub unsafe extern "C" fn event_notifier_set(notifier: *mut EventNotifier) -> c_int {
    // SAFETY: the caller's promise.
    let notifier = unsafe { &*notifier };
    if !notifier.initialized {
        return -1;
    }
    os::write_event_fd(notifier.wfd).map_or_else(|error| -(error as c_int), |()| 0)
}

/// Makes the notifier unreadable. Returns 1 if it was readable, else 0.
///
/// # Safety
///
/// `notifier` is readable.
pub unsafe extern "C" fn event_notifier_test_and_clear(notifier: *mut EventNotifier) -> c_int {
    // SAFETY: the caller's promise.
    let notifier = unsafe { &*notifier };
    c_int::from(notifier.initialized && os::read_event_fd(notifier.rfd))
}

/// Returns the descriptor that becomes readable.
///
/// # Safety
///
/// `notifier` is readable.
#[must_use]
pub unsafe extern "C" fn event_notifier_get_fd(notifier: *const EventNotifier) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { (*notifier).rfd }
}
