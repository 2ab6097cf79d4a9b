//! The main loop: its executor, the right to block it, and the way to it from other threads.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::OnceLock;

use crate::aio::context::Context;
use crate::aio::main_loop;
use crate::bql;
use crate::clock;
use crate::current;
use crate::cx::{Bql, MainCx, NoCoroutine, call_main};
use crate::drop_on_main;
use crate::local_executor::{Core, LocalExecutor};
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
    /// Whether a `run_main` is on the stack, also while it has released the lock.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// Event loops on the stack.
    static DISPATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Runs a program on the main loop: initialises it, takes the Big QEMU Lock and lends `program` the right to
/// run event loops. For standalone programs and tests; inside QEMU, the main loop is QEMU's, and
/// `host::attach` is the way in.
///
/// When `program` returns, the main loop's tasks are cancelled and their futures dropped. May be called
/// again, by the same thread.
///
/// # Panics
///
/// Inside a task or another `run_main`; inside QEMU; and if the main loop cannot be initialised.
#[track_caller]
pub fn run_main<R>(program: impl for<'n> FnOnce(&'n mut NoCoroutine) -> R) -> R {
    if cfg!(feature = "host") {
        panic!("`run_main` inside QEMU, whose main loop is QEMU's own: use `host::attach`");
    }
    assert!(!current::in_poll(), "`run_main` inside {}", current::describe_task());
    assert!(!RUNNING.get(), "`run_main` runs already");
    assert!(EXECUTORS.try_with(|_| ()).is_ok(), "`run_main` while its thread ends");
    assert!(
        !bql::is_locked(),
        "`run_main` takes the Big QEMU Lock, which this thread holds already"
    );
    claim_main_loop();
    let _running = Running::begin();
    clock::resume_virtual(&Bql::new());
    // SAFETY: no capability exists on this thread, which just took the lock and is in no callback.
    unsafe { NoCoroutine::assume(program) }
}

/// The thread of the main loop, by its number.
static OWNER: OnceLock<u32> = OnceLock::new();

/// Initialises the main loop, which then belongs to this thread for good.
#[track_caller]
fn claim_main_loop() {
    let me = thread_id::get_or_assign();
    let owner = *OWNER.get_or_init(|| {
        if let Err(error) = main_loop::init() {
            panic!("the main loop cannot be initialised: {error}");
        }
        #[cfg(not(feature = "in-tree"))]
        aio_sys::emulated::set_bql_borrow_reporter(bql::borrows::describe_all);
        me
    });
    assert!(owner == me, "the main loop belongs to the thread that called `run_main` first");
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
#[cfg(feature = "host")]
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

/// Holds the lock, and the executors while they live.
struct Running {
    _lock: bql::Held,
}

impl Running {
    fn begin() -> Running {
        RUNNING.set(true);
        Running { _lock: bql::Held::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let executors = EXECUTORS.take();
        drop(executors.main);
        drop(executors.nested);
        drop_on_main::drop_waiting();
        RUNNING.set(false);
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
    core.block_on(task(&cx), || wait(nested))
}

fn wait(nested: bool) {
    if nested {
        wait_nested();
    } else {
        dispatch(main_loop::wait);
    }
}

/// Waits for events of the main context and serves them.
pub(crate) fn wait_nested() {
    dispatch(|| {
        Context::main().poll(true);
    });
}

/// Runs an event loop. Whoever blocks in one of its callbacks starts a nested loop. No panic comes out of C.
fn dispatch(run: impl FnOnce()) {
    DISPATCHING.set(DISPATCHING.get() + 1);
    run();
    DISPATCHING.set(DISPATCHING.get() - 1);
}

/// The main loop, seen from other threads: the way back. `Clone + Send + Sync`.
#[derive(Clone)]
pub struct MainHandle {
    _private: (),
}

impl MainHandle {
    pub(crate) fn new() -> MainHandle {
        MainHandle { _private: () }
    }

    /// Calls `f` on the main loop, outside of any task. Any thread.
    #[track_caller]
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut NoCoroutine) -> R + Send + 'static,
    ) -> Remote<R> {
        call_main(Location::caller(), f)
    }

    /// Spawns a task on the main loop. Only the function and its output need be `Send`. Any thread.
    #[track_caller]
    pub fn run<F, T>(&self, task: F) -> Remote<T>
    where
        F: for<'a> TaskFn<&'a MainCx, T> + Send + 'static,
        T: Send + 'static,
    {
        let spawned_at = Location::caller();
        let (errand, remote) = remote::pair();
        call_main(spawned_at, move |_| {
            let core = main_core();
            let cx = MainCx::new(Rc::clone(&core));
            let task = errand.run(async move { task(&cx).await });
            core.spawn(None, spawned_at, task).detach();
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
