//! Must not compile: what yields to C has the coroutine to itself; a callee cannot keep a second loan beside it.

use executor::InCoroutine;

fn co_sleep(_co: &mut InCoroutine) {}

fn coroutine_fn(co: &mut InCoroutine) {
    let mut later = || co_sleep(co);
    co_sleep(co);
    later();
}

fn main() {}
