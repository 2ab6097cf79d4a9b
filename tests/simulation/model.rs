//! The reference model: a state machine per task that follows a history and says where it goes wrong.
//!
//! What it knows of the executor is what the documentation promises:
//!
//! - A future is polled only where it is at home, one poll at a time, and only if it was woken since the last poll
//!   began, or if what it waits for may have come. On the main loop under the lock, elsewhere without.
//! - Nobody who is woken is forgotten: at rest, everybody waits for something that has not come.
//! - Tasks that are woken at home are polled in that order.
//! - A task whose cancellation was asked for is not polled any more, unless it is running.
//! - A future is dropped once, at home; so is an output, wherever it ends up. A handle gives the outcome that
//!   follows from what the future did.
//! - A sleep ends neither early nor late, and sleeps of one clock end in the order of their deadlines.
//! - While a nested loop runs, the tasks of the main loop stand still.

use std::collections::VecDeque;

use super::history::{Block, Happened, Outcome, PollEnd, What};
use super::program::{EVENTS, Kind, LINKS, Program};

/// The thread of the main loop.
const MAIN: usize = 0;
/// A clock that counts microseconds may be so much behind.
const HOST_CLOCK: (u8, i64) = (2, 1_000);
/// A simulated sleep may end so late.
const LATE_NS: i64 = 50_000;

#[derive(Clone, Debug, Default)]
struct Task {
    is_spawned: bool,
    is_running: bool,
    is_gone: bool,
    /// It was woken since its latest poll began.
    is_woken: bool,
    /// Woken by another thread, which may take effect after a poll that would have been due anyway.
    may_be_polled_again: bool,
    is_cancelled: bool,
    block: Option<Block>,
    /// The latest poll was due for what it waits for alone.
    came_by_itself: bool,
    end: Option<PollEnd>,
    outcome: Option<Outcome>,
    outputs: usize,
    thread: usize,
}

pub(crate) struct Model<'a> {
    program: &'a Program,
    tasks: Vec<Task>,
    /// The main loop's tasks that were woken at home, in that order.
    queue: VecDeque<usize>,
    events: [bool; EVENTS],
    in_flight: [usize; LINKS],
    nested: usize,
    is_over: bool,
    /// All the time that somebody worked.
    spent_ns: i64,
    now_ns: i64,
    thread: usize,
}

/// Follows a history to its end.
pub(crate) fn check(program: &Program, history: &[Happened]) -> Result<(), String> {
    let mut model = Model {
        program,
        tasks: vec![Task::default(); program.tasks.len()],
        queue: VecDeque::new(),
        events: [false; EVENTS],
        in_flight: [0; LINKS],
        nested: 0,
        is_over: false,
        spent_ns: 0,
        now_ns: 0,
        thread: MAIN,
    };
    for (number, happened) in history.iter().enumerate() {
        let wrong = |why| format!("event {number}, {happened:?}: {why}");
        model.follow(happened).map_err(wrong)?;
    }
    model.check_end()
}

type Checked = Result<(), String>;

