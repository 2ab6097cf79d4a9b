//! Must not compile: a task awaits; it cannot block.

use executor::{MainCx, block_on};

async fn handler(cx: &MainCx) {
    block_on(cx, async |_cx: &MainCx| ());
}

fn main() {}
