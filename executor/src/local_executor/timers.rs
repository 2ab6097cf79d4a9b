//! One timer of the event loop per clock, for all the deadlines of an executor.
//!
//! The loop's timer is armed at the end of a run, and only for an earlier deadline than it is armed for:
//! a `sleep` that is created and dropped within a run never reaches the loop. A cancelled earliest
//! deadline leaves the timer armed; it fires once for nothing.
//!
//! Deadlines that are close together share a call of the loop. Waking up costs ten times as much as what a
//! timer does, so when timers have fired and a crowd of others is due within the *slack*, the loop comes back
//! at the end of it, for all of them. Nobody who is alone is late, and nobody by more than the slack; the
//! guest's clocks are exact always, for the guest sees what its devices do when.

#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use crate::aio::context::Context;
use crate::aio::loop_timer::{LoopTimer, OnTimer};
use crate::clock::{Clock, saturating_ns};
use crate::current;

const CLOCKS: [Clock; 4] = [Clock::Realtime, Clock::Virtual, Clock::Host, Clock::VirtualRt];
const NOT_ARMED: i64 = i64::MAX;

/// As much as the kernel gives every program's timers, unless it is told otherwise.
const SLACK: Duration = Duration::from_micros(50);

/// The loop's timers, made on first use.
#[derive(Debug)]
pub(super) struct LoopTimers {
    slots: [Slot; CLOCKS.len()],
    /// Whether some clock may have an earlier deadline than its timer.
    changed: Cell<bool>,
    /// By how much a timer may be late to fire together with others.
    slack: Cell<i64>,
}

#[derive(Debug)]
struct Slot {
    timer: OnceCell<LoopTimer>,
    armed_for: Cell<i64>,
    /// When its timers last fired.
    fired_at: Cell<i64>,
}

impl LoopTimers {
    pub(super) fn new() -> LoopTimers {
        let slot = || Slot {
            timer: OnceCell::new(),
            armed_for: Cell::new(NOT_ARMED),
            fired_at: Cell::new(i64::MIN),
        };
        LoopTimers {
            slots: [slot(), slot(), slot(), slot()],
            changed: Cell::new(false),
            slack: Cell::new(saturating_ns(SLACK)),
        }
    }

    pub(super) fn set_slack(&self, slack: Duration) {
        self.slack.set(saturating_ns(slack));
    }

    /// The time in which a crowd on this clock waits for its end.
    fn window(&self, index: usize) -> Range<i64> {
        let start = self.slots[index].fired_at.get();
        match CLOCKS[index] {
            // Nothing is saved where time costs nothing, and a test sees exact times.
            #[cfg(feature = "testing")]
            _ if crate::aio::paused::program().is_some() => start..start,
            Clock::Realtime | Clock::Host => start..start.saturating_add(self.slack.get()),
            Clock::Virtual | Clock::VirtualRt => start..start,
        }
    }

    /// Disarms everything.
    pub(super) fn close(&self) {
        for slot in &self.slots {
            if let Some(timer) = slot.timer.get() {
                timer.disarm();
            }
        }
    }
}

/// An executor's number and a clock in one callback number.
fn callback_number(core: usize, clock: usize) -> usize {
    core * CLOCKS.len() + clock
}

struct Fired;

impl OnTimer for Fired {
    fn fired(number: usize) {
        match current::find(number / CLOCKS.len()) {
            Some(core) => core.fired(number % CLOCKS.len()),
            None => Context::notify_main_loop(),
        }
    }

    fn is_due(number: usize) -> bool {
        let (core, clock) = (number / CLOCKS.len(), number % CLOCKS.len());
        current::find(core).is_some_and(|core| {
            core.loop_timers().slots[clock].armed_for.get() <= CLOCKS[clock].now()
        })
    }
}

impl Core {
    pub(crate) fn timers_changed(&self) {
        self.loop_timers().changed.set(true);
    }

    /// Makes the loop's timers fit the queue.
    #[inline]
    pub(super) fn arm_timers(&self) {
        if self.loop_timers().changed.replace(false) && !self.is_closed() {
            self.arm_all();
        }
    }

    fn arm_all(&self) {
        for (index, clock) in CLOCKS.into_iter().enumerate() {
            let window = self.loop_timers().window(index);
            if let Some(deadline) = self.timers().next_call(clock, &window) {
                self.arm(index, clock, deadline);
            }
        }
    }

    fn arm(&self, index: usize, clock: Clock, deadline: i64) {
        let slot = &self.loop_timers().slots[index];
        if deadline >= slot.armed_for.get() {
            return;
        }
        slot.armed_for.set(deadline);
        let number = callback_number(self.number(), index);
        let new = || LoopTimer::new::<Fired>(self.context(), clock, number);
        slot.timer.get_or_init(new).arm_at(deadline);
    }

    /// Makes the loop's timers fit the queue exactly, also where the earliest deadline has been given up.
    #[cfg(feature = "testing")]
    pub(crate) fn rearm_timers(&self) {
        for (index, slot) in self.loop_timers().slots.iter().enumerate() {
            let Some(timer) = slot.timer.get() else { continue };
            timer.disarm();
            slot.armed_for.set(NOT_ARMED);
            if let Some(deadline) =
                self.timers().next_call(CLOCKS[index], &self.loop_timers().window(index))
            {
                self.arm(index, CLOCKS[index], deadline);
            }
        }
    }

    /// Fires the timers that are due and that the loop knows as file descriptors.
    pub(super) fn fire_due_timers(&self) {
        for (index, slot) in self.loop_timers().slots.iter().enumerate() {
            let is_fd = slot.timer.get().is_some_and(LoopTimer::is_fd);
            if is_fd && slot.armed_for.get() <= CLOCKS[index].now() {
                self.fire(index);
            }
        }
    }

    /// Wakes those whose deadlines have come.
    fn fire(&self, index: usize) {
        let slot = &self.loop_timers().slots[index];
        slot.armed_for.set(NOT_ARMED);
        if let Some(timer) = slot.timer.get() {
            timer.acknowledge();
        }
        self.timers_changed();
        let clock = CLOCKS[index];
        let now = clock.now();
        slot.fired_at.set(now);
        let fired = self.timers().fire(clock, now);
        self.counters().timers.add(fired as u64);
    }

    fn fired(self: &Rc<Self>, index: usize) {
        if CLOCKS[index] == Clock::Realtime {
            // Also arms the timer for the next deadline.
            return self.run_after(|| {
                self.fire(index);
                true
            });
        }
        // The woken tasks run in a pass of their own: one of them may stop this very clock, which
        // waits until the clock's callbacks have returned.
        self.fire(index);
        self.arm_timers();
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOCKS, Clock, Duration, LoopTimers, SLACK};

    #[test]
    fn timers_on_the_guests_clocks_wait_for_nobody() {
        let timers = LoopTimers::new();
        timers.set_slack(Duration::MAX);
        for (index, clock) in CLOCKS.into_iter().enumerate() {
            timers.slots[index].fired_at.set(7);
            let waits = matches!(clock, Clock::Realtime | Clock::Host);
            assert_eq!(timers.window(index), 7..if waits { i64::MAX } else { 7 }, "{clock:?}");
        }
    }

    #[test]
    fn nobody_waits_before_timers_have_fired() {
        let timers = LoopTimers::new();
        let window = timers.window(Clock::Realtime as usize);
        assert_eq!(window.end - window.start, SLACK.as_nanos() as i64);
        assert!(window.end < 0, "long before any deadline");
    }
}
