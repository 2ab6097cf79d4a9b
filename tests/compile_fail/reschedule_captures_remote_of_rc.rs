//! Must not compile: the `Remote` of a result that is not `Send` stays here.

use std::rc::Rc;

use executor::{IoContext, Remote, reschedule_to};

fn handler(io: &IoContext, local: Remote<Rc<u32>>) -> Remote<()> {
    reschedule_to(io, async move { drop(local.await) })
}

fn main() {}
