//! Threads that run an event loop of their own.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aio_sys::IOThread;

use super::bottom_half::run_oneshot;
use super::context::{Context, take_error};
use crate::cx::Bql;
use crate::drop_on_main::DropOnMain;

/// An iothread: a thread that runs an event loop of its own, without the Big QEMU Lock.
///
/// A counted reference (`object_ref`), which keeps the thread running. The thread ends when it was
/// [destroyed](Self::destroy) and the last reference is gone. The release waits for the thread, so it happens
/// [on the main loop](DropOnMain), wherever the reference is dropped: an iothread cannot wait for itself.
///
/// # Examples
///
/// ```
/// use executor::{IoCx, IoThread, MainCx, block_on, run_main};
///
/// async fn work(_: &IoCx) -> u32 {
///     assert!(!executor::bql::is_locked());
///     42
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     assert!(IoThread::create(nc, "io0").is_err(), "the id is in use");
///     assert_eq!(IoThread::by_id(nc, "io0").unwrap().context(), thread.context());
///
///     let working = thread.io().run(work);
///     let answer = block_on(nc, async move |_: &MainCx| working.await.unwrap());
///     assert_eq!((thread.id(), answer), ("io0", 42));
///
///     thread.destroy(nc).unwrap();
///     assert!(IoThread::list(nc).is_empty());
/// });
/// ```
pub struct IoThread {
    raw: NonNull<IOThread>,
    id: Arc<str>,
    _reference: DropOnMain<Reference>,
}

// SAFETY: [iothread-ref]: what we call on it is allowed to any thread.
unsafe impl Send for IoThread {}
// SAFETY: as for `Send`.
unsafe impl Sync for IoThread {}

/// One reference on an iothread.
struct Reference {
    raw: NonNull<IOThread>,
}

// SAFETY: [iothread-ref]: the count is atomic.
unsafe impl Send for Reference {}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: [iothread-ref]: gives up our reference.
        unsafe { aio_sys::object_unref(self.raw.as_ptr().cast()) }
    }
}

/// An iothread, as `query-iothreads` shows it.
///
/// # Examples
///
/// ```
/// use executor::{IoCx, IoThread, MainCx, block_on, run_main};
///
/// async fn nothing(_: &IoCx) {}
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let started = thread.io().run(nothing); // It has a number when it has done something.
///     block_on(nc, async move |_: &MainCx| started.await.unwrap());
///
///     let threads = IoThread::list(nc);
///     assert_eq!(&*threads[0].id, "io0");
///     assert_ne!(threads[0].thread_id, 0);
///     thread.destroy(nc).unwrap();
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoThreadInfo {
    /// Its id.
    pub id: Arc<str>,
    /// The kernel's number for the thread; 0 while it is starting.
    pub thread_id: i32,
}

struct Known {
    id: Arc<str>,
    thread_id: Arc<AtomicI32>,
    /// Where the object is, which nobody but `destroy` ends.
    address: usize,
    internal: bool,
}

/// The iothreads that were made here and not destroyed yet. Changed under the Big QEMU Lock.
fn known() -> MutexGuard<'static, Vec<Known>> {
    static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds one of them.
fn made_here(id: &str) -> Option<*mut IOThread> {
    let is_meant = |known: &&Known| !known.internal && *known.id == *id;
    known().iter().find(is_meant).map(|known| known.address as *mut IOThread)
}

fn c_id(id: &str) -> io::Result<CString> {
    CString::new(id)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an id has no NUL byte"))
}

impl IoThread {
    /// Makes an iothread and starts it (`iothread_create`).
    ///
    /// # Errors
    ///
    /// If the id is in use or has a NUL byte, or the system is out of threads or file descriptors.
    pub fn create(bql: &Bql, id: &str) -> io::Result<IoThread> {
        let this = IoThread::make(bql, id)?;
        this.remember(false);
        Ok(this)
    }

    /// As [`create`](Self::create), for a thread that is no business of the user's:
    /// [`list`](Self::list) does not show it.
    #[cfg(feature = "qmp")]
    pub(crate) fn create_internal(bql: &Bql, id: &str) -> io::Result<IoThread> {
        let this = IoThread::make(bql, id)?;
        this.remember(true);
        Ok(this)
    }

