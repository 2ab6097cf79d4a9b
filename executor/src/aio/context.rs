//! A counted reference on an `AioContext`.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};

use aio_sys::AioContext;

/// One of QEMU's event loops, an `AioContext`: bottom halves, fd handlers and timers of one thread.
///
/// A counted reference: `clone` stands for `aio_context_ref`, `drop` for `aio_context_unref`. It keeps the
/// object alive, not the thread that runs it. For any thread.
///
/// # Examples
///
/// ```
/// use executor::{Context, LocalExecutor, run_main};
///
/// // A thread of the program's own has no event loop until it asks for one.
/// assert!(Context::current().is_none());
/// let own = Context::for_this_thread()?;
/// assert_eq!(Context::current().as_ref(), Some(&own));
/// own.set_poll_params(32_000, 2, 2)?; // Looks for 32 us before it sleeps.
/// let executor = LocalExecutor::attach(&own);
/// assert_eq!(executor.run(async { 6 * 7 }), 42);
///
/// // The other end of C's pointer.
/// // SAFETY: `own` keeps it alive.
/// let same = unsafe { Context::from_raw(own.as_raw()) };
/// assert!(same.is_some_and(|same| same == own && same.is_home()));
///
/// // The main loop has two, of which nested loops run the first alone.
/// let main_loop = std::thread::spawn(|| {
///     run_main(|_nc| {
///         assert!(Context::main() != Context::iohandler());
///         assert!(Context::main().is_home() && Context::iohandler().is_home());
///     });
/// });
/// main_loop.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Context {
    raw: NonNull<AioContext>,
}

// SAFETY: [ctx-ref]: the count is atomic, and the functions that we call on a context from
// elsewhere are those that `AioContext` allows to any thread.
unsafe impl Send for Context {}
// SAFETY: as for `Send`.
unsafe impl Sync for Context {}

thread_local! {
    /// The context that this thread made for itself.
    static OWN: OnceCell<Own> = const { OnceCell::new() };
}

/// A thread's own context, its current one until the thread ends.
struct Own(Context);

impl Drop for Own {
    fn drop(&mut self) {
        // Other thread-locals may go later, and must not find a context that is gone. QEMU has no such
        // function: there the context stays, with the reference that the thread had.
        #[cfg(feature = "host")]
        let _stays = std::mem::ManuallyDrop::new(self.0.clone());
        #[cfg(not(feature = "host"))]
        aio_sys::emulated::forget_current_aio_context(self.0.as_raw());
    }
}

impl Context {
    /// The context of the main loop that nested event loops run, too (`qemu_get_aio_context`).
    ///
    /// # Panics
    ///
    /// If the main loop has not been initialised.
    pub fn main() -> Context {
        Context::main_if_any().expect("the main loop has not been initialised")
    }

    /// As [`main`](Self::main); `None` if the main loop has not been initialised.
    pub(crate) fn main_if_any() -> Option<Context> {
        let raw = aio_sys::qemu_get_aio_context();
        // SAFETY: `raw` is null or a live context.
        unsafe { Context::from_raw(raw) }
    }

    /// The context of the main loop that runs in the main loop's thread only, never inside a nested
    /// loop (`iohandler_get_aio_context`): where executors on the main loop live.
    ///
    /// # Panics
    ///
    /// If the main loop has not been initialised.
    pub fn iohandler() -> Context {
        let _initialised = Context::main();
        let raw = aio_sys::iohandler_get_aio_context();
        // SAFETY: `raw` is a live context.
        unsafe { Context::from_raw(raw) }.expect("the main loop has an iohandler context")
    }

    /// The calling thread's context (`qemu_get_current_aio_context`): an iothread's own, or the main
    /// loop's if the thread holds the Big QEMU Lock.
    pub fn current() -> Option<Context> {
        let raw = aio_sys::qemu_get_current_aio_context();
        // SAFETY: null or a live context.
        unsafe { Context::from_raw(raw) }
    }

    /// The calling thread's context, made now if it has none. For programs and tests that run an
    /// executor on a thread of their own.
    ///
    /// # Errors
    ///
    /// What the system says if there are no more file descriptors.
    pub fn for_this_thread() -> io::Result<Context> {
        if let Some(context) = Context::current() {
            return Ok(context);
        }
        let context = Context::new()?;
        let own = OWN.try_with(|own| own.set(Own(context.clone())).is_ok());
        if own != Ok(true) {
            return Err(io::Error::other("the thread is ending, and with it its event loop"));
        }
        // SAFETY: the thread has no current context, as just seen; `OWN` keeps this one until it is
        // forgotten.
        unsafe { aio_sys::qemu_set_current_aio_context(context.as_raw()) };
        Ok(context)
    }

