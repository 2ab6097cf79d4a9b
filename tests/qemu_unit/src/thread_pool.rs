//! A thread pool for blocking functions, as far as `test-thread-pool.c` needs it.
//!
//! Owns up to [`MOST_THREADS`] threads and the queue before them. A request ends in a bottom half of the context
//! that submitted it. A request is cancelled while it is in the queue, never while it runs.
//!
//! Threads: submitting, cancelling and the callbacks belong to the home thread of the context.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use aio_sys::emulated::{
    aio_bh_schedule_oneshot_full, aio_co_wake, aio_poll, qemu_coroutine_self, qemu_coroutine_yield,
    qemu_get_current_aio_context,
};
use aio_sys::{AioContext, Coroutine};

/// QEMU's default.
const MOST_THREADS: usize = 64;
const EINPROGRESS: i32 = 115;
const ECANCELED: i32 = 125;

type ThreadPoolFunc = unsafe extern "C" fn(opaque: *mut c_void) -> c_int;
type BlockCompletionFunc = unsafe extern "C" fn(opaque: *mut c_void, ret: c_int);

/// What stands behind a `BlockAIOCB` pointer.
pub struct Request {
    function: ThreadPoolFunc,
    argument: *mut c_void,
    done: Option<BlockCompletionFunc>,
    opaque: *mut c_void,
    context: *mut AioContext,
    /// Written once, before the bottom half is scheduled, which publishes it.
    result: AtomicI32,
    /// One for the bottom half, one for whoever waits.
    references: AtomicU32,
}

/// A request in the queue.
struct Queued(*const Request);

// SAFETY: the function and its argument are for another thread; the rest is for the home thread, which gets the
// request back.
unsafe impl Send for Queued {}

struct Pool {
    queue: VecDeque<Queued>,
    idle: usize,
    threads: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { queue: VecDeque::new(), idle: 0, threads: 0 });
static WORK: Condvar = Condvar::new();

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().expect("nothing panics under this lock")
}

fn submit(request: Request) -> *mut Request {
    let request = Box::into_raw(Box::new(request));
    let mut pool = pool();
    pool.queue.push_back(Queued(request));
    if pool.queue.len() > pool.idle && pool.threads < MOST_THREADS {
        pool.threads += 1;
        thread::spawn(work);
    }
    drop(pool);
    WORK.notify_one();
    request
}

fn work() {
    let mut pool = pool();
    loop {
        match pool.queue.pop_front() {
            Some(Queued(request)) => {
                drop(pool);
                // SAFETY: it was in the queue, which only one thread takes it from.
                unsafe { run(request) };
                pool = self::pool();
            }
            None => {
                pool.idle += 1;
                pool = WORK.wait(pool).expect("nothing panics under this lock");
                pool.idle -= 1;
            }
        }
    }
}

/// # Safety
///
/// The caller took the request from the queue.
unsafe fn run(request: *const Request) {
    // SAFETY: the caller's promise.
    let Request { function, argument, .. } = *unsafe { &*request };
    // SAFETY: whoever submitted it promised that.
    let result = unsafe { function(argument) };
    // SAFETY: the caller's promise.
    unsafe { finish(request, result) };
}

/// Sends a request home.
///
/// # Safety
///
/// The caller took the request from the queue.
unsafe fn finish(request: *const Request, result: i32) {
    // SAFETY: the caller's promise.
    let Request { context, result: place, .. } = unsafe { &*request };
    place.store(result, Ordering::Relaxed);
    let opaque = request.cast_mut().cast();
    // SAFETY: the test keeps its context.
    unsafe { aio_bh_schedule_oneshot_full(*context, complete, opaque, c"thread pool".as_ptr()) };
}

