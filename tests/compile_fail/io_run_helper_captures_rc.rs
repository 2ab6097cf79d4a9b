//! Must not compile: what a function's future captures goes along, also through a helper.

use std::rc::Rc;

use executor::{IoContext, IoCx, Remote, TaskFn};

fn helper(shared: Rc<u32>) -> impl for<'a> TaskFn<&'a IoCx, u32> {
    async move |_io: &IoCx| *shared
}

fn handler(io: &IoContext, shared: Rc<u32>) -> Remote<u32> {
    io.run(helper(shared))
}

fn main() {}
