//! File descriptors: who wants to hear of which, and which are ready.
//!
//! Owns the table of handlers of one context and its epoll instance. A registration is one table
//! entry and one `epoll_ctl`; a descriptor that is idle costs nothing afterwards.
//!
//! A handler never changes: replacing a registration makes a new [`Handler`] and marks the old one
//! as deleted. The kernel's events carry the descriptor and the generation of the registration, so
//! an event that was latched before a removal finds nothing. A pass holds counted references to
//! the handlers it is about to call, so a callback, a nested pass or another thread may remove any
//! of them: the memory goes when the outermost pass lets go.
//!
//! Threads: registration from any thread, under the lock of the table; no lock is held while a
//! callback runs. [`Ready`] belongs to the home thread.
//!
//! Relies on epoll. Regular files, which epoll refuses, count as always ready.
//!
//! Does not wait for a callback that another thread is running: see `aio_wait_bh_oneshot`.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::context::Context;
use super::os::{Alarm, Epoll, Events, events};
use super::simulation;
use crate::types::{AioContext, AioPollFn, EventNotifier, EventNotifierHandler, IOHandler};

mod disturbed;

/// The token of the context's own doorbell.
const DOORBELL: u64 = u64::MAX;
/// The token of another monitor that is watched along with this one.
const NESTED: u64 = u64::MAX - 1;

/// The callbacks of a registration.
#[derive(Clone, Copy, Default)]
struct Callbacks {
    read: Option<IOHandler>,
    write: Option<IOHandler>,
    /// Says without a system call whether `poll_ready` has something to do.
    poll: Option<(AioPollFn, IOHandler)>,
}

impl Callbacks {
    fn is_empty(&self) -> bool {
        self.read.is_none() && self.write.is_none() && self.poll.is_none()
    }

    /// What the kernel should watch for.
    fn interest(&self) -> u32 {
        let read = self.read.map_or(0, |_| events::IN | events::HUP | events::ERR);
        read | self.write.map_or(0, |_| events::OUT | events::ERR)
    }
}

/// One registration of one descriptor.
pub(super) struct Handler {
    fd: RawFd,
    generation: u32,
    callbacks: Callbacks,
    opaque: *mut c_void,
    /// Set once, by the thread that removes or replaces the registration.
    deleted: AtomicBool,
    /// What the kernel reported and no pass delivered yet. Home thread.
    revents: AtomicU32,
    /// Set when `poll` said yes and no pass delivered it yet. Home thread.
    poll_hit: AtomicBool,
    /// Whether `poll` is asked: once the descriptor has been ready for the first time, as more is likely to
    /// follow, and from the start if the kernel is not asked at all. Home thread.
    is_asked: AtomicBool,
    /// Set while `poll_ready` runs, so that a nested pass does not call it again. Home thread.
    in_poll_ready: AtomicBool,
    /// How long to busy-poll for this handler.
    pub(super) poll_ns: AtomicI64,
}

// SAFETY: the obstacle is `opaque`, which is only handed to the callbacks, in the home thread, as
// [opaque-is-callback] allows.
unsafe impl Send for Handler {}
// SAFETY: as above; the other fields that change are atomic.
unsafe impl Sync for Handler {}

impl Handler {
    fn new(fd: RawFd, generation: u32, callbacks: Callbacks, opaque: *mut c_void) -> Self {
        Self {
            fd,
            generation,
            callbacks,
            opaque,
            deleted: AtomicBool::new(false),
            revents: AtomicU32::new(0),
            poll_hit: AtomicBool::new(false),
            is_asked: AtomicBool::new(callbacks.interest() == 0),
            in_poll_ready: AtomicBool::new(false),
            poll_ns: AtomicI64::new(0),
        }
    }

