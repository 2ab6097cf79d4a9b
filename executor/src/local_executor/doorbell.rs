//! The bottom half that makes the event loop run the executor.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::core::Core;
use crate::aio::bottom_half::{BottomHalf, OnBottomHalf};
use crate::aio::context::Context;
use crate::current;
use crate::home::Doorbell;

/// The doorbell of one executor.
#[derive(Debug)]
pub(super) struct Bell {
    number: usize,
    bottom_half: Arc<BottomHalf>,
    nested: bool,
}

/// Passes rings on that arrive on the wrong thread.
///
/// QEMU's main context is run by whoever holds the Big QEMU Lock, also by a vCPU thread in a nested loop.
/// Ringing again there would make that loop spin; a bottom half of the iohandler context is run by the
/// main loop's thread only.
static RELAYS: Mutex<Vec<(usize, Arc<BottomHalf>)>> = Mutex::new(Vec::new());

struct Rang;

impl OnBottomHalf for Rang {
    fn run(number: usize) {
        match current::find(number) {
            Some(core) => core.rang(),
            None => pass_on(number),
        }
    }
}

/// The relay found the executor's thread, or nobody: it passes nothing on, or it would spin for an
/// executor that is attached to the main loop by another thread.
struct Relayed;

impl OnBottomHalf for Relayed {
    fn run(number: usize) {
        if let Some(core) = current::find(number) {
            core.rang();
        }
    }
}

fn pass_on(number: usize) {
    let relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = relays.iter().find(|(n, _)| *n == number).map(|(_, relay)| Arc::clone(relay));
    drop(relays);
    if let Some(relay) = relay {
        relay.schedule();
    }
}

struct HomeBell(Arc<BottomHalf>);

impl Doorbell for HomeBell {
    fn ring(&self) {
        self.0.schedule();
    }
}

impl Bell {
    pub(super) fn new(context: &Context, number: usize) -> Bell {
        let nested = context.is_main();
        if nested {
            let relay =
                BottomHalf::new::<Relayed>(&Context::iohandler(), number, c"executor-relay");
            let mut relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
            relays.push((number, Arc::new(relay)));
        }
        let bottom_half = BottomHalf::new::<Rang>(context, number, c"executor");
        Bell { number, bottom_half: Arc::new(bottom_half), nested }
    }

    pub(super) fn for_home(&self) -> Box<dyn Doorbell> {
        Box::new(HomeBell(Arc::clone(&self.bottom_half)))
    }

    /// Whether nested event loops run the executor.
    pub(super) fn is_nested(&self) -> bool {
        self.nested
    }

    pub(super) fn close(&self) {
        self.bottom_half.close();
        let mut relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = relays.iter().position(|(n, _)| *n == self.number) {
            relays.swap_remove(place).1.close();
        }
    }
}

impl Core {
    fn rang(self: &Rc<Self>) {
        self.home().set_idle(true);
        self.run_slice();
    }
}
