//! Must not compile: what the function captures goes to the iothread.

use std::rc::Rc;

use executor::{IoContext, IoCx, Remote};

fn handler(io: &IoContext, shared: Rc<u32>) -> Remote<u32> {
    io.run(async move |_io: &IoCx| *shared)
}

fn main() {}
