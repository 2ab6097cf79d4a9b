//! The bottom half that makes the event loop run the executor.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use super::core::Core;
use crate::aio::bottom_half::{BottomHalf, OnBottomHalf};
use crate::aio::context::Context;
use crate::current;
use crate::home::Doorbell;

/// The doorbell of one executor.
///
/// QEMU's main context is run by whoever holds the Big QEMU Lock, also by a vCPU thread in a nested loop. A
/// bottom half that runs there finds no executor, and the main loop may sleep on: since 11.1 it can miss
/// what happens in a context that another thread has run in between. So an executor in the main context has a
/// second bottom half, in the iohandler context, which the main loop's thread alone runs.
#[derive(Debug)]
pub(super) struct Bell {
    bottom_half: Arc<BottomHalf>,
    at_home: Option<Arc<BottomHalf>>,
}

struct Rang;

impl OnBottomHalf for Rang {
    fn run(number: usize) {
        if let Some(core) = current::find(number) {
            core.rang();
        }
    }
}

struct HomeBell {
    bottom_half: Arc<BottomHalf>,
    at_home: Option<Arc<BottomHalf>>,
}

impl Doorbell for HomeBell {
    fn ring(&self) {
        self.bottom_half.schedule();
        if let Some(at_home) = &self.at_home {
            at_home.schedule();
        }
    }
}

impl Bell {
    pub(super) fn new(context: &Context, number: usize) -> Bell {
        let bottom_half =
            |context: &Context| Arc::new(BottomHalf::new::<Rang>(context, number, c"executor"));
        let at_home = context.is_main().then(|| bottom_half(&Context::iohandler()));
        Bell { bottom_half: bottom_half(context), at_home }
    }

    pub(super) fn for_home(&self) -> Box<dyn Doorbell> {
        let bottom_half = Arc::clone(&self.bottom_half);
        Box::new(HomeBell { bottom_half, at_home: self.at_home.clone() })
    }

    /// Whether nested event loops run the executor.
    pub(super) fn is_nested(&self) -> bool {
        self.at_home.is_some()
    }

    pub(super) fn close(&self) {
        self.bottom_half.close();
        if let Some(at_home) = &self.at_home {
            at_home.close();
        }
    }
}

impl Core {
    fn rang(self: &Rc<Self>) {
        self.home().set_idle(true);
        self.run_slice();
    }
}
