//! Must not compile: what runs without the lock runs beside those who hold it.

use std::rc::Rc;

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine, shared: Rc<u32>) -> u32 {
    nc.unlocked(move || *shared)
}

fn main() {}
