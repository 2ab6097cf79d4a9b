//! Must not compile: the task's capability ends with its future; outside, the code may block.

use executor::{MainCx, NoCoroutine, block_on};

fn handler(nc: &mut NoCoroutine) {
    let mut stash = None;
    block_on(nc, async |cx: &MainCx| stash = Some(cx));
    drop(stash);
}

fn main() {}
