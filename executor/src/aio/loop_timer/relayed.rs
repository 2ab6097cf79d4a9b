//! A timer on the guest's clock for a loop whose timers cannot be reached.
//!
//! The main loop has the timer, and tells the other loop with a bottom half when it fires. So it fires no
//! earlier than the main loop gets to it, as the devices of the guest do that are on that clock.
//!
//! The timer's callback may run in the main loop while the owner drops the timer elsewhere; it carries a
//! number, which it does not find any more then.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::OnTimer;
use super::listed::ListedTimer;
use crate::aio::bottom_half::{BottomHalf, OnBottomHalf};
use crate::aio::callback::{from_opaque, no_unwind};
use crate::aio::context::Context;
use crate::clock::Clock;

/// The timer of the main loop, and the bottom half that it schedules.
pub(super) struct RelayedTimer {
    number: usize,
    timer: ListedTimer,
}

/// The bottom halves, by the timers' numbers.
fn relays() -> MutexGuard<'static, Vec<(usize, Arc<BottomHalf>)>> {
    static RELAYS: Mutex<Vec<(usize, Arc<BottomHalf>)>> = Mutex::new(Vec::new());
    RELAYS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Relayed<C>(PhantomData<C>);

impl<C: OnTimer> OnBottomHalf for Relayed<C> {
    fn run(number: usize) {
        C::fired(number);
    }
}

extern "C" fn relay(opaque: *mut c_void) {
    no_unwind("a timer", (), || {
        let number = from_opaque(opaque);
        let found = relays().iter().find(|(n, _)| *n == number).map(|(_, bh)| Arc::clone(bh));
        if let Some(bottom_half) = found {
            bottom_half.schedule();
        }
    });
}

impl RelayedTimer {
    pub(super) fn new<C: OnTimer>(context: &Context, clock: Clock, number: usize) -> RelayedTimer {
        let main = Context::iohandler();
        let timer = ListedTimer::new(&main, clock, relay, number)
            .expect("the timers of the main loop can be reached");
        let bottom_half = BottomHalf::new::<Relayed<C>>(context, number, c"timer");
        relays().push((number, Arc::new(bottom_half)));
        RelayedTimer { number, timer }
    }

    pub(super) fn arm_at(&self, deadline: i64) {
        self.timer.arm_at(deadline);
    }

    pub(super) fn disarm(&self) {
        self.timer.disarm();
    }
}

impl Drop for RelayedTimer {
    fn drop(&mut self) {
        let mut relays = relays();
        let place = relays.iter().position(|(number, _)| *number == self.number);
        let removed = place.map(|place| relays.swap_remove(place));
        drop(relays);
        if let Some((_, bottom_half)) = removed {
            bottom_half.close();
        }
    }
}
