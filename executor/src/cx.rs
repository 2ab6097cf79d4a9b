//! Capabilities: what the code at hand may do, as a value it was lent.
//!
//! Each of these types stands for a fact about where code runs, and is only ever lent, as a reference of a
//! lifetime that the lender chose. None can be made, cloned or kept by safe code, and none is `Send`, so
//! having one *is* the proof:
//!
//! | capability | the fact |
//! |---|---|
//! | [`&Bql`](Bql) | this thread holds the Big QEMU Lock until the reference ends |
//! | [`&mut NoCoroutine`](NoCoroutine) | main loop, no future is being polled: nested event loops are allowed, QEMU's `no_coroutine_fn` |
//! | [`&MainCx`](MainCx) | inside a task of the main loop: the lock is held whenever it is polled |
//! | [`&IoCx`](IoCx) | inside a task of an iothread: no lock |
//! | [`&mut InCoroutine`](crate::InCoroutine) | inside a C coroutine: QEMU's `coroutine_fn` |
//! | [`&OobContext`](OobContext) | inside an out-of-band command: no lock, and no way to wait |
//!
//! A task is `'static`, so it cannot capture what was lent to the code that spawns it; it is lent its own.
//! What the types cannot see (destructors, C code that calls back) is checked at run time.

mod unlocked;

pub use unlocked::{IoCx, OobContext};

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use crate::aio::bottom_half::{run_oneshot, run_oneshot_here};
use crate::aio::context::Context;
use crate::bql;
use crate::current;
use crate::local_executor::Core;
use crate::main_loop::MainHandle;
use crate::remote::{self, Errand, Remote};
use crate::task::JoinHandle;
use crate::task_fn::TaskFn;

/// Named in the compiler's message when a capability would leave its thread.
pub(crate) struct BqlHeldByThisThread;
/// Named in the compiler's message when a capability would leave its thread.
pub(crate) struct BoundToThisThread;

/// Proof that the calling thread holds the Big QEMU Lock.
///
/// Lent by [`MainCx::bql`], [`NoCoroutine`] (which dereferences to it) and
/// [`IoCx::lock_bql`]; asked for by [`BqlCell`](crate::BqlCell) and
/// [`BqlRefCell`](crate::BqlRefCell). Any thread may hold the lock, also a vCPU's: this says nothing about
/// the main loop's thread.
///
/// # Examples
///
/// ```
/// use executor::bql::with_bql;
/// use executor::{Bql, BqlCell, run_main};
///
/// static RAISED: BqlCell<u32> = BqlCell::new(0);
///
/// /// Whoever calls this holds the lock, and has shown it.
/// fn raise_irq(bql: &Bql) {
///     RAISED.set(bql, RAISED.get(bql) + 1);
/// }
///
/// run_main(|nc| raise_irq(nc)); // The main loop holds the lock;
/// with_bql(raise_irq); // other threads take it.
/// assert_eq!(with_bql(|bql| RAISED.get(bql)), 2);
/// ```
pub struct Bql {
    thread: PhantomData<Rc<BqlHeldByThisThread>>,
}

impl Bql {
    /// Lends the proof to `f`.
    ///
    /// # Panics
    ///
    /// If the lock is not held: then the caller's own reason to believe so is wrong.
    #[track_caller]
    pub(crate) fn lend<R>(f: impl for<'b> FnOnce(&'b Bql) -> R) -> R {
        assert!(bql::is_locked(), "this thread does not hold the Big QEMU Lock");
        f(&Bql::new())
    }

    /// For those who have just checked, or taken, the lock, and lend the proof no longer than they hold it.
    pub(crate) fn new() -> Bql {
        Bql { thread: PhantomData }
    }
}

impl fmt::Debug for Bql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bql")
    }
}

