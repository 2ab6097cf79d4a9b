//! One run of an executor: the part that polls.

#![forbid(unsafe_code)]

use std::any::Any;
use std::rc::Rc;

use super::core::Core;
use crate::bql::SeenHold;
use crate::bql::borrows::{self, Watch};
use crate::current;
use crate::observe::{self, Outcome, What};
use crate::task::{JoinError, Polled, Running, TaskLabel, abort, report_lost_panic};

impl Core {
    /// Polls ready tasks until none is left or the budget is spent. Rings for what is left.
    ///
    /// The doorbell, the fd handler and the timers end here. It goes on with what becomes ready while it
    /// runs: a pass of the loop for each hop between tasks would cost several times the hop.
    pub(crate) fn run_slice(self: &Rc<Self>) {
        {
            let _entered = current::enter(self);
            self.counters().slices.add(1);
            let _run = Run { core: self, was_idle: self.set_running(), observed: self.observed() };
            self.run_until_spent();
        }
        self.make_calls();
    }

    /// Runs what an event of the loop's has made ready, if there was one. What is woken in `event` leaves the doorbell
    /// alone, which would cost a pass of the loop for nothing.
    pub(super) fn run_after(self: &Rc<Self>, event: impl FnOnce() -> bool) {
        let _run = Run { core: self, was_idle: self.set_running(), observed: None };
        if event() {
            self.run_slice();
        }
    }

    fn run_until_spent(self: &Rc<Self>) {
        let mut left = self.budget().start();
        // First of all: the ring that started this run may have been for these requests, and nobody
        // rings for them again, however soon the budget is spent.
        self.serve_requests_unless_flooded();
        loop {
            let batch = left.batch();
            let ran = self.run_batch(batch);
            self.counters().polls.add(u64::from(ran));
            if left.spend(ran) {
                // The loop may not: in a pass that does not sleep, `aio_poll` up to QEMU 10 asks neither the
                // kernel nor a handler, if every handler has an `io_poll`.
                self.dispatch_fds();
                self.fire_due_timers();
                break;
            }
            if !self.has_more(ran == batch) {
                break;
            }
        }
    }

    /// Looks at what others want. Returns whether there may be tasks to poll.
    #[inline]
    fn has_more(&self, queued: bool) -> bool {
        self.serve_requests_unless_flooded() > 0 || queued || self.dispatch_fds_early()
    }

    /// As [`serve_requests`](Self::serve_requests), but lets them wait in a flood while there are tasks to poll.
    #[inline]
    fn serve_requests_unless_flooded(&self) -> usize {
        if !self.home().queue().is_empty() && self.flood().can_wait() {
            return 0;
        }
        self.serve_requests()
    }

    /// Polls up to `most` ready tasks. Returns how many.
    fn run_batch(&self, most: u32) -> u32 {
        if observe::is_on() {
            return self.run_batch_observed(most);
        }
        self.run_each(most, |running, cancelled, borrows| {
            self.run_task(running, cancelled, borrows);
        })
    }

    /// The same, and tells the observers.
    #[cold]
    #[inline(never)]
    fn run_batch_observed(&self, most: u32) -> u32 {
        self.run_each(most, |running, cancelled, borrows| {
            let task = self.table().id(running.place());
            observe::report_poll(task, || self.run_task(running, cancelled, borrows));
        })
    }

