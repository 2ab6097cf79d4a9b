//! The main loop: its executor, the right to block it, and the way to it from other threads.

#[cfg(not(feature = "in-tree"))]
mod embedded;

#[cfg(not(feature = "in-tree"))]
pub use embedded::MainLoop;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::aio::context::Context;
use crate::aio::main_loop;
use crate::bql;
use crate::clock;
use crate::current;
use crate::cx::{Bql, MainCx, NoCoroutine, call_main};
use crate::drop_on_main;
use crate::local_executor::{Core, LocalExecutor};
use crate::observe;
use crate::remote::{self, Remote};
use crate::task_fn::TaskFn;
use crate::thread_id;

/// The executors of the main loop's thread.
#[derive(Default)]
struct Executors {
    /// In the iohandler context: where tasks live. Never run by nested loops.
    main: Option<LocalExecutor>,
    /// In the main context: where the future of a nested `block_on` lives, and what it spawns.
    nested: Option<LocalExecutor>,
}

thread_local! {
    static EXECUTORS: RefCell<Executors> = RefCell::default();
    /// Who runs the main loop, also while the lock is released.
    static RUNNER: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// Event loops on the stack.
    static DISPATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Runs a program on the main loop: initialises it (`qemu_init_main_loop`), takes the Big QEMU Lock and lends
/// `program` the right to run event loops. For standalone programs and tests; inside QEMU, the main loop is QEMU's, and
/// `host::attach` is the way in. A program that has an event loop already keeps it, with a [`MainLoop`].
///
/// When `program` returns, the main loop's tasks are cancelled and their futures dropped. May be called
/// again, by the same thread.
///
/// # Panics
///
/// Inside a task or another `run_main`; inside QEMU; and if the main loop cannot be initialised.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::clock::Clock;
/// use executor::time::sleep;
/// use executor::{MainCx, block_on, run_main};
///
/// /// A program: sleeps, and says for how long it really was.
/// async fn program(_: &MainCx) -> i64 {
///     let began = Clock::Realtime.now();
///     sleep(Duration::from_millis(2)).await;
///     Clock::Realtime.now() - began
/// }
///
/// let slept = run_main(|nc| {
///     assert!(executor::bql::is_locked());
///     block_on(nc, program)
/// });
/// assert!(slept >= 2_000_000);
/// ```
#[track_caller]
pub fn run_main<R>(program: impl for<'n> FnOnce(&'n mut NoCoroutine) -> R) -> R {
    const WHO: &str = "`run_main`";
    assert_may_run(WHO);
    if let Err(error) = claim_main_loop() {
        panic!("the main loop cannot be initialised: {error}");
    }
    let _lock = bql::Held::new();
    let _running = Running::begin(WHO);
    // SAFETY: no capability exists on this thread, which just took the lock and is in no callback.
    unsafe { NoCoroutine::assume(program) }
}

/// Panics unless `who` may start to run the main loop, as far as that can be said without it.
#[track_caller]
fn assert_may_run(who: &str) {
    if cfg!(feature = "host") {
        panic!("{who} inside QEMU, whose main loop is QEMU's own: use `host::attach`");
    }
    assert!(!current::in_poll(), "{who} inside {}", current::describe_task());
    if let Some(runner) = RUNNER.get() {
        panic!("{runner} runs already");
    }
    assert!(EXECUTORS.try_with(|_| ()).is_ok(), "{who} while its thread ends");
    assert!(!bql::is_locked(), "{who} takes the Big QEMU Lock, which this thread holds already");
}

/// The thread of the main loop, by its number.
static OWNER: OnceLock<u32> = OnceLock::new();

/// Initialises the main loop, which then belongs to this thread for good.
#[track_caller]
fn claim_main_loop() -> io::Result<()> {
    let me = thread_id::get_or_assign();
    let owner = match OWNER.get() {
        Some(owner) => *owner,
        None => initialise(me)?,
    };
    assert!(
        owner == me,
        "the main loop belongs to the thread that called `run_main` or `MainLoop::new` first"
    );
    Ok(())
}