    fn token(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.fd.unsigned_abs())
    }

    fn is_deleted(&self) -> bool {
        // Acquire: pairs with `delete`; whatever happened before the removal is visible.
        self.deleted.load(Ordering::Acquire)
    }

    fn delete(&self) {
        // Release: pairs with `is_deleted`.
        self.deleted.store(true, Ordering::Release);
    }

    /// Asks the handler whether it is ready, without a system call.
    fn poll(&self) -> bool {
        let Some((poll, _)) = self.callbacks.poll else { return false };
        let is_asked = self.is_asked.load(Ordering::Relaxed);
        if !is_asked || self.in_poll_ready.load(Ordering::Relaxed) || self.is_deleted() {
            return false;
        }
        // SAFETY: [opaque-is-callback]: the registration was not removed.
        unsafe { poll(self.opaque) }
    }

    /// Calls what the events ask for; says whether something was called.
    fn dispatch(&self) -> bool {
        self.is_asked.store(true, Ordering::Relaxed);
        // A nested pass may have delivered the event already: it took the bits away.
        let revents = self.revents.swap(0, Ordering::Relaxed) & self.callbacks.interest();
        if self.poll_hit.swap(false, Ordering::Relaxed) && revents == 0 {
            return self.dispatch_poll_hit();
        }
        let readable = revents & (events::IN | events::HUP | events::ERR) != 0;
        let writable = revents & (events::OUT | events::ERR) != 0;
        let read = readable && self.call(self.callbacks.read);
        let written = writable && self.call(self.callbacks.write);
        read || written
    }

    fn dispatch_poll_hit(&self) -> bool {
        self.in_poll_ready.store(true, Ordering::Relaxed);
        let called = self.call(self.callbacks.poll.map(|(_, ready)| ready));
        self.in_poll_ready.store(false, Ordering::Relaxed);
        called
    }

    fn call(&self, callback: Option<IOHandler>) -> bool {
        let Some(callback) = callback.filter(|_| !self.is_deleted()) else { return false };
        // SAFETY: [opaque-is-callback]: the registration was not removed.
        unsafe { callback(self.opaque) };
        true
    }
}

/// What the lock of [`FdMonitor`] protects.
#[derive(Default)]
struct Table {
    by_fd: Vec<Option<Arc<Handler>>>,
    generation: u32,
    /// The handlers with a `poll` callback.
    polled: Arc<[Arc<Handler>]>,
    /// The handlers of descriptors that epoll refuses.
    files: Vec<Arc<Handler>>,
}

impl Table {
    fn find(&self, token: u64) -> Option<&Arc<Handler>> {
        let fd = (token & u64::from(u32::MAX)) as usize;
        let handler = self.by_fd.get(fd)?.as_ref()?;
        (handler.token() == token).then_some(handler)
    }

    fn swap(&mut self, fd: RawFd, new: Option<Arc<Handler>>) -> Option<Arc<Handler>> {
        let index = usize::try_from(fd).expect("the caller checked the descriptor");
        if index >= self.by_fd.len() {
            self.by_fd.resize(index + 1, None);
        }
        std::mem::replace(&mut self.by_fd[index], new)
    }
}

/// The descriptors of one context.
pub(super) struct FdMonitor {
    epoll: Epoll,
    table: Mutex<Table>,
    /// Handlers that only the kernel can ask. Changed under the lock, read without.
    kernel_only: AtomicUsize,
    /// Whether a pass that does not sleep asks no kernel, if all handlers can be asked from userspace.
    frugal: AtomicBool,
    /// Handlers that can be asked from userspace. Changed under the lock, read without.
    polled: AtomicUsize,
    /// Handlers that are always ready. Changed under the lock, read without.
    files: AtomicUsize,
}

