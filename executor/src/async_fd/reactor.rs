//! The fd reactor of one executor: an epoll of its own, nested in the loop's.
//!
//! Owns an epoll fd and the table of everything registered with it. The executor hands that one fd
//! to its `AioContext` as a handler and calls [`dispatch`](Reactor::dispatch) when it is readable. So
//! the loop's cost per round does not grow with the number of our fds, and waiting for an fd costs
//! no call into the loop at all.
//!
//! Sources are registered once, edge-triggered, and their readiness is cached (see
//! [`source`](super::source)): no `epoll_ctl` per wait. Every registration has a key of slot and
//! generation, which the kernel hands back with each event. An event that was on its way while
//! its source was deregistered, or that comes from a descriptor that outlives its registration
//! somewhere else, finds another generation or nothing, and is dropped.
//!
//! Threads: [`dispatch`](Reactor::dispatch) runs on the home thread of the executor; everything else is
//! for any thread. Lock order: the table, then a source's waiters. Wakers run under neither.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;

use super::source::{Interest, Source};
#[cfg(feature = "simulation")]
use crate::aio::simulation;
use crate::task::wake_without_panic;

#[cfg(feature = "simulation")]
mod simulated;
#[cfg(test)]
mod tests;

/// How many events one `epoll_wait` can return.
const BATCH: usize = 256;

/// How many full batches one `dispatch` takes before it lets the loop do something else. What is
/// left keeps the epoll fd readable, so the loop comes back.
const ROUNDS: usize = 4;

/// The fds that the tasks of one executor wait for.
pub(crate) struct Reactor {
    epoll: Epoll,
    table: Mutex<Table>,
}

/// What the home thread keeps between two calls of [`Reactor::dispatch`]: events that it has fetched already,
/// and room. Empty while one runs.
#[derive(Default)]
pub(crate) struct Events(Cell<Option<Box<Buffers>>>);

#[derive(Debug)]
struct Table {
    sources: Slab<Arc<Source>>,
    next_generation: u32,
    closed: bool,
}

struct Buffers {
    events: [EpollEvent; BATCH],
    /// How many events `peek` has fetched already.
    fetched: usize,
    woken: Vec<Waker>,
}

/// Names one registration: what the kernel stores with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceKey {
    slot: u32,
    generation: u32,
}

