//! Holding the lock for a whole program, giving it up for a while, and what observers are told of that.

use std::cell::Cell;

use super::{FILE, borrows, is_locked};
use crate::observe::{self, What};

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

thread_local! {
    /// Whether observers know that this thread holds the lock.
    static SEEN: Cell<bool> = const { Cell::new(false) };
}

/// Has observers told who takes the lock and gives it up. Any thread.
///
/// The emulation's lock tells each time. C's tells nobody: inside QEMU there is only [`SeenHold`].
pub(crate) fn report_holds() {
    #[cfg(not(feature = "host"))]
    aio_sys::emulated::set_bql_observer(report);
}

fn report(taken: bool) {
    observe::report(0, if taken { What::BqlTaken } else { What::BqlReleased });
}

/// Our code runs under C's lock while this lives, as observers see it. Of several on a thread the outermost counts.
/// With the emulation's lock it does nothing.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub(crate) struct SeenHold {
    outermost: bool,
}

impl SeenHold {
    /// For a scope that has taken the lock.
    pub(crate) fn of_scope() -> Option<SeenHold> {
        (cfg!(feature = "host") && observe::is_on()).then(SeenHold::begin)
    }

    /// For a run of an executor, with the lock or without.
    pub(crate) fn of_run() -> SeenHold {
        if cfg!(feature = "host") && is_locked() {
            return SeenHold::begin();
        }
        SeenHold { outermost: false }
    }

    fn begin() -> SeenHold {
        let outermost = !SEEN.replace(true);
        if outermost {
            report(true);
        }
        SeenHold { outermost }
    }
}

impl Drop for SeenHold {
    fn drop(&mut self) {
        if self.outermost {
            SEEN.set(false);
            report(false);
        }
    }
}
