//! The threads of one simulation, whose turn it is, and what time it is there.
//!
//! Owns the seeded numbers, the virtual clock and the trace. The threads are real ones, since the loops are bound to
//! threads, but only one of them runs at a time: the others wait for their turn, each at a condition variable of its
//! own. Whoever gives up its turn chooses the next thread among those that can go on. If none can, time goes on to
//! the next deadline; if there is none either, the world is at rest, and whoever has asked for that is woken.
//!
//! Where the clock is [stopped](super::paused), no seed decides anything: threads have their turns one after another,
//! and time goes on no further than the test allows.
//!
//! Threads: those of the simulation, one at a time but for the wait for their turns.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::mem;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::paused::{Pause, Stuck};
use super::random::Random;
use super::{Faults, Plan, Report};
use crate::emulated::clock::GuestTime;
use crate::emulated::{bql, os};

/// The time at which every simulation begins.
pub(super) const BEGIN_NS: i64 = 1_000_000_000;
/// How late a sleep may end.
const LATE_NS: usize = 50_000;

/// What a thread waits for, besides the end of its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The descriptor is readable.
    Readable(RawFd),
    /// Nobody holds the BQL.
    BqlFree,
    /// The thread of this number has nothing left to do.
    Ending(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    /// It can go on.
    Ready,
    /// It can go on once something has happened, or at this time.
    Waiting(Event, Option<i64>),
    /// It has nothing left to do, and waits until somebody lets it end.
    Ending,
    /// It ends, or has ended, while somebody waits for it who has the turn.
    Gone,
}

struct Thread {
    name: String,
    status: Status,
    turn: Arc<Condvar>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct World {
    state: Mutex<State>,
    /// Told when something outside has ended that a paused clock waits for.
    pub(super) outside: Condvar,
    /// The guest's time, where the clock is paused.
    pub(super) guest: Mutex<GuestTime>,
}

/// What comes next.
enum Next {
    /// The turn of this thread.
    Turn(usize),
    /// Whatever is still going on outside.
    Outside,
    /// Nothing.
    Rest,
}

#[derive(Default)]
pub(super) struct State {
    random: Random,
    faults: Faults,
    most_steps: u64,
    now_ns: i64,
    threads: Vec<Thread>,
    turn: usize,
    /// Nobody waits for turns any more: the simulation has failed.
    is_over: bool,
    at_rest: Vec<Waker>,
    /// How many more descriptors can be opened before one is refused.
    refuse_in: Option<u32>,
    report: Report,
    /// A thread of this world has the BQL.
    pub(super) bql_held: bool,
    /// Unless a seed decides.
    pub(super) pause: Option<Pause>,
}

impl World {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new simulation, with the calling thread as number 0, whose turn it is.
    pub(super) fn begin(&self, plan: Plan, pause: Option<Pause>) {
        *self.guest.lock().unwrap_or_else(PoisonError::into_inner) = GuestTime::default();
        let state = State {
            pause,
            random: Random::new(plan.seed),
            faults: plan.faults,
            most_steps: plan.most_steps,
            now_ns: BEGIN_NS,
            ..State::default()
        };
        *self.lock() = state;
        self.lock().add("main");
    }

    /// Ends the simulation.
    ///
    /// # Panics
    ///
    /// If a thread is still there.
    pub(super) fn end(&self) -> Report {
        let mut state = self.lock();
        let left = state.threads.iter().skip(1).find(|t| !matches!(t.status, Status::Gone));
        let left = left.map(|thread| thread.name.clone());
        let report = mem::take(&mut state.report);
        let paused = state.pause.take().is_some();
        drop(state);
        if let Some(name) = left {
            if paused {
                panic!(
                    "the test has ended, and the thread `{name}` is still there: destroy the iothread before"
                );
            }
            panic!("the simulation has ended, and the thread `{name}` is still there");
        }
        report
    }

    /// Lets every thread go on by itself, in real time.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.threads.iter().for_each(|thread| thread.turn.notify_all());
    }

    /// Gives up the turn until the thread `me` can go on and is chosen. Says whether the simulation goes on.
    ///
    /// A thread that ends is a part of another one's turn, and has none to give up.
    pub(super) fn hand_over(&self, me: usize, status: Status) -> bool {
        let mut state = self.lock();
        if matches!(state.threads[me].status, Status::Gone) {
            return !state.is_over;
        }
        state.threads[me].status = status;
        state = wait_until(self.pass_on(state), me, |state| state.turn == me);
        state.threads[me].status = Status::Ready;
        !state.is_over
    }