impl Reactor {
    /// Creates a reactor without sources.
    pub(crate) fn new() -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        simulation::refuse()?;
        let table = Table { sources: Slab::new(), next_generation: 0, closed: false };
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, table: Mutex::new(table) })
    }

    /// Registers `fd`. Callable from any thread.
    pub(crate) fn register(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<(SourceKey, Arc<Source>)> {
        #[cfg(feature = "simulation")]
        simulation::refuse()?;
        let mut table = self.lock();
        if table.closed {
            return Err(closed());
        }
        let (key, source) = table.add(interest);
        // Under the lock, so that `dispatch` cannot miss the first event.
        let result = self.epoll.add(fd, EpollEvent::new(interest.flags(), key.to_data()));
        if let Err(error) = result {
            table.remove(key);
            return Err(explain(error));
        }
        drop(table);
        Ok((key, source))
    }

    /// Adds the write direction to a registration that began without it.
    pub(crate) fn watch_write(&self, fd: BorrowedFd<'_>, key: SourceKey) -> io::Result<()> {
        let mut event = EpollEvent::new(Interest::Both.flags(), key.to_data());
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// Ends a registration. Callable from any thread, and after [`close`](Self::close).
    ///
    /// Wakers that are still in the source are dropped, after the lock was released.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>, key: SourceKey) {
        let removed = self.lock().remove(key);
        // An error can only mean that the kernel knows the registration no more; its events, if
        // any are left, name a generation that is gone.
        let _ = self.epoll.delete(fd);
        drop(removed);
    }

    /// Takes what epoll has and wakes whoever waits for it. Returns the number of events.
    ///
    /// Never blocks, and takes a bounded number of events. Call it on the home thread.
    pub(crate) fn dispatch(&self, events: &Events) -> usize {
        let mut buffers = events.take();
        let mut total = 0;
        for _ in 0..ROUNDS {
            let count = match std::mem::take(&mut buffers.fetched) {
                0 => self.poll_events(&mut buffers.events),
                fetched => fetched,
            };
            self.mark_ready(&buffers.events[..count], &mut buffers.woken);
            buffers.woken.drain(..).for_each(wake_without_panic);
            total += count;
            if count < BATCH {
                break;
            }
        }
        events.put(buffers);
        total
    }

    /// Returns whether there is something to dispatch, and keeps it for `dispatch`. Runs no foreign code.
    pub(crate) fn peek(&self, events: &Events) -> bool {
        let mut buffers = events.take();
        if buffers.fetched == 0 {
            buffers.fetched = self.poll_events(&mut buffers.events);
        }
        let found = buffers.fetched > 0;
        events.put(buffers);
        found
    }

    /// Returns whether nothing is registered.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().sources.is_empty()
    }

    /// Returns the number of registrations.
    pub(crate) fn len(&self) -> usize {
        self.lock().sources.len()
    }

    /// Wakes everybody and makes every later operation on a source fail. Callable from any thread.
    pub(crate) fn close(&self) {
        let mut woken = Vec::new();
        let mut table = self.lock();
        table.closed = true;
        for (_, source) in &table.sources {
            source.close(&mut woken);
        }
        drop(table);
        woken.into_iter().for_each(wake_without_panic);
    }

    fn poll_events(&self, events: &mut [EpollEvent; BATCH]) -> usize {
        #[cfg(feature = "simulation")]
        if let Some(count) = self.simulated_events(events) {
            return count;
        }
        match self.epoll.wait(events, EpollTimeout::ZERO) {
            Ok(count) => count,
            // A signal came first; the fd stays readable.
            Err(Errno::EINTR) => 0,
            Err(error) => panic!("epoll_wait cannot fail on the reactor's own epoll: {error}"),
        }
    }

    fn mark_ready(&self, events: &[EpollEvent], woken: &mut Vec<Waker>) {
        let table = self.lock();
        for event in events {
            if let Some(source) = table.get(SourceKey::from_data(event.data())) {
                source.mark_ready(event.events(), woken);
            }
        }
    }

    /// Locks the table. No foreign code runs under the lock, so it cannot be poisoned in a state
    /// that matters.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Takes the kept buffers, or new ones if a `dispatch` is on the stack already.
    fn take(&self) -> Box<Buffers> {
        self.0.take().unwrap_or_else(|| {
            Box::new(Buffers {
                events: [EpollEvent::empty(); BATCH],
                fetched: 0,
                woken: Vec::new(),
            })
        })
    }

    fn put(&self, buffers: Box<Buffers>) {
        self.0.set(Some(buffers));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// The fd that is readable while there is something to dispatch.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("sources", &self.len()).finish_non_exhaustive()
    }
}

impl Table {
    fn add(&mut self, interest: Interest) -> (SourceKey, Arc<Source>) {
        self.next_generation = self.next_generation.wrapping_add(1);
        let source = Arc::new(Source::new(self.next_generation, interest));
        let slot = self.sources.insert(Arc::clone(&source));
        let slot = u32::try_from(slot).expect("a process has fewer than 2^32 fds");
        (SourceKey { slot, generation: self.next_generation }, source)
    }

    fn get(&self, key: SourceKey) -> Option<&Arc<Source>> {
        let source = self.sources.get(key.slot as usize)?;
        (source.generation() == key.generation).then_some(source)
    }

    fn remove(&mut self, key: SourceKey) -> Option<Arc<Source>> {
        self.get(key)?;
        self.sources.try_remove(key.slot as usize)
    }
}

impl SourceKey {
    fn to_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    fn from_data(data: u64) -> Self {
        let slot = u32::try_from(data & u64::from(u32::MAX)).expect("it is masked");
        let generation = u32::try_from(data >> 32).expect("it is shifted");
        Self { slot, generation }
    }
}

impl Interest {
    fn flags(self) -> EpollFlags {
        let read = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI;
        let directions = match self {
            Self::Read | Self::ReadThenWrite => read,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::Both => read | EpollFlags::EPOLLOUT,
        };
        directions | EpollFlags::EPOLLET
    }
}

/// The error of every operation after the executor has gone.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the executor that watched this fd is gone")
}

fn explain(error: Errno) -> io::Error {
    match error {
        Errno::EPERM => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kind of fd (a regular file or directory) cannot be waited for: \
             use `blocking` or `blocking::File`",
        ),
        Errno::EEXIST => io::Error::new(
            io::ErrorKind::AlreadyExists,
            "this fd is registered already: share the `AsyncFd`, or duplicate the fd",
        ),
        error => error.into(),
    }
}