fn ensure(holds: bool, otherwise: &str) -> Checked {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl Model<'_> {
    fn follow(&mut self, happened: &Happened) -> Checked {
        let spent_ns = if let What::Spent(ns) = happened.what { i64::from(ns) } else { 0 };
        ensure(happened.at_ns >= self.now_ns + spent_ns, "time went back")?;
        if happened.at_ns > self.now_ns + spent_ns {
            self.check_leap(happened.at_ns)?;
        }
        self.now_ns = happened.at_ns;
        self.thread = happened.thread;
        match happened.what {
            What::Spawned(task) => self.spawned(task),
            What::PollBegins(task, locked) => return self.poll_begins(task, locked),
            What::PollEnds(task, end) => return self.poll_ends(task, end),
            What::Blocked(task, block) => {
                self.tasks[task].block = Some(block);
                self.tasks[task].came_by_itself = false;
            }
            What::Unblocked(task) => return self.unblocked(task),
            What::Woken(task) => self.woken(task),
            What::EventSet(event) => self.events[event] = true,
            What::CancelRequested(task) => self.cancel_requested(task),
            What::FutureDropped(task, bites) => return self.future_dropped(task, bites),
            What::OutputMade(task) => self.tasks[task].outputs += 1,
            What::OutputDropped(task) => return self.output_dropped(task),
            What::Joined(task, outcome) => return self.joined(task, outcome),
            What::Withdrawn(task) => {
                let is_output = self.tasks[task].outcome == Some(Outcome::Output);
                return ensure(!is_output, "its output was lost");
            }
            What::Sent(link, count) => self.in_flight[link] += count,
            What::Received(link, count) => return self.received(link, count),
            What::Spent(ns) => self.spent_ns += i64::from(ns),
            What::NestedLoopBegins => self.nested += 1,
            What::NestedLoopEnds => self.nested -= 1,
            What::AtRest => return self.check_rest(),
            What::End => self.is_over = true,
        }
        Ok(())
    }

    fn kind(&self, task: usize) -> Kind {
        self.program.tasks[task].kind
    }

    fn spawned(&mut self, task: usize) {
        self.tasks[task].is_spawned = true;
        self.tasks[task].thread = match self.kind(task) {
            Kind::Io(number) => number + 1,
            Kind::Main | Kind::Migratable => MAIN,
        };
        self.woken(task);
    }

    fn woken(&mut self, task: usize) {
        let is_home = self.thread == MAIN && self.kind(task) == Kind::Main;
        let may_have_come = self.may_have_come(task);
        let state = &mut self.tasks[task];
        if state.is_gone {
            return;
        }
        // Otherwise it may have been in the queue before.
        let is_new = !state.is_woken && !state.is_running && !state.may_be_polled_again;
        if is_home && is_new && !may_have_come {
            self.queue.push_back(task);
        }
        state.is_woken = true;
        state.may_be_polled_again |= !is_home;
    }

    /// Whether the task waits for something that may have come without a wake-up that the model sees.
    fn may_have_come(&self, task: usize) -> bool {
        match self.tasks[task].block {
            Some(Block::Until(deadline_ns, clock)) => self.is_due(deadline_ns, clock),
            Some(Block::Task(other)) => self.tasks[other].is_gone,
            // Readiness may be false, and a nested loop's end is not seen.
            Some(Block::Link(_) | Block::NestedLoop | Block::Arrival(_)) => true,
            Some(Block::Event(_)) | None => false,
        }
    }

    fn is_due(&self, deadline_ns: i64, clock: u8) -> bool {
        let slack = if clock == HOST_CLOCK.0 { HOST_CLOCK.1 } else { 0 };
        self.now_ns + slack >= deadline_ns
    }

    fn poll_begins(&mut self, task: usize, is_locked: bool) -> Checked {
        let may_have_come = self.may_have_come(task);
        let state = &mut self.tasks[task];
        ensure(state.is_spawned && !state.is_gone, "polled while it is not there")?;
        ensure(!state.is_running, "polled inside its own poll")?;
        ensure(!state.is_cancelled, "polled after it was cancelled")?;
        if let Some(Block::Arrival(thread)) = state.block {
            state.thread = thread;
        }
        ensure(state.thread == self.thread, "polled in another thread")?;
        ensure(is_locked == (self.thread == MAIN), "the lock is where it should not be")?;
        state.came_by_itself = !state.is_woken && !state.may_be_polled_again;
        let may_be_polled = state.is_woken || may_have_come || state.may_be_polled_again;
        ensure(may_be_polled, "polled although nobody has woken it")?;
        if !state.is_woken && !may_have_come {
            state.may_be_polled_again = false;
        }
        state.is_woken = false;
        state.is_running = true;
        if self.kind(task) == Kind::Main {
            ensure(!self.is_over, "polled after the end")?;
            ensure(self.nested == 0, "polled in a nested loop")?;
            self.check_order(task)?;
        }
        Ok(())
    }

    /// First in, first out.
    fn check_order(&mut self, task: usize) -> Checked {
        let Some(place) = self.queue.iter().position(|queued| *queued == task) else {
            return Ok(());
        };
        self.queue.remove(place);
        let overtaken = (place > 0).then(|| format!("it has overtaken {:?}", self.queue));
        overtaken.map_or(Ok(()), Err)
    }

    fn poll_ends(&mut self, task: usize, end: PollEnd) -> Checked {
        let is_main = self.kind(task) == Kind::Main;
        let state = &mut self.tasks[task];
        ensure(state.is_running, "a poll ended that had not begun")?;
        state.is_running = false;
        state.end = Some(end);
        if is_main && end == PollEnd::Pending && (state.is_woken || state.is_cancelled) {
            // Only if it was woken by somebody at home, which is not known here, is that its place for sure.
            if !state.may_be_polled_again {
                self.queue.push_back(task);
            }
        }
        Ok(())
    }

    /// Time went on since there was nothing to do: not beyond the end of a sleep.
    fn check_leap(&self, now_ns: i64) -> Checked {
        let oversleeps = |task: &Task| match task.block {
            Some(Block::Until(deadline_ns, _)) if !task.is_cancelled => {
                // A loop that has worked out its timeout and is late to sleep wakes up late.
                deadline_ns + self.spent_ns + HOST_CLOCK.1 + LATE_NS < now_ns
            }
            _ => false,
        };
        // In a nested loop the tasks of the main loop stand still.
        let is_exempt = self.nested > 0 || self.is_over;
        ensure(is_exempt || !self.tasks.iter().any(oversleeps), "somebody slept too long")
    }

    fn unblocked(&mut self, task: usize) -> Checked {
        let Some(block) = self.tasks[task].block.take() else { return Ok(()) };
        match block {
            Block::Until(deadline_ns, clock) => self.woke_up(task, deadline_ns, clock),
            Block::Event(event) => ensure(self.events[event], "it went on without its event"),
            Block::Task(other) => ensure(self.tasks[other].is_gone, "it went on too early"),
            Block::Link(_) | Block::NestedLoop | Block::Arrival(_) => Ok(()),
        }
    }

    fn woke_up(&self, task: usize, deadline_ns: i64, clock: u8) -> Checked {
        ensure(self.is_due(deadline_ns, clock), "it slept too short")?;
        let is_earlier = |other: &Task| match other.block {
            Some(Block::Until(earlier_ns, its_clock)) => {
                its_clock == clock && earlier_ns < deadline_ns && other.thread == MAIN
            }
            _ => false,
        };
        let main_tasks = self.tasks.iter().zip(&self.program.tasks);
        let mut sleepers = main_tasks.filter(|(other, task)| {
            task.kind == Kind::Main && !other.is_gone && !other.is_cancelled && is_earlier(other)
        });
        let is_in_order = self.kind(task) != Kind::Main
            || !self.tasks[task].came_by_itself
            || sleepers.next().is_none();
        ensure(is_in_order, "it woke up before somebody with an earlier deadline")
    }

    fn cancel_requested(&mut self, task: usize) {
        if self.tasks[task].is_gone {
            return;
        }
        self.woken(task);
        self.tasks[task].is_cancelled = true;
    }

    fn future_dropped(&mut self, task: usize, bites: bool) -> Checked {
        let is_over = self.is_over;
        self.queue.retain(|queued| *queued != task);
        let state = &mut self.tasks[task];
        ensure(state.is_spawned && !state.is_gone, "dropped while it is not there")?;
        ensure(!state.is_running, "dropped inside its poll")?;
        let may_be_elsewhere = self.program.tasks[task].kind == Kind::Migratable;
        let is_home = may_be_elsewhere || state.thread == self.thread;
        ensure(is_home, "dropped in another thread")?;
        let outcome = match state.end {
            Some(PollEnd::Ready) => Outcome::Output,
            Some(PollEnd::Panicked) => Outcome::Panicked,
            Some(PollEnd::Pending) | None => {
                ensure(state.is_cancelled || is_over, "dropped for no reason")?;
                Outcome::Cancelled
            }
        };
        state.outcome = Some(if bites { Outcome::Panicked } else { outcome });
        state.is_gone = true;
        state.block = None;
        for other in &mut self.tasks {
            // A `Remote` wakes from its thread.
            other.may_be_polled_again |= other.block == Some(Block::Task(task));
        }
        Ok(())
    }

    fn output_dropped(&mut self, task: usize) -> Checked {
        let state = &mut self.tasks[task];
        ensure(state.outputs > 0, "its output was dropped twice")?;
        state.outputs -= 1;
        Ok(())
    }

    fn joined(&self, task: usize, outcome: Outcome) -> Checked {
        let known = self.tasks[task].outcome;
        let agrees = known == Some(outcome);
        if agrees { Ok(()) } else { Err(format!("the handle says so, the model {known:?}")) }
    }

    fn received(&mut self, link: usize, count: usize) -> Checked {
        ensure(self.in_flight[link] >= count, "more came than was sent")?;
        self.in_flight[link] -= count;
        Ok(())
    }

    /// Whoever is left waits for something that has not come.
    fn check_rest(&self) -> Checked {
        ensure(self.nested == 0, "a nested loop does not end")?;
        for (number, task) in self.tasks.iter().enumerate() {
            if !task.is_spawned || task.is_gone {
                continue;
            }
            let waits = !task.is_woken && !task.is_cancelled && !task.is_running;
            let waits = waits
                && match task.block {
                    Some(Block::Event(event)) => !self.events[event],
                    Some(Block::Task(other)) => !self.tasks[other].is_gone,
                    Some(Block::Link(link)) => self.in_flight[link] == 0,
                    Some(Block::Until(..) | Block::NestedLoop | Block::Arrival(_)) | None => false,
                };
            if !waits {
                return Err(format!("task {number} is forgotten: {task:?}"));
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Checked {
        for (number, task) in self.tasks.iter().enumerate() {
            let is_gone = !task.is_spawned || (task.is_gone && task.outputs == 0);
            if !is_gone {
                return Err(format!("something is left of task {number}: {task:?}"));
            }
        }
        Ok(())
    }
}
