//! Must not compile: the future of a `block_on` cannot block in turn: await, or `run_in_bh`.

use executor::{MainCx, NoCoroutine, block_on};

fn handler(nc: &mut NoCoroutine) {
    block_on(nc, async |_cx: &MainCx| {
        block_on(nc, async |_cx: &MainCx| ());
    });
}

fn main() {}