    fn make(_bql: &Bql, id: &str) -> io::Result<IoThread> {
        let c_id = c_id(id)?;
        // QEMU ends the process when one of its objects gets a child of a name that is taken.
        if known().iter().any(|known| *known.id == *id) {
            let why = format!("cannot create iothread `{id}`: the id is in use");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        let mut error = ptr::null_mut();
        // SAFETY: the string is NUL-terminated; `error` is null and outlives the call.
        let raw = unsafe { aio_sys::iothread_create(c_id.as_ptr(), &raw mut error) };
        if raw.is_null() {
            return Err(take_error(error));
        }
        // SAFETY: borrowed from the registry, which the lock keeps as it is.
        Ok(unsafe { IoThread::from_raw(raw, id.into()) })
    }

    /// Finds an iothread (`iothread_by_id`). QEMU itself does not find those that a program made.
    pub fn by_id(_bql: &Bql, id: &str) -> Option<IoThread> {
        let c_id = c_id(id).ok()?;
        // SAFETY: the string is NUL-terminated.
        let raw = unsafe { aio_sys::iothread_by_id(c_id.as_ptr()) };
        let raw = if raw.is_null() { made_here(id)? } else { raw };
        // SAFETY: borrowed from the registry, which the lock keeps as it is.
        Some(unsafe { IoThread::from_raw(raw, id.into()) })
    }

    /// # Safety
    ///
    /// `raw` is a live iothread.
    unsafe fn from_raw(raw: *mut IOThread, id: Arc<str>) -> IoThread {
        // SAFETY: alive by this function's contract.
        unsafe { aio_sys::object_ref(raw.cast()) };
        let raw = NonNull::new(raw).expect("the callers look");
        IoThread { raw, id, _reference: DropOnMain::new(Reference { raw }) }
    }

    /// The iothreads that this program made, in that order.
    pub fn list(_bql: &Bql) -> Vec<IoThreadInfo> {
        let info = |known: &Known| IoThreadInfo {
            id: Arc::clone(&known.id),
            thread_id: known.thread_id.load(Ordering::Relaxed),
        };
        known().iter().filter(|known| !known.internal).map(info).collect()
    }

    fn address(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    fn remember(&self, internal: bool) {
        let thread_id = Arc::new(AtomicI32::new(0));
        known().push(Known {
            id: Arc::clone(&self.id),
            thread_id: Arc::clone(&thread_id),
            address: self.address(),
            internal,
        });
        run_oneshot(&self.context(), move || {
            thread_id.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
        });
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its event loop (`iothread_get_aio_context`).
    pub fn context(&self) -> Context {
        // SAFETY: [iothread-ref].
        let raw = unsafe { aio_sys::iothread_get_aio_context(self.raw.as_ptr()) };
        // SAFETY: the iothread owns a reference on its context.
        unsafe { Context::from_raw(raw) }.expect("an iothread has a context")
    }

    /// Takes the iothread out of the registry (`iothread_destroy`). With the last reference the thread is
    /// stopped and waited for; tasks that are still there are cancelled, on their thread.
    ///
    /// Do not hold up the iothread with the lock that the caller has: the wait would be for ever.
    ///
    /// # Errors
    ///
    /// If it was destroyed before, or was not [created](Self::create) by this program.
    pub fn destroy(self, _bql: &Bql) -> io::Result<()> {
        if !self.forget() {
            let why = "the iothread was destroyed before, or made by somebody else";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        // SAFETY: made here and not destroyed yet, as just seen, and the lock keeps it so.
        unsafe { aio_sys::iothread_destroy(self.raw.as_ptr()) };
        Ok(())
    }

    /// Takes it off the list of those that were made here; says whether it was there.
    fn forget(&self) -> bool {
        let address = self.address();
        let mut known = known();
        let before = known.len();
        known.retain(|known| known.address != address);
        known.len() < before
    }
}

impl Clone for IoThread {
    fn clone(&self) -> IoThread {
        // SAFETY: [iothread-ref]: our reference keeps it alive.
        unsafe { IoThread::from_raw(self.raw.as_ptr(), Arc::clone(&self.id)) }
    }
}

impl fmt::Debug for IoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoThread").field(&self.id).finish()
    }
}
