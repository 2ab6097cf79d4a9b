//! Must not compile: another thread is not in this coroutine.

use executor::InCoroutine;

fn co_sleep(_co: &mut InCoroutine) {}

fn coroutine_fn(co: &mut InCoroutine) {
    std::thread::scope(|scope| {
        scope.spawn(|| co_sleep(co));
    });
}

fn main() {}
