//! Work on iothreads: `reschedule_to` and `IoContext::run`.
//!
//! Each iothread that is asked for its [`IoContext`] gets an executor of its own, made in the iothread by a
//! one-shot bottom half and shut down when the thread ends. What is sent before the executor is there waits in
//! the port, in order.
//!
//! The executor is made when the handle is, not with the first piece of work: whoever asks has a reference
//! on the iothread, so the thread runs what is scheduled then. Later nobody may have one, and a thread that
//! never knew of us would end without closing the port; what is sent to it would wait for ever.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::aio::bottom_half::run_oneshot;
use crate::aio::context::Context;
use crate::aio::iothread::IoThread;
use crate::cx::IoCx;
use crate::home::Home;
use crate::inbox::Job;
use crate::local_executor::{Core, LocalExecutor};
use crate::probe::Probe;
use crate::remote::{Remote, parcel};
use crate::task_fn::TaskFn;

/// The event loop of an iothread, as a place to run work. `Clone + Send + Sync`.
///
/// # Examples
///
/// ```
/// use executor::{IoContext, IoCx, IoThread, MainCx, block_on, run_main};
///
/// async fn work(_: &IoCx) -> u64 {
///     (1..=10).sum()
/// }
///
/// async fn job(io: &IoContext) -> u64 {
///     let sum = io.run(work).await.expect("it neither panics nor is cancelled");
///     // The iothread has an executor by now, which can be looked at from here.
///     let probe = io.probe().expect("it has not ended");
///     assert_eq!(probe.stats().spawned, 1);
///     sum
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     assert_eq!(*io.context(), thread.context());
///     assert_eq!(block_on(nc, async move |_: &MainCx| job(&io).await), 55);
///     thread.destroy(nc).unwrap();
/// });
/// ```
#[derive(Clone)]
pub struct IoContext {
    port: Arc<Port>,
}

/// Moves `future` to the thread of `context`, to be polled there, and gives the handle on its result.
///
/// This is where the thread asks for the `Send` bound: the caller stays as it is, `!Send` and on the main
/// loop; what moves is a value, whose type is seen here, before its first poll; and awaiting the
/// [`Remote`] is the way back. The second bound is not implied by the first: a future may be `Send` and
/// its output not.
///
/// Prefer [`IoContext::run`] if the future itself need not be `Send`. If the iothread has ended, the future is
/// dropped, and the answer is that it was cancelled. Any thread.
///
/// # Examples
///
/// ```
/// use executor::{IoContext, IoThread, MainCx, block_on, reschedule_to, run_main};
/// use std::rc::Rc;
///
/// /// Takes a while, so it is not for the main loop.
/// async fn checksum(data: Vec<u8>) -> u32 {
///     data.into_iter().map(u32::from).sum()
/// }
///
/// async fn verify(io: &IoContext, data: Vec<u8>) -> bool {
///     let expected = Rc::new(6); // Not `Send`: it stays here, across the `.await`.
///     let sum = reschedule_to(io, checksum(data)).await;
///     sum.is_ok_and(|sum| sum == *expected)
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     assert!(block_on(nc, async move |_: &MainCx| verify(&io, vec![1, 2, 3]).await));
///     thread.destroy(nc).unwrap();
/// });
/// ```
#[track_caller]
pub fn reschedule_to<F>(context: &IoContext, future: F) -> Remote<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    context.send(Location::caller(), move |_| future)
}

impl IoContext {
    /// The place that runs `context`, the event loop of an iothread on which the caller has a reference.
    fn of(context: &Context) -> IoContext {
        let new = || Port::open(context);
        IoContext { port: Arc::clone(ports().entry(context.address()).or_insert_with(new)) }
    }

    /// Runs `task` in the iothread. Only the function and its output need be `Send`: the future is made
    /// there and stays there. If the iothread has ended, the answer is that the task was cancelled. Any thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// use executor::{IoCx, IoThread, MainCx, block_on, run_main};
    ///
    /// run_main(|nc| {
    ///     let thread = IoThread::create(nc, "io0").unwrap();
    ///     let step = 3; // Captured, so it is `Send`.
    ///     let counting = thread.io().run(async move |io: &IoCx| {
    ///         let count = Rc::new(Cell::new(0)); // Made there, so it need not be.
    ///         let shared = Rc::clone(&count);
    ///         io.spawn(async move |_: &IoCx| shared.set(step)).await.unwrap();
    ///         count.get()
    ///     });
    ///     let counted = block_on(nc, async move |_: &MainCx| counting.await);
    ///     assert_eq!(counted.unwrap(), 3);
    ///     thread.destroy(nc).unwrap();
    /// });
    /// ```
    #[track_caller]
    pub fn run<F, T>(&self, task: F) -> Remote<T>
    where
        F: for<'a> TaskFn<&'a IoCx, T> + Send + 'static,
        T: Send + 'static,
    {
        self.send(Location::caller(), |core| {
            let cx = IoCx::new(core);
            async move { task(&cx).await }
        })
    }