impl FdMonitor {
    pub(super) fn new(doorbell: RawFd) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        simulation::refuse()?;
        epoll.watch(doorbell, events::IN | events::EDGE, DOORBELL)?;
        Ok(Self {
            epoll,
            table: Mutex::default(),
            kernel_only: AtomicUsize::new(0),
            frugal: AtomicBool::new(false),
            polled: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
        })
    }

    /// The descriptor that is readable while [`wait`](Self::wait) has something to report.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Makes [`wait`](Self::wait) wait for `other` too, and say so in [`Ready::nested`].
    pub(super) fn watch_nested(&self, other: &Self) -> io::Result<()> {
        self.epoll.watch(other.epoll.as_raw_fd(), events::IN, NESTED)
    }

    /// Lets an alarm that goes off count as a ring.
    pub(super) fn watch_alarm(&self, alarm: &Alarm) -> io::Result<()> {
        self.epoll.watch(alarm.as_raw_fd(), events::IN | events::EDGE, DOORBELL)
    }

    /// Whether no pass may busy-poll, since there is a handler that only the kernel can ask.
    pub(super) fn needs_kernel(&self) -> bool {
        // Relaxed: whoever adds a handler rings the doorbell afterwards.
        self.kernel_only.load(Ordering::Relaxed) != 0
    }

    /// Whether there is a handler at all.
    pub(super) fn has_handlers(&self) -> bool {
        self.needs_kernel() || self.has_polled()
    }

    /// Whether a pass that does not sleep asks the kernel.
    pub(super) fn asks_awake(&self) -> bool {
        // Relaxed: it is set before the loop runs.
        self.needs_kernel() || (self.has_polled() && !self.frugal.load(Ordering::Relaxed))
    }

    /// Makes passes that do not sleep ask the kernel only about handlers that nobody else can ask.
    #[cfg(feature = "glib")]
    pub(super) fn be_frugal(&self) {
        self.frugal.store(true, Ordering::Relaxed);
    }

    /// Whether some handler can be asked from userspace.
    pub(super) fn has_polled(&self) -> bool {
        // Relaxed: as in `needs_kernel`.
        self.polled.load(Ordering::Relaxed) != 0
    }

    /// How long the loop may sleep as far as descriptors are concerned (-1: for ever).
    pub(super) fn timeout_ns(&self) -> i64 {
        // Relaxed: as in `needs_kernel`.
        if self.files.load(Ordering::Relaxed) != 0 { 0 } else { -1 }
    }

    /// The handlers that can be asked from userspace.
    pub(super) fn polled(&self) -> Arc<[Arc<Handler>]> {
        self.lock().polled.clone()
    }

    /// Waits for the kernel and adds what is ready.
    pub(super) fn wait(&self, timeout_ns: i64, ready: &mut Ready) -> io::Result<()> {
        let mut events = Events::new();
        self.epoll.wait(timeout_ns, &mut events)?;
        ready.doorbell |= events.iter().any(|(token, _)| token == DOORBELL);
        ready.nested |= events.iter().any(|(token, _)| token == NESTED);
        let mut found = events.iter().filter(|&(token, _)| token < NESTED).peekable();
        if found.peek().is_some() || self.timeout_ns() == 0 {
            ready.collect(&self.lock(), found);
        }
        if simulation::is_seeded() {
            ready.disturb(&self.lock());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("a panic of this module ends the process")
    }

    /// Registers, replaces or, without callbacks, removes the handler of `fd`.
    fn set(&self, fd: RawFd, callbacks: Callbacks, opaque: *mut c_void) {
        self.set_locked(&mut self.lock(), fd, callbacks, opaque);
    }

    fn set_locked(&self, table: &mut Table, fd: RawFd, callbacks: Callbacks, opaque: *mut c_void) {
        table.generation = table.generation.wrapping_add(1);
        let generation = table.generation;
        let new = (!callbacks.is_empty())
            .then(|| Arc::new(Handler::new(fd, generation, callbacks, opaque)));
        let old = table.swap(fd, new.clone());
        if let Some(old) = &old {
            old.delete();
            self.count_out(table, old);
        }
        let watched = old.is_some_and(|old| old.callbacks.interest() != 0);
        match new {
            Some(new) => self.count_in(table, &new, watched),
            None if watched => self.epoll.forget(fd),
            None => {}
        }
    }

    fn count_out(&self, table: &mut Table, old: &Arc<Handler>) {
        table.files.retain(|handler| !Arc::ptr_eq(handler, old));
        self.files.store(table.files.len(), Ordering::Relaxed);
        if old.callbacks.poll.is_some() {
            let rest = table.polled.iter().filter(|handler| !Arc::ptr_eq(handler, old));
            table.polled = rest.cloned().collect();
            self.polled.store(table.polled.len(), Ordering::Relaxed);
        } else {
            self.kernel_only.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn count_in(&self, table: &mut Table, new: &Arc<Handler>, watched: bool) {
        if new.callbacks.poll.is_some() {
            table.polled = table.polled.iter().chain([new]).cloned().collect();
            self.polled.store(table.polled.len(), Ordering::Relaxed);
        } else {
            self.kernel_only.fetch_add(1, Ordering::Relaxed);
        }
        match new.callbacks.interest() {
            0 if watched => self.epoll.forget(new.fd),
            0 => {}
            interest => match self.epoll.watch(new.fd, interest, new.token()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    table.files.push(new.clone());
                    self.files.store(table.files.len(), Ordering::Relaxed);
                }
                Err(error) => panic!("cannot watch file descriptor {}: {error}", new.fd),
            },
        }
    }

    /// Starts every handler's busy-poll time from zero.
    pub(super) fn reset_poll_times(&self) {
        for handler in self.polled().iter() {
            handler.poll_ns.store(0, Ordering::Relaxed);
        }
    }
}

/// What one pass found ready.
#[derive(Default)]
pub(super) struct Ready {
    /// The first handler is kept apart: most passes find one, and need no allocation for it.
    first: Option<Arc<Handler>>,
    more: Vec<Arc<Handler>>,
    /// Whether the doorbell was among it. It wakes the pass up, but is no progress.
    pub(super) doorbell: bool,
    /// Whether the other monitor was among it.
    pub(super) nested: bool,
}

impl Ready {
    /// Adds the handlers of the kernel's events, and of what is always ready.
    fn collect(&mut self, table: &Table, events: impl Iterator<Item = (u64, u32)>) {
        for (token, revents) in events {
            if let Some(handler) = table.find(token) {
                self.add(handler, revents);
            }
        }
        for handler in &table.files {
            self.add(handler, handler.callbacks.interest());
        }
    }

    fn add(&mut self, handler: &Arc<Handler>, revents: u32) {
        handler.revents.store(revents, Ordering::Relaxed);
        self.push(handler);
    }

    fn push(&mut self, handler: &Arc<Handler>) {
        match &self.first {
            None => self.first = Some(handler.clone()),
            Some(_) => self.more.push(handler.clone()),
        }
    }

    fn handlers(&self) -> impl Iterator<Item = &Arc<Handler>> {
        self.first.iter().chain(&self.more)
    }

    /// Asks a handler from userspace and adds it if it is ready.
    pub(super) fn add_if_polled(&mut self, handler: &Arc<Handler>) -> bool {
        let hit = handler.poll();
        if hit {
            handler.poll_hit.store(true, Ordering::Relaxed);
            self.push(handler);
        }
        hit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && !self.doorbell
    }

    /// The busy-poll times of what is ready.
    pub(super) fn poll_times(&self) -> impl Iterator<Item = &AtomicI64> {
        let polled = self.handlers().filter(|handler| handler.callbacks.poll.is_some());
        polled.map(|handler| &handler.poll_ns)
    }

    /// Calls the callbacks; says whether there was one.
    pub(super) fn dispatch(self) -> bool {
        // `|`, not `||`: every handler has its turn.
        self.handlers().fold(false, |progress, handler| {
            simulation::preempt();
            progress | handler.dispatch()
        })
    }
}

/// Registers callbacks for a descriptor, replaces them, or removes them if all are `None`.
///
/// Level-triggered: `io_read` runs while the descriptor is readable, hung up or in error, `io_write`
/// while it is writable or in error. `io_poll` says without a system call whether `io_poll_ready`
/// has something to do; without `io_poll_ready` it is ignored. It is asked while the loop busy-polls, and not
/// before the handler was called once for an event of the kernel's. A handler without `io_poll` turns
/// busy polling of the whole context off.
///
/// Any thread may call this. It does not wait for a callback that is running in the home thread.
///
/// # Panics
///
/// Aborts if the descriptor is not open.
///
/// # Safety
///
/// * `ctx` is alive.
/// * The callbacks may be called with `opaque` in the home thread until the registration is
///   removed, and one that runs meanwhile until it returns.
pub unsafe extern "C" fn aio_set_fd_handler(
    ctx: *mut AioContext,
    fd: c_int,
    io_read: Option<IOHandler>,
    io_write: Option<IOHandler>,
    io_poll: Option<AioPollFn>,
    io_poll_ready: Option<IOHandler>,
    opaque: *mut c_void,
) {
    assert!(fd >= 0, "aio_set_fd_handler: {fd} is not a file descriptor");
    // SAFETY: the caller's promise.
    let context = unsafe { Context::from_raw(ctx) };
    let callbacks = Callbacks { read: io_read, write: io_write, poll: io_poll.zip(io_poll_ready) };
    context.monitor.set(fd, callbacks, opaque);
    context.doorbell.ring();
}

/// Registers callbacks for an event notifier: [`aio_set_fd_handler`] whose opaque is the notifier.
///
/// # Safety
///
/// As for [`aio_set_fd_handler`]; `notifier` is initialised and stays so until the removal.
pub unsafe extern "C" fn aio_set_event_notifier(
    ctx: *mut AioContext,
    notifier: *mut EventNotifier,
    io_read: Option<EventNotifierHandler>,
    io_poll: Option<AioPollFn>,
    io_poll_ready: Option<EventNotifierHandler>,
) {
    // SAFETY: the caller's promise.
    let fd = unsafe { (*notifier).rfd };
    let read = io_read.map(as_io_handler);
    let ready = io_poll_ready.map(as_io_handler);
    // SAFETY: the caller's promise; the opaque is what the callbacks expect.
    unsafe { aio_set_fd_handler(ctx, fd, read, None, io_poll, ready, notifier.cast()) };
}

fn as_io_handler(handler: EventNotifierHandler) -> IOHandler {
    // SAFETY: the two types differ in what their only argument points to, and pointers to sized
    // types are passed alike.
    unsafe { std::mem::transmute::<EventNotifierHandler, IOHandler>(handler) }
}

/// Registers callbacks for a descriptor with the iohandler context, which only `main_loop_wait`
/// runs.
///
/// # Safety
///
/// As for [`aio_set_fd_handler`].
pub unsafe extern "C" fn qemu_set_fd_handler(
    fd: c_int,
    fd_read: Option<IOHandler>,
    fd_write: Option<IOHandler>,
    opaque: *mut c_void,
) {
    let ctx = super::main_loop::iohandler_get_aio_context();
    // SAFETY: the caller's promise; the iohandler context lives for ever.
    unsafe { aio_set_fd_handler(ctx, fd, fd_read, fd_write, None, None, opaque) };
}
