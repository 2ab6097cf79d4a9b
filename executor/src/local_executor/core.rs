//! What an executor consists of; its birth, spawning, `block_on` and end.

#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use super::budget::Budget;
use super::calls::Calls;
use super::doorbell::Bell;
use super::flood::Flood;
use super::foresight::Foresight;
use super::timers::LoopTimers;
use crate::aio::context::Context;
use crate::aio::fd_handler::{FdHandler, OnReadable};
use crate::arena;
use crate::async_fd::{Events, Reactor};
use crate::bql::borrows;
use crate::current;
use crate::home::Home;
use crate::observe;
use crate::probe::Probe;
use crate::stats::Counters;
use crate::task::{self, JoinHandle, TaskLabel};
use crate::task_table::TaskTable;
use crate::time::TimerQueue;

/// The executor itself. Home thread only; shared by its handle, its callbacks and its tasks.
pub(crate) struct Core {
    number: usize,
    context: Context,
    bell: Bell,
    calls: Calls,
    home: Arc<Home>,
    counters: Arc<Counters>,
    timers: Arc<TimerQueue>,
    loop_timers: LoopTimers,
    reactor: OnceCell<(Arc<Reactor>, FdHandler<Arc<Reactor>>)>,
    fd_events: Events,
    foresight: Foresight,
    flood: Flood,
    budget: Cell<Budget>,
    closed: Cell<bool>,
    /// Whether `cancel_repeatedly` is on the stack.
    cancelling: Cell<bool>,
    next_id: Cell<u64>,
}

/// Rounds of a shutdown: destructors may spawn, but not for ever.
const SHUTDOWN_ROUNDS: usize = 100;
/// Task ids are taken from the process-wide counter in blocks, which saves an atomic per spawn.
const ID_BLOCK: u64 = 1024;

/// The first id of a new block. No id has the lower half 0, which the table of tasks takes for nobody.
fn new_id_block() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters.
    let first = NEXT.fetch_add(ID_BLOCK, Ordering::Relaxed);
    if first as u32 == 0 { first + 1 } else { first }
}

