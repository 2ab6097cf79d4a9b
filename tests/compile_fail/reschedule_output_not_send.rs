//! Must not compile: the output comes back to this thread, so it must be `Send`, not only the future.

use std::rc::Rc;

use executor::{IoContext, Remote, reschedule_to};

fn handler(io: &IoContext) -> Remote<Rc<u32>> {
    reschedule_to(io, async { Rc::new(7) })
}

fn main() {}
