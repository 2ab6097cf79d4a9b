//! A deterministic mode of the emulation: a seed decides what QEMU leaves open, and time is made up.
//!
//! [`run`] runs a program in a simulation. The iothreads that it makes, and the threads that it [`spawn`]s, belong to
//! the simulation, too. They are real threads, but only one of them runs at a time, and the seed decides which.
//! So the same program with the same seed does the same things in the same order, and leaves the same
//! [trace](Report::trace).
//!
//! The seed decides, as far as QEMU promises nothing:
//!
//! - whose turn it is, whenever a loop begins a pass, goes to sleep, wakes up or runs a callback, and wherever the
//!   program says [`preempt`]: so also when a loop sees what another thread wants of it;
//! - in which order the handlers of descriptors run that are ready together, and how many of them a pass finds;
//! - which clock's timers come first;
//! - whether an iothread looks round once more before it sleeps.
//!
//! It does not touch what QEMU promises: the order of bottom halves, and that of timers on one clock.
//! [`Faults`] are things that seldom happen: signals, readiness that is gone when it is looked at, late timers,
//! refused descriptors.
//!
//! The clocks stand still while a thread can go on (but for [`spend`]), then they jump to the next deadline. If there
//! is none, the simulation is at rest, which [`wake_at_rest`] announces: whoever still waits then waits for ever.
//!
//! Threads: a thread without a turn must not hold a lock of the standard library's that another one wants: no turn
//! ends while the emulation or the executor holds one, and a program's own must not span [`preempt`].
//!
//! Not simulated: threads that the program makes in another way, the executor's thread pool among them, and the
//! content of what is read from outside.
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "simulation")] {
//! use aio_sys::emulated::simulation::{Plan, Report, choose, note, preempt, run, spawn};
//!
//! fn program() -> u32 {
//!     let threads = ["one", "other"].map(|name| {
//!         spawn(name, move || {
//!             preempt(); // Here the seed may let somebody else go on.
//!             note(format_args!("{name} is here"));
//!             choose(6) as u32
//!         })
//!     });
//!     threads.into_iter().map(|thread| thread.join()).sum()
//! }
//!
//! let outcomes: Vec<(u32, Report)> = (0..20).map(|seed| run(Plan::new(seed), program)).collect();
//! assert_eq!(run(Plan::new(7), program), outcomes[7], "the same again");
//! let one_first = |(_, report): &(u32, Report)| report.trace.find("one is") < report.trace.find("other is");
//! assert!(outcomes.iter().any(one_first) && !outcomes.iter().all(one_first));
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod paused;
mod random;
mod world;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::thread;

use nix::errno::Errno;

use super::clock::GuestTime;
use paused::Pause;
use world::{Event, State, Status, World};

/// The wall clock is this far ahead of the monotonic one.
const WALL_CLOCK_AHEAD_NS: i64 = 1_700_000_000_000_000_000;
/// How many events a wait reports at most.
const MAX_EVENTS: usize = 128;

/// What decides a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything that is left open.
    pub seed: u64,
    /// How often what seldom happens does.
    pub faults: Faults,
    /// After so many turns the simulation is taken for one that does not end, which is a panic.
    pub most_steps: u64,
}

/// How often something happens, in 256 opportunities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A thread's turn ends where it could go on.
    pub preempt: u8,
    /// A signal interrupts a wait.
    pub interrupt: u8,
    /// A wait ends for nothing, or reports a descriptor that is not ready.
    pub spurious: u8,
    /// A wait reports a part of what is ready; [`is_short`] says yes.
    pub short: u8,
    /// A sleep ends up to 50 µs late.
    pub late: u8,
}

impl Plan {
    /// A plan with some faults of every kind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let faults = Faults { preempt: 64, interrupt: 16, spurious: 24, short: 48, late: 64 };
        Self { seed, faults, most_steps: 1 << 20 }
    }
}

/// What a simulation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every turn, fault and leap of time, and what [`note`] added, a line each.
    pub trace: String,
    /// Turns.
    pub steps: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Leaps of time.
    pub advances: u64,
}

/// A thread's place in a simulation, if it has one.
#[derive(Clone, Copy)]
pub(super) struct Ticket(Option<(&'static World, usize)>);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.0.map(|(_, number)| number)).finish()
    }
}

thread_local! {
    // No destructor: the destructors of other thread-locals take part in the simulation.
    static HERE: Cell<Ticket> = const { Cell::new(Ticket(None)) };
}

/// The worlds that no simulation is in.
static FREE: Mutex<Vec<&'static World>> = Mutex::new(Vec::new());

