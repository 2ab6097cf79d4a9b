//! Must not compile: a task outlives the loan.

use executor::{MainCx, NoCoroutine};

fn handler(cx: &MainCx, nc: &mut NoCoroutine) {
    cx.spawn(async move |_cx: &MainCx| nc.unlocked(|| ())).detach();
}

fn main() {}
