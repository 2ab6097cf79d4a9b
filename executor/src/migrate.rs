//! Tasks that move themselves: `aio_co_reschedule_self`, with its `Send` bound.
//!
//! The question was how the binding of `aio_co_reschedule_self()` can demand that its *caller* is `Send`. A
//! leaf future cannot: it can make its caller less `Send`, never require it to be. But the function that
//! spawns sees the whole future, so it can check, and lend the leaf a capability that stands for the check:
//! [`Migratable`]. Without the capability there is no leaf, and the capability cannot leave the task.
//!
//! *The move happens between polls.* The leaf only asks. When the poll has returned `Pending`, the root, the
//! only one that has no frame of the future below it on the stack, sends the future to the other thread.
//! Moving inside a poll would be unsound even for `Send` futures: a combinator up the stack may be in the
//! middle of `TLS.with(..)`. (C has the same rule: the coroutine is scheduled elsewhere after it yielded.)
//!
//! A journey is a chain of *legs*. A leg is an ordinary task that polls the boxed future; to move is to end
//! the leg and to spawn the next one elsewhere, around the same box. So nothing here is unsafe, and what
//! holds for tasks holds for legs. Wakers of an old leg wake nothing, and need not: the next leg polls the
//! future first thing, and a future must wake the waker of its last poll. Siblings in a `join!` ride along.
//!
//! Inside QEMU a C coroutine can be the root instead: `host::coroutine` has the other loop around the same box.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::current;
use crate::cx::{BoundToThisThread, Bql, MainCx, NoCoroutine};
use crate::home::Home;
use crate::inbox::Job;
use crate::io_context::IoContext;
use crate::local_executor::Core;
use crate::observe::{self, Outcome};
use crate::remote::{self, Errand, Remote};
use crate::task::{JoinError, TaskLabel};
use crate::task_fn::SendTaskFn;

/// The right of a task to move itself to another thread: lent to the function given to
/// [`MainCx::spawn_migratable`], whose future is `Send`.
///
/// Moving takes `&mut`, so two branches of a `join!` cannot both move the task that they share.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// use executor::{BqlCell, IoThread, MainCx, Migratable, block_on, run_main};
///
/// static CHECKED: BqlCell<u64> = BqlCell::new(0);
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     let task = nc.spawn_migratable(async move |m: &mut Migratable| {
///         assert!(executor::bql::is_locked()); // It begins on the main loop.
///         m.reschedule_to(&io).await;
///         assert!(!executor::bql::is_locked()); // From here on it runs in the iothread.
///         let sum = (1..=100).sum::<u64>();
///         m.on_main(|bql| CHECKED.set(bql, sum)).await; // There, and back again.
///         assert!(!executor::bql::is_locked());
///         m.to_main().await.bql(|bql| CHECKED.get(bql))
///     });
///     assert_eq!(block_on(nc, async move |_: &MainCx| task.await.unwrap()), 5050);
///     thread.destroy(nc).unwrap();
/// });
/// ```
///
/// What is kept across a move is `Send`, or it does not compile:
///
/// ```compile_fail
/// # use executor::{IoContext, MainCx, Migratable};
/// fn spawn(cx: &MainCx, io: IoContext) {
///     let task = cx.spawn_migratable(async move |m: &mut Migratable| {
///         let here = std::rc::Rc::new(1);
///         m.reschedule_to(&io).await;
///         drop(here);
///     });
///     task.detach();
/// }
/// ```
pub struct Migratable {
    journey: Arc<Journey>,
}

/// What the leaf and the root know of each other.
struct Journey {
    state: Mutex<State>,
    main: Arc<Home>,
}

struct State {
    at: Place,
    wanted: Option<Place>,
    /// Counts the wishes, so that a leaf revokes its own only.
    wish: u64,
    /// The leaf, to be woken on arrival: it may be in a combinator that polls only who was woken.
    arrival: Option<Waker>,
}

/// An executor that a task can be at.
#[derive(Clone)]
pub(crate) enum Place {
    Main,
    Io(IoContext),
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Main, Place::Main) => true,
            (Place::Io(here), Place::Io(there)) => here.context() == there.context(),
            _ => false,
        }
    }
}

type Traveller<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future between two legs, or in one.
pub(crate) struct Luggage<T> {
    future: Traveller<T>,
    errand: Errand<T>,
    journey: Arc<Journey>,
    label: TaskLabel,
}

impl MainCx {
    /// Spawns a task that may move itself to iothreads and back: its whole future is `Send`.
    ///
    /// It begins on the main loop. The handle's rules are those of any [`Remote`].
    #[track_caller]
    pub fn spawn_migratable<F, T>(&self, task: F) -> Remote<T>
    where
        F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
        T: Send + 'static,
    {
        spawn(self.core(), Location::caller(), task)
    }
}

