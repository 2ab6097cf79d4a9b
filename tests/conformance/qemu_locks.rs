//! The lock of an event loop, which QEMU had until 8.2.
//!
//! Until then `aio_wait_bh_oneshot` expects its caller to hold it, and releases it while it waits.

use aio_sys::AioContext;

use super::aio::Loop;

/// The lock of a loop, held as long as this lives; nothing in a QEMU that has none.
pub(super) struct Acquired(Loop);

impl Acquired {
    pub(super) fn new(home: Loop) -> Self {
        call(c"aio_context_acquire", home);
        Self(home)
    }
}

impl Drop for Acquired {
    fn drop(&mut self) {
        call(c"aio_context_release", self.0);
    }
}

/// Calls a function of QEMU's that some releases do not have.
fn call(name: &std::ffi::CStr, home: Loop) {
    // SAFETY: the name is a string.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if symbol.is_null() {
        return;
    }
    // SAFETY: that is the prototype of both functions.
    let function = unsafe {
        std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(*mut AioContext)>(symbol)
    };
    // SAFETY: the loop is alive; who releases has acquired.
    unsafe { function(home.0) };
}