    /// Sends a job; gives it back if the iothread has ended.
    pub(crate) fn post(&self, job: Job) -> Option<Job> {
        self.port.post(job)
    }

    /// The `AioContext`.
    pub fn context(&self) -> &Context {
        &self.port.context
    }

    /// Lists and cancels the tasks that run there. `None` until the iothread has made its executor, which it
    /// does before anything that is sent to it runs, and after it has ended.
    pub fn probe(&self) -> Option<Probe> {
        match &*self.port.lock() {
            State::Attached(probe) => Some(probe.clone()),
            _ => None,
        }
    }

    /// Whether the iothread has ended. If not, it may end any time.
    #[cfg(feature = "host")]
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.port.lock(), State::Closed)
    }

    /// The executor of the iothread, made now if need be. In the iothread; `None` while it ends.
    #[cfg(feature = "host")]
    pub(crate) fn core_here(&self) -> Option<Rc<Core>> {
        self.port.attach();
        let is_it = |resident: &&Resident| Arc::ptr_eq(&resident.port, &self.port);
        let core = |resident: &Resident| resident.executor.as_ref().map(|it| Rc::clone(it.core()));
        let find = |residents: &RefCell<Vec<Resident>>| {
            residents.borrow().iter().find(is_it).and_then(core)
        };
        RESIDENTS.try_with(find).ok().flatten()
    }

    fn send<M, F>(&self, spawned_at: &'static Location<'static>, make: M) -> Remote<F::Output>
    where
        M: FnOnce(Rc<Core>) -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (job, remote) = parcel(spawned_at, make);
        // A refused job is dropped, which ends the wait for it.
        drop(self.post(job));
        remote
    }
}

impl IoThread {
    /// The place to run work in this iothread.
    pub fn io(&self) -> IoContext {
        IoContext::of(&self.context())
    }
}

impl fmt::Debug for IoContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoContext").field(&self.port.context).finish()
    }
}

/// Where jobs for one iothread go in.
struct Port {
    context: Context,
    /// The iothread's executor, once it is there.
    home: OnceLock<Arc<Home>>,
    state: Mutex<State>,
}

enum State {
    /// No executor yet; it is on its way.
    Unattached(Vec<Job>),
    Attached(Probe),
    /// The iothread has ended.
    Closed,
}

/// The ports of all live event loops, by address.
fn ports() -> MutexGuard<'static, HashMap<usize, Arc<Port>>> {
    static PORTS: OnceLock<Mutex<HashMap<usize, Arc<Port>>>> = OnceLock::new();
    PORTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    /// The thread that runs `context` does not end before it has run what is scheduled here.
    fn open(context: &Context) -> Arc<Port> {
        let state = Mutex::new(State::Unattached(Vec::new()));
        let port = Arc::new(Port { context: context.clone(), home: OnceLock::new(), state });
        let attached = Arc::clone(&port);
        run_oneshot(context, move || attached.attach());
        port
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, job: Job) -> Option<Job> {
        match self.home.get() {
            Some(home) => home.send(job).err(),
            None => self.post_early(job),
        }
    }

    fn post_early(&self, job: Job) -> Option<Job> {
        let mut state = self.lock();
        match &mut *state {
            State::Unattached(waiting) => {
                waiting.push(job);
                None
            }
            State::Attached(_) => {
                drop(state);
                self.home.get().expect("set before the lock was released").send(job).err()
            }
            State::Closed => Some(job),
        }
    }

    /// Makes the executor, if there is none, and sends it what has waited. In the iothread.
    fn attach(self: &Arc<Self>) {
        if !matches!(&*self.lock(), State::Unattached(_)) {
            return;
        }
        let executor = LocalExecutor::attach(&self.context);
        let (home, probe) = (Arc::clone(executor.core().home()), executor.probe());
        let resident = Resident { port: Arc::clone(self), executor: Some(executor) };
        RESIDENTS.with_borrow_mut(|residents| residents.push(resident));
        let mut state = self.lock();
        let State::Unattached(waiting) = &mut *state else {
            // Destroyed meanwhile, with somebody still here: nothing more is sent.
            return;
        };
        let waiting = std::mem::take(waiting);
        *state = State::Attached(probe);
        let refused: Vec<Job> =
            waiting.into_iter().filter_map(|job| home.send(job).err()).collect();
        // Last, and under the lock, so that nobody overtakes: who sees it sends past the lock.
        let _set_once = self.home.set(home);
        drop(state);
        drop(refused);
    }
}

thread_local! {
    /// The executors of this thread, which is an iothread, until it ends.
    static RESIDENTS: RefCell<Vec<Resident>> = const { RefCell::new(Vec::new()) };
}

/// An executor that lives in an iothread.
struct Resident {
    port: Arc<Port>,
    executor: Option<LocalExecutor>,
}

impl Drop for Resident {
    fn drop(&mut self) {
        *self.port.lock() = State::Closed;
        ports().remove(&self.port.context.address());
        drop(self.executor.take());
    }
}
