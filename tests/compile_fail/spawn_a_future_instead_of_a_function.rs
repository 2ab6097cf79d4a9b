//! Must not compile: `spawn` takes a function of the capability; `spawn_future` takes a future.

use executor::MainCx;

fn handler(cx: &MainCx) {
    cx.spawn(async { 7 }).detach();
}

fn main() {}