impl Core {
    pub(super) fn new(context: &Context) -> Rc<Core> {
        let number = current::new_number();
        let bell = Bell::new(context, number);
        let core = Rc::new(Core {
            number,
            context: context.clone(),
            home: Home::new(bell.for_home()),
            bell,
            calls: Calls::default(),
            counters: Arc::default(),
            timers: Arc::new(TimerQueue::new()),
            loop_timers: LoopTimers::new(),
            reactor: OnceCell::new(),
            fd_events: Events::default(),
            foresight: Foresight::default(),
            flood: Flood::default(),
            budget: Cell::default(),
            closed: Cell::new(false),
            cancelling: Cell::new(false),
            next_id: Cell::new(0),
        });
        current::register(&core);
        core
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(crate) fn table(&self) -> &TaskTable {
        self.home.table()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn timers(&self) -> &Arc<TimerQueue> {
        &self.timers
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Whether nested event loops run this executor.
    pub(crate) fn is_nested(&self) -> bool {
        self.bell.is_nested()
    }

    pub(super) fn loop_timers(&self) -> &LoopTimers {
        &self.loop_timers
    }

    pub(super) fn flood(&self) -> &Flood {
        &self.flood
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget.get()
    }

    pub(super) fn set_budget(&self, budget: Budget) {
        self.budget.set(budget);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn probe(&self) -> Probe {
        Probe::new(Arc::clone(&self.home), Arc::clone(&self.counters))
    }

    /// The fd reactor, made on first use: its epoll instance is one fd in our event loop.
    pub(crate) fn reactor(&self) -> io::Result<Arc<Reactor>> {
        if let Some((reactor, _)) = self.reactor.get() {
            return Ok(Arc::clone(reactor));
        }
        let reactor = Arc::new(Reactor::new()?);
        let handler = FdHandler::new::<FdEvents>(&self.context, Arc::clone(&reactor), self.number);
        let (reactor, handler) = self.reactor.get_or_init(|| (reactor, handler));
        if self.is_closed() {
            handler.close();
            reactor.close();
        }
        Ok(Arc::clone(reactor))
    }

    /// Wakes whoever waits for fds that are ready. Returns how many events there were.
    pub(super) fn dispatch_fds(&self) -> usize {
        let Some((reactor, _)) = self.reactor.get() else { return 0 };
        let events = reactor.dispatch(&self.fd_events);
        self.counters.fd_events.add(events as u64);
        events
    }

    /// The same at the end of a run, if that is likely to find something.
    #[inline]
    pub(super) fn dispatch_fds_early(&self) -> bool {
        if self.reactor.get().is_none() || !self.foresight.asks() {
            return false;
        }
        let found = self.dispatch_fds() > 0;
        self.foresight.learn(found);
        found
    }

    pub(crate) fn new_id(&self) -> u64 {
        let mut id = self.next_id.get();
        if id % ID_BLOCK == 0 {
            id = new_id_block();
        }
        self.next_id.set(id + 1);
        id
    }

    pub(crate) fn spawn<F: Future + 'static>(
        self: &Rc<Self>,
        name: Option<Arc<str>>,
        spawned_at: &'static Location<'static>,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.spawn_labelled(TaskLabel { id: self.new_id(), name, spawned_at }, future)
    }

    pub(crate) fn spawn_labelled<F: Future + 'static>(
        self: &Rc<Self>,
        label: TaskLabel,
        future: F,
    ) -> JoinHandle<F::Output> {
        if observe::is_on() {
            observe::spawned(&label, &self.context);
        }
        self.spawn_unobserved(label, future)
    }

    /// Spawns what another executor has sent, and observers know by `address`.
    pub(crate) fn spawn_sent<F: Future + 'static>(
        self: &Rc<Self>,
        address: usize,
        spawned_at: &'static Location<'static>,
        future: F,
    ) -> JoinHandle<F::Output> {
        let label = TaskLabel { id: self.new_id(), name: None, spawned_at };
        self.spawn_moved(address, label, future)
    }

    /// Spawns a task that another executor has sent, with its label.
    pub(crate) fn spawn_moved<F: Future + 'static>(
        self: &Rc<Self>,
        address: usize,
        label: TaskLabel,
        future: F,
    ) -> JoinHandle<F::Output> {
        if observe::is_on() {
            observe::arrived(address, &label, &self.context);
        }
        self.spawn_unobserved(label, future)
    }