impl NoCoroutine {
    /// See [`MainCx::spawn_migratable`].
    #[track_caller]
    pub fn spawn_migratable<F, T>(&self, task: F) -> Remote<T>
    where
        F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
        T: Send + 'static,
    {
        spawn(&crate::main_loop::main_core(), Location::caller(), task)
    }
}

fn spawn<F, T>(core: &Rc<Core>, spawned_at: &'static Location<'static>, task: F) -> Remote<T>
where
    F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    let (luggage, remote) = pack(core, spawned_at, task);
    core.spawn_labelled(luggage.label.clone(), leg(luggage)).detach();
    remote
}

/// Makes the future of a migratable task, ready for a journey that begins on the main loop.
pub(crate) fn pack<F, T>(
    core: &Rc<Core>,
    spawned_at: &'static Location<'static>,
    task: F,
) -> (Luggage<T>, Remote<T>)
where
    F: for<'a> SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    let (errand, remote) = remote::pair();
    let state = State { at: Place::Main, wanted: None, wish: 0, arrival: None };
    let journey = Arc::new(Journey { state: Mutex::new(state), main: Arc::clone(core.home()) });
    let mut migratable = Migratable { journey: Arc::clone(&journey) };
    let future: Traveller<T> = Box::pin(async move { task(&mut migratable).await });
    let label = TaskLabel { id: core.new_id(), name: None, spawned_at };
    (Luggage { future, errand, journey, label }, remote)
}

/// The leg that polls the future here. The task keeps its id, so a listing shows where it is now.
fn leg<T: Send + 'static>(luggage: Luggage<T>) -> impl Future<Output = ()> {
    let mut luggage = Some(luggage);
    poll_fn(move |cx| {
        let outcome = match &mut luggage {
            Some(luggage) => luggage.poll(cx),
            None => return Poll::Ready(()),
        };
        match outcome {
            Poll::Pending => Poll::Pending,
            Poll::Ready(After::Move(place)) => {
                luggage.take().expect("it was just polled").send_to(place);
                Poll::Ready(())
            }
            Poll::Ready(After::Finish(result)) => {
                luggage.take().expect("it was just polled").finish(result);
                Poll::Ready(())
            }
        }
    })
}

/// What a poll asks of the root, unless it is to wait.
pub(crate) enum After<T> {
    Move(Place),
    Finish(Result<T, JoinError>),
}

impl<T: Send + 'static> Luggage<T> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<After<T>> {
        self.errand.listen(cx.waker());
        if self.errand.is_cancelled() {
            return Poll::Ready(After::Finish(Err(JoinError::cancelled())));
        }
        let polled = {
            let _on_the_way = current::enter_journey(self.journey.number());
            catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx)))
        };
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(After::Finish(Ok(output))),
            Ok(Poll::Pending) => {
                let wanted = self.journey.lock().wanted.take();
                wanted.map_or(Poll::Pending, |place| Poll::Ready(After::Move(place)))
            }
            Err(payload) => {
                let error = JoinError::panicked(self.label.clone(), payload);
                Poll::Ready(After::Finish(Err(error)))
            }
        }
    }

    /// Ends the journey: the future goes first, here, then whoever waits is told.
    fn finish(self, result: Result<T, JoinError>) {
        let (errand, result) = self.unpack(result);
        if let Err(error) = &result {
            observe::say(if error.is_panic() { Outcome::Panicked } else { Outcome::Cancelled });
        }
        errand.complete(result);
    }

    /// Drops the future, here. What is left is to tell whoever waits.
    pub(crate) fn unpack(self, result: Result<T, JoinError>) -> (Errand<T>, Result<T, JoinError>) {
        let Luggage { future, errand, label, .. } = self;
        match catch_unwind(AssertUnwindSafe(|| drop(future))) {
            Ok(()) => (errand, result),
            Err(payload) => (errand, Err(JoinError::panicked(label, payload))),
        }
    }

    /// Notes where the future is now, and wakes the leaf that wanted to be there.
    pub(crate) fn arrive(&self, place: Place) {
        if let Some(arrival) = self.journey.arrive(place) {
            arrival.wake();
        }
    }

    /// Sends the future to its next executor. If that is gone, the future ends here, as cancelled.
    fn send_to(self, place: Place) {
        let journey = Arc::clone(&self.journey);
        let destination = place.clone();
        let address = self.errand.address();
        if observe::is_on() {
            observe::sent(address, self.label.id);
        }
        let job = Job::new(move || {
            // While the thread's locals are destroyed no executor is current: the journey ends here.
            let Some(core) = current::core() else { return };
            self.arrive(destination);
            core.spawn_moved(address, self.label.clone(), leg(self)).detach();
        });
        let refused = match place {
            Place::Main => journey.main.send(job).err(),
            Place::Io(io) => io.post(job),
        };
        observe::say(if refused.is_some() { Outcome::Cancelled } else { Outcome::Moved });
        drop(refused);
    }
}

