//! Must not compile: a task has no coroutine of C's to yield; it awaits `host::coroutine::call`.

use executor::{InCoroutine, MainCx};

fn co_sleep(_co: &mut InCoroutine) {}

async fn handler(cx: &MainCx) {
    co_sleep(cx);
}

fn main() {}
