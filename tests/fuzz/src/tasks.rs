//! The life of tasks against a model: spawning, polls, wakes, cancellation, handles and destructors, from home and
//! from another thread, in any order.
//!
//! A program begins with scripts, of which each task follows one, poll by poll; then come the steps of whoever
//! owns the executor. The [`model`] says which task is polled and dropped when, which outcome each handle has,
//! and how often a joiner is woken and a panic is lost.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{mem, thread};

use executor::{Budget, JoinHandle, LocalExecutor, LocalSpawner, set_task_panic_hook};

use super::program::Program;
use model::Model;

#[path = "tasks/model.rs"]
mod model;

/// Places for tasks; a new one takes the place of the eighth before it.
pub(crate) const PLACES: usize = 8;
/// How many tasks a program may have.
pub(crate) const TASKS: usize = 64;
/// Clones of its waker that a task leaves in its place.
pub(crate) const WAKERS: usize = 3;

/// What a task does in a poll, or its destructor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Nothing,
    /// Wakes every waker in a place.
    Wake(usize),
    /// The same in another thread.
    WakeFar(usize),
    DropWakers(usize),
    DropWakersFar(usize),
    Abort(usize),
    DropHandle(usize),
    /// Spawns a task with this script.
    Spawn(usize),
    WakeSelf,
    Suspend,
    Complete,
    Panic,
}

impl Action {
    fn from(byte: u8) -> Self {
        let argument = usize::from(byte >> 4) % PLACES;
        match byte & 15 {
            1 | 2 => Self::Wake(argument),
            3 => Self::WakeFar(argument),
            4 => Self::DropWakers(argument),
            5 => Self::DropWakersFar(argument),
            6 => Self::Abort(argument),
            7 => Self::DropHandle(argument),
            8 => Self::Spawn(argument),
            9 => Self::WakeSelf,
            10 => Self::Complete,
            11 => Self::Panic,
            12 => Self::Nothing,
            _ => Self::Suspend,
        }
    }
}

/// What a task does from poll to poll, and in its destructor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) polls: [Action; 6],
    pub(crate) on_drop: Action,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    Poll(usize),
    Drop(usize),
}

/// What a handle says when it is polled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Said {
    NoHandle,
    Pending,
    Output(usize),
    Cancelled,
    Panicked,
}

/// Checks one program.
pub fn check(data: &[u8]) {
    let mut program = Program(data);
    let scripts: [Script; PLACES] = std::array::from_fn(|_| Script {
        polls: std::array::from_fn(|_| Action::from(program.byte_or_zero())),
        on_drop: destructor(Action::from(program.byte_or_zero())),
    });
    LOST_PANICS.store(0, Ordering::Relaxed);
    count_lost_panics();
    let executor = LocalExecutor::new().expect("there are fds");
    executor.set_budget(Budget { polls: u32::MAX, time: Duration::from_secs(1000) });
    let world = World::new(executor.spawner(), scripts);
    let mut model = Model::new(scripts);
    while let Some(step) = program.byte() {
        run(step, &executor, &world, &mut model);
        assert_eq!(*world.events.borrow(), model.events, "after {step:#x}");
        assert_eq!(LOST_PANICS.load(Ordering::Relaxed), model.lost_panics);
        assert_eq!(world.joiners_woken(), model.joiners_woken);
    }
    end(executor, &world, &mut model);
}

/// What a destructor does: whatever does not concern a poll.
fn destructor(action: Action) -> Action {
    match action {
        Action::WakeSelf | Action::Suspend | Action::Complete | Action::Panic => Action::Nothing,
        other => other,
    }
}

/// One step of whoever owns the executor.
fn run(step: u8, executor: &LocalExecutor, world: &Rc<World>, model: &mut Model) {
    match step & 15 {
        13 | 14 | 0 => {
            executor.run_once();
            model.run_once();
        }
        9 | 15 => {
            let place = usize::from(step >> 4) % PLACES;
            assert_eq!(world.poll_handle(place), model.poll_handle(place));
        }
        10..=12 => {
            world.spawn(usize::from(step >> 4) % PLACES);
            model.spawn(usize::from(step >> 4) % PLACES);
        }
        _ => {
            world.act(Action::from(step));
            model.act(Action::from(step));
        }
    }
}

/// The executor goes, with whatever it has; wakers and handles are used afterwards.
fn end(executor: LocalExecutor, world: &Rc<World>, model: &mut Model) {
    drop(executor);
    model.shut_down();
    let mut dropped: Vec<_> = world.dropped();
    dropped.sort_unstable();
    assert_eq!(dropped, (0..world.spawned.get()).collect::<Vec<_>>(), "each once");
    for place in 0..PLACES {
        world.act(Action::Wake(place));
        world.act(Action::WakeFar(place));
        let task = world.places.borrow()[place].task;
        let said = world.poll_handle(place);
        assert_ne!(said, Said::Pending, "task {task} is complete");
        let expected = model.outcome_before_the_end(task).filter(|_| said != Said::NoHandle);
        assert_eq!(expected.unwrap_or(said), said, "task {task}");
        world.act(if place % 2 == 0 {
            Action::DropWakersFar(place)
        } else {
            Action::DropWakers(place)
        });
    }
}

static LOST_PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_lost_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Relaxed: read by the same thread.
        set_task_panic_hook(|_| _ = LOST_PANICS.fetch_add(1, Ordering::Relaxed));
    });
}

