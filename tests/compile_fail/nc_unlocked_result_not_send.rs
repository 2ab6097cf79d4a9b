//! Must not compile: what comes out of the unlocked section was made without the lock.

use std::rc::Rc;

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) -> Rc<u32> {
    nc.unlocked(|| Rc::new(7))
}

fn main() {}