/// The right to run a nested event loop: main loop, Big QEMU Lock held, no future being polled.
///
/// What QEMU's C code marks `no_coroutine_fn` takes `&mut NoCoroutine` in Rust: [`block_on`](crate::block_on),
/// [`wait_while`](Self::wait_while), [`unlocked`](Self::unlocked). A function without it in its signature
/// cannot start a nested loop, and a future cannot have one: no task outlives the loan. It is also proof of
/// the lock: `&NoCoroutine` is a [`&Bql`](Bql), which keeps guards from living across a nested loop.
///
/// # Examples
///
/// ```
/// use executor::{MainCx, NoCoroutine, block_on, run_main};
///
/// /// May run a nested event loop, and says so: no task can call it.
/// fn flush(nc: &mut NoCoroutine, dirty: u32) -> u32 {
///     let written = nc.unlocked(|| dirty * 512); // Others have the lock meanwhile.
///     assert!(executor::bql::is_locked());
///     written
/// }
///
/// async fn half(_: &MainCx) -> u32 {
///     21
/// }
///
/// run_main(|nc| {
///     assert_eq!(flush(nc, 2), 1024);
///     let task = nc.spawn(half);
///     let answer = block_on(nc, async move |_: &MainCx| 2 * task.await.unwrap());
///     assert_eq!(answer, 42);
///     // Other threads are given a handle, never the right itself.
///     let asked = nc.main().call(|nc| flush(nc, 1));
///     let written = block_on(nc, async move |_: &MainCx| asked.await.unwrap());
///     assert_eq!(written, 512);
/// });
/// ```
pub struct NoCoroutine {
    bql: Bql,
}

impl NoCoroutine {
    /// Lends the right to `f`: for callbacks from C.
    ///
    /// # Safety
    ///
    /// - The calling thread is the main loop's, in a callback that C allows to run a nested loop
    ///   (not a `coroutine_fn`, not inside a `poll` of ours).
    /// - No other `&mut NoCoroutine` or `&MainCx` is usable until this returns.
    ///
    /// # Panics
    ///
    /// If the lock is not held, or a future is being polled on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::ffi::c_void;
    ///
    /// use executor::{Context, NoCoroutine, run_main};
    ///
    /// /// A bottom half, as C calls it.
    /// unsafe extern "C" fn on_drained(result: *mut c_void) {
    ///     // SAFETY: the caller below keeps the cell until this has run, in the same thread.
    ///     let result = unsafe { &*result.cast::<Cell<u32>>() };
    ///     // SAFETY: bottom halves of the main loop may run nested loops, and what waits further up the stack lends
    ///     // its `NoCoroutine` to that wait.
    ///     unsafe { NoCoroutine::assume(|nc| result.set(nc.unlocked(|| 7))) };
    /// }
    ///
    /// run_main(|nc| {
    ///     let result = Cell::new(0_u32);
    ///     let opaque = (&raw const result).cast_mut().cast();
    ///     // SAFETY: `result` lives until the wait is over.
    ///     unsafe {
    ///         let main = Context::main();
    ///         aio_sys::aio_bh_schedule_oneshot_full(main.as_raw(), on_drained, opaque, c"drained".as_ptr());
    ///     }
    ///     nc.wait_while(|_bql| result.get() == 0);
    ///     assert_eq!(result.get(), 7);
    /// });
    /// ```
    #[track_caller]
    pub unsafe fn assume<R>(f: impl for<'n> FnOnce(&'n mut NoCoroutine) -> R) -> R {
        assert!(bql::is_locked(), "this thread does not hold the Big QEMU Lock");
        assert!(
            !current::in_poll(),
            "a callback that may run nested event loops was called inside {}",
            current::describe_task()
        );
        f(&mut NoCoroutine { bql: Bql::new() })
    }

    /// A handle on the main loop for other threads.
    pub fn main(&self) -> MainHandle {
        MainHandle::new()
    }

    /// Spawns a task on the main loop.
    #[track_caller]
    pub fn spawn<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: for<'a> TaskFn<&'a MainCx, T> + 'static,
        T: 'static,
    {
        spawn_main(&crate::main_loop::main_core(), None, Location::caller(), task)
    }

    /// Runs the main context's events until `condition` is false (`AIO_WAIT_WHILE`).
    ///
    /// The condition is looked at again after each event of the main context, and after
    /// [`wait_kick`](crate::wait_kick), where there is an example.
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code.
    #[track_caller]
    pub fn wait_while(&mut self, mut condition: impl FnMut(&Bql) -> bool) {
        bql::assert_nothing_borrowed("a nested event loop was started");
        let _waiting = crate::aio::wait::Waiting::begin();
        while condition(&self.bql) {
            crate::main_loop::wait_nested(Location::caller());
        }
    }

    /// Releases the Big QEMU Lock while `work` runs. `work` is `Send`, so it cannot bring along anything
    /// that the lock protects.
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    ///
    /// use executor::bql::with_bql;
    /// use executor::{BqlCell, run_main};
    ///
    /// static REPORTED: BqlCell<bool> = BqlCell::new(false);
    ///
    /// run_main(|nc| {
    ///     // It wants the lock that the caller holds: joined without `unlocked`, neither would ever go on.
    ///     let vcpu = thread::spawn(|| with_bql(|bql| REPORTED.set(bql, true)));
    ///     nc.unlocked(|| vcpu.join().unwrap());
    ///     assert!(REPORTED.get(nc));
    /// });
    /// ```
    #[track_caller]
    pub fn unlocked<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R {
        bql::without_lock(work)
    }
}