impl Journey {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What identifies the journey while it lasts.
    fn number(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn arrive(&self, place: Place) -> Option<Waker> {
        let mut state = self.lock();
        state.at = place;
        state.arrival.take()
    }
}

impl Migratable {
    /// Moves this task to the iothread of `io`: what follows the `.await` runs there, without the Big QEMU
    /// Lock (`aio_co_reschedule_self`). Nothing happens if it is there already.
    ///
    /// If the iothread has ended, the task ends here, as cancelled.
    ///
    /// # Panics
    ///
    /// When it is polled by another task than this one.
    pub fn reschedule_to(&mut self, io: &IoContext) -> Reschedule<'_> {
        self.reschedule(Place::Io(io.clone()))
    }

    /// Moves this task to the main loop. The answer proves it until the next `.await`.
    ///
    /// If the main loop takes no more tasks, the task ends here, as cancelled.
    pub async fn to_main(&mut self) -> OnMain<'_> {
        self.reschedule(Place::Main).await;
        OnMain { _task: self, thread: PhantomData }
    }

    /// Moves this task to the main loop, lets `f` look at what the Big QEMU Lock protects, and moves it back
    /// to where it was.
    pub async fn on_main<R: Send>(&mut self, f: impl for<'b> FnOnce(&'b Bql) -> R + Send) -> R {
        let back = self.journey.lock().at.clone();
        self.reschedule(Place::Main).await;
        let result = Bql::lend(f);
        self.reschedule(back).await;
        result
    }

    fn reschedule(&mut self, to: Place) -> Reschedule<'_> {
        Reschedule { task: self, to, wish: None }
    }
}

impl fmt::Debug for Migratable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Migratable")
    }
}

/// The move of a task to another thread. Await it.
///
/// # Examples
///
/// ```
/// use executor::{IoContext, IoThread, MainCx, Migratable, block_on, run_main};
///
/// async fn elsewhere(m: &mut Migratable, io: IoContext) -> bool {
///     let here = std::thread::current().id();
///     let moving = m.reschedule_to(&io); // Nothing has happened yet,
///     moving.await; // and what follows is on another thread.
///     std::thread::current().id() != here
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     let task = nc.spawn_migratable(async move |m: &mut Migratable| elsewhere(m, io).await);
///     assert!(block_on(nc, async move |_: &MainCx| task.await.unwrap()));
///     thread.destroy(nc).unwrap();
/// });
/// ```
#[must_use = "the task moves when this is awaited"]
pub struct Reschedule<'t> {
    task: &'t mut Migratable,
    to: Place,
    /// The wish that is this leaf's.
    wish: Option<u64>,
}

impl Future for Reschedule<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let journey = &this.task.journey;
        assert!(
            current::journey() == Some(journey.number()),
            "`Migratable` moves the task that it was lent to; it was polled by {}",
            current::describe_task()
        );
        let waker = cx.waker().clone();
        let mut state = journey.lock();
        if state.at == this.to {
            return Poll::Ready(());
        }
        state.wish += 1;
        this.wish = Some(state.wish);
        state.wanted = Some(this.to.clone());
        let replaced = state.arrival.replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Reschedule<'_> {
    /// A wish that is dropped before the poll has ended is revoked.
    fn drop(&mut self) {
        let mut state = self.task.journey.lock();
        if self.wish == Some(state.wish) {
            let (wanted, arrival) = (state.wanted.take(), state.arrival.take());
            drop(state);
            drop((wanted, arrival));
        }
    }
}

impl fmt::Debug for Reschedule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reschedule").field("asked", &self.wish.is_some()).finish_non_exhaustive()
    }
}

/// Proof that a migratable task is on the main loop, until its next `.await`: it is not `Send`, and its task
/// must be.
///
/// # Examples
///
/// ```
/// use executor::{BqlCell, IoThread, MainCx, Migratable, block_on, run_main};
///
/// static JOBS: BqlCell<u32> = BqlCell::new(7);
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     let task = nc.spawn_migratable(async move |m: &mut Migratable| {
///         m.reschedule_to(&io).await;
///         let main = m.to_main().await;
///         let jobs = main.bql(|bql| JOBS.replace(bql, 0));
///         assert!(main.bql(|bql| JOBS.get(bql)) == 0, "without an `.await` between, nothing changes");
///         jobs
///     });
///     assert_eq!(block_on(nc, async move |_: &MainCx| task.await.unwrap()), 7);
///     thread.destroy(nc).unwrap();
/// });
/// ```
pub struct OnMain<'t> {
    _task: &'t mut Migratable,
    thread: PhantomData<Rc<BoundToThisThread>>,
}

impl OnMain<'_> {
    /// Lets `f` look at what the Big QEMU Lock protects.
    #[track_caller]
    pub fn bql<R>(&self, f: impl for<'b> FnOnce(&'b Bql) -> R) -> R {
        Bql::lend(f)
    }
}

impl fmt::Debug for OnMain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnMain")
    }
}
