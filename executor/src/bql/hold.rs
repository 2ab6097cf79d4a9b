//! Holding the lock for a whole program, and giving it up for a while.

use super::{FILE, borrows, is_locked};

/// Panics if this thread borrows a `BqlRefCell`, naming the places: `what` would release the lock.
#[track_caller]
pub(crate) fn assert_nothing_borrowed(what: &str) {
    assert!(
        borrows::live().is_empty(),
        "{what} while a `BqlRefCell` is {}",
        borrows::describe_all()
    );
}

/// The lock, held from `new` to `drop`: for the thread that runs the main loop.
#[derive(Debug)]
pub(crate) struct Held {
    _private: (),
}

impl Held {
    /// Waits for the lock. The caller does not hold it.
    pub(crate) fn new() -> Held {
        assert!(!is_locked(), "this thread holds the BQL already");
        let line = i32::try_from(line!()).expect("it is a short file");
        // SAFETY: [bql-balance]: not held, as just checked, and `drop` releases it. The name is static.
        unsafe { aio_sys::bql_lock_impl(FILE.as_ptr(), line) };
        Held { _private: () }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: [bql-balance]: `new` took it on this thread, which the value does not leave.
        unsafe { aio_sys::bql_unlock() };
    }
}

/// Releases the lock while `work` runs, and takes it again, also if `work` panics.
///
/// # Panics
///
/// If something is borrowed.
#[track_caller]
pub(crate) fn without_lock<R>(work: impl FnOnce() -> R) -> R {
    struct Relock;
    impl Drop for Relock {
        fn drop(&mut self) {
            let _stays_held = std::mem::ManuallyDrop::new(Held::new());
        }
    }
    assert_nothing_borrowed("the Big QEMU Lock was released");
    assert!(is_locked(), "this thread does not hold the BQL");
    let relock = Relock;
    // SAFETY: [bql-balance]: held, as just checked, and `relock` takes it again.
    unsafe { aio_sys::bql_unlock() };
    let result = work();
    drop(relock);
    result
}
