//! The wake-up protocol between a context and everybody who gives it work.
//!
//! Owns `notified`, `notify_me` and the eventfd. A producer publishes its work and then rings; the
//! loop announces that it is about to sleep, and looks once more. The eventfd costs a system call
//! on each side, so a producer writes it only while `notify_me` says that somebody may be asleep.
//!
//! Both sides store one word and then load the other's. All four accesses are `SeqCst`, so at least
//! one of the two sees the other: no ring is lost.
//!
//! ```text
//!   producer                         loop
//!   publish work                     notify_me += 2          (SeqCst)
//!   notified = true     (SeqCst)     notified?  don't sleep  (SeqCst)
//!   notify_me != 0?     (SeqCst)     sleep
//!   write the eventfd                notify_me -= 2          (Release)
//!                                    notified = false        (AcqRel, `accept`)
//!                                    look at all work
//! ```
//!
//! `notified` is changed by read-modify-writes only. They form one chain, so the `accept` that
//! clears the flag has seen the work of every producer that rang before it, not just the last.
//!
//! Threads: [`Doorbell::ring`] from any; the rest from the home thread, which alone writes
//! `notify_me`. Looking at `notified` before writing the eventfd would break the chain, and let a ring
//! wait for another producer, who has set the flag and may be slow to write.
//!
//! `main_loop_wait` does not stay awake because of a ring, as `GLib` does not: it answers the ring and
//! works its timeout out afterwards. So idle bottom halves let it sleep, but not `aio_poll`.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use super::sync::WakeFd;
use super::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set in `notify_me` while `main_loop_wait` may sleep.
const MAIN_LOOP: u32 = 1;
/// Added to `notify_me` by each `aio_poll` that may sleep.
const AIO_POLL: u32 = 2;

/// Wakes a context up.
pub(super) struct Doorbell {
    notified: AtomicBool,
    notify_me: AtomicU32,
    wake_fd: WakeFd,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            notified: AtomicBool::new(false),
            notify_me: AtomicU32::new(0),
            wake_fd: WakeFd::new()?,
        })
    }

    /// The descriptor to watch, edge-triggered: nobody reads it.
    pub(super) fn fd(&self) -> RawFd {
        self.wake_fd.as_raw_fd()
    }

    /// Makes the loop look at all its work again. Callable from any thread.
    pub(super) fn ring(&self) {
        // SeqCst: pairs with `begin_sleep`. The release half publishes the work to `accept`.
        self.notified.swap(true, Ordering::SeqCst);
        // SeqCst: pairs with `begin_sleep`.
        if self.notify_me.load(Ordering::SeqCst) != 0 {
            self.wake_fd.write();
        }
    }

    /// Whether somebody rang since the last [`accept`](Self::accept).
    pub(super) fn is_rung(&self) -> bool {
        // SeqCst: pairs with the swap in `ring`, after the store in `begin_sleep`.
        self.notified.load(Ordering::SeqCst)
    }

    /// Answers the ring; whatever work was published before it is visible afterwards.
    pub(super) fn accept(&self) {
        // Relaxed: a flag that is not set yet stays set until the next `accept`.
        if self.notified.load(Ordering::Relaxed) {
            // AcqRel: pairs with the swap in `ring`.
            self.notified.swap(false, Ordering::AcqRel);
        }
    }

    /// Announces that `aio_poll` may sleep. [`is_rung`](Self::is_rung) must be asked afterwards.
    pub(super) fn begin_sleep(&self) {
        // SeqCst: pairs with the load in `ring`.
        self.notify_me.fetch_add(AIO_POLL, Ordering::SeqCst);
    }

    /// Ends what [`begin_sleep`](Self::begin_sleep) began.
    pub(super) fn end_sleep(&self) {
        // Release: a ring that sees the old value only writes the eventfd once too often.
        self.notify_me.fetch_sub(AIO_POLL, Ordering::Release);
    }

    /// Sleeps as the kernel would, in a model.
    #[cfg(all(test, aio_loom))]
    pub(super) fn wait(&self) {
        self.wake_fd.wait();
    }

    /// Announces that `main_loop_wait` may sleep, and answers the ring. All work must be looked at
    /// afterwards: what is rung later ends the sleep.
    pub(super) fn begin_main_loop_sleep(&self) {
        // SeqCst: pairs with the load in `ring`.
        self.notify_me.fetch_or(MAIN_LOOP, Ordering::SeqCst);
        if self.is_rung() {
            self.accept();
        }
    }

    /// Ends what [`begin_main_loop_sleep`](Self::begin_main_loop_sleep) began.
    pub(super) fn end_main_loop_sleep(&self) {
        // Release: as in `end_sleep`.
        self.notify_me.fetch_and(!MAIN_LOOP, Ordering::Release);
    }
}