#[derive(Default)]
struct Place {
    wakers: Vec<Waker>,
    handle: Option<JoinHandle<usize>>,
    /// Which task the handle is of.
    task: usize,
}

/// What the steps and the tasks have in common.
struct World {
    spawner: LocalSpawner,
    scripts: [Script; PLACES],
    places: RefCell<[Place; PLACES]>,
    spawned: Cell<usize>,
    events: RefCell<Vec<Event>>,
    joiners: RefCell<Vec<Arc<Joiner>>>,
}

impl World {
    fn new(spawner: LocalSpawner, scripts: [Script; PLACES]) -> Rc<Self> {
        Rc::new(Self {
            spawner,
            scripts,
            places: RefCell::default(),
            spawned: Cell::new(0),
            events: RefCell::default(),
            joiners: RefCell::default(),
        })
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::Wake(place) => self.wakers(place).iter().for_each(Waker::wake_by_ref),
            Action::WakeFar(place) => {
                let wakers = self.wakers(place);
                elsewhere(move || wakers.into_iter().for_each(Waker::wake));
            }
            Action::DropWakers(place) => drop(self.take_wakers(place)),
            Action::DropWakersFar(place) => {
                let wakers = self.take_wakers(place);
                elsewhere(move || drop(wakers));
            }
            Action::Abort(place) => {
                if let Some(handle) = &self.places.borrow()[place].handle {
                    handle.abort();
                }
            }
            Action::DropHandle(place) => {
                let handle = self.places.borrow_mut()[place].handle.take();
                drop(handle);
            }
            Action::Spawn(script) => self.spawn(script),
            _ => {}
        }
    }

    fn wakers(&self, place: usize) -> Vec<Waker> {
        self.places.borrow()[place].wakers.clone()
    }

    fn take_wakers(&self, place: usize) -> Vec<Waker> {
        mem::take(&mut self.places.borrow_mut()[place].wakers)
    }

    fn spawn(self: &Rc<Self>, script: usize) {
        let number = self.spawned.get();
        if number == TASKS {
            return;
        }
        self.spawned.set(number + 1);
        self.joiners.borrow_mut().push(Arc::default());
        let task = Scripted { world: Rc::clone(self), number, script: self.scripts[script], at: 0 };
        let handle = self.spawner.spawn(task);
        let place = &mut self.places.borrow_mut()[number % PLACES];
        place.task = number;
        // The one before is detached.
        let before = place.handle.replace(handle);
        drop(before);
    }

    fn poll_handle(&self, place: usize) -> Said {
        let mut places = self.places.borrow_mut();
        let task = places[place].task;
        let Some(handle) = &mut places[place].handle else { return Said::NoHandle };
        let waker = Waker::from(Arc::clone(&self.joiners.borrow()[task]));
        let said = match Pin::new(handle).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => return Said::Pending,
            Poll::Ready(Ok(output)) => Said::Output(output),
            Poll::Ready(Err(error)) if error.is_cancelled() => Said::Cancelled,
            Poll::Ready(Err(_)) => Said::Panicked,
        };
        places[place].handle = None;
        said
    }

    /// How often the joiner of each task was woken.
    fn joiners_woken(&self) -> Vec<usize> {
        self.joiners.borrow().iter().map(|joiner| joiner.0.load(Ordering::Relaxed)).collect()
    }

    fn dropped(&self) -> Vec<usize> {
        let number = |event: &Event| match event {
            Event::Drop(number) => Some(*number),
            Event::Poll(_) => None,
        };
        self.events.borrow().iter().filter_map(number).collect()
    }
}

/// Counts wakes.
#[derive(Default)]
struct Joiner(AtomicUsize);

impl Wake for Joiner {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future that follows a script.
struct Scripted {
    world: Rc<World>,
    number: usize,
    script: Script,
    at: usize,
}

impl Future for Scripted {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let world = Rc::clone(&self.world);
        world.events.borrow_mut().push(Event::Poll(self.number));
        keep_waker(&mut world.places.borrow_mut()[self.number % PLACES].wakers, cx.waker());
        while let Some(&action) = self.script.polls.get(self.at) {
            self.at += 1;
            match action {
                Action::Suspend => return Poll::Pending,
                Action::Complete => break,
                Action::Panic => resume_unwind(Box::new("scripted")),
                Action::WakeSelf => cx.waker().wake_by_ref(),
                action => world.act(action),
            }
        }
        Poll::Ready(self.number)
    }
}

fn keep_waker(wakers: &mut Vec<Waker>, waker: &Waker) {
    if wakers.len() < WAKERS {
        wakers.push(waker.clone());
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.world.events.borrow_mut().push(Event::Drop(self.number));
        self.world.act(self.script.on_drop);
    }
}

type Errand = Box<dyn FnOnce() + Send>;

/// Runs something in another thread, the same for all programs, and waits for it.
fn elsewhere(errand: impl FnOnce() + Send + 'static) {
    thread_local! {
        static HELPER: (Sender<Errand>, Receiver<()>) = {
            let (give, take) = channel::<Errand>();
            let (tell, told) = channel();
            thread::spawn(move || {
                for errand in take {
                    errand();
                    let _gone = tell.send(());
                }
            });
            (give, told)
        };
    }
    HELPER.with(|(give, told)| {
        give.send(Box::new(errand)).expect("the helper waits");
        told.recv().expect("the helper answers");
    });
}
