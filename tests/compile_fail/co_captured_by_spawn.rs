//! Must not compile: a task outlives the loan, and a poll must not yield to C.

use executor::{InCoroutine, MainCx};

fn co_sleep(_co: &mut InCoroutine) {}

fn coroutine_fn(co: &mut InCoroutine, cx: &MainCx) {
    cx.spawn(async move |_cx: &MainCx| co_sleep(co)).detach();
}

fn main() {}
