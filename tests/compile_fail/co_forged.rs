//! Must not compile: safe code cannot claim to be in a coroutine; C's `coroutine_fn` would yield outside of one.

use executor::InCoroutine;

fn co_sleep(_co: &mut InCoroutine) {}

fn device_model() {
    co_sleep(&mut InCoroutine {});
}

fn main() {}