    /// Chooses whose turn is next.
    fn pass_on<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        loop {
            match state.next() {
                Next::Turn(next) => {
                    state.begin_turn(next);
                    return state;
                }
                Next::Outside => state = self.wait_outside(state),
                Next::Rest => {
                    let wakers = state.rest();
                    drop(state);
                    wakers.into_iter().for_each(Waker::wake);
                    state = self.lock();
                }
            }
        }
    }

    /// Waits until something outside has ended, but not for ever.
    fn wait_outside<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let patience = state.pause.as_ref().map_or(Duration::ZERO, |pause| pause.patience);
        let waited = self.outside.wait_timeout(state, patience);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && !state.lets_test_go_on(Stuck::Outside) {
            panic!("what goes on outside of the test does not end: {state:?}");
        }
        state
    }

    /// Waits for the first turn. Says whether the simulation goes on.
    pub(super) fn wait_for_turn(&self, me: usize) -> bool {
        !wait_until(self.lock(), me, |state| state.turn == me).is_over
    }

    /// Gives up the turn for good and waits until somebody lets the thread end. Says whether the simulation goes on.
    pub(super) fn wait_for_end(&self, me: usize) -> bool {
        self.lock().threads[me].status = Status::Ending;
        let may_end = |state: &State| matches!(state.threads[me].status, Status::Gone);
        !wait_until(self.pass_on(self.lock()), me, may_end).is_over
    }

    /// Lets a thread end that waits for that.
    pub(super) fn let_end(&self, thread: usize) {
        let mut state = self.lock();
        state.threads[thread].status = Status::Gone;
        state.threads[thread].turn.notify_one();
    }
}

/// Waits until `may_go` is true, or the simulation is over.
fn wait_until<'a>(
    mut state: MutexGuard<'a, State>,
    me: usize,
    may_go: impl Fn(&State) -> bool,
) -> MutexGuard<'a, State> {
    let turn = Arc::clone(&state.threads[me].turn);
    while !state.is_over && !may_go(&state) {
        state = turn.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    state
}

