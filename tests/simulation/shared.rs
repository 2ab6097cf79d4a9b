//! What the tasks and threads of a run share, and what they leave in its history when they are polled or dropped.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use executor::async_fd::AsyncFd;
use executor::{IoContext, JoinHandle, Probe as Listing, Remote, bql};

use super::history::{Block, History, PollEnd, What};
use super::program::{EVENTS, Kind, Program, Task};

/// What a planned panic says.
pub(crate) const PLANNED: &str = "planned";

#[derive(Default)]
struct Event {
    is_set: bool,
    waiting: Vec<(usize, Waker)>,
}

/// See the module's documentation.
pub(crate) struct Shared {
    pub(crate) program: Program,
    pub(crate) history: History,
    pub(crate) iothreads: Vec<IoContext>,
    pub(crate) listing: Listing,
    /// The writing ends of the links.
    pub(crate) links: Vec<UnixStream>,
    pub(crate) remotes: Mutex<Vec<Option<Remote<Output>>>>,
    spawned: Mutex<Vec<bool>>,
    is_over: AtomicBool,
    events: [Mutex<Event>; EVENTS],
    wakers: Mutex<Vec<Option<Waker>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the tasks of the main loop share besides.
#[derive(Default)]
pub(crate) struct Locals {
    pub(crate) handles: Vec<Option<JoinHandle<Output>>>,
    /// The reading ends of the links.
    pub(crate) links: Vec<Rc<AsyncFd<UnixStream>>>,
}

thread_local! {
    static LOCALS: RefCell<Locals> = RefCell::default();
}

/// Looks at what the main loop's tasks share. No foreign code may run meanwhile.
pub(crate) fn with_locals<R>(look: impl FnOnce(&mut Locals) -> R) -> R {
    LOCALS.with_borrow_mut(look)
}

impl Shared {
    pub(crate) fn new(
        program: &Program,
        iothreads: Vec<IoContext>,
        listing: Listing,
        links: Vec<UnixStream>,
    ) -> Arc<Shared> {
        let count = program.tasks.len();
        Arc::new(Shared {
            program: program.clone(),
            history: History::default(),
            iothreads,
            listing,
            links,
            remotes: Mutex::new((0..count).map(|_| None).collect()),
            spawned: Mutex::new(vec![false; count]),
            is_over: AtomicBool::new(false),
            events: Default::default(),
            wakers: Mutex::new(vec![None; count]),
        })
    }

    pub(crate) fn add(&self, what: What) {
        self.history.add(what);
    }

    pub(crate) fn task(&self, task: usize) -> &Task {
        &self.program.tasks[task]
    }

    /// Whether there is such a task; of programs that were cut short there may not be.
    pub(crate) fn has(&self, task: usize) -> bool {
        task < self.program.tasks.len()
    }

    /// Whether this is the first time that the task is spawned.
    pub(crate) fn is_first_spawn(&self, task: usize) -> bool {
        !std::mem::replace(&mut lock(&self.spawned)[task], true)
    }

    /// Lets nobody spawn any more, nor wait for the lock, which the main loop holds while it waits for iothreads.
    pub(crate) fn end(&self) {
        self.add(What::End);
        lock(&self.spawned).fill(true);
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn keep_remote(&self, task: usize, remote: Remote<Output>) {
        lock(&self.remotes)[task] = Some(remote);
    }

    pub(crate) fn take_remote(self: &Arc<Self>, task: usize) -> Option<Held> {
        let remote = lock(&self.remotes)[task].take()?;
        Some(Held { remote: Some(remote), shared: Arc::clone(self), task })
    }

    /// Sets an event and wakes those who wait for it.
    pub(crate) fn set(&self, event: usize) {
        let waiting = {
            let mut event = lock(&self.events[event]);
            event.is_set = true;
            std::mem::take(&mut event.waiting)
        };
        self.add(What::EventSet(event));
        for (task, waker) in waiting {
            self.add(What::Woken(task));
            waker.wake();
        }
    }

    pub(crate) async fn wait(&self, task: usize, event: usize) {
        self.add(What::Blocked(task, Block::Event(event)));
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut event = lock(&self.events[event]);
            if event.is_set {
                return Poll::Ready(());
            }
            event.waiting.retain(|(other, _)| *other != task);
            event.waiting.push((task, waker));
            Poll::Pending
        })
        .await;
        self.add(What::Unblocked(task));
    }

