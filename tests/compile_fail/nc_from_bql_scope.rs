//! Must not compile: the lock is no right to run a nested event loop.

use executor::{MainCx, NoCoroutine};

fn bdrv_drain(_nc: &mut NoCoroutine) {}

async fn handler(cx: &MainCx) {
    cx.bql(|bql| bdrv_drain(bql));
}

fn main() {}
