//! Must not compile: what an out-of-band command schedules goes to the main loop's thread.

use std::rc::Rc;

use executor::OobContext;

fn command(oob: &OobContext, shared: Rc<u32>) {
    oob.schedule(move |_nc| drop(shared));
}

fn main() {}