/// Gives the main loop to thread `me`, unless another one was faster. Returns whose it is.
fn initialise(me: u32) -> io::Result<u32> {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if OWNER.get().is_none() {
        main_loop::init()?;
        #[cfg(not(feature = "in-tree"))]
        aio_sys::emulated::set_bql_borrow_reporter(bql::borrows::describe_all);
    }
    Ok(*OWNER.get_or_init(|| me))
}

/// Makes QEMU's main loop ours, too: attaches the executor, to the main context if `nested`. Returns whether
/// that is the first time. Main loop's thread, lock held.
#[cfg(feature = "host")]
pub(crate) fn adopt(nested: bool) -> bool {
    let first = OWNER.set(thread_id::get_or_assign()).is_ok();
    if first {
        let context = if nested { Context::main } else { Context::iohandler };
        core_of(|executors| &mut executors.main, context);
    }
    first
}

/// Whether the calling thread is the main loop's. Others may hold the lock and run the main context.
#[cfg(any(feature = "host", feature = "testing"))]
pub(crate) fn is_home() -> bool {
    OWNER.get().is_some_and(|owner| *owner == thread_id::get())
}

/// Gives the tasks of the main loop that are ready a last turn, cancels them all and takes no more. Main
/// loop's thread, lock held. Returns the tasks that survived.
#[cfg(feature = "host")]
pub(crate) fn shut_down() -> Vec<crate::task::TaskLabel> {
    let main = EXECUTORS.with_borrow(|e| e.main.as_ref().map(|e| Rc::clone(e.core())));
    let Some(core) = main else { return Vec::new() };
    // Such as the reply to the command that has asked for the end.
    core.run_slice();
    core.shutdown()
}

/// The executors of the main loop, while somebody runs it. Made and dropped with the lock held.
struct Running {
    _private: (),
}

impl Running {
    fn begin(runner: &'static str) -> Running {
        RUNNER.set(Some(runner));
        clock::resume_virtual(&Bql::new());
        Running { _private: () }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // While the thread ends they may be gone already, and their tasks with them.
        let executors = EXECUTORS.try_with(RefCell::take).unwrap_or_default();
        drop(executors.main);
        drop(executors.nested);
        drop_on_main::drop_waiting();
        RUNNER.set(None);
    }
}

/// The executor of the main loop, attached on first use. Main loop's thread only.
///
/// # Panics
///
/// On any thread that does not hold the Big QEMU Lock.
#[track_caller]
pub(crate) fn main_core() -> Rc<Core> {
    core_of(|executors| &mut executors.main, Context::iohandler)
}

fn core_of(
    slot: impl Fn(&mut Executors) -> &mut Option<LocalExecutor>,
    context: impl FnOnce() -> Context,
) -> Rc<Core> {
    let attached = EXECUTORS.with_borrow_mut(|e| slot(e).as_ref().map(|e| Rc::clone(e.core())));
    attached.unwrap_or_else(|| {
        let executor = LocalExecutor::attach(&context());
        let core = Rc::clone(executor.core());
        EXECUTORS.with_borrow_mut(|executors| *slot(executors) = Some(executor));
        core
    })
}

/// Polls the future of `task` and runs the event loop until it is ready.
///
/// In a program's own code, right inside [`run_main`], that is the whole main loop. In a callback of the main
/// loop it is a *nested* event loop, as C's `AIO_WAIT_WHILE`: it runs the main context only, so tasks of the
/// main loop stand still, and only what `task` itself spawns goes on.
///
/// # Panics
///
/// If a `BqlRefCell` is borrowed by ambient code, now or when the future is suspended.
///
/// # Examples
///
/// ```
/// use executor::{MainCx, NoCoroutine, block_on, run_main};
///
/// async fn read_status(_: &MainCx) -> u8 {
///     3
/// }
///
/// /// Code that is not async calls an async function; `nc` says that it may.
/// fn status(nc: &mut NoCoroutine) -> u8 {
///     block_on(nc, read_status)
/// }
///
/// run_main(|nc| {
///     assert_eq!(status(nc), 3);
///
///     // What the future uses may be borrowed from here: it ends before `block_on` does.
///     let mut seen = Vec::new();
///     block_on(nc, async |cx: &MainCx| seen.push(read_status(cx).await));
///     assert_eq!(seen, [3]);
/// });
/// ```
#[track_caller]
pub fn block_on<F, T>(nc: &mut NoCoroutine, task: F) -> T
where
    F: for<'a> TaskFn<&'a MainCx, T>,
{
    let _exclusive = nc;
    bql::assert_nothing_borrowed("a nested event loop was started");
    // All code inside QEMU is called by its loop.
    let nested = cfg!(feature = "host") || DISPATCHING.get() > 0;
    let core = if nested {
        core_of(|executors| &mut executors.nested, Context::main)
    } else {
        main_core()
    };
    let cx = MainCx::new(Rc::clone(&core));
    let here = Location::caller();
    core.block_on(task(&cx), || wait(nested, here))
}

