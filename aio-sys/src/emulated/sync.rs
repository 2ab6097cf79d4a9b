//! Where the wake-up protocol's atomics come from: the standard library, or loom.
//!
//! `doorbell` and `bottom_half` take these names from here, so that with `--cfg aio_loom` the models in `loom` run
//! their very code in every interleaving.
//!
//! Loom knows `SeqCst` for fences only and takes such an access for `AcqRel`. So here a `SeqCst` load has a fence
//! before it if the thread's last store was `SeqCst`, too. That is what the protocol asks of the order (each side
//! stores one word and then loads the other's) and no more: weaken either access, and the fence is gone.

#![forbid(unsafe_code)]

#[cfg(not(aio_loom))]
pub(super) use super::os::WakeFd;
#[cfg(not(aio_loom))]
pub(super) use std::sync::atomic;

#[cfg(aio_loom)]
pub(super) use atomic::WakeFd;

#[cfg(aio_loom)]
pub(super) mod atomic {
    use std::cell::Cell;
    use std::io;
    use std::os::fd::RawFd;

    pub(in super::super) use loom::sync::atomic::AtomicPtr;
    pub(in super::super) use std::sync::atomic::Ordering;

    use crate::emulated::os;

    loom::thread_local! {
        /// Whether this thread's last store was `SeqCst`.
        static STORED: Cell<bool> = Cell::new(false);
    }

    fn load<T>(order: Ordering, load: impl FnOnce() -> T) -> T {
        if order == Ordering::SeqCst && STORED.with(Cell::get) {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
        load()
    }

    fn modify<T>(order: Ordering, modify: impl FnOnce() -> T) -> T {
        let before = load(order, modify);
        STORED.with(|stored| stored.set(order == Ordering::SeqCst));
        before
    }

    pub(in super::super) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(in super::super) fn new(value: bool) -> Self {
            Self(loom::sync::atomic::AtomicBool::new(value))
        }

        pub(in super::super) fn load(&self, order: Ordering) -> bool {
            load(order, || self.0.load(order))
        }

        pub(in super::super) fn swap(&self, value: bool, order: Ordering) -> bool {
            modify(order, || self.0.swap(value, order))
        }
    }

    pub(in super::super) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(in super::super) fn new(value: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(value))
        }

        pub(in super::super) fn load(&self, order: Ordering) -> u32 {
            load(order, || self.0.load(order))
        }

        pub(in super::super) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            modify(order, || self.0.fetch_add(value, order))
        }

        pub(in super::super) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
            modify(order, || self.0.fetch_sub(value, order))
        }

        pub(in super::super) fn fetch_or(&self, value: u32, order: Ordering) -> u32 {
            modify(order, || self.0.fetch_or(value, order))
        }

        pub(in super::super) fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
            modify(order, || self.0.fetch_and(value, order))
        }
    }

    /// Fails the model if somebody used what is freed, and not before this.
    impl Drop for AtomicU32 {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.0.with_mut(|_| ());
            }
        }
    }

    /// The doorbell's eventfd. Loom's threads cannot block in the kernel.
    pub(in super::super) struct WakeFd {
        real: os::WakeFd,
        written: loom::sync::Notify,
    }

    impl WakeFd {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self { real: os::WakeFd::new()?, written: loom::sync::Notify::new() })
        }

        pub(in super::super) fn write(&self) {
            self.real.write();
            self.written.notify();
        }

        pub(in super::super) fn as_raw_fd(&self) -> RawFd {
            self.real.as_raw_fd()
        }

        /// Sleeps until it has been written since the last wait, as an edge-triggered `epoll_wait` does.
        #[cfg(test)]
        pub(in super::super) fn wait(&self) {
            self.written.wait();
        }
    }
}