impl Deref for NoCoroutine {
    type Target = Bql;

    fn deref(&self) -> &Bql {
        &self.bql
    }
}

impl fmt::Debug for NoCoroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoCoroutine")
    }
}

/// What a task of the main loop is lent: it is polled in the main loop's thread, under the Big QEMU Lock.
///
/// # Examples
///
/// ```
/// use executor::{BqlRefCell, MainCx, block_on, run_main};
///
/// static LOG: BqlRefCell<Vec<&str>> = BqlRefCell::new(Vec::new());
///
/// async fn write(cx: &MainCx) {
///     cx.bql(|bql| LOG.borrow_mut(bql).push("written"));
/// }
///
/// async fn job(cx: &MainCx) {
///     let named = cx.spawn_named("writer", write);
///     assert_eq!(cx.probe().tasks()[0].label.name.as_deref(), Some("writer"));
///     let plain = cx.spawn_future(async { 6 * 7 }); // It is lent nothing.
///     assert_eq!(plain.await.unwrap(), 42);
///     named.await.unwrap();
///     cx.spawn(write).await.unwrap();
///     let called = cx.main().call(|nc| LOG.borrow_mut(nc).push("called"));
///     called.await.unwrap(); // Another thread would do this with the handle of `cx.main()`.
/// }
///
/// run_main(|nc| {
///     block_on(nc, job);
///     assert_eq!(LOG.take(nc), ["written", "written", "called"]);
/// });
/// ```
pub struct MainCx {
    /// Also what binds it to its thread: a marker beside it would have the compiler say everything twice.
    core: Rc<Core>,
}

impl MainCx {
    pub(crate) fn new(core: Rc<Core>) -> MainCx {
        MainCx { core }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Lets `f` look at what the Big QEMU Lock protects.
    ///
    /// `f` cannot await, and no guard can leave it. What was true in one scope need not be true in the
    /// next one if there is an `.await` between: the lock was released meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::time::sleep;
    /// use executor::{BqlRefCell, MainCx, block_on, run_main};
    /// use std::time::Duration;
    ///
    /// static QUEUE: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());
    ///
    /// async fn drain(cx: &MainCx) -> u32 {
    ///     let mut sum = 0;
    ///     // A scope for each look, and what is taken along is owned.
    ///     while let Some(request) = cx.bql(|bql| QUEUE.borrow_mut(bql).pop()) {
    ///         sleep(Duration::from_micros(1)).await; // The loop runs; the queue may change.
    ///         sum += request;
    ///     }
    ///     sum
    /// }
    ///
    /// run_main(|nc| {
    ///     QUEUE.borrow_mut(nc).extend([1, 2, 3]);
    ///     assert_eq!(block_on(nc, drain), 6);
    /// });
    /// ```
    ///
    /// A guard that is to live for longer than its scope does not compile:
    ///
    /// ```compile_fail
    /// # use executor::{BqlRefCell, MainCx};
    /// # static QUEUE: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());
    /// async fn drain(cx: &MainCx) -> usize {
    ///     let queue = cx.bql(|bql| QUEUE.borrow(bql));
    ///     executor::time::sleep(std::time::Duration::ZERO).await;
    ///     queue.len()
    /// }
    /// ```
    #[track_caller]
    pub fn bql<R>(&self, f: impl for<'b> FnOnce(&'b Bql) -> R) -> R {
        Bql::lend(f)
    }

    /// Spawns another task on the main loop.
    #[track_caller]
    pub fn spawn<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: for<'a> TaskFn<&'a MainCx, T> + 'static,
        T: 'static,
    {
        spawn_main(&self.core, None, Location::caller(), task)
    }

    /// Spawns another task on the main loop, with a name.
    #[track_caller]
    pub fn spawn_named<F, T>(&self, name: impl Into<Arc<str>>, task: F) -> JoinHandle<T>
    where
        F: for<'a> TaskFn<&'a MainCx, T> + 'static,
        T: 'static,
    {
        spawn_main(&self.core, Some(name.into()), Location::caller(), task)
    }