fn wait(nested: bool, here: &'static Location<'static>) {
    if nested {
        return wait_nested(here);
    }
    dispatch(main_loop::wait);
    assert_goes_on(here);
}

/// Waits for events of the main context and serves them.
pub(crate) fn wait_nested(here: &'static Location<'static>) {
    dispatch(|| {
        Context::main().poll(true);
    });
    assert_goes_on(here);
}

/// Panics if `here` is in a test and waits for what does not come while its clock is paused.
#[inline]
pub(crate) fn assert_goes_on(here: &'static Location<'static>) {
    #[cfg(feature = "testing")]
    crate::testing::assert_goes_on(here);
    let _ = here;
}

/// One turn of the main loop, for a test that goes step by step.
#[cfg(feature = "testing")]
pub(crate) fn turn(_nc: &mut NoCoroutine) {
    dispatch(main_loop::wait);
}

/// Runs an event loop. Whoever blocks in one of its callbacks starts a nested loop. No panic comes out of C.
fn dispatch(run: impl FnOnce()) {
    DISPATCHING.set(DISPATCHING.get() + 1);
    run();
    DISPATCHING.set(DISPATCHING.get() - 1);
}

/// The main loop, seen from other threads: the way back. `Clone + Send + Sync`.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use executor::{BqlCell, MainCx, NoCoroutine, block_on, run_main};
///
/// static WRITTEN: BqlCell<u32> = BqlCell::new(0);
///
/// run_main(|nc| {
///     let main = nc.main();
///     let worker = thread::spawn(move || {
///         let write = |nc: &mut NoCoroutine| WRITTEN.set(nc, WRITTEN.get(nc) + 512);
///         let (one, other) = (main.call(write), main.call(write)); // In any order,
///         main.run(async move |cx: &MainCx| {
///             one.await.unwrap();
///             other.await.unwrap(); // but before what follows.
///             cx.bql(|bql| WRITTEN.get(bql))
///         })
///     });
///     let written = worker.join().unwrap();
///     assert_eq!(block_on(nc, async move |_: &MainCx| written.await.unwrap()), 1024);
/// });
/// ```
#[derive(Clone)]
pub struct MainHandle {
    _private: (),
}

impl MainHandle {
    pub(crate) fn new() -> MainHandle {
        MainHandle { _private: () }
    }

    /// Calls `f` on the main loop, outside of any task (`aio_bh_schedule_oneshot`). Any thread.
    ///
    /// QEMU runs bottom halves last in, first out, so several calls need not keep their order: who needs it
    /// awaits the one before the next.
    #[track_caller]
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut NoCoroutine) -> R + Send + 'static,
    ) -> Remote<R> {
        call_main(Location::caller(), f)
    }

    /// Spawns a task on the main loop. Only the function and its output need be `Send`. Any thread.
    ///
    /// It gets there by a [`call`](Self::call), so several tasks need not begin in order.
    #[track_caller]
    pub fn run<F, T>(&self, task: F) -> Remote<T>
    where
        F: for<'a> TaskFn<&'a MainCx, T> + Send + 'static,
        T: Send + 'static,
    {
        let spawned_at = Location::caller();
        let (errand, remote) = remote::pair();
        if observe::is_on() {
            observe::sent(errand.address(), 0);
        }
        call_main(spawned_at, move |_| {
            let core = main_core();
            let cx = MainCx::new(Rc::clone(&core));
            let address = errand.address();
            let task = errand.run(async move { task(&cx).await });
            core.spawn_sent(address, spawned_at, task).detach();
        })
        .detach();
        remote
    }
}

impl fmt::Debug for MainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MainHandle")
    }
}