    fn spawn_unobserved<F: Future + 'static>(
        self: &Rc<Self>,
        label: TaskLabel,
        future: F,
    ) -> JoinHandle<F::Output> {
        let handle = task::spawn(&self.home, label, future);
        self.counters.spawned.add(1);
        if self.is_closed() {
            self.cancel_repeatedly();
        }
        handle
    }

    /// Polls `future` on the stack, running the event loop with `wait` in between.
    ///
    /// # Panics
    ///
    /// Inside a poll, naming the task; if the future is suspended with a `BqlRefCell` borrowed; and if it
    /// would have to wait although the executor was shut down.
    #[track_caller]
    pub(crate) fn block_on<F: Future>(
        self: &Rc<Self>,
        future: F,
        mut wait: impl FnMut(),
    ) -> F::Output {
        assert!(
            !current::in_poll(),
            "a nested event loop was started inside {}: `.await` the future there, or leave the task \
             with `run_in_bh`",
            current::describe_task()
        );
        let root = Arc::new(Root { woken: AtomicBool::new(true), home: Arc::clone(&self.home) });
        let waker = Waker::from(Arc::clone(&root));
        let mut future = pin!(future);
        loop {
            // Acquire: pairs with the Release in `wake`.
            if root.woken.swap(false, Ordering::Acquire) {
                let mut cx = TaskContext::from_waker(&waker);
                if let Poll::Ready(output) = self.poll_root(|| future.as_mut().poll(&mut cx)) {
                    return output;
                }
            }
            assert!(
                !self.is_closed(),
                "the executor was shut down: nothing can wake the future of this `block_on` any more"
            );
            wait();
        }
    }

    #[track_caller]
    fn poll_root<T>(self: &Rc<Self>, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let before = borrows::live();
        let polled = {
            let _entered = current::enter(self);
            current::polling(|_| poll())
        };
        assert!(
            polled.is_ready() || !borrows::live().since(before),
            "the future of a `block_on` was suspended while a BqlRefCell is borrowed: {}",
            borrows::describe(before)
        );
        self.arm_timers();
        polled
    }

    /// Polls a future that somebody else drives, as if it were in this executor: timers and descriptors
    /// that it asks for are served here.
    #[cfg(feature = "host")]
    pub(crate) fn poll_guest<T>(self: &Rc<Self>, poll: impl FnOnce() -> T) -> T {
        let polled = {
            let _entered = current::enter(self);
            current::polling(|_| poll())
        };
        self.arm_timers();
        polled
    }

    pub(crate) fn shutdown(self: &Rc<Self>) -> Vec<TaskLabel> {
        if self.is_closed() {
            return Vec::new();
        }
        self.cancel_repeatedly();
        self.close();
        self.table().rows().into_iter().map(|row| row.label).collect()
    }

    /// Cancels every task, and what the destructors spawn, within a bound. A destructor that gets here
    /// again leaves the work to the outer call: it must not recurse for ever.
    fn cancel_repeatedly(self: &Rc<Self>) {
        if self.cancelling.replace(true) {
            return;
        }
        for _ in 0..SHUTDOWN_ROUNDS {
            let served = self.serve_requests_entered();
            if self.cancel_all() + served == 0 {
                break;
            }
        }
        self.cancelling.set(false);
    }

    /// Cancels every task and drops the futures, all but those that are on the stack. Returns how many.
    fn cancel_all(self: &Rc<Self>) -> usize {
        let tasks = self.table().tasks(None);
        for task in &tasks {
            task.cancel();
        }
        self.run_all_ready(tasks.len())
    }

    fn serve_requests_entered(self: &Rc<Self>) -> usize {
        let _entered = current::enter(self);
        self.serve_requests()
    }

    /// Lets go of the event loop. What other threads still send is refused; wakers that are still
    /// around find the inbox closed.
    fn close(self: &Rc<Self>) {
        self.closed.set(true);
        {
            let _entered = current::enter(self);
            drop(self.home.inbox().close());
        }
        self.calls.close();
        self.bell.close();
        self.loop_timers.close();
        self.timers.close();
        if let Some((reactor, handler)) = self.reactor.get() {
            // A spawner may keep the core alive: nobody would take the events that the loop sees.
            handler.close();
            reactor.close();
        }
        arena::close(&self.home);
        current::unregister(self.number);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        debug_assert!(self.is_closed(), "a `LocalExecutor` shuts down when it is dropped");
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The waker of a `block_on`.
struct Root {
    woken: AtomicBool,
    home: Arc<Home>,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `block_on`.
        if !self.woken.swap(true, Ordering::Release) {
            self.home.ring();
        }
    }
}

/// The loop found the reactor's epoll instance readable.
struct FdEvents;

impl OnReadable for FdEvents {
    fn ready(number: usize) {
        let Some(core) = current::find(number) else { return Context::notify_main_loop() };
        core.run_after(|| core.dispatch_fds() > 0);
    }

    fn poll(number: usize) -> bool {
        current::find(number).is_some_and(|core| {
            core.reactor.get().is_some_and(|(reactor, _)| reactor.peek(&core.fd_events))
        })
    }
}