    /// Spawns a future that needs no capability.
    #[track_caller]
    pub fn spawn_future<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.core.spawn(None, Location::caller(), future)
    }

    /// Calls `f` outside of any task, where nested event loops are allowed: how async code calls a
    /// `no_coroutine_fn`, in a bottom half of its own (`aio_bh_schedule_oneshot`). Await the answer: if `f` panics,
    /// that is it; if nobody wants it any more, `f` is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{JoinError, MainCx, NoCoroutine, block_on, run_main};
    ///
    /// /// The binding of a `no_coroutine_fn`: it may run a nested event loop.
    /// fn flush(nc: &mut NoCoroutine) -> usize {
    ///     nc.unlocked(|| 512)
    /// }
    ///
    /// async fn flush_from_a_task(cx: &MainCx) -> Result<usize, JoinError> {
    ///     cx.run_in_bh(flush).await
    /// }
    ///
    /// run_main(|nc| assert_eq!(block_on(nc, flush_from_a_task).unwrap(), 512));
    /// ```
    #[track_caller]
    pub fn run_in_bh<R: 'static>(
        &self,
        f: impl FnOnce(&mut NoCoroutine) -> R + 'static,
    ) -> Remote<R> {
        let (errand, remote) = remote::pair();
        self.call_in_bh(errand, Location::caller(), f);
        remote
    }

    /// As [`run_in_bh`](Self::run_in_bh), with an answer that goes to whoever has the other end of
    /// `errand`.
    pub(crate) fn call_in_bh<R: 'static>(
        &self,
        errand: Errand<R>,
        called_at: &'static Location<'static>,
        f: impl FnOnce(&mut NoCoroutine) -> R + 'static,
    ) {
        let call = call_job(errand, called_at, f);
        if self.core.is_nested() {
            // Nested loops do not run the iohandler context, and the task waits in one.
            self.core.call_outside(call);
        } else {
            // SAFETY: this is the main loop's thread, which runs the iohandler context.
            unsafe { run_oneshot_here(&Context::iohandler(), call) };
        }
    }

    /// Spawns the future that `make` makes of a context of its own: what `spawn_named` does with an async
    /// closure, which this edition does not have. The context must stay in that future.
    #[track_caller]
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn spawn_owning<F: Future + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        make: impl FnOnce(MainCx) -> F,
    ) -> JoinHandle<F::Output> {
        let future = make(MainCx::new(Rc::clone(&self.core)));
        self.core.spawn(Some(name.into()), Location::caller(), future)
    }

    /// A handle on the main loop for other threads.
    pub fn main(&self) -> MainHandle {
        MainHandle::new()
    }

    /// Lists and cancels the tasks of this executor.
    pub fn probe(&self) -> crate::Probe {
        self.core.probe()
    }
}

impl fmt::Debug for MainCx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MainCx")
    }
}

/// Spawns a task that is lent a `MainCx`.
pub(crate) fn spawn_main<F, T>(
    core: &Rc<Core>,
    name: Option<Arc<str>>,
    spawned_at: &'static Location<'static>,
    task: F,
) -> JoinHandle<T>
where
    F: for<'a> TaskFn<&'a MainCx, T> + 'static,
    T: 'static,
{
    let cx = MainCx::new(Rc::clone(core));
    core.spawn(name, spawned_at, async move { task(&cx).await })
}

/// Calls `f` in a one-shot bottom half of the main loop. Any thread.
pub(crate) fn call_main<R: Send + 'static>(
    called_at: &'static Location<'static>,
    f: impl FnOnce(&mut NoCoroutine) -> R + Send + 'static,
) -> Remote<R> {
    let (errand, remote) = remote::pair();
    run_oneshot(&Context::iohandler(), call_job(errand, called_at, f));
    remote
}

/// What the one-shot bottom half runs.
fn call_job<R>(
    errand: Errand<R>,
    called_at: &'static Location<'static>,
    f: impl FnOnce(&mut NoCoroutine) -> R,
) -> impl FnOnce() {
    move || {
        errand.call(called_at, || {
            // SAFETY: a bottom half of the iohandler context, and a call that an executor of the main
            // loop's thread makes, run in that thread, outside of coroutines; capabilities of code
            // further up the stack are in use by that code only.
            unsafe { NoCoroutine::assume(f) }
        });
    }
}
