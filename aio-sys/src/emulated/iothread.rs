//! Threads that run an event loop of their own.
//!
//! Owns the context, the thread and the registry of identifiers. An iothread is an object with
//! counted references. The registry owns one, from `iothread_create` to `iothread_destroy`; the last
//! one to go stops the thread, so whoever holds a reference may rely on the loop.
//!
//! Threads: create, destroy and the references from any thread but the iothread itself. The loop runs
//! blocking passes and does not hold the BQL.
//!
//! Relies on the context for everything that runs. Bottom halves that are still pending when the loop
//! has ended never run: the end of the context reports them.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};

use super::bottom_half::aio_bh_schedule_oneshot_full;
use super::context::{Context, aio_context_unref};
use super::current::{self, qemu_set_current_aio_context};
use super::poll::aio_poll;
use super::simulation::{self, Ticket};
use super::{error, os};
use crate::types::{AioContext, Error, IOThread};

/// How long an iothread may busy-poll unless `aio_context_set_poll_params` says otherwise.
const DEFAULT_POLL_MAX_NS: i64 = 32_768;

/// What stands behind an [`IOThread`] pointer.
struct Thread {
    id: CString,
    context: *mut AioContext,
    references: AtomicUsize,
    stopping: AtomicBool,
    /// Cleared by a bottom half, in the thread itself.
    running: AtomicBool,
    handle: Mutex<Option<(JoinHandle<()>, Ticket)>>,
}

/// A pointer that may be sent: what is done with it says who may.
struct Shared(*const Thread);

// SAFETY: the fields of `Thread` are constant, atomic or behind a lock, and its context may be
// scheduled on from any thread.
unsafe impl Send for Shared {}

/// The iothreads that `iothread_by_id` finds.
static REGISTRY: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

fn registry() -> MutexGuard<'static, Vec<Shared>> {
    REGISTRY.lock().expect("nothing panics under this lock")
}

impl Shared {
    fn has_id(&self, id: &CStr) -> bool {
        // SAFETY: [iothread-registered]: the registry owns a reference.
        unsafe { &*self.0 }.id.as_c_str() == id
    }
}

impl Thread {
    fn create(id: &CStr) -> std::io::Result<*const Self> {
        let context = Context::create()?;
        // SAFETY: it was just made.
        unsafe { Context::from_raw(context) }.polling.set(DEFAULT_POLL_MAX_NS, 0, 0);
        let thread = Box::into_raw(Box::new(Self {
            id: id.to_owned(),
            context,
            references: AtomicUsize::new(1),
            stopping: AtomicBool::new(false),
            running: AtomicBool::new(true),
            handle: Mutex::default(),
        }));
        // SAFETY: it was just made.
        let started = unsafe { &*thread }.start();
        if let Err(error) = started {
            // SAFETY: no thread has it, and this function its only reference.
            unsafe { free(thread) };
            return Err(error);
        }
        Ok(thread)
    }

    /// Starts the thread and waits until its context is current there.
    fn start(&self) -> std::io::Result<()> {
        let (is_up, wait) = mpsc::sync_channel(1);
        let name = format!("IO {}", self.id.to_string_lossy());
        let shared = Shared(self);
        let ticket = simulation::invite(&name);
        let handle = thread::Builder::new().name(name).spawn(move || {
            let Shared(thread) = { shared };
            // SAFETY: [iothread-joined]: the object is freed after the thread was joined.
            unsafe { &*thread }.run(&is_up, ticket);
        })?;
        wait.recv().expect("the thread sends before it runs");
        *self.handle() = Some((handle, ticket));
        Ok(())
    }

    fn run(&self, is_up: &mpsc::SyncSender<()>, ticket: Ticket) {
        os::lower_timer_slack();
        // SAFETY: [iothread-joined]: the context is freed after the thread was joined.
        unsafe { qemu_set_current_aio_context(self.context) };
        is_up.send(()).expect("the creator waits");
        simulation::enter(ticket);
        // Relaxed: written by this thread, in `end_loop`.
        while self.running.load(Ordering::Relaxed) {
            // SAFETY: as above.
            unsafe { aio_poll(self.context, true) };
        }
        simulation::leave();
    }

    fn stop(&self) {
        if self.stopping.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some((handle, ticket)) = self.handle().take() else { return };
        assert!(
            !ptr::eq(current::get(), self.context),
            "an iothread cannot stop itself: it would wait for itself"
        );
        let name = c"iothread_stop".as_ptr();
        let opaque = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: [iothread-joined]: the object lives until the thread has ended.
        unsafe { aio_bh_schedule_oneshot_full(self.context, end_loop, opaque, name) };
        simulation::let_end(ticket);
        handle.join().expect("a panic in an iothread ends the process");
    }

    fn handle(&self) -> MutexGuard<'_, Option<(JoinHandle<()>, Ticket)>> {
        self.handle.lock().expect("nothing panics under this lock")
    }

    /// # Safety
    ///
    /// `iothread` is null or alive during `'a`.
    unsafe fn from_raw<'a>(iothread: *mut IOThread) -> &'a Self {
        let thread: *const Self = iothread.cast_const().cast();
        // SAFETY: the caller's promise.
        unsafe { thread.as_ref() }.expect("the iothread is null")
    }
}