    #[inline(always)]
    fn run_each(&self, most: u32, run: impl Fn(Running, bool, &Watch<'_>)) -> u32 {
        borrows::watch(|borrows| {
            current::polling(|polling| {
                for ran in 0..most {
                    let Some((running, cancelled)) = Running::next(self.home()) else { return ran };
                    polling.of(running.place());
                    run(running, cancelled, borrows);
                }
                most
            })
        })
    }

    /// Serves what other threads asked for. Returns how many requests there were.
    #[inline]
    pub(super) fn serve_requests(&self) -> usize {
        if self.home().inbox().is_empty() {
            return 0;
        }
        let served = self.home().inbox().take().serve();
        self.flood().learn(served);
        self.counters().requests.add(served as u64);
        served
    }

    /// Runs up to `bound` cancelled and other ready tasks without a budget. Returns how many. For the
    /// shutdown.
    pub(super) fn run_all_ready(self: &Rc<Self>, bound: usize) -> usize {
        let _entered = current::enter(self);
        let mut ran = 0;
        while ran < bound {
            if self.run_batch(1) == 0 {
                break;
            }
            ran += 1;
        }
        ran
    }

    /// Polls a task, or drops its future if it was cancelled. Returns how it ended, for observers.
    ///
    /// Always inline: a call would cost each poll 30 instructions, for observers who are not there.
    #[inline(always)]
    fn run_task(&self, running: Running, cancelled: bool, borrows: &Watch<'_>) -> Outcome {
        if cancelled {
            let outcome = self.cancel(running);
            borrows.begin_again();
            return outcome;
        }
        self.table().count_poll(running.place());
        let polled = running.poll();
        let outcome = match polled {
            _ if borrows.has_new() => self.fail_for_borrow(running, polled, borrows.before()),
            Polled::Pending if !self.is_closed() => {
                running.suspend(self.home());
                return Outcome::Pending;
            }
            Polled::Pending => self.cancel(running),
            Polled::Ready => {
                running.succeed();
                self.finish(running);
                Outcome::Completed
            }
            Polled::Panicked(payload) => self.fail(running, *payload),
            Polled::Emptied(payload) => self.fail_without_future(running, *payload),
        };
        // Destructors ran; what they leaked is not the next task's.
        borrows.begin_again();
        outcome
    }

    /// Drops the future of a cancelled task.
    #[cold]
    fn cancel(&self, running: Running) -> Outcome {
        match running.drop_future() {
            Ok(()) => {
                running.fail(JoinError::cancelled());
                self.finish(running);
                Outcome::Cancelled
            }
            Err(payload) => self.fail_without_future(running, payload),
        }
    }

    /// Drops the future of a task that panicked. A second panic, of a destructor, is reported.
    #[cold]
    fn fail(&self, running: Running, payload: Box<dyn Any + Send>) -> Outcome {
        if let Err(second) = running.drop_future() {
            report_lost_panic(&self.label(&running), second);
        }
        self.fail_without_future(running, payload)
    }

    #[cold]
    fn fail_without_future(&self, running: Running, payload: Box<dyn Any + Send>) -> Outcome {
        running.fail(JoinError::panicked(self.label(&running), payload));
        self.finish(running);
        Outcome::Panicked
    }

    fn label(&self, running: &Running) -> TaskLabel {
        self.table().label(running.place()).expect("a task stays in the table until it is finished")
    }

    /// Takes a complete task out of the table, lets go of a result that nobody waits for, and wakes
    /// whoever does.
    #[inline]
    fn finish(&self, running: Running) {
        if !running.has_join() {
            // While it is in the table: its output's destructor is still this task.
            discard_detached(&running);
        }
        let task = self.table().remove(running.place());
        self.counters().completed.add(1);
        running.finish(task);
    }

    /// A future was suspended, or completed, with a `BqlRefCell` borrowed: with the next release of the
    /// lock QEMU would abort without a word about who did it. The task fails instead, which ends the
    /// borrow.
    #[cold]
    fn fail_for_borrow(&self, running: Running, polled: Polled, before: borrows::Live) -> Outcome {
        let label = self.label(&running);
        let sites = borrows::describe(before);
        let message = format!("{label} was suspended while a BqlRefCell is borrowed: {sites}");
        let (panicked, dropped) = match polled {
            Polled::Ready => (None, running.drop_output()),
            Polled::Pending => (None, running.drop_future()),
            Polled::Panicked(payload) => (Some(*payload), running.drop_future()),
            Polled::Emptied(payload) => (Some(*payload), Ok(())),
        };
        for payload in panicked.into_iter().chain(dropped.err()) {
            report_lost_panic(&label, payload);
        }
        check_borrow_ended(before, &message);
        self.fail_without_future(running, Box::new(message))
    }

    /// Makes wakes at home leave the doorbell alone: the queue is being looked at. In an executor that
    /// nested loops run that is not enough, since the poll may start one.
    fn set_running(&self) -> bool {
        if self.bell().is_nested() { true } else { self.home().set_idle(false) }
    }

    /// Whether somebody looks on. If so, the run queue reports what enters it from now on.
    fn observed(&self) -> Option<SeenHold> {
        observe::is_on().then(|| self.begin_observed())
    }

    #[cold]
    fn begin_observed(&self) -> SeenHold {
        self.home().set_observed();
        let hold = SeenHold::of_run();
        observe::report(0, What::RunBegins { context: self.context() });
        hold
    }

    /// Undoes `set_running`, and rings for what is left.
    fn end_running(&self, was_idle: bool) {
        let owes = self.flood().is_on() && !self.home().inbox().is_empty();
        if self.home().queue().is_empty() && !owes {
            if !self.bell().is_nested() {
                self.home().set_idle(was_idle);
            }
            return;
        }
        self.home().set_idle(true);
        self.home().ring_if_idle();
    }
}

/// A run; its end, also by a foreign waker that panics, leaves timers armed and the doorbell rung.
struct Run<'a> {
    core: &'a Core,
    was_idle: bool,
    observed: Option<SeenHold>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.core.arm_timers();
        self.core.end_running(self.was_idle);
        if self.observed.is_some() {
            observe::report(0, What::RunEnds);
        }
    }
}

/// A borrow that outlives its future was forgotten; it can never end, and the lock never be released.
fn check_borrow_ended(before: borrows::Live, message: &str) {
    if borrows::live().since(before) {
        abort(&format!(
            "{message}, and the borrow was leaked: the BQL can never be released again"
        ));
    }
}

/// Lets go of the result of a task without a handle.
#[cold]
fn discard_detached(running: &Running) {
    match running.discard_result() {
        Ok(None) => {}
        Ok(Some(error)) => error.report_if_panic(),
        Err(payload) => report_lost_panic(&"the output of a detached task", payload),
    }
}