    fn new() -> io::Result<Context> {
        let mut error = ptr::null_mut();
        // SAFETY: `error` is null and outlives the call.
        let raw = unsafe { aio_sys::aio_context_new(&raw mut error) };
        NonNull::new(raw).map(|raw| Context { raw }).ok_or_else(|| take_error(error))
    }

    /// A new reference on a context.
    ///
    /// # Safety
    ///
    /// `raw` is null or a live context.
    pub unsafe fn from_raw(raw: *mut AioContext) -> Option<Context> {
        let raw = NonNull::new(raw)?;
        // SAFETY: alive by this function's contract.
        unsafe { aio_sys::aio_context_ref(raw.as_ptr()) };
        Some(Context { raw })
    }

    /// The C object, borrowed.
    pub fn as_raw(&self) -> *mut AioContext {
        self.raw.as_ptr()
    }

    /// The object's address: its name in tables.
    pub(crate) fn address(&self) -> usize {
        self.as_raw() as usize
    }

    /// Whether the calling thread is the one that runs this context. For the main loop's contexts
    /// that is whoever holds the Big QEMU Lock.
    pub fn is_home(&self) -> bool {
        Context::current().is_some_and(|current| {
            current == *self || (self.is_iohandler() && current == Context::main())
        })
    }

    pub(crate) fn is_main(&self) -> bool {
        ptr::eq(aio_sys::qemu_get_aio_context(), self.as_raw())
    }

    pub(crate) fn is_iohandler(&self) -> bool {
        let main = aio_sys::qemu_get_aio_context();
        !main.is_null() && ptr::eq(aio_sys::iohandler_get_aio_context(), self.as_raw())
    }

    /// Lets the main loop's own thread look at all its work again (`aio_notify`): for callbacks of the main
    /// context that find themselves in another thread. Any thread.
    pub(crate) fn notify_main_loop() {
        if !aio_sys::qemu_get_aio_context().is_null() {
            // SAFETY: [ctx-ref]; any thread may notify.
            unsafe { aio_sys::aio_notify(Context::iohandler().as_raw()) };
        }
    }

    /// One pass of the loop (`aio_poll`), waiting for an event if `blocking`. Home thread; the callers
    /// make sure that no future is being polled.
    pub(crate) fn poll(&self, blocking: bool) -> bool {
        // SAFETY: [ctx-ref]; the home thread is asserted by the function itself.
        unsafe { aio_sys::aio_poll(self.as_raw(), blocking) }
    }

    /// Sets how long the loop looks for events before it sleeps (`aio_context_set_poll_params`): for up to
    /// `max_ns` nanoseconds, 0 for not at all. The time is multiplied by `grow` (0: by 2) where that pays, and
    /// divided by `shrink` (0: it starts again from none) where it does not. Any thread.
    ///
    /// # Errors
    ///
    /// If one of the numbers is negative.
    pub fn set_poll_params(&self, max_ns: i64, grow: i64, shrink: i64) -> io::Result<()> {
        let mut error = ptr::null_mut();
        // SAFETY: [ctx-ref]; `error` is null and outlives the call.
        unsafe {
            aio_sys::aio_context_set_poll_params(
                self.as_raw(),
                max_ns,
                grow,
                shrink,
                &raw mut error,
            );
        }
        if error.is_null() { Ok(()) } else { Err(take_error(error)) }
    }
}

/// Turns a C error into a Rust one.
pub(crate) fn take_error(error: *mut aio_sys::Error) -> io::Error {
    if error.is_null() {
        return io::Error::last_os_error();
    }
    // SAFETY: the callee set it, so it is a live error that is ours.
    let text = unsafe { aio_sys::error_get_pretty(error) };
    // SAFETY: NUL-terminated, and alive as long as the error.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_string_lossy().into_owned();
    // SAFETY: ours, and used no more.
    unsafe { aio_sys::error_free(error) };
    io::Error::other(text)
}

impl Clone for Context {
    fn clone(&self) -> Context {
        // SAFETY: [ctx-ref]: our reference keeps it alive.
        unsafe { aio_sys::aio_context_ref(self.as_raw()) };
        Context { raw: self.raw }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: [ctx-ref]: gives up our reference.
        unsafe { aio_sys::aio_context_unref(self.as_raw()) }
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Context) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_main() {
            "main"
        } else if self.is_iohandler() {
            "iohandler"
        } else {
            "own thread"
        };
        write!(f, "Context({name}, {:p})", self.as_raw())
    }
}
