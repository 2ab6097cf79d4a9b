//! One registered fd: its cached readiness and the tasks that wait for it.
//!
//! Readiness is one atomic word. The kernel's events set bits in it, and the bits stay set until
//! an operation has shown that the fd is drained:
//!
//! - An operation that would have blocked clears everything for its direction, hang-up and error
//!   included: some fds (a FIFO, a terminal) come back from a hang-up, and then the next event
//!   says so.
//! - A short transfer (see [`AsyncFd::drained`](super::AsyncFd::drained)) proves the same, without the
//!   system call that would fail, only if nothing unusual is cached. After a hang-up, an error or urgent
//!   data, the next operation must run to find it, so the direction stays ready.
//!
//! The upper half of the word counts events. An operation clears only the state it has seen, so an
//! event that arrives while the operation runs on another thread is never wiped out.
//!
//! Waiters are kept per direction. A waiter that drops its future leaves the list. Registering
//! looks at the readiness again under the lock that `mark_ready` takes after it set the bits; one of
//! the two sees the other, so no wake-up is lost.
//!
//! Threads: all of it is for any thread. Foreign code (wake, clone and drop of a waker) never runs
//! under the lock.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use nix::sys::epoll::EpollFlags;

use super::waiters::{Ticket, Waiters};
use crate::task::wake_without_panic;

/// What a registration asks the kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Both,
    /// Reading now; writing once a write has blocked, and until then it counts as ready.
    ///
    /// For connected sockets, which can nearly always be written to. Without it the loop would be
    /// woken whenever the peer reads, because that makes room.
    ReadThenWrite,
}

/// Which way data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The fd can be read from.
const READABLE: u64 = 1 << 0;
/// The fd can be written to.
const WRITABLE: u64 = 1 << 1;
/// Reading will find something that data alone does not show: an end, an error, urgent data.
const READ_UNUSUAL: u64 = 1 << 2;
/// Writing will find an error.
const WRITE_UNUSUAL: u64 = 1 << 3;
/// The reactor is gone. Never cleared.
const CLOSED: u64 = 1 << 4;
/// The kernel has been asked about writing, or need not be. Never cleared.
const WRITE_WATCHED: u64 = 1 << 5;
/// One event, in the part of the word that counts them.
const EVENT: u64 = 1 << 8;
/// The part of the word that counts events.
const EVENTS: u64 = !(EVENT - 1);

/// An observation that a direction was ready.
///
/// It is what clearing takes: readiness that is newer than the observation stays.
///
/// # Examples
///
/// What [`read_with`](super::AsyncFd::read_with) does, by hand, for an operation that reads more than once:
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// use executor::LocalExecutor;
/// use executor::async_fd::AsyncFd;
///
/// /// Reads to the end.
/// async fn read_all(fd: &AsyncFd<UnixStream>) -> io::Result<(Vec<u8>, bool)> {
///     let mut text = Vec::new();
///     loop {
///         let ready = fd.readable().await?;
///         match fd.get_ref().read_to_end(&mut text) {
///             // Only what blocks shows that there is no more.
///             Err(error) if error.kind() == io::ErrorKind::WouldBlock => fd.clear_ready(ready),
///             result => return result.map(|_| (text, ready.is_unusual())),
///         }
///     }
/// }
///
/// let executor = LocalExecutor::new()?;
/// let (mut near, far) = UnixStream::pair()?;
/// far.set_nonblocking(true)?;
/// let (text, ended) = executor.run(async {
///     let far = AsyncFd::read_only(far)?;
///     near.write_all(b"some")?;
///     let reading = executor.spawn(async move { read_all(&far).await });
///     near.write_all(b"thing")?;
///     drop(near);
///     reading.await.expect("it does not panic")
/// })?;
/// assert!(text == b"something" && ended);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    word: u64,
    direction: Direction,
}

#[derive(Debug)]
pub(crate) struct Source {
    generation: u32,
    word: AtomicU64,
    waiters: Mutex<[Waiters; 2]>,
}

/// What clearing a direction leaves to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum AfterClear {
    Nothing,
    /// The kernel must be told that writing matters now.
    WatchWrite,
}