/// # Safety
///
/// `request` is a [`Request`] that has finished.
unsafe extern "C" fn complete(request: *mut c_void) {
    let request: *mut Request = request.cast();
    // SAFETY: the caller's promise.
    let Request { done, opaque, result, .. } = unsafe { &*request };
    if let Some(done) = done {
        // SAFETY: whoever submitted it promised that.
        unsafe { done(*opaque, result.load(Ordering::Relaxed)) };
    }
    // SAFETY: the bottom half's reference.
    unsafe { unref(request) };
}

/// # Safety
///
/// The caller owns a reference.
unsafe fn unref(request: *mut Request) {
    // SAFETY: the caller's promise.
    let references = unsafe { &(*request).references };
    // Relaxed: only the home thread counts.
    if references.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SAFETY: nobody has it any more.
        drop(unsafe { Box::from_raw(request) });
    }
}

/// Runs `func` in another thread, and then `cb` in the current context.
///
/// # Safety
///
/// Both may be called with their arguments; `cb` may be null. The thread has a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn thread_pool_submit_aio(
    func: ThreadPoolFunc,
    arg: *mut c_void,
    cb: Option<BlockCompletionFunc>,
    opaque: *mut c_void,
) -> *mut Request {
    submit(Request {
        function: func,
        argument: arg,
        done: cb,
        opaque,
        context: qemu_get_current_aio_context(),
        result: AtomicI32::new(-EINPROGRESS),
        references: AtomicU32::new(1),
    })
}

/// What a coroutine that waits lends to the callback.
struct Waiter {
    coroutine: *mut Coroutine,
    result: c_int,
}

/// # Safety
///
/// `waiter` is a [`Waiter`] on the stack of its coroutine, which is suspended.
unsafe extern "C" fn wake(waiter: *mut c_void, result: c_int) {
    let waiter: *mut Waiter = waiter.cast();
    // SAFETY: the caller's promise.
    unsafe { (*waiter).result = result };
    // SAFETY: the caller's promise.
    let coroutine = unsafe { (*waiter).coroutine };
    // SAFETY: the caller's promise.
    unsafe { aio_co_wake(coroutine) };
}

/// Runs `func` in another thread; the coroutine yields meanwhile.
///
/// # Safety
///
/// As for [`thread_pool_submit_aio`]; the caller runs in a coroutine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn thread_pool_submit_co(func: ThreadPoolFunc, arg: *mut c_void) -> c_int {
    let mut waiter = Waiter { coroutine: qemu_coroutine_self(), result: -EINPROGRESS };
    let opaque: *mut Waiter = &raw mut waiter;
    // SAFETY: the caller's promise; the waiter lives until it is woken.
    unsafe { thread_pool_submit_aio(func, arg, Some(wake), opaque.cast()) };
    // SAFETY: the caller's promise.
    unsafe { qemu_coroutine_yield() };
    // SAFETY: as above.
    unsafe { (*opaque).result }
}

/// Takes a request back if it has not begun. Its callback comes in either case.
///
/// # Safety
///
/// The callback of `request` has not come yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bdrv_aio_cancel_async(request: *mut Request) {
    let mut pool = pool();
    let place = pool.queue.iter().position(|queued| ptr::eq(queued.0, request));
    let taken = place.and_then(|place| pool.queue.remove(place));
    drop(pool);
    if let Some(Queued(request)) = taken {
        // SAFETY: it was just taken.
        unsafe { finish(request, -ECANCELED) };
    }
}

/// [`bdrv_aio_cancel_async`], and then waits for the callback.
///
/// # Safety
///
/// As there; the calling thread may poll the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bdrv_aio_cancel(request: *mut Request) {
    // SAFETY: the caller's promise.
    let Request { references, context, .. } = unsafe { &*request };
    references.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { bdrv_aio_cancel_async(request) };
    while references.load(Ordering::Relaxed) > 1 {
        // SAFETY: the caller's promise.
        unsafe { aio_poll(*context, true) };
    }
    // SAFETY: the reference just taken.
    unsafe { unref(request) };
}
