//! Must not compile: an `Rc` that stays here must not go to another thread as well.

use std::rc::Rc;

use executor::{IoContext, Remote, reschedule_to};

fn handler(io: &IoContext) -> Remote<u32> {
    let shared = Rc::new(7);
    let kept = Rc::clone(&shared);
    let remote = reschedule_to(io, async move { *kept });
    drop(shared);
    remote
}

fn main() {}
