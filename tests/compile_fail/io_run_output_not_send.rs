//! Must not compile: the output comes back to this thread.

use std::rc::Rc;

use executor::{IoContext, IoCx, Remote};

fn handler(io: &IoContext) -> Remote<Rc<u32>> {
    io.run(async |_io: &IoCx| Rc::new(7))
}

fn main() {}
