//! Random programs: tasks on three kinds of places, and what threads outside of any loop do to them.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use serde::{Deserialize, Serialize};

/// The most iothreads, events, links and tasks of a program.
pub(crate) const IOTHREADS: usize = 2;
pub(crate) const EVENTS: usize = 4;
pub(crate) const LINKS: usize = 2;
const TASKS: usize = 8;

/// A program, with the seed of its simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) seed: u64,
    pub(crate) iothreads: usize,
    pub(crate) tasks: Vec<Task>,
    /// What each thread outside of any loop does.
    pub(crate) strangers: Vec<Vec<Deed>>,
    /// Whether the handles outlive the executor.
    pub(crate) late_handles: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) steps: Vec<Step>,
    /// Its future's destructor panics.
    pub(crate) future_bites: bool,
    /// Its output's destructor panics, if nobody joins it. Tasks of the main loop only.
    pub(crate) output_bites: bool,
}

/// Where a task is, and what handle it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// On the main loop, with a `JoinHandle`.
    Main,
    /// On an iothread, with a `Remote`.
    Io(usize),
    /// Where it moves itself, with a `Remote`; it begins on the main loop.
    Migratable,
}

/// A place that a task can move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Main,
    Io(usize),
}

/// What a task does next. What it cannot do where it is, it leaves out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Wakes itself and lets others run.
    Yield,
    /// Lets other threads run, in the middle of the poll.
    Preempt,
    /// Works for some nanoseconds.
    Spend(u32),
    /// Sleeps on a clock for some nanoseconds.
    Sleep(u8, u32),
    /// Waits until an event is set, and sets one for ever.
    Wait(usize),
    Set(usize),
    /// Wakes a clone of another task's latest waker, for nothing.
    Poke(usize),
    Spawn(usize),
    Join(usize),
    /// Asks for the end of a task, or waits for it, too.
    Abort(usize),
    Cancel(usize),
    /// Drops a task's handle.
    Forget(usize),
    /// Bytes into a link, and bytes out of it.
    Send(usize, u8),
    Receive(usize, u8),
    /// A nested event loop in a bottom half, whose task yields so often and then sleeps.
    Nest(u8, u32),
    /// Takes the lock. Iothreads only.
    Lock,
    /// Moves. Migratable tasks only.
    Hop(Place),
    Panic,
}

/// What a thread outside of any loop does next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Deed {
    Preempt,
    Set(usize),
    Poke(usize),
    Send(usize, u8),
    /// Drops the `Remote` of a task.
    Forget(usize),
    /// Lists the main loop's tasks.
    List,
}

/// Programs on the main loop alone, in one thread.
pub(crate) fn of_one_thread() -> impl Strategy<Value = Program> {
    program(0, 0)
}

/// Programs with iothreads and threads outside of any loop.
pub(crate) fn of_many_threads() -> impl Strategy<Value = Program> {
    (1..=IOTHREADS, 1..=2_usize).prop_flat_map(|(iothreads, others)| program(iothreads, others))
}

fn program(iothreads: usize, strangers: usize) -> impl Strategy<Value = Program> {
    let strangers = vec(vec(deed(), 0..16), strangers);
    let tasks = vec(task(iothreads), 1..=TASKS);
    (any::<u64>(), tasks, strangers, any::<bool>()).prop_map(
        move |(seed, tasks, strangers, late_handles)| Program {
            seed,
            iothreads,
            tasks,
            strangers,
            late_handles,
        },
    )
}

fn task(iothreads: usize) -> impl Strategy<Value = Task> {
    let kind = move |number: usize| match number {
        0..4 => Kind::Main,
        4..6 if iothreads > 0 => Kind::Io(number % iothreads),
        _ => Kind::Migratable,
    };
    let bites = || proptest::bool::weighted(0.07);
    ((0..8_usize).prop_map(kind), vec(step(iothreads), 0..12), bites(), bites()).prop_map(
        |(kind, steps, future_bites, output_bites)| Task {
            kind,
            steps,
            future_bites,
            output_bites: output_bites && kind == Kind::Main,
        },
    )
}

fn step(iothreads: usize) -> impl Strategy<Value = Step> {
    let places = (0..=iothreads).prop_map(|n| n.checked_sub(1).map_or(Place::Main, Place::Io));
    prop_oneof![
        4 => Just(Step::Yield),
        2 => Just(Step::Preempt),
        1 => (0..2_000_000_u32).prop_map(Step::Spend),
        3 => (0..4_u8, duration()).prop_map(|(clock, ns)| Step::Sleep(clock, ns)),
        3 => (0..EVENTS).prop_map(Step::Wait),
        3 => (0..EVENTS).prop_map(Step::Set),
        2 => (0..TASKS).prop_map(Step::Poke),
        2 => (0..TASKS).prop_map(Step::Spawn),
        3 => (0..TASKS).prop_map(Step::Join),
        2 => (0..TASKS).prop_map(Step::Abort),
        2 => (0..TASKS).prop_map(Step::Cancel),
        1 => (0..TASKS).prop_map(Step::Forget),
        2 => (0..LINKS, 1..40_u8).prop_map(|(link, count)| Step::Send(link, count)),
        2 => (0..LINKS, 1..40_u8).prop_map(|(link, count)| Step::Receive(link, count)),
        1 => (0..4_u8, duration()).prop_map(|(yields, ns)| Step::Nest(yields, ns)),
        1 => Just(Step::Lock),
        3 => places.prop_map(Step::Hop),
        1 => Just(Step::Panic),
    ]
}

/// Nothing, or a time that others are likely to have, too.
fn duration() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), (1..5_u32).prop_map(|n| n * 100_000), 1..1_000_000_u32]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Preempt),
        2 => (0..EVENTS).prop_map(Deed::Set),
        5 => (0..TASKS).prop_map(Deed::Poke),
        1 => (0..LINKS, 1..40_u8).prop_map(|(link, count)| Deed::Send(link, count)),
        1 => (0..TASKS).prop_map(Deed::Forget),
        1 => Just(Deed::List),
    ]
}
