//! Must not compile: a task is an async function.

use executor::{MainCx, NoCoroutine};

fn handler(nc: &NoCoroutine) {
    nc.spawn(|_cx: &MainCx| 7).detach();
}

fn main() {}
