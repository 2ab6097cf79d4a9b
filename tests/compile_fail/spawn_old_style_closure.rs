//! Must not compile: a closure that returns a block cannot lend its argument to the block.

use executor::{MainCx, NoCoroutine};

fn handler(nc: &NoCoroutine) {
    nc.spawn(|cx: &MainCx| async move { cx.bql(|_bql| ()) }).detach();
}

fn main() {}