impl Source {
    pub(crate) fn new(generation: u32, interest: Interest) -> Self {
        let word = match interest {
            Interest::ReadThenWrite => WRITABLE,
            Interest::Read | Interest::Write | Interest::Both => WRITE_WATCHED,
        };
        Self { generation, word: AtomicU64::new(word), waiters: Mutex::default() }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the readiness of `direction`, if there is any.
    pub(crate) fn ready(&self, direction: Direction) -> Option<Ready> {
        // Acquire: pairs with the Release in `mark_ready` and `close`.
        let word = self.word.load(Ordering::Acquire);
        let wanted = direction.bits() | CLOSED;
        (word & wanted != 0).then_some(Ready { word, direction })
    }

    /// Forgets the readiness that `ready` observed, unless something has happened since.
    pub(crate) fn clear(&self, ready: Ready) -> AfterClear {
        let mut word = ready.word;
        loop {
            let watch = ready.direction == Direction::Write && word & WRITE_WATCHED == 0;
            let cleared = word & !ready.direction.bits() | if watch { WRITE_WATCHED } else { 0 };
            // Relaxed: clearing publishes nothing; the waiter looks again with Acquire.
            match self.word.compare_exchange_weak(
                word,
                cleared,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if watch => return AfterClear::WatchWrite,
                Ok(_) => return AfterClear::Nothing,
                Err(now) if (now ^ ready.word) & EVENTS != 0 => return AfterClear::Nothing,
                // The other direction was cleared meanwhile.
                Err(now) => word = now,
            }
        }
    }

    /// Stores the kernel's events and moves the wakers they concern to `woken`.
    pub(crate) fn mark_ready(&self, events: EpollFlags, woken: &mut Vec<Waker>) {
        let bits = bits_of(events);
        self.set(bits);
        let mut waiters = self.lock();
        for direction in [Direction::Read, Direction::Write] {
            if bits & direction.bits() != 0 {
                waiters[direction as usize].take_all(woken);
            }
        }
    }

    /// Makes all operations fail from now on and moves all wakers to `woken`.
    pub(crate) fn close(&self, woken: &mut Vec<Waker>) {
        self.set(CLOSED);
        let mut waiters = self.lock();
        waiters.iter_mut().for_each(|waiters| waiters.take_all(woken));
    }

    /// Makes all operations fail from now on, and wakes everybody.
    pub(crate) fn fail(&self) {
        let mut woken = Vec::new();
        self.close(&mut woken);
        woken.into_iter().for_each(wake_without_panic);
    }

    /// Keeps `waker` until `direction` is ready; returns the readiness if it is already.
    ///
    /// For poll functions, which cannot say when they lose interest.
    pub(crate) fn park_poll(&self, direction: Direction, waker: &Waker) -> Option<Ready> {
        self.park_unless(direction, || self.ready(direction), waker)
    }

    /// Keeps `waker` until the fd hangs up or has an error; returns whether it has, or is closed.
    ///
    /// These events concern both directions, so the waker waits with the writers; it is also woken when
    /// there is room to write.
    pub(crate) fn park_hang_up(&self, waker: &Waker) -> bool {
        self.park_unless(Direction::Write, || self.hung_up(), waker).is_some()
    }

    fn hung_up(&self) -> Option<Ready> {
        self.ready(Direction::Write).filter(|ready| ready.is_unusual() || ready.is_closed())
    }

    fn park_unless(
        &self,
        direction: Direction,
        ready: impl Fn() -> Option<Ready>,
        waker: &Waker,
    ) -> Option<Ready> {
        // Cloned before the lock is taken, since that is foreign code: mostly it is not known.
        let new = waker.clone();
        let mut waiters = self.lock();
        let ready = ready();
        if ready.is_some() || waiters[direction as usize].knows(waker) {
            drop(waiters);
            return ready;
        }
        let evicted = waiters[direction as usize].add_poll(new);
        drop(waiters);
        evicted.into_iter().for_each(wake_without_panic);
        None
    }

    /// Keeps `waker` under `ticket` until `direction` is ready; returns the readiness if it is
    /// already.
    ///
    /// For futures, which call [`leave`](Self::leave) when they are dropped.
    pub(crate) fn park(
        &self,
        direction: Direction,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) -> Option<Ready> {
        // Cloned before the lock is taken, since that is foreign code: mostly it is not known.
        let new = waker.clone();
        let mut waiters = self.lock();
        if waiters[direction as usize].has(*ticket, waker) {
            drop(waiters);
            return self.ready(direction);
        }
        let replaced = waiters[direction as usize].put(ticket, new);
        // Under the lock: either `mark_ready` takes it after us and finds the waker, or it has
        // released it before, and then the bits it set are visible.
        let ready = self.ready(direction);
        drop(waiters);
        drop(replaced);
        ready
    }

    /// Removes the waker of a future that is dropped.
    pub(crate) fn leave(&self, direction: Direction, ticket: Ticket) {
        let removed = self.lock()[direction as usize].remove(ticket);
        drop(removed);
    }

    fn set(&self, bits: u64) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let count = word.wrapping_add(EVENT) & EVENTS;
            let marked = count | (word & !EVENTS) | bits;
            // Release: pairs with the Acquire in `ready`.
            match self.word.compare_exchange_weak(
                word,
                marked,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Locks the waiters. No foreign code runs under the lock, so it cannot be poisoned in a state
    /// that matters.
    fn lock(&self) -> MutexGuard<'_, [Waiters; 2]> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Direction {
    const fn bits(self) -> u64 {
        match self {
            Self::Read => READABLE | READ_UNUSUAL,
            Self::Write => WRITABLE | WRITE_UNUSUAL,
        }
    }
}

impl Ready {
    /// Returns whether an end of file, a hang-up, an error or urgent data was signalled, besides
    /// plain readiness.
    #[must_use]
    pub fn is_unusual(self) -> bool {
        self.word & (READ_UNUSUAL | WRITE_UNUSUAL) & self.direction.bits() != 0
    }

    /// Returns whether the executor behind the fd has gone.
    pub(crate) fn is_closed(self) -> bool {
        self.word & CLOSED != 0
    }
}

/// Translates the kernel's events.
fn bits_of(events: EpollFlags) -> u64 {
    let both = READABLE | READ_UNUSUAL | WRITABLE | WRITE_UNUSUAL;
    let table = [
        (EpollFlags::EPOLLIN, READABLE),
        (EpollFlags::EPOLLOUT, WRITABLE),
        (EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI, READABLE | READ_UNUSUAL),
        (EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR, both),
    ];
    let bits = |(flags, bits)| if events.intersects(flags) { bits } else { 0 };
    table.into_iter().map(bits).fold(0, |all, some| all | some)
}
