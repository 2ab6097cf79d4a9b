//! Must not compile: a task cannot run a nested event loop: await, or `run_in_bh`.

use executor::{MainCx, NoCoroutine};

fn bdrv_drain(_nc: &mut NoCoroutine) {}

async fn handler(cx: &MainCx) {
    bdrv_drain(cx);
}

fn main() {}
