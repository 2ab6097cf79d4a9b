//! The part of the layer over `aio_sys` that has threads: iothreads, the lock, the main loop.

use std::ffi::{CString, c_int};
use std::ptr;
#[cfg(not(feature = "host"))]
use std::thread;

use aio_sys::IOThread;

use super::Loop;

/// The registry's reference on an iothread; destroyed when dropped.
pub struct Io(pub *mut IOThread);

// SAFETY: iothreads may be used from any thread.
unsafe impl Send for Io {}
// SAFETY: as above.
unsafe impl Sync for Io {}

impl Io {
    pub fn new(id: &str) -> Self {
        let id = CString::new(id).expect("an id without zeros");
        // SAFETY: `id` is a string, and a null `errp` is allowed.
        let io = with_bql(|| unsafe { aio_sys::iothread_create(id.as_ptr(), ptr::null_mut()) });
        assert!(!io.is_null(), "cannot create iothread {id:?}");
        Self(io)
    }

    pub fn context(&self) -> Loop {
        // SAFETY: it is alive.
        Loop(unsafe { aio_sys::iothread_get_aio_context(self.0) })
    }

    pub fn stop(&self) {
        // SAFETY: it is alive.
        unsafe { aio_sys::iothread_stop(self.0) };
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // SAFETY: it is in the registry.
        with_bql(|| unsafe { aio_sys::iothread_destroy(self.0) });
    }
}

/// Takes the lock for a call that changes QEMU's objects, unless the thread has it.
pub fn with_bql<R>(call: impl FnOnce() -> R) -> R {
    if aio_sys::bql_locked() {
        return call();
    }
    lock_bql();
    let result = call();
    unlock_bql();
    result
}

pub fn lock_bql() {
    // SAFETY: the file is a string.
    unsafe { aio_sys::bql_lock_impl(c"test.rs".as_ptr(), 1) };
}

pub fn unlock_bql() {
    // SAFETY: the tests protect nothing with the BQL that others rely on.
    unsafe { aio_sys::bql_unlock() };
}

/// Makes the calling thread the main loop, with the BQL held.
pub fn become_main_loop() {
    lock_bql();
    // SAFETY: the process ends with the test.
    assert_eq!(unsafe { aio_sys::qemu_init_main_loop(ptr::null_mut()) }, 0);
}

/// Starts a thread that runs the main loop for as long as the process lives.
#[cfg(not(feature = "host"))]
pub fn start_main_loop() {
    let (is_up, wait) = std::sync::mpsc::channel();
    thread::spawn(move || {
        become_main_loop();
        is_up.send(()).expect("the caller waits");
        loop {
            turn(true);
        }
    });
    wait.recv().expect("the thread sends");
}

/// Runs one turn of the main loop.
pub fn turn(blocking: bool) {
    // SAFETY: the test borrows nothing.
    unsafe { aio_sys::main_loop_wait(c_int::from(!blocking)) };
}
