//! Must not compile: a coroutine must not run a nested event loop.

use executor::{InCoroutine, MainCx, block_on};

fn coroutine_fn(co: &mut InCoroutine) {
    block_on(co, async |_cx: &MainCx| ());
}

fn main() {}