    /// Wakes a task for nothing, with a clone of its latest waker.
    pub(crate) fn poke(&self, task: usize) {
        let waker = lock(&self.wakers).get(task).cloned().flatten();
        if let Some(waker) = waker {
            self.add(What::Woken(task));
            waker.wake();
        }
    }

    /// Lets go of all wakers.
    pub(crate) fn forget_wakers(&self) {
        let wakers = std::mem::take(&mut *lock(&self.wakers));
        drop(wakers);
    }

    /// Writes some bytes into a link.
    pub(crate) fn send(&self, link: usize, count: u8) {
        let bytes = [0; u8::MAX as usize];
        match (&self.links[link]).write(&bytes[..usize::from(count)]) {
            Ok(sent) => self.add(What::Sent(link, sent)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe, "there is room"),
        }
    }
}

/// A `Remote`, whose drop is a request for cancellation.
pub(crate) struct Held {
    remote: Option<Remote<Output>>,
    shared: Arc<Shared>,
    task: usize,
}

impl Held {
    pub(crate) fn remote(&mut self) -> &mut Remote<Output> {
        self.remote.as_mut().expect("it is there until the drop")
    }

    /// Gives the `Remote` away, to be cancelled.
    pub(crate) fn cancel(mut self) -> Remote<Output> {
        self.shared.add(What::CancelRequested(self.task));
        self.remote.take().expect("it is there until the drop")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.remote.is_some() {
            self.shared.add(What::CancelRequested(self.task));
        }
    }
}

/// What a task gives.
pub(crate) struct Output {
    shared: Arc<Shared>,
    task: usize,
    bites: bool,
}

impl Output {
    pub(crate) fn new(shared: &Arc<Shared>, task: usize) -> Output {
        shared.add(What::OutputMade(task));
        Output { shared: Arc::clone(shared), task, bites: shared.task(task).output_bites }
    }

    /// The handle gave it: its destructor is not the executor's business.
    pub(crate) fn calm(mut self) {
        self.bites = false;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.add(What::OutputDropped(self.task));
        if self.bites && !thread::panicking() {
            panic!("{PLANNED}");
        }
    }
}

/// In a task's future, whose drop it notices.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    task: usize,
}

impl Guard {
    pub(crate) fn new(shared: &Arc<Shared>, task: usize) -> Guard {
        shared.add(What::Spawned(task));
        Guard { shared: Arc::clone(shared), task }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let bites = self.shared.task(self.task).future_bites && !thread::panicking();
        self.shared.add(What::FutureDropped(self.task, bites));
        if bites {
            panic!("{PLANNED}");
        }
    }
}

/// A task's future, whose polls it notices.
pub(crate) struct Watched<F> {
    shared: Arc<Shared>,
    task: usize,
    future: F,
}

impl<F: Future<Output = Output>> Watched<Pin<Box<F>>> {
    pub(crate) fn new(shared: &Arc<Shared>, task: usize, future: F) -> Self {
        Watched { shared: Arc::clone(shared), task, future: Box::pin(future) }
    }
}

impl<F: Future<Output = Output> + Unpin> Future for Watched<F> {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let this = &mut *self;
        this.shared.add(What::PollBegins(this.task, bql::is_locked()));
        let waker = cx.waker().clone();
        let old = lock(&this.shared.wakers).get_mut(this.task).and_then(|w| w.replace(waker));
        drop(old);
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.future).poll(cx)));
        let end = match &polled {
            Ok(Poll::Pending) => PollEnd::Pending,
            Ok(Poll::Ready(_)) => PollEnd::Ready,
            Err(_) => PollEnd::Panicked,
        };
        this.shared.add(What::PollEnds(this.task, end));
        polled.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// The thread that a task begins in.
pub(crate) fn home(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Io(number) => Some(number),
        Kind::Main | Kind::Migratable => None,
    }
}
