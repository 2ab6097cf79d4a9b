//! Work on iothreads: `reschedule_to` and `IoContext::run`.
//!
//! Each iothread that is sent work gets an executor of its own, made in the iothread by a one-shot bottom
//! half with the first piece of work and shut down when the thread ends. What is sent before the executor
//! is there waits in the port, in order.

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
use crate::remote::{self, Remote};
use crate::spawner::spawn_job;
use crate::task_fn::TaskFn;

/// The event loop of an iothread, as a place to run work. `Clone + Send + Sync`.
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
/// Prefer [`IoContext::run`] if the future itself need not be `Send`.
#[track_caller]
pub fn reschedule_to<F>(context: &IoContext, future: F) -> Remote<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    context.send(Location::caller(), move |_| future)
}

impl IoContext {
    /// The place that runs `context`: an iothread's event loop.
    pub(crate) fn of(context: &Context) -> IoContext {
        let new = || {
            let state = Mutex::new(State::Unattached(Vec::new()));
            Arc::new(Port { context: context.clone(), home: OnceLock::new(), state })
        };
        IoContext { port: Arc::clone(ports().entry(context.address()).or_insert_with(new)) }
    }

    /// Runs `task` in the iothread. Only the function and its output need be `Send`: the future is made
    /// there and stays there.
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

    /// Lists and cancels the tasks that run there. `None` before the first one was sent.
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
        let (errand, remote) = remote::pair();
        // A refused job is dropped, and with it the errand, which says so.
        drop(self.post(spawn_job(errand, spawned_at, make)));
        remote
    }
}

impl IoThread {
    /// The place to run work in this iothread.
    pub fn io(&self) -> IoContext {
        IoContext::of(&self.context())
    }
}

/// Closes the port of an iothread that is about to end and was never sent anything.
pub(crate) fn forget_unused(context: &Context) {
    let mut ports = ports();
    let address = context.address();
    let unused = ports.get(&address).is_some_and(|port| port.close_if_unused());
    let removed = if unused { ports.remove(&address) } else { None };
    drop(ports);
    drop(removed);
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
    /// No executor yet. The first job sends for it.
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(self: &Arc<Self>, job: Job) -> Option<Job> {
        match self.home.get() {
            Some(home) => home.send(job).err(),
            None => self.post_early(job),
        }
    }

    fn post_early(self: &Arc<Self>, job: Job) -> Option<Job> {
        let mut state = self.lock();
        match &mut *state {
            State::Unattached(waiting) => {
                waiting.push(job);
                if waiting.len() == 1 {
                    let port = Arc::clone(self);
                    // Under the lock: whoever ends the iothread asks `close_if_unused` before, so the
                    // loop still runs what is scheduled here.
                    run_oneshot(&self.context, move || port.attach());
                }
                None
            }
            State::Attached(_) => {
                drop(state);
                self.home.get().expect("set before the state").send(job).err()
            }
            State::Closed => Some(job),
        }
    }

    fn close_if_unused(&self) -> bool {
        let mut state = self.lock();
        let unused = matches!(&*state, State::Unattached(waiting) if waiting.is_empty());
        if unused {
            *state = State::Closed;
        }
        unused
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