/// Ends the loop of an iothread, from inside.
///
/// # Safety
///
/// `thread` is a [`Thread`].
unsafe extern "C" fn end_loop(thread: *mut c_void) {
    let thread: *const Thread = thread.cast_const().cast();
    // SAFETY: the caller's promise.
    unsafe { (*thread).running.store(false, Ordering::Relaxed) };
}

/// Stops the thread and frees everything.
///
/// # Safety
///
/// Nobody else has a reference.
unsafe fn free(thread: *mut Thread) {
    // SAFETY: the caller's promise. Not a `Box` yet: the thread still uses the object.
    unsafe { &*thread }.stop();
    // SAFETY: the caller's promise; [iothread-joined].
    let thread = unsafe { Box::from_raw(thread) };
    // SAFETY: [iothread-joined]: the thread has ended, and this is the reference of the object.
    unsafe { aio_context_unref(thread.context) };
}

fn register(registry: &mut Vec<Shared>, id: &CStr) -> std::io::Result<*const Thread> {
    if find(registry, id).is_some() {
        return Err(std::io::Error::other("the id is in use"));
    }
    let thread = Thread::create(id)?;
    registry.push(Shared(thread));
    Ok(thread)
}

fn find(registry: &[Shared], id: &CStr) -> Option<*const Thread> {
    registry.iter().find(|thread| thread.has_id(id)).map(|thread| thread.0)
}

/// Makes an iothread and starts it. Returns a pointer that is borrowed from the registry, or null and
/// an error.
///
/// # Safety
///
/// `id` is a NUL-terminated string; `errp` is null or points to a null pointer.
pub unsafe extern "C" fn iothread_create(
    id: *const c_char,
    errp: *mut *mut Error,
) -> *mut IOThread {
    // SAFETY: the caller's promise.
    let id = unsafe { CStr::from_ptr(id) };
    let registered = register(&mut registry(), id);
    match registered {
        Ok(thread) => thread.cast_mut().cast(),
        Err(cause) => {
            let message = format!("cannot create iothread `{}`: {cause}", id.to_string_lossy());
            // SAFETY: the caller's promise.
            unsafe { error::set(errp, &message) };
            ptr::null_mut()
        }
    }
}

/// Returns the iothread of this id, borrowed from the registry, or null.
///
/// # Safety
///
/// `id` is a NUL-terminated string.
#[must_use]
pub unsafe extern "C" fn iothread_by_id(id: *const c_char) -> *mut IOThread {
    // SAFETY: the caller's promise.
    let id = unsafe { CStr::from_ptr(id) };
    find(&registry(), id).map_or(ptr::null_mut(), |thread| thread.cast_mut().cast())
}

/// Returns a copy of the id, to be freed with `g_free`.
///
/// # Safety
///
/// `iothread` is alive.
#[must_use]
pub unsafe extern "C" fn iothread_get_id(iothread: *mut IOThread) -> *mut c_char {
    // SAFETY: the caller's promise.
    os::duplicate(&unsafe { Thread::from_raw(iothread) }.id)
}

/// Returns the context that the thread runs, borrowed from the iothread.
///
/// # Safety
///
/// `iothread` is alive.
#[must_use]
pub unsafe extern "C" fn iothread_get_aio_context(iothread: *mut IOThread) -> *mut AioContext {
    // SAFETY: the caller's promise.
    unsafe { Thread::from_raw(iothread) }.context
}

/// Ends the thread and waits for it; nothing happens if it has ended. What is pending never runs.
///
/// # Panics
///
/// Aborts if the thread stops itself.
///
/// # Safety
///
/// `iothread` is alive.
pub unsafe extern "C" fn iothread_stop(iothread: *mut IOThread) {
    // SAFETY: the caller's promise.
    unsafe { Thread::from_raw(iothread) }.stop();
}

/// Takes the iothread out of the registry and gives the registry's reference back.
///
/// # Safety
///
/// `iothread` is in the registry.
pub unsafe extern "C" fn iothread_destroy(iothread: *mut IOThread) {
    registry().retain(|thread| !ptr::eq(thread.0.cast(), iothread));
    // SAFETY: the caller's promise: that reference was the registry's.
    unsafe { object_unref(iothread.cast()) };
}

/// Takes one more reference on an iothread, the only kind of object here; returns it.
///
/// # Safety
///
/// `obj` is null or an iothread that is alive.
pub unsafe extern "C" fn object_ref(obj: *mut c_void) -> *mut c_void {
    let thread: *const Thread = obj.cast_const().cast();
    // SAFETY: the caller's promise.
    if let Some(thread) = unsafe { thread.as_ref() } {
        // Relaxed: the caller's reference keeps the object alive.
        thread.references.fetch_add(1, Ordering::Relaxed);
    }
    obj
}

/// Gives a reference back. The last one stops the thread, waits for it and frees the iothread.
///
/// # Panics
///
/// Aborts if this is the last one and the thread is the iothread itself.
///
/// # Safety
///
/// `obj` is null, or an iothread of which the caller owns a reference.
pub unsafe extern "C" fn object_unref(obj: *mut c_void) {
    let thread: *mut Thread = obj.cast();
    if thread.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let references = unsafe { &(*thread).references };
    // Release: what we did with the object comes before its end. Acquire: pairs with the Release of the others, for
    // whoever ends it. Not a fence, which the thread sanitizer does not know.
    if references.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: the count is zero.
        unsafe { free(thread) };
    }
}