fn free_worlds<R>(change: impl FnOnce(&mut Vec<&'static World>) -> R) -> R {
    change(&mut FREE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[inline]
fn here() -> Option<(&'static World, usize)> {
    HERE.get().0
}

/// Looks at the state of the simulation that this thread is in.
fn with<R>(look: impl FnOnce(&mut State) -> R) -> Option<R> {
    here().map(|(world, _)| look(&mut world.lock()))
}

/// The same, if a seed decides here. Builds without the feature `simulation` pay nothing for asking.
#[inline]
fn with_seed<R>(look: impl FnOnce(&mut State) -> R) -> Option<R> {
    if cfg!(feature = "simulation") && is_seeded() { with(look) } else { None }
}

fn hand_over(status: Status) {
    let Some((world, me)) = here() else { return };
    if !world.hand_over(me, status) {
        HERE.set(Ticket(None));
    }
}

/// Runs `program` in a simulation of its own. Returns what it returned, and what the simulation did.
///
/// # Panics
///
/// In a simulation; if a thread of the simulation is still there at the end; if everybody waits for something that
/// never comes and nobody is to be [told](wake_at_rest); after [`Plan::most_steps`]; without the feature `simulation`.
pub fn run<R>(plan: Plan, program: impl FnOnce() -> R) -> (R, Report) {
    if !cfg!(feature = "simulation") {
        panic!("a simulation needs the feature `simulation`");
    }
    assert!(here().is_none(), "a simulation in a simulation");
    run_in_world(plan, None, program)
}

fn run_in_world<R>(plan: Plan, pause: Option<Pause>, program: impl FnOnce() -> R) -> (R, Report) {
    let world = free_worlds(Vec::pop).unwrap_or_else(|| Box::leak(Box::default()));
    world.begin(plan, pause);
    HERE.set(Ticket(Some((world, 0))));
    let guard = Guard(world);
    let result = program();
    let report = world.end();
    drop(guard);
    free_worlds(|worlds| worlds.push(world));
    (result, report)
}

/// Ends a simulation in which the program panics, too.
struct Guard(&'static World);

impl Drop for Guard {
    fn drop(&mut self) {
        HERE.set(Ticket(None));
        self.0.abandon();
    }
}

/// Whether this thread is in a simulation, or its clock is [stopped](paused).
#[inline]
#[must_use]
pub fn is_on() -> bool {
    here().is_some()
}

/// Whether a seed decides what this thread finds.
#[inline]
#[must_use]
pub fn is_seeded() -> bool {
    cfg!(feature = "simulation") && with(|state| state.pause.is_none()) == Some(true)
}

/// The number of this thread in its simulation: 0 for the one that began it.
#[must_use]
pub fn thread_number() -> Option<usize> {
    here().map(|(_, number)| number)
}

/// Adds a line to the trace. Nothing happens outside a simulation.
pub fn note(event: impl fmt::Display) {
    with(|state| state.trace(event));
}

/// Lets the seed decide: a number below `count`, or 0 outside a simulation.
#[inline]
#[must_use]
pub fn choose(count: usize) -> usize {
    with_seed(|state| state.choose(count)).unwrap_or(0)
}

/// Whether a transfer is to be cut short. Never outside a simulation.
#[inline]
#[must_use]
pub fn is_short() -> bool {
    with_seed(State::is_short).unwrap_or(false)
}

/// Whether something is interrupted. Never outside a simulation.
#[inline]
#[must_use]
pub fn is_interrupted() -> bool {
    with_seed(State::is_interrupted).unwrap_or(false)
}

/// Whether something is reported that is not there. Never outside a simulation.
#[inline]
#[must_use]
pub fn is_spurious() -> bool {
    with_seed(State::is_spurious).unwrap_or(false)
}

/// Ends this thread's turn, if the seed says so. Nothing happens outside a simulation.
#[inline]
pub fn preempt() {
    if with_seed(State::preempts) == Some(true) {
        hand_over(Status::Ready);
    }
}

/// Lets time pass, as work does. Nothing happens outside a simulation.
pub fn spend(time_ns: u32) {
    with(|state| state.spend(i64::from(time_ns)));
}

/// Wakes `waker` once nothing is left to do: no thread can go on, and none has a deadline.
///
/// # Panics
///
/// Outside a simulation.
pub fn wake_at_rest(waker: Waker) {
    with(|state| state.wake_at_rest(waker)).expect("a simulation is on");
}

/// Has the next descriptor refused that the loops want to open, after `count` others; none if `None`.
pub fn refuse_in(count: Option<u32>) {
    with(|state| state.refuse_in(count));
}

/// A thread of a simulation.
#[derive(Debug)]
#[must_use = "a simulation does not end before its threads"]
pub struct Thread<T> {
    ticket: Ticket,
    handle: thread::JoinHandle<T>,
}

/// Starts a thread in the simulation of this one, or an ordinary one. It runs when its turn comes.
///
/// # Panics
///
/// If the system has no thread left.
pub fn spawn<T: Send + 'static>(
    name: &str,
    program: impl FnOnce() -> T + Send + 'static,
) -> Thread<T> {
    let ticket = invite(name);
    let builder = thread::Builder::new().name(name.to_owned());
    let handle = builder.spawn(move || {
        enter(ticket);
        let result = program();
        leave();
        result
    });
    Thread { ticket, handle: handle.expect("the system has threads") }
}

impl<T> Thread<T> {
    /// Waits for the end of the thread and returns what it returned.
    ///
    /// # Panics
    ///
    /// If the thread did.
    pub fn join(self) -> T {
        let_end(self.ticket);
        self.handle.join().expect("a panic of a thread is a panic of the simulation")
    }
}

#[inline]
pub(super) fn now_ns() -> Option<i64> {
    with(|state| state.now_ns())
}

pub(super) fn wall_clock_ns() -> Option<i64> {
    Some(now_ns()? + WALL_CLOCK_AHEAD_NS)
}

/// Ends this thread's turn.
pub(super) fn give_way() {
    hand_over(Status::Ready);
}

/// Waits until `fd` is readable or `timeout_ns` are over (-1: for ever), or for nothing. Returns how many events may
/// be fetched then, `None` outside a simulation.
pub(super) fn wait_for_fd(fd: RawFd, timeout_ns: i64) -> io::Result<Option<usize>> {
    if !is_on() {
        return Ok(None);
    }
    if is_interrupted() {
        return Err(Errno::EINTR.into());
    }
    if timeout_ns != 0 && !is_spurious() {
        let until = with(|state| state.now_ns() + timeout_ns).filter(|_| timeout_ns > 0);
        hand_over(Status::Waiting(Event::Readable(fd), until));
    }
    Ok(Some(if is_short() { 1 } else { MAX_EVENTS }))
}

/// Fails, as the system does that has no descriptors left, if the next one is to be [refused](refuse_in).
///
/// # Errors
///
/// Then.
#[inline]
pub fn refuse() -> io::Result<()> {
    if with_seed(State::refuses) == Some(true) { Err(Errno::EMFILE.into()) } else { Ok(()) }
}

/// Whether a loop that would busy-poll looks once, or not at all: never, where the clock is paused.
pub(super) fn busy_polls() -> Option<bool> {
    with(|state| state.pause.is_none() && state.choose(2) == 1)
}

/// The guest's time, where it is not that of the process.
#[inline]
pub(super) fn guest() -> Option<&'static Mutex<GuestTime>> {
    let (world, _) = here()?;
    world.lock().pause.is_some().then_some(&world.guest)
}

/// Waits until nobody holds the BQL.
#[inline]
pub(super) fn wait_for_bql() {
    if is_on() && !super::bql::is_free() {
        hand_over(Status::Waiting(Event::BqlFree, None));
    }
}

/// Notes whether a thread of the simulation holds the BQL.
#[inline]
pub(super) fn note_bql(held: bool) {
    with(|state| state.bql_held = held);
}

/// Adds a thread that this one is about to start.
pub(super) fn invite(name: &str) -> Ticket {
    Ticket(here().map(|(world, _)| (world, world.lock().add(name))))
}

/// Takes part, as soon as the thread's first turn comes.
pub(super) fn enter(ticket: Ticket) {
    let goes_on = ticket.0.is_some_and(|(world, me)| world.wait_for_turn(me));
    HERE.set(if goes_on { ticket } else { Ticket(None) });
}

/// Ends the thread's last turn, and waits until somebody lets it end. What it still does then is a part of the other
/// one's turn.
pub(super) fn leave() {
    if here().is_some_and(|(world, me)| !world.wait_for_end(me)) {
        HERE.set(Ticket(None));
    }
}

/// Waits until a thread has nothing left to do, and lets it end.
pub(super) fn let_end(ticket: Ticket) {
    if let Some((world, thread)) = ticket.0 {
        hand_over(Status::Waiting(Event::Ending(thread), None));
        world.let_end(thread);
    }
}