impl State {
    /// Adds a thread, which can go on.
    pub(super) fn add(&mut self, name: &str) -> usize {
        let (name, turn) = (name.to_owned(), Arc::new(Condvar::new()));
        self.threads.push(Thread { name, status: Status::Ready, turn });
        self.threads.len() - 1
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Lets time pass while a thread works.
    pub(super) fn spend(&mut self, time_ns: i64) {
        self.now_ns += time_ns;
        self.trace(format_args!("spends {time_ns} ns"));
    }

    pub(super) fn trace(&mut self, event: impl std::fmt::Display) {
        if self.pause.is_some() {
            return;
        }
        let Self { report, threads, turn, .. } = self;
        // Writing to a string does not fail.
        let _ = writeln!(report.trace, "{}: {event}", threads[*turn].name);
    }

    pub(super) fn wake_at_rest(&mut self, waker: Waker) {
        self.at_rest.push(waker);
    }

    pub(super) fn refuse_in(&mut self, count: Option<u32>) {
        self.refuse_in = count;
    }

    /// Whether the descriptor that is to be opened is refused.
    pub(super) fn refuses(&mut self) -> bool {
        let is_refused = self.refuse_in == Some(0);
        self.refuse_in = self.refuse_in.and_then(|left| left.checked_sub(1));
        if is_refused {
            self.fault("a descriptor is refused");
        }
        is_refused
    }

    pub(super) fn choose(&mut self, count: usize) -> usize {
        if count < 2 { 0 } else { self.random.below(count) }
    }

    pub(super) fn preempts(&mut self) -> bool {
        let there = self.threads.iter().filter(|thread| !matches!(thread.status, Status::Gone));
        there.count() > 1 && self.random.happens(self.faults.preempt)
    }

    pub(super) fn is_interrupted(&mut self) -> bool {
        self.happens(self.faults.interrupt, "is interrupted")
    }

    pub(super) fn is_spurious(&mut self) -> bool {
        self.happens(self.faults.spurious, "finds something that is not there")
    }

    pub(super) fn is_short(&mut self) -> bool {
        self.happens(self.faults.short, "gets less than there is")
    }

    fn happens(&mut self, per_256: u8, fault: &str) -> bool {
        let happens = self.random.happens(per_256);
        if happens {
            self.fault(fault);
        }
        happens
    }

    fn fault(&mut self, fault: &str) {
        self.report.faults += 1;
        self.trace(fault);
    }

    /// What comes next. Lets time go on if need be.
    fn next(&mut self) -> Next {
        if self.pause.is_some() {
            return self.next_of_paused();
        }
        self.choose_thread().map_or(Next::Rest, Next::Turn)
    }

    /// The next thread that can go on. If there is none, what goes on outside comes before any leap of time.
    fn next_of_paused(&mut self) -> Next {
        loop {
            let able = self.able();
            let next = able.iter().find(|&&number| number > self.turn).or(able.first());
            // A thread outside of this world that has the lock gives it back.
            let for_lock = |thread: &Thread| {
                !self.bql_held && matches!(thread.status, Status::Waiting(Event::BqlFree, _))
            };
            if let Some(next) = next.copied().or_else(|| self.threads.iter().position(for_lock)) {
                return Next::Turn(next);
            }
            let deadline = self.next_deadline();
            let Some(pause) = &mut self.pause else { return Next::Rest };
            if pause.outside > 0 && pause.stuck.is_none() {
                return Next::Outside;
            }
            let before = self.now_ns;
            self.now_ns = pause.leap(before, deadline);
            if deadline.is_none_or(|deadline| deadline > self.now_ns) {
                pause.deadline_ns = deadline;
                return Next::Rest;
            }
        }
    }

    /// The thread whose turn is next; lets time go on if need be. `None` if nothing is left to do.
    fn choose_thread(&mut self) -> Option<usize> {
        let mut able = self.able();
        if able.is_empty() {
            self.now_ns = self.next_deadline()?;
            if self.random.happens(self.faults.late) {
                self.now_ns += self.random.below(LATE_NS) as i64;
            }
            self.report.advances += 1;
            let now_ns = self.now_ns - BEGIN_NS;
            self.trace(format_args!("nothing to do until {now_ns} ns"));
            able = self.able();
        }
        Some(able[self.choose(able.len())])
    }

    /// The threads that can go on.
    fn able(&self) -> Vec<usize> {
        let is_able = |thread: &Thread| match thread.status {
            Status::Ready => true,
            Status::Waiting(event, until) => {
                until.is_some_and(|until| until <= self.now_ns) || self.has_happened(event)
            }
            Status::Ending | Status::Gone => false,
        };
        let numbered = self.threads.iter().enumerate();
        numbered.filter(|(_, thread)| is_able(thread)).map(|(number, _)| number).collect()
    }

    fn has_happened(&self, event: Event) -> bool {
        match event {
            Event::Readable(fd) => os::is_readable(fd),
            Event::BqlFree => bql::is_free(),
            Event::Ending(thread) => matches!(self.threads[thread].status, Status::Ending),
        }
    }

    fn next_deadline(&self) -> Option<i64> {
        let until = |thread: &Thread| match thread.status {
            Status::Waiting(_, until) => until,
            _ => None,
        };
        self.threads.iter().filter_map(until).min()
    }

    /// Nobody can go on: those who are to be told.
    ///
    /// # Panics
    ///
    /// If nobody is.
    fn rest(&mut self) -> Vec<Waker> {
        self.trace("nothing left to do");
        let wakers = mem::take(&mut self.at_rest);
        if self.pause.is_some() && wakers.is_empty() && self.lets_test_go_on(Stuck::Forever) {
            return wakers;
        }
        assert!(!wakers.is_empty(), "everybody waits for something that never comes: {self:?}");
        wakers
    }

    /// Lets the test's own thread find out why nothing goes on, if it sleeps in its loop.
    fn lets_test_go_on(&mut self, why: Stuck) -> bool {
        let (Some(pause), Some(test)) = (&mut self.pause, self.threads.first_mut()) else {
            return false;
        };
        if !matches!(test.status, Status::Waiting(Event::Readable(_), _)) {
            return false;
        }
        pause.stuck.get_or_insert(why);
        test.status = Status::Ready;
        true
    }

    fn begin_turn(&mut self, next: usize) {
        self.turn = next;
        if self.pause.is_some() {
            self.threads[next].turn.notify_one();
            return;
        }
        self.report.steps += 1;
        if self.report.steps > self.most_steps {
            panic!("the simulation does not come to rest: {self:?}");
        }
        let Self { report, threads, .. } = self;
        // Writing to a string does not fail.
        let _ = writeln!(report.trace, "-> {}", threads[next].name);
        threads[next].turn.notify_one();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = self.threads.iter().map(|thread| (&thread.name, thread.status));
        f.debug_map().entries(threads).finish()
    }
}
